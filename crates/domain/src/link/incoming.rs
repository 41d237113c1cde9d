//! The receiver's side: what is offered, how far its bytes have come, and how far they are durable.

use std::{collections::BTreeMap, ops::Range, time::Duration};

use bytes::Bytes;

use crate::{
    Timestamp,
    link::{
        Event, Frame, ItemId, ItemKind, Offer, Outline, Ranges, RefuseReason, Violation,
        control::{Barrier, Control, Pings},
        frame::cut,
        limits,
    },
};

/// Why an answer to an offer was not sent.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AnswerError {
    /// It was taken back, refused or finished meanwhile: leave it. Its next offer finds what is durable.
    #[error("item {0} is not open on this link")]
    NotOpen(ItemId),
    #[error("item {0} was accepted before, or came whole with its offer")]
    Accepted(ItemId),
    #[error("item {0} was not accepted")]
    NotAccepted(ItemId),
    #[error("what is held of item {0} beyond the offset is too much for a want, or not beyond it")]
    Held(ItemId),
    #[error("offset {offset} of item {item} is not within {from} to {to}")]
    Offset { item: ItemId, offset: u64, from: u64, to: u64 },
}

/// Refused or finished items whose data may still come, with room for a peer that fills its slots in every round trip.
const CLOSING_MAX: usize = 4 * limits::OPEN_OFFERS_MAX;

#[derive(Debug, Default)]
pub(super) struct Incoming {
    items: BTreeMap<ItemId, In>,
    /// Received and not acknowledged.
    unacknowledged: u64,
    /// Closed before all bytes came: what is still on the line is dropped.
    closing: Barrier,
    got: Got,
    /// There are lanes, or will be: what comes on one may overtake what came before it on another.
    has_lanes: bool,
    /// Wants that were sent.
    wants: u64,
}

/// Bytes of an item that came.
#[derive(Debug)]
pub(super) struct Piece {
    pub(super) item: ItemId,
    pub(super) offset: u64,
    pub(super) bytes: Bytes,
    /// On a lane: which want they answer.
    pub(super) want: Option<u64>,
}

/// Bytes of items that came, and whether the peer was told of that.
#[derive(Debug, Default)]
struct Got {
    bytes: u64,
    /// When the first byte came that the peer was not told of.
    waits_since: Option<Timestamp>,
}

/// So soon the peer is told what came, however little. A longer wait for more would make the line look slow to a sender
/// with one short frame under way: its frames would stay short, and the wait would go on.
const TELL_WITHIN: Duration = Duration::from_millis(5);

#[derive(Debug)]
struct In {
    /// Without its inline bytes.
    offer: Offer,
    stage: Stage,
    ack_queued: bool,
    written_queued: bool,
    is_outlined: bool,
    want: u64,
    /// What was held already beyond the offset of the want.
    held: Ranges,
    /// What is here beyond the first byte that is not, the held included.
    beyond: Ranges,
    /// What it takes of the window.
    unacknowledged: u64,
    /// All that came before this has left the window.
    freed: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    Undecided,
    Inline,
    /// All before `received` came, and all before `durable` is on the disk.
    Wanted {
        received: u64,
        durable: u64,
    },
}

impl Incoming {
    pub(super) fn offered(&mut self, offer: Offer, window: u64) -> Result<Option<Event>, Violation> {
        check_offer(&offer)?;
        if let Some(open) = self.items.get(&offer.item) {
            let same = open.offer.kind == offer.kind
                && open.offer.length == offer.length
                && open.offer.digest == offer.digest;
            return if same { Ok(None) } else { Err(Violation::OfferChanged { item: offer.item }) };
        }
        if self.items.len() >= limits::OPEN_OFFERS_MAX || self.closing.len() >= CLOSING_MAX {
            return Err(Violation::TooManyOffers { max: limits::OPEN_OFFERS_MAX });
        }
        let inline = offer.inline.as_ref().map_or(0, Vec::len);
        self.take_from_window(inline, window)?;
        let stage = if inline > 0 { Stage::Inline } else { Stage::Undecided };
        self.closing.forget(&offer.item);
        let kept = Offer { inline: None, bases: Vec::new(), subject: String::new(), ..offer.clone() };
        let open = In {
            offer: kept,
            stage,
            ack_queued: false,
            written_queued: false,
            freed: 0,
            is_outlined: false,
            want: 0,
            held: Ranges::default(),
            beyond: Ranges::default(),
            unacknowledged: inline as u64,
        };
        self.items.insert(offer.item, open);
        Ok(Some(Event::Offered(offer)))
    }

    pub(super) fn expect_lanes(&mut self) {
        self.has_lanes = true;
    }

    pub(super) fn has_lanes(&self) -> bool {
        self.has_lanes
    }

    pub(super) fn data(&mut self, piece: Piece, window: u64) -> Result<Option<Event>, Violation> {
        let Piece { item, offset, bytes, want } = piece;
        let got = bytes.len();
        if got == 0 || got > limits::DATA_BYTES_MAX {
            return Err(Violation::DataSize { item, got, max: limits::DATA_BYTES_MAX });
        }
        if want.is_some() && !self.has_lanes {
            return Err(Violation::NoLanes);
        }
        // No ping tells when a lane is empty: what answers an older want, or none, is late.
        let is_late = |open: Option<u64>| want.is_some_and(|want| open != Some(want));
        let Some(open) = self.items.get_mut(&item) else {
            let known = is_late(None) || self.closing.contains(&item);
            return if known { Ok(None) } else { Err(Violation::UnknownItem { frame: "data", item }) };
        };
        if is_late(Some(open.want)) {
            return Ok(None);
        }
        open.take(offset..offset.saturating_add(got as u64), want.is_some())?;
        self.take_from_window(got, window)?;
        Ok(Some(Event::Write { item, offset, bytes }))
    }

    /// Takes note of bytes that came, whatever becomes of them: the line carried them.
    pub(super) fn came(&mut self, bytes: usize, now: Timestamp) {
        self.got.bytes += bytes as u64;
        self.got.waits_since.get_or_insert(now);
    }

    /// When the peer is to be told how much came.
    pub(super) fn tell_at(&self) -> Option<Timestamp> {
        self.got.waits_since.map(|since| since.plus(TELL_WITHIN))
    }

    /// What the peer is told now.
    pub(super) fn tell(&mut self) -> Frame {
        self.got.waits_since = None;
        Frame::Got { bytes: self.got.bytes }
    }

    pub(super) fn outline(&mut self, outline: Outline) -> Result<Option<Event>, Violation> {
        let item = outline.item;
        let Some(open) = self.items.get_mut(&item) else {
            let known = self.closing.contains(&item);
            return if known { Ok(None) } else { Err(Violation::UnknownItem { frame: "outline", item }) };
        };
        if !matches!(open.stage, Stage::Wanted { .. }) {
            return Err(Violation::NotWanted { item });
        }
        if std::mem::replace(&mut open.is_outlined, true) {
            return Err(Violation::OutlinedTwice { item });
        }
        let parts = open.offer.length.div_ceil(outline.part_bytes.max(1));
        if !outline.part_bytes.is_power_of_two()
            || outline.part_bytes < limits::PART_BYTES_MIN
            || outline.hashes.len() as u64 != parts
        {
            return Err(Violation::OutlineShape { item, parts: outline.hashes.len() });
        }
        Ok(Some(Event::Outlined(outline)))
    }

    /// A cancel may cross the receipt: of an item that is not open it says nothing new.
    pub(super) fn cancelled(&mut self, item: ItemId) -> Option<Event> {
        self.remove(&item).map(|_| Event::Cancelled { item })
    }

    pub(super) fn accept(
        &mut self,
        item: ItemId,
        offset: u64,
        held: Ranges,
        control: &mut Control,
    ) -> Result<(), AnswerError> {
        let open = self.items.get_mut(&item).ok_or(AnswerError::NotOpen(item))?;
        if open.stage != Stage::Undecided {
            return Err(AnswerError::Accepted(item));
        }
        let length = open.offer.length;
        if offset > length {
            return Err(AnswerError::Offset { item, offset, from: 0, to: length });
        }
        if !may_be_held(&held, offset, length) {
            return Err(AnswerError::Held(item));
        }
        open.stage = Stage::Wanted { received: offset, durable: offset };
        open.freed = offset;
        self.wants += 1;
        open.want = self.wants;
        open.held.clone_from(&held);
        open.beyond.clone_from(&held);
        control.push(match held.is_empty() {
            true => Frame::Want { item, offset },
            false => Frame::WantRest { item, offset, held },
        });
        Ok(())
    }

    pub(super) fn durable(
        &mut self,
        item: ItemId,
        offset: u64,
        control: &mut Control,
    ) -> Result<(), AnswerError> {
        let (open, received, durable) = wanted(&mut self.items, item)?;
        if offset < durable || offset > received {
            return Err(AnswerError::Offset { item, offset, from: durable, to: received });
        }
        if offset > durable {
            open.stage = Stage::Wanted { received, durable: offset };
            self.unacknowledged -= open.free(offset);
            if !std::mem::replace(&mut open.ack_queued, true) {
                control.push_ack(item);
            }
        }
        Ok(())
    }

    pub(super) fn written(
        &mut self,
        item: ItemId,
        offset: u64,
        control: &mut Control,
    ) -> Result<(), AnswerError> {
        let (open, received, _) = wanted(&mut self.items, item)?;
        if offset > received {
            return Err(AnswerError::Offset { item, offset, from: 0, to: received });
        }
        if offset > open.freed {
            self.unacknowledged -= open.free(offset);
            if !std::mem::replace(&mut open.written_queued, true) {
                control.push_written(item);
            }
        }
        Ok(())
    }

    /// The word that leaves now of what is written. What was acknowledged meanwhile need not be said once more.
    pub(super) fn word_of_written(&mut self, item: ItemId) -> Option<Frame> {
        let open = self.items.get_mut(&item)?;
        let Stage::Wanted { durable, .. } = open.stage else { return None };
        let queued = std::mem::take(&mut open.written_queued);
        (queued && open.freed > durable).then_some(Frame::Written { item, offset: open.freed })
    }

    /// The ack that leaves now, with what is durable now.
    pub(super) fn ack(&mut self, item: ItemId) -> Option<Frame> {
        let open = self.items.get_mut(&item)?;
        let Stage::Wanted { durable, .. } = open.stage else { return None };
        let queued = std::mem::take(&mut open.ack_queued);
        queued.then_some(Frame::Ack { item, offset: durable })
    }

    pub(super) fn refuse(
        &mut self,
        item: ItemId,
        (reason, text): (RefuseReason, String),
        pings: &mut Pings,
        control: &mut Control,
    ) -> Result<(), AnswerError> {
        let text = cut(text, limits::TEXT_BYTES_MAX);
        self.close(item, Frame::Refuse { item, reason, text }, pings, control)
    }

    pub(super) fn finished(
        &mut self,
        item: ItemId,
        pings: &mut Pings,
        control: &mut Control,
    ) -> Result<(), AnswerError> {
        self.close(item, Frame::Receipt { item }, pings, control)
    }

    pub(super) fn pong(&mut self, value: u64, pings: &mut Pings, control: &mut Control) {
        self.closing.pong(value, pings, control);
    }

    pub(super) fn is_empty(&self) -> bool {
        self.items.is_empty()
    }

    fn close(
        &mut self,
        item: ItemId,
        last: Frame,
        pings: &mut Pings,
        control: &mut Control,
    ) -> Result<(), AnswerError> {
        let open = self.remove(&item).ok_or(AnswerError::NotOpen(item))?;
        control.push(last);
        if let Stage::Wanted { received, .. } = open.stage
            && received < open.offer.length
        {
            self.closing.close(item, pings, control);
        }
        Ok(())
    }

    fn remove(&mut self, item: &ItemId) -> Option<In> {
        let open = self.items.remove(item)?;
        self.unacknowledged -= open.unacknowledged;
        Some(open)
    }

    fn take_from_window(&mut self, bytes: usize, window: u64) -> Result<(), Violation> {
        self.unacknowledged += bytes as u64;
        if self.unacknowledged > window {
            return Err(Violation::WindowOverrun { under_way: self.unacknowledged, window });
        }
        Ok(())
    }
}

impl In {
    /// What came before `offset` leaves the window: so many bytes.
    fn free(&mut self, offset: u64) -> u64 {
        let before = self.freed;
        self.freed = before.max(offset);
        let came = self.freed - before - self.held.bytes_within(&(before..self.freed));
        self.unacknowledged -= came;
        came
    }

    /// Takes in a run of bytes, on a lane or on the main connection.
    fn take(&mut self, run: Range<u64>, on_lane: bool) -> Result<(), Violation> {
        let (item, length, offset) = (self.offer.item, self.offer.length, run.start);
        let Stage::Wanted { received, durable } = self.stage else {
            return Err(Violation::NotWanted { item });
        };
        let may_overtake = on_lane && self.offer.kind == ItemKind::Bundle;
        if offset != received && !(may_overtake && offset > received) {
            return Err(Violation::OutOfOrder { item, expected: received, got: offset });
        }
        if run.end > length {
            return Err(Violation::BeyondLength { item, offset, length });
        }
        if self.beyond.overlaps(&run) {
            return Err(Violation::Overlap { item, offset });
        }
        self.unacknowledged += run.end - run.start;
        self.beyond.insert(run);
        let received = self.beyond.end_from(received);
        self.beyond.forget_before(received);
        self.stage = Stage::Wanted { received, durable };
        if self.beyond.len() > limits::RANGES_MAX {
            return Err(Violation::TooManyGaps { item, max: limits::RANGES_MAX });
        }
        Ok(())
    }
}

/// An item that this side took: before where its bytes came, and before where they are on the disk.
fn wanted(items: &mut BTreeMap<ItemId, In>, item: ItemId) -> Result<(&mut In, u64, u64), AnswerError> {
    let open = items.get_mut(&item).ok_or(AnswerError::NotOpen(item))?;
    match open.stage {
        Stage::Wanted { received, durable } => Ok((open, received, durable)),
        Stage::Undecided | Stage::Inline => Err(AnswerError::NotAccepted(item)),
    }
}

/// Whether runs are such as a want can name: few, and beyond its offset.
pub(super) fn may_be_held(held: &Ranges, offset: u64, length: u64) -> bool {
    held.len() <= limits::HELD_MAX && held.iter().all(|run| run.start > offset && run.end <= length)
}

fn check_offer(offer: &Offer) -> Result<(), Violation> {
    let item = offer.item;
    let too_large = |what| Err(Violation::OfferTooLarge { item, what });
    if offer.length > limits::ITEM_BYTES_MAX {
        return too_large("length");
    }
    if offer.subject.len() > limits::SUBJECT_BYTES_MAX {
        return too_large("subject");
    }
    if offer.bases.len() > limits::BASES_MAX {
        return too_large("bases");
    }
    match offer.inline.as_ref().map(Vec::len) {
        Some(got) if got > limits::INLINE_BYTES_MAX => too_large("inline bytes"),
        Some(got) if got as u64 != offer.length || got == 0 => {
            Err(Violation::InlineLength { item, got, length: offer.length })
        }
        _ => Ok(()),
    }
}
