//! Status Manager: status messages.
//!
//! State that people count on is not here: it is written as objects by whoever knows it.

mod complaints;

use packhorse_domain::{
    id::SiteCode,
    object::ObjectKind,
    status::{Event, EventType, Severity, cut},
};
use packhorse_proto::object::v1 as wire;

pub(crate) use complaints::{Complaints, complain, kind_of};

use crate::{
    error::Error,
    record::{self, Body},
    site::Site,
    store::{StoreError, Tx, objects},
};

/// Messages that are kept of each site; the oldest go first.
const EVENTS_MAX: usize = 5_000;
const TRIM_EVERY: u64 = 64;

/// Writes a status message, in the transaction of what it tells of.
#[expect(clippy::too_many_arguments, reason = "a message has this many parts")]
pub(crate) async fn report(
    site: &Site,
    tx: &mut Tx,
    component: &'static str,
    (severity, event_type): (Severity, EventType),
    subject: &str,
    text: &str,
) -> Result<(), Error> {
    match severity {
        Severity::Info => tracing::info!(target: "status-manager", component, subject, "{text}"),
        Severity::Warning => tracing::warn!(target: "status-manager", component, subject, "{text}"),
        Severity::Error => tracing::error!(target: "status-manager", component, subject, "{text}"),
    }
    let sequence = tx.next_number("event").await?;
    let event = Event {
        site: site.code().clone(),
        sequence,
        at: site.now(),
        component: component.to_owned(),
        severity,
        event_type,
        subject: cut(subject, 128).to_owned(),
        text: text.to_owned(),
    };
    let id = format!("{}/{sequence:012}", site.code());
    record::write(site, tx, ObjectKind::Event, &id, Body::of::<wire::Event, _>(&event)).await?;
    Ok(trim(tx, site.code(), &id).await?)
}

/// Forgets the oldest messages of a site now and then, here as there: they are not taken back one by one.
pub(crate) async fn trim(tx: &mut Tx, owner: &SiteCode, newest: &str) -> Result<(), StoreError> {
    let sequence = newest.rsplit('/').next().and_then(|text| text.parse::<u64>().ok());
    if sequence.is_some_and(|sequence| sequence.is_multiple_of(TRIM_EVERY)) {
        objects::trim(tx, ObjectKind::Event, owner, EVENTS_MAX).await?;
    }
    Ok(())
}

/// A neighbour holds another message under a number of this site: it was given before the database was restored.
/// Numbers go on beyond all that the neighbour can hold, and what is said from now on is not lost.
pub(crate) async fn skip_used(site: &Site, tx: &mut Tx, refused: &str) -> Result<(), StoreError> {
    let sequence = refused.split_once('/').and_then(|(owner, sequence)| {
        let sequence = sequence.parse::<u64>().ok()?;
        (owner == site.code().as_str()).then_some(sequence)
    });
    match sequence {
        Some(sequence) => tx.skip_numbers("event", sequence.saturating_add(2 * EVENTS_MAX as u64)).await,
        None => Ok(()),
    }
}
