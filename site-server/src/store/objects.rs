//! Replicated objects, and what each neighbour has acknowledged of them.

use packhorse_domain::{
    Digest, Timestamp,
    id::SiteCode,
    link::ItemId,
    object::{Direction, Held, Object, ObjectKind},
    tally::{self, Counted},
};

use super::{StoreError, Tx, count, digest_of, events, failed, name, tallies, uncount};

/// An object as this site holds it.
#[derive(Debug, Clone)]
pub(crate) struct StoredObject {
    pub(crate) kind: ObjectKind,
    pub(crate) id: String,
    pub(crate) owner: SiteCode,
    pub(crate) version: u64,
    pub(crate) deleted: bool,
    pub(crate) body: Vec<u8>,
    /// What is sent on.
    pub(crate) content: Vec<u8>,
    pub(crate) digest: Digest,
    pub(crate) changed_at: Timestamp,
}

/// kind, id, owner, version, deleted, body, content, digest, changed_at
type Row = (String, String, String, i64, bool, Vec<u8>, Vec<u8>, Vec<u8>, i64);

impl TryFrom<Row> for StoredObject {
    type Error = StoreError;

    fn try_from(
        (kind, id, owner, version, deleted, body, content, digest, changed_at): Row,
    ) -> Result<Self, StoreError> {
        let unknown = || StoreError::Inconsistent { table: "object", column: "kind", row: id.clone() };
        Ok(StoredObject {
            kind: ObjectKind::parse(&kind).ok_or_else(unknown)?,
            owner: name("object", "owner", &owner)?,
            digest: digest_of("object", "digest", &digest)?,
            id,
            version: uncount(version),
            deleted,
            body,
            content,
            changed_at: Timestamp(changed_at),
        })
    }
}

/// The object, deleted or not.
pub(crate) async fn get(tx: &mut Tx, kind: ObjectKind, id: &str) -> Result<Option<StoredObject>, StoreError> {
    sqlx::query_as::<_, Row>(
        "SELECT kind, id, owner, version, deleted, body, content, digest, changed_at FROM object
         WHERE kind = $1 AND id = $2",
    )
    .bind(kind.as_str())
    .bind(id)
    .fetch_optional(tx.connection())
    .await
    .map_err(failed("read an object"))?
    .map(TryInto::try_into)
    .transpose()
}

/// Those of a kind, with tombstones, by id.
pub(crate) async fn list_with_deleted(
    tx: &mut Tx,
    kind: ObjectKind,
) -> Result<Vec<StoredObject>, StoreError> {
    sqlx::query_as::<_, Row>(
        "SELECT kind, id, owner, version, deleted, body, content, digest, changed_at FROM object
         WHERE kind = $1 ORDER BY id",
    )
    .bind(kind.as_str())
    .fetch_all(tx.connection())
    .await
    .map_err(failed("list objects"))?
    .into_iter()
    .map(TryInto::try_into)
    .collect()
}

/// Those of a kind that are not deleted, by id.
pub(crate) async fn list(tx: &mut Tx, kind: ObjectKind) -> Result<Vec<StoredObject>, StoreError> {
    sqlx::query_as::<_, Row>(
        "SELECT kind, id, owner, version, deleted, body, content, digest, changed_at FROM object
         WHERE kind = $1 AND NOT deleted ORDER BY id",
    )
    .bind(kind.as_str())
    .fetch_all(tx.connection())
    .await
    .map_err(failed("list objects"))?
    .into_iter()
    .map(TryInto::try_into)
    .collect()
}

/// Those of a kind that are not deleted and whose id begins with `prefix`, by id.
pub(crate) async fn list_under(
    tx: &mut Tx,
    kind: ObjectKind,
    prefix: &str,
) -> Result<Vec<StoredObject>, StoreError> {
    sqlx::query_as::<_, Row>(
        "SELECT kind, id, owner, version, deleted, body, content, digest, changed_at FROM object
         WHERE kind = $1 AND NOT deleted AND id >= $2 AND substr(id, 1, length($2)) = $2 ORDER BY id",
    )
    .bind(kind.as_str())
    .bind(prefix)
    .fetch_all(tx.connection())
    .await
    .map_err(failed("list objects"))?
    .into_iter()
    .map(TryInto::try_into)
    .collect()
}

/// What the merge rule needs to know of a copy that is held.
pub(crate) async fn held(tx: &mut Tx, kind: ObjectKind, id: &str) -> Result<Option<Held>, StoreError> {
    let row: Option<(String, i64, Vec<u8>)> =
        sqlx::query_as("SELECT owner, version, digest FROM object WHERE kind = $1 AND id = $2")
            .bind(kind.as_str())
            .bind(id)
            .fetch_optional(tx.connection())
            .await
            .map_err(failed("read an object"))?;
    row.map(|(owner, version, digest)| {
        Ok(Held {
            owner: name("object", "owner", &owner)?,
            version: uncount(version),
            digest: digest_of("object", "digest", &digest)?,
        })
    })
    .transpose()
}

/// Writes a version; the caller has applied the merge rule.
pub(crate) async fn put(
    tx: &mut Tx,
    object: &Object,
    content: &[u8],
    digest: &Digest,
    now: Timestamp,
) -> Result<(), StoreError> {
    let counted = tallies::counted(tx, object.kind, &object.id).await?;
    sqlx::query(
        "INSERT INTO object (kind, id, owner, version, deleted, body, content, digest, changed_at)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)
         ON CONFLICT (kind, id) DO UPDATE SET owner = excluded.owner, version = excluded.version,
             deleted = excluded.deleted, body = excluded.body, content = excluded.content,
             digest = excluded.digest, changed_at = excluded.changed_at",
    )
    .bind(object.kind.as_str())
    .bind(&object.id)
    .bind(object.owner.as_str())
    .bind(count(object.version))
    .bind(object.deleted)
    .bind(&object.body)
    .bind(content)
    .bind(digest.as_bytes().as_slice())
    .bind(now.0)
    .execute(tx.connection())
    .await
    .map_err(failed("write an object"))?;
    events::arrive(tx, object).await?;
    let counts = tallies::of_row(object.kind, object.deleted, &object.body);
    tallies::apply(tx, tally::change(counted, counts)).await
}

/// Forgets an object altogether; only for what nobody else holds.
pub(crate) async fn remove(tx: &mut Tx, kind: ObjectKind, id: &str) -> Result<(), StoreError> {
    let counted = tallies::counted(tx, kind, id).await?;
    for statement in [
        "DELETE FROM object WHERE kind = $1 AND id = $2",
        "DELETE FROM replica WHERE kind = $1 AND id = $2",
        "DELETE FROM refusal WHERE kind = $1 AND id = $2",
    ] {
        sqlx::query(statement)
            .bind(kind.as_str())
            .bind(id)
            .execute(tx.connection())
            .await
            .map_err(failed("remove an object"))?;
    }
    if kind == ObjectKind::Event {
        events::forget(tx, id).await?;
    }
    tallies::apply(tx, tally::change(counted, Counted::new())).await
}

/// Objects that go one way and whose newest version the peer has not acknowledged, without those that it refused and
/// that wait: as many as may be offered at once would take all others' place. A macro, since SQL is checked to be fixed
/// text.
macro_rules! lacking {
    (down, $order:literal) => {
        lacking!("'package', 'distribution', 'collection', 'advertisement', 'trust', 'kill'", $order)
    };
    (up, $order:literal) => {
        lacking!(
            "'site', 'distribution-point', 'client', 'package-status', 'advertisement-status', 'event',
             'parcel-receipt', 'site-health'",
            $order
        )
    };
    ($kinds:literal, $order:literal) => {
        concat!(
            "SELECT o.kind, o.id, o.owner, o.version, o.deleted, o.body, o.content, o.digest, o.changed_at
             FROM object o LEFT JOIN replica r ON r.peer = $1 AND r.kind = o.kind AND r.id = o.id
             WHERE o.kind IN (",
            $kinds,
            ") AND (r.version IS NULL OR r.version < o.version)
             AND NOT EXISTS (SELECT 1 FROM refusal f WHERE f.peer = $1 AND f.kind = o.kind AND f.id = o.id
                 AND f.version = o.version AND f.waits)
             AND NOT EXISTS (SELECT 1 FROM event e WHERE o.kind = 'event' AND e.id = o.id AND e.forward = 'no')
             ORDER BY ",
            $order,
            " LIMIT $2"
        )
    };
}

/// The oldest objects that go this way and whose newest version the peer has not acknowledged; what others need to be
/// taken comes first: the trust file, sites, which also say at once how they are. Then what must not run. Messages come last.
pub(crate) async fn lacking(
    tx: &mut Tx,
    peer: &SiteCode,
    direction: Direction,
    limit: usize,
) -> Result<Vec<StoredObject>, StoreError> {
    let statement = match direction {
        Direction::Down => {
            lacking!(
                down,
                "CASE o.kind WHEN 'trust' THEN 0 WHEN 'kill' THEN 1 ELSE 2 END, o.changed_at, o.kind, o.id"
            )
        }
        Direction::Up => lacking!(
            up,
            "CASE WHEN o.kind IN ('site', 'site-health') THEN 0 WHEN o.kind = 'event' THEN 2 ELSE 1 END, o.changed_at, o.id"
        ),
    };
    select_lacking(tx, statement, peer, limit).await
}

/// The names of all objects of a kind, deleted ones too.
pub(crate) async fn names(tx: &mut Tx, kind: ObjectKind) -> Result<Vec<String>, StoreError> {
    sqlx::query_scalar("SELECT id FROM object WHERE kind = $1")
        .bind(kind.as_str())
        .fetch_all(tx.connection())
        .await
        .map_err(failed("list the names of objects"))
}

/// How many objects of a kind there are, and the sum of their versions: if both are as they were, so are the objects.
pub(crate) async fn news_of(tx: &mut Tx, kind: ObjectKind) -> Result<(i64, i64), StoreError> {
    sqlx::query_as("SELECT COUNT(*), CAST(COALESCE(SUM(version), 0) AS BIGINT) FROM object WHERE kind = $1")
        .bind(kind.as_str())
        .fetch_one(tx.connection())
        .await
        .map_err(failed("look for news of objects"))
}

/// The newest of those, without messages.
pub(crate) async fn lacking_newest(
    tx: &mut Tx,
    peer: &SiteCode,
    direction: Direction,
    limit: usize,
) -> Result<Vec<StoredObject>, StoreError> {
    let statement = match direction {
        Direction::Down => lacking!(down, "o.changed_at DESC, o.kind, o.id"),
        Direction::Up => {
            lacking!(up, "CASE WHEN o.kind = 'event' THEN 1 ELSE 0 END, o.changed_at DESC, o.id")
        }
    };
    select_lacking(tx, statement, peer, limit).await
}

async fn select_lacking(
    tx: &mut Tx,
    statement: &'static str,
    peer: &SiteCode,
    limit: usize,
) -> Result<Vec<StoredObject>, StoreError> {
    sqlx::query_as::<_, Row>(statement)
        .bind(peer.as_str())
        .bind(i64::try_from(limit).unwrap_or(i64::MAX))
        .fetch_all(tx.connection())
        .await
        .map_err(failed("find what a neighbour lacks"))?
        .into_iter()
        .map(TryInto::try_into)
        .collect()
}

/// The objects that items between these two carry, deleted ones too. An item's name is how its object's digest begins.
pub(crate) async fn of_items(
    tx: &mut Tx,
    (first, last): (&ItemId, &ItemId),
    limit: usize,
) -> Result<Vec<StoredObject>, StoreError> {
    let [mut low, mut high] = [[0x00; 32], [0xff; 32]];
    low[..16].copy_from_slice(first.as_bytes());
    high[..16].copy_from_slice(last.as_bytes());
    sqlx::query_as::<_, Row>(
        "SELECT kind, id, owner, version, deleted, body, content, digest, changed_at FROM object
         WHERE digest >= $1 AND digest <= $2 ORDER BY digest LIMIT $3",
    )
    .bind(low.as_slice())
    .bind(high.as_slice())
    .bind(i64::try_from(limit).unwrap_or(i64::MAX))
    .fetch_all(tx.connection())
    .await
    .map_err(failed("find objects by their digests"))?
    .into_iter()
    .map(TryInto::try_into)
    .collect()
}

/// Whether the peer has not acknowledged this version or a newer one, and may be offered it.
pub(crate) async fn lacks(tx: &mut Tx, peer: &SiteCode, object: &StoredObject) -> Result<bool, StoreError> {
    sqlx::query_scalar(
        "SELECT NOT EXISTS (SELECT 1 FROM replica
                 WHERE peer = $1 AND kind = $2 AND id = $3 AND version >= $4)
             AND NOT EXISTS (SELECT 1 FROM refusal
                 WHERE peer = $1 AND kind = $2 AND id = $3 AND version = $4 AND waits)
             AND NOT EXISTS (SELECT 1 FROM event WHERE $2 = 'event' AND id = $3 AND forward = 'no')",
    )
    .bind(peer.as_str())
    .bind(object.kind.as_str())
    .bind(&object.id)
    .bind(count(object.version))
    .fetch_one(tx.connection())
    .await
    .map_err(failed("read an acknowledgement"))
}

/// The newest version that the peer has acknowledged.
pub(crate) async fn acknowledged(
    tx: &mut Tx,
    peer: &SiteCode,
    kind: ObjectKind,
    id: &str,
) -> Result<Option<u64>, StoreError> {
    let version: Option<i64> =
        sqlx::query_scalar("SELECT version FROM replica WHERE peer = $1 AND kind = $2 AND id = $3")
            .bind(peer.as_str())
            .bind(kind.as_str())
            .bind(id)
            .fetch_optional(tx.connection())
            .await
            .map_err(failed("read an acknowledgement"))?;
    Ok(version.map(uncount))
}

/// The peer holds this version, or a newer one.
pub(crate) async fn acknowledge(
    tx: &mut Tx,
    peer: &SiteCode,
    kind: ObjectKind,
    id: &str,
    version: u64,
) -> Result<(), StoreError> {
    sqlx::query(
        "INSERT INTO replica (peer, kind, id, version) VALUES ($1, $2, $3, $4)
         ON CONFLICT (peer, kind, id) DO UPDATE SET version = excluded.version
         WHERE replica.version < excluded.version",
    )
    .bind(peer.as_str())
    .bind(kind.as_str())
    .bind(id)
    .bind(count(version))
    .execute(tx.connection())
    .await
    .map_err(failed("record an acknowledgement"))?;
    Ok(())
}

/// The peer's database is another one: it must be sent everything again.
pub(crate) async fn forget_acknowledged(tx: &mut Tx, peer: &SiteCode) -> Result<(), StoreError> {
    for statement in ["DELETE FROM replica WHERE peer = $1", "DELETE FROM refusal WHERE peer = $1"] {
        sqlx::query(statement)
            .bind(peer.as_str())
            .execute(tx.connection())
            .await
            .map_err(failed("forget acknowledgements"))?;
    }
    Ok(())
}

/// Keeps the newest `keep` of the objects of a kind that are named `OWNER/...`, by id, and forgets the rest.
pub(crate) async fn trim(
    tx: &mut Tx,
    kind: ObjectKind,
    owner: &SiteCode,
    keep: usize,
) -> Result<(), StoreError> {
    let stale: Vec<String> = sqlx::query_scalar(
        "SELECT id FROM object WHERE kind = $1 AND id > $2 || '/' AND id < $2 || '0'
         ORDER BY id DESC LIMIT 256 OFFSET $3",
    )
    .bind(kind.as_str())
    .bind(owner.as_str())
    .bind(i64::try_from(keep).unwrap_or(i64::MAX))
    .fetch_all(tx.connection())
    .await
    .map_err(failed("find old objects"))?;
    for id in stale {
        remove(tx, kind, &id).await?;
    }
    Ok(())
}
