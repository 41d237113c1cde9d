//! Monitor: follows the change log and wakes the components that care.
//!
//! A wake-up only shortens a sleep. A lost one costs time: every component also looks by itself.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use packhorse_runtime::{Next, Waker, Worker};
use tokio::sync::watch;

use crate::{error::Error, site::Site, store::StoreError};

/// Changes made by another process, or missed, are seen after this time.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// Everybody who can be woken.
#[derive(Debug, Clone, Default)]
pub(crate) struct Wakers {
    pub(crate) distribution: Waker,
    pub(crate) collection: Waker,
    pub(crate) offer: Waker,
    pub(crate) replication: Waker,
    pub(crate) despooler: Waker,
    pub(crate) ways: Waker,
    pub(crate) courier: Waker,
    /// The sessions: each waits for it by itself.
    pub(crate) link: Shared,
    /// The CAP feeds.
    pub(crate) feed: Shared,
}

impl Wakers {
    pub(crate) fn of(site: &Site) -> Wakers {
        Wakers { distribution: site.staged.waker(), ..Wakers::default() }
    }
}

/// Wakes everybody who subscribed; whoever was busy meanwhile finds the wake-up when it waits again.
#[derive(Debug, Clone, Default)]
pub(crate) struct Shared(Arc<watch::Sender<u64>>);

impl Shared {
    pub(crate) fn wake(&self) {
        self.0.send_modify(|number| *number = number.wrapping_add(1));
    }

    pub(crate) fn subscribe(&self) -> watch::Receiver<u64> {
        self.0.subscribe()
    }
}

/// Which components a topic of the change log concerns.
fn wake(topic: &str, wakers: &Wakers) {
    match topic {
        "object" => {
            wakers.courier.wake();
            wakers.distribution.wake();
            wakers.collection.wake();
            wakers.offer.wake();
            wakers.replication.wake();
            wakers.link.wake();
        }
        "neighbour" => {
            wakers.replication.wake();
            wakers.distribution.wake();
            wakers.link.wake();
        }
        "content" | "point" => {
            wakers.distribution.wake();
            wakers.offer.wake();
            wakers.replication.wake();
        }
        "bundle" => {
            wakers.ways.wake();
            wakers.replication.wake();
            wakers.link.wake();
        }
        "arrival" => {
            wakers.despooler.wake();
            wakers.replication.wake();
            wakers.link.wake();
        }
        "membership" => wakers.offer.wake(),
        "address" => {
            wakers.link.wake();
            wakers.ways.wake();
        }
        "courier_route" => {
            wakers.ways.wake();
            wakers.distribution.wake();
            wakers.replication.wake();
        }
        "cap_file" => wakers.feed.wake(),
        _ => {}
    }
}

/// The worker.
pub(crate) struct Monitor {
    site: Arc<Site>,
    wakers: Wakers,
    seen: BTreeMap<String, i64>,
}

impl Monitor {
    pub(crate) fn new(site: Arc<Site>, wakers: Wakers) -> Self {
        Monitor { site, wakers, seen: BTreeMap::new() }
    }

    async fn look(&mut self) -> Result<(), StoreError> {
        let mut tx = self.site.store.read().await?;
        for (topic, version) in tx.changes().await? {
            if self.seen.insert(topic.clone(), version) != Some(version) {
                wake(&topic, &self.wakers);
            }
        }
        Ok(())
    }
}

impl Worker for Monitor {
    const NAME: &'static str = "monitor";
    const PERIOD: Duration = Duration::ZERO;
    type Error = Error;

    async fn step(&mut self) -> Result<Next, Error> {
        // What was committed since the last look is in the log already: waiting before looking loses nothing.
        drop(tokio::time::timeout(LOOK_EVERY, self.site.store.committed()).await);
        self.look().await?;
        Ok(Next::Again)
    }
}
