//! Provider: what administrators may ask of a site and change in it.
//!
//! A service decodes, calls one use case, and encodes. A use case that changes something is one transaction, a
//! [`Change`], which also writes who did it.

mod addresses;
mod advertisements;
mod change;
mod collections;
mod courier_routes;
mod courier_volumes;
mod couriers;
mod diagnoses;
mod event_rules;
mod health;
mod inspect;
mod kills;
mod library;
mod logs;
mod packages;
mod points;
mod programs;
mod queue;
mod sites;
mod statuses;
mod summaries;
mod support;
mod targets;
#[cfg(test)]
mod tests;
mod tokens;
mod transfers;
mod uploads;

use std::fmt::Display;

use packhorse_domain::id::SiteCode;

use crate::{error::Error, site::Site};

pub(crate) use addresses::Addresses;
pub(crate) use advertisements::Advertisements;
pub(crate) use collections::Collections;
pub(crate) use courier_routes::CourierRoutes;
pub(crate) use courier_volumes::CourierVolumes;
pub(crate) use couriers::Couriers;
pub(crate) use diagnoses::Diagnoses;
pub(crate) use event_rules::EventRules;
pub(crate) use inspect::{Inspect, Inspected};
pub(crate) use library::Libraries;
pub(crate) use logs::Logs;
pub(crate) use packages::Packages;
pub(crate) use points::{CAP_PRESENT, DistributionPoints};
pub(crate) use queue::{Queue, list as list_queue};
pub(crate) use sites::Sites;
pub(crate) use statuses::Statuses;
pub(crate) use support::Support;

/// A field that is off; `reason` says what is wrong with it and what to do.
fn invalid(field: &str, reason: impl Display) -> Error {
    Error::Invalid(format!("field `{field}`: {reason}"))
}

/// A field that had to be there.
fn missing(field: &str) -> Error {
    invalid(field, "it is missing: give it")
}

/// Reads a name or an id.
fn parsed<T>(field: &str, text: &str) -> Result<T, Error>
where
    T: std::str::FromStr,
    T::Err: Display,
{
    text.parse().map_err(|error| invalid(field, error))
}

/// Elsewhere than at its owner an object is read-only.
fn check_owner(site: &Site, what: &str, id: &str, owner: &SiteCode) -> Result<(), Error> {
    if owner == site.code() {
        return Ok(());
    }
    Err(Error::Precondition(format!(
        "{what} {id} belongs to site {owner} and is read-only at site {}; change it at site {owner}",
        site.code()
    )))
}

/// Refuses to delete what others are built on.
fn check_unused(what: &str, id: &str, advertisements: &[String]) -> Result<(), Error> {
    if advertisements.is_empty() {
        return Ok(());
    }
    let shown = advertisements.iter().take(10).map(String::as_str).collect::<Vec<_>>().join(", ");
    Err(Error::Precondition(format!(
        "{what} {id} is in use by {} advertisement(s): {shown}; delete them first with `packhorse advertisement delete`",
        advertisements.len()
    )))
}
