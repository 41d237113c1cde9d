//! Content that is in the library already although no bundle brought it: it was prestaged, or mended.

use packhorse_domain::{Digest, id::PackageId, message};

use crate::{
    distribution::{View, report_library},
    error::Error,
    record,
    site::Site,
    status,
    store::{
        Tx,
        contents::{self, Content},
    },
};

/// Counts as held what packages want and the library has whole. Which packages that were.
pub(crate) async fn adopt(site: &Site) -> Result<Vec<PackageId>, Error> {
    // What is here now must still be here when it counts.
    let Ok(_gate) = site.content_gate.try_read() else { return Ok(Vec::new()) };
    let mut tx = site.store.read().await?;
    let view = View::load(site, &mut tx).await?;
    drop(tx);
    let mut adopted = Vec::new();
    for (package, manifest) in view.lacking(site) {
        if is_whole(site, manifest).await? {
            adopted.push((package, manifest));
        }
    }
    if adopted.is_empty() {
        return Ok(Vec::new());
    }
    let mut tx = site.store.begin().await?;
    for (package, manifest) in &adopted {
        let Some(record) = record::package(&mut tx, package.as_str()).await? else { continue };
        if record.version.manifest != Some(*manifest) {
            continue;
        }
        let source_version = record.version.source_version;
        let content = Content { package: package.clone(), manifest: *manifest, source_version };
        contents::add(&mut tx, &content, site.now()).await?;
        report_library(site, &mut tx, package).await?;
        tell(site, &mut tx, package, manifest).await?;
    }
    tx.commit().await?;
    Ok(adopted.into_iter().map(|(package, _)| package).collect())
}

/// Counts a version that is offered as held if the library has it whole; its package may be on its way. Says whether it
/// has.
pub(crate) async fn adopt_offered(
    site: &Site,
    package: &PackageId,
    manifest: &Digest,
) -> Result<bool, Error> {
    let Ok(_gate) = site.content_gate.try_read() else { return Ok(false) };
    if !site.library.has_manifest(manifest) || !is_whole(site, *manifest).await? {
        return Ok(false);
    }
    let mut tx = site.store.begin().await?;
    let record = record::package(&mut tx, package.as_str()).await?;
    let current = record.filter(|record| record.version.manifest == Some(*manifest));
    let source_version = current.map_or(0, |record| record.version.source_version);
    let content = Content { package: package.clone(), manifest: *manifest, source_version };
    contents::add(&mut tx, &content, site.now()).await?;
    report_library(site, &mut tx, package).await?;
    tell(site, &mut tx, package, manifest).await?;
    tx.commit().await?;
    Ok(true)
}

async fn tell(site: &Site, tx: &mut Tx, package: &PackageId, manifest: &Digest) -> Result<(), Error> {
    let message = message::content_adopted(&manifest.short());
    status::report(site, tx, package.as_str(), &message).await
}

/// Whether the library has a version with all its chunks. One that cannot be read it has not.
async fn is_whole(site: &Site, manifest: Digest) -> Result<bool, Error> {
    let library = site.library.clone();
    Ok(tokio::task::spawn_blocking(move || {
        library
            .manifest(&manifest)
            .is_ok_and(|content| content.is_some_and(|content| library.missing(&content).is_empty()))
    })
    .await?)
}
