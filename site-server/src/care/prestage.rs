//! Prestager: fills the library from a disk, so that only the rest crosses a line.
//!
//! What was taken in is kept for a while although no package names it yet ([`pinned`]). Distribution Manager adopts what
//! a package names; older versions are told to the parent, which makes its bundles against them; and of a version of
//! which most is here the rest is asked for chunk by chunk ([`complete`]). What was asked for is in the database: a
//! restart begins it again, and what was durable by then is not read twice.

use std::{
    collections::BTreeSet,
    ops::ControlFlow,
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use packhorse_content::{
    CaseClashes, ImportError, Imported, Library, SnapshotError, SnapshotOptions, is_library, snapshot_with,
};
use packhorse_domain::{
    Digest, Timestamp, care,
    message::{self, Message},
    status::HELD_MAX,
};
use packhorse_runtime::{Next, Worker, error_chain};
use serde::{Deserialize, Serialize};

use crate::{
    care::{mend, room},
    distribution::{self, View},
    error::Error,
    site::Site,
    status,
    store::{Tx, contents, settings},
};

pub(crate) const KEEP_DEFAULT: Duration = Duration::from_secs(90 * 86_400);
pub(crate) const KEEP_MAX: Duration = Duration::from_secs(366 * 86_400);
/// More than any library has.
const PINS_MAX: usize = 100_000;

/// What was asked for, and how it went.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Prestage {
    pub(crate) path: PathBuf,
    pub(crate) asked_by: String,
    pub(crate) keep_s: u64,
    pub(crate) began_us: i64,
    /// 0: it goes on.
    pub(crate) ended_us: i64,
    pub(crate) progress: Progress,
    pub(crate) error: String,
    /// Packages that need no line any more.
    pub(crate) packages: Vec<String>,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Progress {
    pub(crate) bytes_done: u64,
    pub(crate) bytes_total: u64,
    pub(crate) chunks_new: u64,
    pub(crate) bytes_new: u64,
    pub(crate) whole: u64,
    pub(crate) partial: u64,
    pub(crate) faults: Vec<String>,
    pub(crate) faults_more: u64,
}

/// A version that is kept although nothing names it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Pin {
    pub(crate) manifest: Digest,
    pub(crate) until: Timestamp,
    pub(crate) is_whole: bool,
}

/// Of the one that goes on.
#[derive(Debug, Default)]
pub(crate) struct Going {
    progress: Mutex<Progress>,
    stopped: AtomicBool,
}

/// The worker.
pub(crate) struct Prestager {
    site: Arc<Site>,
}

impl Prestager {
    pub(crate) fn new(site: Arc<Site>) -> Self {
        Prestager { site }
    }
}

impl Worker for Prestager {
    const NAME: &'static str = "prestager";
    const PERIOD: Duration = Duration::from_secs(3600);
    type Error = Error;

    async fn step(&mut self) -> Result<Next, Error> {
        let mut tx = self.site.store.read().await?;
        let asked = asked(&mut tx).await?.filter(|asked| asked.ended_us == 0);
        drop(tx);
        if let Some(asked) = asked {
            fill(&self.site, asked).await?;
        }
        complete(&self.site).await?;
        Ok(Next::Idle)
    }
}

pub(crate) async fn asked(tx: &mut Tx) -> Result<Option<Prestage>, Error> {
    let stored = settings::get(tx, settings::PRESTAGE).await?;
    // What does not decode is of no use to anybody.
    Ok(stored.and_then(|bytes| serde_json::from_slice(&bytes).ok()))
}

/// How far it is, or how the last one ended.
pub(crate) async fn look(site: &Site) -> Result<Option<Prestage>, Error> {
    let mut tx = site.store.read().await?;
    let mut asked = asked(&mut tx).await?;
    if let Some(asked) = asked.as_mut().filter(|asked| asked.ended_us == 0) {
        asked.progress = site.care.prestaging.progress.lock().unwrap_or_else(PoisonError::into_inner).clone();
    }
    Ok(asked)
}

/// Notes what is asked for, in the caller's transaction. Refused while another one goes on.
pub(crate) async fn begin(site: &Site, tx: &mut Tx, asked: &Prestage) -> Result<(), Error> {
    if let Some(other) = self::asked(tx).await?.filter(|other| other.ended_us == 0) {
        return Err(Error::Precondition(format!(
            "{} is being taken in already; wait for it, or end it with `packhorse content prestage --stop`",
            other.path.display()
        )));
    }
    site.care.prestaging.stopped.store(false, Ordering::Relaxed);
    *site.care.prestaging.progress.lock().unwrap_or_else(PoisonError::into_inner) = Progress::default();
    save(tx, asked).await
}

/// Says whether there was one.
pub(crate) async fn stop(site: &Site) -> Result<bool, Error> {
    let mut tx = site.store.read().await?;
    let goes_on = asked(&mut tx).await?.is_some_and(|asked| asked.ended_us == 0);
    site.care.prestaging.stopped.store(true, Ordering::Relaxed);
    Ok(goes_on)
}

async fn save(tx: &mut Tx, asked: &Prestage) -> Result<(), Error> {
    let bytes = serde_json::to_vec(asked).unwrap_or_default();
    Ok(settings::set(tx, settings::PRESTAGE, &bytes).await?)
}

/// Takes in what was asked for, and notes what is to be kept of it.
async fn fill(site: &Site, mut asked: Prestage) -> Result<(), Error> {
    // Nothing is collected before what was taken in is noted.
    let gate = site.content_gate.read().await;
    let (library, path) = (site.library.clone(), asked.path.clone());
    let going = site.care.prestaging.clone();
    let (reserve, place) = (site.settings.content.reserve, site.directories.library());
    let taken = tokio::task::spawn_blocking(move || {
        let watch =
            room::Watch::begin(reserve, place).map_err(|no_room| (Taken::default(), no_room.to_string()))?;
        match is_library(&path) {
            true => take_library(&library, &path, &going, &watch),
            false => take_tree(&library, &path, &going, &watch),
        }
    })
    .await?;
    let (taken, error) = match taken {
        Ok(taken) => (taken, String::new()),
        Err((taken, error)) => (taken, error),
    };
    asked.progress = site.care.prestaging.progress.lock().unwrap_or_else(PoisonError::into_inner).clone();
    (asked.progress.whole, asked.progress.partial) = (taken.whole.len() as u64, taken.partial.len() as u64);
    asked.error = error;
    let until = site.now().plus(Duration::from_secs(asked.keep_s));
    let mut tx = site.store.begin().await?;
    let mut pins = pins(&mut tx, site.now()).await?;
    for (manifests, is_whole) in [(&taken.whole, true), (&taken.partial, false)] {
        pins.retain(|pin| !manifests.contains(&pin.manifest));
        pins.extend(manifests.iter().map(|manifest| Pin { manifest: *manifest, until, is_whole }));
    }
    set_pins(&mut tx, &pins).await?;
    asked.ended_us = site.now().0;
    save(&mut tx, &asked).await?;
    status::report(site, &mut tx, site.code().as_str(), &summary(&asked)).await?;
    tx.commit().await?;
    drop(gate);
    let packages = distribution::adopt(site).await?;
    if !packages.is_empty() {
        asked.packages = packages.iter().map(ToString::to_string).collect();
        let mut tx = site.store.begin().await?;
        save(&mut tx, &asked).await?;
        tx.commit().await?;
    }
    Ok(())
}

fn summary(asked: &Prestage) -> Message {
    let Progress { chunks_new, bytes_new, whole, partial, .. } = &asked.progress;
    let path = asked.path.display();
    let chunks = format!("{chunks_new} new chunks, {}", care::round(*bytes_new));
    let versions = format!("{whole} whole versions, {partial} in part");
    let faults = match asked.progress.faults.len() as u64 + asked.progress.faults_more {
        0 => String::new(),
        faults => {
            let first: String = asked.progress.faults.join("; ").chars().take(300).collect();
            format!("; {faults} faults, the first: {first}")
        }
    };
    match asked.error.is_empty() {
        true => message::prestaged(&path, &chunks, &versions, &faults),
        false => message::prestaging_ended_early(&path, &chunks, &versions, &faults, &asked.error),
    }
}

#[derive(Debug, Default)]
struct Taken {
    whole: BTreeSet<Digest>,
    partial: BTreeSet<Digest>,
}

type Outcome = Result<Taken, (Taken, String)>;

const STOPPED: &str = "it was stopped; what was taken in stays, and asking again goes on there";

fn take_library(library: &Library, path: &Path, going: &Going, watch: &room::Watch) -> Outcome {
    let mut no_room = None;
    let imported = library.import(path, &mut |imported: &Imported| {
        let mut progress = going.progress.lock().unwrap_or_else(PoisonError::into_inner);
        *progress = Progress {
            bytes_done: imported.bytes_done,
            bytes_total: imported.bytes_total,
            chunks_new: imported.chunks_new,
            bytes_new: imported.bytes_new,
            whole: imported.whole.len() as u64,
            partial: imported.partial.len() as u64,
            faults: imported.faults.clone(),
            faults_more: imported.faults_more,
        };
        no_room = watch.reached(imported.bytes_new).err();
        match no_room.is_some() || going.stopped.load(Ordering::Relaxed) {
            true => ControlFlow::Break(()),
            false => ControlFlow::Continue(()),
        }
    });
    match imported {
        Ok(imported) => Ok(Taken {
            whole: imported.whole.into_iter().collect(),
            partial: imported.partial.into_iter().map(|(manifest, _)| manifest).collect(),
        }),
        Err(error) => {
            // What was begun is noted in the library.
            let partial = library.staged_manifests().unwrap_or_default().into_iter().collect();
            let text = match (error, no_room) {
                (ImportError::Stopped, Some(no_room)) => no_room.to_string(),
                (ImportError::Stopped, None) => STOPPED.to_owned(),
                (error, _) => error_chain(&error),
            };
            Err((Taken { partial, ..Taken::default() }, text))
        }
    }
}

fn take_tree(library: &Library, path: &Path, going: &Going, watch: &room::Watch) -> Outcome {
    let no_room = std::cell::RefCell::new(None);
    // Whether names that differ only in case are meant is decided where a package is made.
    let options = SnapshotOptions { case_clashes: CaseClashes::Keep, ..SnapshotOptions::default() };
    let taken = snapshot_with(path, library, options, &|now: packhorse_content::Progress| {
        let mut progress = going.progress.lock().unwrap_or_else(PoisonError::into_inner);
        (progress.bytes_done, progress.bytes_total) = (now.bytes_done, now.bytes_total);
        no_room.replace(watch.reached(now.bytes_done).err());
        match no_room.borrow().is_some() || going.stopped.load(Ordering::Relaxed) {
            true => ControlFlow::Break(()),
            false => ControlFlow::Continue(()),
        }
    });
    let error = match taken {
        Ok(taken) => return Ok(Taken { whole: [taken.digest].into(), ..Taken::default() }),
        Err(error) => error,
    };
    let text = match (error, no_room.take()) {
        (SnapshotError::Cancelled, Some(no_room)) => no_room.to_string(),
        (SnapshotError::Cancelled, None) => STOPPED.to_owned(),
        (error, _) => error_chain(&error),
    };
    Err((Taken::default(), text))
}

/// The versions that are kept although nothing names them.
pub(crate) async fn pins(tx: &mut Tx, now: Timestamp) -> Result<Vec<Pin>, Error> {
    let stored = settings::get(tx, settings::PRESTAGED).await?.unwrap_or_default();
    let rows: Vec<(String, i64, bool)> = serde_json::from_slice(&stored).unwrap_or_default();
    let pins = rows.into_iter().filter_map(|(manifest, until, is_whole)| {
        Some(Pin { manifest: manifest.parse().ok()?, until: Timestamp(until), is_whole })
    });
    Ok(pins.filter(|pin| pin.until > now).take(PINS_MAX).collect())
}

async fn set_pins(tx: &mut Tx, pins: &[Pin]) -> Result<(), Error> {
    let rows: Vec<_> = pins.iter().map(|pin| (pin.manifest.to_string(), pin.until.0, pin.is_whole)).collect();
    let bytes = serde_json::to_vec(&rows).unwrap_or_default();
    Ok(settings::set(tx, settings::PRESTAGED, &bytes).await?)
}

/// A version that turned out not to be whole is told to nobody any more.
pub(crate) async fn unpin(tx: &mut Tx, now: Timestamp, manifest: &Digest) -> Result<(), Error> {
    let mut pins = pins(tx, now).await?;
    let before = pins.len();
    pins.retain(|pin| pin.manifest != *manifest);
    if pins.len() < before { set_pins(tx, &pins).await } else { Ok(()) }
}

/// What must not be collected although no package names it. `None`: something is being taken in, and nothing may be.
pub(crate) async fn spared(site: &Site, tx: &mut Tx) -> Result<Option<Vec<Digest>>, Error> {
    if asked(tx).await?.is_some_and(|asked| asked.ended_us == 0) {
        return Ok(None);
    }
    Ok(Some(pins(tx, site.now()).await?.into_iter().map(|pin| pin.manifest).collect()))
}

/// Whole versions that a bundle may build on, beside those that packages name.
pub(crate) async fn bases(site: &Site, tx: &mut Tx) -> Result<Vec<Digest>, Error> {
    let pins = pins(tx, site.now()).await?.into_iter();
    Ok(pins.filter(|pin| pin.is_whole).map(|pin| pin.manifest).take(HELD_MAX).collect())
}

/// Whether a version should wait for what is being done to have it without a bundle: something was prestaged, and it was
/// not tried yet.
pub(crate) async fn is_to_be_tried(site: &Site, manifest: &Digest) -> Result<bool, Error> {
    let mut tx = site.store.read().await?;
    let something = asked(&mut tx).await?.is_some_and(|asked| asked.ended_us == 0)
        || !pins(&mut tx, site.now()).await?.is_empty();
    if !something || site.care.tried.lock().unwrap_or_else(PoisonError::into_inner).contains(manifest) {
        return Ok(false);
    }
    // Once, and as long as somebody is at it: a version that no package names yet may never be looked for.
    let is_first = site.care.turned_away.lock().unwrap_or_else(PoisonError::into_inner).insert(*manifest);
    Ok(is_first || site.care.mending.try_lock().is_err())
}

/// Tries to have what is wanted and not held out of what is here, and the rest chunk by chunk.
async fn complete(site: &Site) -> Result<(), Error> {
    let mut tx = site.store.read().await?;
    if pins(&mut tx, site.now()).await?.is_empty() {
        return Ok(());
    }
    let view = View::load(site, &mut tx).await?;
    let held: BTreeSet<Digest> =
        contents::list(&mut tx).await?.into_iter().map(|content| content.manifest).collect();
    drop(tx);
    for (package, target) in view.lacking(site) {
        let is_new = !site.care.tried.lock().unwrap_or_else(PoisonError::into_inner).contains(&target);
        if is_new && !held.contains(&target) {
            let _alone = site.care.mending.lock().await;
            let repair = mend::mend(site, &target, std::slice::from_ref(&package)).await?;
            site.care.tried.lock().unwrap_or_else(PoisonError::into_inner).insert(target);
            tracing::info!(%package, left = repair.left, from = repair.givers(), "looked for it in what was prestaged");
        }
    }
    distribution::adopt(site).await?;
    Ok(())
}
