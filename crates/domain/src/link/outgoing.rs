//! The sender's side: items that wait, items that are offered, and what the peer says of them.

use std::{
    collections::{BTreeMap, btree_map::Entry},
    ops::Range,
};

use crate::{
    Priority, Timestamp,
    link::{
        Bulk, Event, Frame, ItemId, ItemKind, Offer, OutItem, Ranges, RefuseReason, Send, Violation,
        choice::{Class, Place, Room, Unit, choose, rank},
        control::{Barrier, Control, Pings},
        incoming::may_be_held,
        limits,
    },
};

/// What became of an offer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Offering {
    Queued,
    /// Queued in the place of an older state of the same object, which will not be sent any more.
    Replaced(ItemId),
    /// It is queued or open already.
    Known,
    /// This or a newer state of the same object is queued or open already.
    Outdated,
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum OfferError {
    /// Offer it again when items of this class have been delivered.
    #[error("the queue of {priority} items is full")]
    Full { priority: Priority },
    #[error("item {item} cannot be offered: {what}")]
    Invalid { item: ItemId, what: &'static str },
}

/// How far an item is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stage {
    /// It waits for its turn.
    Queued,
    /// Offered; the peer has not said whether it wants it.
    Offered,
    /// Sent whole with its offer; the receipt is awaited.
    Inline,
    /// Wanted: bytes up to `next` are sent, those up to `acked` are on the peer's disk.
    Sending { next: u64, acked: u64 },
}

/// An item and how far it is, for people.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Progress {
    pub item: ItemId,
    pub priority: Priority,
    pub length: u64,
    pub stage: Stage,
}

#[derive(Debug, Default)]
pub(super) struct Outgoing {
    items: BTreeMap<ItemId, Out>,
    classes: [Class; 3],
    /// The newest state of each object that is queued or open.
    states: BTreeMap<String, (u64, ItemId)>,
    /// Taken back, and the peer may still answer the old offer.
    closing: Barrier,
    /// Offered again while it is closing.
    held: BTreeMap<ItemId, OutItem>,
    /// The class and the bytes under way of what is closing: on a lane what leaves later would overtake the cancel, and
    /// find them in the window of the peer.
    withdrawn: BTreeMap<ItemId, (usize, u64)>,
    /// Wants that came.
    wants: u64,
}

#[derive(Debug)]
pub(super) struct Out {
    pub(super) item: OutItem,
    pub(super) stage: Stage,
    /// What the peer held already beyond the offset of its want: it is left out.
    pub(super) held: Ranges,
    /// Which want of the peer it was.
    pub(super) want: u64,
    /// What was sent before this is in the peer's file, or on its disk, and takes nothing of its window.
    pub(super) freed: u64,
}

impl Outgoing {
    pub(super) fn offer(
        &mut self,
        item: OutItem,
        pings: &mut Pings,
        control: &mut Control,
    ) -> Result<Offering, OfferError> {
        if let Some(what) = item.fault() {
            return Err(OfferError::Invalid { item: item.id, what });
        }
        if self.items.contains_key(&item.id) || self.held.contains_key(&item.id) {
            return Ok(Offering::Known);
        }
        let older = match item.state.as_ref().map(|state| (state.version, self.states.get(&state.object))) {
            Some((version, Some((known, _)))) if *known >= version => return Ok(Offering::Outdated),
            Some((_, Some((_, older)))) => Some(*older),
            _ => None,
        };
        let class = &self.classes[rank(item.priority)];
        let inline_bytes = item.inline.as_ref().map_or(0, |bytes| bytes.len() as u64);
        if class.small.len() + class.large.len() >= limits::QUEUED_ITEMS_MAX
            || class.inline_bytes + inline_bytes > limits::QUEUED_INLINE_BYTES_MAX
        {
            return Err(OfferError::Full { priority: item.priority });
        }

        // Only what the line has not carried yet is worth taking back.
        let replaced = older.filter(|older| self.has_bytes_to_send(older));
        if let Some(older) = replaced {
            self.cancel(older, pings, control);
        }
        if let Some(state) = &item.state {
            self.states.insert(state.object.clone(), (state.version, item.id));
        }
        if self.closing.contains(&item.id) {
            self.held.insert(item.id, item);
        } else {
            self.enqueue(item);
        }
        Ok(replaced.map_or(Offering::Queued, Offering::Replaced))
    }

    /// Takes an item back, wherever it is. False: it is not here.
    pub(super) fn cancel(&mut self, item: ItemId, pings: &mut Pings, control: &mut Control) -> bool {
        if let Some(held) = self.held.remove(&item) {
            self.forget_state(&held);
            return true;
        }
        let Some(out) = self.remove(&item) else { return false };
        if out.stage != Stage::Queued {
            let (rank, bytes) = (rank(out.item.priority), out.in_flight());
            self.classes[rank].in_flight += bytes;
            self.withdrawn.insert(item, (rank, bytes));
            control.push(Frame::Cancel { item });
            self.closing.close(item, pings, control);
        }
        true
    }

    /// The next frame or run of bytes, if there is one and the window has room for it.
    pub(super) fn next(&mut self, room: &Room) -> Option<Send> {
        if self.closing.len() >= limits::OPEN_OFFERS_MAX {
            return None;
        }
        match choose(&mut self.classes, &self.items, room)? {
            Unit::Offer { item, inline } => self.open(item, inline),
            Unit::Data { item, length } => self.send(item, length),
        }
    }

    /// The next run of bytes for a lane.
    pub(super) fn next_bulk(&mut self, room: &Room) -> Option<Bulk> {
        let Unit::Data { item, length } = choose(&mut self.classes, &self.items, room)? else { return None };
        let (offset, want) = self.advance(item, length)?;
        Some(Bulk { item, offset, length: length as usize, want })
    }

    pub(super) fn want(
        &mut self,
        item: ItemId,
        offset: u64,
        held: Ranges,
    ) -> Result<Option<Event>, Violation> {
        self.wants += 1;
        let Some(out) = self.items.get_mut(&item).filter(|out| out.stage != Stage::Queued) else {
            return self.unknown("want", item);
        };
        match out.stage {
            Stage::Inline => return Err(Violation::WantedInline { item }),
            Stage::Sending { .. } => return Err(Violation::WantedTwice { item }),
            Stage::Offered | Stage::Queued => {}
        }
        let length = out.item.length;
        if offset > length {
            return Err(Violation::WantBeyondLength { item, offset, length });
        }
        if !may_be_held(&held, offset, length) {
            return Err(Violation::HeldShape { item });
        }
        out.stage = Stage::Sending { next: offset, acked: offset };
        out.freed = offset;
        out.held = held;
        out.want = self.wants;
        let class = &mut self.classes[rank(out.item.priority)];
        class.unanswered -= 1;
        if offset < out.item.available {
            class.sending.insert(place(&out.item));
        }
        Ok(Some(Event::Wanted { item, offset }))
    }

    /// More of an item can be read now.
    pub(super) fn available(&mut self, item: ItemId, upto: u64) {
        if let Some(held) = self.held.get_mut(&item) {
            held.available = held.available.max(upto.min(held.length));
        }
        let Some(out) = self.items.get_mut(&item) else { return };
        out.item.available = out.item.available.max(upto.min(out.item.length));
        if let Stage::Sending { next, .. } = out.stage
            && next < out.item.available
        {
            self.classes[rank(out.item.priority)].sending.insert(place(&out.item));
        }
    }

    /// Whether data of the item may follow; its outline goes before them.
    pub(super) fn is_wanted(&self, item: &ItemId) -> bool {
        self.items.get(item).is_some_and(|out| matches!(out.stage, Stage::Sending { .. }))
    }

    pub(super) fn ack(&mut self, item: ItemId, offset: u64) -> Result<Option<Event>, Violation> {
        let Some(out) = self.items.get_mut(&item).filter(|out| out.stage != Stage::Queued) else {
            return self.unknown("ack", item);
        };
        let (next, acked) = out.sent(offset)?;
        if offset < acked {
            return Err(Violation::AckBackwards { item, offset, acked });
        }
        out.stage = Stage::Sending { next, acked: offset };
        self.classes[rank(out.item.priority)].in_flight -= out.free(offset);
        Ok(Some(Event::Acked { item, offset }))
    }

    pub(super) fn written(&mut self, item: ItemId, offset: u64) -> Result<Option<Event>, Violation> {
        let Some(out) = self.items.get_mut(&item).filter(|out| out.stage != Stage::Queued) else {
            return self.unknown("written", item);
        };
        out.sent(offset)?;
        self.classes[rank(out.item.priority)].in_flight -= out.free(offset);
        Ok(Some(Event::Written { item, offset }))
    }

    /// A receipt ends an item at any stage: the peer may have got it by another way.
    pub(super) fn receipt(&mut self, item: ItemId) -> Result<Option<Event>, Violation> {
        if let Some(held) = self.held.remove(&item) {
            self.forget_state(&held);
            return Ok(Some(Event::Delivered { item }));
        }
        match self.remove(&item) {
            Some(_) => Ok(Some(Event::Delivered { item })),
            None => self.unknown("receipt", item),
        }
    }

    pub(super) fn refuse(
        &mut self,
        item: ItemId,
        reason: RefuseReason,
        text: String,
    ) -> Result<Option<Event>, Violation> {
        if self.items.get(&item).is_none_or(|out| out.stage == Stage::Queued) {
            return self.unknown("refuse", item);
        }
        self.remove(&item);
        Ok(Some(match reason {
            RefuseReason::Held => Event::Delivered { item },
            _ => Event::Refused { item, reason, text },
        }))
    }

    /// At the pong after a cancel nothing can come for the old offer any more: the new one may go out, and what was under
    /// way of the old one is not.
    pub(super) fn pong(&mut self, value: u64, pings: &mut Pings, control: &mut Control) {
        for item in self.closing.pong(value, pings, control) {
            if let Some((rank, bytes)) = self.withdrawn.remove(&item) {
                self.classes[rank].in_flight -= bytes;
            }
            if let Some(item) = self.held.remove(&item) {
                self.enqueue(item);
            }
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.items.is_empty() && self.held.is_empty()
    }

    pub(super) fn in_flight(&self) -> u64 {
        self.classes.iter().map(|class| class.in_flight).sum()
    }

    pub(super) fn progress(&self) -> impl Iterator<Item = Progress> {
        let held = self.held.values().map(|item| (item, Stage::Queued));
        self.items.values().map(|out| (&out.item, out.stage)).chain(held).map(|(item, stage)| Progress {
            item: item.id,
            priority: item.priority,
            length: item.length,
            stage,
        })
    }

    fn enqueue(&mut self, item: OutItem) {
        let class = &mut self.classes[rank(item.priority)];
        match &item.inline {
            Some(bytes) => {
                class.small.insert(place(&item));
                class.inline_bytes += bytes.len() as u64;
            }
            None => {
                class.large.insert(place(&item));
            }
        }
        let out = Out { item, stage: Stage::Queued, held: Ranges::default(), want: 0, freed: 0 };
        self.items.insert(out.item.id, out);
    }

    fn open(&mut self, item: ItemId, inline: u64) -> Option<Send> {
        let out = self.items.get_mut(&item)?;
        let class = &mut self.classes[rank(out.item.priority)];
        class.small.remove(&place(&out.item));
        class.large.remove(&place(&out.item));
        class.open += 1;
        class.bundles += usize::from(out.item.kind == ItemKind::Bundle);
        let bytes = out.item.inline.clone().filter(|_| inline > 0);
        if bytes.is_some() {
            out.stage = Stage::Inline;
            class.in_flight += inline;
        } else {
            out.stage = Stage::Offered;
            class.unanswered += 1;
        }
        Some(Send::Frame(Frame::Offer(Offer {
            item,
            kind: out.item.kind,
            priority: out.item.priority,
            length: out.item.length,
            digest: out.item.digest,
            subject: out.item.subject.clone(),
            target: out.item.target,
            bases: out.item.bases.clone(),
            inline: bytes,
        })))
    }

    fn send(&mut self, item: ItemId, length: u64) -> Option<Send> {
        let (offset, _) = self.advance(item, length)?;
        Some(match &self.items.get(&item)?.item.inline {
            Some(bytes) => {
                let bytes = bytes[offset as usize..(offset + length) as usize].to_vec().into();
                Send::Frame(Frame::Data { item, offset, bytes })
            }
            None => Send::Data { item, offset, length: length as usize },
        })
    }

    /// So many bytes leave: where they begin, and which want they answer.
    fn advance(&mut self, item: ItemId, length: u64) -> Option<(u64, u64)> {
        let out = self.items.get_mut(&item)?;
        let Stage::Sending { next: offset, acked } = out.stage else { return None };
        let next = out.held.end_from(offset + length);
        out.stage = Stage::Sending { next, acked };
        let class = &mut self.classes[rank(out.item.priority)];
        class.in_flight += length;
        if next >= out.item.available {
            class.sending.remove(&place(&out.item));
        }
        Some((offset, out.want))
    }

    fn remove(&mut self, item: &ItemId) -> Option<Out> {
        let out = self.items.remove(item)?;
        let class = &mut self.classes[rank(out.item.priority)];
        let place = place(&out.item);
        class.inline_bytes -= out.item.inline.as_ref().map_or(0, |bytes| bytes.len() as u64);
        match out.stage {
            Stage::Queued => {
                class.small.remove(&place);
                class.large.remove(&place);
            }
            Stage::Offered => class.unanswered -= 1,
            Stage::Inline => {}
            Stage::Sending { .. } => {
                class.sending.remove(&place);
            }
        }
        class.in_flight -= out.in_flight();
        if out.stage != Stage::Queued {
            class.open -= 1;
            class.bundles -= usize::from(out.item.kind == ItemKind::Bundle);
        }
        self.forget_state(&out.item);
        Some(out)
    }

    fn forget_state(&mut self, item: &OutItem) {
        if let Some(state) = &item.state
            && let Entry::Occupied(entry) = self.states.entry(state.object.clone())
            && entry.get().1 == item.id
        {
            entry.remove();
        }
    }

    fn has_bytes_to_send(&self, item: &ItemId) -> bool {
        match self.items.get(item).map(|out| (out.stage, out.item.length)) {
            Some((Stage::Queued | Stage::Offered, _)) => true,
            Some((Stage::Inline, _)) => false,
            Some((Stage::Sending { next, .. }, length)) => next < length,
            None => self.held.contains_key(item),
        }
    }

    /// The peer may not know yet that the item was taken back; anything else is a defect of it.
    fn unknown(&self, frame: &'static str, item: ItemId) -> Result<Option<Event>, Violation> {
        if self.closing.contains(&item) { Ok(None) } else { Err(Violation::UnknownItem { frame, item }) }
    }
}

impl Out {
    /// Bytes that were sent and take some of the peer's window.
    fn in_flight(&self) -> u64 {
        match self.stage {
            Stage::Queued | Stage::Offered => 0,
            Stage::Inline => self.item.length,
            Stage::Sending { next, .. } => self.sent_within(self.freed..next),
        }
    }

    /// Before where it was sent and acknowledged, if the peer can have all before `offset`.
    fn sent(&self, offset: u64) -> Result<(u64, u64), Violation> {
        let item = self.item.id;
        match self.stage {
            Stage::Sending { next, .. } if offset > next => {
                Err(Violation::AckBeyondSent { item, offset, sent: next })
            }
            Stage::Sending { next, acked } => Ok((next, acked)),
            Stage::Queued | Stage::Offered | Stage::Inline => Err(Violation::AckUnwanted { item }),
        }
    }

    /// What was sent before `offset` leaves the window: so many bytes.
    fn free(&mut self, offset: u64) -> u64 {
        let before = self.freed;
        self.freed = before.max(offset);
        self.sent_within(before..self.freed)
    }

    /// Bytes of a run that were sent and not held before.
    fn sent_within(&self, run: Range<u64>) -> u64 {
        run.end - run.start - self.held.bytes_within(&run)
    }
}

fn place(item: &OutItem) -> Place {
    let deadline = item.deadline.unwrap_or(Timestamp(i64::MAX));
    Place { rank: item.rank, kind: item.kind, deadline, queued_at: item.queued_at, item: item.id }
}
