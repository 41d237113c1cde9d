//! Which distribution points get a package.

use packhorse_domain::{
    distribution::{Distribution, TARGETS_MAX, Target},
    id::PackageId,
    message::{self, Message},
    object::ObjectKind,
    site::subtree,
};
use packhorse_proto::{convert::ConvertError, object::v1 as wire, provider::v1::Package};
use packhorse_trust::Name;

use super::{
    change::Change,
    invalid,
    packages::{own, view},
};
use crate::{
    error::Error,
    record,
    sender::parents,
    site::Site,
    store::{Tx, bundles, neighbours, objects},
};

pub(super) fn decode(targets: Vec<wire::distribution::Target>) -> Result<Vec<Target>, Error> {
    if targets.len() > TARGETS_MAX {
        return Err(too_many());
    }
    Ok(targets.into_iter().map(TryInto::try_into).collect::<Result<_, ConvertError>>()?)
}

fn too_many() -> Error {
    invalid("targets", format!("a package has at most {TARGETS_MAX} targets; send to fewer points"))
}

/// Every target must be a point that its site has told of.
pub(super) async fn check_known(tx: &mut Tx, targets: &[Target]) -> Result<(), Error> {
    for target in targets {
        let known = objects::get(tx, ObjectKind::DistributionPoint, &target.to_string()).await?;
        if known.is_none_or(|point| point.deleted) {
            return Err(Error::NotFound { what: "dp", id: target.to_string() });
        }
    }
    Ok(())
}

pub(super) async fn add(
    site: &Site,
    who: &Name,
    package: &str,
    targets: Vec<wire::distribution::Target>,
) -> Result<Package, Error> {
    let targets = decode(targets)?;
    let mut change = Change::begin(site, who).await?;
    let record = own(site, &mut change.tx, package).await?;
    check_known(&mut change.tx, &targets).await?;
    let again = queue_again(&mut change, &record.definition.id, &targets).await?;
    let shown = show(&targets);
    let message = message::package_sent(&package, &shown);
    replace(change, package, message, |distribution| distribution.add(targets) || again).await
}

/// A target that is added, be it again, takes back what was cancelled on the way to it. Says whether there was anything.
async fn queue_again(
    change: &mut Change<'_>,
    package: &PackageId,
    targets: &[Target],
) -> Result<bool, Error> {
    let parents = parents(&mut change.tx).await?;
    let mut again = false;
    for child in neighbours::children(&mut change.tx).await? {
        let below = subtree(&child, &parents);
        if targets.iter().any(|target| below.contains(&target.site)) {
            let now = change.site.now();
            again |= bundles::queue_cancelled(&mut change.tx, &child, package, now).await?;
        }
    }
    Ok(again)
}

pub(super) async fn remove(
    site: &Site,
    who: &Name,
    package: &str,
    targets: Vec<wire::distribution::Target>,
) -> Result<Package, Error> {
    let targets = decode(targets)?;
    let mut change = Change::begin(site, who).await?;
    let record = own(site, &mut change.tx, package).await?;
    let held = record::distribution(&mut change.tx, &record.definition.id).await?;
    if let Some(stray) = targets.iter().find(|target| !held.targets.contains(target)) {
        return Err(Error::Precondition(format!(
            "{stray} is not a target of package {package}; `packhorse package show {package}` lists its targets"
        )));
    }
    let message = message::package_taken_away(&package, &show(&targets));
    replace(change, package, message, |distribution| distribution.remove(&targets)).await
}

fn show(targets: &[Target]) -> String {
    let shown = targets.iter().take(20).map(ToString::to_string).collect::<Vec<_>>().join(", ");
    match targets.len().saturating_sub(20) {
        0 => shown,
        more => format!("{shown} and {more} more"),
    }
}

/// Writes the changed list, if it changed.
async fn replace(
    mut change: Change<'_>,
    package: &str,
    message: Message,
    with: impl FnOnce(&mut Distribution) -> bool,
) -> Result<Package, Error> {
    let record = own(change.site, &mut change.tx, package).await?;
    let mut distribution = record::distribution(&mut change.tx, &record.definition.id).await?;
    let changed = with(&mut distribution);
    if distribution.targets.len() > TARGETS_MAX {
        return Err(too_many());
    }
    if changed {
        change.write::<wire::Distribution, _>(ObjectKind::Distribution, package, &distribution).await?;
    }
    let shown = view(&mut change.tx, &record).await?;
    if changed {
        change.finish(package, message).await?;
    }
    Ok(shown)
}

/// Drops a point that is removed from every list that this site owns.
pub(super) async fn forget(change: &mut Change<'_>, gone: &Target) -> Result<(), Error> {
    let lists =
        record::list::<wire::Distribution, Distribution>(&mut change.tx, ObjectKind::Distribution).await?;
    for (object, mut distribution) in lists {
        if object.owner == *change.site.code() && distribution.remove(std::slice::from_ref(gone)) {
            change
                .write::<wire::Distribution, _>(ObjectKind::Distribution, &object.id, &distribution)
                .await?;
        }
    }
    Ok(())
}
