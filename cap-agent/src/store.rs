//! What the agent holds on its disk: the instruction files, the feed's cursor, the outbox of reports and the states of
//! its distribution point, in one database. One change is one durable transaction; it survives a kill at any instant.
//!
//! Beside it, in memory, the digest of each client's instruction, so that a poll without news reads no disk.

use std::{
    collections::HashMap,
    fs::File,
    path::{Path, PathBuf},
    sync::RwLock,
};

use bytes::Bytes;
use packhorse_domain::{
    Digest,
    id::{ClientId, PointName},
    instruction::FileName,
};
use packhorse_proto::{
    cap::v1::CapFile,
    object::v1::{PackageStatus, PointContent},
};
use prost::Message as _;
use redb::{
    Database, Durability, ReadableDatabase as _, ReadableTable as _, ReadableTableMetadata as _,
    TableDefinition,
};

pub(crate) use outbox::WaitingReport;

mod outbox;

/// Instruction files by their names.
const FILES: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("files");
/// The feed and the cursor.
const META: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("meta");
/// The last known state of each package at the distribution point, encoded.
const POINT: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("point");

const FEED: &str = "feed";
const CURSOR: &str = "cursor";

/// The site's files are small beside it; the rest of the machine needs the memory more.
const CACHE_BYTES: usize = 32 * 1024 * 1024;

/// The agent's database.
pub(crate) struct Store {
    path: PathBuf,
    /// `None` after a failure of the disk: the next use opens it again.
    database: RwLock<Option<Database>>,
    memory: RwLock<Memory>,
}

#[derive(Debug, Default)]
struct Memory {
    instructions: HashMap<ClientId, Digest>,
    position: FeedPosition,
}

/// Where the agent stands in which feed.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct FeedPosition {
    /// Empty: none yet.
    pub(crate) feed: Vec<u8>,
    pub(crate) cursor: u64,
}

/// Changes that are stored together.
#[derive(Debug)]
pub(crate) struct Batch {
    /// Everything held before is forgotten first.
    pub(crate) restart: bool,
    pub(crate) files: Vec<CapFile>,
    pub(crate) position: FeedPosition,
}

/// A package that this distribution point should hold.
#[derive(Debug)]
pub(crate) struct WantedFile {
    /// As the file's name says it.
    pub(crate) package: String,
    /// `None`: the file's content does not decode.
    pub(crate) content: Option<PointContent>,
}

#[derive(Debug, thiserror::Error)]
pub(crate) enum StoreError {
    #[error("cannot open the database {path:?}")]
    Open { path: PathBuf, source: Box<redb::Error> },
    #[error("cannot make the database {path:?} durable")]
    Directory { path: PathBuf, source: std::io::Error },
    #[error("cannot {operation} in the database {path:?}")]
    Database { operation: &'static str, path: PathBuf, source: Box<redb::Error> },
    #[error("the row {key} of {table} does not decode")]
    Inconsistent { table: &'static str, key: String, source: prost::DecodeError },
    #[error("{0} reports wait for the site, and no more are taken")]
    OutboxFull(u64),
}

impl std::fmt::Debug for Store {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Store").field("path", &self.path).finish_non_exhaustive()
    }
}

impl Store {
    /// Opens the database, or makes it. Another process that has it open is an error.
    pub(crate) fn open(path: &Path) -> Result<Self, StoreError> {
        let store = Store {
            path: path.to_owned(),
            database: RwLock::new(None),
            memory: RwLock::new(Memory::default()),
        };
        store.reopen()?;
        Ok(store)
    }

    pub(crate) fn position(&self) -> FeedPosition {
        self.memory().position.clone()
    }

    /// The digest of the client's instruction; from memory.
    pub(crate) fn instruction_digest(&self, client: &ClientId) -> Option<Digest> {
        self.memory().instructions.get(client).copied()
    }

    /// How many clients have an instruction; from memory.
    pub(crate) fn clients(&self) -> usize {
        self.memory().instructions.len()
    }

    pub(crate) fn files_held(&self) -> Result<u64, StoreError> {
        self.with("count files", |database| Ok(database.begin_read()?.open_table(FILES)?.len()?))
    }

    pub(crate) fn file(&self, name: &str) -> Result<Option<Bytes>, StoreError> {
        self.with("read a file", |database| {
            let files = database.begin_read()?.open_table(FILES)?;
            Ok(files.get(name)?.map(|content| Bytes::copy_from_slice(content.value())))
        })
    }

    /// Stores a batch durably, whole or not at all.
    pub(crate) fn apply(&self, batch: &Batch) -> Result<(), StoreError> {
        self.with("store instruction files", |database| {
            let write = begin(database)?;
            {
                let mut files = write.open_table(FILES)?;
                if batch.restart {
                    files.retain(|_, _| false)?;
                }
                for file in &batch.files {
                    if file.deleted {
                        files.remove(file.name.as_str())?;
                    } else {
                        files.insert(file.name.as_str(), file.content.as_ref())?;
                    }
                }
                let mut meta = write.open_table(META)?;
                meta.insert(FEED, batch.position.feed.as_slice())?;
                meta.insert(CURSOR, batch.position.cursor.to_le_bytes().as_slice())?;
            }
            Ok(write.commit()?)
        })?;
        self.memory.write().unwrap_or_else(|poisoned| poisoned.into_inner()).apply(batch);
        Ok(())
    }

    /// The files `content/POINT/*`.
    pub(crate) fn wanted(&self, point: &PointName) -> Result<Vec<WantedFile>, StoreError> {
        let (from, to) = (format!("content/{point}/"), format!("content/{point}0"));
        self.with("list the wanted packages", |database| {
            let files = database.begin_read()?.open_table(FILES)?;
            let mut wanted = Vec::new();
            for row in files.range(from.as_str()..to.as_str())? {
                let (name, content) = row?;
                if let Some(FileName::Content { package, .. }) = FileName::parse(name.value()) {
                    let content = PointContent::decode(content.value()).ok();
                    wanted.push(WantedFile { package: package.to_owned(), content });
                }
            }
            Ok(wanted)
        })
    }

    /// What was last known of each package at this distribution point.
    pub(crate) fn point_statuses(&self) -> Result<Vec<PackageStatus>, StoreError> {
        let rows = self.with("read the states of packages", |database| {
            let point = database.begin_read()?.open_table(POINT)?;
            let mut rows = Vec::new();
            for row in point.iter()? {
                let (package, status) = row?;
                rows.push((package.value().to_owned(), status.value().to_vec()));
            }
            Ok(rows)
        })?;
        rows.into_iter()
            .map(|(key, row)| {
                PackageStatus::decode(row.as_slice()).map_err(|source| StoreError::Inconsistent {
                    table: "point",
                    key,
                    source,
                })
            })
            .collect()
    }

    pub(crate) fn put_point_status(&self, status: &PackageStatus) -> Result<(), StoreError> {
        self.with("record the state of a package", |database| {
            let write = begin(database)?;
            write.open_table(POINT)?.insert(status.package.as_str(), status.encode_to_vec().as_slice())?;
            Ok(write.commit()?)
        })
    }

    pub(crate) fn remove_point_status(&self, package: &str) -> Result<(), StoreError> {
        self.with("forget the state of a package", |database| {
            let write = begin(database)?;
            write.open_table(POINT)?.remove(package)?;
            Ok(write.commit()?)
        })
    }

    fn memory(&self) -> std::sync::RwLockReadGuard<'_, Memory> {
        // Memory is only ever replaced by whole, valid states, so that a panic elsewhere leaves it sound.
        self.memory.read().unwrap_or_else(|poisoned| poisoned.into_inner())
    }

    /// Runs `work`, opening the database first if a failure of the disk has closed it. The database refuses all use
    /// after such a failure, a full disk for instance; opened anew it goes on once there is room.
    fn with<T>(
        &self,
        operation: &'static str,
        work: impl FnOnce(&Database) -> Result<T, redb::Error>,
    ) -> Result<T, StoreError> {
        if self.database.read().unwrap_or_else(|poisoned| poisoned.into_inner()).is_none() {
            self.reopen()?;
        }
        let outcome = {
            let database = self.database.read().unwrap_or_else(|poisoned| poisoned.into_inner());
            match database.as_ref() {
                Some(database) => work(database),
                None => Err(redb::Error::DatabaseClosed),
            }
        };
        outcome.map_err(|source| {
            if matches!(source, redb::Error::Io(_) | redb::Error::PreviousIo | redb::Error::LockPoisoned(_)) {
                *self.database.write().unwrap_or_else(|poisoned| poisoned.into_inner()) = None;
            }
            StoreError::Database { operation, path: self.path.clone(), source: Box::new(source) }
        })
    }

    fn reopen(&self) -> Result<(), StoreError> {
        let mut database = self.database.write().unwrap_or_else(|poisoned| poisoned.into_inner());
        if database.is_some() {
            return Ok(());
        }
        let (opened, memory) = open(&self.path)
            .map_err(|source| StoreError::Open { path: self.path.clone(), source: Box::new(source) })?;
        if let Some(directory) = self.path.parent() {
            File::open(directory)
                .and_then(|directory| directory.sync_all())
                .map_err(|source| StoreError::Directory { path: self.path.clone(), source })?;
        }
        *self.memory.write().unwrap_or_else(|poisoned| poisoned.into_inner()) = memory;
        *database = Some(opened);
        Ok(())
    }
}

impl Memory {
    fn apply(&mut self, batch: &Batch) {
        if batch.restart {
            self.instructions.clear();
        }
        for file in &batch.files {
            if let Some(client) = instruction_of(&file.name) {
                if file.deleted {
                    self.instructions.remove(&client);
                } else {
                    self.instructions.insert(client, digest_of(&file.content));
                }
            }
        }
        self.position = batch.position.clone();
    }
}

fn instruction_of(name: &str) -> Option<ClientId> {
    match FileName::parse(name) {
        Some(FileName::Instruction(client)) => client.parse().ok(),
        _ => None,
    }
}

fn digest_of(content: &[u8]) -> Digest {
    Digest(*blake3::hash(content).as_bytes())
}

fn begin(database: &Database) -> Result<redb::WriteTransaction, redb::Error> {
    let mut write = database.begin_write()?;
    write.set_durability(Durability::Immediate)?;
    Ok(write)
}

/// Opens the database, makes what tables it lacks, and reads what is kept in memory.
fn open(path: &Path) -> Result<(Database, Memory), redb::Error> {
    let database = Database::builder().set_cache_size(CACHE_BYTES).create(path)?;
    let write = begin(&database)?;
    {
        write.open_table(FILES)?;
        write.open_table(META)?;
        write.open_table(POINT)?;
        outbox::create_tables(&write)?;
    }
    write.commit()?;

    let mut memory = Memory::default();
    let read = database.begin_read()?;
    let meta = read.open_table(META)?;
    if let Some(feed) = meta.get(FEED)? {
        memory.position.feed = feed.value().to_vec();
    }
    if let Some(cursor) = meta.get(CURSOR)? {
        // A cursor that is not one begins the feed anew: that costs a transfer and loses nothing.
        memory.position.cursor = cursor.value().try_into().map(u64::from_le_bytes).unwrap_or(0);
    }
    let files = read.open_table(FILES)?;
    for row in files.range("instruction/".."instruction0")? {
        let (name, content) = row?;
        if let Some(client) = instruction_of(name.value()) {
            memory.instructions.insert(client, digest_of(content.value()));
        }
    }
    Ok((database, memory))
}

#[cfg(test)]
mod tests;
