//! `packhorse collection`: sets of clients.

use clap::{Args, Subcommand};
use packhorse_domain::{
    id::{ClientId, CollectionId},
    window::Windows,
};
use packhorse_proto::object::v1::collection::Condition;

use crate::cli::parse;

#[derive(Debug, Subcommand)]
pub(crate) enum CollectionCommand {
    /// Create a collection, by rule, by hand, or both
    #[command(after_help = "\
Examples:
  packhorse collection create Everyone --all
  packhorse collection create Tills --where 'label.role=till' --where 'site!=LAB'
  packhorse collection create Pilot --client 0b5c1f5e-6f0e-4c8e-9d57-0c1d2e3f4a5b
  packhorse collection create Tills --where label.role=till --window 'mon-fri 22:00-06:00'

A client is a member if it is named, or if it meets every condition. Facts are site, hostname, os, \
arch, id and label.NAME; in a pattern `*` stands for any run of characters and `?` for any one.

A client that is in collections with windows begins required programs only in those, of whichever collection \
they are, by its own clock; in none with windows, at any time. A window is days (mon-fri or sat,sun or *), \
whole hours (22:00-06:00 goes over midnight), or both. A program begins if its time limit fits into what is \
left of the window. `packhorse advertise --ignore-windows` does not wait for one.")]
    Create {
        /// For people
        name: String,
        /// Its id: 8 characters A-Z 0-9 that begin with the site's code [default: the site's next]
        #[arg(long)]
        id: Option<CollectionId>,
        #[command(flatten)]
        members: NewMembers,
        /// A maintenance window, as 'mon-fri 22:00-06:00'; may be given several times
        #[arg(long = "window", value_name = "WINDOW")]
        windows: Vec<Windows>,
    },
    /// Change a collection: what is given replaces what was there of its kind
    #[command(after_help = "\
Examples:
  packhorse collection update CEN00002 --where 'os=linux'
  packhorse collection update CEN00002 --name 'All tills'
  packhorse collection update CEN00002 --no-clients --all
  packhorse collection update CEN00002 --window 'mon-fri 22:00-06:00' --window sat,sun
  packhorse collection update CEN00002 --no-windows")]
    Update(Update),
    /// Delete a collection; refused while an advertisement names it
    #[command(after_help = "Examples:\n  packhorse collection delete CEN00002")]
    Delete { collection: CollectionId },
    /// List the collections, with the number of their members at this site
    #[command(after_help = "Examples:\n  packhorse collection list\n  packhorse -o json collection list")]
    List,
    /// Show one collection and its members at this site
    #[command(after_help = "Examples:\n  packhorse collection show CEN00002")]
    Show { collection: CollectionId },
}

/// Who is to be in a new collection.
#[derive(Debug, Args)]
#[group(required = true, multiple = true)]
pub(crate) struct NewMembers {
    /// A condition that members meet: a fact, `=` or `!=`, and a pattern
    #[arg(long = "where", value_name = "FACT=PATTERN", value_parser = parse::condition)]
    pub(crate) conditions: Vec<Condition>,
    /// A client by its id
    #[arg(long = "client", value_name = "ID")]
    pub(crate) clients: Vec<ClientId>,
    /// Every client
    #[arg(long, conflicts_with = "conditions")]
    pub(crate) all: bool,
}

#[derive(Debug, Args)]
pub(crate) struct Update {
    pub(crate) collection: CollectionId,
    #[command(flatten)]
    pub(crate) changes: Changes,
}

/// What becomes of a collection.
#[derive(Debug, Args)]
#[group(required = true, multiple = true)]
pub(crate) struct Changes {
    /// A new name
    #[arg(long)]
    pub(crate) name: Option<String>,
    /// A condition of the new rule
    #[arg(long = "where", value_name = "FACT=PATTERN", value_parser = parse::condition)]
    pub(crate) conditions: Vec<Condition>,
    /// The new rule is: every client
    #[arg(long, conflicts_with = "conditions")]
    pub(crate) all: bool,
    /// No rule any more
    #[arg(long, conflicts_with_all = ["conditions", "all"])]
    pub(crate) no_rule: bool,
    /// A client of the new list
    #[arg(long = "client", value_name = "ID")]
    pub(crate) clients: Vec<ClientId>,
    /// No clients by hand any more
    #[arg(long, conflicts_with = "clients")]
    pub(crate) no_clients: bool,
    /// A maintenance window of the new ones, as 'mon-fri 22:00-06:00'; may be given several times
    #[arg(long = "window", value_name = "WINDOW")]
    pub(crate) windows: Vec<Windows>,
    /// No maintenance windows any more
    #[arg(long, conflicts_with = "windows")]
    pub(crate) no_windows: bool,
}
