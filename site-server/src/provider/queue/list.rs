//! The items of each link in the order in which they are sent, and when each is through.

use std::collections::{HashMap, HashSet};

use packhorse_domain::{
    Timestamp,
    id::SiteCode,
    link::ItemId,
    queue::{Ahead, State, bytes_until},
};
use packhorse_proto::{
    object::v1 as wire,
    provider::v1::{ListQueueRequest, ListQueueResponse, QueueItem, QueueItemKind, QueueLink, QueueState},
};

use super::neighbours;
use crate::{
    error::Error,
    provider::transfers::{Board, Entry},
    scheduler::{self, addresses::Terms},
    sender::LinkView,
    site::Site,
    store::{
        Tx,
        neighbours::Neighbour,
        objects::{self, StoredObject},
        queue,
    },
};

/// Waiting objects of one link that are shown; with all of them asked for, more.
const OBJECTS_SHOWN: usize = 200;
const OBJECTS_SHOWN_OF_ALL: usize = 10_000;

pub(crate) async fn list(site: &Site, asked: &ListQueueRequest) -> Result<ListQueueResponse, Error> {
    let mut tx = site.store.read().await?;
    let neighbours = neighbours(site, &mut tx, &asked.peer).await?;
    let mut board = Board::load(site, &mut tx).await?;
    let mut entries = board.bundles(&mut tx).await?;
    let mut more = HashSet::new();
    let limit = if asked.all { OBJECTS_SHOWN_OF_ALL } else { OBJECTS_SHOWN };
    for neighbour in &neighbours {
        let (objects, has_more) = waiting_objects(&mut tx, neighbour, limit).await?;
        for object in objects {
            entries.push(board.object(&neighbour.code, &object)?);
        }
        if has_more {
            more.insert(neighbour.code.clone());
        }
    }
    entries.extend(board.arrivals(site, &mut tx).await?);
    entries.extend(board.rest());
    let deadlines = scheduler::deadlines(&mut tx).await?;
    drop(tx);
    entries.retain(|entry| asked.all || is_of_interest(entry));

    let mut answer = ListQueueResponse { at_us: site.now().0, ..ListQueueResponse::default() };
    for neighbour in neighbours {
        let (of_link, others) = entries.into_iter().partition(|entry| entry.peer == neighbour.code);
        entries = others;
        let view = site.links(|links| links.get(&neighbour.code).cloned()).unwrap_or_default();
        let of_link = in_order(of_link, &deadlines);
        answer.links.push(QueueLink {
            has_more: more.contains(&neighbour.code),
            ..header(&neighbour.code, &view, &of_link)
        });
        let terms = scheduler::addresses::terms(site, &neighbour.code, view.address.as_ref()).await?;
        answer.items.extend(with_etas(of_link, &view, &terms, site.now()));
    }
    Ok(answer)
}

/// What people mean by the queue: what is to be done, and what they took out of it.
fn is_of_interest(entry: &Entry) -> bool {
    let is_event = entry.subject.starts_with("event/") && !entry.held && entry.rank == 0;
    !is_event && !matches!(entry.state, State::Delivered | State::Replaced)
}

/// The oldest of the objects that the neighbour lacks. True: there are more.
pub(in crate::provider) async fn waiting_objects(
    tx: &mut Tx,
    neighbour: &Neighbour,
    limit: usize,
) -> Result<(Vec<StoredObject>, bool), Error> {
    let direction = scheduler::direction(neighbour.relation);
    let mut objects = objects::lacking(tx, &neighbour.code, direction, limit + 1).await?;
    let has_more = objects.len() > limit;
    objects.truncate(limit);
    if has_more {
        // Those that somebody gave an order for are shown wherever they are.
        let shown: HashSet<ItemId> = objects.iter().map(|object| ItemId::of(&object.digest)).collect();
        let orders = queue::of(tx, &neighbour.code).await?;
        for item in orders.into_keys().filter(|item| !shown.contains(item)) {
            objects.extend(scheduler::lacking_between(tx, &neighbour.code, direction, (&item, &item)).await?);
        }
    }
    Ok((objects, has_more))
}

/// As the link chooses: by class, then rank, then objects before bundles, then what is needed first, then the oldest.
/// What comes in stands below.
pub(in crate::provider) fn in_order(
    mut entries: Vec<Entry>,
    deadlines: &HashMap<String, Timestamp>,
) -> Vec<Entry> {
    entries.sort_by_key(|entry| {
        // Of an object the subject is no package's id.
        let deadline = deadlines.get(&entry.subject).copied().unwrap_or(Timestamp(i64::MAX));
        let place = (entry.priority, entry.rank, entry.kind, deadline, entry.queued_at, entry.item);
        (!entry.outgoing, entry.state.is_over(), place)
    });
    entries
}

fn header(peer: &SiteCode, view: &LinkView, entries: &[Entry]) -> QueueLink {
    let queued = || entries.iter().filter(|entry| entry.outgoing && !entry.state.is_over());
    QueueLink {
        peer: peer.to_string(),
        up: view.up,
        last_error: view.last_error.clone(),
        queued_items: u32::try_from(queued().count()).unwrap_or(u32::MAX),
        queued_bytes: queued().map(left).sum(),
        sent_bytes_per_s: if view.up { view.sent_bytes_per_s } else { 0 },
        received_bytes_per_s: if view.up { view.received_bytes_per_s } else { 0 },
        has_more: false,
    }
}

pub(in crate::provider) fn left(entry: &Entry) -> u64 {
    entry.total.saturating_sub(entry.done)
}

/// Each item with the time at which it is through. Both ways of a link are queues of their own; of the way back only
/// the peer knows the terms.
fn with_etas(entries: Vec<Entry>, view: &LinkView, terms: &Terms, now: Timestamp) -> Vec<QueueItem> {
    let (out, back): (Vec<_>, Vec<_>) = entries.into_iter().partition(|entry| entry.outgoing);
    let unlimited = Terms::unlimited();
    let mut items = Vec::new();
    for (entries, link_rate, terms) in
        [(out, view.sent_bytes_per_s, terms), (back, view.received_bytes_per_s, &unlimited)]
    {
        let rate = if view.up { rate(&entries, link_rate, view) } else { 0 };
        let ahead: Vec<Ahead> = entries
            .iter()
            .map(|entry| Ahead { left_bytes: left(entry), stands_aside: entry.state.stands_aside() })
            .collect();
        let until = bytes_until(&ahead);
        items.extend(entries.into_iter().zip(until).map(|(entry, bytes)| QueueItem {
            eta_us: bytes.and_then(|bytes| terms.eta(now, entry.priority, bytes, rate)).map_or(0, |at| at.0),
            ..shown(entry)
        }));
    }
    items
}

/// What the line carries when something may go: between two items, or while an hour is closed, nothing moves, and the
/// line is still known.
fn rate(entries: &[Entry], link_rate: u64, view: &LinkView) -> u64 {
    let moving = link_rate.max(entries.iter().map(|entry| entry.rate_bytes_per_s).sum());
    let is_outgoing = entries.first().is_some_and(|entry| entry.outgoing);
    if is_outgoing && moving < view.gauges.bytes_per_second / 100 {
        view.gauges.bytes_per_second
    } else {
        moving
    }
}

/// As the console is told of it.
pub(super) fn shown(entry: Entry) -> QueueItem {
    QueueItem {
        item: entry.item.to_string(),
        peer: entry.peer.to_string(),
        outgoing: entry.outgoing,
        subject: entry.subject,
        kind: QueueItemKind::from(entry.kind).into(),
        priority: wire::Priority::from(entry.priority).into(),
        state: QueueState::from(entry.state).into(),
        reason: entry.reason,
        bytes_done: entry.done,
        bytes_total: entry.total,
        rate_bytes_per_s: entry.rate_bytes_per_s,
        eta_us: 0,
        held: entry.held,
        queued_at_us: entry.queued_at.0,
        retry_at_us: entry.retry_at.map_or(0, |at| at.0),
        rank: entry.rank,
    }
}
