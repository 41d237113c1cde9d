//! Makes the bundle from one directory to another, or with `-` from nothing, and takes it in elsewhere. Prints `name value` lines: bytes, seconds of
//! CPU and the peak of memory of each of the two.
//!
//!     cargo run --release -p packhorse-content --example step -- OLD NEW [LEVEL [quick]]

use std::{
    env,
    error::Error,
    fs,
    io::{self, Write as _},
    ops::ControlFlow,
    path::Path,
    time::Instant,
};

use packhorse_content::{
    BundlePlan, CaseClashes, Library, Limits, Making, Snapshot, SnapshotError, SnapshotOptions, apply_bundle,
    snapshot_with, write_bundle,
};

/// Of this process so far. The kernel counts in hundredths.
fn cpu_seconds() -> Result<f64, Box<dyn Error>> {
    let stat = fs::read_to_string("/proc/self/stat")?;
    let fields: Vec<&str> = stat.rsplit(") ").next().unwrap_or_default().split(' ').collect();
    let ticks = |nth: usize| fields.get(nth).and_then(|field| field.parse::<f64>().ok()).unwrap_or_default();
    Ok((ticks(11) + ticks(12)) / 100.0)
}

fn peak_mib() -> Result<u64, Box<dyn Error>> {
    let status = fs::read_to_string("/proc/self/status")?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap_or_default();
    Ok(line.trim().trim_end_matches(" kB").parse::<u64>()? / 1024)
}

/// Does something and prints what it took.
fn measured<T>(name: &str, work: impl FnOnce() -> Result<T, Box<dyn Error>>) -> Result<T, Box<dyn Error>> {
    // From here on the peak is counted anew.
    fs::write("/proc/self/clear_refs", "5")?;
    let (before, began) = (cpu_seconds()?, Instant::now());
    let result = work()?;
    writeln!(io::stdout(), "{name}_s {:.2}", began.elapsed().as_secs_f64())?;
    writeln!(io::stdout(), "{name}_cpu_s {:.2}", cpu_seconds()? - before)?;
    writeln!(io::stdout(), "{name}_peak_mib {}", peak_mib()?)?;
    Ok(result)
}

/// A kernel has names that differ only in case.
fn take(directory: &str, library: &Library) -> Result<Snapshot, SnapshotError> {
    let options = SnapshotOptions { case_clashes: CaseClashes::Keep, ..SnapshotOptions::default() };
    snapshot_with(Path::new(directory), library, options, &|_| ControlFlow::Continue(()))
}

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = env::args().collect();
    let [_, old, new, rest @ ..] = &arguments[..] else {
        return Err("OLD NEW [LEVEL [quick]] is expected".into());
    };
    let level = rest.first().map_or(Ok(3), |level| level.parse())?;
    let making = if rest.len() > 1 { Making::quick(level) } else { Making::small(level) };
    let directory = tempfile::tempdir()?;
    let (here, there) =
        (Library::open(&directory.path().join("here"))?, Library::open(&directory.path().join("there"))?);
    let mut bases = Vec::new();
    if old != "-" {
        let old = take(old, &here)?.digest;
        let mut whole = tempfile::tempfile_in(directory.path())?;
        write_bundle(&here, &BundlePlan { target: old, bases: Vec::new() }, &mut whole, Making::small(1))?;
        apply_bundle(&there, &whole, &Limits::default())?;
        bases.push(old);
    }
    let new = take(new, &here)?.digest;

    let mut step = tempfile::tempfile_in(directory.path())?;
    let plan = BundlePlan { target: new, bases };
    let info = measured("make", || Ok(write_bundle(&here, &plan, &mut step, making)?))?;
    writeln!(io::stdout(), "bytes {}", info.length)?;
    let made = measured("apply", || Ok(apply_bundle(&there, &step, &Limits::default())?))?;
    if made.digest() != new {
        return Err("another version came out".into());
    }
    Ok(())
}
