//! The main job: a package made at the centre runs on every client of three levels, is updated, and is deleted.

use std::{fs, path::Path, time::Duration};

use anyhow::Result;
use packhorse_e2e::{Hierarchy, POINT, TreeSpec, list_tree, make_package, traces};

const LIMIT: Duration = Duration::from_secs(120);
const SPEC: TreeSpec = TreeSpec { files: 300, file_bytes: 6_000, seed: 1 };

/// Bytes in files below a directory.
fn disk_use(directory: &Path) -> Result<usize> {
    Ok(list_tree(directory)?.values().map(Vec::len).sum())
}

fn sorted(mut pairs: Vec<(String, String)>) -> Vec<(String, String)> {
    pairs.sort();
    pairs
}

fn everyone(version: &str) -> Vec<(String, String)> {
    ["lyo-1", "lyo-2", "par-1"].map(|host| (version.to_owned(), host.to_owned())).into()
}

#[test]
fn a_package_runs_on_every_client_again_when_it_is_updated_and_leaves_nothing_when_it_is_deleted()
-> Result<()> {
    let mut hierarchy = Hierarchy::three_levels()?;
    hierarchy.clients(&["LYO/lyo-1", "LYO/lyo-2", "PAR/par-1"])?;
    let share = hierarchy.scratch("share");
    let share_path = share.display().to_string();
    hierarchy.console("LYO").done(&["dp", "add", "share", "--path", &share_path])?;
    hierarchy.wait_for_points("CEN", &["LYO/share"])?;
    let (source, trace) = (hierarchy.scratch("source"), hierarchy.scratch("trace"));
    make_package(&source, SPEC, "one")?;

    let package = hierarchy.create_package(&source, &trace, &["PAR/cap1", "LYO/cap1", "LYO/share"])?;
    let advertisement = hierarchy.advertise(&package)?;

    hierarchy.wait_installed(&package, &["PAR", "LYO"], 1)?;
    let progress = hierarchy.wait_ran("CEN", &advertisement, 3, 1)?;
    for client in &progress.clients {
        assert_eq!(client.exit_code, Some(0), "{client:?}");
        assert_eq!(client.output_tail.trim_end().lines().last(), Some("version one is here"));
    }
    assert_eq!(sorted(traces(&trace)?), everyone("one"));
    hierarchy.wait_for("the directory", LIMIT, || {
        Ok((list_tree(&share.join(&package))? == list_tree(&source)?).then_some(()))
    })?;

    make_package(&source, SPEC, "two")?;
    let source_path = source.display().to_string();
    let updated =
        hierarchy.console("CEN").json(&["package", "update", &package, "--upload", &source_path])?;
    assert_eq!(updated["changed"], true);
    hierarchy.wait_installed(&package, &["PAR", "LYO"], 2)?;
    hierarchy.wait_ran("CEN", &advertisement, 3, 2)?;
    assert_eq!(sorted(traces(&trace)?), [everyone("one"), everyone("two")].concat());

    hierarchy.console("CEN").done(&["advertisement", "delete", &advertisement])?;
    hierarchy.console("CEN").done(&["package", "delete", &package])?;
    assert_gone(&hierarchy, &package, &share)
}

/// The content is most of 1.8 MB, which do not compress: whatever is left of it is seen.
fn assert_gone(hierarchy: &Hierarchy, package: &str, share: &Path) -> Result<()> {
    let content = SPEC.files * SPEC.file_bytes;
    for site in ["CEN", "PAR", "LYO"] {
        hierarchy.wait_for(&format!("{package} to be forgotten at {site}"), LIMIT, || {
            let packages = hierarchy.console(site).json(&["package", "list"])?;
            let known = packages["packages"].as_array().is_some_and(|list| !list.is_empty());
            Ok((!known).then_some(()))
        })?;
        let directory = hierarchy.site_directory(site);
        for part in ["library", "spool", "uploads"] {
            hierarchy.wait_for(&format!("the {part} of {site} to be empty"), LIMIT, || {
                let left = disk_use(&directory.join(part))?;
                anyhow::ensure!(left < content / 10, "{left} bytes are left");
                Ok(Some(()))
            })?;
        }
        let agent = hierarchy.cap_directory(&format!("{site}/{POINT}"));
        hierarchy.wait_for(&format!("the point of {site} to be empty"), LIMIT, || {
            let left = disk_use(&agent.join("library"))?;
            anyhow::ensure!(left < content / 10, "{left} bytes are left");
            Ok(Some(()))
        })?;
    }
    for client in ["lyo-1", "lyo-2", "par-1"] {
        hierarchy.wait_for(&format!("{client} to hold nothing"), LIMIT, || {
            let directory = hierarchy.client_directory(client);
            let left = disk_use(&directory.join("library"))? + disk_use(&directory.join("work"))?;
            anyhow::ensure!(left < content / 10, "{left} bytes are left");
            Ok(Some(()))
        })?;
    }
    hierarchy.wait_for("the directory to be empty", LIMIT, || {
        let packages =
            fs::read_dir(share)?.filter_map(Result::ok).filter(|entry| entry.file_name() == *package);
        Ok((packages.count() == 0 && list_tree(share)?.len() < 5).then_some(()))
    })
}

#[test]
fn a_package_from_a_directory_of_the_server_gets_a_version_for_each_change_and_none_without() -> Result<()> {
    let mut hierarchy = Hierarchy::for_test()?;
    hierarchy.central("CEN")?;
    let source = hierarchy.scratch("source");
    make_package(&source, TreeSpec { files: 20, ..SPEC }, "one")?;
    let console = hierarchy.console("CEN");
    let path = source.display().to_string();

    let package = console.create(&["package", "create", "Local", "--source", &path])?;

    let unchanged = console.json(&["package", "update", &package])?;
    assert_eq!((&unchanged["changed"], &unchanged["package"]["source_version"]), (&false.into(), &1.into()));
    fs::write(source.join("version.txt"), "two")?;
    let changed = console.json(&["package", "update", &package])?;
    assert_eq!((&changed["changed"], &changed["package"]["source_version"]), (&true.into(), &2.into()));
    assert_eq!(console.json(&["package", "show", &package])?["file_count"], 23);
    Ok(())
}
