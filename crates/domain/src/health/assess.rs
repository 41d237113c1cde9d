//! From what a site server knows of itself to what it says: each part gets its level, and levels settle.

use std::{collections::BTreeMap, time::Duration};

use super::{
    CapsHealth, CertificateHealth, ClockHealth, ComponentHealth, DiskHealth, ERROR_MAX, Level, LineHealth,
    QueueHealth, SiteHealth,
    judge::{self, Settled, Signs, settle},
};
use crate::{Priority, Timestamp, care::Disk, id::SiteCode, status::cut};

/// What is known of a site without counting anything.
#[derive(Debug, Clone)]
pub struct Facts {
    pub site: SiteCode,
    pub now: Timestamp,
    pub every: Duration,
    pub calm: Duration,
    pub components: BTreeMap<String, ComponentFacts>,
    /// And what must stay free.
    pub disk: Option<(Disk, u64)>,
    pub certificate: Option<(String, Timestamp)>,
    pub lines: Vec<LineFacts>,
    pub caps: Vec<CapFacts>,
    /// How far the site's clock is ahead of its parent's, if that is known.
    pub ahead_us: Option<i64>,
}

/// A component, or somebody else who says messages.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ComponentFacts {
    pub signs: Signs,
    /// It has steps; otherwise it is told of only if it is not well.
    pub works: bool,
    /// It may be an old one.
    pub last_error: String,
}

/// A line as its site knows it.
#[derive(Debug, Clone)]
pub struct LineFacts {
    pub peer: SiteCode,
    pub up: bool,
    /// `None`: it was never up.
    pub since: Option<Timestamp>,
}

/// What waits for a neighbour in one class.
#[derive(Debug, Clone)]
pub struct Waiting {
    pub peer: SiteCode,
    pub priority: Priority,
    /// When the oldest came.
    pub oldest: Timestamp,
}

/// A CAP agent as its site knows it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CapFacts {
    pub connected: bool,
    pub seen_at: Timestamp,
    pub behind: u64,
}

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
enum Part {
    Component(String),
    Disk,
    Line(SiteCode),
    Caps,
    Clock,
}

/// The levels of a site's parts, as they have settled.
#[derive(Debug, Clone)]
pub struct Assessor {
    /// Of the process: what was away before is not held against it.
    began: Timestamp,
    settled: BTreeMap<Part, Settled>,
    /// As they were told last.
    queues: Vec<QueueHealth>,
}

impl Assessor {
    /// Goes on with what was told last, so that what was bad before the process began is not taken for well.
    pub fn new(began: Timestamp, told: Option<&SiteHealth>) -> Assessor {
        let mut settled = BTreeMap::new();
        if let Some(told) = told {
            for one in &told.components {
                settled.insert(Part::Component(one.name.clone()), Settled::new(one.level, one.since));
            }
            if let Some(disk) = &told.disk {
                settled.insert(Part::Disk, Settled::new(disk.level, None));
            }
        }
        Assessor { began, settled, queues: told.map(|told| told.queues.clone()).unwrap_or_default() }
    }

    /// What the site says of itself now. The library is counted by whoever writes it, and what waits is [`queued`]: until
    /// then that is as it was told last.
    pub fn assess(&mut self, facts: &Facts) -> SiteHealth {
        let mut health = SiteHealth {
            site: facts.site.clone(),
            at: facts.now,
            every: facts.every,
            level: Level::Ok,
            components: self.components(facts),
            disk: facts.disk.map(|(disk, reserve)| self.disk(facts, disk, reserve)),
            library_bytes: 0,
            certificate: facts.certificate.as_ref().map(|(name, ends)| CertificateHealth {
                name: name.clone(),
                ends: *ends,
                level: judge::certificate(*ends, facts.now),
            }),
            lines: facts.lines.iter().map(|line| self.line(facts, line)).collect(),
            queues: self.queues.clone(),
            caps: self.caps(facts),
            clock: facts.ahead_us.map(|ahead_us| self.clock(facts, ahead_us)),
        };
        health.level = health.worst();
        health
    }

    /// Takes in what waits, counted just now.
    pub fn queued(&mut self, health: &mut SiteHealth, waiting: &[Waiting]) {
        self.queues = waiting.iter().map(|one| queue(health, one)).collect();
        health.queues.clone_from(&self.queues);
        health.level = health.worst();
    }

    fn settle(&mut self, facts: &Facts, part: Part, seen: Level) -> Settled {
        let settled = settle(self.settled.get(&part).copied(), seen, facts.now, facts.calm);
        self.settled.insert(part, settled);
        settled
    }

    fn components(&mut self, facts: &Facts) -> Vec<ComponentHealth> {
        let mut said = Vec::new();
        for (name, one) in &facts.components {
            let settled = self.settle(facts, Part::Component(name.clone()), judge::component(one.signs));
            if !one.works && settled.level == Level::Ok {
                continue;
            }
            said.push(ComponentHealth {
                name: name.clone(),
                level: settled.level,
                since: settled.since,
                last_error: complaint(one, settled.level),
            });
        }
        // Whoever said something and is silent since is still not well for a while.
        let gone =
            |part: &Part| matches!(part, Part::Component(name) if !facts.components.contains_key(name));
        let left: Vec<Part> = self.settled.keys().filter(|part| gone(part)).cloned().collect();
        for part in left {
            let settled = self.settle(facts, part.clone(), Level::Ok);
            match part {
                Part::Component(name) if settled.level != Level::Ok => said.push(ComponentHealth {
                    name,
                    level: settled.level,
                    since: settled.since,
                    last_error: String::new(),
                }),
                part => drop(self.settled.remove(&part)),
            }
        }
        said.sort_by(|one, other| one.name.cmp(&other.name));
        // Of more than can be said, the worst.
        said.sort_by_key(|one| std::cmp::Reverse(one.level));
        said.truncate(super::COMPONENTS_MAX);
        said
    }

    fn disk(&mut self, facts: &Facts, disk: Disk, reserve_bytes: u64) -> DiskHealth {
        let before = self.settled.get(&Part::Disk).map_or(Level::Ok, |settled| settled.level);
        let seen = judge::disk(before, disk, reserve_bytes);
        DiskHealth { disk, reserve_bytes, level: self.settle(facts, Part::Disk, seen).level }
    }

    fn line(&mut self, facts: &Facts, line: &LineFacts) -> LineHealth {
        let down = line.since.filter(|_| !line.up).map(|since| facts.now.since(since.max(self.began)));
        let seen = judge::line(down);
        LineHealth {
            peer: line.peer.clone(),
            up: line.up,
            since: line.since,
            level: self.settle(facts, Part::Line(line.peer.clone()), seen).level,
        }
    }

    fn clock(&mut self, facts: &Facts, ahead_us: i64) -> ClockHealth {
        ClockHealth { ahead_us, level: self.settle(facts, Part::Clock, judge::clock(ahead_us)).level }
    }

    fn caps(&mut self, facts: &Facts) -> CapsHealth {
        let away = |cap: &CapFacts| match cap.connected {
            true => Duration::ZERO,
            false => facts.now.since(cap.seen_at.max(self.began)),
        };
        let seen = judge::caps(&facts.caps.iter().map(away).collect::<Vec<_>>());
        let connected = facts.caps.iter().filter(|cap| cap.connected).count();
        CapsHealth {
            agents: u32::try_from(facts.caps.len()).unwrap_or(u32::MAX),
            connected: u32::try_from(connected).unwrap_or(u32::MAX),
            behind: facts.caps.iter().map(|cap| cap.behind).max().unwrap_or_default(),
            level: self.settle(facts, Part::Caps, seen).level,
        }
    }
}

/// What waits on a line that was never up waits for a courier, and nobody can say how long that takes.
fn queue(health: &SiteHealth, waiting: &Waiting) -> QueueHealth {
    let is_line = health.lines.iter().any(|line| line.peer == waiting.peer && line.since.is_some());
    let age = health.at.since(waiting.oldest);
    QueueHealth {
        peer: waiting.peer.clone(),
        priority: waiting.priority,
        oldest: waiting.oldest,
        level: if is_line { judge::queue(waiting.priority, age) } else { Level::Ok },
    }
}

/// What stands in the way of a component that is not well.
fn complaint(one: &ComponentFacts, level: Level) -> String {
    let Signs { consecutive_errors, warnings, errors } = one.signs;
    if level == Level::Ok {
        return String::new();
    }
    if consecutive_errors == 0 && errors + warnings > 0 {
        return format!("{errors} errors and {warnings} warnings among its messages of the last hour");
    }
    cut(&one.last_error, ERROR_MAX).to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn code(text: &str) -> SiteCode {
        text.parse().expect("a code")
    }

    fn facts(seconds: i64) -> Facts {
        let working = || ComponentFacts { works: true, ..ComponentFacts::default() };
        Facts {
            site: code("PAR"),
            now: Timestamp(seconds * 1_000_000),
            every: Duration::from_secs(900),
            calm: Duration::from_secs(60),
            components: ["monitor", "despooler"].map(|name| (name.to_owned(), working())).into(),
            disk: Some((Disk { free_bytes: 50, total_bytes: 100 }, 5)),
            certificate: Some(("for its parent".to_owned(), Timestamp(i64::MAX))),
            lines: vec![LineFacts { peer: code("CEN"), up: true, since: Some(Timestamp(1)) }],
            caps: vec![],
            ahead_us: None,
        }
    }

    fn failing(seconds: i64, times: u32) -> Facts {
        let mut facts = facts(seconds);
        let one = facts.components.entry("despooler".to_owned()).or_default();
        one.signs.consecutive_errors = times;
        one.last_error = "no room".to_owned();
        facts
    }

    #[test]
    fn a_component_that_fails_is_told_with_its_error_and_forgiven_after_a_while() {
        let mut assessor = Assessor::new(Timestamp(0), None);
        assert_eq!(assessor.assess(&facts(10)).level, Level::Ok);

        let bad = assessor.assess(&failing(20, 6));
        let calming = assessor.assess(&failing(30, 0));
        let good = assessor.assess(&failing(90, 0));

        assert_eq!(bad.level, Level::Critical);
        let first = &bad.components[0];
        assert_eq!(
            (first.name.as_str(), first.last_error.as_str()),
            ("despooler", "no room"),
            "the worst first"
        );
        assert_eq!(first.since, Some(Timestamp(20_000_000)));
        assert_eq!(calming.components[0].level, Level::Critical);
        assert_eq!((good.level, good.components.len()), (Level::Ok, 2));
        assert!(good.components.iter().all(|one| one.last_error.is_empty()));
    }

    #[test]
    fn who_only_says_messages_is_told_of_while_it_is_not_well() {
        let mut assessor = Assessor::new(Timestamp(0), None);
        let mut complaining = facts(10);
        let signs = Signs { errors: 5, warnings: 2, ..Signs::default() };
        complaining.components.insert("receiver".to_owned(), ComponentFacts { signs, ..Default::default() });

        let bad = assessor.assess(&complaining);
        let calming = assessor.assess(&facts(20));
        let good = assessor.assess(&facts(80));

        assert_eq!((bad.components[0].name.as_str(), bad.level), ("receiver", Level::Critical));
        assert!(bad.components[0].last_error.starts_with("5 errors and 2 warnings"));
        assert_eq!(calming.components[0].name, "receiver");
        assert_eq!((good.components.len(), good.level), (2, Level::Ok));
    }

    #[test]
    fn a_new_process_goes_on_with_what_was_told_and_does_not_blame_the_time_before() {
        let told = Assessor::new(Timestamp(0), None).assess(&failing(20, 6));

        let mut assessor = Assessor::new(Timestamp(1_000_000_000), Some(&told));
        let mut away = facts(1_000);
        away.caps = vec![CapFacts { connected: false, seen_at: Timestamp(5), behind: 3 }];
        away.lines[0] = LineFacts { peer: code("CEN"), up: false, since: Some(Timestamp(5)) };
        let first = assessor.assess(&away);
        away.now = Timestamp(1_000_000_000 + 15 * 60_000_000);
        let later = assessor.assess(&away);

        assert_eq!(first.components[0].since, Some(Timestamp(20_000_000)), "it is the same trouble");
        assert_eq!((first.caps.level, first.lines[0].level), (Level::Ok, Level::Ok));
        assert_eq!((later.caps.level, later.lines[0].level), (Level::Critical, Level::Warning));
        assert_eq!((later.caps.agents, later.caps.connected, later.caps.behind), (1, 0, 3));
    }

    #[test]
    fn a_clock_that_is_wrong_is_told_and_forgiven_after_a_while() {
        let mut assessor = Assessor::new(Timestamp(0), None);
        let at = |seconds: i64, ahead_us| Facts { ahead_us, ..facts(seconds) };

        let bad = assessor.assess(&at(10, Some(-61_000_000)));
        let set = assessor.assess(&at(20, Some(5)));
        let good = assessor.assess(&at(80, Some(5)));

        let clock = ClockHealth { ahead_us: -61_000_000, level: Level::Warning };
        assert_eq!((bad.clock, bad.level), (Some(clock), Level::Warning));
        assert_eq!(set.clock, Some(ClockHealth { ahead_us: 5, level: Level::Warning }));
        assert_eq!((good.clock.map(|one| one.level), good.level), (Some(Level::Ok), Level::Ok));
        assert_eq!(assessor.assess(&at(90, None)).clock, None);
    }

    #[test]
    fn what_waits_too_long_is_told_until_it_is_counted_anew() {
        let mut assessor = Assessor::new(Timestamp(0), None);
        let waiting = |peer: &str, oldest| Waiting {
            peer: code(peer),
            priority: Priority::High,
            oldest: Timestamp(oldest),
        };
        let mut health = assessor.assess(&facts(100_000));
        assert_eq!(health.level, Level::Ok);

        // It has no line to the second, which waits for a parcel.
        assessor.queued(&mut health, &[waiting("CEN", 0), waiting("OSL", 0)]);
        let levels: Vec<Level> = health.queues.iter().map(|one| one.level).collect();
        assert_eq!((levels.as_slice(), health.level), (&[Level::Critical, Level::Ok][..], Level::Critical));
        let mut next = assessor.assess(&facts(100_010));
        assert_eq!((&next.queues, next.level), (&health.queues, Level::Critical), "nobody counted");
        let after_restart = Assessor::new(Timestamp(0), Some(&next)).assess(&facts(100_010));
        assert_eq!(after_restart.level, Level::Critical);

        assessor.queued(&mut next, &[]);
        assert_eq!((next.queues.len(), next.level), (0, Level::Ok));
    }

    #[test]
    fn a_line_that_was_never_up_is_no_trouble() {
        let mut assessor = Assessor::new(Timestamp(0), None);
        let mut never = facts(100_000);
        never.lines[0] = LineFacts { peer: code("CEN"), up: false, since: None };
        assert_eq!(assessor.assess(&never).level, Level::Ok);
    }
}
