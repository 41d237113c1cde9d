//! Bundles in the spool, and the mini-jobs that send them.

use packhorse_domain::{
    Digest, Timestamp,
    effort::Effort,
    id::{PackageId, SiteCode},
};

use super::{StoreError, Tx, count, digest_of, digests_from_bytes, digests_to_bytes, failed, name, uncount};

/// A bundle in the spool.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct BundleRow {
    pub(crate) digest: Digest,
    pub(crate) package: PackageId,
    pub(crate) source_version: u64,
    pub(crate) target: Digest,
    pub(crate) bases: Vec<Digest>,
    pub(crate) length: u64,
    /// What it was made for.
    pub(crate) effort: Effort,
}

/// How a mini-job stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum SendingState {
    Queued,
    Done,
    /// Refused; tried again at `retry_at`.
    Failed,
    /// Refused, because the child lacks what it builds on: never tried again, a whole one takes its place.
    BaseMissing,
    /// Taken out by an administrator: not tried, nor queued again, until somebody asks for it.
    Cancelled,
}

/// A mini-job: this bundle for that child.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Sending {
    pub(crate) peer: SiteCode,
    pub(crate) digest: Digest,
    pub(crate) state: SendingState,
    pub(crate) reason: String,
    pub(crate) retry_at: Timestamp,
    pub(crate) changed_at: Timestamp,
}

impl SendingState {
    /// Whether it is still to be done: one whose base was missing is not, a whole bundle takes its place.
    pub(crate) fn is_waiting(self) -> bool {
        matches!(self, SendingState::Queued | SendingState::Failed)
    }

    pub(crate) fn as_str(self) -> &'static str {
        match self {
            SendingState::Queued => "queued",
            SendingState::Done => "done",
            SendingState::Failed => "failed",
            SendingState::BaseMissing => "base-missing",
            SendingState::Cancelled => "cancelled",
        }
    }
}

/// digest, package, source_version, target, bases, length, effort
type BundleTuple = (Vec<u8>, String, i64, Vec<u8>, Vec<u8>, i64, String);

fn bundle(
    (digest, package, source_version, target, bases, length, effort): BundleTuple,
) -> Result<BundleRow, StoreError> {
    Ok(BundleRow {
        digest: digest_of("bundle", "digest", &digest)?,
        package: name("bundle", "package", &package)?,
        source_version: uncount(source_version),
        target: digest_of("bundle", "target", &target)?,
        bases: digests_from_bytes("bundle", "bases", &bases)?,
        length: uncount(length),
        effort: name("bundle", "effort", &effort)?,
    })
}

pub(crate) async fn list(tx: &mut Tx) -> Result<Vec<BundleRow>, StoreError> {
    let rows: Vec<BundleTuple> = sqlx::query_as(
        "SELECT digest, package, source_version, target, bases, length, effort FROM bundle ORDER BY made_at, digest",
    )
    .fetch_all(tx.connection())
    .await
    .map_err(failed("list bundles"))?;
    rows.into_iter().map(bundle).collect()
}

pub(crate) async fn get(tx: &mut Tx, digest: &Digest) -> Result<Option<BundleRow>, StoreError> {
    let row: Option<BundleTuple> = sqlx::query_as(
        "SELECT digest, package, source_version, target, bases, length, effort FROM bundle WHERE digest = $1",
    )
    .bind(digest.as_bytes().as_slice())
    .fetch_optional(tx.connection())
    .await
    .map_err(failed("read a bundle"))?;
    row.map(bundle).transpose()
}

/// What does not compress is the same whatever it was made for: then it counts as made for everybody.
pub(crate) async fn put(tx: &mut Tx, bundle: &BundleRow, now: Timestamp) -> Result<(), StoreError> {
    sqlx::query(
        "INSERT INTO bundle (digest, package, source_version, target, bases, length, made_at, effort)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8)
         ON CONFLICT (digest) DO UPDATE SET effort = excluded.effort WHERE excluded.effort = $9",
    )
    .bind(bundle.digest.as_bytes().as_slice())
    .bind(bundle.package.as_str())
    .bind(count(bundle.source_version))
    .bind(bundle.target.as_bytes().as_slice())
    .bind(digests_to_bytes(&bundle.bases))
    .bind(count(bundle.length))
    .bind(now.0)
    .bind(bundle.effort.as_str())
    .bind(Effort::LeastBytes.as_str())
    .execute(tx.connection())
    .await
    .map_err(failed("write a bundle"))?;
    Ok(())
}

/// Forgets a bundle and its mini-jobs.
pub(crate) async fn remove(tx: &mut Tx, digest: &Digest) -> Result<(), StoreError> {
    for statement in ["DELETE FROM bundle WHERE digest = $1", "DELETE FROM sending WHERE digest = $1"] {
        sqlx::query(statement)
            .bind(digest.as_bytes().as_slice())
            .execute(tx.connection())
            .await
            .map_err(failed("remove a bundle"))?;
    }
    Ok(())
}

type SendingTuple = (String, Vec<u8>, String, String, i64, i64);

fn sending_of(
    (peer, digest, state, reason, retry_at, changed_at): SendingTuple,
) -> Result<Sending, StoreError> {
    Ok(Sending {
        peer: name("sending", "peer", &peer)?,
        digest: digest_of("sending", "digest", &digest)?,
        state: match state.as_str() {
            "queued" => SendingState::Queued,
            "done" => SendingState::Done,
            "base-missing" => SendingState::BaseMissing,
            "cancelled" => SendingState::Cancelled,
            _ => SendingState::Failed,
        },
        reason,
        retry_at: Timestamp(retry_at),
        changed_at: Timestamp(changed_at),
    })
}

pub(crate) async fn sendings(tx: &mut Tx) -> Result<Vec<Sending>, StoreError> {
    let rows: Vec<SendingTuple> = sqlx::query_as(
        "SELECT peer, digest, state, reason, retry_at, changed_at FROM sending ORDER BY peer, changed_at",
    )
    .fetch_all(tx.connection())
    .await
    .map_err(failed("list mini-jobs"))?;
    rows.into_iter().map(sending_of).collect()
}

/// The mini-jobs for one neighbour.
pub(crate) async fn sendings_to(tx: &mut Tx, peer: &SiteCode) -> Result<Vec<Sending>, StoreError> {
    let rows: Vec<SendingTuple> = sqlx::query_as(
        "SELECT peer, digest, state, reason, retry_at, changed_at FROM sending WHERE peer = $1 ORDER BY changed_at",
    )
    .bind(peer.as_str())
    .fetch_all(tx.connection())
    .await
    .map_err(failed("list the mini-jobs of a neighbour"))?;
    rows.into_iter().map(sending_of).collect()
}

/// The mini-job of this bundle for that child.
pub(crate) async fn sending(
    tx: &mut Tx,
    peer: &SiteCode,
    digest: &Digest,
) -> Result<Option<Sending>, StoreError> {
    let row: Option<SendingTuple> = sqlx::query_as(
        "SELECT peer, digest, state, reason, retry_at, changed_at FROM sending WHERE peer = $1 AND digest = $2",
    )
    .bind(peer.as_str())
    .bind(digest.as_bytes().as_slice())
    .fetch_optional(tx.connection())
    .await
    .map_err(failed("read a mini-job"))?;
    row.map(sending_of).transpose()
}

pub(crate) async fn put_sending(tx: &mut Tx, sending: &Sending) -> Result<(), StoreError> {
    sqlx::query(
        "INSERT INTO sending (peer, digest, state, reason, retry_at, changed_at)
         VALUES ($1, $2, $3, $4, $5, $6)
         ON CONFLICT (peer, digest) DO UPDATE SET state = excluded.state,
             reason = excluded.reason, retry_at = excluded.retry_at, changed_at = excluded.changed_at",
    )
    .bind(sending.peer.as_str())
    .bind(sending.digest.as_bytes().as_slice())
    .bind(sending.state.as_str())
    .bind(&sending.reason)
    .bind(sending.retry_at.0)
    .bind(sending.changed_at.0)
    .execute(tx.connection())
    .await
    .map_err(failed("write a mini-job"))?;
    Ok(())
}

pub(crate) async fn remove_sending(tx: &mut Tx, peer: &SiteCode, digest: &Digest) -> Result<(), StoreError> {
    sqlx::query("DELETE FROM sending WHERE peer = $1 AND digest = $2")
        .bind(peer.as_str())
        .bind(digest.as_bytes().as_slice())
        .execute(tx.connection())
        .await
        .map_err(failed("remove a mini-job"))?;
    Ok(())
}

/// Takes back what was cancelled of a package on the way to a child. Says whether there was anything.
pub(crate) async fn queue_cancelled(
    tx: &mut Tx,
    peer: &SiteCode,
    package: &PackageId,
    now: Timestamp,
) -> Result<bool, StoreError> {
    let queued = sqlx::query(
        "UPDATE sending SET state = 'queued', reason = '', retry_at = $3, changed_at = $3
         WHERE peer = $1 AND state = 'cancelled' AND digest IN (SELECT digest FROM bundle WHERE package = $2)",
    )
    .bind(peer.as_str())
    .bind(package.as_str())
    .bind(now.0)
    .execute(tx.connection())
    .await
    .map_err(failed("queue what was cancelled"))?;
    Ok(queued.rows_affected() > 0)
}
