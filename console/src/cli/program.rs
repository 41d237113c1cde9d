//! `packhorse program`: the command lines of a package.

use std::time::Duration;

use clap::{Args, Subcommand};
use packhorse_domain::id::{PackageId, ProgramName};

use crate::cli::parse;

#[derive(Debug, Subcommand)]
pub(crate) enum ProgramCommand {
    /// Add a program to a package, or replace the one of that name
    #[command(after_help = "\
Examples:
  packhorse program set CEN00001 install -- ./install.sh --quiet
  packhorse program set CEN00001 install --success-code 0 --success-code 3010 -- ./setup
  packhorse program set CEN00001 scan --time-limit 30m --idempotent -- ./scan --all
  packhorse program set CEN00001 clean --shell --os linux -- 'rm -rf /var/cache/editor/*'")]
    Set(Set),
    /// Remove a program from a package
    #[command(after_help = "Examples:\n  packhorse program remove CEN00001 install")]
    Remove { package: PackageId, name: ProgramName },
    /// List the programs of a package
    #[command(after_help = "Examples:\n  packhorse program list CEN00001")]
    List { package: PackageId },
}

#[derive(Debug, Args)]
pub(crate) struct Set {
    pub(crate) package: PackageId,
    pub(crate) name: ProgramName,
    /// Hand the command, one string, to `/bin/sh -c`
    #[arg(long)]
    pub(crate) shell: bool,
    /// Kill the program and all it started after this time
    #[arg(long, value_name = "TIME", default_value = "2h", value_parser = parse::duration)]
    pub(crate) time_limit: Duration,
    /// An exit code that means success [default: 0]
    #[arg(long, value_name = "CODE", allow_negative_numbers = true)]
    pub(crate) success_code: Vec<i32>,
    /// An operating system it may run on, as linux [default: all]
    #[arg(long)]
    pub(crate) os: Vec<String>,
    /// An architecture it may run on, as `x86_64` [default: all]
    #[arg(long)]
    pub(crate) arch: Vec<String>,
    /// It may be run again after an interruption that left no result
    #[arg(long)]
    pub(crate) idempotent: bool,
    /// The program and its arguments; looked up in the package, then on the path
    #[arg(last = true, required = true)]
    pub(crate) command: Vec<String>,
}
