//! Receiver: what comes in on one link.
//!
//! Objects that came together are taken in in one transaction. A bundle goes to a file in the spool, is acknowledged
//! as far as it was synced, and its receipt waits until Despooler has put it into the library.

mod bundles;
mod objects;
mod room;

pub(crate) use bundles::forget_arrival;

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
};

use packhorse_domain::{
    id::SiteCode,
    link::{AnswerError, Event, ItemId, ItemKind, Link, RefuseReason, Stage},
    message,
    object::BODY_LENGTH_MAX,
};
use packhorse_runtime::error_chain;
use tokio::{sync::mpsc, time::Instant};

use crate::{
    error::Error,
    sender::{
        Moving,
        arriving::{Arriving, Synced},
    },
    site::Site,
    status,
    store::neighbours::Relation,
};

/// An object with its envelope.
const OBJECT_LENGTH_MAX: u64 = BODY_LENGTH_MAX as u64 + 64 * 1024;

/// The items that the peer is sending.
pub(super) struct Receiver {
    site: Arc<Site>,
    peer: SiteCode,
    relation: Relation,
    objects: HashMap<ItemId, Partial>,
    bundles: HashMap<ItemId, Arriving>,
    /// Whole in the spool; Despooler has them.
    despooling: HashSet<ItemId>,
    unsynced_since: Option<Instant>,
    syncs: (mpsc::UnboundedSender<Synced>, mpsc::UnboundedReceiver<Synced>),
}

/// An object that comes in pieces. Its room grows with what came, not with what was announced.
struct Partial {
    length: u64,
    bytes: Vec<u8>,
}

/// A link's own rules make an answer to a closed item a matter of timing, not an error.
fn settled(result: Result<(), AnswerError>) {
    if let Err(error) = result {
        tracing::debug!(target: "receiver", error = %error, "an answer came too late");
    }
}

impl Receiver {
    pub(super) fn new(site: Arc<Site>, peer: SiteCode, relation: Relation) -> Self {
        Receiver {
            site,
            peer,
            relation,
            objects: HashMap::new(),
            bundles: HashMap::new(),
            despooling: HashSet::new(),
            unsynced_since: None,
            syncs: mpsc::unbounded_channel(),
        }
    }

    pub(super) async fn handle(&mut self, events: Vec<Event>, link: &mut Link) -> Result<(), Error> {
        let mut whole = Vec::new();
        for event in events {
            match event {
                Event::Offered(offer) => match offer.kind {
                    ItemKind::Object => whole.extend(self.object_offered(offer, link).await?),
                    ItemKind::Bundle => self.bundle_offered(offer, link).await?,
                },
                Event::Write { item, offset, bytes } => {
                    if self.bundles.contains_key(&item) {
                        self.write(item, offset, bytes, link).await?;
                    } else {
                        whole.extend(self.object_bytes(item, &bytes));
                    }
                }
                Event::Outlined(outline) => self.outlined(outline, link).await?,
                Event::UnknownKind { item } => self.unknown_kind(item).await?,
                Event::Cancelled { item } => {
                    self.objects.remove(&item);
                    self.close_bundle(&item);
                    self.despooling.remove(&item);
                }
                _ => {}
            }
        }
        if !whole.is_empty() {
            self.apply(whole, link).await?;
        }
        Ok(())
    }

    /// Whether a bundle is coming in, or will.
    pub(super) fn is_receiving(&self) -> bool {
        !self.bundles.is_empty()
    }

    /// Bytes of bundles that are still to come.
    pub(super) fn to_come(&self) -> u64 {
        self.bundles.values().map(Arriving::to_come).sum()
    }

    /// When the oldest bytes came that are not synced.
    pub(super) fn unsynced_since(&self) -> Option<Instant> {
        self.unsynced_since
    }

    /// Begins to make what came durable; [`Receiver::synced`] tells when it is.
    pub(super) fn sync(&mut self) {
        for arriving in self.bundles.values_mut().filter(|arriving| arriving.is_behind()) {
            arriving.sync(&self.syncs.0);
        }
        let is_at_risk = self.bundles.values().any(Arriving::is_at_risk);
        self.unsynced_since = is_at_risk.then(Instant::now);
    }

    /// The next sync that is done. Never, while none is under way.
    pub(super) async fn synced(&mut self) -> Synced {
        match self.syncs.1.recv().await {
            Some(synced) => synced,
            None => std::future::pending().await,
        }
    }

    /// What came stays for the next session, and goes on as far as it is checked.
    pub(super) async fn close(&mut self) {
        self.objects.clear();
        self.bundles.values_mut().for_each(Arriving::stop_unpacking);
        self.sync();
        while self.bundles.values().any(Arriving::is_syncing) {
            let synced = self.synced().await;
            let item = synced.item;
            let Some(arriving) = self.bundles.get_mut(&item) else { continue };
            match arriving.synced(synced) {
                Ok(_) => {
                    if arriving.has_outline() {
                        self.site.relays.reach(item, arriving.checked());
                    }
                    if arriving.is_behind() {
                        arriving.sync(&self.syncs.0);
                    }
                }
                // The next session meets it again and says so to the peer.
                Err(error) => {
                    tracing::warn!(target: "receiver", %item, error = error_chain(&error), "a bundle stays as it was");
                    self.give_up(&item, &error).await;
                }
            }
        }
        self.bundles.clear();
    }

    pub(super) fn moving(&self) -> Vec<Moving> {
        self.bundles
            .values()
            .map(|one| Moving {
                item: one.arrival.item,
                outgoing: false,
                subject: one.arrival.package.to_string(),
                priority: one.arrival.priority,
                stage: Stage::Sending { next: one.written(), acked: one.durable() },
                done: one.durable_bytes(),
                total: one.arrival.length,
                rate_bytes_per_s: 0,
            })
            .collect()
    }

    /// Refuses an offer that this peer may not make, and tells people.
    async fn turn_away(&self, item: ItemId, why: &str, link: &mut Link) -> Result<(), Error> {
        settled(link.refuse(item, RefuseReason::NotAllowed, why));
        let message = message::offer_refused(&self.peer, &why);
        let mut tx = self.site.store.begin().await?;
        status::report(&self.site, &mut tx, self.peer.as_str(), &message).await?;
        Ok(tx.commit().await?)
    }

    /// It is refused already; the rest of the link goes on.
    async fn unknown_kind(&self, item: ItemId) -> Result<(), Error> {
        let peer = &self.peer;
        let message = message::kind_unknown(peer, &item);
        let mut tx = self.site.store.begin().await?;
        status::report(&self.site, &mut tx, peer.as_str(), &message).await?;
        Ok(tx.commit().await?)
    }
}
