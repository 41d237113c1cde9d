//! Every task of a process, from start to end: soft stop, grace, hard stop.
//!
//! At the soft stop servers drain and workers finish their step. What is left after the grace period is dropped. An
//! essential task that ends or panics by itself stops the process, which then reports failure and is restarted.

use std::{
    convert::Infallible,
    error::Error,
    process::ExitCode,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use crate::{
    clock::{Clock, SystemClock},
    error::error_chain,
    worker::{StatusCell, Surroundings, Waker, Worker, WorkerStatus, run_worker},
};

/// How long a hard stop waits for tasks to notice it; one that never yields is left behind.
const HARD_STOP: Duration = Duration::from_secs(5);

/// The tasks of a process. Clones are the same lifecycle.
#[derive(Debug, Clone)]
pub struct Lifecycle(Arc<Inner>);

/// How a lifecycle ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[must_use = "a failure must become the exit code"]
pub enum End {
    /// It was asked to stop and every task ended by itself.
    Stopped,
    /// It was asked to stop, and some tasks had to be dropped.
    Dropped,
    /// This essential task ended or panicked without being asked to.
    Failed(&'static str),
}

/// What a task may return: nothing, or a result whose error is logged.
pub trait TaskOutput: Send + 'static {
    /// The error as text, if it is one.
    fn failure(&self) -> Option<String>;
}

#[derive(Debug)]
struct Inner {
    tasks: TaskTracker,
    soft: CancellationToken,
    hard: CancellationToken,
    clock: Arc<dyn Clock>,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    workers: Vec<StatusCell>,
    failed: Option<&'static str>,
    dropped: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Nature {
    /// Must not end before the soft stop.
    Essential,
    /// May end whenever it is done.
    Finite,
}

impl Lifecycle {
    pub fn new() -> Self {
        Self::with_clock(SystemClock::shared())
    }

    pub fn with_clock(clock: Arc<dyn Clock>) -> Self {
        Lifecycle(Arc::new(Inner {
            tasks: TaskTracker::new(),
            soft: CancellationToken::new(),
            hard: CancellationToken::new(),
            clock,
            state: Mutex::default(),
        }))
    }

    pub fn clock(&self) -> Arc<dyn Clock> {
        self.0.clock.clone()
    }

    /// Starts a task that lives as long as the process. It must end soon after [`Lifecycle::stopping`].
    pub fn spawn<F>(&self, name: &'static str, future: F)
    where
        F: Future<Output: TaskOutput> + Send + 'static,
    {
        self.start(name, Nature::Essential, future);
    }

    /// Starts a task that may end when it is done. Its panic still stops the process.
    pub fn spawn_finite<F>(&self, name: &'static str, future: F)
    where
        F: Future<Output: TaskOutput> + Send + 'static,
    {
        self.start(name, Nature::Finite, future);
    }

    pub fn spawn_worker<W: Worker>(&self, worker: W) -> Waker {
        let waker = Waker::new();
        self.spawn_worker_with(worker, waker.clone());
        waker
    }

    /// As [`Lifecycle::spawn_worker`], for a waker that others hold already.
    pub fn spawn_worker_with<W: Worker>(&self, worker: W, waker: Waker) {
        let status = StatusCell::new(W::NAME);
        self.0.state().workers.push(status.clone());
        let around = Surroundings { waker, stop: self.stopping(), status, clock: self.clock() };
        self.spawn(W::NAME, run_worker(worker, around));
    }

    /// What the workers have been doing, in the order in which they were started.
    pub fn statuses(&self) -> Vec<WorkerStatus> {
        self.0.state().workers.iter().map(StatusCell::read).collect()
    }

    /// Cancelled at the soft stop.
    pub fn stopping(&self) -> CancellationToken {
        self.0.soft.clone()
    }

    /// Cancelled at the hard stop.
    pub fn dropping(&self) -> CancellationToken {
        self.0.hard.clone()
    }

    /// Asks every task to end. [`Lifecycle::run`] then returns.
    pub fn stop(&self) {
        self.0.soft.cancel();
    }

    /// Waits for SIGTERM, SIGINT, [`Lifecycle::stop`] or the early end of an essential task, then stops everything.
    /// A second signal ends the grace period.
    pub async fn run(&self, grace: Duration) -> End {
        match Signals::listen() {
            Ok(signals) => self.supervise(signals, grace).await,
            Err(error) => {
                tracing::error!(error = error_chain(&error), "cannot listen for signals");
                self.stop();
                let _ = self.supervise(Signals::none(), grace).await;
                End::Failed("signals")
            }
        }
    }

    /// As [`Lifecycle::run`], but deaf to signals: for a lifecycle within a process that has its own.
    pub async fn run_without_signals(&self, grace: Duration) -> End {
        self.supervise(Signals::none(), grace).await
    }

    async fn supervise(&self, mut signals: Signals, grace: Duration) -> End {
        tokio::select! {
            name = signals.next() => tracing::info!(signal = name, "stopping"),
            () = self.0.soft.cancelled() => tracing::info!("stopping"),
        }
        self.0.soft.cancel();
        self.0.tasks.close();
        tokio::select! {
            () = self.0.tasks.wait() => {}
            () = tokio::time::sleep(grace) => tracing::warn!(tasks = self.0.tasks.len(), "grace period is over"),
            name = signals.next() => tracing::warn!(signal = name, tasks = self.0.tasks.len(), "stopping at once"),
        }
        self.0.hard.cancel();
        if tokio::time::timeout(HARD_STOP, self.0.tasks.wait()).await.is_err() {
            tracing::error!(tasks = self.0.tasks.len(), "some tasks do not end; they are left behind");
            self.0.state().dropped = true;
        }
        let state = self.0.state();
        match (state.failed, state.dropped) {
            (Some(task), _) => End::Failed(task),
            (None, true) => End::Dropped,
            (None, false) => End::Stopped,
        }
    }

    #[expect(clippy::disallowed_methods, reason = "this is where tasks come to belong to a lifecycle")]
    fn start<F>(&self, name: &'static str, nature: Nature, future: F)
    where
        F: Future<Output: TaskOutput> + Send + 'static,
    {
        let watch = Watch { inner: self.0.clone(), name, nature, ended: None };
        tokio::spawn(self.0.tasks.track_future(watch.over(future)));
    }
}

impl Default for Lifecycle {
    fn default() -> Self {
        Self::new()
    }
}

impl Inner {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn fail(&self, task: &'static str) {
        self.state().failed.get_or_insert(task);
        self.soft.cancel();
    }
}

/// Goes with a task and learns how it ends, also when that is by a panic.
struct Watch {
    inner: Arc<Inner>,
    name: &'static str,
    nature: Nature,
    ended: Option<Ended>,
}

enum Ended {
    Done,
    Error(String),
    Dropped,
}

impl Watch {
    async fn over<F: Future<Output: TaskOutput>>(mut self, future: F) {
        let hard = self.inner.hard.clone();
        let ended = tokio::select! {
            biased;
            () = hard.cancelled() => Ended::Dropped,
            output = future => output.failure().map_or(Ended::Done, Ended::Error),
        };
        self.ended = Some(ended);
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        let (inner, task) = (&self.inner, self.name);
        match &self.ended {
            None if std::thread::panicking() => {
                tracing::error!(task, "task panicked");
                inner.fail(task);
            }
            // The whole tokio runtime is going away.
            None => {}
            Some(Ended::Dropped) => {
                tracing::warn!(task, "task did not end in time and was dropped");
                inner.state().dropped = true;
            }
            Some(Ended::Error(error)) => {
                tracing::error!(task, error, "task failed");
                if self.nature == Nature::Essential {
                    inner.fail(task);
                }
            }
            Some(Ended::Done) if self.nature == Nature::Essential && !inner.soft.is_cancelled() => {
                tracing::error!(task, "task ended before it was asked to");
                inner.fail(task);
            }
            Some(Ended::Done) => tracing::debug!(task, "task ended"),
        }
    }
}

/// SIGTERM and SIGINT, or nothing at all.
struct Signals(Option<(Signal, Signal)>);

impl Signals {
    fn listen() -> Result<Self, std::io::Error> {
        Ok(Signals(Some((signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?))))
    }

    fn none() -> Self {
        Signals(None)
    }

    async fn next(&mut self) -> &'static str {
        let Some((terminate, interrupt)) = &mut self.0 else { return std::future::pending().await };
        tokio::select! {
            _ = terminate.recv() => "SIGTERM",
            _ = interrupt.recv() => "SIGINT",
        }
    }
}

impl End {
    /// Zero after an orderly stop, also when tasks had to be dropped for it.
    pub fn exit_code(self) -> ExitCode {
        match self {
            End::Stopped | End::Dropped => ExitCode::SUCCESS,
            End::Failed(_) => ExitCode::FAILURE,
        }
    }
}

impl TaskOutput for () {
    fn failure(&self) -> Option<String> {
        None
    }
}

impl TaskOutput for Infallible {
    fn failure(&self) -> Option<String> {
        None
    }
}

impl<E: Error + Send + Sync + 'static> TaskOutput for Result<(), E> {
    fn failure(&self) -> Option<String> {
        self.as_ref().err().map(|error| error_chain(error))
    }
}

#[cfg(test)]
mod tests;
