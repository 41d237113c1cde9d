//! Runs of bytes of an item that came before those in front of them.

use std::{collections::BTreeMap, ops::Range};

/// Runs that neither overlap nor touch, in order.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Ranges {
    /// Where each begins, and where it ends.
    runs: BTreeMap<u64, u64>,
}

impl Ranges {
    /// The bytes before `upto`.
    pub fn before(upto: u64) -> Self {
        let mut ranges = Ranges::default();
        ranges.insert(0..upto);
        ranges
    }

    /// Adds a run; what it overlaps or touches becomes one with it.
    pub fn insert(&mut self, run: Range<u64>) {
        if run.is_empty() {
            return;
        }
        let (mut from, mut to) = (run.start, run.end);
        while let Some((&other, &end)) = self.runs.range(..=to).next_back().filter(|(_, end)| **end >= from) {
            self.runs.remove(&other);
            (from, to) = (from.min(other), to.max(end));
        }
        self.runs.insert(from, to);
    }

    /// Whether a byte of it is held.
    pub fn overlaps(&self, run: &Range<u64>) -> bool {
        self.runs.range(..run.end).next_back().is_some_and(|(_, end)| *end > run.start)
    }

    /// Where the run that holds the byte at `from` ends, or `from` itself.
    pub fn end_from(&self, from: u64) -> u64 {
        self.runs.range(..=from).next_back().map_or(from, |(_, end)| from.max(*end))
    }

    /// Where the next run begins that has a byte from `from` on.
    pub fn next_from(&self, from: u64) -> Option<u64> {
        self.runs.range(from..).next().map(|(start, _)| *start)
    }

    /// Forgets all before `upto`.
    pub fn forget_before(&mut self, upto: u64) {
        let end = self.end_from(upto);
        self.runs = self.runs.split_off(&upto);
        if end > upto {
            self.runs.insert(upto, end);
        }
    }

    /// How many bytes within a run are held.
    pub fn bytes_within(&self, run: &Range<u64>) -> u64 {
        self.runs
            .range(..run.end)
            .rev()
            .take_while(|(_, end)| **end > run.start)
            .map(|(from, end)| end.min(&run.end) - from.max(&run.start))
            .sum()
    }

    pub fn bytes(&self) -> u64 {
        self.runs.iter().map(|(from, to)| to - from).sum()
    }

    pub fn len(&self) -> usize {
        self.runs.len()
    }

    pub fn is_empty(&self) -> bool {
        self.runs.is_empty()
    }

    pub fn iter(&self) -> impl Iterator<Item = Range<u64>> {
        self.runs.iter().map(|(from, to)| *from..*to)
    }
}

impl FromIterator<Range<u64>> for Ranges {
    fn from_iter<T: IntoIterator<Item = Range<u64>>>(runs: T) -> Self {
        let mut ranges = Ranges::default();
        runs.into_iter().for_each(|run| ranges.insert(run));
        ranges
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::{prop, proptest};

    use super::*;

    #[test]
    fn what_touches_becomes_one() {
        let mut ranges: Ranges = [10..20, 30..40].into_iter().collect();
        ranges.insert(20..30);
        ranges.insert(5..5);

        assert_eq!(ranges, std::iter::once(10..40).collect());
        assert_eq!((ranges.end_from(10), ranges.end_from(40), ranges.end_from(9)), (40, 40, 9));
        assert_eq!((ranges.next_from(0), ranges.next_from(11)), (Some(10), None));
        assert!(ranges.overlaps(&(0..11)) && !ranges.overlaps(&(0..10)) && !ranges.overlaps(&(40..50)));
    }

    proptest! {
        /// Each byte by itself says the same.
        #[test]
        fn it_holds_what_was_put_in(runs in prop::collection::vec((0_u64..60, 0_u64..20), 0..12), cut in 0_u64..80) {
            let mut bytes = [false; 80];
            let mut ranges = Ranges::default();
            for (from, length) in runs {
                let overlaps = (from..from + length).any(|at| bytes[at as usize]);
                assert_eq!(length > 0 && ranges.overlaps(&(from..from + length)), overlaps);
                ranges.insert(from..from + length);
                (from..from + length).for_each(|at| bytes[at as usize] = true);
            }
            let held = |from: u64, to: u64| (from..to).filter(|at| bytes[*at as usize]).count() as u64;

            assert_eq!(ranges.bytes(), held(0, 80));
            assert_eq!(ranges.bytes_within(&(cut..80)), held(cut, 80));
            assert_eq!(ranges.bytes_within(&(0..cut)), held(0, cut));
            let end = (cut..80).find(|at| !bytes[*at as usize]).unwrap_or(80);
            assert_eq!(ranges.end_from(cut), end);
            ranges.forget_before(cut);
            assert_eq!(ranges.bytes(), held(cut, 80));
            let runs: Vec<_> = ranges.iter().collect();
            assert!(runs.windows(2).all(|pair| pair[0].end < pair[1].start), "{runs:?}");
        }
    }
}
