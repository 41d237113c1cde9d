//! Migrations: carried in the binary, applied at start, never edited once released.

use std::path::Path;

use sqlx::{
    SqlitePool,
    migrate::{MigrateError, Migration, MigrationType, Migrator},
};

use super::StoreError;

const MIGRATIONS: [(i64, &str, &str); 15] = [
    (1, "site", include_str!("../../migrations/0001_site.sql")),
    (2, "change log", include_str!("../../migrations/0002_change_log.sqlite.sql")),
    (3, "address", include_str!("../../migrations/0003_address.sql")),
    (4, "address log", include_str!("../../migrations/0004_address_log.sqlite.sql")),
    (5, "queue order", include_str!("../../migrations/0005_queue_order.sql")),
    (6, "queue order changes", include_str!("../../migrations/0006_queue_order_changes.sqlite.sql")),
    (7, "object by digest", include_str!("../../migrations/0007_object_by_digest.sql")),
    (8, "arrival outline", include_str!("../../migrations/0008_arrival_outline.sql")),
    (9, "refusal", include_str!("../../migrations/0009_refusal.sql")),
    (10, "parcel", include_str!("../../migrations/0010_parcel.sql")),
    (11, "courier route", include_str!("../../migrations/0011_courier_route.sql")),
    (12, "courier route changes", include_str!("../../migrations/0012_courier_route_changes.sqlite.sql")),
    (13, "tally", include_str!("../../migrations/0013_tally.sqlite.sql")),
    (14, "event", include_str!("../../migrations/0014_event.sqlite.sql")),
    (15, "bundle effort", include_str!("../../migrations/0015_bundle_effort.sql")),
];

/// The newest schema that this program knows.
pub(super) fn newest() -> i64 {
    MIGRATIONS.iter().map(|(version, ..)| *version).max().unwrap_or_default()
}

pub(super) async fn migrate(pool: &SqlitePool, path: &Path) -> Result<(), StoreError> {
    let migrations = MIGRATIONS
        .into_iter()
        .map(|(version, description, sql)| {
            Migration::new(
                version,
                description.into(),
                MigrationType::Simple,
                sqlx::SqlStr::from_static(sql),
                false,
            )
        })
        .collect::<Vec<_>>();
    Migrator::with_migrations(migrations).run(pool).await.map_err(|source| match source {
        MigrateError::VersionMissing(_) => StoreError::Newer { path: path.to_owned() },
        source => StoreError::Migrate { path: path.to_owned(), source },
    })
}
