//! How sites and their components are: what a site says of itself to those above it, few bytes a day.
//!
//! The original counted status messages against thresholds. Here failures of a component and its messages give a level
//! ([`judge`], [`assess`]), and the site writes what it is like only when that says something new ([`telling`]).

pub mod assess;
pub mod judge;
pub mod telling;

use std::time::Duration;

use crate::{Priority, Timestamp, care::Disk, id::SiteCode};

/// How bad it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub enum Level {
    #[default]
    Ok,
    Warning,
    Critical,
}

/// A site as it described itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SiteHealth {
    pub site: SiteCode,
    /// When it said so, by its own clock.
    pub at: Timestamp,
    /// It says something again after this time at the latest.
    pub every: Duration,
    /// The worst of everything.
    pub level: Level,
    pub components: Vec<ComponentHealth>,
    /// `None`: the disk does not say how full it is.
    pub disk: Option<DiskHealth>,
    pub library_bytes: u64,
    /// The first of its certificates to end. `None`: none can be read.
    pub certificate: Option<CertificateHealth>,
    pub lines: Vec<LineHealth>,
    pub queues: Vec<QueueHealth>,
    pub caps: CapsHealth,
    /// `None`: it has no parent, or has not heard what time it is there.
    pub clock: Option<ClockHealth>,
}

/// A component of a site server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ComponentHealth {
    pub name: String,
    pub level: Level,
    /// Since when it has this level; `None`: since its site server began.
    pub since: Option<Timestamp>,
    /// What it failed with last, or what it complains about; empty if it is well.
    pub last_error: String,
}

/// The disk of the content library.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DiskHealth {
    pub disk: Disk,
    /// What new package content leaves free.
    pub reserve_bytes: u64,
    pub level: Level,
}

/// A certificate of the site.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CertificateHealth {
    /// Which it is, as `for its parent`.
    pub name: String,
    pub ends: Timestamp,
    pub level: Level,
}

/// The line to a neighbour.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LineHealth {
    pub peer: SiteCode,
    pub up: bool,
    /// Since when it has been so; `None`: it was never up.
    pub since: Option<Timestamp>,
    pub level: Level,
}

/// What waits to go to a neighbour in one class.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct QueueHealth {
    pub peer: SiteCode,
    pub priority: Priority,
    /// When the oldest came.
    pub oldest: Timestamp,
    pub level: Level,
}

/// A site's clock beside that of its parent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ClockHealth {
    /// How far it is ahead; negative: behind.
    pub ahead_us: i64,
    pub level: Level,
}

/// The CAP agents of a site.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct CapsHealth {
    pub agents: u32,
    pub connected: u32,
    /// Instruction files that the one that lacks most has not stored yet.
    pub behind: u64,
    pub level: Level,
}

pub const COMPONENTS_MAX: usize = 64;
pub const LINES_MAX: usize = 1024;
pub const QUEUES_MAX: usize = 3 * LINES_MAX;
/// Bytes of a component's or a certificate's name.
pub const NAME_MAX: usize = 64;
/// Bytes of a component's last error.
pub const ERROR_MAX: usize = 256;

/// How a site stands for those who look at it from above; the worst last.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Standing {
    Ok,
    /// It has told nothing yet, or its software does not.
    Unknown,
    Warning,
    /// It has not said anything for twice the time within which it would have.
    Silent,
    Critical,
}

impl Level {
    pub fn as_str(self) -> &'static str {
        match self {
            Level::Ok => "ok",
            Level::Warning => "warning",
            Level::Critical => "critical",
        }
    }
}

impl Standing {
    pub fn as_str(self) -> &'static str {
        match self {
            Standing::Ok => "ok",
            Standing::Unknown => "unknown",
            Standing::Warning => "warning",
            Standing::Silent => "silent",
            Standing::Critical => "critical",
        }
    }
}

impl SiteHealth {
    /// The worst of its parts.
    pub fn worst(&self) -> Level {
        let components = self.components.iter().map(|one| one.level);
        let lines = self.lines.iter().map(|one| one.level);
        let disk = self.disk.iter().map(|one| one.level);
        let certificate = self.certificate.iter().map(|one| one.level);
        let queues = self.queues.iter().map(|one| one.level);
        let clock = self.clock.iter().map(|one| one.level);
        components
            .chain(lines)
            .chain(disk)
            .chain(certificate)
            .chain(queues)
            .chain(clock)
            .chain([self.caps.level])
            .max()
            .unwrap_or_default()
    }

    /// Since when it is silent, if it is: when it said something last.
    pub fn silent_since(&self, now: Timestamp) -> Option<Timestamp> {
        (now.since(self.at) > self.every.saturating_mul(2)).then_some(self.at)
    }
}

/// How a site stands; of one that is silent nobody knows how it is, whatever it said last.
pub fn standing(health: Option<&SiteHealth>, now: Timestamp) -> Standing {
    match health {
        None => Standing::Unknown,
        Some(health) if health.silent_since(now).is_some() => Standing::Silent,
        Some(health) => match health.level {
            Level::Ok => Standing::Ok,
            Level::Warning => Standing::Warning,
            Level::Critical => Standing::Critical,
        },
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    pub(crate) const GB: u64 = 1_000_000_000;

    /// A site that is well in all its parts.
    pub(crate) fn well() -> SiteHealth {
        let component = |name: &str| ComponentHealth {
            name: name.to_owned(),
            level: Level::Ok,
            since: None,
            last_error: String::new(),
        };
        SiteHealth {
            site: "PAR".parse().expect("a code"),
            at: Timestamp(1_000_000_000_000),
            every: Duration::from_secs(900),
            level: Level::Ok,
            components: vec![component("despooler"), component("monitor")],
            disk: Some(DiskHealth {
                disk: Disk { free_bytes: 50 * GB, total_bytes: 100 * GB },
                reserve_bytes: 2 * GB,
                level: Level::Ok,
            }),
            library_bytes: 3 * GB,
            certificate: Some(CertificateHealth {
                name: "for its parent".to_owned(),
                ends: Timestamp(9_000_000_000_000),
                level: Level::Ok,
            }),
            lines: vec![LineHealth {
                peer: "CEN".parse().expect("a code"),
                up: true,
                since: Some(Timestamp(7)),
                level: Level::Ok,
            }],
            queues: vec![QueueHealth {
                peer: "CEN".parse().expect("a code"),
                priority: Priority::Low,
                oldest: Timestamp(999_000_000_000),
                level: Level::Ok,
            }],
            caps: CapsHealth { agents: 2, connected: 2, behind: 0, level: Level::Ok },
            clock: Some(ClockHealth { ahead_us: -20_000, level: Level::Ok }),
        }
    }

    #[test]
    fn a_site_is_as_its_worst_part() {
        let made: [fn(&mut SiteHealth); 7] = [
            |health| health.components[1].level = Level::Critical,
            |health| health.disk.iter_mut().for_each(|disk| disk.level = Level::Critical),
            |health| health.certificate.iter_mut().for_each(|one| one.level = Level::Critical),
            |health| health.lines[0].level = Level::Critical,
            |health| health.caps.level = Level::Critical,
            |health| health.queues[0].level = Level::Critical,
            |health| health.clock.iter_mut().for_each(|one| one.level = Level::Critical),
        ];
        assert_eq!(well().worst(), Level::Ok);
        for (at, make) in made.into_iter().enumerate() {
            let mut health = well();
            health.components[0].level = Level::Warning;
            assert_eq!(health.worst(), Level::Warning);
            make(&mut health);
            assert_eq!(health.worst(), Level::Critical, "part {at}");
        }
    }

    #[test]
    fn who_says_nothing_for_twice_its_time_is_silent_whatever_it_said() {
        for (said, age_s, expected) in [
            (Level::Ok, 0, Standing::Ok),
            (Level::Warning, 900, Standing::Warning),
            (Level::Critical, 1800, Standing::Critical),
            (Level::Ok, 1801, Standing::Silent),
            (Level::Critical, 1801, Standing::Silent),
        ] {
            let health = SiteHealth { level: said, ..well() };
            let now = health.at.plus(Duration::from_secs(age_s));
            assert_eq!(standing(Some(&health), now), expected, "{said:?} {age_s} s ago");
        }
        assert_eq!(standing(Some(&well()), Timestamp(0)), Standing::Ok, "its clock is ahead");
        assert_eq!(standing(None, Timestamp(0)), Standing::Unknown);
        assert!(Standing::Critical > Standing::Silent && Standing::Silent > Standing::Warning);
        assert!(Standing::Warning > Standing::Unknown && Standing::Unknown > Standing::Ok);
    }
}
