//! Parcels on media, how far each is with its destinations, and the keys that parcels are encrypted to.

use std::collections::BTreeMap;

use packhorse_domain::{Timestamp, id::SiteCode, link::ItemId, parcel::ParcelState};
use packhorse_parcel::ParcelId;

use super::{StoreError, Tx, failed, name};

/// A parcel that this site made, or takes in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ParcelRow {
    pub(crate) id: ParcelId,
    pub(crate) sender: SiteCode,
    pub(crate) created_at: Timestamp,
    pub(crate) carrier: String,
    pub(crate) tracking: String,
    pub(crate) sent_at: Option<Timestamp>,
    pub(crate) expected_at: Option<Timestamp>,
    pub(crate) volumes: u16,
    /// The line brings none of its bundles meanwhile.
    pub(crate) holds_line: bool,
}

/// id, sender, created_at, carrier, tracking, sent_at, expected_at, volumes, holds_line
type Row = (Vec<u8>, String, i64, String, String, i64, i64, i64, bool);

impl TryFrom<Row> for ParcelRow {
    type Error = StoreError;

    fn try_from(row: Row) -> Result<Self, StoreError> {
        let (id, sender, created_at, carrier, tracking, sent_at, expected_at, volumes, holds_line) = row;
        let known = |at: i64| (at != 0).then_some(Timestamp(at));
        Ok(ParcelRow {
            id: id_of("parcel", &id)?,
            sender: name("parcel", "sender", &sender)?,
            created_at: Timestamp(created_at),
            carrier,
            tracking,
            sent_at: known(sent_at),
            expected_at: known(expected_at),
            volumes: u16::try_from(volumes).unwrap_or(u16::MAX),
            holds_line,
        })
    }
}

fn id_of(table: &'static str, bytes: &[u8]) -> Result<ParcelId, StoreError> {
    let unknown = || StoreError::Inconsistent { table, column: "id", row: hex::encode(bytes) };
    Ok(ParcelId(bytes.try_into().map_err(|_| unknown())?))
}

/// Rows of parcels.
macro_rules! parcel {
    ($which:literal) => {
        concat!(
            "SELECT id, sender, created_at, carrier, tracking, sent_at, expected_at, volumes, holds_line FROM parcel ",
            $which
        )
    };
}

/// All of them, the newest first.
pub(crate) async fn list(tx: &mut Tx) -> Result<Vec<ParcelRow>, StoreError> {
    sqlx::query_as::<_, Row>(parcel!("ORDER BY created_at DESC, id"))
        .fetch_all(tx.connection())
        .await
        .map_err(failed("list parcels"))?
        .into_iter()
        .map(TryInto::try_into)
        .collect()
}

pub(crate) async fn get(tx: &mut Tx, id: &ParcelId) -> Result<Option<ParcelRow>, StoreError> {
    sqlx::query_as::<_, Row>(parcel!("WHERE id = $1"))
        .bind(id.0.as_slice())
        .fetch_optional(tx.connection())
        .await
        .map_err(failed("read a parcel"))?
        .map(TryInto::try_into)
        .transpose()
}

/// Those of a sender of which not every destination has confirmed all, the newest first.
pub(crate) async fn unsettled(tx: &mut Tx, sender: &SiteCode) -> Result<Vec<ParcelRow>, StoreError> {
    sqlx::query_as::<_, Row>(
        parcel!(
            "WHERE sender = $1
                 AND EXISTS (SELECT 1 FROM parcel_site s WHERE s.parcel = parcel.id AND s.state <> 'confirmed')
             ORDER BY created_at DESC, id"
        ),
    )
    .bind(sender.as_str())
    .fetch_all(tx.connection())
    .await
    .map_err(failed("list parcels that are under way"))?
    .into_iter()
    .map(TryInto::try_into)
    .collect()
}

pub(crate) async fn put(tx: &mut Tx, parcel: &ParcelRow) -> Result<(), StoreError> {
    sqlx::query(
        "INSERT INTO parcel (id, sender, created_at, carrier, tracking, sent_at, expected_at, volumes, holds_line)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)
         ON CONFLICT (id) DO UPDATE SET carrier = excluded.carrier, tracking = excluded.tracking,
             sent_at = excluded.sent_at, expected_at = excluded.expected_at",
    )
    .bind(parcel.id.0.as_slice())
    .bind(parcel.sender.as_str())
    .bind(parcel.created_at.0)
    .bind(&parcel.carrier)
    .bind(&parcel.tracking)
    .bind(parcel.sent_at.map_or(0, |at| at.0))
    .bind(parcel.expected_at.map_or(0, |at| at.0))
    .bind(i64::from(parcel.volumes))
    .bind(parcel.holds_line)
    .execute(tx.connection())
    .await
    .map_err(failed("write a parcel"))?;
    Ok(())
}

/// How far it is with each destination, and since when.
pub(crate) async fn sites(
    tx: &mut Tx,
    id: &ParcelId,
) -> Result<BTreeMap<SiteCode, (ParcelState, Timestamp)>, StoreError> {
    let rows: Vec<(String, String, i64)> =
        sqlx::query_as("SELECT site, state, changed_at FROM parcel_site WHERE parcel = $1")
            .bind(id.0.as_slice())
            .fetch_all(tx.connection())
            .await
            .map_err(failed("read how far a parcel is"))?;
    rows.into_iter()
        .map(|(site, state, at)| {
            Ok((name("parcel_site", "site", &site)?, (name("parcel_site", "state", &state)?, Timestamp(at))))
        })
        .collect()
}

pub(crate) async fn put_site(
    tx: &mut Tx,
    id: &ParcelId,
    site: &SiteCode,
    state: ParcelState,
    now: Timestamp,
) -> Result<(), StoreError> {
    sqlx::query(
        "INSERT INTO parcel_site (parcel, site, state, changed_at) VALUES ($1, $2, $3, $4)
         ON CONFLICT (parcel, site) DO UPDATE SET state = excluded.state, changed_at = excluded.changed_at",
    )
    .bind(id.0.as_slice())
    .bind(site.as_str())
    .bind(state.as_str())
    .bind(now.0)
    .execute(tx.connection())
    .await
    .map_err(failed("write how far a parcel is"))?;
    Ok(())
}

/// Which items which destination has taken.
pub(crate) async fn taken(tx: &mut Tx, id: &ParcelId) -> Result<Vec<(SiteCode, ItemId)>, StoreError> {
    let rows: Vec<(String, Vec<u8>)> =
        sqlx::query_as("SELECT site, item FROM parcel_taken WHERE parcel = $1 ORDER BY site, item")
            .bind(id.0.as_slice())
            .fetch_all(tx.connection())
            .await
            .map_err(failed("read what was taken of a parcel"))?;
    rows.into_iter()
        .map(|(site, item)| {
            let unknown = || StoreError::Inconsistent {
                table: "parcel_taken",
                column: "item",
                row: hex::encode(&item),
            };
            let item = item.as_slice().try_into().map(ItemId).map_err(|_| unknown())?;
            Ok((name("parcel_taken", "site", &site)?, item))
        })
        .collect()
}

/// Notes that a destination has taken an item. Says whether that is news.
pub(crate) async fn take(
    tx: &mut Tx,
    id: &ParcelId,
    site: &SiteCode,
    item: &ItemId,
) -> Result<bool, StoreError> {
    let done = sqlx::query(
        "INSERT INTO parcel_taken (parcel, site, item) VALUES ($1, $2, $3)
         ON CONFLICT (parcel, site, item) DO NOTHING",
    )
    .bind(id.0.as_slice())
    .bind(site.as_str())
    .bind(item.0.as_slice())
    .execute(tx.connection())
    .await
    .map_err(failed("note what was taken of a parcel"))?;
    Ok(done.rows_affected() > 0)
}

/// Whether a destination has taken an item of any parcel.
pub(crate) async fn was_taken(tx: &mut Tx, site: &SiteCode, item: &ItemId) -> Result<bool, StoreError> {
    sqlx::query_scalar("SELECT EXISTS (SELECT 1 FROM parcel_taken WHERE site = $1 AND item = $2)")
        .bind(site.as_str())
        .bind(item.0.as_slice())
        .fetch_one(tx.connection())
        .await
        .map_err(failed("look for what was taken of parcels"))
}

/// The text of what parcels for a site are encrypted to, as it was told with a parcel or by somebody, and when.
pub(crate) async fn key(tx: &mut Tx, site: &SiteCode) -> Result<Option<(String, Timestamp)>, StoreError> {
    let row: Option<(String, i64)> =
        sqlx::query_as("SELECT recipient, told_at FROM courier_key WHERE site = $1")
            .bind(site.as_str())
            .fetch_optional(tx.connection())
            .await
            .map_err(failed("read a courier key"))?;
    Ok(row.map(|(recipient, at)| (recipient, Timestamp(at))))
}

/// Takes note of it, unless a newer one is known.
pub(crate) async fn put_key(
    tx: &mut Tx,
    site: &SiteCode,
    recipient: &str,
    told_at: Timestamp,
) -> Result<(), StoreError> {
    sqlx::query(
        "INSERT INTO courier_key (site, recipient, told_at) VALUES ($1, $2, $3)
         ON CONFLICT (site) DO UPDATE SET recipient = excluded.recipient, told_at = excluded.told_at
         WHERE courier_key.told_at <= excluded.told_at",
    )
    .bind(site.as_str())
    .bind(recipient)
    .bind(told_at.0)
    .execute(tx.connection())
    .await
    .map_err(failed("write a courier key"))?;
    Ok(())
}
