//! The distribution point: holds what the site wants it to hold, says how far it is, and lets go of the rest.
//!
//! One worker compares the files `content/POINT/*` with the library. Fetches run beside it, a few at a time, and wake
//! it when they end. Each package fails and pauses by itself.

use std::{
    collections::{BTreeMap, BTreeSet, HashSet},
    sync::Arc,
    time::Duration,
};

use packhorse_content::{Library, LibraryError};
use packhorse_domain::{
    Digest,
    id::{PointName, SiteCode},
};
use packhorse_proto::{
    cap::v1::{SubmitContentStatusRequest, cap_service_client::CapServiceClient},
    object::v1::{PackageState, PackageStatus},
};
use packhorse_runtime::{Clock, Next, Worker, error_chain, telemetry::within};
use tokio::{
    task::{AbortHandle, JoinSet},
    time::Instant,
};
use tonic::Code;
use tracing::Instrument as _;

use crate::{
    blocking::off_thread,
    feed::News,
    site::{Site, SiteError},
    store::{Store, StoreError},
};

use self::{
    pull::{Damage, PullError, pull},
    retired::Retired,
    states::{Packages, Standing},
    view::{View, Wanted},
};

pub(crate) mod pull;
mod retired;
mod states;
mod view;

/// More at once would only make each of them later.
const FETCHES_MAX: usize = 3;
const STATUSES_MAX: usize = 500;
const ANSWER_LONGEST: Duration = Duration::from_secs(60);
/// A library that is busy is collected a little later.
const COLLECT_PAUSE: Duration = Duration::from_secs(10);

/// What the worker needs of the agent.
#[derive(Debug)]
pub(crate) struct Surroundings {
    pub(crate) site_code: SiteCode,
    pub(crate) name: PointName,
    pub(crate) store: Arc<Store>,
    pub(crate) library: Arc<Library>,
    pub(crate) site: Arc<Site>,
    /// The same site, over a connection of its own: content must not hold up words.
    pub(crate) content: Arc<Site>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) news: News,
    pub(crate) damage: Damage,
    pub(crate) keep_unwanted: Duration,
}

/// The worker of the distribution point.
#[derive(Debug)]
pub(crate) struct Point {
    around: Surroundings,
    packages: Packages,
    retired: Retired,
    /// The session of the feed in which everything was last reported.
    session: u64,
    /// Manifests whose chunks were all there when it was last looked; forgotten when damage is found.
    whole: HashSet<Digest>,
    damage_seen: u64,
    fetches: JoinSet<Fetched>,
    fetching: BTreeMap<String, (Digest, AbortHandle)>,
    collect_not_before: Option<Instant>,
}

#[derive(Debug)]
struct Fetched {
    package: String,
    manifest: Digest,
    result: Result<(), PullError>,
}

#[derive(Debug, thiserror::Error)]
pub(crate) enum PointError {
    #[error("cannot use the database")]
    Store(#[source] StoreError),
    #[error("cannot use the content library")]
    Library(#[source] LibraryError),
    #[error("cannot reach the site")]
    Site(#[source] SiteError),
    #[error("the site does not take the state of packages")]
    Refused(#[source] tonic::Status),
    #[error("the site does not answer for the state of packages within {} s", ANSWER_LONGEST.as_secs())]
    Silent,
}

impl Point {
    /// Reads the states of before the start.
    pub(crate) fn new(around: Surroundings) -> Result<Self, StoreError> {
        let statuses = around.store.point_statuses()?;
        Ok(Point {
            packages: Packages::new(around.site_code.clone(), around.name.clone(), statuses),
            retired: Retired::new(around.keep_unwanted),
            session: 0,
            whole: HashSet::new(),
            damage_seen: 0,
            fetches: JoinSet::new(),
            fetching: BTreeMap::new(),
            collect_not_before: None,
            around,
        })
    }

    /// What is wanted and what is there. A manifest counts as whole only if every chunk is there.
    async fn look(&mut self) -> Result<View, PointError> {
        let damage = self.around.damage.count();
        if damage != self.damage_seen {
            self.damage_seen = damage;
            self.whole.clear();
        }
        let (store, library, name) =
            (self.around.store.clone(), self.around.library.clone(), self.around.name.clone());
        let known = std::mem::take(&mut self.whole);
        let view = off_thread(move || View::take(&store, &library, &name, &known)).await?;
        self.whole.clone_from(&view.whole);
        Ok(view)
    }

    /// Takes in the fetches that have ended.
    async fn reap(&mut self) -> Result<(), PointError> {
        while let Some(ended) = self.fetches.try_join_next() {
            match ended {
                Ok(fetched) => self.take_in(fetched).await?,
                Err(error) if error.is_panic() => std::panic::resume_unwind(error.into_panic()),
                // Given up, because it was not wanted any more.
                Err(_) => {}
            }
        }
        Ok(())
    }

    async fn take_in(&mut self, Fetched { package, manifest, result }: Fetched) -> Result<(), PointError> {
        if self.fetching.get(&package).is_none_or(|(fetching, _)| *fetching != manifest) {
            return Ok(());
        }
        self.fetching.remove(&package);
        match result {
            Ok(()) => {
                tracing::info!(package, %manifest, "fetched");
                self.packages.succeeded(&package);
                Ok(())
            }
            Err(error) => {
                let reason = error_chain(&error);
                tracing::warn!(package, %manifest, error = reason, "cannot fetch; it is tried again");
                self.packages.put_off(&package, Instant::now());
                let source_version = self.packages.status(&package).map_or(0, |status| status.source_version);
                let held = self.held(&package);
                let state = if error.is_final() { PackageState::Failed } else { PackageState::Retrying };
                self.record(&package, Standing { state, source_version, held, reason }).await
            }
        }
    }

    /// Brings one wanted package a step further.
    async fn advance(&mut self, wanted: &Wanted) -> Result<(), PointError> {
        let Wanted { package, source_version, manifest, traceparent } = wanted;
        let source_version = *source_version;
        let held = self.held(package);
        let manifest = match manifest {
            Ok(manifest) => *manifest,
            Err(reason) => {
                self.give_up(package);
                let reason = (*reason).to_owned();
                return self
                    .record(package, Standing { state: PackageState::Failed, source_version, held, reason })
                    .await;
            }
        };
        if self.whole.contains(&manifest) {
            self.packages.succeeded(package);
            let mut all = vec![manifest];
            all.extend(held.into_iter().filter(|digest| *digest != manifest));
            let standing =
                Standing { state: PackageState::Installed, source_version, held: all, reason: String::new() };
            return self.record(package, standing).await;
        }
        if self.fetching.get(package).is_some_and(|(fetching, _)| *fetching != manifest) {
            self.give_up(package);
        }
        self.expect(package, source_version, held).await?;
        let may_start = self.fetches.len() < FETCHES_MAX && self.packages.is_due(package, Instant::now());
        if may_start && !self.fetching.contains_key(package) {
            self.start(package.clone(), manifest, traceparent);
        }
        Ok(())
    }

    /// Says that the content is to come, unless more than that was said of this version already.
    async fn expect(
        &mut self,
        package: &str,
        source_version: u64,
        held: Vec<Digest>,
    ) -> Result<(), PointError> {
        let known = self.packages.status(package).filter(|status| status.source_version == source_version);
        let reason = match known.map(PackageStatus::state) {
            Some(PackageState::Pending | PackageState::Retrying | PackageState::Failed) => return Ok(()),
            Some(PackageState::Installed) => {
                "some of it was damaged or lost, and is fetched again".to_owned()
            }
            Some(PackageState::Removing | PackageState::Unspecified) | None => String::new(),
        };
        self.record(package, Standing { state: PackageState::Pending, source_version, held, reason }).await?;
        self.packages.succeeded(package);
        Ok(())
    }

    fn start(&mut self, package: String, manifest: Digest, traceparent: &str) {
        let span = within(
            traceparent,
            || tracing::info_span!(target: "distribution-point", "fetch", package, %manifest),
        );
        let (site, library) = (self.around.content.clone(), self.around.library.clone());
        let waker = self.around.news.point.clone();
        let of = package.clone();
        tracing::info!(package, %manifest, "fetching");
        let handle = self.fetches.spawn(async move {
            let result = pull(&site, &library, manifest).instrument(span).await;
            waker.wake();
            Fetched { package: of, manifest, result }
        });
        self.fetching.insert(package, (manifest, handle));
    }

    fn give_up(&mut self, package: &str) {
        if let Some((_, handle)) = self.fetching.remove(package) {
            handle.abort();
        }
    }

    /// Says of what nobody wants that it goes, until it is gone and the site knows.
    async fn dismiss(&mut self, wanted: &[Wanted]) -> Result<(), PointError> {
        let names: BTreeSet<&str> = wanted.iter().map(|wanted| wanted.package.as_str()).collect();
        for status in self.packages.unwanted(|package| names.contains(package)) {
            self.give_up(&status.package);
            let held = self.held(&status.package);
            let source_version = status.source_version;
            let standing =
                Standing { state: PackageState::Removing, source_version, held, reason: String::new() };
            self.record(&status.package, standing).await?;
        }
        Ok(())
    }

    /// Lets go of content that nobody has wanted for long enough.
    async fn collect(&mut self, view: &View) -> Result<(), PointError> {
        let now = Instant::now();
        let targets = view.wanted.iter().filter_map(|wanted| wanted.manifest.ok());
        // Until the new version is whole, the old one saves most of its transfer.
        let unfinished = view
            .wanted
            .iter()
            .filter(|wanted| wanted.manifest.is_ok_and(|manifest| !view.whole.contains(&manifest)));
        let bases = unfinished.flat_map(|wanted| self.packages.held(&wanted.package));
        let mut live: BTreeSet<Digest> = targets.chain(bases).collect();
        self.retired.note(&view.present, &live, now);
        let too_early = self.collect_not_before.is_some_and(|at| at > now);
        if !self.retired.has_expired(now) || !self.fetches.is_empty() || too_early {
            return Ok(());
        }
        live.extend(self.retired.staying(now));
        let library = self.around.library.clone();
        match off_thread(move || library.collect(&live.into_iter().collect::<Vec<_>>())).await {
            Ok(collected) => {
                tracing::info!(
                    manifests = collected.manifests,
                    bytes = collected.bytes,
                    "removed unwanted content"
                );
                // What is gone is to be reported as gone.
                self.around.news.point.wake();
            }
            Err(LibraryError::Busy) => self.collect_not_before = Some(now + COLLECT_PAUSE),
            Err(error) => return Err(PointError::Library(error)),
        }
        Ok(())
    }

    /// Tells the site what it has not heard.
    async fn submit(&mut self) -> Result<(), PointError> {
        loop {
            let statuses = self.packages.unsent(STATUSES_MAX);
            if statuses.is_empty() {
                break;
            }
            let channel = self.around.site.channel().await.map_err(PointError::Site)?;
            let mut client = CapServiceClient::new(channel);
            let request = SubmitContentStatusRequest { statuses: statuses.clone() };
            match tokio::time::timeout(ANSWER_LONGEST, client.submit_content_status(request)).await {
                Ok(Ok(_)) => {}
                // It would be refused again, and must not hold up what comes after it.
                Ok(Err(status)) if status.code() == Code::InvalidArgument => {
                    tracing::error!(
                        reason = status.message(),
                        "the site refuses the state of packages for good"
                    );
                }
                Ok(Err(status)) => {
                    self.around.site.forget_after(&status);
                    return Err(PointError::Refused(status));
                }
                Err(_) => {
                    self.around.site.forget();
                    return Err(PointError::Silent);
                }
            }
            self.packages.mark_sent(&statuses);
        }
        for package in self.packages.forget_removed() {
            let store = self.around.store.clone();
            off_thread(move || store.remove_point_status(&package)).await.map_err(PointError::Store)?;
        }
        Ok(())
    }

    /// The versions of a package that are whole here, as far as they were ever reported.
    fn held(&self, package: &str) -> Vec<Digest> {
        let held = self.packages.held(package);
        held.into_iter().filter(|digest| self.whole.contains(digest)).collect()
    }

    async fn record(&mut self, package: &str, standing: Standing) -> Result<(), PointError> {
        if let Some(status) = self.packages.set(package, standing, self.around.clock.now()) {
            self.keep(status).await?;
        }
        Ok(())
    }

    async fn keep(&self, status: PackageStatus) -> Result<(), PointError> {
        let store = self.around.store.clone();
        off_thread(move || store.put_point_status(&status)).await.map_err(PointError::Store)
    }

    fn next(&self) -> Next {
        let collection = self.retired.next_expiry().filter(|_| self.fetches.is_empty());
        let collection =
            collection.map(|at| self.collect_not_before.map_or(at, |not_before| at.max(not_before)));
        // With all places taken, the end of a fetch wakes the worker.
        let retry = self.packages.next_due().filter(|_| self.fetches.len() < FETCHES_MAX);
        match collection.into_iter().chain(retry).min() {
            Some(at) => {
                Next::After(at.saturating_duration_since(Instant::now()).max(Duration::from_millis(100)))
            }
            None => Next::Idle,
        }
    }
}

impl Worker for Point {
    const NAME: &'static str = "distribution-point";
    const PERIOD: Duration = Duration::from_secs(60);
    type Error = PointError;

    async fn step(&mut self) -> Result<Next, PointError> {
        let session = self.around.news.sessions();
        if session != self.session {
            self.session = session;
            self.packages.begin_session();
        }
        self.reap().await?;
        let view = self.look().await?;
        for wanted in &view.wanted {
            self.advance(wanted).await?;
        }
        self.dismiss(&view.wanted).await?;
        self.collect(&view).await?;
        self.submit().await?;
        Ok(self.next())
    }
}
