//! Room on a disk: new package content never takes what the site needs to go on.
//!
//! Kill lists, instructions, objects and status are never asked: it is for them that the reserve is there.

use std::{
    io,
    path::{Path, PathBuf},
    sync::atomic::{AtomicU64, Ordering},
};

use packhorse_domain::care::{Disk, Reserve, Shortage};

use crate::error::Error;

/// The disk is looked at again after so many bytes.
const LOOK_EVERY: u64 = 16 * 1024 * 1024;

/// A disk that has no room for package content.
#[derive(Debug, thiserror::Error)]
#[error("the disk that holds {} has no room for package content: {shortage}", path.display())]
pub(crate) struct NoRoom {
    path: PathBuf,
    shortage: Shortage,
}

impl From<NoRoom> for Error {
    fn from(no_room: NoRoom) -> Self {
        Error::Precondition(format!(
            "{no_room}; `packhorse content usage` shows what takes it: delete packages that are not needed, give the site \
             a larger disk, or lower `content.reserve` in its site.toml"
        ))
    }
}

/// The disk that holds a directory.
pub(crate) fn disk(path: &Path) -> io::Result<Disk> {
    let space = rustix::fs::statvfs(path)?;
    Ok(Disk {
        free_bytes: space.f_bavail.saturating_mul(space.f_frsize),
        total_bytes: space.f_blocks.saturating_mul(space.f_frsize),
    })
}

/// Whether `needed` bytes of new content may go to this directory. A disk that does not say how full it is is no reason
/// to stop: writing shows it.
pub(crate) fn check(reserve: Reserve, path: &Path, needed: u64) -> Result<(), NoRoom> {
    let Ok(disk) = disk(path) else { return Ok(()) };
    reserve.admit(disk, needed).map_err(|shortage| NoRoom { path: path.to_owned(), shortage })
}

/// Looks again and again while content is taken in, since others write to the disk too.
#[derive(Debug)]
pub(crate) struct Watch {
    reserve: Reserve,
    path: PathBuf,
    looked_at: AtomicU64,
}

impl Watch {
    /// The disk is looked at at once.
    pub(crate) fn begin(reserve: Reserve, path: PathBuf) -> Result<Watch, NoRoom> {
        check(reserve, &path, 0)?;
        Ok(Watch { reserve, path, looked_at: AtomicU64::new(0) })
    }

    /// So many bytes were taken in by now.
    pub(crate) fn reached(&self, bytes: u64) -> Result<(), NoRoom> {
        if bytes.saturating_sub(self.looked_at.load(Ordering::Relaxed)) < LOOK_EVERY {
            return Ok(());
        }
        self.looked_at.store(bytes, Ordering::Relaxed);
        check(self.reserve, &self.path, 0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_refused_names_the_disk_what_is_lacking_and_what_to_do() {
        let dir = tempfile::tempdir().unwrap();

        check(Reserve::Bytes(0), dir.path(), 1).unwrap();
        let refused = check(Reserve::Bytes(u64::MAX), dir.path(), 1).unwrap_err();

        let text = refused.to_string();
        assert!(text.contains(&dir.path().display().to_string()), "{text}");
        assert!(text.contains("are free") && text.contains("stay in reserve"), "{text}");
        let Error::Precondition(text) = Error::from(refused) else { panic!() };
        assert!(text.contains("; `packhorse content usage`") && text.contains("content.reserve"), "{text}");
    }

    #[test]
    fn a_watch_looks_at_the_beginning_and_then_now_and_then() {
        let dir = tempfile::tempdir().unwrap();
        let path = || dir.path().to_owned();
        assert!(Watch::begin(Reserve::Bytes(u64::MAX), path()).is_err());
        let mut watch = Watch::begin(Reserve::Bytes(0), path()).unwrap();
        watch.reserve = Reserve::Bytes(u64::MAX);

        assert!(watch.reached(LOOK_EVERY - 1).is_ok());
        assert!(watch.reached(LOOK_EVERY).is_err());
        assert!(watch.reached(LOOK_EVERY + 1).is_ok());
        assert!(watch.reached(2 * LOOK_EVERY).is_err());
    }
}
