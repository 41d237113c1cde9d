//! What is said on a link: the domain's mirror of the protocol's messages.

use std::fmt;

use bytes::Bytes;

use crate::{
    Digest, Priority, Timestamp,
    id::SiteCode,
    link::{ItemId, ItemKind, LaneOffer, Ranges},
    reconcile::{Compare, Entry, Listing},
};

/// About what a data frame is beside its bytes.
pub(super) const DATA_HEADER_BYTES: usize = 35;
/// What is compared, beside its prefix; and what is listed, beside its names.
const NODE_BYTES: usize = 36;
const ENTRY_BYTES: usize = 40;

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Frame {
    Hello(Hello),
    Offer(Offer),
    /// An offer whose kind this version does not know: it is refused.
    UnknownOffer {
        item: ItemId,
        /// Bytes that came within it.
        inline_bytes: usize,
    },
    Want {
        item: ItemId,
        offset: u64,
    },
    /// A want of what lies between and behind what is held beyond the offset.
    WantRest {
        item: ItemId,
        offset: u64,
        held: Ranges,
    },
    Refuse {
        item: ItemId,
        reason: RefuseReason,
        text: String,
    },
    Data {
        item: ItemId,
        offset: u64,
        bytes: Bytes,
    },
    /// Data on a lane: what is in front of them may come later.
    Bulk {
        item: ItemId,
        offset: u64,
        bytes: Bytes,
        /// The nth want of this link that they answer, counted from 1: what an older one asked for may be late.
        want: u64,
    },
    Ack {
        item: ItemId,
        offset: u64,
    },
    /// All before is in the peer's file, and not on its disk yet: it leaves the window.
    Written {
        item: ItemId,
        offset: u64,
    },
    Receipt {
        item: ItemId,
    },
    Cancel {
        item: ItemId,
    },
    Goodbye {
        reason: String,
        /// Who receives this broke the protocol.
        at_fault: bool,
    },
    Ping {
        value: u64,
    },
    Pong {
        value: u64,
        /// The time of day where it left; whoever hands it to the line puts it in. `None`: an older peer.
        clock: Option<Timestamp>,
    },
    /// How many bytes of data came so far on this stream, durable or not: what the sender measures the line by.
    Got {
        bytes: u64,
    },
    Outline(Outline),
    Compare(Compare),
    Listing(Listing),
    /// A frame of a later revision. It is ignored.
    Unknown,
}

/// The hashes of an item's parts: each part can be checked, and passed on, before the rest is there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outline {
    pub item: ItemId,
    /// Bytes of each part but the last; a power of two and at least 1 MiB.
    pub part_bytes: u64,
    /// BLAKE3's chaining value of each part, in order.
    pub hashes: Vec<Digest>,
}

/// The first frame of each side.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hello {
    pub site: SiteCode,
    pub revision: u32,
    pub features: Vec<String>,
    /// Changes when the site's database was restored.
    pub epoch: Vec<u8>,
    /// How many unacknowledged bytes may be under way to this side; 0 for the protocol's default.
    pub window_bytes: u64,
    /// The lanes that the side takes.
    pub lanes: Option<LaneOffer>,
}

/// "I have this for you."
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Offer {
    pub item: ItemId,
    pub kind: ItemKind,
    pub priority: Priority,
    pub length: u64,
    pub digest: Digest,
    pub subject: String,
    pub target: Option<Digest>,
    pub bases: Vec<Digest>,
    /// The whole item; then no want and no data follow.
    pub inline: Option<Vec<u8>>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum RefuseReason {
    /// Already held: as good as a receipt.
    Held,
    /// A base of the bundle is not held there: make one against less.
    BaseMissing,
    /// Not for this site, or not the offerer's to send, as the peer sees it now: try again less and less often.
    NotAllowed,
    /// The bytes do not match the digest, or do not decode. Send it again from zero.
    Damaged,
    /// No room on the disk. Try again in ten minutes.
    NoSpace,
    /// A kind or a rule that the peer's version does not know. Try again after its next hello.
    UnknownKind,
    /// A reason of a later revision. Do as for `UnknownKind`.
    Other,
}

impl Frame {
    /// Its name, for messages and logs.
    pub fn name(&self) -> &'static str {
        match self {
            Frame::Hello(_) => "hello",
            Frame::Offer(_) | Frame::UnknownOffer { .. } => "offer",
            Frame::Want { .. } | Frame::WantRest { .. } => "want",
            Frame::Refuse { .. } => "refuse",
            Frame::Data { .. } | Frame::Bulk { .. } => "data",
            Frame::Ack { .. } => "ack",
            Frame::Written { .. } => "written",
            Frame::Receipt { .. } => "receipt",
            Frame::Cancel { .. } => "cancel",
            Frame::Goodbye { .. } => "goodbye",
            Frame::Ping { .. } => "ping",
            Frame::Pong { .. } => "pong",
            Frame::Got { .. } => "got",
            Frame::Outline(_) => "outline",
            Frame::Compare(_) => "compare",
            Frame::Listing(_) => "listing",
            Frame::Unknown => "unknown",
        }
    }
}

impl Frame {
    /// Bytes of an item in it.
    pub fn item_bytes(&self) -> usize {
        match self {
            Frame::Offer(offer) => offer.inline.as_ref().map_or(0, Vec::len),
            Frame::UnknownOffer { inline_bytes, .. } => *inline_bytes,
            Frame::Data { bytes, .. } | Frame::Bulk { bytes, .. } => bytes.len(),
            _ => 0,
        }
    }

    /// About how many bytes it has on the wire, the connection's own aside; with those, never more than it has: whoever
    /// waits until all of it has left would wait for ever.
    pub fn bytes(&self) -> usize {
        match self {
            Frame::Offer(offer) => {
                90 + offer.subject.len() + 34 * offer.bases.len() + offer.inline.as_ref().map_or(0, Vec::len)
            }
            Frame::Data { bytes, .. } | Frame::Bulk { bytes, .. } => DATA_HEADER_BYTES + bytes.len(),
            Frame::WantRest { held, .. } => {
                25 + held.iter().map(|run| 4 + number_bytes(run.start) + number_bytes(run.end)).sum::<usize>()
            }
            Frame::Refuse { text, .. } => 35 + text.len(),
            Frame::Goodbye { reason, .. } => 10 + reason.len(),
            Frame::Outline(outline) => 40 + 32 * outline.hashes.len(),
            Frame::Compare(compare) => {
                10 + compare.nodes.iter().map(|node| NODE_BYTES + node.prefix.as_str().len()).sum::<usize>()
            }
            Frame::Listing(listing) => {
                let entry = |entry: &Entry| ENTRY_BYTES + entry.kind.len() + entry.id.len();
                10 + listing.entries.iter().map(entry).sum::<usize>()
            }
            _ => 25,
        }
    }
}

impl RefuseReason {
    pub fn as_str(self) -> &'static str {
        match self {
            RefuseReason::Held => "held",
            RefuseReason::BaseMissing => "base missing",
            RefuseReason::NotAllowed => "not allowed",
            RefuseReason::Damaged => "damaged",
            RefuseReason::NoSpace => "no space",
            RefuseReason::UnknownKind => "unknown kind",
            RefuseReason::Other => "a reason of a later revision",
        }
    }
}

impl fmt::Display for RefuseReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A number as it is written, seven bits a byte.
fn number_bytes(number: u64) -> usize {
    number.max(1).ilog2() as usize / 7 + 1
}

/// A text for people, cut at a character to at most `bytes_max` bytes.
pub(super) fn cut(mut text: String, bytes_max: usize) -> String {
    text.truncate(text.floor_char_boundary(bytes_max));
    text
}
