//! Distribution Manager: brings content to where it should be.
//!
//! At the site where a package is made it takes the source in ([`intake`]). At every site it brings the content to the
//! site's own distribution points ([`points`]), makes the bundles for the children ([`bundles`]), mends what was found
//! damaged ([`heal`]) and removes what nobody needs any more ([`cleanup`]).

mod adopt;
mod bundles;
mod cleanup;
mod effort;
mod heal;
pub(crate) mod intake;
mod needs;
mod points;
#[cfg(test)]
mod tests;

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
    time::{Duration, Instant},
};

use packhorse_domain::{
    Digest,
    distribution::Distribution,
    id::{PackageId, PointName, SiteCode},
    kill::KillList,
    object::ObjectKind,
    package::PackageState,
    site::subtree,
    status::{HELD_MAX, PackageStatus},
};
use packhorse_proto::object::v1 as wire;
use packhorse_runtime::{Next, Worker};

use crate::{
    care::prestage,
    error::Error,
    kills,
    record::{self, Body, PackageRecord},
    sender::parents,
    site::Site,
    store::{
        Tx,
        contents::{self, Content},
        couriers, neighbours, objects,
        points::PointRow,
    },
};

pub(crate) use adopt::{adopt, adopt_offered};
use bundles::Made;
pub(crate) use heal::{ContentCheck, check_contents};
use needs::ahead;
pub(crate) use needs::{Need, needs};

const RETRY: Duration = Duration::from_secs(30);

/// The worker.
pub(crate) struct DistributionManager {
    site: Arc<Site>,
    /// When each directory was last compared with what it should hold.
    checked: HashMap<(PointName, PackageId), Instant>,
    /// When each package whose content is lost was last looked for at its source.
    sought: HashMap<PackageId, Instant>,
    not_made: bundles::Failed,
    swept: bool,
}

/// What should be where, as the database has it.
pub(crate) struct View {
    pub(crate) packages: Vec<(PackageRecord, Distribution)>,
    /// Ids of packages of which it has come who wants them, be it nobody.
    distributed: HashSet<String>,
    pub(crate) contents: Vec<Content>,
    pub(crate) points: Vec<PointRow>,
    /// This site and all below it.
    pub(crate) subtree: Vec<SiteCode>,
    /// Those that are sent bundles from here, each with the sites of its own subtree, itself included: the children, and
    /// sites further down that have a courier.
    pub(crate) served: Vec<(SiteCode, Vec<SiteCode>)>,
    kills: KillList,
}

impl View {
    pub(crate) async fn load(site: &Site, tx: &mut Tx) -> Result<View, Error> {
        let mut packages = Vec::new();
        for package in record::packages(tx).await? {
            let distribution = record::distribution(tx, &package.definition.id).await?;
            packages.push((package, distribution));
        }
        let parents = parents(tx).await?;
        let mut served = neighbours::children(tx).await?;
        let mut all = vec![site.code().clone()];
        all.extend(served.iter().flat_map(|child| subtree(child, &parents)));
        let by_courier = couriers::routes(tx).await?.into_iter().map(|route| route.peer);
        served.extend(
            by_courier.filter(|peer| all.contains(peer) && !served.contains(peer)).collect::<Vec<_>>(),
        );
        let served = served.into_iter().map(|one| (one.clone(), subtree(&one, &parents))).collect();
        Ok(View {
            packages,
            distributed: objects::names(tx, ObjectKind::Distribution).await?.into_iter().collect(),
            contents: contents::list(tx).await?,
            points: crate::store::points::list(tx).await?,
            subtree: all,
            served,
            kills: kills::list(tx).await?,
        })
    }

    pub(crate) fn holds(&self, package: &PackageId, manifest: &Digest) -> bool {
        self.contents.iter().any(|content| content.package == *package && content.manifest == *manifest)
    }

    /// Whether this site should hold a package's content: it made it, or a point in its subtree is a target.
    pub(crate) fn wants(&self, site: &Site, package: &PackageRecord, distribution: &Distribution) -> bool {
        package.version.manifest.is_some()
            && (package.object.owner == *site.code() || distribution.reaches(&self.subtree))
    }

    /// Whether the present release may run nowhere below: then its content is not sent on.
    fn is_killed(&self, package: &PackageRecord) -> bool {
        self.kills.killed(&package.definition.id, package.version.release).is_some()
    }

    /// Packages whose content this site should hold and does not, with the version.
    pub(crate) fn lacking(&self, site: &Site) -> Vec<(PackageId, Digest)> {
        let wanted = self.packages.iter().filter(|(package, wanted)| self.wants(site, package, wanted));
        let versions = wanted.filter_map(|(package, _)| {
            let target = package.version.manifest?;
            Some((package.definition.id.clone(), target))
        });
        versions.filter(|(package, target)| !self.holds(package, target)).collect()
    }
}

impl DistributionManager {
    pub(crate) fn new(site: Arc<Site>) -> Self {
        DistributionManager {
            site,
            checked: HashMap::new(),
            sought: HashMap::new(),
            not_made: HashMap::new(),
            swept: false,
        }
    }
}

impl Worker for DistributionManager {
    const NAME: &'static str = "distribution-manager";
    const PERIOD: Duration = Duration::from_secs(60);
    type Error = Error;

    async fn step(&mut self) -> Result<Next, Error> {
        let mut tx = self.site.store.read().await?;
        let mut view = View::load(&self.site, &mut tx).await?;
        drop(tx);
        if !view.lacking(&self.site).is_empty() && !adopt(&self.site).await?.is_empty() {
            view = View::load(&self.site, &mut self.site.store.read().await?).await?;
        }
        report_libraries(&self.site, &view).await?;
        let mut failed = heal::heal(&self.site, &view, &mut self.sought).await?;
        failed |= points::bring(&self.site, &view, &mut self.checked).await?;
        if !self.swept {
            cleanup::bundles_of_other_formats(&self.site).await?;
        }
        match bundles::make_one(&self.site, &view, &mut self.not_made).await? {
            Made::One => return Ok(Next::Again),
            Made::Nothing => {}
            Made::Failed => failed = true,
        }
        cleanup::clean(&self.site, &view, &mut self.swept).await?;
        Ok(if failed { Next::After(RETRY) } else { Next::Idle })
    }
}

/// Brings the status of this site's library up to date for every package, and forgets it for those that are gone. Most
/// of the time there is nothing to do, and nobody who writes has to wait for finding that out.
async fn report_libraries(site: &Site, view: &View) -> Result<(), Error> {
    let wanted: HashSet<&PackageId> = view
        .packages
        .iter()
        .filter(|(package, distribution)| view.wants(site, package, distribution))
        .map(|(package, _)| &package.definition.id)
        .collect();
    let held: HashSet<&PackageId> = view.contents.iter().map(|content| &content.package).collect();
    let mut tx = site.store.read().await?;
    let mut news = Vec::new();
    for package in &wanted {
        if let Some(status) = library_status(site, &mut tx, package).await?
            && (record::is_news(&mut tx, &status).await? || is_unnumbered(&mut tx, package).await?)
        {
            news.push(*package);
        }
    }
    let mut gone = Vec::new();
    for (object, status) in
        record::list::<wire::PackageStatus, PackageStatus>(&mut tx, ObjectKind::PackageStatus).await?
    {
        // What is still in the library is forgotten only once the clean-up has removed it.
        let is_own_library = status.site == *site.code() && status.point.is_none();
        if is_own_library
            && !held.contains(&status.package)
            && !wanted.contains(&status.package)
            && is_known(&mut tx, view, &status.package).await?
        {
            gone.push(object.id);
        }
    }
    drop(tx);
    if news.is_empty() && gone.is_empty() {
        return Ok(());
    }
    let mut tx = site.store.begin().await?;
    for package in news {
        report_library(site, &mut tx, package).await?;
    }
    for id in gone {
        record::write(site, &mut tx, ObjectKind::PackageStatus, &id, Body::Deleted).await?;
    }
    Ok(tx.commit().await?)
}

/// Whether the view was taken with the objects that say who wants a package. What is said of a bundle that came before
/// them stays.
async fn is_known(tx: &mut Tx, view: &View, package: &PackageId) -> Result<bool, Error> {
    match objects::get(tx, ObjectKind::Package, package.as_str()).await? {
        Some(object) if object.deleted => Ok(true),
        Some(_) => Ok(view.distributed.contains(package.as_str())),
        None => Ok(false),
    }
}

/// Writes how this site's library stands with a package, unless a failure was noted that still holds.
pub(crate) async fn report_library(site: &Site, tx: &mut Tx, package: &PackageId) -> Result<(), Error> {
    let Some(status) = library_status(site, tx, package).await? else {
        return Ok(());
    };
    number(site, tx, package).await?;
    record::put_package_status(site, tx, status).await?;
    Ok(())
}

/// How this site's library stands with a package. `None`: a failure was noted that still holds, or there is nothing to
/// hold.
async fn library_status(
    site: &Site,
    tx: &mut Tx,
    package: &PackageId,
) -> Result<Option<PackageStatus>, Error> {
    let held = held(site, tx, package).await?;
    let Some(record) = record::package(tx, package.as_str()).await? else {
        return Ok(None);
    };
    let Some(target) = record.version.manifest else {
        return Ok(None);
    };
    let installed = held.contains(&target);
    let noted = noted_failure(tx, site, package).await?;
    if !installed && noted.is_some_and(|noted| noted.held == held) {
        return Ok(None);
    }
    let killed = match installed {
        true => None,
        false => kills::list(tx).await?.killed(package, record.version.release),
    };
    Ok(Some(PackageStatus {
        package: package.clone(),
        site: site.code().clone(),
        point: None,
        state: if installed { PackageState::Installed } else { PackageState::Pending },
        source_version: record.version.source_version,
        held,
        reason: killed.map(|killed| format!("it is not sent: {killed}")).unwrap_or_default(),
        changed_at: site.now(),
    }))
}

/// Whether the version that the definition names is held under no number: it came before its definition.
async fn is_unnumbered(tx: &mut Tx, package: &PackageId) -> Result<bool, Error> {
    let current = record::package(tx, package.as_str()).await?.and_then(|package| package.version.manifest);
    let held = contents::of(tx, package).await?;
    Ok(held.iter().any(|content| content.source_version == 0 && Some(content.manifest) == current))
}

async fn number(site: &Site, tx: &mut Tx, package: &PackageId) -> Result<(), Error> {
    if is_unnumbered(tx, package).await?
        && let Some(PackageRecord { version, .. }) = record::package(tx, package.as_str()).await?
        && let Some(manifest) = version.manifest
    {
        let content = Content { package: package.clone(), manifest, source_version: version.source_version };
        contents::add(tx, &content, site.now()).await?;
    }
    Ok(())
}

pub(crate) async fn noted_failure(
    tx: &mut Tx,
    site: &Site,
    package: &PackageId,
) -> Result<Option<PackageStatus>, Error> {
    let id = format!("{package}/{}/", site.code());
    let noted =
        record::find::<wire::PackageStatus, PackageStatus>(tx, ObjectKind::PackageStatus, &id).await?;
    Ok(noted
        .map(|(_, status)| status)
        .filter(|status| matches!(status.state, PackageState::Retrying | PackageState::Failed)))
}

/// Somebody could not fetch a package from this site: if it is the library's fault, that is mended.
pub(crate) async fn check_library(site: &Site, package: &PackageId) -> Result<(), Error> {
    let mut tx = site.store.read().await?;
    let manifest =
        record::package(&mut tx, package.as_str()).await?.and_then(|record| record.version.manifest);
    drop(tx);
    match manifest {
        Some(manifest) if site.library.has_manifest(&manifest) => heal::distrust(site, &manifest).await,
        _ => Ok(()),
    }
}

/// Versions of a package that the library holds, newest first. Where there is none, those that were prestaged and may be
/// older ones of it: a bundle may build on them.
pub(crate) async fn held(site: &Site, tx: &mut Tx, package: &PackageId) -> Result<Vec<Digest>, Error> {
    let held: Vec<Digest> =
        contents::of(tx, package).await?.into_iter().map(|content| content.manifest).collect();
    if !held.is_empty() {
        return Ok(held.into_iter().take(HELD_MAX).collect());
    }
    let current = record::package(tx, package.as_str()).await?.and_then(|record| record.version.manifest);
    let mut bases = prestage::bases(site, tx).await?;
    // Whether that one is held, adopting it says.
    bases.retain(|base| Some(*base) != current);
    Ok(bases)
}
