//! What goes out next: strict between the classes, with a small guaranteed share for the lower ones.
//!
//! Only what the line can take at once is handed out, so that an urgent item waits for one frame at most.

use std::collections::{BTreeMap, BTreeSet};

use crate::{
    Priority, Timestamp,
    link::{
        ItemId, ItemKind, limits,
        outgoing::{Out, Stage},
    },
};

/// Offers that wait for their want, per class: enough to hide the round trip, few enough to cost nothing.
const OFFERS_AHEAD: usize = 16;

/// What a frame costs beside its bytes when classes share the line.
const FRAME_COST: u64 = 200;

/// What the peer and the pace allow.
#[derive(Debug, Clone, Copy)]
pub(super) struct Room {
    pub(super) window: u64,
    pub(super) frame: u64,
    pub(super) inline: u64,
    pub(super) share_percent: u64,
}

/// The next thing to send.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Unit {
    Offer { item: ItemId, inline: u64 },
    Data { item: ItemId, length: u64 },
}

/// The place of an item within its class: by rank, then objects before bundles, then the oldest.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Place {
    pub(super) rank: i64,
    pub(super) kind: ItemKind,
    pub(super) queued_at: Timestamp,
    pub(super) item: ItemId,
}

/// One priority's items and accounts.
#[derive(Debug, Default)]
pub(super) struct Class {
    /// Waiting for their offer: those whose bytes are here, and those whose bytes the caller has.
    pub(super) small: BTreeSet<Place>,
    pub(super) large: BTreeSet<Place>,
    /// Wanted, and not all bytes are sent.
    pub(super) sending: BTreeSet<Place>,
    /// Offered and unfinished.
    pub(super) open: usize,
    /// Offered, and neither wanted nor refused.
    pub(super) unanswered: usize,
    /// Unacknowledged bytes under way.
    pub(super) in_flight: u64,
    /// Memory held by what waits.
    pub(super) inline_bytes: u64,
    /// What more urgent classes owe this one, in hundredths of a byte.
    credit: u64,
}

impl Room {
    pub(super) fn new(window: u64, frame: u32, inline: u32, share_percent: u8) -> Self {
        // A quarter: a unit then always fits when the line is empty, also below the lower classes' caps.
        let unit_max = (window / 4).max(1);
        Room {
            window,
            frame: u64::from(frame).clamp(1, limits::DATA_BYTES_MAX as u64).min(unit_max),
            inline: u64::from(inline).min(limits::INLINE_BYTES_MAX as u64).min(unit_max),
            share_percent: u64::from(share_percent.min(100)),
        }
    }

    /// The lower classes never fill the window to its end: an urgent item finds room at once.
    fn cap(&self, rank: usize) -> u64 {
        match rank {
            0 => self.window,
            1 => (self.window - self.window / 8).max(self.frame),
            _ => (self.window - self.window / 4).max(self.frame),
        }
    }
}

impl Unit {
    fn bytes(self) -> u64 {
        match self {
            Unit::Offer { inline, .. } => inline,
            Unit::Data { length, .. } => length,
        }
    }

    fn cost(self) -> u64 {
        self.bytes() + FRAME_COST
    }
}

impl Class {
    /// A lower class cannot take all open offers of the link.
    fn open_max(rank: usize) -> usize {
        if rank == 0 { limits::OPEN_OFFERS_MAX / 2 } else { limits::OPEN_OFFERS_MAX / 4 }
    }

    fn next(&self, rank: usize, items: &BTreeMap<ItemId, Out>, room: &Room) -> Option<Unit> {
        let may_open = self.open < Class::open_max(rank);
        if may_open
            && self.unanswered < OFFERS_AHEAD
            && let Some(place) = self.large.first()
        {
            return Some(Unit::Offer { item: place.item, inline: 0 });
        }
        let small = self.small.first().filter(|_| may_open);
        let sending = self.sending.first();
        match (small, sending) {
            (Some(place), other) if other.is_none_or(|other| place < other) => {
                let length = items.get(&place.item).map_or(0, |out| out.item.length);
                let inline = if length <= room.inline { length } else { 0 };
                Some(Unit::Offer { item: place.item, inline })
            }
            (_, Some(place)) => match items.get(&place.item)?.stage {
                Stage::Sending { next, .. } => {
                    let left = items.get(&place.item)?.item.length - next;
                    Some(Unit::Data { item: place.item, length: left.min(room.frame) })
                }
                _ => None,
            },
            _ => None,
        }
    }
}

/// Chooses what goes next and settles what the classes owe each other.
pub(super) fn choose(classes: &mut [Class; 3], items: &BTreeMap<ItemId, Out>, room: &Room) -> Option<Unit> {
    let units = [0, 1, 2].map(|rank| classes[rank].next(rank, items, room));
    let rank = rank_of_next(classes, &units, room)?;
    let unit = units[rank]?;

    for (lower, class) in classes.iter_mut().enumerate() {
        match units[lower] {
            None => class.credit = 0,
            Some(_) if lower == rank => class.credit = class.credit.saturating_sub(unit.cost() * 100),
            // More than one frame is never owed: a burst of owed frames would hold up what is urgent.
            Some(waiting) if lower > rank => {
                class.credit = (class.credit + unit.cost() * room.share_percent).min(waiting.cost() * 100);
            }
            Some(_) => {}
        }
    }
    Some(unit)
}

fn rank_of_next(classes: &[Class; 3], units: &[Option<Unit>; 3], room: &Room) -> Option<usize> {
    let in_flight = |from: usize| classes[from..].iter().map(|class| class.in_flight).sum::<u64>();
    let below_caps = |rank: usize, unit: Unit| {
        // The caps are of a class together with those below it; the topmost is the window itself.
        (1..=rank).all(|rank| in_flight(rank) + unit.bytes() <= room.cap(rank))
    };
    let fits = |unit: Unit| in_flight(0) + unit.bytes() <= room.window;

    let owed = (1..3).rev().find(|&rank| {
        units[rank].is_some_and(|unit| classes[rank].credit >= unit.cost() * 100 && below_caps(rank, unit))
    });
    let rank = owed.or_else(|| (0..3).find(|&rank| units[rank].is_some()))?;
    let unit = units[rank]?;
    // What is first waits for its room; something smaller behind it would take the room away again and again.
    (below_caps(rank, unit) && fits(unit)).then_some(rank)
}

pub(super) fn rank(priority: Priority) -> usize {
    match priority {
        Priority::High => 0,
        Priority::Medium => 1,
        Priority::Low => 2,
    }
}
