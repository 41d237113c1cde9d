//! What a site server stands on: its disk and its certificates.

use packhorse_domain::{Timestamp, care::Disk};
use packhorse_trust::Credentials;

use crate::{care::room, error::Error, site::Site};

/// What a site server stands on.
#[derive(Debug)]
pub(crate) struct Surroundings {
    /// Where its content is, and how much room must stay free.
    pub(crate) disk: Option<(String, Disk, u64)>,
    /// The first of its certificates to end, and which.
    pub(crate) certificate: Option<(&'static str, Timestamp)>,
}

pub(crate) async fn look(site: &Site) -> Result<Surroundings, Error> {
    let library = site.directories.library();
    let reserve = site.settings.content.reserve;
    let directory = site.directories.clone();
    let own = site.credentials.clone();
    let looked = tokio::task::spawn_blocking(move || {
        let disk = room::disk(&library).ok();
        let parent = Credentials::load(&directory.parent_credentials()).ok();
        let ends = [("of the site server", Some(own)), ("for its parent", parent)];
        let ends = ends.into_iter().filter_map(|(name, credentials)| Some((name, end_of(&credentials?)?)));
        Surroundings {
            disk: disk.map(|disk| (library.display().to_string(), disk, reserve.bytes(disk))),
            certificate: ends.min_by_key(|(_, ends)| *ends),
        }
    });
    Ok(looked.await?)
}

fn end_of(credentials: &Credentials) -> Option<Timestamp> {
    credentials.validity().ok().map(|(_, ends)| ends)
}
