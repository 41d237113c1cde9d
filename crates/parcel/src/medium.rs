//! A directory on a medium: what is made durable there, and what its failures mean.

use std::{
    fs::{self, File, OpenOptions},
    io,
    os::unix::fs::{MetadataExt as _, OpenOptionsExt as _},
    path::{Path, PathBuf},
};

use rustix::{
    fs::{CWD, OFlags, RenameFlags},
    io::Errno,
};

/// What can go wrong with a medium, by what a person does about it.
#[derive(Debug, thiserror::Error)]
pub enum MediumError {
    #[error("the medium at {} is full: {needed} bytes are needed, {free} are free", path.display())]
    Full { path: PathBuf, needed: u64, free: u64 },
    #[error("the medium takes no file of {length} bytes as {}: make smaller volumes", path.display())]
    TooLong { path: PathBuf, length: u64 },
    #[error("{} is on a medium that is write-protected, or may not be written to", path.display())]
    ReadOnly {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error("the medium was removed or fails: cannot {operation} {}", path.display())]
    Failed {
        operation: &'static str,
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error("the medium at {} was removed", path.display())]
    Removed { path: PathBuf },
    #[error("another file is in the way: {}", path.display())]
    InTheWay { path: PathBuf },
    #[error("cannot {operation} {}", path.display())]
    Io {
        operation: &'static str,
        path: PathBuf,
        #[source]
        source: io::Error,
    },
}

/// A directory on a medium, as it was when somebody began to write there. Once the medium is removed, its path may name a
/// directory on another disk.
#[derive(Debug)]
pub struct Medium {
    root: PathBuf,
    device: u64,
    inode: u64,
}

impl Medium {
    /// # Errors
    /// There is nothing at that path.
    pub fn at(root: &Path) -> Result<Medium, MediumError> {
        let facts = fs::metadata(root).map_err(MediumError::of("look at", root))?;
        Ok(Medium { root: root.to_owned(), device: facts.dev(), inode: facts.ino() })
    }

    pub(crate) fn root(&self) -> &Path {
        &self.root
    }

    /// Puts a small file there, durably; one of its name is replaced. Directories above it are made.
    ///
    /// # Errors
    /// The medium is full, write-protected, was removed, or fails.
    pub fn put(&self, file: &Path, bytes: &[u8]) -> Result<(), MediumError> {
        self.check()?;
        let directory = make_directories(&self.root, file.parent().unwrap_or(Path::new("")))?;
        let path = directory.join(file.file_name().unwrap_or_default());
        write_over(&path.with_extension("TMP"), &path, bytes)?;
        self.check()
    }

    /// The bytes of a small file there, at most so many. `None`: there is none, or it is no regular file.
    ///
    /// # Errors
    /// It cannot be read.
    pub fn get(&self, file: &Path, bytes_max: u64) -> Result<Option<Vec<u8>>, MediumError> {
        let path = self.root.join(file);
        let opened = match open_regular(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            other => other.map_err(MediumError::of("open", &path))?,
        };
        let Some(opened) = opened else { return Ok(None) };
        let mut bytes = Vec::new();
        io::Read::read_to_end(&mut io::Read::take(opened, bytes_max), &mut bytes)
            .map_err(MediumError::of("read", &path))?;
        Ok(Some(bytes))
    }

    /// Whether it is still there.
    pub(crate) fn check(&self) -> Result<(), MediumError> {
        let removed = || MediumError::Removed { path: self.root.clone() };
        let facts = fs::metadata(&self.root).map_err(|_| removed())?;
        if (facts.dev(), facts.ino()) == (self.device, self.inode) { Ok(()) } else { Err(removed()) }
    }
}

impl MediumError {
    /// Of a medium that could be written a moment ago: it is not write-protected, it fails.
    pub(crate) fn midway(self) -> MediumError {
        match self {
            MediumError::ReadOnly { path, source } => {
                MediumError::Failed { operation: "go on writing", path, source }
            }
            other => other,
        }
    }

    /// For `map_err`: an operation on a path failed.
    pub(crate) fn of(operation: &'static str, path: &Path) -> impl FnOnce(io::Error) -> MediumError {
        move |source| {
            let path = path.to_owned();
            match source.raw_os_error().map(Errno::from_raw_os_error) {
                Some(Errno::ROFS | Errno::ACCESS | Errno::PERM) => MediumError::ReadOnly { path, source },
                Some(
                    Errno::IO | Errno::NXIO | Errno::NODEV | Errno::STALE | Errno::NOTCONN | Errno::NOMEDIUM,
                ) => MediumError::Failed { operation, path, source },
                Some(Errno::EXIST) => MediumError::InTheWay { path },
                _ => MediumError::Io { operation, path, source },
            }
        }
    }

    /// The same for writing `length` bytes, which may be too many.
    pub(crate) fn of_write(
        operation: &'static str,
        path: &Path,
        length: u64,
    ) -> impl FnOnce(io::Error) -> MediumError {
        move |source| match source.raw_os_error().map(Errno::from_raw_os_error) {
            Some(Errno::NOSPC | Errno::DQUOT) => {
                let free = path.parent().and_then(free_bytes).unwrap_or(0);
                MediumError::Full { path: path.to_owned(), needed: length, free }
            }
            Some(Errno::FBIG | Errno::OVERFLOW) => MediumError::TooLong { path: path.to_owned(), length },
            _ => MediumError::of(operation, path)(source),
        }
    }
}

/// `None` if the file system does not say.
fn free_bytes(directory: &Path) -> Option<u64> {
    let stat = rustix::fs::statvfs(directory).ok().filter(|stat| stat.f_blocks > 0)?;
    stat.f_bavail.checked_mul(stat.f_frsize)
}

/// Refuses to begin what cannot end well.
pub(crate) fn check_room(path: &Path, needed: u64) -> Result<(), MediumError> {
    match path.parent().and_then(free_bytes) {
        Some(free) if free < needed => Err(MediumError::Full { path: path.to_owned(), needed, free }),
        _ => Ok(()),
    }
}

/// Makes a directory and those above it that are not there, up to `root`, which must be.
pub(crate) fn make_directories(root: &Path, below: &Path) -> Result<PathBuf, MediumError> {
    let mut directory = root.to_owned();
    for name in below {
        let next = directory.join(name);
        match fs::create_dir(&next) {
            Ok(()) => sync_directory(&directory)?,
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists && next.is_dir() => {}
            Err(error) => return Err(MediumError::of_write("make the directory", &next, 0)(error)),
        }
        directory = next;
    }
    Ok(directory)
}

/// Makes a new file; one of that name is what an interrupted run left.
pub(crate) fn make_temporary(path: &Path) -> Result<File, MediumError> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            return Err(MediumError::of("remove", path)(error));
        }
        _ => {}
    }
    let made = OpenOptions::new().write(true).create_new(true).open(path);
    made.map_err(MediumError::of_write("make", path, 0))
}

/// Gives a synced file its name, durably. What has that name already stays.
pub(crate) fn put_in_place(from: &Path, to: &Path) -> Result<(), MediumError> {
    let renamed = rustix::fs::renameat_with(CWD, from, CWD, to, RenameFlags::NOREPLACE);
    match renamed {
        // Not every file system can.
        Err(Errno::INVAL | Errno::NOSYS) if !to.exists() => {
            fs::rename(from, to).map_err(MediumError::of("rename to", to))?;
        }
        Err(Errno::INVAL | Errno::NOSYS) => return Err(MediumError::InTheWay { path: to.to_owned() }),
        other => other.map_err(io::Error::from).map_err(MediumError::of("rename to", to))?,
    }
    sync_directory(to.parent().unwrap_or(Path::new(".")))
}

/// Writes a small file that may replace one of its name.
pub(crate) fn write_over(temporary: &Path, to: &Path, bytes: &[u8]) -> Result<(), MediumError> {
    let mut file = make_temporary(temporary)?;
    let written = io::Write::write_all(&mut file, bytes).and_then(|()| file.sync_all());
    written.map_err(MediumError::of_write("write", to, bytes.len() as u64))?;
    fs::rename(temporary, to).map_err(MediumError::of("rename to", to))?;
    sync_directory(to.parent().unwrap_or(Path::new(".")))
}

pub(crate) fn sync_directory(directory: &Path) -> Result<(), MediumError> {
    let synced = File::open(directory).and_then(|file| match file.sync_all() {
        // Where directories cannot be synced alone, all of the file system can.
        Err(error) if error.kind() == io::ErrorKind::InvalidInput => Ok(rustix::fs::syncfs(&file)?),
        other => other,
    });
    synced.map_err(MediumError::of("sync", directory))
}

/// Opens a regular file for reading, and nothing else: no link is followed and no pipe waited for.
pub(crate) fn open_regular(path: &Path) -> io::Result<Option<File>> {
    let flags = (OFlags::NOFOLLOW | OFlags::NONBLOCK).bits() as i32;
    let file = match OpenOptions::new().read(true).custom_flags(flags).open(path) {
        Err(error) if error.raw_os_error() == Some(Errno::LOOP.raw_os_error()) => return Ok(None),
        other => other?,
    };
    Ok(file.metadata()?.is_file().then_some(file))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failure_says_what_to_do() {
        let of = |errno: Errno| {
            let error = MediumError::of_write("write", Path::new("/dev/null"), 10)(errno.into());
            format!("{error:?}").split(' ').next().unwrap_or_default().to_owned()
        };
        let cases = [
            (Errno::NOSPC, "Full"),
            (Errno::DQUOT, "Full"),
            (Errno::FBIG, "TooLong"),
            (Errno::ROFS, "ReadOnly"),
            (Errno::ACCESS, "ReadOnly"),
            (Errno::IO, "Failed"),
            (Errno::NODEV, "Failed"),
            (Errno::NXIO, "Failed"),
            (Errno::EXIST, "InTheWay"),
            (Errno::MFILE, "Io"),
        ];
        for (errno, name) in cases {
            assert_eq!(of(errno), name, "{errno:?}");
        }
    }

    #[test]
    fn what_is_in_the_way_stays() {
        let directory = tempfile::tempdir().unwrap();
        let at = |name: &str| directory.path().join(name);
        fs::write(at("here"), "old").unwrap();
        fs::write(at("new"), "new").unwrap();
        assert!(matches!(put_in_place(&at("new"), &at("here")), Err(MediumError::InTheWay { .. })));
        assert_eq!(fs::read(at("here")).unwrap(), b"old");
        fs::write(at("file"), "").unwrap();
        let made = make_directories(directory.path(), Path::new("file/below"));
        assert!(matches!(made, Err(MediumError::InTheWay { .. })), "{made:?}");
    }

    #[test]
    fn links_and_pipes_are_not_opened() {
        let directory = tempfile::tempdir().unwrap();
        let at = |name: &str| directory.path().join(name);
        fs::write(at("file"), "").unwrap();
        std::os::unix::fs::symlink(at("file"), at("link")).unwrap();
        rustix::fs::mkfifoat(CWD, at("pipe"), rustix::fs::Mode::RUSR).unwrap();
        assert!(open_regular(&at("file")).unwrap().is_some());
        assert!(open_regular(&at("link")).unwrap().is_none());
        assert!(open_regular(&at("pipe")).unwrap().is_none());
    }
}
