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
    early::{Early, Made},
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
    top: Arc<OwnedFd>,
    /// None once one has failed.
    writers: Vec<Writer>,
    early: Option<Early>,
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
    /// Open since before anything was written, and so told of all that could not be.
    top: Arc<OwnedFd>,
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
        Self::syncing(within, name, |top| rustix::fs::syncfs(top))
    }

    fn syncing(
        within: &Path,
        name: &str,
        sync: impl Fn(&OwnedFd) -> rustix::io::Result<()> + Send + 'static,
    ) -> Result<Self, TreeError> {
        let directory = tempfile::Builder::new().prefix(&format!("{name}.")).tempdir_in(within);
        let directory = Arc::new(directory.map_err(TreeError::io("make a directory in", within))?);
        let path = directory.path();
        let top = Arc::new(Dirs::open(path)?.into_top());
        let synced = top.clone();
        let (early, made) =
            Early::start(move || sync(&synced)).map_err(TreeError::io("start a thread for", path))?;
        let writers = (0..THREADS).map(|_| Writer::start(path, made.clone())).collect::<Result<_, _>>()?;
        Ok(Staging { directory, top, writers, early: Some(early), turn: 0, batch: Batch::default() })
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
        if let Some(early) = self.early.take() {
            let _ = early.join();
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
        self.early.take()?.join().ok()?;
        Some(Staged { directory: self.directory.clone(), top: self.top.clone(), files, target })
    }
}

impl Drop for Staging {
    fn drop(&mut self) {
        self.give_up();
    }
}

impl Writer {
    fn start(root: &Path, made: Made) -> Result<Self, TreeError> {
        let (batches, queue) = sync_channel(QUEUE);
        let at = root.to_owned();
        let thread = std::thread::Builder::new().name("staging".to_owned());
        let thread = thread.spawn(move || write_all(&at, &queue, &made));
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

    /// By which its file system is synced.
    pub(super) fn top(&self) -> &OwnedFd {
        &self.top
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

fn write_all(root: &Path, queue: &Receiver<Batch>, made: &Made) -> Result<Files, TreeError> {
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
                made.add(file.at - file.begun);
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::digest_of;

    #[test]
    fn what_the_disk_did_not_take_is_not_staged() {
        let directory = tempfile::tempdir().unwrap();
        let content = vec![1; 1024 * 1024];
        for (answer, expected) in [(Ok(()), true), (Err(Errno::IO), false)] {
            let mut staging = Staging::syncing(directory.path(), "P1", move |_| answer).unwrap();
            for nth in 0..50 {
                staging.begin(&nth.to_string(), false, content.len() as u64);
                staging.put(&content);
                staging.end(&digest_of(&content));
            }
            assert_eq!(staging.finish(digest_of(b"a version")).is_some(), expected, "{answer:?}");
        }
    }
}
