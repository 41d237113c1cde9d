//! A volume that was made elsewhere, written to a medium as one that is made here: under a temporary name, synced, read back,
//! and only then under its own.

use std::{
    fs::{self, File},
    io::Write as _,
    ops::ControlFlow,
    path::PathBuf,
};

use crate::{
    head::Front,
    id::ParcelId,
    medium::{self, Medium, MediumError},
    plan::Written,
    write::{self, OnProgress, WriteError},
};

/// A volume while its bytes come.
#[derive(Debug)]
pub struct VolumeCopy<'a> {
    medium: &'a Medium,
    file: File,
    temporary: PathBuf,
    path: PathBuf,
    written: Written,
    unsynced: u64,
    /// Whether nothing of it is to be left.
    unfinished: bool,
}

/// After so many bytes the medium must have them.
const SYNC_BYTES: u64 = 64 * 1024 * 1024;

impl<'a> VolumeCopy<'a> {
    /// Begins a volume of which it is known what it will be. `None`: it lies there already, whole.
    ///
    /// # Errors
    /// The medium has no room for it, cannot be written, or has another file of its name.
    pub fn begin(
        medium: &'a Medium,
        id: &ParcelId,
        number: u16,
        written: Written,
    ) -> Result<Option<Self>, WriteError> {
        let path = medium.root().join(id.volume(number));
        if path.exists() {
            let in_the_way = |_| WriteError::Medium(MediumError::InTheWay { path: path.clone() });
            return written
                .verify(&path, &mut |_| ControlFlow::Continue(()))
                .map_err(in_the_way)
                .map(|()| None);
        }
        let begun = || -> Result<_, MediumError> {
            medium.check()?;
            medium::make_directories(medium.root(), &id.directory())?;
            let temporary = path.with_extension("TMP");
            let file = medium::make_temporary(&temporary)?;
            let room = medium::check_room(&path, written.length);
            if room.is_err() {
                drop(fs::remove_file(&temporary));
            }
            room?;
            Ok((file, temporary))
        };
        let (file, temporary) = begun().map_err(WriteError::Medium)?;
        Ok(Some(VolumeCopy { medium, file, temporary, path, written, unsynced: 0, unfinished: true }))
    }

    /// The next bytes.
    ///
    /// # Errors
    /// The medium is full, or fails.
    pub fn push(&mut self, bytes: &[u8]) -> Result<(), WriteError> {
        let written = self.file.write_all(bytes).and_then(|()| {
            self.unsynced += bytes.len() as u64;
            if self.unsynced < SYNC_BYTES {
                return Ok(());
            }
            self.unsynced = 0;
            self.file.sync_data()
        });
        written.map_err(|error| self.failed(error))
    }

    /// Reads it back from the medium and gives it its name.
    ///
    /// # Errors
    /// What lies there is not the volume, the medium fails, or was removed.
    pub fn finish(mut self, progress: &mut OnProgress<'_>) -> Result<(), WriteError> {
        self.file.sync_all().map_err(|error| self.failed(error))?;
        self.written.verify(&self.temporary, progress)?;
        let front = self.read_front()?;
        medium::put_in_place(&self.temporary, &self.path).map_err(WriteError::Medium)?;
        self.unfinished = false;
        write::write_readme(&self.path, &front.head)?;
        self.medium.check().map_err(WriteError::Medium)
    }

    fn read_front(&self) -> Result<Front, WriteError> {
        let misread = || WriteError::Misread { path: self.path.clone() };
        let file = File::open(&self.temporary).map_err(|error| self.failed(error))?;
        Front::read(&file).map_err(|_| misread())
    }

    fn failed(&self, error: std::io::Error) -> WriteError {
        let failed = MediumError::of_write("write", &self.path, self.written.length)(error).midway();
        WriteError::Medium(self.medium.check().err().unwrap_or(failed))
    }
}

impl Drop for VolumeCopy<'_> {
    fn drop(&mut self) {
        if self.unfinished {
            drop(fs::remove_file(&self.temporary));
        }
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    /// Bytes that begin as a volume does are not needed to see what becomes of those that do not.
    fn written(bytes: &[u8]) -> Written {
        let digest = packhorse_domain::Digest(*blake3::hash(bytes).as_bytes());
        Written { length: bytes.len() as u64, digest }
    }

    fn names(root: &Path, id: &ParcelId) -> usize {
        fs::read_dir(root.join(id.directory())).map_or(0, Iterator::count)
    }

    #[test]
    fn what_is_cut_off_or_no_volume_leaves_nothing_and_what_lies_there_is_taken_for_what_it_is() {
        let root = tempfile::tempdir().unwrap();
        let (medium, id) = (Medium::at(root.path()).unwrap(), ParcelId([7; 16]));
        let mut copy = VolumeCopy::begin(&medium, &id, 1, written(b"not a volume")).unwrap().unwrap();
        copy.push(b"not a").unwrap();
        drop(copy);
        assert_eq!(names(root.path(), &id), 0);
        let mut copy = VolumeCopy::begin(&medium, &id, 1, written(b"not a volume")).unwrap().unwrap();
        copy.push(b"not a volume").unwrap();
        let finished = copy.finish(&mut |_| ControlFlow::Continue(()));
        assert!(matches!(finished, Err(WriteError::Misread { .. })), "{finished:?}");
        assert_eq!(names(root.path(), &id), 0);

        let path = root.path().join(id.directory()).join("001.PHV");
        fs::write(&path, b"not a volume").unwrap();
        assert!(VolumeCopy::begin(&medium, &id, 1, written(b"not a volume")).unwrap().is_none());
        let other = VolumeCopy::begin(&medium, &id, 1, written(b"another one.")).map(|_| ());
        assert!(matches!(other, Err(WriteError::Medium(MediumError::InTheWay { .. }))), "{other:?}");
    }
}
