//! Addresses.

use std::time::Duration;

use packhorse_domain::{
    address::{Address, Budget, Calendar, ENDPOINT_LENGTH_MAX, HOURS, Hour, Rate, UTC, WhenSpent},
    link::{Open, Pulse},
};

use super::{ConvertError, invalid, limited, parse};
use crate::provider::v1 as wire;

/// A calendar that has neither every hour nor none.
#[derive(Debug, thiserror::Error)]
#[error("{HOURS} hours are expected, or none for an address that is always open")]
struct NotAWeek;

impl From<&Address> for wire::Address {
    fn from(address: &Address) -> Self {
        wire::Address {
            peer: address.peer.to_string(),
            name: address.name.to_string(),
            order: address.order,
            endpoint: address.endpoint.clone().unwrap_or_default(),
            time_zone: address.time_zone.clone(),
            calendar: Some((&address.calendar).into()),
            bytes_per_second: rate_on_wire(address.rate),
            pulse: address.pulse.map(Into::into),
            budget: address.budget.map(Into::into),
        }
    }
}

impl TryFrom<wire::Address> for Address {
    type Error = ConvertError;

    fn try_from(address: wire::Address) -> Result<Self, ConvertError> {
        limited("endpoint", address.endpoint.as_bytes(), ENDPOINT_LENGTH_MAX)?;
        let zone = if address.time_zone.is_empty() { UTC.to_owned() } else { address.time_zone };
        let address = Address {
            peer: parse("peer", &address.peer)?,
            name: parse("name", &address.name)?,
            order: address.order,
            endpoint: (!address.endpoint.is_empty()).then_some(address.endpoint),
            time_zone: zone,
            calendar: address.calendar.unwrap_or_default().try_into()?,
            rate: rate("bytes_per_second", address.bytes_per_second)?,
            pulse: address.pulse.map(Into::into),
            budget: address.budget.map(TryInto::try_into).transpose()?,
        };
        address.check().map_err(|source| invalid("address", source))?;
        Ok(address)
    }
}

impl From<&Calendar> for wire::Calendar {
    fn from(calendar: &Calendar) -> Self {
        if *calendar == Calendar::default() {
            return wire::Calendar::default();
        }
        let hours = calendar.hours().iter().map(|hour| wire::calendar::Hour {
            open: wire::Open::from(hour.open).into(),
            bytes_per_second: rate_on_wire(hour.rate),
            no_backup: !hour.backup,
        });
        wire::Calendar { hours: hours.collect() }
    }
}

impl TryFrom<wire::Calendar> for Calendar {
    type Error = ConvertError;

    fn try_from(calendar: wire::Calendar) -> Result<Self, ConvertError> {
        if calendar.hours.is_empty() {
            return Ok(Calendar::default());
        }
        limited("calendar.hours", &calendar.hours, HOURS)?;
        let hour = |hour: wire::calendar::Hour| {
            Ok(Hour {
                open: open(hour.open)?,
                rate: rate("calendar.hours.bytes_per_second", hour.bytes_per_second)?,
                backup: !hour.no_backup,
            })
        };
        let hours = calendar.hours.into_iter().map(hour).collect::<Result<_, _>>()?;
        Calendar::from_hours(hours).ok_or_else(|| invalid("calendar.hours", NotAWeek))
    }
}

fn rate_on_wire(rate: Option<Rate>) -> u64 {
    rate.map_or(0, Rate::bytes_per_second)
}

fn rate(field: &'static str, bytes_per_second: u64) -> Result<Option<Rate>, ConvertError> {
    match bytes_per_second {
        0 => Ok(None),
        limit => Rate::new(limit).map(Some).map_err(|source| invalid(field, source)),
    }
}

impl From<Open> for wire::Open {
    fn from(open: Open) -> Self {
        match open {
            Open::Nothing => wire::Open::Nothing,
            Open::High => wire::Open::High,
            Open::HighAndMedium => wire::Open::HighAndMedium,
            Open::All => wire::Open::All,
        }
    }
}

fn open(value: i32) -> Result<Open, ConvertError> {
    match wire::Open::try_from(value) {
        Ok(wire::Open::Nothing) => Ok(Open::Nothing),
        Ok(wire::Open::High) => Ok(Open::High),
        Ok(wire::Open::HighAndMedium) => Ok(Open::HighAndMedium),
        Ok(wire::Open::All) => Ok(Open::All),
        Ok(wire::Open::Unspecified) | Err(_) => {
            Err(ConvertError::Unknown { field: "calendar.hours.open", value })
        }
    }
}

impl From<Pulse> for wire::Pulse {
    fn from(pulse: Pulse) -> Self {
        // An address with a longer pause is refused wherever one comes in.
        let pause_us = u64::try_from(pulse.pause.as_micros()).unwrap_or(u64::MAX);
        wire::Pulse { block_bytes: pulse.block_bytes, pause_us }
    }
}

impl From<wire::Pulse> for Pulse {
    fn from(pulse: wire::Pulse) -> Self {
        Pulse { block_bytes: pulse.block_bytes, pause: Duration::from_micros(pulse.pause_us) }
    }
}

impl From<WhenSpent> for wire::WhenSpent {
    fn from(when: WhenSpent) -> Self {
        match when {
            WhenSpent::HighOnly => wire::WhenSpent::HighOnly,
            WhenSpent::Closed => wire::WhenSpent::Closed,
        }
    }
}

impl From<Budget> for wire::Budget {
    fn from(budget: Budget) -> Self {
        wire::Budget {
            per_day_bytes: budget.per_day_bytes.unwrap_or_default(),
            per_month_bytes: budget.per_month_bytes.unwrap_or_default(),
            when_spent: wire::WhenSpent::from(budget.when_spent).into(),
        }
    }
}

impl TryFrom<wire::Budget> for Budget {
    type Error = ConvertError;

    fn try_from(budget: wire::Budget) -> Result<Self, ConvertError> {
        let limit = |bytes: u64| (bytes != 0).then_some(bytes);
        Ok(Budget {
            per_day_bytes: limit(budget.per_day_bytes),
            per_month_bytes: limit(budget.per_month_bytes),
            when_spent: match wire::WhenSpent::try_from(budget.when_spent) {
                Ok(wire::WhenSpent::HighOnly | wire::WhenSpent::Unspecified) => WhenSpent::HighOnly,
                Ok(wire::WhenSpent::Closed) => WhenSpent::Closed,
                Err(_) => {
                    return Err(ConvertError::Unknown {
                        field: "budget.when_spent",
                        value: budget.when_spent,
                    });
                }
            },
        })
    }
}
