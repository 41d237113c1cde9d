//! Taking single chunks from files that lie on a disk: what a library lost may be there still.
//!
//! Nothing is trusted: the files may be of another version, or rotten themselves. What is not what its digest says is
//! left alone.

use std::{
    collections::HashSet,
    fs::{File, OpenOptions},
    os::{
        fd::OwnedFd,
        unix::fs::{FileExt, OpenOptionsExt},
    },
    path::Path,
};

use packhorse_domain::Digest;
use rustix::fs::{Mode, OFlags};

use crate::{
    error::LibraryError,
    library::Library,
    manifest::{ChunkRef, Entry, EntryKind, Manifest},
    tree::open_directory,
    writer::PackWriter,
};

impl Library {
    /// Looks for chunks of the manifest that are not held in the files below `root`, and takes in, durably, those that
    /// are there. How many that were. Files that are not there, or cannot be read, are passed over.
    pub fn take_from_tree(&self, manifest: &Manifest, root: &Path) -> Result<usize, LibraryError> {
        let missing: HashSet<Digest> = self.missing(manifest).into_iter().map(|chunk| chunk.digest).collect();
        let flags = (OFlags::DIRECTORY | OFlags::NONBLOCK).bits() as i32;
        let Ok(top) = OpenOptions::new().read(true).custom_flags(flags).open(root) else { return Ok(0) };
        let top = OwnedFd::from(top);
        let mut writer = self.writer()?;
        let mut taken = 0;
        for Entry { path, kind } in &manifest.entries {
            let EntryKind::File { chunks, .. } = kind else { continue };
            if !chunks.iter().any(|chunk| missing.contains(&chunk.digest)) {
                continue;
            }
            if let Some(file) = open_below(&top, path) {
                taken += take_from_file(&file, chunks, &missing, &mut writer)?;
            }
        }
        writer.seal()?;
        Ok(taken)
    }
}

fn take_from_file(
    file: &File,
    chunks: &[ChunkRef],
    missing: &HashSet<Digest>,
    writer: &mut PackWriter,
) -> Result<usize, LibraryError> {
    let (mut at, mut taken) = (0, 0);
    for chunk in chunks {
        let start = at;
        at += u64::from(chunk.length);
        if !missing.contains(&chunk.digest) {
            continue;
        }
        let mut bytes = vec![0; chunk.length as usize];
        if file.read_exact_at(&mut bytes, start).is_err() {
            continue;
        }
        match writer.add(chunk.digest, &bytes) {
            Ok(new) => taken += usize::from(new),
            Err(LibraryError::WrongChunk { .. }) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(taken)
}

/// A file, never through a link and never something that keeps us waiting.
fn open_below(top: &OwnedFd, path: &str) -> Option<File> {
    let (parents, name) = path.rsplit_once('/').unwrap_or(("", path));
    let mut directory = top.try_clone().ok()?;
    for component in parents.split('/').filter(|component| !component.is_empty()) {
        directory = open_directory(&directory, component).ok()?;
    }
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let file = File::from(rustix::fs::openat(&directory, name, flags, Mode::empty()).ok()?);
    file.metadata().is_ok_and(|metadata| metadata.is_file()).then_some(file)
}

#[cfg(test)]
mod tests {
    use std::{fs, ops::ControlFlow, os::unix::fs::symlink};

    use crate::{
        ScrubPlace,
        testing::{library, noise, source, take},
    };

    /// A library of which a part has rotted and is forgotten.
    fn rotten(seed: u64) -> (tempfile::TempDir, crate::Library, crate::Snapshot, usize) {
        let (dir, library) = library();
        let taken = take(source(seed).path(), &library);
        let pack = dir.path().join("packs/0000000000000001.pack");
        let mut bytes = fs::read(&pack).unwrap();
        bytes[500_000] ^= 1;
        fs::write(&pack, bytes).unwrap();
        let found = library.scrub(ScrubPlace::default(), &mut |_| ControlFlow::Continue(())).unwrap().rotten;
        let digests: Vec<_> = found.iter().map(|chunk| chunk.digest).collect();
        library.forget_damaged(&digests).unwrap();
        (dir, library, taken, digests.len())
    }

    #[test]
    fn lost_chunks_are_cut_from_the_files_that_still_have_them() {
        let (_dir, library, taken, lost) = rotten(1);

        let mended = library.take_from_tree(&taken.manifest, source(1).path()).unwrap();

        assert_eq!(mended, lost);
        assert!(library.verify(&taken.digest).unwrap().is_empty());
    }

    #[test]
    fn files_of_another_version_links_and_nothing_at_all_give_nothing() {
        let (_dir, library, taken, lost) = rotten(1);
        let other = source(1);
        fs::write(other.path().join("large"), noise(9, 700_000)).unwrap();
        let linked = source(1);
        fs::rename(linked.path().join("large"), linked.path().join("elsewhere")).unwrap();
        symlink("elsewhere", linked.path().join("large")).unwrap();

        for root in [other.path(), linked.path(), std::path::Path::new("/nowhere/at/all")] {
            assert_eq!(library.take_from_tree(&taken.manifest, root).unwrap(), 0, "{}", root.display());
        }

        assert_eq!(library.missing(&taken.manifest).len(), lost);
    }
}
