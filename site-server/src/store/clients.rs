//! This site's clients and the collections that they are in.

use packhorse_domain::{
    Timestamp,
    id::{ClientId, CollectionId},
};

use super::{StoreError, Tx, failed, name};

pub(crate) async fn seen(
    tx: &mut Tx,
    client: &ClientId,
    cap: &str,
    now: Timestamp,
) -> Result<(), StoreError> {
    sqlx::query(
        "INSERT INTO client (id, cap, seen_at) VALUES ($1, $2, $3)
         ON CONFLICT (id) DO UPDATE SET cap = excluded.cap, seen_at = excluded.seen_at",
    )
    .bind(client.as_str())
    .bind(cap)
    .bind(now.0)
    .execute(tx.connection())
    .await
    .map_err(failed("record a client"))?;
    Ok(())
}

pub(crate) async fn is_known(tx: &mut Tx, client: &ClientId) -> Result<bool, StoreError> {
    let found: Option<i64> = sqlx::query_scalar("SELECT 1 FROM client WHERE id = $1")
        .bind(client.as_str())
        .fetch_optional(tx.connection())
        .await
        .map_err(failed("look for a client"))?;
    Ok(found.is_some())
}

/// When each was last heard of.
pub(crate) async fn list_seen(tx: &mut Tx) -> Result<Vec<(ClientId, Timestamp)>, StoreError> {
    let rows: Vec<(String, i64)> = sqlx::query_as("SELECT id, seen_at FROM client ORDER BY id")
        .fetch_all(tx.connection())
        .await
        .map_err(failed("list clients"))?;
    rows.into_iter().map(|(id, seen_at)| Ok((name("client", "id", &id)?, Timestamp(seen_at)))).collect()
}

/// Every (collection, member), sorted.
pub(crate) async fn memberships(tx: &mut Tx) -> Result<Vec<(CollectionId, ClientId)>, StoreError> {
    let rows: Vec<(String, String)> =
        sqlx::query_as("SELECT collection, client FROM membership ORDER BY collection, client")
            .fetch_all(tx.connection())
            .await
            .map_err(failed("list members"))?;
    rows.into_iter()
        .map(|(collection, client)| {
            Ok((name("membership", "collection", &collection)?, name("membership", "client", &client)?))
        })
        .collect()
}

pub(crate) async fn add_member(
    tx: &mut Tx,
    collection: &CollectionId,
    client: &ClientId,
) -> Result<(), StoreError> {
    sqlx::query("INSERT INTO membership (collection, client) VALUES ($1, $2) ON CONFLICT DO NOTHING")
        .bind(collection.as_str())
        .bind(client.as_str())
        .execute(tx.connection())
        .await
        .map_err(failed("add a member"))?;
    Ok(())
}

pub(crate) async fn remove_member(
    tx: &mut Tx,
    collection: &CollectionId,
    client: &ClientId,
) -> Result<(), StoreError> {
    sqlx::query("DELETE FROM membership WHERE collection = $1 AND client = $2")
        .bind(collection.as_str())
        .bind(client.as_str())
        .execute(tx.connection())
        .await
        .map_err(failed("remove a member"))?;
    Ok(())
}
