//! Parcels as administrators see them.

use packhorse_domain::{Timestamp, id::SiteCode, link::ItemId, parcel::ParcelState};
use packhorse_parcel::{ParcelId, Plan};
use packhorse_proto::provider::v1::{
    Parcel, ParcelItem, ParcelItemKind, ParcelSite, ParcelState as ShownState, ReceivedParcel,
};

use crate::{
    courier::{ItemKind, incoming::Received, outgoing},
    error::Error,
    site::Site,
    store::parcels::{self, ParcelRow},
};

/// A parcel as people see it; in lists without its items.
pub(crate) async fn shown(site: &Site, id: &ParcelId, with_items: bool) -> Result<Parcel, Error> {
    let mut tx = site.store.read().await?;
    let row = parcels::get(&mut tx, id).await?.ok_or_else(|| unknown(&id.to_string()))?;
    let sites = parcels::sites(&mut tx, id).await?;
    let taken = parcels::taken(&mut tx, id).await?;
    let now = site.now();
    let state = sites.values().map(|(state, _)| *state).min();
    let mut parcel = Parcel {
        id: row.id.to_string(),
        incoming: row.sender != *site.code(),
        sender: row.sender.to_string(),
        to: sites
            .iter()
            .map(|(code, (state, at))| ParcelSite {
                site: code.to_string(),
                state: shown_state(*state).into(),
                changed_at_us: at.0,
            })
            .collect(),
        state: state.map_or(ShownState::Unspecified, shown_state).into(),
        created_at_us: row.created_at.0,
        sent_at_us: row.sent_at.map_or(0, |at| at.0),
        carrier: row.carrier.clone(),
        tracking: row.tracking.clone(),
        expected_at_us: row.expected_at.map_or(0, |at| at.0),
        overdue: is_overdue(&row, state, now),
        volumes: row.volumes.into(),
        ..Parcel::default()
    };
    if parcel.incoming {
        return Ok(parcel);
    }
    match outgoing::plan(site, id) {
        Ok(plan) => describe(&mut parcel, &plan, &taken),
        Err(error) if with_items => return Err(error),
        // One that is lost must not hide the others from a list.
        Err(_) => {}
    }
    if !with_items {
        parcel.items.clear();
    }
    Ok(parcel)
}

fn is_overdue(row: &ParcelRow, state: Option<ParcelState>, now: Timestamp) -> bool {
    state.is_some_and(ParcelState::is_open) && row.expected_at.is_some_and(|expected| expected < now)
}

/// No parcel is meant by this.
pub(super) fn unknown(id: &str) -> Error {
    Error::Missing(format!("no parcel begins with {id}; `packhorse courier list` shows those that there are"))
}

fn shown_state(state: ParcelState) -> ShownState {
    match state {
        ParcelState::Lost => ShownState::Lost,
        ParcelState::Planned => ShownState::Planned,
        ParcelState::Created => ShownState::Created,
        ParcelState::Sent => ShownState::Sent,
        ParcelState::Received => ShownState::Received,
        ParcelState::Confirmed => ShownState::Confirmed,
    }
}

/// What its plan says of it.
pub(super) fn describe(parcel: &mut Parcel, plan: &Plan, taken: &[(SiteCode, ItemId)]) {
    let list = plan.list();
    parcel.volumes = list.volumes().into();
    parcel.volumes_done =
        (1..).zip(plan.written()).filter(|(_, one)| one.is_some()).map(|(number, _)| number).collect();
    parcel.bytes = list.items().iter().map(|item| item.length).sum();
    parcel.items_count = u32::try_from(list.items().len()).unwrap_or(u32::MAX);
    for item in list.items() {
        let (kind, subject, is_delta) = match ItemKind::decode(&item.head) {
            Some(ItemKind::Objects(count)) => (ParcelItemKind::Objects, count.to_string(), false),
            Some(ItemKind::Bundle(bundle)) => {
                (ParcelItemKind::Bundle, bundle.package.to_string(), !bundle.bases.is_empty())
            }
            Some(ItemKind::Key) => (ParcelItemKind::Key, String::new(), false),
            Some(ItemKind::Receipts) => (ParcelItemKind::Receipts, String::new(), false),
            None => (ParcelItemKind::Unspecified, String::new(), false),
        };
        let sites = &list.info().destinations;
        let to = item.to.iter().filter_map(|place| sites.get(usize::from(*place)));
        parcel.items.push(ParcelItem {
            id: item.id.to_string(),
            kind: kind.into(),
            subject,
            bytes: item.length,
            is_delta,
            to: to.map(|one| one.site.to_string()).collect(),
            taken_by: taken
                .iter()
                .filter(|(_, one)| *one == item.id)
                .map(|(site, _)| site.to_string())
                .collect(),
        });
    }
}

/// What came of parcels that were read.
pub(in crate::provider) async fn received(
    site: &Site,
    parcels: Vec<Received>,
) -> Result<Vec<ReceivedParcel>, Error> {
    let mut told = Vec::new();
    for one in parcels {
        let parcel = match one.id {
            Some(id) if one.refused.is_empty() && !one.is_for_others => shown(site, &id, false).await?,
            id => Parcel {
                id: id.map(|id| id.to_string()).unwrap_or_default(),
                incoming: true,
                ..Parcel::default()
            },
        };
        told.push(ReceivedParcel {
            parcel: Some(parcel),
            items_taken: u32::try_from(one.taken).unwrap_or(u32::MAX),
            items_left: u32::try_from(one.left).unwrap_or(u32::MAX),
            volumes_missing: one.missing.into_iter().map(u32::from).collect(),
            faults: one.faults,
            refused: one.refused,
            for_others: one.is_for_others,
            receipt_to: one.receipt_to.map(|site| site.to_string()).unwrap_or_default(),
        });
    }
    Ok(told)
}
