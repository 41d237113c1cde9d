//! Package content that this site holds, and where its own packages' source lies.

use packhorse_domain::{Digest, Timestamp, id::PackageId};

use super::{StoreError, Tx, count, digest_of, failed, name, uncount};

/// A version whose content the library holds whole.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Content {
    pub(crate) package: PackageId,
    pub(crate) manifest: Digest,
    pub(crate) source_version: u64,
}

/// Newest first.
pub(crate) async fn list(tx: &mut Tx) -> Result<Vec<Content>, StoreError> {
    let rows: Vec<(String, Vec<u8>, i64)> = sqlx::query_as(
        "SELECT package, manifest, source_version FROM content ORDER BY package, source_version DESC, held_at DESC",
    )
    .fetch_all(tx.connection())
    .await
    .map_err(failed("list content"))?;
    rows.into_iter()
        .map(|(package, manifest, source_version)| {
            Ok(Content {
                package: name("content", "package", &package)?,
                manifest: digest_of("content", "manifest", &manifest)?,
                source_version: uncount(source_version),
            })
        })
        .collect()
}

pub(crate) async fn add(tx: &mut Tx, content: &Content, now: Timestamp) -> Result<(), StoreError> {
    sqlx::query(
        "INSERT INTO content (package, manifest, source_version, held_at) VALUES ($1, $2, $3, $4)
         ON CONFLICT (package, manifest) DO UPDATE SET source_version = excluded.source_version",
    )
    .bind(content.package.as_str())
    .bind(content.manifest.as_bytes().as_slice())
    .bind(count(content.source_version))
    .bind(now.0)
    .execute(tx.connection())
    .await
    .map_err(failed("record content"))?;
    Ok(())
}

pub(crate) async fn remove(tx: &mut Tx, package: &PackageId, manifest: &Digest) -> Result<(), StoreError> {
    sqlx::query("DELETE FROM content WHERE package = $1 AND manifest = $2")
        .bind(package.as_str())
        .bind(manifest.as_bytes().as_slice())
        .execute(tx.connection())
        .await
        .map_err(failed("forget content"))?;
    Ok(())
}

pub(crate) async fn source(tx: &mut Tx, package: &PackageId) -> Result<Option<String>, StoreError> {
    sqlx::query_scalar("SELECT directory FROM package_source WHERE package = $1")
        .bind(package.as_str())
        .fetch_optional(tx.connection())
        .await
        .map_err(failed("read a source directory"))
}

pub(crate) async fn set_source(
    tx: &mut Tx,
    package: &PackageId,
    directory: Option<&str>,
) -> Result<(), StoreError> {
    sqlx::query("DELETE FROM package_source WHERE package = $1")
        .bind(package.as_str())
        .execute(tx.connection())
        .await
        .map_err(failed("forget a source directory"))?;
    if let Some(directory) = directory {
        sqlx::query("INSERT INTO package_source (package, directory) VALUES ($1, $2)")
            .bind(package.as_str())
            .bind(directory)
            .execute(tx.connection())
            .await
            .map_err(failed("record a source directory"))?;
    }
    Ok(())
}
