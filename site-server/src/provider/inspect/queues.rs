//! What waits for each neighbour, counted by class, and why each item is not through.

use packhorse_domain::{
    Priority, Timestamp,
    address::{Spent, allowance},
    queue::{State, Wait, WaitFacts},
};
use packhorse_proto::{
    convert::time::{duration, timestamp},
    object::v1 as wire,
    provider::v1::{
        ClassQueue, ListQueuesRequest, PeerQueue, QueueItemKind, QueueState, WaitReason, WaitingItem,
    },
};

use crate::{
    error::Error,
    provider::{
        invalid,
        queue::{
            list::{in_order, left, waiting_objects},
            neighbours,
        },
        transfers::{Board, Entry},
    },
    scheduler::{self, addresses::Terms},
    site::Site,
};

const ITEMS_DEFAULT: usize = 20;
const ITEMS_MAX: usize = 1_000;
/// Waiting objects of one neighbour are counted up to here.
const OBJECTS_COUNTED: usize = 1_000;

pub(super) async fn list(site: &Site, asked: &ListQueuesRequest) -> Result<Vec<PeerQueue>, Error> {
    let limit = items_max(asked.items_max)?;
    let mut tx = site.store.read().await?;
    let neighbours = neighbours(site, &mut tx, &asked.peer).await?;
    let mut board = Board::load(site, &mut tx).await?;
    let mut entries = board.bundles(&mut tx).await?;
    let mut more = Vec::new();
    for neighbour in &neighbours {
        let (objects, has_more) = waiting_objects(&mut tx, neighbour, OBJECTS_COUNTED).await?;
        for object in objects {
            entries.push(board.object(&neighbour.code, &object)?);
        }
        more.push(has_more);
    }
    let deadlines = scheduler::deadlines(&mut tx).await?;
    drop(tx);
    entries.retain(|entry| !matches!(entry.state, State::Delivered | State::Replaced));

    let mut queues = Vec::new();
    for (neighbour, more) in neighbours.into_iter().zip(more) {
        let (up, address) = site.links(|links| {
            links.get(&neighbour.code).map(|view| (view.up, view.address.clone())).unwrap_or_default()
        });
        let terms = scheduler::addresses::terms(site, &neighbour.code, address.as_ref()).await?;
        let of_peer: Vec<Entry> =
            entries.iter().filter(|entry| entry.peer == neighbour.code).cloned().collect();
        let of_peer = in_order(of_peer, &deadlines);
        let view = View { terms: &terms, now: site.now() };
        queues.push(PeerQueue {
            peer: neighbour.code.to_string(),
            up,
            classes: Priority::ALL.into_iter().map(|class| view.class(class, &of_peer)).collect(),
            items: view.items(of_peer.into_iter().filter(|entry| asked.all || !is_event(entry)), limit),
            more,
        });
    }
    Ok(queues)
}

fn items_max(asked: u32) -> Result<usize, Error> {
    match usize::try_from(asked).unwrap_or(usize::MAX) {
        0 => Ok(ITEMS_DEFAULT),
        limit if limit <= ITEMS_MAX => Ok(limit),
        _ => Err(invalid("items_max", "at most 1,000 items of a neighbour are listed; ask for fewer")),
    }
}

fn is_event(entry: &Entry) -> bool {
    entry.subject.starts_with("event/")
}

/// The queue of one neighbour at one moment.
struct View<'a> {
    terms: &'a Terms,
    now: Timestamp,
}

impl View<'_> {
    fn class(&self, class: Priority, entries: &[Entry]) -> ClassQueue {
        let of_class = || entries.iter().filter(|entry| entry.priority == class && !entry.state.is_over());
        let oldest = of_class().map(|entry| entry.queued_at).min();
        let count = |number: usize| u32::try_from(number).unwrap_or(u32::MAX);
        ClassQueue {
            priority: wire::Priority::from(class).into(),
            items: count(of_class().count()),
            events: count(of_class().filter(|entry| is_event(entry)).count()),
            bytes: of_class().map(left).sum(),
            oldest_age: oldest.map(|at| duration(self.now.since(at))),
            open: self.terms.allowance.open.admits(class),
        }
    }

    fn items(&self, entries: impl Iterator<Item = Entry>, limit: usize) -> Vec<WaitingItem> {
        let (mut items, mut bytes) = (Vec::new(), 0_u64);
        for entry in entries.take(limit) {
            let (left, aside) = (left(&entry), entry.state.stands_aside());
            items.push(self.item(items.len(), bytes, entry));
            bytes = bytes.saturating_add(if aside { 0 } else { left });
        }
        items
    }

    fn item(&self, before: usize, bytes_before: u64, entry: Entry) -> WaitingItem {
        let wait = self.wait(&entry);
        WaitingItem {
            place: u32::try_from(before).unwrap_or(u32::MAX).saturating_add(1),
            item: entry.item.to_string(),
            why: self.why(wait, &entry, (before, bytes_before)),
            waits_for: WaitReason::from(wait).into(),
            kind: QueueItemKind::from(entry.kind).into(),
            priority: wire::Priority::from(entry.priority).into(),
            state: QueueState::from(entry.state).into(),
            age: Some(duration(self.now.since(entry.queued_at))),
            done_bytes: entry.done,
            total_bytes: entry.total,
            retry_at: entry.retry_at.map(timestamp),
            subject: entry.subject,
        }
    }

    fn wait(&self, entry: &Entry) -> Wait {
        let hour_open = self.terms.address.as_ref().is_none_or(|address| {
            let hour = scheduler::addresses::hour(address, self.now);
            // As if nothing had been spent yet.
            allowance(address, hour, Spent::default()).open.admits(entry.priority)
        });
        let facts = WaitFacts {
            state: entry.state,
            held: entry.held,
            hour_open,
            class_open: self.terms.allowance.open.admits(entry.priority),
        };
        facts.wait()
    }

    fn why(&self, wait: Wait, entry: &Entry, (before, bytes): (usize, u64)) -> String {
        let zone = self.terms.address.as_ref().map_or("UTC", |address| address.time_zone.as_str());
        match wait {
            Wait::Hour => format!("class {} is closed in this hour ({zone})", entry.priority),
            Wait::Budget => format!("the budget is spent, and class {} waits for the next", entry.priority),
            _ if !entry.reason.is_empty() => entry.reason.clone(),
            Wait::Nothing => String::new(),
            Wait::Turn if before == 0 => "it is the next".to_owned(),
            Wait::Turn => format!("{before} item(s) with {bytes} bytes go before it"),
            Wait::Peer => "the peer has not answered or confirmed it yet".to_owned(),
            Wait::Link => "the link is down".to_owned(),
            Wait::Release => "an administrator took it out of the queue".to_owned(),
            Wait::Courier => "it goes by courier".to_owned(),
            Wait::Retry => "it was refused and is tried again".to_owned(),
        }
    }
}
