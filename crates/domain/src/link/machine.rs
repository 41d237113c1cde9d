//! The link itself: who may say what when, and which part answers it.

use std::time::Duration;

use bytes::Bytes;

use crate::{
    Timestamp,
    id::SiteCode,
    link::{
        AnswerError, Frame, Hello, ItemId, LinkConfig, Offer, OfferError, Offering, OutItem, Pace, Progress,
        REVISION, RefuseReason, Violation,
        choice::Room,
        config::window_or_default,
        control::{Control, Pings, Queued},
        frame::cut,
        incoming::Incoming,
        limits,
        outgoing::Outgoing,
    },
    reconcile::{Compare, Listing},
};

/// One stream with a neighbour, from the hello to its end.
///
/// What a caller keeps to:
/// - Frames and data leave in the order in which [`next_send`](Link::next_send) gave them, and it is asked only when
///   the line can take a frame at once: what lies in a buffer cannot be overtaken.
/// - Bytes of a [`Event::Write`] become durable by themselves within bounded time, also when no more come; the
///   peer's window may be smaller than what a sync likes to wait for.
/// - `durable`, `finished` and `accept` speak of what survives a power cut, nothing else.
/// - What is refused or finished is judged by id: a second offer of a finished item is answered with `finished`.
/// - An item is forgotten at [`Event::Delivered`], and at nothing else.
#[derive(Debug)]
pub struct Link {
    config: LinkConfig,
    peer: Option<Peer>,
    control: Control,
    pings: Pings,
    outgoing: Outgoing,
    incoming: Incoming,
    heard_at: Timestamp,
    ping_at: Timestamp,
    round_trip: Option<Duration>,
    ending: bool,
}

/// What goes onto the line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Send {
    Frame(Frame),
    /// The caller reads these bytes of the item and sends them as one data frame. If it cannot, it cancels the item.
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
    /// Its effect is on the peer's disk: forget it.
    Delivered {
        item: ItemId,
    },
    Refused {
        item: ItemId,
        reason: RefuseReason,
        text: String,
    },
    /// The peer is about to end the stream: nothing new is sent to it.
    PeerGoodbye {
        reason: String,
    },
    Pong {
        round_trip: Duration,
    },
    /// The peer shows nodes of its tree: answer what differs with [`Link::compare`] or [`Link::list`].
    Compared(Compare),
    /// The peer shows all that it holds of a part of its tree.
    Listed(Listing),
}

/// The peer has said nothing for too long: close the stream and make a new one.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("site {peer} was silent for {} s", silence.as_secs())]
pub struct PeerSilent {
    pub peer: SiteCode,
    pub silence: Duration,
}

#[derive(Debug)]
struct Peer {
    revision: u32,
    window_bytes: u64,
    leaving: bool,
}

impl Link {
    pub fn new(config: LinkConfig, now: Timestamp) -> Self {
        let mut control = Control::default();
        control.push(Frame::Hello(config.hello()));
        Link {
            ping_at: now.plus(config.ping_every),
            config,
            peer: None,
            control,
            pings: Pings::default(),
            outgoing: Outgoing::default(),
            incoming: Incoming::default(),
            heard_at: now,
            round_trip: None,
            ending: false,
        }
    }

    /// Wants an item sent. The same item twice is one; a newer state of an object replaces an older one that waits.
    pub fn offer(&mut self, item: OutItem) -> Result<Offering, OfferError> {
        self.outgoing.offer(item, &mut self.pings, &mut self.control)
    }

    /// Takes an item back; offered again, it goes on where it stopped. False: it is not here.
    pub fn cancel(&mut self, item: ItemId) -> bool {
        self.outgoing.cancel(item, &mut self.pings, &mut self.control)
    }

    /// Takes in a frame of the peer.
    pub fn receive(&mut self, frame: Frame, now: Timestamp) -> Result<Vec<Event>, Violation> {
        self.heard_at = now;
        if self.peer.is_none() {
            return match frame {
                Frame::Hello(hello) => self.hello(hello).map(|event| vec![event]),
                other => Err(Violation::NotHello { got: other.name() }),
            };
        }
        let event = self.answer(frame, now)?;
        self.control.check()?;
        Ok(event.into_iter().collect())
    }

    /// What goes onto the line next. Ask again after each frame that left and after each call of this link.
    pub fn next_send(&mut self, now: Timestamp) -> Option<Send> {
        while let Some(queued) = self.control.pop() {
            match queued {
                Queued::Frame(frame) => {
                    if let Frame::Ping { value } = frame {
                        self.pings.sent(value, now);
                    }
                    return Some(Send::Frame(frame));
                }
                Queued::Ack(item) => {
                    if let Some(ack) = self.incoming.ack(item) {
                        return Some(Send::Frame(ack));
                    }
                }
            }
        }
        let peer = self.peer.as_ref().filter(|peer| !peer.leaving && !self.ending)?;
        let pace = self.config.pace;
        let window = peer.window_bytes.min(pace.in_flight_bytes).max(1);
        let room = Room::new(window, pace.frame_bytes, pace.inline_bytes, self.config.lower_share_percent);
        self.outgoing.next(&room)
    }

    /// The receiver takes an offered item; it holds the bytes before `durable_offset`.
    pub fn accept(&mut self, item: ItemId, durable_offset: u64) -> Result<(), AnswerError> {
        self.incoming.accept(item, durable_offset, &mut self.control)
    }

    /// The receiver does not take an item, or not to its end.
    pub fn refuse(
        &mut self,
        item: ItemId,
        reason: RefuseReason,
        text: impl Into<String>,
    ) -> Result<(), AnswerError> {
        self.incoming.refuse(item, (reason, text.into()), &mut self.pings, &mut self.control)
    }

    /// The bytes before `offset` are on this side's disk.
    pub fn durable(&mut self, item: ItemId, offset: u64) -> Result<(), AnswerError> {
        self.incoming.durable(item, offset, &mut self.control)
    }

    /// The effect of the item is on this side's disk.
    pub fn finished(&mut self, item: ItemId) -> Result<(), AnswerError> {
        self.incoming.finished(item, &mut self.pings, &mut self.control)
    }

    /// Ends in good order: what is queued as answer still leaves, nothing new is offered. Close the stream when
    /// [`next_send`](Link::next_send) has nothing more.
    pub fn goodbye(&mut self, reason: impl Into<String>) {
        if !self.ending {
            self.ending = true;
            self.control.push(Frame::Goodbye { reason: cut(reason.into(), limits::TEXT_BYTES_MAX) });
        }
    }

    /// Shows nodes of this side's tree to the peer. False: the peer does not know how to compare.
    pub fn compare(&mut self, compare: Compare) -> bool {
        self.say(Frame::Compare(compare))
    }

    /// Shows the peer what this side holds of a part of its tree.
    pub fn list(&mut self, listing: Listing) -> bool {
        self.say(Frame::Listing(listing))
    }

    fn say(&mut self, frame: Frame) -> bool {
        let knows = self.revision().is_some_and(|revision| revision >= 2) && !self.ending;
        if knows {
            self.control.push(frame);
        }
        knows
    }

    pub fn set_pace(&mut self, pace: Pace) {
        self.config.pace = pace;
    }

    /// When [`wake`](Link::wake) has something to do.
    pub fn next_wake(&self, _now: Timestamp) -> Option<Timestamp> {
        let dead_at = self.heard_at.plus(self.config.silence);
        let pings = self.peer.is_some() && !self.pings.is_waiting();
        Some(if pings { dead_at.min(self.ping_at) } else { dead_at })
    }

    /// Asks the peer whether it lives, or finds that it does not.
    pub fn wake(&mut self, now: Timestamp) -> Result<(), PeerSilent> {
        let silence = now.since(self.heard_at);
        if silence >= self.config.silence {
            return Err(PeerSilent { peer: self.config.peer.clone(), silence });
        }
        if self.peer.is_some() && !self.pings.is_waiting() && now >= self.ping_at {
            self.pings.queue(&mut self.control);
            self.ping_at = now.plus(self.config.ping_every);
        }
        Ok(())
    }

    /// The revision that both sides speak, once the peer's hello is here.
    pub fn revision(&self) -> Option<u32> {
        self.peer.as_ref().map(|peer| peer.revision)
    }

    pub fn round_trip(&self) -> Option<Duration> {
        self.round_trip
    }

    /// Sent and not acknowledged.
    pub fn in_flight_bytes(&self) -> u64 {
        self.outgoing.in_flight()
    }

    /// How far each item that goes out is.
    pub fn progress(&self) -> impl Iterator<Item = Progress> {
        self.outgoing.progress()
    }

    /// Nothing waits or is open in either direction.
    pub fn is_idle(&self) -> bool {
        self.outgoing.is_empty() && self.incoming.is_empty() && self.control.is_empty()
    }

    fn hello(&mut self, hello: Hello) -> Result<Event, Violation> {
        if hello.site != self.config.peer {
            return Err(Violation::WrongSite { expected: self.config.peer.clone(), got: hello.site });
        }
        if hello.revision == 0 {
            return Err(Violation::NoRevision);
        }
        if hello.features.len() > limits::FEATURES_MAX
            || hello.features.iter().any(|feature| feature.len() > limits::FEATURE_BYTES_MAX)
        {
            return Err(Violation::HelloTooLarge { what: "features" });
        }
        if hello.epoch.len() > limits::EPOCH_BYTES_MAX {
            return Err(Violation::HelloTooLarge { what: "epoch" });
        }
        let revision = hello.revision.min(REVISION);
        let window_bytes = window_or_default(hello.window_bytes);
        self.peer = Some(Peer { revision, window_bytes, leaving: false });
        let features =
            hello.features.into_iter().filter(|feature| self.config.features.contains(feature)).collect();
        Ok(Event::PeerHello { revision, features, epoch: hello.epoch })
    }

    fn answer(&mut self, frame: Frame, now: Timestamp) -> Result<Option<Event>, Violation> {
        let window = window_or_default(self.config.window_bytes);
        match frame {
            Frame::Hello(_) => Err(Violation::SecondHello),
            Frame::Offer(offer) => self.incoming.offered(offer, window),
            Frame::UnknownOffer { item } => {
                let text = "this version does not know the kind of the item".to_owned();
                self.control.push(Frame::Refuse { item, reason: RefuseReason::UnknownKind, text });
                Ok(None)
            }
            Frame::Want { item, offset } => self.outgoing.want(item, offset),
            Frame::Refuse { item, reason, text } => {
                self.outgoing.refuse(item, reason, cut(text, limits::TEXT_BYTES_MAX))
            }
            Frame::Data { item, offset, bytes } => self.incoming.data(item, offset, bytes, window),
            Frame::Ack { item, offset } => self.outgoing.ack(item, offset),
            Frame::Receipt { item } => self.outgoing.receipt(item),
            Frame::Cancel { item } => Ok(self.incoming.cancelled(item)),
            Frame::Goodbye { reason } => {
                if let Some(peer) = &mut self.peer {
                    peer.leaving = true;
                }
                Ok(Some(Event::PeerGoodbye { reason: cut(reason, limits::TEXT_BYTES_MAX) }))
            }
            Frame::Ping { value } => {
                self.control.push(Frame::Pong { value });
                Ok(None)
            }
            Frame::Pong { value } => {
                let round_trip = self.pings.pong(value, now)?;
                self.round_trip = Some(round_trip);
                self.outgoing.pong(value, &mut self.pings, &mut self.control);
                self.incoming.pong(value, &mut self.pings, &mut self.control);
                Ok(Some(Event::Pong { round_trip }))
            }
            Frame::Compare(compare) => Ok(Some(Event::Compared(compare))),
            Frame::Listing(listing) => Ok(Some(Event::Listed(listing))),
            Frame::Got { .. } | Frame::Outline(_) | Frame::Unknown => Ok(None),
        }
    }
}
