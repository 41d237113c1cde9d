//! `cargo xtask demo`: three sites one below the other, their CAP agents and clients, as processes of this machine;
//! thousands of files go from the top to every client, which verifies each of them.

mod follow;
mod invite;
mod meter;
mod report;
mod source;

use std::{
    fs,
    path::Path,
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, ensure};
use packhorse_e2e::{Binaries, Hierarchy, Interrupt, Interrupted, NewClient, target_directory};

use crate::{Demo, cargo, say};

/// The whole demo must be over by then, the build not counted.
const DEADLINE: Duration = Duration::from_secs(15 * 60);
const CLIENTS: [(&str, &str); 3] = [("LYO", "lyo-till-1"), ("LYO", "lyo-till-2"), ("PAR", "par-desk-1")];
const SITES: [&str; 3] = ["CEN", "PAR", "LYO"];
const POINT: &str = "cap1";
/// The sites that get the package beside the one where it is made.
const TARGETS: [&str; 2] = ["PAR", "LYO"];

/// What was made, by id.
#[derive(Debug)]
struct Job {
    package: String,
    advertisement: String,
    file_count: u64,
    began: Instant,
    deadline: Instant,
}

pub(crate) fn run(options: &Demo, interrupt: &Interrupt) -> Result<()> {
    cargo::build(options.release)?;
    interrupt.check()?;
    let profile = if options.release { "release" } else { "debug" };
    let target =
        target_directory()?.parent().context("this program is not in a target directory")?.to_owned();
    let binaries = Binaries::within(&target.join(profile))?;
    let root = cargo::workspace().join("target/demo");
    empty(&root)?;

    let began = Instant::now();
    let staged = source::stage(options.source.as_deref(), &root.join("source"), interrupt)?;
    say(&format!(
        "source: {} files, {} ({})",
        staged.file_count,
        indicatif::BinaryBytes(staged.bytes),
        staged.origin
    ));
    let mut hierarchy = Hierarchy::at(&root, binaries, interrupt.clone())?;
    let result = distribute(&mut hierarchy, options, staged.file_count, began);
    say("stopping everything");
    hierarchy.stop()?;
    result?;
    say("everything arrived, was verified by every client, and is stopped again");
    Ok(())
}

fn distribute(hierarchy: &mut Hierarchy, options: &Demo, file_count: u64, began: Instant) -> Result<()> {
    build_hierarchy(hierarchy)?;
    let job = start_job(hierarchy, file_count, began)?;
    follow::until_done(hierarchy, &job)?;
    let wrong = report::print(hierarchy, &job)?;
    ensure!(wrong.is_empty(), "the demo failed:\n  {}", wrong.join("\n  "));
    if options.keep {
        keep(hierarchy, &job)?;
    }
    Ok(())
}

/// A demo starts afresh, whatever an earlier one left.
fn empty(root: &Path) -> Result<()> {
    match fs::remove_dir_all(root) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(error).with_context(|| format!("cannot empty {}", root.display()))
        }
        _ => fs::create_dir_all(root).with_context(|| format!("cannot make {}", root.display())),
    }
}

fn build_hierarchy(hierarchy: &mut Hierarchy) -> Result<()> {
    let mut above: Option<&str> = None;
    for site in SITES {
        match above {
            None => hierarchy.central(site)?,
            Some(parent) => hierarchy.child(site, parent)?,
        }
        let below = above.map_or_else(String::new, |parent| format!(" below {parent}"));
        hierarchy.cap(site, POINT)?;
        say(&format!(
            "site {site}{below} is up on 127.0.0.1:{}, with CAP agent {POINT}",
            hierarchy.port(site)
        ));
        above = Some(site);
    }
    for (site, hostname) in CLIENTS {
        hierarchy.client(NewClient { site, hostname, labels: &["role=demo"] })?;
        say(&format!("client {hostname} is enrolled at {site}"));
    }
    Ok(())
}

/// Creates, sends and advertises the package at the central site.
fn start_job(hierarchy: &Hierarchy, file_count: u64, began: Instant) -> Result<Job> {
    let console = hierarchy.console("CEN");
    let targets: Vec<String> = TARGETS.iter().map(|site| format!("{site}/{POINT}")).collect();
    hierarchy.wait_for("the distribution points at the centre", Duration::from_secs(60), || {
        let listed = console.done(&["dp", "list"])?;
        let known = |site: &&str| listed.lines().any(|line| line.contains(*site) && line.contains(POINT));
        Ok(TARGETS.iter().all(known).then_some(()))
    })?;
    let moment = Instant::now();
    let source = hierarchy.root().join("source");
    let source = source.to_str().context("the path of the source is not UTF-8")?;
    let package = console.create(&["package", "create", "Dependencies", "--source", source])?;
    say(&format!(
        "package {package} is in the content library of CEN and signed, after {:.1?}",
        moment.elapsed()
    ));
    console.done(&["program", "set", &package, "check", "--", "./check.sh"])?;
    let mut send = vec!["package", "send", &package];
    send.extend(targets.iter().flat_map(|target| ["--to", target]));
    console.done(&send)?;
    let collection = console.create(&["collection", "create", "Everyone", "--all"])?;
    let advertisement = console.create(&["advertise", &package, "check", &collection])?;
    say(&format!("advertisement {advertisement}: `check` of {package} for collection {collection}"));
    Ok(Job { package, advertisement, file_count, began, deadline: began + DEADLINE })
}

/// Leaves everything running until Ctrl-C.
fn keep(hierarchy: &Hierarchy, job: &Job) -> Result<()> {
    say(&invite::commands(hierarchy, job));
    loop {
        match hierarchy.check() {
            Err(error) if error.is::<Interrupted>() => return Ok(()),
            result => result?,
        }
        thread::sleep(Duration::from_millis(200));
    }
}
