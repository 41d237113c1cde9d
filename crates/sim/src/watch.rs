//! What must hold, checked from above: the watch sees all sites at once, and no site sees the watch.

use std::{
    collections::{BTreeMap, BTreeSet},
    ops::Range,
};

use packhorse_domain::{
    Priority,
    link::{ItemId, Ranges},
};

use crate::plan::Plan;

/// What a frame has beside the bytes of an item, at most.
const OVERHEAD_BYTES_MAX: u64 = 200;

#[derive(Debug)]
pub(crate) struct Watch {
    specs: BTreeMap<ItemId, usize>,
    priorities: BTreeMap<ItemId, Priority>,
    lengths: BTreeMap<ItemId, u64>,
    /// Durable bytes of an item at a site, as the site was told.
    durable: BTreeMap<(usize, ItemId), Ranges>,
    /// Acknowledged bytes of an item, as its sender was told over a line.
    acked: BTreeMap<(usize, usize, ItemId), u64>,
    /// Items that something on their way has damaged.
    damaged: BTreeSet<ItemId>,
    /// The states of each object.
    objects: BTreeMap<String, Vec<State>>,
    /// The newest state of an object that a site has held.
    seen: BTreeMap<(usize, String), u64>,
}

#[derive(Debug, Clone, Copy)]
struct State {
    version: u64,
    deleted: bool,
    /// It was at one site only, whose objects came back from an older copy.
    lost: bool,
}

/// An urgent item that waits for its offer, or whose data are wanted, and how much of the lower classes went
/// since the last frame of its own class.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Urgent {
    pub(crate) item: ItemId,
    bytes_before: u64,
}

impl Urgent {
    pub(crate) fn new(item: ItemId) -> Self {
        Urgent { item, bytes_before: 0 }
    }
}

impl Watch {
    pub(crate) fn new(plan: &Plan) -> Self {
        let items = || plan.items.iter().map(|spec| &spec.item);
        let mut objects: BTreeMap<String, Vec<State>> = BTreeMap::new();
        for spec in &plan.items {
            if let Some(state) = &spec.item.state {
                let state_of = State { version: state.version, deleted: spec.deleted, lost: false };
                objects.entry(state.object.clone()).or_default().push(state_of);
            }
        }
        Watch {
            specs: items().enumerate().map(|(at, item)| (item.id, at)).collect(),
            priorities: items().map(|item| (item.id, item.priority)).collect(),
            lengths: items().map(|item| (item.id, item.length)).collect(),
            durable: BTreeMap::new(),
            acked: BTreeMap::new(),
            damaged: BTreeSet::new(),
            objects,
            seen: BTreeMap::new(),
        }
    }

    pub(crate) fn spec_of(&self, item: &ItemId) -> Result<usize, String> {
        self.specs.get(item).copied().ok_or_else(|| format!("item {item} came out of nowhere"))
    }

    pub(crate) fn priority_of(&self, item: &ItemId) -> Priority {
        self.priorities.get(item).copied().unwrap_or(Priority::Low)
    }

    pub(crate) fn length_of(&self, item: &ItemId) -> u64 {
        self.lengths.get(item).copied().unwrap_or(0)
    }

    pub(crate) fn damaged(&mut self, item: ItemId) {
        self.damaged.insert(item);
    }

    pub(crate) fn is_damaged(&self, item: &ItemId) -> bool {
        self.damaged.contains(item)
    }

    /// A site gives up what it has of an item, and may ask for it from the beginning.
    pub(crate) fn give_up(&mut self, site: usize, item: ItemId) {
        self.durable.remove(&(site, item));
        self.acked.retain(|(of, _, about), _| (*of, *about) != (site, item));
    }

    pub(crate) fn has_objects(&self) -> bool {
        !self.objects.is_empty()
    }

    /// The newest state of each object that was not lost: its version, and whether the object is gone.
    pub(crate) fn newest(&self) -> impl Iterator<Item = (&String, Option<(u64, bool)>)> {
        self.objects.iter().map(|(name, states)| {
            let kept = states.iter().filter(|state| !state.lost);
            (name, kept.map(|state| (state.version, state.deleted)).max())
        })
    }

    /// States newer than what is left, up to what was held, are gone for good.
    pub(crate) fn lost(&mut self, object: &str, left: Option<u64>, held: u64) {
        for state in self.objects.get_mut(object).into_iter().flatten() {
            state.lost |= Some(state.version) > left && state.version <= held;
        }
    }

    /// A site has lost objects: it may want them again, and holds older ones for a while.
    pub(crate) fn rolled_back(&mut self, site: usize, plan: &Plan) {
        self.seen.retain(|(of, _), _| *of != site);
        for spec in plan.items.iter().filter(|spec| spec.item.state.is_some()) {
            for site in 0..plan.disks.len() {
                self.give_up(site, spec.item.id);
            }
        }
    }

    /// A site holds this state of an object now.
    pub(crate) fn object(&mut self, site: usize, name: &str, version: u64) -> Result<(), String> {
        let seen = self.seen.entry((site, name.to_owned())).or_default();
        if version < *seen {
            return Err(format!("site {site} went back to version {version} of {name} from {seen}"));
        }
        *seen = version;
        Ok(())
    }

    pub(crate) fn durable(&mut self, site: usize, item: ItemId, synced: &Ranges) {
        let durable = self.durable.entry((site, item)).or_default();
        synced.iter().for_each(|run| durable.insert(run));
    }

    pub(crate) fn written(&self, site: usize, item: ItemId, run: &Range<u64>) -> Result<(), String> {
        match self.durable.get(&(site, item)).map(|durable| durable.bytes_within(run)) {
            None | Some(0) => Ok(()),
            Some(again) => Err(format!(
                "{again} bytes of {item} from {} came again; they were durable at site {site}",
                run.start
            )),
        }
    }

    pub(crate) fn acked(&mut self, (site, line): (usize, usize), item: ItemId, offset: u64) {
        let acked = self.acked.entry((site, line, item)).or_default();
        *acked = offset.max(*acked);
    }

    pub(crate) fn wanted(
        &self,
        (site, line): (usize, usize),
        item: ItemId,
        offset: u64,
    ) -> Result<(), String> {
        match self.acked.get(&(site, line, item)) {
            Some(acked) if offset < *acked && !self.is_damaged(&item) => {
                Err(format!("{item} was acknowledged to {acked} and is wanted from {offset}: bytes are lost"))
            }
            _ => Ok(()),
        }
    }

    pub(crate) fn left(
        &self,
        (item, bytes): (ItemId, u64),
        (frame_bytes, ways): (u64, u64),
        waiting: &mut Urgent,
    ) -> Result<(), String> {
        if self.priority_of(&item) == Priority::High {
            waiting.bytes_before = 0;
        } else {
            // Each of the two lower classes may be owed a frame, and no more; what finds room beside goes too.
            waiting.bytes_before += bytes;
            if waiting.bytes_before > (1 + ways) * (frame_bytes + OVERHEAD_BYTES_MAX) * 21 / 20 {
                return Err(format!(
                    "the urgent {} waits behind {} bytes",
                    waiting.item, waiting.bytes_before
                ));
            }
        }
        Ok(())
    }

    pub(crate) fn applied(&self, site: usize, item: ItemId, times: u32) -> Result<(), String> {
        if times > 1 {
            return Err(format!("the effect of {item} was made {times} times at site {site}"));
        }
        Ok(())
    }

    /// At the end: every item has had its effect once where it was to go. Of objects only the newest state has to.
    pub(crate) fn finish(&self, plan: &Plan, applied: &[&BTreeMap<ItemId, u32>]) -> Result<(), String> {
        for spec in plan.items.iter().filter(|spec| spec.item.state.is_none()) {
            let id = spec.item.id;
            if applied[spec.to].get(&id) != Some(&1) {
                return Err(format!("{id} from site {} was never delivered at site {}", spec.from, spec.to));
            }
        }
        Ok(())
    }
}
