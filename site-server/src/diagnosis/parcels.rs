//! Parcels at this site: those that it sent, and those that it took in.

use packhorse_domain::{
    Timestamp,
    diagnosis::{Check, Finding, ParcelFacts, Verdict, parcel, parcel_received},
    id::SiteCode,
    link::ItemId,
    parcel::ParcelState,
};
use packhorse_parcel::ParcelId;

use super::Asker;
use crate::{
    courier::{custody::ours, outgoing},
    error::Error,
    store::{
        Tx, couriers,
        parcels::{self, ParcelRow},
    },
};

/// How far a parcel is, as this site knows: as its sender, or as one of those whom it is for.
pub(super) async fn findings(asker: &Asker, id: &[u8; 16]) -> Result<Vec<Finding>, Error> {
    let id = ParcelId(*id);
    let at = asker.site.code();
    let mut tx = asker.site.store.read().await?;
    let Some(row) = parcels::get(&mut tx, &id).await? else {
        return Ok(vec![parcel_received(at, &id.short().to_string(), None)]);
    };
    let sites = parcels::sites(&mut tx, &id).await?;
    if row.sender != *at {
        let known = sites.get(at).map(|(state, since)| (*state == ParcelState::Confirmed, *since));
        return Ok(vec![parcel_received(at, &id.short().to_string(), known)]);
    }
    let mut found = vec![
        Finding::holds(at, Check::ParcelKnown, format!("site {at} made parcel {}", id.short()))
            .since(row.created_at),
    ];
    for site in sites.keys() {
        found.extend(of(asker, &mut tx, &row, site).await?.map(|facts| parcel(&facts)).unwrap_or_default());
    }
    Ok(found)
}

/// Parcels of this site that somebody has to do something about.
pub(super) async fn open(asker: &Asker) -> Result<Vec<Finding>, Error> {
    let mut tx = asker.site.store.read().await?;
    let mut found = Vec::new();
    for row in parcels::unsettled(&mut tx, asker.site.code()).await? {
        for site in parcels::sites(&mut tx, &row.id).await?.into_keys() {
            if let Some(facts) = of(asker, &mut tx, &row, &site).await? {
                // What is lost was planned again: another parcel, or the line, brings it.
                let is_lost = facts.state == ParcelState::Lost;
                found.extend(
                    parcel(&facts).into_iter().filter(|one| !is_lost && one.verdict == Verdict::Fails),
                );
            }
        }
    }
    Ok(found)
}

/// The parcel under way that brings an item, with what is found of it and when it is expected.
pub(super) async fn bringing(
    asker: &Asker,
    tx: &mut Tx,
    peer: &SiteCode,
    item: &ItemId,
) -> Result<Option<(String, Vec<Finding>, Option<Timestamp>)>, Error> {
    for row in parcels::unsettled(tx, asker.site.code()).await? {
        let Some(facts) = of(asker, tx, &row, peer).await?.filter(|facts| facts.state.is_open()) else {
            continue;
        };
        // One that cannot be read brings nothing, as far as anybody knows.
        let Ok(plan) = outgoing::plan(&asker.site, &row.id) else { continue };
        if ours(&plan, peer).any(|one| one.id == *item) {
            let expected = facts.expected_at;
            return Ok(Some((facts.id.clone(), parcel(&facts), expected)));
        }
    }
    Ok(None)
}

async fn of(
    asker: &Asker,
    tx: &mut Tx,
    row: &ParcelRow,
    site: &SiteCode,
) -> Result<Option<ParcelFacts>, Error> {
    let Some((state, since)) = parcels::sites(tx, &row.id).await?.get(site).copied() else { return Ok(None) };
    let transit = couriers::route(tx, site).await?.map(|route| route.transit);
    let by_transit = row.sent_at.zip(transit).map(|(sent, transit)| sent.plus(transit));
    Ok(Some(ParcelFacts {
        at: asker.site.code().clone(),
        to: site.clone(),
        id: row.id.short().to_string(),
        state,
        since,
        carrier: row.carrier.clone(),
        tracking: row.tracking.clone(),
        expected_at: row.expected_at.or(by_transit),
        now: asker.site.now(),
    }))
}
