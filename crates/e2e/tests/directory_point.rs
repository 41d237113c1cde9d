//! A directory as distribution point: it holds the tree itself, and at every instant one whole version of it.

use std::{
    fs,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread,
    time::Duration,
};

use anyhow::{Context as _, Result, ensure};
use packhorse_e2e::{Hierarchy, TreeSpec, list_tree};

const LIMIT: Duration = Duration::from_secs(40);
const FILES: usize = 200;

/// Every file of a version says which version it is of.
fn write_version(source: &Path, version: u64) -> Result<()> {
    for number in 0..FILES {
        let directory = source.join(format!("d{}", number % 7));
        fs::create_dir_all(&directory)?;
        fs::write(directory.join(format!("f{number}")), format!("{version} {number}"))?;
    }
    Ok(())
}

/// Reads the whole tree through one look at the link, as a user who opens the directory does.
fn read_version(link: &Path) -> Result<String> {
    let root = fs::canonicalize(link).context("the package is not there")?;
    let tree = list_tree(&root)?;
    // The version that was seen may have been replaced and removed while it was read: then this look counts for
    // nothing, if the link leads elsewhere now.
    if fs::canonicalize(link).context("the package is not there")? != root {
        return Ok("replaced".to_owned());
    }
    ensure!(tree.len() == FILES, "{} files", tree.len());
    let mut versions: Vec<String> = Vec::new();
    for bytes in tree.into_values() {
        versions.extend(String::from_utf8(bytes)?.split(' ').next().map(str::to_owned));
    }
    versions.dedup();
    ensure!(versions.len() == 1, "a mixed tree: {versions:?}");
    Ok(versions.remove(0))
}

#[test]
fn a_reader_never_finds_a_missing_or_a_mixed_tree_while_versions_are_switched() -> Result<()> {
    let mut hierarchy = Hierarchy::for_test()?;
    hierarchy.central("CEN")?;
    let (source, share) = (hierarchy.scratch("source"), hierarchy.scratch("share"));
    let (source_path, share_path) = (source.display().to_string(), share.display().to_string());
    write_version(&source, 1)?;
    let console = hierarchy.console("CEN");
    console.done(&["dp", "add", "share", "--path", &share_path])?;
    let package =
        console.create(&["package", "create", "Files", "--source", &source_path, "--to", "CEN/share"])?;
    let link = share.join(&package);
    let shows = |version: u64| {
        hierarchy.wait_for(&format!("version {version} in the directory"), LIMIT, || {
            Ok((read_version(&link)? == version.to_string()).then_some(()))
        })
    };
    shows(1)?;
    let stop = Arc::new(AtomicBool::new(false));
    let looks = Arc::new(AtomicU64::new(0));
    let reader = thread::spawn({
        let (stop, looks, link) = (Arc::clone(&stop), Arc::clone(&looks), link.clone());
        move || -> Result<()> {
            while !stop.load(Ordering::SeqCst) {
                match read_version(&link) {
                    Ok(_) => {}
                    // A removal may fall into the middle of a look; a second look then shows the new version whole.
                    Err(_) if read_version(&link).is_ok() => {}
                    Err(error) => return Err(error),
                }
                ensure!(fs::symlink_metadata(&link).is_ok(), "the package is not there");
                looks.fetch_add(1, Ordering::SeqCst);
            }
            Ok(())
        }
    });

    for version in 2..=5 {
        write_version(&source, version)?;
        console.done(&["package", "update", &package])?;
        shows(version)?;
    }

    stop.store(true, Ordering::SeqCst);
    reader.join().expect("the reader did not panic")?;
    assert!(looks.load(Ordering::SeqCst) > 20, "{looks:?}");
    Ok(())
}

#[test]
fn a_file_that_was_changed_by_hand_is_right_again_after_the_next_update() -> Result<()> {
    let mut hierarchy = Hierarchy::for_test()?;
    hierarchy.central("CEN")?;
    let (source, share) = (hierarchy.scratch("source"), hierarchy.scratch("share"));
    let (source_path, share_path) = (source.display().to_string(), share.display().to_string());
    packhorse_e2e::make_tree(&source, TreeSpec { files: 60, file_bytes: 3000, seed: 3 })?;
    let console = hierarchy.console("CEN");
    console.done(&["dp", "add", "share", "--path", &share_path])?;
    let package =
        console.create(&["package", "create", "Files", "--source", &source_path, "--to", "CEN/share"])?;
    let link = share.join(&package);
    let same = || -> Result<()> {
        hierarchy.wait_for("the directory to hold the source", LIMIT, || {
            Ok((list_tree(&fs::canonicalize(&link)?)? == list_tree(&source)?).then_some(()))
        })
    };
    same()?;
    let altered = link.join("d000/f00007");
    // A new file in place of the old: whoever alters one need not write through it.
    fs::remove_file(&altered)?;
    fs::write(&altered, "altered")?;

    fs::write(source.join("d000/f00001"), "the next version")?;
    console.done(&["package", "update", &package])?;

    same()
}
