//! Taking a source directory into a library: walk, cut into chunks, hash, store.
//!
//! Chunks are cut by content (FastCDC 2020; 16, 64 and 256 KiB), so that an insertion changes the chunks around it and
//! no others; a file up to 64 KiB is one chunk. The cut points decide what later versions share, so these numbers are
//! part of the format. Nothing of a snapshot that fails shows.

use std::{
    fs::{Metadata, OpenOptions},
    io::{self, Read},
    ops::ControlFlow,
    os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt},
    path::{Path, PathBuf},
};

use packhorse_domain::Digest;
use rustix::fs::OFlags;

use crate::{
    cut::{CutError, cut},
    error::LibraryError,
    library::Library,
    manifest::{ChunkRef, Entry, EntryKind, Manifest},
    writer::PackWriter,
};

mod walk;

use walk::{Found, FoundKind, walk};

/// A source as it was: its manifest is in the library, durable.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Snapshot {
    pub manifest: Manifest,
    pub digest: Digest,
}

/// How far a snapshot is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Progress {
    pub files_done: u64,
    pub files_total: u64,
    pub bytes_done: u64,
    pub bytes_total: u64,
}

/// Why there is no snapshot. Each says the path, the reason and what to do about it, in one line.
#[derive(Debug, thiserror::Error)]
pub enum SnapshotError {
    #[error("the source {source_dir:?} does not exist: check the path and that the share is mounted")]
    SourceMissing { source_dir: PathBuf },
    #[error("the source {source_dir:?} is not a directory: name the directory that holds the files")]
    SourceNotADirectory { source_dir: PathBuf },
    #[error("the source {source_dir:?} is empty: put the package's files there first")]
    SourceEmpty { source_dir: PathBuf },
    #[error("{path:?} cannot be read ({reason}): give the site server permission to read it")]
    Unreadable { path: PathBuf, reason: io::Error },
    #[error("{path:?} changed while it was read: wait until nothing writes to the source and try again")]
    Changed { path: PathBuf },
    #[error("{path:?} has a name that is not UTF-8 or too long: rename it")]
    Name { path: PathBuf },
    #[error("{path:?} is a {kind}, which cannot be distributed: remove it from the source")]
    Special { path: PathBuf, kind: &'static str },
    #[error(
        "{path:?} is a link to {target:?}, which is outside the source: make it a relative link to a file inside"
    )]
    LinkLeaves { path: PathBuf, target: PathBuf },
    #[error(
        "the source {source_dir:?} has more than {max} entries: split the package or pack the files together"
    )]
    TooMany { source_dir: PathBuf, max: u32 },
    #[error("the source {source_dir:?} is larger than the {max} bytes of a package: split the package")]
    TooLarge { source_dir: PathBuf, max: u64 },
    #[error("the snapshot was cancelled")]
    Cancelled,
    #[error("the content library failed")]
    Library(#[source] LibraryError),
}

/// Takes the directory into the library. `progress` is called often and ends the snapshot by breaking.
pub fn snapshot(
    source: &Path,
    library: &Library,
    progress: &dyn Fn(Progress) -> ControlFlow<()>,
) -> Result<Snapshot, SnapshotError> {
    let (top, found) = walk(source)?;
    let lengths = found.iter().map(|found| match &found.kind {
        FoundKind::File(metadata) => metadata.len(),
        _ => 0,
    });
    let state = Progress {
        files_total: found.iter().filter(|found| matches!(found.kind, FoundKind::File(_))).count() as u64,
        bytes_total: lengths.sum(),
        ..Progress::default()
    };
    let mut taking =
        Taking { source, writer: library.writer().map_err(SnapshotError::Library)?, progress, state };
    taking.report()?;
    let mut entries = Vec::with_capacity(found.len());
    let mut directories = vec![(String::new(), top)];
    for Found { path, kind } in found {
        let kind = match kind {
            FoundKind::File(metadata) => taking.file(&path, &metadata)?,
            FoundKind::Link(target) => EntryKind::Symlink { target },
            FoundKind::Directory(metadata) => {
                directories.push((path.clone(), metadata));
                EntryKind::Directory
            }
        };
        entries.push(Entry { path, kind });
    }
    // A file that came or went changed its directory.
    for (path, before) in directories {
        let path = source.join(path);
        let after = path.symlink_metadata().map_err(|_| SnapshotError::Changed { path: path.clone() })?;
        if !is_same(&before, &after) {
            return Err(SnapshotError::Changed { path });
        }
    }
    let manifest = Manifest { entries };
    let Taking { mut writer, .. } = taking;
    writer.flush_durable().map_err(SnapshotError::Library)?;
    let digest = library.put_manifest(&manifest.encode()).map_err(SnapshotError::Library)?;
    writer.seal().map_err(SnapshotError::Library)?;
    Ok(Snapshot { manifest, digest })
}

struct Taking<'a> {
    source: &'a Path,
    writer: PackWriter,
    progress: &'a dyn Fn(Progress) -> ControlFlow<()>,
    state: Progress,
}

impl Taking<'_> {
    fn report(&self) -> Result<(), SnapshotError> {
        match (self.progress)(self.state) {
            ControlFlow::Continue(()) => Ok(()),
            ControlFlow::Break(()) => Err(SnapshotError::Cancelled),
        }
    }

    fn file(&mut self, path: &str, walked: &Metadata) -> Result<EntryKind, SnapshotError> {
        let path = self.source.join(path);
        let unreadable = |reason| SnapshotError::Unreadable { path: path.clone(), reason };
        // A pipe that took the file's place meanwhile must not keep us waiting, nor a link lead us elsewhere.
        let file = OpenOptions::new()
            .read(true)
            .custom_flags((OFlags::NOFOLLOW | OFlags::NONBLOCK).bits() as i32)
            .open(&path)
            .map_err(unreadable)?;
        let before = file.metadata().map_err(unreadable)?;
        if !is_same(walked, &before) {
            return Err(SnapshotError::Changed { path });
        }
        let length = before.len();
        let (digest, chunks) = self.cut(&mut &file, length).map_err(|error| match error {
            CutError::Read(reason) => unreadable(reason),
            CutError::Length => SnapshotError::Changed { path: path.clone() },
            CutError::Library(error) => SnapshotError::Library(error),
            CutError::Cancelled => SnapshotError::Cancelled,
        })?;
        let after = file.metadata().map_err(unreadable)?;
        if !is_same(&before, &after) {
            return Err(SnapshotError::Changed { path });
        }
        self.state.files_done += 1;
        self.report()?;
        Ok(EntryKind::File { executable: before.permissions().mode() & 0o111 != 0, length, digest, chunks })
    }

    fn cut(&mut self, file: &mut dyn Read, length: u64) -> Result<(Digest, Vec<ChunkRef>), CutError> {
        let Taking { writer, progress, state, .. } = self;
        cut(file, length, writer, &mut |bytes| {
            state.bytes_done += bytes;
            progress(*state)
        })
    }
}

/// Whether nothing was written between two looks. The time of the last access may differ: we read.
fn is_same(one: &Metadata, other: &Metadata) -> bool {
    let face = |metadata: &Metadata| {
        (
            (metadata.dev(), metadata.ino(), metadata.mode()),
            metadata.len(),
            (metadata.mtime(), metadata.mtime_nsec()),
            (metadata.ctime(), metadata.ctime_nsec()),
        )
    };
    face(one) == face(other)
}

#[cfg(test)]
#[path = "snapshot_tests.rs"]
mod tests;
