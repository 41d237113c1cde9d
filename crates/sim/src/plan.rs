//! What happens in a run: the sites in a row, their lines and disks, the items, and the faults with their times.

use std::sync::OnceLock;

use packhorse_domain::{
    Timestamp,
    link::{Allowance, ItemKind, OutItem, Pace},
    object::ObjectKind,
    reconcile::Side,
};

use crate::rng::{Rng, mix};

/// The longest item.
pub(crate) const ITEM_BYTES_MAX: usize = 400_000;

#[derive(Debug, Clone)]
pub struct Plan {
    pub seed: u64,
    /// Line `n` joins site `n` and site `n + 1`; of the two, site `n` is the parent.
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
    /// Bytes that wait somewhere on the way before the sender is held up; nothing overtakes them.
    pub queue_bytes: u64,
    pub window_bytes: u64,
    pub pace: Pace,
    /// Beside the main connection there is a lane.
    pub lane: Option<LanePlan>,
}

/// A lane, and how frames come to overtake one another on a line that has one.
#[derive(Debug, Clone, Copy)]
pub struct LanePlan {
    /// How long after the hello the child asks for it, at most.
    pub asks_within_us: u64,
    /// Of a hundred frames so many are late.
    pub late_percent: u64,
    pub late_us: u64,
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
    /// A site between passes it on while it still comes in.
    pub cut_through: bool,
    /// The state of an object that it carries is that the object is gone.
    pub deleted: bool,
    /// Where its bytes begin in the pool.
    pool_at: usize,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// All in flight is lost. Silent: nobody is told.
    Cut { line: usize, silent: bool },
    /// Power cut: what is not durable is gone.
    Crash { site: usize },
    /// The `nth` item that a site sends is taken back, and offered again later.
    Cancel { site: usize, nth: u64 },
    /// The next offer or data frame finds a full disk.
    Full { site: usize },
    /// The outbox of a site comes from yesterday: what was delivered is offered again.
    Restore { site: usize },
    /// One side ends the stream in good order.
    Goodbye { line: usize, side: usize },
    /// Something between the sites spoils the next frame of one side.
    Spoil { line: usize, side: usize, how: Spoil },
    /// The time of day is set. What counts for the protocol goes on as before.
    Clock { site: usize, by_us: i64 },
    /// The hours of an address begin or end, or its rate changes.
    Allow { line: usize, side: usize, allowance: Allowance },
    /// How many bundles may be open at once.
    Bundles { line: usize, side: usize, most: usize },
    /// The objects of a site are copied.
    Snapshot { site: usize },
    /// Power cut, and the site comes back with its objects as they were at the snapshot, and does not know.
    Rollback { site: usize },
}

/// What can happen to a single frame where no connection keeps them in order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Spoil {
    Drop,
    Duplicate,
    /// It arrives behind the frame that follows it.
    Swap,
    /// One of its bytes is another.
    Damage,
}

impl Plan {
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
        Spec { item, from, to, born, cut_through: false, deleted: false, pool_at }
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

    /// The line over which it leaves a site.
    pub(crate) fn line_onward(&self, site: usize) -> Option<usize> {
        self.next_hop(site).map(|next| site.min(next))
    }

    /// The line over which it comes to a site.
    pub(crate) fn line_from(&self, site: usize) -> usize {
        if self.from < self.to { site - 1 } else { site }
    }

    /// The side of a line whose set it belongs to.
    pub(crate) fn sender(&self) -> Side {
        if self.from < self.to { Side::Parent } else { Side::Child }
    }

    pub(crate) fn object_kind(&self) -> ObjectKind {
        match self.sender() {
            Side::Parent => ObjectKind::Collection,
            Side::Child => ObjectKind::Client,
        }
    }

    pub(crate) fn is_bundle(&self) -> bool {
        self.item.kind == ItemKind::Bundle
    }
}

fn pool() -> &'static [u8] {
    static POOL: OnceLock<Vec<u8>> = OnceLock::new();
    POOL.get_or_init(|| {
        let mut rng = Rng::new(0);
        let words = (ITEM_BYTES_MAX + 50_000) / 8 + 2;
        (0..words).flat_map(|_| rng.number().to_le_bytes()).collect()
    })
}
