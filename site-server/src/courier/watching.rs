//! Watches over parcels that are under way: hears receipts that come up by themselves, and points out those that are overdue.

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
    time::Duration,
};

use packhorse_domain::{Timestamp, message, object::ObjectKind};
use packhorse_parcel::ParcelId;
use packhorse_runtime::{Next, Worker};

use super::{custody, outgoing};
use crate::{
    error::Error,
    site::Site,
    status,
    store::{objects, parcels},
};

/// The worker.
pub(crate) struct CourierSender {
    site: Arc<Site>,
    /// The versions of receipts that were looked at.
    heard: HashMap<String, u64>,
    /// What receipts there were then.
    seen: Option<(i64, i64)>,
    /// Parcels of which people were told that they are overdue, and of when that was.
    overdue: HashSet<(ParcelId, Timestamp)>,
    /// Whether what an earlier run left is gone.
    swept: bool,
}

impl CourierSender {
    pub(crate) fn new(site: Arc<Site>) -> Self {
        CourierSender { site, heard: HashMap::new(), seen: None, overdue: HashSet::new(), swept: false }
    }

    /// Tells of each parcel that is not there by when it was expected, once for each time that was given.
    async fn point_out(&mut self) -> Result<(), Error> {
        let mut tx = self.site.store.read().await?;
        let now = self.site.now();
        let mut late = Vec::new();
        for parcel in parcels::unsettled(&mut tx, self.site.code()).await? {
            let Some(expected) = parcel.expected_at.filter(|expected| *expected < now) else { continue };
            let sites = parcels::sites(&mut tx, &parcel.id).await?;
            let waits: Vec<_> = sites.into_iter().filter(|(_, (state, _))| state.is_open()).collect();
            if !waits.is_empty() && !self.overdue.contains(&(parcel.id, expected)) {
                late.push((parcel, expected, waits));
            }
        }
        drop(tx);
        for (parcel, expected, waits) in late {
            let sites = waits.iter().map(|(site, _)| site.as_str()).collect::<Vec<_>>().join(", ");
            let short = parcel.id.short();
            let carrier = match parcel.carrier.as_str() {
                "" => "whoever carries it".to_owned(),
                carrier => format!("{carrier} ({})", parcel.tracking),
            };
            let message = message::parcel_overdue(&short, &sites, &carrier);
            let mut tx = self.site.store.begin().await?;
            status::report(&self.site, &mut tx, waits[0].0.as_str(), &message).await?;
            tx.commit().await?;
            self.overdue.insert((parcel.id, expected));
        }
        Ok(())
    }
}

impl Worker for CourierSender {
    const NAME: &'static str = "courier-sender";
    const PERIOD: Duration = Duration::from_secs(60);
    type Error = Error;

    async fn step(&mut self) -> Result<Next, Error> {
        if !self.swept {
            outgoing::sweep(&self.site).await?;
            self.swept = true;
        }
        // Every change of any object leads here.
        let mut tx = self.site.store.read().await?;
        let news = objects::news_of(&mut tx, ObjectKind::ParcelReceipt).await?;
        drop(tx);
        if self.seen != Some(news) {
            custody::hear(&self.site, &mut self.heard).await?;
            self.seen = Some(news);
        }
        self.point_out().await?;
        Ok(Next::Idle)
    }
}
