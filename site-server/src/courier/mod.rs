//! Courier Sender: parcels on media, for what a line cannot carry.
//!
//! A parcel holds what its destinations have not acknowledged, as the link would bring it: objects, and bundles that build on
//! what they hold ([`packing`]). It is laid out, signed, written and read back ([`outgoing`]), taken in like what came over the
//! line ([`incoming`]), and known to have arrived when a receipt comes back in another parcel, or when the line finds
//! everything there ([`custody`]).

mod claims;
mod contents;
pub(crate) mod custody;
pub(crate) mod elsewhere;
mod envelope;
mod gathering;
pub(crate) mod incoming;
pub(crate) mod joining;
mod keys;
pub(crate) mod kin;
pub(crate) mod outgoing;
mod packing;
#[cfg(test)]
mod tests;
mod traces;
mod watching;

use std::path::Path;

use packhorse_parcel::{Identity, Recipient};
use tokio::sync::mpsc;

pub(crate) use claims::{Claim, Claims};
pub(crate) use contents::ItemKind;
use gathering::Gathering;
pub(crate) use keys::{KeyFileError, known, trust};
pub(crate) use watching::CourierSender;

/// What a site that sends and takes parcels has for it.
#[derive(Debug)]
pub(crate) struct Courier {
    identity: Identity,
    /// Who writes to the file of a bundle that comes in: the line, or whoever reads a parcel.
    pub(crate) claims: Claims,
    /// Held by whoever writes, reads or lays out a parcel: media are slow, and two at a time would only be slower.
    pub(crate) at_work: tokio::sync::Mutex<()>,
}

impl Courier {
    /// With the key in a file, which is made if it is not there.
    pub(crate) fn open(path: &Path) -> Result<Courier, KeyFileError> {
        let identity = keys::identity(path)?;
        Ok(Courier { identity, claims: Claims::default(), at_work: tokio::sync::Mutex::default() })
    }

    /// What parcels for this site are encrypted to.
    pub(crate) fn recipient(&self) -> Recipient {
        self.identity.recipient()
    }
}

/// How far long work is, for whoever waits for it. Who is gone ends it at the next word.
#[derive(Debug, Clone)]
pub(crate) struct Progress {
    /// For people.
    pub(crate) step: String,
    pub(crate) volume: u16,
    pub(crate) bytes_done: u64,
    pub(crate) bytes_total: u64,
}

/// Where it is told.
pub(crate) type Listener = mpsc::Sender<Progress>;

/// Of whoever does not want to hear it, and lets the work go on.
pub(crate) fn unheard() -> Listener {
    let (listener, mut words) = mpsc::channel(1);
    // It ends with whoever speaks.
    std::thread::spawn(move || while words.blocking_recv().is_some() {});
    listener
}
