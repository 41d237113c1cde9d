//! Looking after content with the real programs: rot is mended without a bundle, a full disk waits, a disk brings content.

use std::{
    fs::{self, File},
    os::unix::fs::FileExt as _,
    path::Path,
    time::Duration,
};

use anyhow::{Context as _, Result, ensure};
use packhorse_e2e::{Hierarchy, TreeSpec, make_package};

const LIMIT: Duration = Duration::from_secs(180);
/// Three megabytes that do not compress.
const SPEC: TreeSpec = TreeSpec { files: 150, file_bytes: 20_000, seed: 11 };

/// Turns over a byte in the middle of the first pack.
fn rot(library: &Path) -> Result<()> {
    let file = File::options().read(true).write(true).open(library.join("packs/0000000000000001.pack"))?;
    let middle = file.metadata()?.len() / 2;
    let mut byte = [0];
    file.read_exact_at(&mut byte, middle)?;
    file.write_all_at(&[!byte[0]], middle)?;
    file.sync_all().context("cannot write the damage")
}

fn two_sites() -> Result<(Hierarchy, String)> {
    let mut hierarchy = Hierarchy::for_test()?;
    hierarchy.central("CEN")?;
    hierarchy.child("PAR", "CEN")?;
    hierarchy.cap("PAR", "cap1")?;
    hierarchy.wait_for_points("CEN", &["PAR/cap1"])?;
    let (source, trace) = (hierarchy.scratch("source"), hierarchy.scratch("trace"));
    make_package(&source, SPEC, "one")?;
    let package = hierarchy.create_package(&source, &trace, &["PAR/cap1"])?;
    Ok((hierarchy, package))
}

#[test]
fn rot_at_a_site_is_mended_from_its_agent_and_then_from_its_parent() -> Result<()> {
    let (hierarchy, package) = two_sites()?;
    hierarchy.wait_installed(&package, &["PAR"], 1)?;
    let library = hierarchy.site_directory("PAR").join("library");

    rot(&library)?;
    let mended = hierarchy.console("PAR").json(&["content", "verify"])?;

    ensure!(mended["last"]["rotten_chunks"].as_u64() > Some(0), "{mended}");
    ensure!(mended["last"]["mended_chunks"] == mended["last"]["rotten_chunks"], "{mended}");
    ensure!(mended["repairs"][0]["from"][0]["name"] == "CAP agent cap1", "{mended}");

    hierarchy.cap_process("PAR/cap1").kill9()?;
    rot(&library)?;
    let mended = hierarchy.console("PAR").json(&["content", "verify"])?;
    ensure!(mended["repairs"][0]["from"][0]["name"] == "site CEN", "{mended}");
    ensure!(mended["last"]["lost_versions"] == 0, "{mended}");

    let usage = hierarchy.console("PAR").json(&["content", "usage"])?;
    ensure!(usage["versions"][0]["packages"][0] == package.as_str(), "{usage}");
    ensure!(usage["versions"][0]["missing_chunks"] == 0, "{usage}");
    ensure!(usage["versions"][0]["own_bytes"].as_u64() > Some(2_900_000), "{usage}");
    Ok(())
}

#[test]
fn a_bundle_that_does_not_fit_comes_by_itself_when_there_is_room() -> Result<()> {
    let mut hierarchy = Hierarchy::for_test()?;
    hierarchy.central("CEN")?;
    hierarchy.child("PAR", "CEN")?;
    hierarchy.cap("PAR", "cap1")?;
    hierarchy.wait_for_points("CEN", &["PAR/cap1"])?;
    let config = hierarchy.site_directory("PAR").join("site.toml");
    let sane = fs::read_to_string(&config)?;
    let without_room = sane.replace("reserve = \"auto\"", "reserve = \"9000TB\"");
    ensure!(without_room != sane, "{sane}");
    hierarchy.site_process("PAR").kill9()?;
    fs::write(&config, without_room)?;
    hierarchy.site_process("PAR").start()?;
    let (source, trace) = (hierarchy.scratch("source"), hierarchy.scratch("trace"));
    make_package(&source, SPEC, "one")?;

    let package = hierarchy.create_package(&source, &trace, &["PAR/cap1"])?;
    hierarchy.wait_for("the site to say that it waits for room", LIMIT, || {
        let answer = hierarchy.console("PAR").json(&["events", "--severity", "warning"])?;
        let events = answer["events"].as_array().context("a list of events")?;
        let waits = |event: &serde_json::Value| {
            event["text"]
                .as_str()
                .is_some_and(|text| text.contains("a bundle waits") && text.contains("are lacking"))
        };
        ensure!(events.iter().any(waits), "{events:?}");
        Ok(Some(()))
    })?;
    hierarchy.site_process("PAR").kill9()?;
    fs::write(&config, sane)?;
    hierarchy.site_process("PAR").start()?;

    hierarchy.wait_installed(&package, &["PAR"], 1)?;
    Ok(())
}

#[test]
fn a_copied_library_fills_a_site_though_it_is_killed_meanwhile() -> Result<()> {
    let mut hierarchy = Hierarchy::for_test()?;
    hierarchy.central("CEN")?;
    hierarchy.child("PAR", "CEN")?;
    let (source, trace) = (hierarchy.scratch("source"), hierarchy.scratch("trace"));
    make_package(&source, SPEC, "one")?;
    hierarchy.create_package(&source, &trace, &[])?;
    let library = hierarchy.site_directory("CEN").join("library");
    let disk = hierarchy.scratch("disk");
    for part in ["packs", "manifests"] {
        fs::create_dir_all(disk.join(part))?;
        for entry in fs::read_dir(library.join(part))? {
            let entry = entry?;
            fs::copy(entry.path(), disk.join(part).join(entry.file_name()))?;
        }
    }
    let path = disk.to_str().context("UTF-8")?;

    hierarchy.console("PAR").json(&["content", "prestage", path, "--no-wait"])?;
    hierarchy.site_process("PAR").kill9()?;
    hierarchy.site_process("PAR").start()?;

    let ended = hierarchy.wait_for("all of it", LIMIT, || {
        let look = hierarchy.console("PAR").json(&["content", "prestage", "--status"])?;
        ensure!(!look["prestage"]["ended_at"].is_null(), "{look}");
        Ok(Some(look))
    })?;
    ensure!(ended["prestage"]["whole_versions"] == 1 && ended["prestage"]["error"] == "", "{ended}");
    let again = hierarchy.console("PAR").json(&["content", "prestage", path])?;
    ensure!(again["prestage"]["chunks_new"] == 0, "{again}");
    Ok(())
}
