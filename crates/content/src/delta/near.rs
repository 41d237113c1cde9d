//! Where in the neighbourhood of the last copy something may be: every place there is known by a few bytes.

use std::io;

use super::{
    differences::equal_bytes,
    old::{OldContent, Window},
};

/// Bytes by which a place is known.
pub(super) const KEY_BYTES: usize = 8;
/// How far around the place where the last copy would be now. Farther away more is found, and more of it by chance.
const REACH_BYTES: u64 = 8 * 1024;
/// The neighbourhood grows by so much on either side with each look: most stays are short.
const GROWS_BYTES: u64 = 8;
const SLOT_BITS: u32 = 16;
/// More need not be the same to be sure.
const SURE_BYTES: usize = 64;

/// A neighbourhood that moves on.
#[derive(Debug)]
pub(super) struct Near {
    window: Window,
    /// What of it is known.
    known: (u64, u64),
    /// By hash, the lower half of a place. One that is out of date is found to be none.
    slots: Vec<u32>,
}

impl Default for Near {
    fn default() -> Self {
        Near { window: Window::default(), known: (0, 0), slots: vec![0; 1 << SLOT_BITS] }
    }
}

impl Near {
    /// Where around `center` the old content is the same as `new` is from `at` on, for eight bytes, and for so many as are
    /// asked for together with those before them; and how many are the same from there on, of those that were looked at.
    pub(super) fn find(
        &mut self,
        old: &OldContent,
        center: u64,
        (new, at): (&[u8], usize),
        least: usize,
    ) -> io::Result<Option<(u64, usize)>> {
        let Some(key) = new[at..].first_chunk::<KEY_BYTES>() else { return Ok(None) };
        self.know(old, center)?;
        let (start, bytes) = self.window.held_bytes();
        let place = self.slots[slot_of(key)].wrapping_sub(start as u32) as usize;
        let Some((before, there)) = bytes.split_at_checked(place) else { return Ok(None) };
        if there.first_chunk::<KEY_BYTES>() != Some(key) {
            return Ok(None);
        }
        let sure = SURE_BYTES.min(new.len() - at).min(there.len());
        let after = equal_bytes(&new[at..at + sure], &there[..sure]);
        let pairs = new[..at].iter().rev().zip(before.iter().rev()).take(SURE_BYTES);
        let same = after + pairs.take_while(|(new, old)| new == old).count();
        Ok((same >= least).then(|| (start + place as u64, after)))
    }

    /// In which the old content around the last place is, unless whoever looked at it moved it on.
    pub(super) fn window(&mut self) -> &mut Window {
        &mut self.window
    }

    fn know(&mut self, old: &OldContent, center: u64) -> io::Result<()> {
        let from = center.saturating_sub(REACH_BYTES);
        let upto = center.saturating_add(REACH_BYTES).min(old.length());
        let (start, bytes) = self.window.held_bytes();
        if from < start || upto > start + bytes.len() as u64 {
            let end = upto.saturating_add(2 * REACH_BYTES).min(old.length());
            self.window.hold(old, from, end)?;
        }
        if from >= self.known.0 && upto <= self.known.1 {
            return Ok(());
        }
        if center < self.known.0 || center > self.known.1 {
            self.known = (center, center);
        }
        let known = self.known;
        let first = known.0.saturating_sub(GROWS_BYTES).max(from).min(known.0);
        let last = (known.1 + GROWS_BYTES).min(upto).max(known.1);
        self.learn(first, known.0);
        self.learn(known.1, last);
        self.known = (first, last);
        Ok(())
    }

    fn learn(&mut self, from: u64, upto: u64) {
        let (start, bytes) = self.window.held_bytes();
        let at = |place: u64| usize::try_from(place.saturating_sub(start)).unwrap_or(usize::MAX);
        let (first, last) = (at(from), at(upto).min(bytes.len()));
        let Some(bytes) = bytes.get(first..).filter(|_| first < last) else { return };
        for (nth, key) in bytes.windows(KEY_BYTES).take(last - first).enumerate() {
            if let Some(key) = key.first_chunk::<KEY_BYTES>() {
                self.slots[slot_of(key)] = (start as u32).wrapping_add((first + nth) as u32);
            }
        }
    }
}

fn slot_of(key: &[u8; KEY_BYTES]) -> usize {
    (u64::from_le_bytes(*key).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> (64 - SLOT_BITS)) as usize
}
