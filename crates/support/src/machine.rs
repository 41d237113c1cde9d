//! The machine and the process: what they are, and what they may use.

use std::{fs, io, path::Path};

use serde_json::{Value, json};

use crate::Bundle;

/// Files of the kernel that say what the process may use, and how it is with the machine.
const KERNEL_FILES: [(&str, &str); 14] = [
    ("/etc/os-release", "the operating system"),
    ("/proc/uptime", "since the machine was started, in seconds"),
    ("/proc/loadavg", "load"),
    ("/proc/meminfo", "memory"),
    ("/proc/self/limits", "limits of this process"),
    ("/proc/self/status", "this process"),
    ("/proc/self/cgroup", "control groups of this process"),
    ("/sys/fs/cgroup/memory.max", "memory that its control group may use"),
    ("/proc/pressure/cpu", "waits for processors"),
    ("/proc/pressure/io", "waits for disks"),
    ("/proc/pressure/memory", "waits for memory"),
    ("/proc/sys/net/ipv4/tcp_congestion_control", "congestion control of TCP"),
    ("/proc/sys/net/ipv4/tcp_available_congestion_control", "those that the kernel has"),
    ("/proc/net/sockstat", "sockets"),
];
const FILE_BYTES_MAX: usize = 64 * 1024;

/// Adds the kernel, the machine and the limits of this process.
pub fn add_machine(bundle: &mut Bundle) {
    let kernel = rustix::system::uname();
    let text = |part: &std::ffi::CStr| part.to_string_lossy().into_owned();
    let facts = json!({
        "system": text(kernel.sysname()),
        "kernel": text(kernel.release()),
        "kernel_version": text(kernel.version()),
        "architecture": text(kernel.machine()),
        "hostname": text(kernel.nodename()),
        "processors": std::thread::available_parallelism().map_or(0, usize::from),
    });
    bundle.json("machine/kernel.json", "The kernel and the machine.", &facts);
    let mut all = String::new();
    for (path, about) in KERNEL_FILES {
        let text = match fs::read(path) {
            Ok(bytes) => String::from_utf8_lossy(&bytes[..bytes.len().min(FILE_BYTES_MAX)]).into_owned(),
            Err(error) => format!("({error})\n"),
        };
        all.push_str(&format!("==> {path}: {about}\n{text}\n"));
    }
    bundle.text("machine/limits.txt", "Operating system, memory, load, and the limits of the process.", &all);
}

/// Room on the disk that holds a path.
pub fn disk(path: &Path) -> io::Result<Value> {
    let space = rustix::fs::statvfs(path)?;
    let kind = rustix::fs::statfs(path)?.f_type;
    Ok(json!({
        "path": path.display().to_string(),
        "total_bytes": space.f_blocks.saturating_mul(space.f_frsize),
        "free_bytes": space.f_bavail.saturating_mul(space.f_frsize),
        "inodes": space.f_files,
        "free_inodes": space.f_favail,
        "file_system_magic": format!("{kind:#x}"),
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_disk_has_room_and_a_place_that_is_none_has_not() {
        let disk = disk(Path::new("/")).unwrap();

        assert!(disk["total_bytes"].as_u64() >= disk["free_bytes"].as_u64());
        assert!(super::disk(Path::new("/nowhere")).is_err());
    }
}
