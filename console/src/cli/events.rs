//! `packhorse events`: what happened, and what becomes of messages.

use std::ops::RangeInclusive;

use clap::{Args, Subcommand, ValueEnum};
use packhorse_domain::id::SiteCode;

use crate::cli::parse::{self, Past};

#[derive(Debug, Args)]
#[command(
    args_conflicts_with_subcommands = true,
    after_help = "\
Examples:
  packhorse events
  packhorse events --since 1h --severity warning
  packhorse events --since 2027-01-31T22:00:00Z --component sender --subject PAR
  packhorse events --site LYO --type audit
  packhorse events --message 4401
  packhorse events --follow
  packhorse events rule list

With --follow and -o json each message is a document on its own line."
)]
pub(crate) struct EventsCommand {
    #[command(subcommand)]
    pub(crate) action: Option<EventsAction>,
    #[command(flatten)]
    pub(crate) events: Events,
}

#[derive(Debug, Subcommand)]
pub(crate) enum EventsAction {
    /// What becomes of messages at this site: how long they are kept, whether they go up, what is run
    Rule {
        #[command(subcommand)]
        command: RuleCommand,
    },
}

#[derive(Debug, Args)]
pub(crate) struct Events {
    /// Only messages after this: a time, or how long ago
    #[arg(long, value_name = "TIME", value_parser = parse::past)]
    pub(crate) since: Option<Past>,
    /// Only messages of this component, as distribution-manager
    #[arg(long, default_value = "", hide_default_value = true)]
    pub(crate) component: String,
    /// Only messages of this severity or worse
    #[arg(long, default_value = "info")]
    pub(crate) severity: Severity,
    /// Only messages about this package, advertisement, site, client or distribution point
    #[arg(long, default_value = "", hide_default_value = true)]
    pub(crate) subject: String,
    /// Only messages that this site said
    #[arg(long)]
    pub(crate) site: Option<SiteCode>,
    /// Only messages of this type
    #[arg(long, value_name = "TYPE")]
    pub(crate) r#type: Option<EventType>,
    /// Only messages with this number; docs/messages.md lists them
    #[arg(long, value_name = "NUMBER", default_value_t = 0, hide_default_value = true)]
    pub(crate) message: u32,
    /// At most so many, the newest
    #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..=1000))]
    pub(crate) limit: u32,
    /// Go on with new messages as they come, until Ctrl-C
    #[arg(long)]
    pub(crate) follow: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Severity {
    Info,
    Warning,
    Error,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum EventType {
    /// The end of an operation
    Milestone,
    /// A step
    Detail,
    /// What somebody did
    Audit,
}

#[derive(Debug, Subcommand)]
pub(crate) enum RuleCommand {
    /// All rules, in the order in which they are asked
    #[command(after_help = "Examples:\n  packhorse events rule list\n  packhorse events rule list -o json")]
    List,
    /// Adds a rule: what it is about, and what it decides
    #[command(after_help = "\
Examples:
  packhorse events rule add --name quiet --message 8210 --forward no
  packhorse events rule add --severity error --forward high --run page
  packhorse events rule add --site LYO --type detail --suppress
  packhorse events rule add --component sender --subject 'CEN*' --keep 7 --stop --place 1

Rules are asked in their order; of several that decide the same thing the first counts. What none
decides: details stay, all else goes to the parent at low priority; all are kept for 30 days, what
people did for 180. --run names a file in the folder `event-programs` of the site's directory; it
gets the message in variables, as PACKHORSE_TEXT, PACKHORSE_SITE and PACKHORSE_FIELD_PEER.")]
    Add(Box<NewRule>),
    /// Removes the rule at a place
    #[command(after_help = "Examples:\n  packhorse events rule remove 2")]
    Remove {
        #[arg(value_parser = clap::value_parser!(u32).range(1..))]
        place: u32,
    },
    /// Moves a rule to another place
    #[command(after_help = "Examples:\n  packhorse events rule move 3 1")]
    Move {
        #[arg(value_parser = clap::value_parser!(u32).range(1..))]
        place: u32,
        #[arg(value_parser = clap::value_parser!(u32).range(1..))]
        to: u32,
    },
}

#[derive(Debug, Args)]
pub(crate) struct NewRule {
    /// For people
    #[arg(long, default_value = "", hide_default_value = true)]
    pub(crate) name: String,
    /// Messages with this number, or with one of a range as 8200-8299
    #[arg(long, value_name = "NUMBERS", value_parser = numbers)]
    pub(crate) message: Option<RangeInclusive<u32>>,
    /// Messages of this severity or worse
    #[arg(long)]
    pub(crate) severity: Option<Severity>,
    /// Messages of this component
    #[arg(long, default_value = "", hide_default_value = true)]
    pub(crate) component: String,
    /// Messages of this type
    #[arg(long, value_name = "TYPE")]
    pub(crate) r#type: Option<EventType>,
    /// Messages that this site said
    #[arg(long)]
    pub(crate) site: Option<SiteCode>,
    /// Messages about this; `*` is any text, `?` one character
    #[arg(long, value_name = "PATTERN", default_value = "", hide_default_value = true)]
    pub(crate) subject: String,
    /// Keep them for so many days
    #[arg(long, value_name = "DAYS", value_parser = clap::value_parser!(u32).range(1..=3650))]
    pub(crate) keep: Option<u32>,
    /// How they go to the parent
    #[arg(long)]
    pub(crate) forward: Option<Forward>,
    /// Run this program of the site server for each, with these arguments
    #[arg(long, value_name = "PROGRAM", num_args = 1.., allow_hyphen_values = false)]
    pub(crate) run: Vec<String>,
    /// Keep them not at all; what people did is kept always
    #[arg(long, conflicts_with_all = ["keep", "forward", "run"])]
    pub(crate) suppress: bool,
    /// Ask no later rule about them
    #[arg(long)]
    pub(crate) stop: bool,
    /// Where to put it, from 1; after all others if it is left out
    #[arg(long, default_value_t = 0, hide_default_value = true)]
    pub(crate) place: u32,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Forward {
    No,
    Low,
    Medium,
    High,
}

fn numbers(text: &str) -> Result<RangeInclusive<u32>, String> {
    let number = |text: &str| text.trim().parse::<u32>().ok().filter(|number| *number > 0);
    let range = match text.split_once('-') {
        Some((first, last)) => number(first).zip(number(last)),
        None => number(text).map(|number| (number, number)),
    };
    match range {
        Some((first, last)) if first <= last => Ok(first..=last),
        _ => Err("a number as 8210, or a range as 8200-8299 is expected".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_of_messages() {
        for (text, expected) in [
            ("8210", Ok(8210..=8210)),
            ("8200-8299", Ok(8200..=8299)),
            ("8299-8200", Err(())),
            ("0", Err(())),
            ("all", Err(())),
        ] {
            assert_eq!(numbers(text).map_err(|_| ()), expected, "{text}");
        }
    }
}
