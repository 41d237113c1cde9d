//! Addresses: the lines by which a site reaches a neighbour, and what each may carry in which hour.
//!
//! Nothing here knows a time zone: the caller says which hour it is at an address, and when that hour ends.

mod amount;
mod calendar;
mod choice;
mod eta;
mod rate;
mod rule;

use std::time::Duration;

pub use amount::{Amount, AmountError};
pub(crate) use calendar::week_hours;
pub use calendar::{Calendar, HOURS, Hour, LocalClock, LocalHour, LocalMoment};
pub use choice::{Candidate, choose};
pub use eta::{ETA_LONGEST, Load, eta};
pub use rate::{PulseError, Rate, RateError};
pub use rule::{Rule, RuleError};
pub(crate) use rule::{day_text, days, hours, hours_on};

use crate::{
    id::{AddressName, SiteCode},
    link::{Allowance, Open, Pulse},
};

/// The name of an address that was given none.
pub const MAIN: &str = "main";
/// The zone of an address that was given none.
pub const UTC: &str = "UTC";
/// Addresses that a site keeps for one neighbour.
pub const ADDRESSES_MAX: usize = 16;
/// Bytes of an endpoint, the port included.
pub const ENDPOINT_LENGTH_MAX: usize = 300;
/// Bytes of a time zone's name.
pub const TIME_ZONE_LENGTH_MAX: usize = 64;
/// The most that a budget counts, in bytes: an exabyte.
pub const BUDGET_BYTES_MAX: u64 = 1_000_000_000_000_000_000;
/// The blocks of a pulse, in bytes. A smaller one would carry little but headers; a larger one is no pulse.
pub const PULSE_BLOCK_BYTES: std::ops::RangeInclusive<u32> = 1_000..=16_000_000;
/// The pauses of a pulse.
pub const PULSE_PAUSE: std::ops::RangeInclusive<Duration> =
    Duration::from_millis(100)..=Duration::from_secs(600);

/// A way to a neighbour, with its limits.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Address {
    pub peer: SiteCode,
    pub name: AddressName,
    /// The lowest is dialled first; equal ones go by name.
    pub order: u32,
    /// `HOST:PORT`. Only the side that dials needs it; `None` there: the endpoints of its settings.
    pub endpoint: Option<String>,
    /// The IANA name of the zone in which the calendar's hours and the budget's days are meant.
    pub time_zone: String,
    pub calendar: Calendar,
    /// Holds in every hour, beside the rate of the hour: the smaller one counts.
    pub rate: Option<Rate>,
    pub pulse: Option<Pulse>,
    pub budget: Option<Budget>,
}

/// How much may go over an address in a local day and a local month. At least one of the two is there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Budget {
    pub per_day_bytes: Option<u64>,
    pub per_month_bytes: Option<u64>,
    pub when_spent: WhenSpent,
}

/// What still goes once a budget is spent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum WhenSpent {
    #[default]
    HighOnly,
    Closed,
}

/// What went over an address since the local midnight, and since the first of the local month.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Spent {
    pub day_bytes: u64,
    pub month_bytes: u64,
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AddressError {
    #[error("`{0}` is not HOST:PORT: give it as par.example.net:7443 or 192.0.2.7:7443")]
    Endpoint(String),
    #[error("`{0}` is not the name of a time zone: give one as Europe/Paris or UTC")]
    TimeZone(String),
    #[error("a pulse has blocks of 1kB to 16MB and pauses of 100ms to 10m")]
    Pulse,
    #[error("a budget needs bytes per day or per month, each from 1 byte to 1,000,000TB")]
    Budget,
}

impl Address {
    /// An address that is always open and has no limit.
    pub fn open(peer: SiteCode, name: AddressName) -> Address {
        Address {
            peer,
            name,
            order: 1,
            endpoint: None,
            time_zone: UTC.to_owned(),
            calendar: Calendar::default(),
            rate: None,
            pulse: None,
            budget: None,
        }
    }

    /// Whether it holds anything back, in whichever hour.
    pub fn is_limited(&self) -> bool {
        self.rate.is_some()
            || self.pulse.is_some()
            || self.budget.is_some()
            || self.calendar.hours().iter().any(|hour| hour.open != Open::All || hour.rate.is_some())
    }

    /// Whether there is a zone of that name only the caller can know.
    pub fn check(&self) -> Result<(), AddressError> {
        let shown = |text: &str| text.chars().take(80).collect();
        if let Some(endpoint) = &self.endpoint
            && !is_endpoint(endpoint)
        {
            return Err(AddressError::Endpoint(shown(endpoint)));
        }
        if !is_zone_name(&self.time_zone) {
            return Err(AddressError::TimeZone(shown(&self.time_zone)));
        }
        if let Some(pulse) = self.pulse
            && !(PULSE_BLOCK_BYTES.contains(&pulse.block_bytes) && PULSE_PAUSE.contains(&pulse.pause))
        {
            return Err(AddressError::Pulse);
        }
        self.budget.map_or(Ok(()), Budget::check)
    }
}

fn is_endpoint(text: &str) -> bool {
    let plain =
        text.len() <= ENDPOINT_LENGTH_MAX && !text.chars().any(|c| c.is_whitespace() || c.is_control());
    plain
        && text
            .rsplit_once(':')
            .is_some_and(|(host, port)| !host.is_empty() && port.parse::<u16>().is_ok_and(|port| port > 0))
}

fn is_zone_name(text: &str) -> bool {
    text.len() <= TIME_ZONE_LENGTH_MAX
        && text.bytes().next().is_some_and(|b| b.is_ascii_alphabetic())
        && text.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'/' | b'_' | b'-' | b'+'))
}

impl Budget {
    fn check(self) -> Result<(), AddressError> {
        let mut limits = [self.per_day_bytes, self.per_month_bytes].into_iter().flatten().peekable();
        let named = limits.peek().is_some();
        match named && limits.all(|limit| (1..=BUDGET_BYTES_MAX).contains(&limit)) {
            true => Ok(()),
            false => Err(AddressError::Budget),
        }
    }

    /// Bytes until something of the budget is spent; `None`: something is spent already.
    pub fn left(&self, spent: Spent) -> Option<u64> {
        let of = |limit: Option<u64>, used: u64| limit.map_or(u64::MAX, |limit| limit.saturating_sub(used));
        let left = of(self.per_day_bytes, spent.day_bytes).min(of(self.per_month_bytes, spent.month_bytes));
        (left > 0).then_some(left)
    }
}

/// What an address lets a link carry in this hour.
pub fn allowance(address: &Address, local: LocalHour, spent: Spent) -> Allowance {
    let hour = address.calendar.hour(local);
    let rate = hour.rate.into_iter().chain(address.rate).min();
    let narrowed = match address.budget {
        Some(budget) if budget.left(spent).is_none() => match budget.when_spent {
            WhenSpent::HighOnly => Open::High,
            WhenSpent::Closed => Open::Nothing,
        },
        _ => Open::All,
    };
    Allowance {
        open: hour.open.min(narrowed),
        bytes_per_second: rate.map(Rate::bytes_per_second),
        pulse: address.pulse,
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    pub(crate) fn address(name: &str) -> Address {
        Address::open("PAR".parse().expect("a code"), name.parse().expect("a name"))
    }

    pub(crate) fn calendar(rules: &[&str]) -> Calendar {
        Calendar::of(rules.iter().copied()).expect("good rules")
    }

    fn at(weekday: u8, hour: u8) -> LocalHour {
        LocalHour::new(weekday, hour).expect("an hour")
    }

    fn rate(text: &str) -> Option<Rate> {
        Some(text.parse().expect("a rate"))
    }

    #[test]
    fn the_smaller_rate_counts() {
        for (of_address, of_hour, expected) in [
            (None, "* all", None),
            (rate("64kbit/s"), "* all", Some(8_000)),
            (None, "* all 128kB/s", Some(128_000)),
            (rate("64kbit/s"), "* all 128kB/s", Some(8_000)),
            (rate("1Mbit/s"), "* all 64k", Some(8_000)),
        ] {
            let address = Address { rate: of_address, calendar: calendar(&[of_hour]), ..address(MAIN) };

            let allowed = allowance(&address, at(2, 12), Spent::default());

            assert_eq!(allowed.bytes_per_second, expected, "{of_address:?} {of_hour}");
        }
    }

    #[test]
    fn what_holds_something_back_in_any_hour_is_a_limit() {
        let budget = Budget { per_day_bytes: Some(1), per_month_bytes: None, when_spent: WhenSpent::Closed };
        let pulse = Pulse { block_bytes: 1_000, pause: Duration::from_secs(1) };
        let with_rules = |rules: &[&str]| Address { calendar: calendar(rules), ..address(MAIN) };
        for (what, address, is_limited) in [
            ("none", address(MAIN), false),
            ("hours in which it stands in for others", with_rules(&["* all no-backup"]), false),
            ("a rate", Address { rate: rate("1Gbit/s"), ..address(MAIN) }, true),
            ("a pulse", Address { pulse: Some(pulse), ..address(MAIN) }, true),
            ("a budget", Address { budget: Some(budget), ..address(MAIN) }, true),
            ("an hour with a rate", with_rules(&["sun 03-04 all 128kB/s"]), true),
            ("an hour that is closed", with_rules(&["sun 03-04 closed"]), true),
        ] {
            assert_eq!(address.is_limited(), is_limited, "{what}");
        }
    }

    #[test]
    fn a_spent_budget_narrows_what_is_open_and_never_widens_it() {
        let day = Budget { per_day_bytes: Some(100), per_month_bytes: None, when_spent: WhenSpent::HighOnly };
        let month = Budget { per_day_bytes: None, per_month_bytes: Some(100), when_spent: WhenSpent::Closed };
        let spent = |day_bytes, month_bytes| Spent { day_bytes, month_bytes };
        for (rule, budget, spent, expected) in [
            ("all", day, spent(99, 999), Open::All),
            ("all", day, spent(100, 100), Open::High),
            ("high+medium", day, spent(101, 101), Open::High),
            ("closed", day, spent(100, 100), Open::Nothing),
            ("all", month, spent(0, 99), Open::All),
            ("high", month, spent(0, 100), Open::Nothing),
        ] {
            let address = Address { calendar: calendar(&[rule]), budget: Some(budget), ..address(MAIN) };

            assert_eq!(allowance(&address, at(0, 0), spent).open, expected, "{rule} {budget:?} {spent:?}");
        }
    }

    #[test]
    fn what_cannot_be_meant_is_refused() {
        let good = address(MAIN);
        assert_eq!(good.check(), Ok(()));
        for endpoint in ["par.example.net:7443", "192.0.2.7:1", "[2001:db8::1]:7443"] {
            let address = Address { endpoint: Some(endpoint.to_owned()), ..good.clone() };
            assert_eq!(address.check(), Ok(()), "{endpoint}");
        }
        for endpoint in ["", "par", ":7443", "par:0", "par:70000", "p ar:1", "par:1\n", &"x".repeat(400)] {
            let address = Address { endpoint: Some(endpoint.to_owned()), ..good.clone() };
            assert!(matches!(address.check(), Err(AddressError::Endpoint(_))), "{endpoint}");
        }
        for zone in ["", "/etc/passwd", "../x", "Europe Paris", &"x".repeat(65)] {
            let address = Address { time_zone: zone.to_owned(), ..good.clone() };
            assert!(matches!(address.check(), Err(AddressError::TimeZone(_))), "{zone}");
        }
        let budget = |per_day_bytes, per_month_bytes| Address {
            budget: Some(Budget { per_day_bytes, per_month_bytes, when_spent: WhenSpent::Closed }),
            ..good.clone()
        };
        assert_eq!(budget(Some(1), Some(BUDGET_BYTES_MAX)).check(), Ok(()));
        for bad in [budget(None, None), budget(Some(0), None), budget(Some(1), Some(u64::MAX))] {
            assert_eq!(bad.check(), Err(AddressError::Budget));
        }
        let pulse = |block_bytes, millis| Address {
            pulse: Some(Pulse { block_bytes, pause: Duration::from_millis(millis) }),
            ..good.clone()
        };
        assert_eq!(pulse(5_000, 2_000).check(), Ok(()));
        for bad in [pulse(999, 2_000), pulse(16_000_001, 2_000), pulse(5_000, 99), pulse(5_000, 600_001)] {
            assert_eq!(bad.check(), Err(AddressError::Pulse));
        }
    }
}
