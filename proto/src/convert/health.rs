//! How sites are.

use std::time::Duration;

use packhorse_domain::{
    Timestamp,
    care::Disk,
    health::{
        COMPONENTS_MAX, CapsHealth, CertificateHealth, ClockHealth, ComponentHealth, DiskHealth, ERROR_MAX,
        LINES_MAX, Level, LineHealth, NAME_MAX, QUEUES_MAX, QueueHealth, SiteHealth, Standing,
    },
    status::cut,
};

use super::{ConvertError, limited, parse, priority, time_or_none};
use crate::{object::v1 as wire, provider::v1 as provider};

const EVERY_LONGEST_S: u32 = 86_400;

impl From<Level> for wire::HealthLevel {
    fn from(level: Level) -> Self {
        match level {
            Level::Ok => wire::HealthLevel::Ok,
            Level::Warning => wire::HealthLevel::Warning,
            Level::Critical => wire::HealthLevel::Critical,
        }
    }
}

impl From<Standing> for provider::Standing {
    fn from(standing: Standing) -> Self {
        match standing {
            Standing::Ok => provider::Standing::Ok,
            Standing::Unknown => provider::Standing::Unknown,
            Standing::Warning => provider::Standing::Warning,
            Standing::Silent => provider::Standing::Silent,
            Standing::Critical => provider::Standing::Critical,
        }
    }
}

/// Where nothing is said, it is well. A level that only a later version knows is worse than any that is known here.
fn level(value: i32) -> Level {
    match wire::HealthLevel::try_from(value) {
        Ok(wire::HealthLevel::Unspecified | wire::HealthLevel::Ok) => Level::Ok,
        Ok(wire::HealthLevel::Warning) => Level::Warning,
        Ok(wire::HealthLevel::Critical) | Err(_) => Level::Critical,
    }
}

/// As short as it can be said.
fn short(level: Level) -> i32 {
    match level {
        Level::Ok => wire::HealthLevel::Unspecified.into(),
        level => wire::HealthLevel::from(level).into(),
    }
}

impl From<&SiteHealth> for wire::SiteHealth {
    fn from(health: &SiteHealth) -> Self {
        let every_s = u32::try_from(health.every.as_secs()).unwrap_or(EVERY_LONGEST_S);
        let queue = |queue: &QueueHealth| wire::QueueHealth {
            peer: queue.peer.to_string(),
            priority: wire::Priority::from(queue.priority).into(),
            oldest_us: queue.oldest.0,
            level: short(queue.level),
        };
        wire::SiteHealth {
            site: health.site.to_string(),
            at_us: health.at.0,
            every_s: every_s.clamp(1, EVERY_LONGEST_S),
            level: wire::HealthLevel::from(health.level).into(),
            components: health.components.iter().take(COMPONENTS_MAX).map(component).collect(),
            disk: health.disk.as_ref().map(|disk| wire::DiskHealth {
                free_bytes: disk.disk.free_bytes,
                total_bytes: disk.disk.total_bytes,
                reserve_bytes: disk.reserve_bytes,
                level: short(disk.level),
            }),
            library_bytes: health.library_bytes,
            certificate: health.certificate.as_ref().map(|one| wire::CertificateHealth {
                name: cut(&one.name, NAME_MAX).to_owned(),
                ends_us: one.ends.0,
                level: short(one.level),
            }),
            lines: health.lines.iter().take(LINES_MAX).map(line).collect(),
            queues: health.queues.iter().take(QUEUES_MAX).map(queue).collect(),
            caps: Some(wire::CapsHealth {
                agents: health.caps.agents,
                connected: health.caps.connected,
                behind: health.caps.behind,
                level: short(health.caps.level),
            }),
            clock: health
                .clock
                .map(|one| wire::ClockHealth { ahead_us: one.ahead_us, level: short(one.level) }),
        }
    }
}

fn component(component: &ComponentHealth) -> wire::ComponentHealth {
    wire::ComponentHealth {
        name: cut(&component.name, NAME_MAX).to_owned(),
        level: short(component.level),
        since_us: component.since.map_or(0, |at| at.0),
        last_error: cut(&component.last_error, ERROR_MAX).to_owned(),
    }
}

fn line(line: &LineHealth) -> wire::LineHealth {
    wire::LineHealth {
        peer: line.peer.to_string(),
        up: line.up,
        since_us: line.since.map_or(0, |at| at.0),
        level: short(line.level),
    }
}

impl TryFrom<wire::SiteHealth> for SiteHealth {
    type Error = ConvertError;

    fn try_from(health: wire::SiteHealth) -> Result<Self, ConvertError> {
        limited("components", &health.components, COMPONENTS_MAX)?;
        limited("lines", &health.lines, LINES_MAX)?;
        limited("queues", &health.queues, QUEUES_MAX)?;
        match health.every_s {
            0 => return Err(ConvertError::Missing("every_s")),
            1..=EVERY_LONGEST_S => {}
            _ => return Err(ConvertError::TooLarge { field: "every_s", limit: EVERY_LONGEST_S as usize }),
        }
        let caps = health.caps.unwrap_or_default();
        Ok(SiteHealth {
            site: parse("site", &health.site)?,
            at: Timestamp(health.at_us),
            every: Duration::from_secs(health.every_s.into()),
            level: level(health.level),
            components: health.components.into_iter().map(TryInto::try_into).collect::<Result<_, _>>()?,
            disk: health.disk.map(|disk| DiskHealth {
                disk: Disk { free_bytes: disk.free_bytes, total_bytes: disk.total_bytes },
                reserve_bytes: disk.reserve_bytes,
                level: level(disk.level),
            }),
            library_bytes: health.library_bytes,
            certificate: health.certificate.map(TryInto::try_into).transpose()?,
            lines: health.lines.into_iter().map(TryInto::try_into).collect::<Result<_, _>>()?,
            queues: health.queues.into_iter().map(TryInto::try_into).collect::<Result<_, _>>()?,
            caps: CapsHealth {
                agents: caps.agents,
                connected: caps.connected,
                behind: caps.behind,
                level: level(caps.level),
            },
            clock: health.clock.map(|one| ClockHealth { ahead_us: one.ahead_us, level: level(one.level) }),
        })
    }
}

impl TryFrom<wire::ComponentHealth> for ComponentHealth {
    type Error = ConvertError;

    fn try_from(component: wire::ComponentHealth) -> Result<Self, ConvertError> {
        limited("name", component.name.as_bytes(), NAME_MAX)?;
        limited("last_error", component.last_error.as_bytes(), ERROR_MAX)?;
        if component.name.is_empty() {
            return Err(ConvertError::Missing("name"));
        }
        Ok(ComponentHealth {
            name: component.name,
            level: level(component.level),
            since: time_or_none(component.since_us),
            last_error: component.last_error,
        })
    }
}

impl TryFrom<wire::CertificateHealth> for CertificateHealth {
    type Error = ConvertError;

    fn try_from(certificate: wire::CertificateHealth) -> Result<Self, ConvertError> {
        limited("name", certificate.name.as_bytes(), NAME_MAX)?;
        let (ends, level) = (Timestamp(certificate.ends_us), level(certificate.level));
        Ok(CertificateHealth { name: certificate.name, ends, level })
    }
}

impl TryFrom<wire::LineHealth> for LineHealth {
    type Error = ConvertError;

    fn try_from(line: wire::LineHealth) -> Result<Self, ConvertError> {
        Ok(LineHealth {
            peer: parse("peer", &line.peer)?,
            up: line.up,
            since: time_or_none(line.since_us),
            level: level(line.level),
        })
    }
}

impl TryFrom<wire::QueueHealth> for QueueHealth {
    type Error = ConvertError;

    fn try_from(queue: wire::QueueHealth) -> Result<Self, ConvertError> {
        Ok(QueueHealth {
            peer: parse("peer", &queue.peer)?,
            priority: priority("priority", queue.priority)?,
            oldest: Timestamp(queue.oldest_us),
            level: level(queue.level),
        })
    }
}
