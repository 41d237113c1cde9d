//! `packhorse package`: packages, their source and where they go.

use std::path::PathBuf;

use clap::{Args, Subcommand};
use packhorse_domain::{Priority, id::PackageId};
use packhorse_proto::object::v1::{Program, distribution::Target};

use crate::cli::{parse, route::Sender};

#[derive(Debug, Subcommand)]
pub(crate) enum PackageCommand {
    /// Create a package; answers when its source is in the content library and signed
    #[command(after_help = "\
Examples:
  packhorse package create Editor --upload ./editor --program 'install=./setup -q' --to CEN/hall
  packhorse package create Drivers --source /srv/drivers --priority high --to CEN/hall PAR/desk
  packhorse package create Reboot --id CENBOOT1 --program 'reboot=systemctl reboot'

A command given with --program is split at spaces; quotes keep words together. Other properties of a \
program are set with `packhorse program set`.")]
    Create(Create),
    /// Take in the source again, as a new version; a source that did not change makes none
    #[command(after_help = "\
Examples:
  packhorse package update CEN00001
  packhorse package update CEN00001 --upload ./editor
  packhorse package update CEN00001 --source /srv/source/editor-2")]
    Update {
        package: PackageId,
        #[command(flatten)]
        source: Source,
    },
    /// Say how the bundles of a package go to sites that have a line and a courier
    #[command(after_help = "\
Examples:
  packhorse package sender CEN00001 courier
  packhorse package sender CEN00001 any

Where there is no courier, as `packhorse courier route list` shows them, all goes over the line.")]
    Sender { package: PackageId, sender: Sender },
    /// Delete a package here and everywhere below; refused while an advertisement names it
    #[command(after_help = "Examples:\n  packhorse package delete CEN00001")]
    Delete { package: PackageId },
    /// List the packages that this site knows
    #[command(after_help = "Examples:\n  packhorse package list\n  packhorse -o json package list")]
    List,
    /// Show one package with its programs and targets
    #[command(after_help = "Examples:\n  packhorse package show CEN00001")]
    Show { package: PackageId },
    /// Stop a bad package: it must not run at this site and all below, whoever owns it
    #[command(after_help = "\
Examples:
  packhorse package kill CEN00001 --reason 'it wipes disks'
  packhorse package kill CEN00001 --release 3 --reason 'crashes tills; release 4 is sound'

Clients refuse the release and all before it, stop a program of it that runs, and say so; its \
advertisements are held back, and its content is not sent on. The kill goes before all else on every \
line, and with the next parcel. A release that is made later may run: fix the package and update it. \
`packhorse package show` tells the release that a site knows.")]
    Kill {
        package: PackageId,
        /// This release, as its author counts them, and all before it [default: the newest that this
        /// site knows]
        #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
        release: Option<u64>,
        /// Why: people read it wherever the program is refused
        #[arg(long, value_name = "TEXT", value_parser = parse::kill_reason)]
        reason: String,
    },
    /// List what is killed here: by this site, and by the sites above
    #[command(after_help = "Examples:\n  packhorse package kills\n  packhorse -o json package kills")]
    Kills,
    /// Lift this site's kill of a package
    #[command(after_help = "\
Examples:
  packhorse package revive CEN00001

What another site killed is lifted there. Clients that refused it run it then. What was stopped while \
it ran begins anew only if its program is idempotent.")]
    Revive { package: PackageId },
    /// Send a package to more distribution points
    #[command(after_help = "\
Examples:
  packhorse package send CEN00001 --to PAR/desk
  packhorse package send CEN00001 --to PAR/desk --to LYO/till")]
    Send {
        package: PackageId,
        /// A distribution point
        #[arg(long, value_name = "SITE/POINT", required = true, num_args = 1.., value_parser = parse::target)]
        to: Vec<Target>,
    },
    /// Take a package away from distribution points
    #[command(after_help = "Examples:\n  packhorse package recall CEN00001 --from PAR/desk")]
    Recall {
        package: PackageId,
        /// A distribution point
        #[arg(long, value_name = "SITE/POINT", required = true, num_args = 1.., value_parser = parse::target)]
        from: Vec<Target>,
    },
}

#[derive(Debug, Args)]
pub(crate) struct Create {
    /// For people
    pub(crate) name: String,
    /// Its id: 8 characters A-Z 0-9 that begin with the site's code [default: the site's next]
    #[arg(long)]
    pub(crate) id: Option<PackageId>,
    /// What it is, for people
    #[arg(long, default_value = "", hide_default_value = true)]
    pub(crate) description: String,
    #[command(flatten)]
    pub(crate) source: Source,
    /// high, medium or low on the links
    #[arg(long, default_value = "medium")]
    pub(crate) priority: Priority,
    /// How its bundles go to sites that have a line and a courier
    #[arg(long, default_value = "any")]
    pub(crate) sender: Sender,
    /// A program and its command line
    #[arg(long, value_name = "NAME=COMMAND", value_parser = parse::program)]
    pub(crate) program: Vec<Program>,
    /// A distribution point that is to hold it
    #[arg(long, value_name = "SITE/POINT", num_args = 1.., value_parser = parse::target)]
    pub(crate) to: Vec<Target>,
}

/// Where the files come from.
#[derive(Debug, Args)]
#[group(multiple = false)]
pub(crate) struct Source {
    /// Files in a directory on the site server, by absolute path
    #[arg(long, value_name = "DIR", value_parser = parse::source_directory)]
    pub(crate) source: Option<String>,
    /// Files in a directory on this machine
    #[arg(long, value_name = "DIR")]
    pub(crate) upload: Option<PathBuf>,
}
