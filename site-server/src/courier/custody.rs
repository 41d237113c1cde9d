//! Where parcels are: what receipts, the line and people say of them.

use std::{
    collections::{HashMap, HashSet},
    fs,
};

use packhorse_domain::{
    Digest,
    id::{PackageId, SiteCode},
    link::ItemId,
    message,
    object::ObjectKind,
    parcel::{ParcelReceipt, ParcelState, RECEIPT_ITEMS_MAX},
    queue::Order,
    status::PackageStatus,
};
use packhorse_parcel::{Contents, Item, ParcelId, Plan};
use packhorse_proto::object::v1 as wire;
use packhorse_runtime::error_chain;

use super::{
    contents::{ItemKind, object_of, objects_from_bytes},
    outgoing, packing,
};
use crate::{
    error::Error,
    record::{self, Body},
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
    let message = match then {
        ParcelState::Lost => message::parcel_lost(&id.short(), peer),
        _ => message::parcel_moved_on(&id.short(), peer, &then),
    };
    status::report(site, tx, peer.as_str(), &message).await
}

/// A parcel of which every volume was written is created. One that is further on stays.
pub(super) async fn written(site: &Site, tx: &mut Tx, plan: &Plan) -> Result<(), Error> {
    if plan.unwritten().next().is_some() {
        return Ok(());
    }
    let id = plan.list().info().id;
    for (peer, (state, _)) in parcels::sites(tx, &id).await? {
        if state == ParcelState::Planned {
            step(site, tx, &id, (&peer, ParcelState::Created)).await?;
        }
    }
    Ok(())
}

/// Tells the site above that made a parcel what was taken of it, by whatever way other objects go up.
pub(super) async fn receipt(
    site: &Site,
    tx: &mut Tx,
    contents: &Contents,
    taken: &HashSet<ItemId>,
) -> Result<(), Error> {
    let mut items = contents.items().map(|(_, item)| item.id).collect::<Vec<_>>();
    let all = items.len();
    items.retain(|item| taken.contains(item));
    let is_complete = items.len() == all;
    items.truncate(RECEIPT_ITEMS_MAX);
    let info = contents.info();
    let id = ParcelReceipt::id(site.code(), &info.id.0);
    let receipt = ParcelReceipt {
        parcel: info.id.0,
        sender: info.sender.clone(),
        site: site.code().clone(),
        items: (!is_complete).then_some(items),
        changed_at: site.now(),
    };
    let known =
        record::find::<wire::ParcelReceipt, ParcelReceipt>(tx, ObjectKind::ParcelReceipt, &id).await?;
    if known.is_none_or(|(_, known)| known.items != receipt.items) {
        let body = Body::of::<wire::ParcelReceipt, _>(&receipt);
        record::write(site, tx, ObjectKind::ParcelReceipt, &id, body).await?;
    }
    Ok(())
}

/// What receipts that came up say of our parcels. `heard` has the versions that were looked at before.
pub(super) async fn hear(site: &Site, heard: &mut HashMap<String, u64>) -> Result<(), Error> {
    let mut tx = site.store.read().await?;
    let unsettled = parcels::unsettled(&mut tx, site.code()).await?;
    drop(tx);
    for parcel in unsettled {
        if let Err(error) = hear_of(site, &parcel, heard).await {
            // One whose plan cannot be read keeps nobody from hearing of the others.
            tracing::warn!(target: "courier-sender", parcel = %parcel.id.short(), error = %error_chain(&error),
                "what was told of a parcel cannot be used");
        }
    }
    Ok(())
}

async fn hear_of(site: &Site, parcel: &ParcelRow, heard: &mut HashMap<String, u64>) -> Result<(), Error> {
    let mut tx = site.store.read().await?;
    let mut news = Vec::new();
    for (peer, (state, _)) in parcels::sites(&mut tx, &parcel.id).await? {
        // What was given up may turn up.
        if state == ParcelState::Confirmed {
            continue;
        }
        let id = ParcelReceipt::id(&peer, &parcel.id.0);
        let Some(held) = objects::held(&mut tx, ObjectKind::ParcelReceipt, &id).await? else { continue };
        if held.owner == peer && heard.get(&id) != Some(&held.version) {
            news.push((id, peer));
        }
    }
    drop(tx);
    for (id, peer) in news {
        let mut tx = site.store.begin().await?;
        let found =
            record::find::<wire::ParcelReceipt, ParcelReceipt>(&mut tx, ObjectKind::ParcelReceipt, &id);
        if let Some((object, receipt)) = found.await? {
            receipted(site, &mut tx, (&peer, &parcel.id), receipt.items.as_deref()).await?;
            tx.commit().await?;
            heard.insert(id, object.version);
        }
    }
    Ok(())
}

/// A destination has taken items of a parcel of ours, or all: the line need not bring them any more.
pub(super) async fn receipted(
    site: &Site,
    tx: &mut Tx,
    (peer, id): (&SiteCode, &ParcelId),
    items: Option<&[ItemId]>,
) -> Result<(), Error> {
    let Some(parcel) = parcels::get(tx, id).await?.filter(|one| one.sender == *site.code()) else {
        return Ok(());
    };
    if !parcels::sites(tx, id).await?.contains_key(peer) {
        return Ok(());
    }
    let plan = outgoing::plan(site, &parcel.id)?;
    let mut is_news = false;
    for item in ours(&plan, peer).filter(|item| items.is_none_or(|items| items.contains(&item.id))) {
        // What was told before says nothing of what happened since.
        if parcels::take(tx, id, peer, &item.id).await? {
            acknowledge(site, tx, (peer, id), item).await?;
            is_news = true;
        }
    }
    if is_news { settle(site, tx, &plan, peer).await } else { Ok(()) }
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
        if states.values().all(|(state, _)| !state.is_open())
            && let Err(error) = outgoing::clean(site, &parcel.id)
        {
            tracing::warn!(target: "courier-sender", parcel = %parcel.id.short(), error = %error_chain(&error),
                "what is left of a parcel cannot be removed");
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
    // Whoever wrote the last volume may have been stopped before it was noted.
    written(site, &mut tx, &plan).await?;
    for (peer, _) in states.iter().filter(|(_, (state, _))| state.is_open()) {
        let taken = parcels::taken(&mut tx, &parcel.id).await?;
        // What is no content a line does not bring, and it is not what a parcel is made for.
        let lacking = ours(&plan, peer)
            .filter(|item| carries(item) && !taken.contains(&(peer.clone(), item.id)))
            .collect::<Vec<_>>();
        let mut all = ours(&plan, peer).any(carries);
        for item in &lacking {
            all = all && has(site, &mut tx, (peer, &parcel.id), item).await?;
        }
        if all {
            for item in lacking {
                parcels::take(&mut tx, &parcel.id, peer, &item.id).await?;
            }
            step(site, &mut tx, &parcel.id, (peer, ParcelState::Confirmed)).await?;
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
                || holds(tx, peer, (&bundle.package, &bundle.target)).await?
        }
        _ => true,
    })
}

/// Whether a child says itself that it holds what a bundle leads to: then its mini-job is gone.
pub(crate) async fn holds(
    tx: &mut Tx,
    peer: &SiteCode,
    (package, target): (&PackageId, &Digest),
) -> Result<bool, Error> {
    let id = format!("{package}/{peer}/");
    let status =
        record::find::<wire::PackageStatus, PackageStatus>(tx, ObjectKind::PackageStatus, &id).await?;
    Ok(status.is_some_and(|(_, status)| status.held.contains(target)))
}
