//! Replication Manager: makes the mini-jobs.
//!
//! For objects a mini-job needs no row: what a neighbour lacks is what it has not acknowledged. For bundles it is a
//! row, made as soon as the bundle that a child needs is in the spool.

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use packhorse_domain::{id::SiteCode, link::ItemId};
use packhorse_runtime::{Next, Worker};

use crate::{
    courier,
    distribution::{View, needs},
    error::Error,
    scheduler,
    site::Site,
    store::{
        Tx,
        arrivals::{self, Arrival},
        bundles::{self, BundleRow, Sending, SendingState},
        neighbours, queue as queue_orders,
    },
};

/// The worker.
pub(crate) struct ReplicationManager {
    site: Arc<Site>,
}

impl ReplicationManager {
    pub(crate) fn new(site: Arc<Site>) -> Self {
        ReplicationManager { site }
    }
}

impl Worker for ReplicationManager {
    const NAME: &'static str = "replication-manager";
    const PERIOD: Duration = Duration::from_secs(60);
    type Error = Error;

    async fn step(&mut self) -> Result<Next, Error> {
        let mut tx = self.site.store.read().await?;
        let view = View::load(&self.site, &mut tx).await?;
        let needs = needs(&self.site, &mut tx, &view).await?;
        let mut ready = bundles::list(&mut tx).await?;
        // What is still coming in goes on as it comes.
        let coming = arrivals::list(&mut tx).await?.into_iter().filter(Arrival::may_go_on);
        ready.extend(coming.map(Arrival::into_bundle));
        let mut queued = Vec::new();
        for need in needs.iter().filter(|need| !need.has_job) {
            if let Some(bundle) = need.served_by(&ready)
                && is_due(&mut tx, need.child, bundle).await?
            {
                queued.push((need.child, bundle));
            }
        }
        drop(tx);
        if !queued.is_empty() {
            let mut tx = self.site.store.begin().await?;
            for (child, bundle) in &queued {
                queue(&self.site, &mut tx, child, bundle).await?;
            }
            // Before the link hears of them: the line would begin at once.
            let children: BTreeSet<&SiteCode> = queued.iter().map(|(child, _)| *child).collect();
            for child in children {
                scheduler::ways::choose_ways(&self.site, &mut tx, child).await?;
            }
            tx.commit().await?;
        }
        finish_far(&self.site).await?;
        forget_orders(&self.site).await?;
        Ok(Next::Idle)
    }
}

/// Whether a bundle is to be queued for a child: unless it is queued. One that was delivered is queued again only if
/// the child has since said that it does not hold what it led to, which is why it is needed.
pub(crate) async fn is_due(tx: &mut Tx, child: &SiteCode, bundle: &BundleRow) -> Result<bool, Error> {
    match bundles::sending(tx, child, &bundle.digest).await? {
        None => Ok(true),
        Some(sending) if sending.state == SendingState::Done => {
            child_spoke_after(tx, child, bundle, sending.changed_at).await
        }
        Some(_) => Ok(false),
    }
}

/// Queues a bundle, unless that was done, or the bundle removed, since it was looked at.
async fn queue(site: &Site, tx: &mut Tx, child: &SiteCode, bundle: &BundleRow) -> Result<(), Error> {
    let is_coming = arrivals::get(tx, &ItemId::of(&bundle.digest)).await?.is_some();
    let is_here = is_coming || bundles::get(tx, &bundle.digest).await?.is_some();
    if !is_here || !is_due(tx, child, bundle).await? {
        return Ok(());
    }
    let sending = Sending {
        peer: child.clone(),
        digest: bundle.digest,
        state: SendingState::Queued,
        reason: String::new(),
        retry_at: site.now(),
        changed_at: site.now(),
    };
    tracing::info!(target: "replication-manager", peer = %child, package = %bundle.package, "a bundle is queued");
    Ok(bundles::put_sending(tx, &sending).await?)
}

/// Whether the child's status of the package is newer than the delivery: the receipt comes before the status.
pub(crate) async fn child_spoke_after(
    tx: &mut Tx,
    child: &SiteCode,
    bundle: &BundleRow,
    at: packhorse_domain::Timestamp,
) -> Result<bool, Error> {
    let id = format!("{}/{child}/", bundle.package);
    let status =
        crate::store::objects::get(tx, packhorse_domain::object::ObjectKind::PackageStatus, &id).await?;
    Ok(status.is_some_and(|status| status.changed_at > at))
}

/// No line tells that a site further down has by now what a bundle leads to: its status does.
async fn finish_far(site: &Site) -> Result<(), Error> {
    let mut tx = site.store.read().await?;
    let children = neighbours::children(&mut tx).await?;
    let mut done = Vec::new();
    for sending in bundles::sendings(&mut tx).await? {
        if sending.state.is_waiting()
            && !children.contains(&sending.peer)
            && let Some(bundle) = bundles::get(&mut tx, &sending.digest).await?
            && courier::custody::holds(&mut tx, &sending.peer, (&bundle.package, &bundle.target)).await?
        {
            done.push(sending);
        }
    }
    drop(tx);
    if done.is_empty() {
        return Ok(());
    }
    let mut tx = site.store.begin().await?;
    for sending in done {
        let sending = Sending { state: SendingState::Done, changed_at: site.now(), ..sending };
        bundles::put_sending(&mut tx, &sending).await?;
    }
    Ok(tx.commit().await?)
}

/// Forgets what administrators wanted of items that are gone: delivered, overtaken by a newer state, or not needed.
async fn forget_orders(site: &Site) -> Result<(), Error> {
    let mut tx = site.store.read().await?;
    if gone(&mut tx).await?.is_empty() {
        return Ok(());
    }
    drop(tx);
    let mut tx = site.store.begin().await?;
    for (peer, item) in gone(&mut tx).await? {
        queue_orders::remove(&mut tx, &peer, &item).await?;
    }
    Ok(tx.commit().await?)
}

/// Orders for what does not wait any more.
async fn gone(tx: &mut Tx) -> Result<Vec<(SiteCode, ItemId)>, Error> {
    let orders = queue_orders::list(tx).await?;
    if orders.is_empty() {
        return Ok(Vec::new());
    }
    let neighbours = neighbours::list(tx).await?;
    let sendings = bundles::sendings(tx).await?;
    let mut gone = Vec::new();
    for (peer, item) in orders.into_keys() {
        let bundle_waits = sendings.iter().any(|sending| {
            sending.peer == peer && ItemId::of(&sending.digest) == item && sending.state.is_waiting()
        });
        let object_waits = match neighbours.iter().find(|one| one.code == peer) {
            Some(one) => {
                let direction = scheduler::direction(one.relation);
                !scheduler::lacking_between(tx, &peer, direction, (&item, &item)).await?.is_empty()
            }
            None => false,
        };
        if !bundle_waits && !object_waits {
            gone.push((peer, item));
        }
    }
    Ok(gone)
}
