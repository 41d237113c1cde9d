//! What is said of the files of a site: settings, certificates, what lies where, and room.

use std::collections::BTreeSet;

use packhorse_support::{Bundle, certificates, config, disk, listing};
use serde_json::{Value, json};

use crate::directories::Directories;

pub(super) fn add(bundle: &mut Bundle, directories: &Directories) {
    let about = "The settings, without comments and secrets.";
    bundle.text_of("site.toml", about, config(&directories.config()));
    let text = listing(directories.root());
    bundle.text("files.txt", "What lies in the site's directory: names, modes, owners, sizes, times.", &text);
    let with_some = [directories.authority(), directories.root().join("credentials"), directories.admin()];
    let certificates = certificates(directories.root(), &with_some);
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
