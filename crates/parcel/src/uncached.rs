//! Reading a file from the medium itself, not from the memory in which the kernel keeps what was just written.

use std::{
    fs::{File, OpenOptions},
    io::{self, Read as _},
    os::unix::fs::OpenOptionsExt as _,
    path::Path,
};

use rustix::fs::{Advice, OFlags};

/// The alignment that direct reads demand of memory, at most.
const ALIGN: usize = 4096;
const READ_BYTES: usize = 4 * 1024 * 1024;

/// Gives all bytes of a file to `take`, in order, in runs of at most 4 MiB. What was written must have been synced.
pub(crate) fn read(path: &Path, take: &mut dyn FnMut(&[u8]) -> io::Result<()>) -> io::Result<()> {
    let direct = OpenOptions::new().read(true).custom_flags(OFlags::DIRECT.bits() as i32).open(path);
    let mut taken = 0;
    if let Ok(file) = direct {
        match pass(file, &mut taken, take) {
            // The file system took the flag and cannot do it after all.
            Err(error) if error.kind() == io::ErrorKind::InvalidInput && taken == 0 => {}
            other => return other,
        }
    }
    let file = File::open(path)?;
    rustix::fs::fadvise(&file, 0, None, Advice::DontNeed)?;
    pass(file, &mut taken, take)
}

fn pass(mut file: File, taken: &mut u64, take: &mut dyn FnMut(&[u8]) -> io::Result<()>) -> io::Result<()> {
    let mut memory = vec![0_u8; READ_BYTES + ALIGN];
    let begin = memory.as_ptr().align_offset(ALIGN).min(ALIGN);
    let buffer = &mut memory[begin..begin + READ_BYTES];
    let length = file.metadata()?.len();
    // Behind the last bytes nothing is asked for: a direct read there would not be aligned.
    while *taken < length {
        match file.read(buffer) {
            Ok(0) => break,
            Ok(read) => {
                *taken += read as u64;
                take(&buffer[..read])?;
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}
