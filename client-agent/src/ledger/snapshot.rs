//! The ledger as people see it: a file beside the database, which a running agent keeps for itself.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use packhorse_domain::{id::SiteCode, kill::Word, status::AdvertisementStatus};
use serde::{Deserialize, Serialize};

use super::{Owner, RunRecord, Seen, micros};

const FILE: &str = "ledger.json";

/// All of the ledger that is for people.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LedgerView {
    pub client: String,
    pub site: String,
    pub serial: u64,
    pub advertisements: Vec<StatusRow>,
    pub runs: Vec<RunRow>,
    /// What sites above have killed and not lifted.
    #[serde(default)]
    pub kills: Vec<KillRow>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StatusRow {
    pub advertisement: String,
    pub acceptance: String,
    pub delivery: String,
    pub exit_code: Option<i32>,
    pub source_version: u64,
    pub changed_at_us: i64,
    pub reason: String,
    pub output_tail: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RunRow {
    pub advertisement: String,
    pub occurrence: u64,
    pub package: String,
    pub program: String,
    pub source_version: u64,
    pub state: String,
    pub attempts: u32,
    pub begun_at_us: i64,
    pub ended_at_us: Option<i64>,
    pub exit_code: Option<i32>,
    pub reason: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct KillRow {
    pub package: String,
    pub site: String,
    /// This one and all before it.
    pub release: u64,
    pub reason: String,
    pub at_us: i64,
}

#[derive(Debug, thiserror::Error)]
pub enum SnapshotError {
    #[error("cannot write {path:?}")]
    Write { path: PathBuf, source: io::Error },
    #[error("cannot read {path:?}: has the agent been started?")]
    Read { path: PathBuf, source: io::Error },
    #[error("{path:?} is not a snapshot of a ledger")]
    Decode { path: PathBuf, source: serde_json::Error },
}

/// Reads what the agent wrote last.
pub fn read_snapshot(directory: &Path) -> Result<LedgerView, SnapshotError> {
    let path = directory.join(FILE);
    let text = fs::read(&path).map_err(|source| SnapshotError::Read { path: path.clone(), source })?;
    serde_json::from_slice(&text).map_err(|source| SnapshotError::Decode { path, source })
}

impl LedgerView {
    pub(super) fn new(
        owner: &Owner,
        seen: &Seen,
        statuses: &[AdvertisementStatus],
        runs: &[RunRecord],
    ) -> Self {
        LedgerView {
            client: owner.client.to_string(),
            site: owner.site.to_string(),
            serial: seen.serial,
            advertisements: statuses.iter().map(StatusRow::new).collect(),
            runs: runs.iter().map(RunRow::new).collect(),
            kills: seen.kills.words().filter_map(|(site, _, word)| KillRow::new(site, word)).collect(),
        }
    }

    /// Whole for whoever reads it; not synced, since the next start of the agent writes it again.
    pub(super) fn write(&self, directory: &Path) -> Result<(), SnapshotError> {
        let (path, unfinished) = (directory.join(FILE), directory.join(".ledger.json.unfinished-0"));
        let text = serde_json::to_vec(self).expect("texts and numbers are always JSON");
        fs::write(&unfinished, text)
            .and_then(|()| fs::rename(&unfinished, &path))
            .map_err(|source| SnapshotError::Write { path, source })
    }
}

impl KillRow {
    /// `None` if it was lifted.
    fn new(site: &SiteCode, word: &Word) -> Option<Self> {
        let kill = word.kill.as_ref()?;
        Some(KillRow {
            package: kill.package.to_string(),
            site: site.to_string(),
            release: kill.release,
            reason: kill.reason.clone(),
            at_us: kill.at.0,
        })
    }
}

impl StatusRow {
    fn new(status: &AdvertisementStatus) -> Self {
        StatusRow {
            advertisement: status.advertisement.to_string(),
            acceptance: status.acceptance.as_str().to_owned(),
            delivery: status.delivery.as_str().to_owned(),
            exit_code: status.exit_code,
            source_version: status.source_version,
            changed_at_us: status.changed_at.0,
            reason: status.reason.clone(),
            output_tail: status.output_tail.clone(),
        }
    }
}

impl RunRow {
    fn new(run: &RunRecord) -> Self {
        RunRow {
            advertisement: run.advertisement.to_string(),
            occurrence: run.occurrence,
            package: run.package.to_string(),
            program: run.program.to_string(),
            source_version: run.source_version,
            state: run.state.as_str().to_owned(),
            attempts: run.attempts,
            begun_at_us: run.begun_at.0,
            ended_at_us: micros(run.ended_at),
            exit_code: run.exit_code,
            reason: run.reason.clone(),
        }
    }
}
