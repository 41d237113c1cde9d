//! Parcels that come in: what is whole on the media goes the way of what the line brings, what is missing is named.

mod opening;
mod taking;

use std::{
    cell::RefCell,
    collections::{BTreeMap, HashMap, HashSet},
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use packhorse_domain::{id::SiteCode, link::ItemId, message, parcel::ParcelState};
use packhorse_parcel::{Contents, FoundParcel, Item, ParcelId, scan};

use self::{opening::Opening, taking::Reader};
use super::{Listener, Progress, contents::ItemKind, custody};
use crate::{
    error::Error,
    sender,
    site::Site,
    status,
    store::{
        arrivals::{self, ArrivalState},
        contents,
        neighbours::Relation,
        parcels::{self, ParcelRow},
    },
};

/// How often Despooler is looked at.
const LOOK: Duration = Duration::from_millis(20);

/// What came of one parcel.
#[derive(Debug, Default)]
pub(crate) struct Received {
    pub(crate) id: Option<ParcelId>,
    pub(crate) taken: usize,
    pub(crate) left: usize,
    pub(crate) missing: Vec<u16>,
    pub(crate) faults: Vec<String>,
    /// Why nothing of it is taken.
    pub(crate) refused: String,
    /// It is encrypted to others.
    pub(crate) is_for_others: bool,
    /// The neighbour to whom the receipt goes.
    pub(crate) receipt_to: Option<SiteCode>,
}

/// A parcel that is for this site, while it is read.
struct Incoming<'a> {
    site: &'a Arc<Site>,
    id: ParcelId,
    contents: Arc<Contents>,
    relation: Relation,
    /// What came of it and is not whole, but for bundles.
    directory: PathBuf,
    listener: &'a Listener,
}

/// Takes in what lies below a path and is for this site.
pub(crate) async fn receive(
    site: &Arc<Site>,
    path: PathBuf,
    listener: Listener,
) -> Result<Vec<Received>, Error> {
    let _alone = site.courier.at_work.lock().await;
    let looked = path.clone();
    let found = tokio::task::spawn_blocking(move || scan(&looked)).await?.map_err(|error| {
        Error::Medium(format!(
            "{} cannot be read: {error}; is the medium mounted, and may the site server read it?",
            path.display()
        ))
    })?;
    let no_parcel = |fault| Received { faults: vec![fault], ..Received::default() };
    let mut all: Vec<Received> = found.faults().into_iter().map(no_parcel).collect();
    for (id, parcel) in found.parcels {
        let mut received = match opening::open(site, &id, &parcel).await? {
            Opening::ForOthers => Received { is_for_others: true, ..Received::default() },
            Opening::Refused(refused) => Received { refused, ..Received::default() },
            Opening::Ours { contents, relation } => {
                let directory = site.directories.parcels_in().join(id.to_string());
                let contents = Arc::from(contents);
                let incoming = Incoming { site, id, contents, relation, directory, listener: &listener };
                incoming.take(parcel).await?
            }
        };
        received.id = Some(id);
        all.push(received);
    }
    custody::hear(site, &mut HashMap::new()).await?;
    custody::tidy(site).await?;
    Ok(all)
}

impl Incoming<'_> {
    async fn take(&self, parcel: FoundParcel) -> Result<Received, Error> {
        let mut received = Received::default();
        self.begin().await?;
        let wanted = self.wanted(&mut received).await?;
        let (mut bundles, mut small): (BTreeMap<_, _>, BTreeMap<_, _>) =
            wanted.into_iter().partition(|(_, kind)| matches!(kind, ItemKind::Bundle(_)));
        let parcel = Arc::new(parcel);
        // Definitions first: they say where the content goes that is taken in while it is read.
        self.read(&parcel, &mut small, &mut received).await?;
        taking::small(self, &small, &mut received).await?;
        self.read(&parcel, &mut bundles, &mut received).await?;
        taking::bundles(self, &bundles).await?;
        self.await_despooler(&bundles, &mut received).await?;
        self.end(&mut received).await?;
        Ok(received)
    }

    /// Puts what is wanted into files, and leaves of it what is whole.
    async fn read(
        &self,
        parcel: &Arc<FoundParcel>,
        wanted: &mut BTreeMap<usize, ItemKind>,
        received: &mut Received,
    ) -> Result<(), Error> {
        let reader = Reader {
            site: self.site.clone(),
            contents: self.contents.clone(),
            directory: self.directory.clone(),
            wanted: wanted.keys().copied().collect(),
            listener: self.listener.clone(),
            left_to_line: RefCell::default(),
        };
        let parcel = parcel.clone();
        let read = tokio::task::spawn_blocking(move || reader.read(&parcel)).await??;
        let heard: Vec<String> =
            read.faults.into_iter().filter(|fault| !received.faults.contains(fault)).collect();
        received.faults.extend(heard);
        received.missing.extend(read.missing);
        received.missing.sort_unstable();
        received.missing.dedup();
        wanted.retain(|place, _| read.whole.contains(place));
        Ok(())
    }

    /// Notes that it is here, before anything of it is.
    async fn begin(&self) -> Result<(), Error> {
        let failed = |source| Error::File { what: format!("make {}", self.directory.display()), source };
        std::fs::create_dir_all(&self.directory).map_err(failed)?;
        let info = self.contents.info();
        let row = ParcelRow {
            id: self.id,
            sender: info.sender.clone(),
            created_at: info.created,
            carrier: String::new(),
            tracking: String::new(),
            sent_at: None,
            expected_at: None,
            volumes: self.contents.volumes(),
            holds_line: false,
        };
        let mut tx = self.site.store.begin().await?;
        if parcels::get(&mut tx, &self.id).await?.is_none() {
            parcels::put(&mut tx, &row).await?;
            parcels::put_site(&mut tx, &self.id, self.site.code(), ParcelState::Sent, self.site.now())
                .await?;
        }
        Ok(tx.commit().await?)
    }

    /// Our items that are still to be taken, by their places. Versions that came otherwise are taken already.
    async fn wanted(&self, received: &mut Received) -> Result<BTreeMap<usize, ItemKind>, Error> {
        let mut tx = self.site.store.begin().await?;
        let taken: Vec<ItemId> =
            parcels::taken(&mut tx, &self.id).await?.into_iter().map(|(_, item)| item).collect();
        let mut wanted = BTreeMap::new();
        for (place, item) in self.contents.items().filter(|(_, item)| !taken.contains(&item.id)) {
            let Some(kind) = ItemKind::decode(&item.head) else {
                received
                    .faults
                    .push(format!("item {} is of an unknown kind: upgrade this site server", item.id));
                continue;
            };
            if let ItemKind::Bundle(bundle) = &kind {
                let held = contents::of(&mut tx, &bundle.package).await?;
                if held.iter().any(|held| held.manifest == bundle.target) {
                    parcels::take(&mut tx, &self.id, self.site.code(), &item.id).await?;
                    continue;
                }
                if self.relation != Relation::Parent {
                    received.faults.push(format!("content of {} comes from the parent only", bundle.package));
                    continue;
                }
            }
            wanted.insert(place, kind);
        }
        tx.commit().await?;
        Ok(wanted)
    }

    /// Bundles are taken when Despooler has put them into the library.
    async fn await_despooler(
        &self,
        wanted: &BTreeMap<usize, ItemKind>,
        received: &mut Received,
    ) -> Result<(), Error> {
        let bundles = wanted.iter().filter_map(|(place, kind)| match kind {
            ItemKind::Bundle(bundle) => Some((self.contents.get(*place)?, bundle)),
            _ => None,
        });
        let mut waiting: Vec<_> = bundles.collect();
        let bytes = |waiting: &[(&Item, _)]| waiting.iter().map(|(item, _)| item.length).sum::<u64>();
        let total = bytes(&waiting);
        while !waiting.is_empty() {
            let mut left = Vec::new();
            for (item, bundle) in waiting {
                let mut tx = self.site.store.read().await?;
                let arrival = arrivals::get(&mut tx, &item.id).await?;
                match arrival.map(|arrival| (arrival.state, arrival.reason)) {
                    None => {
                        let held = contents::of(&mut tx, &bundle.package).await?;
                        drop(tx);
                        if held.iter().any(|held| held.manifest == bundle.target) {
                            let mut tx = self.site.store.begin().await?;
                            parcels::take(&mut tx, &self.id, self.site.code(), &item.id).await?;
                            tx.commit().await?;
                        }
                    }
                    Some((ArrivalState::Receiving | ArrivalState::Complete, _)) => left.push((item, bundle)),
                    Some((ArrivalState::Failed | ArrivalState::BaseMissing, reason)) => {
                        received
                            .faults
                            .push(format!("the bundle of {} was not taken: {reason}", bundle.package));
                        drop(tx);
                        sender::forget_arrival(self.site, &item.id).await?;
                    }
                }
            }
            waiting = left;
            let progress = Progress {
                step: "unpacking".to_owned(),
                volume: 0,
                bytes_done: total.saturating_sub(bytes(&waiting)),
                bytes_total: total,
            };
            // Whoever left does not stop Despooler; what it does counts at the next receive.
            if self.listener.send(progress).await.is_err() {
                return Err(Error::Interrupted);
            }
            if !waiting.is_empty() {
                tokio::time::sleep(LOOK).await;
            }
        }
        Ok(())
    }

    /// How it stands now.
    async fn end(&self, received: &mut Received) -> Result<(), Error> {
        let mut tx = self.site.store.begin().await?;
        let taken = parcels::taken(&mut tx, &self.id).await?.into_iter().map(|(_, item)| item);
        let taken: HashSet<ItemId> = taken.collect();
        let is_taken = |item: &Item| taken.contains(&item.id);
        let (sender, parent) = (&self.contents.info().sender, self.site.path().parent());
        received.receipt_to = match self.relation {
            Relation::Parent => parent.cloned(),
            Relation::Child => Some(sender.clone()),
        };
        received.taken = self.contents.items().filter(|(_, item)| is_taken(item)).count();
        received.left = self.contents.items().filter(|(_, item)| !is_taken(item)).count();
        let state = match (received.left, received.taken) {
            (0, _) => ParcelState::Confirmed,
            (_, 0) => ParcelState::Sent,
            _ => ParcelState::Received,
        };
        let before = parcels::sites(&mut tx, &self.id).await?.get(self.site.code()).map(|(state, _)| *state);
        if before != Some(state) {
            parcels::put_site(&mut tx, &self.id, self.site.code(), state, self.site.now()).await?;
            let sender = &self.contents.info().sender;
            let (short, taken, left) = (self.id.short(), received.taken, received.left);
            let message = match left {
                0 => message::parcel_taken(&short, sender, &taken, &left),
                _ => message::parcel_taken_in_part(&short, sender, &taken, &left),
            };
            status::report(self.site, &mut tx, sender.as_str(), &message).await?;
        }
        if self.relation == Relation::Parent && received.taken > 0 {
            custody::receipt(self.site, &mut tx, &self.contents, &taken).await?;
        }
        tx.commit().await?;
        if received.left == 0 {
            remove(&self.directory);
        }
        Ok(())
    }
}

/// Nothing of it is needed any more; what stays behind only takes room.
fn remove(directory: &Path) {
    drop(std::fs::remove_dir_all(directory));
}
