//! What the address by which a link goes allows at this moment, and what goes over it.

use std::{sync::Arc, time::Duration};

use packhorse_domain::{
    Timestamp,
    id::{AddressName, SiteCode},
    link::{Link, Open},
};
use tokio::time::Instant;

use crate::{error::Error, scheduler::addresses, site::Site};

/// An hour that closes or a budget that is spent bites within this time.
const CHECK_EVERY: Duration = Duration::from_millis(500);
/// What went over the line is written down so often; a crash forgets no more than that.
const RECORD_EVERY: Duration = Duration::from_secs(10);

/// The terms of one link.
pub(super) struct LinkTerms {
    site: Arc<Site>,
    peer: SiteCode,
    /// The address that was dialled, if this side dialled.
    name: Option<AddressName>,
    open: Open,
    /// Without an address there is nothing to check before one is set.
    has_address: bool,
    checked_at: Option<Instant>,
    recorded_at: Instant,
    recorded_bytes: u64,
}

impl LinkTerms {
    pub(super) fn new(site: Arc<Site>, peer: SiteCode, name: Option<AddressName>) -> Self {
        LinkTerms {
            site,
            peer,
            name,
            open: Open::default(),
            has_address: false,
            checked_at: None,
            recorded_at: Instant::now(),
            recorded_bytes: 0,
        }
    }

    pub(super) fn name(&self) -> Option<AddressName> {
        self.name.clone()
    }

    pub(super) fn open(&self) -> Open {
        self.open
    }

    /// When to check again; `None`: when something is changed.
    pub(super) fn due_at(&self) -> Option<Instant> {
        self.checked_at.filter(|_| self.has_address).map(|at| at + CHECK_EVERY)
    }

    /// Brings the link what its address allows now, when it has carried so many bytes in all.
    pub(super) async fn check(&mut self, link: &mut Link, bytes: u64, now: Timestamp) -> Result<(), Error> {
        if self.has_address && self.recorded_at.elapsed() >= RECORD_EVERY {
            self.record(bytes).await?;
        }
        let terms = addresses::terms(&self.site, &self.peer, self.name.as_ref()).await?;
        if terms.address.is_some() && !self.has_address {
            // Only what goes over it from here on counts.
            self.recorded_bytes = bytes;
        }
        self.has_address = terms.address.is_some();
        self.open = terms.allowance.open;
        self.checked_at = Some(Instant::now());
        link.allow(terms.allowance, now);
        Ok(())
    }

    /// Writes down what went over the line since the last time: it has carried so many bytes in all.
    pub(super) async fn record(&mut self, bytes: u64) -> Result<(), Error> {
        self.recorded_at = Instant::now();
        if self.has_address {
            let more = bytes.saturating_sub(self.recorded_bytes);
            addresses::record_use(&self.site, &self.peer, self.name.as_ref(), more).await?;
        }
        self.recorded_bytes = bytes;
        Ok(())
    }
}
