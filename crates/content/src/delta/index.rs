//! Where in the old content something may be: one place in so many is known by the bytes that begin there. Which places
//! these are their bytes decide, so that nothing else has to be looked for.

use std::io;

use super::old::OldContent;

/// Bytes by which a place is known. Shorter ones are found in too many places, and longer ones in too few where addresses
/// lie between them.
pub(super) const KEY_BYTES: usize = 24;
/// Places that are known, at most: eight bytes of memory each.
const PLACES_MAX: u64 = 1 << 24;
/// One place in two to the power of so many is known, at most.
const SPARSE_BITS_MIN: u32 = 4;
const READ_BYTES: usize = 1024 * 1024;
/// So much of a slot is the place, one more than it is; the rest is of the hash.
const PLACE_BITS: u32 = 40;

/// The index of one old content.
#[derive(Debug)]
pub(crate) struct Index {
    sparse_bits: u32,
    slots: Vec<u64>,
}

impl Index {
    pub(crate) fn new(old: &OldContent) -> io::Result<Self> {
        let sparse_bits = (old.length() / PLACES_MAX).max(1).ilog2().max(SPARSE_BITS_MIN);
        let slots = (old.length() >> sparse_bits).clamp(64, PLACES_MAX).next_power_of_two();
        let mut index = Index { sparse_bits, slots: vec![0; usize::try_from(slots).unwrap_or(64)] };
        let mut buffer = vec![0; READ_BYTES + KEY_BYTES];
        let mut at = 0;
        while at + KEY_BYTES as u64 <= old.length() {
            let most = (old.length() - at).min(buffer.len() as u64);
            let piece = &mut buffer[..usize::try_from(most).unwrap_or(READ_BYTES)];
            old.read_at(at, piece)?;
            for (nth, key) in piece.windows(KEY_BYTES).enumerate() {
                if let Some((slot, check)) = index.slot_of(key) {
                    index.slots[slot] = check << PLACE_BITS | (at + nth as u64 + 1);
                }
            }
            at += (piece.len() - KEY_BYTES + 1) as u64;
        }
        Ok(index)
    }

    /// Where the first bytes of `new` may be in the old content.
    pub(super) fn find(&self, new: &[u8]) -> Option<u64> {
        let (slot, check) = self.slot_of(new)?;
        let slot = self.slots[slot];
        let place = slot & ((1 << PLACE_BITS) - 1);
        if slot >> PLACE_BITS == check { place.checked_sub(1) } else { None }
    }

    /// Nothing: such a place is not known.
    fn slot_of(&self, key: &[u8]) -> Option<(usize, u64)> {
        let (words, _) = key.get(..KEY_BYTES)?.as_chunks::<8>();
        let mix = |hash: u64, word: &[u8; 8]| {
            (hash.rotate_left(23) ^ u64::from_le_bytes(*word)).wrapping_mul(0x9e37_79b9_7f4a_7c15)
        };
        let first = mix(SEED, words.first()?);
        if first >> (64 - self.sparse_bits) != 0 {
            return None;
        }
        let hash = words[1..].iter().fold(first, mix);
        let hash = (hash ^ (hash >> 29)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        Some(((hash >> (PLACE_BITS / 2)) as usize & (self.slots.len() - 1), hash >> PLACE_BITS))
    }
}

/// Runs of zeros are not known.
const SEED: u64 = 0x2545_f491_4f6c_dd1d;
