//! The couriers to the neighbours, and how the bundles go that wait.

use std::collections::BTreeMap;

use packhorse_domain::{
    Timestamp,
    courier::{Route, Way},
    id::SiteCode,
    link::ItemId,
};
use packhorse_proto::{convert, provider::v1 as wire};

use super::{StoreError, Tx, failed, name};

/// How a bundle goes to a neighbour.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Choice {
    pub(crate) way: Way,
    /// Role and name; empty: nobody, Scheduler chose.
    pub(crate) asked_by: String,
    /// For people.
    pub(crate) reason: String,
    /// It has waited for a courier, and nobody came.
    pub(crate) missed: bool,
    pub(crate) changed_at: Timestamp,
}

/// Of all neighbours that have one, by their codes.
pub(crate) async fn routes(tx: &mut Tx) -> Result<Vec<Route>, StoreError> {
    let rows: Vec<(String, Vec<u8>)> =
        sqlx::query_as("SELECT peer, content FROM courier_route ORDER BY peer")
            .fetch_all(tx.connection())
            .await
            .map_err(failed("list couriers"))?;
    rows.into_iter()
        .map(|(peer, content)| {
            convert::decode::<wire::CourierRoute, Route>(&content).map_err(|_| StoreError::Inconsistent {
                table: "courier_route",
                column: "content",
                row: peer,
            })
        })
        .collect()
}

pub(crate) async fn route(tx: &mut Tx, peer: &SiteCode) -> Result<Option<Route>, StoreError> {
    Ok(routes(tx).await?.into_iter().find(|route| route.peer == *peer))
}

pub(crate) async fn put_route(tx: &mut Tx, route: &Route) -> Result<(), StoreError> {
    sqlx::query(
        "INSERT INTO courier_route (peer, content) VALUES ($1, $2)
         ON CONFLICT (peer) DO UPDATE SET content = excluded.content",
    )
    .bind(route.peer.as_str())
    .bind(convert::encode::<wire::CourierRoute, _>(route))
    .execute(tx.connection())
    .await
    .map_err(failed("write a courier"))?;
    Ok(())
}

/// Says whether there was one.
pub(crate) async fn remove_route(tx: &mut Tx, peer: &SiteCode) -> Result<bool, StoreError> {
    let done = sqlx::query("DELETE FROM courier_route WHERE peer = $1")
        .bind(peer.as_str())
        .execute(tx.connection())
        .await
        .map_err(failed("remove a courier"))?;
    Ok(done.rows_affected() > 0)
}

/// peer, item, way, asked_by, reason, missed, changed_at
type Row = (String, Vec<u8>, String, String, String, bool, i64);

/// What was chosen for bundles, by neighbour and item.
pub(crate) async fn choices(tx: &mut Tx) -> Result<BTreeMap<(SiteCode, ItemId), Choice>, StoreError> {
    sqlx::query_as::<_, Row>(
        "SELECT peer, item, way, asked_by, reason, missed, changed_at FROM courier_choice ORDER BY peer, item",
    )
    .fetch_all(tx.connection())
    .await
    .map_err(failed("list how bundles go"))?
    .into_iter()
    .map(choice)
    .collect()
}

/// The same for one neighbour.
pub(crate) async fn choices_for(
    tx: &mut Tx,
    peer: &SiteCode,
) -> Result<BTreeMap<ItemId, Choice>, StoreError> {
    let rows = sqlx::query_as::<_, Row>(
        "SELECT peer, item, way, asked_by, reason, missed, changed_at FROM courier_choice WHERE peer = $1",
    )
    .bind(peer.as_str())
    .fetch_all(tx.connection())
    .await
    .map_err(failed("list how the bundles for a neighbour go"))?;
    rows.into_iter().map(|row| choice(row).map(|((_, item), choice)| (item, choice))).collect()
}

fn choice(
    (peer, item, way, asked_by, reason, missed, changed_at): Row,
) -> Result<((SiteCode, ItemId), Choice), StoreError> {
    let unknown = |column, row| StoreError::Inconsistent { table: "courier_choice", column, row };
    let id = item.as_slice().try_into().map(ItemId).map_err(|_| unknown("item", hex::encode(&item)))?;
    let way = way.parse().map_err(|()| unknown("way", way))?;
    let choice = Choice { way, asked_by, reason, missed, changed_at: Timestamp(changed_at) };
    Ok(((name("courier_choice", "peer", &peer)?, id), choice))
}

pub(crate) async fn put_choice(
    tx: &mut Tx,
    peer: &SiteCode,
    item: &ItemId,
    choice: &Choice,
) -> Result<(), StoreError> {
    sqlx::query(
        "INSERT INTO courier_choice (peer, item, way, asked_by, reason, missed, changed_at)
         VALUES ($1, $2, $3, $4, $5, $6, $7)
         ON CONFLICT (peer, item) DO UPDATE SET way = excluded.way, asked_by = excluded.asked_by,
             reason = excluded.reason, missed = excluded.missed, changed_at = excluded.changed_at",
    )
    .bind(peer.as_str())
    .bind(item.0.as_slice())
    .bind(choice.way.as_str())
    .bind(&choice.asked_by)
    .bind(&choice.reason)
    .bind(choice.missed)
    .bind(choice.changed_at.0)
    .execute(tx.connection())
    .await
    .map_err(failed("write how a bundle goes"))?;
    Ok(())
}

pub(crate) async fn remove_choice(tx: &mut Tx, peer: &SiteCode, item: &ItemId) -> Result<(), StoreError> {
    sqlx::query("DELETE FROM courier_choice WHERE peer = $1 AND item = $2")
        .bind(peer.as_str())
        .bind(item.0.as_slice())
        .execute(tx.connection())
        .await
        .map_err(failed("forget how a bundle goes"))?;
    Ok(())
}
