//! This site's distribution points.

use packhorse_domain::{Timestamp, distribution::PointKind, id::PointName};

use super::{StoreError, Tx, failed, name, settings};

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct PointRow {
    pub(crate) name: PointName,
    pub(crate) kind: PointKind,
    /// A directory's path; an agent's endpoints, one per line.
    pub(crate) location: String,
}

pub(crate) async fn list(tx: &mut Tx) -> Result<Vec<PointRow>, StoreError> {
    let rows: Vec<(String, String, String)> =
        sqlx::query_as("SELECT name, kind, location FROM point ORDER BY name")
            .fetch_all(tx.connection())
            .await
            .map_err(failed("list distribution points"))?;
    rows.into_iter()
        .map(|(point, kind, location)| {
            Ok(PointRow {
                name: name("point", "name", &point)?,
                kind: if kind == "agent" { PointKind::Agent } else { PointKind::Directory },
                location,
            })
        })
        .collect()
}

pub(crate) async fn put(tx: &mut Tx, point: &PointRow) -> Result<(), StoreError> {
    sqlx::query(
        "INSERT INTO point (name, kind, location) VALUES ($1, $2, $3)
         ON CONFLICT (name) DO UPDATE SET kind = excluded.kind, location = excluded.location
         WHERE point.kind <> excluded.kind OR point.location <> excluded.location",
    )
    .bind(point.name.as_str())
    .bind(match point.kind {
        PointKind::Agent => "agent",
        PointKind::Directory => "directory",
    })
    .bind(&point.location)
    .execute(tx.connection())
    .await
    .map_err(failed("write a distribution point"))?;
    Ok(())
}

pub(crate) async fn remove(tx: &mut Tx, point: &PointName) -> Result<(), StoreError> {
    sqlx::query("DELETE FROM point WHERE name = $1")
        .bind(point.as_str())
        .execute(tx.connection())
        .await
        .map_err(failed("remove a distribution point"))?;
    Ok(())
}

/// When somebody last asked for a check of everything in a directory.
pub(crate) async fn check_asked_at(tx: &mut Tx, point: &PointName) -> Result<Option<Timestamp>, StoreError> {
    let value = settings::get(tx, &check_setting(point)).await?;
    Ok(value.and_then(|value| value.try_into().ok()).map(|bytes| Timestamp(i64::from_le_bytes(bytes))))
}

pub(crate) async fn ask_check(tx: &mut Tx, point: &PointName, now: Timestamp) -> Result<(), StoreError> {
    settings::set(tx, &check_setting(point), &now.0.to_le_bytes()).await
}

fn check_setting(point: &PointName) -> String {
    format!("check-of-point/{point}")
}
