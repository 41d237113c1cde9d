//! What is on its way on this site's links, as people see it.

use std::collections::HashSet;

use packhorse_domain::{Priority, Timestamp, id::SiteCode, link::ItemId};
use packhorse_proto::{
    object::v1 as wire,
    provider::v1::{Transfer, TransferState},
};

use crate::{
    error::Error,
    record,
    sender::Moving,
    site::Site,
    store::{
        Tx,
        arrivals::{self, Arrival, ArrivalState},
        bundles::{self, Sending, SendingState},
    },
};

/// Everything under way or waiting: what moves now, what waits to be sent, what came and is not in use yet.
pub(super) async fn list(site: &Site, tx: &mut Tx) -> Result<Vec<Transfer>, Error> {
    let moving: Vec<(SiteCode, Vec<Moving>)> =
        site.links(|links| links.iter().map(|(peer, link)| (peer.clone(), link.moving.clone())).collect());
    let arrivals = arrivals::list(tx).await?;
    // Its last byte is here: what it waits for now is Despooler.
    let arrived: HashSet<ItemId> =
        arrivals.iter().filter(|one| one.state != ArrivalState::Receiving).map(|one| one.item).collect();
    let mut seen = HashSet::new();
    let mut transfers = Vec::new();
    for (peer, items) in &moving {
        for item in items.iter().filter(|item| item.outgoing || !arrived.contains(&item.item)) {
            seen.insert((peer.clone(), item.item, item.outgoing));
            transfers.push(in_motion(peer, item, site.now()));
        }
    }
    for sending in bundles::sendings(tx).await? {
        let item = ItemId::of(&sending.digest);
        if is_waiting(&sending) && !seen.contains(&(sending.peer.clone(), item, true)) {
            transfers.extend(waiting(tx, &sending, &item).await?);
        }
    }
    for arrival in arrivals {
        if !seen.contains(&(arrival.peer.clone(), arrival.item, false)) {
            transfers.push(arriving(site, &arrival).await);
        }
    }
    Ok(transfers)
}

fn in_motion(peer: &SiteCode, item: &Moving, now: Timestamp) -> Transfer {
    Transfer {
        item: item.item.to_string(),
        peer: peer.to_string(),
        outgoing: item.outgoing,
        subject: item.subject.clone(),
        priority: wire::Priority::from(item.priority).into(),
        state: if item.outgoing { TransferState::Sending } else { TransferState::Receiving }.into(),
        bytes_done: item.done,
        bytes_total: item.total,
        changed_at_us: now.0,
    }
}

/// Whether it is still to be done: one whose base was missing is not, a whole bundle takes its place.
pub(super) fn is_waiting(sending: &Sending) -> bool {
    matches!(sending.state, SendingState::Queued | SendingState::Failed)
}

/// `None`: the bundle went meanwhile.
async fn waiting(tx: &mut Tx, sending: &Sending, item: &ItemId) -> Result<Option<Transfer>, Error> {
    let Some(bundle) = bundles::get(tx, &sending.digest).await? else {
        return Ok(None);
    };
    let package = record::package(tx, bundle.package.as_str()).await?;
    let priority = package.map_or(Priority::Medium, |package| package.definition.priority);
    let state = match sending.state {
        SendingState::Queued => TransferState::Queued,
        SendingState::Done => TransferState::Done,
        SendingState::Failed | SendingState::BaseMissing => TransferState::Failed,
    };
    Ok(Some(Transfer {
        item: item.to_string(),
        peer: sending.peer.to_string(),
        outgoing: true,
        subject: bundle.package.to_string(),
        priority: wire::Priority::from(priority).into(),
        state: state.into(),
        bytes_done: 0,
        bytes_total: bundle.length,
        changed_at_us: sending.changed_at.0,
    }))
}

async fn arriving(site: &Site, arrival: &Arrival) -> Transfer {
    let (state, bytes_done) = match arrival.state {
        // It goes on from here when the link is back.
        ArrivalState::Receiving => {
            let spooled = tokio::fs::metadata(site.directories.arrival(&arrival.item)).await;
            (TransferState::Receiving, spooled.map_or(0, |file| file.len().min(arrival.length)))
        }
        ArrivalState::Complete => (TransferState::Despooling, arrival.length),
        ArrivalState::Failed | ArrivalState::BaseMissing => (TransferState::Failed, arrival.length),
    };
    Transfer {
        item: arrival.item.to_string(),
        peer: arrival.peer.to_string(),
        outgoing: false,
        subject: arrival.package.to_string(),
        priority: wire::Priority::from(arrival.priority).into(),
        state: state.into(),
        bytes_done,
        bytes_total: arrival.length,
        changed_at_us: arrival.changed_at.0,
    }
}

/// Whether a transfer is about this package: its bundle, or one of the objects that describe it.
pub(super) fn is_about(transfer: &Transfer, package: &str) -> bool {
    match transfer.subject.split_once('/') {
        None => transfer.subject == package,
        Some((kind, id)) => matches!(kind, "package" | "distribution") && id == package,
    }
}
