//! The file of an item that a site receives: which of its bytes were written, and which are on the disk.

use packhorse_domain::{
    Timestamp,
    link::{Ranges, limits},
};

use crate::{Mutation, rng::Rng};

#[derive(Debug)]
pub(crate) struct File {
    /// Zeros where nothing was written.
    bytes: Vec<u8>,
    written: Ranges,
    /// Synced, and written down as such.
    durable: Ranges,
    /// Over which line it comes, and whether it comes now: two lines never write one file.
    pub(crate) line: usize,
    pub(crate) open: bool,
    pub(crate) since: Timestamp,
}

impl File {
    pub(crate) fn new(line: usize, since: Timestamp) -> Self {
        let (written, durable) = (Ranges::default(), Ranges::default());
        File { bytes: Vec::new(), written, durable, line, open: true, since }
    }

    pub(crate) fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    pub(crate) fn written(&self) -> &Ranges {
        &self.written
    }

    pub(crate) fn durable(&self) -> &Ranges {
        &self.durable
    }

    /// All before this is on the disk.
    pub(crate) fn reach(&self) -> u64 {
        self.durable.end_from(0)
    }

    /// Something was written and is not on the disk.
    pub(crate) fn is_behind(&self) -> bool {
        self.written.bytes() > self.durable.bytes()
    }

    pub(crate) fn forget(&mut self) {
        self.durable = Ranges::default();
    }

    /// From where the item is wanted, and what is held beyond that: the longest runs, if they are many. The rest comes
    /// again, and so does all that is not durable.
    pub(crate) fn resume(&mut self, mutation: Option<Mutation>) -> (u64, Ranges) {
        let reach = self.reach();
        if mutation == Some(Mutation::TrustRuns) {
            let end = self.bytes.len() as u64;
            let beyond = self.written.iter().filter(|run| run.start > reach);
            beyond.for_each(|run| self.durable.insert(run.start..run.end.min(end)));
        }
        let mut beyond: Vec<_> = self.durable.iter().filter(|run| run.start > reach).collect();
        beyond.sort_by_key(|run| std::cmp::Reverse(run.end - run.start));
        beyond.truncate(limits::HELD_MAX);
        let held: Ranges = beyond.into_iter().collect();
        self.durable = held.clone();
        self.durable.insert(0..reach);
        self.written = self.durable.clone();
        self.bytes.truncate(end(&self.written));
        (reach, held)
    }

    pub(crate) fn write(&mut self, offset: u64, bytes: &[u8]) -> Result<(), String> {
        let run = offset..offset + bytes.len() as u64;
        if self.written.overlaps(&run) {
            return Err(format!("data at {offset}, where something was written"));
        }
        if (self.bytes.len() as u64) < run.end {
            self.bytes.resize(run.end as usize, 0);
        }
        self.bytes[offset as usize..run.end as usize].copy_from_slice(bytes);
        self.written.insert(run);
        Ok(())
    }

    /// This is on the disk now, and written down.
    pub(crate) fn synced(&mut self, written: &Ranges) {
        written.iter().for_each(|run| self.durable.insert(run));
    }

    /// Power is cut: the end of the file is anywhere, and what was not synced is anything.
    pub(crate) fn crash(&mut self, rng: &mut Rng, mutation: Option<Mutation>) {
        self.open = false;
        let durable = end(&self.durable);
        let tail = rng.within(0, (self.bytes.len() - durable) as u64) as usize;
        self.bytes.truncate(durable + tail);
        if rng.percent(50) {
            self.lose();
        }
        if mutation == Some(Mutation::TrustFileLength) {
            self.durable.insert(0..self.bytes.len() as u64);
        }
    }

    fn lose(&mut self) {
        let kept = std::mem::take(&mut self.bytes);
        self.bytes.resize(kept.len(), 0);
        for run in self.durable.iter() {
            let run = run.start as usize..run.end as usize;
            self.bytes[run.clone()].copy_from_slice(&kept[run]);
        }
    }
}

/// Where the last run ends.
fn end(ranges: &Ranges) -> usize {
    ranges.iter().last().map_or(0, |run| run.end as usize)
}
