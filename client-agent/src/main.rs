//! The client agent's process.

use std::{
    io::{self, Write as _},
    process::ExitCode,
};

use clap::Parser as _;
use packhorse_client_agent::cli;
use packhorse_runtime::error_chain;

fn main() -> ExitCode {
    match cli::run(cli::Cli::parse()) {
        Ok(code) => code,
        Err(error) => {
            // There is nowhere left to tell of an error here.
            let _ = writeln!(io::stderr(), "client-agent: {}", error_chain(error.as_ref()));
            ExitCode::FAILURE
        }
    }
}
