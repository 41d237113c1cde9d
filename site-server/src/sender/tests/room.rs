//! A child whose disk has no room for package content: it takes everything else.

use std::{env, fs, path::Path, sync::Arc, time::Duration};

use packhorse_domain::{care::Reserve, object::ObjectKind, package::PackageState};
use packhorse_runtime::{Clock as _, ManualClock, SystemClock};
use rustix::fs::{FallocateFlags, fallocate};

use super::{
    Line,
    link::{is_installed, knows_hall},
};
use crate::{
    care::room,
    store::{arrivals, bundles, contents},
    testing::{Node, noise, until},
};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_bundle_that_does_not_fit_waits_and_objects_pass() {
    let central = Node::central(SystemClock::shared()).await;
    let child = central
        .child_with("PAR", SystemClock::shared(), |settings| {
            settings.content.reserve = Reserve::Bytes(u64::MAX / 2);
        })
        .await;
    child.hall().await;
    central.start();
    child.start();
    let _line = Line::new(&central, &child);
    until("the point is known above", || async {
        central.object(ObjectKind::DistributionPoint, "PAR/hall").await.is_some()
    })
    .await;
    let package = central.package(&noise(100_000, 3)).await;

    central.send(&package, child.code()).await;

    until("both ends know why it waits", || async {
        let above = central.status(&package, child.code()).await;
        above.is_some_and(|status| {
            status.state == PackageState::Retrying && status.reason.contains("sent again by itself")
        })
    })
    .await;
    let told = child.events_about(package.as_str()).await;
    let told: Vec<_> = told.iter().filter(|text| text.contains("a bundle waits")).collect();
    assert_eq!(told.len(), 1, "{told:?}");
    let spool = child.site.directories.incoming();
    for words in [spool.to_str().unwrap(), "are free", "are needed", "stay in reserve", "when there is room"]
    {
        assert!(told[0].contains(words), "{words} is not in: {}", told[0]);
    }
    until("the parent tells too", || async {
        central.events_about(package.as_str()).await.iter().any(|text| text.contains("(no space)"))
    })
    .await;
    let mut tx = central.site.store.read().await.unwrap();
    let sendings = bundles::sendings(&mut tx).await.unwrap();
    assert_eq!(sendings.len(), 1);
    assert!(sendings[0].retry_at > sendings[0].changed_at, "it is tried again: {sendings:?}");
    let mut tx = child.site.store.read().await.unwrap();
    assert!(arrivals::list(&mut tx).await.unwrap().is_empty());

    let other = central.package(b"an object that comes after it").await;
    until("objects pass", || async { child.object(ObjectKind::Package, other.as_str()).await.is_some() })
        .await;
}

/// Nobody else writes to or frees of this file system, and what is left of it beside the reserve is by far more than the
/// bundle takes.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_disk_that_others_fill_stops_a_bundle_until_there_is_room() {
    let memory = Path::new("/dev/shm");
    let root = if memory.is_dir() { memory.to_owned() } else { env::temp_dir() };
    let free = room::disk(&root).unwrap().free_bytes;
    let margin = (free - (free / 16)).min(1 << 30);
    let reserve = Reserve::Bytes(free - margin);
    let clock = ManualClock::new(SystemClock.now());
    let central = Node::central(Arc::new(clock.clone())).await;
    let child = central
        .child_on(&root, "PAR", Arc::new(clock.clone()), |settings| settings.content.reserve = reserve)
        .await;
    child.hall().await;
    central.start();
    child.start();
    let line = Line::slow(&central, &child);
    knows_hall(&central).await;
    let length = 12 << 20;
    let package = central.package(&noise(length, 3)).await;
    central.send(&package, child.code()).await;
    until("a part of it has arrived", || async { line.data_bytes() > 2 << 20 }).await;
    line.stand_still();

    let ballast = child.path("ballast");
    let file = fs::File::create(&ballast).unwrap();
    fallocate(&file, FallocateFlags::empty(), 0, margin).unwrap();
    drop(file);
    line.hurry();

    let sending = async || {
        let mut tx = central.site.store.read().await.unwrap();
        bundles::sendings(&mut tx).await.unwrap().remove(0)
    };
    until("the parent knows why it stopped", || async {
        let reason = sending().await.reason;
        reason.contains("no room for package content") && reason.contains("stay in reserve")
    })
    .await;
    let told = child.events_about(package.as_str()).await;
    assert!(told.iter().any(|text| text.contains("a bundle waits")), "{told:?}");
    assert_eq!(sending().await.state, bundles::SendingState::Failed);
    let mut tx = child.site.store.read().await.unwrap();
    let arrival = arrivals::list(&mut tx).await.unwrap().remove(0);
    assert_eq!(arrival.state, arrivals::ArrivalState::Receiving);
    assert!(contents::of(&mut tx, &package).await.unwrap().is_empty());
    drop(tx);
    assert!(!is_installed(&central, &package, &child).await);

    // Everything else passes, also a withdrawal.
    let other = central.package(b"an object that comes after it").await;
    let is_there = || async { child.object(ObjectKind::Package, other.as_str()).await.is_some() };
    until("objects pass", is_there).await;
    central.delete(&other).await;
    until("removals pass", || async { !is_there().await }).await;
    until("status passes", || async {
        let above = central.status(&package, child.code()).await;
        above.is_some_and(|status| status.state == PackageState::Retrying)
    })
    .await;

    let kept = fs::metadata(child.site.directories.arrival(&arrival.item)).unwrap().len();
    assert!((1 << 20..length as u64).contains(&kept), "{kept}");
    let frames = line.data.lock().unwrap().len();
    fs::remove_file(&ballast).unwrap();
    until("there is room", || async {
        reserve.admit(room::disk(&child.path("")).unwrap(), margin / 2).is_ok()
    })
    .await;
    clock.advance(Duration::from_secs(61));
    central.wakers.link.wake();

    until("it has arrived", || is_installed(&central, &package, &child)).await;
    assert_eq!(line.data.lock().unwrap()[frames].0, kept, "it goes on where it was");
}
