//! The link itself: who may say what when, and which part answers it.

use std::time::Duration;

use bytes::Bytes;

use crate::{
    Timestamp,
    id::SiteCode,
    link::{
        Allowance, AnswerError, Frame, Hello, ItemId, LaneOffer, LinkConfig, Offer, OfferError, Offering,
        OutItem, Outline, Progress, REVISION, Ranges, RefuseReason, Violation,
        choice::{Carries, Room},
        config::window_or_default,
        control::{Control, Pings, Queued},
        flow::Flow,
        frame::cut,
        incoming::{Incoming, Piece},
        limits,
        outgoing::Outgoing,
        shaper::Shaper,
    },
    reconcile::{Compare, Listing},
};

/// From this revision on a peer tells what it got, compares, and takes outlines.
const FEEDBACK_REVISION: u32 = 2;
/// From this one on it leaves out what a want says to be held, and knows lanes.
pub(super) const LANES_REVISION: u32 = 3;

/// Before anything was measured.
const FRAME_BYTES_FIRST: u64 = 16 * 1024;
const FRAME_BYTES_MIN: u64 = 1024;
/// What a frame has at least where that is no more than a tenth of a second.
const FRAME_BYTES_SLOW: u64 = 4 * 1024;

/// A word of what came waits for others so long, twice.
const LANE_WORDS_PER_SECOND: u64 = 100;

/// About what a data frame is beside its bytes.
const DATA_HEADER_BYTES: usize = 35;

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
/// - `now` never goes backwards: it is not the time of day.
#[derive(Debug)]
pub struct Link {
    config: LinkConfig,
    pub(super) peer: Option<Peer>,
    pub(super) control: Control,
    pings: Pings,
    pub(super) outgoing: Outgoing,
    pub(super) incoming: Incoming,
    pub(super) flow: Flow,
    pub(super) shaper: Shaper,
    /// Bundles that may be open at once.
    bundles_max: usize,
    pub(super) lanes: usize,
    heard_at: Timestamp,
    ping_at: Timestamp,
    round_trip: Option<Duration>,
    pub(super) ending: bool,
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
    /// The shortest way there and back.
    pub shortest_trip: Duration,
    /// Bytes on their way to the peer, and how many may be.
    pub under_way_bytes: u64,
    pub window_bytes: u64,
    pub frame_bytes: u64,
}

#[derive(Debug)]
pub(super) struct Peer {
    revision: u32,
    pub(super) window_bytes: u64,
    pub(super) leaving: bool,
}

impl Link {
    pub fn new(config: LinkConfig, now: Timestamp) -> Self {
        let mut control = Control::default();
        control.push(Frame::Hello(config.hello()));
        let flow = Flow::new(config.known, now);
        Link {
            ping_at: now.plus(config.ping_every),
            config,
            peer: None,
            control,
            pings: Pings::default(),
            outgoing: Outgoing::default(),
            incoming: Incoming::default(),
            flow,
            shaper: Shaper::new(now),
            bundles_max: usize::MAX,
            lanes: 0,
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
                    return Some(self.answers(frame, now));
                }
                Queued::Ack(item) => {
                    if let Some(ack) = self.incoming.ack(item) {
                        return Some(self.answers(ack, now));
                    }
                }
            }
        }
        // A lane tells it sooner where the main connection waits for a lost packet.
        if self.lanes == 0
            && let Some(got) = self.got_due(now)
        {
            return Some(Send::Frame(got));
        }
        let peer = self.peer.as_ref().filter(|peer| !peer.leaving && !self.ending)?;
        let window_bytes = peer.window_bytes;
        if !self.shaper.ready(now) {
            self.flow.limited();
            return None;
        }
        let room = self.room(window_bytes);
        let send = self.outgoing.next(&room);
        match &send {
            Some(send) => self.leaves(send, now),
            // What fills the line goes over the lanes.
            None if self.lanes == 0 && self.flow.in_flight() < room.path / 2 => self.flow.limited(),
            None => {}
        }
        send
    }

    /// The receiver takes an offered item; it holds the bytes before `durable_offset`.
    pub fn accept(&mut self, item: ItemId, durable_offset: u64) -> Result<(), AnswerError> {
        self.incoming.accept(item, durable_offset, Ranges::default(), &mut self.control)
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
            let reason = cut(reason.into(), limits::TEXT_BYTES_MAX);
            self.control.push(Frame::Goodbye { reason, at_fault: false });
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

    /// Gives the hashes of a wanted item's parts, once, when [`Event::Wanted`] has come. False: the peer does not want
    /// the item, or does not know what an outline is.
    pub fn outline(&mut self, outline: Outline) -> bool {
        self.outgoing.is_wanted(&outline.item) && self.say(Frame::Outline(outline))
    }

    /// More of an item can be read now: the bytes before `upto`.
    pub fn available(&mut self, item: ItemId, upto: u64) {
        self.outgoing.available(item, upto);
    }

    fn say(&mut self, frame: Frame) -> bool {
        // Each is an improvement that can be missed, and none is worth memory without end.
        let knows = self.speaks(FEEDBACK_REVISION) && !self.ending && self.control.has_room();
        if knows {
            self.control.push(frame);
        }
        knows
    }

    pub(super) fn speaks(&self, revision: u32) -> bool {
        self.revision().is_some_and(|spoken| spoken >= revision)
    }

    /// What may leave from now on. What is closed pauses where it is.
    pub fn allow(&mut self, allowance: Allowance, now: Timestamp) {
        self.shaper.set(allowance, now);
    }

    /// How many bundles may be open at once; with 0 those that are open wait.
    pub fn set_bundles_max(&mut self, bundles: usize) {
        self.bundles_max = bundles;
    }

    /// The line has carried so many bytes to the peer in all, every header included, and none are held back.
    pub fn carried(&mut self, line_bytes: u64, now: Timestamp) {
        self.shaper.carried(line_bytes, now);
    }

    pub fn gauges(&self) -> Gauges {
        Gauges {
            bytes_per_second: self.flow.rate().unwrap_or_default(),
            shortest_trip: self.flow.shortest_trip().unwrap_or_default(),
            under_way_bytes: self.flow.in_flight(),
            window_bytes: self.flow.window(),
            frame_bytes: self.frame_bytes(),
        }
    }

    pub(super) fn room(&self, window_bytes: u64) -> Room {
        let pace = self.config.pace;
        let window = window_bytes.min(pace.in_flight_bytes).max(1);
        // A peer of revision 1 does not say what it got: its acks alone hold this side back.
        let path = if self.speaks(FEEDBACK_REVISION) { self.path() } else { u64::MAX / 8 };
        let room = Room {
            window,
            path,
            under_way: self.flow.in_flight(),
            frame: self.frame_bytes(),
            lane_frame: self.lane_frame(window, path),
            inline: u64::from(pace.inline_bytes),
            share_percent: u64::from(self.config.lower_share_percent),
            open: self.shaper.open(),
            bundles: self.bundles_max,
            carries: if self.lanes > 0 { Carries::NoBulk } else { Carries::All },
        };
        room.fitted()
    }

    /// Frames of a lane are short: on a short way the line would run dry while the word of one waits for others, if no
    /// more than the way holds were under way.
    fn path(&self) -> u64 {
        let window = self.flow.window();
        if self.lanes == 0 {
            return window;
        }
        // One frame that is being sent, and one that has come and was not told of yet.
        window
            + self.flow.rate().unwrap_or_default() / LANE_WORDS_PER_SECOND
            + 2 * self.lane_frame_bytes(window)
    }

    /// What the line carries in a moment: a frame that has begun holds up what is urgent no longer than that.
    pub(super) fn frame_bytes(&self) -> u64 {
        let rate = Some(self.fastest()).filter(|rate| *rate < u64::MAX);
        // On the slowest lines small frames would be headers for the most part: there the moment is longer.
        let of_rate = |rate: u64| (rate / 40).max((rate / 10).min(FRAME_BYTES_SLOW)).max(FRAME_BYTES_MIN);
        let bytes = rate.map_or(FRAME_BYTES_FIRST, of_rate);
        bytes.min(u64::from(self.config.pace.frame_bytes)).min(self.shaper.frame_max())
    }

    /// As far as is known, nothing leaves faster.
    pub(super) fn fastest(&self) -> u64 {
        let limit = self.shaper.rate().unwrap_or(u64::MAX);
        self.flow.rate().map_or(limit, |seen| seen.min(limit))
    }

    /// The word of what came, when it is time for it.
    pub(super) fn got_due(&mut self, now: Timestamp) -> Option<Frame> {
        let is_due = self.speaks(FEEDBACK_REVISION) && self.incoming.tell_at().is_some_and(|at| at <= now);
        let got = is_due.then(|| self.incoming.tell())?;
        self.shaper.spend(got.bytes() as u64, now);
        Some(got)
    }

    fn answers(&mut self, frame: Frame, now: Timestamp) -> Send {
        self.shaper.spend(frame.bytes() as u64, now);
        Send::Frame(frame)
    }

    fn leaves(&mut self, send: &Send, now: Timestamp) {
        let (bytes, all) = match send {
            Send::Frame(frame) => (frame.item_bytes(), frame.bytes()),
            Send::Data { length, .. } => (*length, DATA_HEADER_BYTES + length),
        };
        self.spend(bytes, all, now);
    }

    /// A frame of data of so many bytes leaves.
    pub(super) fn spent(&mut self, bytes: usize, now: Timestamp) {
        self.spend(bytes, DATA_HEADER_BYTES + bytes, now);
    }

    fn spend(&mut self, bytes: usize, all: usize, now: Timestamp) {
        self.shaper.spend(all as u64, now);
        if bytes > 0 && self.speaks(FEEDBACK_REVISION) {
            self.flow.sent(bytes as u64, now);
        }
    }

    /// What the peer has got, as it says itself.
    fn heard_got(&mut self, got: u64, now: Timestamp) -> Result<(), Violation> {
        let known = self.flow.heard();
        if got < known && self.incoming.has_lanes() {
            // It was overtaken.
            return Ok(());
        }
        let sent = known + self.flow.in_flight();
        if self.flow.got(got, now) { Ok(()) } else { Err(Violation::GotBeyondSent { got, known, sent }) }
    }

    /// When [`wake`](Link::wake) has something to do.
    pub fn next_wake(&self, now: Timestamp) -> Option<Timestamp> {
        let patience = if self.peer.is_some() { self.config.silence } else { self.config.hello_within };
        let dead_at = self.heard_at.plus(patience);
        let pings = self.peer.is_some() && !self.pings.is_waiting();
        let tell_at = self.incoming.tell_at().filter(|_| self.speaks(FEEDBACK_REVISION));
        // Without an item there is nothing that the shaper could let go.
        let ready_at = self.shaper.ready_at().filter(|at| *at > now && !self.outgoing.is_empty());
        let all = [pings.then_some(self.ping_at), tell_at, ready_at];
        Some(all.into_iter().flatten().fold(dead_at, Timestamp::min))
    }

    /// Asks the peer whether it lives, or finds that it does not.
    pub fn wake(&mut self, now: Timestamp) -> Result<(), Lost> {
        let silence = now.since(self.heard_at);
        let (peer, within) = (&self.config.peer, self.config.hello_within);
        if self.peer.is_none() && silence >= within {
            return Err(Lost::NoHello { peer: peer.clone(), within });
        }
        if self.peer.is_some() && silence >= self.config.silence {
            return Err(Lost::Silent { peer: peer.clone(), silence });
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

    /// How long nothing came of the peer.
    pub fn silence(&self, now: Timestamp) -> Duration {
        now.since(self.heard_at)
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
        let lanes = hello.lanes.filter(|offer| !offer.is_empty() && revision >= LANES_REVISION);
        Ok(Event::PeerHello { revision, features, epoch: hello.epoch, lanes })
    }

    fn answer(&mut self, frame: Frame, now: Timestamp) -> Result<Option<Event>, Violation> {
        let window = window_or_default(self.config.window_bytes);
        let bytes = frame.item_bytes();
        if bytes > 0 {
            self.incoming.came(bytes, now);
        }
        match frame {
            Frame::Hello(_) => Err(Violation::SecondHello),
            Frame::Offer(offer) => self.incoming.offered(offer, window),
            Frame::UnknownOffer { item, .. } => {
                let text = "this version does not know the kind of the item".to_owned();
                self.control.push(Frame::Refuse { item, reason: RefuseReason::UnknownKind, text });
                Ok(Some(Event::UnknownKind { item }))
            }
            Frame::Want { item, offset } => self.outgoing.want(item, offset, Ranges::default()),
            Frame::WantRest { item, offset, held } => self.outgoing.want(item, offset, held),
            Frame::Refuse { item, reason, text } => {
                self.outgoing.refuse(item, reason, cut(text, limits::TEXT_BYTES_MAX))
            }
            Frame::Data { item, offset, bytes } => {
                self.incoming.data(Piece { item, offset, bytes, want: None }, window)
            }
            Frame::Bulk { item, offset, bytes, want } => {
                self.incoming.data(Piece { item, offset, bytes, want: Some(want) }, window)
            }
            Frame::Ack { item, offset } => self.outgoing.ack(item, offset),
            Frame::Receipt { item } => self.outgoing.receipt(item),
            Frame::Cancel { item } => Ok(self.incoming.cancelled(item)),
            Frame::Goodbye { reason, at_fault } => {
                if let Some(peer) = &mut self.peer {
                    peer.leaving = true;
                }
                let reason = cut(reason, limits::TEXT_BYTES_MAX);
                Ok(Some(Event::PeerGoodbye { reason, at_fault }))
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
            Frame::Got { bytes } => {
                self.heard_got(bytes, now)?;
                Ok(None)
            }
            Frame::Outline(outline) => self.incoming.outline(outline),
            Frame::Unknown => Ok(None),
        }
    }
}
