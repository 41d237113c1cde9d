//! Faults in a running hierarchy of real processes: `packhorse why` names the cause first, and what it prints mends it.
//!
//! The table is data: `table.toml` for single faults, `pairs.toml` for two at once. A row says what is done to the
//! hierarchy, what is asked, which check at which site is the cause, and, where the remedy leaves a blank, what goes into
//! it. Every fourth row is run; `PACKHORSE_FAULT=all` (`cargo xtask faults`) runs all of them, which takes minutes, and
//! `PACKHORSE_FAULT='words;other words'` those whose names contain the words.

#![expect(clippy::print_stdout, reason = "a run of minutes shows how far it is")]

mod answers;
mod certificates;
mod clocks;
mod holders;
mod names;
mod remedies;
mod row;
mod steps;
mod world;

use std::{
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail, ensure};
use serde_json::Value;

use answers::{Answered, Slowest};
use row::{Row, rows};
use world::World;

/// Until a fault shows, and until a remedy has worked.
const SHOWS_WITHIN: Duration = Duration::from_secs(40);
const MENDS_WITHIN: Duration = Duration::from_secs(90);
const LOOK_EVERY: Duration = Duration::from_millis(200);
/// Without a word, one of so many rows is run.
const SAMPLED: usize = 4;

static ALONE: Mutex<()> = Mutex::new(());

#[test]
fn each_fault_is_named_first_and_mended_by_what_is_printed() -> Result<()> {
    run(&rows(include_str!("table.toml"))?)
}

#[test]
fn of_two_faults_the_first_on_the_way_is_named_and_then_the_other() -> Result<()> {
    run(&rows(include_str!("pairs.toml"))?)
}

fn run(rows: &[Row]) -> Result<()> {
    // Two hierarchies at once would keep each other waiting.
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    let wanted = std::env::var("PACKHORSE_FAULT").unwrap_or_default();
    // `None`: the next row gets one of its own.
    let mut world = None;
    let mut wrong = Vec::new();
    let mut slowest = Slowest::default();
    let is_wanted = |(nth, row): &(usize, &Row)| match wanted.as_str() {
        "" => nth % SAMPLED == 0,
        "all" => true,
        wanted => wanted.split(';').any(|words| row.name.contains(words.trim())),
    };
    for (_, row) in rows.iter().enumerate().filter(is_wanted) {
        let mut here = match world.take().filter(|_| !row.fresh) {
            Some(world) => world,
            None => World::new()?,
        };
        let (began, mut of_row) = (Instant::now(), Slowest::default());
        let result = one(&mut here, row, &mut of_row);
        slowest.join(&of_row);
        let took = format!("{:>5.1} s, answers {of_row}", began.elapsed().as_secs_f32());
        match result {
            Ok(()) => {
                println!("ok    {took}  {}", row.name);
                world = Some(here).filter(|_| !row.fresh);
            }
            // What is left of it would be found again in the next row.
            Err(error) => {
                println!("WRONG {took}  {}: {error:#}", row.name);
                wrong.push(format!("{}: {error:#}", row.name));
            }
        }
    }
    println!("the slowest answers took {slowest}");
    ensure!(wrong.is_empty(), "{} row(s) are wrong:\n{}", wrong.len(), wrong.join("\n"));
    Ok(())
}

fn one(world: &mut World, row: &Row, slowest: &mut Slowest) -> Result<()> {
    world.begin();
    for step in &row.steps {
        world.step(step).with_context(|| format!("`{step}`"))?;
    }
    let mut last = Value::Null;
    for (at, cause) in row.causes.iter().enumerate() {
        last = mend(world, row, at, slowest).with_context(|| format!("what mends {}", cause.check))?;
    }
    let cause = row.causes.last().context("a row has a cause")?;
    mended(world, row, cause, (&last, slowest))?;
    for step in &row.after {
        world.step(step).with_context(|| format!("`{step}` afterwards"))?;
    }
    Ok(())
}

/// Does what is printed. What it names may have gone on between the answer and the command, as a definition that goes before
/// its bundle: then the next answer names something else.
fn mend(world: &mut World, row: &Row, at: usize, slowest: &mut Slowest) -> Result<Value> {
    loop {
        let found = named(world, row, at, slowest)?;
        let Err(error) = world.mend(&found, row) else { return Ok(found) };
        if world.ask(&row.ask)?.answer["cause"]["remedy"] == found["remedy"] {
            return Err(error);
        }
    }
}

/// Asks until the fault shows. Until then it may wait or hold, and what was mended may take its time to go, but no other
/// fault may be named.
fn named(world: &World, row: &Row, at: usize, slowest: &mut Slowest) -> Result<Value> {
    let cause = &row.causes[at];
    let mended = |found: &Value| {
        let is_it = |cause: &row::Cause| {
            found["check"] == cause.check.as_str() && found["site"] == cause.site.as_str()
        };
        row.causes[..at].iter().any(is_it)
    };
    let deadline = Instant::now() + SHOWS_WITHIN;
    loop {
        let Answered { code, answer, took } = world.ask(&row.ask)?;
        slowest.judge(&answer, took, row)?;
        let found = &answer["cause"];
        let is_it = found["check"] == cause.check.as_str() && found["site"] == cause.site.as_str();
        // What waits without a word of what to do is only on its way.
        if is_it && (found["verdict"] == "fails" || !found["remedy"].is_null()) {
            ensure!(code == 1, "the exit code is {code}");
            return Ok(found.clone());
        }
        let is_other = found["verdict"] == "fails" && !is_it && !mended(found);
        if is_other && !row.passing.iter().any(|check| found["check"] == check.as_str()) {
            bail!("named instead: {found}");
        }
        if Instant::now() >= deadline {
            println!("{answer:#}");
        }
        ensure!(Instant::now() < deadline, "{} at {} never shows, but {found}", cause.check, cause.site);
        std::thread::sleep(LOOK_EVERY);
    }
}

/// Until the cause is gone and, unless the row says otherwise, everything holds. What is printed for one thing after
/// another, as a definition and then its bundle, is done in turn.
fn mended(
    world: &mut World,
    row: &Row,
    cause: &row::Cause,
    (first, slowest): (&Value, &mut Slowest),
) -> Result<()> {
    let deadline = Instant::now() + MENDS_WITHIN;
    let mut done = vec![first["remedy"].clone()];
    loop {
        let Answered { code, answer, took } = world.ask(&row.ask)?;
        slowest.judge(&answer, took, row)?;
        let found = &answer["cause"];
        let is_gone = found["check"] != cause.check.as_str() || found["site"] != cause.site.as_str();
        if code == 0 || row.only_gone && is_gone {
            return Ok(());
        }
        let is_due = !is_gone || found["verdict"] == "fails";
        if is_due && found["remedy"]["command"].is_string() && !done.contains(&found["remedy"]) {
            world.command(&found["remedy"], row).with_context(|| format!("what mends it next: {found}"))?;
            done.push(found["remedy"].clone());
        }
        ensure!(Instant::now() < deadline, "what is printed does not mend it: {found}");
        std::thread::sleep(LOOK_EVERY);
    }
}
