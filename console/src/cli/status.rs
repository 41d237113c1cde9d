//! `packhorse status` and `packhorse events`: where things are, and what happened.

use clap::{Args, Subcommand, ValueEnum};
use packhorse_domain::id::{AdvertisementId, PackageId};

use crate::cli::parse::{self, Past};

#[derive(Debug, Subcommand)]
pub(crate) enum StatusCommand {
    /// Where a package is, and how far its transfers on this site's links are
    #[command(after_help = "\
Examples:
  packhorse status package CEN00001
  packhorse status package CEN00001 --watch
  packhorse status package CEN00001 --tree --watch

With --tree every site on its way is shown below its parent, with what is on the line or in which parcel, and \
when it will be there; sites are asked live where they can be reached.")]
    Package {
        package: PackageId,
        /// Draw the hierarchy, hop by hop
        #[arg(long)]
        tree: bool,
        #[command(flatten)]
        watch: Watch,
    },
    /// How far an advertisement is on each client
    #[command(after_help = "\
Examples:
  packhorse status advertisement CEN20001
  packhorse status advertisement CEN20001 --watch")]
    Advertisement {
        advertisement: AdvertisementId,
        #[command(flatten)]
        watch: Watch,
    },
    /// This site's links, queues, agents and components
    #[command(after_help = "Examples:\n  packhorse status site\n  packhorse status site --watch")]
    Site {
        #[command(flatten)]
        watch: Watch,
    },
}

#[derive(Debug, Clone, Copy, Args)]
pub(crate) struct Watch {
    /// Look every second until all is done (a site: until Ctrl-C), then answer
    #[arg(long)]
    pub(crate) watch: bool,
}

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  packhorse events
  packhorse events --since 1h --severity warning
  packhorse events --since 2027-01-31T22:00:00Z --component sender --subject PAR
  packhorse events --follow

With --follow and -o json each message is a document on its own line.")]
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
