//! What the commands do: ask, and show the answer. One module for each noun.

mod address;
mod advertisement;
mod collection;
mod content;
mod courier;
mod event_rules;
mod events;
mod inspect;
mod log;
pub(crate) mod medium;
mod package;
mod progress;
mod queue;
mod route;
mod site;
mod status;
mod summary;
mod support;
pub(crate) mod upload;
mod watch;
mod why;

use clap::CommandFactory as _;
use clap_complete::Shell;
use packhorse_domain::{Priority, Timestamp};
use packhorse_proto::object::v1 as wire;
use packhorse_runtime::{Clock as _, SystemClock};

use crate::{
    cli::{Cli, Command},
    connect::Session,
    error::ConsoleError,
    view,
};

pub(crate) async fn run(cli: Cli) -> Result<(), ConsoleError> {
    let session = match cli.command {
        // Needs no site server.
        Command::Completions { shell } => return completions(shell),
        // What is wrong in itself is said before anybody is asked.
        Command::Program(ref command) => {
            package::check(command)?;
            Session::open(&cli.settings).await?
        }
        _ => Session::open(&cli.settings).await?,
    };
    match cli.command {
        Command::Site(command) => site::site(&session, command).await,
        Command::Address(command) => address::address(&session, command).await,
        Command::Cap(command) => site::cap(&session, command).await,
        Command::Client(command) => site::client(&session, command).await,
        Command::Content(command) => content::content(&session, command).await,
        Command::Courier(command) => courier::courier(&session, command).await,
        Command::Dp(command) => site::point(&session, command).await,
        Command::Package(command) => package::package(&session, command).await,
        Command::Program(command) => package::program(&session, command).await,
        Command::Collection(command) => collection::collection(&session, command).await,
        Command::Advertise(advertise) => advertisement::advertise(&session, advertise).await,
        Command::Advertisement(command) => advertisement::advertisement(&session, command).await,
        Command::Queue(command) => queue::queue(&session, command).await,
        Command::Why(why) => why::why(&session, why).await,
        Command::Status(command) => status::status(&session, command).await,
        Command::Inspect(asked) => inspect::inspect(&session, asked).await,
        Command::SupportBundle(asked) => support::support_bundle(&session, asked).await,
        Command::Events(events) => events::events(&session, events).await,
        Command::LogLevel(levels) => log::log_level(&session, levels).await,
        Command::Completions { shell } => completions(shell),
    }
}

fn completions(shell: Shell) -> Result<(), ConsoleError> {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Cli::command(), "packhorse", &mut script);
    view::write(&String::from_utf8_lossy(&script))
}

fn now() -> Timestamp {
    SystemClock.now()
}

fn priority(priority: Priority) -> i32 {
    wire::Priority::from(priority).into()
}

fn whole_seconds(length: std::time::Duration) -> u32 {
    // More than the site allows either way, so the site says what the limit is.
    u32::try_from(length.as_secs()).unwrap_or(u32::MAX)
}
