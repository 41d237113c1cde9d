//! `packhorse content`: the site's content library.

use std::time::Duration;

use clap::{Args, Subcommand};
use packhorse_domain::address::Rate;

use crate::cli::parse;

#[derive(Debug, Subcommand)]
pub(crate) enum ContentCommand {
    /// What the library takes on the disk, by package and version, and what is free
    #[command(after_help = "\
Examples:
  packhorse content usage
  packhorse -o json content usage

OWN is what only this version needs: so much its removal frees. What no version needs goes with the \
next clean-up. New package content leaves the reserve free (`content.reserve` in site.toml).")]
    Usage,
    /// Read the whole library for rot and bring back what is rotten; answers when that is done
    #[command(after_help = "\
Examples:
  packhorse content verify
  packhorse content verify --rate 20MB/s
  packhorse content verify --no-wait
  packhorse content verify --status
  packhorse content verify --stop

What is rotten is served to nobody from then on. Just these chunks come again: from files on this \
machine, distribution points, CAP agents or the parent, later from children. What nobody of them \
has comes whole, as a bundle. The site does this by itself every `content.verify_every_d` days. It goes on when this \
command is left with Ctrl-C.")]
    Verify(Verify),
    /// Fill the library from a disk, so that only the rest crosses the line; answers when that is done
    #[command(after_help = "\
Examples:
  packhorse content prestage /media/usb
  packhorse content prestage /mnt/old-server/packhorse/library --keep 30d
  packhorse content prestage --status
  packhorse content prestage --stop

DIR is on the site server: the files of a package, or a copy of the `library` of any site server or \
CAP agent. Nothing in it is believed that its digest does not prove. It can be done before the site \
has met its parent, and again with another disk. What no package names is kept for 90 days, or as \
long as --keep says.")]
    Prestage(Prestage),
}

#[derive(Debug, Args)]
pub(crate) struct Verify {
    /// Read no faster than this [default: as fast as the disk gives, behind all other work]
    #[arg(long, value_name = "RATE", conflicts_with_all = ["status", "stop"])]
    pub(crate) rate: Option<Rate>,
    #[command(flatten)]
    pub(crate) how: How,
}

#[derive(Debug, Args)]
pub(crate) struct Prestage {
    /// A directory on the site server
    #[arg(value_name = "DIR", value_parser = parse::server_directory,
        required_unless_present_any = ["status", "stop"], conflicts_with_all = ["status", "stop"])]
    pub(crate) dir: Option<String>,
    /// How long to keep what no package names yet, as 30d; up to 366d
    #[arg(long, value_name = "TIME", value_parser = parse::duration, conflicts_with_all = ["status", "stop"])]
    pub(crate) keep: Option<Duration>,
    #[command(flatten)]
    pub(crate) how: How,
}

/// What is done beside beginning it.
#[derive(Debug, Clone, Copy, Args)]
pub(crate) struct How {
    /// Do not wait for the end
    #[arg(long, conflicts_with_all = ["status", "stop"])]
    pub(crate) no_wait: bool,
    /// Begin nothing: show how far it is, or how it ended last
    #[arg(long, conflicts_with = "stop")]
    pub(crate) status: bool,
    /// End it; what was done stays done
    #[arg(long)]
    pub(crate) stop: bool,
}
