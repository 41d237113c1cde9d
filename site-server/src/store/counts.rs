//! How many of what there are, for whoever watches the site.

use packhorse_domain::{
    Timestamp,
    id::SiteCode,
    object::{Direction, ObjectKind},
};

use super::{StoreError, Tx, failed, name, uncount};

/// Rows of one kind, and when the oldest of them came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Waiting {
    pub(crate) count: u64,
    pub(crate) oldest: Timestamp,
}

/// What is counted is what a link may be offered: not what its peer has acknowledged, nor what it refused and waits. A
/// macro, since SQL is checked to be fixed text.
macro_rules! lacking {
    ($kinds:literal) => {
        concat!(
            "SELECT o.kind, COUNT(*), MIN(o.changed_at)
             FROM object o LEFT JOIN replica r ON r.peer = $1 AND r.kind = o.kind AND r.id = o.id
             WHERE o.kind IN (",
            $kinds,
            ") AND (r.version IS NULL OR r.version < o.version)
             AND NOT EXISTS (SELECT 1 FROM refusal f WHERE f.peer = $1 AND f.kind = o.kind AND f.id = o.id
                 AND f.version = o.version AND f.waits)
             GROUP BY o.kind"
        )
    };
}

/// The objects that a neighbour lacks, by kind, without how sites are: there is always news of that. Of packages and
/// advertisements, whose class is their own, there is [`lacking_bodies`].
pub(crate) async fn lacking(
    tx: &mut Tx,
    peer: &SiteCode,
    direction: Direction,
) -> Result<Vec<(ObjectKind, Waiting)>, StoreError> {
    let statement = match direction {
        Direction::Down => lacking!("'distribution', 'collection', 'trust', 'kill'"),
        Direction::Up => lacking!(
            "'site', 'distribution-point', 'client', 'package-status', 'advertisement-status', 'event',
             'parcel-receipt'"
        ),
    };
    let rows: Vec<(String, i64, i64)> = sqlx::query_as(statement)
        .bind(peer.as_str())
        .fetch_all(tx.connection())
        .await
        .map_err(failed("count what a neighbour lacks"))?;
    rows.into_iter()
        .map(|(kind, count, oldest)| {
            let unknown = || StoreError::Inconsistent { table: "object", column: "kind", row: kind.clone() };
            let waiting = Waiting { count: uncount(count), oldest: Timestamp(oldest) };
            Ok((ObjectKind::parse(&kind).ok_or_else(unknown)?, waiting))
        })
        .collect()
}

/// The bodies of packages and advertisements that a neighbour lacks, empty ones of deleted, and when they came: the
/// oldest of them, up to a limit.
pub(crate) async fn lacking_bodies(
    tx: &mut Tx,
    peer: &SiteCode,
    limit: u32,
) -> Result<Vec<(ObjectKind, Vec<u8>, Timestamp)>, StoreError> {
    let rows: Vec<(String, Vec<u8>, i64)> = sqlx::query_as(
        "SELECT o.kind, o.body, o.changed_at
         FROM object o LEFT JOIN replica r ON r.peer = $1 AND r.kind = o.kind AND r.id = o.id
         WHERE o.kind IN ('package', 'advertisement') AND (r.version IS NULL OR r.version < o.version)
         AND NOT EXISTS (SELECT 1 FROM refusal f WHERE f.peer = $1 AND f.kind = o.kind AND f.id = o.id
             AND f.version = o.version AND f.waits)
         ORDER BY o.changed_at LIMIT $2",
    )
    .bind(peer.as_str())
    .bind(i64::from(limit))
    .fetch_all(tx.connection())
    .await
    .map_err(failed("find what a neighbour lacks"))?;
    Ok(rows
        .into_iter()
        .filter_map(|(kind, body, at)| Some((ObjectKind::parse(&kind)?, body, Timestamp(at))))
        .collect())
}

/// Objects that are not deleted, by kind.
pub(crate) async fn objects(tx: &mut Tx) -> Result<Vec<(String, u64)>, StoreError> {
    by_word(
        tx,
        "SELECT kind, COUNT(*) FROM object WHERE NOT deleted GROUP BY kind ORDER BY kind",
        "count objects",
    )
    .await
}

/// Objects that each neighbour refuses.
pub(crate) async fn refused(tx: &mut Tx) -> Result<Vec<(SiteCode, u64)>, StoreError> {
    let statement = "SELECT peer, COUNT(*) FROM refusal GROUP BY peer ORDER BY peer";
    let rows = by_word(tx, statement, "count refusals").await?;
    rows.into_iter().map(|(peer, count)| Ok((name("refusal", "peer", &peer)?, count))).collect()
}

/// Bundles that came, or are coming, by state.
pub(crate) async fn arrivals(tx: &mut Tx) -> Result<Vec<(String, u64)>, StoreError> {
    by_word(tx, "SELECT state, COUNT(*) FROM arrival GROUP BY state ORDER BY state", "count arrivals").await
}

/// Parcels of this sender, counted once for each destination, by state.
pub(crate) async fn parcels_out(tx: &mut Tx, sender: &SiteCode) -> Result<Vec<(String, u64)>, StoreError> {
    let rows: Vec<(String, i64)> = sqlx::query_as(
        "SELECT s.state, COUNT(*) FROM parcel_site s JOIN parcel p ON p.id = s.parcel
         WHERE p.sender = $1 GROUP BY s.state ORDER BY s.state",
    )
    .bind(sender.as_str())
    .fetch_all(tx.connection())
    .await
    .map_err(failed("count parcels"))?;
    Ok(counted(rows))
}

/// Parcels of others, by state here.
pub(crate) async fn parcels_in(tx: &mut Tx, receiver: &SiteCode) -> Result<Vec<(String, u64)>, StoreError> {
    let rows: Vec<(String, i64)> = sqlx::query_as(
        "SELECT s.state, COUNT(*) FROM parcel_site s JOIN parcel p ON p.id = s.parcel
         WHERE p.sender <> $1 GROUP BY s.state ORDER BY s.state",
    )
    .bind(receiver.as_str())
    .fetch_all(tx.connection())
    .await
    .map_err(failed("count parcels"))?;
    Ok(counted(rows))
}

/// Parcels of this sender that some destination should have had by now and has not taken in whole.
pub(crate) async fn parcels_overdue(
    tx: &mut Tx,
    sender: &SiteCode,
    now: Timestamp,
) -> Result<u64, StoreError> {
    let count: i64 = sqlx::query_scalar(
        "SELECT COUNT(*) FROM parcel p WHERE p.sender = $1 AND p.expected_at > 0 AND p.expected_at < $2
         AND EXISTS (SELECT 1 FROM parcel_site s WHERE s.parcel = p.id AND s.state NOT IN ('lost', 'confirmed'))",
    )
    .bind(sender.as_str())
    .bind(now.0)
    .fetch_one(tx.connection())
    .await
    .map_err(failed("count parcels that are overdue"))?;
    Ok(uncount(count))
}

/// This site's clients.
pub(crate) async fn clients(tx: &mut Tx) -> Result<u64, StoreError> {
    let count: i64 = sqlx::query_scalar("SELECT COUNT(*) FROM client")
        .fetch_one(tx.connection())
        .await
        .map_err(failed("count clients"))?;
    Ok(uncount(count))
}

async fn by_word(
    tx: &mut Tx,
    statement: &'static str,
    operation: &'static str,
) -> Result<Vec<(String, u64)>, StoreError> {
    let rows: Vec<(String, i64)> =
        sqlx::query_as(statement).fetch_all(tx.connection()).await.map_err(failed(operation))?;
    Ok(counted(rows))
}

fn counted(rows: Vec<(String, i64)>) -> Vec<(String, u64)> {
    rows.into_iter().map(|(word, count)| (word, uncount(count))).collect()
}
