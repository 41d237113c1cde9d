//! What the client remembers: what it ran, what it has seen, and what its site has not been told yet.
//!
//! One change is one durable transaction. A run is written here before its program starts, so that no crash makes a
//! program run twice. After each change a snapshot for people is put beside the database, which only one process can
//! open.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    sync::{Mutex, MutexGuard, PoisonError},
};

use packhorse_domain::{
    Digest, Timestamp,
    id::{AdvertisementId, ClientId, PackageId, SiteCode},
    kill::KillList,
    status::AdvertisementStatus,
};
use packhorse_proto::{convert::decode, object::v1 as wire};
use packhorse_runtime::durable::{DurableError, sync_directory};
use prost::Message as _;
use redb::{
    Database, Durability, ReadableDatabase as _, ReadableTable as _, TableDefinition, WriteTransaction,
};

pub use record::{RunRecord, RunState, StatusChange, Waiting};
pub use snapshot::{KillRow, LedgerView, RunRow, SnapshotError, StatusRow, read_snapshot};

mod kills;
mod record;
mod snapshot;

/// `ADVERTISEMENT/OCCURRENCE` to a run.
const RUNS: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("runs");
/// Advertisements to their last status, encoded.
const STATUSES: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("statuses");
/// Advertisements whose last status the site has not confirmed, with its trace context.
const OUTBOX: TableDefinition<'_, &str, &str> = TableDefinition::new("outbox");
/// Packages to the highest release seen.
const RELEASES: TableDefinition<'_, &str, u64> = TableDefinition::new("releases");
const META: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("meta");

const SERIAL: &str = "serial";
const TRUST_VERSION: &str = "trust-version";
const INSTRUCTION: &str = "instruction";
const FACTS: &str = "facts";

const CACHE_BYTES: usize = 4 * 1024 * 1024;

/// The client's database.
#[derive(Debug)]
pub struct Ledger {
    path: PathBuf,
    owner: Owner,
    /// `None` after a failure of the disk: the next use opens it anew.
    database: Mutex<Option<Database>>,
}

/// Whose ledger it is: part of each status.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Owner {
    pub client: ClientId,
    pub site: SiteCode,
    pub hostname: String,
}

/// What this client has seen; it never believes anything older.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Seen {
    pub serial: u64,
    pub trust_version: u64,
    pub releases: BTreeMap<PackageId, u64>,
    /// What must not run, by whose word; and what may again.
    pub kills: KillList,
    /// The instruction that it holds.
    pub instruction: Option<Digest>,
}

#[derive(Debug, thiserror::Error)]
pub enum LedgerError {
    #[error("cannot {operation} in the ledger {path:?}")]
    Database { operation: &'static str, path: PathBuf, source: Box<redb::Error> },
    #[error("the ledger is on no disk yet")]
    Directory { source: DurableError },
    #[error("the row {key} of {table} in the ledger does not read back")]
    Inconsistent { table: &'static str, key: String },
    #[error("cannot write the ledger's snapshot")]
    Snapshot { source: SnapshotError },
}

impl Ledger {
    /// Opens the ledger in this directory, or makes it. Another process that has it open is an error.
    pub fn open(directory: &Path, owner: Owner) -> Result<Self, LedgerError> {
        let ledger = Ledger { path: directory.join("client.redb"), owner, database: Mutex::new(None) };
        ledger.with("open the tables", |_| Ok(()))?;
        sync_directory(directory).map_err(|source| LedgerError::Directory { source })?;
        ledger.publish()?;
        Ok(ledger)
    }

    pub fn owner(&self) -> &Owner {
        &self.owner
    }

    pub fn seen(&self) -> Result<Seen, LedgerError> {
        let (meta, rows, kills) = self.with("read what was seen", |database| {
            let read = database.begin_read()?;
            let meta = read.open_table(META)?;
            let get = |key| Ok::<_, redb::Error>(meta.get(key)?.map(|value| value.value().to_vec()));
            let mut releases = Vec::new();
            for row in read.open_table(RELEASES)?.iter()? {
                let (package, release) = row?;
                releases.push((package.value().to_owned(), release.value()));
            }
            Ok(([get(SERIAL)?, get(TRUST_VERSION)?, get(INSTRUCTION)?], releases, kills::rows(&read)?))
        })?;
        let [serial, trust_version, instruction] = meta;
        let mut seen = Seen {
            serial: number(SERIAL, serial)?,
            trust_version: number(TRUST_VERSION, trust_version)?,
            instruction: instruction
                .map(|bytes| {
                    Digest::try_from(bytes.as_slice()).map_err(|_| inconsistent("meta", INSTRUCTION))
                })
                .transpose()?,
            kills: kills::list(kills)?,
            ..Seen::default()
        };
        for (package, release) in rows {
            let id = package.parse().map_err(|_| inconsistent("releases", &package))?;
            seen.releases.insert(id, release);
        }
        Ok(seen)
    }

    /// Adopts an instruction: from here on nothing older is believed. Marks never go down.
    pub fn adopt(&self, adopted: &Seen) -> Result<(), LedgerError> {
        let before = self.seen()?;
        self.with("adopt an instruction", |database| {
            let write = begin(database)?;
            {
                let mut meta = write.open_table(META)?;
                let serial = before.serial.max(adopted.serial).to_le_bytes();
                let trust_version = before.trust_version.max(adopted.trust_version).to_le_bytes();
                meta.insert(SERIAL, serial.as_slice())?;
                meta.insert(TRUST_VERSION, trust_version.as_slice())?;
                if let Some(instruction) = &adopted.instruction {
                    meta.insert(INSTRUCTION, instruction.as_bytes().as_slice())?;
                }
                let mut releases = write.open_table(RELEASES)?;
                for (package, release) in &adopted.releases {
                    if before.releases.get(package).is_none_or(|seen| seen < release) {
                        releases.insert(package.as_str(), *release)?;
                    }
                }
            }
            kills::adopt(&write, &before.kills, &adopted.kills)?;
            Ok(write.commit()?)
        })?;
        self.publish()
    }

    pub fn run(
        &self,
        advertisement: &AdvertisementId,
        occurrence: u64,
    ) -> Result<Option<RunRecord>, LedgerError> {
        let key = record::key(advertisement, occurrence);
        let row = self.with("read a run", |database| {
            let runs = database.begin_read()?.open_table(RUNS)?;
            Ok(runs.get(key.as_str())?.map(|row| row.value().to_vec()))
        })?;
        row.map(|row| RunRecord::decode(&row).ok_or_else(|| inconsistent("runs", &key))).transpose()
    }

    pub fn runs(&self) -> Result<Vec<RunRecord>, LedgerError> {
        let rows = self.with("list the runs", |database| rows(database, RUNS))?;
        rows.into_iter()
            .map(|(key, row)| RunRecord::decode(&row).ok_or_else(|| inconsistent("runs", &key)))
            .collect()
    }

    /// Writes down a run, or a change of status, or both at once. A status that says nothing new is not repeated.
    pub fn record(&self, run: Option<&RunRecord>, change: Option<&StatusChange>) -> Result<(), LedgerError> {
        let news = match change {
            Some(change) => {
                let last = self.status(&change.advertisement)?;
                change.news(&self.owner, last.as_ref()).map(|status| (status, change))
            }
            None => None,
        };
        if run.is_none() && news.is_none() {
            return Ok(());
        }
        self.with("record a run or a status", |database| {
            let write = begin(database)?;
            if let Some(run) = run {
                let key = record::key(&run.advertisement, run.occurrence);
                write.open_table(RUNS)?.insert(key.as_str(), run.encode().as_slice())?;
            }
            if let Some((status, change)) = &news {
                let id = status.advertisement.as_str();
                let encoded = wire::AdvertisementStatus::from(status).encode_to_vec();
                write.open_table(STATUSES)?.insert(id, encoded.as_slice())?;
                write.open_table(OUTBOX)?.insert(id, change.traceparent.as_str())?;
            }
            Ok(write.commit()?)
        })?;
        self.publish()
    }

    pub fn status(
        &self,
        advertisement: &AdvertisementId,
    ) -> Result<Option<AdvertisementStatus>, LedgerError> {
        let row = self.with("read a status", |database| {
            let statuses = database.begin_read()?.open_table(STATUSES)?;
            Ok(statuses.get(advertisement.as_str())?.map(|row| row.value().to_vec()))
        })?;
        row.map(|row| status_of(advertisement.as_str(), &row)).transpose()
    }

    pub fn statuses(&self) -> Result<Vec<AdvertisementStatus>, LedgerError> {
        let rows = self.with("list the statuses", |database| rows(database, STATUSES))?;
        rows.iter().map(|(key, row)| status_of(key, row)).collect()
    }

    /// What the site has not confirmed, at most `count`.
    pub fn waiting(&self, count: usize) -> Result<Vec<Waiting>, LedgerError> {
        let rows = self.with("list the reports", |database| {
            let read = database.begin_read()?;
            let statuses = read.open_table(STATUSES)?;
            let mut found = Vec::new();
            for row in read.open_table(OUTBOX)?.iter()?.take(count) {
                let (id, traceparent) = row?;
                if let Some(status) = statuses.get(id.value())? {
                    let (id, traceparent) = (id.value().to_owned(), traceparent.value().to_owned());
                    found.push((id, traceparent, status.value().to_vec()));
                }
            }
            Ok(found)
        })?;
        rows.into_iter()
            .map(|(id, traceparent, row)| Ok(Waiting { status: status_of(&id, &row)?, traceparent }))
            .collect()
    }

    /// The site has these; a status that changed while they were on their way stays in the outbox.
    pub fn confirmed(&self, reported: &[AdvertisementStatus]) -> Result<(), LedgerError> {
        self.with("confirm reports", |database| {
            let write = begin(database)?;
            {
                let statuses = write.open_table(STATUSES)?;
                let mut outbox = write.open_table(OUTBOX)?;
                for status in reported {
                    let id = status.advertisement.as_str();
                    let newest = statuses
                        .get(id)?
                        .and_then(|row| wire::AdvertisementStatus::decode(row.value()).ok())
                        .is_some_and(|held| held.generation > status.generation);
                    if !newest {
                        outbox.remove(id)?;
                    }
                }
            }
            Ok(write.commit()?)
        })
    }

    /// The digest of the facts that the site has confirmed.
    pub fn facts_sent(&self) -> Result<Option<Digest>, LedgerError> {
        let row = self.with("read the facts sent", |database| {
            let meta = database.begin_read()?.open_table(META)?;
            Ok(meta.get(FACTS)?.map(|row| row.value().to_vec()))
        })?;
        Ok(row.and_then(|row| Digest::try_from(row.as_slice()).ok()))
    }

    pub fn set_facts_sent(&self, digest: &Digest) -> Result<(), LedgerError> {
        self.with("record the facts sent", |database| {
            let write = begin(database)?;
            write.open_table(META)?.insert(FACTS, digest.as_bytes().as_slice())?;
            Ok(write.commit()?)
        })
    }

    fn publish(&self) -> Result<(), LedgerError> {
        let view = LedgerView::new(&self.owner, &self.seen()?, &self.statuses()?, &self.runs()?);
        let directory = self.path.parent().unwrap_or(Path::new("."));
        view.write(directory).map_err(|source| LedgerError::Snapshot { source })
    }

    /// Runs `work`, opening the database first where a failure of the disk has closed it. After such a failure, a full
    /// disk for instance, it refuses all use; opened anew it goes on once there is room.
    fn with<T>(
        &self,
        operation: &'static str,
        work: impl FnOnce(&Database) -> Result<T, redb::Error>,
    ) -> Result<T, LedgerError> {
        let failed =
            |source| LedgerError::Database { operation, path: self.path.clone(), source: Box::new(source) };
        let mut held = self.lock();
        let database = match held.take() {
            Some(database) => database,
            None => open(&self.path).map_err(failed)?,
        };
        let outcome = work(&database);
        if !matches!(
            outcome,
            Err(redb::Error::Io(_) | redb::Error::PreviousIo | redb::Error::LockPoisoned(_))
        ) {
            *held = Some(database);
        }
        outcome.map_err(failed)
    }

    fn lock(&self) -> MutexGuard<'_, Option<Database>> {
        // A panic elsewhere leaves no half-done work behind: a transaction that was not committed never was.
        self.database.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Seen {
    pub fn release(&self, package: &PackageId) -> u64 {
        self.releases.get(package).copied().unwrap_or(0)
    }
}

fn open(path: &Path) -> Result<Database, redb::Error> {
    let database = Database::builder().set_cache_size(CACHE_BYTES).create(path)?;
    let write = begin(&database)?;
    write.open_table(RUNS)?;
    write.open_table(STATUSES)?;
    write.open_table(OUTBOX)?;
    write.open_table(RELEASES)?;
    write.open_table(META)?;
    kills::make(&write)?;
    write.commit()?;
    Ok(database)
}

fn begin(database: &Database) -> Result<WriteTransaction, redb::Error> {
    let mut write = database.begin_write()?;
    write.set_durability(Durability::Immediate)?;
    Ok(write)
}

fn rows(
    database: &Database,
    table: TableDefinition<'_, &'static str, &'static [u8]>,
) -> Result<Vec<(String, Vec<u8>)>, redb::Error> {
    let mut rows = Vec::new();
    for row in database.begin_read()?.open_table(table)?.iter()? {
        let (key, value) = row?;
        rows.push((key.value().to_owned(), value.value().to_vec()));
    }
    Ok(rows)
}

fn status_of(key: &str, row: &[u8]) -> Result<AdvertisementStatus, LedgerError> {
    decode::<wire::AdvertisementStatus, _>(row).map_err(|_| inconsistent("statuses", key))
}

fn number(key: &str, row: Option<Vec<u8>>) -> Result<u64, LedgerError> {
    row.map_or(Ok(0), |row| {
        row.as_slice().try_into().map(u64::from_le_bytes).map_err(|_| inconsistent("meta", key))
    })
}

fn inconsistent(table: &'static str, key: &str) -> LedgerError {
    LedgerError::Inconsistent { table, key: key.to_owned() }
}

/// A point in time as people and JSON have it; `None` for none.
fn micros(at: Option<Timestamp>) -> Option<i64> {
    at.map(|at| at.0)
}

#[cfg(test)]
mod tests;
