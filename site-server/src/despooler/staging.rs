//! Content is laid out at this site's own directories while it is being taken in, so that it need not be read from the
//! library again. It is only a start: Distribution Manager makes the tree of it, or makes one without it.

use std::{
    collections::HashMap,
    path::PathBuf,
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
};

use packhorse_content::{Source, Staged, Staging, forget_staged, header_of, stage};
use packhorse_domain::{
    Digest,
    care::Reserve,
    distribution::PointKind,
    id::{PackageId, PointName},
};

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
    trees: Mutex<HashMap<Place, Staged>>,
    /// What an earlier run staged is gone.
    is_swept: AtomicBool,
}

pub(super) type Place = (PointName, PackageId);

impl StagedTrees {
    /// Whether anything may be staged: before, it would be swept away with what an earlier run left.
    pub(super) fn is_swept(&self) -> bool {
        self.is_swept.load(Ordering::Acquire)
    }

    /// What was staged there before goes.
    pub(super) fn put(&self, staged: Vec<(Place, Staged)>) {
        for (place, staged) in staged {
            let before = self.trees.lock().unwrap_or_else(PoisonError::into_inner).insert(place, staged);
            drop(before);
        }
    }

    /// What is staged of a package at a point.
    pub(crate) fn take(&self, point: &PointName, package: &PackageId) -> Option<Staged> {
        let mut trees = self.trees.lock().unwrap_or_else(PoisonError::into_inner);
        trees.remove(&(point.clone(), package.clone()))
    }

    /// What nobody wants any more. To drop it takes as long as to remove its files.
    pub(crate) fn take_unwanted(&self, is_wanted: impl Fn(&PointName, &PackageId) -> bool) -> Vec<Staged> {
        let mut trees = self.trees.lock().unwrap_or_else(PoisonError::into_inner);
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
    pub(super) async fn of(site: &Site, package: &PackageId, target: Digest) -> Result<Stage, Error> {
        let (package, reserve) = (package.clone(), site.settings.content.reserve);
        let mut tx = site.store.read().await?;
        let is_current = record::package(&mut tx, package.as_str())
            .await?
            .is_some_and(|record| record.version.manifest == Some(target));
        if !is_current {
            return Ok(Stage { package, points: Vec::new(), reserve });
        }
        let distribution = record::distribution(&mut tx, &package).await?;
        let mut points = directories(&mut tx).await?;
        points.retain(|(point, _)| distribution.points_at(site.code()).any(|name| name == point));
        Ok(Stage { package, points, reserve })
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
