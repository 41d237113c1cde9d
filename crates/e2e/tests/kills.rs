//! Every process is killed in the middle of a distribution and started again: nothing is lost, sent or run twice.

use std::{
    fs,
    path::Path,
    thread,
    time::{Duration, Instant},
};

use anyhow::Result;
use packhorse_e2e::{Hierarchy, Process, Seed, TreeSpec, make_package, traces};

const CLIENTS: [&str; 3] = ["LYO/lyo-1", "LYO/lyo-2", "PAR/par-1"];
const FILES: usize = 200;
const FILE_BYTES: usize = 20_000;
/// Handshakes, status and what was under way when a process was killed.
const SMALL_CONSTANT: u64 = 300_000;

/// Bytes that went down each line since `before`.
fn carried(hierarchy: &Hierarchy, before: [u64; 2]) -> [u64; 2] {
    let now = ["PAR", "LYO"].map(|site| hierarchy.line(site).bytes().down);
    [now[0] - before[0], now[1] - before[1]]
}

/// Distributes a package of its own content, with `meanwhile` while it goes; the bytes over both lines.
fn distribute(
    hierarchy: &Hierarchy,
    number: u64,
    trace: &Path,
    meanwhile: impl FnOnce() -> Result<()>,
) -> Result<[u64; 2]> {
    let source = hierarchy.scratch(&format!("source-{number}"));
    let spec = TreeSpec { files: FILES, file_bytes: FILE_BYTES, seed: number };
    make_package(&source, spec, &number.to_string())?;
    let before = carried(hierarchy, [0, 0]);
    let package = hierarchy.create_package(&source, trace, &["PAR/cap1", "LYO/cap1"])?;
    let advertisement = hierarchy.advertise(&package)?;
    meanwhile()?;
    hierarchy.wait_installed(&package, &["PAR", "LYO"], 1)?;
    hierarchy.wait_ran("CEN", &advertisement, CLIENTS.len(), 1)?;
    Ok(carried(hierarchy, before))
}

/// Kills each process once, in an order and at instants of chance, and starts it again.
fn kill_all(hierarchy: &Hierarchy, seed: &mut Seed) -> Result<()> {
    let mut left: Vec<&Process> = hierarchy.processes().collect();
    while !left.is_empty() {
        let process = left.swap_remove(usize::try_from(seed.below(left.len() as u64))?);
        thread::sleep(Duration::from_millis(seed.below(1000)));
        process.kill9()?;
        thread::sleep(Duration::from_millis(seed.below(200)));
        process.start()?;
    }
    Ok(())
}

#[test]
fn every_process_is_killed_once_and_each_client_runs_the_program_exactly_once() -> Result<()> {
    let mut seed = Seed::from_environment();
    let mut hierarchy = Hierarchy::three_levels()?;
    hierarchy.clients(&CLIENTS)?;
    let (undisturbed, disturbed) = (hierarchy.scratch("undisturbed"), hierarchy.scratch("disturbed"));
    for site in ["PAR", "LYO"] {
        // Slow enough that the kills fall into the transfers, and from the beginning: a line that becomes slower all at once
        // has as much under way as it had before, which a kill loses.
        hierarchy.line(site).limit(1_500_000);
    }

    let usual = distribute(&hierarchy, 1, &undisturbed, || Ok(()))?;
    let under_kills = distribute(&hierarchy, 2, &disturbed, || kill_all(&hierarchy, &mut seed))?;

    for (trace, number) in [(undisturbed, "1"), (disturbed, "2")] {
        let mut ran = traces(&trace)?;
        ran.sort();
        let expected = ["lyo-1", "lyo-2", "par-1"].map(|host| (number.to_owned(), host.to_owned()));
        assert_eq!(ran, expected);
    }
    let content = (FILES * FILE_BYTES) as u64;
    for (line, (usual, under_kills)) in ["PAR", "LYO"].iter().zip(usual.into_iter().zip(under_kills)) {
        println!("{line}: {usual} bytes undisturbed, {under_kills} with kills, content {content}");
        assert!((content..content * 5 / 4).contains(&usual), "{line}: {usual} bytes for {content}");
        let most = usual + usual * 5 / 100 + SMALL_CONSTANT;
        assert!(under_kills <= most, "{line}: {under_kills} bytes where {usual} are usual");
    }
    hierarchy.stop()
}

#[test]
fn a_program_outlives_its_agent_and_its_end_is_reported_by_the_next_one() -> Result<()> {
    let mut hierarchy = Hierarchy::for_test()?;
    hierarchy.central("CEN")?;
    hierarchy.cap("CEN", "cap1")?;
    hierarchy.clients(&["CEN/stopped", "CEN/killed"])?;
    let (go, trace) = (hierarchy.scratch("go"), hierarchy.scratch("trace"));
    let console = hierarchy.console("CEN");
    let package = console.create(&["package", "create", "Waiting"])?;
    // It ends by itself if the test does not let it go.
    let command = format!(
        "echo ran >> {}; for i in $(seq 600); do [ -e {} ] && exit 0; sleep 0.1; done; exit 9",
        trace.display(),
        go.display()
    );
    console.done(&["program", "set", &package, "run", "--shell", "--", &command])?;
    let advertisement = hierarchy.advertise(&package)?;
    let runs = || fs::read_to_string(&trace).map_or(0, |text| text.lines().count());
    hierarchy
        .wait_for("both programs to start", Duration::from_secs(40), || Ok((runs() == 2).then_some(())))?;

    let asked = Instant::now();
    hierarchy.client_process("stopped").stop()?;
    let took = asked.elapsed();
    hierarchy.client_process("killed").kill9()?;
    fs::write(&go, "")?;
    hierarchy.client_process("stopped").start()?;
    hierarchy.client_process("killed").start()?;

    let progress = hierarchy.wait_ran("CEN", &advertisement, 2, 0)?;
    assert!(progress.clients.iter().all(|client| client.exit_code == Some(0)), "{progress:?}");
    assert_eq!(runs(), 2, "a program ran again");
    assert!(took < Duration::from_secs(8), "the agent took {took:?} to stop");
    Ok(())
}
