//! Objects that a neighbour refused: each version waits before it is offered again.

use packhorse_domain::{Timestamp, id::SiteCode, object::ObjectKind};

use super::{StoreError, Tx, count, failed, uncount};

/// A version of an object that a neighbour does not take.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Refusal {
    pub(crate) kind: ObjectKind,
    pub(crate) id: String,
    pub(crate) version: u64,
    /// How often it was refused.
    pub(crate) tries: u64,
    /// `None`: at the neighbour's next Hello and not before.
    pub(crate) retry_at: Option<Timestamp>,
}

/// How often this version was refused; 0: never.
pub(crate) async fn tries(
    tx: &mut Tx,
    peer: &SiteCode,
    (kind, id, version): (ObjectKind, &str, u64),
) -> Result<u64, StoreError> {
    let tries: Option<i64> = sqlx::query_scalar(
        "SELECT tries FROM refusal WHERE peer = $1 AND kind = $2 AND id = $3 AND version = $4",
    )
    .bind(peer.as_str())
    .bind(kind.as_str())
    .bind(id)
    .bind(count(version))
    .fetch_optional(tx.connection())
    .await
    .map_err(failed("read a refusal"))?;
    Ok(tries.map_or(0, uncount))
}

/// The refusal of an object that the neighbour does not take now.
pub(crate) async fn get(
    tx: &mut Tx,
    peer: &SiteCode,
    kind: ObjectKind,
    id: &str,
) -> Result<Option<Refusal>, StoreError> {
    let row: Option<(i64, i64, Option<i64>)> = sqlx::query_as(
        "SELECT version, tries, retry_at FROM refusal WHERE peer = $1 AND kind = $2 AND id = $3 AND waits",
    )
    .bind(peer.as_str())
    .bind(kind.as_str())
    .bind(id)
    .fetch_optional(tx.connection())
    .await
    .map_err(failed("read a refusal"))?;
    Ok(row.map(|(version, tries, retry_at)| Refusal {
        kind,
        id: id.to_owned(),
        version: uncount(version),
        tries: uncount(tries),
        retry_at: retry_at.map(Timestamp),
    }))
}

/// Writes a refusal; the object is not offered before its time.
pub(crate) async fn put(tx: &mut Tx, peer: &SiteCode, refusal: &Refusal) -> Result<(), StoreError> {
    sqlx::query(
        "INSERT INTO refusal (peer, kind, id, version, tries, waits, retry_at)
         VALUES ($1, $2, $3, $4, $5, TRUE, $6)
         ON CONFLICT (peer, kind, id) DO UPDATE SET version = excluded.version, tries = excluded.tries,
             waits = excluded.waits, retry_at = excluded.retry_at",
    )
    .bind(peer.as_str())
    .bind(refusal.kind.as_str())
    .bind(&refusal.id)
    .bind(count(refusal.version))
    .bind(count(refusal.tries))
    .bind(refusal.retry_at.map(|at| at.0))
    .execute(tx.connection())
    .await
    .map_err(failed("write a refusal"))?;
    Ok(())
}

/// What waited long enough is offered again.
pub(crate) async fn end_waits(tx: &mut Tx, peer: &SiteCode, now: Timestamp) -> Result<(), StoreError> {
    sqlx::query("UPDATE refusal SET waits = FALSE WHERE peer = $1 AND waits AND retry_at <= $2")
        .bind(peer.as_str())
        .bind(now.0)
        .execute(tx.connection())
        .await
        .map_err(failed("offer refused objects again"))?;
    Ok(())
}

/// The neighbour has said Hello: everything is offered again, since it may be another program now.
pub(crate) async fn end_all_waits(tx: &mut Tx, peer: &SiteCode) -> Result<(), StoreError> {
    sqlx::query("UPDATE refusal SET waits = FALSE WHERE peer = $1 AND waits")
        .bind(peer.as_str())
        .execute(tx.connection())
        .await
        .map_err(failed("offer refused objects again"))?;
    Ok(())
}

/// The neighbour took it after all.
pub(crate) async fn remove(
    tx: &mut Tx,
    peer: &SiteCode,
    kind: ObjectKind,
    id: &str,
) -> Result<(), StoreError> {
    sqlx::query("DELETE FROM refusal WHERE peer = $1 AND kind = $2 AND id = $3")
        .bind(peer.as_str())
        .bind(kind.as_str())
        .bind(id)
        .execute(tx.connection())
        .await
        .map_err(failed("forget a refusal"))?;
    Ok(())
}
