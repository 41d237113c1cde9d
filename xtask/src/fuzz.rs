//! `cargo xtask fuzz`: cargo-fuzz with the toolchain that is here.

use std::process::Stdio;

use anyhow::{Context as _, Result, ensure};

use crate::{Fuzz, cargo};

pub(crate) fn run(options: &Fuzz) -> Result<()> {
    let installed =
        cargo::command(&["fuzz", "--version"]).stdout(Stdio::null()).stderr(Stdio::null()).status();
    ensure!(
        installed.is_ok_and(|status| status.success()),
        "cargo-fuzz is not installed; `cargo install cargo-fuzz` does it"
    );
    let targets = targets()?;
    let chosen: Vec<&str> = match &options.target {
        None => targets.iter().map(String::as_str).collect(),
        Some(target) => {
            ensure!(targets.contains(target), "no target `{target}`; there are: {}", targets.join(", "));
            vec![target]
        }
    };
    let seconds = format!("-max_total_time={}", options.seconds);
    for target in chosen {
        // The code has no `unsafe`: without the address sanitizer runs are ten times as many, the stable compiler does,
        // and the memory that is seen is what the code takes.
        let run = ["fuzz", "run", "--sanitizer", "none", target];
        let limits = ["--", &seconds, "-max_len=16384", "-timeout=10", "-rss_limit_mb=1024"];
        cargo::run(&[run.as_slice(), &limits].concat())?;
    }
    Ok(())
}

fn targets() -> Result<Vec<String>> {
    let output = cargo::command(&["fuzz", "list"]).output().context("cannot run `cargo fuzz list`")?;
    ensure!(output.status.success(), "`cargo fuzz list` failed: {}", String::from_utf8_lossy(&output.stderr));
    Ok(String::from_utf8_lossy(&output.stdout).lines().map(str::to_owned).collect())
}
