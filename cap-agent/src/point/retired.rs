//! Content that nobody wants any more, and how long it still stays: clients may be reading it, and a site that begins
//! its feed anew names it again a moment later.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use packhorse_domain::Digest;
use tokio::time::Instant;

/// Manifests in the library that are not needed, each since when.
#[derive(Debug)]
pub(crate) struct Retired {
    keep: Duration,
    since: BTreeMap<Digest, Instant>,
}

impl Retired {
    pub(crate) fn new(keep: Duration) -> Self {
        Retired { keep, since: BTreeMap::new() }
    }

    /// Compares what is there with what is needed. What is needed again counts anew from its next retirement.
    pub(crate) fn note(&mut self, present: &BTreeSet<Digest>, needed: &BTreeSet<Digest>, now: Instant) {
        self.since.retain(|digest, _| present.contains(digest) && !needed.contains(digest));
        for digest in present.difference(needed) {
            self.since.entry(*digest).or_insert(now);
        }
    }

    /// Something has been retired for long enough to go.
    pub(crate) fn has_expired(&self, now: Instant) -> bool {
        self.since.values().any(|since| *since + self.keep <= now)
    }

    /// What is retired and stays for now.
    pub(crate) fn staying(&self, now: Instant) -> impl Iterator<Item = Digest> {
        self.since.iter().filter(move |(_, since)| **since + self.keep > now).map(|(digest, _)| *digest)
    }

    /// When the next one may go.
    pub(crate) fn next_expiry(&self) -> Option<Instant> {
        self.since.values().min().map(|since| *since + self.keep)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEEP: Duration = Duration::from_secs(600);

    fn set(digests: &[u8]) -> BTreeSet<Digest> {
        digests.iter().map(|byte| Digest([*byte; 32])).collect()
    }

    #[test]
    fn content_goes_only_after_it_was_unneeded_for_long_enough() {
        let start = Instant::now();
        let mut retired = Retired::new(KEEP);
        retired.note(&set(&[1, 2]), &set(&[1]), start);

        assert!(!retired.has_expired(start + KEEP / 2));
        assert_eq!(retired.staying(start + KEEP / 2).collect::<BTreeSet<_>>(), set(&[2]));
        assert_eq!(retired.next_expiry(), Some(start + KEEP));
        assert!(retired.has_expired(start + KEEP));
        assert_eq!(retired.staying(start + KEEP).count(), 0);
    }

    #[test]
    fn content_that_is_needed_again_begins_anew() {
        let start = Instant::now();
        let mut retired = Retired::new(KEEP);
        retired.note(&set(&[1]), &set(&[]), start);
        retired.note(&set(&[1]), &set(&[1]), start + KEEP / 2);
        retired.note(&set(&[1]), &set(&[]), start + KEEP / 2);

        assert!(!retired.has_expired(start + KEEP));
        retired.note(&set(&[]), &set(&[]), start + KEEP);
        assert_eq!(retired.next_expiry(), None, "what is gone is forgotten");
    }
}
