//! A disk that takes its time, and keeps after a power cut exactly what it had promised, and perhaps a bit more.

use std::collections::BTreeMap;

use packhorse_domain::{
    Timestamp,
    link::{ItemId, Ranges},
    object::{Held, Merge, merge},
};

use crate::{Mutation, file::File, rng::Rng};

/// What a site has on its disk. The tables are durable; of a file only what is recorded.
#[derive(Debug, Default)]
pub(crate) struct Disk {
    /// What must still go over a line.
    pub(crate) outbox: BTreeMap<(usize, ItemId), Row>,
    /// How often the effect of an item was made.
    pub(crate) applied: BTreeMap<ItemId, u32>,
    pub(crate) objects: BTreeMap<String, Object>,
    pub(crate) files: BTreeMap<ItemId, File>,
    snapshot: Snapshot,
    work: BTreeMap<u64, Work>,
    next_work: u64,
}

/// An item that waits for a line, and when it began to by the clock of the site.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Row {
    pub(crate) spec: usize,
    pub(crate) queued_at: Timestamp,
}

/// The state of an object that a site holds. One that is deleted is held as a tombstone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Object {
    pub(crate) held: Held,
    pub(crate) deleted: bool,
    /// The item that carries it.
    pub(crate) spec: usize,
}

/// The objects as they were once, with what was to be sent of them.
#[derive(Debug, Default)]
struct Snapshot {
    outbox: BTreeMap<(usize, ItemId), Row>,
    applied: BTreeMap<ItemId, u32>,
    objects: BTreeMap<String, Object>,
}

/// What is on its way to the disk.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Work {
    Sync {
        item: ItemId,
        written: Ranges,
    },
    Apply(Effect),
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

/// The effect of an item, and its row in the outbox of the next line, in one transaction.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Effect {
    pub(crate) item: ItemId,
    pub(crate) spec: usize,
    /// Over which line it came.
    pub(crate) line: usize,
    pub(crate) onward: Option<(usize, Timestamp)>,
    pub(crate) object: Option<(String, Object)>,
    pub(crate) mutation: Option<Mutation>,
}

impl Object {
    pub(crate) fn is_news(&self, held: Option<&Object>) -> bool {
        let Held { owner, version, digest } = &self.held;
        merge(held.map(|object| &object.held), owner, *version, digest) == Merge::Adopt
    }
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
            Work::Sync { item: of, .. } => of == item,
            Work::Apply(effect) => effect.item == *item,
            Work::Forget { .. } | Work::Onward { .. } => false,
        })
    }

    pub(crate) fn is_idle(&self) -> bool {
        self.work.is_empty()
    }

    /// Writes the state of an object down, unless something newer is held. True: it was news.
    pub(crate) fn adopt(&mut self, name: &str, object: &Object, mutation: Option<Mutation>) -> bool {
        if !object.is_news(self.objects.get(name)) {
            return false;
        }
        if object.deleted && mutation == Some(Mutation::ForgetTombstone) {
            self.objects.remove(name);
        } else {
            self.objects.insert(name.to_owned(), object.clone());
        }
        true
    }

    /// A connection is gone: what came over it may come over another.
    pub(crate) fn release(&mut self, line: usize) {
        for file in self.files.values_mut().filter(|file| file.line == line) {
            file.open = false;
        }
    }

    /// Power is cut: each thing under way is done or not.
    pub(crate) fn crash(&mut self, rng: &mut Rng, mutation: Option<Mutation>) {
        for work in std::mem::take(&mut self.work).into_values() {
            if rng.percent(40) {
                self.make_durable(&work);
            }
        }
        for file in self.files.values_mut() {
            file.crash(rng, mutation);
        }
    }

    pub(crate) fn take_snapshot(&mut self) {
        let (outbox, applied) = (self.outbox.clone(), self.applied.clone());
        self.snapshot = Snapshot { outbox, applied, objects: self.objects.clone() };
    }

    /// The objects become what they were at the snapshot. What else there is does not hang on it: content is made anew
    /// from objects.
    pub(crate) fn roll_back(&mut self, of_objects: impl Fn(&ItemId) -> bool) {
        let Snapshot { outbox, applied, objects } = std::mem::take(&mut self.snapshot);
        self.objects = objects;
        self.outbox.retain(|(_, item), _| !of_objects(item));
        self.outbox.extend(outbox.into_iter().filter(|((_, item), _)| of_objects(item)));
        self.applied.retain(|item, _| !of_objects(item));
        self.applied.extend(applied.into_iter().filter(|(item, _)| of_objects(item)));
        self.files.retain(|item, _| !of_objects(item));
    }

    fn make_durable(&mut self, work: &Work) {
        match work {
            Work::Sync { item, written } => {
                if let Some(file) = self.files.get_mut(item) {
                    file.synced(written);
                }
            }
            Work::Apply(effect) => self.make_effect(effect),
            Work::Forget { line, item } => {
                self.outbox.remove(&(*line, *item));
            }
            Work::Onward { line, item, spec } => {
                self.outbox.insert((*line, *item), Row { spec: *spec, queued_at: Timestamp(0) });
            }
        }
    }

    fn make_effect(&mut self, effect: &Effect) {
        let Effect { item, spec, onward, object, mutation, .. } = effect;
        let again = *mutation == Some(Mutation::ApplyTwice);
        let is_news = match object {
            Some((name, object)) => self.adopt(name, object, *mutation),
            None => !self.applied.contains_key(item),
        };
        if is_news || again {
            *self.applied.entry(*item).or_default() += 1;
            if let Some((line, queued_at)) = *onward {
                self.outbox.insert((line, *item), Row { spec: *spec, queued_at });
            }
        }
        self.files.remove(item);
    }
}
