//! When a site says how it is: it costs each line up to the central site a few hundred bytes, and some of them are thin.

use std::{collections::BTreeMap, time::Duration};

use super::{DiskHealth, Level, SiteHealth};

/// How often a site may say something, and how long it waits before something counts as better.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pace {
    /// If nothing changes.
    pub every: Duration,
    /// At the earliest after this time, unless the site got worse.
    pub shortest: Duration,
    /// So long something is better before that is told.
    pub calm: Duration,
}

impl Default for Pace {
    fn default() -> Self {
        Pace {
            every: Duration::from_secs(15 * 60),
            shortest: Duration::from_secs(60),
            calm: Duration::from_secs(60),
        }
    }
}

/// Room on a disk is news when it changed by such a part of the disk.
const DISK_PARTS: u64 = 20;

/// Whether `now` is to be written, after `told` was.
pub fn is_due(told: Option<&SiteHealth>, now: &SiteHealth, pace: Pace) -> bool {
    let Some(told) = told else { return true };
    let passed = now.at.since(told.at);
    // A clock that was set back must not make it silent until that time has come again.
    now.at < told.at
        || passed >= pace.every
        || now.level > told.level
        || (passed >= pace.shortest && is_news(told, now))
}

/// Whether somebody would want to know: a level, a line that went up or down, an agent that came or went, much room.
pub fn is_news(told: &SiteHealth, now: &SiteHealth) -> bool {
    told.level != now.level
        || levels(told) != levels(now)
        || told.clock.map(|one| one.level) != now.clock.map(|one| one.level)
        || lines(told) != lines(now)
        || is_disk_news(told.disk.as_ref(), now.disk.as_ref())
        || told.certificate.as_ref().map(|one| (one.ends, one.level))
            != now.certificate.as_ref().map(|one| (one.ends, one.level))
        || (told.caps.agents, told.caps.connected, told.caps.level)
            != (now.caps.agents, now.caps.connected, now.caps.level)
}

/// Components that are not well.
fn levels(health: &SiteHealth) -> BTreeMap<&str, Level> {
    let unwell = health.components.iter().filter(|one| one.level != Level::Ok);
    unwell.map(|one| (one.name.as_str(), one.level)).collect()
}

fn lines(health: &SiteHealth) -> BTreeMap<&str, (bool, Level)> {
    health.lines.iter().map(|line| (line.peer.as_str(), (line.up, line.level))).collect()
}

/// Compared with what was told, not with fixed steps: at the edge of one it would go to and fro.
fn is_disk_news(told: Option<&DiskHealth>, now: Option<&DiskHealth>) -> bool {
    match (told, now) {
        (Some(told), Some(now)) => {
            let moved = told.disk.free_bytes.abs_diff(now.disk.free_bytes);
            let part = now.disk.total_bytes / DISK_PARTS;
            let resized = told.disk.total_bytes != now.disk.total_bytes;
            told.level != now.level || told.reserve_bytes != now.reserve_bytes || resized || moved > part
        }
        (told, now) => told.is_some() != now.is_some(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        Priority, Timestamp,
        health::{
            ComponentHealth, QueueHealth,
            tests::{GB, well},
        },
    };

    fn later(told: &SiteHealth, seconds: u64) -> SiteHealth {
        SiteHealth { at: told.at.plus(Duration::from_secs(seconds)), ..told.clone() }
    }

    fn due(told: &SiteHealth, seconds: u64, change: impl FnOnce(&mut SiteHealth)) -> bool {
        let mut now = later(told, seconds);
        change(&mut now);
        is_due(Some(told), &now, Pace::default())
    }

    #[test]
    fn nothing_new_is_told_every_quarter_of_an_hour() {
        assert!(is_due(None, &well(), Pace::default()));
        for (seconds, expected) in [(0, false), (60, false), (899, false), (900, true), (90_000, true)] {
            assert_eq!(due(&well(), seconds, |_| {}), expected, "{seconds}");
        }
        let back = SiteHealth { at: Timestamp(0), ..well() };
        assert!(is_due(Some(&well()), &back, Pace::default()), "the clock was set back");
    }

    #[test]
    fn news_wait_a_minute_and_what_is_worse_does_not() {
        let change = |level| {
            move |now: &mut SiteHealth| {
                now.components[0].level = level;
                now.level = now.worst();
            }
        };
        assert!(due(&well(), 0, change(Level::Warning)), "worse");
        let mut bad = well();
        change(Level::Critical)(&mut bad);
        for (seconds, expected) in [(0, false), (59, false), (60, true)] {
            assert_eq!(due(&bad, seconds, change(Level::Ok)), expected, "better after {seconds}");
            let also = |now: &mut SiteHealth| now.components[1].level = Level::Warning;
            assert_eq!(due(&bad, seconds, also), expected, "bad enough already, after {seconds}");
        }
    }

    #[test]
    fn what_is_news_and_what_is_not() {
        type Change = fn(&mut SiteHealth);
        let news: [(&str, Change); 10] = [
            ("a line is down", |now| now.lines[0].up = false),
            ("a line is new", |now| now.lines[0].peer = "LYO".parse().expect("a code")),
            ("much room was taken", |now| disk(now, 44 * GB)),
            ("much room came free", |now| disk(now, 56 * GB)),
            ("no disk any more", |now| now.disk = None),
            ("a new certificate", |now| now.certificate.iter_mut().for_each(|one| one.ends.0 += 1)),
            ("an agent went", |now| now.caps.connected = 1),
            ("a clock is known", |now| now.clock = None),
            ("a clock is wrong", |now| now.clock.iter_mut().for_each(|one| one.level = Level::Warning)),
            ("a component is not well", |now| now.components[0].level = Level::Warning),
        ];
        for (what, change) in news {
            assert!(due(&well(), 60, change), "{what}");
            assert!(!due(&well(), 59, change), "{what}, within the minute");
        }
        let nothing: [(&str, Change); 7] = [
            ("a little room", |now| disk(now, 45 * GB)),
            ("the library grew", |now| now.library_bytes *= 2),
            ("a line was cut and is back", |now| now.lines[0].since = Some(Timestamp(99))),
            ("agents lag", |now| now.caps.behind = 12),
            ("a clock runs", |now| now.clock.iter_mut().for_each(|one| one.ahead_us += 1)),
            ("a new component that is well", |now| {
                let new = ComponentHealth { name: "prestager".to_owned(), ..now.components[0].clone() };
                now.components.push(new);
            }),
            ("something waits", |now| {
                let (peer, oldest) = (now.lines[0].peer.clone(), now.at);
                now.queues.push(QueueHealth { peer, priority: Priority::High, oldest, level: Level::Ok });
            }),
        ];
        for (what, change) in nothing {
            assert!(!due(&well(), 899, change), "{what}");
        }
    }

    fn disk(health: &mut SiteHealth, free_bytes: u64) {
        health.disk.iter_mut().for_each(|one| one.disk.free_bytes = free_bytes);
    }

    #[test]
    fn whatever_flaps_each_second_is_told_once_a_minute_at_most() {
        let (mut told, mut writes) = (well(), 0);
        for second in 1..=3600_u64 {
            let mut now = later(&well(), second);
            now.lines[0].up = second % 2 == 0;
            disk(&mut now, if second % 3 == 0 { 20 * GB } else { 50 * GB });
            if is_due(Some(&told), &now, Pace::default()) {
                (told, writes) = (now, writes + 1);
            }
        }
        assert!((4..=60).contains(&writes), "{writes}");
    }
}
