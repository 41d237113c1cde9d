//! An advertisement at this site: its gates, the instruction, the access points, the clients.

use packhorse_domain::{
    Timestamp,
    advertisement::Advertisement,
    client::ClientFact,
    collection::Collection,
    diagnosis::{AskedClient, Check, Finding, InstructionFacts, OfferFacts, Question, Verdict, offer},
    id::{AdvertisementId, ClientId, PackageId, SiteCode},
    instruction::{FileName, Instruction},
    object::ObjectKind,
    offer::{OfferView, PackageView},
};
use packhorse_proto::{convert, object::v1 as wire};
use prost::Message as _;

use super::{Asker, Part, caps, clients, packages};
use crate::{
    error::Error,
    kills, record,
    store::{
        Tx, caps as files, clients as members,
        objects::{self, StoredObject},
        offers,
    },
};

/// Everything that this site finds of an advertisement.
pub(super) async fn findings(
    asker: &Asker,
    question: &Question,
    id: &AdvertisementId,
    part: Part,
) -> Result<Vec<Finding>, Error> {
    let at = asker.site.code();
    let mut tx = asker.site.store.read().await?;
    let Some((object, advertisement)) = record::advertisement(&mut tx, id.as_str()).await? else {
        return Ok(vec![unknown(&mut tx, at, id).await?]);
    };
    let is_here = question.sites.contains(at);
    let mut found = Vec::new();
    if is_here {
        let facts = offer_facts(asker, &mut tx, question, (&object, &advertisement)).await?;
        found.extend(offer(&facts.as_facts(&advertisement)));
    } else if part == Part::First {
        let text = format!("advertisement {id} of site {} is known", object.owner);
        found.push(Finding::holds(at, Check::AdvertisementKnown, text).since(object.changed_at));
    }
    drop(tx);
    if found.iter().any(|finding| finding.verdict == Verdict::Fails) {
        return Ok(found);
    }
    let of_package = packages::findings(asker, question, &advertisement.package, part).await?;
    let is_held = found.iter().any(|finding| finding.check == Check::ContentAvailable.name());
    // The gate of the content stands behind what keeps the content away.
    let gate = if is_held { found.pop() } else { None };
    let place =
        found.iter().position(|finding| finding.check == Check::Offered.name()).unwrap_or(found.len());
    found.splice(place..place, of_package);
    found.extend(gate);
    if is_here && !is_held {
        found.extend(instructions(asker, question, &advertisement).await?);
        found.extend(caps::findings(asker, true).await?);
        found.extend(clients::findings(asker, question, &advertisement).await?);
    }
    Ok(found)
}

async fn unknown(tx: &mut Tx, at: &SiteCode, id: &AdvertisementId) -> Result<Finding, Error> {
    let deleted = objects::get(tx, ObjectKind::Advertisement, id.as_str()).await?.filter(|one| one.deleted);
    Ok(match deleted {
        Some(deleted) => {
            let text = format!("advertisement {id} was deleted");
            Finding::fails(at, Check::AdvertisementKnown, text).since(deleted.changed_at)
        }
        // What keeps it away is found above, on its way.
        None => {
            let text = format!("advertisement {id} has not arrived at site {at}");
            Finding::waits(at, Check::AdvertisementKnown, text)
        }
    })
}

/// The facts without what they borrow.
struct Loaded {
    at: SiteCode,
    owner: SiteCode,
    package_owner: SiteCode,
    collection_known: bool,
    members: usize,
    meant: usize,
    package: Option<PackageView>,
    client: Option<AskedClient>,
    offered: bool,
    since: Timestamp,
    now: Timestamp,
}

impl Loaded {
    fn as_facts<'a>(&self, advertisement: &'a Advertisement) -> OfferFacts<'a> {
        OfferFacts {
            at: self.at.clone(),
            view: OfferView {
                advertisement,
                collection_known: self.collection_known,
                members: self.members,
                package: self.package.clone(),
                now: self.now,
            },
            owner: self.owner.clone(),
            package_owner: self.package_owner.clone(),
            client: self.client.clone(),
            meant: self.meant,
            offered: self.offered,
            since: self.since,
        }
    }
}

async fn offer_facts(
    asker: &Asker,
    tx: &mut Tx,
    question: &Question,
    (object, advertisement): (&StoredObject, &Advertisement),
) -> Result<Loaded, Error> {
    let site = &asker.site;
    let collection = record::collection(tx, advertisement.collection.as_str()).await?;
    let here = members_of(tx, advertisement).await?;
    let record = record::package(tx, advertisement.package.as_str()).await?;
    let package_owner = record.as_ref().map_or(&object.owner, |record| &record.object.owner).clone();
    let package = match record {
        Some(record) => {
            let distribution = record::distribution(tx, &record.definition.id).await?;
            let place = packages::place_told(tx, site.code(), &record, &distribution, true).await?;
            Some(PackageView {
                killed: kills::list(tx).await?.killed(&record.definition.id, record.version.release),
                has_source: record.version.manifest.is_some(),
                has_program: record.version.program(&advertisement.program).is_some(),
                points_targeted: place.points.len(),
                points_installed: place.points.iter().filter(|point| packages::has(point, &place)).count(),
            })
        }
        None => None,
    };
    let meant = match &collection {
        Some((_, collection)) => meant(tx, site.code(), collection).await?,
        None => Vec::new(),
    };
    let client = match &question.client {
        Some(client) => Some(AskedClient {
            is_known: members::is_known(tx, client).await?,
            is_member: here.contains(client),
            is_meant: meant.contains(client),
            client: client.clone(),
        }),
        None => None,
    };
    let held = offers::held_back(tx).await?;
    let written = files::file(tx, &FileName::Offer(advertisement.id.as_str()).to_string()).await?;
    Ok(Loaded {
        at: site.code().clone(),
        owner: object.owner.clone(),
        package_owner,
        collection_known: collection.is_some(),
        members: here.len(),
        meant: meant.len(),
        package,
        client,
        offered: written.is_some() && !held.iter().any(|(one, _)| *one == advertisement.id),
        since: object.changed_at,
        now: site.now(),
    })
}

/// Those of this site's clients that the collection's rule and list mean, whether it was evaluated or not.
async fn meant(tx: &mut Tx, at: &SiteCode, collection: &Collection) -> Result<Vec<ClientId>, Error> {
    let all = record::list::<wire::ClientFact, ClientFact>(tx, ObjectKind::Client).await?;
    let facts = all.into_iter().map(|(_, fact)| fact);
    Ok(facts.filter(|fact| fact.site == *at && collection.contains(fact)).map(|fact| fact.id).collect())
}

/// The members of its collection among this site's clients.
pub(super) async fn members_of(tx: &mut Tx, advertisement: &Advertisement) -> Result<Vec<ClientId>, Error> {
    let all = members::memberships(tx).await?;
    Ok(all
        .into_iter()
        .filter(|(one, _)| *one == advertisement.collection)
        .map(|(_, client)| client)
        .collect())
}

/// What the instruction of the client that is asked about says; of all members, only those that lack something.
async fn instructions(
    asker: &Asker,
    question: &Question,
    advertisement: &Advertisement,
) -> Result<Vec<Finding>, Error> {
    let mut tx = asker.site.store.read().await?;
    let members = members_of(&mut tx, advertisement).await?;
    let asked = question.client.as_ref();
    let mut found = Vec::new();
    for client in members.into_iter().filter(|client| asked.is_none_or(|asked| asked == client)) {
        let content = files::file(&mut tx, &FileName::Instruction(client.as_str()).to_string()).await?;
        let row = offers::instruction(&mut tx, &client).await?;
        let facts = InstructionFacts {
            at: asker.site.code().clone(),
            names_it: content.and_then(|content| names(&content, advertisement)),
            not_after: row.map(|row| row.not_after),
            client,
            now: asker.site.now(),
        };
        let of_client = facts.findings();
        let is_asked = asked.is_some();
        found.extend(of_client.into_iter().filter(|one| is_asked || one.verdict != Verdict::Holds));
    }
    Ok(found)
}

fn names(content: &[u8], advertisement: &Advertisement) -> Option<bool> {
    let signed = wire::Signed::decode(content).ok()?;
    let instruction: Instruction = convert::decode::<wire::Instruction, Instruction>(&signed.payload).ok()?;
    let name = FileName::Offer(advertisement.id.as_str()).to_string();
    Some(instruction.files.iter().any(|file| file.name == name))
}

/// What has to be at a site for an advertisement to be offered there, in the order in which it is looked for.
pub(super) async fn objects_of(
    asker: &Asker,
    id: &AdvertisementId,
) -> Result<Vec<(ObjectKind, String)>, Error> {
    let mut tx = asker.site.store.read().await?;
    let found = record::advertisement(&mut tx, id.as_str()).await?;
    let mut objects = vec![(ObjectKind::Advertisement, id.to_string())];
    if let Some((_, advertisement)) = found {
        objects.push((ObjectKind::Collection, advertisement.collection.to_string()));
        objects.push((ObjectKind::Package, advertisement.package.to_string()));
        objects.push((ObjectKind::Distribution, advertisement.package.to_string()));
    }
    Ok(objects)
}

pub(super) async fn package_of(asker: &Asker, id: &AdvertisementId) -> Result<Option<PackageId>, Error> {
    package_in(&mut asker.site.store.read().await?, id).await
}

pub(super) async fn package_in(tx: &mut Tx, id: &AdvertisementId) -> Result<Option<PackageId>, Error> {
    let found = record::advertisement(tx, id.as_str()).await?;
    Ok(found.map(|(_, advertisement)| advertisement.package))
}
