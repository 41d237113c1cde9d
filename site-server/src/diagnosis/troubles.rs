//! What a component could not do and tries again by itself: kept for whoever asks, since nothing else is written of it.

use std::{
    collections::HashMap,
    sync::{Mutex, PoisonError},
};

use packhorse_domain::Digest;

/// More of them are one trouble, and not many.
const KEPT_MAX: usize = 1_000;

/// Bundles that cannot be made, by their targets.
#[derive(Debug, Default)]
pub(crate) struct Troubles {
    not_made: Mutex<HashMap<Digest, String>>,
}

impl Troubles {
    pub(crate) fn not_made(&self, target: Digest, error: String) {
        let mut kept = self.not_made.lock().unwrap_or_else(PoisonError::into_inner);
        if kept.len() < KEPT_MAX || kept.contains_key(&target) {
            kept.insert(target, error);
        }
    }

    pub(crate) fn made(&self, target: &Digest) {
        self.not_made.lock().unwrap_or_else(PoisonError::into_inner).remove(target);
    }

    /// Why the bundle cannot be made; empty: nothing is known against it.
    pub(crate) fn of(&self, target: &Digest) -> String {
        self.not_made.lock().unwrap_or_else(PoisonError::into_inner).get(target).cloned().unwrap_or_default()
    }
}
