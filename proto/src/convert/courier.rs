//! Couriers as ways to neighbours.

use std::time::Duration;

use packhorse_domain::{
    address::{HOURS, TIME_ZONE_LENGTH_MAX, UTC},
    courier::{Departures, Policy, Route, TRANSIT_LONGEST, Way},
};

use super::{ConvertError, invalid, limited, parse};
use crate::{object::v1 as object_wire, provider::v1 as wire};

/// A courier that is no time, or too long, under way.
#[derive(Debug, thiserror::Error)]
#[error("1 second to {} days are expected", TRANSIT_LONGEST.as_secs() / 86_400)]
struct NoTransit;

impl From<&Route> for wire::CourierRoute {
    fn from(route: &Route) -> Self {
        wire::CourierRoute {
            peer: route.peer.to_string(),
            policy: wire::CourierPolicy::from(route.policy).into(),
            departures: route.departures.hours().iter().map(|hour| u32::from(*hour)).collect(),
            time_zone: route.time_zone.clone(),
            transit_s: u32::try_from(route.transit.as_secs()).unwrap_or(u32::MAX),
        }
    }
}

impl TryFrom<wire::CourierRoute> for Route {
    type Error = ConvertError;

    fn try_from(route: wire::CourierRoute) -> Result<Self, ConvertError> {
        limited("time_zone", route.time_zone.as_bytes(), TIME_ZONE_LENGTH_MAX)?;
        Ok(Route {
            peer: parse("peer", &route.peer)?,
            policy: policy("policy", route.policy)?.unwrap_or_default(),
            departures: departures("departures", &route.departures)?,
            time_zone: if route.time_zone.is_empty() { UTC.to_owned() } else { route.time_zone },
            transit: transit("transit_s", route.transit_s)?,
        })
    }
}

impl From<Policy> for wire::CourierPolicy {
    fn from(policy: Policy) -> Self {
        match policy {
            Policy::Sooner => wire::CourierPolicy::Sooner,
            Policy::Always => wire::CourierPolicy::Always,
            Policy::Asked => wire::CourierPolicy::Asked,
        }
    }
}

impl From<Way> for object_wire::Sender {
    fn from(way: Way) -> Self {
        match way {
            Way::Line => object_wire::Sender::Line,
            Way::Courier => object_wire::Sender::Courier,
        }
    }
}

/// What goes by a courier; `None`: it was not said.
///
/// # Errors
/// A policy that only a newer version knows.
pub fn policy(field: &'static str, value: i32) -> Result<Option<Policy>, ConvertError> {
    match wire::CourierPolicy::try_from(value) {
        Ok(wire::CourierPolicy::Unspecified) => Ok(None),
        Ok(wire::CourierPolicy::Sooner) => Ok(Some(Policy::Sooner)),
        Ok(wire::CourierPolicy::Always) => Ok(Some(Policy::Always)),
        Ok(wire::CourierPolicy::Asked) => Ok(Some(Policy::Asked)),
        Err(_) => Err(ConvertError::Unknown { field, value }),
    }
}

/// A way that somebody, or a package, prefers; `None`: neither.
///
/// # Errors
/// A way that only a newer version knows.
pub fn sender(field: &'static str, value: i32) -> Result<Option<Way>, ConvertError> {
    match object_wire::Sender::try_from(value) {
        Ok(object_wire::Sender::Unspecified) => Ok(None),
        Ok(object_wire::Sender::Line) => Ok(Some(Way::Line)),
        Ok(object_wire::Sender::Courier) => Ok(Some(Way::Courier)),
        Err(_) => Err(ConvertError::Unknown { field, value }),
    }
}

/// The way as the wire names it; `None` is neither.
pub fn sender_on_wire(way: Option<Way>) -> i32 {
    way.map_or(object_wire::Sender::Unspecified, Into::into).into()
}

/// Hours of the week at which a courier leaves.
///
/// # Errors
/// More of them than a week has, or one that is not in it.
pub fn departures(field: &'static str, hours: &[u32]) -> Result<Departures, ConvertError> {
    limited(field, hours, HOURS)?;
    Departures::of(hours.iter().copied()).map_err(|source| invalid(field, source))
}

/// How long a courier is under way.
///
/// # Errors
/// No time at all, or more than [`TRANSIT_LONGEST`].
pub fn transit(field: &'static str, seconds: u32) -> Result<Duration, ConvertError> {
    let transit = Duration::from_secs(seconds.into());
    if transit.is_zero() || transit > TRANSIT_LONGEST {
        return Err(invalid(field, NoTransit));
    }
    Ok(transit)
}
