//! Bundles that are taken in while they arrive.

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
    };
    let file = file.try_clone().unwrap();
    Unpacking::begin(&world.child.site, &expected, file, arrival.length / 2).await.unwrap()
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
    let filling = begin(&world, &arrival, &file).await.unwrap();
    file.write_all_at(&bytes, 0).unwrap();
    filling.reach(arrival.length);
    drop(filling);
    let library = world.child.site.library.clone();
    until("it is in the library", || async { library.has_manifest(&arrival.target) }).await;
    let mut tx = world.child.site.store.begin().await.unwrap();
    arrivals::remove(&mut tx, &arrival.item).await.unwrap();
    tx.commit().await.unwrap();

    world.settle().await;

    until("the gate is free", || async { world.child.site.content_gate.try_write().is_ok() }).await;
}

#[tokio::test]
async fn what_is_taken_in_as_it_comes_is_staged_and_shown() {
    let mut world = World::leaf().await;
    world.child.hall().await;
    world.child.tell(&world.central, ObjectKind::DistributionPoint, "PAR/hall").await;
    let (arrival, bytes, file) = half(&world).await;
    world.central.send(&arrival.package, world.child.code()).await;
    for kind in [ObjectKind::Package, ObjectKind::Distribution] {
        world.central.tell(&world.child, kind, arrival.package.as_str()).await;
    }
    first_step(&mut world).await;
    let filling = begin(&world, &arrival, &file).await.unwrap();
    file.write_all_at(&bytes, 0).unwrap();
    filling.reach(arrival.length);
    drop(filling);
    is_whole(&world, &arrival).await;

    world.settle().await;

    let staged = staged(&world).unwrap();
    assert_eq!(fs::metadata(staged.join("setup.sh")).unwrap().len(), LONG as u64);
}
