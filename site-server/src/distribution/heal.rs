//! What was found damaged is fetched again: at a child by counting as not held, so that the parent sends it anew; at
//! the owner from the source directory.

use std::{
    collections::HashMap,
    path::PathBuf,
    sync::Arc,
    time::{Duration, Instant},
};

use packhorse_domain::{
    Digest,
    id::PackageId,
    package::PackageState,
    status::{EventType, PackageStatus, Severity},
};
use packhorse_runtime::{Next, Worker, error_chain};

use crate::{
    distribution::{View, held},
    error::Error,
    record::{self, PackageRecord},
    site::Site,
    status,
    store::{
        Tx,
        contents::{self, Content},
    },
};

/// How often a source that does not have the content any more is read again.
const SEEK_EVERY: Duration = Duration::from_secs(300);

type Sought = HashMap<PackageId, Instant>;

/// Compares what the database says is held with what the library still has, when a reader met damage and now and then.
pub(crate) struct ContentCheck {
    site: Arc<Site>,
}

impl ContentCheck {
    pub(crate) fn new(site: Arc<Site>) -> Self {
        ContentCheck { site }
    }
}

impl Worker for ContentCheck {
    const NAME: &'static str = "content-check";
    const PERIOD: Duration = Duration::from_secs(3600);
    type Error = Error;

    async fn step(&mut self) -> Result<Next, Error> {
        let mut tx = self.site.store.read().await?;
        let contents = contents::list(&mut tx).await?;
        drop(tx);
        for content in contents {
            let (library, target) = (self.site.library.clone(), content.manifest);
            let lacks = tokio::task::spawn_blocking(move || -> Result<bool, Error> {
                Ok(library.manifest(&target)?.is_none_or(|manifest| !library.missing(&manifest).is_empty()))
            })
            .await?;
            // A manifest that cannot be read is as good as none.
            if lacks.unwrap_or(true) {
                distrust(&self.site, &content.manifest).await?;
            }
        }
        Ok(Next::Idle)
    }
}

/// Checks a version that somebody stumbled over, forgets its damaged chunks, and lets it count as not held.
pub(crate) async fn distrust(site: &Site, manifest: &Digest) -> Result<(), Error> {
    let mut tx = site.store.read().await?;
    let believed: Vec<PackageId> = contents::list(&mut tx)
        .await?
        .into_iter()
        .filter(|content| content.manifest == *manifest)
        .map(|content| content.package)
        .collect();
    drop(tx);
    let (library, target) = (site.library.clone(), *manifest);
    let damaged = tokio::task::spawn_blocking(move || -> Result<Option<usize>, Error> {
        if !library.has_manifest(&target) {
            return Ok(None);
        }
        let damaged: Vec<Digest> = library.verify(&target)?.into_iter().map(|chunk| chunk.digest).collect();
        library.forget_damaged(&damaged)?;
        Ok(Some(damaged.len()))
    })
    .await?;
    let reason = match damaged {
        Ok(Some(0)) => return Ok(()),
        Ok(Some(damaged)) => format!("{damaged} chunks of the content library were damaged"),
        Ok(None) => "the version was missing in the content library".to_owned(),
        Err(error) => {
            format!("the version could not be read from the content library: {}", error_chain(&error))
        }
    };
    let mut tx = site.store.begin().await?;
    // Packages may share a version, and it counts as held for each of them. One that was forgotten before is no news.
    for package in believed {
        lose(site, &mut tx, &package, manifest, &reason).await?;
    }
    Ok(tx.commit().await?)
}

async fn lose(
    site: &Site,
    tx: &mut Tx,
    package: &PackageId,
    manifest: &Digest,
    reason: &str,
) -> Result<(), Error> {
    contents::remove(tx, package, manifest).await?;
    let status = PackageStatus {
        package: package.clone(),
        site: site.code().clone(),
        point: None,
        state: PackageState::Retrying,
        source_version: 0,
        held: held(tx, package).await?,
        reason: reason.to_owned(),
        changed_at: site.now(),
    };
    record::put_package_status(site, tx, status).await?;
    let class = (Severity::Error, EventType::Milestone);
    let text = format!("{reason}; the version is fetched again");
    status::report(site, tx, "distribution-manager", class, package.as_str(), &text).await
}

/// Takes the owner's own packages in again whose content is not held. True: one could not be.
pub(super) async fn heal(site: &Site, view: &View, sought: &mut Sought) -> Result<bool, Error> {
    sought.retain(|_, at| at.elapsed() < SEEK_EVERY);
    let mut failed = false;
    for (package, _) in &view.packages {
        if let Some(target) = package.version.manifest
            && package.object.owner == *site.code()
            && !view.holds(&package.definition.id, &target)
        {
            // A step follows every change of anything, and the source may be large.
            if sought.contains_key(&package.definition.id) {
                failed = true;
                continue;
            }
            let mended = take_again(site, package, target).await?;
            if !mended {
                sought.insert(package.definition.id.clone(), Instant::now());
            }
            failed |= !mended;
        }
    }
    Ok(failed)
}

async fn take_again(site: &Site, package: &PackageRecord, target: Digest) -> Result<bool, Error> {
    let _gate = site.content_gate.read().await;
    let id = &package.definition.id;
    let mut tx = site.store.read().await?;
    let source = contents::source(&mut tx, id).await?;
    drop(tx);
    let reason = match source {
        None => "the content was damaged and there is no source directory on this server".to_owned(),
        Some(source) => {
            let library = site.library.clone();
            let source = PathBuf::from(source);
            let record = site.directories.source_record(&source);
            let taken = tokio::task::spawn_blocking(move || {
                packhorse_content::snapshot_again(&source, &library, &record, &|_| {
                    std::ops::ControlFlow::Continue(())
                })
            })
            .await?;
            match taken {
                Ok(snapshot) if snapshot.digest == target => String::new(),
                Ok(_) => "the content was damaged and the source directory has changed since".to_owned(),
                Err(error) => {
                    format!("the content was damaged and cannot be read again: {}", error_chain(&error))
                }
            }
        }
    };
    let mut tx = site.store.begin().await?;
    let mended = reason.is_empty();
    if mended {
        let content =
            Content { package: id.clone(), manifest: target, source_version: package.version.source_version };
        contents::add(&mut tx, &content, site.now()).await?;
    }
    let (state, reason) = match mended {
        true => (PackageState::Installed, String::new()),
        false => (PackageState::Failed, format!("{reason}; use `packhorse package update {id}`")),
    };
    let status = PackageStatus {
        package: id.clone(),
        site: site.code().clone(),
        point: None,
        state,
        source_version: package.version.source_version,
        held: held(&mut tx, id).await?,
        reason,
        changed_at: site.now(),
    };
    record::put_package_status(site, &mut tx, status).await?;
    tx.commit().await?;
    Ok(mended)
}
