//! What several processes can tell of the machine that they run on, each under the same name.

use std::path::Path;

use packhorse_domain::Timestamp;
use packhorse_trust::Credentials;

use super::Sheet;

crate::figures! {
    pub ALL:
    DISK_FREE, "packhorse_disk_free_bytes", Gauge, [],
        "What is free on the disk of the agent's directory";
    DISK_SIZE, "packhorse_disk_size_bytes", Gauge, [],
        "The size of the disk of the agent's directory";
    CERTIFICATE, "packhorse_certificate_remaining_seconds", Gauge, ["certificate"],
        "How long a certificate of this process is valid still; negative once it has expired";
}

/// The disk of an agent's directory. One that does not say how full it is has no row.
pub fn disk(sheet: &mut Sheet, directory: &Path) {
    if let Ok(disk) = rustix::fs::statvfs(directory) {
        sheet.count(&DISK_FREE, &[], disk.f_bavail.saturating_mul(disk.f_frsize));
        sheet.count(&DISK_SIZE, &[], disk.f_blocks.saturating_mul(disk.f_frsize));
    }
}

/// One of the process's certificates, under a name for it. Without one, or if it cannot be read, there is no row.
pub fn certificate(sheet: &mut Sheet, which: &str, credentials: Option<&Credentials>, now: Timestamp) {
    if let Some((_, not_after)) = credentials.and_then(|credentials| credentials.validity().ok()) {
        let left_us = not_after.0.saturating_sub(now.0);
        sheet.put(&CERTIFICATE, &[which], left_us as f64 / 1e6);
    }
}
