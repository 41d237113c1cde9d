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

type Row = (String, Vec<u8>, i64);

impl TryFrom<Row> for Content {
    type Error = StoreError;

    fn try_from((package, manifest, source_version): Row) -> Result<Self, StoreError> {
        Ok(Content {
            package: name("content", "package", &package)?,
            manifest: digest_of("content", "manifest", &manifest)?,
            source_version: uncount(source_version),
        })
    }
}

/// By package, newest first.
pub(crate) async fn list(tx: &mut Tx) -> Result<Vec<Content>, StoreError> {
    sqlx::query_as::<_, Row>(
        "SELECT package, manifest, source_version FROM content ORDER BY package, source_version DESC, held_at DESC",
    )
    .fetch_all(tx.connection())
    .await
    .map_err(failed("list content"))?
    .into_iter()
    .map(TryInto::try_into)
    .collect()
}

/// What is held of one package, newest first.
pub(crate) async fn of(tx: &mut Tx, package: &PackageId) -> Result<Vec<Content>, StoreError> {
    sqlx::query_as::<_, Row>(
        "SELECT package, manifest, source_version FROM content WHERE package = $1
         ORDER BY source_version DESC, held_at DESC",
    )
    .bind(package.as_str())
    .fetch_all(tx.connection())
    .await
    .map_err(failed("list a package's content"))?
    .into_iter()
    .map(TryInto::try_into)
    .collect()
}

/// What came under no version number and is not news any more: the package's definition has changed since.
pub(crate) async fn overtaken(tx: &mut Tx) -> Result<Vec<Content>, StoreError> {
    sqlx::query_as::<_, Row>(
        "SELECT c.package, c.manifest, c.source_version FROM content c
         JOIN object o ON o.kind = 'package' AND o.id = c.package
         WHERE c.source_version = 0 AND o.changed_at > c.held_at",
    )
    .fetch_all(tx.connection())
    .await
    .map_err(failed("find overtaken content"))?
    .into_iter()
    .map(TryInto::try_into)
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

/// All source directories.
pub(crate) async fn sources(tx: &mut Tx) -> Result<Vec<String>, StoreError> {
    sqlx::query_scalar("SELECT directory FROM package_source")
        .fetch_all(tx.connection())
        .await
        .map_err(failed("list source directories"))
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
