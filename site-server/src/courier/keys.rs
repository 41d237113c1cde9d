//! The keys that parcels are encrypted to: our own in a file, those of neighbours as they told them.

use std::{
    fs, io,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
};

use packhorse_domain::{Timestamp, id::SiteCode, object::ObjectKind, site::SiteFact};
use packhorse_parcel::{Identity, KeyError, Recipient};
use packhorse_proto::object::v1 as wire;
use packhorse_runtime::durable::{DurableError, write_file_durable};

use super::kin;
use crate::{
    error::Error,
    record,
    site::Site,
    store::{Tx, parcels},
};

/// The key in a file cannot be used.
#[derive(Debug, thiserror::Error)]
pub(crate) enum KeyFileError {
    #[error("cannot read {}", path.display())]
    Read { path: PathBuf, source: io::Error },
    #[error("{path} has the mode {mode:04o}, so others can read it: run `chmod 600 {path}`", path = path.display())]
    Exposed { path: PathBuf, mode: u32 },
    #[error("{path} holds no key: put it back from a backup, or remove it, and parcels that are under way are lost", path = path.display())]
    Malformed { path: PathBuf, source: KeyError },
    #[error("cannot keep a new key")]
    Write(#[from] DurableError),
}

/// Sites that were made before there were parcels get theirs now.
pub(super) fn identity(path: &Path) -> Result<Identity, KeyFileError> {
    let read = |source| KeyFileError::Read { path: path.to_owned(), source };
    let text = match fs::read_to_string(path) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            let identity = Identity::generate();
            write_file_durable(path, identity.secret_text().as_bytes(), 0o600)?;
            return Ok(identity);
        }
        Err(error) => return Err(read(error)),
    };
    let mode = fs::metadata(path).map_err(read)?.permissions().mode() & 0o7777;
    if mode & 0o077 != 0 {
        return Err(KeyFileError::Exposed { path: path.to_owned(), mode });
    }
    text.trim().parse().map_err(|source| KeyFileError::Malformed { path: path.to_owned(), source })
}

/// A neighbour's key: as a parcel or somebody told it, or as it says of itself over the line, whatever is newer.
pub(crate) async fn known(tx: &mut Tx, site: &SiteCode) -> Result<Option<Recipient>, Error> {
    let told = parcels::key(tx, site).await?;
    let fact = record::find::<wire::SiteFact, SiteFact>(tx, ObjectKind::Site, site.as_str()).await?;
    let said = fact.map(|(object, fact)| (fact.courier_key, object.changed_at));
    let known = told.into_iter().chain(said).filter(|(text, _)| !text.is_empty());
    Ok(known.max_by_key(|(_, at)| *at).and_then(|(text, _)| text.parse().ok()))
}

/// Takes note of a key of a site above or below, unless a newer one is known.
pub(crate) async fn trust(
    own: &Site,
    tx: &mut Tx,
    site: &SiteCode,
    (recipient, told_at): (&Recipient, Timestamp),
) -> Result<(), Error> {
    if kin::relation(own, tx, site).await?.is_none() {
        return Err(Error::Precondition(format!(
            "site {site} is neither above nor below this one: no parcels go there, nor come from there"
        )));
    }
    Ok(parcels::put_key(tx, site, &recipient.to_string(), told_at).await?)
}
