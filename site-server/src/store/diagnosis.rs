//! The database as a whole, for whoever looks for a fault: its schema, its size, and whether it is sound.

use packhorse_domain::Digest;

use super::{StoreError, Tx, digest_of, failed, schema};

/// Faults that are told; the first ones matter.
const FAULTS_MAX: u32 = 100;
const READING: &str = "read facts of the database";

#[derive(Debug, Clone, serde::Serialize)]
pub(crate) struct DatabaseFacts {
    sqlite: String,
    journal_mode: String,
    /// The schema that it has, and the newest that this program knows.
    migration: i64,
    newest_migration: i64,
    page_bytes: i64,
    pages: i64,
    free_pages: i64,
    rows: Vec<TableRows>,
}

#[derive(Debug, Clone, serde::Serialize)]
struct TableRows {
    table: String,
    rows: i64,
}

pub(crate) async fn facts(tx: &mut Tx) -> Result<DatabaseFacts, StoreError> {
    let names: Vec<String> =
        sqlx::query_scalar("SELECT name FROM sqlite_master WHERE type = 'table' ORDER BY name")
            .fetch_all(tx.connection())
            .await
            .map_err(failed(READING))?;
    let mut rows = Vec::new();
    for table in names {
        // What is no name of ours would have to be quoted, and nothing of ours is in it.
        if table.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_') {
            let statement = sqlx::AssertSqlSafe(format!("SELECT COUNT(*) FROM {table}"));
            let count = sqlx::query_scalar(statement).fetch_one(tx.connection()).await;
            rows.push(TableRows { rows: count.map_err(failed("count rows"))?, table });
        }
    }
    Ok(DatabaseFacts {
        sqlite: text(tx, "SELECT sqlite_version()").await?,
        journal_mode: text(tx, "PRAGMA journal_mode").await?,
        migration: number(tx, "SELECT COALESCE(MAX(version), 0) FROM _sqlx_migrations").await?,
        newest_migration: schema::newest(),
        page_bytes: number(tx, "PRAGMA page_size").await?,
        pages: number(tx, "PRAGMA page_count").await?,
        free_pages: number(tx, "PRAGMA freelist_count").await?,
        rows,
    })
}

async fn number(tx: &mut Tx, statement: &'static str) -> Result<i64, StoreError> {
    sqlx::query_scalar(statement).fetch_one(tx.connection()).await.map_err(failed(READING))
}

async fn text(tx: &mut Tx, statement: &'static str) -> Result<String, StoreError> {
    sqlx::query_scalar(statement).fetch_one(tx.connection()).await.map_err(failed(READING))
}

/// What is wrong with the file; `ok` alone: nothing. Reads all of it.
pub(crate) async fn quick_check(tx: &mut Tx) -> Result<Vec<String>, StoreError> {
    let statement = sqlx::AssertSqlSafe(format!("PRAGMA quick_check({FAULTS_MAX})"));
    sqlx::query_scalar(statement).fetch_all(tx.connection()).await.map_err(failed("check the database"))
}

/// Hashes of the secrets of all tokens that the site gave and still knows.
pub(crate) async fn token_hashes(tx: &mut Tx) -> Result<Vec<Digest>, StoreError> {
    let rows: Vec<Vec<u8>> = sqlx::query_scalar("SELECT secret_hash FROM token")
        .fetch_all(tx.connection())
        .await
        .map_err(failed("list tokens"))?;
    rows.iter().map(|bytes| digest_of("token", "secret_hash", bytes)).collect()
}
