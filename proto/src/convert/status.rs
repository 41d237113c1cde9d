//! Package status, advertisement status, events.

use packhorse_domain::{
    Timestamp,
    message::{FIELDS_BYTES_MAX, FIELDS_MAX},
    status::{
        AdvertisementStatus, Event, EventType, HELD_MAX, OUTPUT_TAIL_MAX, PackageStatus, Severity, cut,
    },
    window::Closed,
};

use super::{
    ConvertError,
    advertisement::{acceptance, delivery},
    digest, digest_bytes, limited,
    package::package_state,
    parse,
};
use crate::object::v1 as wire;

const TEXT_LENGTH_MAX: usize = 2048;

impl From<&PackageStatus> for wire::PackageStatus {
    fn from(status: &PackageStatus) -> Self {
        wire::PackageStatus {
            package: status.package.to_string(),
            site: status.site.to_string(),
            distribution_point: status.point.as_ref().map(ToString::to_string).unwrap_or_default(),
            state: wire::PackageState::from(status.state).into(),
            source_version: status.source_version,
            held: status.held.iter().map(digest_bytes).collect(),
            reason: cut(&status.reason, TEXT_LENGTH_MAX).to_owned(),
            changed_at_us: status.changed_at.0,
        }
    }
}

impl TryFrom<wire::PackageStatus> for PackageStatus {
    type Error = ConvertError;

    fn try_from(status: wire::PackageStatus) -> Result<Self, ConvertError> {
        limited("held", &status.held, HELD_MAX)?;
        limited("reason", status.reason.as_bytes(), TEXT_LENGTH_MAX)?;
        let point = match status.distribution_point.is_empty() {
            true => None,
            false => Some(parse("distribution_point", &status.distribution_point)?),
        };
        Ok(PackageStatus {
            package: parse("package", &status.package)?,
            site: parse("site", &status.site)?,
            point,
            state: package_state(status.state)?,
            source_version: status.source_version,
            held: status.held.iter().map(|bytes| digest("held", bytes)).collect::<Result<_, _>>()?,
            reason: status.reason,
            changed_at: Timestamp(status.changed_at_us),
        })
    }
}

impl From<&AdvertisementStatus> for wire::AdvertisementStatus {
    fn from(status: &AdvertisementStatus) -> Self {
        wire::AdvertisementStatus {
            advertisement: status.advertisement.to_string(),
            client: status.client.to_string(),
            site: status.site.to_string(),
            hostname: status.hostname.clone(),
            acceptance: wire::Acceptance::from(status.acceptance).into(),
            delivery: wire::Delivery::from(status.delivery).into(),
            exit_code: status.exit_code,
            output_tail: cut(&status.output_tail, OUTPUT_TAIL_MAX).to_owned(),
            reason: cut(&status.reason, TEXT_LENGTH_MAX).to_owned(),
            source_version: status.source_version,
            changed_at_us: status.changed_at.0,
            generation: status.generation,
            window_opens_at_us: status.closed.map(opens_on_wire),
        }
    }
}

impl TryFrom<wire::AdvertisementStatus> for AdvertisementStatus {
    type Error = ConvertError;

    fn try_from(status: wire::AdvertisementStatus) -> Result<Self, ConvertError> {
        limited("hostname", status.hostname.as_bytes(), 255)?;
        limited("output_tail", status.output_tail.as_bytes(), OUTPUT_TAIL_MAX)?;
        limited("reason", status.reason.as_bytes(), TEXT_LENGTH_MAX)?;
        Ok(AdvertisementStatus {
            advertisement: parse("advertisement", &status.advertisement)?,
            client: parse("client", &status.client)?,
            site: parse("site", &status.site)?,
            hostname: status.hostname,
            acceptance: acceptance(status.acceptance)?,
            delivery: delivery(status.delivery)?,
            exit_code: status.exit_code,
            output_tail: status.output_tail,
            reason: status.reason,
            source_version: status.source_version,
            changed_at: Timestamp(status.changed_at_us),
            generation: status.generation,
            closed: status.window_opens_at_us.map(closed),
        })
    }
}

fn opens_on_wire(closed: Closed) -> i64 {
    match closed {
        Closed::Until(at) => at.0,
        Closed::NoRoom => 0,
    }
}

fn closed(opens_at_us: i64) -> Closed {
    if opens_at_us == 0 { Closed::NoRoom } else { Closed::Until(Timestamp(opens_at_us)) }
}

impl From<&Event> for wire::Event {
    fn from(event: &Event) -> Self {
        wire::Event {
            site: event.site.to_string(),
            sequence: event.sequence,
            at_us: event.at.0,
            component: event.component.clone(),
            severity: wire::Severity::from(event.severity).into(),
            r#type: wire::EventType::from(event.event_type).into(),
            subject: event.subject.clone(),
            text: cut(&event.text, TEXT_LENGTH_MAX).to_owned(),
            message: event.message,
            fields: event.fields.clone().into_iter().collect(),
            count: if event.count > 1 { event.count } else { 0 },
            last_at_us: if event.count > 1 { event.last_at.0 } else { 0 },
        }
    }
}

impl TryFrom<wire::Event> for Event {
    type Error = ConvertError;

    fn try_from(event: wire::Event) -> Result<Self, ConvertError> {
        limited("component", event.component.as_bytes(), 64)?;
        limited("subject", event.subject.as_bytes(), 128)?;
        limited("text", event.text.as_bytes(), TEXT_LENGTH_MAX)?;
        let fields = event.fields.len();
        let bytes: usize = event.fields.iter().map(|(name, value)| name.len() + value.len()).sum();
        if fields > FIELDS_MAX || bytes > FIELDS_BYTES_MAX {
            let limit = if fields > FIELDS_MAX { FIELDS_MAX } else { FIELDS_BYTES_MAX };
            return Err(ConvertError::TooLarge { field: "fields", limit });
        }
        Ok(Event {
            site: parse("site", &event.site)?,
            sequence: event.sequence,
            at: Timestamp(event.at_us),
            component: event.component,
            severity: severity(event.severity)?,
            event_type: event_type(event.r#type)?,
            subject: event.subject,
            text: event.text,
            message: event.message,
            fields: event.fields.into_iter().collect(),
            count: event.count.max(1),
            last_at: Timestamp(if event.count > 1 { event.last_at_us } else { event.at_us }),
        })
    }
}

impl From<Severity> for wire::Severity {
    fn from(severity: Severity) -> Self {
        match severity {
            Severity::Info => wire::Severity::Info,
            Severity::Warning => wire::Severity::Warning,
            Severity::Error => wire::Severity::Error,
        }
    }
}

impl From<EventType> for wire::EventType {
    fn from(event_type: EventType) -> Self {
        match event_type {
            EventType::Milestone => wire::EventType::Milestone,
            EventType::Detail => wire::EventType::Detail,
            EventType::Audit => wire::EventType::Audit,
        }
    }
}

pub(super) fn event_type(value: i32) -> Result<EventType, ConvertError> {
    match wire::EventType::try_from(value) {
        Ok(wire::EventType::Milestone) => Ok(EventType::Milestone),
        Ok(wire::EventType::Detail) => Ok(EventType::Detail),
        Ok(wire::EventType::Audit) => Ok(EventType::Audit),
        Ok(wire::EventType::Unspecified) | Err(_) => Err(ConvertError::Unknown { field: "type", value }),
    }
}

pub(super) fn severity(value: i32) -> Result<Severity, ConvertError> {
    match wire::Severity::try_from(value) {
        Ok(wire::Severity::Info) => Ok(Severity::Info),
        Ok(wire::Severity::Warning) => Ok(Severity::Warning),
        Ok(wire::Severity::Error) => Ok(Severity::Error),
        Ok(wire::Severity::Unspecified) | Err(_) => Err(ConvertError::Unknown { field: "severity", value }),
    }
}
