//! The site database: one writer, several readers, and everything that is SQL.
//!
//! A use case is one transaction, begun by [`Store::begin`] and handed to the functions of these modules. What was
//! committed is on the disk (WAL, `synchronous=FULL`). The SQL is one text for SQLite and PostgreSQL, but for the
//! triggers.

pub(crate) mod addresses;
pub(crate) mod arrivals;
pub(crate) mod bundles;
pub(crate) mod caps;
pub(crate) mod clients;
pub(crate) mod compared;
pub(crate) mod contents;
pub(crate) mod counts;
pub(crate) mod couriers;
pub(crate) mod delegations;
pub(crate) mod diagnosis;
pub(crate) mod events;
mod held;
pub(crate) mod neighbours;
pub(crate) mod objects;
pub(crate) mod offers;
pub(crate) mod parcels;
pub(crate) mod points;
pub(crate) mod queue;
pub(crate) mod refusals;
#[cfg(test)]
mod restore;
mod schema;
pub(crate) mod settings;
pub(crate) mod tallies;
#[cfg(test)]
mod tests;
pub(crate) mod tokens;

use std::{
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

pub(crate) use held::Held;
use packhorse_domain::Digest;
use sqlx::{
    ConnectOptions as _, Connection as _, Sqlite, SqlitePool, Transaction,
    sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions, SqliteSynchronous},
};
use tokio::sync::Notify;

use held::Suspicion;

/// What a caller of the store can do about a failure.
#[derive(Debug, thiserror::Error)]
pub(crate) enum StoreError {
    #[error("cannot open the site database {path}")]
    Open { path: PathBuf, source: sqlx::Error },
    #[error("the site database {path} is of a newer version of Packhorse: install that version again")]
    Newer { path: PathBuf },
    #[error("cannot bring the site database {path} up to date")]
    Migrate { path: PathBuf, source: sqlx::migrate::MigrateError },
    #[error("the site database failed to {operation}")]
    Query { operation: &'static str, source: sqlx::Error },
    #[error("the site database is inconsistent: {table}.{column} of {row}")]
    Inconsistent { table: &'static str, column: &'static str, row: String },
}

/// The site database.
#[derive(Debug, Clone)]
pub(crate) struct Store {
    writer: SqlitePool,
    readers: SqlitePool,
    committed: Arc<Notify>,
    waits: Arc<held::Waits>,
}

/// A transaction; what it holds is gone unless [`Tx::commit`] answers.
#[derive(Debug)]
pub(crate) struct Tx {
    inner: Transaction<'static, Sqlite>,
    committed: Arc<Notify>,
    writes: bool,
}

impl Store {
    /// Opens the database, makes it if it is not there, and brings its schema up to date.
    pub(crate) async fn open(path: &Path) -> Result<Store, StoreError> {
        let open = |source| StoreError::Open { path: path.to_owned(), source };
        let options = SqliteConnectOptions::new()
            .filename(path)
            .create_if_missing(true)
            .journal_mode(SqliteJournalMode::Wal)
            .synchronous(SqliteSynchronous::Full)
            .foreign_keys(true)
            .busy_timeout(Duration::from_secs(10));
        let writer =
            SqlitePoolOptions::new().max_connections(1).connect_with(options.clone()).await.map_err(open)?;
        schema::migrate(&writer, path).await?;
        let readers = SqlitePoolOptions::new().max_connections(4).connect_lazy_with(options.read_only(true));
        let waits = Arc::new(held::Waits::new(path));
        let store = Store { writer, readers, committed: Arc::new(Notify::new()), waits };
        let mut tx = store.begin().await?;
        tallies::fill(&mut tx).await?;
        events::fill(&mut tx).await?;
        tx.commit().await?;
        Ok(store)
    }

    /// Opens the database of a site whose server does not run, without changing anything of it or beside it.
    pub(crate) async fn open_read_only(path: &Path) -> Result<Store, StoreError> {
        let mut log = path.as_os_str().to_owned();
        log.push("-wal");
        let has_log = std::fs::metadata(log).is_ok_and(|file| file.len() > 0);
        // Without a log there is nothing but the file, and nobody has it open.
        let options = SqliteConnectOptions::new()
            .filename(path)
            .read_only(true)
            .immutable(!has_log)
            .busy_timeout(Duration::from_secs(2));
        let readers = SqlitePoolOptions::new().max_connections(1).connect_with(options).await;
        let readers = readers.map_err(|source| StoreError::Open { path: path.to_owned(), source })?;
        let waits = Arc::new(held::Waits::new(path));
        Ok(Store { writer: readers.clone(), readers, committed: Arc::new(Notify::new()), waits })
    }

    /// Begins a transaction that may write. There is one at a time; others wait for it.
    pub(crate) async fn begin(&self) -> Result<Tx, StoreError> {
        let waiting = self.waits.begin();
        let inner = match self.writer.begin_with("BEGIN IMMEDIATE").await {
            Ok(inner) => inner,
            Err(source) => {
                if is_locked(&source) {
                    waiting.refused();
                }
                return Err(StoreError::Query { operation: "begin a transaction", source });
            }
        };
        waiting.begun();
        Ok(Tx { inner, committed: self.committed.clone(), writes: true })
    }

    /// Who else holds the database, so that nothing can be written.
    pub(crate) async fn held(&self) -> Option<Held> {
        let waits = self.waits.clone();
        // Who cannot look, knows nothing against anybody.
        match tokio::task::spawn_blocking(move || waits.suspicion()).await.ok()? {
            Suspicion::None => None,
            Suspicion::Known(held) => Some(held),
            Suspicion::Strong(held) => self.is_locked(&held.path).await.then_some(held),
        }
    }

    /// Whether nobody of this process could begin to write now. Whoever can, ends at once.
    async fn is_locked(&self, path: &Path) -> bool {
        let options = SqliteConnectOptions::new().filename(path).busy_timeout(Duration::ZERO);
        let Ok(mut connection) = options.connect().await else { return false };
        let begun = sqlx::query("BEGIN IMMEDIATE").execute(&mut connection).await;
        // What was begun ends with the connection.
        drop(connection.close().await);
        begun.is_err_and(|error| is_locked(&error))
    }

    /// Begins a transaction that sees one state and changes nothing.
    pub(crate) async fn read(&self) -> Result<Tx, StoreError> {
        let inner = self
            .readers
            .begin()
            .await
            .map_err(|source| StoreError::Query { operation: "begin to read", source })?;
        Ok(Tx { inner, committed: self.committed.clone(), writes: false })
    }

    /// Resolves after a commit by this process; a lost one is made up for by whoever also looks now and then.
    pub(crate) async fn committed(&self) {
        self.committed.notified().await;
    }

    /// Ends all connections; the write-ahead log is folded in.
    pub(crate) async fn close(&self) {
        self.readers.close().await;
        self.writer.close().await;
    }
}

impl Tx {
    pub(crate) async fn commit(self) -> Result<(), StoreError> {
        self.inner.commit().await.map_err(|source| StoreError::Query { operation: "commit", source })?;
        if self.writes {
            self.committed.notify_one();
        }
        Ok(())
    }

    fn connection(&mut self) -> &mut sqlx::SqliteConnection {
        &mut self.inner
    }

    /// The version of each topic of the change log.
    pub(crate) async fn changes(&mut self) -> Result<Vec<(String, i64)>, StoreError> {
        sqlx::query_as("SELECT topic, version FROM change_log ORDER BY topic")
            .fetch_all(self.connection())
            .await
            .map_err(failed("read the change log"))
    }

    /// The next number of a sequence, from 1.
    pub(crate) async fn next_number(&mut self, counter: &str) -> Result<u64, StoreError> {
        let (value,): (i64,) = sqlx::query_as(
            "INSERT INTO counter (name, value) VALUES ($1, 1)
             ON CONFLICT (name) DO UPDATE SET value = counter.value + 1 RETURNING value",
        )
        .bind(counter)
        .fetch_one(self.connection())
        .await
        .map_err(failed("draw a number"))?;
        Ok(u64::try_from(value).unwrap_or_default())
    }

    /// Numbers up to this one are not drawn any more: somebody has seen them used.
    pub(crate) async fn skip_numbers(&mut self, counter: &str, used: u64) -> Result<(), StoreError> {
        sqlx::query(
            "INSERT INTO counter (name, value) VALUES ($1, $2)
             ON CONFLICT (name) DO UPDATE SET value = excluded.value WHERE counter.value < excluded.value",
        )
        .bind(counter)
        .bind(count(used))
        .execute(self.connection())
        .await
        .map_err(failed("skip numbers"))?;
        Ok(())
    }
}

/// Somebody else held it for as long as one waits.
fn is_locked(error: &sqlx::Error) -> bool {
    // Extended codes have the plain one, SQLITE_BUSY, in their last byte.
    let code = error.as_database_error().and_then(|error| error.code()?.parse::<u32>().ok());
    code.is_some_and(|code| code & 0xff == 5)
}

fn failed(operation: &'static str) -> impl FnOnce(sqlx::Error) -> StoreError {
    move |source| StoreError::Query { operation, source }
}

fn digest_of(table: &'static str, column: &'static str, bytes: &[u8]) -> Result<Digest, StoreError> {
    Digest::try_from(bytes).map_err(|_| StoreError::Inconsistent { table, column, row: hex::encode(bytes) })
}

/// A list of digests as one run of bytes, and back.
fn digests_to_bytes(digests: &[Digest]) -> Vec<u8> {
    digests.iter().flat_map(|digest| digest.0).collect()
}

fn digests_from_bytes(
    table: &'static str,
    column: &'static str,
    bytes: &[u8],
) -> Result<Vec<Digest>, StoreError> {
    bytes.chunks(32).map(|chunk| digest_of(table, column, chunk)).collect()
}

/// A name as the domain's type; a row that breaks the grammar was not written by us.
fn name<T: std::str::FromStr>(
    table: &'static str,
    column: &'static str,
    text: &str,
) -> Result<T, StoreError> {
    text.parse().map_err(|_| StoreError::Inconsistent { table, column, row: text.to_owned() })
}

fn count(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

fn uncount(number: i64) -> u64 {
    u64::try_from(number).unwrap_or_default()
}
