//! A link, and what its user knows of it: every answer of the link is held to that.

use std::{
    collections::{BTreeMap, VecDeque},
    ops::ControlFlow,
};

use packhorse_domain::{
    Timestamp,
    link::{
        Bulk, Event, Frame, ItemId, LaneSend, Link, LinkConfig, Offering, OutItem, Ranges, RefuseReason,
        Send, Stage, limits,
    },
};

use crate::items::{In, Out, Said, may_be_held};

/// More frames than this never leave before the peer has said something.
const DRAIN_MAX: usize = 100_000;
/// What waits for its offer or is open, and what is offered anew while its old offer is being taken back.
const OUT_MAX: usize = 3 * limits::QUEUED_ITEMS_MAX + 3 * limits::OPEN_OFFERS_MAX;

pub struct Side {
    pub link: Link,
    pub now: Timestamp,
    /// What the peer offered and this side has not closed.
    pub incoming: BTreeMap<ItemId, In>,
    /// What this side offers.
    pub out: BTreeMap<ItemId, Out>,
    /// Pings that left and have no pong.
    pub pings: VecDeque<u64>,
    /// All bytes of items that left.
    pub sent_bytes: u64,
    config: LinkConfig,
    /// What the peer's hello allows.
    window_out: u64,
    /// Bytes that were handed over and are not durable, of what is open.
    held_bytes: u64,
    /// Calls that may have queued a frame or two each since nothing was queued.
    calls: usize,
    lanes: usize,
    /// Wants of this side: those that were made, and those that left.
    wants: u64,
    wants_left: u64,
    /// Wants of the peer.
    wants_came: u64,
    /// The peer broke a rule: the stream is over.
    is_broken: bool,
}

impl Side {
    pub fn new(config: LinkConfig) -> Self {
        let now = Timestamp(1_000_000);
        Side {
            link: Link::new(config.clone(), now),
            now,
            incoming: BTreeMap::new(),
            out: BTreeMap::new(),
            pings: VecDeque::new(),
            sent_bytes: 0,
            config,
            window_out: 0,
            held_bytes: 0,
            calls: 1,
            lanes: 0,
            wants: 0,
            wants_left: 0,
            wants_came: 0,
            is_broken: false,
        }
    }

    pub fn set_lanes(&mut self, lanes: usize, in_order: bool) {
        self.link.set_lanes(lanes, in_order);
        self.lanes = lanes;
    }

    pub fn receive(&mut self, on_lane: bool, frame: Frame) -> ControlFlow<()> {
        if let (Frame::Hello(hello), None) = (&frame, self.link.revision()) {
            self.window_out = window(hello.window_bytes).min(self.config.pace.in_flight_bytes).max(1);
        }
        let said = self.said(&frame);
        let is_for_lane = matches!(frame, Frame::Bulk { .. } | Frame::Got { .. });
        let received = match on_lane {
            true => self.link.receive_on_lane(frame, self.now),
            false => self.link.receive(frame, self.now),
        };
        match received {
            Ok(events) => {
                assert!(is_for_lane || !on_lane);
                events.into_iter().for_each(|event| self.heard(event, &said));
                ControlFlow::Continue(())
            }
            Err(_) => {
                self.is_broken = true;
                ControlFlow::Break(())
            }
        }
    }

    fn said(&mut self, frame: &Frame) -> Said {
        let held = match frame {
            Frame::Want { .. } => Ranges::default(),
            Frame::WantRest { held, .. } => held.clone(),
            Frame::Bulk { want, .. } => return Said::Bulk { want: *want },
            _ => return Said::Other,
        };
        self.wants_came += 1;
        Said::Want { nth: self.wants_came, held }
    }

    fn heard(&mut self, event: Event, said: &Said) {
        match event {
            Event::Offered(offer) => {
                assert!(offer.length <= limits::ITEM_BYTES_MAX);
                let open = In::new(&offer);
                self.held_bytes += if open.is_inline { open.length } else { 0 };
                let known = self.incoming.insert(offer.item, open);
                assert!(known.is_none(), "it was offered already");
            }
            Event::Write { item, offset, bytes } => {
                let open = self.incoming.get_mut(&item).expect("bytes are of something open");
                open.wrote(&(offset..offset + bytes.len() as u64), said);
                self.held_bytes += bytes.len() as u64;
            }
            Event::Cancelled { item } => self.closed(item),
            Event::Wanted { item, offset } => {
                let out = self.out.get_mut(&item).expect("what is wanted was offered");
                assert!(out.next.replace(offset).is_none() && offset <= out.length);
                let Said::Want { nth, held } = said else { panic!("a want is wanted, not {said:?}") };
                assert!(may_be_held(held, offset, out.length));
                (out.want, out.held) = (*nth, held.clone());
            }
            Event::Acked { item, offset } | Event::Written { item, offset } => {
                let next = self.out.get(&item).expect("what is acknowledged was offered").next;
                assert!(next.is_some_and(|next| offset <= next), "what did not leave is not acknowledged");
            }
            Event::Delivered { item } | Event::Refused { item, .. } => {
                self.out.remove(&item).expect("what is answered was offered");
            }
            Event::Pong { .. } => {
                self.pings.pop_front().expect("a pong has its ping");
            }
            _ => {}
        }
    }

    /// Whether there was room for it.
    pub fn offer(&mut self, item: OutItem) -> bool {
        self.calls += 1;
        let (id, out) = (item.id, Out::new(&item));
        let known = self.out.contains_key(&id);
        match self.link.offer(item) {
            Ok(Offering::Known) => assert!(known),
            Ok(Offering::Outdated) => {}
            Err(_) => return false,
            Ok(Offering::Queued) => assert!(self.out.insert(id, out).is_none()),
            Ok(Offering::Replaced(older)) => {
                self.out.remove(&older).expect("what is replaced was offered");
                assert!(self.out.insert(id, out).is_none());
            }
        }
        true
    }

    pub fn cancel(&mut self, item: ItemId) {
        self.calls += 1;
        assert_eq!(self.link.cancel(item), self.out.remove(&item).is_some());
    }

    pub fn accept(&mut self, item: ItemId, offset: u64, held: Ranges) {
        self.calls += 1;
        let open = self.incoming.get_mut(&item);
        let open = open.filter(|open| open.may_be_accepted(offset, &held));
        assert_eq!(self.link.accept_rest(item, offset, held.clone()).is_ok(), open.is_some());
        if let Some(open) = open {
            self.wants += 1;
            open.accepted(self.wants, offset, held);
        }
    }

    pub fn durable(&mut self, item: ItemId, offset: u64) {
        self.calls += 1;
        let open = self.incoming.get_mut(&item);
        let open = open.filter(|open| open.next.is_some_and(|next| (open.durable..=next).contains(&offset)));
        assert_eq!(self.link.durable(item, offset).is_ok(), open.is_some());
        if let Some(open) = open {
            self.held_bytes -= open.made_durable(offset);
        }
    }

    pub fn written(&mut self, item: ItemId, offset: u64) {
        self.calls += 1;
        if !self.link.knows_written() {
            return;
        }
        let open = self.incoming.get_mut(&item);
        let open = open.filter(|open| open.next.is_some_and(|next| offset <= next));
        assert_eq!(self.link.written(item, offset).is_ok(), open.is_some());
        if let Some(open) = open {
            self.held_bytes -= open.wrote_all_before(offset);
        }
    }

    /// With a refusal or with a receipt.
    pub fn close(&mut self, item: ItemId, refusal: Option<(RefuseReason, String)>) {
        self.calls += 1;
        let closed = match refusal {
            Some((reason, text)) => self.link.refuse(item, reason, text),
            None => self.link.finished(item),
        };
        assert_eq!(closed.is_ok(), self.incoming.contains_key(&item));
        if closed.is_ok() {
            self.closed(item);
        }
    }

    fn closed(&mut self, item: ItemId) {
        let open = self.incoming.remove(&item).expect("what is closed was open");
        self.held_bytes -= if open.is_inline { open.length } else { open.undone };
    }

    /// Something that this side says without being asked.
    pub fn say<T>(&mut self, call: impl FnOnce(&mut Link) -> T) {
        self.calls += 1;
        call(&mut self.link);
    }

    /// What leaves next, and whether it went before all data as an answer does.
    pub fn send(&mut self) -> Option<bool> {
        let (item, offset, length) = match self.link.next_send(self.now)? {
            Send::Data { item, offset, length } => (item, offset, length),
            Send::Frame(Frame::Data { item, offset, bytes }) => (item, offset, bytes.len()),
            Send::Frame(Frame::Offer(offer)) => {
                let out = self.out.get(&offer.item).expect("what is offered is known");
                assert!(out.next.is_none() && out.length == offer.length);
                self.sent_bytes += offer.inline.map_or(0, |bytes| bytes.len() as u64);
                return Some(false);
            }
            Send::Frame(frame) => {
                self.answered(&frame);
                return Some(true);
            }
        };
        let out = self.out.get_mut(&item).expect("bytes are of something offered");
        assert!(!out.is_bundle || self.lanes == 0, "bytes of bundles leave on a lane");
        out.sends(offset, length);
        self.sent_bytes += length as u64;
        Some(false)
    }

    /// The same on a lane, if there is one.
    pub fn send_on_lane(&mut self) -> Option<bool> {
        if self.lanes == 0 {
            return None;
        }
        match self.link.next_on_lane(self.now)? {
            LaneSend::Frame(frame) => {
                assert!(matches!(frame, Frame::Got { .. }), "{frame:?}");
                Some(true)
            }
            LaneSend::Bulk(Bulk { item, offset, length, want }) => {
                let out = self.out.get_mut(&item).expect("bytes are of something offered");
                assert!(out.is_bundle && out.want == want);
                out.sends(offset, length);
                self.sent_bytes += length as u64;
                Some(false)
            }
        }
    }

    fn answered(&mut self, frame: &Frame) {
        match frame {
            Frame::Ping { value } => self.pings.push_back(*value),
            Frame::Ack { item, offset } => {
                let open = self.incoming.get(item).expect("what is acknowledged is open");
                assert!(*offset <= open.durable, "only what is durable is acknowledged");
            }
            Frame::Written { item, offset } => {
                assert!(self.link.knows_written(), "an older peer does not know what it means");
                let open = self.incoming.get(item).expect("what is written is open");
                assert!(open.next.is_some_and(|next| *offset <= next), "what came is written");
            }
            Frame::Want { item, offset } => self.wants(*item, *offset, &Ranges::default()),
            Frame::WantRest { item, offset, held } => self.wants(*item, *offset, held),
            Frame::Got { .. } => assert_eq!(self.lanes, 0, "a lane tells it sooner"),
            Frame::Refuse { text, .. } => assert!(text.len() <= limits::TEXT_BYTES_MAX),
            Frame::Goodbye { reason, .. } => assert!(reason.len() <= limits::TEXT_BYTES_MAX),
            _ => {}
        }
    }

    /// The nth want that leaves is the nth that was made.
    fn wants(&mut self, item: ItemId, offset: u64, held: &Ranges) {
        self.wants_left += 1;
        // It may have been closed since, and offered and accepted anew.
        if let Some(open) = self.incoming.get(&item).filter(|open| open.want == self.wants_left) {
            assert!(open.held == *held && open.next >= Some(offset));
        }
    }

    /// Everything that can leave leaves.
    pub fn drain(&mut self) {
        let mut answers = 0;
        for nth in 0.. {
            assert!(nth < DRAIN_MAX, "it has no end");
            match self.send().or_else(|| self.send_on_lane()) {
                Some(is_answer) => answers += usize::from(is_answer),
                None => break,
            }
        }
        let most = limits::ANSWERS_MAX + 2 * self.calls + 3;
        assert!(answers <= most, "{answers} frames waited, after {} calls", self.calls);
        self.calls = 0;
        // Of a frame that breaks a rule its user hears nothing, whatever it began.
        let is_idle = self.incoming.is_empty() && self.out.is_empty();
        assert!(self.is_broken || self.link.is_idle() == is_idle);
        self.check();
    }

    pub fn wake(&mut self, drains: bool) -> ControlFlow<()> {
        self.calls += 1;
        if self.link.wake(self.now).is_err() {
            return ControlFlow::Break(());
        }
        if drains {
            self.drain();
            let next = self.link.next_wake(self.now);
            assert!(next.is_none_or(|at| at > self.now), "who does as told is told the same again");
        }
        ControlFlow::Continue(())
    }

    pub fn check(&self) {
        let open = self.link.progress().filter(|progress| progress.stage != Stage::Queued).count();
        assert!(open <= limits::OPEN_OFFERS_MAX, "{open} offers are open");
        assert_eq!(self.link.progress().count(), self.out.len());
        assert!(self.out.len() <= OUT_MAX, "{} items wait", self.out.len());
        assert!(
            self.incoming.len() <= limits::OPEN_OFFERS_MAX,
            "{} offers are open here",
            self.incoming.len()
        );
        assert!(self.held_bytes <= window(self.config.window_bytes), "{} bytes are held", self.held_bytes);
        let gauges = self.link.gauges();
        assert!(gauges.frame_bytes >= 1, "something always leaves");
        let in_flight = self.link.in_flight_bytes();
        assert!(in_flight <= self.window_out, "{in_flight} bytes are under way, {} may be", self.window_out);
    }
}

fn window(bytes: u64) -> u64 {
    if bytes == 0 { limits::WINDOW_BYTES_DEFAULT } else { bytes }
}
