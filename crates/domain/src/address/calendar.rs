//! The week of an address: what may leave in each of its 168 hours.

use std::{fmt, iter, time::Duration};

use super::{Rate, Rule, RuleError, rule};
use crate::{Timestamp, link::Open};

/// Days of a week times hours of a day.
pub const HOURS: usize = 7 * 24;
/// For a clock that says that an hour ended before it began.
const HOUR: Duration = Duration::from_secs(3600);
/// Rules from which a calendar is made: one for each hour is always enough.
const RULES_MAX: usize = HOURS;

/// Monday first; each day has 24 hours, whatever a change of clocks makes of one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Calendar(Vec<Hour>);

/// What may leave in one hour of the week.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Hour {
    pub open: Open,
    pub rate: Option<Rate>,
    /// The address may stand in for those before it.
    pub backup: bool,
}

/// An hour of the week by the clock of an address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LocalHour {
    weekday: u8,
    hour: u8,
}

/// A point in time by the clock of an address. Each of the three times is later than the moment itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LocalMoment {
    pub hour: LocalHour,
    pub next_hour_at: Timestamp,
    pub next_day_at: Timestamp,
    pub next_month_at: Timestamp,
}

impl Default for Hour {
    fn default() -> Self {
        Hour { open: Open::All, rate: None, backup: true }
    }
}

impl Default for Calendar {
    /// Always open.
    fn default() -> Self {
        Calendar(vec![Hour::default(); HOURS])
    }
}

impl LocalHour {
    /// `weekday`: 0 is Monday and 6 Sunday; `hour`: 0 to 23.
    pub fn new(weekday: u8, hour: u8) -> Option<LocalHour> {
        (weekday < 7 && hour < 24).then_some(LocalHour { weekday, hour })
    }

    pub fn weekday(self) -> u8 {
        self.weekday
    }

    pub fn hour(self) -> u8 {
        self.hour
    }

    /// Counted from Monday 00:00: 0 to 167.
    pub fn of_week(self) -> u8 {
        self.weekday * 24 + self.hour
    }
}

impl LocalMoment {
    /// When the hour of `at` ends, which is later than that whatever a clock says.
    pub fn hour_ends(&self, at: Timestamp) -> Timestamp {
        if self.next_hour_at > at { self.next_hour_at } else { at.plus(HOUR) }
    }
}

/// Which hour it is somewhere, and when it ends. Zones are known only to who makes one.
#[derive(Clone, Copy)]
pub struct LocalClock<'a>(pub &'a dyn Fn(Timestamp) -> LocalMoment);

impl LocalClock<'_> {
    pub fn at(&self, at: Timestamp) -> LocalMoment {
        (self.0)(at)
    }
}

impl fmt::Debug for LocalClock<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("LocalClock")
    }
}

/// Hours of a week, counted from Monday 00:00, ascending and each once.
///
/// # Errors
/// The one that is not in a week.
pub(crate) fn week_hours(hours: impl IntoIterator<Item = u32>) -> Result<Vec<u8>, u32> {
    let hour = |hour: u32| u8::try_from(hour).ok().filter(|hour| usize::from(*hour) < HOURS).ok_or(hour);
    let mut hours = hours.into_iter().map(hour).collect::<Result<Vec<u8>, _>>()?;
    hours.sort_unstable();
    hours.dedup();
    Ok(hours)
}

impl Calendar {
    /// A calendar from rules, on top of one that is always open.
    pub fn of<'a>(rules: impl IntoIterator<Item = &'a str>) -> Result<Calendar, RuleError> {
        let mut calendar = Calendar::default();
        for (at, text) in rules.into_iter().enumerate() {
            if at == RULES_MAX {
                return Err(RuleError::TooMany);
            }
            calendar.apply(&text.parse()?);
        }
        Ok(calendar)
    }

    /// From Monday 00:00 on; `None` if they are not exactly 168.
    pub fn from_hours(hours: Vec<Hour>) -> Option<Calendar> {
        (hours.len() == HOURS).then_some(Calendar(hours))
    }

    /// All 168, from Monday 00:00 on.
    pub fn hours(&self) -> &[Hour] {
        &self.0
    }

    pub fn hour(&self, local: LocalHour) -> Hour {
        self.0[usize::from(local.of_week())]
    }

    /// The 24 hours of a day.
    pub fn day(&self, weekday: u8) -> &[Hour] {
        let from = usize::from(weekday % 7) * 24;
        &self.0[from..from + 24]
    }

    /// Changes what the rule names, and leaves the rest of those hours as it was.
    pub fn apply(&mut self, rule: &Rule) {
        for at in rule.hours() {
            rule.change(&mut self.0[at]);
        }
    }

    /// Rules from which [`Calendar::of`] makes this calendar again. None: it is always open.
    pub fn rules(&self) -> Vec<String> {
        let mut rules = Vec::new();
        for first in 0..7 {
            let same = |weekday: &u8| self.day(*weekday) == self.day(first);
            // A day that looks like an earlier one was said with it.
            if (0..first).any(|weekday| same(&weekday)) {
                continue;
            }
            let days: Vec<u8> = (first..7).filter(same).collect();
            for (from, to) in stretches(self.day(first)) {
                let hour = self.day(first)[usize::from(from)];
                if hour != Hour::default() {
                    rules.push(rule::text(&days, (from, to), hour));
                }
            }
        }
        rules
    }
}

/// Hours that are alike and follow each other, as (first, one past the last).
fn stretches(day: &[Hour]) -> Vec<(u8, u8)> {
    let begins = (0..24u8).filter(|at| *at == 0 || day[usize::from(*at)] != day[usize::from(*at) - 1]);
    let begins: Vec<u8> = begins.collect();
    begins.iter().copied().zip(begins.iter().copied().skip(1).chain(iter::once(24))).collect()
}

#[cfg(test)]
mod tests {
    use proptest::{collection::vec, option, prelude::*, sample::select};

    use super::*;

    fn hour() -> impl Strategy<Value = Hour> {
        let open = select(vec![Open::Nothing, Open::High, Open::HighAndMedium, Open::All]);
        let rate = option::of((125..=100_000_000u64).prop_map(|rate| Rate::new(rate).expect("in range")));
        (open, rate, any::<bool>()).prop_map(|(open, rate, backup)| Hour { open, rate, backup })
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(64) })]

        #[test]
        fn a_calendar_is_made_again_from_its_rules(
            // Few different hours, so that stretches and equal days occur.
            few in vec(hour(), 3),
            picks in vec(0..3usize, HOURS),
            as_monday in vec(any::<bool>(), 7),
        ) {
            let hours = (0..HOURS).map(|at| {
                let at = if as_monday[at / 24] { at % 24 } else { at };
                few[picks[at]]
            });
            let calendar = Calendar::from_hours(hours.collect()).expect("168");

            let rules = calendar.rules();

            prop_assert!(rules.len() <= RULES_MAX);
            prop_assert_eq!(Calendar::of(rules.iter().map(String::as_str)).expect("good rules"), calendar);
        }
    }

    #[test]
    fn rules_are_as_short_as_people_write_them() {
        for (typed, written) in [
            (vec![], vec![]),
            (vec!["closed", "all"], vec![]),
            (vec!["closed"], vec!["* closed"]),
            (vec!["mon-fri 8-18 high 64k"], vec!["mon-fri 08:00-18:00 high 64kbit/s"]),
            (vec!["sun,mon,sat no-backup"], vec!["mon,sat-sun all no-backup"]),
            (vec!["* 22-6 closed"], vec!["* 00:00-06:00 closed", "* 22:00-24:00 closed"]),
            (
                vec!["all 64k", "mon 12:00-13:00 unlimited"],
                vec!["mon 00:00-12:00 all 64kbit/s", "mon 13:00-24:00 all 64kbit/s", "tue-sun all 64kbit/s"],
            ),
        ] {
            assert_eq!(Calendar::of(typed.clone()).expect("good rules").rules(), written, "{typed:?}");
        }
    }

    #[test]
    fn a_week_has_168_hours() {
        assert!(Calendar::from_hours(vec![Hour::default(); HOURS]).is_some());
        assert!(Calendar::from_hours(vec![Hour::default(); HOURS - 1]).is_none());
        assert!(LocalHour::new(6, 23).is_some());
        assert!(LocalHour::new(7, 0).is_none() && LocalHour::new(0, 24).is_none());
        assert_eq!(LocalHour::new(6, 23).map(LocalHour::of_week), Some(167));
        assert_eq!(Calendar::of(vec!["all"; RULES_MAX + 1]), Err(RuleError::TooMany));
    }
}
