//! Removes what nobody needs any more: old versions, bundles that every child has, packages that were deleted.

use std::fs;

use packhorse_domain::{Digest, id::PackageId, link::ItemId};

use crate::{
    distribution::{View, child_plan, intake},
    error::Error,
    site::Site,
    store::{
        arrivals,
        bundles::{self, SendingState},
        contents::{self, Content},
    },
};

/// Versions of a package that are kept beside the newest, for bundles that build on them.
const OLDER_VERSIONS_KEPT: usize = 1;

pub(super) async fn clean(site: &Site, view: &View, swept: &mut bool) -> Result<(), Error> {
    bundles_not_needed(site, view).await?;
    let removed = contents_not_needed(site, view).await?;
    arrivals_not_needed(site, view).await?;
    if removed || !*swept {
        collect(site).await?;
        intake::remove_stale_uploads(site)?;
        spool_strays(site).await?;
        *swept = true;
    }
    Ok(())
}

/// A bundle goes when no child needs it, or what it leads to is no longer wanted.
async fn bundles_not_needed(site: &Site, view: &View) -> Result<(), Error> {
    let mut tx = site.store.begin().await?;
    let mut needed = Vec::new();
    for (package, distribution) in &view.packages {
        for child in &view.children {
            if let Some(plan) = child_plan(site, &mut tx, child, package, distribution).await? {
                needed.push((child.0.clone(), plan));
            }
        }
    }
    let mut gone = Vec::new();
    for sending in bundles::sendings(&mut tx).await? {
        let bundle = bundles::get(&mut tx, &sending.digest).await?;
        let target = bundle.as_ref().map(|bundle| bundle.target);
        let child_needs =
            needed.iter().any(|(child, plan)| *child == sending.peer && Some(plan.target) == target);
        if !child_needs || (sending.state == SendingState::Done && bundle.is_none()) {
            bundles::remove_sending(&mut tx, &sending.peer, &sending.digest).await?;
        }
    }
    let sendings = bundles::sendings(&mut tx).await?;
    for bundle in bundles::list(&mut tx).await? {
        let planned =
            needed.iter().any(|(_, plan)| plan.target == bundle.target && plan.bases == bundle.bases);
        let queued = sendings.iter().any(|sending| sending.digest == bundle.digest);
        if !planned && !queued {
            bundles::remove(&mut tx, &bundle.digest).await?;
            gone.push(bundle.digest);
        }
    }
    tx.commit().await?;
    for digest in gone {
        // A file that stays is found by the next sweep.
        drop(fs::remove_file(site.directories.bundle(&digest)));
    }
    Ok(())
}

/// True: something is no longer held, and the library has room to win.
async fn contents_not_needed(site: &Site, view: &View) -> Result<bool, Error> {
    let mut kept: Vec<(&PackageId, usize)> = Vec::new();
    let mut gone: Vec<&Content> = Vec::new();
    for content in &view.contents {
        let package = view.packages.iter().find(|(package, _)| package.definition.id == content.package);
        let wanted = package.is_some_and(|(package, distribution)| view.wants(site, package, distribution));
        let current = package.is_some_and(|(package, _)| package.version.manifest == Some(content.manifest));
        let older = match kept.iter_mut().find(|(id, _)| *id == &content.package) {
            Some((_, number)) => number,
            None => {
                kept.push((&content.package, 0));
                &mut kept.last_mut().expect("it was just pushed").1
            }
        };
        if !wanted {
            gone.push(content);
        } else if !current {
            *older += 1;
            // A version ahead of its definition is held until the definition comes.
            if *older > OLDER_VERSIONS_KEPT && content.source_version != 0 {
                gone.push(content);
            }
        }
    }
    if gone.is_empty() {
        return Ok(false);
    }
    let mut tx = site.store.begin().await?;
    for content in gone {
        contents::remove(&mut tx, &content.package, &content.manifest).await?;
    }
    tx.commit().await?;
    Ok(true)
}

/// What was being received for a package that is no longer wanted.
async fn arrivals_not_needed(site: &Site, view: &View) -> Result<(), Error> {
    let mut tx = site.store.begin().await?;
    let mut gone: Vec<ItemId> = Vec::new();
    for arrival in arrivals::list(&mut tx).await? {
        let package = view.packages.iter().find(|(package, _)| package.definition.id == arrival.package);
        let moved_on = package.is_some_and(|(package, _)| {
            package.version.manifest.is_some_and(|manifest| manifest != arrival.target)
                && view.holds(&package.definition.id, &package.version.manifest.unwrap_or(arrival.target))
        });
        if moved_on {
            arrivals::remove(&mut tx, &arrival.item).await?;
            gone.push(arrival.item);
        }
    }
    tx.commit().await?;
    for item in gone {
        drop(fs::remove_file(site.directories.arrival(&item)));
    }
    Ok(())
}

/// Frees what no held version names. Nobody may be between the library and the database meanwhile.
async fn collect(site: &Site) -> Result<(), Error> {
    let _gate = site.content_gate.write().await;
    let mut tx = site.store.read().await?;
    let live: Vec<Digest> =
        contents::list(&mut tx).await?.into_iter().map(|content| content.manifest).collect();
    drop(tx);
    let library = site.library.clone();
    let collected = tokio::task::spawn_blocking(move || library.collect(&live)).await??;
    tracing::info!(target: "distribution-manager", ?collected, "the content library was cleaned");
    Ok(())
}

/// Files in the spool that no row knows: what a crash left between the two.
async fn spool_strays(site: &Site) -> Result<(), Error> {
    let mut tx = site.store.read().await?;
    let mut known: Vec<_> =
        bundles::list(&mut tx).await?.iter().map(|bundle| site.directories.bundle(&bundle.digest)).collect();
    known
        .extend(arrivals::list(&mut tx).await?.iter().map(|arrival| site.directories.arrival(&arrival.item)));
    drop(tx);
    for directory in [site.directories.outgoing(), site.directories.incoming()] {
        let entries = fs::read_dir(&directory)
            .map_err(|source| Error::File { what: format!("list {}", directory.display()), source })?;
        for path in entries.filter_map(|entry| Some(entry.ok()?.path())) {
            // Younger ones may be in the making.
            let old = fs::metadata(&path)
                .and_then(|facts| facts.modified())
                .is_ok_and(|at| at.elapsed().is_ok_and(|age| age.as_secs() > 3600));
            if old && !known.contains(&path) {
                drop(fs::remove_file(path));
            }
        }
    }
    Ok(())
}
