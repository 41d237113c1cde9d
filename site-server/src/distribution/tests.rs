//! What is kept, and what goes.

use std::fs;

use packhorse_content::snapshot;
use packhorse_domain::{
    Digest, Priority,
    distribution::Distribution,
    id::PackageId,
    link::ItemId,
    object::{Object, ObjectKind},
};
use packhorse_proto::{
    object::v1 as wire,
    provider::v1::{
        CheckDirectoryRequest, RemoveTargetsRequest,
        distribution_point_service_server::DistributionPointService as _,
        package_service_server::PackageService as _,
    },
};
use packhorse_runtime::{SystemClock, Worker as _};

use super::{
    DistributionManager, View, cleanup,
    intake::{SourceFrom, snapshot_source},
    report_libraries, report_library,
};
use crate::{
    record::Body,
    store::{
        arrivals::{self, Arrival, ArrivalState},
        bundles,
        contents::{self, Content},
        objects,
    },
    testing::{Node, noise, until},
};

async fn held(node: &Node) -> Vec<u64> {
    let mut tx = node.site.store.read().await.unwrap();
    contents::list(&mut tx).await.unwrap().into_iter().map(|content| content.source_version).collect()
}

/// Content in the library that no row names yet.
fn taken_in(node: &Node, seed: u64) -> Digest {
    let path = node.path("unrecorded");
    fs::create_dir_all(&path).unwrap();
    fs::write(path.join("file"), noise(50_000, seed)).unwrap();
    snapshot(&path, &node.site.library, &|_| std::ops::ControlFlow::Continue(())).unwrap().digest
}

async fn record(node: &Node, package: &PackageId, manifest: Digest, source_version: u64) {
    let mut tx = node.site.store.begin().await.unwrap();
    let content = Content { package: package.clone(), manifest, source_version };
    contents::add(&mut tx, &content, node.site.now()).await.unwrap();
    tx.commit().await.unwrap();
}

/// As it came from above: the package was deleted.
async fn bury(node: &Node, package: &PackageId) {
    let object = Object {
        kind: ObjectKind::Package,
        id: package.to_string(),
        owner: "CEN".parse().unwrap(),
        version: 9,
        deleted: true,
        body: Vec::new(),
        traceparent: String::new(),
    };
    let mut tx = node.site.store.begin().await.unwrap();
    objects::put(&mut tx, &object, b"", &Digest([0; 32]), node.site.now()).await.unwrap();
    tx.commit().await.unwrap();
}

#[tokio::test]
async fn the_current_version_and_the_one_before_stay() {
    let central = Node::central(SystemClock::shared()).await;
    let mut manager = DistributionManager::new(central.site.clone());
    let package = central.package(&noise(50_000, 1)).await;
    for seed in 2..5 {
        central.update(&package, &noise(50_000, seed)).await;
    }
    assert_eq!(held(&central).await, [4, 3, 2, 1]);

    manager.step().await.unwrap();

    assert_eq!(held(&central).await, [4, 3]);
    let mut tx = central.site.store.read().await.unwrap();
    let kept = contents::list(&mut tx).await.unwrap();
    assert_eq!(central.site.library.manifests().unwrap().len(), 2);
    for content in kept {
        assert!(central.site.library.verify(&content.manifest).unwrap().is_empty());
    }
}

#[tokio::test]
async fn nothing_is_collected_while_an_intake_is_under_way_and_nobody_waits_long() {
    let central = Node::central(SystemClock::shared()).await;
    let mut manager = DistributionManager::new(central.site.clone());
    let package = central.package(&noise(50_000, 1)).await;
    let gate = central.site.content_gate.read().await;
    let taken = taken_in(&central, 9);

    manager.step().await.unwrap();
    assert!(central.site.library.has_manifest(&taken), "it is about to be recorded");
    drop(central.site.content_gate.try_read().expect("nobody queues for the gate any more"));

    record(&central, &package, taken, 0).await;
    drop(gate);
    let stray = taken_in(&central, 10);
    manager.step().await.unwrap();
    assert!(central.site.library.verify(&taken).unwrap().is_empty());
    assert!(!central.site.library.has_manifest(&stray), "the sweep was made up for");
}

#[tokio::test]
async fn bundles_to_a_new_version_are_made_ahead_and_kept_as_far_as_the_settings_say() {
    let central = Node::central_with(SystemClock::shared(), |settings| {
        settings.content.older_versions = 3;
        settings.content.prepare_ahead = 2;
    })
    .await;
    let _child = central.child("PAR", SystemClock::shared()).await;
    let mut manager = DistributionManager::new(central.site.clone());
    let package = central.package(&noise(50_000, 1)).await;
    for seed in 2..6 {
        central.update(&package, &noise(50_000, seed)).await;
    }
    let versions: Vec<Digest> = {
        let mut tx = central.site.store.read().await.unwrap();
        contents::list(&mut tx).await.unwrap().into_iter().map(|content| content.manifest).collect()
    };
    let ahead = async || {
        let mut tx = central.site.store.read().await.unwrap();
        let bundles = bundles::list(&mut tx).await.unwrap();
        let mut steps: Vec<Vec<Digest>> =
            bundles.into_iter().map(|one| [one.bases, vec![one.target]].concat()).collect();
        steps.retain(|step| step.len() == 2);
        steps.sort();
        steps
    };
    for _ in 0..5 {
        manager.step().await.unwrap();
    }
    assert_eq!(held(&central).await, [5, 4, 3, 2], "three older ones are kept");
    assert!(ahead().await.is_empty(), "no child is to have it");

    send_to(&central, &package, "PAR/hall").await;
    for _ in 0..5 {
        manager.step().await.unwrap();
    }

    let mut expected = [[versions[1], versions[0]], [versions[2], versions[0]]].map(Vec::from).to_vec();
    expected.sort();
    assert_eq!(ahead().await, expected);
}

#[tokio::test]
async fn a_bundle_that_another_version_of_the_program_made_is_made_again() {
    let central = Node::central(SystemClock::shared()).await;
    let _child = central.child("PAR", SystemClock::shared()).await;
    let package = central.package(&noise(50_000, 1)).await;
    send_to(&central, &package, "PAR/hall").await;
    DistributionManager::new(central.site.clone()).step().await.unwrap();
    let bundle = {
        let mut tx = central.site.store.read().await.unwrap();
        bundles::list(&mut tx).await.unwrap().remove(0)
    };
    let path = central.site.directories.bundle(&bundle.digest);
    let sound = fs::read(&path).unwrap();
    let mut older = sound.clone();
    older[4] -= 1;
    fs::write(&path, &older).unwrap();

    let mut manager = DistributionManager::new(central.site.clone());
    manager.step().await.unwrap();

    assert_eq!(fs::read(&path).unwrap(), sound, "the same plan makes the same bytes");
    // It looks once, when it begins.
    let changed = fs::metadata(&path).unwrap().modified().unwrap();
    manager.step().await.unwrap();
    assert_eq!(fs::metadata(&path).unwrap().modified().unwrap(), changed);
}

/// A distribution to a point of a child.
async fn send_to(central: &Node, package: &PackageId, target: &str) {
    let mut distribution = Distribution::empty(package.clone());
    distribution.add([target.parse().unwrap()]);
    let body = Body::of::<wire::Distribution, _>(&distribution);
    let mut tx = central.site.store.begin().await.unwrap();
    let kind = ObjectKind::Distribution;
    crate::record::write(&central.site, &mut tx, kind, package.as_str(), body).await.unwrap();
    tx.commit().await.unwrap();
}

#[tokio::test]
async fn what_became_wanted_since_the_look_at_the_objects_is_kept() {
    let central = Node::central(SystemClock::shared()).await;
    let child = central.child("PAR", SystemClock::shared()).await;
    let package = central.package(&noise(50_000, 1)).await;
    send_to(&central, &package, "PAR/hall").await;
    central.tell(&child, ObjectKind::Package, package.as_str()).await;
    let taken = taken_in(&child, 1);
    record(&child, &package, taken, 0).await;
    let mut tx = child.site.store.read().await.unwrap();
    let view = View::load(&child.site, &mut tx).await.unwrap();
    drop(tx);

    central.tell(&child, ObjectKind::Distribution, package.as_str()).await;
    cleanup::clean(&child.site, &view, &mut true).await.unwrap();

    assert_eq!(held(&child).await, [0]);
}

#[tokio::test]
async fn content_that_came_before_its_objects_waits_for_them() {
    let central = Node::central(SystemClock::shared()).await;
    let child = central.child("PAR", SystemClock::shared()).await;
    let mut manager = DistributionManager::new(child.site.clone());
    let package: PackageId = "CEN00001".parse().unwrap();
    let taken = taken_in(&child, 1);
    record(&child, &package, taken, 0).await;

    manager.step().await.unwrap();
    assert!(child.site.library.verify(&taken).unwrap().is_empty());
    assert_eq!(held(&child).await, [0]);

    bury(&child, &package).await;
    manager.step().await.unwrap();
    assert!(held(&child).await.is_empty());
    assert!(!child.site.library.has_manifest(&taken));
}

#[tokio::test]
async fn what_was_being_received_of_a_deleted_package_goes() {
    let central = Node::central(SystemClock::shared()).await;
    let child = central.child("PAR", SystemClock::shared()).await;
    let mut manager = DistributionManager::new(child.site.clone());
    let arrival = |package: &str, byte: u8| Arrival {
        item: ItemId([byte; 16]),
        peer: "CEN".parse().unwrap(),
        package: package.parse().unwrap(),
        target: Digest([byte; 32]),
        bases: Vec::new(),
        digest: Digest([byte; 32]),
        length: 100,
        priority: Priority::Medium,
        outlined: false,
        state: ArrivalState::Receiving,
        reason: String::new(),
        changed_at: child.site.now(),
    };
    let (gone, kept) = (arrival("CEN00001", 1), arrival("CEN00002", 2));
    let mut tx = child.site.store.begin().await.unwrap();
    for one in [&gone, &kept] {
        arrivals::put(&mut tx, one).await.unwrap();
        fs::write(child.site.directories.arrival(&one.item), b"part").unwrap();
    }
    tx.commit().await.unwrap();
    bury(&child, &gone.package).await;

    manager.step().await.unwrap();

    let left = arrivals::list(&mut child.site.store.read().await.unwrap()).await.unwrap();
    assert_eq!(
        left.iter().map(|one| one.item).collect::<Vec<_>>(),
        [kept.item],
        "its definition is on its way"
    );
    assert!(!child.site.directories.arrival(&gone.item).exists());
    assert!(child.site.directories.arrival(&kept.item).exists());
}

#[tokio::test]
async fn lost_content_is_taken_in_again_from_its_source() {
    let central = Node::central(SystemClock::shared()).await;
    let mut manager = DistributionManager::new(central.site.clone());
    let package = central.package(&noise(50_000, 1)).await;
    let manifest = contents::list(&mut central.site.store.read().await.unwrap()).await.unwrap()[0].manifest;
    central.site.library.collect(&[]).unwrap();
    super::check_contents(&central.site).await.unwrap();
    assert!(held(&central).await.is_empty());

    manager.step().await.unwrap();

    assert_eq!(held(&central).await, [1]);
    assert!(central.site.library.verify(&manifest).unwrap().is_empty());
    let status = central.status(&package, central.code()).await.unwrap();
    assert_eq!(status.held, [manifest]);
}

#[tokio::test]
async fn a_source_is_read_once_and_its_record_goes_with_the_package() {
    let central = Node::central(SystemClock::shared()).await;
    let mut manager = DistributionManager::new(central.site.clone());
    let package = central.package(&noise(50_000, 1)).await;
    let records = || fs::read_dir(central.site.directories.sources()).unwrap().count();
    manager.step().await.unwrap();
    assert_eq!(records(), 1, "it is kept as long as the package has that source");

    // Programs are built on a disk more often than temporary files lie on one.
    let program = std::env::current_exe().unwrap();
    let source = tempfile::tempdir_in(program.parent().unwrap()).unwrap();
    fs::write(source.path().join("file"), b"content").unwrap();
    let from = SourceFrom::Directory(source.path().to_owned());
    let read = async || snapshot_source(&central.site, &from).await.unwrap().unwrap().files_read;
    assert_eq!(read().await, 1);
    // As soon as the file is old enough; where the file system's times mean nothing, never.
    const EXT_AND_OVERLAY: [i64; 2] = [0xef53, 0x794c_7630];
    if EXT_AND_OVERLAY.contains(&(rustix::fs::statfs(source.path()).unwrap().f_type as i64)) {
        until("the file is known", async || read().await == 0).await;
        fs::write(source.path().join("file"), b"CONTENT").unwrap();
    }
    assert_eq!(read().await, 1);
    assert_eq!(records(), 2);

    central.delete(&package).await;
    manager.step().await.unwrap();
    assert_eq!(records(), 0);
}

#[tokio::test]
async fn what_is_altered_by_hand_in_a_directory_is_put_right_on_demand_and_told() {
    let central = Node::central(SystemClock::shared()).await;
    let mut manager = DistributionManager::new(central.site.clone());
    let package = central.package(&noise(50_000, 1)).await;
    central.hall().await;
    central.send(&package, central.code()).await;
    manager.step().await.unwrap();
    let file = central.path("hall").join(package.as_str()).join("setup.sh");
    let points = crate::provider::DistributionPoints::new(central.site.clone());
    let check = async || {
        let request = CheckDirectoryRequest { name: "hall".to_owned() };
        points.check_directory(central.asked(request)).await.unwrap();
    };
    fs::write(&file, b"altered").unwrap();
    manager.step().await.unwrap();
    assert_eq!(fs::read(&file).unwrap(), b"altered", "nobody asked, and it is not time to look");

    check().await;
    manager.step().await.unwrap();

    assert_eq!(fs::read(&file).unwrap(), noise(50_000, 1));
    let told = central.events_about(package.as_str()).await;
    let altered =
        "version 1 on distribution point hall had been altered by hand and is right again: setup.sh";
    assert_eq!(told.iter().filter(|text| *text == altered).count(), 1, "{told:?}");
    check().await;
    manager.step().await.unwrap();
    manager.step().await.unwrap();
    let told = central.events_about(package.as_str()).await;
    let answered =
        "all 1 files of version 1 on distribution point hall were compared: nothing had been altered";
    assert_eq!(told.iter().filter(|text| *text == answered).count(), 1, "{told:?}");
}

#[tokio::test]
async fn what_is_altered_by_hand_in_a_directory_is_found_by_a_look() {
    let central = Node::central(SystemClock::shared()).await;
    let package = central.package(&noise(50_000, 1)).await;
    central.hall().await;
    central.send(&package, central.code()).await;
    DistributionManager::new(central.site.clone()).step().await.unwrap();
    let file = central.path("hall").join(package.as_str()).join("setup.sh");
    fs::remove_file(&file).unwrap();

    // A server that starts looks at once.
    DistributionManager::new(central.site.clone()).step().await.unwrap();

    assert_eq!(fs::read(&file).unwrap(), noise(50_000, 1));
    let told = central.events_about(package.as_str()).await;
    let altered = |told: &[String]| told.iter().filter(|text| text.contains("altered by hand")).count();
    assert_eq!(altered(&told), 1, "{told:?}");

    // What is taken away on purpose and comes back was not altered.
    let target = wire::distribution::Target { site: "CEN".to_owned(), distribution_point: "hall".to_owned() };
    let request = RemoveTargetsRequest { package: package.to_string(), targets: vec![target] };
    let packages = crate::provider::Packages::new(central.site.clone());
    packages.remove_targets(central.asked(request)).await.unwrap();
    DistributionManager::new(central.site.clone()).step().await.unwrap();
    assert!(!file.exists());
    central.send(&package, central.code()).await;
    DistributionManager::new(central.site.clone()).step().await.unwrap();
    assert!(file.exists());
    assert_eq!(altered(&central.events_about(package.as_str()).await), 1);
}

/// What is said of a bundle that came while a step looks around is not taken back by that step.
#[tokio::test]
async fn a_status_outlives_the_step_that_looked_before_its_package_came() {
    let central = Node::central(SystemClock::shared()).await;
    let before = View::load(&central.site, &mut central.site.store.read().await.unwrap()).await.unwrap();
    let package = central.package(&noise(50_000, 1)).await;
    central.hall().await;
    central.send(&package, central.code()).await;
    let mut tx = central.site.store.begin().await.unwrap();
    report_library(&central.site, &mut tx, &package).await.unwrap();
    tx.commit().await.unwrap();

    report_libraries(&central.site, &before).await.unwrap();

    assert!(central.status(&package, central.code()).await.is_some());
}
