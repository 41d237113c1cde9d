//! Scheduler: which mini-jobs a link may work on now.

use packhorse_domain::{
    Priority,
    advertisement::Advertisement,
    id::SiteCode,
    link::{ItemId, ItemKind, ObjectState, OutItem, limits},
    object::{Direction, ObjectKind},
};
use packhorse_proto::object::v1 as wire;

use crate::{
    error::Error,
    record,
    site::Site,
    store::{
        bundles::{self, BundleRow, SendingState},
        neighbours::Relation,
        objects::{self, StoredObject},
    },
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
}

#[derive(Debug, Clone)]
pub(crate) enum JobContent {
    Object { kind: ObjectKind, id: String, version: u64, content: Vec<u8> },
    Bundle(BundleRow),
}

/// What the neighbour lacks and may be sent now.
pub(crate) async fn admit(site: &Site, peer: &SiteCode, relation: Relation) -> Result<Vec<Job>, Error> {
    let mut tx = site.store.read().await?;
    let direction = match relation {
        Relation::Parent => Direction::Up,
        Relation::Child => Direction::Down,
    };
    let mut lacking = objects::lacking(&mut tx, peer, direction, OBJECTS_MAX).await?;
    if lacking.len() == OBJECTS_MAX {
        lacking.extend(objects::lacking_newest(&mut tx, peer, direction, NEWEST_MAX).await?);
    }
    let mut jobs = lacking.into_iter().map(object_job).collect::<Result<Vec<_>, _>>()?;
    for sending in bundles::sendings(&mut tx).await? {
        let due = match sending.state {
            SendingState::Queued => true,
            SendingState::Failed => sending.retry_at <= site.now(),
            SendingState::Done | SendingState::BaseMissing => false,
        };
        if sending.peer == *peer
            && due
            && let Some(bundle) = bundles::get(&mut tx, &sending.digest).await?
        {
            let package = record::package(&mut tx, bundle.package.as_str()).await?;
            let priority = package.map_or(Priority::Medium, |package| package.definition.priority);
            jobs.push(bundle_job(bundle, priority, sending.changed_at));
        }
    }
    Ok(jobs)
}

/// The mini-job that sends an object as it is.
pub(crate) fn object_job(object: StoredObject) -> Result<Job, Error> {
    let subject = format!("{}/{}", object.kind.as_str(), object.id);
    let item = OutItem {
        id: ItemId::of(&object.digest),
        kind: ItemKind::Object,
        priority: object_priority(&object)?,
        length: object.content.len() as u64,
        digest: object.digest,
        target: None,
        bases: Vec::new(),
        queued_at: object.changed_at,
        inline: (object.content.len() <= limits::INLINE_BYTES_MAX).then(|| object.content.clone()),
        state: Some(ObjectState { object: subject.clone(), version: object.version }),
        subject,
    };
    let content = JobContent::Object {
        kind: object.kind,
        id: object.id,
        version: object.version,
        content: object.content,
    };
    Ok(Job { item, content })
}

/// Objects are small: those that others wait for go at their own priority or better, status after them, messages last.
fn object_priority(object: &StoredObject) -> Result<Priority, Error> {
    Ok(match object.kind {
        // Without its distribution a package that came would seem to be wanted by nobody.
        ObjectKind::Trust | ObjectKind::Site | ObjectKind::Distribution => Priority::High,
        ObjectKind::Advertisement if !object.deleted => {
            record::read::<wire::Advertisement, Advertisement>(object)?.priority
        }
        ObjectKind::Package if !object.deleted => {
            record::read::<wire::PackageDefinition, packhorse_domain::package::PackageDefinition>(object)?
                .priority
        }
        ObjectKind::Event => Priority::Low,
        ObjectKind::Advertisement
        | ObjectKind::Package
        | ObjectKind::Collection
        | ObjectKind::DistributionPoint
        | ObjectKind::Client
        | ObjectKind::PackageStatus
        | ObjectKind::AdvertisementStatus => Priority::Medium,
    })
}

fn bundle_job(bundle: BundleRow, priority: Priority, queued_at: packhorse_domain::Timestamp) -> Job {
    let item = OutItem {
        id: ItemId::of(&bundle.digest),
        kind: ItemKind::Bundle,
        priority,
        length: bundle.length,
        digest: bundle.digest,
        subject: bundle.package.to_string(),
        target: Some(bundle.target),
        bases: bundle.bases.clone(),
        queued_at,
        inline: None,
        state: None,
    };
    Job { item, content: JobContent::Bundle(bundle) }
}
