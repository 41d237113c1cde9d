//! The frames that go before any data, in order; pings; and the barriers that tell when an item is truly gone.

use std::{
    collections::{BTreeSet, VecDeque},
    time::Duration,
};

use crate::{
    Timestamp,
    link::{Frame, ItemId, Violation, limits},
};

/// What goes out before any data, first in first out.
#[derive(Debug, Default)]
pub(super) struct Control {
    queue: VecDeque<Queued>,
    pongs: usize,
    /// Comparisons, listings and outlines.
    large: usize,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Queued {
    Frame(Frame),
    /// An ack of what is durable when it leaves, so that many syncs cost one frame.
    Ack(ItemId),
    /// The same of what is written.
    Written(ItemId),
}

/// Pings that wait for their pong.
#[derive(Debug, Default)]
pub(super) struct Pings {
    next: u64,
    under_way: VecDeque<Ping>,
}

#[derive(Debug)]
struct Ping {
    value: u64,
    sent_at: Option<Timestamp>,
}

/// Items that this side has closed while the peer may still speak of them. A ping is sent after what closed them:
/// at its pong, everything that the peer said before it knew has arrived, and the item can be forgotten.
#[derive(Debug, Default)]
pub(super) struct Barrier {
    ping: Option<u64>,
    before: BTreeSet<ItemId>,
    /// Closed since that ping was queued: the next one is theirs.
    since: BTreeSet<ItemId>,
}

impl Control {
    pub(super) fn push(&mut self, frame: Frame) {
        if matches!(frame, Frame::Pong { .. }) {
            self.pongs += 1;
        }
        self.large += usize::from(is_large(&frame));
        self.queue.push_back(Queued::Frame(frame));
    }

    pub(super) fn push_ack(&mut self, item: ItemId) {
        self.queue.push_back(Queued::Ack(item));
    }

    pub(super) fn push_written(&mut self, item: ItemId) {
        self.queue.push_back(Queued::Written(item));
    }

    pub(super) fn pop(&mut self) -> Option<Queued> {
        let queued = self.queue.pop_front()?;
        if matches!(queued, Queued::Frame(Frame::Pong { .. })) {
            self.pongs -= 1;
        }
        if let Queued::Frame(frame) = &queued {
            self.large -= usize::from(is_large(frame));
        }
        Some(queued)
    }

    /// Whether one more large frame may wait.
    pub(super) fn has_room(&self) -> bool {
        self.large < limits::LARGE_ANSWERS_MAX
    }

    pub(super) fn is_empty(&self) -> bool {
        self.queue.is_empty()
    }

    /// A peer that sends without reading would make this side hold its answers without end.
    pub(super) fn check(&self) -> Result<(), Violation> {
        if self.pongs > limits::PINGS_MAX {
            return Err(Violation::TooManyPings { max: limits::PINGS_MAX });
        }
        if self.queue.len() > limits::ANSWERS_MAX {
            return Err(Violation::NotReading { max: limits::ANSWERS_MAX });
        }
        Ok(())
    }
}

fn is_large(frame: &Frame) -> bool {
    matches!(frame, Frame::Compare(_) | Frame::Listing(_) | Frame::Outline(_))
}

impl Pings {
    pub(super) fn queue(&mut self, control: &mut Control) -> u64 {
        let value = self.next;
        self.next += 1;
        self.under_way.push_back(Ping { value, sent_at: None });
        control.push(Frame::Ping { value });
        value
    }

    pub(super) fn sent(&mut self, value: u64, now: Timestamp) {
        if let Some(ping) = self.under_way.iter_mut().find(|ping| ping.value == value) {
            ping.sent_at = Some(now);
        }
    }

    pub(super) fn is_waiting(&self) -> bool {
        !self.under_way.is_empty()
    }

    /// Pongs come in the order of their pings.
    pub(super) fn pong(&mut self, value: u64, now: Timestamp) -> Result<Duration, Violation> {
        match self.under_way.front() {
            Some(Ping { value: expected, sent_at: Some(sent_at) }) if *expected == value => {
                let round_trip = now.since(*sent_at);
                self.under_way.pop_front();
                Ok(round_trip)
            }
            _ => Err(Violation::UnknownPong { value }),
        }
    }
}

impl Barrier {
    /// Remembers an item; what closed it must be in the queue already.
    pub(super) fn close(&mut self, item: ItemId, pings: &mut Pings, control: &mut Control) {
        self.since.insert(item);
        self.ping_if_due(pings, control);
    }

    pub(super) fn contains(&self, item: &ItemId) -> bool {
        self.before.contains(item) || self.since.contains(item)
    }

    pub(super) fn len(&self) -> usize {
        self.before.len() + self.since.len()
    }

    /// The item was opened anew by the peer, who therefore knows that it was closed.
    pub(super) fn forget(&mut self, item: &ItemId) {
        self.before.remove(item);
        self.since.remove(item);
    }

    /// Which items are gone for good with this pong.
    pub(super) fn pong(&mut self, value: u64, pings: &mut Pings, control: &mut Control) -> BTreeSet<ItemId> {
        if self.ping != Some(value) {
            return BTreeSet::new();
        }
        self.ping = None;
        let gone = std::mem::take(&mut self.before);
        self.ping_if_due(pings, control);
        gone
    }

    fn ping_if_due(&mut self, pings: &mut Pings, control: &mut Control) {
        if self.ping.is_none() && !self.since.is_empty() {
            self.before = std::mem::take(&mut self.since);
            self.ping = Some(pings.queue(control));
        }
    }
}
