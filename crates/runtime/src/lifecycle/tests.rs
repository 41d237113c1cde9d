//! Tasks that end as they should not, and workers under a clock that runs as fast as they do.

use std::{
    collections::VecDeque,
    io,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use packhorse_domain::Timestamp;
use tokio::{sync::mpsc, time::Instant};

use super::*;
use crate::{
    clock::ManualClock,
    worker::{Next, NextWake, WakeReason},
};

const GRACE: Duration = Duration::from_secs(10);

/// Does as it is told and tells when.
struct Told {
    results: VecDeque<Result<Next, io::Error>>,
    stepped: mpsc::UnboundedSender<Instant>,
}

impl Worker for Told {
    const NAME: &'static str = "told";
    const PERIOD: Duration = Duration::from_secs(60);
    type Error = io::Error;

    async fn step(&mut self) -> Result<Next, io::Error> {
        self.stepped.send(Instant::now()).expect("the test listens");
        self.results.pop_front().unwrap_or(Ok(Next::Idle))
    }
}

fn told(
    lifecycle: &Lifecycle,
    results: impl IntoIterator<Item = Result<Next, io::Error>>,
) -> (Waker, mpsc::UnboundedReceiver<Instant>) {
    let (stepped, steps) = mpsc::unbounded_channel();
    let waker = lifecycle.spawn_worker(Told { results: results.into_iter().collect(), stepped });
    (waker, steps)
}

async fn seconds_between(steps: &mut mpsc::UnboundedReceiver<Instant>, count: usize) -> Vec<f64> {
    let mut last = steps.recv().await.expect("a step");
    let mut pauses = Vec::new();
    for _ in 0..count {
        let at = steps.recv().await.expect("a step");
        pauses.push(((at - last).as_secs_f64() * 1000.0).round() / 1000.0);
        last = at;
    }
    pauses
}

fn down() -> Result<Next, io::Error> {
    Err(io::Error::other("the disk is full"))
}

#[tokio::test(start_paused = true)]
async fn a_worker_pauses_as_its_steps_say() {
    let lifecycle = Lifecycle::new();
    let results = [Ok(Next::Again), Ok(Next::After(Duration::from_secs(5))), Ok(Next::After(Duration::MAX))];

    let (_, mut steps) = told(&lifecycle, results);

    assert_eq!(seconds_between(&mut steps, 4).await, [0.0, 5.0, 60.0, 60.0]);
}

#[tokio::test(start_paused = true)]
async fn failures_back_off_until_a_step_succeeds_and_the_status_tells() {
    let clock = ManualClock::new(Timestamp(7));
    let lifecycle = Lifecycle::with_clock(Arc::new(clock));
    let results = [down(), down(), down(), Ok(Next::Again), down()];

    let (_, mut steps) = told(&lifecycle, results);
    let pauses = seconds_between(&mut steps, 2).await;
    let failing = lifecycle.statuses();
    let later = seconds_between(&mut steps, 2).await;

    assert_eq!(pauses, [0.25, 0.5]);
    assert_eq!(later, [0.0, 0.25], "after a success the pauses start anew");
    assert_eq!(failing[0].name, "told");
    assert_eq!(failing[0].consecutive_errors, 3);
    assert_eq!(failing[0].last_error.as_deref(), Some("the disk is full"));
    assert_eq!(failing[0].last_step, Some(Timestamp(7)));
    assert_eq!(failing[0].last_error_at, Some(Timestamp(7)));
    assert!(failing[0].last_step_took.is_some() && failing[0].running_since.is_none());
    let wake = NextWake { at: Timestamp(1_000_007), reason: WakeReason::Backoff };
    assert_eq!(failing[0].next_wake, Some(wake));
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!(lifecycle.statuses()[0].consecutive_errors, 0);
    assert_eq!(lifecycle.statuses()[0].last_error.as_deref(), Some("the disk is full"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_worker_is_seen_at_work_or_asleep_and_never_as_neither() {
    let lifecycle = Lifecycle::new();
    let (_, mut steps) = told(&lifecycle, std::iter::repeat_with(|| Ok(Next::Again)).take(20_000));

    steps.recv().await.unwrap();
    let mut looks = 0;
    while lifecycle.statuses()[0].steps < 20_000 {
        let seen = lifecycle.statuses().remove(0);
        assert!(seen.running_since.is_some() != seen.next_wake.is_some(), "{seen:?}");
        looks += 1;
        while steps.try_recv().is_ok() {}
    }
    assert!(looks > 0);
}

#[tokio::test(start_paused = true)]
async fn a_wake_up_shortens_a_sleep_and_none_is_lost() {
    let lifecycle = Lifecycle::new();
    let (waker, mut steps) = told(&lifecycle, []);

    // Before the first step was even begun, which makes a second follow it.
    waker.wake();
    let before = seconds_between(&mut steps, 1).await;
    // While it sleeps.
    tokio::time::sleep(Duration::from_secs(3)).await;
    let at = Instant::now();
    waker.wake();
    let woken = steps.recv().await.unwrap();

    assert_eq!(before, [0.0]);
    assert_eq!(woken, at);
}

#[tokio::test(start_paused = true)]
async fn wake_ups_do_not_hammer_what_fails() {
    let lifecycle = Lifecycle::new();
    let (waker, mut steps) = told(&lifecycle, [down(), down()]);
    let first = steps.recv().await.unwrap();

    waker.wake();
    let second = steps.recv().await.unwrap();

    assert_eq!(second - first, Duration::from_millis(250));
}

#[tokio::test(start_paused = true)]
async fn a_step_that_runs_is_finished_before_the_process_ends() {
    struct Slow(Arc<AtomicBool>, mpsc::Sender<()>);
    impl Worker for Slow {
        const NAME: &'static str = "slow";
        const PERIOD: Duration = Duration::from_secs(1);
        type Error = io::Error;
        async fn step(&mut self) -> Result<Next, io::Error> {
            self.1.send(()).await.map_err(io::Error::other)?;
            tokio::time::sleep(Duration::from_secs(5)).await;
            self.0.store(true, Ordering::SeqCst);
            Ok(Next::Again)
        }
    }
    let lifecycle = Lifecycle::new();
    let finished = Arc::new(AtomicBool::new(false));
    let (begun, mut begins) = mpsc::channel(8);
    lifecycle.spawn_worker(Slow(finished.clone(), begun));
    begins.recv().await.unwrap();

    lifecycle.stop();
    let end = lifecycle.run_without_signals(GRACE).await;

    assert_eq!(end, End::Stopped);
    assert!(finished.load(Ordering::SeqCst));
    assert!(begins.recv().await.is_none(), "no further step was begun");
}

#[tokio::test(start_paused = true)]
async fn what_does_not_end_in_its_grace_is_dropped() {
    let lifecycle = Lifecycle::new();
    lifecycle.spawn("stubborn", std::future::pending::<()>());
    let begun = Instant::now();

    lifecycle.stop();
    let end = lifecycle.run_without_signals(GRACE).await;

    assert_eq!(end, End::Dropped);
    assert_eq!(begun.elapsed().as_secs(), GRACE.as_secs());
}

#[tokio::test(start_paused = true)]
async fn a_panic_ends_the_process_with_failure_and_the_others_in_order() {
    let lifecycle = Lifecycle::new();
    let stopping = lifecycle.stopping();
    let orderly = Arc::new(AtomicBool::new(false));
    let seen = orderly.clone();
    lifecycle.spawn("orderly", async move {
        stopping.cancelled().await;
        seen.store(true, Ordering::SeqCst);
    });
    lifecycle.spawn_finite("broken", async { assert!(std::hint::black_box(false), "as this test wants") });

    let end = lifecycle.run_without_signals(GRACE).await;

    assert_eq!(end, End::Failed("broken"));
    assert_eq!(format!("{:?}", end.exit_code()), format!("{:?}", ExitCode::FAILURE));
    assert!(orderly.load(Ordering::SeqCst));
}

#[tokio::test(start_paused = true)]
async fn an_essential_task_that_ends_by_itself_is_a_failure_and_a_finite_one_is_not() {
    let lifecycle = Lifecycle::new();
    lifecycle.spawn_finite("done", async {});
    lifecycle.spawn_finite("done badly", async { Err::<(), _>(io::Error::other("gone")) });
    lifecycle.spawn("server", async {
        tokio::time::sleep(Duration::from_secs(1)).await;
        Ok::<(), io::Error>(())
    });

    let end = lifecycle.run_without_signals(GRACE).await;

    assert_eq!(end, End::Failed("server"));
}

#[tokio::test]
async fn a_signal_stops_the_process() {
    let lifecycle = Lifecycle::new();
    let stopping = lifecycle.stopping();
    lifecycle.spawn("server", async move { stopping.cancelled().await });
    // The handlers must stand before the signal is sent, or it ends the test itself.
    let running = lifecycle.run(GRACE);
    tokio::pin!(running);
    let early = tokio::time::timeout(Duration::from_millis(10), &mut running).await;

    rustix::process::kill_process(rustix::process::getpid(), rustix::process::Signal::TERM).unwrap();

    assert!(early.is_err());
    assert_eq!(running.await, End::Stopped);
}
