//! Reading chunks from packs: one after the other with the last blocks kept, or whole blocks as they are stored.

use std::{
    collections::{HashSet, VecDeque},
    ops::ControlFlow,
    sync::Arc,
};

use packhorse_domain::Digest;

use crate::{
    block::Block,
    error::LibraryError,
    index::Location,
    library::Shared,
    limits::{BLOCK_CHUNKS_MAX, BLOCK_PLAIN_LENGTH},
    manifest::ChunkRef,
    pack::Pack,
    wire::digest_of,
};

/// How many plain blocks are kept: a file's chunks lie in the same few.
const KEPT: usize = 8;

/// Reads chunks; best asked in the order of a manifest.
#[derive(Debug)]
pub(crate) struct ChunkReader<'a> {
    shared: &'a Shared,
    /// This pack is not looked into.
    except: Option<u64>,
    kept: VecDeque<Plain>,
}

#[derive(Debug)]
struct Plain {
    pack: u64,
    offset: u32,
    bytes: Vec<u8>,
}

impl<'a> ChunkReader<'a> {
    pub(crate) fn new(shared: &'a Shared) -> Self {
        ChunkReader { shared, except: None, kept: VecDeque::with_capacity(KEPT) }
    }

    /// Reads from all packs but this one.
    pub(crate) fn outside(shared: &'a Shared, pack: u64) -> Self {
        ChunkReader { except: Some(pack), ..Self::new(shared) }
    }

    /// Whether the chunk is there and undamaged.
    pub(crate) fn holds(&mut self, digest: &Digest) -> Result<bool, LibraryError> {
        match self.chunk(digest) {
            Ok(found) => Ok(found.is_some()),
            Err(LibraryError::Damaged { .. }) => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// The bytes of a chunk, checked; `None` if no pack has it. Where a pack's copy is damaged another is tried.
    pub(crate) fn chunk(&mut self, digest: &Digest) -> Result<Option<&[u8]>, LibraryError> {
        let mut damage = None;
        let mut found = None;
        let except = self.except;
        for pack in self.shared.packs().iter().rev().filter(|pack| Some(pack.id) != except) {
            let Some(location) = pack.find(digest)? else { continue };
            match self.read(pack, location, digest) {
                Ok(at) => {
                    found = Some((at, location));
                    break;
                }
                Err(error @ LibraryError::Damaged { .. }) => damage = Some(error),
                Err(error) => return Err(error),
            }
        }
        match (found, damage) {
            (Some((at, location)), _) => {
                let start = location.start as usize;
                Ok(self.kept[at].bytes.get(start..start + location.length as usize))
            }
            (None, Some(damage)) => Err(damage),
            (None, None) => Ok(None),
        }
    }

    /// The bytes of a chunk that must be there, with the length that a manifest says.
    pub(crate) fn exactly(&mut self, chunk: &ChunkRef) -> Result<&[u8], LibraryError> {
        match self.chunk(&chunk.digest)? {
            Some(bytes) if bytes.len() == chunk.length as usize => Ok(bytes),
            Some(_) => Err(LibraryError::WrongChunk { chunk: chunk.digest }),
            None => Err(LibraryError::Lacking { chunk: chunk.digest }),
        }
    }

    /// Brings the block into `kept` and checks the chunk in it. Where in `kept` it is.
    fn read(&mut self, pack: &Arc<Pack>, location: Location, digest: &Digest) -> Result<usize, LibraryError> {
        let known =
            self.kept.iter().position(|plain| plain.pack == pack.id && plain.offset == location.offset);
        let at = match known {
            Some(at) => at,
            None => {
                let block = pack.read_block(location.offset, location.stored)?;
                let bytes = block.plain().map_err(|_| pack.damaged(location.offset))?;
                if self.kept.len() == KEPT {
                    self.kept.pop_front();
                }
                self.kept.push_back(Plain { pack: pack.id, offset: location.offset, bytes });
                self.kept.len() - 1
            }
        };
        let start = location.start as usize;
        let bytes = self.kept[at].bytes.get(start..start + location.length as usize);
        if bytes.is_none_or(|bytes| digest_of(bytes) != *digest) {
            return Err(pack.damaged(location.offset));
        }
        Ok(at)
    }
}

/// Gathers chunks that come from blocks of which not all is wanted into new blocks.
#[derive(Default)]
struct Remade {
    chunks: Vec<ChunkRef>,
    plain: Vec<u8>,
    compressor: Option<zstd::bulk::Compressor<'static>>,
}

/// Gives `chunks` in about the order asked for, each once: whole blocks as stored where all of a block is wanted,
/// otherwise in blocks made anew. Stops when `each` breaks.
pub(crate) fn read_blocks(
    shared: &Shared,
    chunks: &[Digest],
    each: &mut dyn FnMut(Block) -> ControlFlow<()>,
) -> Result<(), LibraryError> {
    let mut wanted: HashSet<Digest> = chunks.iter().copied().collect();
    let mut reader = ChunkReader::new(shared);
    let mut remade = Remade::default();
    // The block that was last found to be wanted in part: its other chunks need no second look at it.
    let mut partial = None;
    for digest in chunks {
        if !wanted.contains(digest) {
            continue;
        }
        let is_wanted = |block: &Block| block.chunks.iter().all(|chunk| wanted.contains(&chunk.digest));
        if let Some(block) = whole_block(shared, digest, &is_wanted, &mut partial)? {
            for chunk in &block.chunks {
                wanted.remove(&chunk.digest);
            }
            if remade.hand_on(shared, each)?.is_break() || each(block).is_break() {
                return Ok(());
            }
            continue;
        }
        wanted.remove(digest);
        let bytes = reader.chunk(digest)?.ok_or(LibraryError::Lacking { chunk: *digest })?;
        if remade.is_full_with(bytes.len()) && remade.hand_on(shared, each)?.is_break() {
            return Ok(());
        }
        remade.add(ChunkRef { digest: *digest, length: bytes.len() as u32 }, bytes);
    }
    remade.hand_on(shared, each).map(|_| ())
}

/// Gives `chunks` in their order, each as often as it is asked for: whole blocks as stored where the next are just those of
/// one, otherwise in blocks made anew. Stops when `each` breaks.
pub(crate) fn read_in_order(
    shared: &Shared,
    chunks: &[ChunkRef],
    each: &mut dyn FnMut(Block) -> ControlFlow<()>,
) -> Result<(), LibraryError> {
    let (mut reader, mut remade) = (ChunkReader::new(shared), Remade::default());
    let (mut rest, mut partial) = (chunks, None);
    while let Some(next) = rest.first() {
        let is_next = |block: &Block| block.chunks.first() == Some(next) && rest.starts_with(&block.chunks);
        if let Some(block) = whole_block(shared, &next.digest, &is_next, &mut partial)? {
            rest = &rest[block.chunks.len()..];
            if remade.hand_on(shared, each)?.is_break() || each(block).is_break() {
                return Ok(());
            }
            continue;
        }
        let bytes = reader.exactly(next)?;
        if remade.is_full_with(bytes.len()) && remade.hand_on(shared, each)?.is_break() {
            return Ok(());
        }
        remade.add(*next, bytes);
        rest = &rest[1..];
    }
    remade.hand_on(shared, each).map(|_| ())
}

/// The block that holds the chunk, if it is wanted as it is and not damaged.
fn whole_block(
    shared: &Shared,
    digest: &Digest,
    is_wanted: &dyn Fn(&Block) -> bool,
    partial: &mut Option<(u64, u32)>,
) -> Result<Option<Block>, LibraryError> {
    for pack in shared.packs().iter().rev() {
        let Some(location) = pack.find(digest)? else { continue };
        if *partial == Some((pack.id, location.offset)) {
            return Ok(None);
        }
        match pack.read_block(location.offset, location.stored) {
            Ok(block) if is_wanted(&block) => return Ok(Some(block)),
            Ok(_) => {
                *partial = Some((pack.id, location.offset));
                return Ok(None);
            }
            // Another pack may hold it whole; if none does, reading it as a chunk tells the damage.
            Err(LibraryError::Damaged { .. }) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(None)
}

impl Remade {
    fn is_full_with(&self, length: usize) -> bool {
        self.plain.len() + length > BLOCK_PLAIN_LENGTH || self.chunks.len() >= BLOCK_CHUNKS_MAX
    }

    fn add(&mut self, chunk: ChunkRef, bytes: &[u8]) {
        self.chunks.push(chunk);
        self.plain.extend_from_slice(bytes);
    }

    fn hand_on(
        &mut self,
        shared: &Shared,
        each: &mut dyn FnMut(Block) -> ControlFlow<()>,
    ) -> Result<ControlFlow<()>, LibraryError> {
        if self.chunks.is_empty() {
            return Ok(ControlFlow::Continue(()));
        }
        let compressor = match &mut self.compressor {
            Some(compressor) => compressor,
            none => {
                none.insert(Block::compressor().map_err(LibraryError::io("compress from", shared.dir()))?)
            }
        };
        let block = Block::compress(compressor, std::mem::take(&mut self.chunks), &self.plain)
            .map_err(LibraryError::io("compress from", shared.dir()))?;
        self.plain.clear();
        Ok(each(block))
    }
}
