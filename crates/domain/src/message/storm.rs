//! What is repeated is counted, and who says too much is left out: so that no storm fills a line or a database.
//!
//! A message that says the same of the same within an hour is one message with a count, and the count is written at 2, 4, 8
//! and so on, and now and then. What a component says beyond its measure is left out, and one message counts that.
//! Nothing of this is kept over a restart, which costs a message more.

use std::{
    collections::{BTreeMap, HashMap},
    time::Duration,
};

use crate::{Timestamp, status::Severity};

/// Within this time of the first a message is counted.
pub const WINDOW: Duration = Duration::from_secs(3600);
/// Messages of a component and a severity that come at once.
pub const BURST: u32 = 500;
/// After this time one more may come.
pub const REFILL: Duration = Duration::from_secs(30);
/// A count that has grown is written after this time, then after twice as long, up to [`FLUSH_LONGEST`].
pub const FLUSH_FIRST: Duration = Duration::from_secs(60);
pub const FLUSH_LONGEST: Duration = Duration::from_secs(900);
/// Messages that are remembered, to count their likes.
const REMEMBERED_MAX: usize = 4096;

/// What to do with a message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// Write it.
    New,
    /// Write this count into the message that was written first.
    Again(Repeated),
    /// It is counted, and that is enough for now.
    Counted,
    /// It is not written: the component has said too much.
    LeftOut,
}

/// A message that was said more than once.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Repeated {
    pub key: String,
    /// Of the message that was written.
    pub sequence: u64,
    pub count: u64,
    pub last_at: Timestamp,
}

#[derive(Debug)]
struct Remembered {
    sequence: u64,
    first_at: Timestamp,
    last_at: Timestamp,
    count: u64,
    written: u64,
    written_at: Timestamp,
    wait: Duration,
}

/// What was said lately.
#[derive(Debug, Default)]
pub struct Storm {
    remembered: HashMap<String, Remembered>,
    buckets: BTreeMap<(&'static str, Severity), Bucket>,
}

#[derive(Debug)]
struct Bucket {
    left: u32,
    filled_at: Timestamp,
}

impl Storm {
    /// Judges a message with this key. `source`: the component and the severity, whose measure it counts against; `None`:
    /// against nobody's.
    pub fn judge(&mut self, key: &str, source: Option<(&'static str, Severity)>, now: Timestamp) -> Verdict {
        if let Some(one) = self.remembered.get_mut(key)
            && one.is_open(now)
        {
            one.count = one.count.saturating_add(1);
            one.last_at = now;
            // At powers of two: a million repeats are written twenty times.
            if one.count < one.written.saturating_mul(2) {
                return Verdict::Counted;
            }
            return Verdict::Again(one.tell(key, now));
        }
        match source
            .is_none_or(|source| self.buckets.entry(source).or_insert_with(|| Bucket::full(now)).take(now))
        {
            true => Verdict::New,
            false => Verdict::LeftOut,
        }
    }

    /// A new message was written under this number. Returns what was counted of an earlier one with its key and is not
    /// written, and of those that are remembered no more.
    pub fn remember(&mut self, key: &str, sequence: u64, now: Timestamp) -> Vec<Repeated> {
        let fresh = Remembered {
            sequence,
            first_at: now,
            last_at: now,
            count: 1,
            written: 1,
            written_at: now,
            wait: FLUSH_FIRST,
        };
        let mut gone: Vec<_> = self
            .remembered
            .insert(key.to_owned(), fresh)
            .map(|one| (key.to_owned(), one))
            .into_iter()
            .collect();
        if self.remembered.len() > REMEMBERED_MAX {
            let oldest =
                self.remembered.iter().min_by_key(|(_, one)| one.last_at).map(|(key, _)| key.clone());
            gone.extend(oldest.and_then(|key| self.remembered.remove_entry(&key)));
        }
        gone.into_iter()
            .filter(|(_, one)| one.count > one.written)
            .map(|(key, mut one)| one.tell(&key, now))
            .collect()
    }

    /// The message that was written is not there, so that the next one is a new one.
    pub fn forget(&mut self, key: &str) {
        self.remembered.remove(key);
    }

    /// Counts that have grown and are to be written now. Those whose hour is over are forgotten.
    pub fn due(&mut self, now: Timestamp) -> Vec<Repeated> {
        let mut due = Vec::new();
        self.remembered.retain(|key, one| {
            let is_open = one.is_open(now);
            if one.count > one.written && (!is_open || now.since(one.written_at) >= one.wait) {
                due.push(one.tell(key, now));
            }
            is_open
        });
        due.sort_by_key(|one| one.sequence);
        due
    }
}

impl Remembered {
    /// A clock that was set back ends it as well.
    fn is_open(&self, now: Timestamp) -> bool {
        now >= self.first_at && now.since(self.first_at) < WINDOW
    }

    fn tell(&mut self, key: &str, now: Timestamp) -> Repeated {
        self.written = self.count;
        self.written_at = now;
        self.wait = self.wait.saturating_mul(2).min(FLUSH_LONGEST);
        Repeated { key: key.to_owned(), sequence: self.sequence, count: self.count, last_at: self.last_at }
    }
}

impl Bucket {
    fn full(now: Timestamp) -> Bucket {
        Bucket { left: BURST, filled_at: now }
    }

    fn take(&mut self, now: Timestamp) -> bool {
        if now < self.filled_at {
            self.filled_at = now;
        }
        let more = u32::try_from(now.since(self.filled_at).as_secs() / REFILL.as_secs()).unwrap_or(u32::MAX);
        if more > 0 {
            self.left = self.left.saturating_add(more).min(BURST);
            self.filled_at = self.filled_at.plus(REFILL.saturating_mul(more));
        }
        let is_left = self.left > 0;
        self.left = self.left.saturating_sub(1);
        is_left
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SOURCE: Option<(&str, Severity)> = Some(("sender", Severity::Warning));

    fn at(seconds: u64) -> Timestamp {
        Timestamp(1_000_000_000).plus(Duration::from_secs(seconds))
    }

    /// Says it, and writes what is to be written; how much that is.
    fn say(storm: &mut Storm, key: &str, now: Timestamp) -> u32 {
        match storm.judge(key, SOURCE, now) {
            Verdict::New => {
                storm.remember(key, 7, now);
                1
            }
            Verdict::Again(_) => 1,
            Verdict::Counted | Verdict::LeftOut => 0,
        }
    }

    #[test]
    fn a_repeated_message_is_written_at_powers_of_two_and_its_count_is_true_at_last() {
        let mut storm = Storm::default();

        let writes: u32 = (0..100_000).map(|_| say(&mut storm, "a", at(0))).sum();

        assert_eq!(writes, 17);
        assert!(storm.due(at(59)).is_empty(), "not yet");
        let due = storm.due(at(900));
        assert_eq!(due.iter().map(|one| (one.sequence, one.count)).collect::<Vec<_>>(), [(7, 100_000)]);
        assert!(storm.due(at(1800)).is_empty(), "there is no news");
    }

    #[test]
    fn a_count_is_written_less_and_less_often() {
        let mut storm = Storm::default();
        let mut written = Vec::new();
        for second in 0..3600 {
            if say(&mut storm, "a", at(second)) > 0 || !storm.due(at(second)).is_empty() {
                written.push(second);
            }
        }
        assert!(written.len() < 16, "{written:?}");
        assert_eq!(
            storm.due(at(3600)).first().map(|one| one.count),
            Some(3600),
            "its hour is over: all is told"
        );
    }

    #[test]
    fn after_an_hour_and_after_a_clock_was_set_back_it_is_a_new_message() {
        let mut storm = Storm::default();
        assert_eq!(storm.judge("a", SOURCE, at(0)), Verdict::New);
        storm.remember("a", 1, at(0));
        assert!(matches!(storm.judge("a", SOURCE, at(3599)), Verdict::Again(Repeated { count: 2, .. })));
        assert_eq!(storm.judge("a", SOURCE, at(3600)), Verdict::New);
        storm.remember("a", 2, at(3600));
        assert_eq!(storm.judge("a", SOURCE, at(3000)), Verdict::New);
    }

    #[test]
    fn who_says_too_much_is_left_out_and_others_are_not() {
        let mut storm = Storm::default();
        let written: u32 = (0..100_000).map(|n| say(&mut storm, &format!("key {n}"), at(0))).sum();
        assert_eq!(written, BURST);
        assert_eq!(
            storm.judge("key", Some(("sender", Severity::Error)), at(0)),
            Verdict::New,
            "worse than that"
        );
        assert_eq!(storm.judge("key", Some(("receiver", Severity::Warning)), at(0)), Verdict::New);
        assert_eq!(storm.judge("key", None, at(0)), Verdict::New, "what people did");
        let day: u32 = (0..86_400).map(|second| say(&mut storm, &format!("day {second}"), at(second))).sum();
        assert_eq!(day, 2879);
    }

    #[test]
    fn so_many_are_remembered_and_what_was_counted_of_others_is_not_lost() {
        let mut storm = Storm::default();
        let mut told = 0;
        for number in 0..2 * REMEMBERED_MAX as u64 {
            let (key, now) = (format!("{number}"), at(number / 10));
            told += storm.remember(&key, number, now).len();
            for _ in 0..3 {
                storm.judge(&key, None, now);
            }
        }
        assert!(storm.remembered.len() <= REMEMBERED_MAX);
        // Four of each: written at 4, and nothing is left.
        assert_eq!(told, 0);
        storm.judge("8191", None, at(900));
        assert_eq!(storm.remember("8191", 1, at(900)).first().map(|one| one.count), Some(5));
    }
}
