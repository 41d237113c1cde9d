//! With whom parcels are exchanged: the neighbours, and those above and below them.

use packhorse_domain::{id::SiteCode, site::subtree};

use crate::{
    error::Error,
    sender::parents,
    site::Site,
    store::{
        Tx,
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
