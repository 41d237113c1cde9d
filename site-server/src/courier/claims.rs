//! Who writes to the file of a bundle that comes in: one at a time.

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
};

use packhorse_domain::link::ItemId;

/// The bundles that somebody writes to.
#[derive(Debug, Clone, Default)]
pub(crate) struct Claims(Arc<Mutex<HashMap<ItemId, Arc<AtomicBool>>>>);

/// The right to write to a bundle's file, until it is dropped.
#[derive(Debug)]
pub(crate) struct Claim {
    claims: Claims,
    item: ItemId,
    wanted: Arc<AtomicBool>,
}

impl Claims {
    /// `None`: somebody else writes to it.
    pub(crate) fn claim(&self, item: ItemId) -> Option<Claim> {
        let mut held = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if held.contains_key(&item) {
            return None;
        }
        let wanted = Arc::new(AtomicBool::new(false));
        held.insert(item, wanted.clone());
        Some(Claim { claims: self.clone(), item, wanted })
    }

    /// Asks whoever has it to give it up.
    pub(crate) fn want(&self, item: &ItemId) {
        if let Some(wanted) = self.0.lock().unwrap_or_else(PoisonError::into_inner).get(item) {
            wanted.store(true, Ordering::Relaxed);
        }
    }
}

impl Claim {
    /// Somebody has something better to write.
    pub(crate) fn is_wanted(&self) -> bool {
        self.wanted.load(Ordering::Relaxed)
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        self.claims.0.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.item);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_at_a_time_writes_and_hears_that_another_wants_to() {
        let (claims, item) = (Claims::default(), ItemId([1; 16]));
        let first = claims.claim(item).unwrap();
        assert!(claims.claim(item).is_none());
        assert!(claims.claim(ItemId([2; 16])).is_some());
        assert!(!first.is_wanted());
        claims.want(&item);
        assert!(first.is_wanted());
        drop(first);
        assert!(!claims.claim(item).unwrap().is_wanted());
    }
}
