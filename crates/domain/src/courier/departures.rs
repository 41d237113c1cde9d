//! The hours of the week at which a courier leaves.

use std::{fmt, str::FromStr};

use crate::{
    Timestamp,
    address::{HOURS, LocalMoment, day_text, days, week_hours},
};

const TEXT_LENGTH_MAX: usize = 200;

/// Hours of the week, counted from Monday 00:00, each once and ascending. None: at any time.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Departures(Vec<u8>);

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DeparturesError {
    #[error("`{0}` is no time of departure: give days and a full hour, as `mon,thu 14:00`, or `any`")]
    Text(String),
    #[error("hour {0} is not in a week: Monday 00:00 is 0, Sunday 23:00 is {last}", last = HOURS - 1)]
    Hour(u32),
}

impl Departures {
    pub fn any() -> Self {
        Departures::default()
    }

    /// # Errors
    /// An hour that is not in a week.
    pub fn of(hours: impl IntoIterator<Item = u32>) -> Result<Self, DeparturesError> {
        week_hours(hours).map(Departures).map_err(DeparturesError::Hour)
    }

    pub fn hours(&self) -> &[u8] {
        &self.0
    }

    /// These and those of another.
    pub fn and(mut self, other: &Departures) -> Departures {
        self.0.extend(&other.0);
        self.0.sort_unstable();
        self.0.dedup();
        self
    }

    /// The next departure that is still to come.
    pub(super) fn next(&self, now: Timestamp, local: impl Fn(Timestamp) -> LocalMoment) -> Timestamp {
        if self.0.is_empty() {
            return now;
        }
        let mut at = now;
        // A week has an hour more, or one less, where clocks are changed.
        for _ in 0..HOURS + 2 {
            let moment = local(at);
            at = moment.hour_ends(at);
            if self.0.contains(&local(at).hour.of_week()) {
                return at;
            }
        }
        at
    }
}

/// `any`, or days and an hour: `mon,thu 14:00`, `mon-fri 6:00`, `* 22:00`, `14:00`.
impl FromStr for Departures {
    type Err = DeparturesError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let bad = || DeparturesError::Text(text.chars().take(80).collect());
        if text.len() > TEXT_LENGTH_MAX {
            return Err(bad());
        }
        let lower = text.to_ascii_lowercase();
        let words: Vec<&str> = lower.split_whitespace().collect();
        let (on, at) = match words[..] {
            ["any"] => return Ok(Departures::any()),
            [at] => ([true; 7], at),
            [on, at] => (days(on).ok_or_else(bad)?, at),
            _ => return Err(bad()),
        };
        let hour = at.strip_suffix(":00").filter(|hour| hour.bytes().all(|byte| byte.is_ascii_digit()));
        let hour: u32 = hour.and_then(|hour| hour.parse().ok()).filter(|hour| *hour < 24).ok_or_else(bad)?;
        Departures::of((0..7u32).filter(|day| on[*day as usize]).map(|day| day * 24 + hour))
    }
}

/// As it is parsed; several with `; ` between them.
impl fmt::Display for Departures {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.is_empty() {
            return out.write_str("any");
        }
        let mut first = true;
        for hour in 0..24 {
            let of_hour = self.0.iter().filter(|number| **number % 24 == hour);
            let on: Vec<u8> = of_hour.map(|number| number / 24).collect();
            if !on.is_empty() {
                let between = if first { "" } else { "; " };
                write!(out, "{between}{} {hour:02}:00", day_text(&on))?;
                first = false;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::address::LocalHour;

    const HOUR_US: i64 = 3_600_000_000;

    /// A zone without changes, in which time began on a Monday.
    fn local(at: Timestamp) -> LocalMoment {
        let hours = at.0 / HOUR_US;
        let number = |hours: i64| u8::try_from(hours).unwrap();
        LocalMoment {
            hour: LocalHour::new(number(hours / 24 % 7), number(hours % 24)).unwrap(),
            next_hour_at: Timestamp((hours + 1) * HOUR_US),
            next_day_at: Timestamp((hours / 24 + 1) * 24 * HOUR_US),
            next_month_at: Timestamp(i64::MAX),
        }
    }

    fn next(text: &str, hours: f64) -> i64 {
        let now = Timestamp((hours * 3600.0) as i64 * 1_000_000);
        let at = text.parse::<Departures>().unwrap().next(now, local);
        assert_eq!(at.0 % HOUR_US, if text == "any" { at.0 % HOUR_US } else { 0 });
        at.0 / HOUR_US
    }

    #[test]
    fn the_next_departure_is_still_to_come() {
        assert_eq!(next("any", 5.0), 5);
        assert_eq!(next("mon 14:00", 13.5), 14);
        assert_eq!(next("mon 14:00", 14.0), 7 * 24 + 14, "that one has just left");
        assert_eq!(next("mon,thu 14:00", 15.0), 3 * 24 + 14);
        assert_eq!(next("sun 23:00", 6.0 * 24.0 + 23.5), 13 * 24 + 23);
        assert_eq!(next("14:00", 15.0), 24 + 14);
    }

    #[test]
    fn departures_are_told_as_they_are_typed() {
        for text in ["any", "mon,thu 14:00", "* 06:00", "mon-fri 22:00"] {
            assert_eq!(text.parse::<Departures>().unwrap().to_string(), text);
        }
        let both = "mon 14:00".parse::<Departures>().unwrap().and(&"fri 9:00".parse().unwrap());
        assert_eq!(both.to_string(), "fri 09:00; mon 14:00");
        for wrong in ["", "mon", "mon 24:00", "mon 14:30", "monday 14:00", "mon 14:00 x", "mon +4:00"] {
            assert!(wrong.parse::<Departures>().is_err(), "{wrong}");
        }
        assert!(Departures::of([168]).is_err());
    }
}
