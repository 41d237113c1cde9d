//! Which level something has, and that it does not flap: it gets worse at once, and better once it has been so for a
//! while.

use std::time::Duration;

use super::Level;
use crate::{Priority, Timestamp, care::Disk};

/// What a component's level follows from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Signs {
    /// Failures since its last step that succeeded.
    pub consecutive_errors: u32,
    /// Status messages of an interval of [`COUNTED`], by severity. One that was repeated counts once.
    pub warnings: u64,
    pub errors: u64,
}

/// How long messages count.
pub const COUNTED: Duration = Duration::from_secs(3600);

/// Where a level begins, as warning and as critical. Failures pause longer and longer: three come within a second, six
/// within eight. The thresholds of messages are those of the original.
const FAILURES: (u64, u64) = (3, 6);
const WARNINGS: (u64, u64) = (10, 50);
const ERRORS: (u64, u64) = (1, 5);

/// Certificates renew themselves long before; one that is so near its end did not.
const CERTIFICATE: (Duration, Duration) =
    (Duration::from_secs(14 * 24 * 3600), Duration::from_secs(3 * 24 * 3600));

/// A line is cut now and then; after this time somebody should know.
const LINE_PATIENCE: Duration = Duration::from_secs(15 * 60);
/// What waits longer did not just wait for its turn. What is not urgent may wait for an hour of the night, or for the
/// weekend.
const QUEUE_PATIENCE: [(Duration, Duration); 3] = [
    (Duration::from_secs(15 * 60), Duration::from_secs(4 * 3600)),
    (Duration::from_secs(24 * 3600), Duration::from_secs(7 * 24 * 3600)),
    (Duration::from_secs(7 * 24 * 3600), Duration::from_secs(30 * 24 * 3600)),
];
/// Calendars and expiries are confused first; certificates that are new allow for the second.
const CLOCK_PATIENCE: (Duration, Duration) = (Duration::from_secs(60), Duration::from_secs(5 * 60));
/// Without any CAP agent clients hear nothing; one that starts anew is back by then.
const CAPS_PATIENCE: (Duration, Duration) = (Duration::from_secs(3 * 60), Duration::from_secs(15 * 60));

fn over(value: u64, (warning, critical): (u64, u64)) -> Level {
    match value {
        _ if value >= critical => Level::Critical,
        _ if value >= warning => Level::Warning,
        _ => Level::Ok,
    }
}

fn after(time: Duration, (warning, critical): (Duration, Duration)) -> Level {
    match time {
        _ if time >= critical => Level::Critical,
        _ if time >= warning => Level::Warning,
        _ => Level::Ok,
    }
}

/// A component.
pub fn component(signs: Signs) -> Level {
    over(signs.consecutive_errors.into(), FAILURES)
        .max(over(signs.warnings, WARNINGS))
        .max(over(signs.errors, ERRORS))
}

/// A disk: below the reserve no package content is taken in; below twice of it that is near. It is better again only
/// once a tenth more than that is free.
pub fn disk(before: Level, disk: Disk, reserve_bytes: u64) -> Level {
    let below = |bytes: u64, level: Level| {
        let margin = if before >= level { bytes / 10 } else { 0 };
        disk.free_bytes < bytes.saturating_add(margin)
    };
    match () {
        () if below(reserve_bytes, Level::Critical) => Level::Critical,
        () if below(reserve_bytes.saturating_mul(2), Level::Warning) => Level::Warning,
        () => Level::Ok,
    }
}

/// A certificate.
pub fn certificate(ends: Timestamp, now: Timestamp) -> Level {
    let (warning, critical) = CERTIFICATE;
    match ends.since(now) {
        left if left < critical => Level::Critical,
        left if left < warning => Level::Warning,
        _ => Level::Ok,
    }
}

/// A line that was up before and has been down for this time; `None`: it is up, or it never was.
pub fn line(down: Option<Duration>) -> Level {
    match down {
        Some(down) if down >= LINE_PATIENCE => Level::Warning,
        _ => Level::Ok,
    }
}

/// What waits for a neighbour in one class, by how long the oldest of it has.
pub fn queue(priority: Priority, age: Duration) -> Level {
    let [high, medium, low] = QUEUE_PATIENCE;
    let patience = match priority {
        Priority::High => high,
        Priority::Medium => medium,
        Priority::Low => low,
    };
    after(age, patience)
}

/// A clock that is so far ahead of another; negative: behind.
pub fn clock(ahead_us: i64) -> Level {
    after(Duration::from_micros(ahead_us.unsigned_abs()), CLOCK_PATIENCE)
}

/// How far a clock is ahead, at least, of one that was read `there` on the way of a question and its answer, which came
/// `here` after `round_trip`: the answer may have taken any part of that.
pub fn ahead_us(here: Timestamp, there: Timestamp, round_trip: Duration) -> i64 {
    let half_us = i64::try_from(round_trip.as_micros() / 2).unwrap_or(i64::MAX);
    let ahead_us = here.0.saturating_sub(half_us).saturating_sub(there.0);
    match ahead_us {
        0.. => ahead_us.saturating_sub(half_us).max(0),
        _ => ahead_us.saturating_add(half_us).min(0),
    }
}

/// CAP agents, by how long each has been away; zero: it is here. As bad as the one that is away for longest, and worse
/// than a warning only if none is here.
pub fn caps(away: &[Duration]) -> Level {
    let longest = away.iter().max().copied().unwrap_or_default();
    let shortest = away.iter().min().copied().unwrap_or_default();
    after(longest, CAPS_PATIENCE).min(Level::Warning).max(after(shortest, CAPS_PATIENCE))
}

/// A level as it is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Settled {
    pub level: Level,
    /// `None`: from the beginning.
    pub since: Option<Timestamp>,
    /// Since when it has been better, and the worst that it was since.
    easing: Option<(Timestamp, Level)>,
}

impl Settled {
    pub fn new(level: Level, since: Option<Timestamp>) -> Settled {
        Settled { level, since, easing: None }
    }
}

/// The level that is told now that it is `seen`: a worse one at once, a better one once it has been better for `calm`.
pub fn settle(before: Option<Settled>, seen: Level, now: Timestamp, calm: Duration) -> Settled {
    let Some(before) = before else {
        return Settled::new(seen, (seen != Level::Ok).then_some(now));
    };
    if seen > before.level {
        return Settled::new(seen, Some(now));
    }
    if seen == before.level {
        return Settled { easing: None, ..before };
    }
    // A clock that was set back begins to wait anew.
    let (since, worst) = match before.easing {
        Some((since, worst)) if since <= now => (since, worst.max(seen)),
        _ => (now, seen),
    };
    match now.since(since) >= calm {
        true => Settled::new(worst, Some(since)),
        false => Settled { easing: Some((since, worst)), ..before },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use Level::{Critical, Ok, Warning};

    const CALM: Duration = Duration::from_secs(60);

    #[test]
    fn a_component_is_as_bad_as_the_worst_of_its_signs() {
        for (failures, warnings, errors, expected) in [
            (0, 0, 0, Ok),
            (2, 9, 0, Ok),
            (3, 0, 0, Warning),
            (5, 0, 0, Warning),
            (6, 0, 0, Critical),
            (u32::MAX, 0, 0, Critical),
            (0, 10, 0, Warning),
            (0, 49, 0, Warning),
            (0, 50, 0, Critical),
            (0, 0, 1, Warning),
            (0, 0, 4, Warning),
            (0, 0, 5, Critical),
            (3, 50, 1, Critical),
        ] {
            let signs = Signs { consecutive_errors: failures, warnings, errors };
            assert_eq!(component(signs), expected, "{signs:?}");
        }
    }

    #[test]
    fn a_disk_is_better_only_with_a_tenth_more() {
        for (before, free, expected) in [
            (Ok, 200, Ok),
            (Ok, 199, Warning),
            (Ok, 99, Critical),
            (Warning, 100, Warning),
            (Warning, 200, Warning),
            (Warning, 219, Warning),
            (Warning, 220, Ok),
            (Critical, 100, Critical),
            (Critical, 109, Critical),
            (Critical, 110, Warning),
            (Critical, 219, Warning),
            (Critical, 220, Ok),
        ] {
            let now = Disk { free_bytes: free, total_bytes: 1000 };
            assert_eq!(disk(before, now, 100), expected, "{before:?} and {free} free");
        }
        let endless = Disk { free_bytes: u64::MAX, total_bytes: u64::MAX };
        assert_eq!(disk(Critical, endless, u64::MAX / 4), Ok);
        assert_eq!(disk(Ok, Disk { free_bytes: 0, total_bytes: 0 }, 0), Ok, "nothing is kept back");
    }

    #[test]
    fn certificates_lines_and_agents_have_their_time() {
        const DAY: i64 = 24 * 3600 * 1_000_000;
        for (ends, expected) in [
            (100 * DAY, Ok),
            (24 * DAY, Ok),
            (24 * DAY - 1, Warning),
            (13 * DAY - 1, Critical),
            (0, Critical),
        ] {
            assert_eq!(certificate(Timestamp(ends), Timestamp(10 * DAY)), expected, "{ends}");
        }
        for (down, expected) in [(None, Ok), (Some(0), Ok), (Some(899), Ok), (Some(900), Warning)] {
            assert_eq!(line(down.map(Duration::from_secs)), expected, "{down:?}");
        }
        for (away, expected) in [
            (&[][..], Ok),
            (&[0, 0], Ok),
            (&[0, 179], Ok),
            (&[0, 180], Warning),
            (&[0, 90_000], Warning),
            (&[180, 899], Warning),
            (&[900, 90_000], Critical),
            (&[900], Critical),
        ] {
            let away: Vec<_> = away.iter().copied().map(Duration::from_secs).collect();
            assert_eq!(caps(&away), expected, "{away:?}");
        }
    }

    #[test]
    fn what_is_less_urgent_may_wait_longer() {
        const HOUR: u64 = 3600;
        for (age_s, high, medium, low) in [
            (0, Ok, Ok, Ok),
            (HOUR / 4 - 1, Ok, Ok, Ok),
            (HOUR / 4, Warning, Ok, Ok),
            (4 * HOUR, Critical, Ok, Ok),
            (24 * HOUR, Critical, Warning, Ok),
            (7 * 24 * HOUR, Critical, Critical, Warning),
            (30 * 24 * HOUR, Critical, Critical, Critical),
        ] {
            let seen = Priority::ALL.map(|priority| queue(priority, Duration::from_secs(age_s)));
            assert_eq!(seen, [high, medium, low], "{age_s} s");
        }
    }

    #[test]
    fn a_clock_may_be_a_minute_off_and_the_way_of_the_answer_is_not_held_against_it() {
        for (apart_s, expected) in [(0, Ok), (59, Ok), (60, Warning), (299, Warning), (300, Critical)] {
            for ahead_us in [apart_s * 1_000_000, apart_s * -1_000_000] {
                assert_eq!(clock(ahead_us), expected, "{ahead_us}");
            }
        }
        assert_eq!(clock(i64::MIN), Critical);
        for (here, there, trip_us, expected) in [
            (1_000, 1_000, 0, 0),
            (1_000, 900, 0, 100),
            (1_000, 1_100, 0, -100),
            (1_000, 900, 200, 0),
            (1_000, 899, 200, 0),
            (1_000, 700, 200, 100),
            (1_000, 1_000, 200, 0),
            (1_000, 1_100, 200, -100),
            (i64::MIN, i64::MAX, 200, i64::MIN + 100),
            (i64::MAX, i64::MIN, 200, i64::MAX - 100),
        ] {
            let ahead = ahead_us(Timestamp(here), Timestamp(there), Duration::from_micros(trip_us));
            assert_eq!(ahead, expected, "{here} {there} {trip_us}");
        }
    }

    /// What is told, second by second.
    fn told(seen: impl IntoIterator<Item = Level>) -> Vec<(Level, Option<i64>)> {
        let mut settled = None;
        let step = |(second, seen): (i64, Level)| {
            let now = settle(settled, seen, Timestamp(second * 1_000_000), CALM);
            settled = Some(now);
            (now.level, now.since.map(|at| at.0 / 1_000_000))
        };
        (0..).zip(seen).map(step).collect()
    }

    fn changes(told: &[(Level, Option<i64>)]) -> usize {
        told.windows(2).filter(|pair| pair[0].0 != pair[1].0).count()
    }

    #[test]
    fn it_gets_worse_at_once_and_better_after_a_while() {
        let mut seen = vec![Ok, Warning, Critical, Ok];
        seen.extend([Ok; 59]);
        seen.push(Ok);

        let told = told(seen);

        assert_eq!(told[..3], [(Ok, None), (Warning, Some(1)), (Critical, Some(2))]);
        assert_eq!(told[62], (Critical, Some(2)), "59 seconds are no calm");
        assert_eq!(told[63], (Ok, Some(3)), "since when it was better");
    }

    #[test]
    fn it_is_no_better_than_the_worst_that_it_was_meanwhile() {
        let mut seen = vec![Critical, Ok, Warning];
        seen.extend([Ok; 120]);

        let told = told(seen);

        assert_eq!(told[61], (Warning, Some(1)));
        assert_eq!(told[62].0, Warning);
        assert_eq!(told[122].0, Ok, "and then that passes too");
    }

    #[test]
    fn what_flaps_does_not() {
        let told = told((0..3600).map(|second| if second % 2 == 0 { Critical } else { Ok }));
        assert_eq!(changes(&told), 0);
        assert_eq!(told.last(), Some(&(Critical, Some(0))));
    }

    #[test]
    fn a_clock_that_is_set_back_never_makes_it_better_too_early() {
        let bad = settle(None, Critical, Timestamp(1_000_000_000), CALM);
        let easing = settle(Some(bad), Ok, Timestamp(1_000_000_000), CALM);
        let back = settle(Some(easing), Ok, Timestamp(0), CALM);
        assert_eq!(back.level, Critical);
        assert_eq!(settle(Some(back), Ok, Timestamp(60_000_000), CALM).level, Ok);
    }
}
