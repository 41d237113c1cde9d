//! Stopping a bad package: killing releases of it for this site and all below, and lifting that.

use std::collections::BTreeSet;

use packhorse_domain::{
    id::PackageId,
    kill::{KILLS_MAX, Kill},
    message,
    object::ObjectKind,
};
use packhorse_proto::{
    object::v1 as wire,
    provider::v1::{KillPackageRequest, PackageKill},
};
use packhorse_trust::Name;

use super::{change::Change, invalid, parsed};
use crate::{
    error::Error,
    kills, record,
    site::Site,
    store::{Tx, objects},
};

/// Every kill that holds here: this site's and those of the sites above.
pub(super) async fn list(tx: &mut Tx) -> Result<Vec<PackageKill>, Error> {
    let mut shown = Vec::new();
    for (object, word) in kills::words(tx).await? {
        let Some(kill) = word.kill else { continue };
        let present = record::package(tx, kill.package.as_str()).await?;
        shown.push(PackageKill {
            site: object.owner.to_string(),
            covers_present: present.is_some_and(|present| present.version.release <= kill.release),
            kill: Some((&kill).into()),
        });
    }
    Ok(shown)
}

/// Those about one package.
pub(super) async fn about(tx: &mut Tx, package: &PackageId) -> Result<Vec<PackageKill>, Error> {
    let mut kills = list(tx).await?;
    kills.retain(|one| one.kill.as_ref().is_some_and(|kill| kill.package == package.as_str()));
    Ok(kills)
}

pub(super) async fn kill(
    site: &Site,
    who: &Name,
    asked: KillPackageRequest,
) -> Result<Vec<PackageKill>, Error> {
    let package: PackageId = parsed("package", &asked.package)?;
    let mut change = Change::begin(site, who).await?;
    let release = match asked.release {
        0 => newest(&mut change.tx, site, &package).await?,
        release => release,
    };
    let kill = Kill { package: package.clone(), release, reason: asked.reason, at: site.now() };
    kill.check().map_err(|error| invalid("reason", error))?;
    let id = Kill::id(site.code(), &package);
    let held = record::find::<wire::Kill, Kill>(&mut change.tx, ObjectKind::Kill, &id).await?;
    kill.check_after(held.as_ref().map(|(_, held)| held))
        .map_err(|error| Error::Precondition(error.to_string()))?;
    check_room(&mut change.tx, site, &id).await?;
    let is_said = held.is_some_and(|(_, held)| held == Kill { at: held.at, ..kill.clone() });
    if is_said {
        return about(&mut change.tx, &package).await;
    }
    change.write::<wire::Kill, _>(ObjectKind::Kill, &id, &kill).await?;
    let kills = about(&mut change.tx, &package).await?;
    let killed = message::package_killed(&package, &release, &kill.reason);
    change.finish(package.as_str(), killed).await?;
    Ok(kills)
}

/// Lifts this site's own kill. Gives those of other sites, which hold.
pub(super) async fn revive(site: &Site, who: &Name, package: &str) -> Result<Vec<PackageKill>, Error> {
    let package: PackageId = parsed("package", package)?;
    let mut change = Change::begin(site, who).await?;
    let id = Kill::id(site.code(), &package);
    let before = about(&mut change.tx, &package).await?;
    if !before.iter().any(|one| one.site == site.code().as_str()) {
        let others: BTreeSet<&str> = before.iter().map(|one| one.site.as_str()).collect();
        let others = others.into_iter().collect::<Vec<_>>().join(", ");
        let text = if others.is_empty() {
            format!("package {package} is not killed; `packhorse package kills` lists what is")
        } else {
            format!("site {} did not kill package {package}: it is lifted at {others}", site.code())
        };
        return Err(Error::Precondition(text));
    }
    change.delete(ObjectKind::Kill, &id).await?;
    let kills = about(&mut change.tx, &package).await?;
    change.finish(package.as_str(), message::package_revived(&package)).await?;
    Ok(kills)
}

/// The newest release that is known here.
async fn newest(tx: &mut Tx, site: &Site, package: &PackageId) -> Result<u64, Error> {
    let known = record::package(tx, package.as_str()).await?;
    known.map(|known| known.version.release).ok_or_else(|| {
        Error::Precondition(format!(
            "package {package} is not known at site {}: say with --release which release of it, and all before, must not \
             run; its owner's `packhorse package show {package}` tells the newest",
            site.code()
        ))
    })
}

async fn check_room(tx: &mut Tx, site: &Site, id: &str) -> Result<(), Error> {
    let words = objects::list_with_deleted(tx, ObjectKind::Kill).await?;
    let own = words.iter().filter(|object| object.owner == *site.code() && object.id != id).count();
    if own < KILLS_MAX {
        return Ok(());
    }
    Err(Error::Precondition(format!(
        "site {} has killed {KILLS_MAX} packages, lifted ones too, which is the most that clients keep: delete the package's \
         advertisements with `packhorse advertisement delete` instead",
        site.code()
    )))
}
