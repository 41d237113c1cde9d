//! `packhorse courier route` and `packhorse courier take`: the courier as a way, and what goes by it.

use std::time::Duration;

use clap::{Args, Subcommand, ValueEnum};
use packhorse_domain::{
    courier::{Departures, TRANSIT_LONGEST, Way},
    id::SiteCode,
};

use crate::cli::parse;

#[derive(Debug, Subcommand)]
pub(crate) enum RouteCommand {
    /// Make the courier to a neighbour, or change it: what is not given stays as it is
    #[command(after_help = "\
Examples:
  packhorse courier route set PAR --transit 2d
  packhorse courier route set PAR --departs 'mon,thu 14:00' --time-zone Europe/Paris
  packhorse courier route set LYO --takes always --transit 12h
  packhorse courier route set PAR --departs any --takes asked

A time of departure has days (mon-fri or sat,sun or *) and a full hour; without days it means all. \
Bundles that the courier takes wait for it in the queue, and a parcel brings them; objects go over the \
line as well, if there is one.")]
    Set(Set),
    /// List the couriers, and what waits for each
    #[command(
        visible_alias = "show",
        after_help = "Examples:\n  packhorse courier route list\n  packhorse -o json courier route list"
    )]
    List,
    /// Remove the courier to a neighbour: what waited for it goes over the line
    #[command(after_help = "Examples:\n  packhorse courier route remove PAR")]
    Remove { peer: SiteCode },
}

#[derive(Debug, Args)]
pub(crate) struct Set {
    /// The parent or a child of this site
    pub(crate) peer: SiteCode,
    /// What goes by it without anybody asking [default for a new one: sooner]
    #[arg(long, value_name = "WHAT")]
    pub(crate) takes: Option<Takes>,
    /// When it leaves, as 'mon,thu 14:00', or any; may be given several times
    #[arg(long, value_name = "WHEN")]
    pub(crate) departs: Vec<Departures>,
    /// The zone of the departures, as Europe/Paris [default for a new one: UTC]
    #[arg(long, value_name = "ZONE")]
    pub(crate) time_zone: Option<String>,
    /// From leaving to being taken in there, as 2d or 12h
    #[arg(long, value_name = "TIME", value_parser = transit)]
    pub(crate) transit: Option<Duration>,
}

/// What goes by a courier.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Takes {
    /// What it brings sooner than the line, by its rate, calendar and budget
    Sooner,
    /// Every bundle
    Always,
    /// Only what somebody, or its package, gives to it
    Asked,
}

#[derive(Debug, Args)]
pub(crate) struct Take {
    /// Packages, or the first 4 digits or more of items, as `packhorse queue` shows them
    #[arg(value_name = "BUNDLE", required = true)]
    pub(crate) bundles: Vec<String>,
    /// Only of what goes to this neighbour [default: to every child]
    #[arg(long, value_name = "SITE")]
    pub(crate) site: Option<SiteCode>,
    /// Not any more: they go as their package and the courier's route say
    #[arg(long)]
    pub(crate) undo: bool,
}

/// How the bundles of a package go.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Sender {
    /// As the route of the courier says
    Any,
    Line,
    Courier,
}

impl Sender {
    pub(crate) fn way(self) -> Option<Way> {
        match self {
            Sender::Any => None,
            Sender::Line => Some(Way::Line),
            Sender::Courier => Some(Way::Courier),
        }
    }
}

#[derive(Debug, thiserror::Error)]
pub(crate) enum TransitError {
    #[error(transparent)]
    Length(#[from] parse::ParseError),
    #[error("1 second to {} days are expected", TRANSIT_LONGEST.as_secs() / 86_400)]
    Range,
}

fn transit(text: &str) -> Result<Duration, TransitError> {
    let transit = parse::duration(text)?;
    let fits = transit >= Duration::from_secs(1) && transit <= TRANSIT_LONGEST;
    if fits { Ok(transit) } else { Err(TransitError::Range) }
}
