//! Whether a parcel is for this site and from whom it may be: nothing that lies on a medium is believed before that.

use std::{fs, path::PathBuf, sync::Arc};

use packhorse_parcel::{
    Contents, ContentsError, FoundParcel, Limits, OpenError, ParcelId, ReadError, Volume,
};
use packhorse_runtime::{durable::write_file_durable, error_chain};

use crate::{
    courier::{envelope::unseal, kin},
    error::Error,
    site::Site,
    store::neighbours::Relation,
};

/// What became of it.
pub(super) enum Opening {
    Ours {
        contents: Box<Contents>,
        relation: Relation,
    },
    ForOthers,
    /// Why nothing of it is believed.
    Refused(String),
}

/// Where the packing list is kept, for volumes on which it is damaged.
fn kept(site: &Site, id: &ParcelId) -> PathBuf {
    site.directories.parcels_in().join(id.to_string()).join("list")
}

pub(super) async fn open(site: &Arc<Site>, id: &ParcelId, parcel: &FoundParcel) -> Result<Opening, Error> {
    let opening = site.clone();
    let names_us = parcel.volumes.values().flatten().any(|one| one.head.destinations.contains(site.code()));
    let (id, paths) =
        (*id, parcel.volumes.values().flatten().map(|one| one.path.clone()).collect::<Vec<_>>());
    let found = tokio::task::spawn_blocking(move || find(&opening, &id, &paths)).await??;
    let contents = match found {
        Ok(contents) => contents,
        Err(LookError::NotForUs) if names_us => {
            let text = "it is encrypted to another key of this site: tell the sender the one that `packhorse courier keys` \
                        shows, and ask for another parcel";
            return Ok(Opening::Refused(text.to_owned()));
        }
        Err(LookError::NotForUs) => return Ok(Opening::ForOthers),
        Err(refused) => return Ok(Opening::Refused(refused.to_string())),
    };
    if !contents.sites().any(|one| one == site.code()) {
        return Ok(Opening::ForOthers);
    }
    let sender = &contents.info().sender;
    let mut tx = site.store.read().await?;
    Ok(match kin::relation(site, &mut tx, sender).await? {
        Some(relation) => Opening::Ours { contents: Box::new(contents), relation },
        None => {
            Opening::Refused(format!("it is from site {sender}, which is neither above nor below this one"))
        }
    })
}

/// The packing list out of the first volume that gives one; the reason, if none does.
fn find(site: &Site, id: &ParcelId, paths: &[PathBuf]) -> Result<Result<Contents, LookError>, Error> {
    let path = kept(site, id);
    if let Some(Ok(contents)) = fs::read(&path).ok().map(|envelope| contents(site, &envelope)) {
        return Ok(Ok(contents));
    }
    let mut refused = LookError::NotForUs;
    for volume in paths {
        match look(site, volume) {
            Ok((envelope, contents)) => {
                if let Some(directory) = path.parent() {
                    let failed =
                        |source| Error::File { what: format!("make {}", directory.display()), source };
                    fs::create_dir_all(directory).map_err(failed)?;
                }
                write_file_durable(&path, &envelope, 0o600)?;
                return Ok(Ok(contents));
            }
            Err(error) => refused = error,
        }
    }
    Ok(Err(refused))
}

#[derive(Debug, thiserror::Error)]
enum LookError {
    #[error("it is for other sites")]
    NotForUs,
    #[error("{}", error_chain(.0))]
    Open(OpenError),
    #[error("{0}")]
    Read(#[from] ReadError),
    #[error("{}", error_chain(.0))]
    Contents(#[from] ContentsError),
}

fn look(site: &Site, path: &std::path::Path) -> Result<(Vec<u8>, Contents), LookError> {
    let mut volume = Volume::open(path, &site.courier.identity).map_err(|error| match error {
        OpenError::NotForUs => LookError::NotForUs,
        other => LookError::Open(other),
    })?;
    let envelope = volume.envelope(&Limits::default())?;
    let contents = contents(site, &envelope)?;
    Ok((envelope, contents))
}

/// The list is believed if the site that it names as its sender has signed it.
fn contents(site: &Site, envelope: &[u8]) -> Result<Contents, ContentsError> {
    let recipient = site.courier.recipient();
    let limits = Limits::default();
    let signed =
        |envelope: &[u8]| unseal(envelope, |sender| site.trust(|trust| trust.director(sender, site.now())));
    Contents::open(envelope, &recipient, &limits, &signed)
}
