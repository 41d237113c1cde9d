//! Receiver, for objects: whether one may come from this peer, says what it should, and is news.

use packhorse_domain::{
    advertisement::Advertisement,
    client::ClientFact,
    collection::Collection,
    distribution::Distribution,
    health::SiteHealth,
    id::SiteCode,
    kill::Kill,
    link::RefuseReason,
    object::{Direction, From, Merge, NotAllowed, Object, ObjectKind, admit, merge},
    package::PackageDefinition,
    parcel::ParcelReceipt,
    site::{SiteFact, SitePath},
    status::{AdvertisementStatus, Event, PackageStatus, PointFact},
};
use packhorse_proto::{
    convert::{self, ConvertError},
    object::v1 as wire,
};
use packhorse_runtime::{error_chain, telemetry::set_parent};
use packhorse_trust::{SignedType, TrustError};
use prost::Message;
use tracing::Instrument as _;

use crate::{
    error::Error,
    record,
    sender::recover,
    site::Site,
    status,
    store::{
        StoreError, Tx,
        neighbours::{self, Relation},
        objects,
    },
};

/// Why an object is refused.
#[derive(Debug, thiserror::Error)]
pub(super) enum Rejection {
    #[error("it does not decode")]
    Decode(#[source] ConvertError),
    #[error(transparent)]
    NotAllowed(#[from] NotAllowed),
    #[error("its signature is not accepted")]
    Signature(#[source] TrustError),
    #[error("its body does not fit its name")]
    OtherName,
    #[error(
        "the same version with another content is held here; the owner's database was tampered with or forked"
    )]
    Conflict,
    #[error("the site database failed")]
    Store(#[from] StoreError),
}

impl Rejection {
    /// What the sender is told to do.
    pub(super) fn reason(&self) -> RefuseReason {
        match self {
            Rejection::Decode(ConvertError::Unknown { .. }) => RefuseReason::UnknownKind,
            Rejection::Decode(_) => RefuseReason::Damaged,
            Rejection::NotAllowed(_)
            | Rejection::Signature(_)
            | Rejection::OtherName
            | Rejection::Conflict => RefuseReason::NotAllowed,
            Rejection::Store(_) => RefuseReason::NoSpace,
        }
    }
}

/// Takes in an object as it came over the link.
pub(super) async fn apply(
    site: &Site,
    tx: &mut Tx,
    peer: &SiteCode,
    relation: Relation,
    content: &[u8],
) -> Result<(), Rejection> {
    let object = open(site, tx, peer, relation, content).await?;
    check_body(site, &object)?;
    let digest = record::digest(content);
    let held = objects::held(tx, object.kind, &object.id).await?;
    match merge(held.as_ref(), &object.owner, object.version, &digest) {
        Merge::Held => Ok(()),
        Merge::Conflict => recover::settle(site, tx, &object).await,
        Merge::Adopt => {
            if object.kind == ObjectKind::Trust {
                site.change_trust(|trust| trust.update_trust_file(&object.body))
                    .map_err(Rejection::Signature)?;
            }
            let span = tracing::info_span!(
                target: "receiver",
                "take-in",
                kind = object.kind.as_str(),
                id = object.id,
                version = object.version,
                peer = %peer,
            );
            set_parent(&span, &object.traceparent);
            let (kind, id, version) = (object.kind.as_str(), &object.id, object.version);
            tracing::debug!(target: "receiver", %peer, kind, id, version, "an object is taken in");
            objects::put(tx, &object, content, &digest, site.now()).instrument(span).await?;
            if object.kind == ObjectKind::Event {
                status::took(site, tx, &object).await?;
            }
            if object.kind.direction() != way(relation) {
                recover::came_back(site, tx, peer, &object).await?;
            }
            Ok(())
        }
    }
}

/// Takes in objects that came with a parcel, and says why some were refused. What others need may stand behind them: who is
/// refused is asked again as long as that helps.
pub(crate) async fn take_objects(
    site: &Site,
    tx: &mut Tx,
    peer: &SiteCode,
    relation: Relation,
    objects: &[bytes::Bytes],
) -> Result<Vec<String>, Error> {
    let mut left: Vec<&bytes::Bytes> = objects.iter().collect();
    loop {
        let (mut again, mut refused) = (Vec::new(), Vec::new());
        for content in &left {
            match apply(site, tx, peer, relation, content).await {
                Ok(()) => {}
                Err(Rejection::Store(error)) => return Err(error.into()),
                Err(rejection) => {
                    again.push(*content);
                    refused.push(error_chain(&rejection));
                }
            }
        }
        if again.is_empty() || again.len() == left.len() {
            return Ok(refused);
        }
        left = again;
    }
}

/// Which way objects of this peer go, but for those that come back.
fn way(relation: Relation) -> Direction {
    match relation {
        Relation::Parent => Direction::Down,
        Relation::Child => Direction::Up,
    }
}

/// Decodes and checks who may say this. What goes down is signed by its owner above, whoever hands it over; what goes up
/// is not, and the child that it lies under speaks for it.
async fn open(
    site: &Site,
    tx: &mut Tx,
    peer: &SiteCode,
    relation: Relation,
    content: &[u8],
) -> Result<Object, Rejection> {
    let (object, is_signed) = record::object_in(content).map_err(Rejection::Decode)?;
    let direction = object.kind.direction();
    let owner = std::slice::from_ref(&object.owner);
    let from = match relation {
        Relation::Parent => From::Parent,
        Relation::Child if direction == Direction::Up && lies_under(site, tx, peer, &object).await? => {
            From::Child(owner)
        }
        Relation::Child => From::Child(&[]),
    };
    admit(object.kind, &object.owner, &from, site.path())?;
    match (direction, is_signed) {
        (Direction::Down, _) => {
            site.trust(|trust| trust.open_by_site(SignedType::Object, content, &object.owner, site.now()))
                .map_err(Rejection::Signature)?;
        }
        (Direction::Up, false) => {}
        (Direction::Up, true) => return Err(Rejection::OtherName),
    }
    Ok(object)
}

/// Whether the owner of an object lies under the child that sent it. A new site makes itself known: its own fact names
/// the parent under which it hangs, and it hangs there for good.
async fn lies_under(site: &Site, tx: &mut Tx, child: &SiteCode, object: &Object) -> Result<bool, Rejection> {
    let fact = match object.kind {
        ObjectKind::Site if !object.deleted => Some(decode::<wire::SiteFact, SiteFact>(&object.body)?),
        _ => None,
    };
    if object.owner == *child {
        let Some(fact) = fact else { return Ok(true) };
        // One further down that speaks for itself, with a parcel, hangs where it did.
        let known = parent_of(tx, child).await?.unwrap_or_else(|| site.code().clone());
        return Ok(fact.parent == Some(known));
    }
    // Nobody below speaks for this site, for one above it or for another child.
    if site.path().is_under(&object.owner) || neighbours::children(tx).await?.contains(&object.owner) {
        return Ok(false);
    }
    match fact {
        None => hangs_under(tx, &object.owner, child).await,
        Some(SiteFact { parent: None, .. }) => Ok(false),
        Some(SiteFact { parent: Some(parent), .. }) => {
            let known = parent_of(tx, &object.owner).await?;
            Ok(known.is_none_or(|known| known == parent) && hangs_under(tx, &parent, child).await?)
        }
    }
}

async fn hangs_under(tx: &mut Tx, site: &SiteCode, child: &SiteCode) -> Result<bool, Rejection> {
    let mut at = site.clone();
    for _ in 0..SitePath::LEVELS_MAX {
        if at == *child {
            return Ok(true);
        }
        match parent_of(tx, &at).await? {
            Some(parent) => at = parent,
            None => return Ok(false),
        }
    }
    Ok(false)
}

async fn parent_of(tx: &mut Tx, site: &SiteCode) -> Result<Option<SiteCode>, Rejection> {
    match record::find::<wire::SiteFact, SiteFact>(tx, ObjectKind::Site, site.as_str()).await {
        Ok(found) => Ok(found.and_then(|(_, fact)| fact.parent)),
        Err(Error::Store(error)) => Err(Rejection::Store(error)),
        Err(_) => Err(Rejection::OtherName),
    }
}

/// (site, parent) of every site that is known.
pub(crate) async fn parents(tx: &mut Tx) -> Result<Vec<(SiteCode, SiteCode)>, Error> {
    Ok(record::list::<wire::SiteFact, SiteFact>(tx, ObjectKind::Site)
        .await?
        .into_iter()
        .filter_map(|(_, fact)| Some((fact.code, fact.parent?)))
        .collect())
}

/// Whether the body decodes as its kind and speaks of what its name says, so that nobody trips over it later.
fn check_body(site: &Site, object: &Object) -> Result<(), Rejection> {
    if object.deleted {
        let sound = object.body.is_empty() && names_owner(object);
        return if sound { Ok(()) } else { Err(Rejection::OtherName) };
    }
    let (body, owner) = (object.body.as_slice(), &object.owner);
    let name = match object.kind {
        ObjectKind::Package => {
            let package = decode::<wire::PackageDefinition, PackageDefinition>(body)?;
            site.trust(|trust| trust.open_by_author(&package.signed_version, &package.id))
                .map_err(Rejection::Signature)?;
            package.id.to_string()
        }
        ObjectKind::Distribution => decode::<wire::Distribution, Distribution>(body)?.package.to_string(),
        ObjectKind::Collection => decode::<wire::Collection, Collection>(body)?.id.to_string(),
        ObjectKind::Advertisement => decode::<wire::Advertisement, Advertisement>(body)?.id.to_string(),
        ObjectKind::Trust if object.owner != site.path().sites()[0] => return Err(Rejection::OtherName),
        ObjectKind::Trust => "trust".to_owned(),
        ObjectKind::Kill => Kill::id(owner, &decode::<wire::Kill, Kill>(body)?.package),
        ObjectKind::Site => decode::<wire::SiteFact, SiteFact>(body)?.code.to_string(),
        ObjectKind::DistributionPoint => {
            let point = decode::<wire::DistributionPointFact, PointFact>(body)?;
            format!("{}/{}", owned(owner, point.site)?, point.name)
        }
        ObjectKind::Client => {
            let client = decode::<wire::ClientFact, ClientFact>(body)?;
            owned(owner, client.site)?;
            client.id.to_string()
        }
        ObjectKind::PackageStatus => {
            let status = decode::<wire::PackageStatus, PackageStatus>(body)?;
            owned(owner, status.site.clone())?;
            record::package_status_id(&status)
        }
        ObjectKind::AdvertisementStatus => {
            let status = decode::<wire::AdvertisementStatus, AdvertisementStatus>(body)?;
            owned(owner, status.site)?;
            format!("{}/{}", status.advertisement, status.client)
        }
        ObjectKind::Event => {
            let event = decode::<wire::Event, Event>(body)?;
            format!("{}/{:012}", owned(owner, event.site)?, event.sequence)
        }
        ObjectKind::ParcelReceipt => {
            let receipt = decode::<wire::ParcelReceipt, ParcelReceipt>(body)?;
            ParcelReceipt::id(&owned(owner, receipt.site)?, &receipt.parcel)
        }
        ObjectKind::SiteHealth => {
            owned(owner, decode::<wire::SiteHealth, SiteHealth>(body)?.site)?.to_string()
        }
    };
    let made_by_owner = object.kind != ObjectKind::Site || name == owner.as_str();
    if name == object.id && made_by_owner { Ok(()) } else { Err(Rejection::OtherName) }
}

/// Whether the name of a tombstone, which has no body that would say so, is one that its owner gives.
fn names_owner(object: &Object) -> bool {
    let mut parts = object.id.split('/');
    let site = match object.kind {
        // Every site lists these, by site and package.
        ObjectKind::Kill => return Kill::parse_id(&object.id).is_some_and(|(site, _)| site == object.owner),
        ObjectKind::Site
        | ObjectKind::SiteHealth
        | ObjectKind::DistributionPoint
        | ObjectKind::Event
        | ObjectKind::ParcelReceipt => parts.next(),
        ObjectKind::PackageStatus => parts.nth(1),
        ObjectKind::Package
        | ObjectKind::Distribution
        | ObjectKind::Collection
        | ObjectKind::Advertisement
        | ObjectKind::Trust
        | ObjectKind::Client
        | ObjectKind::AdvertisementStatus => return true,
    };
    site == Some(object.owner.as_str())
}

fn owned(owner: &SiteCode, site: SiteCode) -> Result<SiteCode, Rejection> {
    if site == *owner { Ok(site) } else { Err(Rejection::OtherName) }
}

fn decode<M, T>(body: &[u8]) -> Result<T, Rejection>
where
    M: Message + Default,
    T: TryFrom<M, Error = ConvertError>,
{
    convert::decode::<M, T>(body).map_err(Rejection::Decode)
}
