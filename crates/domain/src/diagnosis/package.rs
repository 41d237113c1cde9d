//! What a site finds of a package that it should hold.

use super::{Check, Finding, Verdict};
use crate::{
    Timestamp,
    distribution::PointKind,
    id::{PackageId, PointName, SiteCode},
    kill::Killed,
    package::PackageState,
};

/// The package where it is asked for first: what is wanted of it.
#[derive(Debug, Clone)]
pub struct OriginFacts {
    pub at: SiteCode,
    pub package: PackageId,
    /// Its version; `None`: the definition is not here.
    pub source_version: Option<u64>,
    /// Where it was made, and whether it was deleted since.
    pub owner: Option<SiteCode>,
    pub deleted_at: Option<Timestamp>,
    pub has_source: bool,
    /// Its release must not run.
    pub killed: Option<Killed>,
    /// For each site that is asked about: the points that are to have it, and those that the site has.
    pub targets: Vec<(SiteCode, Vec<PointName>, Vec<PointName>)>,
}

/// What is wanted: known, with source, sent to a point that is there. What follows depends on the first two.
pub fn origin(facts: &OriginFacts) -> Vec<Finding> {
    let (at, package) = (&facts.at, &facts.package);
    let Some(version) = facts.source_version else {
        let text = match facts.deleted_at {
            Some(_) => format!("package {package} was deleted"),
            None => format!("package {package} has not arrived at site {at}"),
        };
        // What keeps it away is found above, on its way.
        let verdict = if facts.deleted_at.is_some() { Verdict::Fails } else { Verdict::Waits };
        return vec![Finding::new(at, Check::PackageKnown, verdict, text).since(facts.deleted_at)];
    };
    let owner = facts.owner.as_ref().map(ToString::to_string).unwrap_or_default();
    let text = format!("package {package} of site {owner} is known, version {version}");
    let mut found = vec![Finding::holds(at, Check::PackageKnown, text)];
    if let Some(killed) = &facts.killed {
        let text = format!("package {package} is {killed}; no more of it is sent");
        let command = format!("packhorse package revive {package}");
        found.push(Finding::fails(at, Check::PackageReleased, text).mended_at(&killed.site, command));
    }
    if !facts.has_source {
        let text = format!(
            "package {package} has no source files: there is nothing to bring to distribution points"
        );
        found.push(Finding::holds(at, Check::HasSource, text));
        return found;
    }
    for (site, wanted, there) in &facts.targets {
        found.push(targeted(facts, site, wanted, there));
    }
    found
}

fn targeted(facts: &OriginFacts, site: &SiteCode, wanted: &[PointName], there: &[PointName]) -> Finding {
    let (at, package) = (&facts.at, &facts.package);
    let owner = facts.owner.as_ref().unwrap_or(at);
    if wanted.is_empty() {
        let text = format!("package {package} is sent to no distribution point of site {site}");
        return match there.first() {
            Some(point) => Finding::fails(at, Check::Targeted, text)
                .mended_at(owner, format!("packhorse package send {package} --to {site}/{point}")),
            None => Finding::fails(at, Check::Targeted, format!("{text}, which has none"))
                .mended_at(site, "packhorse dp add NAME --path DIR"),
        };
    }
    let missing: Vec<&PointName> = wanted.iter().filter(|point| !there.contains(point)).collect();
    if let Some(point) = missing.first().filter(|_| missing.len() == wanted.len()) {
        let text = format!(
            "package {package} is sent to {site}/{point}, and site {site} has no such distribution point"
        );
        return match there.first() {
            Some(other) => Finding::fails(at, Check::PointKnown, text)
                .mended_at(owner, format!("packhorse package send {package} --to {site}/{other}")),
            None => Finding::fails(at, Check::PointKnown, text)
                .mended_at(site, format!("packhorse dp add {point} --path DIR")),
        };
    }
    let names: Vec<String> = wanted.iter().map(|point| format!("{site}/{point}")).collect();
    Finding::holds(at, Check::Targeted, format!("it is sent to {}", names.join(", ")))
}

/// The package at one site that should hold it.
#[derive(Debug, Clone)]
pub struct PlaceFacts {
    pub at: SiteCode,
    pub package: PackageId,
    pub source_version: u64,
    /// The library holds the version whole.
    pub held: bool,
    /// What was noted of the library: state, reason, since.
    pub noted: Option<(PackageState, String, Timestamp)>,
    /// It was made here.
    pub is_owner: bool,
    pub points: Vec<PointFacts>,
}

/// One distribution point that is to have it.
#[derive(Debug, Clone)]
pub struct PointFacts {
    pub name: PointName,
    /// `None`: there is no such point.
    pub kind: Option<PointKind>,
    /// For a point of an agent: it is connected, and when it was last.
    pub agent: Option<(bool, Timestamp)>,
    pub state: Option<(PackageState, u64, String, Timestamp)>,
}

/// The library, then the points.
pub fn place(facts: &PlaceFacts) -> Vec<Finding> {
    let mut found = vec![library(facts)];
    if facts.held {
        found.extend(facts.points.iter().map(|one| point(facts, one)));
    }
    found
}

fn library(facts: &PlaceFacts) -> Finding {
    let (at, package, version) = (&facts.at, &facts.package, facts.source_version);
    let check = Check::ContentInLibrary;
    if facts.held {
        let text = format!("version {version} is in the content library of site {at}");
        return Finding::holds(at, check, text).since(facts.noted.as_ref().map(|(.., at)| *at));
    }
    match &facts.noted {
        Some((PackageState::Retrying | PackageState::Failed, reason, since)) => {
            let text = format!("version {version} is not in the content library of site {at}: {reason}");
            let found = Finding::fails(at, check, text).since(*since);
            if facts.is_owner {
                found.mended_at(at, format!("packhorse package update {package}"))
            } else {
                found
            }
        }
        noted => {
            let since = noted.as_ref().map(|(.., at)| *at);
            if facts.is_owner {
                let text = format!(
                    "version {version} is not in the content library of site {at}, where it was made"
                );
                return Finding::fails(at, check, text)
                    .since(since)
                    .mended_at(at, format!("packhorse package update {package}"));
            }
            let text = format!("version {version} has not come to site {at} yet");
            Finding::waits(at, check, text).since(since)
        }
    }
}

fn point(facts: &PlaceFacts, point: &PointFacts) -> Finding {
    let (at, version) = (&facts.at, facts.source_version);
    let name = format!("{at}/{}", point.name);
    if point.kind.is_none() {
        let text = format!("site {at} has no distribution point {}", point.name);
        return Finding::fails(at, Check::PointKnown, text)
            .mended_at(at, format!("packhorse dp add {} --path DIR", point.name));
    }
    match &point.state {
        Some((PackageState::Installed, there, _, since)) if *there >= version => {
            let text = format!("version {version} is on distribution point {name}");
            return Finding::holds(at, Check::OnPoint, text).since(*since);
        }
        Some((PackageState::Retrying | PackageState::Failed, _, reason, since)) => {
            let text = format!(
                "version {version} cannot be brought to distribution point {name}: {reason}; once that is mended, have \
                 it tried again"
            );
            let found = Finding::fails(at, Check::OnPoint, text).since(*since);
            return match point.kind {
                Some(PointKind::Directory) => {
                    found.mended_at(at, format!("packhorse dp check {}", point.name))
                }
                _ => found.mended_at(at, restart(&point.name)),
            };
        }
        _ => {}
    }
    if let Some((false, seen_at)) = point.agent {
        let text = format!("the agent of distribution point {name} is not connected");
        return Finding::fails(at, Check::OnPoint, text).since(seen_at).mended_at(at, restart(&point.name));
    }
    let since = point.state.as_ref().map(|(.., at)| *at);
    Finding::waits(
        at,
        Check::OnPoint,
        format!("version {version} is being brought to distribution point {name}"),
    )
    .since(since)
}

fn restart(agent: &PointName) -> String {
    format!("systemctl restart packhorse-cap-agent  # on the machine of {agent}")
}

/// A bundle that comes in at a site.
#[derive(Debug, Clone)]
pub struct ArrivalFacts {
    pub at: SiteCode,
    pub from: SiteCode,
    pub what: String,
    pub done: u64,
    pub total: u64,
    /// All bytes are here, and Despooler has not finished.
    pub complete: bool,
    /// Why it cannot be used.
    pub failed: Option<String>,
    pub since: Timestamp,
}

/// What came, and what Despooler makes of it.
pub fn arrival(facts: &ArrivalFacts) -> Vec<Finding> {
    let (at, from, what) = (&facts.at, &facts.from, &facts.what);
    if let Some(reason) = &facts.failed {
        let text =
            format!("what came of {what} from site {from} cannot be used, and is sent again: {reason}");
        return vec![Finding::waits(at, Check::Despooled, text).since(facts.since)];
    }
    if facts.complete {
        let text = format!("Despooler is taking in {what}");
        return vec![Finding::waits(at, Check::Despooled, text).since(facts.since)];
    }
    let percent = (facts.done * 100).checked_div(facts.total).unwrap_or(0);
    let text = format!("{percent} % of {what} have come from site {from}");
    vec![Finding::waits(at, Check::Arrived, text).since(facts.since)]
}
