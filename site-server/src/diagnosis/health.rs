//! How this site server is: its components, its disk, its certificates.

use std::{fs, path::Path, time::Duration};

use packhorse_domain::{
    Timestamp,
    diagnosis::{ComponentFacts, Finding, Locked, SiteFacts, Subject, site},
};
use packhorse_runtime::WorkerStatus;
use rustix::fs::{Access, access};

use super::Asker;
use crate::{error::Error, status::surroundings};

/// Components that are no part of the way of a package.
const ASIDE: [&str; 3] = ["content-verifier", "prestager", "giver"];

/// For a subject on its way only those components count that bring it on.
pub(super) async fn findings(asker: &Asker, subject: &Subject) -> Result<Vec<Finding>, Error> {
    let found = surroundings::look(&asker.site).await?;
    let directory = asker.site.directories.clone();
    let unusable = tokio::task::spawn_blocking(move || {
        let needed = directory.working().into_iter().chain([directory.library()]);
        needed.filter_map(|path| Some((path.display().to_string(), unusable(&path)?))).collect::<Vec<_>>()
    })
    .await?;
    let components = asker.lifecycle.statuses().into_iter();
    let counts = |one: &WorkerStatus| *subject == Subject::Site || !ASIDE.contains(&one.name);
    Ok(site(&SiteFacts {
        at: asker.site.code().clone(),
        components: components.filter(counts).map(component).collect(),
        unusable,
        locked: found.held.map(|held| Locked {
            path: held.path.display().to_string(),
            since: before(asker.site.now(), held.for_so_long),
            by: held.by,
        }),
        disk: found.disk,
        certificate: found.certificate.map(|(name, ends)| (name.to_owned(), ends)),
        begins: found.begins.map(|(name, begins)| (name.to_owned(), begins)),
        now: asker.site.now(),
    }))
}

fn before(now: Timestamp, so_long: Duration) -> Timestamp {
    Timestamp(now.0.saturating_sub(i64::try_from(so_long.as_micros()).unwrap_or(i64::MAX)))
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

fn component(status: WorkerStatus) -> ComponentFacts {
    ComponentFacts {
        name: status.name.to_owned(),
        consecutive_errors: status.consecutive_errors,
        last_error: status.last_error.unwrap_or_default(),
        last_step: status.last_step,
    }
}
