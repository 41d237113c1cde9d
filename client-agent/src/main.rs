//! The client agent's process.

use std::process::ExitCode;

use clap::Parser as _;
use packhorse_client_agent::cli;

fn main() -> anyhow::Result<ExitCode> {
    cli::run(cli::Cli::parse())
}
