//! What administrators want of single items on the links.

use std::collections::BTreeMap;

use packhorse_domain::{Timestamp, id::SiteCode, link::ItemId, queue::Order};

use super::{StoreError, Tx, failed, name};

/// An order, and who gave it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct QueueOrder {
    pub(crate) order: Order,
    /// Role and name.
    pub(crate) changed_by: String,
    pub(crate) changed_at: Timestamp,
}

/// peer, item, held, priority, rank, changed_by, changed_at
type Row = (String, Vec<u8>, bool, Option<String>, i64, String, i64);

/// Every order, by the neighbour and the item that it is for.
pub(crate) async fn list(tx: &mut Tx) -> Result<BTreeMap<(SiteCode, ItemId), QueueOrder>, StoreError> {
    sqlx::query_as::<_, Row>(
        "SELECT peer, item, held, priority, rank, changed_by, changed_at FROM queue_order ORDER BY peer, item",
    )
    .fetch_all(tx.connection())
    .await
    .map_err(failed("list the orders of the queue"))?
    .into_iter()
    .map(order)
    .collect()
}

/// The orders for what goes to one neighbour.
pub(crate) async fn of(tx: &mut Tx, peer: &SiteCode) -> Result<BTreeMap<ItemId, QueueOrder>, StoreError> {
    let rows = sqlx::query_as::<_, Row>(
        "SELECT peer, item, held, priority, rank, changed_by, changed_at FROM queue_order WHERE peer = $1",
    )
    .bind(peer.as_str())
    .fetch_all(tx.connection())
    .await
    .map_err(failed("list the orders for a neighbour"))?;
    rows.into_iter().map(|row| order(row).map(|((_, item), order)| (item, order))).collect()
}

fn order(
    (peer, item, held, priority, rank, changed_by, changed_at): Row,
) -> Result<((SiteCode, ItemId), QueueOrder), StoreError> {
    let unknown =
        || StoreError::Inconsistent { table: "queue_order", column: "item", row: hex::encode(&item) };
    let peer = name("queue_order", "peer", &peer)?;
    let item = item.as_slice().try_into().map_err(|_| unknown())?;
    let priority = priority.map(|text| name("queue_order", "priority", &text)).transpose()?;
    let order = Order { held, priority, rank };
    Ok(((peer, item), QueueOrder { order, changed_by, changed_at: Timestamp(changed_at) }))
}

pub(crate) async fn put(
    tx: &mut Tx,
    peer: &SiteCode,
    item: &ItemId,
    given: &QueueOrder,
) -> Result<(), StoreError> {
    sqlx::query(
        "INSERT INTO queue_order (peer, item, held, priority, rank, changed_by, changed_at)
         VALUES ($1, $2, $3, $4, $5, $6, $7)
         ON CONFLICT (peer, item) DO UPDATE SET held = excluded.held, priority = excluded.priority,
             rank = excluded.rank, changed_by = excluded.changed_by, changed_at = excluded.changed_at",
    )
    .bind(peer.as_str())
    .bind(item.0.as_slice())
    .bind(given.order.held)
    .bind(given.order.priority.map(|priority| priority.as_str()))
    .bind(given.order.rank)
    .bind(&given.changed_by)
    .bind(given.changed_at.0)
    .execute(tx.connection())
    .await
    .map_err(failed("write an order of the queue"))?;
    Ok(())
}

/// The item is sent as it is, or no more at all.
pub(crate) async fn remove(tx: &mut Tx, peer: &SiteCode, item: &ItemId) -> Result<(), StoreError> {
    sqlx::query("DELETE FROM queue_order WHERE peer = $1 AND item = $2")
        .bind(peer.as_str())
        .bind(item.0.as_slice())
        .execute(tx.connection())
        .await
        .map_err(failed("remove an order of the queue"))?;
    Ok(())
}
