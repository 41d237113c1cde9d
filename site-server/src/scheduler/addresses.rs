//! Scheduler's view of the lines: what an address lets a link carry now, which one to dial, and what went over it.
//!
//! Zones are those of the addresses: the rules in `domain` are told which hour it is.

#[cfg(test)]
mod tests;

use std::time::Duration;

use jiff::tz::{self, TimeZone};
use packhorse_domain::{
    Priority, Timestamp,
    address::{self, Address, Candidate, Load, LocalHour, LocalMoment, MAIN, Spent},
    diagnosis::Shut,
    id::{AddressName, SiteCode},
    link::Allowance,
};
use packhorse_runtime::local::{moment, zoned};

use crate::{
    error::Error,
    site::Site,
    store::{
        Tx,
        addresses::{self, Days},
    },
};

/// How long days are kept: a budget asks for those of a month.
const DAYS_KEPT: i64 = 62;
/// Zones named to somebody who misspelt one.
const SUGGESTIONS_MAX: usize = 3;

/// What a link to a neighbour may carry at this moment, and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Terms {
    pub(crate) allowance: Allowance,
    /// The address that the link goes by; `None`: the neighbour has none, and nothing is limited.
    pub(crate) address: Option<Address>,
    pub(crate) spent: Spent,
}

/// An endpoint to dial.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Dial {
    /// `None`: the neighbour has no address, and this is one of the settings' endpoints.
    pub(crate) address: Option<AddressName>,
    pub(crate) endpoint: String,
}

/// The terms of a link at this moment. `name` is the address that was dialled; without it, or if it is gone, the first
/// one counts: a site that was called does not know by which line.
pub(crate) async fn terms(site: &Site, peer: &SiteCode, name: Option<&AddressName>) -> Result<Terms, Error> {
    let mut tx = site.store.read().await?;
    let Some(address) = by_name(&mut tx, peer, name).await? else {
        return Ok(Terms::unlimited());
    };
    let (local, spent) = state(&mut tx, &address, site.now()).await?;
    Ok(Terms { allowance: address::allowance(&address, local.hour, spent), address: Some(address), spent })
}

impl Terms {
    /// Of a neighbour without an address.
    pub(crate) fn unlimited() -> Self {
        Terms { allowance: Allowance::default(), address: None, spent: Spent::default() }
    }

    /// What keeps a class from leaving at this moment; `None`: nothing does.
    pub(crate) fn shut(&self, now: Timestamp, class: Priority) -> Option<Shut> {
        let open = self.allowance.open;
        let address = self.address.as_ref().filter(|_| !open.admits(class))?;
        let high_may = open.admits(Priority::High);
        let hour = moment(&zone_of(address), now).hour;
        let at = self.eta(now, class, 1, u64::MAX / 2);
        let by_calendar = !address::allowance(address, hour, Spent::default()).open.admits(class);
        Some(match by_calendar {
            true => Shut::Calendar { opens_at: at, high_may },
            false => Shut::Budget { resets_at: at, high_may },
        })
    }

    /// When so many bytes will have gone, those that go before them included; `None`: not within 60 days.
    pub(crate) fn eta(
        &self,
        now: Timestamp,
        class: Priority,
        bytes_left: u64,
        bytes_per_second: u64,
    ) -> Option<Timestamp> {
        let Some(address) = &self.address else {
            let us = (u128::from(bytes_left) * 1_000_000).checked_div(u128::from(bytes_per_second))?;
            let span = Duration::from_micros(u64::try_from(us).ok()?);
            return (span <= address::ETA_LONGEST).then(|| now.plus(span));
        };
        let load = Load { address, class, bytes_left, bytes_per_second, spent: self.spent };
        let zone = zone_of(address);
        address::eta(now, &load, |at| moment(&zone, at))
    }
}

/// Counts what went over a line, both ways and headers included, for the budget of its address. Each call is a
/// transaction, so it is one for every few seconds and not for every frame.
pub(crate) async fn record_use(
    site: &Site,
    peer: &SiteCode,
    name: Option<&AddressName>,
    bytes: u64,
) -> Result<(), Error> {
    if bytes == 0 {
        return Ok(());
    }
    let mut tx = site.store.begin().await?;
    let address = match by_name(&mut tx, peer, name).await? {
        Some(address) => address,
        None => Address::open(peer.clone(), MAIN.parse()?),
    };
    let days = days(&zone_of(&address), site.now());
    addresses::add_use(&mut tx, peer, &address.name, &days, bytes).await?;
    Ok(tx.commit().await?)
}

/// Where to dial a neighbour now, one endpoint after the other. `failed` are addresses that could not be reached since
/// one was; for what that means see [`address::choose`]. Nothing: every address is closed at this hour.
pub(crate) async fn dialling(
    site: &Site,
    peer: &SiteCode,
    failed: &[AddressName],
) -> Result<Vec<Dial>, Error> {
    let settings = match &site.settings.parent {
        Some((parent, endpoints)) if parent == peer => endpoints.as_slice(),
        _ => &[],
    };
    let dial = |address: Option<&AddressName>, endpoint: &String| Dial {
        address: address.cloned(),
        endpoint: endpoint.clone(),
    };
    let mut tx = site.store.read().await?;
    let held = addresses::list(&mut tx, Some(peer)).await?;
    if held.is_empty() {
        return Ok(settings.iter().map(|endpoint| dial(None, endpoint)).collect());
    }
    let mut candidates = Vec::new();
    for address in &held {
        let (local, spent) = state(&mut tx, address, site.now()).await?;
        candidates.push(Candidate { address, local: local.hour, spent });
    }
    let chosen = address::choose(&candidates, failed);
    let endpoints = chosen.into_iter().flat_map(|address| {
        let own = address.endpoint.as_ref();
        let endpoints = own.map_or(settings, std::slice::from_ref);
        endpoints.iter().map(move |endpoint| dial(Some(&address.name), endpoint))
    });
    Ok(endpoints.collect())
}

/// The address whose terms a link has.
pub(crate) async fn by_name(
    tx: &mut Tx,
    peer: &SiteCode,
    name: Option<&AddressName>,
) -> Result<Option<Address>, Error> {
    let mut held = addresses::list(tx, Some(peer)).await?;
    if held.is_empty() {
        return Ok(None);
    }
    let at = held.iter().position(|address| Some(&address.name) == name).unwrap_or(0);
    Ok(Some(held.swap_remove(at)))
}

/// Which hour it is at an address, and what went over it.
pub(crate) async fn state(
    tx: &mut Tx,
    address: &Address,
    now: Timestamp,
) -> Result<(LocalMoment, Spent), Error> {
    let zone = zone_of(address);
    let spent = addresses::spent(tx, &address.peer, &address.name, &days(&zone, now)).await?;
    Ok((moment(&zone, now), spent))
}

/// Which hour it is at an address.
pub(crate) fn hour(address: &Address, now: Timestamp) -> LocalHour {
    moment(&zone_of(address), now).hour
}

/// A zone by its IANA name, in any case; gives the name as it is written.
pub(crate) fn zone_name(text: &str) -> Option<String> {
    let zone = TimeZone::get(text).ok()?;
    zone.iana_name().map(str::to_owned)
}

/// Zones that somebody may have meant.
pub(crate) fn zones_like(text: &str) -> Vec<String> {
    let place =
        |name: &str| name.rsplit('/').next().unwrap_or_default().to_ascii_lowercase().replace('_', " ");
    let meant: String = place(text).replace(['-', ' '], " ").chars().take(4).collect();
    if meant.is_empty() {
        return Vec::new();
    }
    let known = tz::db().available().map(|name| name.to_string());
    known.filter(|name| name.contains('/') && place(name).starts_with(&meant)).take(SUGGESTIONS_MAX).collect()
}

fn zone_of(address: &Address) -> TimeZone {
    zone_of_name(&address.time_zone)
}

/// The zone was checked when it was set; one that is gone since then counts as UTC.
pub(super) fn zone_of_name(name: &str) -> TimeZone {
    TimeZone::get(name).unwrap_or(TimeZone::UTC)
}

/// A time for people, to the minute.
pub(super) fn text(at: Timestamp) -> String {
    zoned(&TimeZone::UTC, at).strftime("%Y-%m-%d %H:%M UTC").to_string()
}

fn days(zone: &TimeZone, now: Timestamp) -> Days {
    let today = zoned(zone, now).date();
    let oldest = today.checked_sub(jiff::Span::new().days(DAYS_KEPT)).unwrap_or(today);
    Days {
        today: today.to_string(),
        first_of_month: today.first_of_month().to_string(),
        oldest: oldest.to_string(),
    }
}
