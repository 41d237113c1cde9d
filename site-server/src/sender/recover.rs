//! What a site does when its own objects come back to it: its database was restored from a backup, or lost rows.

use packhorse_domain::{
    id::SiteCode,
    object::{Object, ObjectKind},
    status::{EventType, PointFact, Severity},
};
use packhorse_proto::{convert, object::v1 as wire};

use crate::{
    error::Error,
    record,
    sender::apply::Rejection,
    site::Site,
    status,
    store::{
        Tx, objects,
        points::{self, PointRow},
    },
};

const FORKED: &str = "another content of the same version was made here before the database was restored; what is here \
                      now stays, as a higher version";

/// After an object was taken in that came back. The peer holds it, of course; and a distribution point of this site is
/// one again, or no more.
pub(super) async fn came_back(
    site: &Site,
    tx: &mut Tx,
    peer: &SiteCode,
    object: &Object,
) -> Result<(), Rejection> {
    objects::acknowledge(tx, peer, object.kind, &object.id, object.version).await?;
    if object.kind != ObjectKind::DistributionPoint || object.owner != *site.code() {
        return Ok(());
    }
    if object.deleted {
        if let Some(name) = object.id.split('/').nth(1).and_then(|name| name.parse().ok()) {
            points::remove(tx, &name).await?;
        }
    } else {
        let fact = convert::decode::<wire::DistributionPointFact, PointFact>(&object.body);
        let PointFact { name, kind, location, .. } = fact.map_err(Rejection::Decode)?;
        points::put(tx, &PointRow { name, kind, location }).await?;
    }
    Ok(())
}

/// Two contents of one version: where the object was made that is settled by a higher one, and elsewhere it is an alarm.
/// That both are this site's was checked: the other one is from before a restore.
pub(super) async fn settle(site: &Site, tx: &mut Tx, object: &Object) -> Result<(), Rejection> {
    if object.owner != *site.code() {
        return Err(Rejection::Conflict);
    }
    let failed = |error| match error {
        Error::Store(error) => Rejection::Store(error),
        // Writing an own object again fails at the database or not at all.
        _ => Rejection::Conflict,
    };
    if !record::raise(site, tx, object.kind, &object.id, object.version).await.map_err(failed)? {
        return Err(Rejection::Conflict);
    }
    let subject = format!("{}/{}", object.kind.as_str(), object.id);
    let class = (Severity::Warning, EventType::Milestone);
    status::report(site, tx, "receiver", class, &subject, FORKED).await.map_err(failed)
}
