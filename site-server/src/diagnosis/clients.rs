//! Clients of this site, and what they make of an advertisement.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use packhorse_domain::{
    Timestamp,
    advertisement::{Advertisement, Delivery},
    client::ClientFact,
    collection::Collection,
    diagnosis::{Advertised, ClientFacts, Finding, Heard, Question, client, clients},
    id::{AdvertisementId, ClientId, CollectionId, SiteCode},
    object::ObjectKind,
    status::AdvertisementStatus,
    window::Windows,
};
use packhorse_proto::object::v1 as wire;

use super::{Asker, caps, offers};
use crate::{
    error::Error,
    record,
    store::{Tx, clients as members, objects, offers as instructions},
};

/// The client that is asked about, or what all members add up to.
pub(super) async fn findings(
    asker: &Asker,
    question: &Question,
    advertisement: &Advertisement,
) -> Result<Vec<Finding>, Error> {
    let mut tx = asker.site.store.read().await?;
    let mut asked = offers::members_of(&mut tx, advertisement).await?;
    if let Some(one) = &question.client {
        asked = vec![one.clone()];
    }
    let seen: BTreeMap<ClientId, Timestamp> = members::list_seen(&mut tx).await?.into_iter().collect();
    let version = version_of(&mut tx, advertisement).await?;
    let advertised = advertised(asker, &mut tx, advertisement).await?;
    let windowed = windowed(&mut tx).await?;
    let mut all = Vec::new();
    for id in asked {
        let machine = machine(&mut tx, &id).await?;
        all.push(ClientFacts {
            at: asker.site.code().clone(),
            known: seen.contains_key(&id),
            heard: Heard { reported_at: seen.get(&id).copied(), ..Heard::default() },
            advertised: advertised.clone(),
            windows: machine.as_ref().map(|fact| windows_of(&windowed, fact)).unwrap_or_default(),
            machine,
            instructed_at: instructed_at(asker, &mut tx, &id).await?,
            source_version: version,
            status: status_of(&mut tx, &advertisement.id, &id).await?,
            client: id,
            now: asker.site.now(),
        });
    }
    drop(tx);
    caps::hear(asker, &mut all).await;
    Ok(match (&question.client, all.first()) {
        (Some(_), Some(one)) => client(one),
        _ => clients(asker.site.code(), &all),
    })
}

/// What was replicated of a site's clients.
pub(super) async fn told(
    asker: &Asker,
    tx: &mut Tx,
    site: &SiteCode,
    (id, only): (&AdvertisementId, Option<&ClientId>),
) -> Result<Vec<Finding>, Error> {
    let Some((_, advertisement)) = record::advertisement(tx, id.as_str()).await? else {
        return Ok(Vec::new());
    };
    let version = version_of(tx, &advertisement).await?;
    let advertised = advertised(asker, tx, &advertisement).await?;
    let windowed = windowed(tx).await?;
    let mut all = Vec::new();
    for fact in of_site(tx, &advertisement, Some(site)).await? {
        if only.is_none_or(|only| *only == fact.id) {
            all.push(ClientFacts {
                at: site.clone(),
                known: true,
                heard: Heard::default(),
                advertised: advertised.clone(),
                source_version: version,
                status: status_of(tx, id, &fact.id).await?,
                client: fact.id.clone(),
                windows: windows_of(&windowed, &fact),
                machine: Some(fact),
                instructed_at: None,
                now: asker.site.now(),
            });
        }
    }
    Ok(match (only, all.first()) {
        (Some(_), Some(one)) => client(one),
        _ => clients(site, &all),
    })
}

async fn advertised(
    asker: &Asker,
    tx: &mut Tx,
    advertisement: &Advertisement,
) -> Result<Arc<Advertised>, Error> {
    let object = objects::get(tx, ObjectKind::Advertisement, advertisement.id.as_str()).await?;
    let record = record::package(tx, advertisement.package.as_str()).await?;
    let own = asker.site.code().clone();
    let program = record.as_ref().and_then(|record| record.version.program(&advertisement.program)).cloned();
    Ok(Arc::new(Advertised {
        owner: object.map_or_else(|| own.clone(), |object| object.owner),
        package_owner: record.map_or(own, |record| record.object.owner),
        advertisement: advertisement.clone(),
        program,
    }))
}

/// When the client's present instruction was issued.
async fn instructed_at(asker: &Asker, tx: &mut Tx, client: &ClientId) -> Result<Option<Timestamp>, Error> {
    let row = instructions::instruction(tx, client).await?;
    let validity = i64::try_from(asker.site.settings.instruction_validity.as_micros()).unwrap_or(i64::MAX);
    Ok(row.map(|row| Timestamp(row.not_after.0.saturating_sub(validity))))
}

/// The collections that have maintenance windows.
async fn windowed(tx: &mut Tx) -> Result<Vec<Collection>, Error> {
    let all = record::list::<wire::Collection, Collection>(tx, ObjectKind::Collection).await?;
    Ok(all.into_iter().map(|(_, collection)| collection).filter(|one| !one.windows.is_empty()).collect())
}

/// Those of the collections that mean the client, with their windows.
fn windows_of(windowed: &[Collection], client: &ClientFact) -> Vec<(CollectionId, Windows)> {
    let own = windowed.iter().filter(|collection| collection.contains(client));
    own.map(|collection| (collection.id.clone(), collection.windows.clone())).collect()
}

async fn machine(tx: &mut Tx, client: &ClientId) -> Result<Option<ClientFact>, Error> {
    let found = record::find::<wire::ClientFact, ClientFact>(tx, ObjectKind::Client, client.as_str()).await?;
    Ok(found.map(|(_, fact)| fact))
}

/// Clients that have told of themselves and are in the advertisement's collection, of one site or of all.
pub(crate) async fn of_site(
    tx: &mut Tx,
    advertisement: &Advertisement,
    site: Option<&SiteCode>,
) -> Result<Vec<ClientFact>, Error> {
    let collection = record::collection(tx, advertisement.collection.as_str()).await?;
    let Some((_, collection)) = collection else { return Ok(Vec::new()) };
    let all = record::list::<wire::ClientFact, ClientFact>(tx, ObjectKind::Client).await?;
    let is_meant =
        |fact: &ClientFact| site.is_none_or(|site| fact.site == *site) && collection.contains(fact);
    Ok(all.into_iter().map(|(_, fact)| fact).filter(is_meant).collect())
}

/// The clients that have run the version that they should come to, as far as they have told.
pub(crate) async fn succeeded(
    tx: &mut Tx,
    advertisement: &Advertisement,
) -> Result<BTreeSet<ClientId>, Error> {
    let version = version_of(tx, advertisement).await?;
    let prefix = format!("{}/", advertisement.id);
    let told = objects::list_under(tx, ObjectKind::AdvertisementStatus, &prefix).await?;
    let mut through = BTreeSet::new();
    for object in told {
        let status = record::read::<wire::AdvertisementStatus, AdvertisementStatus>(&object)?;
        if status.delivery == Delivery::Succeeded && status.source_version >= version {
            through.insert(status.client);
        }
    }
    Ok(through)
}

/// The version that clients should come to: where it is not run again for a new one, any will do.
async fn version_of(tx: &mut Tx, advertisement: &Advertisement) -> Result<u64, Error> {
    if !advertisement.rerun_on_update {
        return Ok(0);
    }
    let record = record::package(tx, advertisement.package.as_str()).await?;
    Ok(record.map_or(0, |record| record.version.source_version))
}

async fn status_of(
    tx: &mut Tx,
    advertisement: &AdvertisementId,
    client: &ClientId,
) -> Result<Option<AdvertisementStatus>, Error> {
    let id = format!("{advertisement}/{client}");
    let held = objects::get(tx, ObjectKind::AdvertisementStatus, &id).await?.filter(|one| !one.deleted);
    held.map(|object| record::read::<wire::AdvertisementStatus, AdvertisementStatus>(&object)).transpose()
}
