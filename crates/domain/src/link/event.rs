//! What a link asks of its caller.

use std::time::Duration;

use bytes::Bytes;

use crate::{
    Timestamp,
    id::SiteCode,
    link::{Frame, ItemId, LaneOffer, Offer, Outline, RefuseReason},
    reconcile::{Compare, Listing},
};

/// What goes onto the line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Send {
    Frame(Frame),
    /// The caller reads these bytes of the item and sends them as one data frame. If it cannot, it says at once that they
    /// are [unreadable](Link::unreadable).
    Data {
        item: ItemId,
        offset: u64,
        length: usize,
    },
}

/// What the peer's frame asks of the caller.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    PeerHello {
        revision: u32,
        /// What both sides can.
        features: Vec<String>,
        /// Another than last time: forget what the peer was believed to hold.
        epoch: Vec<u8>,
        /// The lanes that the peer takes.
        lanes: Option<LaneOffer>,
    },
    /// Answer with `accept` and the durable offset, `refuse`, or `finished` if its effect is here already. With inline
    /// bytes: `refuse` or `finished`.
    Offered(Offer),
    /// Write, sync, then say `durable`; when it is whole, checked and its effect durable, `finished`.
    Write {
        item: ItemId,
        offset: u64,
        bytes: Bytes,
    },
    /// The peer takes its offer back. What is held of it may be kept for a later one.
    Cancelled {
        item: ItemId,
    },
    /// The peer takes the item, from here on.
    Wanted {
        item: ItemId,
        offset: u64,
    },
    /// The peer has this much of it on its disk.
    Acked {
        item: ItemId,
        offset: u64,
    },
    /// The peer has this much of it in a file that is not on its disk yet.
    Written {
        item: ItemId,
        offset: u64,
    },
    /// Its effect is on the peer's disk: forget it.
    Delivered {
        item: ItemId,
    },
    Refused {
        item: ItemId,
        reason: RefuseReason,
        text: String,
    },
    /// An item of a kind that this version does not know was offered. It is refused already.
    UnknownKind {
        item: ItemId,
    },
    /// The peer is about to end the stream: nothing new is sent to it.
    PeerGoodbye {
        reason: String,
        /// This side broke the protocol, says the peer.
        at_fault: bool,
    },
    Pong {
        round_trip: Duration,
        /// The time of day at the peer when it answered, if it told.
        clock: Option<Timestamp>,
    },
    /// The hashes of the item's parts; they lead to its digest or to nothing, which the caller checks.
    Outlined(Outline),
    /// The peer shows nodes of its tree: answer what differs with [`Link::compare`] or [`Link::list`].
    Compared(Compare),
    /// The peer shows all that it holds of a part of its tree.
    Listed(Listing),
}

/// The peer has said nothing for too long: close the stream.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Lost {
    /// The line may be at fault: make a new one.
    #[error("site {peer} was silent for {} s", silence.as_secs())]
    Silent { peer: SiteCode, silence: Duration },
    /// Whoever opens a link says at once who it is.
    #[error("site {peer} said no hello within {} s", within.as_secs())]
    NoHello { peer: SiteCode, within: Duration },
}

/// What a link was seen to do, for people.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Gauges {
    /// Bytes a second that the line was seen to carry to the peer; 0: not known yet.
    pub bytes_per_second: u64,
    /// Somebody filled the line. Before, what it was seen to carry is what there was to send.
    pub is_filled: bool,
    /// The shortest way there and back.
    pub shortest_trip: Duration,
    /// Bytes on their way to the peer, and how many may be.
    pub under_way_bytes: u64,
    pub window_bytes: u64,
    pub frame_bytes: u64,
}
