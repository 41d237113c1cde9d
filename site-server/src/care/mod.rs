//! Looking after the content library: what stays free on its disk ([`room`]), finding what has rotted ([`verify`]), and
//! bringing back just that ([`mend`]), also for the children ([`serve`]) and from them ([`give`]); and filling it before
//! a line has carried anything ([`prestage`]).

pub(crate) mod give;
pub(crate) mod mend;
pub(crate) mod prestage;
pub(crate) mod room;
pub(crate) mod serve;
#[cfg(test)]
mod tests;
pub(crate) mod verify;

use std::{
    collections::{BTreeSet, VecDeque},
    sync::{Arc, Mutex, PoisonError},
};

use packhorse_domain::Digest;
use packhorse_runtime::Waker;

use mend::Repair;

/// Repairs that are shown; what was before them is in the status messages.
const REPAIRS_MAX: usize = 100;

/// What those who look after a library share.
#[derive(Debug, Default)]
pub(crate) struct Care {
    /// Wakes whoever compares what is held with what should be.
    pub(crate) check: Waker,
    /// Wakes whoever reads the library through.
    pub(crate) verify: Waker,
    /// Held by whoever mends.
    pub(crate) mending: tokio::sync::Mutex<()>,
    pub(crate) runs: tokio::sync::Mutex<verify::Runs>,
    repairs: Mutex<VecDeque<Repair>>,
    /// Wakes whoever fills the library from a disk.
    pub(crate) prestage: Waker,
    pub(crate) prestaging: Arc<prestage::Going>,
    /// Versions that were looked for in what was prestaged.
    pub(crate) tried: Mutex<BTreeSet<Digest>>,
    /// Versions of which a bundle was turned away meanwhile.
    pub(crate) turned_away: Mutex<BTreeSet<Digest>>,
}

impl Care {
    /// The newest first.
    pub(crate) fn repairs(&self) -> Vec<Repair> {
        self.repairs.lock().unwrap_or_else(PoisonError::into_inner).iter().cloned().collect()
    }

    pub(crate) fn repaired(&self, repair: Repair) {
        let mut repairs = self.repairs.lock().unwrap_or_else(PoisonError::into_inner);
        repairs.push_front(repair);
        repairs.truncate(REPAIRS_MAX);
    }
}
