//! `cargo xtask`: what people and CI run, the same.

mod cargo;
mod demo;
mod fuzz;

use std::{
    io::{self, Write as _},
    path::PathBuf,
    process::ExitCode,
};

use anyhow::{Context as _, Result};
use clap::{Args, Parser, Subcommand};
use packhorse_e2e::{Interrupt, Interrupted};

/// As a shell tells that SIGINT ended a command.
const INTERRUPTED: u8 = 130;

#[derive(Debug, Parser)]
#[command(name = "cargo xtask", about = "Build, try and check Packhorse")]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Distribute thousands of files over three levels of sites on this machine, and have clients check them
    Demo(Demo),
    /// Build everything and run every test; further arguments go to `cargo test`
    Test {
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        arguments: Vec<String>,
    },
    /// Check the format and run clippy; warnings are errors
    Lint,
    /// Make every fault of the table in a running hierarchy, and see that `packhorse why` names and mends it
    Faults {
        /// Only those whose names contain one of these
        names: Vec<String>,
    },
    /// Feed the formats and the link with bytes that nobody meant; what breaks them is kept in `fuzz/artifacts`
    Fuzz(Fuzz),
}

#[derive(Debug, Args)]
struct Demo {
    /// The files to distribute [default: the source of this project's dependencies]
    #[arg(long, value_name = "DIR")]
    source: Option<PathBuf>,
    /// Leave everything running at the end, until Ctrl-C
    #[arg(long)]
    keep: bool,
    /// Build and run with optimisation
    #[arg(long)]
    release: bool,
}

#[derive(Debug, Args)]
struct Fuzz {
    /// One of `fuzz/fuzz_targets` [default: each in turn]
    target: Option<String>,
    /// How long, for each target
    #[arg(long, value_name = "N", default_value_t = 60, value_parser = clap::value_parser!(u32).range(1..))]
    seconds: u32,
}

fn main() -> ExitCode {
    match run(Cli::parse().command) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) if error.is::<Interrupted>() => {
            say("stopped");
            ExitCode::from(INTERRUPTED)
        }
        Err(error) => {
            // Standard error may be closed: there is nobody left to tell.
            let _ = writeln!(io::stderr(), "error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(command: Command) -> Result<()> {
    match command {
        Command::Test { arguments } => cargo::test(&arguments),
        Command::Lint => cargo::lint(),
        Command::Faults { names } => cargo::faults(&names),
        Command::Fuzz(options) => fuzz::run(&options),
        Command::Demo(demo) => {
            let interrupt = interrupt_on_signal()?;
            let result = demo::run(&demo, &interrupt);
            if result.is_err() {
                // Ctrl-C also ends what was just running, whose complaint is then beside the point.
                interrupt.check()?;
            }
            result
        }
    }
}

/// A line of text; a reader that has gone away needs none.
fn say(text: &str) {
    let _ = writeln!(io::stdout(), "{text}");
}

/// Raised by Ctrl-C and by SIGTERM.
fn interrupt_on_signal() -> Result<Interrupt> {
    use tokio::signal::unix::{SignalKind, signal};

    let interrupt = Interrupt::default();
    let raised = interrupt.clone();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let (mut int, mut term) = {
        let _inside = runtime.enter();
        (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?)
    };
    std::thread::Builder::new()
        .name("signals".to_owned())
        .spawn(move || {
            runtime.block_on(async {
                tokio::select! {
                    _ = int.recv() => {}
                    _ = term.recv() => {}
                }
            });
            raised.raise();
        })
        .context("cannot start a thread")?;
    Ok(interrupt)
}
