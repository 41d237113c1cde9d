//! Bundles that are taken in while they arrive.

use packhorse_domain::{Digest, status::PackageStatus};

use super::*;
use crate::{
    despooler::{Expected, Filling, Unpacking},
    testing::until,
};

const LONG: usize = 9_000_000;

/// A bundle of which half is in its file, and all its bytes.
async fn half(world: &World) -> (Arrival, Vec<u8>, File) {
    let content = noise(LONG, 1);
    let arrival = world.arrived_as(&content, Priority::Medium, ArrivalState::Receiving).await;
    let path = world.child.site.directories.arrival(&arrival.item);
    let bytes = fs::read(&path).unwrap();
    let file = File::options().read(true).write(true).open(&path).unwrap();
    file.set_len(bytes.len() as u64 / 2).unwrap();
    (arrival, bytes, file)
}

/// What an earlier run left must be gone first.
async fn first_step(world: &mut World) {
    assert_eq!(world.despooler.step().await.unwrap(), Next::Idle);
}

async fn begin(world: &World, arrival: &Arrival, file: &File) -> Option<Filling> {
    let expected = Expected {
        item: arrival.item,
        package: arrival.package.clone(),
        target: arrival.target,
        digest: arrival.digest,
        length: arrival.length,
        is_checked: true,
    };
    let file = file.try_clone().unwrap();
    Unpacking::begin(&world.child.site, &expected, file, arrival.length / 2).await.unwrap()
}

/// All of it comes, and nobody says that it was checked.
async fn comes(world: &World, arrival: &Arrival, (bytes, file): (&[u8], &File)) {
    let filling = begin(world, arrival, file).await.unwrap();
    file.write_all_at(bytes, 0).unwrap();
    filling.reach(arrival.length);
}

async fn is_whole(world: &World, arrival: &Arrival) {
    world.put(&Arrival { state: ArrivalState::Complete, ..arrival.clone() }).await;
}

#[tokio::test]
async fn what_was_taken_in_as_it_came_is_not_taken_in_again() {
    let mut world = World::leaf().await;
    let (arrival, bytes, file) = half(&world).await;
    assert!(begin(&world, &arrival, &file).await.is_none(), "what an earlier run staged may still be there");
    first_step(&mut world).await;
    let filling = begin(&world, &arrival, &file).await.unwrap();
    assert!(begin(&world, &arrival, &file).await.is_none(), "one at a time");
    assert!(!world.child.site.library.has_manifest(&arrival.target));

    file.write_all_at(&bytes, 0).unwrap();
    filling.reach(arrival.length);
    filling.prove();
    drop(filling);
    let library = world.child.site.library.clone();
    until("it is in the library", || async { library.has_manifest(&arrival.target) }).await;
    assert_eq!(world.despooler.step().await.unwrap(), Next::Idle, "it has not arrived yet");
    assert!(
        world.child.site.content_gate.try_write().is_err(),
        "nobody may collect it before it is recorded"
    );
    file.write_all_at(&[0; 1000], 0).unwrap();
    is_whole(&world, &arrival).await;
    world.settle().await;

    assert!(world.arrivals().await.is_empty(), "its file was not read again");
    let mut tx = world.child.site.store.read().await.unwrap();
    assert_eq!(contents::of(&mut tx, &arrival.package).await.unwrap().len(), 1);
    assert!(library.verify(&arrival.target).unwrap().is_empty());
    assert!(world.child.site.content_gate.try_write().is_ok());
}

#[tokio::test]
async fn what_stopped_coming_is_taken_in_when_it_is_whole() {
    let mut world = World::new().await;
    let (arrival, bytes, file) = half(&world).await;
    first_step(&mut world).await;
    drop(begin(&world, &arrival, &file).await.unwrap());
    file.write_all_at(&bytes, 0).unwrap();
    is_whole(&world, &arrival).await;

    world.settle().await;

    world.assert_taken_in(&arrival).await;
}

#[tokio::test]
async fn what_was_taken_in_and_is_not_wanted_any_more_is_left_to_the_clean_up() {
    let mut world = World::leaf().await;
    let (arrival, bytes, file) = half(&world).await;
    first_step(&mut world).await;
    comes(&world, &arrival, (&bytes, &file)).await;
    let library = world.child.site.library.clone();
    until("it is in the library", || async { library.has_manifest(&arrival.target) }).await;
    let mut tx = world.child.site.store.begin().await.unwrap();
    arrivals::remove(&mut tx, &arrival.item).await.unwrap();
    tx.commit().await.unwrap();

    world.settle().await;

    until("the gate is free", || async { world.child.site.content_gate.try_write().is_ok() }).await;
}

/// A site with a directory, and half of a bundle for it.
async fn half_for_hall() -> (World, Arrival, Vec<u8>, File) {
    let mut world = World::leaf().await;
    world.child.hall().await;
    world.child.tell(&world.central, ObjectKind::DistributionPoint, "PAR/hall").await;
    let (arrival, bytes, file) = half(&world).await;
    world.central.send(&arrival.package, world.child.code()).await;
    for kind in [ObjectKind::Package, ObjectKind::Distribution] {
        world.central.tell(&world.child, kind, arrival.package.as_str()).await;
    }
    first_step(&mut world).await;
    (world, arrival, bytes, file)
}

fn shown(world: &World, arrival: &Arrival) -> PathBuf {
    world.child.path("hall").join(arrival.package.as_str()).join("setup.sh")
}

/// Fills the file, and has Distribution Manager show what it leads to.
async fn comes_and_shows(world: &World, arrival: &Arrival, (bytes, file): (&[u8], &File)) -> u64 {
    comes(world, arrival, (bytes, file)).await;
    let site = &world.child.site;
    let is_staged =
        || async { site.staged.is_ahead(&"hall".parse().unwrap(), &arrival.package, &arrival.target) };
    until("it is staged", is_staged).await;
    DistributionManager::new(site.clone()).step().await.unwrap();
    let metadata = shown(world, arrival).metadata().unwrap();
    assert_eq!(metadata.len(), LONG as u64);
    metadata.ino()
}

/// What the parent is told of the directory.
async fn hall_holds(world: &World, arrival: &Arrival) -> Vec<Digest> {
    let mut tx = world.child.site.store.read().await.unwrap();
    let id = format!("{}/PAR/hall", arrival.package);
    let status = record::find::<wire::PackageStatus, PackageStatus>(&mut tx, ObjectKind::PackageStatus, &id);
    status.await.unwrap().map_or(Vec::new(), |(_, status)| status.held)
}

#[tokio::test]
async fn what_comes_fast_shows_before_the_library_has_it() {
    let (mut world, arrival, bytes, file) = half_for_hall().await;

    let inode = comes_and_shows(&world, &arrival, (&bytes, &file)).await;

    let site = world.child.site.clone();
    assert!(!site.library.has_manifest(&arrival.target));
    assert_eq!(hall_holds(&world, &arrival).await, [arrival.target]);
    assert!(site.content_gate.try_write().is_err(), "its bases stay until it is taken in");
    is_whole(&world, &arrival).await;
    world.settle().await;
    assert!(world.arrivals().await.is_empty());
    assert!(site.library.verify(&arrival.target).unwrap().is_empty());
    assert_eq!(staged(&world), None, "it is laid out once");
    DistributionManager::new(site.clone()).step().await.unwrap();
    assert_eq!(shown(&world, &arrival).metadata().unwrap().ino(), inode);
    assert!(site.content_gate.try_write().is_ok());
}

#[tokio::test]
async fn what_shows_when_we_are_stopped_stays_and_is_taken_in() {
    let (mut world, arrival, bytes, file) = half_for_hall().await;
    let inode = comes_and_shows(&world, &arrival, (&bytes, &file)).await;
    world.child.site.unpacking.retain(|_| false);
    is_whole(&world, &arrival).await;

    world.settle().await;

    let site = world.child.site.clone();
    assert!(site.library.verify(&arrival.target).unwrap().is_empty());
    DistributionManager::new(site).step().await.unwrap();
    assert_eq!(shown(&world, &arrival).metadata().unwrap().ino(), inode);
}

/// What it brings is right, and so it shows; but it is not the bundle that was offered.
#[tokio::test]
async fn what_is_not_what_was_offered_is_not_taken_into_the_library() {
    let (mut world, arrival, mut bytes, file) = half_for_hall().await;
    *bytes.last_mut().unwrap() ^= 1;
    comes_and_shows(&world, &arrival, (&bytes, &file)).await;
    is_whole(&world, &arrival).await;

    world.settle().await;

    assert_eq!(world.arrivals().await[0].state, ArrivalState::Failed);
    assert!(!world.child.site.library.has_manifest(&arrival.target));
}

#[tokio::test]
async fn what_is_not_what_was_wanted_never_shows() {
    let (mut world, arrival, mut bytes, file) = half_for_hall().await;
    bytes[LONG / 2] ^= 1;
    comes(&world, &arrival, (&bytes, &file)).await;
    is_whole(&world, &arrival).await;

    world.settle().await;

    assert_eq!(world.arrivals().await[0].state, ArrivalState::Failed);
    DistributionManager::new(world.child.site.clone()).step().await.unwrap();
    assert!(!shown(&world, &arrival).exists());
    assert_eq!(hall_holds(&world, &arrival).await, []);
}

/// Whoever shows it is busy elsewhere.
#[tokio::test]
async fn the_library_does_not_wait_for_ever() {
    let (mut world, arrival, bytes, file) = half_for_hall().await;
    comes(&world, &arrival, (&bytes, &file)).await;
    is_whole(&world, &arrival).await;

    world.settle().await;

    assert!(world.child.site.library.verify(&arrival.target).unwrap().is_empty());
    assert_eq!(fs::metadata(staged(&world).unwrap().join("setup.sh")).unwrap().len(), LONG as u64);
}
