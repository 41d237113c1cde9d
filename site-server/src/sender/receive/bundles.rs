//! Bundles that come in: into a file in the spool, acknowledged as far as it was synced, and with a receipt when Despooler
//! has put them into the library.

use std::fs;

use bytes::Bytes;
use packhorse_content::Outline;
use packhorse_domain::{
    Digest,
    id::PackageId,
    link::{self, ItemId, Link, Offer, Ranges, RefuseReason, limits},
};
use packhorse_runtime::{error_chain, telemetry::within};
use tokio::time::Instant;

use super::{Receiver, settled};
use crate::{
    care::prestage,
    distribution,
    error::Error,
    sender::{
        arriving::{Arriving, SyncError, Synced},
        spooled::{Opened, Spool},
    },
    site::Site,
    store::{
        arrivals::{self, Arrival, ArrivalState},
        contents,
        neighbours::Relation,
    },
    trace,
};

impl Receiver {
    /// What was synced is acknowledged, and what was checked may go on.
    pub(in crate::sender) async fn was_synced(
        &mut self,
        synced: Synced,
        link: &mut Link,
    ) -> Result<(), Error> {
        let item = synced.item;
        let Some(arriving) = self.bundles.get_mut(&item) else {
            return Ok(());
        };
        match arriving.synced(synced) {
            Ok(is_due) => {
                settled(link.durable(item, arriving.durable()));
                settled(link.written(item, arriving.seen()));
                if arriving.has_outline() {
                    self.site.relays.reach(item, arriving.checked());
                }
                if arriving.is_whole() {
                    arriving.told_whole();
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
    pub(super) async fn outlined(&mut self, outline: link::Outline, link: &mut Link) -> Result<(), Error> {
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
    pub(super) async fn give_up(&mut self, item: &ItemId, error: &SyncError) {
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
    pub(super) fn close_bundle(&mut self, item: &ItemId) {
        self.bundles.remove(item);
    }

    /// Gives receipts, or refusals, for what Despooler is done with.
    pub(in crate::sender) async fn answer_despooled(&mut self, link: &mut Link) -> Result<(), Error> {
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
                    forget_arrival(&self.site, &item).await?;
                }
            }
            self.despooling.remove(&item);
        }
        Ok(())
    }

    pub(super) async fn bundle_offered(&mut self, offer: Offer, link: &mut Link) -> Result<(), Error> {
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
        if arrival.is_none() && distribution::adopt_offered(&self.site, &package, &target).await? {
            refuse(link, RefuseReason::Held, "this version was in the library already");
            return Ok(());
        }
        if arrival.is_none() && prestage::is_to_be_tried(&self.site, &target).await? {
            self.site.care.prestage.wake();
            let text = "it is looked for in what was prestaged here; what is lacking then is asked for";
            refuse(link, RefuseReason::Other, text);
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
        if let Err(no_room) = self.check_room(&offer) {
            return self.wait_for_room(offer.item, &package, &no_room, link).await;
        }
        self.open(offer, package, target, link).await
    }

    pub(super) async fn open(
        &mut self,
        offer: Offer,
        package: PackageId,
        target: Digest,
        link: &mut Link,
    ) -> Result<(), Error> {
        let Some(claim) = self.site.courier.claims.claim(offer.item) else {
            settled(link.refuse(offer.item, RefuseReason::Other, "a parcel that is read here brings it"));
            return Ok(());
        };
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
        self.has_room(&mut tx, &arrival.package).await?;
        let traceparent = trace::of_package(&mut tx, arrival.package.as_str()).await?;
        tx.commit().await?;
        let span = within(&traceparent, || {
            let (peer, package) = (&arrival.peer, &arrival.package);
            tracing::info_span!(target: "receiver", "receive", %peer, item = %arrival.item, %package, bytes = length)
        });
        let (durable, held) = wanted(&mut opened, link.leaves_out());
        let (peer, item, package) = (&self.peer, offer.item, &arrival.package);
        tracing::debug!(target: "receiver", %peer, %item, %package, from = durable, bytes = length, "a bundle comes in");
        settled(link.accept_rest(offer.item, durable, held));
        self.bundles.insert(offer.item, Arriving::new(arrival, spool, opened, claim, span));
        if durable == length {
            self.complete(offer.item).await?;
        }
        Ok(())
    }

    pub(super) async fn write(
        &mut self,
        item: ItemId,
        offset: u64,
        bytes: Bytes,
        link: &mut Link,
    ) -> Result<(), Error> {
        let Some(arriving) = self.bundles.get_mut(&item) else {
            return Ok(());
        };
        if arriving.is_wanted_elsewhere() {
            settled(link.refuse(item, RefuseReason::Other, "a parcel that is read here brings it"));
            self.close_bundle(&item);
            return Ok(());
        }
        match arriving.write(offset, &bytes) {
            Ok(is_due) => {
                self.unsynced_since.get_or_insert_with(Instant::now);
                if is_due {
                    arriving.sync(&self.syncs.0);
                    if arriving.is_soon_here() {
                        arriving.unpack(&self.site, link.knows_written()).await?;
                    }
                    let (to_come, package) = (arriving.to_come(), arriving.arrival.package.clone());
                    // Others write to the disk too. What is here stays, and goes on from there.
                    if let Err(no_room) = self.room_for(to_come, 0) {
                        self.close_bundle(&item);
                        return self.wait_for_room(item, &package, &no_room, link).await;
                    }
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
    pub(super) async fn complete(&mut self, item: ItemId) -> Result<(), Error> {
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
}

/// What cannot be used is gone, so that the next offer begins from zero.
pub(crate) async fn forget_arrival(site: &Site, item: &ItemId) -> Result<(), Error> {
    let mut tx = site.store.begin().await?;
    arrivals::remove(&mut tx, item).await?;
    tx.commit().await?;
    Spool::of(&site.directories, item).remove();
    site.relays.forget(item);
    Ok(())
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
