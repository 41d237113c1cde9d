//! A package at this site: what is wanted of it, what the library and the points have, what is coming in.

use std::collections::BTreeMap;

use packhorse_domain::{
    diagnosis::{
        ArrivalFacts, Finding, OriginFacts, PlaceFacts, PointFacts, Question, Verdict, arrival, origin, place,
    },
    distribution::{Distribution, PointKind},
    id::{PackageId, PointName, SiteCode},
    object::ObjectKind,
    package::PackageState,
    status::{PackageStatus, PointFact},
};
use packhorse_proto::object::v1 as wire;

use super::{Asker, Part};
use crate::{
    error::Error,
    kills,
    record::{self, PackageRecord},
    store::{
        Tx,
        arrivals::{self, ArrivalState},
        caps, contents, objects, points,
    },
};

/// Everything that this site finds of a package.
pub(super) async fn findings(
    asker: &Asker,
    question: &Question,
    id: &PackageId,
    part: Part,
) -> Result<Vec<Finding>, Error> {
    let mut tx = asker.site.store.read().await?;
    let record = record::package(&mut tx, id.as_str()).await?;
    let distribution = record::distribution(&mut tx, id).await?;
    let mut found = Vec::new();
    // One that is not here is told of wherever it is missed.
    if part == Part::First || record.is_none() {
        let facts = origin_facts(asker, &mut tx, (question, id), record.as_ref(), &distribution).await?;
        found.extend(origin(&facts));
    }
    let Some(record) = record else { return Ok(found) };
    if record.version.manifest.is_none() {
        return Ok(found);
    }
    let facts = place_facts(asker, &mut tx, question, &record, &distribution).await?;
    let comes = if facts.held { Vec::new() } else { coming(asker, &mut tx, &record).await? };
    let mut here = place(&facts);
    if let Some(first) =
        comes.first().filter(|_| here.first().is_some_and(|one| one.verdict == Verdict::Waits))
    {
        // What is under way says more than that it is not there.
        let since = here.first().and_then(|one| one.since);
        here = vec![Finding { since: first.since.or(since), ..first.clone() }];
    }
    found.extend(here);
    Ok(found)
}

async fn origin_facts(
    asker: &Asker,
    tx: &mut Tx,
    (question, id): (&Question, &PackageId),
    record: Option<&PackageRecord>,
    distribution: &Distribution,
) -> Result<OriginFacts, Error> {
    let object = objects::get(tx, ObjectKind::Package, id.as_str()).await?;
    let there = points_of(tx).await?;
    let killed = match record {
        Some(record) => kills::list(tx).await?.killed(id, record.version.release),
        None => None,
    };
    let targets = question.sites.iter().map(|site| {
        let wanted = distribution.points_at(site).cloned().collect();
        (site.clone(), wanted, there.get(site).cloned().unwrap_or_default())
    });
    Ok(OriginFacts {
        at: asker.site.code().clone(),
        package: id.clone(),
        source_version: record.map(|record| record.version.source_version),
        owner: object.as_ref().map(|object| object.owner.clone()),
        deleted_at: object.filter(|object| object.deleted).map(|object| object.changed_at),
        has_source: record.is_some_and(|record| record.version.manifest.is_some()),
        killed,
        targets: targets.collect(),
    })
}

/// The distribution points of every site that has told of them.
async fn points_of(tx: &mut Tx) -> Result<BTreeMap<SiteCode, Vec<PointName>>, Error> {
    let mut there: BTreeMap<SiteCode, Vec<PointName>> = BTreeMap::new();
    for (_, fact) in
        record::list::<wire::DistributionPointFact, PointFact>(tx, ObjectKind::DistributionPoint).await?
    {
        there.entry(fact.site).or_default().push(fact.name);
    }
    Ok(there)
}

async fn place_facts(
    asker: &Asker,
    tx: &mut Tx,
    question: &Question,
    record: &PackageRecord,
    distribution: &Distribution,
) -> Result<PlaceFacts, Error> {
    let at = asker.site.code();
    let id = &record.definition.id;
    let held = contents::of(tx, id).await?;
    let is_target = question.sites.contains(at);
    let mut facts = place_told(tx, at, record, distribution, is_target).await?;
    facts.held = held.iter().any(|content| Some(content.manifest) == record.version.manifest);
    facts.is_owner = record.object.owner == *at;
    let rows = points::list(tx).await?;
    let agents = caps::list(tx).await?;
    for point in &mut facts.points {
        point.kind = rows.iter().find(|row| row.name == point.name).map(|row| row.kind);
        let agent = agents.iter().find(|cap| cap.name == point.name);
        if let Some(cap) = agent.filter(|_| point.kind == Some(PointKind::Agent)) {
            point.agent = Some((asker.site.cap_inquiries.is_alive(&cap.name).await, cap.seen_at));
        }
    }
    Ok(facts)
}

/// The same for any site, as far as its status objects tell.
pub(crate) async fn place_told(
    tx: &mut Tx,
    at: &SiteCode,
    record: &PackageRecord,
    distribution: &Distribution,
    with_points: bool,
) -> Result<PlaceFacts, Error> {
    let id = &record.definition.id;
    let mut states = BTreeMap::new();
    for object in objects::list_under(tx, ObjectKind::PackageStatus, &format!("{id}/{at}/")).await? {
        let status = record::read::<wire::PackageStatus, PackageStatus>(&object)?;
        states.insert(status.point.clone(), status);
    }
    let library = states.get(&None);
    let mut points = Vec::new();
    for name in distribution.points_at(at).filter(|_| with_points) {
        let told = objects::get(tx, ObjectKind::DistributionPoint, &format!("{at}/{name}")).await?;
        points.push(PointFacts {
            name: name.clone(),
            kind: told.filter(|object| !object.deleted).map(|_| PointKind::Directory),
            agent: None,
            state: states.get(&Some(name.clone())).map(|status| {
                (status.state, status.source_version, status.reason.clone(), status.changed_at)
            }),
        });
    }
    Ok(PlaceFacts {
        at: at.clone(),
        package: id.clone(),
        source_version: record.version.source_version,
        held: library.is_some_and(|status| is_held(status, record)),
        noted: library.map(|status| (status.state, status.reason.clone(), status.changed_at)),
        is_owner: false,
        points,
    })
}

pub(super) fn is_held(status: &PackageStatus, record: &PackageRecord) -> bool {
    record.version.manifest.is_some_and(|manifest| status.held.contains(&manifest))
}

/// Whether a point has the present version.
pub(crate) fn has(point: &PointFacts, place: &PlaceFacts) -> bool {
    matches!(&point.state, Some((PackageState::Installed, version, ..)) if *version >= place.source_version)
}

/// Whether a site has the present version on every point that is to have it, as far as it has told.
pub(crate) async fn has_all(
    tx: &mut Tx,
    at: &SiteCode,
    record: &PackageRecord,
    distribution: &Distribution,
) -> Result<bool, Error> {
    let place = place_told(tx, at, record, distribution, true).await?;
    Ok(place.held && !place.points.is_empty() && place.points.iter().all(|point| has(point, &place)))
}

/// What comes in of the present version.
async fn coming(asker: &Asker, tx: &mut Tx, record: &PackageRecord) -> Result<Vec<Finding>, Error> {
    let mut found = Vec::new();
    for one in arrivals::list(tx).await? {
        if one.package != record.definition.id || Some(one.target) != record.version.manifest {
            continue;
        }
        let failed = matches!(one.state, ArrivalState::Failed | ArrivalState::BaseMissing);
        let moving = asker.site.links(|links| {
            let view = links.get(&one.peer)?;
            view.moving
                .iter()
                .find(|moving| moving.item == one.item && !moving.outgoing)
                .map(|moving| moving.done)
        });
        found.extend(arrival(&ArrivalFacts {
            at: asker.site.code().clone(),
            from: one.peer,
            what: format!("package {} version {}", record.definition.id, record.version.source_version),
            done: moving.unwrap_or_default(),
            total: one.length,
            complete: one.state == ArrivalState::Complete,
            failed: failed.then_some(one.reason),
            since: one.changed_at,
        }));
    }
    Ok(found)
}
