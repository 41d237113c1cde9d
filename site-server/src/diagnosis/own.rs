//! What a site finds of a subject at itself.

use packhorse_domain::{
    diagnosis::{Finding, Question, Subject, Verdict},
    object::{Held, ObjectKind},
};

use super::{Asker, Part, caps, health, hops, offers, packages, parcels};
use crate::{error::Error, record, store::objects};

/// This site's findings, in the order of the way.
pub(super) async fn findings(asker: &Asker, question: &Question, part: Part) -> Result<Vec<Finding>, Error> {
    let mut found = match &question.subject {
        Subject::Package(package) => packages::findings(asker, question, package, part).await?,
        Subject::Advertisement(advertisement) => {
            offers::findings(asker, question, advertisement, part).await?
        }
        Subject::Site => return site(asker, question).await,
        Subject::Parcel(parcel) => parcels::findings(asker, parcel).await?,
    };
    // A component that fails explains what does not hold, and nothing else.
    if found.iter().any(|finding| finding.verdict != Verdict::Holds) {
        let ill = ill(asker, question).await?;
        let at = found.iter().position(|finding| finding.verdict != Verdict::Holds).unwrap_or(found.len());
        found.splice(at..at, ill);
    }
    Ok(found)
}

/// What is wrong with this site that bears on the subject.
pub(super) async fn ill(asker: &Asker, question: &Question) -> Result<Vec<Finding>, Error> {
    let mut found = health::findings(asker, &question.subject).await?;
    found.retain(|finding| finding.verdict != Verdict::Holds);
    Ok(found)
}

/// A site that is asked about says how it is; one on the way to it, only what is wrong with it.
async fn site(asker: &Asker, question: &Question) -> Result<Vec<Finding>, Error> {
    let mut found = health::findings(asker, &question.subject).await?;
    if !question.sites.contains(asker.site.code()) {
        found.retain(|finding| finding.verdict == Verdict::Fails);
        return Ok(found);
    }
    if let Some(parent) = asker.site.path().parent() {
        let line = hops::line_of(asker, parent, None).await?;
        found.push(packhorse_domain::diagnosis::line(asker.site.code(), parent, &line));
    }
    found.extend(hops::held_back(asker).await?);
    found.extend(parcels::open(asker).await?);
    found.extend(caps::findings(asker, false).await?);
    Ok(found)
}

/// Whether the way of the subject begins at this site and not above it.
pub(crate) async fn begins_here(asker: &Asker, question: &Question) -> Result<bool, Error> {
    let mut tx = asker.site.store.read().await?;
    let (kind, id) = match &question.subject {
        Subject::Package(id) => (ObjectKind::Package, id.to_string()),
        Subject::Advertisement(id) => (ObjectKind::Advertisement, id.to_string()),
        Subject::Site => {
            let is_meant = question.sites.contains(asker.site.code());
            return Ok(is_meant || asker.site.path().parent().is_none());
        }
        Subject::Parcel(_) => return Ok(true),
    };
    let is_ours = |held: Option<Held>| held.is_some_and(|held| held.owner == *asker.site.code());
    if !is_ours(objects::held(&mut tx, kind, &id).await?) {
        return Ok(false);
    }
    // Its package may come from further up.
    match &question.subject {
        Subject::Advertisement(id) => match record::advertisement(&mut tx, id.as_str()).await? {
            Some((_, offer)) => {
                Ok(is_ours(objects::held(&mut tx, ObjectKind::Package, offer.package.as_str()).await?))
            }
            None => Ok(true),
        },
        _ => Ok(true),
    }
}
