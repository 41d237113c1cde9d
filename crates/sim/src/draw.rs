//! Draws a plan from a seed: how the sites, the lines, the items and the faults are is left to chance.

use std::time::Duration;

use packhorse_domain::{
    Digest, Priority, Timestamp,
    link::{Allowance, ItemId, ItemKind, ObjectState, Open, OutItem, Pace, Pulse},
};

use crate::{
    plan::{DiskPlan, Fault, ITEM_BYTES_MAX, LanePlan, LinePlan, Plan, Spec, Spoil},
    rng::{Rng, mix},
};

/// Microseconds per second.
const SECOND: u64 = 1_000_000;

impl Plan {
    pub fn from_seed(seed: u64) -> Self {
        let mut rng = Rng::new(mix(seed));
        let sites = if rng.percent(30) { 3 } else { 2 };
        let mut lines: Vec<_> = (1..sites).map(|_| line(&mut rng)).collect();
        let disks = (0..sites).map(|_| disk(&mut rng)).collect();
        let spell = rng.pick(&[SECOND, 5 * SECOND, 30 * SECOND]);
        let frame = u64::from(lines[0].pace.frame_bytes);
        let mut items: Vec<_> =
            (0..rng.within(2, 12)).map(|nth| spec(&mut rng, nth, sites, (spell, frame))).collect();
        if rng.percent(15) {
            items.extend(contest(&mut rng, sites, frame));
        }
        let faults = if rng.percent(10) { 0 } else { rng.within(1, 8) };
        let mut faults: Vec<_> = (0..faults).map(|_| fault(&mut rng, sites, spell)).collect();
        if rng.percent(15) {
            faults.extend(hours(&mut rng, &lines, spell));
        }
        if rng.percent(15) {
            faults.extend(rollback(&mut rng, sites, spell));
        }
        if rng.percent(50) {
            lines.iter_mut().for_each(|line| line.lane = Some(lane(&mut rng)));
            // What a power cut leaves of bytes in any order is where most can go wrong.
            for _ in 0..rng.within(0, 2) {
                let site = rng.within(0, sites as u64 - 1) as usize;
                faults.push((Timestamp(rng.within(0, spell) as i64), Fault::Crash { site }));
            }
        }
        Plan { seed, lines, disks, items, faults }
    }
}

fn line(rng: &mut Rng) -> LinePlan {
    let frame = rng.pick(&[512, 2048, 8192]);
    let frames_per_second = rng.pick(&[8, 50, 1000]);
    LinePlan {
        latency_us: rng.pick(&[200, 20_000, 300_000]),
        bytes_per_second: frame * frames_per_second,
        queue_bytes: rng.pick(&[0, 0, 4 * frame, 64 * frame]),
        window_bytes: rng.pick(&[2 * frame, 6 * frame, 16 * frame, 0]),
        pace: Pace { frame_bytes: frame as u32, in_flight_bytes: 64 * frame, inline_bytes: frame as u32 },
        lane: None,
    }
}

fn lane(rng: &mut Rng) -> LanePlan {
    LanePlan {
        asks_within_us: rng.pick(&[50_000, SECOND / 2, 3 * SECOND]),
        late_percent: rng.pick(&[3, 30, 100]),
        late_us: rng.pick(&[5_000, 100_000, SECOND]),
    }
}

fn disk(rng: &mut Rng) -> DiskPlan {
    let sync_us_min = rng.pick(&[50, 2_000, 50_000]);
    DiskPlan { sync_us_min, sync_us_max: sync_us_min * rng.pick(&[1, 3, 8]) }
}

/// The name of the `nth` item of a plan.
fn item_id(nth: u64) -> ItemId {
    let mut id = [0; 16];
    id[..8].copy_from_slice(&mix(nth + 1).to_be_bytes());
    id[8..].copy_from_slice(&nth.to_be_bytes());
    ItemId(id)
}

fn plain(nth: u64, kind: ItemKind, length: u64, born: Timestamp) -> OutItem {
    let id = item_id(nth);
    let mut digest = [0; 32];
    digest[..16].copy_from_slice(&id.0);
    OutItem {
        id,
        kind,
        priority: Priority::Medium,
        length,
        digest: Digest(digest),
        subject: format!("item {nth}"),
        target: None,
        bases: Vec::new(),
        rank: 0,
        deadline: None,
        queued_at: born,
        available: length,
        inline: None,
        state: None,
    }
}

fn spec(rng: &mut Rng, nth: u64, sites: usize, (spell, frame): (u64, u64)) -> Spec {
    let born = Timestamp(rng.within(0, spell) as i64);
    let kind = if rng.percent(50) { ItemKind::Object } else { ItemKind::Bundle };
    let length = match kind {
        ItemKind::Object => rng.within(0, frame),
        ItemKind::Bundle => rng.within(0, 24 * frame),
    };
    let ends = if rng.percent(65) { (0, sites - 1) } else { (sites - 1, 0) };
    let mut item = plain(nth, kind, length, born);
    item.priority = rng.pick(&Priority::ALL);
    item.deadline = rng.percent(20).then(|| Timestamp(rng.within(0, 2 * spell) as i64));
    // Versions grow with time, as those of a real object do.
    item.state = (kind == ItemKind::Object && rng.percent(60)).then(|| ObjectState {
        object: format!("CEN{:05}", 2 * rng.within(0, 1) + u64::from(ends.0 == 0)),
        version: born.0 as u64 * 16 + nth,
    });
    let mut spec = Spec::new(item, ends, born);
    spec.deleted = spec.item.state.is_some() && rng.percent(30);
    spec.cut_through = kind == ItemKind::Bundle && rng.percent(60);
    if kind == ItemKind::Object && rng.percent(70) {
        spec.item.inline = Some(spec.bytes().to_vec());
    }
    spec
}

/// Much that is urgent, and something of each class below it: all at once, over one way.
fn contest(rng: &mut Rng, sites: usize, frame: u64) -> Vec<Spec> {
    let ends = if rng.percent(50) { (0, sites - 1) } else { (sites - 1, 0) };
    let long = (frame.max(1024) * rng.within(60, 150)).min(ITEM_BYTES_MAX as u64);
    let classes = [(Priority::High, long), (Priority::Medium, long / 4), (Priority::Low, long / 4)];
    let specs = classes.into_iter().zip(100..).map(|((priority, length), nth)| {
        let born = Timestamp(rng.within(0, SECOND / 2) as i64);
        let item = OutItem { priority, ..plain(nth, ItemKind::Bundle, length, born) };
        Spec::new(item, ends, born)
    });
    specs.collect()
}

fn fault(rng: &mut Rng, sites: usize, spell: u64) -> (Timestamp, Fault) {
    let at = Timestamp(rng.within(0, spell * 3 / 2) as i64);
    let line = rng.within(0, sites as u64 - 2) as usize;
    let site = rng.within(0, sites as u64 - 1) as usize;
    let side = rng.within(0, 1) as usize;
    let fault = match rng.within(0, 12) {
        0 | 1 => Fault::Cut { line, silent: false },
        2 => Fault::Cut { line, silent: true },
        3..=5 => Fault::Crash { site },
        6 => Fault::Cancel { site, nth: rng.number() },
        7 => Fault::Full { site },
        8 => Fault::Restore { site },
        9 => Fault::Goodbye { line, side },
        10 | 11 => {
            let how = rng.pick(&[Spoil::Drop, Spoil::Duplicate, Spoil::Swap, Spoil::Damage]);
            Fault::Spoil { line, side, how }
        }
        _ => {
            let step = rng.pick(&[SECOND, 60 * SECOND, 3600 * SECOND]) as i64;
            Fault::Clock { site, by_us: if rng.percent(60) { -step } else { step } }
        }
    };
    (at, fault)
}

/// Hours that close and open, rates and limits; at the end all is open.
fn hours(rng: &mut Rng, lines: &[LinePlan], spell: u64) -> Vec<(Timestamp, Fault)> {
    let line = rng.within(0, lines.len() as u64 - 1) as usize;
    let side = rng.within(0, 1) as usize;
    let rate = lines[line].bytes_per_second;
    let mut changes = Vec::new();
    for _ in 0..rng.within(2, 6) {
        let at = Timestamp(rng.within(0, spell * 3 / 2) as i64);
        let change = if rng.percent(30) {
            Fault::Bundles { line, side, most: rng.pick(&[0, 1, 3]) }
        } else {
            let open = rng.pick(&[Open::Nothing, Open::High, Open::HighAndMedium, Open::All]);
            let bytes_per_second = rng.pick(&[None, Some(rate / 2), Some(rate / 10)]);
            let block_bytes = lines[line].pace.frame_bytes * rng.within(1, 8) as u32;
            let pause = Duration::from_millis(rng.within(1, 400));
            let pulse = rng.percent(20).then_some(Pulse { block_bytes, pause });
            Fault::Allow { line, side, allowance: Allowance { open, bytes_per_second, pulse } }
        };
        changes.push((at, change));
    }
    let last = Timestamp((spell * 3 / 2 + 1) as i64);
    changes.push((last, Fault::Allow { line, side, allowance: Allowance::default() }));
    changes.push((last, Fault::Bundles { line, side, most: usize::MAX }));
    changes
}

/// A site's objects come back from a copy. Of one site only: what two sites have lost, a third may not give back.
fn rollback(rng: &mut Rng, sites: usize, spell: u64) -> Vec<(Timestamp, Fault)> {
    let site = rng.within(0, sites as u64 - 1) as usize;
    let at = rng.within(0, spell);
    let later = rng.within(at, spell * 3 / 2);
    vec![
        (Timestamp(at as i64), Fault::Snapshot { site }),
        (Timestamp(later as i64), Fault::Rollback { site }),
    ]
}
