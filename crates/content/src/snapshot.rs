//! Taking a source directory into a library: walk, cut into chunks, hash, store.
//!
//! Chunks are cut by content (FastCDC 2020; 16, 64 and 256 KiB), so that an insertion changes the chunks around it and
//! no others; a file up to 64 KiB is one chunk. The cut points decide what later versions share, so these numbers are
//! part of the format. Nothing of a snapshot that fails shows.

use std::{
    fmt,
    fs::{Metadata, OpenOptions},
    io::{self, Read},
    ops::ControlFlow,
    os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt},
    path::{Path, PathBuf},
};

use packhorse_domain::Digest;
use rustix::fs::OFlags;

use crate::{
    case::CaseClashes,
    cut::{CutError, cut},
    error::LibraryError,
    library::Library,
    manifest::{ChunkRef, Entry, EntryKind, Manifest},
    sparse::Sparse,
    stamps::Stamp,
    writer::PackWriter,
};

mod plan;
mod walk;

use plan::{Memory, Plan};
use walk::{Found, FoundKind, Walked, walk};

/// So many of the files that cannot be read are named.
const NAMED_MAX: usize = 20;

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
    /// Of those, the ones that were read; the others were known.
    pub files_read: u64,
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
    #[error("{path:?} cannot be read ({reason}){others}: give the site server permission to read all of it")]
    Unreadable { path: PathBuf, reason: io::Error, others: Others },
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
        "{path:?} and {other:?} differ only in case, which not every file system tells apart: rename one of them, or set \
         `content.case_clashes = \"keep\"` in site.toml"
    )]
    CaseClash { path: PathBuf, other: PathBuf },
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

/// What else cannot be read.
#[derive(Debug, Default)]
pub struct Others {
    pub named: Vec<PathBuf>,
    /// How many more there are.
    pub more: u64,
}

impl fmt::Display for Others {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, path) in self.named.iter().enumerate() {
            write!(out, "{}{path:?}", if at == 0 { ", nor " } else { ", " })?;
        }
        match self.more {
            0 => Ok(()),
            more => write!(out, " and {more} more"),
        }
    }
}

/// What cannot be read, gathered so that all of it can be mended at once.
#[derive(Debug, Default)]
struct Unreadable {
    first: Option<(PathBuf, io::Error)>,
    others: Others,
}

impl Unreadable {
    fn add(&mut self, path: PathBuf, reason: io::Error) {
        if self.first.is_none() {
            self.first = Some((path, reason));
        } else if self.others.named.len() + 1 < NAMED_MAX {
            self.others.named.push(path);
        } else {
            self.others.more += 1;
        }
    }

    fn is_empty(&self) -> bool {
        self.first.is_none()
    }

    fn refuse(self) -> Result<(), SnapshotError> {
        match self.first {
            Some((path, reason)) => Err(SnapshotError::Unreadable { path, reason, others: self.others }),
            None => Ok(()),
        }
    }
}

/// Takes the directory into the library. `progress` is called often and ends the snapshot by breaking.
pub fn snapshot(
    source: &Path,
    library: &Library,
    progress: &dyn Fn(Progress) -> ControlFlow<()>,
) -> Result<Snapshot, SnapshotError> {
    snapshot_with(source, library, SnapshotOptions::default(), progress)
}

/// How a source is taken.
#[derive(Debug, Clone, Copy, Default)]
pub struct SnapshotOptions<'a> {
    /// Files are not read that nobody has touched since the snapshot that this tells of. It is a file of the caller's,
    /// which is made anew; it is only a help, and without it everything is read.
    pub record: Option<&'a Path>,
    pub case_clashes: CaseClashes,
}

/// The same, in another way.
pub fn snapshot_with(
    source: &Path,
    library: &Library,
    options: SnapshotOptions<'_>,
    progress: &dyn Fn(Progress) -> ControlFlow<()>,
) -> Result<Snapshot, SnapshotError> {
    let SnapshotOptions { record, case_clashes } = options;
    take((source, case_clashes), library, record.and_then(Memory::begin), progress)
}

fn take(
    (source, case_clashes): (&Path, CaseClashes),
    library: &Library,
    memory: Option<Memory<'_>>,
    progress: &dyn Fn(Progress) -> ControlFlow<()>,
) -> Result<Snapshot, SnapshotError> {
    let Walked { top, found, case_sensitive, unreadable } = walk(source, case_clashes)?;
    // Nothing is collected while it lives: what is held now is held at the end.
    let writer = library.writer().map_err(SnapshotError::Library)?;
    let plan = Plan::make(source, library, memory, &found);
    let mut taking = Taking { source, plan, writer, progress, state: total(&found), unreadable };
    taking.report()?;
    let mut entries = Vec::with_capacity(found.len());
    let mut directories = vec![(String::new(), top)];
    for Found { path, kind } in found {
        let kind = match kind {
            FoundKind::File(metadata) => match taking.file(&path, &metadata)? {
                Some(kind) => kind,
                None => continue,
            },
            FoundKind::Link(target) => EntryKind::Symlink { target },
            FoundKind::Directory(metadata) => {
                directories.push((path.clone(), metadata));
                EntryKind::Directory
            }
        };
        entries.push(Entry { path, kind });
    }
    let Taking { writer, plan, unreadable, .. } = taking;
    unreadable.refuse()?;
    // A file that came or went changed its directory.
    for (path, before) in directories {
        let path = source.join(path);
        let after = path.symlink_metadata().map_err(|_| SnapshotError::Changed { path: path.clone() })?;
        if Stamp::of(&before) != Stamp::of(&after) {
            return Err(SnapshotError::Changed { path });
        }
    }
    let manifest = Manifest { case_sensitive, entries };
    let digest = store(library, writer, &manifest).map_err(SnapshotError::Library)?;
    plan.remember(digest);
    Ok(Snapshot { manifest, digest })
}

fn total(found: &[Found]) -> Progress {
    let lengths = found.iter().filter_map(|found| match &found.kind {
        FoundKind::File(metadata) => Some(metadata.len()),
        _ => None,
    });
    Progress {
        files_total: lengths.clone().count() as u64,
        bytes_total: lengths.sum(),
        ..Progress::default()
    }
}

fn store(library: &Library, mut writer: PackWriter, manifest: &Manifest) -> Result<Digest, LibraryError> {
    writer.flush_durable()?;
    let digest = library.put_manifest(&manifest.encode())?;
    writer.seal()?;
    Ok(digest)
}

struct Taking<'a> {
    source: &'a Path,
    plan: Plan<'a>,
    writer: PackWriter,
    progress: &'a dyn Fn(Progress) -> ControlFlow<()>,
    state: Progress,
    unreadable: Unreadable,
}

/// Why one file was not taken.
enum FileError {
    Unreadable(io::Error),
    Fatal(SnapshotError),
}

impl Taking<'_> {
    fn report(&self) -> Result<(), SnapshotError> {
        match (self.progress)(self.state) {
            ControlFlow::Continue(()) => Ok(()),
            ControlFlow::Break(()) => Err(SnapshotError::Cancelled),
        }
    }

    /// `None` if it cannot be read, or need not be any more since another could not.
    fn file(&mut self, path: &str, walked: &Metadata) -> Result<Option<EntryKind>, SnapshotError> {
        let is_executable = walked.permissions().mode() & 0o111 != 0;
        let stamp = Stamp::of(walked);
        let full = self.source.join(path);
        let known = self.plan.known(path, &stamp);
        let kind = match known.or_else(|| self.plan.twin(&stamp)) {
            Some(kind) => {
                self.state.bytes_done += stamp.length;
                kind
            }
            None => match self.read(&full, &stamp) {
                Ok(None) => return Ok(None),
                Ok(Some(kind)) => {
                    self.state.files_read += 1;
                    self.plan.was_read(walked, &kind);
                    kind
                }
                Err(FileError::Unreadable(reason)) => {
                    self.unreadable.add(full, reason);
                    return Ok(None);
                }
                Err(FileError::Fatal(error)) => return Err(error),
            },
        };
        self.state.files_done += 1;
        self.report()?;
        Ok(Some(match kind {
            EntryKind::File { length, digest, chunks, .. } => {
                EntryKind::File { executable: is_executable, length, digest, chunks }
            }
            other => other,
        }))
    }

    fn read(&mut self, path: &Path, walked: &Stamp) -> Result<Option<EntryKind>, FileError> {
        // A pipe that took the file's place meanwhile must not keep us waiting, nor a link lead us elsewhere.
        let file = OpenOptions::new()
            .read(true)
            .custom_flags((OFlags::NOFOLLOW | OFlags::NONBLOCK).bits() as i32)
            .open(path)
            .map_err(FileError::Unreadable)?;
        if !self.unreadable.is_empty() {
            return Ok(None);
        }
        let changed = || FileError::Fatal(SnapshotError::Changed { path: path.to_owned() });
        let before = file.metadata().map_err(FileError::Unreadable)?;
        if Stamp::of(&before) != *walked {
            return Err(changed());
        }
        let length = before.len();
        // A file that takes less room than its length has holes.
        let taken = match before.blocks().saturating_mul(512) < length {
            true => self.cut(&mut Sparse::new(&file, length), length),
            false => self.cut(&mut &file, length),
        };
        let (digest, chunks) = taken.map_err(|error| match error {
            CutError::Read(reason) => FileError::Unreadable(reason),
            CutError::Length => changed(),
            CutError::Library(error) => FileError::Fatal(SnapshotError::Library(error)),
            CutError::Cancelled => FileError::Fatal(SnapshotError::Cancelled),
        })?;
        let after = file.metadata().map_err(FileError::Unreadable)?;
        if Stamp::of(&after) != *walked {
            return Err(changed());
        }
        Ok(Some(EntryKind::File { executable: false, length, digest, chunks }))
    }

    fn cut(&mut self, file: &mut dyn Read, length: u64) -> Result<(Digest, Vec<ChunkRef>), CutError> {
        let Taking { writer, progress, state, .. } = self;
        cut(file, (length, None), writer, &mut |bytes| {
            state.bytes_done += bytes;
            progress(*state)
        })
    }
}

#[cfg(test)]
#[path = "snapshot_tests.rs"]
mod tests;

#[cfg(test)]
#[path = "snapshot/again_tests.rs"]
mod again_tests;
