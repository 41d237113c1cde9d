//! Removes what nobody needs any more: old versions, bundles that every child has, packages that were deleted.

use std::{
    fs::{self, File},
    path::{Path, PathBuf},
    time::Duration,
};

use packhorse_content::{BundleError, read_header};
use packhorse_domain::{
    Digest,
    distribution::{HeldVersion, Wanted, kept},
    id::PackageId,
    link::ItemId,
    object::ObjectKind,
};

use crate::{
    care::prestage,
    distribution::{View, ahead, intake, needs},
    error::Error,
    record,
    site::Site,
    store::{
        Tx,
        arrivals::{self, ArrivalState},
        bundles::{self, SendingState},
        contents::{self, Content},
        objects,
    },
};

/// Whoever queues for the gate keeps everybody out who comes later, so nobody queues long.
const GATE_WAIT: Duration = Duration::from_secs(1);

pub(super) async fn clean(site: &Site, view: &View, swept: &mut bool) -> Result<(), Error> {
    bundles_not_needed(site, view).await?;
    if contents_not_needed(site, view).await? {
        // Until it has been swept, whatever fails in between.
        *swept = false;
    }
    arrivals_not_needed(site, view).await?;
    if !*swept {
        let collected = collect(site, view).await?;
        intake::remove_stale_uploads(site)?;
        let mut tx = site.store.read().await?;
        let sources = contents::sources(&mut tx).await?;
        drop(tx);
        let mut kept: Vec<PathBuf> =
            sources.iter().map(|source| site.directories.source_record(Path::new(source))).collect();
        remove_records(&site.directories.sources(), &kept)?;
        kept.clear();
        for point in &view.points {
            let packages = view.packages.iter().map(|(package, _)| &package.definition.id);
            kept.extend(packages.map(|package| site.directories.point_record(&point.location, package)));
        }
        remove_records(&site.directories.points(), &kept)?;
        spool_strays(site).await?;
        *swept = collected;
    }
    Ok(())
}

/// A bundle goes when no child needs it, or what it leads to is no longer wanted. One that waits for a child and builds on
/// what the child is about to lose makes room for another.
async fn bundles_not_needed(site: &Site, view: &View) -> Result<(), Error> {
    let mut tx = site.store.begin().await?;
    let needed = needs(site, &mut tx, view).await?;
    let ahead = ahead(site, view);
    let mut gone = Vec::new();
    for sending in bundles::sendings(&mut tx).await? {
        let bundle = bundles::get(&mut tx, &sending.digest).await?;
        let coming = arrivals::get(&mut tx, &ItemId::of(&sending.digest)).await?;
        let target = bundle.as_ref().map(|bundle| bundle.target).or(coming.map(|arrival| arrival.target));
        let bases =
            bundle.as_ref().filter(|_| sending.state.is_waiting()).map(|bundle| bundle.bases.as_slice());
        let child_needs = needed.iter().any(|need| {
            let is_of_use = need.may_build_on(bases.unwrap_or_default());
            *need.child == sending.peer && Some(need.plan.target) == target && is_of_use
        });
        if !child_needs || (sending.state == SendingState::Done && bundle.is_none()) {
            bundles::remove_sending(&mut tx, &sending.peer, &sending.digest).await?;
        }
    }
    let sendings = bundles::sendings(&mut tx).await?;
    for bundle in bundles::list(&mut tx).await? {
        let plans = needed.iter().map(|need| &need.plan).chain(ahead.iter().map(|(_, plan)| plan));
        let planned =
            plans.into_iter().any(|plan| plan.target == bundle.target && plan.bases == bundle.bases);
        let queued = sendings.iter().any(|sending| sending.digest == bundle.digest);
        if !planned && !queued {
            bundles::remove(&mut tx, &bundle.digest).await?;
            gone.push(bundle.digest);
        }
    }
    tx.commit().await?;
    remove_bundles(site, &gone);
    Ok(())
}

/// What was made by another version of this program, which wrote bundles otherwise, goes: no child of this version could use it,
/// and one that builds on nothing would be offered for ever. It is made again.
pub(super) async fn bundles_of_other_formats(site: &Site) -> Result<(), Error> {
    let mut tx = site.store.begin().await?;
    let mut gone = Vec::new();
    for bundle in bundles::list(&mut tx).await? {
        let header = File::open(site.directories.bundle(&bundle.digest))
            .map_err(BundleError::Read)
            .and_then(|mut file| read_header(&mut file));
        if let Err(BundleError::Version(version)) = header {
            let (package, digest) = (&bundle.package, bundle.digest);
            tracing::info!(target: "distribution-manager", %package, version, "a bundle of another format is made again");
            bundles::remove(&mut tx, &digest).await?;
            gone.push(digest);
        }
    }
    tx.commit().await?;
    remove_bundles(site, &gone);
    Ok(())
}

fn remove_bundles(site: &Site, gone: &[Digest]) {
    for digest in gone {
        // A file that stays is found by the next sweep.
        drop(fs::remove_file(site.directories.bundle(digest)));
        drop(fs::remove_file(site.directories.outline(digest)));
    }
}

/// Whether this site should hold a package's content. Objects and bundles come by different ways: what arrived before
/// the object that wants it is not unwanted. The objects are looked at as they are now: what became wanted since the
/// view was loaded must not go.
async fn wanted(site: &Site, tx: &mut Tx, view: &View, package: &PackageId) -> Result<Wanted, Error> {
    let record = record::package(tx, package.as_str()).await?;
    let distribution = record::distribution(tx, package).await?;
    Ok(match record {
        Some(record) if view.wants(site, &record, &distribution) => Wanted::Yes,
        Some(_) if objects::held(tx, ObjectKind::Distribution, package.as_str()).await?.is_none() => {
            Wanted::NotYetKnown
        }
        None if objects::held(tx, ObjectKind::Package, package.as_str()).await?.is_none() => {
            Wanted::NotYetKnown
        }
        _ => Wanted::No,
    })
}

/// True: something is no longer held, and the library has room to win.
async fn contents_not_needed(site: &Site, view: &View) -> Result<bool, Error> {
    let mut tx = site.store.read().await?;
    let overtaken = contents::overtaken(&mut tx).await?;
    let mut gone: Vec<&Content> = Vec::new();
    // They are sorted by package, and the newest version comes first.
    for versions in view.contents.chunk_by(|one, next| one.package == next.package) {
        let package = &versions[0].package;
        let current = view
            .packages
            .iter()
            .find(|(record, _)| record.definition.id == *package)
            .and_then(|(record, _)| record.version.manifest);
        let facts: Vec<HeldVersion> = versions
            .iter()
            .map(|content| HeldVersion {
                is_current: current == Some(content.manifest),
                may_be_ahead: content.source_version == 0 && !overtaken.contains(content),
            })
            .collect();
        let wanted = wanted(site, &mut tx, view, package).await?;
        let kept = kept(wanted, &facts, site.settings.content.older_versions);
        gone.extend(versions.iter().zip(kept).filter(|(_, kept)| !kept).map(|(content, _)| content));
    }
    drop(tx);
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

/// What was being received and is of no use any more: it is here by now, or not wanted.
async fn arrivals_not_needed(site: &Site, view: &View) -> Result<(), Error> {
    let mut tx = site.store.read().await?;
    let mut gone: Vec<ItemId> = Vec::new();
    for arrival in arrivals::list(&mut tx).await? {
        // Despooler has that one.
        if arrival.state == ArrivalState::Complete {
            continue;
        }
        let current = view
            .packages
            .iter()
            .find(|(record, _)| record.definition.id == arrival.package)
            .and_then(|(record, _)| record.version.manifest);
        let held = current.is_some_and(|current| view.holds(&arrival.package, &current));
        if held || wanted(site, &mut tx, view, &arrival.package).await? == Wanted::No {
            gone.push(arrival.item);
        }
    }
    drop(tx);
    if gone.is_empty() {
        return Ok(());
    }
    let mut tx = site.store.begin().await?;
    for item in &gone {
        arrivals::remove(&mut tx, item).await?;
    }
    tx.commit().await?;
    for item in gone {
        drop(fs::remove_file(site.directories.arrival(&item)));
        drop(fs::remove_file(site.directories.arrival_ranges(&item)));
        drop(fs::remove_file(site.directories.arrival_outline(&item)));
        site.relays.forget(&item);
    }
    Ok(())
}

/// Frees what no held version names. Nobody may be between the library and the database meanwhile. False: somebody is,
/// for longer than others should have to wait behind us.
async fn collect(site: &Site, view: &View) -> Result<bool, Error> {
    let Ok(_gate) = tokio::time::timeout(GATE_WAIT, site.content_gate.write()).await else {
        return Ok(false);
    };
    let mut tx = site.store.read().await?;
    let Some(mut live) = prestage::spared(site, &mut tx).await? else { return Ok(false) };
    let held: Vec<Digest> =
        contents::list(&mut tx).await?.into_iter().map(|content| content.manifest).collect();
    drop(tx);
    // What should be held and lacks something is mended with what there is of it.
    live.extend(view.lacking(site).into_iter().map(|(_, manifest)| manifest));
    let library = site.library.clone();
    let collected = tokio::task::spawn_blocking(move || {
        // One of these that cannot be read would keep everything else from being collected; nothing counts on it.
        live.retain(|manifest| {
            library.manifest_bytes(manifest).is_ok() && library.staged_manifest(manifest).is_ok()
        });
        live.extend(held);
        library.collect(&live)
    })
    .await??;
    tracing::info!(target: "distribution-manager", ?collected, "the content library was cleaned");
    Ok(true)
}

/// Removes what is remembered of directories that are of no use any more. Where one is being read or filled, what it loses
/// by it is read again.
fn remove_records(directory: &Path, kept: &[PathBuf]) -> Result<(), Error> {
    let listing = |source| Error::File { what: format!("list {}", directory.display()), source };
    for entry in fs::read_dir(directory).map_err(listing)? {
        let path = entry.map_err(listing)?.path();
        if !kept.contains(&path) {
            fs::remove_file(&path)
                .map_err(|source| Error::File { what: format!("remove {}", path.display()), source })?;
        }
    }
    Ok(())
}

/// Files in the spool that no row knows: what a crash left between the two.
async fn spool_strays(site: &Site) -> Result<(), Error> {
    let mut tx = site.store.read().await?;
    let directories = &site.directories;
    let mut known = Vec::new();
    for bundle in bundles::list(&mut tx).await? {
        known.extend([directories.bundle(&bundle.digest), directories.outline(&bundle.digest)]);
    }
    for arrival in arrivals::list(&mut tx).await? {
        let item = &arrival.item;
        known.extend([
            directories.arrival(item),
            directories.arrival_ranges(item),
            directories.arrival_outline(item),
        ]);
    }
    drop(tx);
    for directory in [site.directories.outgoing(), site.directories.incoming()] {
        let entries = fs::read_dir(&directory)
            .map_err(|source| Error::File { what: format!("list {}", directory.display()), source })?;
        // By the clock that dates the files: it is not ours where they lie on another machine.
        let Ok(now) = tempfile::tempfile_in(&directory).and_then(|new| new.metadata()?.modified()) else {
            continue;
        };
        for path in entries.filter_map(|entry| Some(entry.ok()?.path())) {
            // Younger ones may be in the making.
            let old = fs::metadata(&path)
                .and_then(|facts| facts.modified())
                .is_ok_and(|at| now.duration_since(at).is_ok_and(|age| age.as_secs() > 3600));
            if old && !known.contains(&path) {
                drop(fs::remove_file(path));
            }
        }
    }
    Ok(())
}
