//! The parent and the children.

use packhorse_domain::{Timestamp, id::SiteCode};

use super::{StoreError, Tx, failed, name};

/// What a neighbour is to this site.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Relation {
    Parent,
    Child,
}

#[derive(Debug, Clone)]
pub(crate) struct Neighbour {
    pub(crate) code: SiteCode,
    pub(crate) relation: Relation,
    /// Empty until its first Hello.
    pub(crate) epoch: Vec<u8>,
    pub(crate) seen_at: Timestamp,
}

pub(crate) async fn list(tx: &mut Tx) -> Result<Vec<Neighbour>, StoreError> {
    let rows: Vec<(String, String, Vec<u8>, i64)> =
        sqlx::query_as("SELECT code, relation, epoch, seen_at FROM neighbour ORDER BY code")
            .fetch_all(tx.connection())
            .await
            .map_err(failed("list neighbours"))?;
    rows.into_iter()
        .map(|(code, relation, epoch, seen_at)| {
            Ok(Neighbour {
                relation: if relation == "parent" { Relation::Parent } else { Relation::Child },
                code: name("neighbour", "code", &code)?,
                epoch,
                seen_at: Timestamp(seen_at),
            })
        })
        .collect()
}

pub(crate) async fn children(tx: &mut Tx) -> Result<Vec<SiteCode>, StoreError> {
    Ok(list(tx)
        .await?
        .into_iter()
        .filter(|one| one.relation == Relation::Child)
        .map(|one| one.code)
        .collect())
}

/// Adds a neighbour; one that is there stays as it is.
pub(crate) async fn add(tx: &mut Tx, code: &SiteCode, relation: Relation) -> Result<(), StoreError> {
    sqlx::query(
        "INSERT INTO neighbour (code, relation, epoch, seen_at) VALUES ($1, $2, $3, 0) ON CONFLICT (code) DO NOTHING",
    )
    .bind(code.as_str())
    .bind(match relation {
        Relation::Parent => "parent",
        Relation::Child => "child",
    })
    .bind(Vec::<u8>::new())
    .execute(tx.connection())
    .await
    .map_err(failed("add a neighbour"))?;
    Ok(())
}

pub(crate) async fn met(
    tx: &mut Tx,
    code: &SiteCode,
    epoch: &[u8],
    now: Timestamp,
) -> Result<(), StoreError> {
    sqlx::query("UPDATE neighbour SET epoch = $2, seen_at = $3 WHERE code = $1")
        .bind(code.as_str())
        .bind(epoch)
        .bind(now.0)
        .execute(tx.connection())
        .await
        .map_err(failed("record a neighbour"))?;
    Ok(())
}
