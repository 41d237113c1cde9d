//! What happens in a run: the sites in a row, their lines and disks, the items, and the faults with their times.

use std::sync::OnceLock;

use packhorse_domain::{
    Digest, Priority, Timestamp,
    link::{ItemId, ItemKind, ObjectState, OutItem, Pace},
};

use crate::rng::{Rng, mix};

/// Microseconds per second.
const SECOND: u64 = 1_000_000;
/// The longest item.
const ITEM_BYTES_MAX: usize = 400_000;

#[derive(Debug, Clone)]
pub struct Plan {
    pub seed: u64,
    /// Line `n` joins site `n` and site `n + 1`.
    pub lines: Vec<LinePlan>,
    /// One per site.
    pub disks: Vec<DiskPlan>,
    pub items: Vec<Spec>,
    pub faults: Vec<(Timestamp, Fault)>,
}

#[derive(Debug, Clone, Copy)]
pub struct LinePlan {
    pub latency_us: u64,
    pub bytes_per_second: u64,
    pub window_bytes: u64,
    pub pace: Pace,
}

#[derive(Debug, Clone, Copy)]
pub struct DiskPlan {
    pub sync_us_min: u64,
    pub sync_us_max: u64,
}

/// An item that goes from one site to another, over all sites between them.
#[derive(Debug, Clone)]
pub struct Spec {
    pub item: OutItem,
    pub from: usize,
    pub to: usize,
    pub born: Timestamp,
    /// Where its bytes begin in the pool.
    pool_at: usize,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// All in flight is lost. Silent: nobody is told.
    Cut { line: usize, silent: bool },
    /// Power cut: what is not durable is gone.
    Crash { site: usize },
    /// The `nth` item of the outbox is taken back, and offered again later.
    Cancel { site: usize, nth: u64 },
    /// The next offer or data frame finds a full disk.
    Full { site: usize },
    /// The outbox of a site comes from yesterday: what was delivered is offered again.
    Restore { site: usize },
    /// One side ends the stream in good order.
    Goodbye { line: usize, side: usize },
}

impl Plan {
    pub fn from_seed(seed: u64) -> Self {
        let mut rng = Rng::new(mix(seed));
        let sites = if rng.percent(30) { 3 } else { 2 };
        let lines: Vec<_> = (1..sites).map(|_| line(&mut rng)).collect();
        let disks = (0..sites).map(|_| disk(&mut rng)).collect();
        let spell = rng.pick(&[SECOND, 5 * SECOND, 30 * SECOND]);
        let frame = u64::from(lines[0].pace.frame_bytes);
        let items = (0..rng.within(2, 12)).map(|nth| spec(&mut rng, nth, sites, spell, frame)).collect();
        let faults = if rng.percent(10) { 0 } else { rng.within(1, 8) };
        let faults = (0..faults).map(|_| fault(&mut rng, sites, spell)).collect();
        Plan { seed, lines, disks, items, faults }
    }

    /// From then on nothing breaks and nothing new comes.
    pub(crate) fn calm_at(&self) -> Timestamp {
        let faults = self.faults.iter().map(|(at, _)| *at);
        faults.chain(self.items.iter().map(|spec| spec.born)).max().unwrap_or_default()
    }
}

impl Spec {
    pub fn new(item: OutItem, (from, to): (usize, usize), born: Timestamp) -> Self {
        assert!(item.length <= ITEM_BYTES_MAX as u64, "the pool has no more");
        let pool_at = (mix(u64::from(item.id.0[0]) << 8 | u64::from(item.id.0[1])) % 50_000) as usize;
        Spec { item, from, to, born, pool_at }
    }

    pub fn bytes(&self) -> &'static [u8] {
        &pool()[self.pool_at..self.pool_at + self.item.length as usize]
    }

    /// Read as a defective sender would.
    pub(crate) fn bytes_shifted(&self, offset: usize, length: usize) -> &'static [u8] {
        &pool()[self.pool_at + offset + 1..][..length]
    }

    /// The next site on the way from `at`.
    pub(crate) fn next_hop(&self, at: usize) -> Option<usize> {
        match at.cmp(&self.to) {
            std::cmp::Ordering::Less => Some(at + 1),
            std::cmp::Ordering::Equal => None,
            std::cmp::Ordering::Greater => Some(at - 1),
        }
    }
}

/// The name of the `nth` item of a plan.
pub(crate) fn item_id(nth: u64) -> ItemId {
    let mut id = [0; 16];
    id[..8].copy_from_slice(&mix(nth + 1).to_be_bytes());
    id[8..].copy_from_slice(&nth.to_be_bytes());
    ItemId(id)
}

fn line(rng: &mut Rng) -> LinePlan {
    let frame = rng.pick(&[512, 2048, 8192]);
    let frames_per_second = rng.pick(&[8, 50, 1000]);
    LinePlan {
        latency_us: rng.pick(&[200, 20_000, 300_000]),
        bytes_per_second: frame * frames_per_second,
        window_bytes: rng.pick(&[2 * frame, 6 * frame, 16 * frame, 0]),
        pace: Pace { frame_bytes: frame as u32, in_flight_bytes: 64 * frame, inline_bytes: frame as u32 },
    }
}

fn disk(rng: &mut Rng) -> DiskPlan {
    let sync_us_min = rng.pick(&[50, 2_000, 50_000]);
    DiskPlan { sync_us_min, sync_us_max: sync_us_min * rng.pick(&[1, 3, 8]) }
}

fn spec(rng: &mut Rng, nth: u64, sites: usize, spell: u64, frame: u64) -> Spec {
    let id = item_id(nth);
    let born = Timestamp(rng.within(0, spell) as i64);
    let kind = if rng.percent(50) { ItemKind::Object } else { ItemKind::Bundle };
    let length = match kind {
        ItemKind::Object => rng.within(0, frame),
        ItemKind::Bundle => rng.within(0, 24 * frame),
    };
    let ends = if rng.percent(65) { (0, sites - 1) } else { (sites - 1, 0) };
    // Versions grow with time, as those of a real object do.
    let state = (kind == ItemKind::Object && rng.percent(40)).then(|| ObjectState {
        object: format!("collection/CEN{:05}", 2 * rng.within(0, 1) + u64::from(ends.0 == 0)),
        version: born.0 as u64 * 16 + nth,
    });
    let mut digest = [0; 32];
    digest[..16].copy_from_slice(&id.0);
    let mut item = OutItem {
        id,
        kind,
        priority: rng.pick(&Priority::ALL),
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
        state,
    };
    let mut spec = Spec::new(item.clone(), ends, born);
    if kind == ItemKind::Object && rng.percent(70) {
        item.inline = Some(spec.bytes().to_vec());
        spec.item = item;
    }
    spec
}

fn fault(rng: &mut Rng, sites: usize, spell: u64) -> (Timestamp, Fault) {
    let at = Timestamp(rng.within(0, spell * 3 / 2) as i64);
    let line = rng.within(0, sites as u64 - 2) as usize;
    let site = rng.within(0, sites as u64 - 1) as usize;
    let fault = match rng.within(0, 9) {
        0 | 1 => Fault::Cut { line, silent: false },
        2 => Fault::Cut { line, silent: true },
        3..=5 => Fault::Crash { site },
        6 => Fault::Cancel { site, nth: rng.number() },
        7 => Fault::Full { site },
        8 => Fault::Restore { site },
        _ => Fault::Goodbye { line, side: rng.within(0, 1) as usize },
    };
    (at, fault)
}

fn pool() -> &'static [u8] {
    static POOL: OnceLock<Vec<u8>> = OnceLock::new();
    POOL.get_or_init(|| {
        let mut rng = Rng::new(0);
        let words = (ITEM_BYTES_MAX + 50_000) / 8 + 2;
        (0..words).flat_map(|_| rng.number().to_le_bytes()).collect()
    })
}
