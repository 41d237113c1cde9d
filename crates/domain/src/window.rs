//! Maintenance windows: the hours of the week in which a client begins required programs.
//!
//! Whole hours, as those of a calendar, and by the client's own clock: nothing here knows its zone. A client is in the
//! windows of all collections that it is a member of; one that is in none with windows may begin programs at any time.

#[cfg(test)]
mod tests;

use std::{fmt, str::FromStr, time::Duration};

use crate::{
    Timestamp,
    address::{HOURS, LocalClock, RuleError, day_text, days, hours, hours_on, week_hours},
};

/// Bytes of a rule's text.
const RULE_LENGTH_MAX: usize = 200;
/// How far is looked for a window with room. Not one week: what is left of this one may be too short, and the clocks may
/// take an hour of the next.
const LOOK_AHEAD: Duration = Duration::from_secs(22 * 24 * 3600);
const HOUR_US: i64 = 3_600_000_000;
/// What a window may lack: a program that may take all of it is never begun in the very moment in which it opens.
const LACKS_AT_MOST: Duration = Duration::from_secs(60);

/// Hours of the week, counted from Monday 00:00, ascending and each once. None: at any time.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Windows(Vec<u8>);

/// Why no program begins now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Closed {
    /// The next window that has room opens then.
    Until(Timestamp),
    /// No window has room for it, however long one waits.
    NoRoom,
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum WindowError {
    #[error(
        "`{0}` is not a word of a window: give days (mon-fri or sat,sun or *), whole hours, or both, as \
         `mon-fri 22:00-06:00`"
    )]
    Word(String),
    #[error("a window needs days, whole hours, or both, as `mon-fri 22:00-06:00`")]
    Empty,
    #[error("`{0}` comes after other {1}: make a second window of it")]
    Twice(String, &'static str),
    #[error(transparent)]
    Hours(#[from] RuleError),
    #[error("a window has at most {RULE_LENGTH_MAX} bytes: make two of it")]
    TooLong,
    #[error("hour {0} is not in a week: Monday 00:00 is 0, Sunday 23:00 is {last}", last = HOURS - 1)]
    Hour(u32),
}

impl Windows {
    /// At any time.
    pub const NONE: Windows = Windows(Vec::new());

    /// # Errors
    /// An hour that is not in a week.
    pub fn of(hours: impl IntoIterator<Item = u32>) -> Result<Self, WindowError> {
        week_hours(hours).map(Windows).map_err(WindowError::Hour)
    }

    pub fn hours(&self) -> &[u8] {
        &self.0
    }

    /// There is none: at any time.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// These and those of another. Who has none adds none.
    #[must_use]
    pub fn and(mut self, other: &Windows) -> Windows {
        self.0.extend(&other.0);
        self.0.sort_unstable();
        self.0.dedup();
        self
    }

    /// Whether a program that may take as long as `room` may begin at `now`.
    ///
    /// It has to fit into what is left of the window, up to a minute. Where clocks are set back, an hour that comes twice
    /// belongs to the window twice, as one stretch. Where they are set forward, the window is shorter by the hour that
    /// does not come; one that would not come at all is held in the hour after, so that no week goes by without it.
    ///
    /// # Errors
    /// When it may.
    pub fn admit(&self, now: Timestamp, room: Duration, clock: LocalClock<'_>) -> Result<(), Closed> {
        if self.is_empty() {
            return Ok(());
        }
        let end = now.plus(LOOK_AHEAD);
        let mut before = clock.at(Timestamp(now.0.saturating_sub(HOUR_US))).hour.of_week();
        let (mut at, mut begin) = (now, None);
        while at < end {
            let moment = clock.at(at);
            let hour = moment.hour.of_week();
            let until = moment.hour_ends(at);
            begin = (self.holds(hour) || self.stands_in(before, hour)).then(|| begin.unwrap_or(at));
            if let Some(from) = begin
                && until.since(from) + LACKS_AT_MOST >= room
            {
                return if from == now { Ok(()) } else { Err(Closed::Until(from)) };
            }
            (before, at) = (hour, until);
        }
        Err(Closed::NoRoom)
    }

    fn holds(&self, hour: u8) -> bool {
        self.0.binary_search(&hour).is_ok()
    }

    /// Whether an hour of a window was skipped between these two, of which neither has anything of it.
    fn stands_in(&self, before: u8, hour: u8) -> bool {
        let (before, hour) = (usize::from(before), usize::from(hour));
        let forward = (hour + HOURS - before) % HOURS;
        // More than half a week forward is back.
        let mut skipped = before + 1..before + forward;
        forward <= HOURS / 2 && !self.is_in(before) && skipped.any(|hour| self.is_in(hour))
    }

    /// Texts from which the windows are made again, as short as people write them.
    pub fn rules(&self) -> Vec<String> {
        let mut rules: Vec<(Vec<u8>, (u8, u8))> = Vec::new();
        for (day, hours) in self.stretches() {
            match rules.iter_mut().find(|(_, other)| *other == hours) {
                Some((days, _)) => days.push(day),
                None => rules.push((vec![day], hours)),
            }
        }
        let text = |(mut days, (from, to)): (Vec<u8>, (u8, u8))| {
            days.sort_unstable();
            match (from, to) {
                (0, 24) => day_text(&days),
                _ => format!("{} {from:02}:00-{to:02}:00", day_text(&days)),
            }
        };
        rules.into_iter().map(text).collect()
    }

    /// Hours that follow each other, as a day and the hours that a text can say of it: the whole day, hours of it, or
    /// less than a day over midnight.
    fn stretches(&self) -> Vec<(u8, (u8, u8))> {
        let mut stretches = Vec::new();
        let begins =
            (0..HOURS).filter(|at| self.is_in(*at) && (!self.is_in(at + HOURS - 1) || self.is_always()));
        for begin in begins.take(if self.is_always() { 1 } else { HOURS }) {
            let mut left = (0..HOURS).take_while(|step| self.is_in(begin + step)).count();
            let mut at = begin;
            while left > 0 {
                let (day, from) = (at % HOURS / 24, at % 24);
                let taken = if left < 24 { left } else { 24 - from };
                let to = match from + taken {
                    to @ ..=24 => to,
                    to => to - 24,
                };
                stretches.push((small(day), (small(from), small(to))));
                (at, left) = (at + taken, left - taken);
            }
        }
        stretches
    }

    fn is_in(&self, hour: usize) -> bool {
        self.holds(small(hour % HOURS))
    }

    fn is_always(&self) -> bool {
        self.0.len() == HOURS
    }
}

/// An hour or a day of a week.
fn small(number: usize) -> u8 {
    u8::try_from(number).unwrap_or(u8::MAX)
}

/// One rule: days, whole hours, or both, as `mon-fri 22:00-06:00`, `sat,sun` or `22-6`.
impl FromStr for Windows {
    type Err = WindowError;

    fn from_str(text: &str) -> Result<Self, WindowError> {
        if text.len() > RULE_LENGTH_MAX {
            return Err(WindowError::TooLong);
        }
        let (mut on, mut at) = (None, None);
        for word in text.split_whitespace() {
            let lower = word.to_ascii_lowercase();
            let (what, is_second) = match lower.starts_with(|c: char| c.is_ascii_digit()) {
                true => ("hours", at.replace(hours(&lower)?).is_some()),
                false => {
                    let days = days(&lower).ok_or_else(|| WindowError::Word(word.to_owned()))?;
                    ("days", on.replace(days).is_some())
                }
            };
            if is_second {
                return Err(WindowError::Twice(word.to_owned(), what));
            }
        }
        if on.is_none() && at.is_none() {
            return Err(WindowError::Empty);
        }
        let hours = hours_on(&on.unwrap_or([true; 7]), at.unwrap_or((0, 24)));
        Windows::of(hours.into_iter().map(|hour| u32::from(small(hour))))
    }
}

/// The rules, with commas between them.
impl fmt::Display for Windows {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.is_empty() {
            true => f.write_str("any time"),
            false => f.write_str(&self.rules().join("; ")),
        }
    }
}
