//! Status Manager as a component: it writes the counts of messages that are repeated, runs programs for messages, and forgets
//! messages whose time is over.

use std::{sync::Arc, time::Duration};

use packhorse_domain::Timestamp;
use packhorse_runtime::{Next, Worker};

use super::programs;
use crate::{error::Error, site::Site};

const CLEAN_EVERY: Duration = Duration::from_secs(900);

#[derive(Debug)]
pub(crate) struct StatusManager {
    site: Arc<Site>,
    /// Up to which message programs were run.
    seen: Option<u64>,
    cleaned_at: Option<Timestamp>,
}

impl StatusManager {
    pub(crate) fn new(site: Arc<Site>) -> Self {
        StatusManager { site, seen: None, cleaned_at: None }
    }
}

impl Worker for StatusManager {
    const NAME: &'static str = "status-manager";
    const PERIOD: Duration = Duration::from_secs(10);
    type Error = Error;

    async fn step(&mut self) -> Result<Next, Error> {
        let now = self.site.now();
        super::settle_counts(&self.site, now).await?;
        let mut is_more = programs::run_due(&self.site, &mut self.seen).await?;
        if self.cleaned_at.is_none_or(|at| now < at || now.since(at) >= CLEAN_EVERY) {
            match super::clean_up(&self.site).await? {
                true => is_more = true,
                false => self.cleaned_at = Some(now),
            }
        }
        Ok(if is_more { Next::Again } else { Next::Idle })
    }
}
