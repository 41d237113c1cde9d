//! Content is laid out at this site's own directories while it is being taken in, so that it need not be read from the
//! library again. It is only a start: Distribution Manager makes the tree of it, or makes one without it.
//!
//! What is staged ahead shows before the library has it: people wait for the tree, and nobody for the library.

use std::{
    collections::HashMap,
    convert::Infallible,
    path::PathBuf,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
};

use packhorse_content::{Manifest, Source, Staged, Staging, forget_staged, header_of, stage};
use packhorse_domain::{
    Digest,
    care::Reserve,
    distribution::PointKind,
    id::{PackageId, PointName},
};
use packhorse_runtime::Waker;
use tokio::sync::mpsc;

use crate::{
    care::room,
    error::Error,
    record,
    site::Site,
    store::{Tx, points},
};

/// The library takes up to as much as the tree does, and must not be the one that finds no room.
const ROOM_FOR_EACH: u64 = 2;

/// What is staged, and where.
#[derive(Debug, Default)]
pub(crate) struct StagedTrees {
    trees: Mutex<HashMap<Place, StagedTree>>,
    /// What an earlier run staged is gone.
    is_swept: AtomicBool,
    /// Of Distribution Manager.
    waker: Waker,
}

pub(super) type Place = (PointName, PackageId);

/// What is staged of a package at a point.
#[derive(Debug)]
pub(crate) struct StagedTree {
    files: Staged,
    ahead: Option<Ahead>,
}

/// The library does not have it yet.
#[derive(Debug)]
struct Ahead {
    manifest: Arc<Manifest>,
    /// Whoever waits until it shows hears when the last of them is gone.
    _until_shown: mpsc::Sender<Infallible>,
}

/// Ends when what was staged ahead shows everywhere, or nobody wants it any more.
#[derive(Debug)]
pub(super) struct Showing(mpsc::Receiver<Infallible>);

impl StagedTree {
    pub(crate) fn files(&self) -> &Staged {
        &self.files
    }

    /// The version, if the library may not know it yet.
    pub(crate) fn manifest(&self) -> Option<&Manifest> {
        self.ahead.as_ref().map(|ahead| &*ahead.manifest)
    }
}

impl Showing {
    pub(super) async fn ended(mut self) {
        self.0.recv().await;
    }
}

impl StagedTrees {
    /// Whether anything may be staged: before, it would be swept away with what an earlier run left.
    pub(super) fn is_swept(&self) -> bool {
        self.is_swept.load(Ordering::Acquire)
    }

    /// What was staged there before goes.
    pub(super) fn put(&self, staged: Vec<(Place, Staged)>) {
        for (place, files) in staged {
            self.insert(place, StagedTree { files, ahead: None });
        }
    }

    /// What is to show before the library has it.
    pub(super) fn put_ahead(&self, staged: Vec<(Place, Staged)>, manifest: Manifest) -> Showing {
        let (manifest, (until_shown, showing)) = (Arc::new(manifest), mpsc::channel(1));
        for (place, files) in staged {
            let ahead = Ahead { manifest: manifest.clone(), _until_shown: until_shown.clone() };
            self.insert(place, StagedTree { files, ahead: Some(ahead) });
        }
        self.waker.wake();
        Showing(showing)
    }

    /// To drop what was there takes as long as to remove its files.
    fn insert(&self, place: Place, staged: StagedTree) {
        let before = self.trees().insert(place, staged);
        drop(before);
    }

    /// What is staged of a package at a point.
    pub(crate) fn take(&self, point: &PointName, package: &PackageId) -> Option<StagedTree> {
        self.trees().remove(&(point.clone(), package.clone()))
    }

    /// Whether this version can show at the point though the library does not have it.
    pub(crate) fn is_ahead(&self, point: &PointName, package: &PackageId, version: &Digest) -> bool {
        let trees = self.trees();
        let staged = trees.get(&(point.clone(), package.clone()));
        staged.is_some_and(|staged| staged.ahead.is_some() && staged.files.target() == version)
    }

    /// Who shows them is woken by this.
    pub(crate) fn waker(&self) -> Waker {
        self.waker.clone()
    }

    fn trees(&self) -> MutexGuard<'_, HashMap<Place, StagedTree>> {
        self.trees.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What nobody wants any more. To drop it takes as long as to remove its files.
    pub(crate) fn take_unwanted(
        &self,
        is_wanted: impl Fn(&PointName, &PackageId) -> bool,
    ) -> Vec<StagedTree> {
        let mut trees = self.trees();
        let unwanted = trees.extract_if(|(point, package), _| !is_wanted(point, package));
        unwanted.map(|(_, staged)| staged).collect()
    }
}

/// The directories that are to show what is arriving.
pub(super) struct Stage {
    package: PackageId,
    points: Vec<(PointName, PathBuf)>,
    reserve: Reserve,
}

impl Stage {
    /// No directory.
    pub(super) fn none(site: &Site, package: &PackageId) -> Stage {
        Stage { package: package.clone(), points: Vec::new(), reserve: site.settings.content.reserve }
    }

    pub(super) async fn of(site: &Site, package: &PackageId, target: Digest) -> Result<Stage, Error> {
        let mut stage = Stage::none(site, package);
        let mut tx = site.store.read().await?;
        let is_current = record::package(&mut tx, package.as_str())
            .await?
            .is_some_and(|record| record.version.manifest == Some(target));
        if is_current {
            let distribution = record::distribution(&mut tx, package).await?;
            stage.points = directories(&mut tx).await?;
            stage.points.retain(|(point, _)| distribution.points_at(site.code()).any(|name| name == point));
        }
        Ok(stage)
    }

    /// Begins where it can; where it cannot, Distribution Manager will tell why.
    pub(super) fn begin(self, bundle: &Source) -> (Vec<Place>, Vec<Staging>) {
        let Ok(header) = header_of(bundle) else { return (Vec::new(), Vec::new()) };
        let needed = header.plain_length.saturating_mul(ROOM_FOR_EACH);
        let begin = |(name, root): (PointName, PathBuf)| {
            room::check(self.reserve, &root, needed).ok()?;
            let staging = stage(&root, self.package.as_str()).ok()?;
            Some(((name, self.package.clone()), staging))
        };
        self.points.into_iter().filter_map(begin).unzip()
    }
}

/// What was staged, where it could be.
pub(super) fn finished(places: Vec<Place>, staging: Vec<Staging>, target: Digest) -> Vec<(Place, Staged)> {
    let staged = staging.into_iter().map(|staging| staging.finish(target));
    places.into_iter().zip(staged).filter_map(|(place, staged)| Some((place, staged?))).collect()
}

/// The directories of this site.
async fn directories(tx: &mut Tx) -> Result<Vec<(PointName, PathBuf)>, Error> {
    let points = points::list(tx).await?.into_iter();
    let directories = points.filter(|point| point.kind == PointKind::Directory);
    Ok(directories.map(|point| (point.name, PathBuf::from(point.location))).collect())
}

/// Removes what was staged before this program began.
pub(super) async fn sweep(site: &Site) -> Result<(), Error> {
    let mut tx = site.store.read().await?;
    let directories = directories(&mut tx).await?;
    drop(tx);
    for (point, root) in directories {
        if let Err(error) = tokio::task::spawn_blocking(move || forget_staged(&root)).await? {
            tracing::warn!(target: "despooler", %point, %error, "what was staged there stays");
        }
    }
    site.staged.is_swept.store(true, Ordering::Release);
    Ok(())
}
