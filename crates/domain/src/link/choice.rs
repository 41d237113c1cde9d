//! What goes out next: strict between the classes, with a small guaranteed share for the lower ones.
//!
//! Only what the line can take at once is handed out, so that an urgent item waits for one frame at most.

use std::{
    collections::{BTreeMap, BTreeSet},
    ops::RangeInclusive,
};

use crate::{
    Priority, Timestamp,
    link::{
        ItemId, ItemKind, Open, limits,
        outgoing::{Out, Stage},
    },
};

/// Offers that wait for their want, per class: enough to hide the round trip, few enough to cost nothing.
const OFFERS_AHEAD: usize = 16;

/// What a frame costs beside its bytes when classes share the line.
const FRAME_COST: u64 = 200;

/// Items up to this length travel within their offer although the path is narrow, if they are urgent.
const URGENT_INLINE: u64 = 16 * 1024;

/// What the peer, the path and the address allow.
#[derive(Debug, Clone, Copy)]
pub(super) struct Room {
    /// Bytes that the peer may owe an ack for.
    pub(super) window: u64,
    /// Bytes that may be on their way.
    pub(super) path: u64,
    /// Those that are.
    pub(super) under_way: u64,
    /// Bytes of a frame on the main connection, and on a lane.
    pub(super) frame: u64,
    pub(super) lane_frame: u64,
    pub(super) inline: u64,
    pub(super) share_percent: u64,
    pub(super) open: Open,
    /// Bundles that may be open at once; 0: those that are open wait.
    pub(super) bundles: usize,
    pub(super) carries: Carries,
    /// The other connection could take a frame: what it would send goes before what comes after it.
    pub(super) gives_way: bool,
}

/// What goes onto a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Carries {
    All,
    /// All but bytes of bundles: there are lanes for them.
    NoBulk,
    /// Bytes of bundles, and nothing else.
    Bulk,
}

/// The next thing to send.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Unit {
    Offer { item: ItemId, inline: u64 },
    Data { item: ItemId, length: u64 },
}

/// The place of an item within its class: by rank, then objects before bundles, then what is needed first, then the
/// oldest.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Place {
    pub(super) rank: i64,
    pub(super) kind: ItemKind,
    pub(super) deadline: Timestamp,
    pub(super) queued_at: Timestamp,
    pub(super) item: ItemId,
}

/// One priority's items and accounts.
#[derive(Debug, Default)]
pub(super) struct Class {
    /// Waiting for their offer: those whose bytes are here, and those whose bytes the caller has.
    pub(super) small: BTreeSet<Place>,
    pub(super) large: BTreeSet<Place>,
    /// Wanted, and not all bytes that can be read are sent.
    pub(super) sending: BTreeSet<Place>,
    /// Offered and unfinished.
    pub(super) open: usize,
    /// Offered, and neither wanted nor refused.
    pub(super) unanswered: usize,
    /// Unacknowledged bytes under way.
    pub(super) in_flight: u64,
    /// Bundles among those that are open.
    pub(super) bundles: usize,
    /// Memory held by what waits.
    pub(super) inline_bytes: u64,
    /// What more urgent classes owe this one, in hundredths of a byte.
    credit: u64,
}

impl Room {
    /// A unit always fits when nothing is under way, also below the lower classes' caps.
    pub(super) fn fitted(mut self) -> Self {
        let unit_max = (self.window / 4).max(1);
        self.frame = self.frame.clamp(1, limits::DATA_BYTES_MAX as u64).min(unit_max);
        self.lane_frame = self.lane_frame.clamp(1, limits::DATA_BYTES_MAX as u64).min(unit_max);
        self.inline = self.inline.min(limits::INLINE_BYTES_MAX as u64).min(unit_max);
        self.share_percent = self.share_percent.min(100);
        self
    }

    /// The room as it is for the other connection, if there are lanes.
    fn beside(&self) -> Option<Room> {
        let carries = match self.carries {
            Carries::All => return None,
            Carries::NoBulk => Carries::Bulk,
            Carries::Bulk => Carries::NoBulk,
        };
        Some(Room { carries, ..*self })
    }

    fn frame(&self) -> u64 {
        if self.carries == Carries::Bulk { self.lane_frame } else { self.frame }
    }

    /// The lower classes never fill a window to its end: an urgent item finds room at once.
    fn cap(&self, window: u64, rank: usize) -> u64 {
        match rank {
            0 => window,
            1 => (window - window / 8).max(self.frame()),
            _ => (window - window / 4).max(self.frame()),
        }
    }

    /// Whether so many bytes more of a class may go on their way: something always may.
    fn path_has_room(&self, rank: usize, bytes: u64) -> bool {
        bytes == 0 || self.under_way == 0 || self.under_way + bytes <= self.cap(self.path, rank)
    }

    /// Whether even the least urgent class could have sent a frame more: if it did not, it had none.
    pub(super) fn has_room_for_one_more(&self) -> bool {
        self.path_has_room(2, self.frame())
    }

    /// Whether bytes of such an item may go on here.
    fn admits(&self, kind: ItemKind) -> bool {
        match self.carries {
            Carries::All => kind != ItemKind::Bundle || self.bundles > 0,
            Carries::NoBulk => kind != ItemKind::Bundle,
            Carries::Bulk => kind == ItemKind::Bundle && self.bundles > 0,
        }
    }

    /// On a narrow path something long would hold up what is more urgent; what is most urgent holds up nobody.
    fn inline_max(&self, rank: usize) -> u64 {
        let path = self.path / 4;
        self.inline.min(if rank == 0 { path.max(URGENT_INLINE) } else { path })
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
        if !room.open.admits(PRIORITIES[rank]) {
            return None;
        }
        let may_open = self.open < Class::open_max(rank) && room.carries != Carries::Bulk;
        if may_open
            && self.unanswered < OFFERS_AHEAD
            && let Some(place) = first(&self.large, self.bundles < room.bundles)
        {
            return Some(Unit::Offer { item: place.item, inline: 0 });
        }
        let small = self.small.first().filter(|_| may_open);
        let sending = self.sending.iter().find(|place| room.admits(place.kind));
        match (small, sending) {
            (Some(place), other) if other.is_none_or(|other| place < other) => {
                let length = items.get(&place.item).map_or(0, |out| out.item.length);
                let inline = if length <= room.inline_max(rank) { length } else { 0 };
                Some(Unit::Offer { item: place.item, inline })
            }
            (_, Some(place)) => {
                let out = items.get(&place.item)?;
                let Stage::Sending { next, .. } = out.stage else { return None };
                let upto = out.held.next_from(next).unwrap_or(u64::MAX).min(out.item.available);
                let left = upto.saturating_sub(next);
                (left > 0).then(|| Unit::Data { item: place.item, length: left.min(room.frame()) })
            }
            _ => None,
        }
    }
}

/// The first place, or the first that is no bundle's.
fn first(places: &BTreeSet<Place>, bundles_too: bool) -> Option<&Place> {
    places.iter().find(|place| bundles_too || place.kind != ItemKind::Bundle)
}

/// Chooses what goes next and settles what the classes owe each other.
pub(super) fn choose(classes: &mut [Class; 3], items: &BTreeMap<ItemId, Out>, room: &Room) -> Option<Unit> {
    let here = Ahead::of(classes, items, *room);
    let beside = room.beside().map(|room| Ahead::of(classes, items, room));
    let rank = rank_of_next(classes, &here, beside.as_ref())?;
    let unit = here.units[rank]?;

    for (lower, class) in classes.iter_mut().enumerate() {
        let units = [here.units[lower], beside.as_ref().and_then(|beside| beside.units[lower])];
        match units.into_iter().flatten().map(Unit::cost).max() {
            None => class.credit = 0,
            Some(_) if lower == rank => class.credit = class.credit.saturating_sub(unit.cost() * 100),
            // Not much more than one frame is ever owed: a burst of owed frames would hold up what is urgent. What was
            // earned while something longer waited is kept, and so is the rest that the last frame brought too much.
            Some(waiting) if lower > rank => {
                let more = unit.cost() * room.share_percent;
                let most = waiting * 100 + more;
                class.credit = class.credit.max((class.credit + more).min(most));
            }
            Some(_) => {}
        }
    }
    Some(unit)
}

/// What each class would send next over a connection, and the room that it finds there.
struct Ahead {
    units: [Option<Unit>; 3],
    room: Room,
}

/// What goes first over a connection.
struct Turn {
    rank: usize,
    unit: Unit,
    is_owed: bool,
}

impl Ahead {
    fn of(classes: &[Class; 3], items: &BTreeMap<ItemId, Out>, room: Room) -> Self {
        Ahead { units: [0, 1, 2].map(|rank| classes[rank].next(rank, items, &room)), room }
    }

    /// The caps are of a class together with those below it; the topmost is the window itself.
    fn fits(&self, classes: &[Class; 3], ranks: RangeInclusive<usize>, bytes: u64) -> bool {
        let in_flight = |from: usize| classes[from..].iter().map(|class| class.in_flight).sum::<u64>();
        ranks.into_iter().all(|rank| in_flight(rank) + bytes <= self.room.cap(self.room.window, rank))
    }

    /// The lowest class that is owed something, or else the highest.
    fn first(&self, classes: &[Class; 3]) -> Option<Turn> {
        let turn = |rank: usize, is_owed| self.units[rank].map(|unit| Turn { rank, unit, is_owed });
        let owed = (1..3).rev().filter_map(|rank| turn(rank, true)).find(|Turn { rank, unit, .. }| {
            classes[*rank].credit >= unit.cost() * 100 && self.fits(classes, 1..=*rank, unit.bytes())
        });
        owed.or_else(|| (0..3).find_map(|rank| turn(rank, false)))
    }

    /// The place of a turn among those of both connections. Within a class what waits on the main one is first.
    fn order(&self, turn: &Turn) -> (bool, usize, bool) {
        let class = if turn.is_owed { 2 - turn.rank } else { turn.rank };
        (!turn.is_owed, class, self.room.carries == Carries::Bulk)
    }
}

fn rank_of_next(classes: &[Class; 3], here: &Ahead, beside: Option<&Ahead>) -> Option<usize> {
    let turn = here.first(classes)?;
    let before = beside
        .and_then(|beside| beside.first(classes).filter(|other| beside.order(other) < here.order(&turn)));
    if before.is_some() && here.room.gives_way {
        return None;
    }
    // One connection does not take again and again the room for which something waits on the other that comes before.
    let kept = before.map_or(0, |other| other.unit.bytes());
    let Turn { rank, unit, is_owed } = turn;
    let bytes = if unit.bytes() == 0 { 0 } else { unit.bytes() + kept };
    // On the path the room above a lower class is not kept from what it is owed: a steady stream of urgent bytes
    // never leaves that room free, and the class would get nothing.
    let path_rank = if is_owed { 0 } else { rank };
    // What is first waits for its room; something smaller behind it would take the room away again and again.
    (here.fits(classes, 0..=rank, bytes) && here.room.path_has_room(path_rank, bytes)).then_some(rank)
}

/// By rank.
const PRIORITIES: [Priority; 3] = Priority::ALL;

pub(super) fn rank(priority: Priority) -> usize {
    match priority {
        Priority::High => 0,
        Priority::Medium => 1,
        Priority::Low => 2,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        Digest,
        link::{OutItem, Ranges},
    };

    const FRAME: u64 = 1000;

    fn out(kind: ItemKind, priority: Priority, inline: Option<Vec<u8>>) -> Out {
        let length = inline.as_ref().map_or(1_000_000, |bytes| bytes.len() as u64);
        let stage = if inline.is_some() { Stage::Queued } else { Stage::Sending { next: 0, acked: 0 } };
        let item = OutItem {
            id: ItemId([rank(priority) as u8; 16]),
            kind,
            priority,
            length,
            digest: Digest([0; 32]),
            subject: String::new(),
            target: None,
            bases: Vec::new(),
            rank: 0,
            deadline: None,
            queued_at: Timestamp(0),
            available: length,
            inline,
            state: None,
        };
        Out { item, stage, held: Ranges::default(), want: 0, freed: 0 }
    }

    fn place(item: &OutItem) -> Place {
        let deadline = Timestamp(i64::MAX);
        Place { rank: 0, kind: item.kind, deadline, queued_at: item.queued_at, item: item.id }
    }

    /// How many of a thousand frames are not of the highest class, where something comes free only as the peer says
    /// that something came. Each connection is asked in turn.
    fn lower_of_a_thousand(outs: [Out; 2], connections: &[Room]) -> usize {
        let mut classes: [Class; 3] = Default::default();
        for out in &outs {
            let class = &mut classes[rank(out.item.priority)];
            let places = if out.stage == Stage::Queued { &mut class.small } else { &mut class.sending };
            places.insert(place(&out.item));
        }
        let items: BTreeMap<_, _> = outs.into_iter().map(|out| (out.item.id, out)).collect();
        let lowest = items.keys().map(|item| usize::from(item.0[0])).max().unwrap_or_default();
        let (mut lower, mut under_way) = (0, std::collections::VecDeque::new());
        for _ in 0..1000 {
            let unit = loop {
                let bytes = under_way.iter().map(|(_, bytes)| bytes).sum();
                for (rank, class) in classes.iter_mut().enumerate() {
                    class.in_flight =
                        under_way.iter().filter(|(of, _)| *of == rank).map(|(_, bytes)| bytes).sum();
                }
                let mut rooms = connections.iter().map(|room| Room { under_way: bytes, ..*room });
                match rooms.find_map(|room| choose(&mut classes, &items, &room)) {
                    Some(unit) => break unit,
                    None => under_way.pop_front().expect("with nothing under way something leaves"),
                };
            };
            let (Unit::Data { item, .. } | Unit::Offer { item, .. }) = unit;
            let rank = usize::from(item.0[0]);
            lower += usize::from(rank == lowest);
            under_way.push_back((rank, unit.bytes()));
        }
        lower
    }

    const ROOM: Room = Room {
        window: 100 * FRAME,
        path: 100 * FRAME,
        under_way: 0,
        frame: FRAME,
        lane_frame: FRAME,
        inline: 4 * FRAME,
        share_percent: 5,
        open: Open::All,
        carries: Carries::All,
        gives_way: false,
        bundles: usize::MAX,
    };

    #[test]
    fn a_lower_class_gets_its_share_where_urgent_bytes_fill_the_path_or_the_window() {
        let bundle = |priority| out(ItemKind::Bundle, priority, None);
        for (window, path) in [(100, 10), (10, 100), (10, 10)] {
            let room = Room { window: window * FRAME, path: path * FRAME, ..ROOM }.fitted();

            let lower = lower_of_a_thousand([bundle(Priority::High), bundle(Priority::Low)], &[room]);
            assert!((40..=60).contains(&lower), "{lower} frames in a window of {window} on a path of {path}");
            let whole = out(ItemKind::Bundle, Priority::Low, Some(vec![0; 2 * FRAME as usize]));
            let lower = lower_of_a_thousand([bundle(Priority::High), whole], &[room]);
            assert!((20..=40).contains(&lower), "{lower} longer ones, {window}, {path}");
        }
    }

    #[test]
    fn with_a_lane_each_class_gets_what_it_would_get_on_one_connection() {
        use {ItemKind::*, Priority::*};
        for (window, path) in [(100, 10), (10, 100), (10, 10)] {
            let room = Room { window: window * FRAME, path: path * FRAME, ..ROOM }.fitted();
            let connections = [Carries::NoBulk, Carries::Bulk].map(|carries| Room { carries, ..room });
            for (high, low) in [(High, Medium), (High, Low), (Medium, Low)] {
                for (above, below) in [(Bundle, Object), (Object, Bundle)] {
                    let outs = [out(above, high, None), out(below, low, None)];

                    let lower = lower_of_a_thousand(outs, &connections);

                    let what = format!("{low} {below:?} below {high} {above:?}, {window}, {path}");
                    assert!((40..=60).contains(&lower), "{lower} frames of a {what}");
                }
            }
        }
    }
}
