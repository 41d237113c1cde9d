//! Adding chunks to a library. The caller reads and hashes; a second thread compresses and appends.
//!
//! What is added shows to readers, and counts as held, once `flush_durable` or `seal` has returned. A writer that is
//! dropped before leaves nothing that anybody sees.

use std::{
    collections::HashSet,
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
    error::LibraryError,
    gate::Entered,
    index::Location,
    library::Shared,
    limits::{BLOCK_CHUNKS_MAX, BLOCK_PLAIN_LENGTH, CHUNK_LENGTH_MAX, PACK_CHUNKS, PACK_LENGTH},
    manifest::ChunkRef,
    pack::{Pack, encode_block, locations},
    reader::ChunkReader,
    wire::digest_of,
};

/// How many blocks wait for the compressor at most.
const QUEUE: usize = 4;

/// Adds chunks to a library. As long as it lives, nothing is collected.
#[derive(Debug)]
pub struct PackWriter {
    shared: Arc<Shared>,
    /// A collection's own writer is inside already.
    _entered: Option<Entered>,
    /// Chunks of this pack are taken even though it holds them: they are being moved.
    moving_from: Option<u64>,
    appender: Option<Appender>,
    /// Added and not durable yet.
    fresh: HashSet<Digest>,
    chunks: Vec<ChunkRef>,
    plain: Vec<u8>,
    /// Whether an index is due: something was made durable since the last.
    unindexed: bool,
    failed: bool,
}

/// The thread that owns the end of one pack.
#[derive(Debug)]
struct Appender {
    pack: Arc<Pack>,
    jobs: SyncSender<Job>,
    thread: Option<JoinHandle<()>>,
    written: Arc<AtomicU64>,
    /// Chunks in the pack, durable or not.
    chunks: usize,
}

enum Job {
    Plain(Vec<ChunkRef>, Vec<u8>),
    Ready(Block),
    Sync(SyncSender<io::Result<Appended>>),
}

/// What was appended since the last time, and the length of the pack with it.
struct Appended {
    entries: Vec<(Digest, Location)>,
    length: u64,
}

impl PackWriter {
    pub(crate) fn new(shared: Arc<Shared>, entered: Entered) -> Self {
        Self::make(shared, Some(entered), None)
    }

    /// The writer of a collection, which moves chunks out of a pack.
    pub(crate) fn moving_from(shared: Arc<Shared>, pack: u64) -> Self {
        Self::make(shared, None, Some(pack))
    }

    fn make(shared: Arc<Shared>, entered: Option<Entered>, moving_from: Option<u64>) -> Self {
        PackWriter {
            shared,
            _entered: entered,
            moving_from,
            appender: None,
            fresh: HashSet::new(),
            chunks: Vec::new(),
            plain: Vec::with_capacity(BLOCK_PLAIN_LENGTH),
            unindexed: false,
            failed: false,
        }
    }

    /// Adds a chunk after checking it. Whether it was new.
    pub fn add(&mut self, digest: Digest, data: &[u8]) -> Result<bool, LibraryError> {
        if digest_of(data) != digest {
            return Err(LibraryError::WrongChunk { chunk: digest });
        }
        self.add_checked(digest, data)
    }

    /// Adds a chunk whose digest the caller has just computed.
    pub(crate) fn add_checked(&mut self, digest: Digest, data: &[u8]) -> Result<bool, LibraryError> {
        if data.is_empty() || data.len() > CHUNK_LENGTH_MAX as usize {
            return Err(LibraryError::WrongChunk { chunk: digest });
        }
        if self.holds(&digest)? {
            return Ok(false);
        }
        if self.plain.len() + data.len() > BLOCK_PLAIN_LENGTH || self.chunks.len() >= BLOCK_CHUNKS_MAX {
            self.cut()?;
        }
        self.fresh.insert(digest);
        self.chunks.push(ChunkRef { digest, length: data.len() as u32 });
        self.plain.extend_from_slice(data);
        Ok(true)
    }

    /// Adds a block after checking each of its chunks. It is stored as it is if all of them are new. How many were.
    pub fn add_block(&mut self, block: Block) -> Result<usize, LibraryError> {
        let plain = block.verified_plain().map_err(LibraryError::Block)?;
        let mut new = HashSet::new();
        for chunk in &block.chunks {
            if !self.holds(&chunk.digest)? {
                new.insert(chunk.digest);
            }
        }
        if new.len() == block.chunks.len() {
            self.cut()?;
            self.roll_over()?;
            self.fresh.extend(&new);
            let count = block.chunks.len();
            self.append(Job::Ready(block), count)?;
        } else if !new.is_empty() {
            for (chunk, bytes) in block.parts(&plain) {
                self.add_checked(chunk.digest, bytes)?;
            }
        }
        Ok(new.len())
    }

    /// Makes durable and visible what was added. A crash from here on does not lose it.
    pub fn flush_durable(&mut self) -> Result<(), LibraryError> {
        self.cut()?;
        let Some(appender) = &self.appender else { return Ok(()) };
        let pack = appender.pack.clone();
        match appender.sync() {
            Ok(appended) if appended.entries.is_empty() => {}
            Ok(appended) => {
                self.shared.sync_new_packs()?;
                pack.publish(appended.entries, appended.length);
                self.fresh.clear();
                self.unindexed = true;
            }
            Err(error) => {
                // After a failed write or sync nobody knows what the end of the file holds: no one appends to it
                // until the library is opened again and has scanned it.
                self.failed = true;
                pack.close();
                return Err(LibraryError::io("write", pack.path())(error));
            }
        }
        Ok(())
    }

    /// Makes everything durable and writes the index.
    pub fn seal(mut self) -> Result<(), LibraryError> {
        self.flush_durable()?;
        self.finish_pack()
    }

    fn holds(&self, digest: &Digest) -> Result<bool, LibraryError> {
        if self.failed {
            return Err(LibraryError::WriterFailed);
        }
        if self.fresh.contains(digest) {
            return Ok(true);
        }
        match self.moving_from {
            None => Ok(self.shared.has_chunk(digest)),
            // The pack that is moved goes: only a copy that can be read takes its chunk's place.
            Some(pack) => ChunkReader::outside(&self.shared, pack).holds(digest),
        }
    }

    /// Hands the chunks gathered so far to the compressor.
    fn cut(&mut self) -> Result<(), LibraryError> {
        if self.failed {
            return Err(LibraryError::WriterFailed);
        }
        if self.chunks.is_empty() {
            return Ok(());
        }
        self.roll_over()?;
        let chunks = std::mem::take(&mut self.chunks);
        let plain = std::mem::replace(&mut self.plain, Vec::with_capacity(BLOCK_PLAIN_LENGTH));
        let count = chunks.len();
        self.append(Job::Plain(chunks, plain), count)
    }

    fn append(&mut self, job: Job, chunks: usize) -> Result<(), LibraryError> {
        let appender = match &mut self.appender {
            Some(appender) => appender,
            none => none.insert(Appender::start(self.shared.take_pack()?)?),
        };
        appender.chunks += chunks;
        if appender.jobs.send(job).is_err() {
            self.failed = true;
            return Err(LibraryError::WriterFailed);
        }
        Ok(())
    }

    /// Finishes a pack that is full. What still gathers goes into the next.
    fn roll_over(&mut self) -> Result<(), LibraryError> {
        if !self.appender.as_ref().is_some_and(Appender::is_full) {
            return Ok(());
        }
        let gathered = (std::mem::take(&mut self.chunks), std::mem::take(&mut self.plain));
        let flushed = self.flush_durable();
        (self.chunks, self.plain) = gathered;
        self.fresh.extend(self.chunks.iter().map(|chunk| chunk.digest));
        flushed?;
        self.finish_pack()
    }

    /// Writes the index of the pack and gives the pack back.
    fn finish_pack(&mut self) -> Result<(), LibraryError> {
        let Some(appender) = self.appender.take() else { return Ok(()) };
        let pack = appender.pack.clone();
        drop(appender);
        let indexed = if std::mem::take(&mut self.unindexed) { pack.write_index(&|_| true) } else { Ok(()) };
        self.shared.give_back(pack);
        indexed
    }
}

impl Drop for PackWriter {
    fn drop(&mut self) {
        if let Some(appender) = self.appender.take() {
            let pack = appender.pack.clone();
            drop(appender);
            self.shared.give_back(pack);
        }
    }
}

impl Appender {
    fn start(pack: Arc<Pack>) -> Result<Self, LibraryError> {
        let length = pack.durable();
        let chunks = pack.chunk_count();
        // What an earlier writer appended and did not make durable is cut off.
        let file = pack.file().try_clone().and_then(|file| file.set_len(length).map(|()| file));
        let file = file.map_err(LibraryError::io("open the end of", pack.path()))?;
        let (jobs, queue) = sync_channel(QUEUE);
        let written = Arc::new(AtomicU64::new(length));
        let progress = written.clone();
        let thread = std::thread::Builder::new()
            .name("pack-writer".into())
            .spawn(move || run(&file, length, &queue, &progress))
            .map_err(LibraryError::io("start a thread for", pack.path()))?;
        Ok(Appender { pack, jobs, thread: Some(thread), written, chunks })
    }

    fn is_full(&self) -> bool {
        self.written.load(Ordering::Relaxed) >= PACK_LENGTH || self.chunks >= PACK_CHUNKS
    }

    fn sync(&self) -> io::Result<Appended> {
        let gone = || io::Error::other("the thread that writes has ended");
        let (reply, answer) = sync_channel(1);
        self.jobs.send(Job::Sync(reply)).map_err(|_| gone())?;
        answer.recv().map_err(|_| gone())?
    }
}

impl Drop for Appender {
    fn drop(&mut self) {
        // Without a sender the thread runs out of jobs and ends.
        let (nobody, _) = sync_channel(0);
        self.jobs = nobody;
        if let Some(thread) = self.thread.take() {
            // A panic there has been printed by the hook; whoever waited for an answer got an error.
            let _ = thread.join();
        }
    }
}

/// Compresses and appends until there is nothing more to come. After an error it writes nothing more and tells it
/// whoever asks.
fn run(file: &std::fs::File, start: u64, queue: &Receiver<Job>, progress: &AtomicU64) {
    let mut end = start;
    let mut synced = start;
    let mut entries = Vec::new();
    let mut failure: Option<io::Error> = None;
    let mut compressor = None;
    for job in queue {
        let block = match job {
            Job::Sync(reply) => {
                let mut result = failure.take().map_or(Ok(()), Err);
                if result.is_ok() && end > synced {
                    result = file.sync_data();
                }
                if let Err(error) = &result {
                    failure = Some(io::Error::new(error.kind(), error.to_string()));
                }
                synced = end;
                let appended =
                    result.map(|()| Appended { entries: std::mem::take(&mut entries), length: end });
                // If nobody waits any more, nobody needs to know.
                let _ = reply.send(appended);
                continue;
            }
            _ if failure.is_some() => continue,
            Job::Plain(chunks, plain) => compress(&mut compressor, chunks, &plain),
            Job::Ready(block) => Ok(block),
        };
        match block.and_then(|block| write(file, &block, end)) {
            Ok(mut located) => {
                end += located.first().map_or(0, |(_, location)| u64::from(location.stored));
                progress.store(end, Ordering::Relaxed);
                entries.append(&mut located);
            }
            Err(error) => failure = Some(error),
        }
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
