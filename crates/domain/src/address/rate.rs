//! Rates and pulses as people type them: `64kbit/s`, `128kB/s`, `5kB/2s`.

use std::{fmt, str::FromStr, time::Duration};

use super::amount::{Amount, scaled, split_number};
use crate::link::Pulse;

/// How fast bytes may leave: 1 kbit/s to 100 Gbit/s.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Rate(u64);

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RateError {
    #[error("`{0}` is not a rate: give it as 64kbit/s, 10Mbit/s or 128kB/s")]
    Grammar(String),
    #[error("`{0}` may mean bits or bytes: write kbit/s or kB/s")]
    BitsOrBytes(String),
    #[error("a rate of {0} bytes a second is out of range: give 1kbit/s to 100Gbit/s")]
    Range(u64),
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not a pulse: give a block and a pause, as 5kB/2s")]
pub struct PulseError(String);

impl Rate {
    /// In bytes per second.
    pub const SLOWEST: u64 = 125;
    /// In bytes per second.
    pub const FASTEST: u64 = 12_500_000_000;

    pub fn new(bytes_per_second: u64) -> Result<Rate, RateError> {
        match (Self::SLOWEST..=Self::FASTEST).contains(&bytes_per_second) {
            true => Ok(Rate(bytes_per_second)),
            false => Err(RateError::Range(bytes_per_second)),
        }
    }

    pub fn bytes_per_second(self) -> u64 {
        self.0
    }
}

impl FromStr for Rate {
    type Err = RateError;

    fn from_str(text: &str) -> Result<Self, RateError> {
        let shown = || text.chars().take(40).collect();
        let bad = || RateError::Grammar(shown());
        let (thousandths, unit) = split_number(text).ok_or_else(bad)?;
        // In `kbps` a small b has always meant bits.
        let (unit, small_b_is_bits) = match (unit.strip_suffix("/s"), unit.strip_suffix("ps")) {
            (Some(unit), _) => (unit, false),
            (None, Some(unit)) => (unit, true),
            (None, None) => (unit, false),
        };
        let (size, unit) = match unit.bytes().next() {
            Some(b'k' | b'K') => (1_000, &unit[1..]),
            Some(b'm' | b'M') => (1_000_000, &unit[1..]),
            Some(b'g' | b'G') => (1_000_000_000, &unit[1..]),
            _ if unit == "bit" || unit == "B" => (1, unit),
            _ => return Err(bad()),
        };
        let size_in_bits = match unit {
            "" | "bit" => size,
            "b" if small_b_is_bits => size,
            "b" => return Err(RateError::BitsOrBytes(shown())),
            "B" => size * 8,
            _ => return Err(bad()),
        };
        Rate::new(scaled(thousandths, size_in_bits).ok_or_else(bad)? / 8)
    }
}

impl fmt::Display for Rate {
    /// In bits, as lines are sold; a rate that is not a whole number of them is said in bytes.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let bits = self.0 * 8;
        let units = [("Gbit/s", 1_000_000_000), ("Mbit/s", 1_000_000), ("kbit/s", 1_000)];
        match units.into_iter().find(|(_, size)| bits.is_multiple_of(*size)) {
            Some((name, size)) => write!(f, "{}{name}", bits / size),
            None => write!(f, "{}B/s", self.0),
        }
    }
}

impl FromStr for Pulse {
    type Err = PulseError;

    fn from_str(text: &str) -> Result<Self, PulseError> {
        parse_pulse(text).ok_or_else(|| PulseError(text.chars().take(40).collect()))
    }
}

fn parse_pulse(text: &str) -> Option<Pulse> {
    let (block, pause) = text.split_once('/')?;
    let block: Amount = block.parse().ok()?;
    let (thousandths, unit) = split_number(pause)?;
    let unit_us = match unit {
        "ms" => 1_000,
        "s" => 1_000_000,
        "m" => 60_000_000,
        _ => return None,
    };
    let pause = Duration::from_micros(scaled(thousandths, unit_us)?);
    Some(Pulse { block_bytes: u32::try_from(block.0).ok()?, pause })
}

impl fmt::Display for Pulse {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let block = Amount(self.block_bytes.into());
        match self.pause.as_millis() {
            ms if ms.is_multiple_of(1000) => write!(f, "{block}/{}s", ms / 1000),
            ms => write!(f, "{block}/{ms}ms"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_are_read_and_written() {
        for (text, bytes_per_second, written) in [
            ("64kbit/s", 8_000, "64kbit/s"),
            ("64k", 8_000, "64kbit/s"),
            ("64kbit", 8_000, "64kbit/s"),
            ("64kbps", 8_000, "64kbit/s"),
            ("10Mbit/s", 1_250_000, "10Mbit/s"),
            ("1.544M", 193_000, "1544kbit/s"),
            ("128kB/s", 128_000, "1024kbit/s"),
            ("1GB/s", 1_000_000_000, "8Gbit/s"),
            ("300B/s", 300, "300B/s"),
            ("2400bit/s", 300, "300B/s"),
        ] {
            let rate: Rate = text.parse().expect(text);
            assert_eq!((rate.bytes_per_second(), rate.to_string().as_str()), (bytes_per_second, written));
            assert_eq!(rate.to_string().parse(), Ok(rate), "{text}");
        }
    }

    #[test]
    fn what_is_no_rate_is_refused_with_a_remedy() {
        for wrong in ["", "64", "fast", "64kbit/h", "k", "64 kbit/s", "64kfoo", "1.2.3k", "é", "64é"] {
            assert!(matches!(wrong.parse::<Rate>(), Err(RateError::Grammar(_))), "{wrong}");
        }
        assert!(matches!("64kb/s".parse::<Rate>(), Err(RateError::BitsOrBytes(_))));
        assert_eq!("0k".parse::<Rate>(), Err(RateError::Range(0)));
        assert_eq!("999bit/s".parse::<Rate>(), Err(RateError::Range(124)));
        assert!(matches!("101Gbit/s".parse::<Rate>(), Err(RateError::Range(_))));
    }

    #[test]
    fn a_pulse_is_a_block_and_a_pause() {
        for (text, block_bytes, millis, written) in [
            ("5kB/2s", 5_000, 2_000, "5kB/2s"),
            ("1MB/500ms", 1_000_000, 500, "1MB/500ms"),
            ("64KiB/1.5s", 65_536, 1_500, "65536B/1500ms"),
            ("5kB/1m", 5_000, 60_000, "5kB/60s"),
        ] {
            let pulse: Pulse = text.parse().expect(text);
            assert_eq!(pulse, Pulse { block_bytes, pause: Duration::from_millis(millis) }, "{text}");
            assert_eq!(pulse.to_string(), written);
        }
        for wrong in ["", "5kB", "5kB/", "/2s", "5/2s", "5kB/2", "5kB/2h", "5TB/2s"] {
            assert!(wrong.parse::<Pulse>().is_err(), "{wrong}");
        }
    }
}
