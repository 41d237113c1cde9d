//! Replicated state that people count on, and status messages.

use std::collections::BTreeMap;

use crate::{
    Digest, Timestamp,
    advertisement::{Acceptance, Delivery},
    distribution::PointKind,
    id::{AdvertisementId, ClientId, PackageId, PointName, SiteCode},
    message,
    package::PackageState,
    window::Closed,
};

/// How far a package is at one place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PackageStatus {
    pub package: PackageId,
    pub site: SiteCode,
    /// `None`: the site's own content library.
    pub point: Option<PointName>,
    pub state: PackageState,
    pub source_version: u64,
    /// Manifests held whole at this place, newest first.
    pub held: Vec<Digest>,
    pub reason: String,
    pub changed_at: Timestamp,
}

pub const HELD_MAX: usize = 16;

/// How far an advertisement is on one client.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AdvertisementStatus {
    pub advertisement: AdvertisementId,
    pub client: ClientId,
    pub site: SiteCode,
    pub hostname: String,
    pub acceptance: Acceptance,
    pub delivery: Delivery,
    pub exit_code: Option<i32>,
    pub output_tail: String,
    pub reason: String,
    pub source_version: u64,
    pub changed_at: Timestamp,
    /// The client's own count: the highest wins.
    pub generation: u64,
    /// It waits for a maintenance window.
    pub closed: Option<Closed>,
}

pub const OUTPUT_TAIL_MAX: usize = 4096;

/// A distribution point as its site describes it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PointFact {
    pub site: SiteCode,
    pub name: PointName,
    pub kind: PointKind,
    pub location: String,
}

/// A status message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Event {
    pub site: SiteCode,
    pub sequence: u64,
    pub at: Timestamp,
    pub component: String,
    pub severity: Severity,
    pub event_type: EventType,
    pub subject: String,
    /// As whoever said it would show it.
    pub text: String,
    /// Its number in the catalogue; 0: it is of a version that had none.
    pub message: u32,
    pub fields: BTreeMap<String, String>,
    /// How often it was said, from 1: one that is repeated within a while is counted.
    pub count: u64,
    /// When it was said last; `at` is when first.
    pub last_at: Timestamp,
}

impl Event {
    /// The text as this version shows it.
    pub fn shown(&self) -> String {
        message::text_of(self.message, &self.fields, &self.text)
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    Info,
    Warning,
    Error,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EventType {
    /// The end of an operation.
    Milestone,
    /// A step.
    Detail,
    /// Who changed what.
    Audit,
}

impl Severity {
    pub const ALL: [Severity; 3] = [Severity::Info, Severity::Warning, Severity::Error];

    pub fn as_str(self) -> &'static str {
        match self {
            Severity::Info => "info",
            Severity::Warning => "warning",
            Severity::Error => "error",
        }
    }

    pub fn parse(text: &str) -> Option<Severity> {
        Severity::ALL.into_iter().find(|severity| severity.as_str() == text)
    }
}

impl EventType {
    pub const ALL: [EventType; 3] = [EventType::Milestone, EventType::Detail, EventType::Audit];

    pub fn as_str(self) -> &'static str {
        match self {
            EventType::Milestone => "milestone",
            EventType::Detail => "detail",
            EventType::Audit => "audit",
        }
    }

    pub fn parse(text: &str) -> Option<EventType> {
        EventType::ALL.into_iter().find(|event_type| event_type.as_str() == text)
    }
}

/// `text` cut to `longest` bytes at a character boundary.
pub fn cut(text: &str, longest: usize) -> &str {
    let mut end = longest.min(text.len());
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    &text[..end]
}
