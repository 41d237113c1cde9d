//! Many children at once, each over a connection of its own.

use std::{
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
    time::Duration,
};

use anyhow::Context as _;
use packhorse_domain::id::PointName;
use tokio::{sync::Notify, task::JoinSet, time::Instant};

use crate::{
    child,
    enrol::Member,
    figures::{self, Figures},
};

/// What all children have done.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    bytes: AtomicU64,
    known: AtomicUsize,
    done: AtomicUsize,
    /// When the first byte of a bundle came, and what the CPU time was then.
    first: Mutex<Option<(Instant, Duration)>>,
    moved: Notify,
}

impl Tally {
    /// Bytes of a bundle came to a child.
    pub(crate) fn came(&self, bytes: u64) {
        if self.bytes.fetch_add(bytes, Ordering::Relaxed) == 0 {
            let began = (Instant::now(), figures::cpu().unwrap_or_default());
            *self.first.lock().unwrap_or_else(PoisonError::into_inner) = Some(began);
        }
    }

    /// The parent knows one more child.
    pub(crate) fn is_known(&self) {
        self.known.fetch_add(1, Ordering::Relaxed);
        self.moved.notify_one();
    }

    /// One more child has all that it waited for.
    pub(crate) fn is_done(&self) {
        self.done.fetch_add(1, Ordering::Relaxed);
        self.moved.notify_one();
    }

    fn figures(&self) -> anyhow::Result<Figures> {
        let first = *self.first.lock().unwrap_or_else(PoisonError::into_inner);
        let (began, cpu) = first.context("no byte of a bundle came")?;
        let cpu = figures::cpu()?.saturating_sub(cpu);
        Ok(Figures::new(self.bytes.load(Ordering::Relaxed), began.elapsed(), cpu))
    }
}

/// Plays the children until each has its bundles. One that fails ends all: its figures would be of fewer.
pub(crate) async fn play(
    children: Vec<Member>,
    point: &PointName,
    bundles: usize,
    ready: impl FnOnce() -> anyhow::Result<()>,
) -> anyhow::Result<Figures> {
    let (count, tally) = (children.len(), Arc::<Tally>::default());
    let mut running = JoinSet::new();
    for member in children {
        let (point, tally) = (point.clone(), tally.clone());
        running.spawn(async move {
            let played = child::play(&member, &point, bundles, &tally).await;
            played.with_context(|| format!("child {}", member.code))
        });
    }
    let mut ready = Some(ready);
    loop {
        tokio::select! {
            () = tally.moved.notified() => {}
            Some(ended) = running.join_next() => ended??,
        }
        if tally.known.load(Ordering::Relaxed) == count
            && let Some(ready) = ready.take()
        {
            ready()?;
        }
        if tally.done.load(Ordering::Relaxed) == count {
            // The last receipt is still on its way out; the parent waits for it.
            let figures = tally.figures()?;
            tokio::time::sleep(Duration::from_secs(1)).await;
            return Ok(figures);
        }
    }
}
