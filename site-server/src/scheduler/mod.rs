//! Scheduler: which mini-jobs a link may work on now.

pub(crate) mod addresses;
mod sendings;
pub(crate) mod ways;

use std::collections::{BTreeMap, HashMap};

use packhorse_domain::{
    Digest, Priority, Timestamp,
    advertisement::Advertisement,
    courier::Way,
    id::SiteCode,
    link::{ItemId, ItemKind, ObjectState, OutItem, limits},
    object::{Direction, ObjectKind},
    package::PackageDefinition,
};
use packhorse_proto::{
    convert::{self, ConvertError},
    object::v1 as wire,
};

pub(crate) use sendings::Sendings;

use crate::{
    error::Error,
    record,
    site::Site,
    store::{
        Tx,
        arrivals::{self, Arrival},
        bundles::{self, BundleRow, SendingState},
        couriers, events,
        neighbours::Relation,
        objects::{self, StoredObject},
        queue::{self, QueueOrder},
    },
    trace,
};

/// Objects handed to a link at once, the oldest first; the rest follow as these are acknowledged.
const OBJECTS_MAX: usize = 512;
/// The newest are looked at too: what is urgent has often just been made, and must not wait behind a backlog.
const NEWEST_MAX: usize = 64;

/// A mini-job: an item for one neighbour.
#[derive(Debug, Clone)]
pub(crate) struct Job {
    pub(crate) item: OutItem,
    pub(crate) content: JobContent,
    /// Of a bundle: what it came with. An object carries its own.
    pub(crate) traceparent: String,
}

#[derive(Debug, Clone)]
pub(crate) enum JobContent {
    Object { kind: ObjectKind, id: String, version: u64, content: Vec<u8> },
    Bundle(BundleRow),
}

/// What may be sent now.
#[derive(Debug)]
pub(crate) struct Admitted {
    pub(crate) jobs: Vec<Job>,
    /// When the next bundle that failed is due.
    pub(crate) retry_at: Option<Timestamp>,
    /// Where each item stands that is known: priority and rank; `None` for one that is held.
    places: HashMap<ItemId, Option<(Priority, i64)>>,
}

impl Admitted {
    /// Whether an item that the link has is to be taken back: it is not to be sent now, or it stands elsewhere in the
    /// queue and has to be offered again. An object that is not here may just be far behind.
    pub(crate) fn takes_back(&self, open: &Job) -> bool {
        match self.places.get(&open.item.id) {
            Some(place) => *place != Some((open.item.priority, open.item.rank)),
            None => matches!(open.content, JobContent::Bundle(_)),
        }
    }
}

/// What the neighbour lacks and may be sent now.
pub(crate) async fn admit(site: &Site, peer: &SiteCode, relation: Relation) -> Result<Admitted, Error> {
    let mut tx = site.store.read().await?;
    let orders = queue::of(&mut tx, peer).await?;
    let mut jobs = objects_lacking(&mut tx, peer, direction(relation), &orders).await?;
    let (now, mut retry_at) = (site.now(), None);
    for sending in bundles::sendings_to(&mut tx, peer).await? {
        let due = match sending.state {
            SendingState::Queued => true,
            SendingState::Failed => sending.retry_at <= now,
            SendingState::Done | SendingState::BaseMissing | SendingState::Cancelled => false,
        };
        if !due && sending.state == SendingState::Failed {
            retry_at = retry_at.into_iter().chain([sending.retry_at]).min();
        }
        if due && let Some((bundle, available)) = spooled(site, &mut tx, &sending.digest).await? {
            let priority = bundle_priority(&mut tx, &bundle).await?;
            let traceparent = trace::of_package(&mut tx, bundle.package.as_str()).await?;
            let item = bundle_item(&bundle, priority, sending.changed_at);
            let mut job = Job { item, content: JobContent::Bundle(bundle), traceparent };
            job.item.available = available;
            jobs.push(job);
        }
    }
    // Most of the time there is no bundle to send, and nobody asks when one is needed.
    if jobs.iter().any(|job| job.item.kind == ItemKind::Bundle) {
        let deadlines = deadlines(&mut tx).await?;
        for job in jobs.iter_mut().filter(|job| job.item.kind == ItemKind::Bundle) {
            job.item.deadline = deadlines.get(&job.item.subject).copied();
        }
    }
    let by_courier = couriers::choices_for(&mut tx, peer).await?;
    let by_courier = by_courier.iter().filter(|(_, choice)| choice.way == Way::Courier);
    let held = orders.iter().filter(|(_, given)| given.order.held).map(|(item, _)| item);
    let mut places: HashMap<_, _> =
        held.chain(by_courier.map(|(item, _)| item)).map(|item| (*item, None)).collect();
    drop(tx);
    jobs.retain(|job| !places.contains_key(&job.item.id));
    tracing::debug!(target: "scheduler", %peer, items = jobs.len(), aside = places.len(), "may be sent now");
    for job in &mut jobs {
        if let Some(given) = orders.get(&job.item.id) {
            given.order.apply(&mut job.item);
        }
        places.insert(job.item.id, Some((job.item.priority, job.item.rank)));
    }
    Ok(Admitted { jobs, retry_at, places })
}

/// When the content of each package that clients must run is needed, by the package's id: at the earliest start of such
/// an advertisement, which may be long ago.
pub(crate) async fn deadlines(tx: &mut Tx) -> Result<HashMap<String, Timestamp>, Error> {
    let mut deadlines = HashMap::new();
    let all = record::list::<wire::Advertisement, Advertisement>(tx, ObjectKind::Advertisement).await?;
    for (object, advertisement) in all.into_iter().filter(|(_, advertisement)| advertisement.required) {
        let at = advertisement.start_at.unwrap_or(object.changed_at);
        let known = deadlines.entry(advertisement.package.to_string()).or_insert(at);
        *known = at.min(*known);
    }
    Ok(deadlines)
}

/// A bundle that is in the spool, or still comes in and goes on meanwhile.
pub(crate) async fn bundle_of(tx: &mut Tx, digest: &Digest) -> Result<Option<BundleRow>, Error> {
    Ok(find_bundle(tx, digest).await?.map(|(bundle, _)| bundle))
}

/// The same, and whether all of it is here.
async fn find_bundle(tx: &mut Tx, digest: &Digest) -> Result<Option<(BundleRow, bool)>, Error> {
    if let Some(bundle) = bundles::get(tx, digest).await? {
        return Ok(Some((bundle, true)));
    }
    let arrival = arrivals::get(tx, &ItemId::of(digest)).await?.filter(Arrival::may_go_on);
    Ok(arrival.map(|arrival| (arrival.into_bundle(), false)))
}

/// A bundle in the spool, and how much of it can be sent: one that is still coming in goes on as far as it was checked.
async fn spooled(site: &Site, tx: &mut Tx, digest: &Digest) -> Result<Option<(BundleRow, u64)>, Error> {
    let found = find_bundle(tx, digest).await?;
    Ok(found.map(|(bundle, is_whole)| {
        let available = if is_whole { bundle.length } else { site.relays.upto(&ItemId::of(digest)) };
        (bundle, available)
    }))
}

/// Which objects go to such a neighbour.
pub(crate) fn direction(relation: Relation) -> Direction {
    match relation {
        Relation::Parent => Direction::Up,
        Relation::Child => Direction::Down,
    }
}

/// The oldest objects that the neighbour lacks, the newest, and those that somebody gave an order for, wherever they
/// are. Held ones take no place away from others.
async fn objects_lacking(
    tx: &mut Tx,
    peer: &SiteCode,
    direction: Direction,
    orders: &BTreeMap<ItemId, QueueOrder>,
) -> Result<Vec<Job>, Error> {
    let limit = OBJECTS_MAX + orders.len();
    let mut lacking = objects::lacking(tx, peer, direction, limit).await?;
    if lacking.len() == limit {
        lacking.extend(objects::lacking_newest(tx, peer, direction, NEWEST_MAX).await?);
        for item in orders.keys() {
            lacking.extend(lacking_between(tx, peer, direction, (item, item)).await?);
        }
    }
    let hurried: HashMap<String, Priority> = match lacking.iter().any(|one| one.kind == ObjectKind::Event) {
        true => events::hurried(tx).await?.into_iter().collect(),
        false => HashMap::new(),
    };
    let job = |object: StoredObject| {
        let hurries = hurried.get(&object.id).copied().filter(|_| object.kind == ObjectKind::Event);
        let mut job = object_job(object)?;
        job.item.priority = hurries.unwrap_or(job.item.priority);
        Ok(job)
    };
    lacking.into_iter().map(job).collect()
}

/// The objects that the neighbour lacks and that are named between these two items.
pub(crate) async fn lacking_between(
    tx: &mut Tx,
    peer: &SiteCode,
    direction: Direction,
    range: (&ItemId, &ItemId),
) -> Result<Vec<StoredObject>, Error> {
    let mut lacking = Vec::new();
    for object in objects::of_items(tx, range, OBJECTS_MAX).await? {
        if object.kind.direction() == direction && objects::lacks(tx, peer, &object).await? {
            lacking.push(object);
        }
    }
    Ok(lacking)
}

/// A bundle goes with the priority of its package.
pub(crate) async fn bundle_priority(tx: &mut Tx, bundle: &BundleRow) -> Result<Priority, Error> {
    let package = record::package(tx, bundle.package.as_str()).await?;
    Ok(package.map_or(Priority::Medium, |package| package.definition.priority))
}

/// The mini-job that sends an object as it is.
pub(crate) fn object_job(object: StoredObject) -> Result<Job, Error> {
    let item = object_item(&object)?;
    let content = JobContent::Object {
        kind: object.kind,
        id: object.id,
        version: object.version,
        content: object.content,
    };
    Ok(Job { item, content, traceparent: String::new() })
}

/// An object as the link is told of it.
pub(crate) fn object_item(object: &StoredObject) -> Result<OutItem, Error> {
    let subject = format!("{}/{}", object.kind.as_str(), object.id);
    Ok(OutItem {
        id: ItemId::of(&object.digest),
        kind: ItemKind::Object,
        priority: object_priority(object)?,
        length: object.content.len() as u64,
        digest: object.digest,
        target: None,
        bases: Vec::new(),
        rank: 0,
        deadline: None,
        queued_at: object.changed_at,
        available: object.content.len() as u64,
        inline: (object.content.len() <= limits::INLINE_BYTES_MAX).then(|| object.content.clone()),
        state: Some(ObjectState { object: subject.clone(), version: object.version }),
        subject,
    })
}

/// Objects are small: those that others wait for go at their own priority or better, status after them, messages last.
fn object_priority(object: &StoredObject) -> Result<Priority, Error> {
    if let Some(priority) = kind_priority(object.kind) {
        return Ok(priority);
    }
    let stored = |source| Error::Stored { kind: object.kind, id: object.id.clone(), source };
    body_priority(object.kind, if object.deleted { &[] } else { &object.body }).map_err(stored)
}

/// The class of all objects of a kind; `None`: each has its own.
pub(crate) fn kind_priority(kind: ObjectKind) -> Option<Priority> {
    match kind {
        // Without its distribution a package that came would seem to be wanted by nobody. How a site is, in few bytes,
        // people want to know the more, the less gets through to it.
        ObjectKind::Trust
        | ObjectKind::Site
        | ObjectKind::SiteHealth
        | ObjectKind::Distribution
        | ObjectKind::Kill => Some(Priority::High),
        ObjectKind::Advertisement | ObjectKind::Package => None,
        ObjectKind::Event => Some(Priority::Low),
        ObjectKind::Collection
        | ObjectKind::DistributionPoint
        | ObjectKind::Client
        | ObjectKind::PackageStatus
        | ObjectKind::AdvertisementStatus
        | ObjectKind::ParcelReceipt => Some(Priority::Medium),
    }
}

/// The class that a package or an advertisement says it has; a deleted one has no body.
pub(crate) fn body_priority(kind: ObjectKind, body: &[u8]) -> Result<Priority, ConvertError> {
    match kind {
        _ if body.is_empty() => Ok(Priority::Medium),
        ObjectKind::Advertisement => {
            Ok(convert::decode::<wire::Advertisement, Advertisement>(body)?.priority)
        }
        ObjectKind::Package => {
            Ok(convert::decode::<wire::PackageDefinition, PackageDefinition>(body)?.priority)
        }
        _ => Ok(Priority::Medium),
    }
}

/// A bundle as the link is told of it.
pub(crate) fn bundle_item(bundle: &BundleRow, priority: Priority, queued_at: Timestamp) -> OutItem {
    OutItem {
        id: ItemId::of(&bundle.digest),
        kind: ItemKind::Bundle,
        priority,
        length: bundle.length,
        digest: bundle.digest,
        subject: bundle.package.to_string(),
        target: Some(bundle.target),
        bases: bundle.bases.clone(),
        rank: 0,
        deadline: None,
        queued_at,
        available: bundle.length,
        inline: None,
        state: None,
    }
}
