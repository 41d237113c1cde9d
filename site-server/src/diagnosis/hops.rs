//! The hop to a neighbour: what it lacks of a subject, where that is, and how the line stands.

use std::time::Duration;

use packhorse_domain::{
    Priority, Timestamp,
    address::Rate,
    diagnosis::{
        Courier, Custody, Finding, HopFacts, Job, LineFacts, Pace, Question, Subject, Verdict, Waiting,
        custody, hop, line,
    },
    id::SiteCode,
    link::ItemId,
    object::ObjectKind,
    status::PackageStatus,
};
use packhorse_proto::{
    convert,
    object::v1 as wire,
    provider::v1::{ListQueueRequest, QueueItem, QueueItemKind, QueueState},
};

use super::{Asker, offers, packages::is_held, parcels};
use crate::{
    error::Error,
    provider,
    record::{self, PackageRecord},
    scheduler::{self, addresses::terms},
    store::{
        Tx,
        bundles::{self, SendingState},
        couriers, neighbours,
        objects::{self, StoredObject},
        refusals,
    },
};

/// Digits of an item that people are shown.
const ITEM_DIGITS: usize = 8;

type Found = (Vec<Finding>, Vec<Custody>);

/// The hop to a child on the way.
pub(super) async fn to(asker: &Asker, question: &Question, child: &SiteCode) -> Result<Found, Error> {
    let objects = match &question.subject {
        Subject::Site => {
            let line_facts = line_of(asker, child, None).await?;
            return Ok((vec![line(asker.site.code(), child, &line_facts)], Vec::new()));
        }
        Subject::Parcel(_) => return Ok((Vec::new(), Vec::new())),
        Subject::Package(id) => {
            vec![(ObjectKind::Package, id.to_string()), (ObjectKind::Distribution, id.to_string())]
        }
        Subject::Advertisement(id) => offers::objects_of(asker, id).await?,
    };
    for (kind, id) in objects {
        if let Some(facts) = object_facts(asker, child, kind, &id).await? {
            // What else is on the same line stands no better.
            return Ok((hop(&facts), Vec::new()));
        }
    }
    let package = match &question.subject {
        Subject::Package(id) => Some(id.clone()),
        Subject::Advertisement(id) => offers::package_of(asker, id).await?,
        Subject::Site | Subject::Parcel(_) => None,
    };
    let Some(package) = package else { return Ok((Vec::new(), Vec::new())) };
    bundle(asker, question, child, package.as_str()).await
}

/// Hops to sites further down that a courier serves from here.
pub(super) async fn to_far(asker: &Asker, question: &Question) -> Result<Found, Error> {
    let Subject::Package(package) = &question.subject else { return Ok((Vec::new(), Vec::new())) };
    let mut tx = asker.site.store.read().await?;
    let near: Vec<SiteCode> = neighbours::list(&mut tx).await?.into_iter().map(|one| one.code).collect();
    let far = couriers::routes(&mut tx).await?.into_iter().map(|route| route.peer);
    let far: Vec<SiteCode> =
        far.filter(|peer| !near.contains(peer) && question.sites.contains(peer)).collect();
    drop(tx);
    let (mut found, mut places) = (Vec::new(), Vec::new());
    for peer in far {
        let (more, custody) = bundle(asker, question, &peer, package.as_str()).await?;
        found.extend(more);
        places.extend(custody);
    }
    Ok((found, places))
}

async fn bundle(asker: &Asker, question: &Question, child: &SiteCode, package: &str) -> Result<Found, Error> {
    let mut tx = asker.site.store.read().await?;
    let Some(record) = record::package(&mut tx, package).await? else { return Ok((Vec::new(), Vec::new())) };
    let is_wanted = record::distribution(&mut tx, &record.definition.id).await?.reaches(&question.sites);
    drop(tx);
    if record.version.manifest.is_none() || !is_wanted {
        return Ok((Vec::new(), Vec::new()));
    }
    let facts = bundle_facts(asker, child, &record).await?;
    Ok((hop(&facts), vec![custody(&facts)]))
}

/// How the newest version of an object stands with a child. `None`: the child has it, or there is none.
async fn object_facts(
    asker: &Asker,
    child: &SiteCode,
    kind: ObjectKind,
    id: &str,
) -> Result<Option<HopFacts>, Error> {
    let mut tx = asker.site.store.read().await?;
    let Some(object) = objects::get(&mut tx, kind, id).await? else { return Ok(None) };
    let acknowledged = objects::acknowledged(&mut tx, child, kind, id).await?;
    if acknowledged.is_some_and(|version| version >= object.version) {
        return Ok(None);
    }
    let refusal = refusals::get(&mut tx, child, kind, id).await?.filter(|one| one.version == object.version);
    drop(tx);
    let mut class = scheduler::object_item(&object)?.priority;
    let job = match refusal {
        Some(refusal) => Job::Refused {
            reason: format!("it refused it {} time(s); `packhorse events` says why", refusal.tries),
            retry_at: refusal.retry_at,
            since: object.changed_at,
        },
        None => Job::Waiting(object_waiting(asker, child, &object, class).await?),
    };
    if let Job::Waiting(waiting) = &job {
        class = waiting.class;
    }
    Ok(Some(HopFacts {
        at: asker.site.code().clone(),
        to: child.clone(),
        what: format!("the definition of {} {id}", kind.as_str()),
        job,
        line: line_of(asker, child, Some(class)).await?,
        now: asker.site.now(),
    }))
}

async fn object_waiting(
    asker: &Asker,
    child: &SiteCode,
    object: &StoredObject,
    class: Priority,
) -> Result<Waiting, Error> {
    let item = ItemId::of(&object.digest).to_string();
    if let Some(waiting) = queued(asker, child, &item).await? {
        return Ok(waiting);
    }
    Ok(Waiting::new(short(&item), class, object.content.len() as u64, object.changed_at))
}

async fn bundle_facts(asker: &Asker, child: &SiteCode, record: &PackageRecord) -> Result<HopFacts, Error> {
    let id = &record.definition.id;
    let job = bundle_job(asker, child, record).await?;
    // Somebody may have given it another one.
    let class = match &job {
        Job::Waiting(waiting) => waiting.class,
        _ => record.definition.priority,
    };
    Ok(HopFacts {
        at: asker.site.code().clone(),
        to: child.clone(),
        what: format!("package {id} version {}", record.version.source_version),
        job,
        line: line_of(asker, child, Some(class)).await?,
        now: asker.site.now(),
    })
}

async fn bundle_job(asker: &Asker, child: &SiteCode, record: &PackageRecord) -> Result<Job, Error> {
    let site = &asker.site;
    let mut tx = site.store.read().await?;
    let status_id = format!("{}/{child}/", record.definition.id);
    let told =
        record::find::<wire::PackageStatus, PackageStatus>(&mut tx, ObjectKind::PackageStatus, &status_id)
            .await?;
    if told.is_some_and(|(_, status)| is_held(&status, record)) {
        return Ok(Job::Delivered);
    }
    let mut latest = None;
    for sending in bundles::sendings_to(&mut tx, child).await? {
        let bundle = scheduler::bundle_of(&mut tx, &sending.digest).await?;
        if bundle.is_some_and(|bundle| Some(bundle.target) == record.version.manifest) {
            latest = Some(sending);
        }
    }
    let Some(sending) = latest.filter(|sending| sending.state != SendingState::BaseMissing) else {
        let error = record.version.manifest.map(|target| site.troubles.of(&target)).unwrap_or_default();
        return Ok(Job::NotMade { error });
    };
    let item = ItemId::of(&sending.digest);
    match sending.state {
        SendingState::Done => return Ok(Job::Delivered),
        SendingState::Cancelled => {
            let (item, by) = (short(&item.to_string()), sending.reason);
            return Ok(Job::Cancelled { item, by, since: sending.changed_at });
        }
        SendingState::Queued | SendingState::Failed | SendingState::BaseMissing => {}
    }
    let parcel = parcels::bringing(asker, &mut tx, child, &item).await?;
    drop(tx);
    let mut waiting = match queued(asker, child, &item.to_string()).await? {
        Some(waiting) => waiting,
        // It went meanwhile.
        None => return Ok(Job::Delivered),
    };
    if let Some(courier) = &mut waiting.courier {
        courier.parcel = parcel;
    } else if let Some(parcel) = parcel.filter(|_| waiting.held_by.is_some()) {
        let reason = format!("parcel {} brings it", parcel.0);
        waiting.held_by = None;
        waiting.courier = Some(Courier { reason, parcel: Some(parcel) });
    }
    Ok(Job::Waiting(waiting))
}

fn short(item: &str) -> String {
    item.chars().take(ITEM_DIGITS).collect()
}

/// An item as it stands in the queue of a neighbour.
async fn queued(asker: &Asker, peer: &SiteCode, item: &str) -> Result<Option<Waiting>, Error> {
    let mut tx = asker.site.store.read().await?;
    let is_neighbour = neighbours::list(&mut tx).await?.iter().any(|one| one.code == *peer);
    if !is_neighbour {
        return far(&mut tx, peer, item).await;
    }
    drop(tx);
    let request = ListQueueRequest { peer: peer.to_string(), all: false };
    let items = provider::list_queue(&asker.site, &request).await?.items;
    let Some(at) = items.iter().position(|one| one.item == item && one.outgoing) else { return Ok(None) };
    let goes_before =
        |one: &&QueueItem| one.outgoing && !one.held && one.state != i32::from(QueueState::Held);
    let ahead_bytes = items[..at]
        .iter()
        .filter(goes_before)
        .filter(|one| one.kind == i32::from(QueueItemKind::Bundle))
        .map(|one| one.bytes_total.saturating_sub(one.bytes_done))
        .sum();
    Ok(Some(waiting(&items[at], ahead_bytes)))
}

fn waiting(item: &QueueItem, ahead_bytes: u64) -> Waiting {
    let state = QueueState::try_from(item.state).unwrap_or_default();
    let held_by = item.held.then(|| item.reason.trim_start_matches("held by ").to_owned());
    let is_given = state == QueueState::Held && !item.held;
    Waiting {
        item: short(&item.item),
        class: convert::priority("priority", item.priority).unwrap_or(Priority::Medium),
        held_by,
        courier: is_given.then(|| Courier {
            reason: item.reason.trim_start_matches("waits for a courier: ").to_owned(),
            parcel: None,
        }),
        refused: (state == QueueState::Retrying).then(|| (item.reason.clone(), Timestamp(item.retry_at_us))),
        moves: state == QueueState::Sending || item.rate_bytes_per_s > 0,
        done: item.bytes_done,
        total: item.bytes_total,
        bytes_per_second: item.rate_bytes_per_s,
        ahead_bytes,
        since: Timestamp(item.queued_at_us),
        eta: (item.eta_us > 0).then_some(Timestamp(item.eta_us)),
    }
}

/// What goes to a site further down, which has no queue here: only a courier brings it.
async fn far(tx: &mut Tx, peer: &SiteCode, item: &str) -> Result<Option<Waiting>, Error> {
    let choices = couriers::choices_for(tx, peer).await?;
    let choice = choices.into_iter().find(|(one, _)| one.to_string() == item).map(|(_, choice)| choice);
    for (class, bundle) in scheduler::ways::waiting(tx, peer).await? {
        if ItemId::of(&bundle.digest).to_string() == item {
            let reason = choice.as_ref().map(|choice| choice.reason.clone()).unwrap_or_default();
            let since = choice.map_or(Timestamp::default(), |choice| choice.changed_at);
            return Ok(Some(Waiting {
                courier: Some(Courier { reason, parcel: None }),
                ..Waiting::new(short(item), class, bundle.length, since)
            }));
        }
    }
    Ok(None)
}

/// The line to a neighbour, and whether it is shut for a class, or for everything.
pub(super) async fn line_of(
    asker: &Asker,
    peer: &SiteCode,
    class: Option<Priority>,
) -> Result<LineFacts, Error> {
    let site = &asker.site;
    let view = site.links(|links| links.get(peer).cloned()).unwrap_or_default();
    let terms = terms(site, peer, view.address.as_ref()).await?;
    Ok(LineFacts {
        up: view.up,
        since: (view.since.0 > 0).then_some(view.since),
        last_error: view.last_error,
        running_for: site.now().since(site.opened_at),
        dials: site.path().parent() == Some(peer),
        shut: terms.shut(site.now(), class.unwrap_or(Priority::High)),
        pace: Pace {
            rate: terms.allowance.bytes_per_second,
            by_calendar: terms.address.as_ref().is_some_and(|address| {
                terms.allowance.bytes_per_second != address.rate.map(Rate::bytes_per_second)
            }),
            pulse: terms.allowance.pulse,
        },
        address: terms.address.map(|address| address.name),
    })
}

/// What administrators hold back on the lines of this site: easily forgotten.
pub(super) async fn held_back(asker: &Asker) -> Result<Vec<Finding>, Error> {
    let at = asker.site.code();
    let request = ListQueueRequest { peer: String::new(), all: false };
    let items = provider::list_queue(&asker.site, &request).await?.items;
    let held = items.iter().filter(|item| item.held).map(|item| HopFacts {
        at: at.clone(),
        to: item.peer.parse().unwrap_or_else(|_| at.clone()),
        what: item.subject.clone(),
        job: Job::Waiting(waiting(item, 0)),
        line: LineFacts {
            up: true,
            since: None,
            last_error: String::new(),
            running_for: Duration::ZERO,
            dials: false,
            shut: None,
            address: None,
            pace: Pace::default(),
        },
        now: asker.site.now(),
    });
    let by_hand = held.flat_map(|facts| hop(&facts)).filter(|one| !one.text.contains("by parcel "));
    Ok(by_hand.filter(|one| one.verdict == Verdict::Fails).collect())
}
