//! Making a version's entries: directories and links first, then the files, by as many threads as there are cores.

use std::{
    fs::File,
    io,
    os::{fd::OwnedFd, unix::fs::MetadataExt},
    path::Path,
    sync::{
        Mutex,
        atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering},
    },
};

use packhorse_domain::Digest;
use rustix::{
    fs::{Mode, OFlags},
    io::Errno,
};

use super::{
    From, Laid, OldTree, Staged, TreeError,
    dirs::{Dirs, make_directory, set_mode},
};
use crate::{
    durable::lock,
    library::Library,
    manifest::{ChunkRef, Entry, EntryKind, Manifest},
    reader::ChunkReader,
    sparse::write_at,
    stamps::Stamp,
};

/// More threads than this wait for the disk and each other.
const THREADS_MAX: usize = 4;
/// What a thread takes at once: neighbours lie in the same blocks of the library, which is why it is not less.
const BATCH_FILES: usize = 256;
const BATCH_BYTES: u64 = 4 * 1024 * 1024;

/// Makes all entries in the empty directory `into`.
pub(super) fn fill(
    library: &Library,
    manifest: &Manifest,
    into: &Path,
    from: From<'_, '_>,
) -> Result<Laid, TreeError> {
    let mut dirs = Dirs::open(into)?;
    let mut files = Vec::new();
    for entry in &manifest.entries {
        match &entry.kind {
            EntryKind::File { executable, length, digest, chunks } => {
                files.push(Wanted { entry, executable: *executable, length: *length, digest, chunks });
            }
            _ => make_plain(&mut dirs, entry, from.staged.is_some())?,
        }
    }
    let batches = batches(&files);
    let filling = Filling {
        library,
        into,
        from,
        files: &files,
        batches: &batches,
        next: AtomicUsize::new(0),
        stopped: AtomicBool::new(false),
        reused: AtomicU64::new(0),
        stamps: Mutex::new(vec![Stamp::default(); files.len()]),
    };
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    match cores.min(THREADS_MAX).min(batches.len()) {
        0 | 1 => filling.work()?,
        threads => filling.work_together(threads)?,
    }
    let stamps = filling.stamps.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner);
    Ok(Laid { stamps, reused: filling.reused.into_inner() })
}

/// A directory may have been staged.
fn make_plain(dirs: &mut Dirs<'_>, entry: &Entry, staged: bool) -> Result<(), TreeError> {
    let full = dirs.root.join(&entry.path);
    let (parent, name) = dirs.holding(&entry.path)?;
    if let EntryKind::Symlink { target } = &entry.kind {
        return rustix::fs::symlinkat(target.as_str(), parent, name)
            .map_err(TreeError::making("make the link", &full));
    }
    match make_directory(parent, name) {
        Err(Errno::EXIST) if staged => Ok(()),
        made => made.map(drop).map_err(TreeError::making("make the directory", &full)),
    }
}

/// A file to be made.
struct Wanted<'a> {
    entry: &'a Entry,
    executable: bool,
    length: u64,
    digest: &'a Digest,
    chunks: &'a [ChunkRef],
}

/// The ends of runs of files that one thread takes.
fn batches(files: &[Wanted<'_>]) -> Vec<usize> {
    let (mut ends, mut first, mut bytes) = (Vec::new(), 0, 0u64);
    for (at, file) in files.iter().enumerate() {
        bytes = bytes.saturating_add(file.length);
        if bytes >= BATCH_BYTES || at + 1 - first >= BATCH_FILES || at + 1 == files.len() {
            ends.push(at + 1);
            (first, bytes) = (at + 1, 0);
        }
    }
    ends
}

struct Filling<'a, 'o> {
    library: &'a Library,
    into: &'a Path,
    from: From<'a, 'o>,
    files: &'a [Wanted<'a>],
    batches: &'a [usize],
    next: AtomicUsize,
    /// Somebody failed; the others need not go on.
    stopped: AtomicBool,
    reused: AtomicU64,
    stamps: Mutex<Vec<Stamp>>,
}

impl Filling<'_, '_> {
    fn work_together(&self, threads: usize) -> Result<(), TreeError> {
        std::thread::scope(|scope| {
            let others: Vec<_> = (1..threads).map(|_| scope.spawn(|| self.work())).collect();
            let mut result = self.work();
            for other in others {
                match other.join() {
                    Ok(ended) => result = result.and(ended),
                    Err(panic) => std::panic::resume_unwind(panic),
                }
            }
            result
        })
    }

    fn work(&self) -> Result<(), TreeError> {
        let worked = self.take_batches();
        if worked.is_err() {
            self.stopped.store(true, Ordering::Relaxed);
        }
        worked
    }

    fn take_batches(&self) -> Result<(), TreeError> {
        let mut hand = Hand {
            dirs: Dirs::open(self.into)?,
            old: self.from.old.and_then(|old| Some((old, old.dirs()?))),
            staged: self.from.staged,
            reader: ChunkReader::new(&self.library.shared),
        };
        loop {
            let batch = self.next.fetch_add(1, Ordering::Relaxed);
            let Some(end) =
                self.batches.get(batch).copied().filter(|_| !self.stopped.load(Ordering::Relaxed))
            else {
                return Ok(());
            };
            let first = batch.checked_sub(1).map_or(0, |before| self.batches[before]);
            let mut stamps = Vec::with_capacity(end - first);
            for file in &self.files[first..end] {
                let (stamp, reused) = hand.make(file)?;
                self.reused.fetch_add(u64::from(reused), Ordering::Relaxed);
                stamps.push(stamp);
            }
            lock(&self.stamps)[first..end].copy_from_slice(&stamps);
        }
    }
}

/// What one thread works with.
struct Hand<'a, 'o> {
    dirs: Dirs<'a>,
    old: Option<(&'a OldTree<'o>, Dirs<'o>)>,
    staged: Option<&'a Staged>,
    reader: ChunkReader<'a>,
}

impl Hand<'_, '_> {
    /// Makes a file. As it is then, and whether it was taken over.
    fn make(&mut self, wanted: &Wanted<'_>) -> Result<(Stamp, bool), TreeError> {
        let path = &wanted.entry.path;
        let root = self.dirs.root;
        let (parent, name) = self.dirs.holding(path)?;
        if let Some(staged) = self.staged {
            let kept = staged.keep(wanted.entry, (parent, name));
            if let Some(stamp) = kept.map_err(|error| TreeError::io("look at", &root.join(path))(error))? {
                return Ok((stamp, false));
            }
        }
        if let Some((old, dirs)) = &mut self.old {
            let content = (wanted.digest, wanted.executable);
            if let Some(stamp) = old.reuse(dirs, content, (parent, name)) {
                return Ok((stamp, true));
            }
        }
        let full = self.dirs.root.join(path);
        let (parent, name) = self.dirs.holding(path)?;
        let mode = mode_of(wanted.executable);
        let file = make_file(parent, name, mode).map_err(TreeError::making("make", &full))?;
        let digest = self.write(&file, wanted, &full)?;
        if digest != *wanted.digest {
            return Err(TreeError::Content { path: path.clone() });
        }
        finish(&file, wanted.length, mode).map(|stamp| (stamp, false)).map_err(TreeError::io("finish", &full))
    }

    fn write(&mut self, file: &File, wanted: &Wanted<'_>, full: &Path) -> Result<Digest, TreeError> {
        let mut hasher = blake3::Hasher::new();
        let mut at = 0;
        for chunk in wanted.chunks {
            let bytes = self.reader.exactly(chunk).map_err(TreeError::Library)?;
            // A file of one chunk is that chunk, which the reader has checked.
            if wanted.chunks.len() > 1 {
                hasher.update(bytes);
            }
            write_at(file, bytes, at).map_err(TreeError::io("write", full))?;
            at += bytes.len() as u64;
        }
        match wanted.chunks {
            [chunk] => Ok(chunk.digest),
            _ => Ok(Digest(*hasher.finalize().as_bytes())),
        }
    }
}

pub(super) fn mode_of(executable: bool) -> u32 {
    if executable { 0o755 } else { 0o644 }
}

/// A new file to be written, where nothing is yet.
pub(super) fn make_file(parent: &OwnedFd, name: &str, mode: u32) -> rustix::io::Result<File> {
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    rustix::fs::openat(parent, name, flags, Mode::from_raw_mode(mode)).map(File::from)
}

/// Zeros at the end were not written, and the process may take away rights from new files: most files need neither.
pub(super) fn finish(file: &File, length: u64, mode: u32) -> io::Result<Stamp> {
    let metadata = file.metadata()?;
    let (has_length, has_mode) = (metadata.len() == length, metadata.mode() & 0o7777 == mode);
    if has_length && has_mode {
        return Ok(Stamp::of(&metadata));
    }
    if !has_length {
        file.set_len(length)?;
    }
    if !has_mode {
        set_mode(file, mode)?;
    }
    Ok(Stamp::of(&file.metadata()?))
}
