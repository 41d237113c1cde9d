//! Content to this site's own distribution points: directories get the tree, agents the order to fetch.

use std::{borrow::Cow, collections::HashMap, path::PathBuf, time::Instant};

use packhorse_content::{Look, PublishTo, Published, TreeError, last_compared};
use packhorse_domain::{
    Digest, Timestamp,
    distribution::{DirectoryCheck, Distribution, EarlierChecks, PointKind, due_check},
    id::{PackageId, PointName},
    instruction::FileName,
    message,
    object::ObjectKind,
    package::PackageState,
    status::PackageStatus,
};
use packhorse_proto::object::v1 as wire;
use packhorse_runtime::{error_chain, telemetry};
use prost::Message as _;
use tracing::{Instrument as _, Span};

use crate::{
    despooler::StagedTree,
    distribution::{RETRY, View, heal},
    error::Error,
    record::{self, Body, PackageRecord},
    site::Site,
    status,
    store::{
        Tx, caps, objects,
        points::{self, PointRow},
    },
    trace,
};

/// So many of the paths that were altered are named.
const NAMED_MAX: usize = 10;

type Checked = HashMap<(PointName, PackageId), Instant>;

/// True: something failed and wants another try.
pub(super) async fn bring(site: &Site, view: &View, checked: &mut Checked) -> Result<bool, Error> {
    let mut failed = false;
    for point in &view.points {
        let mut tx = site.store.read().await?;
        let asked_at = points::check_asked_at(&mut tx, &point.name).await?;
        drop(tx);
        for (package, distribution) in &view.packages {
            let Some(target) = package.version.manifest else {
                continue;
            };
            if !distribution.points_at(site.code()).any(|name| *name == point.name) {
                continue;
            }
            let id = &package.definition.id;
            let held = view.holds(id, &target);
            match point.kind {
                PointKind::Agent if held => order(site, point, package).await?,
                PointKind::Directory if held || site.staged.is_ahead(&point.name, id, &target) => {
                    failed |= !publish(site, (point, asked_at), package, &target, checked).await?;
                }
                _ => {}
            }
        }
    }
    failed |= withdraw(site, view).await?;
    Ok(failed)
}

/// Tells an agent what to hold; it fetches by itself and reports.
async fn order(site: &Site, point: &PointRow, package: &PackageRecord) -> Result<(), Error> {
    let name =
        FileName::Content { point: point.name.as_str(), package: package.definition.id.as_str() }.to_string();
    let content = wire::PointContent {
        package: package.definition.id.to_string(),
        source_version: package.version.source_version,
        manifest: package.version.manifest.map(|digest| digest.0.to_vec()).unwrap_or_default().into(),
        traceparent: trace::of_content(&package.object.content),
    };
    let (traceparent, content) = (content.traceparent.clone(), content.encode_to_vec());
    let mut tx = site.store.read().await?;
    let known = caps::file(&mut tx, &name).await?;
    drop(tx);
    if known.is_some_and(|held| is_same_order(&held, &content)) {
        return Ok(());
    }
    let (point_name, id) = (&point.name, &package.definition.id);
    drop(telemetry::within(
        &traceparent,
        || tracing::info_span!(target: "distribution-manager", "order", point = %point_name, package = %id),
    ));
    let mut tx = site.store.begin().await?;
    caps::put_file(&mut tx, &name, Some(&content), point.name.as_str()).await?;
    let pending = status_of(site, package, &point.name, PackageState::Pending, String::new());
    record::put_package_status(site, &mut tx, pending).await?;
    Ok(tx.commit().await?)
}

/// Whether two orders ask for the same: what they came with is no reason to give one again.
fn is_same_order(held: &[u8], new: &[u8]) -> bool {
    let wish = |bytes: &[u8]| {
        let content = wire::PointContent::decode(bytes).ok()?;
        Some(wire::PointContent { traceparent: String::new(), ..content })
    };
    held == new || wish(held).is_some_and(|held| Some(held) == wish(new))
}

/// Makes the directory show this version. False: it failed.
async fn publish(
    site: &Site,
    (point, asked_at): (&PointRow, Option<Timestamp>),
    package: &PackageRecord,
    target: &Digest,
    checked: &mut Checked,
) -> Result<bool, Error> {
    let key = (point.name.clone(), package.definition.id.clone());
    let mut tx = site.store.read().await?;
    let id = format!("{}/{}/{}", package.definition.id, site.code(), point.name);
    let held =
        record::find::<wire::PackageStatus, PackageStatus>(&mut tx, ObjectKind::PackageStatus, &id).await?;
    drop(tx);
    let held = held.map(|(_, status)| status);
    let installed = held
        .as_ref()
        .is_some_and(|status| status.state == PackageState::Installed && status.held.first() == Some(target));
    // A step follows every change of anything; what failed a moment ago fails now.
    let failed = held.is_some_and(|status| {
        status.state == PackageState::Retrying && status.source_version == package.version.source_version
    });
    let looked = checked.get(&key).map(Instant::elapsed);
    let since_asked = asked_at.map(|asked_at| site.now().since(asked_at));
    let is_asked = looked.zip(since_asked).is_some_and(|(looked, asked)| asked <= looked);
    if failed && !is_asked && looked.is_some_and(|age| age < RETRY) {
        return Ok(false);
    }
    let record = site.directories.point_record(&point.location, &package.definition.id);
    let earlier = EarlierChecks { looked, compared_at: last_compared(&record).map(Timestamp), asked_at };
    let look = if installed { due_check(&earlier, site.now()) } else { DirectoryCheck::WhatWasTouched };
    let look = match look {
        DirectoryCheck::No => return Ok(true),
        DirectoryCheck::WhatWasTouched => Look::AtWhatWasTouched,
        DirectoryCheck::Everything => Look::AtEverything,
    };
    let staged = site.staged.take(&point.name, &package.definition.id);
    let is_ahead = staged.as_ref().is_some_and(|staged| staged.manifest().is_some());
    let span = tracing::info_span!(
        target: "distribution-manager", "lay-out", point = %point.name, package = %package.definition.id
    );
    // A look at what is there already is no part of how it came there.
    let span = if installed { Span::none() } else { trace::of(&package.object, span) };
    let laid_out = lay_out(site, (&point.location, staged), &package.definition.id, *target, look);
    let result = laid_out.instrument(span).await?;
    if let Err(error) = &result
        && is_ahead
        && !site.library.has_manifest(target)
    {
        // The library will have it in a moment, and then there is more to make it of.
        let (point, error) = (&point.name, error_chain(error));
        tracing::debug!(target: "distribution-manager", %point, error, "it waits for the library");
        return Ok(true);
    }
    checked.insert(key, Instant::now());
    let told = installed.then_some(earlier.is_asked());
    note(site, (point, package), &result, told).await?;
    if let Err(TreeError::Library { .. }) = &result {
        heal::distrust(site, target).await?;
    }
    Ok(result.is_ok())
}

/// Notes how it stands with a directory. What had been shown there before is `told` of, at least if somebody asked.
async fn note(
    site: &Site,
    (point, package): (&PointRow, &PackageRecord),
    result: &Result<Published, TreeError>,
    told: Option<bool>,
) -> Result<(), Error> {
    let mut tx = site.store.begin().await?;
    let text = result.as_ref().err().map(|error| error_chain(error)).unwrap_or_default();
    let state = if result.is_ok() { PackageState::Installed } else { PackageState::Retrying };
    let status = status_of(site, package, &point.name, state, text.clone());
    let changed = record::put_package_status(site, &mut tx, status).await?;
    if changed {
        let message = match result {
            Ok(_) => message::point_holds(&point.name, &package.version.source_version),
            Err(_) => message::point_failed(&point.name, &text),
        };
        status::report(site, &mut tx, package.definition.id.as_str(), &message).await?;
    }
    // What had not been brought there, or was taken away, nobody can have altered.
    if let (Ok(published), Some(is_asked)) = (result, told) {
        tell(site, &mut tx, (point, package), published, is_asked).await?;
    }
    Ok(tx.commit().await?)
}

/// Says what had been altered by hand, and answers whoever asked for a check.
async fn tell(
    site: &Site,
    tx: &mut Tx,
    (point, package): (&PointRow, &PackageRecord),
    published: &Published,
    asked: bool,
) -> Result<(), Error> {
    let version = package.version.source_version;
    let altered = &published.altered;
    let message = match altered.len() {
        0 if !asked => return Ok(()),
        0 => message::point_is_unaltered(&point.name, &version, &published.files_read),
        count => {
            let named = altered.iter().take(NAMED_MAX).map(String::as_str).collect::<Vec<_>>().join(", ");
            let more = match count.saturating_sub(NAMED_MAX) {
                0 => String::new(),
                more => format!(" and {more} more"),
            };
            message::point_was_altered(&point.name, &version, &format!("{named}{more}"))
        }
    };
    status::report(site, tx, package.definition.id.as_str(), &message).await
}

async fn lay_out(
    site: &Site,
    (location, staged): (&str, Option<StagedTree>),
    name: &PackageId,
    target: Digest,
    look: Look,
) -> Result<Result<Published, TreeError>, Error> {
    let record = site.directories.point_record(location, name);
    let (library, root, name) = (site.library.clone(), PathBuf::from(location), name.to_string());
    tokio::task::spawn_blocking(move || -> Result<Result<Published, TreeError>, Error> {
        let ahead = staged.as_ref().and_then(StagedTree::manifest);
        let manifest = match ahead {
            Some(manifest) => Some(Cow::Borrowed(manifest)),
            None => library.manifest(&target)?.map(Cow::Owned),
        };
        let Some(manifest) = manifest else {
            return Ok(Err(TreeError::WrongManifest { manifest: target }));
        };
        Ok({
            let staged = staged.as_ref().map(StagedTree::files);
            let to = PublishTo { root: &root, name: &name, record: &record, staged };
            packhorse_content::publish(&library, &target, &manifest, to, look)
        })
    })
    .await?
}

fn status_of(
    site: &Site,
    package: &PackageRecord,
    point: &PointName,
    state: PackageState,
    reason: String,
) -> PackageStatus {
    let held = match (state, package.version.manifest) {
        (PackageState::Installed, Some(manifest)) => vec![manifest],
        _ => Vec::new(),
    };
    PackageStatus {
        package: package.definition.id.clone(),
        site: site.code().clone(),
        point: Some(point.clone()),
        state,
        source_version: package.version.source_version,
        held,
        reason,
        changed_at: site.now(),
    }
}

/// Takes packages from points that should not hold them any more. True: something failed.
async fn withdraw(site: &Site, view: &View) -> Result<bool, Error> {
    let mut tx = site.store.read().await?;
    let statuses =
        record::list::<wire::PackageStatus, PackageStatus>(&mut tx, ObjectKind::PackageStatus).await?;
    let files = caps::file_names(&mut tx).await?;
    drop(tx);
    let wanted = |package: &PackageId, point: &PointName| {
        view.packages.iter().any(|(record, distribution): &(PackageRecord, Distribution)| {
            record.definition.id == *package
                && record.version.manifest.is_some()
                && distribution.points_at(site.code()).any(|name| name == point)
        })
    };
    let unwanted = site.staged.take_unwanted(|point, package| wanted(package, point));
    if !unwanted.is_empty() {
        tokio::task::spawn_blocking(move || drop(unwanted)).await?;
    }
    let mut failed = false;
    for (object, status) in statuses {
        let Some(point) = status.point.as_ref().filter(|_| status.site == *site.code()) else {
            continue;
        };
        if wanted(&status.package, point) {
            continue;
        }
        let directory = view.points.iter().find(|row| row.name == *point && row.kind == PointKind::Directory);
        let result = match directory {
            Some(directory) => remove(directory, status.package.as_str()).await?,
            None => Ok(()),
        };
        let mut tx = site.store.begin().await?;
        match result {
            Ok(()) => forget(site, &mut tx, &object.id).await?,
            Err(error) => {
                failed = true;
                let mut removing = status.clone();
                removing.state = PackageState::Removing;
                removing.reason = error_chain(&error);
                record::put_package_status(site, &mut tx, removing).await?;
            }
        }
        tx.commit().await?;
    }
    let mut unwanted = Vec::new();
    for name in files {
        if let Some(FileName::Content { point, package }) = FileName::parse(&name)
            && let (Ok(point), Ok(package)) = (point.parse::<PointName>(), package.parse::<PackageId>())
            && !wanted(&package, &point)
        {
            unwanted.push((name, point));
        }
    }
    if !unwanted.is_empty() {
        let mut tx = site.store.begin().await?;
        for (name, point) in unwanted {
            caps::put_file(&mut tx, &name, None, point.as_str()).await?;
        }
        tx.commit().await?;
    }
    Ok(failed)
}

async fn remove(directory: &PointRow, package: &str) -> Result<Result<(), TreeError>, Error> {
    let (root, package) = (PathBuf::from(&directory.location), package.to_owned());
    Ok(tokio::task::spawn_blocking(move || packhorse_content::withdraw(&root, &package)).await?)
}

async fn forget(site: &Site, tx: &mut Tx, id: &str) -> Result<(), Error> {
    if objects::get(tx, ObjectKind::PackageStatus, id).await?.is_some() {
        record::write(site, tx, ObjectKind::PackageStatus, id, Body::Deleted).await?;
    }
    Ok(())
}
