//! Hears what comes up of parcels by itself: receipts.

use std::{collections::HashMap, sync::Arc, time::Duration};

use packhorse_domain::object::ObjectKind;
use packhorse_runtime::{Next, Worker};

use super::{custody, outgoing};
use crate::{error::Error, site::Site, store::objects};

/// The worker.
pub(crate) struct CourierSender {
    site: Arc<Site>,
    /// The versions of receipts that were looked at.
    heard: HashMap<String, u64>,
    /// What receipts there were then.
    seen: Option<(i64, i64)>,
    /// Whether what an earlier run left is gone.
    swept: bool,
}

impl CourierSender {
    pub(crate) fn new(site: Arc<Site>) -> Self {
        CourierSender { site, heard: HashMap::new(), seen: None, swept: false }
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
        Ok(Next::Idle)
    }
}
