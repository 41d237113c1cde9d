//! What is found of a parcel.

use super::{Check, Finding};
use crate::{Timestamp, id::SiteCode, parcel::ParcelState};

/// A parcel and one of its destinations, at the site that made it.
#[derive(Debug, Clone)]
pub struct ParcelFacts {
    pub at: SiteCode,
    pub to: SiteCode,
    /// The first digits of its name.
    pub id: String,
    pub state: ParcelState,
    pub since: Timestamp,
    pub carrier: String,
    pub tracking: String,
    pub expected_at: Option<Timestamp>,
    pub now: Timestamp,
}

/// How far it is, as its sender knows.
pub fn parcel(facts: &ParcelFacts) -> Vec<Finding> {
    let ParcelFacts { at, to, id, .. } = facts;
    let since = facts.since;
    let by = match (facts.carrier.as_str(), facts.tracking.as_str()) {
        ("", "") => String::new(),
        (carrier, "") => format!(" with {carrier}"),
        (carrier, tracking) => format!(" with {carrier}, {tracking}"),
    };
    match facts.state {
        ParcelState::Planned => {
            let text = format!("parcel {id} for site {to} is not written to a medium yet");
            let found = Finding::fails(at, Check::ParcelSent, text).since(since);
            vec![found.mended_at(at, format!("packhorse courier write {id} DIR"))]
        }
        ParcelState::Created => {
            let text = format!("parcel {id} for site {to} is written, and was not marked as sent");
            let found = Finding::fails(at, Check::ParcelSent, text).since(since);
            vec![found.mended_at(at, format!("packhorse courier sent {id} --carrier WHO"))]
        }
        ParcelState::Sent if facts.expected_at.is_some_and(|expected| expected < facts.now) => {
            let text = format!("parcel {id} for site {to} was sent{by}, and is overdue");
            let found = Finding::fails(at, Check::ParcelOnTime, text).since(facts.expected_at);
            vec![found.mended_at(at, format!("packhorse courier lost {id}"))]
        }
        ParcelState::Sent => {
            let text = format!("parcel {id} is on its way to site {to}{by}");
            let found = Finding::waits(at, Check::ParcelReceived, text).since(since).eta(facts.expected_at);
            vec![found.mended_at(to, "packhorse courier receive DIR")]
        }
        ParcelState::Received => {
            let text = format!("site {to} has taken in some of parcel {id}");
            let found = Finding::waits(at, Check::ParcelReceived, text).since(since);
            vec![found.mended_at(to, "packhorse courier receive DIR")]
        }
        ParcelState::Confirmed => {
            let text = format!("site {to} has confirmed all of parcel {id}");
            vec![Finding::holds(at, Check::ParcelConfirmed, text).since(since)]
        }
        ParcelState::Lost => {
            let text = format!("parcel {id} for site {to} is lost: what it held is planned again");
            let found = Finding::fails(at, Check::ParcelOnTime, text).since(since);
            vec![found.mended_at(at, format!("packhorse courier create --to {to} --medium DIR"))]
        }
    }
}

/// What its destination knows of it. `complete`: all that was for it is taken.
pub fn parcel_received(at: &SiteCode, id: &str, known: Option<(bool, Timestamp)>) -> Finding {
    match known {
        Some((true, since)) => {
            let text = format!("site {at} has taken in all of parcel {id}");
            Finding::holds(at, Check::ParcelReceived, text).since(since)
        }
        Some((false, since)) => {
            let text = format!("site {at} has taken in only some of parcel {id}");
            let found = Finding::fails(at, Check::ParcelReceived, text).since(since);
            found.mended_at(at, "packhorse courier receive DIR")
        }
        None => {
            let text = format!("site {at} has not taken in parcel {id}");
            let found = Finding::waits(at, Check::ParcelReceived, text);
            found.mended_at(at, "packhorse courier receive DIR")
        }
    }
}
