//! Receiver, for objects: whether one may come from this peer, says what it should, and is news.

use packhorse_domain::{
    advertisement::Advertisement,
    client::ClientFact,
    collection::Collection,
    distribution::Distribution,
    id::SiteCode,
    link::RefuseReason,
    object::{From, Merge, NotAllowed, Object, ObjectKind, admit, merge},
    package::PackageDefinition,
    site::SiteFact,
    status::{AdvertisementStatus, Event, PackageStatus, PointFact},
};
use packhorse_proto::{
    convert::{self, ConvertError},
    object::v1 as wire,
};
use packhorse_trust::{SignedType, TrustError};
use prost::Message;

use crate::{
    error::Error,
    record,
    site::Site,
    store::{StoreError, Tx, neighbours::Relation, objects},
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
        Merge::Conflict => Err(Rejection::Conflict),
        Merge::Adopt => {
            if object.kind == ObjectKind::Trust {
                site.change_trust(|trust| trust.update_trust_file(&object.body))
                    .map_err(Rejection::Signature)?;
            }
            Ok(objects::put(tx, &object, content, &digest, site.now()).await?)
        }
    }
}

/// Decodes and checks who may say this: down only from the parent and signed by its owner above, up only from the
/// child that it lies under.
async fn open(
    site: &Site,
    tx: &mut Tx,
    peer: &SiteCode,
    relation: Relation,
    content: &[u8],
) -> Result<Object, Rejection> {
    match relation {
        Relation::Parent => {
            let signed = wire::Signed::decode(content)
                .map_err(|source| Rejection::Decode(ConvertError::Decode(source)))?;
            let claimed: Object =
                convert::decode::<wire::Object, Object>(&signed.payload).map_err(Rejection::Decode)?;
            admit(claimed.kind, &claimed.owner, &From::Parent, site.path())?;
            site.trust(|trust| trust.open_by_site(SignedType::Object, content, &claimed.owner, site.now()))
                .map_err(Rejection::Signature)?;
            Ok(claimed)
        }
        Relation::Child => {
            let object: Object =
                convert::decode::<wire::Object, Object>(content).map_err(Rejection::Decode)?;
            let below = below(tx, peer, &object).await?;
            admit(object.kind, &object.owner, &From::Child(&below), site.path())?;
            Ok(object)
        }
    }
}

/// The sites known to lie under a child, itself included. A new site makes itself known: its own fact names the
/// parent under which it hangs.
async fn below(tx: &mut Tx, child: &SiteCode, object: &Object) -> Result<Vec<SiteCode>, Rejection> {
    let parents = parents(tx).await.map_err(|error| match error {
        Error::Store(error) => Rejection::Store(error),
        _ => Rejection::OtherName,
    })?;
    let mut below = vec![child.clone()];
    let mut at = 0;
    while at < below.len() {
        let under = below[at].clone();
        let new = parents.iter().filter(|(site, parent)| *parent == under && !below.contains(site));
        let new: Vec<SiteCode> = new.map(|(site, _)| site.clone()).collect();
        below.extend(new);
        at += 1;
    }
    if object.kind == ObjectKind::Site && !below.contains(&object.owner) && !object.deleted {
        let fact = convert::decode::<wire::SiteFact, SiteFact>(&object.body).map_err(Rejection::Decode)?;
        let is_new = !parents.iter().any(|(site, _)| *site == object.owner);
        if is_new && fact.parent.is_some_and(|parent| below.contains(&parent)) {
            below.push(object.owner.clone());
        }
    }
    Ok(below)
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
        return if object.body.is_empty() { Ok(()) } else { Err(Rejection::OtherName) };
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
        ObjectKind::Trust => "trust".to_owned(),
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
    };
    let made_by_owner = object.kind != ObjectKind::Site || name == owner.as_str();
    if name == object.id && made_by_owner { Ok(()) } else { Err(Rejection::OtherName) }
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
