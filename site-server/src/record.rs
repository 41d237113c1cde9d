//! Writing and reading this site's objects: encode, sign, give the next version; open, decode.

use packhorse_domain::{
    Digest, Timestamp,
    advertisement::Advertisement,
    client::ClientFact,
    collection::Collection,
    distribution::Distribution,
    object::{Direction, Object, ObjectKind},
    package::{PackageDefinition, PackageVersion},
    status::{AdvertisementStatus, PackageStatus},
};
use packhorse_proto::{
    convert::{self, ConvertError},
    object::v1 as wire,
};
use packhorse_runtime::telemetry::current_traceparent;
use packhorse_trust::{SignedType, sign};
use prost::Message;
use tracing::Instrument as _;

use crate::{
    error::Error,
    site::Site,
    store::{
        Tx,
        objects::{self, StoredObject},
    },
    trace,
};

/// An object out of what is sent on, and whether that is an envelope with a signature; whose it is is not asked here.
pub(crate) fn object_in(content: &[u8]) -> Result<(Object, bool), ConvertError> {
    // No object decodes as an envelope: where that has its type, an object has a number.
    let signed = wire::Signed::decode(content).ok().filter(|signed| !signed.r#type.is_empty());
    let payload = signed.as_ref().map_or(content, |signed| &signed.payload);
    Ok((convert::decode::<wire::Object, Object>(payload)?, signed.is_some()))
}

pub(crate) fn digest(bytes: &[u8]) -> Digest {
    Digest(*blake3::hash(bytes).as_bytes())
}

/// What is written: a body, or a tombstone.
#[derive(Debug, Clone)]
pub(crate) enum Body {
    Value(Vec<u8>),
    Deleted,
}

impl Body {
    pub(crate) fn of<'a, M, T>(value: &'a T) -> Body
    where
        M: Message + From<&'a T>,
    {
        Body::Value(convert::encode::<M, T>(value))
    }
}

/// Writes an object that this site owns, as its next version. An unchanged one stays as it is; says whether it
/// changed.
pub(crate) async fn write(
    site: &Site,
    tx: &mut Tx,
    kind: ObjectKind,
    id: &str,
    body: Body,
) -> Result<bool, Error> {
    let held = objects::get(tx, kind, id).await?;
    let (body, deleted) = match body {
        Body::Value(body) => (body, false),
        Body::Deleted => (Vec::new(), true),
    };
    let version = match &held {
        Some(held) if held.body == body && held.deleted == deleted => return Ok(false),
        None if deleted => return Ok(false),
        Some(held) => held.version + 1,
        None => 1,
    };
    put(site, tx, kind, id, version, body, deleted).await?;
    Ok(true)
}

/// Writes an own object anew as it is, above a version of which somebody holds another content. Says whether it did:
/// it may have been done.
pub(crate) async fn raise(
    site: &Site,
    tx: &mut Tx,
    kind: ObjectKind,
    id: &str,
    forked: u64,
) -> Result<bool, Error> {
    match objects::get(tx, kind, id).await? {
        Some(held) if held.version == forked && held.owner == *site.code() => {
            put(site, tx, kind, id, forked + 1, held.body, held.deleted).await?;
            Ok(true)
        }
        _ => Ok(false),
    }
}

#[expect(clippy::too_many_arguments, reason = "an object has this many parts")]
async fn put(
    site: &Site,
    tx: &mut Tx,
    kind: ObjectKind,
    id: &str,
    version: u64,
    body: Vec<u8>,
    deleted: bool,
) -> Result<(), Error> {
    let object = Object {
        kind,
        id: id.to_owned(),
        owner: site.code().clone(),
        version,
        deleted,
        body,
        traceparent: current_traceparent(),
    };
    let encoded = convert::encode::<wire::Object, _>(&object);
    let content = match kind.direction() {
        Direction::Down => sign(SignedType::Object, encoded, &[site.director()]),
        Direction::Up => encoded,
    };
    objects::put(tx, &object, &content, &digest(&content), site.now()).await?;
    Ok(())
}

/// A stored object's body as the domain's value.
pub(crate) fn read<M, T>(object: &StoredObject) -> Result<T, Error>
where
    M: Message + Default,
    T: TryFrom<M, Error = ConvertError>,
{
    convert::decode::<M, T>(&object.body).map_err(|source| Error::Stored {
        kind: object.kind,
        id: object.id.clone(),
        source,
    })
}

/// Every object of a kind that is not deleted, with its value.
pub(crate) async fn list<M, T>(tx: &mut Tx, kind: ObjectKind) -> Result<Vec<(StoredObject, T)>, Error>
where
    M: Message + Default,
    T: TryFrom<M, Error = ConvertError>,
{
    objects::list(tx, kind)
        .await?
        .into_iter()
        .map(|object| {
            let value = read::<M, T>(&object)?;
            Ok((object, value))
        })
        .collect()
}

/// The value of one object, unless it is not there or deleted.
pub(crate) async fn find<M, T>(
    tx: &mut Tx,
    kind: ObjectKind,
    id: &str,
) -> Result<Option<(StoredObject, T)>, Error>
where
    M: Message + Default,
    T: TryFrom<M, Error = ConvertError>,
{
    match objects::get(tx, kind, id).await? {
        Some(object) if !object.deleted => {
            let value = read::<M, T>(&object)?;
            Ok(Some((object, value)))
        }
        _ => Ok(None),
    }
}

pub(crate) async fn advertisement(
    tx: &mut Tx,
    id: &str,
) -> Result<Option<(StoredObject, Advertisement)>, Error> {
    find::<wire::Advertisement, Advertisement>(tx, ObjectKind::Advertisement, id).await
}

pub(crate) async fn collection(tx: &mut Tx, id: &str) -> Result<Option<(StoredObject, Collection)>, Error> {
    find::<wire::Collection, Collection>(tx, ObjectKind::Collection, id).await
}

/// A package as this site knows it.
#[derive(Debug, Clone)]
pub(crate) struct PackageRecord {
    pub(crate) object: StoredObject,
    pub(crate) definition: PackageDefinition,
    pub(crate) version: PackageVersion,
}

/// Every package, with the version that its author signed; the signature was checked when the object came in.
pub(crate) async fn packages(tx: &mut Tx) -> Result<Vec<PackageRecord>, Error> {
    list::<wire::PackageDefinition, PackageDefinition>(tx, ObjectKind::Package)
        .await?
        .into_iter()
        .map(|(object, definition)| package_record(object, definition))
        .collect()
}

pub(crate) async fn package(tx: &mut Tx, id: &str) -> Result<Option<PackageRecord>, Error> {
    find::<wire::PackageDefinition, PackageDefinition>(tx, ObjectKind::Package, id)
        .await?
        .map(|(object, definition)| package_record(object, definition))
        .transpose()
}

fn package_record(object: StoredObject, definition: PackageDefinition) -> Result<PackageRecord, Error> {
    let stored = |source| Error::Stored { kind: ObjectKind::Package, id: definition.id.to_string(), source };
    let signed = wire::Signed::decode(definition.signed_version.as_slice())
        .map_err(|source| stored(ConvertError::Decode(source)))?;
    let version = convert::decode::<wire::PackageVersion, PackageVersion>(&signed.payload).map_err(stored)?;
    Ok(PackageRecord { object, definition, version })
}

pub(crate) async fn distribution(
    tx: &mut Tx,
    package: &packhorse_domain::id::PackageId,
) -> Result<Distribution, Error> {
    Ok(find::<wire::Distribution, Distribution>(tx, ObjectKind::Distribution, package.as_str())
        .await?
        .map_or_else(|| Distribution::empty(package.clone()), |(_, distribution)| distribution))
}

pub(crate) async fn clients(tx: &mut Tx, site: &Site) -> Result<Vec<ClientFact>, Error> {
    Ok(list::<wire::ClientFact, ClientFact>(tx, ObjectKind::Client)
        .await?
        .into_iter()
        .map(|(_, fact)| fact)
        .filter(|fact| fact.site == *site.code())
        .collect())
}

/// The id of the object with a package's status at one place.
pub(crate) fn package_status_id(status: &PackageStatus) -> String {
    let point = status.point.as_ref().map(ToString::to_string).unwrap_or_default();
    format!("{}/{}/{point}", status.package, status.site)
}

/// Whether a status says something else than what is held of the place: the time alone is no news.
pub(crate) async fn is_news(tx: &mut Tx, status: &PackageStatus) -> Result<bool, Error> {
    let id = package_status_id(status);
    let held = find::<wire::PackageStatus, PackageStatus>(tx, ObjectKind::PackageStatus, &id).await?;
    Ok(held.is_none_or(|(_, held)| held != PackageStatus { changed_at: held.changed_at, ..status.clone() }))
}

/// Writes a package's status at one place of this site, if it is news; says whether it is.
pub(crate) async fn put_package_status(
    site: &Site,
    tx: &mut Tx,
    status: PackageStatus,
) -> Result<bool, Error> {
    if !is_news(tx, &status).await? {
        return Ok(false);
    }
    let id = package_status_id(&status);
    let mut span = tracing::info_span!(
        target: "status-manager",
        "package-status",
        package = %status.package,
        place = id,
        state = status.state.as_str(),
    );
    // Whoever says it, it is news of the version that the package's own trace brought here.
    if let Some(package) = package(tx, status.package.as_str()).await? {
        span = trace::of(&package.object, span);
    }
    let body = Body::of::<wire::PackageStatus, _>(&status);
    write(site, tx, ObjectKind::PackageStatus, &id, body).instrument(span).await
}

/// Takes in what a client of this site reported. A report that is not newer than what is held changes nothing.
pub(crate) async fn put_advertisement_status(
    site: &Site,
    tx: &mut Tx,
    status: &AdvertisementStatus,
) -> Result<bool, Error> {
    let kind = ObjectKind::AdvertisementStatus;
    let id = format!("{}/{}", status.advertisement, status.client);
    let version = match objects::get(tx, kind, &id).await? {
        None => status.generation,
        Some(held) if held.deleted => status.generation.max(held.version + 1),
        Some(held) => {
            let last = read::<wire::AdvertisementStatus, AdvertisementStatus>(&held)?;
            if last.generation >= status.generation {
                return Ok(false);
            }
            // The client counts, but its count may have been overtaken when two contents of a version met.
            status.generation.max(held.version + 1)
        }
    };
    let body = convert::encode::<wire::AdvertisementStatus, _>(status);
    put(site, tx, kind, &id, version, body, false).await?;
    Ok(true)
}

/// The time of an object's last change, for people.
pub(crate) fn changed_at_us(object: &StoredObject) -> i64 {
    let Timestamp(us) = object.changed_at;
    us
}
