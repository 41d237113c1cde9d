//! Bytes that a disk gives back wrong: they are noticed, told of, fetched again, and never run.

use std::{
    fs::{self, File},
    os::unix::fs::FileExt as _,
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::{Context as _, Result, ensure};
use packhorse_e2e::{Hierarchy, TreeSpec, make_package, traces};

const LIMIT: Duration = Duration::from_secs(120);
/// Three megabytes that do not compress.
const SPEC: TreeSpec = TreeSpec { files: 150, file_bytes: 20_000, seed: 7 };

/// Turns over every bit of a byte in the middle of a file.
fn damage(path: &Path) -> Result<()> {
    let file = File::options().read(true).write(true).open(path)?;
    let middle = file.metadata()?.len() / 2;
    let mut byte = [0];
    file.read_exact_at(&mut byte, middle)?;
    file.write_all_at(&[!byte[0]], middle)?;
    file.sync_all().context("cannot write the damage")
}

/// The largest file of a directory whose name ends so.
fn largest(directory: &Path, ending: &str) -> Result<Option<(PathBuf, u64)>> {
    let mut found: Option<(PathBuf, u64)> = None;
    for entry in fs::read_dir(directory).with_context(|| format!("cannot list {}", directory.display()))? {
        let path = entry?.path();
        let length = fs::metadata(&path).map_or(0, |metadata| metadata.len());
        if path.to_string_lossy().ends_with(ending) && found.as_ref().is_none_or(|(_, most)| length > *most) {
            found = Some((path, length));
        }
    }
    Ok(found)
}

fn damage_pack(library: &Path) -> Result<()> {
    let (pack, length) = largest(&library.join("packs"), ".pack")?.context("there is no pack")?;
    ensure!(length > 1_000_000, "{} has {length} bytes", pack.display());
    damage(&pack)
}

/// A warning or an error about this subject that `site` knows.
fn wait_for_alarm(hierarchy: &Hierarchy, site: &str, subject: &str) -> Result<()> {
    hierarchy.wait_for(&format!("an alarm about {subject} at {site}"), LIMIT, || {
        let answer = hierarchy.console(site).json(&["events", "--severity", "warning"])?;
        let events = answer["events"].as_array().context("a list of events")?;
        let about = |event: &serde_json::Value| {
            event["subject"] == subject || event["text"].as_str().is_some_and(|text| text.contains(subject))
        };
        ensure!(events.iter().any(about), "{events:?}");
        Ok(Some(()))
    })
}

fn two_sites() -> Result<Hierarchy> {
    let mut hierarchy = Hierarchy::for_test()?;
    hierarchy.central("CEN")?;
    hierarchy.child("PAR", "CEN")?;
    hierarchy.cap("PAR", "cap1")?;
    hierarchy.wait_for_points("CEN", &["PAR/cap1"])?;
    Ok(hierarchy)
}

#[test]
fn a_bundle_that_was_damaged_in_the_childs_spool_is_refused_and_sent_again() -> Result<()> {
    let mut hierarchy = two_sites()?;
    hierarchy.clients(&["PAR/par-1"])?;
    let (source, trace) = (hierarchy.scratch("source"), hierarchy.scratch("trace"));
    make_package(&source, SPEC, "one")?;
    hierarchy.line("PAR").limit(1_000_000);
    let package = hierarchy.create_package(&source, &trace, &["PAR/cap1"])?;
    let advertisement = hierarchy.advertise(&package)?;
    let spool = hierarchy.site_directory("PAR").join("spool/incoming");
    let part = hierarchy.wait_for("a part of the bundle", LIMIT, || {
        let part = largest(&spool, ".part")?;
        Ok(part.filter(|(_, length)| *length > 1_200_000).map(|(path, _)| path))
    })?;

    hierarchy.site_process("PAR").kill9()?;
    damage(&part)?;
    hierarchy.site_process("PAR").start()?;
    hierarchy.line("PAR").limit(0);

    hierarchy.wait_ran("CEN", &advertisement, 1, 1)?;
    assert_eq!(traces(&trace)?, [("one".to_owned(), "par-1".to_owned())]);
    wait_for_alarm(&hierarchy, "CEN", &package)
}

#[test]
fn content_that_was_damaged_at_a_distribution_point_is_fetched_again_before_a_client_gets_it() -> Result<()> {
    let mut hierarchy = two_sites()?;
    let (source, trace) = (hierarchy.scratch("source"), hierarchy.scratch("trace"));
    make_package(&source, SPEC, "one")?;
    let package = hierarchy.create_package(&source, &trace, &["PAR/cap1"])?;
    let advertisement = hierarchy.advertise(&package)?;
    hierarchy.wait_installed(&package, &["PAR"], 1)?;

    damage_pack(&hierarchy.cap_directory("PAR/cap1").join("library"))?;
    hierarchy.clients(&["PAR/par-1"])?;

    hierarchy.wait_ran("CEN", &advertisement, 1, 1)?;
    assert_eq!(traces(&trace)?, [("one".to_owned(), "par-1".to_owned())]);
    Ok(())
}

#[test]
fn content_that_was_damaged_in_a_sites_library_is_fetched_from_its_parent_before_it_goes_further()
-> Result<()> {
    let mut hierarchy = Hierarchy::three_levels()?;
    hierarchy.clients(&["LYO/lyo-1"])?;
    let (source, trace) = (hierarchy.scratch("source"), hierarchy.scratch("trace"));
    make_package(&source, SPEC, "one")?;
    let package = hierarchy.create_package(&source, &trace, &["PAR/cap1"])?;
    hierarchy.wait_installed(&package, &["PAR"], 1)?;

    damage_pack(&hierarchy.site_directory("PAR").join("library"))?;
    hierarchy.console("CEN").done(&["package", "send", &package, "--to", "LYO/cap1"])?;
    let advertisement = hierarchy.advertise(&package)?;

    hierarchy.wait_ran("CEN", &advertisement, 1, 1)?;
    assert_eq!(traces(&trace)?, [("one".to_owned(), "lyo-1".to_owned())]);
    wait_for_alarm(&hierarchy, "CEN", &package)
}
