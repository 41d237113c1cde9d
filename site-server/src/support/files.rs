//! What is said of the files of a site: settings, certificates, what lies where, and room.

use std::{collections::BTreeSet, fs};

use packhorse_support::{Bundle, config, disk, listing};
use packhorse_trust::certificate_facts;
use serde_json::{Value, json};
use walkdir::WalkDir;

use super::database::time;
use crate::directories::Directories;

const CERTIFICATE_BYTES_MAX: u64 = 64 * 1024;

pub(super) fn add(bundle: &mut Bundle, directories: &Directories) {
    let about = "The settings, without comments and secrets.";
    bundle.text_of("site.toml", about, config(&directories.config()));
    let text = listing(directories.root());
    bundle.text("files.txt", "What lies in the site's directory: names, modes, owners, sizes, times.", &text);
    let certificates = certificates(directories);
    bundle.json("certificates.json", "Certificates: for whom, by whom, until when. No keys.", &certificates);
    let disks: Vec<Value> = places(directories)
        .into_iter()
        .map(|place| {
            disk(&place).unwrap_or_else(
                |error| json!({ "path": place.display().to_string(), "error": error.to_string() }),
            )
        })
        .collect();
    bundle.json("disk.json", "Room on the disks of the site's directory.", &disks);
}

/// Each may be mounted on a disk of its own.
fn places(directories: &Directories) -> BTreeSet<std::path::PathBuf> {
    let own = [directories.root().to_owned(), directories.library()];
    own.into_iter().chain(directories.working()).filter(|place| place.exists()).collect()
}

fn certificates(directories: &Directories) -> Vec<Value> {
    let mut found = Vec::new();
    for place in [directories.authority(), directories.root().join("credentials"), directories.admin()] {
        for entry in WalkDir::new(place).max_depth(2).sort_by_file_name().into_iter().filter_map(Result::ok) {
            let is_one = entry.path().extension().is_some_and(|end| end == "pem")
                && entry.metadata().is_ok_and(|facts| facts.is_file() && facts.len() < CERTIFICATE_BYTES_MAX);
            // A file with a key has no certificate in it.
            let facts = is_one.then(|| fs::read_to_string(entry.path()).ok()).flatten();
            let Some(facts) = facts.as_deref().and_then(certificate_facts) else { continue };
            let path = entry.path().strip_prefix(directories.root()).unwrap_or(entry.path());
            found.push(json!({
                "file": path.display().to_string(),
                "subject": facts.subject,
                "issuer": facts.issuer,
                "serial": facts.serial,
                "identity": facts.identity,
                "is_authority": facts.is_authority,
                "not_before": time(facts.not_before),
                "not_after": time(facts.not_after),
            }));
        }
    }
    found
}
