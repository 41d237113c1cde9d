//! Despooler: takes received bundles from the spool into the content library.

mod staging;
#[cfg(test)]
mod tests;
mod unpacking;

use std::{
    fs::{self, File},
    io,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use packhorse_content::{BundleError, Library, LibraryError, Limits, Offered, Source, Staged, apply_offered};
use packhorse_domain::{effort::Effort, message, package::PackageState, status::PackageStatus};
use packhorse_runtime::{Next, Worker, durable::sync_directory, error_chain};
use tracing::Instrument as _;

use crate::{
    distribution,
    error::Error,
    record,
    site::Site,
    status,
    store::{
        arrivals::{self, Arrival, ArrivalState},
        bundles::{self, BundleRow},
        contents::{self, Content},
        neighbours,
    },
    trace,
};

use staging::{Place, Stage, finished};
pub(crate) use staging::{StagedTree, StagedTrees};
use unpacking::To;
pub(crate) use unpacking::{Expected, Filling, Unpacking, is_soon};

/// So long the library waits until what is staged shows, whose turn at the directory may be late.
const SHOWING_WAIT: Duration = Duration::from_secs(5);

/// The worker.
pub(crate) struct Despooler {
    site: Arc<Site>,
}

impl Despooler {
    pub(crate) fn new(site: Arc<Site>) -> Self {
        Despooler { site }
    }

    /// Takes in one bundle. Between the library's word and the database's a crash costs only doing it again.
    async fn despool(&self, arrival: Arrival) -> Result<(), Error> {
        let mut path = self.site.directories.arrival(&arrival.item);
        let moved = self.site.directories.bundle(&arrival.digest);
        if !path.exists() && moved.exists() {
            // We were stopped after it was moved and before it was recorded.
            path = moved;
        }
        let unpacked = self.site.unpacking.outcome(&arrival.item).await;
        let (unpacked, _gate) = match unpacked {
            Some(unpacked) => (Some((unpacked.to, unpacked.is_proved)), unpacked.gate),
            None => (None, self.site.content_gate.clone().read_owned().await),
        };
        // Not all of it may be on the disk yet, and is there beside what is done with it.
        let is_kept = keeps_bundles(&self.site).await?;
        let kept = is_kept.then(|| path.clone());
        let durable = tokio::task::spawn_blocking(move || match kept {
            Some(path) => File::open(path)?.sync_data(),
            None => Ok(()),
        });
        let staged = match unpacked {
            Some((To::Library, _)) => Ok(Vec::new()),
            Some((To::Directories(showing), is_proved)) => {
                drop(tokio::time::timeout(SHOWING_WAIT, showing.ended()).await);
                let stage = Stage::none(&self.site, &arrival.package);
                let source = if is_proved { Source::proved } else { Source::whole };
                self.take_in(&arrival, (path.clone(), source), stage).await?
            }
            None => {
                let stage = Stage::of(&self.site, &arrival.package, arrival.target).await?;
                self.take_in(&arrival, (path.clone(), Source::whole), stage).await?
            }
        };
        let durable = durable.await?;
        match staged {
            Ok(staged) => {
                self.site.staged.put(staged);
                durable.map_err(|source| Error::File {
                    what: "sync a bundle in the spool".to_owned(),
                    source,
                })?;
                self.adopt(&arrival, &path, is_kept).await
            }
            Err(error) if is_ours(&error) => Err(error.into()),
            Err(error) => {
                let state = match error {
                    BundleError::BaseLacking { .. }
                    | BundleError::ChunkLacking { .. }
                    | BundleError::Unmade(_)
                    | BundleError::Version(_)
                    | BundleError::Library(_) => ArrivalState::BaseMissing,
                    _ => ArrivalState::Failed,
                };
                self.refuse(arrival, state, &error_chain(&error)).await
            }
        }
    }

    async fn take_in(
        &self,
        arrival: &Arrival,
        (path, source): (PathBuf, fn(File) -> io::Result<Source>),
        stage: Stage,
    ) -> Result<Result<Vec<(Place, Staged)>, BundleError>, Error> {
        let library = self.site.library.clone();
        let offered = Offered { digest: arrival.digest, target: arrival.target };
        let taken = tokio::task::spawn_blocking(move || {
            let source = File::open(path).and_then(source).map_err(BundleError::Read)?;
            take_in(&library, &source, &offered, stage)
        });
        Ok(taken.await?)
    }

    /// The version is in the library: says so, and keeps the bundle for the children that want the very same.
    async fn adopt(&self, arrival: &Arrival, path: &Path, is_kept: bool) -> Result<(), Error> {
        let bundle_path = self.site.directories.bundle(&arrival.digest);
        if is_kept && path != bundle_path {
            fs::rename(path, &bundle_path)
                .map_err(|source| Error::File { what: "move a bundle in the spool".to_owned(), source })?;
            // The children go without it if it is not there.
            let outline = self.site.directories.arrival_outline(&arrival.item);
            drop(fs::rename(outline, self.site.directories.outline(&arrival.digest)));
            sync_directory(&self.site.directories.outgoing())?;
        }
        // All of it was there.
        drop(fs::remove_file(self.site.directories.arrival_ranges(&arrival.item)));
        let mut tx = self.site.store.begin().await?;
        let source_version = match record::package(&mut tx, arrival.package.as_str()).await? {
            Some(package) if package.version.manifest == Some(arrival.target) => {
                package.version.source_version
            }
            // The definition of this version is still on its way, or was overtaken by a newer one.
            _ => 0,
        };
        let content = Content { package: arrival.package.clone(), manifest: arrival.target, source_version };
        contents::add(&mut tx, &content, self.site.now()).await?;
        let bundle = BundleRow {
            digest: arrival.digest,
            package: arrival.package.clone(),
            source_version,
            target: arrival.target,
            bases: arrival.bases.clone(),
            length: arrival.length,
            effort: Effort::LeastBytes,
        };
        if is_kept {
            bundles::put(&mut tx, &bundle, self.site.now()).await?;
        }
        arrivals::remove(&mut tx, &arrival.item).await?;
        distribution::report_library(&self.site, &mut tx, &arrival.package).await?;
        let message = message::package_received(&arrival.target.short());
        status::report(&self.site, &mut tx, arrival.package.as_str(), &message).await?;
        tx.commit().await?;
        self.site.relays.forget(&arrival.item);
        if !is_kept {
            // What is left of it the clean-up takes away.
            drop(fs::remove_file(path));
            drop(fs::remove_file(self.site.directories.arrival_outline(&arrival.item)));
        }
        Ok(())
    }

    async fn refuse(&self, mut arrival: Arrival, state: ArrivalState, why: &str) -> Result<(), Error> {
        let mut tx = self.site.store.begin().await?;
        arrival.state = state;
        why.clone_into(&mut arrival.reason);
        arrival.changed_at = self.site.now();
        arrivals::put(&mut tx, &arrival).await?;
        let state = PackageStatus {
            package: arrival.package.clone(),
            site: self.site.code().clone(),
            point: None,
            state: PackageState::Retrying,
            source_version: 0,
            held: distribution::held(&self.site, &mut tx, &arrival.package).await?,
            reason: format!("the bundle could not be used: {why}"),
            changed_at: self.site.now(),
        };
        record::put_package_status(&self.site, &mut tx, state).await?;
        let message = message::bundle_unusable(&why);
        status::report(&self.site, &mut tx, arrival.package.as_str(), &message).await?;
        Ok(tx.commit().await?)
    }
}

impl Worker for Despooler {
    const NAME: &'static str = "despooler";
    const PERIOD: Duration = Duration::from_secs(30);
    type Error = Error;

    async fn step(&mut self) -> Result<Next, Error> {
        if !self.site.staged.is_swept() {
            staging::sweep(&self.site).await?;
        }
        let mut tx = self.site.store.read().await?;
        let arrivals = arrivals::list(&mut tx).await?;
        self.site.unpacking.retain(|item| arrivals.iter().any(|arrival| arrival.item == *item));
        let next = arrivals
            .into_iter()
            .filter(|arrival| arrival.state == ArrivalState::Complete)
            .min_by_key(|arrival| (arrival.priority, arrival.changed_at));
        let Some(arrival) = next else {
            return Ok(Next::Idle);
        };
        let mut span = tracing::info_span!(target: "despooler", "despool", package = %arrival.package);
        if let Some(package) = record::package(&mut tx, arrival.package.as_str()).await? {
            span = trace::of(&package.object, span);
        }
        drop(tx);
        self.despool(arrival).instrument(span).await?;
        Ok(Next::Again)
    }
}

/// Whether bundles stay when they were taken in: somebody below could want the very same.
pub(crate) async fn keeps_bundles(site: &Site) -> Result<bool, Error> {
    Ok(!neighbours::children(&mut site.store.read().await?).await?.is_empty())
}

fn take_in(
    library: &Library,
    source: &Source,
    offered: &Offered,
    stage: Stage,
) -> Result<Vec<(Place, Staged)>, BundleError> {
    let (places, mut staging) = stage.begin(source);
    apply_offered(library, source, offered, &Limits::default(), &mut staging)?;
    Ok(finished(places, staging, offered.target))
}

/// Our own disk's fault, or a base that we lost: another copy of the bundle would not help.
fn is_ours(error: &BundleError) -> bool {
    match error {
        BundleError::Library(error) => !matches!(error, LibraryError::Damaged { .. }),
        BundleError::Write(_) => true,
        _ => false,
    }
}
