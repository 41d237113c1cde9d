//! A block: some chunks, one after the other, compressed together. It is the unit that packs store, that is read
//! from a disk, and that travels between libraries as it lies there.

use std::{cell::RefCell, io};

use packhorse_domain::Digest;
use zstd::{
    bulk::{Compressor, Decompressor},
    zstd_safe,
};

use crate::{
    limits::{
        BLOCK_CHUNKS_MAX, BLOCK_DATA_LENGTH_MAX, BLOCK_LEVEL, BLOCK_PLAIN_LENGTH_MAX, CHUNK_LENGTH_MAX,
    },
    manifest::ChunkRef,
    wire::digest_of,
};

/// Chunks and the one zstd frame that holds them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Block {
    pub chunks: Vec<ChunkRef>,
    pub data: Vec<u8>,
}

/// A block that is refused.
#[derive(Debug, thiserror::Error)]
pub enum BlockError {
    #[error("the block holds no chunk, or more than the 4096 that are accepted")]
    Count,
    #[error("the block or one of its chunks is empty or longer than accepted")]
    Length,
    #[error("the block cannot be decompressed")]
    Compression(#[source] io::Error),
    #[error("the block is not one frame of the length that its chunks add up to")]
    Frame,
    #[error("the block's chunk {chunk} has other bytes than its digest says")]
    Digest { chunk: Digest },
}

thread_local! {
    static DECOMPRESSOR: RefCell<Option<Decompressor<'static>>> = const { RefCell::new(None) };
}

impl Block {
    /// Compresses `plain`, which is `chunks` one after the other.
    pub(crate) fn compress(
        compressor: &mut Compressor<'_>,
        chunks: Vec<ChunkRef>,
        plain: &[u8],
    ) -> io::Result<Block> {
        Ok(Block { chunks, data: compressor.compress(plain)? })
    }

    pub(crate) fn compressor() -> io::Result<Compressor<'static>> {
        Compressor::new(BLOCK_LEVEL)
    }

    /// The chunks' bytes, one after the other. Takes no more memory than the declared lengths, at most 1 MiB, whatever
    /// the frame says. The digests are not checked.
    pub fn plain(&self) -> Result<Vec<u8>, BlockError> {
        plain_of(&self.data, self.plain_length()?)
    }

    /// The chunks' bytes, each checked against its digest.
    pub fn verified_plain(&self) -> Result<Vec<u8>, BlockError> {
        let plain = self.plain()?;
        for (chunk, bytes) in self.parts(&plain) {
            if digest_of(bytes) != chunk.digest {
                return Err(BlockError::Digest { chunk: chunk.digest });
            }
        }
        Ok(plain)
    }

    /// Each chunk with its part of the plain bytes.
    pub fn parts<'a>(&'a self, plain: &'a [u8]) -> impl Iterator<Item = (ChunkRef, &'a [u8])> {
        self.chunks.iter().scan(plain, |rest, chunk| {
            let (bytes, after) = rest.split_at_checked(chunk.length as usize)?;
            *rest = after;
            Some((*chunk, bytes))
        })
    }

    pub(crate) fn plain_length(&self) -> Result<usize, BlockError> {
        if self.chunks.is_empty() || self.chunks.len() > BLOCK_CHUNKS_MAX {
            return Err(BlockError::Count);
        }
        if self.chunks.iter().any(|chunk| chunk.length == 0 || chunk.length > CHUNK_LENGTH_MAX) {
            return Err(BlockError::Length);
        }
        let length: u64 = self.chunks.iter().map(|chunk| u64::from(chunk.length)).sum();
        if length > BLOCK_PLAIN_LENGTH_MAX {
            return Err(BlockError::Length);
        }
        Ok(length as usize)
    }
}

/// What one frame holds, which must be so many bytes.
pub(crate) fn plain_of(data: &[u8], length: usize) -> Result<Vec<u8>, BlockError> {
    if data.len() as u64 > BLOCK_DATA_LENGTH_MAX
        || zstd_safe::find_frame_compressed_size(data) != Ok(data.len())
    {
        return Err(BlockError::Frame);
    }
    let plain = decompress(data, length).map_err(BlockError::Compression)?;
    if plain.len() != length {
        return Err(BlockError::Frame);
    }
    Ok(plain)
}

/// One decompressor for each thread: making one costs more than decoding a small block.
fn decompress(data: &[u8], length: usize) -> io::Result<Vec<u8>> {
    DECOMPRESSOR.with_borrow_mut(|slot| {
        let decompressor = match slot {
            Some(decompressor) => decompressor,
            None => slot.insert(Decompressor::new()?),
        };
        decompressor.decompress(data, length)
    })
}

#[cfg(test)]
mod tests {
    use packhorse_domain::Digest;

    use super::{Block, BlockError};
    use crate::{manifest::ChunkRef, testing::noise, wire::digest_of};

    fn block(pieces: &[&[u8]]) -> Block {
        let chunks =
            pieces.iter().map(|piece| ChunkRef { digest: digest_of(piece), length: piece.len() as u32 });
        let mut compressor = Block::compressor().unwrap();
        Block::compress(&mut compressor, chunks.collect(), &pieces.concat()).unwrap()
    }

    #[test]
    fn a_block_gives_its_chunks_back() {
        let block = block(&[b"one", b"three", &noise(1, 5000)]);

        let plain = block.verified_plain().unwrap();

        let parts: Vec<_> = block.parts(&plain).map(|(chunk, bytes)| (chunk.digest, bytes.len())).collect();
        assert_eq!(parts[1], (digest_of(b"three"), 5));
        assert_eq!(parts.len(), 3);
    }

    #[test]
    fn a_frame_longer_than_declared_is_refused_unexpanded() {
        let mut bomb = block(&[&[0; 200_000]]);
        bomb.chunks[0].length = 10;
        assert!(matches!(bomb.plain(), Err(BlockError::Compression(_) | BlockError::Frame)));
        bomb.chunks[0].length = 200_001;
        assert!(matches!(bomb.plain(), Err(BlockError::Frame)));
        bomb.chunks = vec![ChunkRef { digest: Digest([0; 32]), length: 256 * 1024 }; 5];
        assert!(matches!(bomb.plain(), Err(BlockError::Length)));
    }

    #[test]
    fn two_frames_and_trailing_bytes_are_no_block() {
        let one = block(&[b"one"]);
        let mut two = one.clone();
        two.data.extend_from_slice(&one.data);
        two.chunks.push(one.chunks[0]);
        assert!(matches!(two.plain(), Err(BlockError::Frame)));
        let mut trailing = one;
        trailing.data.push(0);
        assert!(matches!(trailing.plain(), Err(BlockError::Frame)));
    }

    #[test]
    fn a_chunk_under_a_false_name_is_refused() {
        let mut lying = block(&[b"one", b"two"]);
        lying.chunks[1].digest = digest_of(b"new");
        assert!(
            matches!(lying.verified_plain(), Err(BlockError::Digest { chunk }) if chunk == digest_of(b"new"))
        );
    }
}
