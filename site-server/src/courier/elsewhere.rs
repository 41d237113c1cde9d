//! Volumes for media in other machines: made here and read from there, brought from there and taken in here.

use std::{
    fs, io,
    path::{Path, PathBuf},
    sync::Arc,
};

use packhorse_domain::Digest;
use packhorse_parcel::{Medium, ParcelId, Plan, VOLUME_BYTES_MAX, Written};
use packhorse_runtime::error_chain;

use super::{Listener, outgoing};
use crate::{care::room, error::Error, site::Site};

/// Where a volume is made: what is there stands for a medium.
fn workbench(site: &Site, id: &ParcelId) -> PathBuf {
    outgoing::directory(site, id).join("volume")
}

/// Makes a volume, or finds it made. Of a parcel one at a time is kept.
pub(crate) async fn make(
    site: &Arc<Site>,
    id: ParcelId,
    volume: u16,
    listener: Listener,
) -> Result<(PathBuf, Written), Error> {
    let _alone = site.courier.at_work.lock().await;
    let site = site.clone();
    tokio::task::spawn_blocking(move || {
        let bench = workbench(&site, &id);
        let path = bench.join(id.volume(volume));
        let mut plan = outgoing::plan(&site, &id)?;
        if !path.exists() {
            clear(&site, &id)?;
            // No volume is longer than all that is in the parcel, but for what describes it.
            let bytes: u64 = plan.list().items().iter().map(|item| item.length).sum();
            let (reserve, there) = (site.settings.content.reserve, site.directories.parcels_out());
            room::check(reserve, &there, bytes.min(VOLUME_BYTES_MAX))?;
            fs::create_dir_all(&bench)
                .map_err(|source| Error::File { what: format!("make {}", bench.display()), source })?;
        }
        let written = written(&site, &mut plan, volume, &listener)?;
        Ok((path, written))
    })
    .await?
}

/// As it lies on the workbench, where it is made if it is not there.
fn written(site: &Site, plan: &mut Plan, volume: u16, listener: &Listener) -> Result<Written, Error> {
    let bench = workbench(site, &plan.list().info().id);
    let medium = Medium::at(&bench).map_err(|error| Error::Medium(error_chain(&error)))?;
    outgoing::write_one(plan, &outgoing::sources(site, plan), &medium, (volume, listener))
}

/// What each volume was when it was written last.
pub(crate) async fn list(site: &Arc<Site>, id: ParcelId) -> Result<Vec<Option<Written>>, Error> {
    let site = site.clone();
    tokio::task::spawn_blocking(move || Ok(outgoing::plan(&site, &id)?.written().to_vec())).await?
}

/// A volume that was read lies on a medium: it counts as written, and is not kept here.
pub(crate) async fn keep(
    site: &Arc<Site>,
    id: ParcelId,
    volume: u16,
    digest: Digest,
    listener: Listener,
) -> Result<(), Error> {
    let alone = site.courier.at_work.lock().await;
    let own = site.clone();
    tokio::task::spawn_blocking(move || {
        let mut plan = outgoing::plan(&own, &id)?;
        let recorded = plan.written().get(usize::from(volume).wrapping_sub(1)).copied().flatten();
        if recorded.is_some_and(|recorded| recorded.digest == digest) {
            return clear(&own, &id);
        }
        let made = workbench(&own, &id).join(id.volume(volume));
        if !made.exists() || written(&own, &mut plan, volume, &listener)?.digest != digest {
            return Err(Error::Precondition(format!(
                "volume {volume} was made anew meanwhile: read it again, and write that"
            )));
        }
        outgoing::keep_plan(&own, &plan)?;
        clear(&own, &id)
    })
    .await??;
    drop(alone);
    outgoing::note_written(site, &id).await
}

/// Nothing that was made is needed any more.
pub(super) fn clear(site: &Site, id: &ParcelId) -> Result<(), Error> {
    let bench = workbench(site, id);
    match fs::remove_dir_all(&bench) {
        Err(source) if source.kind() != io::ErrorKind::NotFound => {
            Err(Error::File { what: format!("remove {}", bench.display()), source })
        }
        _ => Ok(()),
    }
}

/// A file for a volume that is brought here. It goes with this.
#[derive(Debug)]
pub(crate) struct Brought {
    path: PathBuf,
}

/// What a run before left is nobody's.
pub(crate) fn sweep(site_parcels_in: &Path) {
    drop(fs::remove_dir_all(brought(site_parcels_in)));
}

fn brought(parcels_in: &Path) -> PathBuf {
    parcels_in.join("brought")
}

impl Brought {
    pub(crate) fn begin(site: &Site) -> Result<(Brought, fs::File), Error> {
        let directory = brought(&site.directories.parcels_in());
        let path = directory.join(format!("{}.PHV", uuid::Uuid::new_v4().simple()));
        let made = fs::create_dir_all(&directory).and_then(|()| fs::File::create_new(&path));
        let file = made.map_err(|source| Error::File { what: format!("make {}", path.display()), source })?;
        Ok((Brought { path }, file))
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for Brought {
    fn drop(&mut self) {
        // The next start sweeps up what is left.
        drop(fs::remove_file(&self.path));
    }
}
