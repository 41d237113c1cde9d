//! `packhorse status`: where things are.

use clap::{Args, Subcommand};
use packhorse_domain::id::{AdvertisementId, PackageId, SiteCode};

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
    /// How all sites are, here and below: the worst first, and what is wrong
    #[command(after_help = "\
Examples:
  packhorse status sites
  packhorse -o json status sites

Each site says by itself how it is: at once when it gets worse, within a minute when something else changes, \
and otherwise every 15 minutes. One that has said nothing for 30 minutes is `silent` since then: nobody \
knows how it is. `unknown` ones have said nothing yet. `status components` shows what they are made of, and \
`why SITE` asks one live.")]
    Sites,
    /// How the components of all sites are, here and below
    #[command(after_help = "\
Examples:
  packhorse status components
  packhorse status components --site PAR

A component is at `warning` after 3 failures in a row, and `critical` after 6; or by its messages of the last \
hour, with 1 error or 10 warnings, and with 5 errors or 50 warnings. It is well again after a minute without.")]
    Components {
        /// Only those of this site
        #[arg(long)]
        site: Option<SiteCode>,
    },
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
