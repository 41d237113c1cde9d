//! Instruction files on disk, each under its digest. A file is there whole or not at all.

use std::{
    collections::HashSet,
    fs, io,
    path::{Path, PathBuf},
};

use packhorse_domain::{Digest, instruction::FileReference};
use packhorse_runtime::durable::{DurableError, remove_unfinished, write_file_durable};

use crate::verify::Files;

/// A longer file is refused by those who send it.
pub const FILE_LENGTH_MAX: usize = 2 * 1024 * 1024;

/// The directory of instruction files.
#[derive(Debug, Clone)]
pub struct FileStore {
    directory: PathBuf,
}

#[derive(Debug, thiserror::Error)]
pub enum FileStoreError {
    #[error("cannot {operation} {path:?}")]
    Io { operation: &'static str, path: PathBuf, source: io::Error },
    #[error("cannot keep an instruction file")]
    Durable {
        #[from]
        source: DurableError,
    },
}

impl FileStore {
    pub fn open(directory: &Path) -> Result<Self, FileStoreError> {
        fs::create_dir_all(directory).map_err(failed("make", directory))?;
        remove_unfinished(directory)?;
        Ok(FileStore { directory: directory.to_owned() })
    }

    /// The file with this digest; `None` if it is not here, or is not what it was.
    pub fn get(&self, digest: &Digest) -> Option<Vec<u8>> {
        let path = self.path(digest);
        let longest = FILE_LENGTH_MAX as u64;
        let content = fs::metadata(&path)
            .ok()
            .filter(|found| found.len() <= longest)
            .and_then(|_| fs::read(&path).ok())?;
        (blake3::hash(&content).as_bytes() == digest.as_bytes()).then_some(content)
    }

    /// Keeps a file under its digest, durably.
    pub fn put(&self, content: &[u8]) -> Result<Digest, FileStoreError> {
        let digest = Digest(*blake3::hash(content).as_bytes());
        if self.get(&digest).is_none() {
            write_file_durable(&self.path(&digest), content, 0o600)?;
        }
        Ok(digest)
    }

    /// Removes all other files.
    pub fn retain(&self, live: &HashSet<Digest>) -> Result<(), FileStoreError> {
        let listed = fs::read_dir(&self.directory).map_err(failed("list", &self.directory))?;
        for entry in listed {
            let path = entry.map_err(failed("list", &self.directory))?.path();
            let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
            if name.parse::<Digest>().is_ok_and(|digest| !live.contains(&digest)) {
                fs::remove_file(&path).map_err(failed("remove", &path))?;
            }
        }
        Ok(())
    }

    fn path(&self, digest: &Digest) -> PathBuf {
        self.directory.join(digest.to_string())
    }
}

impl Files for FileStore {
    fn file(&self, reference: &FileReference) -> Option<Vec<u8>> {
        self.get(&reference.digest)
    }
}

fn failed(operation: &'static str, path: &Path) -> impl FnOnce(io::Error) -> FileStoreError {
    move |source| FileStoreError::Io { operation, path: path.to_owned(), source }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_that_was_changed_on_disk_is_not_given() {
        let dir = tempfile::tempdir().unwrap();
        let store = FileStore::open(dir.path()).unwrap();
        let digest = store.put(b"offer").unwrap();
        assert_eq!(store.get(&digest).as_deref(), Some(b"offer".as_slice()));

        fs::write(dir.path().join(digest.to_string()), "other").unwrap();
        assert_eq!(store.get(&digest), None);
        store.put(b"offer").unwrap();
        assert_eq!(store.get(&digest).as_deref(), Some(b"offer".as_slice()));
    }

    #[test]
    fn what_no_instruction_names_goes() {
        let dir = tempfile::tempdir().unwrap();
        let store = FileStore::open(dir.path()).unwrap();
        let [old, new] = [b"old", b"new"].map(|content| store.put(content).unwrap());

        store.retain(&HashSet::from([new])).unwrap();

        assert!(store.get(&old).is_none() && store.get(&new).is_some());
    }
}
