//! Sender and Receiver: the link to each neighbour.
//!
//! A child dials its parent and keeps one call open; both ends run the same [`session::Session`] on it. The protocol
//! itself is `packhorse_domain::link`; here are only its frames' way to the wire and the files they come from.

mod accept;
mod ahead;
mod apply;
mod arriving;
mod deliver;
mod dial;
mod fault;
mod gate;
mod inbound;
mod lanes;
mod lines;
mod meter;
mod receive;
mod recover;
mod refused;
mod relay;
mod repair;
mod send;
mod session;
mod spooled;
mod terms;
#[cfg(test)]
pub(crate) mod tests;
mod written;

use std::{
    collections::{BTreeMap, VecDeque},
    sync::Arc,
    time::Duration,
};

use packhorse_domain::{
    Priority, Timestamp,
    effort::KnownWay,
    id::AddressName,
    link::{Gauges, ItemId, Stage},
};
use packhorse_runtime::Wire;
use tokio_util::sync::CancellationToken;

pub(crate) use accept::{LinkServer, calling_child};
pub(crate) use apply::{parents, take_objects};
pub(crate) use dial::{channel, dial_parent};
pub(crate) use fault::MESSAGE_BYTES_MAX;
pub(crate) use lanes::{Door, QUIC_OPTIONS, serve_lanes};
pub(crate) use receive::forget_arrival;
pub(crate) use relay::Relays;
pub(crate) use spooled::Spool;
pub(crate) use written::{WrittenLog, read_log};

/// A link as people see it.
#[derive(Debug, Default, Clone)]
pub(crate) struct LinkView {
    pub(crate) up: bool,
    pub(crate) since: Timestamp,
    /// Of the present connection.
    pub(crate) counter: Arc<Wire>,
    /// Of its lanes.
    pub(crate) lanes: Vec<Arc<Wire>>,
    /// Where more of them come in, if this side takes any.
    pub(crate) door: Option<Door>,
    /// Of the connections before it.
    pub(crate) sent_before: u64,
    pub(crate) received_before: u64,
    pub(crate) round_trip_us: u64,
    /// How far this site's clock is ahead of the peer's, at least; `None`: the peer has not told.
    pub(crate) clock_ahead_us: Option<i64>,
    /// The last of them over the present connection.
    pub(crate) round_trips: VecDeque<Duration>,
    /// When UDP last did not pass although TCP did.
    pub(crate) udp_failed_at: Option<Timestamp>,
    /// The address by which the peer was dialled, if this side dialled.
    pub(crate) address: Option<AddressName>,
    /// Of the protocol, as both sides agreed on it; 0 before the peer's first hello.
    pub(crate) revision: u32,
    /// What both sides can.
    pub(crate) features: Vec<String>,
    /// What the line was seen to do.
    pub(crate) gauges: Gauges,
    pub(crate) last_error: String,
    pub(crate) moving: Vec<Moving>,
    /// Of the encrypted connection, over the last seconds.
    pub(crate) sent_bytes_per_s: u64,
    pub(crate) received_bytes_per_s: u64,
    /// The most that it was since the server began.
    pub(crate) received_best: u64,
    /// How far items that stopped midway are at the peer.
    pub(crate) reached: BTreeMap<ItemId, u64>,
    /// Ends the present session; a newer one takes its place.
    pub(crate) session: CancellationToken,
}

/// A way that has become longer is known to be so when so many pings came back over it.
const ROUND_TRIPS_MAX: usize = 8;

impl LinkView {
    /// A ping has come back; with it came, or did not, how far this site's clock is ahead.
    fn came_back(&mut self, round_trip: Duration, clock_ahead_us: Option<i64>) {
        self.clock_ahead_us = clock_ahead_us;
        self.round_trip_us = u64::try_from(round_trip.as_micros()).unwrap_or(u64::MAX);
        if self.round_trips.len() == ROUND_TRIPS_MAX {
            self.round_trips.pop_front();
        }
        self.round_trips.push_back(round_trip);
    }

    /// What is known of the line. What a busy site at the other end adds to a round trip is none of its length.
    pub(crate) fn known_way(&self) -> KnownWay {
        KnownWay {
            is_up: self.up,
            bytes_per_second: self.gauges.is_filled.then_some(self.gauges.bytes_per_second),
            trip: self.round_trips.iter().min().copied(),
            is_limited: false,
        }
    }

    /// Bytes that the present connections have sent.
    pub(crate) fn sent(&self) -> u64 {
        self.wires().map(|wire| wire.sent()).sum()
    }

    pub(crate) fn received(&self) -> u64 {
        self.wires().map(|wire| wire.received()).sum()
    }

    fn wires(&self) -> impl Iterator<Item = &Wire> {
        std::iter::once(&self.counter).chain(&self.lanes).map(|wire| &**wire)
    }
}

/// An item in motion.
#[derive(Debug, Clone)]
pub(crate) struct Moving {
    pub(crate) item: ItemId,
    pub(crate) outgoing: bool,
    pub(crate) subject: String,
    pub(crate) priority: Priority,
    pub(crate) stage: Stage,
    pub(crate) done: u64,
    pub(crate) total: u64,
    /// Over the last seconds.
    pub(crate) rate_bytes_per_s: u64,
}
