//! What several tests need: three levels of sites, a package whose program leaves traces, and waits for the usual ends.

use std::{
    fs,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::{Context as _, Result, ensure};

use crate::{AdvertisementProgress, Hierarchy, NewClient, TreeSpec, make_tree};

const LIMIT: Duration = Duration::from_secs(120);

/// The CAP agent, and so the distribution point, that every site of a scenario has.
pub const POINT: &str = "cap1";

/// Appends the package's version and the directory it runs in to the file that is its first argument. It fails when a
/// file of the package is not what was packed.
const RUN_SCRIPT: &str = r#"#!/bin/sh
set -eu
sha256sum --quiet --check SHA256SUMS
echo "$(cat version.txt) $PWD" >> "$1"
echo "version $(cat version.txt) is here"
"#;

/// A package source at `at`: files by the spec, `run.sh`, and `version.txt` with the version in it.
pub fn make_package(at: &Path, spec: TreeSpec, version: &str) -> Result<()> {
    fs::create_dir_all(at).with_context(|| format!("cannot make {}", at.display()))?;
    make_tree(at, spec)?;
    fs::write(at.join("version.txt"), version)?;
    let script = at.join("run.sh");
    fs::write(&script, RUN_SCRIPT)?;
    fs::set_permissions(&script, fs::Permissions::from_mode(0o755))?;
    list_digests(at)
}

fn list_digests(at: &Path) -> Result<()> {
    let script =
        "find . -type f ! -name SHA256SUMS -print0 | LC_ALL=C sort -z | xargs -0 sha256sum -- > SHA256SUMS";
    let status = std::process::Command::new("/bin/sh").args(["-ec", script]).current_dir(at).status()?;
    ensure!(status.success(), "the list of digests could not be made: {status}");
    Ok(())
}

/// The lines that `run.sh` left, as (version, host name of the client).
pub fn traces(file: &Path) -> Result<Vec<(String, String)>> {
    let text = match fs::read_to_string(file) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => String::new(),
        read => read?,
    };
    let host = |path: &str| {
        path.split('/').find_map(|part| part.strip_prefix("client-")).unwrap_or("nobody").to_owned()
    };
    Ok(text
        .lines()
        .filter_map(|line| line.split_once(' '))
        .map(|(v, path)| (v.to_owned(), host(path)))
        .collect())
}

impl Hierarchy {
    /// CEN, PAR below it, LYO below that, a CAP agent at each; no clients.
    pub fn three_levels() -> Result<Self> {
        let mut hierarchy = Hierarchy::for_test()?;
        hierarchy.central("CEN")?;
        hierarchy.cap("CEN", POINT)?;
        hierarchy.child("PAR", "CEN")?;
        hierarchy.cap("PAR", POINT)?;
        hierarchy.child("LYO", "PAR")?;
        hierarchy.cap("LYO", POINT)?;
        hierarchy.wait_for_points("CEN", &["PAR/cap1", "LYO/cap1"])?;
        Ok(hierarchy)
    }

    /// One client for each SITE/HOSTNAME.
    pub fn clients(&mut self, clients: &[&str]) -> Result<()> {
        for client in clients {
            let (site, hostname) = client.split_once('/').context("SITE/HOSTNAME is expected")?;
            self.client(NewClient { site, hostname, labels: &[] })?;
        }
        Ok(())
    }

    /// Until the site knows these distribution points, SITE/NAME each.
    pub fn wait_for_points(&self, site: &str, points: &[&str]) -> Result<()> {
        self.wait_for(&format!("the distribution points at {site}"), LIMIT, || {
            let answer = self.console(site).json(&["dp", "list"])?;
            let listed = answer["distribution_points"].as_array().context("a list")?;
            let known = |wanted: &&str| {
                listed.iter().any(|point| {
                    let (site, name) = (point["site"].as_str(), point["name"].as_str());
                    site.zip(name).is_some_and(|(site, name)| format!("{site}/{name}") == **wanted)
                })
            };
            Ok(points.iter().all(known).then_some(()))
        })
    }

    /// Creates a package from a directory that is uploaded, with `run.sh` as its program `run`, which leaves its
    /// traces in `file`.
    pub fn create_package(&self, source: &Path, file: &Path, targets: &[&str]) -> Result<String> {
        let mut arguments: Vec<String> =
            ["package", "create", "Sample", "--upload"].map(str::to_owned).into();
        arguments.push(source.display().to_string());
        arguments.extend(["--program".to_owned(), format!("run=./run.sh {}", file.display())]);
        arguments.extend(targets.iter().flat_map(|target| ["--to".to_owned(), (*target).to_owned()]));
        self.console("CEN").create(&arguments)
    }

    /// Advertises `run` of the package to every client.
    pub fn advertise(&self, package: &str) -> Result<String> {
        let console = self.console("CEN");
        let collection = console.create(&["collection", "create", "Everyone", "--all"])?;
        console.create(&["advertise", package, "run", &collection])
    }

    /// Until the central site knows that the version is in these sites' libraries and at their CAP agents.
    pub fn wait_installed(&self, package: &str, sites: &[&str], version: u64) -> Result<()> {
        self.wait_for(&format!("version {version} of {package} at {sites:?}"), LIMIT, || {
            let progress = self.console("CEN").package(package)?;
            let there = sites.iter().all(|site| progress.installed(site, &[POINT], version));
            ensure!(there, "{:?}", progress.places);
            Ok(Some(()))
        })
    }

    /// Until the site knows that this many clients have run the version with success.
    pub fn wait_ran(
        &self,
        site: &str,
        advertisement: &str,
        clients: usize,
        version: u64,
    ) -> Result<AdvertisementProgress> {
        self.wait_for(&format!("{clients} clients to run version {version}"), LIMIT, || {
            let progress = self.console(site).advertisement(advertisement)?;
            ensure!(progress.succeeded(version) == clients, "{progress:?}");
            Ok(Some(progress))
        })
    }

    /// A place for a test's own files.
    pub fn scratch(&self, name: &str) -> PathBuf {
        self.root().join(name)
    }
}
