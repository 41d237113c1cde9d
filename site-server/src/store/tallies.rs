//! How many places of each package, and clients of each advertisement, stand how: kept with the rows that are counted, in
//! the transaction that changes one.

use std::collections::BTreeMap;

use futures::TryStreamExt as _;
use packhorse_domain::{
    advertisement::{Acceptance, Delivery},
    distribution::Distribution,
    id::{AdvertisementId, PackageId, SiteCode},
    object::ObjectKind,
    status::{AdvertisementStatus, PackageStatus},
    tally::{self, AdvertisementCell, Cell, Counted, PackageCell, PlaceKind, Standing},
};
use packhorse_proto::{
    convert::{self, ConvertError},
    object::v1 as wire,
};

use super::{StoreError, Tx, count, failed, name, settings, uncount};

/// Another one than in the database: tallies were counted in another way, or not yet, and are counted anew.
const COUNTED_AS: &[u8] = b"1";

/// The kinds of rows that count.
const KINDS: [ObjectKind; 3] =
    [ObjectKind::PackageStatus, ObjectKind::Distribution, ObjectKind::AdvertisementStatus];

/// What a row counts as. One that does not decode never came in; if it is there all the same, it counts as nothing.
pub(super) fn of_row(kind: ObjectKind, deleted: bool, body: &[u8]) -> Counted {
    if deleted {
        return Counted::new();
    }
    let counted = match kind {
        ObjectKind::PackageStatus => convert::decode::<wire::PackageStatus, PackageStatus>(body)
            .map(|status| tally::of_package_status(&status)),
        ObjectKind::Distribution => convert::decode::<wire::Distribution, Distribution>(body)
            .map(|distribution| tally::of_distribution(&distribution)),
        ObjectKind::AdvertisementStatus => {
            convert::decode::<wire::AdvertisementStatus, AdvertisementStatus>(body)
                .map(|status| tally::of_advertisement_status(&status))
        }
        _ => Ok(Counted::new()),
    };
    counted.unwrap_or_else(|error: ConvertError| {
        tracing::error!(target: "status-manager", kind = kind.as_str(), "a row is not counted: {}", error.text());
        Counted::new()
    })
}

/// What the row that is held counts as.
pub(super) async fn counted(tx: &mut Tx, kind: ObjectKind, id: &str) -> Result<Counted, StoreError> {
    if !KINDS.contains(&kind) {
        return Ok(Counted::new());
    }
    let row: Option<(bool, Vec<u8>)> =
        sqlx::query_as("SELECT deleted, body FROM object WHERE kind = $1 AND id = $2")
            .bind(kind.as_str())
            .bind(id)
            .fetch_optional(tx.connection())
            .await
            .map_err(failed("read what a row counts as"))?;
    Ok(row.map(|(deleted, body)| of_row(kind, deleted, &body)).unwrap_or_default())
}

/// Adds to the tallies. A number that comes to nothing has no row.
pub(super) async fn apply(tx: &mut Tx, change: Counted) -> Result<(), StoreError> {
    for (cell, by) in change {
        match cell {
            Cell::Package(cell) => add_places(tx, &cell, by).await?,
            Cell::Advertisement(cell) => add_clients(tx, &cell, by).await?,
        }
    }
    Ok(())
}

async fn add_places(tx: &mut Tx, cell: &PackageCell, by: i64) -> Result<(), StoreError> {
    let left: i64 = sqlx::query_scalar(
        "INSERT INTO package_tally (site, package, place, standing, source_version, places)
         VALUES ($1, $2, $3, $4, $5, $6)
         ON CONFLICT (site, package, place, standing, source_version)
         DO UPDATE SET places = package_tally.places + excluded.places RETURNING places",
    )
    .bind(cell.site.as_ref().map_or("", SiteCode::as_str))
    .bind(cell.package.as_str())
    .bind(cell.place.as_str())
    .bind(cell.standing.as_str())
    .bind(count(cell.source_version))
    .bind(by)
    .fetch_one(tx.connection())
    .await
    .map_err(failed("count places"))?;
    if left == 0 {
        sqlx::query(
            "DELETE FROM package_tally WHERE site = $1 AND package = $2 AND place = $3 AND standing = $4
                 AND source_version = $5",
        )
        .bind(cell.site.as_ref().map_or("", SiteCode::as_str))
        .bind(cell.package.as_str())
        .bind(cell.place.as_str())
        .bind(cell.standing.as_str())
        .bind(count(cell.source_version))
        .execute(tx.connection())
        .await
        .map_err(failed("count places"))?;
    }
    Ok(())
}

async fn add_clients(tx: &mut Tx, cell: &AdvertisementCell, by: i64) -> Result<(), StoreError> {
    let left: i64 = sqlx::query_scalar(
        "INSERT INTO advertisement_tally (site, advertisement, acceptance, delivery, clients)
         VALUES ($1, $2, $3, $4, $5)
         ON CONFLICT (site, advertisement, acceptance, delivery)
         DO UPDATE SET clients = advertisement_tally.clients + excluded.clients RETURNING clients",
    )
    .bind(cell.site.as_ref().map_or("", SiteCode::as_str))
    .bind(cell.advertisement.as_str())
    .bind(cell.acceptance.as_str())
    .bind(cell.delivery.as_str())
    .bind(by)
    .fetch_one(tx.connection())
    .await
    .map_err(failed("count clients"))?;
    if left == 0 {
        sqlx::query(
            "DELETE FROM advertisement_tally WHERE site = $1 AND advertisement = $2 AND acceptance = $3
                 AND delivery = $4",
        )
        .bind(cell.site.as_ref().map_or("", SiteCode::as_str))
        .bind(cell.advertisement.as_str())
        .bind(cell.acceptance.as_str())
        .bind(cell.delivery.as_str())
        .execute(tx.connection())
        .await
        .map_err(failed("count clients"))?;
    }
    Ok(())
}

/// Counts all rows, in a database whose tallies are of another version of Packhorse, or none.
pub(super) async fn fill(tx: &mut Tx) -> Result<(), StoreError> {
    if settings::get(tx, settings::TALLIES).await?.as_deref() == Some(COUNTED_AS) {
        return Ok(());
    }
    let mut all = Counted::new();
    for kind in KINDS {
        let mut rows =
            sqlx::query_as::<_, (bool, Vec<u8>)>("SELECT deleted, body FROM object WHERE kind = $1")
                .bind(kind.as_str())
                .fetch(tx.connection());
        while let Some((deleted, body)) = rows.try_next().await.map_err(failed("count all rows"))? {
            for (cell, times) in of_row(kind, deleted, &body) {
                *all.entry(cell).or_default() += times;
            }
        }
    }
    for statement in ["DELETE FROM package_tally", "DELETE FROM advertisement_tally"] {
        sqlx::query(statement).execute(tx.connection()).await.map_err(failed("count all rows"))?;
    }
    apply(tx, all).await?;
    settings::set(tx, settings::TALLIES, COUNTED_AS).await
}

/// Places of all packages together, by how they stand.
pub(crate) async fn places_by_standing(tx: &mut Tx) -> Result<Vec<(String, u64)>, StoreError> {
    let rows: Vec<(String, i64)> = sqlx::query_as(
        "SELECT standing, CAST(SUM(places) AS BIGINT) FROM package_tally WHERE site = '' GROUP BY standing",
    )
    .fetch_all(tx.connection())
    .await
    .map_err(failed("sum up places"))?;
    Ok(rows.into_iter().map(|(standing, places)| (standing, uncount(places))).collect())
}

/// Clients of all advertisements together, by how they stand.
pub(crate) async fn clients_by_standing(tx: &mut Tx) -> Result<Vec<ClientCount>, StoreError> {
    let rows: Vec<(String, String, i64)> = sqlx::query_as(
        "SELECT acceptance, delivery, CAST(SUM(clients) AS BIGINT) FROM advertisement_tally
         WHERE site = '' GROUP BY acceptance, delivery",
    )
    .fetch_all(tx.connection())
    .await
    .map_err(failed("sum up clients"))?;
    rows.into_iter()
        .map(|(acceptance, delivery, clients)| client_count("", &acceptance, &delivery, clients))
        .collect()
}

/// package or site, place, standing, version, places
type PackageRow = (String, String, String, i64, i64);

/// The numbers of places by package, of one site or (`None`) of all; of one package or of those whose id is after one.
pub(crate) async fn packages(
    tx: &mut Tx,
    site: Option<&SiteCode>,
    (first, last): (&str, &str),
) -> Result<BTreeMap<PackageId, Vec<PackageCount>>, StoreError> {
    let rows: Vec<PackageRow> = sqlx::query_as(
        "SELECT package, place, standing, source_version, places FROM package_tally
         WHERE site = $1 AND package >= $2 AND package <= $3 ORDER BY package",
    )
    .bind(site.map_or("", SiteCode::as_str))
    .bind(first)
    .bind(last)
    .fetch_all(tx.connection())
    .await
    .map_err(failed("read how packages stand"))?;
    grouped(rows)
}

/// The numbers of places of one package by site, of the sites that this one knows.
pub(crate) async fn sites_of_package(
    tx: &mut Tx,
    package: &PackageId,
) -> Result<BTreeMap<SiteCode, Vec<PackageCount>>, StoreError> {
    // The tally is sorted by site: a look at each is less than an index more.
    let rows: Vec<PackageRow> = sqlx::query_as(
        "SELECT t.site, t.place, t.standing, t.source_version, t.places
         FROM object s CROSS JOIN package_tally t ON t.site = s.id AND t.package = $1
         WHERE s.kind = 'site'",
    )
    .bind(package.as_str())
    .fetch_all(tx.connection())
    .await
    .map_err(failed("read how a package stands"))?;
    grouped(rows)
}

/// Places that stand alike.
#[derive(Debug, Clone, Copy)]
pub(crate) struct PackageCount {
    pub(crate) place: PlaceKind,
    pub(crate) standing: Standing,
    pub(crate) source_version: u64,
    pub(crate) places: u64,
}

fn grouped<K>(rows: Vec<PackageRow>) -> Result<BTreeMap<K, Vec<PackageCount>>, StoreError>
where
    K: std::str::FromStr + Ord,
{
    let mut grouped = BTreeMap::<K, Vec<PackageCount>>::new();
    for (key, place, standing, version, places) in rows {
        let unknown = |column| StoreError::Inconsistent { table: "package_tally", column, row: key.clone() };
        let counted = PackageCount {
            place: PlaceKind::parse(&place).ok_or_else(|| unknown("place"))?,
            standing: Standing::parse(&standing).ok_or_else(|| unknown("standing"))?,
            source_version: uncount(version),
            places: uncount(places),
        };
        grouped.entry(name("package_tally", "package", &key)?).or_default().push(counted);
    }
    Ok(grouped)
}

/// advertisement or site, acceptance, delivery, clients
type AdvertisementRow = (String, String, String, i64);

/// Clients that stand alike.
#[derive(Debug, Clone, Copy)]
pub(crate) struct ClientCount {
    pub(crate) acceptance: Acceptance,
    pub(crate) delivery: Delivery,
    pub(crate) clients: u64,
}

/// The numbers of clients by advertisement, of one site or (`None`) of all.
pub(crate) async fn advertisements(
    tx: &mut Tx,
    site: Option<&SiteCode>,
    (first, last): (&str, &str),
) -> Result<BTreeMap<AdvertisementId, Vec<ClientCount>>, StoreError> {
    let rows: Vec<AdvertisementRow> = sqlx::query_as(
        "SELECT advertisement, acceptance, delivery, clients FROM advertisement_tally
         WHERE site = $1 AND advertisement >= $2 AND advertisement <= $3 ORDER BY advertisement",
    )
    .bind(site.map_or("", SiteCode::as_str))
    .bind(first)
    .bind(last)
    .fetch_all(tx.connection())
    .await
    .map_err(failed("read how advertisements stand"))?;
    by_key(rows)
}

/// The numbers of clients of one advertisement by site, of the sites that this one knows.
pub(crate) async fn sites_of_advertisement(
    tx: &mut Tx,
    advertisement: &AdvertisementId,
) -> Result<BTreeMap<SiteCode, Vec<ClientCount>>, StoreError> {
    let rows: Vec<AdvertisementRow> = sqlx::query_as(
        "SELECT t.site, t.acceptance, t.delivery, t.clients
         FROM object s CROSS JOIN advertisement_tally t ON t.site = s.id AND t.advertisement = $1
         WHERE s.kind = 'site'",
    )
    .bind(advertisement.as_str())
    .fetch_all(tx.connection())
    .await
    .map_err(failed("read how an advertisement stands"))?;
    by_key(rows)
}

fn by_key<K>(rows: Vec<AdvertisementRow>) -> Result<BTreeMap<K, Vec<ClientCount>>, StoreError>
where
    K: std::str::FromStr + Ord,
{
    let mut grouped = BTreeMap::<K, Vec<ClientCount>>::new();
    for (key, acceptance, delivery, clients) in rows {
        let counted = client_count(&key, &acceptance, &delivery, clients)?;
        grouped.entry(name("advertisement_tally", "advertisement", &key)?).or_default().push(counted);
    }
    Ok(grouped)
}

fn client_count(
    row: &str,
    acceptance: &str,
    delivery: &str,
    clients: i64,
) -> Result<ClientCount, StoreError> {
    let unknown =
        |column| StoreError::Inconsistent { table: "advertisement_tally", column, row: row.to_owned() };
    Ok(ClientCount {
        acceptance: Acceptance::parse(acceptance).ok_or_else(|| unknown("acceptance"))?,
        delivery: Delivery::parse(delivery).ok_or_else(|| unknown("delivery"))?,
        clients: uncount(clients),
    })
}
