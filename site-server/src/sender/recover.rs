//! What a site does when its own objects come back to it: its database was restored from a backup, or lost rows.

use packhorse_domain::{
    id::SiteCode,
    message,
    object::{Object, ObjectKind},
    status::PointFact,
};
use packhorse_proto::object::v1 as wire;

use crate::{
    error::Error,
    record::{self, Body},
    sender::apply::Rejection,
    site::Site,
    status,
    store::{
        Tx, objects,
        points::{self, PointRow},
    },
};

/// After an object was taken in that came back. The peer holds it, of course. Which distribution points there are is
/// this site's own setting, and nobody sets it from afar: what is told of them follows what is set.
pub(super) async fn came_back(
    site: &Site,
    tx: &mut Tx,
    peer: &SiteCode,
    object: &Object,
) -> Result<(), Rejection> {
    objects::acknowledge(tx, peer, object.kind, &object.id, object.version).await?;
    let mut parts = object.id.split('/');
    let point = match object.kind {
        _ if object.owner != *site.code() => None,
        ObjectKind::DistributionPoint => parts.nth(1),
        ObjectKind::PackageStatus => parts.nth(2).filter(|point| !point.is_empty()),
        _ => None,
    };
    let Some(point) = point else {
        return Ok(());
    };
    let set = points::list(tx).await?.into_iter().find(|row| row.name.as_str() == point);
    let body = match (set, object.kind) {
        (None, _) => Body::Deleted,
        (Some(PointRow { name, kind, location }), ObjectKind::DistributionPoint) => {
            let fact = PointFact { site: site.code().clone(), name, kind, location };
            Body::of::<wire::DistributionPointFact, _>(&fact)
        }
        // How far it is, those find out who bring it there.
        (Some(_), _) => return Ok(()),
    };
    record::write(site, tx, object.kind, &object.id, body).await.map_err(failed)?;
    Ok(())
}

/// Writing an own object again fails at the database or not at all.
fn failed(error: Error) -> Rejection {
    match error {
        Error::Store(error) => Rejection::Store(error),
        _ => Rejection::Conflict,
    }
}

/// Two contents of one version: where the object was made that is settled by a higher one, and elsewhere it is an alarm.
/// That both are this site's was checked: the other one is from before a restore.
pub(super) async fn settle(site: &Site, tx: &mut Tx, object: &Object) -> Result<(), Rejection> {
    if object.owner != *site.code() {
        return Err(Rejection::Conflict);
    }
    if !record::raise(site, tx, object.kind, &object.id, object.version).await.map_err(failed)? {
        return Err(Rejection::Conflict);
    }
    let subject = format!("{}/{}", object.kind.as_str(), object.id);
    status::report(site, tx, &subject, &message::copies_forked()).await.map_err(failed)
}
