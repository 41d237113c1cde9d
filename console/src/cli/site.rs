//! `packhorse site`, `cap`, `client` and `dp`: what belongs to a site.

use std::{path::PathBuf, time::Duration};

use clap::{Args, Subcommand};
use packhorse_domain::id::{PointName, SiteCode};

use crate::cli::parse;

#[derive(Debug, Subcommand)]
pub(crate) enum SiteCommand {
    /// List this site and every site below it that has reported
    #[command(after_help = "Examples:\n  packhorse site list\n  packhorse -o json site list")]
    List,
    /// Show this site's links, queues, agents and components
    #[command(after_help = "Examples:\n  packhorse site status\n  packhorse status site --watch")]
    Status,
    /// Answer the requests of new child sites that join by courier
    #[command(after_help = "\
Examples:
  packhorse site admit /media/usb

DIR is a directory on the site server where the medium is mounted: `site-server init --medium` left a \
request there, and the answer is written beside it. Exit code 1 if one was refused, or none lies there.")]
    Admit {
        /// A directory on the site server
        #[arg(value_name = "DIR", value_parser = parse::server_directory)]
        path: String,
    },
    /// Make a one-time token with which a new child site joins this site
    #[command(after_help = "\
Examples:
  packhorse site token PAR --out par.token
  packhorse site token PAR --valid 7d")]
    Token {
        /// The new site's code: 3 characters A-Z 0-9
        code: SiteCode,
        #[command(flatten)]
        token: TokenOptions,
    },
}

#[derive(Debug, Subcommand)]
pub(crate) enum CapCommand {
    /// Make a one-time token for a CAP agent of this site
    #[command(after_help = "\
Examples:
  packhorse cap token hall --out hall.token
  packhorse cap token hall --valid 2h")]
    Token {
        /// The agent's name, which is also its distribution point's
        name: PointName,
        #[command(flatten)]
        token: TokenOptions,
    },
}

#[derive(Debug, Subcommand)]
pub(crate) enum ClientCommand {
    /// List the clients that have reported
    #[command(after_help = "Examples:\n  packhorse client list\n  packhorse -o json client list")]
    List,
    /// Make a one-time token for a client agent of this site
    #[command(after_help = "\
Examples:
  packhorse client token --name till-07 --out till-07.token
  packhorse client token")]
    Token {
        /// A name for people
        #[arg(long)]
        name: Option<String>,
        #[command(flatten)]
        token: TokenOptions,
    },
}

#[derive(Debug, Subcommand)]
pub(crate) enum PointCommand {
    /// List the distribution points of this site and the sites below
    #[command(after_help = "Examples:\n  packhorse dp list\n  packhorse -o json dp list")]
    List,
    /// Add a directory that receives packages as plain files
    #[command(after_help = "Examples:\n  packhorse dp add share --path /srv/packages")]
    Add {
        /// The point's name, unique within this site
        name: PointName,
        /// An absolute path on the site server
        #[arg(long, value_name = "DIR", value_parser = parse::server_directory)]
        path: String,
    },
    /// Remove a distribution point of this site; content at a directory is removed
    #[command(after_help = "Examples:\n  packhorse dp remove share")]
    Remove { name: PointName },
    /// Compare every file in a directory with what it should hold, and put right what was altered
    #[command(
        after_help = "What was found is told by `packhorse events`.\n\nExamples:\n  packhorse dp check share"
    )]
    Check { name: PointName },
}

/// Options of a token.
#[derive(Debug, Args)]
pub(crate) struct TokenOptions {
    /// How long the token can be used: at most 30 days
    #[arg(long, value_name = "TIME", default_value = "24h", value_parser = parse::duration)]
    pub(crate) valid: Duration,
    /// Write the token to a new file that only its owner can read, instead of standard output
    #[arg(long, value_name = "FILE")]
    pub(crate) out: Option<PathBuf>,
}
