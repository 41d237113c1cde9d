//! `packhorse queue`: what waits on this site's links, and in which order.

use clap::{Args, Subcommand};
use packhorse_domain::{Priority, id::SiteCode, queue::ItemPrefix};

use crate::cli::status::Watch;

#[derive(Debug, Args)]
#[command(args_conflicts_with_subcommands = true)]
pub(crate) struct Queue {
    #[command(subcommand)]
    pub(crate) command: Option<QueueCommand>,
    #[command(flatten)]
    pub(crate) list: List,
}

#[derive(Debug, Subcommand)]
pub(crate) enum QueueCommand {
    /// List what waits and moves on each link, what goes out first on top; the same as no command
    #[command(after_help = "\
Examples:
  packhorse queue
  packhorse queue list --peer PAR --watch
  packhorse -o json queue list --all")]
    List(List),
    /// Do not send items for now; what the other site has of them is kept
    #[command(after_help = "\
Examples:
  packhorse queue hold 3fa2bc91
  packhorse queue hold 3fa2 90cc --peer PAR

An object that changes while it is held becomes another item, which is not held.")]
    Hold(Named),
    /// Send held items again, from where they stopped; queue cancelled or refused ones again
    #[command(after_help = "\
Examples:
  packhorse queue release 3fa2bc91
  packhorse queue release 3fa2bc91 --peer PAR")]
    Release(Named),
    /// Do not send bundles to a site until their package is updated or sent there again
    #[command(after_help = "\
Examples:
  packhorse queue cancel 3fa2bc91
  packhorse queue cancel 3fa2bc91 --peer PAR

`packhorse queue release` and `packhorse package send` queue it again. Objects are state and \
cannot be cancelled: hold them, or delete them at their owner.")]
    Cancel(Named),
    /// Send items with another priority
    #[command(after_help = "\
Examples:
  packhorse queue priority 3fa2bc91 high
  packhorse queue priority 3fa2 90cc low --peer PAR")]
    Priority {
        #[command(flatten)]
        named: Named,
        /// high, medium or low
        #[arg(value_name = "PRIORITY")]
        priority: Priority,
    },
    /// Send items before all others of their priority, in the order in which they are named
    #[command(after_help = "\
Examples:
  packhorse queue first 3fa2bc91
  packhorse queue first 3fa2 90cc --peer PAR")]
    First(Named),
}

#[derive(Debug, Args)]
pub(crate) struct List {
    /// Only the link to this neighbour
    #[arg(long, value_name = "SITE")]
    pub(crate) peer: Option<SiteCode>,
    /// Also status messages, and bundles that are delivered or replaced
    #[arg(long)]
    pub(crate) all: bool,
    #[command(flatten)]
    pub(crate) watch: Watch,
}

/// The items that a command is about.
#[derive(Debug, Args)]
pub(crate) struct Named {
    /// An item, or the first of its digits, at least 4, as `packhorse queue` shows them
    #[arg(value_name = "ITEM", required = true, num_args = 1..)]
    pub(crate) item: Vec<ItemPrefix>,
    /// Only on the link to this neighbour [default: every link where the item waits]
    #[arg(long, value_name = "SITE")]
    pub(crate) peer: Option<SiteCode>,
}
