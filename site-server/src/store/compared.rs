//! What is compared with a neighbour: every object of a set in short, without its body.

use packhorse_domain::{
    Digest,
    id::SiteCode,
    object::{Direction, ObjectKind},
};

use super::{StoreError, Tx, count, digest_of, failed, name, uncount};

/// An object as it is compared.
#[derive(Debug)]
pub(crate) struct ComparedRow {
    pub(crate) kind: ObjectKind,
    pub(crate) id: String,
    pub(crate) owner: SiteCode,
    pub(crate) version: u64,
    pub(crate) digest: Digest,
    /// The neighbour has acknowledged this version.
    pub(crate) is_acknowledged: bool,
}

/// kind, id, owner, version, digest, acknowledged version
type Row = (String, String, String, i64, Vec<u8>, Option<i64>);

/// The objects that go this way, tombstones included, messages not. A macro, since SQL is checked to be fixed text.
macro_rules! compared {
    ($kinds:literal) => {
        concat!(
            "SELECT o.kind, o.id, o.owner, o.version, o.digest, r.version
             FROM object o LEFT JOIN replica r ON r.peer = $1 AND r.kind = o.kind AND r.id = o.id
             WHERE o.kind IN (",
            $kinds,
            ")"
        )
    };
}

/// Everything held here that goes this way, with what the peer has acknowledged of it.
pub(crate) async fn list(
    tx: &mut Tx,
    peer: &SiteCode,
    set: Direction,
) -> Result<Vec<ComparedRow>, StoreError> {
    let statement = match set {
        Direction::Down => {
            compared!("'package', 'distribution', 'collection', 'advertisement', 'trust', 'kill'")
        }
        Direction::Up => {
            compared!(
                "'site', 'distribution-point', 'client', 'package-status', 'advertisement-status', 'parcel-receipt',
                 'site-health'"
            )
        }
    };
    sqlx::query_as::<_, Row>(statement)
        .bind(peer.as_str())
        .fetch_all(tx.connection())
        .await
        .map_err(failed("list what is compared"))?
        .into_iter()
        .map(|(kind, id, owner, version, digest, acknowledged)| {
            let unknown = || StoreError::Inconsistent { table: "object", column: "kind", row: id.clone() };
            Ok(ComparedRow {
                kind: ObjectKind::parse(&kind).ok_or_else(unknown)?,
                owner: name("object", "owner", &owner)?,
                digest: digest_of("object", "digest", &digest)?,
                version: uncount(version),
                is_acknowledged: acknowledged.is_some_and(|acknowledged| acknowledged >= version),
                id,
            })
        })
        .collect()
}

/// The peer does not hold this version, whatever it acknowledged. Says whether it had.
pub(crate) async fn forget_acknowledged(
    tx: &mut Tx,
    peer: &SiteCode,
    kind: ObjectKind,
    id: &str,
    version: u64,
) -> Result<bool, StoreError> {
    let result =
        sqlx::query("DELETE FROM replica WHERE peer = $1 AND kind = $2 AND id = $3 AND version >= $4")
            .bind(peer.as_str())
            .bind(kind.as_str())
            .bind(id)
            .bind(count(version))
            .execute(tx.connection())
            .await
            .map_err(failed("forget an acknowledgement"))?;
    Ok(result.rows_affected() > 0)
}
