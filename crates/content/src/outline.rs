//! An item's outline: BLAKE3's chaining values of its parts, so that each part can be checked against the item's
//! digest, and passed on, before the rest is there.
//!
//! An item of a single part has an empty outline: such a part is the root of BLAKE3's tree, which has no chaining
//! value, and it is checked by the item's digest. Every other outline has a hash for each part.
//!
//! On disk, version 1, integers little-endian: magic `PHOL`, version u16, count of hashes u16, bytes of a part u64, the
//! hashes. It has no checksum: whoever reads it asks whether it leads to a digest that he trusts.

use std::{fs::File, io, os::unix::fs::FileExt};

use blake3::hazmat::{HasherExt, Mode, merge_subtrees_non_root, merge_subtrees_root};
use packhorse_domain::{
    Digest,
    link::limits::{OUTLINE_HASHES_MAX, PART_BYTES_MIN},
};

use crate::{limits::PART_BYTES_MAX, wire::Fields};

const MAGIC: [u8; 4] = *b"PHOL";
const VERSION: u16 = 1;
const HEAD_LENGTH: usize = 16;
/// How much of a file is read at a time.
const READ_LENGTH: u64 = 4 * 1024 * 1024;

/// The chaining values of an item's parts. One that came from outside proves nothing before [`Outline::leads_to`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outline {
    /// A power of two of whole BLAKE3 chunks, and so small that the offset of each part fits into 64 bits.
    part_bytes: u64,
    /// None, or two to `OUTLINE_HASHES_MAX`.
    hashes: Vec<Digest>,
}

#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum OutlineError {
    #[error("the bytes are no outline")]
    NotAnOutline,
    #[error("the outline has format version {0}, this program knows version 1: upgrade it")]
    Version(u16),
    #[error("a part has a power of two of bytes, 1 MiB to 4 PiB, not {0}")]
    PartBytes(u64),
    #[error("an outline has no hash or 2 to 4096, not {0}")]
    Count(usize),
    #[error("the outline is cut off")]
    Truncated,
    #[error("bytes follow the end of the outline")]
    Trailing,
}

/// The bytes of each part but the last, of an item of that length: as few as give at most 4,096 parts.
pub fn part_bytes(length: u64) -> u64 {
    part_bytes_from(PART_BYTES_MIN, length)
}

fn part_bytes_from(min: u64, length: u64) -> u64 {
    length.div_ceil(OUTLINE_HASHES_MAX as u64).max(min).next_power_of_two()
}

impl Outline {
    /// The longest encoding.
    pub const ENCODED_LENGTH_MAX: usize = HEAD_LENGTH + OUTLINE_HASHES_MAX * 32;

    /// An outline that came from outside.
    pub fn new(part_bytes: u64, hashes: Vec<Digest>) -> Result<Self, OutlineError> {
        let fits = (PART_BYTES_MIN..=PART_BYTES_MAX).contains(&part_bytes);
        if !fits || !part_bytes.is_power_of_two() {
            return Err(OutlineError::PartBytes(part_bytes));
        }
        if hashes.len() == 1 || hashes.len() > OUTLINE_HASHES_MAX {
            return Err(OutlineError::Count(hashes.len()));
        }
        Ok(Outline { part_bytes, hashes })
    }

    /// Reads the first `length` bytes of a file. A file that is shorter is an error.
    pub fn of_file(file: &File, length: u64) -> io::Result<(Digest, Self)> {
        let mut outliner = Outliner::new();
        let mut buffer = vec![0; length.min(READ_LENGTH) as usize];
        let mut offset = 0;
        while offset < length {
            let piece = &mut buffer[..(length - offset).min(READ_LENGTH) as usize];
            file.read_exact_at(piece, offset)?;
            outliner.update(piece);
            offset += piece.len() as u64;
        }
        Ok(outliner.finish())
    }

    /// The bytes of each part but the last.
    pub fn part_bytes(&self) -> u64 {
        self.part_bytes
    }

    /// The hash of each part, in order; none if the item is a single part.
    pub fn hashes(&self) -> &[Digest] {
        &self.hashes
    }

    /// Whether an item of this length and digest has this outline. If so, a part that passes [`Outline::check`] is the
    /// item's. An item of a single part has the empty outline, whatever its digest. Of the length only the count of
    /// parts is proved here: a wrong one within the last part is found when that part is checked.
    pub fn leads_to(&self, length: u64, digest: &Digest) -> bool {
        match length.div_ceil(self.part_bytes) {
            0 | 1 => self.hashes.is_empty(),
            parts => self.hashes.len() as u64 == parts && root(&self.hashes) == *digest,
        }
    }

    /// Whether these are the bytes of that part, counted from 0. Nothing passes an empty outline: what is a single part
    /// is checked by its digest.
    pub fn check(&self, nth: usize, bytes: &[u8]) -> bool {
        self.part_check(nth).is_some_and(|mut check| {
            check.update(bytes);
            check.passes()
        })
    }

    /// The same for bytes that come in pieces. `None` if the outline has no such part.
    pub fn part_check(&self, nth: usize) -> Option<PartCheck> {
        let expected = *self.hashes.get(nth)?;
        let hasher = hasher_at(nth as u64 * self.part_bytes);
        Some(PartCheck { expected, hasher, room: self.part_bytes, overflowed: false })
    }

    pub fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(HEAD_LENGTH + self.hashes.len() * 32);
        bytes.extend_from_slice(&MAGIC);
        bytes.extend_from_slice(&VERSION.to_le_bytes());
        bytes.extend_from_slice(&(self.hashes.len() as u16).to_le_bytes());
        bytes.extend_from_slice(&self.part_bytes.to_le_bytes());
        for hash in &self.hashes {
            bytes.extend_from_slice(&hash.0);
        }
        bytes
    }

    pub fn from_bytes(bytes: &[u8]) -> Result<Self, OutlineError> {
        let mut fields = Fields(bytes);
        if fields.bytes(4) != Some(&MAGIC) {
            return Err(OutlineError::NotAnOutline);
        }
        let version = fields.u16().ok_or(OutlineError::Truncated)?;
        if version != VERSION {
            return Err(OutlineError::Version(version));
        }
        let count = usize::from(fields.u16().ok_or(OutlineError::Truncated)?);
        if count > OUTLINE_HASHES_MAX {
            return Err(OutlineError::Count(count));
        }
        let part_bytes = fields.u64().ok_or(OutlineError::Truncated)?;
        let hashes =
            (0..count).map(|_| fields.digest().ok_or(OutlineError::Truncated)).collect::<Result<_, _>>()?;
        if !fields.0.is_empty() {
            return Err(OutlineError::Trailing);
        }
        Outline::new(part_bytes, hashes)
    }
}

/// Makes the digest and the outline of bytes in one pass, without knowing how many will come.
#[derive(Debug, Clone)]
pub struct Outliner {
    part_bytes: u64,
    /// Of the parts after which bytes have come: only then it is certain that a part is not the whole.
    hashes: Vec<Digest>,
    part: blake3::Hasher,
    /// Bytes in `part`.
    filled: u64,
}

impl Default for Outliner {
    fn default() -> Self {
        Outliner::new()
    }
}

impl Outliner {
    pub fn new() -> Self {
        Outliner::with_part_bytes(PART_BYTES_MIN)
    }

    fn with_part_bytes(part_bytes: u64) -> Self {
        Outliner { part_bytes, hashes: Vec::new(), part: blake3::Hasher::new(), filled: 0 }
    }

    pub fn update(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            if self.filled == self.part_bytes {
                self.begin_part();
            }
            let room = self.part_bytes - self.filled;
            let (now, later) = bytes.split_at((bytes.len() as u64).min(room) as usize);
            self.part.update(now);
            self.filled += now.len() as u64;
            bytes = later;
        }
    }

    /// The digest of what has come so far.
    pub fn digest(&self) -> Digest {
        if self.hashes.is_empty() {
            return Digest(*self.part.finalize().as_bytes());
        }
        let last = Digest(self.part.finalize_non_root());
        root(&[self.hashes.as_slice(), &[last]].concat())
    }

    pub fn finish(mut self) -> (Digest, Outline) {
        let digest = self.digest();
        if !self.hashes.is_empty() {
            self.hashes.push(Digest(self.part.finalize_non_root()));
        }
        (digest, Outline { part_bytes: self.part_bytes, hashes: self.hashes })
    }

    /// If the parts were too many, each two become one; the next part begins where such a larger one does.
    fn begin_part(&mut self) {
        self.hashes.push(Digest(self.part.finalize_non_root()));
        if self.hashes.len() == OUTLINE_HASHES_MAX {
            self.hashes = merge_pairs(&self.hashes);
            self.part_bytes *= 2;
        }
        self.part = hasher_at(self.hashes.len() as u64 * self.part_bytes);
        self.filled = 0;
    }
}

/// Checks the bytes of one part as they come.
#[derive(Debug, Clone)]
pub struct PartCheck {
    expected: Digest,
    hasher: blake3::Hasher,
    /// How many bytes the part may still have.
    room: u64,
    overflowed: bool,
}

impl PartCheck {
    pub fn update(&mut self, bytes: &[u8]) {
        // A hasher that does not begin at the item's begin panics on more than it may take.
        match self.room.checked_sub(bytes.len() as u64) {
            Some(room) if !self.overflowed => {
                self.room = room;
                self.hasher.update(bytes);
            }
            _ => self.overflowed = true,
        }
    }

    /// Whether what came are all the bytes of the part and nothing else.
    pub fn passes(&self) -> bool {
        // The hasher panics on a part without bytes; there is none.
        !self.overflowed && self.hasher.count() > 0 && self.hasher.finalize_non_root() == self.expected.0
    }
}

fn hasher_at(offset: u64) -> blake3::Hasher {
    let mut hasher = blake3::Hasher::new();
    hasher.set_input_offset(offset);
    hasher
}

/// The digest that two or more parts lead to. To merge neighbours until one is left, an odd one out moving up, gives
/// BLAKE3's tree, whose left side is always the largest power of two.
fn root(hashes: &[Digest]) -> Digest {
    match hashes {
        [left, right] => Digest(*merge_subtrees_root(&left.0, &right.0, Mode::Hash).as_bytes()),
        more => root(&merge_pairs(more)),
    }
}

fn merge_pairs(hashes: &[Digest]) -> Vec<Digest> {
    let merge = |pair: &[Digest]| match pair {
        [left, right] => Digest(merge_subtrees_non_root(&left.0, &right.0, Mode::Hash)),
        odd => odd[0],
    };
    hashes.chunks(2).map(merge).collect()
}

#[cfg(test)]
#[path = "outline_tests.rs"]
mod tests;
