//! Scheduler's choice of the sender: which bundles go over the line, which wait for a courier, and why.

#[cfg(test)]
mod tests;

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use packhorse_domain::{
    Priority, Timestamp,
    courier::{Policy, Question, Route, Way, Wish, choose},
    id::SiteCode,
    link::ItemId,
    message,
    parcel::ParcelState,
};
use packhorse_runtime::{Next, Worker, local::moment};

use super::addresses::{self, terms, zone_of_name};
use crate::{
    courier::{custody::ours, outgoing},
    error::Error,
    record, scheduler,
    site::Site,
    status,
    store::{
        Tx,
        bundles::{self, BundleRow},
        couriers::{self, Choice},
        neighbours, parcels,
    },
};

/// A line that has been down for so long brings nothing, as far as anybody knows.
const DOWN: Duration = Duration::from_secs(600);

/// The worker. Rates and hours change without anybody writing them down.
pub(crate) struct SenderChoice {
    site: Arc<Site>,
}

impl SenderChoice {
    pub(crate) fn new(site: Arc<Site>) -> Self {
        SenderChoice { site }
    }
}

impl Worker for SenderChoice {
    const NAME: &'static str = "scheduler";
    const PERIOD: Duration = Duration::from_secs(30);
    type Error = Error;

    async fn step(&mut self) -> Result<Next, Error> {
        let mut tx = self.site.store.read().await?;
        let mut peers: BTreeSet<SiteCode> =
            couriers::routes(&mut tx).await?.into_iter().map(|route| route.peer).collect();
        peers.extend(couriers::choices(&mut tx).await?.into_keys().map(|(peer, _)| peer));
        drop(tx);
        for peer in peers {
            let mut tx = self.site.store.read().await?;
            if changes(&self.site, &mut tx, &peer).await?.is_empty() {
                continue;
            }
            drop(tx);
            let mut tx = self.site.store.begin().await?;
            choose_ways(&self.site, &mut tx, &peer).await?;
            tx.commit().await?;
        }
        Ok(Next::Idle)
    }
}

/// A bundle whose way changes. `None`: it waits no more, and nothing is kept of it.
struct Change {
    item: ItemId,
    package: String,
    choice: Option<Choice>,
}

/// Chooses for all bundles that wait for a neighbour, and tells of those that go by courier from now on.
pub(crate) async fn choose_ways(site: &Site, tx: &mut Tx, peer: &SiteCode) -> Result<(), Error> {
    for Change { item, package, choice } in changes(site, tx, peer).await? {
        let Some(choice) = choice else {
            couriers::remove_choice(tx, peer, &item).await?;
            continue;
        };
        couriers::put_choice(tx, peer, &item, &choice).await?;
        let message = match choice.way {
            Way::Courier => message::bundle_waits_for_courier(peer, &choice.reason),
            Way::Line => message::bundle_goes_over_the_line(peer, &choice.reason),
        };
        status::report(site, tx, &package, &message).await?;
    }
    Ok(())
}

/// Gives a bundle to the courier or the line by hand; `None`: as its package and the route say, again.
pub(crate) async fn give(
    site: &Site,
    tx: &mut Tx,
    (peer, item): (&SiteCode, &ItemId),
    way: Option<Way>,
    by: &str,
) -> Result<(), Error> {
    match way {
        None => couriers::remove_choice(tx, peer, item).await?,
        Some(way) => {
            let reason = format!("{by} gave it to the {}", way.as_str());
            let asked_by = by.to_owned();
            let choice = Choice { way, asked_by, reason, missed: false, changed_at: site.now() };
            couriers::put_choice(tx, peer, item, &choice).await?;
        }
    }
    Ok(())
}

async fn changes(site: &Site, tx: &mut Tx, peer: &SiteCode) -> Result<Vec<Change>, Error> {
    let mut route = couriers::route(tx, peer).await?;
    // To a site further down there is no line from here.
    if !neighbours::list(tx).await?.iter().any(|one| one.code == *peer) {
        route = route.map(|route| Route { policy: Policy::Always, ..route });
    }
    let mut known = couriers::choices_for(tx, peer).await?;
    if route.is_none() && known.is_empty() {
        return Ok(Vec::new());
    }
    let waiting = waiting(tx, peer).await?;
    let under_way = match &route {
        Some(route) if !waiting.is_empty() => under_way(site, tx, route).await?,
        _ => BTreeMap::new(),
    };
    let line = Line::of(site, peer).await?;
    let (mut changes, mut ahead) = (Vec::new(), 0);
    for (priority, bundle) in waiting {
        let item = ItemId::of(&bundle.digest);
        let before = known.remove(&item);
        let left = line.left(&item, bundle.length);
        let line_at = line.eta(site.now(), priority, ahead + left);
        let comes = under_way.get(&item).copied();
        let media_at = route.as_ref().map(|route| comes.unwrap_or_else(|| arrival(route, site.now())));
        let missed = comes.is_none()
            && before.as_ref().zip(route.as_ref()).is_some_and(|(before, route)| {
                before.missed || before.way == Way::Courier && patience(route, before.changed_at) < site.now()
            });
        let package = record::package(tx, bundle.package.as_str()).await?;
        let question = Question {
            wish: wish(before.as_ref(), package.and_then(|package| package.definition.sender)),
            policy: route.as_ref().map(|route| route.policy),
            way: before.as_ref().map(|before| before.way).unwrap_or_default(),
            now: site.now(),
            media_at,
            line_at,
            missed,
        };
        let way = choose(&question);
        if way == Way::Line {
            ahead += left;
        }
        let is_wanted = way == Way::Courier || route.is_some();
        if before.as_ref().map(|before| before.way) != is_wanted.then_some(way)
            && !matches!(question.wish, Wish::Person(_))
        {
            let choice = is_wanted.then(|| Choice {
                way,
                asked_by: String::new(),
                reason: reason(&question, way),
                missed,
                changed_at: site.now(),
            });
            changes.push(Change { item, package: bundle.package.to_string(), choice });
        }
    }
    let gone = known.into_keys().map(|item| Change { item, package: String::new(), choice: None });
    changes.extend(gone);
    Ok(changes)
}

fn wish(before: Option<&Choice>, preferred: Option<Way>) -> Wish {
    match (before.filter(|before| !before.asked_by.is_empty()), preferred) {
        (Some(asked), _) => Wish::Person(asked.way),
        (None, Some(way)) => Wish::Package(way),
        (None, None) => Wish::Nobody,
    }
}

/// Why, for people.
fn reason(question: &Question, way: Way) -> String {
    let media = question.media_at.map_or("at a time that nobody knows".to_owned(), addresses::text);
    match (question.wish, question.policy) {
        (Wish::Package(_), Some(_)) => format!("its package prefers the {}", way.as_str()),
        (_, Some(Policy::Always)) => "that is how the site is served".to_owned(),
        (_, Some(Policy::Sooner)) => match (way, question.line_at) {
            (Way::Courier, None) => format!("media are there {media}, and nobody knows when the line is"),
            (Way::Courier, Some(at)) => {
                format!("media are there {media}, the line would take until {}", addresses::text(at))
            }
            (Way::Line, Some(_)) if question.missed => "nobody came for it".to_owned(),
            (Way::Line, Some(at)) => {
                format!("it brings it {}, media would be there {media}", addresses::text(at))
            }
            (Way::Line, None) => "no courier brings it sooner".to_owned(),
        },
        _ => "nobody asked for a courier".to_owned(),
    }
}

/// The bundles that are still to be brought, the most urgent first, and of those the oldest.
pub(crate) async fn waiting(tx: &mut Tx, peer: &SiteCode) -> Result<Vec<(Priority, BundleRow)>, Error> {
    let mut waiting = Vec::new();
    for sending in bundles::sendings_to(tx, peer).await? {
        if sending.state.is_waiting()
            && let Some(bundle) = scheduler::bundle_of(tx, &sending.digest).await?
        {
            waiting.push((scheduler::bundle_priority(tx, &bundle).await?, sending.changed_at, bundle));
        }
    }
    waiting.sort_by_key(|(priority, since, bundle)| (*priority, *since, bundle.digest.0));
    Ok(waiting.into_iter().map(|(priority, _, bundle)| (priority, bundle)).collect())
}

/// When what is given to a courier now is there.
pub(crate) fn arrival(route: &Route, now: Timestamp) -> Timestamp {
    let zone = zone_of_name(&route.time_zone);
    route.arrival(now, |at| moment(&zone, at))
}

fn patience(route: &Route, since: Timestamp) -> Timestamp {
    let zone = zone_of_name(&route.time_zone);
    route.patience(since, |at| moment(&zone, at))
}

/// What parcels that are not overdue bring, and when.
async fn under_way(site: &Site, tx: &mut Tx, route: &Route) -> Result<BTreeMap<ItemId, Timestamp>, Error> {
    let mut under_way = BTreeMap::new();
    for parcel in parcels::list(tx).await?.into_iter().filter(|one| one.sender == *site.code()) {
        let state = parcels::sites(tx, &parcel.id).await?.get(&route.peer).map(|(state, _)| *state);
        if !matches!(state, Some(ParcelState::Created | ParcelState::Sent)) {
            continue;
        }
        let leaves = |at| arrival(route, at);
        let expected = parcel.expected_at.or(parcel.sent_at.map(|at| at.plus(route.transit)));
        let expected = expected.unwrap_or_else(|| leaves(parcel.created_at));
        if expected < site.now() {
            continue;
        }
        // One that cannot be read brings nothing, as far as anybody knows.
        let Ok(plan) = outgoing::plan(site, &parcel.id) else { continue };
        for item in ours(&plan, &route.peer) {
            let known = under_way.entry(item.id).or_insert(expected);
            *known = expected.min(*known);
        }
    }
    Ok(under_way)
}

/// What the line to a neighbour does, as it was seen.
struct Line {
    terms: addresses::Terms,
    /// `None`: not measured yet.
    bytes_per_second: Option<u64>,
    is_down: bool,
    reached: BTreeMap<ItemId, u64>,
}

impl Line {
    async fn of(site: &Site, peer: &SiteCode) -> Result<Line, Error> {
        let view = site.links(|links| links.get(peer).cloned()).unwrap_or_default();
        let measured = view.gauges.bytes_per_second.max(view.sent_bytes_per_s);
        let down_since = view.since.max(site.opened_at);
        Ok(Line {
            terms: terms(site, peer, view.address.as_ref()).await?,
            bytes_per_second: (measured > 0).then_some(measured),
            is_down: !view.up && site.now().since(down_since) >= DOWN,
            reached: view.reached,
        })
    }

    fn left(&self, item: &ItemId, length: u64) -> u64 {
        length.saturating_sub(self.reached.get(item).copied().unwrap_or_default())
    }

    /// A line that was not measured yet is as good as it may be: then it is begun, and seen.
    fn eta(&self, now: Timestamp, class: Priority, bytes: u64) -> Option<Timestamp> {
        if self.is_down {
            return None;
        }
        self.terms.eta(now, class, bytes, self.bytes_per_second.unwrap_or(u64::MAX / 2))
    }
}
