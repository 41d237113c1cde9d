//! Bundles for the children: one for each (target, bases), made once, used for all who need the same. Where time counts and
//! not bytes there may be a second one.

use std::{
    collections::HashMap,
    fs::{self, File},
    io::{BufWriter, Write as _},
    time::Instant,
};

use packhorse_content::{BundleError, BundleInfo, BundlePlan, Making, write_bundle};
use packhorse_domain::{Digest, effort::Effort};
use packhorse_runtime::{durable::sync_directory, error_chain};
use tracing::Instrument as _;

use crate::{
    care::room,
    distribution::{RETRY, View, ahead, heal, needs, needs::serves},
    error::Error,
    record::PackageRecord,
    site::Site,
    store::bundles::{self, BundleRow},
    trace,
};

/// When making a bundle to this target failed.
pub(super) type Failed = HashMap<Digest, Instant>;

/// What became of the first bundle that is needed and not there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Made {
    /// It is there now; there may be more to do.
    One,
    Nothing,
    /// It, or one before it, could not be made and waits for another try.
    Failed,
}

/// Makes the most urgent bundle that a child needs and that is not there. One that cannot be made holds up no other:
/// it is left alone for a while.
pub(super) async fn make_one(site: &Site, view: &View, failed: &mut Failed) -> Result<Made, Error> {
    failed.retain(|_, at| at.elapsed() < RETRY);
    let mut tx = site.store.read().await?;
    let needs = needs(site, &mut tx, view).await?;
    let known = bundles::list(&mut tx).await?;
    drop(tx);
    let urgent = needs.into_iter().find(|need| {
        !need.has_job
            && !failed.contains_key(&need.plan.target)
            && need.served_by(&known).is_none()
            && view.holds(&need.package.definition.id, &need.plan.target)
    });
    let urgent = urgent.map(|need| (need.child.as_str(), need.package, need.plan, need.effort));
    let is_known = |plan: &BundlePlan| known.iter().any(|bundle| serves(bundle, plan, Effort::LeastBytes));
    // Only when no child waits for one.
    let next = urgent.or_else(|| {
        let mut plans = ahead(site, view).into_iter();
        let (package, plan) =
            plans.find(|(_, plan)| !failed.contains_key(&plan.target) && !is_known(plan))?;
        Some(("none yet", package, plan, Effort::LeastBytes))
    });
    let Some((child, package, plan, effort)) = next else {
        return Ok(if failed.is_empty() { Made::Nothing } else { Made::Failed });
    };
    let span = tracing::info_span!(
        target: "distribution-manager",
        "make-bundle",
        package = %package.definition.id,
        child = %child,
    );
    let target = plan.target;
    if let Err(error) = make(site, package, plan, effort).instrument(trace::of(&package.object, span)).await {
        tracing::warn!(
            target: "distribution-manager",
            package = %package.definition.id,
            error = error_chain(&error),
            "a bundle cannot be made; it is tried again"
        );
        site.troubles.not_made(target, error_chain(&error));
        failed.insert(target, Instant::now());
        return Ok(Made::Failed);
    }
    site.troubles.made(&target);
    Ok(Made::One)
}

async fn make(site: &Site, package: &PackageRecord, plan: BundlePlan, effort: Effort) -> Result<(), Error> {
    room::check(site.settings.content.reserve, &site.directories.outgoing(), 0)?;
    let library = site.library.clone();
    let making = match effort {
        Effort::LeastBytes => Making::small(site.settings.bundle_level),
        Effort::LeastTime => Making::quick(site.settings.bundle_level_on_fast_lines),
    };
    let directory = site.directories.outgoing();
    let made = tokio::task::spawn_blocking({
        let plan = plan.clone();
        move || write(&library, &plan, &directory, making)
    })
    .await?;
    let info = match made {
        Ok(info) => info,
        Err(error) if !is_in_library(&error) => return Err(error),
        Err(error) => {
            // What stands in the way may be damage in the library: what is damaged must not count as held.
            heal::distrust(site, &plan.target).await?;
            for base in &plan.bases {
                heal::distrust(site, base).await?;
            }
            return Err(error);
        }
    };
    let bundle = BundleRow {
        digest: info.digest,
        package: package.definition.id.clone(),
        source_version: package.version.source_version,
        target: plan.target,
        bases: plan.bases,
        length: info.length,
        effort,
    };
    let mut tx = site.store.begin().await?;
    bundles::put(&mut tx, &bundle, site.now()).await?;
    tx.commit().await?;
    tracing::info!(
        target: "distribution-manager",
        package = %bundle.package,
        version = bundle.source_version,
        bytes = info.length,
        plain_bytes = info.plain_length,
        bases = bundle.bases.len(),
        made_for = effort.as_str(),
        "a bundle was made"
    );
    Ok(())
}

/// Whether the library may be at fault, and not the disk that is written to.
fn is_in_library(error: &Error) -> bool {
    match error {
        Error::Library(_) => true,
        Error::Bundle(error) => !matches!(error, BundleError::Write(_)),
        _ => false,
    }
}

/// Writes a bundle under its digest, durable when this returns.
fn write(
    library: &packhorse_content::Library,
    plan: &BundlePlan,
    directory: &std::path::Path,
    making: Making,
) -> Result<BundleInfo, Error> {
    let file = |what: &str| {
        let what = what.to_owned();
        move |source| Error::File { what, source }
    };
    let part = tempfile::NamedTempFile::new_in(directory).map_err(file("make a bundle file"))?;
    let mut out = BufWriter::with_capacity(256 * 1024, part.as_file());
    let info = write_bundle(library, plan, &mut out, making)?;
    out.flush().map_err(file("write a bundle"))?;
    drop(out);
    File::sync_all(part.as_file()).map_err(file("make a bundle durable"))?;
    // It can be made again from the bundle; a torn one leads to no digest and is passed over.
    fs::write(directory.join(format!("{}.outline", info.digest)), info.outline.to_bytes())
        .map_err(file("write an outline"))?;
    let path = directory.join(format!("{}.bundle", info.digest));
    let (_, part) = part.keep().map_err(|error| file("keep a bundle")(error.error))?;
    fs::rename(part, path).map_err(file("name a bundle"))?;
    sync_directory(directory)?;
    Ok(info)
}
