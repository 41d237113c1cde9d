//! The threads behind a writer: some compress blocks, one appends them to a pack in the order in which they were given.

use std::{
    io,
    os::unix::fs::FileExt,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
        mpsc::{Receiver, SyncSender, sync_channel},
    },
    thread::JoinHandle,
};

use packhorse_domain::Digest;

use crate::{
    block::Block,
    durable::begin_writing,
    error::LibraryError,
    index::Location,
    limits::{PACK_CHUNKS, PACK_LENGTH},
    manifest::ChunkRef,
    pack::{Pack, encode_block, locations},
};

/// How many blocks wait to be appended at most.
const QUEUE: usize = 4;
/// More compressors than this would wait for the thread that cuts and hashes.
const COMPRESSORS_MAX: usize = 4;

/// The threads that own the end of one pack.
#[derive(Debug)]
pub(super) struct Appender {
    pub(super) pack: Arc<Pack>,
    jobs: SyncSender<Job>,
    compressors: Vec<SyncSender<Task>>,
    /// Which of them is next.
    next: usize,
    threads: Vec<JoinHandle<()>>,
    written: Arc<AtomicU64>,
    /// Chunks in the pack, durable or not.
    chunks: usize,
}

/// What is to be appended.
pub(super) enum Given {
    Plain(Vec<ChunkRef>, Vec<u8>),
    Ready(Block),
}

enum Job {
    /// A block that is being compressed.
    Coming(Receiver<io::Result<Block>>),
    Ready(Block),
    Sync(SyncSender<Result<Appended, Failed>>),
}

struct Task {
    chunks: Vec<ChunkRef>,
    plain: Vec<u8>,
    reply: SyncSender<io::Result<Block>>,
}

/// What was appended since the last time, and the length of the pack with it.
#[derive(Debug)]
pub(super) struct Appended {
    pub(super) entries: Vec<(Digest, Location)>,
    pub(super) length: u64,
}

impl Appender {
    pub(super) fn start(pack: Arc<Pack>) -> Result<Self, LibraryError> {
        let length = pack.durable();
        let chunks = pack.chunk_count();
        // What an earlier writer appended and did not make durable is cut off.
        let file = pack.file().try_clone().and_then(|file| file.set_len(length).map(|()| file));
        let file = file.map_err(LibraryError::io("open the end of", pack.path()))?;
        let (jobs, queue) = sync_channel(QUEUE);
        let written = Arc::new(AtomicU64::new(length));
        let progress = written.clone();
        let mut appender =
            Appender { pack, jobs, compressors: Vec::new(), next: 0, threads: Vec::new(), written, chunks };
        appender.spawn("pack-writer", move || run(&file, length, &queue, &progress))?;
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        for _ in 0..cores.min(COMPRESSORS_MAX) {
            let (tasks, waiting) = sync_channel(1);
            appender.spawn("compressor", move || compress_all(&waiting))?;
            appender.compressors.push(tasks);
        }
        Ok(appender)
    }

    fn spawn(&mut self, name: &str, work: impl FnOnce() + Send + 'static) -> Result<(), LibraryError> {
        let started = std::thread::Builder::new().name(name.to_owned()).spawn(work);
        self.threads.push(started.map_err(LibraryError::io("start a thread for", self.pack.path()))?);
        Ok(())
    }

    /// Has blocks appended in the order in which they are given. `None` if the threads have ended.
    pub(super) fn give(&mut self, given: Given, chunks: usize) -> Option<()> {
        self.chunks += chunks;
        match given {
            Given::Ready(block) => self.jobs.send(Job::Ready(block)).ok(),
            Given::Plain(chunks, plain) => {
                let (reply, block) = sync_channel(1);
                self.jobs.send(Job::Coming(block)).ok()?;
                self.next = (self.next + 1) % self.compressors.len();
                self.compressors[self.next].send(Task { chunks, plain, reply }).ok()
            }
        }
    }

    pub(super) fn is_full(&self) -> bool {
        self.written.load(Ordering::Relaxed) >= PACK_LENGTH || self.chunks >= PACK_CHUNKS
    }

    /// Has what was given until now made durable, behind everything that is still to be written.
    pub(super) fn sync(&self) -> Syncing {
        let (reply, answer) = sync_channel(1);
        // If the thread has ended, so has the answer.
        let _ = self.jobs.send(Job::Sync(reply));
        Syncing(answer)
    }
}

/// A sync that is under way.
#[derive(Debug)]
pub(super) struct Syncing(Receiver<Result<Appended, Failed>>);

impl Syncing {
    pub(super) fn wait(&self) -> Result<Appended, Failed> {
        let gone =
            |_| Failed { error: io::Error::other("the thread that writes has ended"), is_cut_off: false };
        self.0.recv().map_err(gone)?
    }
}

impl Drop for Appender {
    fn drop(&mut self) {
        // Without senders the threads run out of work and end.
        let (nobody, _) = sync_channel(0);
        self.jobs = nobody;
        self.compressors.clear();
        for thread in self.threads.drain(..) {
            // A panic there has been printed by the hook; whoever waited for an answer got an error.
            let _ = thread.join();
        }
    }
}

/// Why nothing was made durable.
#[derive(Debug)]
pub(super) struct Failed {
    pub(super) error: io::Error,
    /// The file ends where it did when it was last durable, and every byte before is.
    pub(super) is_cut_off: bool,
}

impl Failed {
    /// For whoever asks next.
    fn again(&self) -> Failed {
        let error = io::Error::new(self.error.kind(), self.error.to_string());
        Failed { error, is_cut_off: self.is_cut_off }
    }
}

/// Appends until there is nothing more to come. After an error it writes nothing more and tells it
/// whoever asks.
fn run(file: &std::fs::File, start: u64, queue: &Receiver<Job>, progress: &AtomicU64) {
    let mut end = start;
    let mut synced = start;
    let mut begun = start;
    let mut entries = Vec::new();
    let mut failure: Option<Failed> = None;
    for job in queue {
        let block = match job {
            Job::Sync(reply) => {
                if failure.is_none() && end > synced {
                    // Whatever a second sync said, what was not written now may never be.
                    failure = file.sync_data().err().map(|error| Failed { error, is_cut_off: false });
                }
                let appended = match &failure {
                    Some(failure) => Err(failure.again()),
                    None => {
                        synced = end;
                        Ok(Appended { entries: std::mem::take(&mut entries), length: end })
                    }
                };
                // If nobody waits any more, nobody needs to know.
                let _ = reply.send(appended);
                continue;
            }
            _ if failure.is_some() => continue,
            Job::Coming(block) => {
                block.recv().unwrap_or_else(|_| Err(io::Error::other("the thread that compresses has ended")))
            }
            Job::Ready(block) => Ok(block),
        };
        match block.and_then(|block| write(file, &block, end)) {
            Ok(mut located) => {
                end += located.first().map_or(0, |(_, location)| u64::from(location.stored));
                progress.store(end, Ordering::Relaxed);
                entries.append(&mut located);
                begun = begin_writing(file, begun, end);
            }
            // On a full disk others need the room.
            Err(error) => failure = Some(Failed { error, is_cut_off: file.set_len(synced).is_ok() }),
        }
    }
}

fn compress_all(tasks: &Receiver<Task>) {
    let mut compressor = None;
    for Task { chunks, plain, reply } in tasks {
        // If nobody waits any more, nothing is appended any more.
        let _ = reply.send(compress(&mut compressor, chunks, &plain));
    }
}

fn compress(
    compressor: &mut Option<zstd::bulk::Compressor<'static>>,
    chunks: Vec<ChunkRef>,
    plain: &[u8],
) -> io::Result<Block> {
    let compressor = match compressor {
        Some(compressor) => compressor,
        none => none.insert(Block::compressor()?),
    };
    Block::compress(compressor, chunks, plain)
}

fn write(file: &std::fs::File, block: &Block, end: u64) -> io::Result<Vec<(Digest, Location)>> {
    let offset = u32::try_from(end).map_err(|_| io::Error::other("the pack is longer than 4 GiB"))?;
    let bytes = encode_block(block);
    file.write_all_at(&bytes, end)?;
    Ok(locations(block, offset, bytes.len() as u32))
}
