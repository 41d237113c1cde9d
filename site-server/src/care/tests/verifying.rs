//! Rot is found, and comes back from whoever has it.

use std::{fs, sync::Arc, time::Duration};

use packhorse_domain::{package::PackageState, status::PackageStatus};
use packhorse_runtime::{Clock as _, ManualClock, SystemClock, Worker as _};

use super::{is_sound, manifest_of, parent_and_child, rot};
use crate::{
    care::{
        give::Giver,
        verify::{self, ContentVerifier, Run},
    },
    testing::{Node, noise, until},
};

async fn checked(node: &Node) -> Run {
    verify::start(&node.site, "admin anna", 0).await.unwrap();
    until("the library was checked", || async {
        let (runs, _) = verify::runs(&node.site).await.unwrap();
        runs.now.is_none() && runs.last.is_some()
    })
    .await;
    verify::runs(&node.site).await.unwrap().0.last.unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_sound_library_is_read_whole() {
    let central = Node::central(SystemClock::shared()).await;
    central.start();
    central.package(&noise(400_000, 1)).await;

    let run = checked(&central).await;

    assert!(run.chunks >= 3 && run.bytes_done > 400_000, "{run:?}");
    assert_eq!((run.rotten_chunks, run.lost_versions, run.asked_by.as_str()), (0, 0, "admin anna"));
    until("it is told", || async {
        central.events_about("CEN").await.iter().any(|text| text.contains("nothing is rotten"))
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_rotted_is_cut_again_from_a_distribution_point() {
    let central = Node::central(SystemClock::shared()).await;
    central.hall().await;
    central.start();
    let package = central.package(&noise(400_000, 1)).await;
    central.send(&package, central.code()).await;
    let file = central.path("hall").join(package.as_str()).join("setup.sh");
    until("it is on the point", || async { file.exists() }).await;
    let manifest = manifest_of(&central, &package).await;
    central.source(b"the source has changed since");
    rot(&central, 200_000);

    let run = checked(&central).await;

    assert!(run.rotten_chunks > 0 && run.rotten_chunks < run.chunks, "{run:?}");
    assert_eq!((run.mended_chunks, run.lost_versions), (run.rotten_chunks, 0));
    assert!(is_sound(&central, &manifest));
    let events = central.events_about(package.as_str()).await;
    assert!(events.iter().any(|text| text.contains("came again from distribution point hall")), "{events:?}");
    let events = central.events_about("CEN").await;
    assert!(
        events.iter().any(|text| text.contains("rotten chunks") && text.contains("check the disk")),
        "{events:?}"
    );
    let status = central.status(&package, central.code()).await.unwrap();
    assert_eq!(status.state, PackageState::Installed, "it was never gone");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_child_gets_the_rotten_chunks_alone_from_its_parent() {
    let (central, child, line, package) = parent_and_child(&noise(900_000, 2)).await;
    let manifest = manifest_of(&central, &package).await;
    let file = child.path("hall").join(package.as_str()).join("setup.sh");
    fs::write(&file, b"altered by hand").unwrap();
    let sent = line.data_bytes();
    rot(&child, 200_000);

    let run = checked(&child).await;

    assert_eq!((run.mended_chunks, run.lost_versions), (run.rotten_chunks, 0), "{run:?}");
    assert!(is_sound(&child, &manifest));
    let repair = child.site.care.repairs().remove(0);
    assert_eq!(repair.from, [("site CEN".to_owned(), repair.lacked)]);
    assert_eq!(line.data_bytes(), sent, "no bundle went");
    let status: PackageStatus = central.status(&package, child.code()).await.unwrap();
    assert_eq!(status.state, PackageState::Installed);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_manifest_that_rotted_comes_again_too() {
    let (central, child, _line, package) = parent_and_child(&noise(100_000, 2)).await;
    let manifest = manifest_of(&central, &package).await;
    let path = child.site.directories.library().join("manifests").join(manifest.to_string());
    fs::write(&path, b"rotten").unwrap();

    let run = checked(&child).await;

    assert_eq!((run.rotten_manifests, run.lost_versions), (1, 0));
    assert!(is_sound(&child, &manifest));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_nobody_has_is_told_and_what_is_left_of_it_is_kept() {
    let central = Node::central(SystemClock::shared()).await;
    central.start();
    let package = central.package(&noise(400_000, 1)).await;
    let manifest = manifest_of(&central, &package).await;
    central.source(b"the source has changed since");
    rot(&central, 200_000);

    let run = checked(&central).await;

    assert_eq!((run.mended_chunks, run.lost_versions), (0, 1), "{run:?}");
    until("it is told", || async {
        let status = central.status(&package, central.code()).await.unwrap();
        status.state == PackageState::Failed && status.reason.contains("packhorse package update")
    })
    .await;
    let content = central.site.library.manifest(&manifest).unwrap().expect("it is kept");
    assert_eq!(central.site.library.missing(&content).len() as u64, run.rotten_chunks);
}

#[tokio::test]
async fn a_check_that_was_interrupted_goes_on_where_it_was() {
    let central = Node::central(SystemClock::shared()).await;
    central.package(&noise(3_000_000, 1)).await;
    let mut verifier = ContentVerifier::new(central.site.clone());
    // A second of reading is a part of it.
    verify::start(&central.site, "admin anna", 1_000_000).await.unwrap();
    verifier.step().await.unwrap();
    let before = verify::runs(&central.site).await.unwrap().0.now.expect("it goes on");
    assert!(before.bytes_done > 0 && before.bytes_done < before.bytes_total, "{before:?}");
    verify::start(&central.site, "admin anna", 0).await.unwrap();

    // As a server that was killed and started again.
    *central.site.care.runs.lock().await = verify::Runs::default();
    let again = verify::runs(&central.site).await.unwrap().0.now.expect("it is known");
    assert_eq!(again.bytes_done, before.bytes_done);
    while verify::runs(&central.site).await.unwrap().0.now.is_some() {
        verifier.step().await.unwrap();
    }

    let run = verify::runs(&central.site).await.unwrap().0.last.unwrap();
    assert_eq!(run.bytes_done, central.site.library.scrub_bytes(Default::default()) - 16);
}

#[tokio::test]
async fn a_library_is_checked_every_month_unless_that_is_off() {
    for (every, runs) in [(Some(Duration::from_secs(30 * 86_400)), true), (None, false)] {
        let clock = ManualClock::new(SystemClock.now());
        let central =
            Node::central_with(Arc::new(clock.clone()), |settings| settings.content.verify_every = every)
                .await;
        let mut verifier = ContentVerifier::new(central.site.clone());
        for _ in 0..2 {
            verifier.step().await.unwrap();
            clock.advance(Duration::from_secs(29 * 86_400));
        }
        let is_known = |runs: verify::Runs| runs.now.or(runs.last);
        let after_29_days = is_known(verify::runs(&central.site).await.unwrap().0);
        assert_eq!(after_29_days, None);

        for _ in 0..3 {
            verifier.step().await.unwrap();
        }

        let run = is_known(verify::runs(&central.site).await.unwrap().0);
        assert_eq!(run.map(|run| run.asked_by), runs.then(|| verify::SCHEDULE.to_owned()));
    }
}

#[tokio::test]
async fn a_check_that_is_stopped_ends() {
    let central = Node::central(SystemClock::shared()).await;
    assert!(!verify::stop(&central.site).await.unwrap());
    verify::start(&central.site, "admin anna", 1000).await.unwrap();

    assert!(verify::stop(&central.site).await.unwrap());
    ContentVerifier::new(central.site.clone()).step().await.unwrap();

    let (runs, _) = verify::runs(&central.site).await.unwrap();
    assert!(runs.now.is_none() && runs.last.unwrap().stopped);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_parent_lost_its_child_brings_back() {
    let (central, child, _line, package) = parent_and_child(&noise(900_000, 2)).await;
    let manifest = manifest_of(&central, &package).await;
    central.source(b"the source has changed since");
    rot(&central, 200_000);
    let run = checked(&central).await;
    assert_eq!((run.mended_chunks, run.lost_versions), (0, 1), "{run:?}");
    assert!(!is_sound(&central, &manifest));

    let mut giver = Giver::new(child.site.clone());
    giver.step().await.unwrap();
    assert!(!is_sound(&central, &manifest), "it does not begin with that");
    giver.step().await.unwrap();

    assert!(is_sound(&central, &manifest));
    until("it counts as held again", || async {
        let status = central.status(&package, central.code()).await.unwrap();
        status.state == PackageState::Installed && status.held == [manifest]
    })
    .await;
}
