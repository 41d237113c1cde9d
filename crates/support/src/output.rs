//! The file that a bundle is written to: only its owner can read it, and it has its name only when it is whole.

use std::{
    fs::{File, Permissions},
    io::{self, Write as _},
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
};

use tempfile::NamedTempFile;

/// A file that is being written. Dropped before [`Output::finish`], nothing is left of it.
#[derive(Debug)]
pub struct Output {
    file: NamedTempFile,
    path: PathBuf,
}

impl Output {
    /// A file that is there already is an error, now or when this one is whole.
    pub fn begin(path: &Path) -> io::Result<Self> {
        if path.exists() {
            return Err(exists());
        }
        let file = tempfile::Builder::new()
            .prefix(".packhorse-")
            .permissions(Permissions::from_mode(0o600))
            .tempfile_in(directory_of(path))?;
        Ok(Output { file, path: path.to_owned() })
    }

    pub fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.file.write_all(bytes)
    }

    /// Gives it its name. Once this returns, it is on disk.
    pub fn finish(self) -> io::Result<()> {
        self.file.as_file().sync_all()?;
        self.file.persist_noclobber(&self.path).map_err(|refused| match refused.error.kind() {
            io::ErrorKind::AlreadyExists => exists(),
            _ => refused.error,
        })?;
        File::open(directory_of(&self.path))?.sync_all()
    }
}

/// Writes a whole file that is not there yet.
pub fn write_new(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut output = Output::begin(path)?;
    output.write(bytes)?;
    output.finish()
}

fn exists() -> io::Error {
    io::Error::new(io::ErrorKind::AlreadyExists, "it is there already, and is kept; give another name")
}

fn directory_of(path: &Path) -> &Path {
    path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn a_file_is_whole_and_private_or_not_there() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("a.tar.zst");
        let mut cut_off = Output::begin(&path).unwrap();
        cut_off.write(b"half").unwrap();
        drop(cut_off);
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 0);

        write_new(&path, b"whole").unwrap();

        assert_eq!(fs::read(&path).unwrap(), b"whole");
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(write_new(&path, b"other").unwrap_err().kind(), io::ErrorKind::AlreadyExists);
        assert_eq!(fs::read(&path).unwrap(), b"whole");
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 1);
    }
}
