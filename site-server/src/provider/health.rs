//! How this site and those below are, as they said last.

use std::{cmp::Reverse, collections::BTreeMap};

use packhorse_domain::{
    health::{SiteHealth, Standing, standing},
    id::SiteCode,
    object::ObjectKind,
    site::SiteFact,
};
use packhorse_proto::{
    convert,
    object::v1 as wire,
    provider::v1::{self as api, ListSiteHealthResponse, SiteStanding},
};

use super::parsed;
use crate::{
    error::Error,
    record,
    site::Site,
    store::{
        Tx,
        neighbours::{self, Relation},
        objects::{self, StoredObject},
    },
};

/// All sites that this one knows of below it, and itself; or one of them.
pub(super) async fn list(site: &Site, only: &str) -> Result<ListSiteHealthResponse, Error> {
    let only = if only.is_empty() { None } else { Some(parsed::<SiteCode>("site", only)?) };
    let mut tx = site.store.read().await?;
    let known = sites(site, &mut tx).await?;
    if let Some(only) = only.as_ref().filter(|only| !known.contains_key(only)) {
        return Err(Error::NotFound { what: "site", id: only.to_string() });
    }
    let now = site.now();
    let mut told: BTreeMap<String, StoredObject> = objects::list(&mut tx, ObjectKind::SiteHealth)
        .await?
        .into_iter()
        .map(|object| (object.id.clone(), object))
        .collect();
    let mut shown: Vec<(Standing, SiteStanding)> = Vec::new();
    for (code, parent) in known.into_iter().filter(|(code, _)| only.as_ref().is_none_or(|only| only == code))
    {
        let object = told.remove(code.as_str());
        // What does not decode is of a later version of this program: what is said there is not known here.
        let decode =
            |object: &StoredObject| convert::decode::<wire::SiteHealth, SiteHealth>(&object.body).ok();
        let health = object.as_ref().and_then(decode);
        let stands = standing(health.as_ref(), now);
        shown.push((
            stands,
            SiteStanding {
                site: code.to_string(),
                parent: parent.map(|parent| parent.to_string()).unwrap_or_default(),
                standing: api::Standing::from(stands).into(),
                received_us: object.as_ref().map_or(0, record::changed_at_us),
                silent_since_us: health.as_ref().and_then(|one| one.silent_since(now)).map_or(0, |at| at.0),
                health: health.as_ref().map(Into::into),
            },
        ));
    }
    shown.sort_by_key(|(stands, _)| Reverse(*stands));
    Ok(ListSiteHealthResponse { sites: shown.into_iter().map(|(_, one)| one).collect(), at_us: now.0 })
}

/// By code, with their parents.
async fn sites(site: &Site, tx: &mut Tx) -> Result<BTreeMap<SiteCode, Option<SiteCode>>, Error> {
    let mut known = BTreeMap::from([(site.code().clone(), site.path().parent().cloned())]);
    for neighbour in neighbours::list(tx).await? {
        if neighbour.relation == Relation::Child {
            known.insert(neighbour.code, Some(site.code().clone()));
        }
    }
    for (_, fact) in record::list::<wire::SiteFact, SiteFact>(tx, ObjectKind::Site).await? {
        known.insert(fact.code, fact.parent);
    }
    Ok(known)
}
