//! Sender and Receiver: the link to each neighbour.
//!
//! A child dials its parent and keeps one call open; both ends run the same [`session::Session`] on it. The protocol
//! itself is `packhorse_domain::link`; here are only its frames' way to the wire and the files they come from.

mod accept;
mod apply;
mod deliver;
mod dial;
mod receive;
mod recover;
mod repair;
mod send;
mod session;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use packhorse_domain::{Priority, Timestamp, link::ItemId};
use packhorse_runtime::ByteCounter;
use tokio_util::sync::CancellationToken;

pub(crate) use accept::LinkServer;
pub(crate) use apply::parents;
pub(crate) use dial::dial_parent;

/// A link as people see it.
#[derive(Debug, Default, Clone)]
pub(crate) struct LinkView {
    pub(crate) up: bool,
    pub(crate) since: Timestamp,
    /// Of the present connection.
    pub(crate) counter: Arc<ByteCounter>,
    /// Of the connections before it.
    pub(crate) sent_before: u64,
    pub(crate) received_before: u64,
    pub(crate) round_trip_us: u64,
    pub(crate) last_error: String,
    pub(crate) moving: Vec<Moving>,
    /// Ends the present session; a newer one takes its place.
    pub(crate) session: CancellationToken,
}

/// An item in motion.
#[derive(Debug, Clone)]
pub(crate) struct Moving {
    pub(crate) item: ItemId,
    pub(crate) outgoing: bool,
    pub(crate) subject: String,
    pub(crate) priority: Priority,
    pub(crate) done: u64,
    pub(crate) total: u64,
}
