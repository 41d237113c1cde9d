//! `packhorse status` and `packhorse events`: where things are, and what happened.

use clap::{Args, Subcommand, ValueEnum};
use packhorse_domain::id::{AdvertisementId, PackageId, SiteCode};

use crate::cli::parse::{self, Past};

#[derive(Debug, Subcommand)]
pub(crate) enum StatusCommand {
    /// Where a package is, and how far its transfers on this site's links are
    #[command(after_help = "\
Examples:
  packhorse status package CEN00001
  packhorse status package CEN00001 --watch")]
    Package {
        package: PackageId,
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
    /// Packages in numbers: how many distribution points have each, here and below
    #[command(after_help = "\
Examples:
  packhorse status packages
  packhorse status packages --site PAR
  packhorse status packages CEN00001 --by-site

TARGETED are the distribution points that are to have the package; INSTALLED those with its newest
version, OUTDATED those with an older one. SILENT ones have said nothing yet: a site further down has
not been told, or is not connected. LIBRARIES are sites whose content library holds the newest version.")]
    Packages(PackageNumbers),
    /// Advertisements in numbers: how many clients are how far, here and below
    #[command(after_help = "\
Examples:
  packhorse status advertisements
  packhorse status advertisements --site PAR
  packhorse status advertisements CEN20001 --by-site

Each client that has reported is in one column.")]
    Advertisements(AdvertisementNumbers),
    /// This site's links, queues, agents and components
    #[command(after_help = "Examples:\n  packhorse status site\n  packhorse status site --watch")]
    Site {
        #[command(flatten)]
        watch: Watch,
    },
}

#[derive(Debug, Args)]
pub(crate) struct PackageNumbers {
    /// Only this package
    pub(crate) package: Option<PackageId>,
    /// Only places of this site
    #[arg(long)]
    pub(crate) site: Option<SiteCode>,
    /// One line for each site
    #[arg(long, requires = "package")]
    pub(crate) by_site: bool,
}

#[derive(Debug, Args)]
pub(crate) struct AdvertisementNumbers {
    /// Only this advertisement
    pub(crate) advertisement: Option<AdvertisementId>,
    /// Only clients of this site
    #[arg(long)]
    pub(crate) site: Option<SiteCode>,
    /// One line for each site
    #[arg(long, requires = "advertisement")]
    pub(crate) by_site: bool,
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
