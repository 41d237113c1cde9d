//! Files of a version that are laid out while they are still being taken into the library.
//!
//! Threads of their own write them: who takes them in has no time to wait for a file system. What they leave is no tree yet:
//! files of the base are not there, nothing is durable, and nobody has said that it is the version that was wanted. Laying
//! the version out goes on from it, and keeps each file that is as it was when it was written.

use std::{
    collections::HashMap,
    fs::File,
    io,
    os::fd::OwnedFd,
    path::Path,
    sync::{
        Arc,
        mpsc::{Receiver, SyncSender, sync_channel},
    },
    thread::JoinHandle,
};

use packhorse_domain::Digest;
use rustix::{fs::AtFlags, io::Errno};
use tempfile::TempDir;

use super::{
    TreeError,
    dirs::{Dirs, set_mode},
    fill::{finish, make_file, mode_of},
};
use crate::{
    durable::begin_writing,
    manifest::{Entry, EntryKind},
    sparse::write_at,
    stamps::Stamp,
};

/// Bytes are handed over when there are so many, or at the end of a file when there are so many files.
const BATCH_BYTES: usize = 256 * 1024;
const BATCH_FILES: usize = 64;
/// So many batches wait at most, for each thread.
const QUEUE: usize = 8;
/// More threads than this wait for the disk and each other.
const THREADS: usize = 2;

/// A directory that is being filled with a version's files. What it holds is removed again unless it is finished.
#[derive(Debug)]
pub struct Staging {
    directory: Arc<TempDir>,
    /// None once one has failed.
    writers: Vec<Writer>,
    /// Whose turn it is.
    turn: usize,
    batch: Batch,
}

#[derive(Debug)]
struct Writer {
    batches: SyncSender<Batch>,
    thread: JoinHandle<Result<Files, TreeError>>,
}

/// A directory with files of a version. It is removed when nobody wants it any more.
#[derive(Debug)]
pub struct Staged {
    directory: Arc<TempDir>,
    files: Files,
    target: Digest,
}

type Files = HashMap<String, StagedFile>;

#[derive(Debug)]
struct StagedFile {
    digest: Digest,
    executable: bool,
    /// As it was when it was whole.
    stamp: Stamp,
}

/// Bytes of some files, one after the other.
#[derive(Debug, Default)]
struct Batch {
    bytes: Vec<u8>,
    parts: Vec<Part>,
}

/// Bytes of one file.
#[derive(Debug, Default)]
struct Part {
    /// With the first of them: its path, whether it is executable, its length.
    begin: Option<(String, bool, u64)>,
    length: usize,
    /// With the last of them.
    end: Option<Digest>,
}

impl Staging {
    /// Fills a directory of its own in `within`: one that is staged meanwhile, or was before, is none of its business.
    pub(crate) fn new(within: &Path, name: &str) -> Result<Self, TreeError> {
        let directory = tempfile::Builder::new().prefix(&format!("{name}.")).tempdir_in(within);
        let directory = Arc::new(directory.map_err(TreeError::io("make a directory in", within))?);
        let mut staging = Staging { directory, writers: Vec::new(), turn: 0, batch: Batch::default() };
        for _ in 0..THREADS {
            staging.writers.push(Writer::start(staging.directory.path())?);
        }
        Ok(staging)
    }

    /// A file begins. The one before has ended.
    pub(crate) fn begin(&mut self, path: &str, executable: bool, length: u64) {
        let begin = Some((path.to_owned(), executable, length));
        self.batch.parts.push(Part { begin, ..Part::default() });
    }

    /// The next bytes of the file.
    pub(crate) fn put(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            let (fits, rest) = bytes.split_at(bytes.len().min(BATCH_BYTES - self.batch.bytes.len()));
            self.batch.bytes.extend_from_slice(fits);
            self.part().length += fits.len();
            bytes = rest;
            if self.batch.bytes.len() == BATCH_BYTES {
                self.hand_over();
            }
        }
    }

    /// That was all of the file, and this is its digest.
    pub(crate) fn end(&mut self, digest: &Digest) {
        self.part().end = Some(*digest);
        if self.batch.bytes.len() >= BATCH_BYTES / 2 || self.batch.parts.len() >= BATCH_FILES {
            self.hand_over();
            self.turn += 1;
        }
    }

    /// Of the file that has begun.
    fn part(&mut self) -> &mut Part {
        if self.batch.parts.is_empty() {
            self.batch.parts.push(Part::default());
        }
        let last = self.batch.parts.len() - 1;
        &mut self.batch.parts[last]
    }

    fn hand_over(&mut self) {
        let batch = std::mem::take(&mut self.batch);
        let count = self.writers.len().max(1);
        let Some(writer) = self.writers.get(self.turn % count) else { return };
        if writer.batches.send(batch).is_err() {
            // What they did is of no use: whoever lays the version out will be told the same.
            self.give_up();
        }
    }

    /// What they wrote can be removed once they have ended.
    fn give_up(&mut self) {
        for writer in self.writers.drain(..) {
            writer.join();
        }
    }

    /// All files have been given: they are of this version. `None` if they could not be written.
    pub fn finish(mut self, target: Digest) -> Option<Staged> {
        self.hand_over();
        let writers = std::mem::take(&mut self.writers);
        if writers.is_empty() {
            return None;
        }
        let mut files = Files::new();
        for ended in writers.into_iter().map(Writer::join).collect::<Vec<_>>() {
            files.extend(ended?);
        }
        Some(Staged { directory: self.directory.clone(), files, target })
    }
}

impl Drop for Staging {
    fn drop(&mut self) {
        self.give_up();
    }
}

impl Writer {
    fn start(root: &Path) -> Result<Self, TreeError> {
        let (batches, queue) = sync_channel(QUEUE);
        let at = root.to_owned();
        let thread = std::thread::Builder::new().name("staging".to_owned());
        let thread = thread.spawn(move || write_all(&at, &queue));
        Ok(Writer { batches, thread: thread.map_err(TreeError::io("start a thread for", root))? })
    }

    /// What it wrote, if it wrote all.
    fn join(self) -> Option<Files> {
        drop(self.batches);
        self.thread.join().ok()?.ok()
    }
}

impl Staged {
    /// The manifest of the version that the files are of.
    pub fn target(&self) -> &Digest {
        &self.target
    }

    /// Makes it the beginning of a tree.
    pub(super) fn move_to(&self, into: &Path) -> io::Result<()> {
        std::fs::rename(self.directory.path(), into)
    }

    /// The stamp of the file that is there, if it is as it was written and is to stay. What else is in its place goes.
    pub(super) fn keep(
        &self,
        entry: &Entry,
        (parent, name): (&OwnedFd, &str),
    ) -> rustix::io::Result<Option<Stamp>> {
        let stat = match rustix::fs::statat(parent, name, AtFlags::SYMLINK_NOFOLLOW) {
            Err(Errno::NOENT) => return Ok(None),
            stat => stat?,
        };
        let stamp = Stamp::of_stat(&stat);
        let is_wanted = |file: &&StagedFile| match &entry.kind {
            EntryKind::File { digest, executable, .. } => {
                file.digest == *digest && file.executable == *executable && file.stamp == stamp
            }
            _ => false,
        };
        if self.files.get(&entry.path).filter(is_wanted).is_some() {
            return Ok(Some(stamp));
        }
        rustix::fs::unlinkat(parent, name, AtFlags::empty())?;
        Ok(None)
    }
}

fn write_all(root: &Path, queue: &Receiver<Batch>) -> Result<Files, TreeError> {
    let mut dirs = Dirs::making(root)?;
    set_mode(dirs.top(), 0o755).map_err(TreeError::io("set the mode of", root))?;
    let mut files = HashMap::new();
    let mut open: Option<Open> = None;
    for Batch { bytes, parts } in queue {
        let mut rest = bytes.as_slice();
        for Part { begin, length, end } in parts {
            if let Some((path, executable, length)) = begin {
                let full = root.join(&path);
                let (parent, name) = dirs.holding(&path)?;
                let file =
                    make_file(parent, name, mode_of(executable)).map_err(TreeError::io("make", &full))?;
                open = Some(Open { path, executable, length, file, at: 0, begun: 0 });
            }
            let (bytes, after) = rest.split_at(length);
            rest = after;
            let Some(file) = &mut open else { continue };
            file.write(root, bytes)?;
            if let (Some(digest), Some(file)) = (end, open.take_if(|_| end.is_some())) {
                let (path, staged) = file.finish(root, digest)?;
                files.insert(path, staged);
            }
        }
    }
    Ok(files)
}

/// The file that is being written.
struct Open {
    path: String,
    executable: bool,
    length: u64,
    file: File,
    at: u64,
    /// Until where the disk was told to write.
    begun: u64,
}

impl Open {
    fn write(&mut self, root: &Path, bytes: &[u8]) -> Result<(), TreeError> {
        write_at(&self.file, bytes, self.at).map_err(TreeError::io("write", &root.join(&self.path)))?;
        self.at += bytes.len() as u64;
        self.begun = begin_writing(&self.file, self.begun, self.at);
        Ok(())
    }

    fn finish(self, root: &Path, digest: Digest) -> Result<(String, StagedFile), TreeError> {
        let stamp = finish(&self.file, self.length, mode_of(self.executable))
            .map_err(TreeError::io("finish", &root.join(&self.path)))?;
        Ok((self.path, StagedFile { digest, executable: self.executable, stamp }))
    }
}
