//! Offer Manager: decides which advertisements are offered at this site, and writes what clients read of them.

mod files;
mod instruction;
#[cfg(test)]
mod tests;

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
    time::Duration,
};

use packhorse_domain::{
    Timestamp,
    advertisement::Advertisement,
    collection::Collection,
    id::{AdvertisementId, ClientId, CollectionId, PointName},
    kill::{KillList, Word},
    object::ObjectKind,
    offer::{HeldBack, OfferView, PackageView, held_back},
    package::PackageState,
    status::PackageStatus,
    window::Windows,
};
use packhorse_proto::object::v1 as wire;
use packhorse_runtime::{Next, Worker};

use crate::{
    error::Error,
    kills,
    record::{self, PackageRecord},
    site::Site,
    store::{Tx, clients, objects::StoredObject, offers},
};

/// The worker.
pub(crate) struct OfferManager {
    site: Arc<Site>,
}

/// Everything that bears on what is offered, as the database has it.
struct View {
    advertisements: Vec<(StoredObject, Advertisement)>,
    /// Each with its maintenance windows.
    collections: BTreeMap<CollectionId, Windows>,
    packages: Vec<Package>,
    members: BTreeMap<CollectionId, Vec<ClientId>>,
    clients: Vec<ClientId>,
    kills: Vec<(StoredObject, Word)>,
    kill_list: KillList,
}

/// A package and where at this site it is.
struct Package {
    record: PackageRecord,
    targeted: usize,
    /// Points that hold its present version.
    installed: Vec<PointName>,
}

impl View {
    async fn load(site: &Site, tx: &mut Tx) -> Result<View, Error> {
        let statuses =
            record::list::<wire::PackageStatus, PackageStatus>(tx, ObjectKind::PackageStatus).await?;
        let mut packages = Vec::new();
        for record in record::packages(tx).await? {
            let distribution = record::distribution(tx, &record.definition.id).await?;
            let installed = statuses
                .iter()
                .map(|(_, status)| status)
                .filter(|status| status.package == record.definition.id && status.site == *site.code())
                .filter(|status| {
                    status.state == PackageState::Installed
                        && record.version.manifest.is_some_and(|manifest| status.held.contains(&manifest))
                })
                .filter_map(|status| status.point.clone())
                .collect();
            packages.push(Package {
                targeted: distribution.points_at(site.code()).count(),
                installed,
                record,
            });
        }
        let mut members: BTreeMap<CollectionId, Vec<ClientId>> = BTreeMap::new();
        for (collection, client) in clients::memberships(tx).await? {
            members.entry(collection).or_default().push(client);
        }
        let collections =
            record::list::<wire::Collection, Collection>(tx, ObjectKind::Collection).await?.into_iter();
        let kills = kills::words(tx).await?;
        Ok(View {
            advertisements: record::list::<wire::Advertisement, Advertisement>(tx, ObjectKind::Advertisement)
                .await?,
            collections: collections.map(|(_, collection)| (collection.id, collection.windows)).collect(),
            packages,
            members,
            clients: clients::list_seen(tx).await?.into_iter().map(|(client, _)| client).collect(),
            kill_list: kills::of(&kills),
            kills,
        })
    }

    fn package(&self, advertisement: &Advertisement) -> Option<&Package> {
        self.packages.iter().find(|package| package.record.definition.id == advertisement.package)
    }

    /// The windows of each client that has any: those of all collections that it is in.
    fn windows(&self) -> HashMap<&ClientId, Windows> {
        let mut windows: HashMap<&ClientId, Windows> = HashMap::new();
        for (collection, own) in self.collections.iter().filter(|(_, own)| !own.is_empty()) {
            for client in self.members.get(collection).into_iter().flatten() {
                let held = windows.remove(client).unwrap_or_default();
                windows.insert(client, held.and(own));
            }
        }
        windows
    }

    fn held_back(&self, advertisement: &Advertisement, now: Timestamp) -> Option<HeldBack> {
        let package = self.package(advertisement).map(|package| PackageView {
            killed: self.kill_list.killed(&package.record.definition.id, package.record.version.release),
            has_source: package.record.version.manifest.is_some(),
            has_program: package.record.version.program(&advertisement.program).is_some(),
            points_targeted: package.targeted,
            points_installed: package.installed.len(),
        });
        held_back(&OfferView {
            advertisement,
            collection_known: self.collections.contains_key(&advertisement.collection),
            members: self.members.get(&advertisement.collection).map_or(0, Vec::len),
            package,
            now,
        })
    }
}

impl OfferManager {
    pub(crate) fn new(site: Arc<Site>) -> Self {
        OfferManager { site }
    }
}

impl Worker for OfferManager {
    const NAME: &'static str = "offer-manager";
    const PERIOD: Duration = Duration::from_secs(60);
    type Error = Error;

    async fn step(&mut self) -> Result<Next, Error> {
        let now = self.site.now();
        let mut tx = self.site.store.read().await?;
        let view = View::load(&self.site, &mut tx).await?;
        drop(tx);
        let reasons: BTreeMap<AdvertisementId, Option<HeldBack>> = view
            .advertisements
            .iter()
            .map(|(_, advertisement)| (advertisement.id.clone(), view.held_back(advertisement, now)))
            .collect();
        let offered: Vec<&(StoredObject, Advertisement)> =
            view.advertisements.iter().filter(|(_, one)| reasons[&one.id].is_none()).collect();
        let mut tx = self.site.store.begin().await?;
        note(&mut tx, &reasons).await?;
        let files = files::write(&self.site, &mut tx, &view, &offered).await?;
        instruction::write(&self.site, &mut tx, &view, &offered, &files).await?;
        tx.commit().await?;
        let next_expiry = offered.iter().filter_map(|(_, advertisement)| advertisement.expires_at).min();
        Ok(next_expiry.map_or(Next::Idle, |at| Next::After(at.since(now))))
    }
}

/// Records what is held back and why, and forgets what was deleted.
async fn note(tx: &mut Tx, reasons: &BTreeMap<AdvertisementId, Option<HeldBack>>) -> Result<(), Error> {
    let held: BTreeMap<AdvertisementId, String> = offers::held_back(tx).await?.into_iter().collect();
    for (advertisement, reason) in reasons {
        let text = reason.as_ref().map(ToString::to_string);
        if held.get(advertisement) == text.as_ref() {
            continue;
        }
        match &text {
            Some(text) => {
                tracing::info!(target: "offer-manager", advertisement = %advertisement, reason = text, "held back");
            }
            None => tracing::info!(target: "offer-manager", advertisement = %advertisement, "offered"),
        }
        offers::set_held_back(tx, advertisement, text.as_deref()).await?;
    }
    for advertisement in held.keys().filter(|id| !reasons.contains_key(*id)) {
        offers::set_held_back(tx, advertisement, None).await?;
    }
    Ok(())
}
