//! How this site server is: its components, its disk, its certificates.

use std::{fs, path::Path};

use packhorse_domain::{
    Timestamp,
    diagnosis::{ComponentFacts, Finding, SiteFacts, Subject, site},
};
use packhorse_runtime::WorkerStatus;
use packhorse_trust::Credentials;
use rustix::fs::{Access, access};

use super::Asker;
use crate::{care::room, error::Error};

/// Components that are no part of the way of a package.
const ASIDE: [&str; 3] = ["content-verifier", "prestager", "giver"];

/// For a subject on its way only those components count that bring it on.
pub(super) async fn findings(asker: &Asker, subject: &Subject) -> Result<Vec<Finding>, Error> {
    let library = asker.site.directories.library();
    let reserve = asker.site.settings.content.reserve;
    let directory = asker.site.directories.clone();
    let now = asker.site.now();
    let own = asker.site.credentials.clone();
    let (disk, certificate, unusable) = tokio::task::spawn_blocking(move || {
        let disk = room::disk(&library).ok();
        let parent = Credentials::load(&directory.parent_credentials()).ok();
        let ends = [("of the site server", Some(own)), ("for its parent", parent)];
        let ends = ends.into_iter().filter_map(|(name, credentials)| Some((name, end_of(&credentials?)?)));
        let ends = ends.min_by_key(|(_, ends)| *ends);
        let needed = directory.working().into_iter().chain([library.clone()]);
        let unusable: Vec<(String, String)> =
            needed.filter_map(|path| Some((path.display().to_string(), unusable(&path)?))).collect();
        (disk.map(|disk| (library.display().to_string(), disk)), ends, unusable)
    })
    .await?;
    let components = asker.lifecycle.statuses().into_iter();
    let counts = |one: &WorkerStatus| *subject == Subject::Site || !ASIDE.contains(&one.name);
    Ok(site(&SiteFacts {
        at: asker.site.code().clone(),
        components: components.filter(counts).map(component).collect(),
        unusable,
        disk: disk.map(|(path, disk)| (path, disk, reserve.bytes(disk))),
        certificate: certificate.map(|(name, ends)| (name.to_owned(), ends)),
        now,
    }))
}

/// Why a directory is of no use; nothing is written to find out.
fn unusable(path: &Path) -> Option<String> {
    match fs::metadata(path) {
        Err(error) => return Some(error.to_string()),
        Ok(metadata) if !metadata.is_dir() => return Some("it is no directory".to_owned()),
        Ok(_) => {}
    }
    access(path, Access::WRITE_OK | Access::EXEC_OK).err().map(|error| error.to_string())
}

fn end_of(credentials: &Credentials) -> Option<Timestamp> {
    credentials.validity().ok().map(|(_, ends)| ends)
}

fn component(status: WorkerStatus) -> ComponentFacts {
    ComponentFacts {
        name: status.name.to_owned(),
        consecutive_errors: status.consecutive_errors,
        last_error: status.last_error.unwrap_or_default(),
        last_step: status.last_step,
    }
}
