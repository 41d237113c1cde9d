//! The courier as a way to a neighbour: when it leaves, how long it takes, and which bundles go by it rather than over the
//! line.

mod choice;
mod departures;

use std::time::Duration;

use crate::{Timestamp, address::LocalMoment, id::SiteCode};

pub use choice::{Question, Way, Wish, choose};
pub use departures::{Departures, DeparturesError};

/// So long after its departure a courier that nobody has sent counts as one that did not come.
const LATE: Duration = Duration::from_secs(3600);
/// What is under way for longer, no estimate is good for.
pub const TRANSIT_LONGEST: Duration = Duration::from_secs(60 * 24 * 3600);

/// The courier to a neighbour.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Route {
    pub peer: SiteCode,
    pub policy: Policy,
    pub departures: Departures,
    /// The IANA name of the zone of the departures.
    pub time_zone: String,
    /// From leaving to being taken in there.
    pub transit: Duration,
}

/// What goes by it without anybody asking.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Policy {
    /// What is there sooner than the line would bring it.
    #[default]
    Sooner,
    /// Every bundle.
    Always,
    /// Nothing: only what somebody, or its package, gives to it.
    Asked,
}

impl Route {
    /// A route that may leave at any time.
    pub fn new(peer: SiteCode, transit: Duration) -> Route {
        Route {
            peer,
            policy: Policy::default(),
            departures: Departures::any(),
            time_zone: crate::address::UTC.to_owned(),
            transit,
        }
    }

    /// When somebody must have come for what waits since then: an hour after the next departure; of a courier that may leave
    /// at any time, when it would be there already.
    pub fn patience(&self, since: Timestamp, local: impl Fn(Timestamp) -> LocalMoment) -> Timestamp {
        let late = if self.departures.hours().is_empty() { self.transit } else { LATE };
        self.departures.next(since, local).plus(late)
    }

    /// When what is given to it now is there. `local` tells the hour in the zone of the route.
    pub fn arrival(&self, now: Timestamp, local: impl Fn(Timestamp) -> LocalMoment) -> Timestamp {
        self.departures.next(now, local).plus(self.transit)
    }
}

impl Policy {
    pub fn as_str(self) -> &'static str {
        match self {
            Policy::Sooner => "sooner",
            Policy::Always => "always",
            Policy::Asked => "asked",
        }
    }
}
