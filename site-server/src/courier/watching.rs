//! Hears what comes up of parcels by itself: receipts.

use std::{collections::HashMap, sync::Arc, time::Duration};

use packhorse_runtime::{Next, Worker};

use super::custody;
use crate::{error::Error, site::Site};

/// The worker.
pub(crate) struct CourierSender {
    site: Arc<Site>,
    /// The versions of receipts that were looked at.
    heard: HashMap<String, u64>,
}

impl CourierSender {
    pub(crate) fn new(site: Arc<Site>) -> Self {
        CourierSender { site, heard: HashMap::new() }
    }
}

impl Worker for CourierSender {
    const NAME: &'static str = "courier-sender";
    const PERIOD: Duration = Duration::from_secs(60);
    type Error = Error;

    async fn step(&mut self) -> Result<Next, Error> {
        custody::hear(&self.site, &mut self.heard).await?;
        Ok(Next::Idle)
    }
}
