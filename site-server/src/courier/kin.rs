//! With whom parcels are exchanged: the neighbours, and those above and below them.

use packhorse_domain::{id::SiteCode, site::subtree};

use crate::{
    error::Error,
    sender::parents,
    site::Site,
    store::{
        Tx, couriers,
        neighbours::{self, Relation},
    },
};

/// What another site is to this one: the parent or one above it, a child or one below it. `None`: neither.
pub(crate) async fn relation(site: &Site, tx: &mut Tx, other: &SiteCode) -> Result<Option<Relation>, Error> {
    if let Some(neighbour) = neighbours::list(tx).await?.into_iter().find(|one| one.code == *other) {
        return Ok(Some(neighbour.relation));
    }
    if other != site.code() && site.path().is_under(other) {
        return Ok(Some(Relation::Parent));
    }
    Ok(below(site, tx).await?.contains(other).then_some(Relation::Child))
}

/// Where a parcel for a subtree goes.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Subtree {
    /// Its top, and the sites below that are children of this site or have a courier from here.
    pub(crate) to: Vec<SiteCode>,
    /// The others: what is for them goes to a site above them, which passes it on.
    pub(crate) passed_on: Vec<SiteCode>,
}

/// A site below this one and all that is known below it; of this site itself, all that is below it.
pub(crate) async fn subtree_of(site: &Site, tx: &mut Tx, top: &SiteCode) -> Result<Subtree, Error> {
    if top != site.code() && !below(site, tx).await?.contains(top) {
        return Err(Error::Precondition(format!(
            "site {top} is not known below site {}: `packhorse site list` shows the sites below; a site above is named with \
             --to",
            site.code()
        )));
    }
    let children = neighbours::children(tx).await?;
    let known = if top == site.code() { below(site, tx).await? } else { subtree(top, &parents(tx).await?) };
    let mut found = Subtree { to: Vec::new(), passed_on: Vec::new() };
    for one in known {
        // Whether its top can be reached is said where parcels are packed, with the remedy.
        let is_reached = one == *top || children.contains(&one) || couriers::route(tx, &one).await?.is_some();
        if is_reached { found.to.push(one) } else { found.passed_on.push(one) }
    }
    Ok(found)
}

/// All sites below this one, the children first.
pub(crate) async fn below(site: &Site, tx: &mut Tx) -> Result<Vec<SiteCode>, Error> {
    let mut below = neighbours::children(tx).await?;
    for one in subtree(site.code(), &parents(tx).await?) {
        if one != *site.code() && !below.contains(&one) {
            below.push(one);
        }
    }
    Ok(below)
}
