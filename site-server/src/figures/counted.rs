//! The figures that the database gives. Counting them again costs more the more there is, so it is done so seldom that it
//! takes no more than a twentieth of the time, however often somebody asks.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use packhorse_domain::{
    Priority, Timestamp,
    advertisement::{STANDINGS, standing},
    courier::Way,
    id::SiteCode,
    link::ItemId,
};
use packhorse_runtime::metrics::Sheet;

use super::list;
use crate::{
    error::Error,
    provider::CAP_PRESENT,
    scheduler,
    site::Site,
    store::{
        Tx, bundles,
        bundles::SendingState,
        caps,
        counts::{self, Waiting},
        couriers,
        neighbours::{self, Neighbour},
        queue, tallies,
    },
};

const FRESH_MIN: Duration = Duration::from_secs(10);
/// What a count took, it rests so many times as long.
const REST: u32 = 20;
/// Packages and advertisements that are looked at for one neighbour; of more, the oldest.
const BODIES_MAX: u32 = 1_000;

/// What was counted last.
#[derive(Debug, Default)]
pub(super) struct Counted {
    last: Option<(Sheet, Instant, Duration)>,
}

pub(crate) type Queue = BTreeMap<(SiteCode, Priority), Waiting>;

const PACKAGE_STATES: [&str; 5] = ["pending", "installed", "retrying", "failed", "removing"];
const ARRIVAL_STATES: [&str; 4] = ["receiving", "complete", "failed", "base-missing"];
const PARCEL_STATES: [&str; 6] = ["lost", "planned", "created", "sent", "received", "confirmed"];

impl Counted {
    pub(super) async fn read(&mut self, site: &Site) -> Result<Sheet, Error> {
        if let Some((sheet, at, took)) = &self.last
            && at.elapsed() < FRESH_MIN.max(*took * REST)
        {
            return Ok(sheet.clone());
        }
        let began = Instant::now();
        let mut sheet = Sheet::new();
        let mut tx = site.store.read().await?;
        queues(site, &mut tx, &mut sheet).await?;
        objects(&mut tx, &mut sheet).await?;
        parcels(site, &mut tx, &mut sheet).await?;
        for cap in caps::list(&mut tx).await? {
            let is_here = site.now().since(cap.seen_at) < CAP_PRESENT;
            let behind = caps::count_after(&mut tx, &cap.name, cap.cursor).await?;
            sheet.put(&list::CAP_CONNECTED, &[cap.name.as_str()], if is_here { 1.0 } else { 0.0 });
            sheet.count(&list::CAP_BEHIND, &[cap.name.as_str()], behind);
        }
        sheet.count(&list::CLIENTS, &[], counts::clients(&mut tx).await?);
        self.last = Some((sheet.clone(), Instant::now(), began.elapsed()));
        Ok(sheet)
    }
}

async fn objects(tx: &mut Tx, sheet: &mut Sheet) -> Result<(), Error> {
    for (kind, count) in counts::objects(tx).await? {
        sheet.count(&list::OBJECTS, &[&kind], count);
    }
    let places = tallies::places_by_standing(tx).await?;
    for state in PACKAGE_STATES {
        sheet.count(&list::PACKAGES, &[state], of(&places, state));
    }
    let mut clients: BTreeMap<&str, u64> = STANDINGS.map(|standing| (standing, 0)).into();
    for one in tallies::clients_by_standing(tx).await? {
        *clients.entry(standing(one.acceptance, one.delivery)).or_default() += one.clients;
    }
    for (state, count) in clients {
        sheet.count(&list::ADVERTISEMENTS, &[state], count);
    }
    Ok(())
}

/// What waits for each neighbour in each class. And of the bundles that stand aside, how many are held and how many are tried
/// again.
pub(crate) async fn waiting(
    tx: &mut Tx,
    known: &[Neighbour],
) -> Result<(Queue, BTreeMap<SiteCode, (u64, u64)>), Error> {
    let mut queue = Queue::new();
    for neighbour in known {
        let direction = scheduler::direction(neighbour.relation);
        for (kind, waiting) in counts::lacking(tx, &neighbour.code, direction).await? {
            let priority = scheduler::kind_priority(kind).unwrap_or(Priority::Medium);
            add(&mut queue, &neighbour.code, priority, waiting);
        }
        if direction == packhorse_domain::object::Direction::Down {
            for (kind, body, at) in counts::lacking_bodies(tx, &neighbour.code, BODIES_MAX).await? {
                let priority = scheduler::body_priority(kind, &body).unwrap_or(Priority::Medium);
                add(&mut queue, &neighbour.code, priority, Waiting { count: 1, oldest: at });
            }
        }
    }
    let aside = bundles(tx, &mut queue).await?;
    Ok((queue, aside))
}

async fn queues(site: &Site, tx: &mut Tx, sheet: &mut Sheet) -> Result<(), Error> {
    let known = neighbours::list(tx).await?;
    let (queue, aside) = waiting(tx, &known).await?;
    let refused: BTreeMap<_, _> = counts::refused(tx).await?.into_iter().collect();
    let now = site.now();
    for neighbour in known {
        let peer = neighbour.code.as_str();
        for priority in Priority::ALL {
            let (labels, waiting) =
                ([peer, priority.as_str()], queue.get(&(neighbour.code.clone(), priority)));
            sheet.count(&list::QUEUE_ITEMS, &labels, waiting.map_or(0, |waiting| waiting.count));
            let age = waiting.map_or(0.0, |waiting| now.since(waiting.oldest).as_secs_f64());
            sheet.put(&list::QUEUE_AGE, &labels, age);
        }
        let (held, retrying) = aside.get(&neighbour.code).copied().unwrap_or_default();
        sheet.count(&list::QUEUE_HELD, &[peer], held);
        sheet.count(&list::QUEUE_RETRYING, &[peer], retrying);
        sheet.count(&list::QUEUE_REFUSED, &[peer], refused.get(&neighbour.code).copied().unwrap_or_default());
    }
    Ok(())
}

fn add(queue: &mut Queue, peer: &SiteCode, priority: Priority, new: Waiting) {
    let waiting = queue.entry((peer.clone(), priority)).or_insert(Waiting { count: 0, oldest: new.oldest });
    waiting.count += new.count;
    waiting.oldest = waiting.oldest.min(new.oldest);
}

/// Adds the bundles that wait. Of those that stand aside, by neighbour: how many are held, and how many are tried again.
async fn bundles(tx: &mut Tx, queue: &mut Queue) -> Result<BTreeMap<SiteCode, (u64, u64)>, Error> {
    let (orders, ways) = (queue::list(tx).await?, couriers::choices(tx).await?);
    let mut aside: BTreeMap<SiteCode, (u64, u64)> = BTreeMap::new();
    for sending in bundles::sendings(tx).await? {
        if !sending.state.is_waiting() {
            continue;
        }
        // It may have gone meanwhile.
        let Some(bundle) = scheduler::bundle_of(tx, &sending.digest).await? else { continue };
        let key = (sending.peer.clone(), ItemId::of(&sending.digest));
        let (order, way) = (orders.get(&key).map(|given| given.order), ways.get(&key));
        let counts = aside.entry(sending.peer.clone()).or_default();
        if order.is_some_and(|order| order.held) || way.is_some_and(|way| way.way == Way::Courier) {
            counts.0 += 1;
            continue;
        }
        counts.1 += u64::from(sending.state == SendingState::Failed);
        let own = scheduler::bundle_priority(tx, &bundle).await?;
        let priority = order.and_then(|order| order.priority).unwrap_or(own);
        add(queue, &sending.peer, priority, Waiting { count: 1, oldest: sending.changed_at });
    }
    Ok(aside)
}

async fn parcels(site: &Site, tx: &mut Tx, sheet: &mut Sheet) -> Result<(), Error> {
    let out = counts::parcels_out(tx, site.code()).await?;
    let back = counts::parcels_in(tx, site.code()).await?;
    for state in PARCEL_STATES {
        sheet.count(&list::PARCELS, &["out", state], of(&out, state));
        sheet.count(&list::PARCELS, &["in", state], of(&back, state));
    }
    let now: Timestamp = site.now();
    sheet.count(&list::PARCELS_OVERDUE, &[], counts::parcels_overdue(tx, site.code(), now).await?);
    let arrivals = counts::arrivals(tx).await?;
    for state in ARRIVAL_STATES {
        sheet.count(&list::ARRIVALS, &[state], of(&arrivals, state));
    }
    Ok(())
}

fn of(counts: &[(String, u64)], word: &str) -> u64 {
    counts.iter().find(|(known, _)| known == word).map_or(0, |(_, count)| *count)
}
