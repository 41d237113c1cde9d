//! What goes into a parcel: all that its destinations have not acknowledged, each thing once.

use std::{
    collections::{BTreeMap, HashMap},
    fs::File,
    io,
    sync::Arc,
};

use packhorse_content::{Outline, Outliner};
use packhorse_domain::{
    Digest,
    id::{PackageId, SiteCode},
    link::ItemId,
    object::ObjectKind,
};
use packhorse_parcel::{Destination, Item};

use super::{
    contents::{BundleHead, ItemKind, Receipt, objects_to_bytes, receipts_to_bytes},
    custody, keys, kin,
};
use crate::{
    distribution::{Need, View, needs},
    error::Error,
    record,
    replication::is_due,
    scheduler,
    site::Site,
    store::{
        Tx,
        bundles::{self, BundleRow},
        couriers,
        neighbours::{self, Relation},
        objects, parcels,
    },
};

/// Objects are packed together: what is lost of a medium costs no more than these.
const OBJECTS_BYTES: usize = 1024 * 1024;
/// Of so many parcels of one site receipts are told again: those before them came with earlier ones.
const RECEIPTS_MAX: usize = 256;

/// A parcel before it has an id.
#[derive(Debug)]
pub(super) struct Packing {
    /// Packages of which something cannot go with it: this site does not have all of it yet.
    pub(super) left_out: Vec<PackageId>,
    pub(super) destinations: Vec<Destination>,
    /// Small and needed first; then bundles, the most urgent first.
    pub(super) items: Vec<Packed>,
}

/// An item, and where its bytes are.
#[derive(Debug)]
pub(super) struct Packed {
    pub(super) item: Item,
    pub(super) kind: ItemKind,
    pub(super) content: Content,
}

#[derive(Debug)]
pub(super) enum Content {
    Bytes(Vec<u8>),
    /// A bundle in the spool.
    Bundle(Digest),
}

/// Places of destinations, ascending.
type Places = Vec<u16>;

/// What the destinations lack now. Without anything but our key it is refused: there is nothing to carry.
pub(super) async fn pack(site: &Site, to: &[SiteCode]) -> Result<Packing, Error> {
    let mut tx = site.store.read().await?;
    let destinations = destinations(site, &mut tx, to).await?;
    let everybody: Places = (0..).take(to.len()).collect();
    let key = site.courier.recipient().to_string().into_bytes();
    let mut items = vec![packed(ItemKind::Key, key, &everybody)];
    for (place, peer) in (0..).zip(to) {
        // Up they go as objects.
        if site.path().parent() == Some(peer) {
            continue;
        }
        let receipts = receipts(&mut tx, peer).await?;
        let receipts_now = packed(ItemKind::Receipts, receipts_to_bytes(&receipts), &[place]);
        // What was told already, and taken, is no news.
        if !receipts.is_empty() && !parcels::was_taken(&mut tx, peer, &receipts_now.item.id).await? {
            items.push(receipts_now);
        }
    }
    items.extend(pack_objects(&mut tx, to).await?);
    let (bundles, mut left_out) = bundles_lacking(&mut tx, to).await?;
    drop(tx);
    left_out.extend(in_the_making(site, to).await?);
    for (bundle, head, places) in bundles {
        items.push(pack_bundle(site, bundle, head, &places).await?);
    }
    // The same bytes for others: one item.
    let mut known = HashMap::new();
    items.retain(|packed| known.insert(packed.item.id, ()).is_none());
    if items.iter().all(|packed| packed.kind == ItemKind::Key) {
        if let [first, ..] = &left_out[..] {
            return Err(Error::Precondition(format!(
                "all that waits for those sites is not whole here yet: package {first}; `packhorse queue` shows how far it is"
            )));
        }
        let text = "nothing waits for those sites: all that they should have is acknowledged; `packhorse queue` shows what \
                    is under way";
        return Err(Error::Precondition(text.to_owned()));
    }
    Ok(Packing { left_out, destinations, items })
}

/// Packages whose bundles for these sites are needed and not there.
pub(super) async fn in_the_making(site: &Site, to: &[SiteCode]) -> Result<Vec<PackageId>, Error> {
    let mut tx = site.store.read().await?;
    let view = View::load(site, &mut tx).await?;
    let needs = needs(site, &mut tx, &view).await?;
    let makes = |need: &Need<'_>| {
        let id = &need.package.definition.id;
        !need.has_job && to.contains(need.child) && view.holds(id, &need.plan.target)
    };
    let made = bundles::list(&mut tx).await?;
    let mut making = Vec::new();
    for need in needs.into_iter().filter(makes) {
        let bundle = need.served_by(&made);
        // One that the line has delivered, of which the child has not said so yet, is not made again.
        let is_made = match bundle {
            Some(bundle) => !is_due(&mut tx, need.child, bundle).await?,
            None => false,
        };
        if !is_made {
            making.push(need.package.definition.id.clone());
        }
    }
    making.dedup();
    Ok(making)
}

async fn destinations(site: &Site, tx: &mut Tx, to: &[SiteCode]) -> Result<Vec<Destination>, Error> {
    let neighbours = neighbours::list(tx).await?;
    let mut destinations: Vec<Destination> = Vec::new();
    for code in to {
        if !neighbours.iter().any(|one| one.code == *code) {
            far(site, tx, code).await?;
        }
        if destinations.iter().any(|known| known.site == *code) {
            return Err(Error::Invalid(format!("field `to`: site {code} is named twice: name it once")));
        }
        let recipient = keys::known(tx, code).await?.ok_or_else(|| {
            Error::Precondition(format!(
                "the key of site {code} is not known here: run `packhorse courier keys` at site {code}, and then here \
                 `packhorse courier trust {code} age1...`"
            ))
        })?;
        destinations.push(Destination { site: code.clone(), recipient });
    }
    Ok(destinations)
}

/// A site that is no neighbour: one further down, with a courier from here.
async fn far(site: &Site, tx: &mut Tx, code: &SiteCode) -> Result<(), Error> {
    match kin::relation(site, tx, code).await? {
        Some(Relation::Child) if couriers::route(tx, code).await?.is_some() => Ok(()),
        Some(Relation::Child) => Err(Error::Precondition(format!(
            "site {code} is further down: its parent passes on what it takes in; to send it parcels from here, give it a \
             courier with `packhorse courier route set {code} --transit 2d`"
        ))),
        Some(Relation::Parent) => Err(Error::Precondition(format!(
            "site {code} is further up: what is for it goes to the parent, which passes it on"
        ))),
        None => Err(Error::Precondition(format!(
            "site {code} is not known to site {}, or neither above nor below it: `packhorse site list` shows the sites below",
            site.code()
        ))),
    }
}

/// What we have taken of parcels of a site, the oldest first.
async fn receipts(tx: &mut Tx, sender: &SiteCode) -> Result<Vec<Receipt>, Error> {
    let mut receipts = Vec::new();
    for parcel in parcels::list(tx).await?.into_iter().filter(|one| one.sender == *sender).take(RECEIPTS_MAX)
    {
        let items =
            parcels::taken(tx, &parcel.id).await?.into_iter().map(|(_, item)| item).collect::<Vec<_>>();
        if !items.is_empty() {
            receipts.push(Receipt { parcel: parcel.id, items });
        }
    }
    receipts.reverse();
    Ok(receipts)
}

async fn pack_objects(tx: &mut Tx, to: &[SiteCode]) -> Result<Vec<Packed>, Error> {
    // In the order of the first that lacks them: what others need to be taken is in front.
    let (mut order, mut lacking) = (Vec::new(), HashMap::<Digest, (Vec<u8>, Places)>::new());
    let neighbours = neighbours::list(tx).await?;
    for (place, peer) in (0..).zip(to) {
        // What is no neighbour is further down.
        let relation = neighbours.iter().find(|one| one.code == *peer).map(|neighbour| neighbour.relation);
        let direction = scheduler::direction(relation.unwrap_or(Relation::Child));
        for object in objects::lacking(tx, peer, direction, usize::MAX).await? {
            let known = lacking.entry(object.digest).or_insert_with(|| {
                order.push((object.kind != ObjectKind::Trust, object.digest));
                (object.content, Places::new())
            });
            known.1.push(place);
        }
    }
    order.sort_by_key(|(is_other, _)| *is_other);
    let mut groups: Vec<(Places, Vec<Vec<u8>>)> = Vec::new();
    for (_, digest) in order {
        let Some((content, places)) = lacking.remove(&digest) else { continue };
        match groups.iter_mut().find(|(known, _)| *known == places) {
            Some((_, contents)) => contents.push(content),
            None => groups.push((places, vec![content])),
        }
    }
    let mut items = Vec::new();
    for (places, contents) in groups {
        let mut rest = contents.as_slice();
        while !rest.is_empty() {
            let mut bytes = 0;
            let fits = rest.iter().take_while(|one| {
                bytes += one.len();
                bytes <= OBJECTS_BYTES
            });
            let (now, later) = rest.split_at(fits.count().max(1));
            let count = u32::try_from(now.len()).unwrap_or(u32::MAX);
            items.push(packed(ItemKind::Objects(count), objects_to_bytes(now), &places));
            rest = later;
        }
    }
    Ok(items)
}

fn packed(kind: ItemKind, bytes: Vec<u8>, places: &[u16]) -> Packed {
    let mut outliner = Outliner::new();
    outliner.update(&bytes);
    let (digest, outline) = outliner.finish();
    let item = Item {
        id: ItemId::of(&digest),
        length: bytes.len() as u64,
        digest,
        outline,
        head: kind.encode(),
        to: Arc::from(places),
    };
    Packed { item, kind, content: Content::Bytes(bytes) }
}

/// Bundles with what is told of them, the most urgent first; and packages whose bundles are still coming in.
async fn bundles_lacking(
    tx: &mut Tx,
    to: &[SiteCode],
) -> Result<(Vec<(BundleRow, BundleHead, Places)>, Vec<PackageId>), Error> {
    let mut coming = Vec::new();
    let mut lacking: BTreeMap<_, (BundleRow, BundleHead, Places)> = BTreeMap::new();
    for (place, peer) in (0..).zip(to) {
        for sending in bundles::sendings_to(tx, peer).await? {
            if !sending.state.is_waiting() {
                continue;
            }
            let Some(bundle) = bundles::get(tx, &sending.digest).await? else {
                coming.extend(scheduler::bundle_of(tx, &sending.digest).await?.map(|bundle| bundle.package));
                continue;
            };
            // No line tells us that the site further down has it from its parent.
            if custody::holds(tx, peer, (&bundle.package, &bundle.target)).await? {
                continue;
            }
            let priority = scheduler::bundle_priority(tx, &bundle).await?;
            let head = BundleHead {
                package: bundle.package.clone(),
                target: bundle.target,
                bases: bundle.bases.clone(),
                priority,
            };
            let known = lacking.entry((priority, bundle.package.clone(), bundle.digest.0));
            known.or_insert_with(|| (bundle, head, Places::new())).2.push(place);
        }
    }
    Ok((lacking.into_values().collect(), coming))
}

async fn pack_bundle(
    site: &Site,
    bundle: BundleRow,
    head: BundleHead,
    places: &[u16],
) -> Result<Packed, Error> {
    let (path, noted) = (site.directories.bundle(&bundle.digest), site.directories.outline(&bundle.digest));
    let (length, digest) = (bundle.length, bundle.digest);
    let outlined = move || -> io::Result<Option<Outline>> {
        let known = std::fs::read(&noted).ok().and_then(|bytes| Outline::from_bytes(&bytes).ok());
        if let Some(known) = known.filter(|known| known.leads_to(length, &digest)) {
            return Ok(Some(known));
        }
        let (found, outline) = Outline::of_file(&File::open(&path)?, length)?;
        Ok((found == digest).then_some(outline))
    };
    let outline = tokio::task::spawn_blocking(outlined).await?.map_err(|source| Error::File {
        what: format!("read the bundle of package {}", bundle.package),
        source,
    })?;
    let outline = outline.ok_or_else(|| {
        Error::Precondition(format!(
            "the bundle of package {} is damaged in the spool; remove it with `packhorse package update {}`, and it is \
             made anew",
            bundle.package, bundle.package
        ))
    })?;
    let kind = ItemKind::Bundle(head);
    let item =
        Item { id: ItemId::of(&digest), length, digest, outline, head: kind.encode(), to: Arc::from(places) };
    Ok(Packed { item, kind, content: Content::Bundle(digest) })
}

/// Whether all objects of a list were acknowledged by a site.
pub(super) async fn acknowledged(
    tx: &mut Tx,
    site: &SiteCode,
    contents: &[bytes::Bytes],
) -> Result<bool, Error> {
    for content in contents {
        let Some(object) = super::contents::object_of(content) else { return Ok(false) };
        // A newer version has taken its place: whoever has that has this.
        let known = objects::acknowledged(tx, site, object.kind, &object.id).await?;
        if known.is_none_or(|version| version < object.version) {
            return Ok(false);
        }
    }
    Ok(true)
}

/// The digest of what an item's file holds must be the item's.
pub(super) fn is(bytes: &[u8], digest: &Digest) -> bool {
    record::digest(bytes) == *digest
}
