//! Content Verifier: reads the library through, now and then or when somebody asks, so that rot is found before it is
//! needed.
//!
//! What is rotten is forgotten at once, so that nobody gets it, and is brought back by Content Check. Where a run is,
//! is in the database: a restart goes on there.

use std::{
    ops::ControlFlow,
    sync::Arc,
    time::{Duration, Instant},
};

use packhorse_content::{Library, LibraryError, ScrubPlace, Scrubbed};
use packhorse_domain::{
    Digest, Timestamp, care,
    message::{self, Message},
};
use packhorse_runtime::{Next, Worker};
use serde::{Deserialize, Serialize};

use crate::{
    distribution,
    error::Error,
    site::Site,
    status,
    store::{Tx, settings},
};

/// One stretch is read in about this time, so that a server that stops need not wait for it.
const STRETCH: Duration = Duration::from_secs(1);
/// Where a run is, is written down so often; a crash reads no more than that again.
const SAVE_EVERY: Duration = Duration::from_secs(20);
/// Of a thread that yields to all others, on the disk too.
const NICEST: i32 = 19;
/// As which a run begins that nobody asked for.
pub(crate) const SCHEDULE: &str = "schedule";

/// The run that goes on, and the last one that ended.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(crate) struct Runs {
    /// From when on the time to the next run counts.
    since_us: i64,
    pub(crate) now: Option<Run>,
    pub(crate) last: Option<Run>,
    #[serde(skip)]
    saved: Option<Instant>,
    #[serde(skip)]
    loaded: bool,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Run {
    pub(crate) asked_by: String,
    pub(crate) began_us: i64,
    /// 0: it goes on.
    pub(crate) ended_us: i64,
    pub(crate) bytes_per_s: u64,
    pub(crate) bytes_done: u64,
    pub(crate) bytes_total: u64,
    pub(crate) chunks: u64,
    pub(crate) rotten_chunks: u64,
    pub(crate) rotten_bytes: u64,
    pub(crate) rotten_manifests: u64,
    pub(crate) mended_chunks: u64,
    /// Versions that could not be mended.
    pub(crate) lost_versions: u64,
    /// It was told to end.
    pub(crate) stopped: bool,
    pack: u64,
    offset: u64,
}

impl Run {
    fn place(&self) -> ScrubPlace {
        ScrubPlace { pack: self.pack, offset: self.offset }
    }
}

/// The worker.
pub(crate) struct ContentVerifier {
    site: Arc<Site>,
}

impl ContentVerifier {
    pub(crate) fn new(site: Arc<Site>) -> Self {
        ContentVerifier { site }
    }
}

impl Worker for ContentVerifier {
    const NAME: &'static str = "content-verifier";
    const PERIOD: Duration = Duration::from_secs(3600);
    type Error = Error;

    async fn step(&mut self) -> Result<Next, Error> {
        let site = &self.site;
        let Some(run) = current(site).await? else { return Ok(Next::Idle) };
        if run.stopped {
            return finish(site).await.map(|()| Next::Again);
        }
        let (library, from, rate) = (site.library.clone(), run.place(), run.bytes_per_s);
        let scrubbed = nicely(move || stretch(&library, from, rate)).await??;
        let rotten = scrubbed.rotten.clone();
        if !rotten.is_empty() {
            let (library, digests) = (site.library.clone(), digests_of(&rotten));
            tokio::task::spawn_blocking(move || library.forget_damaged(&digests)).await??;
        }
        let is_through = scrubbed.next.is_none();
        advance(site, scrubbed).await?;
        if is_through {
            check_manifests(site).await?;
            finish(site).await?;
        }
        Ok(Next::Again)
    }
}

fn digests_of(chunks: &[packhorse_content::ChunkRef]) -> Vec<Digest> {
    chunks.iter().map(|chunk| chunk.digest).collect()
}

/// Asks for a run now. One that goes on goes on, at the newer rate.
pub(crate) async fn start(site: &Site, who: &str, bytes_per_s: u64) -> Result<(), Error> {
    change(site, true, |runs| match &mut runs.now {
        Some(run) => (run.bytes_per_s, run.stopped) = (bytes_per_s, false),
        None => runs.now = Some(begun(site, who, bytes_per_s)),
    })
    .await?;
    site.care.verify.wake();
    Ok(())
}

/// Ends the run. Says whether there was one.
pub(crate) async fn stop(site: &Site) -> Result<bool, Error> {
    let mut found = false;
    change(site, true, |runs| {
        if let Some(run) = &mut runs.now {
            (run.stopped, found) = (true, true);
        }
    })
    .await?;
    site.care.verify.wake();
    Ok(found)
}

/// Runs as they are, and when the next one is due.
pub(crate) async fn runs(site: &Site) -> Result<(Runs, Option<Timestamp>), Error> {
    change(site, false, |_| {}).await?;
    let runs = site.care.runs.lock().await.clone();
    let next = site.settings.content.verify_every.map(|every| Timestamp(runs.since_us).plus(every));
    Ok((runs, next))
}

fn begun(site: &Site, who: &str, bytes_per_s: u64) -> Run {
    Run {
        asked_by: who.to_owned(),
        began_us: site.now().0,
        bytes_per_s,
        bytes_total: site.library.scrub_bytes(ScrubPlace::default()),
        ..Run::default()
    }
}

/// The run that goes on; begins one when it is time.
async fn current(site: &Site) -> Result<Option<Run>, Error> {
    let now = site.now();
    let settings = site.settings.content;
    let mut due = false;
    change(site, false, |runs| {
        due = runs.now.is_none() && care::verify_is_due(Timestamp(runs.since_us), now, settings.verify_every);
    })
    .await?;
    if due {
        change(site, true, |runs| runs.now = Some(begun(site, SCHEDULE, settings.verify_bytes_per_s)))
            .await?;
    }
    Ok(site.care.runs.lock().await.now.clone())
}

/// Changes what is known of runs; with `save` it is on the disk when this returns.
async fn change(site: &Site, save: bool, change: impl FnOnce(&mut Runs)) -> Result<(), Error> {
    let mut runs = site.care.runs.lock().await;
    let mut save = save;
    if !runs.loaded {
        let mut tx = site.store.read().await?;
        let stored = settings::get(&mut tx, settings::VERIFY).await?;
        // What does not decode is of no use to anybody: it begins anew.
        *runs = stored.and_then(|bytes| serde_json::from_slice(&bytes).ok()).unwrap_or_default();
        if runs.since_us == 0 {
            runs.since_us = site.now().0;
            save = true;
        }
        runs.loaded = true;
    }
    change(&mut runs);
    if save || runs.saved.is_none_or(|at| at.elapsed() >= SAVE_EVERY) {
        let mut tx = site.store.begin().await?;
        put(&mut tx, &runs).await?;
        tx.commit().await?;
        runs.saved = Some(Instant::now());
    }
    Ok(())
}

async fn put(tx: &mut Tx, runs: &Runs) -> Result<(), Error> {
    let bytes = serde_json::to_vec(runs).unwrap_or_default();
    Ok(settings::set(tx, settings::VERIFY, &bytes).await?)
}

/// Runs what reads much on a thread of its own that everybody else comes before. It cannot be a thread of the pool: a
/// thread that was made to yield stays so.
async fn nicely<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Result<T, Error> {
    let (done, result) = tokio::sync::oneshot::channel();
    let spawned = std::thread::Builder::new().name("content-verifier".to_owned()).spawn(move || {
        // Of this thread alone, though it is said of a process. Where it may not, it is only less polite.
        let _ = rustix::process::setpriority_process(None, NICEST);
        // Nobody waits any more when the server has gone.
        drop(done.send(work()));
    });
    spawned.map_err(|source| Error::File { what: "start a thread".to_owned(), source })?;
    result.await.map_err(|_| Error::Interrupted)
}

/// Reads for about a second. `bytes_per_s` 0: as fast as the disk gives.
fn stretch(library: &Library, from: ScrubPlace, bytes_per_s: u64) -> Result<Scrubbed, LibraryError> {
    let began = Instant::now();
    let mut done = 0;
    library.scrub(from, &mut |bytes| {
        done += bytes;
        if bytes_per_s > 0 {
            // A block at a slow rate may take longer than a stretch, and the next one makes up for it.
            std::thread::sleep(care::pause(done, began.elapsed(), bytes_per_s).min(STRETCH));
        }
        if began.elapsed() < STRETCH { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
    })
}

async fn advance(site: &Site, scrubbed: Scrubbed) -> Result<(), Error> {
    let found = scrubbed.rotten.len() as u64;
    let mut is_first = false;
    change(site, found > 0, |runs| {
        let Some(run) = &mut runs.now else { return };
        is_first = found > 0 && run.rotten_chunks == 0;
        run.bytes_done += scrubbed.bytes;
        run.bytes_total = run.bytes_total.max(run.bytes_done);
        run.chunks += scrubbed.chunks;
        run.rotten_chunks += found;
        run.rotten_bytes += scrubbed.rotten.iter().map(|chunk| u64::from(chunk.length)).sum::<u64>();
        if let Some(next) = scrubbed.next {
            (run.pack, run.offset) = (next.pack, next.offset);
        }
    })
    .await?;
    if found > 0 {
        site.care.check.wake();
    }
    if is_first {
        let mut tx = site.store.begin().await?;
        status::report(site, &mut tx, site.code().as_str(), &message::library_rots(&found)).await?;
        tx.commit().await?;
    }
    Ok(())
}

async fn check_manifests(site: &Site) -> Result<(), Error> {
    let library = site.library.clone();
    let rotten = tokio::task::spawn_blocking(move || library.rotten_manifests()).await??.len() as u64;
    change(site, true, |runs| {
        if let Some(run) = &mut runs.now {
            run.rotten_manifests = rotten;
        }
    })
    .await
}

/// Mends what was found, and says how it went.
async fn finish(site: &Site) -> Result<(), Error> {
    distribution::check_contents(site).await?;
    let repairs = site.care.repairs();
    let mut ended = None;
    change(site, true, |runs| {
        if let Some(mut run) = runs.now.take() {
            run.ended_us = site.now().0;
            let since_begun = repairs.iter().filter(|repair| repair.at.0 >= run.began_us);
            let (whole, lost): (Vec<_>, Vec<_>) = since_begun.partition(|repair| repair.is_whole);
            run.mended_chunks = whole.iter().map(|repair| repair.lacked as u64).sum();
            run.lost_versions = lost.len() as u64;
            runs.since_us = run.ended_us;
            runs.last = Some(run.clone());
            ended = Some(run);
        }
    })
    .await?;
    let Some(run) = ended else { return Ok(()) };
    let mut tx = site.store.begin().await?;
    status::report(site, &mut tx, site.code().as_str(), &summary(&run)).await?;
    Ok(tx.commit().await?)
}

fn summary(run: &Run) -> Message {
    let read = format!("{} chunks, {}", run.chunks, care::round(run.bytes_done));
    let how = if run.stopped {
        "the check of the content library was stopped"
    } else {
        "the content library was checked"
    };
    match (run.rotten_chunks + run.rotten_manifests, run.lost_versions) {
        (0, _) => message::library_is_sound(&how, &read),
        (found, 0) => message::library_was_mended(&how, &read, &found),
        (found, left) => message::library_lost_versions(&how, &read, &found, &left),
    }
}
