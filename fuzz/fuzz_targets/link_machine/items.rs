//! What the user of a link knows of each item: what came and what may come, what left and what may leave.

use std::ops::Range;

use packhorse_domain::link::{ItemKind, Offer, OutItem, Ranges, limits};

#[derive(Debug, Clone)]
pub struct In {
    pub length: u64,
    pub is_inline: bool,
    pub is_bundle: bool,
    /// Where the first byte is that is not here, once it was accepted.
    pub next: Option<u64>,
    /// Which want of this side it was.
    pub want: u64,
    pub durable: u64,
    /// All before is durable, or was said to be written.
    freed: u64,
    /// Of its bytes, those that the want named as held, and all.
    pub held: Ranges,
    here: Ranges,
    /// Bytes that came and take some of the window.
    pub undone: u64,
}

#[derive(Debug, Clone)]
pub struct Out {
    pub length: u64,
    pub is_bundle: bool,
    /// Where the next bytes begin, once it is wanted.
    pub next: Option<u64>,
    /// Which want of the peer it was, and what is held there.
    pub want: u64,
    pub held: Ranges,
}

/// What a frame says that its event does not.
#[derive(Debug)]
pub enum Said {
    Want { nth: u64, held: Ranges },
    Bulk { want: u64 },
    Other,
}

impl In {
    pub fn new(offer: &Offer) -> Self {
        In {
            length: offer.length,
            is_inline: offer.inline.is_some(),
            is_bundle: offer.kind == ItemKind::Bundle,
            next: None,
            want: 0,
            durable: 0,
            freed: 0,
            held: Ranges::default(),
            here: Ranges::default(),
            undone: 0,
        }
    }

    pub fn may_be_accepted(&self, offset: u64, held: &Ranges) -> bool {
        !self.is_inline
            && self.next.is_none()
            && offset <= self.length
            && may_be_held(held, offset, self.length)
    }

    pub fn accepted(&mut self, want: u64, offset: u64, held: Ranges) {
        (self.next, self.durable, self.want) = (Some(offset), offset, want);
        self.freed = offset;
        (self.here, self.held) = (held.clone(), held);
    }

    /// What is still to come, the first of it first; empty before it was accepted.
    pub fn gaps(&self) -> Vec<Range<u64>> {
        let Some(next) = self.next else { return Vec::new() };
        let runs = self.here.iter().filter(|run| run.start > next).take(8);
        let (mut gaps, mut at) = (Vec::new(), next);
        for run in runs {
            gaps.push(at..run.start);
            at = run.end;
        }
        if at < self.length && !self.here.overlaps(&(at..self.length)) {
            gaps.push(at..self.length);
        }
        gaps
    }

    /// All before this is on the disk: how many bytes more leave the window.
    pub fn made_durable(&mut self, offset: u64) -> u64 {
        self.durable = offset;
        self.wrote_all_before(offset)
    }

    /// The same of what is in a file.
    pub fn wrote_all_before(&mut self, offset: u64) -> u64 {
        let before = self.freed;
        self.freed = before.max(offset);
        let came = self.freed - before - self.held.bytes_within(&(before..self.freed));
        self.undone -= came;
        came
    }

    pub fn wrote(&mut self, run: &Range<u64>, said: &Said) {
        let next = self.next.expect("it was accepted");
        match said {
            Said::Bulk { want } => assert_eq!(*want, self.want, "what answers another want is late"),
            _ => assert_eq!(next, run.start, "bytes come in order"),
        }
        assert!(self.is_bundle || run.start == next, "only bundles come in any order");
        assert!(run.start < run.end && run.end - run.start <= limits::DATA_BYTES_MAX as u64);
        assert!(run.end <= self.length && !self.here.overlaps(run), "no byte comes twice");
        self.here.insert(run.clone());
        let next = self.here.end_from(next);
        let gaps = self.here.iter().filter(|run| run.start > next).count();
        assert!(gaps <= limits::RANGES_MAX, "{gaps} gaps are kept");
        self.next = Some(next);
        self.undone += run.end - run.start;
    }
}

impl Out {
    pub fn new(item: &OutItem) -> Self {
        let is_bundle = item.kind == ItemKind::Bundle;
        Out { length: item.length, is_bundle, next: None, want: 0, held: Ranges::default() }
    }

    /// Bytes leave, on the main connection or on a lane.
    pub fn sends(&mut self, offset: u64, length: usize) {
        assert!((1..=limits::DATA_BYTES_MAX).contains(&length));
        let run = offset..offset + length as u64;
        assert_eq!(self.next, Some(offset), "bytes leave in order");
        assert!(run.end <= self.length && !self.held.overlaps(&run), "what is held is left out");
        self.next = Some(self.held.end_from(run.end));
    }
}

/// Whether a want may name these runs.
pub fn may_be_held(held: &Ranges, offset: u64, length: u64) -> bool {
    held.len() <= limits::HELD_MAX && held.iter().all(|run| run.start > offset && run.end <= length)
}
