//! The protocol between two sites as a state machine: frames in, frames and events out, time as an argument.
//!
//! One [`Link`] is one stream, from `Hello` to its end; after a cut both sides make a new one and offer again what
//! has no receipt. The machine holds no bytes of a bundle: it says which bytes go next, and the caller reads, writes
//! and syncs. What a caller must keep to is said at [`Link`].

mod allowance;
mod choice;
mod config;
mod control;
mod event;
mod flow;
mod frame;
mod incoming;
mod item;
mod lanes;
mod machine;
mod outgoing;
mod pace;
mod ranges;
mod shaper;
mod violation;

#[cfg(test)]
mod tests;

pub use allowance::{Allowance, Open, Pulse};
pub use config::{KnownLine, LinkConfig, Pace};
pub use event::{Event, Gauges, Lost, Send};
pub use frame::{Frame, Hello, Offer, Outline, RefuseReason};
pub use incoming::AnswerError;
pub use item::{ItemId, ItemIdError, ItemKind, ObjectState, OutItem};
pub use lanes::{Bulk, LaneOffer, LaneSend};
pub use machine::Link;
pub use outgoing::{OfferError, Offering, Progress, Stage};
pub use ranges::Ranges;
pub use violation::Violation;

/// The highest revision of the protocol that this version speaks.
pub const REVISION: u32 = 4;

/// Numbers that both sides keep to; a peer that exceeds one breaks the protocol.
pub mod limits {
    /// Bytes in one data frame.
    pub const DATA_BYTES_MAX: usize = 256 * 1024;
    /// Bytes of an item that is sent whole within its offer.
    pub const INLINE_BYTES_MAX: usize = 64 * 1024;
    /// Offered and unfinished items per direction.
    pub const OPEN_OFFERS_MAX: usize = 1024;
    /// The window of a peer that names none.
    pub const WINDOW_BYTES_DEFAULT: u64 = 4 * 1024 * 1024;
    /// Bytes of one item. More cannot be a length that somebody meant.
    pub const ITEM_BYTES_MAX: u64 = 1 << 46;
    /// Bytes of an offer's subject.
    pub const SUBJECT_BYTES_MAX: usize = 256;
    /// Manifests that a bundle may build on.
    pub const BASES_MAX: usize = 64;
    /// Optional abilities in a hello.
    pub const FEATURES_MAX: usize = 64;
    /// Bytes of the name of one ability.
    pub const FEATURE_BYTES_MAX: usize = 64;
    /// Bytes of a hello's epoch.
    pub const EPOCH_BYTES_MAX: usize = 32;
    /// Bytes of a text for people; a longer one is cut.
    pub const TEXT_BYTES_MAX: usize = 512;
    /// Bytes of each part of an outline.
    pub const PART_BYTES_MIN: u64 = 1024 * 1024;
    /// Hashes in an outline.
    pub const OUTLINE_HASHES_MAX: usize = 4096;
    /// Further connections that carry data.
    pub const LANES_MAX: u32 = 8;
    /// Runs of one item that a receiver says to hold beyond the offset of its want.
    pub const HELD_MAX: usize = 64;
    /// Runs of one item that came before what is in front of them.
    pub const RANGES_MAX: usize = 1024;
    /// Pings of the peer that wait for their pong.
    pub const PINGS_MAX: usize = 64;
    /// Frames that wait for the peer to read. A peer that lets more pile up sends without reading.
    pub const ANSWERS_MAX: usize = 8 * 1024;
    /// Comparisons, listings and outlines among them.
    pub const LARGE_ANSWERS_MAX: usize = 64;
    /// Items that wait in one class for their offer; the caller feeds the rest later.
    pub const QUEUED_ITEMS_MAX: usize = 4096;
    /// Bytes of inline items in one class, so that what waits stays small.
    pub const QUEUED_INLINE_BYTES_MAX: u64 = 8 * 1024 * 1024;
}
