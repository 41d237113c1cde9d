//! Runs many seeds, or one with everything that went over the lines, or shows how soon each defect is found.

use std::{
    env,
    io::{self, Write as _},
    process::ExitCode,
    thread,
};

use packhorse_sim::{Failure, Mutation, Plan, run};

const USAGE: &str = "usage: sim [--seeds COUNT] [--from SEED] | --seed SEED | --mutations";
/// Failures that one thread collects before it gives up.
const FAILURES_MAX: usize = 20;
/// Seeds within which each defect must show.
const SEEDS_PER_MUTATION: u64 = 10_000;

fn main() -> io::Result<ExitCode> {
    let mut out = io::stdout().lock();
    let arguments: Vec<String> = env::args().skip(1).collect();
    if arguments == ["--mutations"] {
        return mutations(&mut out);
    }
    let (mut count, mut from, mut one) = (100_000, 0, None);
    for pair in arguments.chunks(2) {
        match (pair[0].as_str(), pair.get(1).and_then(|value| value.parse::<u64>().ok())) {
            ("--seeds", Some(value)) => count = value,
            ("--from", Some(value)) => from = value,
            ("--seed", Some(value)) => one = Some(value),
            _ => {
                writeln!(out, "{USAGE}")?;
                return Ok(ExitCode::FAILURE);
            }
        }
    }
    if let Some(seed) = one {
        return trace(&mut out, seed);
    }
    let failures = run_all(from, count);
    for failure in &failures {
        writeln!(out, "{failure}")?;
    }
    writeln!(out, "{count} seeds from {from}: {} failed", failures.len())?;
    Ok(if failures.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn run_all(from: u64, count: u64) -> Vec<Failure> {
    let threads = thread::available_parallelism().map_or(1, |n| n.get() as u64);
    thread::scope(|scope| {
        let workers: Vec<_> = (0..threads)
            .map(|worker| {
                scope.spawn(move || {
                    (from + worker..from + count)
                        .step_by(threads as usize)
                        .filter_map(|seed| run(&Plan::from_seed(seed), None).err())
                        .take(FAILURES_MAX)
                        .collect::<Vec<_>>()
                })
            })
            .collect();
        workers.into_iter().flat_map(|worker| worker.join().expect("a run does not panic")).collect()
    })
}

fn mutations(out: &mut impl io::Write) -> io::Result<ExitCode> {
    let mut outcome = ExitCode::SUCCESS;
    writeln!(out, "{:<20} {:>11}  found by", "mutation", "after seeds")?;
    for mutation in Mutation::ALL {
        let name = format!("{mutation:?}");
        match (0..SEEDS_PER_MUTATION).find_map(|seed| run(&Plan::from_seed(seed), Some(mutation)).err()) {
            Some(failure) => writeln!(out, "{name:<20} {:>11}  {}", failure.seed + 1, failure.what)?,
            None => {
                writeln!(out, "{name:<20} {:>11}  nothing", "never")?;
                outcome = ExitCode::FAILURE;
            }
        }
    }
    Ok(outcome)
}

fn trace(out: &mut impl io::Write, seed: u64) -> io::Result<ExitCode> {
    let plan = Plan::from_seed(seed);
    writeln!(out, "{plan:#?}")?;
    let (outcome, records) = packhorse_sim::run_recorded(&plan);
    for record in &records {
        let item = record.item.map(|item| item.to_string()).unwrap_or_default();
        let way = if record.on_lane { "lane" } else { "main" };
        writeln!(
            out,
            "{:>12} line {} side {} {way} {:<8} {item} {} +{}",
            record.at.0, record.line, record.side, record.frame, record.offset, record.bytes
        )?;
    }
    match outcome {
        Ok(report) => writeln!(out, "{} frames, at rest after {} µs", report.frames, report.ended_at.0)?,
        Err(failure) => {
            writeln!(out, "{failure}")?;
            return Ok(ExitCode::FAILURE);
        }
    }
    Ok(ExitCode::SUCCESS)
}
