//! A link, and what its user knows of it: every answer of the link is held to that.

use std::{
    collections::{BTreeMap, VecDeque},
    ops::ControlFlow,
};

use packhorse_domain::{
    Timestamp,
    link::{Event, Frame, ItemId, Link, LinkConfig, Offering, OutItem, RefuseReason, Send, Stage, limits},
};

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
}

#[derive(Debug, Clone, Copy)]
pub struct In {
    length: u64,
    is_inline: bool,
    /// Where the next bytes begin, once it was accepted.
    pub next: Option<u64>,
    durable: u64,
}

#[derive(Debug, Clone, Copy)]
pub struct Out {
    length: u64,
    /// Where the next bytes begin, once it is wanted.
    pub next: Option<u64>,
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
        }
    }

    pub fn receive(&mut self, frame: Frame) -> ControlFlow<()> {
        if let (Frame::Hello(hello), None) = (&frame, self.link.revision()) {
            self.window_out = window(hello.window_bytes).min(self.config.pace.in_flight_bytes).max(1);
        }
        match self.link.receive(frame, self.now) {
            Ok(events) => {
                events.into_iter().for_each(|event| self.heard(event));
                ControlFlow::Continue(())
            }
            Err(_) => ControlFlow::Break(()),
        }
    }

    fn heard(&mut self, event: Event) {
        match event {
            Event::Offered(offer) => {
                let (length, is_inline) = (offer.length, offer.inline.is_some());
                assert!(length <= limits::ITEM_BYTES_MAX);
                self.held_bytes += if is_inline { length } else { 0 };
                let known =
                    self.incoming.insert(offer.item, In { length, is_inline, next: None, durable: 0 });
                assert!(known.is_none(), "it was offered already");
            }
            Event::Write { item, offset, bytes } => {
                let open = self.incoming.get_mut(&item).expect("bytes are of something open");
                assert_eq!(open.next, Some(offset), "bytes come in order");
                assert!(!bytes.is_empty() && bytes.len() <= limits::DATA_BYTES_MAX);
                let next = offset + bytes.len() as u64;
                assert!(next <= open.length);
                open.next = Some(next);
                self.held_bytes += bytes.len() as u64;
            }
            Event::Cancelled { item } => self.closed(item),
            Event::Wanted { item, offset } => {
                let out = self.out.get_mut(&item).expect("what is wanted was offered");
                assert!(out.next.replace(offset).is_none() && offset <= out.length);
            }
            Event::Acked { item, offset } => {
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
        let (id, length) = (item.id, item.length);
        let known = self.out.contains_key(&id);
        match self.link.offer(item) {
            Ok(Offering::Known) => assert!(known),
            Ok(Offering::Outdated) => {}
            Err(_) => return false,
            Ok(Offering::Queued) => {
                assert!(self.out.insert(id, Out { length, next: None }).is_none());
            }
            Ok(Offering::Replaced(older)) => {
                self.out.remove(&older).expect("what is replaced was offered");
                assert!(self.out.insert(id, Out { length, next: None }).is_none());
            }
        }
        true
    }

    pub fn cancel(&mut self, item: ItemId) {
        self.calls += 1;
        assert_eq!(self.link.cancel(item), self.out.remove(&item).is_some());
    }

    pub fn accept(&mut self, item: ItemId, offset: u64) {
        self.calls += 1;
        let open = self.incoming.get_mut(&item);
        let open = open.filter(|open| !open.is_inline && open.next.is_none() && offset <= open.length);
        assert_eq!(self.link.accept(item, offset).is_ok(), open.is_some());
        if let Some(open) = open {
            (open.next, open.durable) = (Some(offset), offset);
        }
    }

    pub fn durable(&mut self, item: ItemId, offset: u64) {
        self.calls += 1;
        let open = self.incoming.get_mut(&item);
        let open = open.filter(|open| open.next.is_some_and(|next| (open.durable..=next).contains(&offset)));
        assert_eq!(self.link.durable(item, offset).is_ok(), open.is_some());
        if let Some(open) = open {
            self.held_bytes -= offset - open.durable;
            open.durable = offset;
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
        let undone = open.next.map_or(0, |next| next - open.durable);
        self.held_bytes -= if open.is_inline { open.length } else { undone };
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
        assert!((1..=limits::DATA_BYTES_MAX).contains(&length));
        let out = self.out.get_mut(&item).expect("bytes are of something offered");
        assert_eq!(out.next, Some(offset), "bytes leave in order");
        let next = offset + length as u64;
        assert!(next <= out.length);
        out.next = Some(next);
        self.sent_bytes += length as u64;
        Some(false)
    }

    fn answered(&mut self, frame: &Frame) {
        match frame {
            Frame::Ping { value } => self.pings.push_back(*value),
            Frame::Ack { item, offset } => {
                let open = self.incoming.get(item).expect("what is acknowledged is open");
                assert!(*offset <= open.durable, "only what is durable is acknowledged");
            }
            Frame::Refuse { text, .. } => assert!(text.len() <= limits::TEXT_BYTES_MAX),
            Frame::Goodbye { reason, .. } => assert!(reason.len() <= limits::TEXT_BYTES_MAX),
            _ => {}
        }
    }

    /// Everything that can leave leaves.
    pub fn drain(&mut self) {
        let mut answers = 0;
        for nth in 0.. {
            assert!(nth < DRAIN_MAX, "it has no end");
            match self.send() {
                Some(is_answer) => answers += usize::from(is_answer),
                None => break,
            }
        }
        let most = limits::ANSWERS_MAX + 2 * self.calls + 3;
        assert!(answers <= most, "{answers} frames waited, after {} calls", self.calls);
        self.calls = 0;
        assert_eq!(self.link.is_idle(), self.incoming.is_empty() && self.out.is_empty());
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
