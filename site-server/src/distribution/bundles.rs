//! Bundles for the children: one for each (target, bases), made once, used for all who need the same.

use std::{
    fs::{self, File},
    io::{BufWriter, Write as _},
};

use packhorse_content::{BundleInfo, BundlePlan, write_bundle};
use packhorse_domain::{
    Digest,
    distribution::{ChildNeed, Distribution, child_need},
    id::SiteCode,
    object::ObjectKind,
    status::PackageStatus,
};
use packhorse_proto::object::v1 as wire;
use packhorse_runtime::durable::sync_directory;

use crate::{
    distribution::{View, heal},
    error::Error,
    record::{self, PackageRecord},
    site::Site,
    store::{
        Tx,
        bundles::{self, BundleRow, SendingState},
    },
};

/// What a child is to get of a package, from what it is known to hold.
pub(crate) async fn child_plan(
    site: &Site,
    tx: &mut Tx,
    child: &(SiteCode, Vec<SiteCode>),
    package: &PackageRecord,
    distribution: &Distribution,
) -> Result<Option<BundlePlan>, Error> {
    let (code, below) = child;
    let Some(target) = package.version.manifest.filter(|_| distribution.reaches(below)) else {
        return Ok(None);
    };
    let held = child_holds(tx, code, package).await?;
    let refused = bases_refused(tx, code, &target).await?;
    // A child whose words and deeds differ gets the whole.
    let bases = |base: &Digest| !refused && site.library.has_manifest(base);
    Ok(match child_need(&target, &held, bases) {
        ChildNeed::Nothing => None,
        ChildNeed::Bundle { target, bases } => Some(BundlePlan { target, bases }),
    })
}

/// The manifests that a child reported, those of this package first.
async fn child_holds(tx: &mut Tx, child: &SiteCode, package: &PackageRecord) -> Result<Vec<Digest>, Error> {
    let mut own = Vec::new();
    let mut others = Vec::new();
    for (_, status) in
        record::list::<wire::PackageStatus, PackageStatus>(tx, ObjectKind::PackageStatus).await?
    {
        if status.site == *child && status.point.is_none() {
            let list = if status.package == package.definition.id { &mut own } else { &mut others };
            list.extend(status.held);
        }
    }
    own.extend(others);
    Ok(own)
}

async fn bases_refused(tx: &mut Tx, child: &SiteCode, target: &Digest) -> Result<bool, Error> {
    for sending in bundles::sendings(tx).await? {
        if sending.peer == *child
            && sending.state == SendingState::BaseMissing
            && bundles::get(tx, &sending.digest).await?.is_some_and(|bundle| bundle.target == *target)
        {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Makes the first bundle that a child needs and that is not there. True: one was made, there may be more.
pub(super) async fn make_one(site: &Site, view: &View) -> Result<bool, Error> {
    for (package, distribution) in &view.packages {
        for child in &view.children {
            let mut tx = site.store.read().await?;
            let Some(plan) = child_plan(site, &mut tx, child, package, distribution).await? else {
                continue;
            };
            let known = bundles::list(&mut tx)
                .await?
                .iter()
                .any(|bundle| bundle.target == plan.target && bundle.bases == plan.bases);
            drop(tx);
            if known || !view.holds(&package.definition.id, &plan.target) {
                continue;
            }
            return make(site, package, plan).await;
        }
    }
    Ok(false)
}

async fn make(site: &Site, package: &PackageRecord, plan: BundlePlan) -> Result<bool, Error> {
    let (library, level) = (site.library.clone(), site.settings.bundle_level);
    let directory = site.directories.outgoing();
    let made = tokio::task::spawn_blocking({
        let plan = plan.clone();
        move || write(&library, &plan, &directory, level)
    })
    .await?;
    let info = match made {
        Ok(info) => info,
        Err(error) => {
            // Whatever stands in the way may be damage in the library: what is damaged must not count as held.
            heal::distrust(site, &package.definition.id, &plan.target).await?;
            for base in &plan.bases {
                heal::distrust(site, &package.definition.id, base).await?;
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
        "a bundle was made"
    );
    Ok(true)
}

/// Writes a bundle under its digest, durable when this returns.
fn write(
    library: &packhorse_content::Library,
    plan: &BundlePlan,
    directory: &std::path::Path,
    level: i32,
) -> Result<BundleInfo, Error> {
    let file = |what: &str| {
        let what = what.to_owned();
        move |source| Error::File { what, source }
    };
    let part = tempfile::NamedTempFile::new_in(directory).map_err(file("make a bundle file"))?;
    let mut out = BufWriter::with_capacity(256 * 1024, part.as_file());
    let info = write_bundle(library, plan, &mut out, level)?;
    out.flush().map_err(file("write a bundle"))?;
    drop(out);
    File::sync_all(part.as_file()).map_err(file("make a bundle durable"))?;
    let path = directory.join(format!("{}.bundle", info.digest));
    let (_, part) = part.keep().map_err(|error| file("keep a bundle")(error.error))?;
    fs::rename(part, path).map_err(file("name a bundle"))?;
    sync_directory(directory)?;
    Ok(info)
}
