//! What can be typed: one module for each noun. Values are checked here as far as that needs no server.

pub(crate) mod address;
pub(crate) mod advertisement;
pub(crate) mod collection;
pub(crate) mod content;
pub(crate) mod courier;
pub(crate) mod diagnosis;
pub(crate) mod events;
pub(crate) mod log;
pub(crate) mod package;
pub(crate) mod parcel;
pub(crate) mod parse;
pub(crate) mod program;
pub(crate) mod queue;
pub(crate) mod route;
pub(crate) mod site;
pub(crate) mod status;
pub(crate) mod why;

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};
use clap_complete::Shell;

#[derive(Debug, Parser)]
#[command(
    name = "packhorse",
    version,
    about = "Administer one site: its packages, programs, collections and advertisements, and where they are",
    max_term_width = 100,
    after_help = "\
Examples:
  packhorse package create Editor --upload ./editor --program 'install=./setup -q' --to CEN/hall
  packhorse collection create Everyone --all
  packhorse advertise CEN00001 install CEN00001
  packhorse status package CEN00001 --watch

Exit codes: 0 done, 1 refused or failed, 2 wrong usage or settings, 3 the site server is not reached."
)]
pub(crate) struct Cli {
    #[command(flatten)]
    pub(crate) settings: Settings,
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// What every command takes.
#[derive(Debug, Args)]
pub(crate) struct Settings {
    /// The admin directory that `site-server init` made [default: packhorse in the user's configuration]
    #[arg(long, global = true, env = "PACKHORSE_ADMIN", value_name = "DIR")]
    pub(crate) admin: Option<PathBuf>,
    /// The site server's address, instead of the one in console.toml
    #[arg(long, global = true, value_name = "HOST:PORT")]
    pub(crate) endpoint: Option<String>,
    /// How the answer is written
    #[arg(short = 'o', long = "output", global = true, value_name = "FORMAT", default_value = "table")]
    pub(crate) format: Format,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    /// For people
    Table,
    /// One JSON document
    Json,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Sites of the hierarchy, and how this one is
    #[command(subcommand)]
    Site(site::SiteCommand),
    /// Lines to the parent and the children: calendars, rates and budgets
    #[command(subcommand)]
    Address(address::AddressCommand),
    /// Client access points of this site
    #[command(subcommand)]
    Cap(site::CapCommand),
    /// Clients of this site and the sites below
    #[command(subcommand)]
    Client(site::ClientCommand),
    /// Packages, their source and where they go
    #[command(subcommand)]
    Package(package::PackageCommand),
    /// Programs of a package
    #[command(subcommand)]
    Program(program::ProgramCommand),
    /// Distribution points
    #[command(subcommand)]
    Dp(site::PointCommand),
    /// The site's content library: what it takes, whether it is sound, filling it from a disk
    #[command(subcommand)]
    Content(content::ContentCommand),
    /// Parcels on media, for what a line cannot carry: write, send, take in
    #[command(
        subcommand,
        after_help = "\
Examples:
  packhorse courier create --to LYO --medium /media/usb
  packhorse courier sent 3fa2bc91 --carrier DHL --tracking 0034501 --expect 3d
  packhorse courier receive /media/usb

Media are named by the directory on the site server where they are mounted. What is written is read \
back from the medium. Nothing is lost on Ctrl-C: the same command goes on, after `create` it is \
`write`. A parcel is encrypted to its destinations and signed by its sender."
    )]
    Courier(courier::CourierCommand),
    /// Sets of clients
    #[command(subcommand)]
    Collection(collection::CollectionCommand),
    /// Advertise a program of a package to a collection
    Advertise(advertisement::Advertise),
    /// Advertisements that were made
    #[command(subcommand)]
    Advertisement(advertisement::AdvertisementCommand),
    /// What waits on the links to other sites, and in which order it goes
    #[command(after_help = "\
Examples:
  packhorse queue
  packhorse queue --peer PAR --watch
  packhorse queue hold 3fa2bc91")]
    Queue(queue::Queue),
    /// Why something is not where it should be, and what mends it
    Why(why::Why),
    /// How far things are
    #[command(subcommand)]
    Status(status::StatusCommand),
    /// Status messages, oldest first
    Events(events::EventsCommand),
    /// How much each component of the site server logs; change it for a while
    #[command(
        name = "log-level",
        after_help = "\
Examples:
  packhorse log-level
  packhorse log-level sender=debug receiver=debug
  packhorse log-level all=debug --for 5m
  packhorse log-level all=default

A change ends by itself, after 15 minutes if --for does not say otherwise, and when the server is \
started again. What holds always is `telemetry.filter` in site.toml."
    )]
    LogLevel(log::LogLevels),
    /// What the site server is doing at this moment: components, links, queues, streams
    Inspect(diagnosis::Inspect),
    /// Write one archive with what a stranger needs to diagnose this site, and no secrets
    SupportBundle(diagnosis::SupportBundle),
    /// Write a shell's completion script
    #[command(after_help = "\
Examples:
  packhorse completions bash > /etc/bash_completion.d/packhorse
  packhorse completions fish > ~/.config/fish/completions/packhorse.fish")]
    Completions { shell: Shell },
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    /// Every line of every `after_help` that is a command.
    fn examples(command: &clap::Command, into: &mut Vec<String>) {
        let text = command.get_after_help().map(ToString::to_string).unwrap_or_default();
        into.extend(text.lines().filter_map(|line| line.strip_prefix("  ")).map(str::to_owned));
        for inner in command.get_subcommands() {
            examples(inner, into);
        }
    }

    fn without_examples(path: &str, command: &clap::Command, into: &mut Vec<String>) {
        let path = format!("{path} {}", command.get_name());
        if !command.has_subcommands() && command.get_after_help().is_none() {
            into.push(path.clone());
        }
        for inner in command.get_subcommands() {
            without_examples(&path, inner, into);
        }
    }

    #[test]
    fn the_command_line_is_well_formed() {
        Cli::command().debug_assert();
    }

    #[test]
    fn every_example_in_the_help_is_a_command_line_that_works() {
        let mut lines = Vec::new();
        examples(&Cli::command(), &mut lines);

        assert!(lines.len() > 40, "{}", lines.len());
        for line in lines {
            let typed = line.split(" > ").next().unwrap_or_default();
            let words = parse::split_words(typed).expect("the words of an example");
            assert_eq!(words[0], "packhorse", "{line}");
            assert!(line.len() <= 98, "it would be wrapped, and not be one to copy: {line}");
            if let Err(error) = Cli::try_parse_from(&words) {
                panic!("{line}: {error}");
            }
        }
    }

    #[test]
    fn every_command_has_examples() {
        let mut bare = Vec::new();
        without_examples("", &Cli::command(), &mut bare);

        assert!(bare.is_empty(), "{bare:?}");
    }
}
