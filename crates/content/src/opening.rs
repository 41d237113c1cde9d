//! What comes first when a library is opened: keeping others out, knowing its format, and making what is found durable.

use std::{
    fs::{File, OpenOptions},
    io,
    os::unix::fs::OpenOptionsExt,
    path::Path,
};

use rustix::fs::FlockOperation;

use crate::{durable, error::LibraryError};

const FORMAT: &[u8] = b"packhorse-library 1\n";

pub(crate) fn take_lock(dir: &Path) -> Result<File, LibraryError> {
    let path = dir.join("lock");
    let file = OpenOptions::new().write(true).create(true).truncate(false).mode(0o600).open(&path);
    let file = file.map_err(LibraryError::io("open", &path))?;
    match rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Ok(file),
        Err(rustix::io::Errno::WOULDBLOCK) => Err(LibraryError::Locked { dir: dir.to_owned() }),
        Err(error) => Err(LibraryError::io("lock", &path)(error.into())),
    }
}

pub(crate) fn check_format(dir: &Path) -> Result<(), LibraryError> {
    let path = dir.join("format");
    match std::fs::read(&path) {
        Ok(found) if found == FORMAT => Ok(()),
        Ok(_) => Err(LibraryError::Format { path }),
        Err(error) if error.kind() == io::ErrorKind::NotFound => durable::write(&path, FORMAT),
        Err(error) => Err(LibraryError::io("read", &path)(error)),
    }
}

/// A process that was killed may have made names that are not durable yet, and what is found counts as held.
pub(crate) fn sync_names(dir: &Path) -> Result<(), LibraryError> {
    for sub in ["packs", "manifests", "incoming", "."] {
        durable::sync_directory(&dir.join(sub))?;
    }
    let parent = dir.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    match durable::sync_directory(parent) {
        // Who made the library for us and lets nobody look around there has to sync it.
        Err(LibraryError::Io { source, .. }) if source.kind() == io::ErrorKind::PermissionDenied => Ok(()),
        synced => synced,
    }
}

pub(crate) fn remove_unfinished(dir: &Path) -> Result<(), LibraryError> {
    for entry in dir.read_dir().map_err(LibraryError::io("list", dir))? {
        let entry = entry.map_err(LibraryError::io("list", dir))?;
        if entry.file_name().to_string_lossy().starts_with(".part-") {
            std::fs::remove_file(entry.path()).map_err(LibraryError::io("remove", &entry.path()))?;
        }
    }
    Ok(())
}
