//! Arrivals taken in one step at a time, as they are after a stop at any point.

mod unpacking;

use std::{
    fs::{self, File},
    os::unix::fs::{FileExt as _, MetadataExt as _},
    path::PathBuf,
};

use packhorse_content::{BundlePlan, Making, write_bundle};
use packhorse_domain::{Priority, distribution::Distribution, link::ItemId, object::ObjectKind};
use packhorse_proto::object::v1 as wire;
use packhorse_runtime::{Next, SystemClock, Worker as _};

use super::Despooler;
use crate::{
    distribution::DistributionManager,
    record::{self, Body},
    store::{
        arrivals::{self, Arrival, ArrivalState},
        bundles,
        contents::{self, Content},
        neighbours,
    },
    testing::{Node, noise},
};

struct World {
    central: Node,
    child: Node,
    despooler: Despooler,
}

impl World {
    async fn new() -> World {
        let world = World::leaf().await;
        // Bundles are kept for those below.
        let mut tx = world.child.site.store.begin().await.unwrap();
        neighbours::add(&mut tx, &"LYO".parse().unwrap(), neighbours::Relation::Child).await.unwrap();
        tx.commit().await.unwrap();
        world
    }

    /// Nobody is below the child.
    async fn leaf() -> World {
        let central = Node::central(SystemClock::shared()).await;
        let child = central.child("PAR", SystemClock::shared()).await;
        let despooler = Despooler::new(child.site.clone());
        World { central, child, despooler }
    }

    /// A bundle with a new package, whole in the child's spool.
    async fn arrived(&self, seed: u64, priority: Priority) -> Arrival {
        self.arrived_as(&noise(100_000, seed), priority, ArrivalState::Complete).await
    }

    async fn arrived_as(&self, content: &[u8], priority: Priority, state: ArrivalState) -> Arrival {
        let package = self.central.package(content).await;
        let mut tx = self.central.site.store.read().await.unwrap();
        let target = contents::of(&mut tx, &package).await.unwrap()[0].manifest;
        let part = self.child.path("part");
        let plan = BundlePlan { target, bases: Vec::new() };
        let info = write_bundle(
            &self.central.site.library,
            &plan,
            &mut File::create(&part).unwrap(),
            Making::small(3),
        )
        .unwrap();
        let arrival = Arrival {
            item: ItemId::of(&info.digest),
            peer: self.central.code().clone(),
            package,
            target,
            bases: Vec::new(),
            digest: info.digest,
            length: info.length,
            priority,
            outlined: false,
            state,
            reason: String::new(),
            changed_at: self.child.site.now(),
        };
        fs::rename(part, self.child.site.directories.arrival(&arrival.item)).unwrap();
        self.put(&arrival).await;
        arrival
    }

    async fn put(&self, arrival: &Arrival) {
        let mut tx = self.child.site.store.begin().await.unwrap();
        arrivals::put(&mut tx, arrival).await.unwrap();
        tx.commit().await.unwrap();
    }

    async fn arrivals(&self) -> Vec<Arrival> {
        arrivals::list(&mut self.child.site.store.read().await.unwrap()).await.unwrap()
    }

    async fn settle(&mut self) {
        while self.despooler.step().await.unwrap() == Next::Again {}
    }

    /// The version is held, and the bundle is kept for the children.
    async fn assert_taken_in(&self, arrival: &Arrival) {
        assert!(self.arrivals().await.is_empty());
        let mut tx = self.child.site.store.read().await.unwrap();
        let held = contents::of(&mut tx, &arrival.package).await.unwrap();
        assert_eq!(held.iter().map(|one| one.manifest).collect::<Vec<_>>(), [arrival.target]);
        assert!(self.child.site.library.verify(&arrival.target).unwrap().is_empty());
        assert!(bundles::get(&mut tx, &arrival.digest).await.unwrap().is_some());
        assert!(self.child.site.directories.bundle(&arrival.digest).exists());
        assert!(!self.child.site.directories.arrival(&arrival.item).exists());
    }
}

#[tokio::test]
async fn a_whole_bundle_gets_into_the_library_and_is_kept_for_the_children() {
    let mut world = World::new().await;
    let arrival = world.arrived(1, Priority::Medium).await;

    world.settle().await;

    world.assert_taken_in(&arrival).await;
}

#[tokio::test]
async fn a_site_with_nobody_below_keeps_no_bundle() {
    let mut world = World::leaf().await;
    let arrival = world.arrived(1, Priority::Medium).await;

    world.settle().await;

    assert!(world.arrivals().await.is_empty());
    let directories = &world.child.site.directories;
    assert!(!directories.bundle(&arrival.digest).exists() && !directories.arrival(&arrival.item).exists());
    let mut tx = world.child.site.store.read().await.unwrap();
    assert!(bundles::get(&mut tx, &arrival.digest).await.unwrap().is_none());
    assert_eq!(contents::of(&mut tx, &arrival.package).await.unwrap().len(), 1);
}

#[tokio::test]
async fn a_stop_after_the_move_and_before_the_record_costs_nothing() {
    let mut world = World::new().await;
    let arrival = world.arrived(1, Priority::Medium).await;
    let directories = &world.child.site.directories;
    fs::rename(directories.arrival(&arrival.item), directories.bundle(&arrival.digest)).unwrap();

    world.settle().await;

    world.assert_taken_in(&arrival).await;
    let events = world.child.events().await;
    assert!(!events.iter().any(|text| text.contains("could not be used")), "{events:#?}");
}

#[tokio::test]
async fn a_record_without_the_removal_of_the_arrival_converges() {
    let mut world = World::new().await;
    let arrival = world.arrived(1, Priority::Medium).await;
    world.settle().await;
    let mut tx = world.child.site.store.begin().await.unwrap();
    arrivals::put(&mut tx, &arrival).await.unwrap();
    tx.commit().await.unwrap();

    world.settle().await;

    world.assert_taken_in(&arrival).await;
}

#[tokio::test]
async fn the_library_s_word_without_the_record_converges() {
    let mut world = World::new().await;
    let arrival = world.arrived(1, Priority::Medium).await;
    world.settle().await;
    let directories = &world.child.site.directories;
    fs::rename(directories.bundle(&arrival.digest), directories.arrival(&arrival.item)).unwrap();
    let mut tx = world.child.site.store.begin().await.unwrap();
    contents::remove(&mut tx, &arrival.package, &arrival.target).await.unwrap();
    bundles::remove(&mut tx, &arrival.digest).await.unwrap();
    arrivals::put(&mut tx, &arrival).await.unwrap();
    tx.commit().await.unwrap();

    world.settle().await;

    world.assert_taken_in(&arrival).await;
}

#[tokio::test]
async fn damaged_bytes_are_told_apart_and_hold_up_nobody() {
    let mut world = World::new().await;
    let damaged = world.arrived(1, Priority::Medium).await;
    let path = world.child.site.directories.arrival(&damaged.item);
    let mut bytes = fs::read(&path).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs::write(&path, bytes).unwrap();
    let sound = world.arrived(2, Priority::Medium).await;

    world.settle().await;

    let left = world.arrivals().await;
    assert_eq!(left.len(), 1);
    assert_eq!((left[0].item, left[0].state), (damaged.item, ArrivalState::Failed));
    let mut tx = world.child.site.store.read().await.unwrap();
    let held: Vec<Content> = contents::list(&mut tx).await.unwrap();
    assert_eq!(held.iter().map(|one| &one.package).collect::<Vec<_>>(), [&sound.package]);
}

#[tokio::test]
async fn the_urgent_is_taken_in_first() {
    let mut world = World::new().await;
    let low = world.arrived(1, Priority::Low).await;
    world.arrived(2, Priority::High).await;

    assert_eq!(world.despooler.step().await.unwrap(), Next::Again);

    let left = world.arrivals().await;
    assert_eq!(left.iter().map(|one| one.item).collect::<Vec<_>>(), [low.item]);
}

/// A bundle for the directory `hall` of the child, which knows of it.
async fn arrived_for_hall(world: &World) -> Arrival {
    world.child.hall().await;
    world.child.tell(&world.central, ObjectKind::DistributionPoint, "PAR/hall").await;
    let arrival = world.arrived(1, Priority::Medium).await;
    world.central.send(&arrival.package, world.child.code()).await;
    for kind in [ObjectKind::Package, ObjectKind::Distribution] {
        world.central.tell(&world.child, kind, arrival.package.as_str()).await;
    }
    arrival
}

/// What is staged for the directory.
fn staged(world: &World) -> Option<PathBuf> {
    let mut all = fs::read_dir(world.child.path("hall/.packhorse/.staging")).ok()?;
    all.next().map(|one| one.unwrap().path())
}

#[tokio::test]
async fn what_arrives_for_a_directory_is_staged_and_shown() {
    let mut world = World::new().await;
    let arrival = arrived_for_hall(&world).await;
    let left_over = world.child.path("hall/.packhorse/.staging/CEN00009");
    fs::create_dir_all(&left_over).unwrap();

    world.settle().await;

    assert!(!left_over.exists(), "an earlier run left it");
    let staged = staged(&world).unwrap();
    let inode = staged.join("setup.sh").metadata().unwrap().ino();
    DistributionManager::new(world.child.site.clone()).step().await.unwrap();
    let shown = world.child.path("hall").join(arrival.package.as_str());
    assert_eq!(shown.join("setup.sh").metadata().unwrap().ino(), inode);
    assert!(!staged.exists());
}

#[tokio::test]
async fn what_is_staged_goes_when_nobody_wants_it() {
    let mut world = World::new().await;
    let arrival = arrived_for_hall(&world).await;
    world.settle().await;
    let staged = staged(&world).unwrap();
    let nowhere = Body::of::<wire::Distribution, _>(&Distribution::empty(arrival.package.clone()));
    let kind = ObjectKind::Distribution;
    let mut tx = world.central.site.store.begin().await.unwrap();
    record::write(&world.central.site, &mut tx, kind, arrival.package.as_str(), nowhere).await.unwrap();
    tx.commit().await.unwrap();
    world.central.tell(&world.child, kind, arrival.package.as_str()).await;

    DistributionManager::new(world.child.site.clone()).step().await.unwrap();

    assert!(!staged.exists());
}
