//! Fetching one package's content from the site, and noticing damage to what was fetched before.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use packhorse_content::Library;
use packhorse_domain::Digest;
use packhorse_fetch::{FetchError, Progress, Source, fetch};
use packhorse_runtime::{Next, Waker, Worker};
use tokio::sync::watch;

use crate::site::{Site, SiteError};

#[derive(Debug, thiserror::Error)]
pub(crate) enum PullError {
    #[error("cannot reach the site")]
    Site(#[source] SiteError),
    #[error("cannot fetch from the site")]
    Fetch(#[source] FetchError),
}

impl PullError {
    /// Neither time nor the site's help changes it: only another version of the package or of this program.
    pub(crate) fn is_final(&self) -> bool {
        matches!(self, PullError::Fetch(FetchError::Unusable { .. }))
    }
}

/// Brings the content into the library. Can be dropped at any instant: what has arrived is not fetched again.
pub(crate) async fn pull(site: &Site, library: &Arc<Library>, manifest: Digest) -> Result<(), PullError> {
    let channel = site.channel().await.map_err(PullError::Site)?;
    let sources = [Source { name: "site".to_owned(), channel }];
    let (progress, _) = watch::channel(Progress::default());
    let fetched = fetch(&sources, library, manifest, &progress).await;
    if let Err(FetchError::Unavailable { source, .. }) = &fetched {
        site.forget_after(source);
    }
    fetched.map(drop).map_err(PullError::Fetch)
}

/// How often the library was suspected to have lost something.
#[derive(Debug, Clone, Default)]
pub(crate) struct Damage(Arc<AtomicU64>);

impl Damage {
    pub(crate) fn count(&self) -> u64 {
        self.0.load(Ordering::Acquire)
    }
}

/// The worker that whoever finds damage wakes: the distribution point then counts all of its chunks again. It does so
/// now and then without being woken, too.
#[derive(Debug)]
pub(crate) struct NoticeDamage {
    pub(crate) damage: Damage,
    pub(crate) point: Waker,
}

impl Worker for NoticeDamage {
    const NAME: &'static str = "damage-watch";
    const PERIOD: Duration = Duration::from_secs(3600);
    type Error = std::convert::Infallible;

    async fn step(&mut self) -> Result<Next, std::convert::Infallible> {
        self.damage.0.fetch_add(1, Ordering::AcqRel);
        self.point.wake();
        Ok(Next::Idle)
    }
}
