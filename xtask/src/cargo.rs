//! Cargo, run and shown as if it had been typed.

use std::{
    env,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, Result, ensure};

use crate::say;

/// The folder of the workspace.
pub(crate) fn workspace() -> PathBuf {
    let own = Path::new(env!("CARGO_MANIFEST_DIR"));
    own.parent().unwrap_or(own).to_owned()
}

/// The programs that the demo and the end-to-end tests start.
pub(crate) fn build(release: bool) -> Result<()> {
    let mut arguments = vec!["build", "--workspace"];
    if release {
        arguments.extend(["--release", "--exclude", "xtask"]);
    }
    run(&arguments)
}

/// End-to-end tests find the programs beside themselves, so the programs are built first.
pub(crate) fn test(arguments: &[String]) -> Result<()> {
    build(false)?;
    let mut all = vec!["test", "--workspace"];
    all.extend(arguments.iter().map(String::as_str));
    run(&all)
}

/// The whole table of faults, of which the tests run every fourth row.
pub(crate) fn faults(names: &[String]) -> Result<()> {
    build(false)?;
    let wanted = if names.is_empty() { "all".to_owned() } else { names.join(";") };
    let status = command(&["test", "-p", "packhorse-e2e", "--test", "faults", "--", "--nocapture"])
        .env("PACKHORSE_FAULT", wanted)
        .status()
        .context("cannot run the table of faults")?;
    ensure!(status.success(), "not every fault was named and mended: {status}");
    Ok(())
}

pub(crate) fn lint() -> Result<()> {
    run(&["fmt", "--all", "--check"])?;
    run(&["fmt", "--manifest-path", "fuzz/Cargo.toml", "--check"])?;
    run(&["clippy", "--workspace", "--all-targets", "--", "-D", "warnings"])
}

/// Cargo in the folder of the workspace, shown.
pub(crate) fn run(arguments: &[&str]) -> Result<()> {
    let line = format!("cargo {}", arguments.join(" "));
    say(&format!("$ {line}"));
    let status = command(arguments).status().with_context(|| format!("cannot run `{line}`"))?;
    ensure!(status.success(), "`{line}` failed: {status}");
    Ok(())
}

/// The same, not yet run and not shown.
pub(crate) fn command(arguments: &[&str]) -> Command {
    let mut command = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.args(arguments).current_dir(workspace());
    command
}
