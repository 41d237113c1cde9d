//! What a site server stands on: its disk and its certificates.

use packhorse_domain::{Timestamp, care::Disk};
use packhorse_trust::Credentials;

use crate::{care::room, error::Error, site::Site, store::Held};

/// What a site server stands on.
#[derive(Debug)]
pub(crate) struct Surroundings {
    /// Where its content is, and how much room must stay free.
    pub(crate) disk: Option<(String, Disk, u64)>,
    /// The first of its certificates to end, and which.
    pub(crate) certificate: Option<(&'static str, Timestamp)>,
    /// From when on the last of them to begin holds, and which.
    pub(crate) begins: Option<(&'static str, Timestamp)>,
    /// Another program holds the database.
    pub(crate) held: Option<Held>,
}

pub(crate) async fn look(site: &Site) -> Result<Surroundings, Error> {
    let library = site.directories.library();
    let reserve = site.settings.content.reserve;
    let directory = site.directories.clone();
    let own = site.credentials.clone();
    let held = site.store.held().await;
    let looked = tokio::task::spawn_blocking(move || {
        let disk = room::disk(&library).ok();
        let parent = Credentials::load(&directory.parent_credentials()).ok();
        let all = [("of the site server", Some(own)), ("for its parent", parent)];
        let valid = |(name, held): (&'static str, Option<Credentials>)| Some((name, held?.validity().ok()?));
        let valid: Vec<_> = all.into_iter().filter_map(valid).collect();
        Surroundings {
            disk: disk.map(|disk| (library.display().to_string(), disk, reserve.bytes(disk))),
            certificate: valid.iter().map(|(name, (_, ends))| (*name, *ends)).min_by_key(|(_, at)| *at),
            begins: valid.iter().map(|(name, (begins, _))| (*name, *begins)).max_by_key(|(_, at)| *at),
            held,
        }
    });
    Ok(looked.await?)
}
