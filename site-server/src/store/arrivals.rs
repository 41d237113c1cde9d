//! Bundles that arrive.

use packhorse_domain::{
    Digest, Priority, Timestamp,
    effort::Effort,
    id::{PackageId, SiteCode},
    link::ItemId,
};

use super::{
    StoreError, Tx, bundles::BundleRow, count, digest_of, digests_from_bytes, digests_to_bytes, failed, name,
    uncount,
};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ArrivalState {
    Receiving,
    /// Whole in the spool: Despooler's turn.
    Complete,
    /// Despooler could not use it: its bytes are not what they should be.
    Failed,
    /// Despooler could not use it: something that it builds on is not here.
    BaseMissing,
}

/// A bundle on its way into this site.
#[derive(Debug, Clone)]
pub(crate) struct Arrival {
    pub(crate) item: ItemId,
    pub(crate) peer: SiteCode,
    pub(crate) package: PackageId,
    pub(crate) target: Digest,
    pub(crate) bases: Vec<Digest>,
    pub(crate) digest: Digest,
    pub(crate) length: u64,
    pub(crate) priority: Priority,
    /// The hashes of its parts are known.
    pub(crate) outlined: bool,
    pub(crate) state: ArrivalState,
    pub(crate) reason: String,
    pub(crate) changed_at: Timestamp,
}

impl Arrival {
    /// Whether its checked parts may go to the children already.
    pub(crate) fn may_go_on(&self) -> bool {
        self.outlined && matches!(self.state, ArrivalState::Receiving | ArrivalState::Complete)
    }

    /// The bundle that it will be; its number is not known before it is taken in. What is to go on was made for few bytes.
    pub(crate) fn into_bundle(self) -> BundleRow {
        BundleRow {
            digest: self.digest,
            package: self.package,
            source_version: 0,
            target: self.target,
            bases: self.bases,
            length: self.length,
            effort: Effort::LeastBytes,
        }
    }
}

/// item, peer, package, target, bases, digest, length, priority, outlined, state, reason, changed_at
type Row = (Vec<u8>, String, String, Vec<u8>, Vec<u8>, Vec<u8>, i64, String, bool, String, String, i64);

impl TryFrom<Row> for Arrival {
    type Error = StoreError;

    fn try_from(
        (item, peer, package, target, bases, digest, length, priority, outlined, state, reason, changed_at): Row,
    ) -> Result<Self, StoreError> {
        let unknown =
            || StoreError::Inconsistent { table: "arrival", column: "item", row: hex::encode(&item) };
        Ok(Arrival {
            item: item.as_slice().try_into().map(ItemId).map_err(|_| unknown())?,
            peer: name("arrival", "peer", &peer)?,
            package: name("arrival", "package", &package)?,
            target: digest_of("arrival", "target", &target)?,
            bases: digests_from_bytes("arrival", "bases", &bases)?,
            digest: digest_of("arrival", "digest", &digest)?,
            length: uncount(length),
            priority: name("arrival", "priority", &priority)?,
            outlined,
            state: match state.as_str() {
                "receiving" => ArrivalState::Receiving,
                "complete" => ArrivalState::Complete,
                "base-missing" => ArrivalState::BaseMissing,
                _ => ArrivalState::Failed,
            },
            reason,
            changed_at: Timestamp(changed_at),
        })
    }
}

pub(crate) async fn list(tx: &mut Tx) -> Result<Vec<Arrival>, StoreError> {
    sqlx::query_as::<_, Row>(
        "SELECT item, peer, package, target, bases, digest, length, priority, outlined, state, reason,
             changed_at FROM arrival ORDER BY changed_at, item",
    )
    .fetch_all(tx.connection())
    .await
    .map_err(failed("list arrivals"))?
    .into_iter()
    .map(TryInto::try_into)
    .collect()
}

pub(crate) async fn get(tx: &mut Tx, item: &ItemId) -> Result<Option<Arrival>, StoreError> {
    sqlx::query_as::<_, Row>(
        "SELECT item, peer, package, target, bases, digest, length, priority, outlined, state, reason,
             changed_at FROM arrival WHERE item = $1",
    )
    .bind(item.0.as_slice())
    .fetch_optional(tx.connection())
    .await
    .map_err(failed("read an arrival"))?
    .map(TryInto::try_into)
    .transpose()
}

pub(crate) async fn put(tx: &mut Tx, arrival: &Arrival) -> Result<(), StoreError> {
    sqlx::query(
        "INSERT INTO arrival (item, peer, package, target, bases, digest, length, priority, outlined, state, reason,
             changed_at)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12)
         ON CONFLICT (item) DO UPDATE SET state = excluded.state, reason = excluded.reason,
             priority = excluded.priority, outlined = excluded.outlined, changed_at = excluded.changed_at",
    )
    .bind(arrival.item.0.as_slice())
    .bind(arrival.peer.as_str())
    .bind(arrival.package.as_str())
    .bind(arrival.target.as_bytes().as_slice())
    .bind(digests_to_bytes(&arrival.bases))
    .bind(arrival.digest.as_bytes().as_slice())
    .bind(count(arrival.length))
    .bind(arrival.priority.as_str())
    .bind(arrival.outlined)
    .bind(match arrival.state {
        ArrivalState::Receiving => "receiving",
        ArrivalState::Complete => "complete",
        ArrivalState::Failed => "failed",
        ArrivalState::BaseMissing => "base-missing",
    })
    .bind(&arrival.reason)
    .bind(arrival.changed_at.0)
    .execute(tx.connection())
    .await
    .map_err(failed("write an arrival"))?;
    Ok(())
}

pub(crate) async fn remove(tx: &mut Tx, item: &ItemId) -> Result<(), StoreError> {
    sqlx::query("DELETE FROM arrival WHERE item = $1")
        .bind(item.0.as_slice())
        .execute(tx.connection())
        .await
        .map_err(failed("remove an arrival"))?;
    Ok(())
}
