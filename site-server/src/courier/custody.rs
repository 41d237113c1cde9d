//! Where parcels are: what receipts, the line and people say of them.

use std::fs;

use packhorse_domain::{
    id::SiteCode,
    link::ItemId,
    object::ObjectKind,
    parcel::ParcelState,
    queue::Order,
    status::{EventType, PackageStatus, Severity},
};
use packhorse_parcel::{Item, ParcelId, Plan};
use packhorse_proto::object::v1 as wire;

use super::{
    contents::{BundleHead, ItemKind, object_of, objects_from_bytes},
    outgoing, packing,
};
use crate::{
    error::Error,
    record,
    site::Site,
    status,
    store::{
        Tx,
        bundles::{self, SendingState},
        objects,
        parcels::{self, ParcelRow},
        queue::{self, QueueOrder},
        refusals,
    },
};

/// Who holds bundles in the queue while a parcel brings them.
fn holder(id: &ParcelId) -> String {
    format!("parcel {}", id.short())
}

/// The line does not bring these meanwhile; what somebody holds already stays as it is.
pub(super) async fn hold(
    site: &Site,
    tx: &mut Tx,
    id: &ParcelId,
    (peer, items): (&SiteCode, &[ItemId]),
) -> Result<(), Error> {
    let orders = queue::of(tx, peer).await?;
    for item in items {
        let order = orders.get(item).map_or(Order::default(), |given| given.order);
        if !order.held {
            let held = QueueOrder {
                order: Order { held: true, ..order },
                changed_by: holder(id),
                changed_at: site.now(),
            };
            queue::put(tx, peer, item, &held).await?;
        }
    }
    Ok(())
}

async fn release(tx: &mut Tx, id: &ParcelId, peer: &SiteCode) -> Result<(), Error> {
    for (item, mut given) in queue::of(tx, peer).await? {
        if given.changed_by == holder(id) && given.order.held {
            given.order.held = false;
            queue::put(tx, peer, &item, &given).await?;
        }
    }
    Ok(())
}

/// A parcel goes one step on with a destination. One that is there already stays.
pub(crate) async fn step(
    site: &Site,
    tx: &mut Tx,
    id: &ParcelId,
    (peer, to): (&SiteCode, ParcelState),
) -> Result<(), Error> {
    let Some((from, _)) = parcels::sites(tx, id).await?.get(peer).copied() else { return Ok(()) };
    let then = from.becomes(to).map_err(|no_way| {
        let remedy = match from {
            ParcelState::Planned => {
                format!(": write all of its volumes first, with `packhorse courier write {} DIR`", id.short())
            }
            _ => String::new(),
        };
        Error::Precondition(format!("for site {peer} {no_way}{remedy}"))
    })?;
    if then == from {
        return Ok(());
    }
    parcels::put_site(tx, id, peer, then, site.now()).await?;
    if !then.is_open() || then == ParcelState::Received {
        release(tx, id, peer).await?;
    }
    let text = format!("parcel {} for site {peer} is {then}", id.short());
    let severity = if then == ParcelState::Lost { Severity::Warning } else { Severity::Info };
    status::report(site, tx, "courier-sender", (severity, EventType::Milestone), peer.as_str(), &text).await
}

/// A destination has taken items of a parcel of ours: the line need not bring them any more.
pub(super) async fn receipted(
    site: &Site,
    tx: &mut Tx,
    (peer, id): (&SiteCode, &ParcelId),
    items: &[ItemId],
) -> Result<(), Error> {
    let Some(parcel) = parcels::get(tx, id).await?.filter(|one| one.sender == *site.code()) else {
        return Ok(());
    };
    if !parcels::sites(tx, id).await?.contains_key(peer) {
        return Ok(());
    }
    let plan = outgoing::plan(site, &parcel.id)?;
    for item in ours(&plan, peer).filter(|item| items.contains(&item.id)) {
        parcels::take(tx, id, peer, &item.id).await?;
        acknowledge(site, tx, (peer, id), item).await?;
    }
    settle(site, tx, &plan, peer).await
}

/// The items of a parcel that are for a destination.
pub(crate) fn ours<'a>(plan: &'a Plan, peer: &'a SiteCode) -> impl Iterator<Item = &'a Item> {
    let list = plan.list();
    let place = list.info().destinations.iter().position(|one| one.site == *peer);
    let place = place.and_then(|place| u16::try_from(place).ok());
    list.items().iter().filter(move |item| place.is_some_and(|place| item.to.contains(&place)))
}

async fn acknowledge(
    site: &Site,
    tx: &mut Tx,
    (peer, id): (&SiteCode, &ParcelId),
    item: &Item,
) -> Result<(), Error> {
    match ItemKind::decode(&item.head) {
        Some(ItemKind::Objects(_)) => {
            for content in objects_in(site, id, item) {
                if let Some(object) = object_of(&content) {
                    objects::acknowledge(tx, peer, object.kind, &object.id, object.version).await?;
                    refusals::remove(tx, peer, object.kind, &object.id).await?;
                }
            }
        }
        Some(ItemKind::Bundle(_)) => {
            queue::remove(tx, peer, &item.id).await?;
            if let Some(mut sending) = bundles::sending(tx, peer, &item.digest).await? {
                sending.state = SendingState::Done;
                sending.reason = String::new();
                sending.changed_at = site.now();
                bundles::put_sending(tx, &sending).await?;
            }
        }
        _ => {}
    }
    Ok(())
}

/// The objects of an item; none if it was cleaned away.
fn objects_in(site: &Site, id: &ParcelId, item: &Item) -> Vec<bytes::Bytes> {
    let bytes = fs::read(outgoing::item_path(site, id, &item.id)).unwrap_or_default();
    if packing::is(&bytes, &item.digest) {
        objects_from_bytes(&bytes).unwrap_or_default()
    } else {
        Vec::new()
    }
}

/// What follows from what was taken.
async fn settle(site: &Site, tx: &mut Tx, plan: &Plan, peer: &SiteCode) -> Result<(), Error> {
    let id = plan.list().info().id;
    let taken = parcels::taken(tx, &id).await?;
    let is_taken = |item: &Item| taken.iter().any(|(site, taken)| site == peer && *taken == item.id);
    let to = match (ours(plan, peer).all(is_taken), ours(plan, peer).any(is_taken)) {
        (true, _) => ParcelState::Confirmed,
        (false, true) => ParcelState::Received,
        (false, false) => return Ok(()),
    };
    step(site, tx, &id, (peer, to)).await
}

/// What is not to be written any more takes no room.
pub(crate) async fn tidy(site: &Site) -> Result<(), Error> {
    let mut tx = site.store.read().await?;
    for parcel in parcels::list(&mut tx).await?.into_iter().filter(|one| one.sender == *site.code()) {
        let states = parcels::sites(&mut tx, &parcel.id).await?;
        if states.values().all(|(state, _)| !state.is_open()) {
            outgoing::clean(site, &parcel.id)?;
        }
    }
    Ok(())
}

/// What the line has brought meanwhile needs no receipt: looks whether all of a parcel is there by now.
pub(crate) async fn look(site: &Site, parcel: &ParcelRow) -> Result<(), Error> {
    let mut tx = site.store.begin().await?;
    let states = parcels::sites(&mut tx, &parcel.id).await?;
    if parcel.sender != *site.code() || !states.values().any(|(state, _)| state.is_open()) {
        return Ok(());
    }
    let plan = outgoing::plan(site, &parcel.id)?;
    for (peer, _) in states.iter().filter(|(_, (state, _))| state.is_open()) {
        let taken = parcels::taken(&mut tx, &parcel.id).await?;
        let mut missing = ours(&plan, peer).filter(|item| !taken.contains(&(peer.clone(), item.id)));
        let mut all = true;
        let mut found = Vec::new();
        for item in &mut missing {
            match has(site, &mut tx, (peer, &parcel.id), item).await? {
                true => found.push(item.id),
                false => all = false,
            }
        }
        // Key and receipts are never acknowledged by themselves: they come with the rest.
        let is_news = ours(&plan, peer).any(|item| carries(item) && found.contains(&item.id));
        if all && is_news {
            for item in found {
                parcels::take(&mut tx, &parcel.id, peer, &item).await?;
            }
            settle(site, &mut tx, &plan, peer).await?;
        }
    }
    Ok(tx.commit().await?)
}

/// Whether it is what a parcel is made for.
fn carries(item: &Item) -> bool {
    matches!(ItemKind::decode(&item.head), Some(ItemKind::Objects(_) | ItemKind::Bundle(_)))
}

async fn has(
    site: &Site,
    tx: &mut Tx,
    (peer, id): (&SiteCode, &ParcelId),
    item: &Item,
) -> Result<bool, Error> {
    Ok(match ItemKind::decode(&item.head) {
        Some(ItemKind::Objects(_)) => {
            let objects = objects_in(site, id, item);
            !objects.is_empty() && packing::acknowledged(tx, peer, &objects).await?
        }
        Some(ItemKind::Bundle(bundle)) => {
            let sending = bundles::sending(tx, peer, &item.digest).await?;
            sending.is_some_and(|sending| sending.state == SendingState::Done)
                || holds(tx, peer, &bundle).await?
        }
        _ => true,
    })
}

/// Whether a child says itself that it holds what a bundle leads to: then its mini-job is gone.
async fn holds(tx: &mut Tx, peer: &SiteCode, bundle: &BundleHead) -> Result<bool, Error> {
    let id = format!("{}/{peer}/", bundle.package);
    let status =
        record::find::<wire::PackageStatus, PackageStatus>(tx, ObjectKind::PackageStatus, &id).await?;
    Ok(status.is_some_and(|(_, status)| status.held.contains(&bundle.target)))
}
