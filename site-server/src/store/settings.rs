//! Facts about this site.

use super::{StoreError, Tx, failed};

pub(crate) const CODE: &str = "code";
pub(crate) const NAME: &str = "name";
/// Names the state of this database: a new one is drawn whenever the database is made or restored.
pub(crate) const EPOCH: &str = "epoch";
/// The signed trust file that the site began with; a newer one arrives as an object.
pub(crate) const TRUST_FILE: &str = "trust-file";
/// The organisation's root key.
pub(crate) const ROOT_KEY: &str = "root-key";

/// Where the check of the content library is, and how the last one ended.
pub(crate) const VERIFY: &str = "content-verify";

/// What was asked to be taken in from a disk, and how it went.
pub(crate) const PRESTAGE: &str = "prestage";
/// Versions that were taken in so and are kept for a while.
pub(crate) const PRESTAGED: &str = "prestaged";

/// How the tallies in this database are counted.
pub(crate) const TALLIES: &str = "tallies";
/// How the status messages in this database are indexed.
pub(crate) const EVENTS: &str = "events";
/// Up to which message programs were run.
pub(crate) const EVENT_PROGRAMS: &str = "event-programs";

pub(crate) async fn get(tx: &mut Tx, setting: &str) -> Result<Option<Vec<u8>>, StoreError> {
    sqlx::query_scalar("SELECT value FROM setting WHERE name = $1")
        .bind(setting)
        .fetch_optional(tx.connection())
        .await
        .map_err(failed("read a setting"))
}

pub(crate) async fn set(tx: &mut Tx, setting: &str, value: &[u8]) -> Result<(), StoreError> {
    sqlx::query(
        "INSERT INTO setting (name, value) VALUES ($1, $2) ON CONFLICT (name) DO UPDATE SET value = excluded.value",
    )
    .bind(setting)
    .bind(value)
    .execute(tx.connection())
    .await
    .map_err(failed("write a setting"))?;
    Ok(())
}
