//! Receiver: what comes in on one link.
//!
//! Objects that came together are taken in in one transaction. A bundle goes to a file in the spool, is acknowledged
//! as far as it was synced, and its receipt waits until Despooler has put it into the library.

use std::{
    collections::{HashMap, HashSet},
    fs,
    sync::Arc,
};

use bytes::Bytes;
use packhorse_content::Outline;
use packhorse_domain::{
    id::{PackageId, SiteCode},
    link::{self, AnswerError, Event, ItemId, ItemKind, Link, Offer, Ranges, RefuseReason, Stage, limits},
    object::BODY_LENGTH_MAX,
};
use packhorse_runtime::error_chain;
use tokio::{sync::mpsc, time::Instant};

use crate::{
    error::Error,
    sender::{
        Moving, apply,
        arriving::{Arriving, SyncError, Synced},
        spooled::{Opened, Spool},
    },
    site::Site,
    status::{complain, kind_of},
    store::{
        arrivals::{self, Arrival, ArrivalState},
        contents,
        neighbours::Relation,
    },
};

/// An object with its envelope.
const OBJECT_LENGTH_MAX: u64 = BODY_LENGTH_MAX as u64 + 64 * 1024;
/// What a bundle leaves free on the disk, for the database, the library and status messages.
const DISK_RESERVE_BYTES: u64 = 256 * 1024 * 1024;

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

    /// When the oldest bytes came that are not synced.
    pub(super) fn unsynced_since(&self) -> Option<Instant> {
        self.unsynced_since
    }

    /// Begins to make what came durable; [`Receiver::synced`] tells when it is.
    pub(super) fn sync(&mut self) {
        self.unsynced_since = None;
        for arriving in self.bundles.values_mut().filter(|arriving| arriving.is_behind()) {
            arriving.sync(&self.syncs.0);
        }
    }

    /// The next sync that is done. Never, while none is under way.
    pub(super) async fn synced(&mut self) -> Synced {
        match self.syncs.1.recv().await {
            Some(synced) => synced,
            None => std::future::pending().await,
        }
    }

    /// What was synced is acknowledged, and what was checked may go on.
    pub(super) async fn was_synced(&mut self, synced: Synced, link: &mut Link) -> Result<(), Error> {
        let item = synced.item;
        let Some(arriving) = self.bundles.get_mut(&item) else {
            return Ok(());
        };
        match arriving.synced(synced) {
            Ok(is_due) => {
                settled(link.durable(item, arriving.durable()));
                if arriving.has_outline() {
                    self.site.relays.reach(item, arriving.checked());
                }
                if arriving.is_whole() {
                    return self.complete(item).await;
                }
                if is_due || arriving.is_behind() {
                    arriving.sync(&self.syncs.0);
                }
            }
            Err(error) => {
                let reason = match error {
                    SyncError::Disk(_) => RefuseReason::NoSpace,
                    SyncError::Damaged { .. } => RefuseReason::Damaged,
                };
                settled(link.refuse(item, reason, error_chain(&error)));
                self.give_up(&item, &error).await;
            }
        }
        Ok(())
    }

    /// The hashes of a bundle's parts: with them it can be passed on while it comes in.
    async fn outlined(&mut self, outline: link::Outline, link: &mut Link) -> Result<(), Error> {
        let item = outline.item;
        let Some(arriving) = self.bundles.get_mut(&item) else {
            return Ok(());
        };
        let (length, digest) = (arriving.arrival.length, arriving.arrival.digest);
        let sound = Outline::new(outline.part_bytes, outline.hashes)
            .ok()
            .filter(|outline| outline.leads_to(length, &digest));
        let Some(sound) = sound else {
            settled(link.refuse(item, RefuseReason::Damaged, "its outline does not lead to its digest"));
            self.close_bundle(&item);
            return Ok(());
        };
        let path = self.site.directories.arrival_outline(&item);
        // Without it the bundle comes all the same: it is only not passed on before it is whole.
        if let Err(error) = fs::write(path, sound.to_bytes()) {
            tracing::warn!(target: "receiver", %item, error = error_chain(&error), "an outline cannot be kept");
            return Ok(());
        }
        arriving.outlined(sound);
        arriving.arrival.outlined = true;
        let arrival = arriving.arrival.clone();
        if arriving.durable() > 0 {
            arriving.sync(&self.syncs.0);
        }
        let mut tx = self.site.store.begin().await?;
        arrivals::put(&mut tx, &arrival).await?;
        Ok(tx.commit().await?)
    }

    /// A bundle goes no further on this link. What is whole of it stays; what is damaged comes again.
    async fn give_up(&mut self, item: &ItemId, error: &SyncError) {
        let Some(arriving) = self.bundles.remove(item) else { return };
        let SyncError::Damaged { at } = error else { return };
        if arriving.has_outline() {
            // It may have been checked before, by an earlier session.
            self.site.relays.reach(*item, *at);
        }
        if let Err(error) = arriving.cut_off(*at).await {
            tracing::warn!(target: "receiver", %item, error = error_chain(&error), "a damaged part cannot be cut off");
        }
    }

    /// What is on the disk stays for the next offer.
    fn close_bundle(&mut self, item: &ItemId) {
        self.bundles.remove(item);
    }

    /// Gives receipts, or refusals, for what Despooler is done with.
    pub(super) async fn answer_despooled(&mut self, link: &mut Link) -> Result<(), Error> {
        if self.despooling.is_empty() {
            return Ok(());
        }
        let mut tx = self.site.store.read().await?;
        let mut now = Vec::new();
        for item in &self.despooling {
            now.push((*item, arrivals::get(&mut tx, item).await?));
        }
        drop(tx);
        for (item, arrival) in now {
            match arrival {
                None => settled(link.finished(item)),
                Some(arrival) => {
                    let reason = match arrival.state {
                        ArrivalState::Receiving | ArrivalState::Complete => continue,
                        ArrivalState::Failed => RefuseReason::Damaged,
                        ArrivalState::BaseMissing => RefuseReason::BaseMissing,
                    };
                    settled(link.refuse(item, reason, arrival.reason));
                    self.forget(item).await?;
                }
            }
            self.despooling.remove(&item);
        }
        Ok(())
    }

    /// What came stays for the next session, and goes on as far as it is checked.
    pub(super) async fn close(&mut self) {
        self.objects.clear();
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

    async fn object_offered(
        &mut self,
        offer: Offer,
        link: &mut Link,
    ) -> Result<Option<(ItemId, Vec<u8>)>, Error> {
        if let Some(bytes) = offer.inline {
            return Ok(Some((offer.item, bytes)));
        }
        if offer.length == 0 || offer.length > OBJECT_LENGTH_MAX {
            self.turn_away(offer.item, "an object has at most 1 MiB", link).await?;
            return Ok(None);
        }
        self.objects.insert(offer.item, Partial { length: offer.length, bytes: Vec::new() });
        settled(link.accept(offer.item, 0));
        Ok(None)
    }

    fn object_bytes(&mut self, item: ItemId, bytes: &[u8]) -> Option<(ItemId, Vec<u8>)> {
        let held = self.objects.get_mut(&item)?;
        held.bytes.extend_from_slice(bytes);
        // The link has refused anything beyond the offered length.
        if (held.bytes.len() as u64) < held.length {
            return None;
        }
        self.objects.remove(&item).map(|whole| (item, whole.bytes))
    }

    async fn apply(&mut self, whole: Vec<(ItemId, Vec<u8>)>, link: &mut Link) -> Result<(), Error> {
        let mut tx = self.site.store.begin().await?;
        let mut answers = Vec::new();
        for (item, bytes) in whole {
            let result = match ItemId::of(&crate::record::digest(&bytes)) == item {
                true => apply::apply(&self.site, &mut tx, &self.peer, self.relation, &bytes).await,
                false => Err(apply::Rejection::OtherName),
            };
            if let Err(rejection) = &result {
                let text =
                    format!("an object from site {} was refused: {}", self.peer, error_chain(rejection));
                let kind = kind_of(rejection);
                complain(&self.site, &mut tx, "receiver", (&self.peer, &kind), &text).await?;
            }
            answers.push((item, result));
        }
        tx.commit().await?;
        for (item, result) in answers {
            match result {
                Ok(()) => settled(link.finished(item)),
                Err(rejection) => settled(link.refuse(item, rejection.reason(), error_chain(&rejection))),
            }
        }
        Ok(())
    }

    /// Refuses an offer that this peer may not make, and tells people.
    async fn turn_away(&self, item: ItemId, why: &str, link: &mut Link) -> Result<(), Error> {
        settled(link.refuse(item, RefuseReason::NotAllowed, why));
        let text = format!("an offer from site {} was refused: {why}", self.peer);
        let mut tx = self.site.store.begin().await?;
        complain(&self.site, &mut tx, "receiver", (&self.peer, why), &text).await?;
        Ok(tx.commit().await?)
    }

    /// It is refused already; the rest of the link goes on.
    async fn unknown_kind(&self, item: ItemId) -> Result<(), Error> {
        let peer = &self.peer;
        let text =
            format!("site {peer} offers items of a kind that this version does not know, {item} for one");
        let mut tx = self.site.store.begin().await?;
        complain(&self.site, &mut tx, "receiver", (peer, "UnknownKind"), &text).await?;
        Ok(tx.commit().await?)
    }

    async fn bundle_offered(&mut self, offer: Offer, link: &mut Link) -> Result<(), Error> {
        let item = offer.item;
        let refuse = |link: &mut Link, reason, text: &str| settled(link.refuse(item, reason, text));
        if self.relation != Relation::Parent {
            return self.turn_away(item, "content comes from the parent only", link).await;
        }
        let (Some(target), Ok(package)) = (offer.target, offer.subject.parse::<PackageId>()) else {
            return self.turn_away(item, "a bundle names its package and its target", link).await;
        };
        let mut tx = self.site.store.read().await?;
        let held = contents::of(&mut tx, &package).await?.iter().any(|held| held.manifest == target);
        let arrival = arrivals::get(&mut tx, &item).await?;
        drop(tx);
        if held {
            refuse(link, RefuseReason::Held, "this version is held");
            return Ok(());
        }
        if arrival.is_some_and(|arrival| arrival.state == ArrivalState::Complete) {
            settled(link.accept(item, offer.length));
            self.despooling.insert(item);
            return Ok(());
        }
        if offer.bases.iter().any(|base| !self.site.library.has_manifest(base)) {
            refuse(link, RefuseReason::BaseMissing, "a version that the bundle builds on is not held here");
            return Ok(());
        }
        if free_bytes(&self.site).is_some_and(|free| free < offer.length.saturating_add(DISK_RESERVE_BYTES)) {
            refuse(link, RefuseReason::NoSpace, "the site's disk is full");
            return Ok(());
        }
        self.open(offer, package, target, link).await
    }

    async fn open(
        &mut self,
        offer: Offer,
        package: PackageId,
        target: packhorse_domain::Digest,
        link: &mut Link,
    ) -> Result<(), Error> {
        let spool = Spool::of(&self.site.directories, &offer.item);
        let (length, digest) = (offer.length, offer.digest);
        let opening = spool.clone();
        let opened = tokio::task::spawn_blocking(move || opening.open(length, &digest)).await?;
        let mut opened = match opened {
            Ok(opened) => opened,
            Err(error) => {
                // Nothing else on this link has to suffer for it.
                let text = format!("the file in the spool cannot be opened: {error}");
                settled(link.refuse(offer.item, RefuseReason::NoSpace, text));
                return Ok(());
            }
        };
        let arrival = Arrival {
            item: offer.item,
            peer: self.peer.clone(),
            package,
            target,
            bases: offer.bases,
            digest: offer.digest,
            length,
            priority: offer.priority,
            outlined: false,
            state: ArrivalState::Receiving,
            reason: String::new(),
            changed_at: self.site.now(),
        };
        let mut tx = self.site.store.begin().await?;
        arrivals::put(&mut tx, &arrival).await?;
        tx.commit().await?;
        let (durable, held) = wanted(&mut opened, link.leaves_out());
        settled(link.accept_rest(offer.item, durable, held));
        self.bundles.insert(offer.item, Arriving::new(arrival, spool, opened));
        if durable == length {
            self.complete(offer.item).await?;
        }
        Ok(())
    }

    async fn write(&mut self, item: ItemId, offset: u64, bytes: Bytes, link: &mut Link) -> Result<(), Error> {
        let Some(arriving) = self.bundles.get_mut(&item) else {
            return Ok(());
        };
        match arriving.write(offset, &bytes) {
            Ok(is_due) => {
                self.unsynced_since.get_or_insert_with(Instant::now);
                if is_due {
                    arriving.sync(&self.syncs.0);
                }
            }
            Err(source) => {
                settled(link.refuse(item, RefuseReason::NoSpace, source.to_string()));
                self.close_bundle(&item);
            }
        }
        Ok(())
    }

    /// All bytes are there: whether they are the right ones is for Despooler to see, who keeps no link waiting.
    async fn complete(&mut self, item: ItemId) -> Result<(), Error> {
        let Some(arriving) = self.bundles.remove(&item) else {
            return Ok(());
        };
        let mut arrival = arriving.arrival;
        arrival.changed_at = self.site.now();
        arrival.state = ArrivalState::Complete;
        let mut tx = self.site.store.begin().await?;
        arrivals::put(&mut tx, &arrival).await?;
        tx.commit().await?;
        self.despooling.insert(item);
        Ok(())
    }

    /// What cannot be used is gone, so that the next offer begins from zero.
    async fn forget(&mut self, item: ItemId) -> Result<(), Error> {
        let mut tx = self.site.store.begin().await?;
        arrivals::remove(&mut tx, &item).await?;
        tx.commit().await?;
        drop(fs::remove_file(self.site.directories.arrival(&item)));
        drop(fs::remove_file(self.site.directories.arrival_ranges(&item)));
        drop(fs::remove_file(self.site.directories.arrival_outline(&item)));
        self.site.relays.forget(&item);
        Ok(())
    }
}

/// Where to go on, and what is held beyond that: only of a peer that leaves it out, and the longest runs, if they are
/// many. What is not named comes again.
fn wanted(opened: &mut Opened, leaves_out: bool) -> (u64, Ranges) {
    let durable = opened.here.end_from(0);
    let mut beyond: Vec<_> = opened.here.iter().filter(|run| run.start > durable).collect();
    beyond.sort_by_key(|run| std::cmp::Reverse(run.end - run.start));
    beyond.truncate(if leaves_out { limits::HELD_MAX } else { 0 });
    let held: Ranges = beyond.into_iter().collect();
    opened.here = held.clone();
    opened.here.insert(0..durable);
    (durable, held)
}

fn free_bytes(site: &Site) -> Option<u64> {
    let space = rustix::fs::statvfs(site.directories.incoming()).ok()?;
    Some(space.f_bavail.saturating_mul(space.f_frsize))
}
