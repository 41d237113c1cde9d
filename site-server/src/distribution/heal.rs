//! What was found damaged is fetched again: at a child by counting as not held, so that the parent sends it anew; at
//! the owner from the source directory.

use std::{
    collections::{BTreeSet, HashMap},
    path::PathBuf,
    sync::Arc,
    time::{Duration, Instant},
};

use packhorse_content::{CaseClashes, SnapshotOptions, snapshot_with};
use packhorse_domain::{Digest, id::PackageId, message, package::PackageState, status::PackageStatus};
use packhorse_runtime::{Next, Worker, error_chain};

use crate::{
    care::{
        mend::{self, Repair},
        prestage,
    },
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

/// Compares what the database says is held with what the library still has, when somebody met damage and now and then,
/// and brings back what is missing.
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
        check_contents(&self.site).await?;
        Ok(Next::Idle)
    }
}

/// Mends every version that counts as held and lacks something. One that cannot be mended chunk by chunk counts as not
/// held from then on, and comes whole again.
pub(crate) async fn check_contents(site: &Site) -> Result<(), Error> {
    // Whoever waits finds less to do, and knows what became of the rest.
    let _alone = site.care.mending.lock().await;
    for manifest in lacking(site).await? {
        let packages = believed(site, &manifest).await?;
        let repair = mend::mend(site, &manifest, &packages).await?;
        if repair.is_whole {
            mended(site, &repair).await?;
        } else {
            lose(site, &repair).await?;
        }
        site.care.repaired(repair);
    }
    Ok(())
}

/// The versions that count as held, and are not whole in the library.
async fn lacking(site: &Site) -> Result<Vec<Digest>, Error> {
    let mut tx = site.store.read().await?;
    let held: BTreeSet<Digest> =
        contents::list(&mut tx).await?.into_iter().map(|content| content.manifest).collect();
    drop(tx);
    let mut lacking = Vec::new();
    for manifest in held {
        let library = site.library.clone();
        let lacks = tokio::task::spawn_blocking(move || -> Result<bool, Error> {
            Ok(library.manifest(&manifest)?.is_none_or(|content| !library.missing(&content).is_empty()))
        })
        .await?;
        // A manifest that cannot be read is as good as none.
        if lacks.unwrap_or(true) {
            lacking.push(manifest);
        }
    }
    Ok(lacking)
}

/// The packages that count this version as held.
async fn believed(site: &Site, manifest: &Digest) -> Result<Vec<PackageId>, Error> {
    let mut tx = site.store.read().await?;
    let contents = contents::list(&mut tx).await?.into_iter();
    Ok(contents.filter(|content| content.manifest == *manifest).map(|content| content.package).collect())
}

/// Checks a version that somebody stumbled over and forgets its damaged chunks; Content Check brings them back. One that
/// is known to lack some is not read again.
pub(crate) async fn distrust(site: &Site, manifest: &Digest) -> Result<(), Error> {
    let (library, target) = (site.library.clone(), *manifest);
    let suspect = tokio::task::spawn_blocking(move || -> Result<bool, Error> {
        let Some(content) = library.manifest(&target)? else { return Ok(true) };
        if !library.missing(&content).is_empty() {
            return Ok(true);
        }
        let damaged: Vec<Digest> = library.verify(&target)?.into_iter().map(|chunk| chunk.digest).collect();
        library.forget_damaged(&damaged)?;
        Ok(!damaged.is_empty())
    })
    .await?;
    if suspect.unwrap_or(true) {
        site.care.check.wake();
    }
    Ok(())
}

/// Tells that a version is whole again. Packages may share it.
async fn mended(site: &Site, repair: &Repair) -> Result<(), Error> {
    let what = match repair.had_no_manifest {
        true => "the list of its files".to_owned(),
        false => format!("{} chunks", repair.lacked),
    };
    let from = match repair.from.is_empty() {
        true => String::new(),
        false => format!(" from {}", repair.givers()),
    };
    let message = message::version_mended(&repair.manifest.short(), &what, &from);
    let mut tx = site.store.begin().await?;
    for package in &repair.packages {
        status::report(site, &mut tx, package.as_str(), &message).await?;
    }
    Ok(tx.commit().await?)
}

/// A version that could not be mended counts as held no more, for each package that has it.
async fn lose(site: &Site, repair: &Repair) -> Result<(), Error> {
    let reason = match (repair.had_no_manifest, repair.left) {
        (true, _) => "the version was missing or damaged in the content library".to_owned(),
        (false, left) => format!(
            "{} chunks of the content library were damaged, and nobody near gives {left} of them",
            repair.lacked
        ),
    };
    let mut tx = site.store.begin().await?;
    for package in &repair.packages {
        lose_one(site, &mut tx, package, &repair.manifest, &reason).await?;
    }
    Ok(tx.commit().await?)
}

async fn lose_one(
    site: &Site,
    tx: &mut Tx,
    package: &PackageId,
    manifest: &Digest,
    reason: &str,
) -> Result<(), Error> {
    contents::remove(tx, package, manifest).await?;
    prestage::unpin(tx, site.now(), manifest).await?;
    let status = PackageStatus {
        package: package.clone(),
        site: site.code().clone(),
        point: None,
        state: PackageState::Retrying,
        source_version: 0,
        held: held(site, tx, package).await?,
        reason: reason.to_owned(),
        changed_at: site.now(),
    };
    record::put_package_status(site, tx, status).await?;
    status::report(site, tx, package.as_str(), &message::version_lost(&reason)).await
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
                // Whether such names are meant was decided when the version was made.
                let options = SnapshotOptions { record: Some(&record), case_clashes: CaseClashes::Keep };
                snapshot_with(&source, &library, options, &|_| std::ops::ControlFlow::Continue(()))
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
        held: held(site, &mut tx, id).await?,
        reason,
        changed_at: site.now(),
    };
    record::put_package_status(site, &mut tx, status).await?;
    tx.commit().await?;
    Ok(mended)
}
