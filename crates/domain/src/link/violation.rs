//! How a peer can break the protocol. Each ends the stream, and its text goes to the peer.

use crate::{id::SiteCode, link::ItemId};

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Violation {
    #[error("the first frame is a {got}, not a hello")]
    NotHello { got: &'static str },
    #[error("a second hello on one stream")]
    SecondHello,
    #[error("the hello is of site {got}, but this is the link with {expected}")]
    WrongSite { expected: SiteCode, got: SiteCode },
    #[error("the hello names revision 0, which never was")]
    NoRevision,
    #[error("the hello is too large: {what}")]
    HelloTooLarge { what: &'static str },
    #[error("a {frame} of item {item}, which is not open")]
    UnknownItem { frame: &'static str, item: ItemId },
    #[error("more than {max} offers are open")]
    TooManyOffers { max: usize },
    #[error("the offer of item {item} breaks a limit: {what}")]
    OfferTooLarge { item: ItemId, what: &'static str },
    #[error("the offer of item {item} has {got} bytes inline and a length of {length}")]
    InlineLength { item: ItemId, got: usize, length: u64 },
    #[error("item {item} is open and was offered again with another length, digest or kind")]
    OfferChanged { item: ItemId },
    #[error("data of item {item}, which was not wanted")]
    NotWanted { item: ItemId },
    #[error("data of item {item} at offset {got}; {expected} is next")]
    OutOfOrder { item: ItemId, expected: u64, got: u64 },
    #[error("data of item {item} at offset {offset}, which had come")]
    Overlap { item: ItemId, offset: u64 },
    #[error("more than {max} gaps in what came of item {item}")]
    TooManyGaps { item: ItemId, max: usize },
    #[error("data of a lane on a link that has none")]
    NoLanes,
    #[error("a {got} on a lane")]
    NotForLane { got: &'static str },
    #[error("data of item {item} at offset {offset} goes beyond its length of {length}")]
    BeyondLength { item: ItemId, offset: u64, length: u64 },
    #[error("a data frame of item {item} has {got} bytes; 1 to {max} are allowed")]
    DataSize { item: ItemId, got: usize, max: usize },
    #[error("{under_way} unacknowledged bytes are under way; the window is {window}")]
    WindowOverrun { under_way: u64, window: u64 },
    #[error("item {item} was wanted twice")]
    WantedTwice { item: ItemId },
    #[error("item {item} was wanted, but it was sent whole with its offer")]
    WantedInline { item: ItemId },
    #[error("item {item} was wanted from offset {offset}; it has {length} bytes")]
    WantBeyondLength { item: ItemId, offset: u64, length: u64 },
    #[error("what is said to be held of item {item} is not in order, or too much")]
    HeldShape { item: ItemId },
    #[error("an ack of item {item}, no data of which was wanted")]
    AckUnwanted { item: ItemId },
    #[error("item {item} is acknowledged up to {offset}; only {sent} were sent")]
    AckBeyondSent { item: ItemId, offset: u64, sent: u64 },
    #[error("item {item} is acknowledged up to {offset}, after {acked} had been")]
    AckBackwards { item: ItemId, offset: u64, acked: u64 },
    #[error("a second outline of item {item}")]
    OutlinedTwice { item: ItemId },
    #[error("an outline of item {item} with {parts} parts, which its length does not have")]
    OutlineShape { item: ItemId, parts: usize },
    #[error("{got} bytes are said to have come; it was {known} before, and {sent} were sent")]
    GotBeyondSent { got: u64, known: u64, sent: u64 },
    #[error("a pong with value {value}, which no waiting ping has")]
    UnknownPong { value: u64 },
    #[error("more than {max} pings wait for their pong")]
    TooManyPings { max: usize },
    #[error("more than {max} answers wait: frames are sent, and what comes back is not read")]
    NotReading { max: usize },
}
