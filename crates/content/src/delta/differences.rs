//! Where a copy is not what it is a copy of.

use std::io;

use super::streams::{Spools, Stream, Streams};
use crate::bundle::BundleError;

/// Differences that are known by their place.
const RECENT: usize = 64;
const WORD: usize = 4;

/// The last different ones, the newest first.
#[derive(Debug)]
pub(super) struct Differences {
    recent: [u32; RECENT],
}

impl Default for Differences {
    fn default() -> Self {
        Differences { recent: [0; RECENT] }
    }
}

impl Differences {
    /// Tells how `new` differs from `old`, which is as long.
    pub(super) fn tell(&mut self, new: &[u8], old: &[u8], out: &mut Spools) -> io::Result<()> {
        let mut from = 0;
        loop {
            let at = from + equal_bytes(&new[from..], &old[from..]);
            if at == new.len() {
                return out.number(Stream::Gaps, 0);
            }
            out.number(Stream::Gaps, (at - from) as u64 + 1)?;
            let end = (at + WORD).min(new.len());
            let difference = word_of(&new[at..end]).wrapping_sub(word_of(&old[at..end]));
            self.tell_one(difference, out)?;
            from = end;
        }
    }

    fn tell_one(&mut self, difference: u32, out: &mut Spools) -> io::Result<()> {
        if let Some(place) = self.recent.iter().position(|known| *known == difference) {
            self.bring_forward(place, difference);
            return out.put(Stream::Recent, &[place as u8 + 1]);
        }
        self.bring_forward(RECENT - 1, difference);
        let [low, middle, high @ ..] = folded(difference).to_le_bytes();
        out.put(Stream::Recent, &[0])?;
        out.put(Stream::Low, &[low])?;
        out.put(Stream::Middle, &[middle])?;
        out.put(Stream::High, &high)
    }

    /// Makes of `bytes`, which are old, what they are now.
    pub(super) fn apply(&mut self, bytes: &mut [u8], streams: &mut Streams) -> Result<(), BundleError> {
        let mut from = 0_usize;
        loop {
            let gap = streams.number(Stream::Gaps)?;
            let Some(equal) = gap.checked_sub(1) else { return Ok(()) };
            let at = usize::try_from(equal).ok().and_then(|equal| from.checked_add(equal));
            let Some(at) = at.filter(|at| *at < bytes.len()) else {
                return Err(BundleError::Damaged("a difference in it lies beyond its copy"));
            };
            let end = (at + WORD).min(bytes.len());
            let word = word_of(&bytes[at..end]).wrapping_add(self.next(streams)?);
            bytes[at..end].copy_from_slice(&word.to_le_bytes()[..end - at]);
            from = end;
        }
    }

    fn next(&mut self, streams: &mut Streams) -> Result<u32, BundleError> {
        let place = usize::from(streams.byte(Stream::Recent)?);
        if place > RECENT {
            return Err(BundleError::Damaged("a difference in it is not one of the last"));
        }
        let (place, difference) = match place.checked_sub(1) {
            Some(place) => (place, self.recent[place]),
            None => {
                let mut high = [0; 2];
                let (low, middle) = (streams.byte(Stream::Low)?, streams.byte(Stream::Middle)?);
                streams.bytes(Stream::High, &mut high)?;
                (RECENT - 1, unfolded(u32::from_le_bytes([low, middle, high[0], high[1]])))
            }
        };
        self.bring_forward(place, difference);
        Ok(difference)
    }

    fn bring_forward(&mut self, place: usize, difference: u32) {
        self.recent.copy_within(0..place, 1);
        self.recent[0] = difference;
    }
}

/// How many bytes are the same at the begin of both.
pub(super) fn equal_bytes(new: &[u8], old: &[u8]) -> usize {
    let (new_words, _) = new.as_chunks::<8>();
    let (old_words, _) = old.as_chunks::<8>();
    for (nth, (new, old)) in new_words.iter().zip(old_words).enumerate() {
        let differs = u64::from_le_bytes(*new) ^ u64::from_le_bytes(*old);
        if differs != 0 {
            return nth * 8 + differs.trailing_zeros() as usize / 8;
        }
    }
    let words = new_words.len().min(old_words.len()) * 8;
    let rest = new[words..].iter().zip(&old[words..]);
    words + rest.take_while(|(new, old)| new == old).count()
}

fn word_of(bytes: &[u8]) -> u32 {
    let mut word = [0; WORD];
    word[..bytes.len()].copy_from_slice(bytes);
    u32::from_le_bytes(word)
}

/// Small numbers for small differences of either sign.
fn folded(difference: u32) -> u32 {
    (difference << 1) ^ (difference as i32 >> 31) as u32
}

fn unfolded(number: u32) -> u32 {
    (number >> 1) ^ (number & 1).wrapping_neg()
}
