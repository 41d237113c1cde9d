//! What is killed is not fetched, not run and not left running, whatever else an instruction names.

use std::{fs, path::Path, time::Duration};

use packhorse_domain::advertisement::{Acceptance, Delivery};

use crate::{
    testing::{Draft, draft, program},
    world::World,
};

/// What CEN says of the package in an instruction: the version of its word and the killed release.
type Said = Option<(u64, Option<u64>)>;

/// Offers the script under another advertisement, with what CEN says of its package.
fn offer(world: &World, draft: &mut Draft, (script, said): (&str, Said)) {
    draft.serial += 1;
    world.offer_script(draft, script);
    let mut files = world.desk().issued.files.clone();
    if let Some((version, release)) = said {
        files.insert("kill/CEN/CEN00001".into(), world.organisation.word("CEN", version, release));
    }
    let issued = world.organisation.seal(draft, files);
    world.desk().issued = issued;
}

fn script_draft() -> Draft {
    let mut draft = draft();
    draft.version.source_version = 1;
    draft.version.programs = vec![program(&["./install.sh"])];
    draft
}

#[tokio::test(flavor = "multi_thread")]
async fn the_newest_word_counts_whatever_later_instructions_say() {
    let world = World::new().await;
    world.enroll().await;
    let mut draft = script_draft();
    let (runs, refuses) = (true, false);
    let steps: [(Said, bool, &str); 8] = [
        (Some((1, Some(3))), refuses, "it is killed"),
        (None, refuses, "an instruction that leaves it out forgets nothing"),
        (Some((2, None)), runs, "it is lifted"),
        (Some((1, Some(3))), runs, "the old kill again"),
        (Some((3, Some(2))), runs, "a kill of earlier releases"),
        (Some((4, Some(3))), refuses, "killed again"),
        (Some((2, None)), refuses, "the old lift again"),
        (Some((5, None)), runs, "lifted again"),
    ];
    for (at, (said, is_run, why)) in steps.into_iter().enumerate() {
        let id = format!("CEN2000{at}");
        draft.advertisement.id = id.parse().unwrap();
        offer(&world, &mut draft, ("echo x > \"$PACKHORSE_REPORT_DIR/ran\"", said));
        if at == 0 {
            // The content would have to be fetched.
            assert!(!world.open().library.has_manifest(&draft.version.manifest.unwrap()));
        }

        world.once().await;

        let ran = world.home().reports().join(format!("{id}-0")).join("ran").exists();
        assert_eq!(ran, is_run, "{why}");
        let desk = world.desk();
        let status = desk.statuses.iter().rfind(|status| status.advertisement.as_str() == id).unwrap();
        if is_run {
            assert_eq!(status.delivery, Delivery::Succeeded, "{why}");
        } else {
            assert_eq!(status.acceptance, Acceptance::Rejected, "{why}");
            assert_eq!(status.reason, "killed by CEN: it wipes disks", "{why}");
        }
        drop(desk);
        if at == 0 {
            let fetched = world.open().library.has_manifest(&draft.version.manifest.unwrap());
            assert!(!fetched, "what may not run is not fetched");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_refused_runs_when_the_kill_is_lifted() {
    let world = World::new().await;
    world.enroll().await;
    let mut draft = script_draft();
    for (said, acceptance, delivery) in [
        (Some((1, Some(3))), Acceptance::Rejected, Delivery::Waiting),
        (Some((2, None)), Acceptance::Accepted, Delivery::Succeeded),
    ] {
        offer(&world, &mut draft, ("true", said));
        world.once().await;
        let status = world.last_status().unwrap();
        assert_eq!((status.acceptance, status.delivery), (acceptance, delivery));
    }
}

fn is_alive(pid: &str) -> bool {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    status.lines().any(|line| line.starts_with("State:") && !line.contains('Z'))
}

async fn read_when_written(path: &Path) -> String {
    loop {
        match fs::read_to_string(path) {
            Ok(text) if text.ends_with('\n') => return text.trim().to_owned(),
            _ => tokio::time::sleep(Duration::from_millis(10)).await,
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_program_that_runs_is_stopped_and_begins_anew_only_if_its_author_allows_it() {
    for idempotent in [false, true] {
        let world = World::new().await;
        world.enroll().await;
        let mut draft = script_draft();
        draft.version.programs[0].idempotent = idempotent;
        let script = "cd \"$PACKHORSE_REPORT_DIR\"; echo x >> runs; [ -e go ] && exit 0; \
                      sleep 600 & echo $! > child; echo $$ > own; wait";
        offer(&world, &mut draft, (script, None));
        let reports = world.home().reports().join("CEN20001-0");
        let mut agent = world.spawn();
        let pids =
            [read_when_written(&reports.join("child")).await, read_when_written(&reports.join("own")).await];
        world.told(Delivery::Running).await;

        // Its offer is gone, as a site does that holds it back.
        offer(&world, &mut draft, (script, Some((1, Some(3)))));
        let mut files = world.desk().issued.files.clone();
        files.retain(|name, _| !name.starts_with("offer/"));
        draft.serial += 1;
        let issued = world.organisation.seal(&draft, files);
        world.desk().issued = issued;

        let status = world.told(Delivery::Failed).await;
        assert_eq!(status.reason, "it was stopped: killed by CEN: it wipes disks");
        assert_eq!((status.acceptance, status.exit_code), (Acceptance::Accepted, None));
        assert!(!pids.iter().any(|pid| is_alive(pid)), "all that it started is gone");
        assert_eq!(fs::read_to_string(reports.join("runs")).unwrap(), "x\n");

        fs::write(reports.join("go"), "").unwrap();
        offer(&world, &mut draft, (script, Some((2, None))));
        if idempotent {
            world.told(Delivery::Succeeded).await;
            assert_eq!(fs::read_to_string(reports.join("runs")).unwrap(), "x\nx\n");
        }
        agent.kill().unwrap();
        agent.wait().unwrap();
        if !idempotent {
            world.once().await;
            assert_eq!(world.last_status().unwrap(), status);
            assert_eq!(fs::read_to_string(reports.join("runs")).unwrap(), "x\n");
        }
    }
}
