//! The demo's package source: copies of real files, with a program that checks them.

use std::{
    env, fs,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, Result, bail, ensure};
use packhorse_e2e::Interrupt;
use walkdir::WalkDir;

/// Of the default source whole folders are taken, until there are this many files and bytes.
const FILES_ENOUGH: u64 = 5_000;
const BYTES_ENOUGH: u64 = 100_000_000;
const LIST: &str = "SHA256SUMS";
const CHECK: &str = "check.sh";

const CHECK_SCRIPT: &str = r#"#!/bin/sh
# Counts the files of this package, verifies each against the list, and says so in a report and in the last line.
set -eu
cd "$(dirname "$0")"
report="${PACKHORSE_REPORT_DIR:-$(mktemp -d)}/check-report.txt"
listed=$(wc -l < SHA256SUMS)
found=$(find . -type f ! -path ./SHA256SUMS ! -path ./check.sh | wc -l)
if [ "$listed" -ne "$found" ]; then
    echo "$found files are here, $listed are listed" | tee "$report"
    exit 3
fi
if ! sha256sum --quiet --strict --check SHA256SUMS > "$report" 2>&1; then
    tail -n 20 "$report"
    exit 4
fi
echo "$found files verified on $(uname -n)" >> "$report"
echo "report: $report"
echo "$found files verified"
"#;

/// NUL-separated, so that no name can break a line; sorted, so that the list is the same each time.
const LIST_SCRIPT: &str = "find . -type f ! -path ./SHA256SUMS ! -path ./check.sh -print0 \
                           | LC_ALL=C sort -z | xargs -0 sha256sum -- > SHA256SUMS";

#[derive(Debug)]
pub(crate) struct Staged {
    pub(crate) file_count: u64,
    pub(crate) bytes: u64,
    pub(crate) origin: String,
}

/// Fills `into` with the files of `from`, or of cargo's registry, and adds the list and the program.
pub(crate) fn stage(from: Option<&Path>, into: &Path, interrupt: &Interrupt) -> Result<Staged> {
    fs::create_dir_all(into).with_context(|| format!("cannot make {}", into.display()))?;
    let (origin, folders) = match from {
        Some(directory) => (directory.to_owned(), None),
        None => registry_source()?,
    };
    let mut staged = Staged { file_count: 0, bytes: 0, origin: origin.display().to_string() };
    match folders {
        None => copy_tree(&origin, into, &mut staged, interrupt)?,
        Some(folders) => {
            for folder in folders {
                if staged.file_count >= FILES_ENOUGH && staged.bytes >= BYTES_ENOUGH {
                    break;
                }
                let name = folder.file_name().context("a folder without a name")?;
                copy_tree(&folder, &into.join(name), &mut staged, interrupt)?;
            }
        }
    }
    ensure!(staged.file_count > 0, "there are no files in {}", origin.display());
    for name in [LIST, CHECK] {
        ensure!(!into.join(name).exists(), "{} has a file {name} of its own", origin.display());
    }
    add_check(into)?;
    Ok(staged)
}

/// Cargo's unpacked dependencies: the registry's directory and its crates by name.
fn registry_source() -> Result<(PathBuf, Option<Vec<PathBuf>>)> {
    let home = env::var_os("CARGO_HOME")
        .map(PathBuf::from)
        .or_else(|| env::var_os("HOME").map(|home| PathBuf::from(home).join(".cargo")))
        .context("neither CARGO_HOME nor HOME is set: give a directory with --source")?;
    let registries = home.join("registry/src");
    let mut indexes = folders_of(&registries).with_context(|| {
        format!("no dependencies in {}: give a directory with --source", registries.display())
    })?;
    // With several registries, the one that most crates come from.
    indexes.sort_by_key(|index| folders_of(index).map_or(0, |folders| folders.len()));
    let Some(index) = indexes.pop() else {
        bail!("no dependencies in {}: give a directory with --source", registries.display())
    };
    let crates = folders_of(&index)?;
    Ok((index, Some(crates)))
}

fn folders_of(directory: &Path) -> Result<Vec<PathBuf>> {
    let entries = fs::read_dir(directory).with_context(|| format!("cannot list {}", directory.display()))?;
    let mut folders = Vec::new();
    for entry in entries {
        let entry = entry.with_context(|| format!("cannot list {}", directory.display()))?;
        if entry.file_type()?.is_dir() {
            folders.push(entry.path());
        }
    }
    folders.sort();
    Ok(folders)
}

/// Regular files only, under names that every system can read.
fn copy_tree(from: &Path, into: &Path, staged: &mut Staged, interrupt: &Interrupt) -> Result<()> {
    for entry in WalkDir::new(from).sort_by_file_name() {
        interrupt.check()?;
        let entry = entry.context("cannot read the source")?;
        let relative = entry.path().strip_prefix(from)?;
        if relative.to_str().is_none() {
            continue;
        }
        let target = into.join(relative);
        if entry.file_type().is_dir() {
            fs::create_dir_all(&target).with_context(|| format!("cannot make {}", target.display()))?;
        } else if entry.file_type().is_file() {
            // Not hard links: whoever plays with the demo's source must not change what it was taken from.
            fs::copy(entry.path(), &target)
                .with_context(|| format!("cannot copy {}", entry.path().display()))?;
            staged.file_count += 1;
            staged.bytes += entry.metadata()?.len();
        }
    }
    Ok(())
}

fn add_check(into: &Path) -> Result<()> {
    let status = Command::new("/bin/sh")
        .args(["-ec", LIST_SCRIPT])
        .current_dir(into)
        .status()
        .context("cannot run /bin/sh to make the list of digests")?;
    ensure!(
        status.success(),
        "the list of digests could not be made: {status}; sha256sum of coreutils is needed"
    );
    let check = into.join(CHECK);
    fs::write(&check, CHECK_SCRIPT).with_context(|| format!("cannot write {}", check.display()))?;
    fs::set_permissions(&check, fs::Permissions::from_mode(0o755))
        .with_context(|| format!("cannot make {} executable", check.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn staged() -> (tempfile::TempDir, Staged) {
        let directory = tempfile::tempdir().expect("a directory");
        let from = directory.path().join("from");
        fs::create_dir_all(from.join("a b/c")).expect("made");
        for (name, text) in [("one", "1"), ("a b/two", "22"), ("a b/c/three\\x", "333")] {
            fs::write(from.join(name), text).expect("written");
        }
        std::os::unix::fs::symlink("one", from.join("link")).expect("linked");
        let result = stage(Some(&from), &directory.path().join("into"), &Interrupt::default());
        (directory, result.expect("staged"))
    }

    fn check(directory: &Path) -> (Option<i32>, String) {
        let output = Command::new(directory.join("into/check.sh"))
            .env("PACKHORSE_REPORT_DIR", directory)
            .output()
            .expect("it ran");
        (output.status.code(), String::from_utf8_lossy(&output.stdout).into_owned())
    }

    #[test]
    fn the_check_counts_and_verifies_what_was_staged() {
        let (directory, staged) = staged();

        assert_eq!((staged.file_count, staged.bytes), (3, 6));
        let (code, text) = check(directory.path());
        assert_eq!(code, Some(0), "{text}");
        assert_eq!(text.lines().last(), Some("3 files verified"));
        let report = fs::read_to_string(directory.path().join("check-report.txt")).expect("a report");
        assert!(report.contains("3 files verified"), "{report}");
    }

    #[test]
    fn the_check_refuses_a_changed_a_missing_and_an_added_file() {
        let (directory, _) = staged();
        let into = directory.path().join("into");
        fs::remove_file(into.join("one")).expect("removed");

        assert_eq!(check(directory.path()).0, Some(3));
        fs::write(into.join("one"), "2").expect("written");
        assert_eq!(check(directory.path()).0, Some(4));
        fs::write(into.join("one"), "1").expect("written");
        assert_eq!(check(directory.path()).0, Some(0));
        fs::write(into.join("more"), "").expect("written");
        assert_eq!(check(directory.path()).0, Some(3));
    }
}
