//! Links that break: a transfer goes on where it stopped, and a site that is alone goes on by itself.

use std::{fs, time::Duration};

use anyhow::{Context as _, Result};
use packhorse_e2e::{Hierarchy, TreeSpec, make_package};

const LIMIT: Duration = Duration::from_secs(120);

fn two_sites() -> Result<Hierarchy> {
    let mut hierarchy = Hierarchy::for_test()?;
    hierarchy.central("CEN")?;
    hierarchy.child("PAR", "CEN")?;
    hierarchy.cap("PAR", "cap1")?;
    hierarchy.wait_for_points("CEN", &["PAR/cap1"])?;
    Ok(hierarchy)
}

#[test]
fn a_transfer_that_is_cut_twice_goes_on_where_it_stopped() -> Result<()> {
    let hierarchy = two_sites()?;
    let (source, trace) = (hierarchy.scratch("source"), hierarchy.scratch("trace"));
    // Six megabytes that do not compress.
    make_package(&source, TreeSpec { files: 300, file_bytes: 20_000, seed: 4 }, "one")?;
    let line = hierarchy.line("PAR");
    let before = line.bytes().down;
    line.limit(1_500_000);

    let package = hierarchy.create_package(&source, &trace, &["PAR/cap1"])?;

    for part in [2_000_000, 4_000_000] {
        hierarchy.wait_for("a part of the bundle", LIMIT, || {
            Ok((line.bytes().down - before > part).then_some(()))
        })?;
        line.cut();
        hierarchy.wait_for("the parent to notice", LIMIT, || {
            Ok(hierarchy.console("CEN").site()?.links.iter().all(|link| !link.up).then_some(()))
        })?;
        let progress = hierarchy.console("CEN").package(&package)?;
        assert!(!progress.installed("PAR", &["cap1"], 1), "cut too late: {progress:?}");
        line.restore();
    }
    line.limit(0);
    hierarchy.wait_installed(&package, &["PAR"], 1)?;

    // From the start again after either cut would be eight megabytes or more.
    let carried = line.bytes().down - before;
    assert!((6_000_000..7_200_000).contains(&carried), "{carried} bytes for a bundle of 6,000,000");
    Ok(())
}

#[test]
fn a_site_without_its_parent_finishes_the_job_and_tells_of_it_later() -> Result<()> {
    let mut hierarchy = two_sites()?;
    hierarchy.clients(&["PAR/par-1"])?;
    let (go, started) = (hierarchy.scratch("go"), hierarchy.scratch("started"));
    let console = hierarchy.console("CEN");
    let package = console.create(&["package", "create", "Waiting"])?;
    // It ends by itself if the test does not let it go.
    let command = format!(
        "touch {}; for i in $(seq 600); do [ -e {} ] && exit 0; sleep 0.1; done; exit 9",
        started.display(),
        go.display()
    );
    console.done(&["program", "set", &package, "run", "--shell", "--", &command])?;
    let advertisement = hierarchy.advertise(&package)?;
    hierarchy.wait_for("the program to start", LIMIT, || Ok(started.exists().then_some(())))?;

    hierarchy.site_process("CEN").stop()?;
    fs::write(&go, "")?;

    let client = hierarchy.wait_ran("PAR", &advertisement, 1, 0)?.clients.pop().context("a client")?;
    assert_eq!(client.exit_code, Some(0));
    hierarchy.site_process("CEN").start()?;
    let told = hierarchy.wait_ran("CEN", &advertisement, 1, 0)?;
    assert_eq!(told.clients[0].exit_code, Some(0));
    Ok(())
}

#[test]
fn what_is_made_while_the_line_is_cut_arrives_when_it_is_back() -> Result<()> {
    let mut hierarchy = two_sites()?;
    hierarchy.clients(&["PAR/par-1"])?;
    let (source, trace) = (hierarchy.scratch("source"), hierarchy.scratch("trace"));
    make_package(&source, TreeSpec { files: 50, file_bytes: 2_000, seed: 5 }, "one")?;
    hierarchy.line("PAR").cut();

    let package = hierarchy.create_package(&source, &trace, &["PAR/cap1"])?;
    let advertisement = hierarchy.advertise(&package)?;
    hierarchy.line("PAR").restore();

    hierarchy.wait_ran("CEN", &advertisement, 1, 1)?;
    Ok(())
}
