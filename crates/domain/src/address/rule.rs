//! One line of a calendar as people type it: days, hours, and what is to hold then.
//!
//! `mon-fri 08:00-18:00 high 64kbit/s`, `sat,sun all`, `* 22:00-06:00 all 2Mbit/s`. What a rule does not name it
//! does not change: without days it means all, without hours the whole day.

use std::str::FromStr;

use super::{Hour, Rate, RateError, calendar::HOURS};
use crate::link::Open;

/// Bytes of a rule's text.
const RULE_LENGTH_MAX: usize = 200;

const DAYS: [&str; 7] = ["mon", "tue", "wed", "thu", "fri", "sat", "sun"];
const CLASSES: [(&str, Open); 4] = [
    ("closed", Open::Nothing),
    ("high", Open::High),
    ("high+medium", Open::HighAndMedium),
    ("all", Open::All),
];

/// A change to some hours of a week.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rule {
    /// Monday first.
    days: [bool; 7],
    /// The first hour, and the one that is not meant any more. One that is not later lies on the next day.
    from: u8,
    to: u8,
    open: Option<Open>,
    /// `Some(None)`: no rate any more.
    rate: Option<Option<Rate>>,
    backup: Option<bool>,
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RuleError {
    #[error(
        "`{0}` is not a word of a calendar: days (mon-fri or sat,sun or *), hours (08:00-18:00), closed, high, \
         high+medium, all, a rate (64kbit/s), unlimited, backup and no-backup are"
    )]
    Word(String),
    #[error("`{0}` is not a range of whole hours: give it as 08:00-18:00, from 00:00 to 24:00")]
    Hours(String),
    #[error("`{0}` begins and ends in the same hour: leave the hours out to mean the whole day")]
    SameHour(String),
    #[error("`{word}` comes after other {what}: make a second rule of it")]
    Twice { what: &'static str, word: String },
    #[error(
        "a rule needs closed, high, high+medium, all, a rate, unlimited, backup or no-backup: `{0}` has none"
    )]
    SaysNothing(String),
    #[error(transparent)]
    Rate(#[from] RateError),
    #[error("a rule has at most {RULE_LENGTH_MAX} bytes: shorten it, or make two of it")]
    TooLong,
    #[error("a calendar has at most {HOURS} rules: an hour needs no more than one")]
    TooMany,
}

impl Rule {
    /// The hours that it means, counted from Monday 00:00.
    pub(super) fn hours(&self) -> Vec<usize> {
        hours_on(&self.days, (self.from, self.to))
    }

    pub(super) fn change(&self, hour: &mut Hour) {
        hour.open = self.open.unwrap_or(hour.open);
        hour.rate = self.rate.unwrap_or(hour.rate);
        hour.backup = self.backup.unwrap_or(hour.backup);
    }
}

impl FromStr for Rule {
    type Err = RuleError;

    fn from_str(text: &str) -> Result<Self, RuleError> {
        if text.len() > RULE_LENGTH_MAX {
            return Err(RuleError::TooLong);
        }
        let mut words = Words::default();
        for word in text.split_whitespace() {
            words.take(word)?;
        }
        let Words { days, hours, open, rate, backup } = words;
        if open.is_none() && rate.is_none() && backup.is_none() {
            return Err(RuleError::SaysNothing(text.chars().take(80).collect()));
        }
        let (from, to) = hours.unwrap_or((0, 24));
        Ok(Rule { days: days.unwrap_or([true; 7]), from, to, open, rate, backup })
    }
}

/// What was met so far; each may be said once.
#[derive(Default)]
struct Words {
    days: Option<[bool; 7]>,
    hours: Option<(u8, u8)>,
    open: Option<Open>,
    rate: Option<Option<Rate>>,
    backup: Option<bool>,
}

impl Words {
    fn take(&mut self, word: &str) -> Result<(), RuleError> {
        let lower = word.to_ascii_lowercase();
        if let Some((_, open)) = CLASSES.into_iter().find(|(name, _)| *name == lower) {
            return once(&mut self.open, open, "classes", word);
        }
        match lower.as_str() {
            "backup" => return once(&mut self.backup, true, "words on backup", word),
            "no-backup" => return once(&mut self.backup, false, "words on backup", word),
            "unlimited" => return once(&mut self.rate, None, "rates", word),
            _ => {}
        }
        if !lower.starts_with(|c: char| c.is_ascii_digit()) {
            let days = days(&lower).ok_or_else(|| RuleError::Word(word.to_owned()))?;
            return once(&mut self.days, days, "days", word);
        }
        // Of what begins with a digit, a rate has neither of these.
        if lower.contains(['-', ':']) {
            return once(&mut self.hours, hours(&lower)?, "hours", word);
        }
        once(&mut self.rate, Some(word.parse()?), "rates", word)
    }
}

fn once<T>(place: &mut Option<T>, value: T, what: &'static str, word: &str) -> Result<(), RuleError> {
    match place.replace(value) {
        None => Ok(()),
        Some(_) => Err(RuleError::Twice { what, word: word.to_owned() }),
    }
}

/// `*`, or days and ranges of days between commas. A range may go over the end of the week.
pub(crate) fn days(text: &str) -> Option<[bool; 7]> {
    if text == "*" {
        return Some([true; 7]);
    }
    let number = |name: &str| DAYS.iter().position(|day| *day == name);
    let mut days = [false; 7];
    for part in text.split(',') {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        let (mut at, last) = (number(first)?, number(last)?);
        days[at] = true;
        while at != last {
            at = (at + 1) % 7;
            days[at] = true;
        }
    }
    Some(days)
}

/// The hours of these days, counted from Monday 00:00: from the first up to the second, which lies on the next day if it
/// is not later.
pub(crate) fn hours_on(days: &[bool; 7], (from, to): (u8, u8)) -> Vec<usize> {
    let length = if to > from { to - from } else { to + 24 - from };
    let begins = (0..7usize).filter(|day| days[*day]).map(|day| day * 24 + usize::from(from));
    begins.flat_map(|begin| (begin..begin + usize::from(length)).map(|at| at % HOURS)).collect()
}

/// A range of whole hours of a day, as 22:00-06:00.
pub(crate) fn hours(text: &str) -> Result<(u8, u8), RuleError> {
    let bad = || RuleError::Hours(text.to_owned());
    let number = |text: &str| {
        let hour = text.strip_suffix(":00").unwrap_or(text);
        let digits = (1..=2).contains(&hour.len()) && hour.bytes().all(|b| b.is_ascii_digit());
        digits.then(|| hour.parse::<u8>().ok()).flatten().filter(|hour| *hour <= 24)
    };
    let (from, to) = text.split_once('-').ok_or_else(bad)?;
    let (from, to) = (number(from).ok_or_else(bad)?, number(to).ok_or_else(bad)?);
    if from == to {
        return Err(RuleError::SameHour(text.to_owned()));
    }
    // What begins at 24:00 would begin on another day than the one that is named.
    if from == 24 { Err(bad()) } else { Ok((from, to)) }
}

/// A rule that makes these hours of these days what `hour` says, if they were open without limits before.
pub(super) fn text(days: &[u8], (from, to): (u8, u8), hour: Hour) -> String {
    let mut words = vec![day_text(days)];
    if (from, to) != (0, 24) {
        words.push(format!("{from:02}:00-{to:02}:00"));
    }
    words.extend(CLASSES.into_iter().filter(|(_, open)| *open == hour.open).map(|(name, _)| name.to_owned()));
    words.extend(hour.rate.map(|rate| rate.to_string()));
    if !hour.backup {
        words.push("no-backup".to_owned());
    }
    words.join(" ")
}

/// Days, ascending, as they are typed.
pub(crate) fn day_text(days: &[u8]) -> String {
    if days.len() == 7 {
        return "*".to_owned();
    }
    let name = |day: u8| DAYS[usize::from(day)];
    let ranges = days.chunk_by(|day, next| day + 1 == *next).map(|range| match range {
        [one] => name(*one).to_owned(),
        _ => format!("{}-{}", name(range[0]), name(range[range.len() - 1])),
    });
    ranges.collect::<Vec<_>>().join(",")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The hours of the week that a rule makes different from an always open one.
    fn changed(text: &str) -> Vec<(usize, usize)> {
        let rule: Rule = text.parse().expect(text);
        let mut hours = rule.hours();
        hours.sort_unstable();
        let runs = hours.chunk_by(|at, next| at + 1 == *next);
        runs.map(|run| (run[0], run[run.len() - 1] + 1)).collect()
    }

    #[test]
    fn a_rule_means_hours_of_the_week() {
        for (text, expected) in [
            ("closed", vec![(0, 168)]),
            ("* closed", vec![(0, 168)]),
            ("mon closed", vec![(0, 24)]),
            ("mon 08:00-18:00 closed", vec![(8, 18)]),
            ("mon 8-18 closed", vec![(8, 18)]),
            ("MON,Wed 00:00-24:00 closed", vec![(0, 24), (48, 72)]),
            ("sat-mon 12:00-13:00 closed", vec![(12, 13), (132, 133), (156, 157)]),
            ("fri 22:00-06:00 closed", vec![(118, 126)]),
            ("sun 22:00-06:00 closed", vec![(0, 6), (166, 168)]),
            ("tue 20:00-00:00 closed", vec![(44, 48)]),
            ("closed 08:00-10:00 mon", vec![(8, 10)]),
        ] {
            assert_eq!(changed(text), expected, "{text}");
        }
    }

    #[test]
    fn a_rule_changes_what_it_names() {
        let limited = Hour { open: Open::High, rate: Some("64k".parse().expect("a rate")), backup: false };
        for (text, expected) in [
            ("all", Hour { open: Open::All, ..limited }),
            (
                "high+medium 2Mbit/s",
                Hour { open: Open::HighAndMedium, rate: Some("2M".parse().expect("a rate")), ..limited },
            ),
            ("unlimited", Hour { rate: None, ..limited }),
            ("backup", Hour { backup: true, ..limited }),
            ("closed no-backup", Hour { open: Open::Nothing, ..limited }),
        ] {
            let mut hour = limited;
            text.parse::<Rule>().expect(text).change(&mut hour);
            assert_eq!(hour, expected, "{text}");
        }
    }

    #[test]
    fn what_is_wrong_is_named_with_a_remedy() {
        for (text, expected) in [
            ("mon-fri hgih", "`hgih` is not a word of a calendar: days (mon-fri"),
            ("monday closed", "`monday`"),
            ("mon-fry closed", "`mon-fry`"),
            ("mon, closed", "`mon,`"),
            ("08:30-18:00 high", "`08:30-18:00` is not a range of whole hours: give it as 08:00-18:00"),
            ("08:00 high", "`08:00` is not a range"),
            ("08:00-25:00 high", "from 00:00 to 24:00"),
            ("24:00-06:00 high", "from 00:00 to 24:00"),
            ("08:00-+9:00 high", "whole hours"),
            ("08:00-08:00 high", "leave the hours out"),
            ("high all", "`all` comes after other classes: make a second rule"),
            ("mon tue high", "`tue` comes after other days"),
            ("mon-fri 08:00-18:00", "a rule needs closed, high"),
            ("", "a rule needs closed, high"),
            ("high 64", "`64` is not a rate: give it as 64kbit/s"),
            ("high 64kb/s", "write kbit/s or kB/s"),
            (&"x".repeat(300), "at most 200 bytes"),
        ] {
            let error = text.parse::<Rule>().expect_err(text).to_string();
            assert!(error.contains(expected), "{text}: {error}");
        }
    }
}
