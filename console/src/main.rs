//! The `packhorse` command: the administrator's console of one site.

mod cli;
mod commands;
mod connect;
mod error;
mod view;

use std::{
    io::{self, Write as _},
    process::ExitCode,
};

use clap::Parser as _;

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    let cli = cli::Cli::parse();
    match commands::run(cli).await {
        Ok(()) => ExitCode::SUCCESS,
        // The answer has said it.
        Err(error @ error::ConsoleError::Stands) => ExitCode::from(error.exit_code()),
        Err(error) => {
            // There is nowhere left to tell of an error here.
            let _ = writeln!(io::stderr(), "{}", error.report());
            ExitCode::from(error.exit_code())
        }
    }
}
