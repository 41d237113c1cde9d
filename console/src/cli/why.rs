//! `packhorse why`: what stands in the way.

use clap::{Args, ValueEnum};
use packhorse_domain::id::{ClientId, SiteCode};

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  packhorse why CEN00001
  packhorse why CEN00001 --site LYO
  packhorse why CEN20001 --client 0b5c1f5e-6f0e-4c8e-9d57-0c1d2e3f4a5b
  packhorse why PAR
  packhorse why 3fa2bc91
  packhorse -o json why CEN20001 --site LYO

Walks the way of a package, an advertisement, a site or a parcel station by station, asks each site live where \
it can be reached, and says what holds, what does not, which of that is the cause, and what mends it. Where a \
site cannot be asked, it says how old what it tells of it is.

Exit codes: 0 everything is as it should be, 1 something waits or fails.")]
pub(crate) struct Why {
    /// A package, an advertisement, a site, or the first digits of a parcel
    pub(crate) subject: String,
    /// Only the way to this site [default: to all that it is for and that do not have it]
    #[arg(long, value_name = "SITE")]
    pub(crate) site: Option<SiteCode>,
    /// What the id names, where it names a package and an advertisement
    #[arg(long)]
    pub(crate) kind: Option<Kind>,
    /// Only this client
    #[arg(long, value_name = "ID")]
    pub(crate) client: Option<ClientId>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Kind {
    Package,
    Advertisement,
}
