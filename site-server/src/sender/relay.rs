//! Cut-through: what is coming in goes on to the children as soon as it is checked and on the disk.

use std::{
    collections::HashMap,
    sync::{Mutex, PoisonError},
};

use packhorse_domain::link::ItemId;
use tokio::sync::watch;

/// How far each bundle that is coming in may be passed on.
#[derive(Debug, Default)]
pub(crate) struct Relays {
    offsets: Mutex<HashMap<ItemId, u64>>,
    moved: watch::Sender<()>,
}

impl Relays {
    /// The bytes before `upto` are on the disk and are what they should be, and of those behind it nothing is known.
    pub(super) fn reach(&self, item: ItemId, upto: u64) {
        self.offsets.lock().unwrap_or_else(PoisonError::into_inner).insert(item, upto);
        self.moved.send_replace(());
    }

    /// It is here as a whole, or not wanted any more.
    pub(crate) fn forget(&self, item: &ItemId) {
        self.offsets.lock().unwrap_or_else(PoisonError::into_inner).remove(item);
    }

    pub(crate) fn upto(&self, item: &ItemId) -> u64 {
        self.offsets.lock().unwrap_or_else(PoisonError::into_inner).get(item).copied().unwrap_or_default()
    }

    pub(super) fn subscribe(&self) -> watch::Receiver<()> {
        self.moved.subscribe()
    }
}
