//! What is on its way on this site's links, as people see it.

use std::collections::BTreeMap;

use packhorse_domain::{
    Priority, Timestamp,
    courier::Way,
    id::SiteCode,
    link::{ItemId, ItemKind, OutItem},
    queue::{Facts, State},
};
use packhorse_proto::{
    object::v1 as wire,
    provider::v1::{Transfer, TransferState},
};

use crate::{
    error::Error,
    scheduler,
    sender::{Moving, read_log},
    site::Site,
    store::{
        Tx,
        arrivals::{self, Arrival, ArrivalState},
        bundles::{self, Sending, SendingState},
        couriers::{self, Choice},
        objects::StoredObject,
        queue::{self, QueueOrder},
    },
};

/// An item to or from a neighbour, wherever it is.
#[derive(Debug, Clone)]
pub(super) struct Entry {
    pub(super) item: ItemId,
    pub(super) peer: SiteCode,
    pub(super) outgoing: bool,
    pub(super) subject: String,
    pub(super) kind: ItemKind,
    pub(super) priority: Priority,
    pub(super) rank: i64,
    pub(super) state: State,
    pub(super) reason: String,
    pub(super) done: u64,
    pub(super) total: u64,
    pub(super) rate_bytes_per_s: u64,
    pub(super) queued_at: Timestamp,
    pub(super) retry_at: Option<Timestamp>,
    pub(super) held: bool,
    /// It waits for a courier.
    pub(super) by_courier: bool,
    /// The link has it at this moment.
    pub(super) moves: bool,
}

/// What the links and the orders say of items, beside the rows that make them.
#[derive(Debug)]
pub(super) struct Board {
    links: BTreeMap<SiteCode, Line>,
    orders: BTreeMap<(SiteCode, ItemId), QueueOrder>,
    ways: BTreeMap<(SiteCode, ItemId), Choice>,
    now: Timestamp,
}

#[derive(Debug, Default)]
struct Line {
    up: bool,
    last_error: String,
    /// By item and direction.
    moving: BTreeMap<(ItemId, bool), Moving>,
    reached: BTreeMap<ItemId, u64>,
}

/// Everything under way or waiting: what moves now, what waits to be sent, what came and is not in use yet.
pub(super) async fn list(site: &Site, tx: &mut Tx) -> Result<Vec<Transfer>, Error> {
    let mut board = Board::load(site, tx).await?;
    let mut entries = board.bundles(tx).await?;
    entries.extend(board.arrivals(site, tx).await?);
    entries.extend(board.rest());
    entries.retain(|entry| !entry.state.is_over());
    // What moves is looked for first.
    entries.sort_by_key(|entry| !entry.moves);
    Ok(entries.into_iter().map(|entry| transfer(entry, board.now)).collect())
}

impl Board {
    pub(super) async fn load(site: &Site, tx: &mut Tx) -> Result<Board, Error> {
        let links = site.links(|links| {
            let line = |link: &crate::sender::LinkView| Line {
                up: link.up,
                last_error: link.last_error.clone(),
                moving: link.moving.iter().map(|one| ((one.item, one.outgoing), one.clone())).collect(),
                reached: link.reached.clone(),
            };
            links.iter().map(|(peer, link)| (peer.clone(), line(link))).collect()
        });
        let (orders, ways) = (queue::list(tx).await?, couriers::choices(tx).await?);
        Ok(Board { links, orders, ways, now: site.now() })
    }

    /// The mini-jobs for bundles, those that are over too.
    pub(super) async fn bundles(&mut self, tx: &mut Tx) -> Result<Vec<Entry>, Error> {
        let mut entries = Vec::new();
        for sending in bundles::sendings(tx).await? {
            // It may have gone meanwhile.
            let Some(bundle) = scheduler::bundle_of(tx, &sending.digest).await? else {
                continue;
            };
            let priority = scheduler::bundle_priority(tx, &bundle).await?;
            let item = scheduler::bundle_item(&bundle, priority, sending.changed_at);
            let mut entry = self.outgoing(&sending.peer, item, Some(&sending));
            match sending.state {
                SendingState::Queued => {}
                SendingState::Failed => entry.retry_at = Some(sending.retry_at),
                SendingState::Done => entry.state = State::Delivered,
                SendingState::BaseMissing => entry.state = State::Replaced,
                SendingState::Cancelled => entry.state = State::Cancelled,
            }
            if entry.state.is_over() {
                entry.stop();
            }
            if !sending.reason.is_empty() && entry.state != State::Held {
                entry.reason = sending.reason;
            }
            entries.push(entry);
        }
        Ok(entries)
    }

    /// An object that the neighbour lacks.
    pub(super) fn object(&mut self, peer: &SiteCode, object: &StoredObject) -> Result<Entry, Error> {
        let item = scheduler::object_item(object)?;
        Ok(self.outgoing(peer, item, None))
    }

    /// What comes in, until it is in use.
    pub(super) async fn arrivals(&mut self, site: &Site, tx: &mut Tx) -> Result<Vec<Entry>, Error> {
        let mut entries = Vec::new();
        for arrival in arrivals::list(tx).await? {
            let moving = self.take(&arrival.peer, &arrival.item, false);
            entries.push(arriving(site, arrival, moving).await);
        }
        Ok(entries)
    }

    /// What moves and was not taken by any of the others.
    pub(super) fn rest(&mut self) -> Vec<Entry> {
        let mut rest = Vec::new();
        for (peer, line) in &mut self.links {
            rest.extend(
                std::mem::take(&mut line.moving).into_values().map(|one| in_motion(peer, one, self.now)),
            );
        }
        rest
    }

    fn take(&mut self, peer: &SiteCode, item: &ItemId, outgoing: bool) -> Option<Moving> {
        self.links.get_mut(peer)?.moving.remove(&(*item, outgoing))
    }

    fn outgoing(&mut self, peer: &SiteCode, mut item: OutItem, sending: Option<&Sending>) -> Entry {
        let moving = self.take(peer, &item.id, true);
        let given = self.orders.get(&(peer.clone(), item.id));
        if let Some(given) = given {
            given.order.apply(&mut item);
        }
        let way = self.ways.get(&(peer.clone(), item.id));
        let by_courier = way.filter(|way| way.way == Way::Courier);
        let held = given.is_some_and(|given| given.order.held);
        let line = self.links.get(peer);
        let failed = sending.is_some_and(|one| one.state == SendingState::Failed && one.retry_at > self.now);
        let facts = Facts {
            held: held || by_courier.is_some(),
            retries: failed,
            stage: moving.as_ref().map(|one| one.stage),
            link_up: line.is_some_and(|line| line.up),
        };
        let state = facts.state();
        let reason = match (state, given, line) {
            (State::Held, Some(given), _) if held => format!("held by {}", given.changed_by),
            (State::Held, ..) => {
                let why = by_courier.map(|way| way.reason.as_str()).unwrap_or_default();
                format!("waits for a courier: {why}")
            }
            (State::Paused, _, Some(line)) if !line.last_error.is_empty() => {
                format!("the link is down: {}", line.last_error)
            }
            (State::Paused, ..) => "the link is down".to_owned(),
            _ => String::new(),
        };
        let reached = line.and_then(|line| line.reached.get(&item.id)).copied().unwrap_or_default();
        let mut entry = Entry {
            item: item.id,
            peer: peer.clone(),
            outgoing: true,
            kind: item.kind,
            priority: item.priority,
            rank: item.rank,
            state,
            reason,
            done: moving.as_ref().map_or(reached, |one| one.done),
            total: item.length,
            rate_bytes_per_s: moving.as_ref().map_or(0, |one| one.rate_bytes_per_s),
            queued_at: item.queued_at,
            retry_at: None,
            held,
            by_courier: by_courier.is_some(),
            moves: moving.is_some(),
            subject: item.subject,
        };
        if held || entry.by_courier {
            entry.stop();
        }
        entry
    }
}

impl Entry {
    /// What was wanted a moment ago, the link may show a moment longer.
    fn stop(&mut self) {
        self.rate_bytes_per_s = 0;
        self.moves = false;
    }
}

fn in_motion(peer: &SiteCode, moving: Moving, now: Timestamp) -> Entry {
    let sent = Facts { held: false, retries: false, stage: Some(moving.stage), link_up: true };
    Entry {
        item: moving.item,
        peer: peer.clone(),
        outgoing: moving.outgoing,
        // Objects are named KIND/ID.
        kind: if moving.subject.contains('/') { ItemKind::Object } else { ItemKind::Bundle },
        subject: moving.subject,
        priority: moving.priority,
        rank: 0,
        state: if moving.outgoing { sent.state() } else { State::Receiving },
        reason: String::new(),
        done: moving.done,
        total: moving.total,
        rate_bytes_per_s: moving.rate_bytes_per_s,
        queued_at: now,
        retry_at: None,
        held: false,
        by_courier: false,
        moves: true,
    }
}

async fn arriving(site: &Site, arrival: Arrival, moving: Option<Moving>) -> Entry {
    let (state, done) = match (arrival.state, &moving) {
        (ArrivalState::Receiving, Some(moving)) => (State::Receiving, moving.done),
        // It goes on from here when the peer sends it again.
        (ArrivalState::Receiving, None) => {
            let noted = tokio::fs::read_to_string(site.directories.arrival_ranges(&arrival.item)).await;
            let noted = noted.ok().and_then(|text| read_log(&text, arrival.length));
            let done = match noted {
                Some(noted) => noted.written.bytes(),
                None => tokio::fs::metadata(site.directories.arrival(&arrival.item))
                    .await
                    .map_or(0, |file| file.len().min(arrival.length)),
            };
            (State::Waiting, done)
        }
        // Its last byte is here: what it waits for now is Despooler.
        (ArrivalState::Complete, _) => (State::Despooling, arrival.length),
        (ArrivalState::Failed | ArrivalState::BaseMissing, _) => (State::Failed, arrival.length),
    };
    let moves = state == State::Receiving;
    Entry {
        item: arrival.item,
        peer: arrival.peer,
        outgoing: false,
        subject: arrival.package.to_string(),
        kind: ItemKind::Bundle,
        priority: arrival.priority,
        rank: 0,
        state,
        reason: arrival.reason,
        done,
        total: arrival.length,
        rate_bytes_per_s: moving.filter(|_| moves).map_or(0, |one| one.rate_bytes_per_s),
        queued_at: arrival.changed_at,
        retry_at: None,
        held: false,
        by_courier: false,
        moves,
    }
}

fn transfer(entry: Entry, now: Timestamp) -> Transfer {
    let state = match entry.state {
        _ if entry.moves && entry.outgoing => TransferState::Sending,
        State::Queued | State::Offered | State::Sending | State::Held | State::Paused | State::Cancelled => {
            TransferState::Queued
        }
        State::Receiving | State::Waiting => TransferState::Receiving,
        State::Despooling => TransferState::Despooling,
        State::Delivered => TransferState::Done,
        State::Retrying | State::Failed | State::Replaced => TransferState::Failed,
    };
    Transfer {
        item: entry.item.to_string(),
        peer: entry.peer.to_string(),
        outgoing: entry.outgoing,
        subject: entry.subject,
        priority: wire::Priority::from(entry.priority).into(),
        state: state.into(),
        bytes_done: entry.done,
        bytes_total: entry.total,
        changed_at_us: if entry.moves { now.0 } else { entry.queued_at.0 },
    }
}

/// Whether a transfer is about this package: its bundle, or one of the objects that describe it.
pub(super) fn is_about(transfer: &Transfer, package: &str) -> bool {
    match transfer.subject.split_once('/') {
        None => transfer.subject == package,
        Some((kind, id)) => matches!(kind, "package" | "distribution") && id == package,
    }
}
