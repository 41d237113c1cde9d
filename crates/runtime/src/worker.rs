//! Workers: components that compare what should be with what is, one bounded step at a time.
//!
//! A worker only says what a step is. When it runs, how long it pauses after a failure, what is logged and how it
//! stops is the same for all of them and lives here.

use std::{
    error::Error,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use packhorse_domain::Timestamp;
use tokio::{sync::Notify, time::Instant};
use tokio_util::sync::CancellationToken;
use tracing::Instrument as _;

use crate::{clock::Clock, error::error_chain};

const BACKOFF_MIN: Duration = Duration::from_millis(250);
const BACKOFF_MAX: Duration = Duration::from_secs(30);

/// A component. It takes no message: it reads what is wanted and what is, and does one bounded, idempotent step.
pub trait Worker: Send + 'static {
    /// Its name in logs and status, as `distribution-manager`.
    const NAME: &'static str;
    /// The longest pause between two steps; also what a wake-up that nobody gave costs.
    const PERIOD: Duration;
    type Error: Error + Send + Sync + 'static;

    fn step(&mut self) -> impl Future<Output = Result<Next, Self::Error>> + Send;
}

/// What comes after a step that succeeded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Next {
    /// There is more to do now.
    Again,
    /// Nothing to do: look again after the worker's period or when woken.
    Idle,
    /// Nothing to do before this time has passed, unless woken. Longer than the worker's period counts as that.
    After(Duration),
}

/// Shortens a worker's sleep. A wake-up given while a step runs makes another step follow it.
#[derive(Debug, Clone, Default)]
pub struct Waker(Arc<Notify>);

/// What a worker has been doing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WorkerStatus {
    pub name: &'static str,
    /// Steps that ended, well or not, since the process started.
    pub steps: u64,
    /// Those of them that failed.
    pub failures: u64,
    /// When the last step ended.
    pub last_step: Option<Timestamp>,
    /// How long the last step took.
    pub last_step_took: Option<Duration>,
    /// Since when it is at work: when its newest step began. `None`: it sleeps, or never began.
    pub running_since: Option<Timestamp>,
    /// When it looks again if nobody wakes it; `None`: it is at work, or never began.
    pub next_wake: Option<NextWake>,
    /// Failures since the last step that succeeded.
    pub consecutive_errors: u32,
    /// The newest failure with its causes; kept after the worker recovered.
    pub last_error: Option<String>,
    pub last_error_at: Option<Timestamp>,
}

/// When a sleeping worker looks again, and what that follows from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NextWake {
    pub at: Timestamp,
    pub reason: WakeReason,
}

/// Why a worker looks again at a certain time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WakeReason {
    /// It had nothing to do, and its period ends then. A wake-up comes first.
    Period,
    /// Its last step asked for that time. A wake-up comes first.
    Asked,
    /// Its last step failed, and no wake-up comes before that time.
    Backoff,
}

/// A worker's status where the worker writes it and others read it.
#[derive(Debug, Clone)]
pub(crate) struct StatusCell(Arc<Mutex<WorkerStatus>>);

/// What a worker needs of its surroundings.
#[derive(Debug)]
pub(crate) struct Surroundings {
    pub(crate) waker: Waker,
    pub(crate) stop: CancellationToken,
    pub(crate) status: StatusCell,
    pub(crate) clock: Arc<dyn Clock>,
}

impl Waker {
    /// A waker can exist before its worker, so that two workers can wake each other.
    pub fn new() -> Self {
        Self::default()
    }

    pub fn wake(&self) {
        self.0.notify_one();
    }
}

/// When a step ended and how long it took.
#[derive(Debug, Clone, Copy)]
struct Ended {
    at: Timestamp,
    took: Duration,
}

impl WorkerStatus {
    fn ended(&mut self, ended: Ended) {
        self.steps += 1;
        self.last_step = Some(ended.at);
        self.last_step_took = Some(ended.took);
    }
}

impl StatusCell {
    pub(crate) fn new(name: &'static str) -> Self {
        StatusCell(Arc::new(Mutex::new(WorkerStatus {
            name,
            steps: 0,
            failures: 0,
            last_step: None,
            last_step_took: None,
            running_since: None,
            next_wake: None,
            consecutive_errors: 0,
            last_error: None,
            last_error_at: None,
        })))
    }

    pub(crate) fn read(&self) -> WorkerStatus {
        self.lock().clone()
    }

    fn lock(&self) -> MutexGuard<'_, WorkerStatus> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn begun(&self, at: Timestamp) {
        let mut status = self.lock();
        status.running_since = Some(at);
        status.next_wake = None;
    }

    fn succeeded(&self, ended: Ended) -> u32 {
        let mut status = self.lock();
        status.ended(ended);
        std::mem::take(&mut status.consecutive_errors)
    }

    fn failed(&self, ended: Ended, error: String) -> u32 {
        let mut status = self.lock();
        status.ended(ended);
        status.failures += 1;
        status.last_error = Some(error);
        status.last_error_at = Some(ended.at);
        status.consecutive_errors = status.consecutive_errors.saturating_add(1);
        status.consecutive_errors
    }

    /// Both at once, so that nobody sees a worker that neither works nor sleeps.
    fn sleeps(&self, wake: NextWake) {
        let mut status = self.lock();
        status.running_since = None;
        status.next_wake = Some(wake);
    }
}

/// Runs a worker until the soft stop. A step is never cancelled; waiting is.
pub(crate) async fn run_worker<W: Worker>(mut worker: W, around: Surroundings) {
    while !around.stop.is_cancelled() {
        // Its target keeps this span out of exported traces: it only puts the component's name on log lines.
        let span = tracing::info_span!(target: crate::telemetry::COMPONENT, "step", component = W::NAME);
        let began = Instant::now();
        around.status.begun(around.clock.now());
        let result = worker.step().instrument(span.clone()).await;
        let ended = Ended { at: around.clock.now(), took: began.elapsed() };
        let pause = span.in_scope(|| record::<W>(&around.status, ended, result));
        if let Some(wake) = next_wake(pause, W::PERIOD, ended.at) {
            around.status.sleeps(wake);
        }
        match pause {
            Pause::None => tokio::task::yield_now().await,
            Pause::UntilWoken(longest) => tokio::select! {
                () = around.stop.cancelled() => {}
                () = around.waker.0.notified() => {}
                () = tokio::time::sleep(longest) => {}
            },
            // Wake-ups do not end this one: what failed a moment ago would be hammered by whoever wakes often. They
            // are kept, and the next step answers them.
            Pause::Full(length) => tokio::select! {
                () = around.stop.cancelled() => {}
                () = tokio::time::sleep(length) => {}
            },
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Pause {
    None,
    UntilWoken(Duration),
    Full(Duration),
}

fn record<W: Worker>(status: &StatusCell, ended: Ended, result: Result<Next, W::Error>) -> Pause {
    match result {
        Ok(next) => {
            let failures = status.succeeded(ended);
            if failures > 0 {
                tracing::info!(failures, "works again");
            }
            tracing::debug!(?next, "a step ended");
            match next {
                Next::Again => Pause::None,
                Next::Idle => Pause::UntilWoken(W::PERIOD),
                Next::After(pause) => Pause::UntilWoken(pause.min(W::PERIOD)),
            }
        }
        Err(error) => {
            let text = error_chain(&error);
            let failures = status.failed(ended, text.clone());
            let pause = backoff(failures);
            tracing::warn!(error = text, failures, pause_ms = pause.as_millis(), "step failed");
            Pause::Full(pause)
        }
    }
}

/// When a worker that pauses from now on looks again by itself. `None`: at once.
fn next_wake(pause: Pause, period: Duration, now: Timestamp) -> Option<NextWake> {
    let (after, reason) = match pause {
        Pause::None => return None,
        Pause::UntilWoken(longest) if longest < period => (longest, WakeReason::Asked),
        Pause::UntilWoken(longest) => (longest, WakeReason::Period),
        Pause::Full(length) => (length, WakeReason::Backoff),
    };
    Some(NextWake { at: now.plus(after), reason })
}

fn backoff(failures: u32) -> Duration {
    let doublings = failures.saturating_sub(1).min(16);
    BACKOFF_MIN.saturating_mul(1 << doublings).min(BACKOFF_MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_up_to_half_a_minute() {
        let pauses: Vec<u128> = [1, 2, 3, 7, 8, 9, u32::MAX].map(|n| backoff(n).as_millis()).into();

        assert_eq!(pauses, [250, 500, 1000, 16_000, 30_000, 30_000, 30_000]);
    }

    #[test]
    fn when_it_looks_again_says_why() {
        let period = Duration::from_secs(10);
        let wake = |pause| next_wake(pause, period, Timestamp(5)).map(|wake| (wake.at.0, wake.reason));

        for (pause, expected) in [
            (Pause::None, None),
            (Pause::UntilWoken(period), Some((10_000_005, WakeReason::Period))),
            (Pause::UntilWoken(Duration::from_secs(3)), Some((3_000_005, WakeReason::Asked))),
            (Pause::Full(Duration::from_secs(30)), Some((30_000_005, WakeReason::Backoff))),
        ] {
            assert_eq!(wake(pause), expected, "{pause:?}");
        }
    }
}
