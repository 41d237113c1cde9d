//! Brings a package's content from the site's distribution points into the client's own library.

use std::{sync::Arc, time::Duration};

use packhorse_domain::{Digest, advertisement::Delivery, instruction::Point, run::first};
use packhorse_fetch::{Progress, Source, fetch};
use packhorse_runtime::{Caller, ChannelOptions, connect, error_chain};
use packhorse_trust::{Credentials, Name};
use tokio::sync::watch;
use tracing::Instrument as _;

use super::{ExecuteError, Executor, source_version, span, traceparent};
use crate::{
    blocking::off_thread,
    chance::{backoff, shuffle},
    ledger::StatusChange,
    shared::Shared,
    verify::Offer,
};

const BACKOFF_MIN: Duration = Duration::from_secs(5);
const BACKOFF_MAX: Duration = Duration::from_secs(900);
/// Where one fails the next goes on; more connections than that are only a burden to the points.
const SOURCES_MAX: usize = 3;
/// How often a download looks whether something more urgent is there.
const LOOK_UP: Duration = Duration::from_secs(2);

impl Executor {
    /// Downloads until all is there, it fails, or something more urgent comes. What has arrived is kept in each case.
    pub(super) async fn download(&mut self, offer: &Offer) -> Result<(), ExecuteError> {
        let Ok(package) = &offer.package else { return Ok(()) };
        let Some(manifest) = package.version.manifest else { return Ok(()) };
        let id = &offer.advertisement.id;
        let span = span("download", &offer.advertisement, &offer.traceparent);
        let origin = traceparent(&span, &offer.traceparent);
        let change = self.change(id, Some(Delivery::Downloading), package.version.source_version, &origin);
        self.record(None, &change)?;

        let mut points = package.points.clone();
        shuffle(&mut points);
        let work = bring(self.shared.clone(), points, manifest).instrument(span.clone());
        tokio::pin!(work);
        let outcome = loop {
            tokio::select! {
                outcome = &mut work => break outcome,
                () = tokio::time::sleep(LOOK_UP) => {
                    if self.is_overtaken(offer).await? {
                        span.in_scope(|| tracing::info!("something more urgent came: the rest is fetched later"));
                        return Ok(());
                    }
                }
            }
        };
        match outcome {
            Ok(()) => {
                span.in_scope(|| tracing::info!(%manifest, "content is here"));
                self.retries.remove(id);
                Ok(())
            }
            Err(reason) => {
                span.in_scope(|| tracing::warn!(reason, "download failed"));
                self.retry(offer, reason, &origin)
            }
        }
    }

    /// Puts the download off, longer with each failure.
    pub(super) fn retry(&mut self, offer: &Offer, reason: String, origin: &str) -> Result<(), ExecuteError> {
        let id = &offer.advertisement.id;
        let retry = self.retries.entry(id.clone()).or_default();
        retry.failures = retry.failures.saturating_add(1);
        let pause = backoff(retry.failures, BACKOFF_MIN, BACKOFF_MAX);
        retry.not_before = self.shared.clock.now().plus(pause);
        let change = self.change(id, Some(Delivery::Retrying), source_version(offer), origin);
        self.record(None, &StatusChange { reason, ..change })
    }

    /// Whether this is no longer what should be done first.
    async fn is_overtaken(&mut self, offer: &Offer) -> Result<bool, ExecuteError> {
        self.refresh().await?;
        let Some(held) = self.held.clone() else { return Ok(true) };
        let decided = self.decide(&held)?;
        let first = first(decided.iter().map(|one| (&one.offer.advertisement, &one.step)));
        Ok(first.is_none_or(|first| first.id != offer.advertisement.id)
            || !held.offers.iter().any(|now| now.package == offer.package))
    }
}

/// Gives the reason, for people, where it fails.
async fn bring(shared: Arc<Shared>, points: Vec<Point>, manifest: Digest) -> Result<(), String> {
    if points.is_empty() {
        return Err("no distribution point of this site holds the package".into());
    }
    let directory = shared.home.credentials();
    let credentials =
        off_thread(move || Credentials::load(&directory)).await.map_err(|error| error_chain(&error))?;
    let mut sources = Vec::new();
    let mut failure = String::new();
    for point in &points {
        let server = Name::of_cap(shared.config.site.clone(), &point.name);
        for endpoint in &point.endpoints {
            let caller = Caller::Known(&credentials);
            match connect(endpoint, &server, caller, ChannelOptions::default()).await {
                Ok(channel) => {
                    sources.push(Source { name: point.name.to_string(), channel });
                    break;
                }
                Err(error) => failure = error_chain(&error),
            }
        }
        if sources.len() == SOURCES_MAX {
            break;
        }
    }
    if sources.is_empty() {
        return Err(format!("no distribution point can be reached: {failure}"));
    }
    let (progress, seen) = watch::channel(Progress::default());
    // Also when the download is put off.
    let _counts = Counting { shared: shared.clone(), seen };
    fetch(&sources, &shared.library, manifest, &progress).await.map(drop).map_err(|error| error_chain(&error))
}

/// Counts what was fetched, whatever ended it.
struct Counting {
    shared: Arc<Shared>,
    seen: watch::Receiver<Progress>,
}

impl Drop for Counting {
    fn drop(&mut self) {
        self.shared.counts.fetched(self.seen.borrow().fetched);
    }
}
