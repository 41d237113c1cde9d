//! Finds in old content what is like the new, and tells the rest.
//!
//! What is like it is looked for at the places of the last copies first, moved on as far as the new content has gone since,
//! then in the neighbourhood of the last one, and then in the index of all. From a place that is the same a copy goes on in
//! both directions over differences, as long as more is the same than is not.

use std::io::{self, Read};

use super::{
    COPY_MAX, Index, OldContent, Spools, Stream,
    copies::{BINARY, Copy, PIECE, Worth, differing},
    differences::Differences,
    index::KEY_BYTES,
    near::Near,
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
/// The neighbourhood of a copy is looked at up to here.
const NEAR_WITHIN_BYTES: usize = 4 * 1024;
/// What a track is given of a neighbourhood, on either side of the end of its copy.
const HANDED_BYTES: u64 = 2 * 1024;
/// So much of a file tells what it is.
const BEGIN_BYTES: usize = 64 * 1024;

/// Tells new content, file by file.
pub(crate) struct Encoder<'a> {
    old: &'a OldContent,
    index: &'a Index,
    out: &'a mut Spools,
    tracks: [Track; TRACKS],
    /// For what the index names.
    probe: Window,
    near: Near,
    /// What was not worth it in the neighbourhood: its shift, and until where it would be the same again.
    in_vain: (i64, u64),
    worth: Worth,
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
    again: Again,
}

/// Where something is the same again at the place of an earlier copy: bit by bit for so many places of the new content.
#[derive(Debug, Default)]
struct Again {
    from: u64,
    count: u64,
    bits: u64,
}

impl<'a> Encoder<'a> {
    pub(crate) fn new(old: &'a OldContent, index: &'a Index, out: &'a mut Spools) -> Self {
        Encoder {
            old,
            index,
            out,
            tracks: Default::default(),
            probe: Window::default(),
            near: Near::default(),
            in_vain: (0, 0),
            worth: BINARY,
            copied: Vec::new(),
            differences: Differences::default(),
            last_shift: 0,
            place: 0,
            buffer: Vec::new(),
            used: Vec::new(),
        }
    }

    /// Tells a number that is no part of the content.
    pub(crate) fn number(&mut self, stream: Stream, number: u64) -> io::Result<()> {
        self.out.number(stream, number)
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
            self.tracks[0] = Track { shift: like.wrapping_sub(self.place) as i64, ..Track::default() };
        }
        let (began, mut looked) = (self.place, 0);
        loop {
            let missing = SEGMENT_BYTES - self.buffer.len();
            let read = content.take(missing as u64).read_to_end(&mut self.buffer)?;
            let is_end = read < missing;
            if self.place == began && looked == 0 {
                self.worth = Worth::of(&self.buffer[..self.buffer.len().min(BEGIN_BYTES)]);
            }
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
                    self.tell(told, copy)?;
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

    /// The next copy that is worth it and has this place of the buffer in it. Its shift is that of the first track.
    fn find(&mut self, at: usize, told: usize) -> io::Result<Option<Copy>> {
        // Far from the last copy none of them goes on.
        let tracks = if at - told < AGAIN_WITHIN_BYTES { TRACKS } else { 0 };
        for nth in 0..tracks {
            if self.is_again(nth, at)? {
                let copy = self.again(nth, at, told)?;
                if copy.gain >= self.worth.again {
                    self.tracks[..=nth].rotate_right(1);
                    return Ok(Some(copy));
                }
            }
        }
        match self.around(at, told)? {
            None => self.anywhere(at, told),
            copy => Ok(copy),
        }
    }

    /// The copy in the neighbourhood of the last one, if it is worth it: then it is on the first track.
    fn around(&mut self, at: usize, told: usize) -> io::Result<Option<Copy>> {
        let here = self.place + at as u64;
        let center = here.checked_add_signed(self.tracks[0].shift);
        let Some(center) =
            center.filter(|center| *center < self.old.length() && at - told < NEAR_WITHIN_BYTES)
        else {
            return Ok(None);
        };
        let least = if self.worth.is_exact { self.worth.near } else { 0 };
        let Some((place, same)) = self.near.find(self.old, center, (&self.buffer, at), least)? else {
            return Ok(None);
        };
        let shift = place.wrapping_sub(here) as i64;
        if self.in_vain.0 == shift && here < self.in_vain.1 {
            return Ok(None);
        }
        let copy = self.worth.copy((self.old, self.near.window()), (&self.buffer, told, at), place)?;
        if copy.gain < self.worth.near {
            // From the next byte on it would be no better.
            self.in_vain = (shift, here + same as u64);
            return Ok(None);
        }
        self.begin_track(shift);
        let end = (self.place + copy.end as u64).wrapping_add_signed(shift);
        self.tracks[0].window.take_part(
            self.near.window(),
            end.saturating_sub(HANDED_BYTES),
            end + HANDED_BYTES,
        );
        Ok(Some(copy))
    }

    /// The copy at the place that the index names, if it is worth it: then it is on the first track.
    fn anywhere(&mut self, at: usize, told: usize) -> io::Result<Option<Copy>> {
        let Some(place) = self.index.find(&self.buffer[at..]) else { return Ok(None) };
        let there = self.probe.from(self.old, place, KEY_BYTES)?;
        if there.get(..KEY_BYTES) != self.buffer.get(at..at + KEY_BYTES) {
            return Ok(None);
        }
        let copy = self.worth.copy((self.old, &mut self.probe), (&self.buffer, told, at), place)?;
        if copy.gain < self.worth.far {
            return Ok(None);
        }
        self.begin_track(place.wrapping_sub(self.place + at as u64) as i64);
        std::mem::swap(&mut self.tracks[0].window, &mut self.probe);
        Ok(Some(copy))
    }

    fn begin_track(&mut self, shift: i64) {
        self.tracks.rotate_right(1);
        (self.tracks[0].shift, self.tracks[0].again) = (shift, Again::default());
    }

    /// Whether the old content is the same where an earlier copy would be now.
    fn is_again(&mut self, nth: usize, at: usize) -> io::Result<bool> {
        let (track, here) = (&mut self.tracks[nth], self.place + at as u64);
        if here.wrapping_sub(track.again.from) >= track.again.count {
            track.again = track.look(self.old, &self.buffer[at..], here)?;
        }
        Ok(track.again.bits >> (here - track.again.from) & 1 == 1)
    }

    fn again(&mut self, nth: usize, at: usize, told: usize) -> io::Result<Copy> {
        let track = &mut self.tracks[nth];
        let place = (self.place + at as u64).wrapping_add_signed(track.shift);
        self.worth.copy((self.old, &mut track.window), (&self.buffer, told, at), place)
    }

    fn tell(&mut self, told: usize, copy: Copy) -> io::Result<()> {
        let shift = self.tracks[0].shift;
        let (mut from, mut literals) = (copy.begin, told..copy.begin);
        while from < copy.end {
            let end = copy.end.min(from + COPY_MAX);
            self.out.put(Stream::Literals, &self.buffer[literals.clone()])?;
            self.out.number(Stream::LiteralLengths, literals.len() as u64)?;
            self.out.number(Stream::CopyLengths, (end - from) as u64)?;
            self.out.number(Stream::Shifts, folded(shift.wrapping_sub(self.last_shift)))?;
            self.last_shift = shift;
            let place = (self.place + from as u64).wrapping_add_signed(shift);
            let copied = match self.tracks[0].window.held(place, end - from) {
                Some(held) => held,
                None => {
                    self.copied.resize(end - from, 0);
                    self.old.read_at(place, &mut self.copied)?;
                    &self.copied
                }
            };
            match self.used.last_mut().filter(|last| last.1 == place) {
                Some(last) => last.1 += (end - from) as u64,
                None => self.used.push((place, place + (end - from) as u64)),
            }
            self.differences.tell(&self.buffer[from..end], copied, self.out)?;
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

impl Track {
    /// Looks ahead as far as one look goes.
    fn look(&mut self, old: &OldContent, new: &[u8], here: u64) -> io::Result<Again> {
        let nowhere = Again { from: here, count: 1, bits: 0 };
        let Some(place) = here.checked_add_signed(self.shift).filter(|place| *place < old.length()) else {
            return Ok(nowhere);
        };
        let there = self.window.from(old, place, PIECE.min(new.len()))?;
        let length = PIECE.min(new.len()).min(there.len());
        let Some(more) = length.checked_sub(AGAIN_BYTES) else { return Ok(nowhere) };
        let mut bits = !differing(&new[..length], &there[..length]) & (u64::MAX >> (PIECE - length));
        for by in [1, 2, 4] {
            bits &= bits >> by;
        }
        Ok(Again { from: here, count: more as u64 + 1, bits })
    }
}

fn folded(shift: i64) -> u64 {
    ((shift << 1) ^ (shift >> 63)) as u64
}
