//! What is required is begun in a maintenance window, by the clock of the client, and is ready by then.

use std::{fs, sync::Arc, time::Duration};

use packhorse_client_agent::{agent, execute::Executor, shared::Shared};
use packhorse_domain::{
    Timestamp,
    advertisement::{Acceptance, Delivery},
    window::Closed,
};
use packhorse_runtime::{ManualClock, Next, Waker};

use crate::{
    testing::{Draft, NOW, draft, program},
    world::World,
};

const HOUR: Duration = Duration::from_secs(3600);
/// It counts its runs.
const SCRIPT: &str = "echo x >> \"$PACKHORSE_REPORT_DIR/runs\"";

/// An enrolled client in Paris, where it is 09:00 on a Friday at [`NOW`].
async fn in_paris() -> World {
    let world = World::new().await;
    world.enroll().await;
    let path = world.home().config();
    let settings = fs::read_to_string(&path).unwrap();
    fs::write(&path, format!("time_zone = \"Europe/Paris\"\n{settings}")).unwrap();
    world
}

fn script_draft(window: &str) -> Draft {
    let mut draft = draft();
    draft.not_after = NOW.plus(HOUR * 72);
    draft.version.source_version = 1;
    draft.version.programs = vec![program(&["./install.sh"])];
    draft.windows = window.parse().unwrap();
    draft
}

fn runs(world: &World) -> String {
    fs::read_to_string(world.home().reports().join("CEN20001-0/runs")).unwrap_or_default()
}

async fn once(world: &World, clock: &ManualClock) -> Arc<Shared> {
    let shared = world.open_with(clock);
    agent::once(&shared).await.unwrap();
    shared
}

#[tokio::test(flavor = "multi_thread")]
async fn a_required_program_waits_for_its_window_with_its_content_and_runs_in_it_once() {
    let world = in_paris().await;
    let mut draft = script_draft("mon-fri 22:00-06:00");
    world.offer_script(&mut draft, SCRIPT);
    let clock = ManualClock::new(NOW);

    let shared = once(&world, &clock).await;

    let opens = NOW.plus(HOUR * 13);
    let status = world.last_status().unwrap();
    assert_eq!((status.acceptance, status.delivery), (Acceptance::Accepted, Delivery::Waiting));
    assert_eq!(status.closed, Some(Closed::Until(opens)));
    assert_eq!(
        status.reason,
        "it waits for a maintenance window: the next with room for the 2 h that it may take opens \
         2027-01-15 22:00+01:00"
    );
    assert!(shared.library.has_manifest(&draft.version.manifest.unwrap()), "it was fetched ahead");
    let next = Executor::new(shared.clone(), Waker::new()).act().await.unwrap();
    assert_eq!(next, Next::After(HOUR * 13), "it wakes when the window opens");
    drop(shared);

    // Another agent, a second before: nothing new is said, and it does not run.
    clock.set(Timestamp(opens.0 - 1_000_000));
    drop(once(&world, &clock).await);
    assert_eq!((world.last_status().unwrap(), runs(&world).as_str()), (status, ""));

    clock.set(opens);
    drop(once(&world, &clock).await);
    let status = world.last_status().unwrap();
    assert_eq!((status.delivery, status.closed), (Delivery::Succeeded, None), "{}", status.reason);
    clock.advance(HOUR * 24);
    drop(once(&world, &clock).await);
    assert_eq!(runs(&world), "x\n");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_runs_is_not_stopped_when_the_window_closes() {
    let world = in_paris().await;
    let mut draft = script_draft("mon-fri 22:00-06:00");
    world.offer_script(
        &mut draft,
        "cd \"$PACKHORSE_REPORT_DIR\"; touch runs; while [ ! -e go ]; do sleep 0.02; done; echo x > runs",
    );
    // 04:00 on Saturday, and it may take two hours.
    let clock = ManualClock::new(NOW.plus(HOUR * 19));
    let shared = world.open_with(&clock);
    let mut executor = Executor::new(shared.clone(), Waker::new());
    packhorse_client_agent::poll::Poller::new(shared.clone(), Waker::new()).poll().await.unwrap();
    while !executor.is_running() {
        executor.act().await.unwrap();
    }
    let reports = world.home().reports().join("CEN20001-0");
    world.appears(&reports.join("runs")).await;

    clock.advance(HOUR * 3);
    for _ in 0..3 {
        executor.act().await.unwrap();
        assert!(executor.is_running());
    }
    fs::write(reports.join("go"), "").unwrap();
    while executor.is_running() {
        executor.act().await.unwrap();
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let status = shared.ledger.statuses().unwrap().remove(0);
    assert_eq!((status.delivery, runs(&world).as_str()), (Delivery::Succeeded, "x\n"));
}

#[tokio::test(flavor = "multi_thread")]
async fn windows_bind_neither_what_ignores_them_nor_what_the_user_starts() {
    for (required, ignore_windows, chosen, expected) in [
        (true, false, false, Delivery::Waiting),
        (true, true, false, Delivery::Succeeded),
        (true, false, true, Delivery::Succeeded),
        (false, false, false, Delivery::Waiting),
        (false, false, true, Delivery::Succeeded),
    ] {
        let world = in_paris().await;
        let mut draft = script_draft("sun 02:00-05:00");
        draft.advertisement.required = required;
        draft.advertisement.ignore_windows = ignore_windows;
        world.offer_script(&mut draft, SCRIPT);
        let clock = ManualClock::new(NOW);
        if chosen {
            drop(once(&world, &clock).await);
            agent::choose(&world.home(), &draft.advertisement.id).unwrap();
        }

        drop(once(&world, &clock).await);

        let status = world.last_status().unwrap();
        assert_eq!(status.delivery, expected, "{required} {ignore_windows} {chosen}: {}", status.reason);
        assert_eq!(status.closed.is_some(), required && expected == Delivery::Waiting);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_program_for_which_no_window_has_room_says_so_and_runs_once_it_is_let() {
    let world = in_paris().await;
    let mut draft = script_draft("sun 02:00-03:00");
    world.offer_script(&mut draft, SCRIPT);
    let clock = ManualClock::new(NOW);

    drop(once(&world, &clock).await);
    let status = world.last_status().unwrap();
    assert_eq!((status.delivery, status.closed), (Delivery::Waiting, Some(Closed::NoRoom)));
    assert_eq!(status.reason, "no maintenance window is as long as the 2 h that it may take");

    // A new instruction has a wider one, which is open.
    draft.serial += 1;
    draft.windows = "fri".parse().unwrap();
    world.offer_script(&mut draft, SCRIPT);
    drop(once(&world, &clock).await);
    let status = world.last_status().unwrap();
    assert_eq!((status.delivery, runs(&world).as_str()), (Delivery::Succeeded, "x\n"), "{}", status.reason);
}

#[tokio::test(flavor = "multi_thread")]
async fn nights_when_clocks_are_changed_have_one_run_each() {
    // The hour from 2 to 3: it comes twice, and it does not come at all.
    let twice =
        ["2026-10-24T23:59:59Z", "2026-10-25T00:30:00Z", "2026-10-25T01:00:00Z", "2026-10-25T01:30:00Z"];
    let never =
        ["2027-03-28T00:59:59Z", "2027-03-28T01:00:00Z", "2027-03-28T01:30:00Z", "2027-03-28T02:00:00Z"];
    for night in [twice, never] {
        let world = in_paris().await;
        let mut draft = script_draft("sun 02:00-03:00");
        draft.version.programs[0].time_limit = Duration::from_secs(600);
        draft.not_after = NOW.plus(HOUR * 24 * 365);
        world.offer_script(&mut draft, SCRIPT);
        for (at, expected) in night.into_iter().zip(["", "x\n", "x\n", "x\n"]) {
            let at = Timestamp(at.parse::<jiff::Timestamp>().unwrap().as_microsecond());
            drop(once(&world, &ManualClock::new(at)).await);
            assert_eq!(runs(&world), expected, "{at:?}");
        }
    }
}
