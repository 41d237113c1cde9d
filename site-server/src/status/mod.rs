//! Status Manager: status messages.
//!
//! State that people count on is not here: it is written as objects by whoever knows it.

use packhorse_domain::{
    object::ObjectKind,
    status::{Event, EventType, Severity, cut},
};
use packhorse_proto::object::v1 as wire;

use crate::{
    error::Error,
    record::{self, Body},
    site::Site,
    store::{Tx, objects},
};

/// Messages that a site keeps of its own; the oldest go first.
const EVENTS_MAX: usize = 5_000;

/// Writes a status message, in the transaction of what it tells of.
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
    if sequence.is_multiple_of(64) {
        objects::trim(tx, ObjectKind::Event, site.code(), EVENTS_MAX).await?;
    }
    Ok(())
}
