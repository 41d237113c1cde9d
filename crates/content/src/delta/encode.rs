//! Finds in old content what is like the new, and tells the rest.
//!
//! What is like it is looked for at the places of the last copies first, moved on as far as the new content has gone since,
//! and then in the index. From a place that is the same a copy goes on in both directions over differences, as long as
//! more is the same than is not.

use std::io::{self, Read};

use super::{
    COPY_MAX, Index, OldContent, Spools, Stream,
    differences::{Differences, equal_bytes},
    index::KEY_BYTES,
    old::Window,
};

/// Bytes of new content in memory.
const SEGMENT_BYTES: usize = 2 * 1024 * 1024;
/// Places of copies that are remembered.
const TRACKS: usize = 4;
/// So much has to be the same at the place of an earlier copy.
const AGAIN_BYTES: usize = 8;
/// And so near to the end of the last one.
const AGAIN_WITHIN_BYTES: usize = 16 * 1024;
/// A shorter copy costs more than it saves.
const COPY_MIN: usize = 12;
/// After so many bytes in which less is the same than is not, a copy has ended before them.
const PATIENCE: usize = 64;
/// How far a copy is looked for before the place where it was found.
const BACK_BYTES: usize = 4096;
const LOOK_BYTES: usize = 4096;

/// Tells new content, file by file.
pub(crate) struct Encoder<'a> {
    old: &'a OldContent,
    index: &'a Index,
    out: &'a mut Spools,
    tracks: [Track; TRACKS],
    /// For what the index names.
    probe: Window,
    copied: Vec<u8>,
    differences: Differences,
    last_shift: i64,
    /// Where the buffer begins in all of the new content.
    place: u64,
    buffer: Vec<u8>,
    /// Pieces of the old content that were copied from: where each begins and ends.
    used: Vec<(u64, u64)>,
}

/// An earlier copy, moved on.
#[derive(Debug, Default)]
struct Track {
    shift: i64,
    window: Window,
}

/// A part of the buffer, and its shift.
struct Copy {
    begin: usize,
    end: usize,
    shift: i64,
}

impl<'a> Encoder<'a> {
    pub(crate) fn new(old: &'a OldContent, index: &'a Index, out: &'a mut Spools) -> Self {
        Encoder {
            old,
            index,
            out,
            tracks: Default::default(),
            probe: Window::default(),
            copied: Vec::new(),
            differences: Differences::default(),
            last_shift: 0,
            place: 0,
            buffer: Vec::new(),
            used: Vec::new(),
        }
    }

    /// Where the old content was copied from: pieces in order, without overlap.
    pub(crate) fn used(mut self) -> Vec<(u64, u64)> {
        self.used.sort_unstable();
        self.used.dedup_by(|later, one| {
            let touches = later.0 <= one.1;
            if touches {
                one.1 = one.1.max(later.1);
            }
            touches
        });
        self.used
    }

    /// Tells a file. `like`: where the old content has one that it may be like. Gives its length.
    pub(crate) fn file(&mut self, content: &mut dyn Read, like: Option<u64>) -> io::Result<u64> {
        if let Some(like) = like {
            self.tracks.rotate_right(1);
            self.tracks[0] = Track { shift: like.wrapping_sub(self.place) as i64, window: Window::default() };
        }
        let (began, mut looked) = (self.place, 0);
        loop {
            let missing = SEGMENT_BYTES - self.buffer.len();
            let read = content.take(missing as u64).read_to_end(&mut self.buffer)?;
            let is_end = read < missing;
            looked = self.segment(looked, is_end)?;
            if is_end {
                self.step(self.buffer.len())?;
                self.forget(self.buffer.len());
                return Ok(self.place - began);
            }
            if self.buffer.len() == SEGMENT_BYTES {
                // Nothing in all of it is in the old content.
                self.step(looked)?;
                self.forget(looked);
                looked = 0;
            }
        }
    }

    /// Tells what the buffer has up to its last copy. How far the rest was looked at.
    fn segment(&mut self, mut at: usize, is_end: bool) -> io::Result<usize> {
        let margin = if is_end { AGAIN_BYTES } else { KEY_BYTES };
        let mut told = 0;
        while at + margin <= self.buffer.len() {
            match self.find(at, told)? {
                None => at += 1,
                Some(copy) => {
                    self.tell(told, &copy)?;
                    told = copy.end;
                    at = told;
                }
            }
        }
        self.forget(told);
        Ok(at - told)
    }

    fn forget(&mut self, bytes: usize) {
        self.buffer.drain(..bytes);
        self.place += bytes as u64;
    }

    fn find(&mut self, at: usize, told: usize) -> io::Result<Option<Copy>> {
        // Far from the last copy none of them goes on.
        let tracks = if at - told < AGAIN_WITHIN_BYTES { TRACKS } else { 0 };
        for nth in 0..tracks {
            if self.is_again(nth, at)? {
                let copy = self.extended(nth, at, told)?;
                if copy.end - copy.begin >= COPY_MIN {
                    self.tracks[..=nth].rotate_right(1);
                    return Ok(Some(copy));
                }
            }
        }
        let Some(place) = self.index.find(&self.buffer[at..]) else { return Ok(None) };
        let there = self.probe.from(self.old, place, KEY_BYTES)?;
        if there.get(..KEY_BYTES) != self.buffer.get(at..at + KEY_BYTES) {
            return Ok(None);
        }
        self.tracks.rotate_right(1);
        let track = &mut self.tracks[0];
        std::mem::swap(&mut track.window, &mut self.probe);
        track.shift = place.wrapping_sub(self.place + at as u64) as i64;
        self.extended(0, at, told).map(Some)
    }

    /// Whether the old content is the same where an earlier copy would be now.
    fn is_again(&mut self, nth: usize, at: usize) -> io::Result<bool> {
        let track = &mut self.tracks[nth];
        let Some(place) = (self.place + at as u64).checked_add_signed(track.shift) else { return Ok(false) };
        if place >= self.old.length() {
            return Ok(false);
        }
        let there = track.window.from(self.old, place, AGAIN_BYTES)?;
        Ok(there.get(..AGAIN_BYTES) == self.buffer.get(at..at + AGAIN_BYTES))
    }

    fn extended(&mut self, nth: usize, at: usize, told: usize) -> io::Result<Copy> {
        let track = &mut self.tracks[nth];
        let place = (self.place + at as u64).wrapping_add_signed(track.shift);
        let before = backward(&mut track.window, self.old, &self.buffer[told..at], place)?;
        let after = forward(&mut track.window, self.old, &self.buffer[at..], place)?;
        Ok(Copy { begin: at - before, end: at + after, shift: track.shift })
    }

    fn tell(&mut self, told: usize, copy: &Copy) -> io::Result<()> {
        let (mut from, mut literals) = (copy.begin, told..copy.begin);
        while from < copy.end {
            let end = copy.end.min(from + COPY_MAX);
            self.out.put(Stream::Literals, &self.buffer[literals.clone()])?;
            self.out.number(Stream::LiteralLengths, literals.len() as u64)?;
            self.out.number(Stream::CopyLengths, (end - from) as u64)?;
            self.out.number(Stream::Shifts, folded(copy.shift.wrapping_sub(self.last_shift)))?;
            self.last_shift = copy.shift;
            self.copied.resize(end - from, 0);
            let place = (self.place + from as u64).wrapping_add_signed(copy.shift);
            self.old.read_at(place, &mut self.copied)?;
            match self.used.last_mut().filter(|last| last.1 == place) {
                Some(last) => last.1 += (end - from) as u64,
                None => self.used.push((place, place + (end - from) as u64)),
            }
            self.differences.tell(&self.buffer[from..end], &self.copied, self.out)?;
            (from, literals) = (end, end..end);
        }
        Ok(())
    }

    /// Literals from the buffer's begin, and no copy.
    fn step(&mut self, literals: usize) -> io::Result<()> {
        if literals == 0 {
            return Ok(());
        }
        self.out.put(Stream::Literals, &self.buffer[..literals])?;
        self.out.number(Stream::LiteralLengths, literals as u64)?;
        self.out.number(Stream::CopyLengths, 0)
    }
}

/// How long a copy is best that goes on from here.
struct Score {
    same: usize,
    length: usize,
    best: isize,
}

impl Score {
    /// So much is the same of so many bytes. False: a copy has ended.
    fn goes_on(&mut self, length: usize) -> bool {
        let score = 2 * self.same as isize - length as isize;
        if score > self.best {
            (self.best, self.length) = (score, length);
        }
        length - self.length <= PATIENCE
    }
}

fn forward(window: &mut Window, old: &OldContent, new: &[u8], place: u64) -> io::Result<usize> {
    let mut score = Score { same: 0, length: 0, best: 0 };
    let mut at = 0;
    while at < new.len() {
        let least = LOOK_BYTES.min(new.len() - at);
        let there = window.from(old, place + at as u64, least)?;
        let look = there.len().min(new.len() - at);
        let (here, there) = (&new[at..at + look], &there[..look]);
        let mut from = 0;
        while from < look {
            let same = equal_bytes(&here[from..], &there[from..]);
            score.same += same;
            from += same;
            let goes_on = score.goes_on(at + from);
            from += usize::from(from < look);
            if !goes_on {
                return Ok(score.length);
            }
        }
        if look < least {
            break;
        }
        at += look;
    }
    Ok(score.length)
}

fn backward(window: &mut Window, old: &OldContent, new: &[u8], place: u64) -> io::Result<usize> {
    let mut score = Score { same: 0, length: 0, best: 0 };
    let there = window.before(old, place, BACK_BYTES.min(new.len()))?;
    for (nth, (new, old)) in new.iter().rev().zip(there.iter().rev()).enumerate().take(BACK_BYTES) {
        score.same += usize::from(new == old);
        if !score.goes_on(nth + 1) {
            break;
        }
    }
    Ok(score.length)
}

fn folded(shift: i64) -> u64 {
    ((shift << 1) ^ (shift >> 63)) as u64
}
