//! The link itself: who may say what when, and which part answers it.

use std::time::Duration;

use crate::{
    Timestamp,
    link::{
        Allowance, AnswerError, Event, Frame, Hello, ItemId, LinkConfig, Lost, OfferError, Offering, OutItem,
        Outline, Progress, REVISION, Ranges, RefuseReason, Send, Violation,
        choice::Carries,
        config::window_or_default,
        control::{Control, Pings, Queued},
        flow::Flow,
        frame::{DATA_HEADER_BYTES, cut},
        incoming::{Incoming, Piece},
        lanes::Waits,
        limits,
        outgoing::Outgoing,
        shaper::Shaper,
    },
    reconcile::{Compare, Listing},
};

/// From this revision on a peer tells what it got, compares, and takes outlines.
pub(super) const FEEDBACK_REVISION: u32 = 2;
/// From this one on it leaves out what a want says to be held, and knows lanes.
pub(super) const LANES_REVISION: u32 = 3;
/// From this one on it is told what is written and not on the disk yet.
const WRITTEN_REVISION: u32 = 4;
/// How long the way is should be known soon: the first ping goes after this time, and each next one after twice the time of
/// the one before, until they are as far apart as they are to be.
const PING_FIRST: Duration = Duration::from_secs(1);

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
    pub(super) config: LinkConfig,
    pub(super) peer: Option<Peer>,
    pub(super) control: Control,
    pings: Pings,
    pub(super) outgoing: Outgoing,
    pub(super) incoming: Incoming,
    pub(super) flow: Flow,
    pub(super) shaper: Shaper,
    /// Bundles that may be open at once.
    pub(super) bundles_max: usize,
    pub(super) lanes: usize,
    pub(super) waits: Waits,
    heard_at: Timestamp,
    ping_at: Timestamp,
    /// How long after that the next one goes.
    ping_after: Duration,
    round_trip: Option<Duration>,
    pub(super) ending: bool,
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
        let first = PING_FIRST.min(config.ping_every);
        Link {
            ping_at: now.plus(first),
            ping_after: 2 * first,
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
            waits: Waits::default(),
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

    /// Bytes of an item that were to leave cannot be read: they are not under way, and the item is taken back.
    pub fn unreadable(&mut self, item: ItemId, length: usize) {
        if self.speaks(FEEDBACK_REVISION) {
            self.flow.not_sent(length as u64);
        }
        self.cancel(item);
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

    /// What goes onto the line next. Ask again after each frame that left, on a lane too, and after each call of this
    /// link.
    pub fn next_send(&mut self, now: Timestamp) -> Option<Send> {
        let send = self.next_on_main(now);
        let is_item =
            matches!(send, Some(Send::Data { .. } | Send::Frame(Frame::Data { .. } | Frame::Offer(_))));
        self.waits.main = !is_item;
        send
    }

    fn next_on_main(&mut self, now: Timestamp) -> Option<Send> {
        while let Some(queued) = self.control.pop() {
            let frame = match queued {
                Queued::Frame(frame) => Some(frame),
                Queued::Ack(item) => self.incoming.ack(item),
                Queued::Written(item) => self.incoming.word_of_written(item),
            };
            if let Some(Frame::Ping { value }) = frame {
                self.pings.sent(value, now);
            }
            if let Some(frame) = frame {
                return Some(self.answers(frame, now));
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
        let carries = if self.lanes > 0 { Carries::NoBulk } else { Carries::All };
        let room = self.room(window_bytes, carries);
        let send = self.outgoing.next(&room);
        match &send {
            Some(send) => self.leaves(send, now),
            // What fills the line goes over the lanes.
            None if self.lanes == 0 && room.has_room_for_one_more() => self.flow.limited(),
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

    /// The bytes before `offset` are in a file of this side, and become durable elsewhere: the peer's window need not wait for
    /// the disk. It waits all the same if the peer does not [know](Link::knows_written) what that means.
    pub fn written(&mut self, item: ItemId, offset: u64) -> Result<(), AnswerError> {
        if !self.knows_written() {
            return Ok(());
        }
        self.incoming.written(item, offset, &mut self.control)
    }

    /// Whether the peer knows what it means that bytes are written and not durable.
    pub fn knows_written(&self) -> bool {
        self.speaks(WRITTEN_REVISION)
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
            let after = self.ping_after.min(self.config.ping_every);
            self.ping_at = now.plus(after);
            self.ping_after = 2 * after;
        }
        Ok(())
    }

    /// The revision that both sides speak, once the peer's hello is here.
    pub fn revision(&self) -> Option<u32> {
        self.peer.as_ref().map(|peer| peer.revision)
    }

    /// Whether the peer has said goodbye.
    pub fn is_left(&self) -> bool {
        self.peer.as_ref().is_some_and(|peer| peer.leaving)
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
            Frame::Written { item, offset } => self.outgoing.written(item, offset),
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
                self.control.push(Frame::Pong { value, clock: None });
                Ok(None)
            }
            Frame::Pong { value, clock } => {
                let round_trip = self.pings.pong(value, now)?;
                self.round_trip = Some(round_trip);
                self.outgoing.pong(value, &mut self.pings, &mut self.control);
                self.incoming.pong(value, &mut self.pings, &mut self.control);
                Ok(Some(Event::Pong { round_trip, clock }))
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
