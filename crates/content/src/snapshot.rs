//! Taking a source directory into a library: walk, cut into chunks, hash, store.
//!
//! Chunks are cut by content (FastCDC 2020; 16, 64 and 256 KiB), so that an insertion changes the chunks around it and
//! no others; a file up to 64 KiB is one chunk. The cut points decide what later versions share, so these numbers are
//! part of the format. Nothing of a snapshot that fails shows.

use std::{
    fs::{File, Metadata, OpenOptions},
    io::{self, Read},
    ops::ControlFlow,
    os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt},
    path::{Path, PathBuf},
};

use fastcdc::v2020::StreamCDC;
use packhorse_domain::Digest;
use rustix::fs::OFlags;

use crate::{
    error::LibraryError,
    library::Library,
    limits::{CHUNK_LENGTH_MAX, WHOLE_FILE_LENGTH_MAX},
    manifest::{ChunkRef, Entry, EntryKind, Manifest},
    wire::digest_of,
    writer::PackWriter,
};

mod walk;

use walk::{Found, FoundKind, walk};

const CHUNK_LENGTH_MIN: usize = 16 * 1024;
const CHUNK_LENGTH_AVERAGE: usize = 64 * 1024;

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
    let mut taking = Taking {
        source,
        writer: library.writer().map_err(SnapshotError::Library)?,
        progress,
        state,
        buffer: Vec::with_capacity(WHOLE_FILE_LENGTH_MAX as usize + 1),
    };
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
    buffer: Vec<u8>,
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
        let (digest, chunks) = if length <= WHOLE_FILE_LENGTH_MAX {
            self.whole(&file, length, &path)?
        } else {
            self.cut(&file, length, &path)?
        };
        let after = file.metadata().map_err(unreadable)?;
        if !is_same(&before, &after) {
            return Err(SnapshotError::Changed { path });
        }
        self.state.files_done += 1;
        self.report()?;
        Ok(EntryKind::File { executable: before.permissions().mode() & 0o111 != 0, length, digest, chunks })
    }

    fn whole(
        &mut self,
        file: &File,
        length: u64,
        path: &Path,
    ) -> Result<(Digest, Vec<ChunkRef>), SnapshotError> {
        self.buffer.clear();
        file.take(length + 1)
            .read_to_end(&mut self.buffer)
            .map_err(|reason| SnapshotError::Unreadable { path: path.to_owned(), reason })?;
        if self.buffer.len() as u64 != length {
            return Err(SnapshotError::Changed { path: path.to_owned() });
        }
        let digest = digest_of(&self.buffer);
        if length == 0 {
            return Ok((digest, Vec::new()));
        }
        self.writer.add_checked(digest, &self.buffer).map_err(SnapshotError::Library)?;
        self.state.bytes_done += length;
        Ok((digest, vec![ChunkRef { digest, length: length as u32 }]))
    }

    fn cut(
        &mut self,
        file: &File,
        length: u64,
        path: &Path,
    ) -> Result<(Digest, Vec<ChunkRef>), SnapshotError> {
        let mut hasher = blake3::Hasher::new();
        let mut chunks = Vec::with_capacity((length / CHUNK_LENGTH_AVERAGE as u64) as usize);
        let mut taken = 0;
        // One byte more than there should be, so that a file that grows is noticed and does not go on for ever.
        let input = file.take(length.saturating_add(1));
        let cutter = StreamCDC::new(input, CHUNK_LENGTH_MIN, CHUNK_LENGTH_AVERAGE, CHUNK_LENGTH_MAX as usize);
        for chunk in cutter {
            let chunk = chunk.map_err(|error| SnapshotError::Unreadable {
                path: path.to_owned(),
                reason: io::Error::other(error),
            })?;
            taken += chunk.data.len() as u64;
            if taken > length {
                return Err(SnapshotError::Changed { path: path.to_owned() });
            }
            let digest = digest_of(&chunk.data);
            hasher.update(&chunk.data);
            self.writer.add_checked(digest, &chunk.data).map_err(SnapshotError::Library)?;
            chunks.push(ChunkRef { digest, length: chunk.data.len() as u32 });
            self.state.bytes_done += chunk.data.len() as u64;
            self.report()?;
        }
        if taken != length {
            return Err(SnapshotError::Changed { path: path.to_owned() });
        }
        Ok((Digest(*hasher.finalize().as_bytes()), chunks))
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
