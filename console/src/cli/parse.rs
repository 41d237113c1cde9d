//! Small grammars of the command line: targets, conditions, times, programs.
//!
//! What only the site can judge (whether a fact or a distribution point is there) is left to the site.

use std::{error::Error, str::FromStr, time::Duration};

use jiff::{SignedDuration, Span, SpanRelativeTo};
use packhorse_domain::{
    Timestamp,
    address::{Amount, AmountError},
    id::{IdError, PointName, ProgramName, SiteCode},
    kill::{KillError, check_reason},
};
use packhorse_proto::object::v1::{Program, collection::Condition, distribution::Target};

/// A point in time as it was typed; relative ones wait for the clock.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Moment {
    At(Timestamp),
    After(Duration),
}

/// A point in the past as it was typed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Past {
    At(Timestamp),
    Ago(Duration),
}

/// A limit as it was typed; `none` takes one away.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Limit<T> {
    None,
    Is(T),
}

#[derive(Debug, thiserror::Error)]
pub(crate) enum ParseError {
    #[error("SITE/POINT is expected, as PAR/desk")]
    Target,
    #[error(transparent)]
    TargetSite(IdError),
    #[error(transparent)]
    TargetPoint(IdError),
    #[error("a fact, `=` or `!=`, and a pattern are expected, as 'os=linux' or 'site!=LAB'")]
    Condition,
    #[error("a name, `=` and a command are expected, as 'install=./install.sh --quiet'")]
    Program,
    #[error(transparent)]
    ProgramName(IdError),
    #[error("a quote is opened and not closed; `packhorse program set` takes words as they are")]
    Quote,
    #[error("a length of time is expected, as 90s, 30m, 24h or 7d")]
    Duration(#[source] Option<jiff::Error>),
    #[error("a time is expected, as 2027-01-31T22:00:00Z or +2h")]
    Moment(#[source] jiff::Error),
    #[error("a time or how long ago is expected, as 2027-01-31T22:00:00Z or 1h")]
    Past(#[source] jiff::Error),
    #[error("an absolute path on the site server is expected; --upload takes a directory on this machine")]
    RelativeSource,
    #[error("an absolute path on the site server is expected")]
    RelativePath,
    #[error(transparent)]
    Amount(AmountError),
    #[error(
        "a budget of nothing would be spent at once; `none` takes the limit away, and a calendar can close the line"
    )]
    EmptyBudget,
}

impl Moment {
    pub(crate) fn resolve(self, now: Timestamp) -> Timestamp {
        match self {
            Moment::At(time) => time,
            Moment::After(span) => now.plus(span),
        }
    }
}

impl Past {
    pub(crate) fn resolve(self, now: Timestamp) -> Timestamp {
        match self {
            Past::At(time) => time,
            Past::Ago(span) => {
                Timestamp(now.0.saturating_sub(i64::try_from(span.as_micros()).unwrap_or(i64::MAX)))
            }
        }
    }
}

impl<T> Limit<T> {
    pub(crate) fn is(self) -> Option<T> {
        match self {
            Limit::None => None,
            Limit::Is(value) => Some(value),
        }
    }
}

/// A limit in its own grammar, or `none`.
pub(crate) fn limit<T>(text: &str) -> Result<Limit<T>, T::Err>
where
    T: FromStr,
    T::Err: Error,
{
    if text == "none" { Ok(Limit::None) } else { text.parse().map(Limit::Is) }
}

/// An amount that is more than nothing, or `none`.
pub(crate) fn budget(text: &str) -> Result<Limit<Amount>, ParseError> {
    match limit(text).map_err(ParseError::Amount)? {
        Limit::Is(Amount(0)) => Err(ParseError::EmptyBudget),
        limit => Ok(limit),
    }
}

/// `SITE/POINT`.
pub(crate) fn target(text: &str) -> Result<Target, ParseError> {
    let (site, point) = text.split_once('/').ok_or(ParseError::Target)?;
    let site: SiteCode = site.parse().map_err(ParseError::TargetSite)?;
    let point: PointName = point.parse().map_err(ParseError::TargetPoint)?;
    Ok(Target { site: site.to_string(), distribution_point: point.to_string() })
}

/// `FACT=PATTERN` or `FACT!=PATTERN`; the pattern may hold further `=`.
pub(crate) fn condition(text: &str) -> Result<Condition, ParseError> {
    let (fact, pattern) = text.split_once('=').ok_or(ParseError::Condition)?;
    let (fact, negated) = match fact.strip_suffix('!') {
        Some(fact) => (fact, true),
        None => (fact, false),
    };
    if fact.is_empty() || fact.chars().any(char::is_whitespace) {
        return Err(ParseError::Condition);
    }
    Ok(Condition { fact: fact.to_owned(), pattern: pattern.to_owned(), negated })
}

/// `NAME=COMMAND`, with the properties that a program has unless it is told otherwise.
pub(crate) fn program(text: &str) -> Result<Program, ParseError> {
    let (name, command) = text.split_once('=').ok_or(ParseError::Program)?;
    let name: ProgramName = name.parse().map_err(ParseError::ProgramName)?;
    let command = split_words(command)?;
    if command.is_empty() {
        return Err(ParseError::Program);
    }
    Ok(Program { name: name.to_string(), command, ..Program::default() })
}

/// Words between spaces. Quotes of both kinds keep words together and are dropped; nothing else is special.
pub(crate) fn split_words(text: &str) -> Result<Vec<String>, ParseError> {
    let mut words = Vec::new();
    let mut word: Option<String> = None;
    let mut quote = None;
    for c in text.chars() {
        match quote {
            Some(open) if c == open => quote = None,
            Some(_) => word.get_or_insert_default().push(c),
            None if c == '\'' || c == '"' => {
                quote = Some(c);
                word.get_or_insert_default();
            }
            None if c.is_whitespace() => words.extend(word.take()),
            None => word.get_or_insert_default().push(c),
        }
    }
    if quote.is_some() {
        return Err(ParseError::Quote);
    }
    words.extend(word);
    Ok(words)
}

/// A length of time in whole seconds, at least one; a day is 24 hours.
pub(crate) fn duration(text: &str) -> Result<Duration, ParseError> {
    let span: Span = text.parse().map_err(|error| ParseError::Duration(Some(error)))?;
    let length: SignedDuration = span
        .to_duration(SpanRelativeTo::days_are_24_hours())
        .map_err(|error| ParseError::Duration(Some(error)))?;
    match u64::try_from(length.as_secs()) {
        Ok(seconds) if seconds > 0 => Ok(Duration::from_secs(seconds)),
        _ => Err(ParseError::Duration(None)),
    }
}

/// An RFC 3339 time, or `+` and a length of time.
pub(crate) fn moment(text: &str) -> Result<Moment, ParseError> {
    match text.strip_prefix('+') {
        Some(span) => duration(span).map(Moment::After),
        None => timestamp(text).map(Moment::At).map_err(ParseError::Moment),
    }
}

/// An RFC 3339 time, or how long ago.
pub(crate) fn past(text: &str) -> Result<Past, ParseError> {
    match duration(text) {
        Ok(span) => Ok(Past::Ago(span)),
        Err(_) => timestamp(text).map(Past::At).map_err(ParseError::Past),
    }
}

/// A source directory on the site server: a relative path would mean another one there than here.
pub(crate) fn source_directory(text: &str) -> Result<String, ParseError> {
    if text.starts_with('/') { Ok(text.to_owned()) } else { Err(ParseError::RelativeSource) }
}

/// A distribution point's directory on the site server.
pub(crate) fn server_directory(text: &str) -> Result<String, ParseError> {
    if text.starts_with('/') { Ok(text.to_owned()) } else { Err(ParseError::RelativePath) }
}

/// Why a package must not run.
pub(crate) fn kill_reason(text: &str) -> Result<String, KillError> {
    check_reason(text).map(|()| text.to_owned())
}

fn timestamp(text: &str) -> Result<Timestamp, jiff::Error> {
    text.parse::<jiff::Timestamp>().map(|time| Timestamp(time.as_microsecond()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_target_is_a_site_and_a_point() {
        let desk = target("PAR/desk").expect("a target");
        assert_eq!((desk.site.as_str(), desk.distribution_point.as_str()), ("PAR", "desk"));

        for wrong in ["", "PAR", "PAR/", "/desk", "par/desk", "PAR/desk/x", "PAR/../x"] {
            assert!(target(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_condition_is_a_fact_and_a_pattern_and_may_be_negated() {
        for (text, fact, pattern, negated) in [
            ("os=linux", "os", "linux", false),
            ("site!=LAB", "site", "LAB", true),
            ("label.role=till-??", "label.role", "till-??", false),
            ("label.flags=a=b!=c", "label.flags", "a=b!=c", false),
            ("hostname=", "hostname", "", false),
        ] {
            let condition = condition(text).expect("a condition");
            assert_eq!(
                (condition.fact.as_str(), condition.pattern.as_str(), condition.negated),
                (fact, pattern, negated)
            );
        }
        for wrong in ["", "os", "=linux", "!=linux", "os =linux", "os != linux"] {
            assert!(condition(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_program_is_a_name_and_words() {
        let install = program("install=./install.sh --mode=quiet  --title 'Our editor' \"it's\" ''")
            .expect("a program");

        assert_eq!(install.name, "install");
        assert_eq!(install.command, ["./install.sh", "--mode=quiet", "--title", "Our editor", "it's", ""]);
        assert!(!install.shell && install.success_codes.is_empty() && install.time_limit_s == 0);
    }

    #[test]
    fn a_program_without_name_command_or_closing_quote_is_refused() {
        assert!(matches!(program("./install.sh"), Err(ParseError::Program)));
        assert!(matches!(program("install=  "), Err(ParseError::Program)));
        assert!(matches!(program("=./install.sh"), Err(ParseError::ProgramName(_))));
        assert!(matches!(program("install=sh -c 'x"), Err(ParseError::Quote)));
    }

    #[test]
    fn quotes_join_what_they_touch() {
        assert_eq!(split_words("a'b c'd \"e\"'f'").expect("words"), ["ab cd", "ef"]);
        assert_eq!(split_words("  ").expect("words"), [""; 0]);
    }

    #[test]
    fn lengths_of_time_are_whole_seconds() {
        for (text, seconds) in
            [("90s", 90), ("30m", 1800), ("24h", 86_400), ("7d", 604_800), ("1h 30m", 5400)]
        {
            assert_eq!(duration(text).expect("a length of time"), Duration::from_secs(seconds), "{text}");
        }
        for wrong in ["", "24", "0s", "-2h", "10ms", "soon", "1 month"] {
            assert!(duration(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_moment_is_a_time_or_relative_to_now() {
        let now = Timestamp(1_000_000);

        assert_eq!(moment("+2h").expect("relative").resolve(now), Timestamp(7_201_000_000));
        assert_eq!(moment("1970-01-01T00:00:05Z").expect("a time").resolve(now), Timestamp(5_000_000));
        assert_eq!(
            moment("1970-01-01T02:00:05+02:00").expect("with an offset").resolve(now),
            Timestamp(5_000_000)
        );
        for wrong in ["2h", "+", "+2", "tomorrow", "2027-01-31", "2027-01-31T22:00:00"] {
            assert!(moment(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn the_past_is_a_time_or_how_long_ago() {
        let now = Timestamp(7_201_000_000);

        assert_eq!(past("2h").expect("relative").resolve(now), Timestamp(1_000_000));
        assert_eq!(past("1970-01-01T00:00:05Z").expect("a time").resolve(now), Timestamp(5_000_000));
        assert!(past("+2h").is_ok_and(|typed| typed == Past::Ago(Duration::from_secs(7200))));
        assert!(past("yesterday").is_err());
    }

    #[test]
    fn a_directory_on_the_site_server_is_absolute() {
        assert!(source_directory("/srv/source").is_ok());
        assert!(source_directory("./source").is_err_and(|error| error.to_string().contains("--upload")));
        assert!(server_directory("source").is_err());
    }
}
