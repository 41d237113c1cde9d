//! The agent against a client access point: from enrolment to the exit code that the site is told.
#![expect(clippy::unwrap_used, reason = "what a test cannot do without ends it")]

use std::fs;

use packhorse_client_agent::{agent, execute, home::Home, ledger::read_snapshot, poll, verify};
use packhorse_domain::advertisement::{Acceptance, Delivery};
use packhorse_runtime::Waker;
use testing::{CLIENT, draft, program};
use world::World;

mod kills;
#[path = "../src/testing.rs"]
mod testing;
mod windows;
mod world;

fn entries(path: &std::path::Path) -> usize {
    fs::read_dir(path).unwrap().count()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_enrols_fetches_runs_once_and_reports() {
    let world = World::new().await;
    assert_eq!(world.enroll().await.id, CLIENT);
    let mut draft = draft();
    draft.version.source_version = 1;
    draft.version.programs = vec![program(&["./install.sh", "two words"])];
    world.offer_script(
        &mut draft,
        "echo \"$1 $PACKHORSE_PACKAGE $PACKHORSE_SOURCE_VERSION\"; echo x >> \"$PACKHORSE_REPORT_DIR/runs\"",
    );

    world.once().await;

    let status = world.last_status().unwrap();
    assert_eq!((status.acceptance, status.delivery), (Acceptance::Accepted, Delivery::Succeeded));
    assert_eq!(status.exit_code, Some(0));
    assert_eq!(status.output_tail, "two words CEN00001 1\n");
    assert_eq!(status.hostname, "till-7");
    assert_eq!(world.desk().facts[0].labels["floor"], "2");
    let home = world.home();
    assert_eq!((entries(&home.work()), entries(&home.runs())), (0, 0), "nothing is left lying about");

    // The next cycle, and an instruction with a higher serial, find it done.
    world.once().await;
    draft.serial += 1;
    world.offer_script(&mut draft, "exit 9");
    world.once().await;
    let runs = fs::read_to_string(home.reports().join("CEN20001-0").join("runs")).unwrap();
    assert_eq!(runs, "x\n");
    assert_eq!(world.last_status().unwrap(), status);
}

#[tokio::test(flavor = "multi_thread")]
async fn enrolling_again_goes_on_with_the_same_key() {
    let world = World::new().await;
    world.enroll().await;
    let home = world.home();
    let key = fs::read(home.credentials().join("key.pem")).unwrap();
    // As if it had been interrupted before the certificate and the settings were kept.
    fs::remove_file(home.credentials().join("cert.pem")).unwrap();
    fs::remove_file(home.config()).unwrap();

    world.enroll().await;
    world.enroll().await;

    assert_eq!(fs::read(home.credentials().join("key.pem")).unwrap(), key);
    assert_eq!(world.desk().enrolled_keys.len(), 2, "what is enrolled does not ask again");
    world.open();
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_refused_changes_nothing() {
    let world = World::new().await;
    world.enroll().await;
    world.offer(&draft());
    world.once().await;
    let (seen, files) = (world.open().ledger.seen().unwrap(), entries(&world.home().files()));
    assert_eq!((seen.serial, seen.trust_version), (10, 2));

    let mut newer = draft();
    newer.serial = 11;
    newer.advertisement.id = "CEN20002".parse().unwrap();
    newer.version.release = 9;
    let good = world.organisation.issue(&newer);

    let mut tampered = good.clone();
    let last = tampered.bytes.len() - 1;
    tampered.bytes[last] ^= 1;
    let mut mixed = good.clone();
    mixed.files.insert("offer/CEN20002".into(), b"another".to_vec());
    newer.client = "00000000-0000-4000-8000-000000000002".parse().unwrap();
    let other = world.organisation.issue(&newer);
    let mut older = draft();
    older.serial = 9;
    let older = world.organisation.issue(&older);

    for refused in [tampered, mixed, other, older] {
        world.desk().issued = refused;
        world.once().await;
        assert_eq!(world.open().ledger.seen().unwrap(), seen);
        assert_eq!(entries(&world.home().files()), files);
    }
    assert!(world.desk().statuses.iter().all(|status| status.advertisement.as_str() == "CEN20001"));

    world.desk().issued = good;
    world.once().await;
    assert_eq!(world.open().ledger.seen().unwrap().serial, 11);
    assert_eq!(world.last_status().unwrap().delivery, Delivery::Succeeded);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_offer_that_is_not_believed_is_rejected_with_the_reason() {
    let world = World::new().await;
    world.enroll().await;
    let mut sibling = draft();
    sibling.owner = testing::site("LYO");
    world.offer(&sibling);

    world.once().await;

    let status = world.last_status().unwrap();
    assert_eq!(status.acceptance, Acceptance::Rejected);
    assert!(status.reason.contains("LYO"), "{}", status.reason);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cut_off_client_runs_what_it_holds_and_reports_later() {
    let mut world = World::new().await;
    world.enroll().await;
    let mut available = draft();
    available.advertisement.required = false;
    world.offer(&available);
    world.once().await;
    assert_eq!(world.last_status().unwrap().delivery, Delivery::Waiting);
    world.go_dark().await;

    agent::choose(&world.home(), &available.advertisement.id).unwrap();
    world.once().await;

    let view = read_snapshot(world.home().path()).unwrap();
    assert_eq!(view.advertisements[0].delivery, "succeeded");
    assert_eq!(world.open().ledger.waiting(10).unwrap().len(), 1, "the site is told when it is back");
    assert!(matches!(
        agent::choose(&world.home(), &available.advertisement.id),
        Err(agent::AgentError::NotWaiting { .. })
    ));
}

#[tokio::test(flavor = "multi_thread")]
async fn content_that_cannot_be_had_is_tried_again() {
    let world = World::new().await;
    world.enroll().await;
    let mut draft = draft();
    draft.version.manifest = Some(packhorse_domain::Digest([7; 32]));
    world.offer(&draft);

    world.once().await;

    let status = world.last_status().unwrap();
    assert_eq!(status.delivery, Delivery::Retrying);
    assert!(status.reason.contains("no distribution point"), "{}", status.reason);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_agent_finds_its_program_again_and_tells_its_end() {
    let world = World::new().await;
    world.enroll().await;
    let mut draft = draft();
    draft.version.source_version = 1;
    draft.version.programs = vec![program(&["./install.sh"])];
    world.offer_script(
        &mut draft,
        "cd \"$PACKHORSE_REPORT_DIR\"; echo x >> runs; while [ ! -e go ]; do sleep 0.02; done; echo done; exit 4",
    );
    let reports = world.home().reports().join("CEN20001-0");

    let mut agent = world.spawn();
    world.appears(&reports.join("runs")).await;
    world.told(Delivery::Running).await;
    agent.kill().unwrap();
    agent.wait().unwrap();
    fs::write(reports.join("go"), "").unwrap();
    let mut agent = world.spawn();
    let status = world.told(Delivery::Failed).await;
    agent.kill().unwrap();
    agent.wait().unwrap();

    assert_eq!((status.exit_code, status.output_tail.as_str()), (Some(4), "done\n"));
    assert_eq!(fs::read_to_string(reports.join("runs")).unwrap(), "x\n", "it ran once");
}

/// Kills the supervisor of the one run, whose program then has lost it.
fn kill_supervisor(home: &Home) {
    let spool = fs::read_dir(home.runs()).unwrap().next().unwrap().unwrap().path();
    let started = fs::read_to_string(spool.join("started")).unwrap();
    let pid = started.lines().find_map(|line| line.strip_prefix("pid = ")).unwrap();
    assert!(std::process::Command::new("kill").args(["-9", pid]).status().unwrap().success());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_without_a_result_is_repeated_only_if_its_author_allows_it() {
    for (idempotent, expected, runs) in
        [(false, Delivery::Interrupted, "x\n"), (true, Delivery::Succeeded, "x\nx\n")]
    {
        let world = World::new().await;
        world.enroll().await;
        let mut draft = draft();
        draft.version.source_version = 1;
        draft.version.programs = vec![program(&["./install.sh"])];
        draft.version.programs[0].idempotent = idempotent;
        world.offer_script(
            &mut draft,
            "cd \"$PACKHORSE_REPORT_DIR\"; echo x >> runs; while [ ! -e go ]; do sleep 0.02; done",
        );
        let reports = world.home().reports().join("CEN20001-0");

        let mut agent = world.spawn();
        world.appears(&reports.join("runs")).await;
        kill_supervisor(&world.home());
        if idempotent {
            let twice = || fs::read_to_string(reports.join("runs")).unwrap() == "x\nx\n";
            while !twice() {
                tokio::time::sleep(std::time::Duration::from_millis(10)).await;
            }
        }
        fs::write(reports.join("go"), "").unwrap();
        world.told(expected).await;
        agent.kill().unwrap();
        agent.wait().unwrap();

        assert_eq!(fs::read_to_string(reports.join("runs")).unwrap(), runs);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_version_runs_again_where_the_advertisement_says_so() {
    let world = World::new().await;
    world.enroll().await;
    let mut draft = draft();
    draft.advertisement.rerun_on_update = true;
    draft.version.programs = vec![program(&["./install.sh"])];
    for version in [1, 2, 2] {
        draft.serial += 1;
        draft.version.source_version = version;
        draft.version.release = 10 + version;
        world.offer_script(&mut draft, &format!("echo {version}"));
        world.once().await;
    }

    let view = read_snapshot(world.home().path()).unwrap();
    let runs: Vec<_> = view.runs.iter().map(|run| (run.occurrence, run.state.as_str())).collect();
    assert_eq!(runs, [(1, "succeeded"), (2, "succeeded")]);
    assert_eq!(world.last_status().unwrap().output_tail, "2\n");
}

#[tokio::test(flavor = "multi_thread")]
async fn damaged_content_never_runs_and_is_fetched_again() {
    let world = World::new().await;
    world.enroll().await;
    let mut draft = draft();
    draft.advertisement.required = false;
    draft.version.source_version = 1;
    draft.version.programs = vec![program(&["./install.sh"])];
    world.offer_script(&mut draft, "echo as it was signed");
    let home = world.home();
    // The content is there, and the disk turns a byte of it.
    home.make().unwrap();
    home.choose(&draft.advertisement.id).unwrap();
    let shared = world.open();
    poll::Poller::new(shared.clone(), Waker::new()).poll().await.unwrap();
    let mut executor = execute::Executor::new(shared.clone(), Waker::new());
    executor.act().await.unwrap();
    let manifest = draft.version.manifest.unwrap();
    assert!(shared.library.has_manifest(&manifest));
    let packs = walk(&home.library()).into_iter().filter(|path| fs::metadata(path).unwrap().len() > 0);
    for pack in packs.filter(|path| path.extension().is_some_and(|end| end == "pack")) {
        let mut bytes = fs::read(&pack).unwrap();
        let at = bytes.len() / 2;
        bytes[at] ^= 0x40;
        fs::write(&pack, bytes).unwrap();
    }
    drop((executor, shared));

    world.once().await;
    let status = world.last_status().unwrap();
    assert_eq!(status.delivery, Delivery::Retrying, "{}", status.reason);
    world.once().await;
    let status = world.last_status().unwrap();
    assert_eq!((status.delivery, status.output_tail.as_str()), (Delivery::Succeeded, "as it was signed\n"));
}

fn walk(directory: &std::path::Path) -> Vec<std::path::PathBuf> {
    fs::read_dir(directory)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .flat_map(|path| if path.is_dir() { walk(&path) } else { vec![path] })
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn one_program_runs_at_a_time_and_the_site_is_told_that_others_wait() {
    let world = World::new().await;
    world.enroll().await;
    let mut slow = draft();
    slow.version.source_version = 1;
    slow.version.programs = vec![program(&["./install.sh"])];
    world.offer_script(
        &mut slow,
        "cd \"$PACKHORSE_REPORT_DIR\"; touch begun; while [ ! -e go ]; do sleep 0.02; done",
    );
    let mut both = world.desk().issued.files.clone();
    let mut agent = world.spawn();
    let reports = world.home().reports().join("CEN20001-0");
    world.appears(&reports.join("begun")).await;

    let mut urgent = slow;
    urgent.serial += 1;
    urgent.advertisement.id = "CEN20002".parse().unwrap();
    urgent.advertisement.priority = packhorse_domain::Priority::High;
    let offer = world.organisation.issue(&urgent).files.remove("offer/CEN20002").unwrap();
    both.insert("offer/CEN20002".into(), offer);
    let issued = world.organisation.seal(&urgent, both);
    world.desk().issued = issued;
    let waiting = world.told_of("CEN20002", Delivery::Waiting).await;
    assert_eq!(waiting.reason, "it waits for its turn");
    assert!(!world.home().reports().join("CEN20002-0").exists());

    fs::write(reports.join("go"), "").unwrap();
    world.told_of("CEN20001", Delivery::Succeeded).await;
    world.appears(&world.home().reports().join("CEN20002-0").join("begun")).await;
    fs::write(world.home().reports().join("CEN20002-0").join("go"), "").unwrap();
    world.told_of("CEN20002", Delivery::Succeeded).await;
    agent.kill().unwrap();
    agent.wait().unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn the_command_line_does_all_of_it() {
    let world = World::new().await;
    let home = world.home();
    let run = |words: &[&str]| {
        let output = std::process::Command::new(world::EXE).args(words).output().unwrap();
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        (output.status.success(), text + &String::from_utf8_lossy(&output.stderr))
    };
    let (dir, token) = (home.path().to_str().unwrap(), world.dir.path().join("client.token"));
    let mut available = draft();
    available.advertisement.required = false;
    world.offer(&available);

    let (done, text) =
        run(&["enroll", "--dir", dir, "--token", token.to_str().unwrap(), "--label", "role=till"]);
    assert!(done && text.contains(&format!("packhorse://PAR/client/{CLIENT}")), "{text}");
    let (done, text) = run(&["serve", "--dir", dir, "--check-config"]);
    assert!(done && text.contains("role = \"till\"") && text.contains("poll_interval_s = 60"), "{text}");
    let (done, text) = run(&["run-available", "--dir", dir, "CEN20001"]);
    assert!(!done && text.contains("has the agent been started?"), "{text}");
    let (done, text) = run(&["serve", "--dir", dir, "--once"]);
    assert!(done, "{text}");
    let (done, text) = run(&["status", "--dir", dir]);
    assert!(done && text.contains("CEN20001       accepted    waiting"), "{text}");
    let (done, text) = run(&["run-available", "--dir", dir, "CEN20001"]);
    assert!(done, "{text}");
    assert!(run(&["serve", "--dir", dir, "--once"]).0);
    let (done, text) = run(&["status", "--dir", dir, "-o", "json"]);
    assert!(done && text.contains("\"delivery\": \"succeeded\""), "{text}");

    let settings = fs::read_to_string(home.config()).unwrap();
    fs::write(home.config(), settings.replace("poll_interval_s", "pol_interval_s")).unwrap();
    let (done, text) = run(&["serve", "--dir", dir, "--check-config"]);
    assert!(!done && text.contains("unknown field `pol_interval_s`"), "{text}");
}
