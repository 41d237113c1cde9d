//! A pack: an append-only file of blocks, with an index beside it.
//!
//! Format, version 1, integers little-endian: magic `PHPK`, version u16, ten zero bytes; then blocks. A block: magic
//! `PHBK`, kind u8 (1: one zstd frame of whole chunks; others are for later), three zero bytes, chunk count u32, data
//! length u32; (BLAKE3, length u32) of each chunk; the data; the first 16 bytes of the BLAKE3 of all that. A block is
//! written once and never changed, and it says itself where it ends and whether it is whole.

use std::{
    collections::HashMap,
    fs::File,
    io,
    os::unix::fs::FileExt,
    path::{Path, PathBuf},
    sync::{Mutex, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard},
};

use packhorse_domain::Digest;

use crate::{
    block::Block,
    durable::{lock, persist},
    error::LibraryError,
    index::{Index, IndexWriter, Location},
    limits::{BLOCK_CHUNKS_MAX, BLOCK_DATA_LENGTH_MAX, PACK_CHUNKS, PACK_LENGTH},
    manifest::take_chunk,
    wire::Fields,
};

pub(crate) const PACK_HEADER: &[u8; 16] = b"PHPK\x01\0\0\0\0\0\0\0\0\0\0\0";
pub(crate) const BLOCK_HEADER_LENGTH: usize = 16;
const BLOCK_MAGIC: [u8; 4] = *b"PHBK";
const BLOCK_KIND: u8 = 1;
const CHECKSUM_LENGTH: usize = 16;
/// No block takes more of a pack.
const BLOCK_STORED_MAX: u32 =
    (BLOCK_HEADER_LENGTH + BLOCK_CHUNKS_MAX * 36 + CHECKSUM_LENGTH) as u32 + BLOCK_DATA_LENGTH_MAX as u32;

/// A pack that readers see. What a writer has appended shows once it is durable.
#[derive(Debug)]
pub(crate) struct Pack {
    pub(crate) id: u64,
    path: PathBuf,
    file: File,
    state: RwLock<State>,
    /// Held while the index is replaced.
    index_change: Mutex<()>,
}

#[derive(Debug)]
struct State {
    index: Option<Index>,
    /// What is durable and not in the index yet.
    tail: HashMap<Digest, Location>,
    /// How much of the file is whole and durable.
    durable: u64,
    appendable: bool,
}

impl Pack {
    pub(crate) fn path_of(packs: &Path, id: u64) -> PathBuf {
        packs.join(format!("{id:016x}.pack"))
    }

    pub(crate) fn new(id: u64, path: PathBuf, file: File, index: Option<Index>) -> Self {
        let durable = index.as_ref().map_or(PACK_HEADER.len() as u64, Index::covers);
        let state = State { index, tail: HashMap::new(), durable, appendable: true };
        Pack { id, path, file, state: RwLock::new(state), index_change: Mutex::new(()) }
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    pub(crate) fn index_path(&self) -> PathBuf {
        self.path.with_extension("index")
    }

    pub(crate) fn file(&self) -> &File {
        &self.file
    }

    pub(crate) fn durable(&self) -> u64 {
        self.read().durable
    }

    /// Whether a writer may take the pack and append to it.
    pub(crate) fn has_room(&self) -> bool {
        let state = self.read();
        state.appendable && state.durable < PACK_LENGTH && state.chunk_count() < PACK_CHUNKS
    }

    pub(crate) fn chunk_count(&self) -> usize {
        self.read().chunk_count()
    }

    /// Nothing is appended any more: the end of the file is not to be trusted.
    pub(crate) fn close(&self) {
        self.write().appendable = false;
    }

    pub(crate) fn find(&self, digest: &Digest) -> Result<Option<Location>, LibraryError> {
        let state = self.read();
        if let Some(location) = state.tail.get(digest) {
            return Ok(Some(*location));
        }
        let Some(index) = &state.index else { return Ok(None) };
        index.find(digest).map_err(LibraryError::io("read", &self.index_path()))
    }

    /// Shows readers what has become durable.
    pub(crate) fn publish(&self, entries: impl IntoIterator<Item = (Digest, Location)>, durable: u64) {
        let mut state = self.write();
        state.tail.extend(entries);
        state.durable = durable;
    }

    /// Reads a block and checks that it is as it was written.
    pub(crate) fn read_block(&self, offset: u32, stored: u32) -> Result<Block, LibraryError> {
        if stored > BLOCK_STORED_MAX {
            return Err(self.damaged(offset));
        }
        let mut bytes = vec![0; stored as usize];
        match self.file.read_exact_at(&mut bytes, offset.into()) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Err(self.damaged(offset)),
            // A sector that cannot be read any more is damage as well; it is mended in the same way.
            Err(error) if error.raw_os_error() == Some(rustix::io::Errno::IO.raw_os_error()) => {
                return Err(self.damaged(offset));
            }
            Err(error) => return Err(LibraryError::io("read", &self.path)(error)),
        }
        decode_block(&bytes).ok_or_else(|| self.damaged(offset))
    }

    /// Asks the system to forget what it has of these bytes in memory, so that the next read is the disk's answer. Where
    /// it does not, the read is of memory; that is no error.
    pub(crate) fn forget_cached(&self, offset: u32, stored: u32) {
        let length = std::num::NonZeroU64::new(stored.into());
        let _ = rustix::fs::fadvise(&self.file, offset.into(), length, rustix::fs::Advice::DontNeed);
    }

    /// The plain length of the block at `offset`, by its header alone.
    pub(crate) fn plain_length_at(&self, offset: u32) -> Option<u64> {
        let mut header = [0; BLOCK_HEADER_LENGTH];
        self.file.read_exact_at(&mut header, offset.into()).ok()?;
        stored_length(&header)?;
        let chunks = Fields(&header[8..]).u32()? as usize;
        let mut refs = vec![0; chunks * 36];
        self.file.read_exact_at(&mut refs, u64::from(offset) + BLOCK_HEADER_LENGTH as u64).ok()?;
        Some(refs.chunks_exact(36).filter_map(take_chunk).map(|chunk| u64::from(chunk.length)).sum())
    }

    pub(crate) fn damaged(&self, offset: u32) -> LibraryError {
        LibraryError::Damaged { pack: self.path.clone(), offset: offset.into() }
    }

    /// Everything that readers see, in no order.
    pub(crate) fn entries(&self) -> Result<Vec<(Digest, Location)>, LibraryError> {
        self.entries_and_durable().map(|(entries, _)| entries)
    }

    fn entries_and_durable(&self) -> Result<(Vec<(Digest, Location)>, u64), LibraryError> {
        let state = self.read();
        let mut all: Vec<_> = state.tail.iter().map(|(digest, location)| (*digest, *location)).collect();
        if let Some(index) = &state.index {
            for entry in index.entries() {
                let entry = entry.map_err(LibraryError::io("read", &self.index_path()))?;
                if !state.tail.contains_key(&entry.0) {
                    all.push(entry);
                }
            }
        }
        Ok((all, state.durable))
    }

    /// Writes the index anew, with the tail and without the chunks that `keep` refuses. The pack itself must be
    /// durable up to what was published.
    pub(crate) fn write_index(&self, keep: &dyn Fn(&Digest) -> bool) -> Result<(), LibraryError> {
        let _alone = lock(&self.index_change);
        let path = self.index_path();
        let (mut entries, covers) = self.entries_and_durable()?;
        entries.retain(|(digest, _)| keep(digest));
        entries.sort_unstable_by_key(|(digest, _)| *digest);
        let file = tempfile::Builder::new()
            .prefix(".part-")
            .tempfile_in(path.parent().unwrap_or(Path::new(".")))
            .map_err(LibraryError::io("make a file for", &path))?;
        let index =
            write_entries(file.as_file(), covers, &entries).map_err(LibraryError::io("write", &path))?;
        persist(file, &path)?;
        let mut state = self.write();
        state.index = Some(index);
        // What was published meanwhile stays; what this index holds, or was told to drop, goes.
        state.tail.retain(|_, location| u64::from(location.offset) >= covers);
        Ok(())
    }

    fn read(&self) -> RwLockReadGuard<'_, State> {
        self.state.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, State> {
        self.state.write().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn chunk_count(&self) -> usize {
        self.tail.len() + self.index.as_ref().map_or(0, |index| index.count() as usize)
    }
}

fn write_entries(file: &File, covers: u64, entries: &[(Digest, Location)]) -> io::Result<Index> {
    let mut writer = IndexWriter::new(file, covers, entries.len() as u64)?;
    for (digest, location) in entries {
        writer.add(digest, *location)?;
    }
    writer.finish(file.try_clone()?)
}

/// The bytes of a block in a pack.
pub(crate) fn encode_block(block: &Block) -> Vec<u8> {
    let length = BLOCK_HEADER_LENGTH + block.chunks.len() * 36 + block.data.len() + CHECKSUM_LENGTH;
    let mut bytes = Vec::with_capacity(length);
    bytes.extend_from_slice(&BLOCK_MAGIC);
    bytes.extend_from_slice(&[BLOCK_KIND, 0, 0, 0]);
    bytes.extend_from_slice(&(block.chunks.len() as u32).to_le_bytes());
    bytes.extend_from_slice(&(block.data.len() as u32).to_le_bytes());
    for chunk in &block.chunks {
        bytes.extend_from_slice(&chunk.digest.0);
        bytes.extend_from_slice(&chunk.length.to_le_bytes());
    }
    bytes.extend_from_slice(&block.data);
    let checksum = blake3::hash(&bytes);
    bytes.extend_from_slice(&checksum.as_bytes()[..CHECKSUM_LENGTH]);
    bytes
}

/// How long the block is that begins with `header`, if it is the header of one.
pub(crate) fn stored_length(header: &[u8; BLOCK_HEADER_LENGTH]) -> Option<u32> {
    let mut fields = Fields(header);
    if fields.bytes(4)? != BLOCK_MAGIC || fields.bytes(4)? != [BLOCK_KIND, 0, 0, 0] {
        return None;
    }
    let (chunks, data) = (fields.u32()? as usize, fields.u32()?);
    if chunks == 0 || chunks > BLOCK_CHUNKS_MAX || u64::from(data) > BLOCK_DATA_LENGTH_MAX {
        return None;
    }
    Some((BLOCK_HEADER_LENGTH + chunks * 36 + CHECKSUM_LENGTH) as u32 + data)
}

/// The block, if its bytes are whole and unchanged.
pub(crate) fn decode_block(bytes: &[u8]) -> Option<Block> {
    let header = bytes.first_chunk()?;
    if stored_length(header)? as usize != bytes.len() {
        return None;
    }
    let (body, checksum) = bytes.split_at_checked(bytes.len().checked_sub(CHECKSUM_LENGTH)?)?;
    if blake3::hash(body).as_bytes()[..CHECKSUM_LENGTH] != *checksum {
        return None;
    }
    let mut fields = Fields(body.get(8..)?);
    let (count, _data) = (fields.u32()? as usize, fields.u32()?);
    let chunks = fields.bytes(count * 36)?.chunks_exact(36).map(take_chunk).collect::<Option<Vec<_>>>()?;
    let block = Block { chunks, data: fields.0.to_vec() };
    // What declares more than is accepted was not written here, and its places would not fit into an index.
    block.plain_length().is_ok().then_some(block)
}

/// Where each chunk of a block is, if the block is stored at `offset`.
pub(crate) fn locations(block: &Block, offset: u32, stored: u32) -> Vec<(Digest, Location)> {
    let mut start = 0;
    block
        .chunks
        .iter()
        .map(|chunk| {
            let location = Location { offset, stored, start, length: chunk.length };
            start += chunk.length;
            (chunk.digest, location)
        })
        .collect()
}
