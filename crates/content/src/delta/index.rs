//! Where in the old content something may be: one place in so many is known by the bytes that begin there.

use std::io;

use super::old::OldContent;

/// Bytes by which a place is known. Shorter ones are found in too many places, and longer ones in too few where addresses
/// lie between them.
pub(super) const KEY_BYTES: usize = 24;
/// Places that are known, at most: four bytes of memory each.
const PLACES_MAX: u64 = 1 << 24;
const STRIDE_MIN: u64 = 8;
/// Bits of the filter for each place.
const FILTER_BITS: u32 = 3;
const READ_BYTES: usize = 1024 * 1024;
const NOWHERE: u32 = u32::MAX;

/// The index of one old content.
#[derive(Debug)]
pub(crate) struct Index {
    stride: u64,
    places: Vec<u32>,
    /// Says of most keys that they are nowhere without a look at the places.
    filter: Vec<u64>,
}

impl Index {
    pub(crate) fn new(old: &OldContent) -> io::Result<Self> {
        let stride = (old.length() / PLACES_MAX + 1).next_power_of_two().max(STRIDE_MIN);
        let bits = (old.length() / stride).max(64).next_power_of_two().ilog2();
        let words = (1_usize << (bits + FILTER_BITS)) / 64;
        let mut index = Index { stride, places: vec![NOWHERE; 1 << bits], filter: vec![0; words.max(1)] };
        let mut buffer = vec![0; READ_BYTES + KEY_BYTES];
        let mut at = 0;
        while at + KEY_BYTES as u64 <= old.length() {
            let most = (old.length() - at).min(buffer.len() as u64);
            let piece = &mut buffer[..usize::try_from(most).unwrap_or(READ_BYTES)];
            old.read_at(at, piece)?;
            let stride = usize::try_from(stride).unwrap_or(usize::MAX);
            for (nth, key) in piece.windows(KEY_BYTES).step_by(stride).enumerate() {
                index.learn(key, at / index.stride + nth as u64);
            }
            // The next piece begins where the next place is.
            let places = (piece.len() - KEY_BYTES) / stride + 1;
            at += (places * stride) as u64;
        }
        Ok(index)
    }

    fn learn(&mut self, key: &[u8], place: u64) {
        let hash = hash_of(key);
        let (word, bit) = self.filter_of(hash);
        self.filter[word] |= bit;
        let slot = self.slot_of(hash);
        self.places[slot] = u32::try_from(place).unwrap_or(NOWHERE);
    }

    /// Where the first bytes of `new` may be in the old content.
    pub(super) fn find(&self, new: &[u8]) -> Option<u64> {
        let hash = hash_of(new.get(..KEY_BYTES)?);
        let (word, bit) = self.filter_of(hash);
        if self.filter[word] & bit == 0 {
            return None;
        }
        let place = self.places[self.slot_of(hash)];
        (place != NOWHERE).then(|| u64::from(place) * self.stride)
    }

    fn slot_of(&self, hash: u64) -> usize {
        (hash as usize) & (self.places.len() - 1)
    }

    fn filter_of(&self, hash: u64) -> (usize, u64) {
        let at = (hash >> 24) as usize & (self.filter.len() * 64 - 1);
        (at / 64, 1 << (at % 64))
    }
}

fn hash_of(key: &[u8]) -> u64 {
    let (words, _) = key.as_chunks::<8>();
    let mix = |hash: u64, word: &[u8; 8]| {
        (hash.rotate_left(23) ^ u64::from_le_bytes(*word)).wrapping_mul(0x9e37_79b9_7f4a_7c15)
    };
    let hash = words.iter().fold(0, mix);
    hash ^ (hash >> 29)
}
