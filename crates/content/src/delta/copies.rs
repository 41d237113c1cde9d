//! How long a copy is best, and what makes one worth its price.

use std::io;

use super::old::{OldContent, Window};

/// After so many bytes in which less is the same than is not, a copy has ended before them.
const PATIENCE: usize = 64;
/// How far a copy is looked for before the place where it was found.
const BACK_BYTES: usize = 4096;
const LOOK_BYTES: usize = 4096;
/// Most copies end within so many: to read more for them costs more than to find them.
const FIRST_LOOK_BYTES: usize = 256;
/// Bytes that are compared at once.
pub(super) const PIECE: usize = u64::BITS as usize;

/// What is asked of a copy, in bytes that are the same less those that are not.
#[derive(Debug, Clone, Copy)]
pub(super) struct Worth {
    /// It ends where something differs.
    pub(super) is_exact: bool,
    /// Of one that goes on at the place of an earlier copy: that costs next to nothing to tell.
    pub(super) again: usize,
    /// Of one in the neighbourhood of the last.
    pub(super) near: usize,
    /// Of one anywhere: its place costs some bytes, and little that comes after it goes on from there.
    pub(super) far: usize,
}

/// Of text, which compresses well: a few bytes that differ cost less as they are than as differences, and so do short
/// pieces of what is the same by chance.
pub(super) const TEXT: Worth = Worth { is_exact: true, again: 20, near: 28, far: 80 };
/// Of all else, as machine code.
pub(super) const BINARY: Worth = Worth { is_exact: false, again: 8, near: 24, far: 56 };

/// A part of the new content in memory that is a copy.
#[derive(Debug, Clone, Copy)]
pub(super) struct Copy {
    pub(super) begin: usize,
    pub(super) end: usize,
    /// Bytes that are the same less those that are not.
    pub(super) gain: usize,
}

/// How long a copy is best that goes on from here.
#[derive(Default)]
struct Score {
    /// Bytes that are not the same.
    differing: usize,
    length: usize,
    best: usize,
}

impl Worth {
    /// As text has no zeros.
    pub(super) fn of(begin: &[u8]) -> Self {
        if begin.contains(&0) { BINARY } else { TEXT }
    }

    /// The copy that is found where the old content at `place` is the same as the new at `at`; the new is told up to `told`.
    pub(super) fn copy(
        self,
        (old, window): (&OldContent, &mut Window),
        (new, told, at): (&[u8], usize, usize),
        place: u64,
    ) -> io::Result<Copy> {
        let before = self.backward(window, old, &new[told..at], place)?;
        let after = self.forward(window, old, &new[at..], place)?;
        Ok(Copy { begin: at - before.length, end: at + after.length, gain: before.best + after.best })
    }

    fn forward(self, window: &mut Window, old: &OldContent, new: &[u8], place: u64) -> io::Result<Score> {
        let (mut score, mut at, mut look) = (Score::default(), 0, FIRST_LOOK_BYTES);
        while at < new.len() {
            let least = look.min(new.len() - at);
            let there = window.from(old, place + at as u64, least)?;
            let looked = there.len().min(new.len() - at);
            let here = &new[at..at + looked];
            for (nth, (here, there)) in here.chunks(PIECE).zip(there[..looked].chunks(PIECE)).enumerate() {
                if !score.goes_over(at + nth * PIECE, differing(here, there), self.is_exact) {
                    return Ok(score);
                }
            }
            at += looked;
            if !score.goes_on(at) || looked < least {
                break;
            }
            look = LOOK_BYTES;
        }
        Ok(score)
    }

    fn backward(self, window: &mut Window, old: &OldContent, new: &[u8], place: u64) -> io::Result<Score> {
        let (mut score, mut at, mut look) = (Score::default(), 0, FIRST_LOOK_BYTES);
        let most = BACK_BYTES.min(new.len());
        while at < most {
            let there = window.before(old, place - at as u64, look.min(most - at))?;
            let looked = there.len().min(most - at);
            if looked == 0 {
                break;
            }
            let here = &new[new.len() - at - looked..new.len() - at];
            let there = &there[there.len() - looked..];
            for (nth, (here, there)) in here.rchunks(PIECE).zip(there.rchunks(PIECE)).enumerate() {
                let backwards = differing(here, there).reverse_bits() >> (PIECE - here.len());
                if !score.goes_over(at + nth * PIECE, backwards, self.is_exact) {
                    return Ok(score);
                }
            }
            at += looked;
            if !score.goes_on(at) {
                break;
            }
            look = BACK_BYTES;
        }
        Ok(score)
    }
}

/// Which bytes of two pieces of the same length are not the same, the first in the lowest bit.
pub(super) fn differing(one: &[u8], other: &[u8]) -> u64 {
    match (one.first_chunk(), other.first_chunk()) {
        (Some(one), Some(other)) => differing_of_whole(one, other),
        _ => {
            let mut pieces = [[0; PIECE]; 2];
            for (piece, bytes) in pieces.iter_mut().zip([one, other]) {
                piece[..bytes.len()].copy_from_slice(bytes);
            }
            differing_of_whole(&pieces[0], &pieces[1])
        }
    }
}

fn differing_of_whole(one: &[u8; PIECE], other: &[u8; PIECE]) -> u64 {
    let mut differ = [0; PIECE];
    for nth in 0..PIECE {
        differ[nth] = u8::from(one[nth] != other[nth]);
    }
    let (words, _) = differ.as_chunks::<8>();
    // The lowest bits of eight bytes, side by side.
    let bits = |word: &[u8; 8]| u64::from_le_bytes(*word).wrapping_mul(0x0102_0408_1020_4080) >> 56;
    words.iter().rev().fold(0, |all, word| all << 8 | bits(word))
}

impl Score {
    /// Goes over a piece that begins after so many bytes, of which these are not the same. False: a copy has ended.
    fn goes_over(&mut self, begin: usize, mut differing: u64, is_exact: bool) -> bool {
        while differing != 0 {
            if !self.goes_on(begin + differing.trailing_zeros() as usize) || is_exact {
                return false;
            }
            self.differing += 1;
            differing &= differing - 1;
        }
        true
    }

    /// After so many bytes the next is not the same, or unknown. False: a copy has ended.
    fn goes_on(&mut self, length: usize) -> bool {
        let gain = length.saturating_sub(2 * self.differing);
        if gain > self.best {
            (self.best, self.length) = (gain, length);
        }
        length - self.length <= PATIENCE
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::noise;

    #[test]
    fn each_byte_that_differs_is_found() {
        let one = noise(1, PIECE);
        for length in [0, 1, 7, 8, 9, 63, 64] {
            for seed in 0..50 {
                let mut other = one.clone();
                for (byte, noise) in other.iter_mut().zip(noise(seed, PIECE)) {
                    *byte ^= if noise < 100 { noise } else { 0 };
                }
                let found = differing(&one[..length], &other[..length]);
                for place in 0..PIECE {
                    let expected = place < length && one[place] != other[place];
                    assert_eq!(found >> place & 1 == 1, expected, "{place} of {length}");
                }
            }
        }
    }
}
