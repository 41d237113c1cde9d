//! Content is laid out at this site's own directories while it is being taken in, so that it need not be read from the
//! library again. It is only a start: Distribution Manager makes the tree of it, or makes one without it.

use std::{
    collections::HashMap,
    fs::File,
    path::PathBuf,
    sync::{Mutex, PoisonError},
};

use packhorse_content::{Staged, Staging, forget_staged, read_header, stage};
use packhorse_domain::{
    care::Reserve,
    distribution::PointKind,
    id::{PackageId, PointName},
};

use crate::{
    care::room,
    error::Error,
    record,
    site::Site,
    store::{arrivals::Arrival, points},
};

/// The library takes up to as much as the tree does, and must not be the one that finds no room.
const ROOM_FOR_EACH: u64 = 2;

/// What is staged, and where.
#[derive(Debug, Default)]
pub(crate) struct StagedTrees(Mutex<HashMap<(PointName, PackageId), Staged>>);

impl StagedTrees {
    pub(super) fn put(&self, package: &PackageId, staged: Vec<(PointName, Staged)>) {
        let mut trees = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        trees.extend(staged.into_iter().map(|(point, staged)| ((point, package.clone()), staged)));
    }

    /// What is staged of a package at a point.
    pub(crate) fn take(&self, point: &PointName, package: &PackageId) -> Option<Staged> {
        let mut trees = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        trees.remove(&(point.clone(), package.clone()))
    }

    /// What nobody wants any more. To drop it takes as long as to remove its files.
    pub(crate) fn take_unwanted(&self, is_wanted: impl Fn(&PointName, &PackageId) -> bool) -> Vec<Staged> {
        let mut trees = self.0.lock().unwrap_or_else(PoisonError::into_inner);
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
    pub(super) async fn of(site: &Site, arrival: &Arrival) -> Result<Stage, Error> {
        let (package, reserve) = (arrival.package.clone(), site.settings.content.reserve);
        let mut tx = site.store.read().await?;
        let is_current = record::package(&mut tx, package.as_str())
            .await?
            .is_some_and(|record| record.version.manifest == Some(arrival.target));
        if !is_current {
            return Ok(Stage { package, points: Vec::new(), reserve });
        }
        let distribution = record::distribution(&mut tx, &package).await?;
        let directories = points::list(&mut tx).await?;
        let directories = directories.into_iter().filter(|point| point.kind == PointKind::Directory);
        let wanted =
            directories.filter(|point| distribution.points_at(site.code()).any(|name| *name == point.name));
        let points = wanted.map(|point| (point.name, PathBuf::from(point.location))).collect();
        Ok(Stage { package, points, reserve })
    }

    /// Begins where it can; where it cannot, Distribution Manager will tell why.
    pub(super) fn begin(self, bundle: &File) -> (Vec<PointName>, Vec<Staging>) {
        let mut bundle = bundle;
        let Ok(header) = read_header(&mut bundle) else { return (Vec::new(), Vec::new()) };
        let needed = header.plain_length.saturating_mul(ROOM_FOR_EACH);
        let begin = |(name, root): (PointName, PathBuf)| {
            room::check(self.reserve, &root, needed).ok()?;
            Some((name, stage(&root, self.package.as_str()).ok()?))
        };
        self.points.into_iter().filter_map(begin).unzip()
    }
}

/// Removes what was staged before this program began.
pub(super) async fn sweep(site: &Site) -> Result<(), Error> {
    let mut tx = site.store.read().await?;
    let directories = points::list(&mut tx).await?;
    drop(tx);
    let directories = directories.into_iter().filter(|point| point.kind == PointKind::Directory);
    for point in directories {
        let root = PathBuf::from(point.location);
        if let Err(error) = tokio::task::spawn_blocking(move || forget_staged(&root)).await? {
            tracing::warn!(target: "despooler", point = %point.name, %error, "what was staged there stays");
        }
    }
    Ok(())
}
