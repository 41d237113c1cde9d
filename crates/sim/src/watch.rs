//! What must hold, checked from above: the watch sees all sites at once, and no site sees the watch.

use std::collections::{BTreeMap, BTreeSet};

use packhorse_domain::{
    Priority,
    link::{Frame, ItemId},
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
    durable: BTreeMap<(usize, ItemId), u64>,
    /// Acknowledged bytes of an item, as its sender was told.
    acked: BTreeMap<(usize, ItemId), u64>,
    superseded: BTreeSet<ItemId>,
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
        Watch {
            specs: items().enumerate().map(|(at, item)| (item.id, at)).collect(),
            priorities: items().map(|item| (item.id, item.priority)).collect(),
            lengths: items().map(|item| (item.id, item.length)).collect(),
            durable: BTreeMap::new(),
            acked: BTreeMap::new(),
            superseded: BTreeSet::new(),
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

    pub(crate) fn superseded(&mut self, item: ItemId) {
        self.superseded.insert(item);
    }

    pub(crate) fn durable(&mut self, site: usize, item: ItemId, upto: u64) {
        let durable = self.durable.entry((site, item)).or_default();
        *durable = upto.max(*durable);
    }

    pub(crate) fn written(&self, site: usize, item: ItemId, offset: u64) -> Result<(), String> {
        match self.durable.get(&(site, item)) {
            Some(durable) if offset < *durable => Err(format!(
                "bytes of {item} from {offset} came again; {durable} were durable at site {site}"
            )),
            _ => Ok(()),
        }
    }

    pub(crate) fn acked(&mut self, site: usize, item: ItemId, offset: u64) {
        let acked = self.acked.entry((site, item)).or_default();
        *acked = offset.max(*acked);
    }

    pub(crate) fn wanted(&self, site: usize, item: ItemId, offset: u64) -> Result<(), String> {
        match self.acked.get(&(site, item)) {
            Some(acked) if offset < *acked => {
                Err(format!("{item} was acknowledged to {acked} and is wanted from {offset}: bytes are lost"))
            }
            _ => Ok(()),
        }
    }

    pub(crate) fn left(
        &self,
        frame: &Frame,
        frame_bytes: u64,
        urgent: &mut Option<Urgent>,
    ) -> Result<(), String> {
        let (item, whole) = match frame {
            Frame::Offer(offer) => (offer.item, true),
            Frame::Data { item, offset, bytes } => {
                (*item, offset + bytes.len() as u64 == self.length_of(item))
            }
            _ => return Ok(()),
        };
        let Some(waiting) = urgent else { return Ok(()) };
        if waiting.item == item && whole {
            *urgent = None;
        } else if self.priority_of(&item) == Priority::High {
            waiting.bytes_before = 0;
        } else {
            // Each of the two lower classes may be owed a frame, and no more.
            waiting.bytes_before += crate::world::wire_bytes(frame);
            if waiting.bytes_before > 2 * (frame_bytes + OVERHEAD_BYTES_MAX) * 21 / 20 {
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

    /// At the end: every item has had its effect once where it was to go, or a newer state had.
    pub(crate) fn finish(&self, plan: &Plan, applied: &[&BTreeMap<ItemId, u32>]) -> Result<(), String> {
        for spec in &plan.items {
            let id = spec.item.id;
            let newest = spec.item.state.as_ref().is_none_or(|state| {
                !plan
                    .items
                    .iter()
                    .filter_map(|other| other.item.state.as_ref())
                    .any(|other| other.object == state.object && other.version > state.version)
            });
            if self.superseded.contains(&id) && !newest {
                continue;
            }
            if applied[spec.to].get(&id) != Some(&1) {
                return Err(format!("{id} from site {} was never delivered at site {}", spec.from, spec.to));
            }
        }
        Ok(())
    }
}
