//! `packhorse log-level`: how much the components of the site server log.

use std::{str::FromStr, time::Duration};

use clap::Args;
use packhorse_domain::log::LogLevel;

use crate::cli::parse;

#[derive(Debug, Args)]
pub(crate) struct LogLevels {
    /// A component, or all, and what it logs: off, error, warn, info, debug, trace, or default, as in the settings
    #[arg(value_name = "COMPONENT=LEVEL")]
    pub(crate) changes: Vec<Change>,
    /// How long that holds, at most a day; then the settings hold again [default: 15m]
    #[arg(long = "for", value_name = "TIME", requires = "changes", value_parser = parse::duration)]
    pub(crate) lasts: Option<Duration>,
}

/// A component, and its level; `None`: what the settings say.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Change {
    pub(crate) component: String,
    pub(crate) level: Option<LogLevel>,
}

#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error(
    "COMPONENT=LEVEL is expected, as sender=debug; levels are off, error, warn, info, debug, trace and default"
)]
pub(crate) struct ChangeError;

impl FromStr for Change {
    type Err = ChangeError;

    fn from_str(text: &str) -> Result<Self, ChangeError> {
        let (component, level) = text.split_once('=').ok_or(ChangeError)?;
        let level = match level {
            "default" => None,
            level => Some(level.parse().map_err(|_| ChangeError)?),
        };
        if component.is_empty() {
            return Err(ChangeError);
        }
        Ok(Change { component: component.to_owned(), level })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_change_names_a_component_and_a_level() {
        let of = |component: &str, level| Ok(Change { component: component.to_owned(), level });

        assert_eq!("sender=debug".parse(), of("sender", Some(LogLevel::Debug)));
        assert_eq!("all=default".parse(), of("all", None));
        for wrong in ["sender", "sender=", "=debug", "sender=loud"] {
            assert_eq!(wrong.parse::<Change>(), Err(ChangeError), "{wrong}");
        }
    }
}
