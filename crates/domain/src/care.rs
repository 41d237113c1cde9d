//! Rules of looking after content: what stays free on the disk, when a library is verified and how gently, and which
//! way what was lost comes back.

use std::{fmt, str::FromStr, time::Duration};

use crate::{Timestamp, address::Amount};

/// A disk as it is now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Disk {
    pub free_bytes: u64,
    pub total_bytes: u64,
}

/// What new package content leaves free on a disk.
///
/// Without a word: a twentieth of the disk, at most 2 GiB. Instructions, objects, status and the database of a site
/// need far less for months; on a small disk a twentieth is what file systems hold back themselves; more than 2 GiB
/// would only be room that nobody may use.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Reserve {
    #[default]
    Auto,
    Bytes(u64),
    Percent(u8),
}

const RESERVE_AUTO_MAX: u64 = 2 << 30;
const RESERVE_AUTO_PART: u64 = 20;

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("auto, an amount as 2GB, or a part of the disk as 5%, at most 90%, is expected")]
pub struct ReserveError;

impl Reserve {
    pub fn bytes(self, disk: Disk) -> u64 {
        match self {
            Reserve::Auto => (disk.total_bytes / RESERVE_AUTO_PART).min(RESERVE_AUTO_MAX),
            Reserve::Bytes(bytes) => bytes,
            Reserve::Percent(part) => disk.total_bytes / 100 * u64::from(part),
        }
    }

    /// Whether `needed` more bytes fit on the disk beside what stays free.
    pub fn admit(self, disk: Disk, needed: u64) -> Result<(), Shortage> {
        let reserve_bytes = self.bytes(disk);
        match disk.free_bytes >= needed.saturating_add(reserve_bytes) {
            true => Ok(()),
            false => Err(Shortage { free_bytes: disk.free_bytes, needed_bytes: needed, reserve_bytes }),
        }
    }
}

impl FromStr for Reserve {
    type Err = ReserveError;

    fn from_str(text: &str) -> Result<Self, ReserveError> {
        if text == "auto" {
            return Ok(Reserve::Auto);
        }
        match text.strip_suffix('%') {
            Some(part) => {
                part.parse().ok().filter(|part| *part <= 90).map(Reserve::Percent).ok_or(ReserveError)
            }
            None => text.parse::<Amount>().map(|amount| Reserve::Bytes(amount.0)).map_err(|_| ReserveError),
        }
    }
}

impl fmt::Display for Reserve {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Reserve::Auto => f.write_str("auto"),
            Reserve::Bytes(bytes) => Amount(*bytes).fmt(f),
            Reserve::Percent(part) => write!(f, "{part}%"),
        }
    }
}

/// A disk on which something does not fit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Shortage {
    pub free_bytes: u64,
    pub needed_bytes: u64,
    pub reserve_bytes: u64,
}

impl Shortage {
    /// What must become free before it fits.
    pub fn lacking_bytes(self) -> u64 {
        self.needed_bytes.saturating_add(self.reserve_bytes).saturating_sub(self.free_bytes)
    }
}

impl fmt::Display for Shortage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [free, needed, reserve, lacking] =
            [self.free_bytes, self.needed_bytes, self.reserve_bytes, self.lacking_bytes()].map(round);
        write!(f, "{free} are free, {needed} are needed and {reserve} stay in reserve: {lacking} are lacking")
    }
}

/// An amount for people, with three digits.
pub fn round(bytes: u64) -> String {
    const UNITS: [(&str, u64); 4] =
        [("TB", 1_000_000_000_000), ("GB", 1_000_000_000), ("MB", 1_000_000), ("kB", 1_000)];
    match UNITS.into_iter().find(|(_, size)| bytes >= *size) {
        Some((unit, size)) => {
            let value = bytes as f64 / size as f64;
            let decimals = if value < 10.0 { 2 } else { usize::from(value < 100.0) };
            format!("{value:.decimals$} {unit}")
        }
        None => format!("{bytes} B"),
    }
}

/// Whether a library is to be verified now: `since` is when it last was, or when the site began. A clock that was set
/// back makes nothing due.
pub fn verify_is_due(since: Timestamp, now: Timestamp, every: Option<Duration>) -> bool {
    every.is_some_and(|every| now.since(since) >= every)
}

/// How long to pause so that `bytes`, read within `taken`, were read at no more than this rate.
pub fn pause(bytes: u64, taken: Duration, bytes_per_s: u64) -> Duration {
    let micros = u128::from(bytes) * 1_000_000 / u128::from(bytes_per_s.max(1));
    Duration::from_micros(u64::try_from(micros).unwrap_or(u64::MAX)).saturating_sub(taken)
}

/// How fast single chunks may leave over a line: a quarter of what its address allows, so that they hold up nothing that
/// the link carries, and no more than this where nothing is said.
pub const MEND_RATE_MAX: u64 = 1_000_000;

pub fn mend_rate(allowed_bytes_per_s: Option<u64>) -> u64 {
    allowed_bytes_per_s.map_or(MEND_RATE_MAX, |allowed| (allowed / 4).clamp(1, MEND_RATE_MAX))
}

/// More than this does not come chunk by chunk over a line: a bundle resumes, waits for its hour and is made smaller.
pub const MEND_BYTES_MAX: u64 = 256 << 20;

/// Whether what is missing of a version comes over a line chunk by chunk, or as a bundle like any other content.
pub fn comes_in_chunks(missing_bytes: u64, content_bytes: u64) -> bool {
    missing_bytes <= MEND_BYTES_MAX && missing_bytes <= content_bytes / 2
}

#[cfg(test)]
mod tests {
    use super::*;

    const GB: u64 = 1_000_000_000;

    fn disk(free: u64, total: u64) -> Disk {
        Disk { free_bytes: free, total_bytes: total }
    }

    #[test]
    fn a_reserve_is_a_word_an_amount_or_a_part() {
        for (text, expected) in [
            ("auto", Reserve::Auto),
            ("2GB", Reserve::Bytes(2 * GB)),
            ("0B", Reserve::Bytes(0)),
            ("10%", Reserve::Percent(10)),
        ] {
            let parsed: Reserve = text.parse().expect("a reserve");
            assert_eq!(parsed, expected);
            assert_eq!(parsed.to_string().parse(), Ok(expected), "it is written as it is read");
        }
        for bad in ["", "much", "91%", "-1%", "5", "%"] {
            assert_eq!(bad.parse::<Reserve>(), Err(ReserveError), "{bad}");
        }
    }

    #[test]
    fn without_a_word_a_twentieth_stays_free_and_no_more_than_two_gib() {
        assert_eq!(Reserve::Auto.bytes(disk(0, 10 * GB)), GB / 2);
        assert_eq!(Reserve::Auto.bytes(disk(0, 4000 * GB)), 2 << 30);
        assert_eq!(Reserve::Percent(10).bytes(disk(0, 4000 * GB)), 400 * GB);
    }

    #[test]
    fn what_would_bite_into_the_reserve_is_not_admitted() {
        let reserve = Reserve::Bytes(GB);
        for (free, needed, lacking) in [
            (3 * GB, 2 * GB, 0),
            (3 * GB, 2 * GB + 1, 1),
            (GB / 2, 0, GB / 2),
            (9 * GB, u64::MAX, u64::MAX - 9 * GB),
        ] {
            let admitted = reserve.admit(disk(free, 10 * GB), needed);
            assert_eq!(admitted.err().map_or(0, Shortage::lacking_bytes), lacking, "{free} for {needed}");
        }
    }

    #[test]
    fn a_shortage_says_what_is_there_and_what_is_not() {
        let shortage =
            Reserve::Bytes(GB).admit(disk(1_500_000_000, 10 * GB), 700_000_000).expect_err("too much");

        assert_eq!(
            shortage.to_string(),
            "1.50 GB are free, 700 MB are needed and 1.00 GB stay in reserve: 200 MB are lacking"
        );
    }

    #[test]
    fn a_library_is_verified_when_its_time_has_passed_and_never_if_that_is_off() {
        let day = Duration::from_secs(86_400);
        let (then, now) = (Timestamp(0), Timestamp(0).plus(day));

        assert!(verify_is_due(then, now, Some(day)));
        assert!(!verify_is_due(then, now, Some(2 * day)) && !verify_is_due(then, now, None));
        assert!(!verify_is_due(now, then, Some(day)));
    }

    #[test]
    fn a_pause_makes_up_for_what_was_too_fast() {
        let ms = Duration::from_millis;
        for (bytes, taken, rate, expected) in
            [(1000, 0, 1000, 1000), (1000, 400, 1000, 600), (1000, 2000, 1000, 0), (0, 0, 0, 0)]
        {
            assert_eq!(pause(bytes, ms(taken), rate), ms(expected), "{bytes} in {taken} at {rate}");
        }
    }

    #[test]
    fn chunks_take_a_quarter_of_a_line() {
        assert_eq!(mend_rate(None), MEND_RATE_MAX);
        assert_eq!(mend_rate(Some(8_000)), 2_000);
        assert_eq!((mend_rate(Some(1)), mend_rate(Some(u64::MAX))), (1, MEND_RATE_MAX));
    }

    #[test]
    fn a_few_chunks_come_one_by_one_and_half_a_version_as_a_bundle() {
        assert!(comes_in_chunks(10, 1000) && comes_in_chunks(500, 1000));
        assert!(!comes_in_chunks(501, 1000) && !comes_in_chunks(MEND_BYTES_MAX + 1, u64::MAX));
        assert!(comes_in_chunks(0, 0));
    }
}
