//! What a site finds of an advertisement.

use super::{Check, Finding, remedy};
use crate::{
    Timestamp,
    advertisement::Advertisement,
    id::{ClientId, SiteCode},
    offer::{HeldBack, OfferView, held_back},
};

/// An advertisement at a site whose clients should run it.
#[derive(Debug, Clone)]
pub struct OfferFacts<'a> {
    pub at: SiteCode,
    pub view: OfferView<'a>,
    /// Whose it is.
    pub owner: SiteCode,
    /// Whose the package is.
    pub package_owner: SiteCode,
    /// The client that is asked about.
    pub client: Option<AskedClient>,
    /// Clients of the site that the collection's rule or list means, evaluated or not.
    pub meant: usize,
    /// Offer Manager has noted nothing against it.
    pub offered: bool,
    /// Since when the advertisement is as it is.
    pub since: Timestamp,
}

/// A client as its site knows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AskedClient {
    pub client: ClientId,
    /// It has enrolled here.
    pub is_known: bool,
    pub is_member: bool,
    /// The collection's rule or list means it, evaluated or not.
    pub is_meant: bool,
}

/// The gates, in the order of the original. The gate of the content leaves its cause to the package's own checks.
pub fn offer(facts: &OfferFacts<'_>) -> Vec<Finding> {
    let (at, offer) = (&facts.at, facts.view.advertisement);
    let id = &offer.id;
    let text = format!("advertisement {id} of site {} is known at site {at}", facts.owner);
    let mut found = vec![Finding::holds(at, Check::AdvertisementKnown, text).since(facts.since)];
    if let Some(asked) = facts.client.as_ref().filter(|asked| !asked.is_known) {
        found.push(super::client::not_enrolled(at, &asked.client));
        return found;
    }
    if let Some(reason) = held_back(&facts.view) {
        found.push(held(facts, &reason));
        return found;
    }
    let members = facts.view.members;
    let text = format!("collection {} has {members} member(s) at site {at}", offer.collection);
    found.push(Finding::holds(at, Check::CollectionHasMembers, text));
    if let Some(asked) = facts.client.as_ref().filter(|asked| !asked.is_member) {
        found.push(no_member(facts, asked));
        return found;
    }
    if !offer.has_started(facts.view.now) {
        let text = format!("advertisement {id} starts later; another one without a time starts at once");
        let waits = Finding::waits(at, Check::HasStarted, text).eta(offer.start_at);
        found.push(waits.mended_at(&facts.owner, remedy::advertise_again(offer)));
    }
    found.push(match facts.offered {
        true => Finding::holds(at, Check::Offered, format!("advertisement {id} is offered at site {at}")),
        false => {
            let text = format!("Offer Manager is about to offer advertisement {id}");
            Finding::waits(at, Check::Offered, text)
        }
    });
    found
}

fn no_member(facts: &OfferFacts<'_>, asked: &AskedClient) -> Finding {
    let (collection, client) = (&facts.view.advertisement.collection, &asked.client);
    if asked.is_meant {
        return evaluated_soon(facts, Check::ClientIsMember);
    }
    let text = format!(
        "client {client} is not a member of collection {collection}: neither its rule nor its list has it"
    );
    Finding::fails(&facts.at, Check::ClientIsMember, text)
        .mended_at(&facts.owner, format!("packhorse collection update {collection} --client {client}"))
}

fn evaluated_soon(facts: &OfferFacts<'_>, check: Check) -> Finding {
    let collection = &facts.view.advertisement.collection;
    let text = format!("Collection Evaluator is about to find the members of collection {collection}");
    Finding::waits(&facts.at, check, text)
}

fn held(facts: &OfferFacts<'_>, reason: &HeldBack) -> Finding {
    let (at, owner, offer) = (&facts.at, &facts.owner, facts.view.advertisement);
    let Advertisement { id, package, program, collection, .. } = offer;
    match reason {
        HeldBack::Expired => Finding::fails(at, Check::NotExpired, format!("advertisement {id} has expired"))
            .since(offer.expires_at)
            .mended_at(owner, remedy::advertise_again(offer)),
        HeldBack::CollectionUnknown => {
            let text = format!("collection {collection} has not arrived at site {at}");
            Finding::waits(at, Check::CollectionKnown, text)
        }
        // Others will be members, and it will not.
        HeldBack::NoMembers if facts.meant > 0 => match &facts.client {
            Some(asked) if !asked.is_meant => no_member(facts, asked),
            _ => evaluated_soon(facts, Check::CollectionHasMembers),
        },
        HeldBack::NoMembers => {
            let text = format!("collection {collection} has no member at site {at}");
            match &facts.client {
                Some(AskedClient { client, .. }) => Finding::fails(at, Check::CollectionHasMembers, text)
                    .mended_at(owner, format!("packhorse collection update {collection} --client {client}")),
                None => Finding::fails(at, Check::CollectionHasMembers, text)
                    .mended_at(owner, format!("packhorse collection update {collection} --all")),
            }
        }
        HeldBack::PackageUnknown(package) => {
            Finding::waits(at, Check::PackageKnown, format!("package {package} has not arrived at site {at}"))
        }
        HeldBack::Killed(killed) => {
            Finding::fails(at, Check::PackageReleased, format!("package {package} is {killed}"))
                .mended_at(&killed.site, format!("packhorse package revive {package}"))
        }
        HeldBack::NoSuchProgram => {
            let text = format!("package {package} has no program {program}");
            Finding::fails(at, Check::ProgramKnown, text).mended_at(
                &facts.package_owner,
                format!("packhorse program set {package} {program} -- COMMAND"),
            )
        }
        HeldBack::NoPoint | HeldBack::NotOnAnyPoint => {
            let text = format!("package {package} is on no distribution point of site {at}");
            Finding::waits(at, Check::ContentAvailable, text)
        }
    }
}

/// What a client's instruction says of the advertisement.
#[derive(Debug, Clone)]
pub struct InstructionFacts {
    pub at: SiteCode,
    pub client: ClientId,
    /// It names the advertisement; `None`: there is no instruction.
    pub names_it: Option<bool>,
    pub not_after: Option<Timestamp>,
    pub now: Timestamp,
}

impl InstructionFacts {
    pub fn findings(&self) -> Vec<Finding> {
        let (at, client, check) = (&self.at, &self.client, Check::InstructionWritten);
        let expired = self.not_after.is_some_and(|at| at <= self.now);
        vec![match self.names_it {
            Some(true) if expired => {
                let text =
                    format!("the instruction of client {client} is too old, and no new one was written");
                Finding::fails(at, check, text).since(self.not_after).mended_at(at, super::line::RESTART)
            }
            Some(true) => Finding::holds(
                at,
                check,
                format!("the instruction of client {client} names the advertisement"),
            ),
            Some(false) => {
                let text = format!("the instruction of client {client} does not name the advertisement yet");
                Finding::waits(at, check, text)
            }
            None => Finding::waits(at, check, format!("client {client} has no instruction yet")),
        }]
    }
}
