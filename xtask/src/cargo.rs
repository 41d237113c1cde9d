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
    cargo(&arguments)
}

/// End-to-end tests find the programs beside themselves, so the programs are built first.
pub(crate) fn test(arguments: &[String]) -> Result<()> {
    build(false)?;
    let mut all = vec!["test", "--workspace"];
    all.extend(arguments.iter().map(String::as_str));
    cargo(&all)
}

pub(crate) fn lint() -> Result<()> {
    cargo(&["fmt", "--all", "--check"])?;
    cargo(&["clippy", "--workspace", "--all-targets", "--", "-D", "warnings"])
}

fn cargo(arguments: &[&str]) -> Result<()> {
    let line = format!("cargo {}", arguments.join(" "));
    say(&format!("$ {line}"));
    let program = env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let status = Command::new(program)
        .args(arguments)
        .current_dir(workspace())
        .status()
        .with_context(|| format!("cannot run `{line}`"))?;
    ensure!(status.success(), "`{line}` failed: {status}");
    Ok(())
}
