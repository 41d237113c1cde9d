//! Amounts of bytes as people type them: `50MB`, `1.5GB`, `512MiB`.

use std::{fmt, str::FromStr};

/// Bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Amount(pub u64);

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not an amount: give it as 500kB, 50MB, 1GB or 512MiB")]
pub struct AmountError(pub(super) String);

/// Largest first within each family; an amount is written with the largest decimal one that leaves no fraction.
const UNITS: [(&str, u64); 9] = [
    ("TB", 1_000_000_000_000),
    ("GB", 1_000_000_000),
    ("MB", 1_000_000),
    ("kB", 1_000),
    ("TiB", 1 << 40),
    ("GiB", 1 << 30),
    ("MiB", 1 << 20),
    ("KiB", 1 << 10),
    ("B", 1),
];

impl FromStr for Amount {
    type Err = AmountError;

    fn from_str(text: &str) -> Result<Self, AmountError> {
        let bad = || AmountError(text.chars().take(40).collect());
        let (thousandths, unit) = split_number(text).ok_or_else(bad)?;
        let (_, size) =
            UNITS.into_iter().find(|(name, _)| name.eq_ignore_ascii_case(unit)).ok_or_else(bad)?;
        scaled(thousandths, size).map(Amount).ok_or_else(bad)
    }
}

impl fmt::Display for Amount {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let decimal = &UNITS[..4];
        match decimal.iter().find(|(_, size)| self.0 > 0 && self.0.is_multiple_of(*size)) {
            Some((name, size)) => write!(f, "{}{name}", self.0 / size),
            None => write!(f, "{}B", self.0),
        }
    }
}

/// A number with at most three decimals, in thousandths, and what follows it.
pub(super) fn split_number(text: &str) -> Option<(u64, &str)> {
    let end = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let (number, rest) = text.split_at(end);
    let (whole, decimals) = number.split_once('.').unwrap_or((number, "0"));
    if decimals.is_empty() || decimals.len() > 3 || decimals.contains('.') {
        return None;
    }
    let whole: u64 = whole.parse().ok()?;
    let part: u64 = format!("{decimals:0<3}").parse().ok()?;
    Some((whole.checked_mul(1000)?.checked_add(part)?, rest))
}

/// So many thousandths of a unit, rounded down.
pub(super) fn scaled(thousandths: u64, unit: u64) -> Option<u64> {
    u64::try_from(u128::from(thousandths) * u128::from(unit) / 1000).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn amounts_are_read_and_written() {
        for (text, bytes, written) in [
            ("50MB", 50_000_000, "50MB"),
            ("50mb", 50_000_000, "50MB"),
            ("1.5GB", 1_500_000_000, "1500MB"),
            ("5kB", 5_000, "5kB"),
            ("1KiB", 1_024, "1024B"),
            ("512MiB", 536_870_912, "536870912B"),
            ("2TB", 2_000_000_000_000, "2TB"),
            ("0.001kB", 1, "1B"),
            ("0B", 0, "0B"),
        ] {
            let amount: Amount = text.parse().expect(text);
            assert_eq!((amount.0, amount.to_string().as_str()), (bytes, written), "{text}");
        }
        for wrong in ["", "50", "MB", "50 MB", "-1MB", "1.MB", "1.2345MB", "1..2MB", "50XB", "99999999999TB"]
        {
            let error = wrong.parse::<Amount>().expect_err(wrong);
            assert!(error.to_string().contains("50MB"), "{error}");
        }
    }
}
