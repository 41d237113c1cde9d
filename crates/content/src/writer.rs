//! Adding chunks to a library. The caller reads and hashes; other threads compress and append ([`append`]).
//!
//! What is added shows to readers, and counts as held, once `flush_durable` or `seal` has returned. A writer that is
//! dropped before leaves nothing that anybody sees.

use std::{collections::HashSet, sync::Arc};

use packhorse_domain::Digest;

use crate::{
    block::Block,
    cut::ChunkSink,
    error::LibraryError,
    frames::Frames,
    gate::Entered,
    library::Shared,
    limits::{BLOCK_CHUNKS_MAX, BLOCK_PLAIN_LENGTH, CHUNK_LENGTH_MAX},
    manifest::ChunkRef,
    pack::Pack,
    reader::ChunkReader,
    wire::digest_of,
};

mod append;

use append::{Appender, Failed, Given, Syncing};

/// Adds chunks to a library. As long as it lives, nothing is collected.
#[derive(Debug)]
pub struct PackWriter {
    shared: Arc<Shared>,
    /// A collection's own writer is inside already.
    _entered: Option<Entered>,
    /// Chunks of this pack are taken even though it holds them: they are being moved.
    moving_from: Option<u64>,
    appender: Option<Appender>,
    /// Becomes durable while the next is written.
    full: Option<(Appender, Syncing)>,
    /// Added and not durable yet.
    fresh: HashSet<Digest>,
    chunks: Vec<ChunkRef>,
    plain: Vec<u8>,
    /// What was given until now, new or not.
    offered: u64,
    /// Where what is given comes from, if it came in blocks.
    frames: Option<Frames>,
    /// Whether an index is due: something of the pack that is written was made durable since the last.
    unindexed: bool,
    failed: bool,
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
            full: None,
            fresh: HashSet::new(),
            chunks: Vec::new(),
            plain: Vec::with_capacity(BLOCK_PLAIN_LENGTH),
            offered: 0,
            frames: None,
            unindexed: false,
            failed: false,
        }
    }

    /// All that is given from now on comes out of these, in their order: what fills one of them is stored as it came.
    pub(crate) fn comes_in(&mut self, frames: Frames) {
        self.frames = Some(frames);
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
        let place = self.offered;
        self.offered += data.len() as u64;
        if self.frames.as_ref().is_some_and(|frames| frames.begins_at(place)) {
            self.cut()?;
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
            self.append(Given::Ready(block), count)?;
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
        self.finish_full()?;
        let Some(appender) = &self.appender else { return Ok(()) };
        let (pack, synced) = (appender.pack.clone(), appender.sync());
        self.unindexed |= self.publish(&pack, &synced)?;
        Ok(())
    }

    /// Shows what has become durable, when it has. Whether there is anything.
    fn publish(&mut self, pack: &Pack, synced: &Syncing) -> Result<bool, LibraryError> {
        match synced.wait() {
            Ok(appended) if appended.entries.is_empty() => Ok(false),
            Ok(appended) => {
                self.shared.sync_new_packs().inspect_err(|_| self.give_up(pack))?;
                for (digest, _) in &appended.entries {
                    self.fresh.remove(digest);
                }
                pack.publish(appended.entries, appended.length);
                Ok(true)
            }
            Err(Failed { error, is_cut_off }) => {
                let error = LibraryError::io("write", pack.path())(error);
                match is_cut_off && error.is_disk_full() {
                    true => self.failed = true,
                    false => self.give_up(pack),
                }
                Err(error)
            }
        }
    }

    /// After a failed write or sync nobody knows what the end of the file holds: no one appends to it until the library is
    /// opened again and has written anew what it finds there.
    fn give_up(&mut self, pack: &Pack) {
        self.failed = true;
        pack.close();
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

    /// Hands on the chunks gathered so far, to be compressed unless they came so.
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
        let given = match self.frames.as_ref().and_then(|frames| frames.holding(&plain)) {
            Some(data) => Given::Ready(Block { chunks, data }),
            None => Given::Plain(chunks, plain),
        };
        self.append(given, count)
    }

    fn append(&mut self, given: Given, chunks: usize) -> Result<(), LibraryError> {
        let appender = match &mut self.appender {
            Some(appender) => appender,
            none => none.insert(Appender::start(self.shared.take_pack()?)?),
        };
        appender.give(given, chunks).ok_or(LibraryError::WriterFailed).inspect_err(|_| self.failed = true)
    }

    /// Has a pack that is full become durable beside the next, and no more than one at a time.
    fn roll_over(&mut self) -> Result<(), LibraryError> {
        if !self.appender.as_ref().is_some_and(Appender::is_full) {
            return Ok(());
        }
        self.finish_full()?;
        // What was made durable of it before has its index with the rest.
        self.unindexed = false;
        self.full = self.appender.take().map(|appender| {
            let synced = appender.sync();
            (appender, synced)
        });
        Ok(())
    }

    fn finish_full(&mut self) -> Result<(), LibraryError> {
        let Some((appender, synced)) = self.full.take() else { return Ok(()) };
        let pack = appender.pack.clone();
        let published = self.publish(&pack, &synced);
        drop(appender);
        let indexed = published.and_then(|_| pack.write_index(&|_| true));
        self.shared.give_back(pack);
        indexed
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

impl ChunkSink for PackWriter {
    fn take(&mut self, digest: Digest, data: &[u8]) -> Result<(), LibraryError> {
        self.add_checked(digest, data).map(drop)
    }
}

impl Drop for PackWriter {
    fn drop(&mut self) {
        let full = self.full.take().map(|(appender, _)| appender);
        for appender in full.into_iter().chain(self.appender.take()) {
            let pack = appender.pack.clone();
            drop(appender);
            // What nobody sees need not take room until the next writer comes, who would cut it off.
            let _ = pack.file().set_len(pack.durable());
            self.shared.give_back(pack);
        }
    }
}
