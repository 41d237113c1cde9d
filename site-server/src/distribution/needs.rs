//! What those who are served from here lack: a plan for each package and site, from what the site is known to hold.

use std::collections::{HashMap, HashSet};

use packhorse_content::BundlePlan;
use packhorse_domain::{
    Digest,
    distribution::{ChildNeed, Held, child_need},
    effort::Effort,
    id::{PackageId, SiteCode},
    object::ObjectKind,
    status::PackageStatus,
};
use packhorse_proto::object::v1 as wire;

use crate::{
    distribution::{View, effort::Efforts},
    error::Error,
    record::{self, PackageRecord},
    replication::child_spoke_after,
    scheduler,
    site::Site,
    store::{
        Tx,
        bundles::{self, BundleRow, SendingState},
    },
};

/// A child that is to get a version of a package.
pub(crate) struct Need<'a> {
    pub(crate) child: &'a SiteCode,
    pub(crate) package: &'a PackageRecord,
    pub(crate) plan: BundlePlan,
    pub(crate) effort: Effort,
    /// There is a mini-job that leads to the same, whatever its bundle builds on and was made for: it waits, an
    /// administrator cancelled it, or the child has not said yet what it holds since. No other bundle is made or queued
    /// beside it.
    pub(crate) has_job: bool,
    /// What the child holds and loses when it hears what this site knows: a bundle that builds on it comes in vain.
    goes: HashSet<Digest>,
}

impl Need<'_> {
    /// Whether a bundle is of use there that builds on these.
    pub(crate) fn may_build_on(&self, bases: &[Digest]) -> bool {
        !bases.iter().any(|base| self.goes.contains(base))
    }

    /// The bundle for it, of those that are there. The smallest goes, and none is made while another will do.
    pub(crate) fn served_by<'b>(&self, bundles: &'b [BundleRow]) -> Option<&'b BundleRow> {
        bundles
            .iter()
            .filter(|bundle| serves(bundle, &self.plan, self.effort))
            .min_by_key(|bundle| bundle.length)
    }
}

/// Whether a bundle is what a plan says, made for this or for everybody.
pub(super) fn serves(bundle: &BundleRow, plan: &BundlePlan, need: Effort) -> bool {
    bundle.target == plan.target && bundle.bases == plan.bases && bundle.effort.serves(need)
}

/// What each child reported to hold, by package.
type Reported = HashMap<SiteCode, Vec<OneReported>>;

struct OneReported {
    package: PackageId,
    held: Vec<Digest>,
    /// It is wanted there. What is not goes when the child hears of it, and is no base for anything else.
    stays: bool,
}

/// Everything that the children need and that may run there, what is urgent first. The statuses are read once, however many needs there are.
pub(crate) async fn needs<'a>(site: &Site, tx: &mut Tx, view: &'a View) -> Result<Vec<Need<'a>>, Error> {
    if view.served.is_empty() {
        return Ok(Vec::new());
    }
    let reported = reported(tx, view).await?;
    let jobs = jobs(tx).await?;
    let efforts = Efforts::load(site, tx, &view.served).await?;
    let mut needs = Vec::new();
    for (package, distribution) in view.packages.iter().filter(|(package, _)| !view.is_killed(package)) {
        let Some(target) = package.version.manifest else {
            continue;
        };
        for (child, below) in &view.served {
            if !distribution.reaches(below) {
                continue;
            }
            let held = holds(&reported, child, &package.definition.id);
            let jobs = jobs.get(&(child.clone(), target)).map(Vec::as_slice).unwrap_or_default();
            // A child whose words and deeds differ gets the whole.
            let is_refused = jobs.iter().any(|job| job.stands == Stands::Refused);
            let here = |base: &Digest| !is_refused && site.library.has_manifest(base);
            let shared = |base: &Digest| site.library.likeness(&target, base);
            if let ChildNeed::Bundle { target, bases } = child_need(&target, &held, here, shared) {
                let (goes, plan) = (goes(&reported, child, &held), BundlePlan { target, bases });
                let effort = efforts.of(child, below, distribution);
                let mut need = Need { child, package, plan, effort, has_job: false, goes };
                need.has_job = jobs.iter().any(|job| match job.stands {
                    Stands::Waits => need.may_build_on(&job.bases),
                    Stands::Cancelled | Stands::Unanswered => true,
                    Stands::Refused | Stands::Over => false,
                });
                needs.push(need);
            }
        }
    }
    needs.sort_by_key(|need| need.package.definition.priority);
    Ok(needs)
}

/// What is to be made before a child is known to need it: from older versions to the current one of each package that
/// some child is to have.
pub(super) fn ahead<'a>(site: &Site, view: &'a View) -> Vec<(&'a PackageRecord, BundlePlan)> {
    let reached = view
        .packages
        .iter()
        .filter(|(package, _)| !view.is_killed(package))
        .filter(|(_, distribution)| view.served.iter().any(|(_, below)| distribution.reaches(below)));
    let mut plans = Vec::new();
    for (package, _) in reached {
        let Some(target) = package.version.manifest else { continue };
        let own = || view.contents.iter().filter(|content| content.package == package.definition.id);
        if own().all(|content| content.manifest != target) {
            continue;
        }
        // They are sorted, the newest first.
        let older = own().filter(|content| content.manifest != target);
        for base in older.take(site.settings.content.prepare_ahead) {
            plans.push((package, BundlePlan { target, bases: vec![base.manifest] }));
        }
    }
    plans
}

async fn reported(tx: &mut Tx, view: &View) -> Result<Reported, Error> {
    let mut reported: Reported = view.served.iter().map(|(child, _)| (child.clone(), Vec::new())).collect();
    let below: HashMap<_, _> = view.served.iter().map(|(child, below)| (child, below)).collect();
    let wanted: HashMap<_, _> =
        view.packages.iter().map(|(package, wanted)| (&package.definition.id, wanted)).collect();
    let stays = |package: &PackageId, site: &SiteCode| {
        let sites = below.get(site).map(|sites| sites.as_slice()).unwrap_or_default();
        wanted.get(package).is_some_and(|wanted| wanted.reaches(sites))
    };
    for (_, status) in
        record::list::<wire::PackageStatus, PackageStatus>(tx, ObjectKind::PackageStatus).await?
    {
        if status.point.is_none()
            && let Some(held) = reported.get_mut(&status.site)
        {
            let stays = stays(&status.package, &status.site);
            held.push(OneReported { package: status.package, held: status.held, stays });
        }
    }
    Ok(reported)
}

/// What a child reported, of this package and of others that stay there.
fn holds(reported: &Reported, child: &SiteCode, package: &PackageId) -> Held {
    let mut held = Held::default();
    for one in reported.get(child).into_iter().flatten() {
        if one.package == *package {
            held.own.extend_from_slice(&one.held);
        } else if one.stays {
            held.others.extend_from_slice(&one.held);
        }
    }
    held
}

/// What a child reported that is not wanted there any more, and is in nothing that stays.
fn goes(reported: &Reported, child: &SiteCode, stay: &Held) -> HashSet<Digest> {
    let going = reported.get(child).into_iter().flatten().filter(|one| !one.stays);
    let going = going.flat_map(|one| one.held.iter().copied());
    going.filter(|held| !stay.own.contains(held) && !stay.others.contains(held)).collect()
}

/// A mini-job that brings a bundle to a child.
struct Job {
    bases: Vec<Digest>,
    stands: Stands,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stands {
    Waits,
    Cancelled,
    /// The child lacks what the bundle builds on.
    Refused,
    /// It was brought, and the child has not said yet what it holds since.
    Unanswered,
    Over,
}

/// The mini-jobs, by child and by what their bundle leads to.
async fn jobs(tx: &mut Tx) -> Result<HashMap<(SiteCode, Digest), Vec<Job>>, Error> {
    let mut jobs: HashMap<_, Vec<Job>> = HashMap::new();
    for sending in bundles::sendings(tx).await? {
        let Some(bundle) = scheduler::bundle_of(tx, &sending.digest).await? else { continue };
        let stands = match sending.state {
            SendingState::Queued | SendingState::Failed => Stands::Waits,
            SendingState::Cancelled => Stands::Cancelled,
            SendingState::BaseMissing => Stands::Refused,
            SendingState::Done => {
                match child_spoke_after(tx, &sending.peer, &bundle, sending.changed_at).await? {
                    true => Stands::Over,
                    false => Stands::Unanswered,
                }
            }
        };
        let BundleRow { target, bases, .. } = bundle;
        jobs.entry((sending.peer, target)).or_default().push(Job { bases, stands });
    }
    Ok(jobs)
}
