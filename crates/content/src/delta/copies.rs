//! How long a copy is best, and what makes one worth its price.

use std::io;

use super::{
    differences::{equal_bytes, equal_bytes_before},
    old::{OldContent, Window},
};

/// After so many bytes in which less is the same than is not, a copy has ended before them.
const PATIENCE: usize = 64;
/// How far a copy is looked for before the place where it was found.
const BACK_BYTES: usize = 4096;
const LOOK_BYTES: usize = 4096;
/// Most copies end within so many: to read more for them costs more than to find them.
const FIRST_LOOK_BYTES: usize = 256;

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
    same: usize,
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
            let (here, there) = (&new[at..at + looked], &there[..looked]);
            let mut from = 0;
            while from < looked {
                let same = equal_bytes(&here[from..], &there[from..]);
                from += same;
                let differs = from < looked;
                if !score.goes_on(same, at + from) || differs && self.is_exact {
                    return Ok(score);
                }
                from += usize::from(differs);
            }
            if looked < least {
                break;
            }
            (at, look) = (at + looked, LOOK_BYTES);
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
            let mut left = looked;
            while left > 0 {
                let same = equal_bytes_before(&here[..left], &there[..left]);
                left -= same;
                let differs = left > 0;
                if !score.goes_on(same, at + looked - left) || differs && self.is_exact {
                    return Ok(score);
                }
                left -= usize::from(differs);
            }
            (at, look) = (at + looked, BACK_BYTES);
        }
        Ok(score)
    }
}

impl Score {
    /// So many bytes more are the same, of so many in all. False: a copy has ended.
    fn goes_on(&mut self, same: usize, length: usize) -> bool {
        self.same += same;
        let gain = (2 * self.same).saturating_sub(length);
        if gain > self.best {
            (self.best, self.length) = (gain, length);
        }
        length - self.length <= PATIENCE
    }
}
