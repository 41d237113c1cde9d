//! One run, and one change of an advertisement's status.

use packhorse_domain::{
    Timestamp,
    advertisement::{Acceptance, Delivery},
    id::{AdvertisementId, PackageId, ProgramName},
    run::Past,
    status::{AdvertisementStatus, OUTPUT_TAIL_MAX, cut},
    window::Closed,
};
use serde::{Deserialize, Serialize};

use super::{Owner, micros};

/// A run of one occurrence of an advertisement. What is needed to judge its end is kept with it: the instruction may
/// be another by then.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RunRecord {
    pub advertisement: AdvertisementId,
    pub occurrence: u64,
    pub package: PackageId,
    pub program: ProgramName,
    pub source_version: u64,
    /// 0: it began when releases were not kept with runs, and any may be meant.
    pub release: u64,
    pub state: RunState,
    /// How often it was started, or was about to be.
    pub attempts: u32,
    pub idempotent: bool,
    pub success_codes: Vec<i32>,
    pub begun_at: Timestamp,
    pub ended_at: Option<Timestamp>,
    pub exit_code: Option<i32>,
    pub reason: String,
    pub traceparent: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum RunState {
    /// Written before the program starts.
    Open,
    /// It left no result and may run again.
    Repeat,
    Succeeded,
    Failed,
    Interrupted,
}

/// What is new about an advertisement.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StatusChange {
    pub advertisement: AdvertisementId,
    pub acceptance: Acceptance,
    /// `None`: as it was, and waiting if it was nothing.
    pub delivery: Option<Delivery>,
    pub exit_code: Option<i32>,
    pub output_tail: String,
    pub reason: String,
    pub source_version: u64,
    /// It waits for a maintenance window.
    pub closed: Option<Closed>,
    pub at: Timestamp,
    pub traceparent: String,
}

/// A status that the site has not confirmed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Waiting {
    pub status: AdvertisementStatus,
    pub traceparent: String,
}

#[derive(Serialize, Deserialize)]
struct Row {
    advertisement: String,
    occurrence: u64,
    package: String,
    program: String,
    source_version: u64,
    #[serde(default)]
    release: u64,
    state: RunState,
    attempts: u32,
    idempotent: bool,
    success_codes: Vec<i32>,
    begun_at_us: i64,
    ended_at_us: Option<i64>,
    exit_code: Option<i32>,
    reason: String,
    traceparent: String,
}

/// Orders the occurrences of one advertisement by their number.
pub(super) fn key(advertisement: &AdvertisementId, occurrence: u64) -> String {
    format!("{advertisement}/{occurrence:020}")
}

impl RunRecord {
    /// Names this start of the run, for its spool.
    pub fn spool_name(&self) -> String {
        format!("{}-{}", self.tree_name(), self.attempts)
    }

    /// Names the run, for its tree and its reports.
    pub fn tree_name(&self) -> String {
        format!("{}-{}", self.advertisement, self.occurrence)
    }

    pub fn past(&self) -> Past {
        match self.state {
            RunState::Open => Past::Open,
            RunState::Repeat => Past::Due,
            RunState::Succeeded | RunState::Failed | RunState::Interrupted => Past::Ended,
        }
    }

    pub fn succeeds_with(&self, exit_code: i32) -> bool {
        if self.success_codes.is_empty() { exit_code == 0 } else { self.success_codes.contains(&exit_code) }
    }

    pub(super) fn encode(&self) -> Vec<u8> {
        let row = Row {
            advertisement: self.advertisement.to_string(),
            occurrence: self.occurrence,
            package: self.package.to_string(),
            program: self.program.to_string(),
            source_version: self.source_version,
            release: self.release,
            state: self.state,
            attempts: self.attempts,
            idempotent: self.idempotent,
            success_codes: self.success_codes.clone(),
            begun_at_us: self.begun_at.0,
            ended_at_us: micros(self.ended_at),
            exit_code: self.exit_code,
            reason: self.reason.clone(),
            traceparent: self.traceparent.clone(),
        };
        serde_json::to_vec(&row).expect("texts and numbers are always JSON")
    }

    pub(super) fn decode(row: &[u8]) -> Option<Self> {
        let row: Row = serde_json::from_slice(row).ok()?;
        Some(RunRecord {
            advertisement: row.advertisement.parse().ok()?,
            occurrence: row.occurrence,
            package: row.package.parse().ok()?,
            program: row.program.parse().ok()?,
            source_version: row.source_version,
            release: row.release,
            state: row.state,
            attempts: row.attempts,
            idempotent: row.idempotent,
            success_codes: row.success_codes,
            begun_at: Timestamp(row.begun_at_us),
            ended_at: row.ended_at_us.map(Timestamp),
            exit_code: row.exit_code,
            reason: row.reason,
            traceparent: row.traceparent,
        })
    }
}

impl RunState {
    pub fn as_str(self) -> &'static str {
        match self {
            RunState::Open => "running",
            RunState::Repeat => "to be repeated",
            RunState::Succeeded => "succeeded",
            RunState::Failed => "failed",
            RunState::Interrupted => "interrupted",
        }
    }
}

impl StatusChange {
    /// The next status, with the next generation; `None` if the last one says the same.
    pub(super) fn news(
        &self,
        owner: &Owner,
        last: Option<&AdvertisementStatus>,
    ) -> Option<AdvertisementStatus> {
        let delivery = self.delivery.or(last.map(|last| last.delivery)).unwrap_or(Delivery::Waiting);
        let status = AdvertisementStatus {
            advertisement: self.advertisement.clone(),
            client: owner.client.clone(),
            site: owner.site.clone(),
            hostname: owner.hostname.clone(),
            acceptance: self.acceptance,
            delivery,
            exit_code: self.exit_code,
            output_tail: cut(&self.output_tail, OUTPUT_TAIL_MAX).to_owned(),
            reason: self.reason.clone(),
            source_version: self.source_version,
            changed_at: last.map_or(self.at, |last| last.changed_at),
            generation: last.map_or(0, |last| last.generation),
            closed: self.closed,
        };
        if last == Some(&status) {
            return None;
        }
        let generation = status.generation.saturating_add(1);
        Some(AdvertisementStatus { changed_at: self.at, generation, ..status })
    }
}
