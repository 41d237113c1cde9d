//! A disk that takes its time, and keeps after a power cut exactly what it had promised, and perhaps a bit more.

use std::collections::BTreeMap;

use packhorse_domain::link::ItemId;

use crate::{Mutation, rng::Rng};

/// What a site has on its disk. The tables are durable; of a file only what is recorded.
#[derive(Debug, Default)]
pub(crate) struct Disk {
    /// What must still go over a line.
    pub(crate) outbox: BTreeMap<(usize, ItemId), usize>,
    /// How often the effect of an item was made.
    pub(crate) applied: BTreeMap<ItemId, u32>,
    pub(crate) files: BTreeMap<ItemId, File>,
    work: BTreeMap<u64, Work>,
    next_work: u64,
}

/// Bytes of an item that is being received.
#[derive(Debug, Default)]
pub(crate) struct File {
    pub(crate) bytes: Vec<u8>,
    /// Synced, and written down as such.
    pub(crate) recorded: usize,
}

/// What is on its way to the disk.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Work {
    Sync {
        item: ItemId,
        upto: usize,
    },
    /// The effect of an item, and its row in the outbox of the next line, in one transaction.
    Apply {
        item: ItemId,
        spec: usize,
        onward: Option<usize>,
        again: bool,
    },
    Forget {
        line: usize,
        item: ItemId,
    },
    /// Only a defective site does this by itself.
    Onward {
        line: usize,
        item: ItemId,
        spec: usize,
    },
}

impl Disk {
    pub(crate) fn begin(&mut self, work: Work) -> u64 {
        self.next_work += 1;
        self.work.insert(self.next_work, work);
        self.next_work
    }

    pub(crate) fn finish(&mut self, id: u64) -> Option<Work> {
        let work = self.work.remove(&id)?;
        self.make_durable(&work);
        Some(work)
    }

    pub(crate) fn is_busy_with(&self, item: &ItemId) -> bool {
        self.work.values().any(|work| match work {
            Work::Sync { item: of, .. } | Work::Apply { item: of, .. } => of == item,
            Work::Forget { .. } | Work::Onward { .. } => false,
        })
    }

    pub(crate) fn is_idle(&self) -> bool {
        self.work.is_empty()
    }

    /// Power is cut: each thing under way is done or not, and the end of each file is anything.
    pub(crate) fn crash(&mut self, rng: &mut Rng, mutation: Option<Mutation>) {
        for work in std::mem::take(&mut self.work).into_values() {
            if rng.percent(40) {
                self.make_durable(&work);
            }
        }
        for file in self.files.values_mut() {
            let tail = rng.within(0, (file.bytes.len() - file.recorded) as u64) as usize;
            file.bytes.truncate(file.recorded + tail);
            if rng.percent(50) {
                file.bytes[file.recorded..].fill(0);
            }
            if mutation == Some(Mutation::TrustFileLength) {
                file.recorded = file.bytes.len();
            }
        }
    }

    fn make_durable(&mut self, work: &Work) {
        match *work {
            Work::Sync { item, upto } => {
                if let Some(file) = self.files.get_mut(&item) {
                    file.recorded = file.recorded.max(upto);
                }
            }
            Work::Apply { item, spec, onward, again } => {
                if again || !self.applied.contains_key(&item) {
                    *self.applied.entry(item).or_default() += 1;
                    if let Some(line) = onward {
                        self.outbox.insert((line, item), spec);
                    }
                }
                self.files.remove(&item);
            }
            Work::Forget { line, item } => {
                self.outbox.remove(&(line, item));
            }
            Work::Onward { line, item, spec } => {
                self.outbox.insert((line, item), spec);
            }
        }
    }
}
