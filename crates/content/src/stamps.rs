//! What files looked like when their content was last compared with a manifest, so that those which nobody touched need
//! not be read again.
//!
//! Format, version 1, integers little-endian: magic `PHST`, version u16, zero u16; boot id (16 bytes), uptime and time
//! of the beginning, time of the last whole comparison (i64 each, in microseconds); digest of the manifest; count u32;
//! then for each file of the manifest, in its order: device u64, inode u64, length u64, mode u32, time of modification
//! and of change (seconds i64, nanoseconds u32 each), all zero where a file is to be read again; then the BLAKE3 of all
//! that. What is no such file is as good as none: everything is read.

use std::{
    fs::Metadata,
    os::{fd::AsFd, unix::fs::MetadataExt},
    path::Path,
    time::SystemTime,
};

use packhorse_domain::{
    Digest,
    settled::{Clocks, Moment, is_settled, keeps_change_times, times_went_on},
};

use crate::{
    durable,
    error::LibraryError,
    wire::{Fields, digest_of},
};

const MAGIC: &[u8; 8] = b"PHST\x01\0\0\0";
const STAMP: usize = 52;

/// What tells whether a file is the one that was looked at before, untouched.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Stamp {
    pub(crate) device: u64,
    pub(crate) inode: u64,
    pub(crate) length: u64,
    pub(crate) mode: u32,
    pub(crate) modified: Moment,
    pub(crate) changed: Moment,
}

/// The stamps of a manifest's files.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Stamps {
    pub(crate) begun: Clocks,
    /// When the content of all files was last compared, in microseconds since 1970.
    pub(crate) compared_at: i64,
    pub(crate) manifest: Digest,
    /// Of the manifest's files in its order.
    pub(crate) files: Vec<Option<Stamp>>,
}

impl Stamp {
    pub(crate) fn of(metadata: &Metadata) -> Stamp {
        let moment = |seconds, nanoseconds: i64| Moment { seconds, nanoseconds: nanoseconds as u32 };
        Stamp {
            device: metadata.dev(),
            inode: metadata.ino(),
            length: metadata.len(),
            mode: metadata.mode(),
            modified: moment(metadata.mtime(), metadata.mtime_nsec()),
            changed: moment(metadata.ctime(), metadata.ctime_nsec()),
        }
    }

    /// The same, of what was looked at through an open directory.
    #[expect(clippy::unnecessary_cast, reason = "other machines have other types")]
    pub(crate) fn of_stat(stat: &rustix::fs::Stat) -> Stamp {
        let moment = |seconds, nanoseconds| Moment { seconds, nanoseconds };
        Stamp {
            device: stat.st_dev as u64,
            inode: stat.st_ino as u64,
            length: stat.st_size as u64,
            mode: stat.st_mode as u32,
            modified: moment(stat.st_mtime as i64, stat.st_mtime_nsec as u32),
            changed: moment(stat.st_ctime as i64, stat.st_ctime_nsec as u32),
        }
    }
}

impl Stamp {
    /// Whether it is the same but for the time of change, which a file gets by a name that comes or goes as well.
    pub(crate) fn is_but_renamed(&self, before: &Stamp) -> bool {
        *self == Stamp { changed: self.changed, ..*before }
    }

    /// Whether the file was clearly older when a look began: a later change shows.
    pub(crate) fn is_settled_at(&self, begun: &Clocks) -> bool {
        let begun = Moment {
            seconds: begun.wall_us.div_euclid(1_000_000),
            nanoseconds: begun.wall_us.rem_euclid(1_000_000) as u32 * 1000,
        };
        is_settled(self.changed, begun) && is_settled(self.modified, begun)
    }
}

/// Whether the times of change of the file system that holds the open file are believed.
pub(crate) fn keeps_times(file: impl AsFd) -> bool {
    // Some machines have the type signed and of 32 bits.
    rustix::fs::fstatfs(file).is_ok_and(|told| keeps_change_times(u64::from(told.f_type as u32)))
}

impl Stamps {
    /// What the file holds; `None` if there is none that can be read.
    pub(crate) fn load(path: &Path) -> Option<Stamps> {
        Self::decode(&std::fs::read(path).ok()?)
    }

    /// Durable when this returns.
    pub(crate) fn save(&self, path: &Path) -> Result<(), LibraryError> {
        durable::write(path, &self.encode())
    }

    /// Whether times that were written since are later than all before.
    pub(crate) fn hold_at(&self, now: &Clocks) -> bool {
        times_went_on(&self.begun, now)
    }

    fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(116 + self.files.len() * STAMP);
        out.extend_from_slice(MAGIC);
        out.extend_from_slice(&self.begun.boot);
        for time in [self.begun.uptime_us, self.begun.wall_us, self.compared_at] {
            out.extend_from_slice(&time.to_le_bytes());
        }
        out.extend_from_slice(&self.manifest.0);
        out.extend_from_slice(&(self.files.len() as u32).to_le_bytes());
        for stamp in &self.files {
            let stamp = stamp.unwrap_or_default();
            for number in [stamp.device, stamp.inode, stamp.length] {
                out.extend_from_slice(&number.to_le_bytes());
            }
            out.extend_from_slice(&stamp.mode.to_le_bytes());
            for moment in [stamp.modified, stamp.changed] {
                out.extend_from_slice(&moment.seconds.to_le_bytes());
                out.extend_from_slice(&moment.nanoseconds.to_le_bytes());
            }
        }
        let checksum = digest_of(&out);
        out.extend_from_slice(&checksum.0);
        out
    }

    fn decode(bytes: &[u8]) -> Option<Stamps> {
        let (body, checksum) = bytes.split_last_chunk::<32>()?;
        if digest_of(body).0 != *checksum {
            return None;
        }
        let mut fields = Fields(body);
        if fields.bytes(8)? != MAGIC {
            return None;
        }
        let boot = fields.bytes(16)?.try_into().ok()?;
        let (uptime_us, wall_us, compared_at) =
            (signed(&mut fields)?, signed(&mut fields)?, signed(&mut fields)?);
        let manifest = fields.digest()?;
        let count = fields.u32()? as usize;
        if fields.0.len() != count.checked_mul(STAMP)? {
            return None;
        }
        let files = (0..count).map(|_| take_stamp(&mut fields)).collect::<Option<Vec<_>>>()?;
        Some(Stamps { begun: Clocks { boot, uptime_us, wall_us }, compared_at, manifest, files })
    }
}

fn take_stamp(fields: &mut Fields<'_>) -> Option<Option<Stamp>> {
    let (device, inode, length) = (fields.u64()?, fields.u64()?, fields.u64()?);
    let mode = fields.u32()?;
    let mut moment = || Some(Moment { seconds: signed(fields)?, nanoseconds: fields.u32()? });
    let stamp = Stamp { device, inode, length, mode, modified: moment()?, changed: moment()? };
    Some((stamp != Stamp::default()).then_some(stamp))
}

fn signed(fields: &mut Fields<'_>) -> Option<i64> {
    fields.u64().map(u64::cast_signed)
}

/// What the clocks say now; `None` where the kernel does not tell when it started.
pub(crate) fn clocks() -> Option<Clocks> {
    let boot = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").ok()?;
    let uptime = std::fs::read_to_string("/proc/uptime").ok()?;
    parse_clocks(&boot, &uptime, wall_us())
}

#[expect(
    clippy::disallowed_methods,
    reason = "file systems write the machine's time, not one that a test sets"
)]
pub(crate) fn wall_us() -> i64 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_micros()).unwrap_or(i64::MAX)
}

fn parse_clocks(boot: &str, uptime: &str, wall_us: i64) -> Option<Clocks> {
    let boot = u128::from_str_radix(&boot.trim().replace('-', ""), 16).ok()?.to_be_bytes();
    let uptime: f64 = uptime.split_whitespace().next()?.parse().ok()?;
    Some(Clocks { boot, uptime_us: (uptime * 1e6) as i64, wall_us })
}

#[cfg(test)]
mod tests {
    use packhorse_domain::settled::{Clocks, Moment};

    use super::{Stamp, Stamps, clocks, parse_clocks};
    use crate::wire::digest_of;

    fn stamps() -> Stamps {
        let moment = |seconds| Moment { seconds, nanoseconds: 7 };
        let stamp = Stamp {
            device: 1,
            inode: 2,
            length: 3,
            mode: 0o100_755,
            modified: moment(-4),
            changed: moment(1 << 40),
        };
        Stamps {
            begun: Clocks { boot: [9; 16], uptime_us: 5, wall_us: 6 },
            compared_at: 8,
            manifest: digest_of(b"m"),
            files: vec![Some(stamp), None, Some(Stamp { inode: 5, ..stamp })],
        }
    }

    #[test]
    fn stamps_are_read_as_they_were_written_and_nothing_else_is() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("stamps");
        assert_eq!(Stamps::load(&path), None);
        stamps().save(&path).unwrap();
        assert_eq!(Stamps::load(&path), Some(stamps()));

        let bytes = stamps().encode();
        for at in 0..bytes.len() {
            assert_eq!(Stamps::decode(&bytes[..at]), None, "cut at {at}");
            let mut altered = bytes.clone();
            altered[at] ^= 1;
            assert_eq!(Stamps::decode(&altered), None, "altered at {at}");
        }
        // A count that lies, under a checksum that fits.
        let mut lying = bytes[..bytes.len() - 32].to_vec();
        lying[80..84].copy_from_slice(&u32::MAX.to_le_bytes());
        let checksum = digest_of(&lying);
        lying.extend_from_slice(&checksum.0);
        assert_eq!(Stamps::decode(&lying), None);
    }

    #[test]
    fn clocks_are_read_from_what_the_kernel_says() {
        let told = parse_clocks("0f000000-0000-0000-0000-000000000001\n", "12.50 3.00\n", 9).unwrap();
        assert_eq!((told.boot[0], told.boot[15], told.uptime_us, told.wall_us), (15, 1, 12_500_000, 9));
        assert_eq!(parse_clocks("no", "1 1", 0), None);
        assert_eq!(parse_clocks("0f", "", 0), None);
        assert_eq!(clocks().map(|clocks| clocks.boot), clocks().map(|clocks| clocks.boot));
    }
}
