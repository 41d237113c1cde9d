//! The limits of every format of this crate: what is longer is refused before memory or disk is spent on it.

/// The longest chunk. The chunker never makes a longer one, and no format carries one.
pub(crate) const CHUNK_LENGTH_MAX: u32 = 256 * 1024;
/// A file up to this length is one chunk, named by the digest that names the file.
pub(crate) const WHOLE_FILE_LENGTH_MAX: u64 = 64 * 1024;
/// Chunks are compressed together until they reach this length.
pub(crate) const BLOCK_PLAIN_LENGTH: usize = 256 * 1024;
/// The longest block that is taken from a disk or another machine, plain.
pub(crate) const BLOCK_PLAIN_LENGTH_MAX: u64 = 1024 * 1024;
/// The longest block, compressed: zstd never makes more than this of a megabyte.
pub(crate) const BLOCK_DATA_LENGTH_MAX: u64 = BLOCK_PLAIN_LENGTH_MAX + 16 * 1024;
/// The most chunks in one block.
pub(crate) const BLOCK_CHUNKS_MAX: usize = 4096;
/// A pack of this length takes no more blocks.
pub(crate) const PACK_LENGTH: u64 = 512 * 1024 * 1024;
/// A pack of that many chunks takes no more blocks, which bounds the index and what a writer holds in memory.
pub(crate) const PACK_CHUNKS: usize = 256 * 1024;
/// The compression level of blocks: the next ones take half as much time again for a twentieth of the bytes.
pub(crate) const BLOCK_LEVEL: i32 = 1;
/// The most bytes of a part of an outline: 4,096 such parts are all that 64 bits can count.
pub(crate) const PART_BYTES_MAX: u64 = 1 << 52;

/// What a reader of manifests and bundles accepts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// The longest encoded manifest, in bytes.
    pub manifest_length_max: u64,
    /// The most entries of a manifest.
    pub entries_max: u32,
    /// The most content a manifest may name, in bytes.
    pub content_length_max: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Limits {
            manifest_length_max: 256 * 1024 * 1024,
            entries_max: 2_000_000,
            content_length_max: 4 * 1024 * 1024 * 1024 * 1024,
        }
    }
}
