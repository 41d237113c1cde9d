//! `packhorse advertise` and `packhorse advertisement`.

use clap::{Args, Subcommand};
use packhorse_domain::{
    Priority,
    id::{AdvertisementId, CollectionId, PackageId, ProgramName},
};

use crate::cli::parse::{self, Moment};

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  packhorse advertise CEN00001 install CEN00002
  packhorse advertise CEN00001 install CEN00002 --at +2h --expires +30d
  packhorse advertise CEN00001 install CEN00002 --name 'Editor, by choice' --available --once
  packhorse advertise CEN00001 install CEN00002 --ignore-windows")]
pub(crate) struct Advertise {
    pub(crate) package: PackageId,
    pub(crate) program: ProgramName,
    pub(crate) collection: CollectionId,
    /// For people [default: the package and the program]
    #[arg(long)]
    pub(crate) name: Option<String>,
    /// Only offer it; without this, clients run it by themselves
    #[arg(long)]
    pub(crate) available: bool,
    /// When it starts, as 2027-01-31T22:00:00Z or +2h [default: at once]
    #[arg(long, value_name = "TIME", value_parser = parse::moment)]
    pub(crate) at: Option<Moment>,
    /// When it ends [default: never]
    #[arg(long, value_name = "TIME", value_parser = parse::moment)]
    pub(crate) expires: Option<Moment>,
    /// Do not run it again for a new version of the package's source
    #[arg(long)]
    pub(crate) once: bool,
    /// high, medium or low on the links
    #[arg(long, default_value = "medium")]
    pub(crate) priority: Priority,
    /// Do not wait for a maintenance window of the client
    #[arg(long)]
    pub(crate) ignore_windows: bool,
}

#[derive(Debug, Subcommand)]
pub(crate) enum AdvertisementCommand {
    /// List the advertisements that this site knows
    #[command(
        after_help = "Examples:\n  packhorse advertisement list\n  packhorse -o json advertisement list"
    )]
    List,
    /// Show one advertisement, and what holds it back
    #[command(after_help = "Examples:\n  packhorse advertisement show CEN20001")]
    Show { advertisement: AdvertisementId },
    /// Delete an advertisement here and everywhere below
    #[command(after_help = "Examples:\n  packhorse advertisement delete CEN20001")]
    Delete { advertisement: AdvertisementId },
}
