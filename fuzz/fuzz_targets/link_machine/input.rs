//! Configurations, items and frames out of a script's bytes: mostly such that fit to what went before.

use std::{ops::Range, time::Duration};

use libfuzzer_sys::arbitrary::{Result, Unstructured};
use packhorse_domain::{
    Digest, Priority, Timestamp,
    id::SiteCode,
    link::{
        Allowance, Frame, Hello, ItemId, ItemKind, LaneOffer, LinkConfig, ObjectState, Offer, Open, OutItem,
        Outline, Pace, Pulse, Ranges, RefuseReason, limits,
    },
    object::Direction,
    reconcile::{Compare, Entry, Listing, Node},
};

use crate::side::Side;

pub fn config(script: &mut Unstructured<'_>) -> Result<LinkConfig> {
    let mut config = LinkConfig::new(code("CEN"), code("PAR"));
    config.window_bytes = window(script)?;
    config.pace = Pace {
        frame_bytes: 1 << script.int_in_range(4..=18_u32)?,
        in_flight_bytes: 1 << script.int_in_range(0..=17_u32)?,
        inline_bytes: 1 << script.int_in_range(0..=17_u32)?,
    };
    config.lower_share_percent = script.arbitrary()?;
    Ok(config)
}

pub fn hello(script: &mut Unstructured<'_>) -> Result<Hello> {
    Ok(Hello {
        site: code(if script.ratio(1, 50)? { "LYO" } else { "PAR" }),
        revision: script.int_in_range(0..=3)?,
        features: vec!["later".to_owned(); script.int_in_range(0..=2)?],
        epoch: vec![1],
        window_bytes: window(script)?,
        lanes: Some(LaneOffer { calls: 0, port: script.int_in_range(0..=1)?, session: [1; 16] }),
    })
}

/// One of few, so that frames and calls speak of the same.
pub fn item(script: &mut Unstructured<'_>) -> Result<ItemId> {
    Ok(match script.int_in_range(0..=7_u8)? {
        7 => numbered(script.arbitrary()?),
        few => ItemId([few; 16]),
    })
}

/// Mostly one of those that fit.
fn one_of(script: &mut Unstructured<'_>, fitting: impl Iterator<Item = ItemId>) -> Result<ItemId> {
    let fitting: Vec<ItemId> = fitting.take(8).collect();
    if fitting.is_empty() || script.ratio(1, 8)? { item(script) } else { Ok(*script.choose(&fitting)?) }
}

/// One that this side has accepted, or may accept.
pub fn incoming(script: &mut Unstructured<'_>, side: &Side, is_accepted: bool) -> Result<ItemId> {
    let open = side.incoming.iter().take(64).filter(|(_, open)| open.next.is_some() == is_accepted);
    one_of(script, open.map(|(item, _)| *item))
}

/// One that the peer may want.
fn wantable(script: &mut Unstructured<'_>, side: &Side) -> Result<ItemId> {
    let out = side.out.iter().take(64).filter(|(_, out)| out.next.is_none());
    one_of(script, out.map(|(item, _)| *item))
}

/// One of a flood.
pub fn numbered(nth: u16) -> ItemId {
    let mut id = [0xff; 16];
    id[..2].copy_from_slice(&nth.to_be_bytes());
    ItemId(id)
}

/// The one that fits, or any other.
pub fn offset(script: &mut Unstructured<'_>, fitting: u64) -> Result<u64> {
    Ok(match script.int_in_range(0..=7_u8)? {
        0 => script.arbitrary()?,
        1 => u64::from(script.arbitrary::<u16>()?),
        2 => fitting.saturating_add(1),
        3 => fitting.saturating_sub(1),
        4 => fitting / 2,
        _ => fitting,
    })
}

pub fn out_item(script: &mut Unstructured<'_>) -> Result<OutItem> {
    let offer = offer(script)?;
    let state = match script.int_in_range(0..=7_u8)? {
        object @ 0..=2 => {
            let version = u64::from(script.arbitrary::<u8>()?);
            Some(ObjectState { object: format!("collection/CEN0000{object}"), version })
        }
        _ => None,
    };
    Ok(OutItem {
        id: offer.item,
        kind: offer.kind,
        priority: offer.priority,
        length: offer.length,
        digest: offer.digest,
        subject: offer.subject,
        target: offer.target,
        bases: offer.bases,
        rank: script.int_in_range(-1..=1)?,
        deadline: script.ratio(1, 4)?.then_some(Timestamp(2_000_000)),
        queued_at: Timestamp(script.int_in_range(0..=3)?),
        available: offset(script, offer.length)?,
        inline: offer.inline,
        state,
    })
}

pub fn offer(script: &mut Unstructured<'_>) -> Result<Offer> {
    let item = item(script)?;
    let length = match script.int_in_range(0..=7_u8)? {
        0 => script.arbitrary()?,
        1 => limits::ITEM_BYTES_MAX,
        2 => u64::from(script.arbitrary::<u8>()?),
        _ => u64::from(script.arbitrary::<u16>()?),
    };
    let inline = match script.int_in_range(0..=7_u8)? {
        0 => Some(vec![0; script.int_in_range(0..=limits::INLINE_BYTES_MAX + 1)?]),
        1..=3 => {
            usize::try_from(length).ok().filter(|length| *length < 100_000).map(|length| vec![0; length])
        }
        _ => None,
    };
    Ok(Offer {
        item,
        kind: *script.choose(&[ItemKind::Object, ItemKind::Bundle])?,
        priority: *script.choose(&Priority::ALL)?,
        length,
        digest: digest(script)?,
        subject: "s".repeat(script.int_in_range(0..=limits::SUBJECT_BYTES_MAX + 1)?),
        target: None,
        bases: vec![Digest([3; 32]); script.int_in_range(0..=limits::BASES_MAX + 1)?],
        inline,
    })
}

pub fn frame(script: &mut Unstructured<'_>, side: &Side) -> Result<Frame> {
    let kind = script.int_in_range(0..=18_u8)?;
    match kind {
        7 => return Ok(Frame::Ping { value: script.arbitrary()? }),
        8 => {
            let due = side.pings.front().copied().unwrap_or_default();
            return Ok(Frame::Pong { value: offset(script, due)?, clock: None });
        }
        9 => return Ok(Frame::Got { bytes: offset(script, side.sent_bytes)? }),
        10 => return Ok(Frame::Compare(compare(script)?)),
        11 => return Ok(Frame::Listing(listing(script)?)),
        12 => return Ok(Frame::Hello(hello(script)?)),
        13 => return Ok(Frame::Unknown),
        2 => {
            let item = wantable(script, side)?;
            return Ok(Frame::Want { item, offset: offset(script, 0)? });
        }
        1 => {
            let item = incoming(script, side, true)?;
            let gap = side.incoming.get(&item).and_then(|open| open.gaps().into_iter().next());
            let (offset, length) = run(script, gap.unwrap_or(0..1000))?;
            return Ok(Frame::Data { item, offset, bytes: vec![0; length].into() });
        }
        14 => return bulk(script, side),
        15 => {
            let item = wantable(script, side)?;
            let length = side.out.get(&item).map_or(0, |out| out.length);
            let from = offset(script, 0)?;
            return Ok(Frame::WantRest { item, offset: from, held: held(script, from, length)? });
        }
        _ => {}
    }
    let item = item(script)?;
    let left = side.out.get(&item).and_then(|out| out.next).unwrap_or_default();
    Ok(match kind {
        0 => Frame::Offer(offer(script)?),
        3 => Frame::Ack { item, offset: offset(script, left)? },
        4 => Frame::Receipt { item },
        17 => Frame::Written { item, offset: offset(script, left)? },
        5 => Frame::Refuse { item, reason: reason(script)?, text: "x".repeat(600) },
        6 => Frame::Cancel { item },
        16 => Frame::Outline(outline(script, item)?),
        _ => match script.int_in_range(0..=7_u8)? {
            0 => Frame::Goodbye { reason: "y".repeat(600), at_fault: false },
            _ => {
                Frame::UnknownOffer { item, inline_bytes: script.int_in_range(0..=limits::INLINE_BYTES_MAX)? }
            }
        },
    })
}

/// Mostly what belongs there.
pub fn frame_on_lane(script: &mut Unstructured<'_>, side: &Side) -> Result<Frame> {
    match script.int_in_range(0..=15_u8)? {
        0 => frame(script, side),
        1..=3 => Ok(Frame::Got { bytes: offset(script, side.sent_bytes)? }),
        _ => bulk(script, side),
    }
}

/// Bytes that overtake others, or not.
fn bulk(script: &mut Unstructured<'_>, side: &Side) -> Result<Frame> {
    let item = incoming(script, side, true)?;
    let open = side.incoming.get(&item);
    let gaps = open.map_or(Vec::new(), |open| open.gaps());
    let gap = if gaps.is_empty() { 0..1000 } else { script.choose(&gaps)?.clone() };
    let ahead = u64::from(script.arbitrary::<u8>()?) % (gap.end - gap.start);
    let from = if script.ratio(1, 4)? { gap.start } else { gap.start + ahead };
    let (offset, length) = run(script, from..gap.end)?;
    let want = open.map_or(0, |open| open.want);
    let want = if script.ratio(1, 8)? { self::offset(script, want)? } else { want };
    Ok(Frame::Bulk { item, offset, bytes: vec![0; length].into(), want })
}

/// Bytes at the beginning of a gap, mostly.
fn run(script: &mut Unstructured<'_>, gap: Range<u64>) -> Result<(u64, usize)> {
    let left = usize::try_from(gap.end.saturating_sub(gap.start)).unwrap_or(usize::MAX);
    let length = match script.int_in_range(0..=31_u8)? {
        0 => return Ok((offset(script, gap.start)?, script.int_in_range(0..=limits::DATA_BYTES_MAX + 1)?)),
        1..=15 => script.int_in_range(0..=255)? + 1,
        _ => script.int_in_range(0..=4095)? + 1,
    };
    Ok((gap.start, length.min(left)))
}

/// Runs beyond an offset, mostly within a length.
pub fn held(script: &mut Unstructured<'_>, from: u64, length: u64) -> Result<Ranges> {
    let mut held = Ranges::default();
    let mut at = from;
    let most = if script.ratio(1, 16)? { limits::HELD_MAX + 1 } else { 3 };
    for _ in 0..script.int_in_range(0..=most)? {
        let step = length.saturating_sub(at) / 4 + 1;
        at = at.saturating_add(u64::from(script.arbitrary::<u16>()?) % step + 1);
        let end = at.saturating_add(offset(script, step)?);
        held.insert(at..end);
        at = end;
    }
    Ok(held)
}

pub fn outline(script: &mut Unstructured<'_>, item: ItemId) -> Result<Outline> {
    let hash = digest(script)?;
    let hashes = vec![hash; script.int_in_range(0..=3)?];
    Ok(Outline { item, part_bytes: offset(script, limits::PART_BYTES_MIN)?, hashes })
}

pub fn allowance(script: &mut Unstructured<'_>) -> Result<Allowance> {
    let rate = script.ratio(1, 2)?;
    let pulse = script.ratio(1, 4)?;
    Ok(Allowance {
        open: *script.choose(&[Open::Nothing, Open::High, Open::HighAndMedium, Open::All])?,
        bytes_per_second: if rate { Some(offset(script, 32_000)?) } else { None },
        pulse: if pulse {
            let pause = Duration::from_micros(offset(script, 1_000_000)?);
            Some(Pulse { block_bytes: script.arbitrary()?, pause })
        } else {
            None
        },
    })
}

pub fn compare(script: &mut Unstructured<'_>) -> Result<Compare> {
    let node = Node { prefix: "0a".to_owned(), entries: script.arbitrary()?, digest: digest(script)? };
    Ok(Compare { set: set(script)?, nodes: vec![node; script.int_in_range(0..=2)?] })
}

pub fn listing(script: &mut Unstructured<'_>) -> Result<Listing> {
    let entry = Entry {
        kind: "collection".to_owned(),
        id: "CEN00001".to_owned(),
        version: script.arbitrary()?,
        digest: digest(script)?,
    };
    Ok(Listing {
        set: set(script)?,
        prefix: String::new(),
        entries: vec![entry; script.int_in_range(0..=2)?],
        is_answer: script.arbitrary()?,
    })
}

fn set(script: &mut Unstructured<'_>) -> Result<Direction> {
    Ok(*script.choose(&[Direction::Down, Direction::Up])?)
}

fn reason(script: &mut Unstructured<'_>) -> Result<RefuseReason> {
    Ok(*script.choose(&[
        RefuseReason::Held,
        RefuseReason::BaseMissing,
        RefuseReason::NotAllowed,
        RefuseReason::Damaged,
        RefuseReason::NoSpace,
        RefuseReason::UnknownKind,
        RefuseReason::Other,
    ])?)
}

fn window(script: &mut Unstructured<'_>) -> Result<u64> {
    Ok(match script.int_in_range(0..=3_u8)? {
        0 => 0,
        1 => u64::from(script.arbitrary::<u16>()?),
        2 => script.arbitrary()?,
        _ => 1 << 20,
    })
}

fn digest(script: &mut Unstructured<'_>) -> Result<Digest> {
    Ok(Digest([script.int_in_range(0..=1)?; 32]))
}

fn code(text: &str) -> SiteCode {
    text.parse().expect("it is a site code")
}
