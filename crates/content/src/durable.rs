//! Files that are there whole or not at all, also after a power cut.

use std::{
    fs::File,
    io::Write,
    num::NonZeroU64,
    path::{Path, PathBuf},
    sync::{Mutex, MutexGuard, PoisonError},
};

use rustix::fs::Advice;

use crate::error::LibraryError;

/// From this length on the disk begins to write before it is asked to finish.
const BEGIN_BYTES: u64 = 4 * 1024 * 1024;

/// Writes `bytes` as `path`: written beside it, synced, renamed, and the directory synced.
pub(crate) fn write(path: &Path, bytes: &[u8]) -> Result<(), LibraryError> {
    let dir = directory(path);
    let mut file = tempfile::Builder::new()
        .prefix(".part-")
        .tempfile_in(&dir)
        .map_err(LibraryError::io("make a file in", &dir))?;
    file.write_all(bytes).map_err(LibraryError::io("write", path))?;
    persist(file, path)?;
    Ok(())
}

/// Makes the finished temporary file durable under its name.
pub(crate) fn persist(file: tempfile::NamedTempFile, path: &Path) -> Result<File, LibraryError> {
    file.as_file().sync_data().map_err(LibraryError::io("sync", path))?;
    let file =
        file.persist(path).map_err(|error| error.error).map_err(LibraryError::io("rename to", path))?;
    sync_directory(&directory(path))?;
    Ok(file)
}

pub(crate) fn sync_directory(dir: &Path) -> Result<(), LibraryError> {
    File::open(dir).and_then(|file| file.sync_all()).map_err(LibraryError::io("sync", dir))
}

/// Has the disk begin with what was written since, if it is worth it: there is less to wait for at the end. Until where it
/// has begun.
pub(crate) fn begin_writing(file: &File, begun: u64, end: u64) -> u64 {
    if end - begun < BEGIN_BYTES {
        return begun;
    }
    // To have no more need of it means to write it: that it stays in memory meanwhile does no harm.
    let _ = rustix::fs::fadvise(file, begun, NonZeroU64::new(end - begun), Advice::DontNeed);
    end
}

fn directory(path: &Path) -> PathBuf {
    path.parent().unwrap_or(Path::new(".")).to_owned()
}

/// A lock whose holder panicked guards data that is whole all the same: every change here is a single step.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
