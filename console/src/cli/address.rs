//! `packhorse address`: the lines to the parent and the children, and what each may carry when.

use clap::{Args, Subcommand, ValueEnum};
use packhorse_domain::{
    address::{Amount, MAIN, Rate, Rule},
    id::{AddressName, SiteCode},
    link::Pulse,
};

use crate::cli::parse::{self, Limit};

#[derive(Debug, Subcommand)]
pub(crate) enum AddressCommand {
    /// Make an address of a neighbour, or change one: what is not given stays as it is
    #[command(after_help = "\
Examples:
  packhorse address set PAR --rate 64kbit/s --time-zone Europe/Paris
  packhorse address set PAR --calendar 'mon-fri 08:00-18:00 high 64kbit/s'
  packhorse address set PAR --calendar closed --calendar '* 22:00-06:00 all 2Mbit/s'
  packhorse address set PAR --per-day 50MB --per-month 1GB --when-spent high-only
  packhorse address set CEN --name modem --dial cen.example.net:7443 --pulse 5kB/2s
  packhorse address set PAR --open-always --rate none --per-day none --per-month none

A calendar's rule has days (mon-fri or sat,sun or *), hours (08:00-18:00; 22:00-06:00 goes over midnight), \
and what is to hold then: closed, high, high+medium or all, a rate or unlimited, backup or no-backup. \
Without days it means all, without hours the whole day. Later rules override earlier ones in what they name; \
what no rule names is open without a limit.

The address with the lowest order is used. The others are its backups: they are dialled when those before \
them fail or are closed, in hours that do not say no-backup.")]
    Set(Box<Set>),
    /// Show the addresses, their calendars, and what went over them
    #[command(
        visible_alias = "list",
        after_help = "\
Examples:
  packhorse address show
  packhorse address show PAR
  packhorse -o json address show"
    )]
    Show {
        /// Only those of this neighbour
        peer: Option<SiteCode>,
    },
    /// Remove an address; without any, a neighbour may be sent everything at any time
    #[command(after_help = "\
Examples:
  packhorse address remove PAR
  packhorse address remove PAR --name modem")]
    Remove {
        peer: SiteCode,
        /// Which of its addresses
        #[arg(long, default_value = MAIN)]
        name: AddressName,
    },
}

#[derive(Debug, Args)]
pub(crate) struct Set {
    /// The parent or a child of this site
    pub(crate) peer: SiteCode,
    /// Which of its addresses
    #[arg(long, default_value = MAIN)]
    pub(crate) name: AddressName,
    /// The lowest is dialled first [default for a new one: after those that are there]
    #[arg(long, value_name = "NUMBER")]
    pub(crate) order: Option<u32>,
    /// Where this site dials its parent, or none for the endpoints of site.toml
    #[arg(long, value_name = "HOST:PORT", value_parser = parse::limit::<String>)]
    pub(crate) dial: Option<Limit<String>>,
    /// A rule of the new calendar; may be given several times
    #[arg(long, value_name = "RULE")]
    pub(crate) calendar: Vec<Rule>,
    /// No calendar any more
    #[arg(long, conflicts_with = "calendar")]
    pub(crate) open_always: bool,
    /// The most that may leave at any hour, as 64kbit/s or 128kB/s, or none
    #[arg(long, value_name = "RATE", value_parser = parse::limit::<Rate>)]
    pub(crate) rate: Option<Limit<Rate>>,
    /// A block and then a pause, as 5kB/2s, or none
    #[arg(long, value_name = "BLOCK/PAUSE", value_parser = parse::limit::<Pulse>)]
    pub(crate) pulse: Option<Limit<Pulse>>,
    /// Bytes in a day, as 50MB, or none
    #[arg(long, value_name = "AMOUNT", value_parser = parse::budget)]
    pub(crate) per_day: Option<Limit<Amount>>,
    /// Bytes in a month, as 1GB, or none
    #[arg(long, value_name = "AMOUNT", value_parser = parse::budget)]
    pub(crate) per_month: Option<Limit<Amount>>,
    /// What still goes once a budget is spent [default for a new budget: high-only]
    #[arg(long, value_name = "WHAT")]
    pub(crate) when_spent: Option<WhenSpent>,
    /// The zone of the calendar's hours and the budget's days, as Europe/Paris [default for a new one: UTC]
    #[arg(long, value_name = "ZONE")]
    pub(crate) time_zone: Option<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum WhenSpent {
    HighOnly,
    Closed,
}
