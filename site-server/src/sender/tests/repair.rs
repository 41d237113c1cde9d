//! Sites that lost something, by hand or with a backup, find it on their link and agree again.

use std::{collections::BTreeMap, time::Duration};

use packhorse_domain::{
    Digest,
    client::ClientFact,
    collection::Collection,
    id::{CollectionId, PackageId},
    link::Frame,
    message,
    object::{Direction, ObjectKind},
    package::PackageState,
};
use packhorse_proto::object::v1 as wire;
use packhorse_runtime::SystemClock;

use super::Line;
use crate::{
    config::Settings,
    record::{self, Body},
    status,
    store::{compared, contents, objects},
    testing::{Node, noise, until},
};

/// Two sites that have told each other everything, with the line between them cut.
async fn two() -> (Node, Node) {
    let central = Node::central(SystemClock::shared()).await;
    let child = central.child("PAR", SystemClock::shared()).await;
    child.hall().await;
    (central, child)
}

type Copies = BTreeMap<(ObjectKind, String), (u64, Digest)>;

async fn copies(node: &Node, set: Direction) -> Copies {
    let mut tx = node.site.store.read().await.unwrap();
    let rows = compared::list(&mut tx, node.code(), set).await.unwrap();
    rows.into_iter()
        // What the central site reports of itself goes nowhere.
        .filter(|row| set == Direction::Down || row.owner.as_str() != "CEN")
        .map(|row| ((row.kind, row.id), (row.version, row.digest)))
        .collect()
}

async fn agree(central: &Node, child: &Node) -> bool {
    for set in [Direction::Down, Direction::Up] {
        if copies(central, set).await != copies(child, set).await {
            return false;
        }
    }
    true
}

/// Both hold the same and each knows it of the other.
async fn settled(central: &Node, child: &Node) {
    until("both hold the same", || agree(central, child)).await;
    until("all is acknowledged", || async {
        let mut down = central.site.store.read().await.unwrap();
        let mut up = child.site.store.read().await.unwrap();
        let down = objects::lacking(&mut down, child.code(), Direction::Down, 9).await.unwrap();
        let up = objects::lacking(&mut up, central.code(), Direction::Up, 9).await.unwrap();
        down.is_empty() && up.is_empty()
    })
    .await;
}

async fn hang_up(line: Line, child: &Node, parent: &Node) {
    drop(line);
    for (node, peer) in [(child, parent), (parent, child)] {
        until("the line is down", || async { node.site.links(|links| !links[peer.code()].up) }).await;
    }
}

async fn meet(central: &Node, child: &Node) {
    let line = Line::new(central, child);
    settled(central, child).await;
    hang_up(line, child, central).await;
}

async fn collect(central: &Node, name: &str) -> CollectionId {
    let id: CollectionId = format!("CEN0000{name}").parse().unwrap();
    rename(central, &id, name).await;
    id
}

async fn rename(central: &Node, id: &CollectionId, name: &str) {
    let collection = Collection {
        id: id.clone(),
        name: name.to_owned(),
        rule: Vec::new(),
        clients: vec![client_id(9).parse().unwrap()],
        windows: Default::default(),
    };
    let mut tx = central.site.store.begin().await.unwrap();
    let body = Body::of::<wire::Collection, _>(&collection);
    record::write(&central.site, &mut tx, ObjectKind::Collection, id.as_str(), body).await.unwrap();
    tx.commit().await.unwrap();
}

fn client_id(number: u8) -> String {
    format!("00000000-0000-0000-0000-0000000000{number:02}")
}

async fn client(child: &Node, number: u8, hostname: &str) {
    let fact = ClientFact {
        id: client_id(number).parse().unwrap(),
        site: child.code().clone(),
        hostname: hostname.to_owned(),
        os: "linux".to_owned(),
        arch: "x86_64".to_owned(),
        labels: BTreeMap::new(),
        software: "1".to_owned(),
    };
    let mut tx = child.site.store.begin().await.unwrap();
    let body = Body::of::<wire::ClientFact, _>(&fact);
    record::write(&child.site, &mut tx, ObjectKind::Client, &client_id(number), body).await.unwrap();
    tx.commit().await.unwrap();
}

async fn report(node: &Node, text: &str) {
    let mut tx = node.site.store.begin().await.unwrap();
    status::report(&node.site, &mut tx, text, &message::bundle_damaged_here(&text)).await.unwrap();
    tx.commit().await.unwrap();
}

async fn is_installed(central: &Node, child: &Node, package: &PackageId, version: u64) -> bool {
    central
        .status(package, child.code())
        .await
        .is_some_and(|status| status.state == PackageState::Installed && status.source_version == version)
}

async fn says(node: &Node, what: &str) {
    until(what, || async { node.events().await.iter().any(|text| text.contains(what)) }).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn equal_sites_exchange_one_comparison_each_way() {
    let (central, child) = two().await;
    central.package(b"echo").await;
    meet(&central, &child).await;

    let line = Line::new(&central, &child);
    until("both have shown what they hold", || async { line.compared.lock().unwrap().len() >= 2 }).await;
    // What is made now goes over the line after the comparisons and what answers them, down and up.
    collect(&central, "5").await;
    client(&child, 5, "till").await;
    settled(&central, &child).await;

    let frames = line.compared.lock().unwrap().clone();
    let sets: Vec<_> = frames
        .iter()
        .map(|frame| match frame {
            Frame::Compare(compare) if compare.is_root() => Some(compare.set),
            _ => None,
        })
        .collect();
    assert_eq!(sets.len(), 2, "{frames:#?}");
    assert!(sets.contains(&Some(Direction::Down)) && sets.contains(&Some(Direction::Up)), "{frames:#?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rows_deleted_by_hand_come_back_on_either_side() {
    let (central, child) = two().await;
    central.package(b"echo").await;
    client(&child, 1, "till").await;
    meet(&central, &child).await;
    let (down, up) = (copies(&central, Direction::Down).await, copies(&child, Direction::Up).await);
    let gone = "DELETE FROM object WHERE kind <> 'event'; DELETE FROM replica";

    for (deleted, what) in [
        ((&child, "DELETE FROM object WHERE kind IN ('package', 'trust')"), "what the child was sent"),
        ((&central, "DELETE FROM object WHERE owner = 'PAR' AND kind <> 'event'"), "what the child sent"),
        ((&child, gone), "all that the child held, its own too"),
        ((&central, "DELETE FROM object WHERE kind = 'package'; DELETE FROM replica"), "an owner's own"),
    ] {
        let (node, statements) = deleted;
        node.site.store.by_hand(statements).await;
        assert!(!agree(&central, &child).await, "{what} is gone");
        meet(&central, &child).await;
        assert_eq!(copies(&child, Direction::Down).await, down, "{what}");
        assert_eq!(copies(&central, Direction::Up).await, up, "{what}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_differs_is_told_of_once_and_a_lost_past_is_a_warning() {
    let (central, child) = two().await;
    collect(&central, "1").await;
    client(&child, 1, "till").await;
    meet(&central, &child).await;
    child.site.store.by_hand("DELETE FROM object WHERE kind IN ('client', 'collection')").await;

    let _line = Line::new(&central, &child);

    says(&central, "what goes down differed from what site PAR holds and is repaired; objects: 1").await;
    says(&central, "what comes up differed from what site PAR holds and is repaired; objects: 1").await;
    says(&child, "site CEN holds newer copies than this site of what went up; objects: 1").await;
    assert_eq!(child.events().await.iter().filter(|text| text.contains("restored")).count(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_comparison_is_made_again_and_again() {
    let central = Node::central(SystemClock::shared()).await;
    let often = |settings: &mut Settings| settings.link.compare_every = Duration::from_secs(1);
    let child = central.child_with("PAR", SystemClock::shared(), often).await;
    let _line = Line::new(&central, &child);
    client(&child, 1, "till").await;
    settled(&central, &child).await;

    central.site.store.by_hand("DELETE FROM object WHERE kind = 'client'").await;

    until("both hold the same", || agree(&central, &child)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_deletion_that_counted_as_known_arrives() {
    let (central, child) = two().await;
    let package = central.package(b"echo").await;
    meet(&central, &child).await;
    central.delete(&package).await;
    let mut tx = central.site.store.begin().await.unwrap();
    objects::acknowledge(&mut tx, child.code(), ObjectKind::Package, package.as_str(), 99).await.unwrap();
    tx.commit().await.unwrap();
    assert!(child.object(ObjectKind::Package, package.as_str()).await.is_some());

    meet(&central, &child).await;

    assert!(child.object(ObjectKind::Package, package.as_str()).await.is_none());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_child_restored_from_a_backup_holds_everything_again() {
    let (central, child) = two().await;
    meet(&central, &child).await;
    central.start();
    child.start();
    let doomed = central.package(b"echo 1").await;
    let package = central.package(&noise(100_000, 1)).await;
    central.send(&package, child.code()).await;
    let line = Line::new(&central, &child);
    until("the first version is installed", || is_installed(&central, &child, &package, 1)).await;
    let backup = child.path("backup.db");
    child.site.store.back_up(&backup).await;
    central.update(&package, &noise(100_000, 2)).await;
    central.delete(&doomed).await;
    client(&child, 1, "till").await;
    let newest = central.package(b"echo 2").await;
    until("the second version is installed", || is_installed(&central, &child, &package, 2)).await;
    settled(&central, &child).await;
    hang_up(line, &child, &central).await;

    child.site.store.restore(&backup).await;
    let _line = Line::new(&central, &child);

    until("the child holds what it should", || agree(&central, &child)).await;
    until("it is installed again", || is_installed(&central, &child, &package, 2)).await;
    until("the child says so itself", || is_installed(&child, &child, &package, 2)).await;
    assert!(child.object(ObjectKind::Package, newest.as_str()).await.is_some());
    assert!(child.object(ObjectKind::Package, doomed.as_str()).await.is_none());
    assert!(child.object(ObjectKind::Client, &client_id(1)).await.is_some(), "it was given back");
    // Its messages have numbers that were not given before.
    says(&central, "Was the database restored").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_point_that_the_backup_does_not_know_is_nowhere() {
    let central = Node::central(SystemClock::shared()).await;
    let child = central.child("PAR", SystemClock::shared()).await;
    meet(&central, &child).await;
    let backup = child.path("backup.db");
    child.site.store.back_up(&backup).await;
    child.hall().await;
    meet(&central, &child).await;
    assert!(central.object(ObjectKind::DistributionPoint, "PAR/hall").await.is_some());

    child.site.store.restore(&backup).await;
    meet(&central, &child).await;

    until("nobody holds it to be there", || async {
        let here = child.object(ObjectKind::DistributionPoint, "PAR/hall").await;
        here.is_none() && agree(&central, &child).await
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_restored_child_s_messages_go_on_beyond_those_that_were_told() {
    let (central, child) = two().await;
    meet(&central, &child).await;
    let backup = child.path("backup.db");
    child.site.store.back_up(&backup).await;
    for text in ["before 1", "before 2"] {
        report(&child, text).await;
    }
    meet(&central, &child).await;
    child.site.store.restore(&backup).await;
    report(&child, "lost: its number was given").await;

    let _line = Line::new(&central, &child);
    until("its number is known to be used", || async {
        let mut tx = child.site.store.read().await.unwrap();
        objects::lacking(&mut tx, central.code(), Direction::Up, 9).await.unwrap().is_empty()
    })
    .await;
    report(&child, "after").await;

    says(&central, "after").await;
    says(&central, "before 2").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_owner_restored_from_a_backup_gets_its_own_back_and_gives_no_id_twice() {
    let (central, child) = two().await;
    let package = central.package(b"echo 1").await;
    let forked = collect(&central, "7").await;
    meet(&central, &child).await;
    let backup = central.path("backup.db");
    central.site.store.back_up(&backup).await;
    central.update(&package, b"echo 2").await;
    let lost = central.package(b"echo 3").await;
    let deleted = central.package(b"echo 4").await;
    central.delete(&deleted).await;
    rename(&central, &forked, "before").await;
    meet(&central, &child).await;
    let before = copies(&child, Direction::Down).await;

    central.site.store.restore(&backup).await;
    rename(&central, &forked, "after").await;
    meet(&central, &child).await;

    let mut after = copies(&central, Direction::Down).await;
    let fork = (ObjectKind::Collection, forked.to_string());
    assert_eq!((before[&fork].0, after[&fork].0), (2, 3), "what is here now stays, as a higher version");
    after.insert(fork.clone(), before[&fork]);
    assert_eq!(after, before);
    let held = child.object(ObjectKind::Collection, forked.as_str()).await.unwrap();
    assert_eq!(record::read::<wire::Collection, Collection>(&held).unwrap().name, "after");
    let next = central.package(b"echo 5").await;
    assert!(next != lost && next != deleted, "{next} was given before");
    assert!(central.events().await.iter().any(|text| text.contains("another content of the same version")));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn content_that_was_lost_is_fetched_again() {
    let (central, child) = two().await;
    meet(&central, &child).await;
    central.start();
    child.start();
    let line = Line::new(&central, &child);
    let package = central.package(&noise(300_000, 5)).await;
    central.send(&package, child.code()).await;
    until("it is installed", || is_installed(&central, &child, &package, 1)).await;
    settled(&central, &child).await;
    hang_up(line, &child, &central).await;

    child.site.library.collect(&[]).unwrap();
    child.site.store.by_hand("DELETE FROM content; DELETE FROM object WHERE kind = 'package-status'").await;
    let line = Line::new(&central, &child);

    until("it has been sent again and is installed", || async {
        let mut tx = child.site.store.read().await.unwrap();
        let held = !contents::list(&mut tx).await.unwrap().is_empty();
        held && child.site.library.manifests().unwrap().len() == 1
            && is_installed(&central, &child, &package, 1).await
    })
    .await;
    assert!(line.data_bytes() >= 300_000);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_grandchild_s_objects_come_back_to_the_site_between() {
    let (central, child) = two().await;
    let grandchild = child.child("LYO", SystemClock::shared()).await;
    grandchild.hall().await;
    central.package(b"echo").await;
    meet(&central, &child).await;
    let below = Line::new(&child, &grandchild);
    until("all of it is above", || async {
        child.object(ObjectKind::DistributionPoint, "LYO/hall").await.is_some()
            && grandchild.object(ObjectKind::Package, "CEN00001").await.is_some()
    })
    .await;
    meet(&central, &child).await;
    hang_up(below, &grandchild, &child).await;

    child.site.store.by_hand("DELETE FROM object WHERE owner <> 'PAR'").await;
    let _above = Line::new(&central, &child);
    let _below = Line::new(&child, &grandchild);

    until("it has both again", || async {
        child.object(ObjectKind::DistributionPoint, "LYO/hall").await.is_some()
            && child.object(ObjectKind::Package, "CEN00001").await.is_some()
            && agree(&central, &child).await
    })
    .await;
}
