//! Parcels between real sites, without a line but where one is meant.

mod far;
mod following;
mod joining;
mod offline;

use std::{fs, path::Path};

use packhorse_domain::{
    Timestamp,
    id::{PackageId, SiteCode},
    link::ItemId,
    parcel::ParcelState,
};
use packhorse_parcel::{Identity, ParcelId};
use packhorse_runtime::SystemClock;
use tempfile::TempDir;

use super::{custody, incoming, known, outgoing, trust, unheard};
use crate::{
    error::Error,
    scheduler,
    store::{bundles, neighbours::Relation, parcels},
    testing::{Node, noise, until},
};

const MIB: u64 = 1024 * 1024;

/// Two sites that had a line only to join, by which they have each other's keys; PAR has a distribution point.
async fn sites() -> (Node, Node) {
    let central = Node::central(SystemClock::shared()).await;
    let child = central.child("PAR", SystemClock::shared()).await;
    central.start();
    child.start();
    child.hall().await;
    (central, child)
}

async fn create(node: &Node, to: &Node, volume_bytes: Option<u64>) -> ParcelId {
    let to = [to.code().clone()];
    outgoing::create(&node.site, &to, volume_bytes, false).await.expect("a parcel").0.id
}

async fn write(node: &Node, id: ParcelId, medium: &Path) {
    outgoing::write(&node.site, id, medium.to_owned(), Vec::new(), unheard()).await.expect("written");
}

async fn receive(node: &Node, medium: &Path) -> Vec<incoming::Received> {
    incoming::receive(&node.site, medium.to_owned(), unheard()).await.expect("received")
}

/// A parcel from one to the other, on a medium of its own, all of which is taken.
async fn carry(from: &Node, to: &Node, volume_bytes: Option<u64>) -> (ParcelId, TempDir) {
    let medium = tempfile::tempdir().unwrap();
    let id = create(from, to, volume_bytes).await;
    write(from, id, medium.path()).await;
    let received = receive(to, medium.path()).await;
    assert_eq!(received.len(), 1);
    assert_eq!((received[0].left, &received[0].faults, &*received[0].refused), (0, &Vec::new(), ""));
    (id, medium)
}

async fn state(node: &Node, id: &ParcelId, site: &SiteCode) -> ParcelState {
    let mut tx = node.site.store.read().await.unwrap();
    parcels::sites(&mut tx, id).await.unwrap()[site].0
}

/// A package for PAR's hall, and its bundle.
async fn package(central: &Node, child: &Node, content: &[u8]) -> PackageId {
    let package = central.package(content).await;
    central.send(&package, child.code()).await;
    waits(central, child, 1).await;
    package
}

async fn waiting(central: &Node, child: &Node) -> usize {
    let mut tx = central.site.store.read().await.unwrap();
    let sendings = bundles::sendings_to(&mut tx, child.code()).await.unwrap();
    sendings.iter().filter(|sending| sending.state.is_waiting()).count()
}

async fn waits(central: &Node, child: &Node, bundles: usize) {
    until("the bundles are made", || async { waiting(central, child).await == bundles }).await;
}

async fn lies_in_hall(node: &Node, package: &PackageId, content: &[u8]) {
    let path = node.path("hall").join(package.as_str()).join("setup.sh");
    until("it is on the distribution point", || async {
        fs::read(&path).is_ok_and(|found| found == content)
    })
    .await;
}

#[tokio::test]
async fn sites_without_a_line_are_served_by_parcels_alone() {
    let (central, child) = sites().await;
    // The child makes itself known, with its distribution point.
    carry(&child, &central, None).await;
    let content = noise(3 * MIB as usize, 1);
    let package = package(&central, &child, &content).await;

    let (first, _medium) = carry(&central, &child, Some(MIB)).await;

    lies_in_hall(&child, &package, &content).await;
    assert_eq!(state(&central, &first, child.code()).await, ParcelState::Created);
    assert_eq!(waiting(&central, &child).await, 1, "nobody has told the centre yet");
    // Status goes up, and with it the receipt.
    let (up, _medium) = carry(&child, &central, None).await;
    assert_eq!(state(&central, &first, child.code()).await, ParcelState::Confirmed);
    assert_eq!(waiting(&central, &child).await, 0);
    until("the status is known", || async {
        let status = central.status(&package, child.code()).await;
        status.is_some_and(|status| !status.held.is_empty())
    })
    .await;
    // An update goes as a delta: the child has said what it holds.
    let mut newer = content.clone();
    newer[100..200].fill(7);
    central.update(&package, &newer).await;
    waits(&central, &child, 1).await;
    let (second, medium) = carry(&central, &child, None).await;
    lies_in_hall(&child, &package, &newer).await;
    let bytes = fs::metadata(medium.path().join(second.directory()).join("001.PHV")).unwrap().len();
    assert!(bytes < MIB / 4, "{bytes} bytes for a hundred that changed");
    assert_eq!(state(&child, &up, central.code()).await, ParcelState::Confirmed);
}

#[tokio::test]
async fn volumes_come_in_any_order_and_what_is_missing_is_named() {
    let (central, child) = sites().await;
    carry(&child, &central, None).await;
    let content = noise(4 * MIB as usize, 2);
    let package = package(&central, &child, &content).await;
    let (all, some) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let id = create(&central, &child, Some(MIB)).await;
    write(&central, id, all.path()).await;
    let there = all.path().join(id.directory());
    let mut volumes: Vec<_> = fs::read_dir(&there).unwrap().map(|entry| entry.unwrap().path()).collect();
    volumes.retain(|path| path.extension().is_some_and(|extension| extension == "PHV"));
    volumes.sort();
    assert!(volumes.len() >= 4, "{}", volumes.len());
    // The last, one twice, one damaged in its middle; and a file that is none.
    let name = |path: &Path| path.file_name().unwrap().to_owned();
    let last = volumes.last().unwrap();
    fs::copy(last, some.path().join(name(last))).unwrap();
    fs::create_dir(some.path().join("again")).unwrap();
    fs::copy(last, some.path().join("again").join(name(last))).unwrap();
    let mut damaged = fs::read(&volumes[1]).unwrap();
    let middle = damaged.len() / 2;
    damaged[middle] ^= 1;
    fs::write(some.path().join(name(&volumes[1])), &damaged).unwrap();
    fs::write(some.path().join("x.PHV"), b"nothing").unwrap();

    let received = receive(&child, some.path()).await;

    let parcel = received.iter().find(|one| one.id == Some(id)).unwrap();
    assert!(parcel.left > 0);
    assert!(parcel.missing.contains(&1) && !parcel.missing.contains(&2), "{:?}", parcel.missing);
    assert!(parcel.faults.iter().any(|fault| fault.contains("volume 2") && fault.contains("damaged")));
    assert!(received.iter().any(|one| one.faults.iter().any(|fault| fault.contains("x.PHV"))));
    assert_eq!(state(&child, &id, child.code()).await, ParcelState::Sent);
    // The others come later; what is there already is not read again.
    for path in [last, &volumes[2]] {
        fs::remove_file(path).unwrap();
        if path == last {
            continue;
        }
        fs::copy(all.path().join(id.directory()).join("001.PHV"), some.path().join("one.PHV")).unwrap();
    }
    let received = receive(&child, all.path()).await;
    assert_eq!(received[0].missing, [3], "the last one came before: {received:?}");
    let again = tempfile::tempdir().unwrap();
    outgoing::write(&central.site, id, again.path().to_owned(), vec![3], unheard()).await.unwrap();
    let received = receive(&child, again.path()).await;
    assert_eq!((received[0].left, &received[0].faults), (0, &Vec::new()));
    lies_in_hall(&child, &package, &content).await;
    assert_eq!(state(&child, &id, child.code()).await, ParcelState::Confirmed);
    // Once more is nothing new.
    let received = receive(&child, again.path()).await;
    assert_eq!((received[0].left, received[0].faults.len()), (0, 0));
}

#[tokio::test]
async fn a_medium_completes_what_the_line_has_begun() {
    let (central, child) = sites().await;
    carry(&child, &central, None).await;
    let content = noise(3 * MIB as usize, 5);
    let package = package(&central, &child, &content).await;
    let mut tx = central.site.store.read().await.unwrap();
    let bundle = bundles::list(&mut tx).await.unwrap().remove(0);
    drop(tx);
    let item = ItemId::of(&bundle.digest);
    let bytes = fs::read(central.site.directories.bundle(&bundle.digest)).unwrap();
    // More than the first volume brings of it, and a line that still has it.
    fs::write(child.site.directories.arrival(&item), &bytes[..3 * MIB as usize / 2]).unwrap();
    let claim = child.site.courier.claims.claim(item).unwrap();
    let medium = tempfile::tempdir().unwrap();
    let id = create(&central, &child, Some(MIB)).await;
    write(&central, id, medium.path()).await;
    fs::remove_file(medium.path().join(id.directory()).join("001.PHV")).unwrap();

    let received = receive(&child, medium.path()).await;
    assert!(received[0].faults.iter().any(|fault| fault.contains("the line is bringing it")), "{received:?}");
    assert!(claim.is_wanted(), "the line is asked to give it up");
    drop(claim);
    let received = receive(&child, medium.path()).await;

    // The first volume has the objects too, and those are missing.
    assert_eq!(received[0].missing, [1]);
    let mut tx = child.site.store.read().await.unwrap();
    let taken = parcels::taken(&mut tx, &id).await.unwrap();
    assert!(taken.iter().any(|(_, taken)| *taken == item), "{received:?}");
    drop(tx);
    let again = tempfile::tempdir().unwrap();
    outgoing::write(&central.site, id, again.path().to_owned(), vec![1], unheard()).await.unwrap();
    assert_eq!(receive(&child, again.path()).await[0].left, 0);
    lies_in_hall(&child, &package, &content).await;
}

#[tokio::test]
async fn a_parcel_may_hold_its_bundles_on_the_line_until_it_arrives_or_is_lost() {
    let (central, child) = sites().await;
    carry(&child, &central, None).await;
    package(&central, &child, &noise(MIB as usize, 6)).await;
    let to = [child.code().clone()];
    let admitted = async || {
        let admitted = scheduler::admit(&central.site, child.code(), Relation::Child).await.unwrap();
        let bundles =
            admitted.jobs.iter().filter(|job| job.item.kind == packhorse_domain::link::ItemKind::Bundle);
        bundles.count()
    };
    assert_eq!(admitted().await, 1);
    let (parcel, _) = outgoing::create(&central.site, &to, None, true).await.unwrap();
    assert_eq!(admitted().await, 0);

    let mut tx = central.site.store.begin().await.unwrap();
    custody::step(&central.site, &mut tx, &parcel.id, (child.code(), ParcelState::Lost)).await.unwrap();
    tx.commit().await.unwrap();

    assert_eq!(admitted().await, 1);
}

#[tokio::test]
async fn an_older_word_of_a_key_changes_nothing() {
    let (central, child) = sites().await;
    let at = |seconds: i64| Timestamp(central.site.now().0 + seconds * 1_000_000);
    let (newer, older) = (Identity::generate().recipient(), Identity::generate().recipient());
    let mut tx = central.site.store.begin().await.unwrap();
    trust(&central.site, &mut tx, child.code(), (&newer, at(10))).await.unwrap();
    trust(&central.site, &mut tx, child.code(), (&older, at(5))).await.unwrap();
    assert_eq!(known(&mut tx, child.code()).await.unwrap(), Some(newer));
}

#[tokio::test]
async fn nothing_is_written_twice_unasked_and_nothing_is_sent_before_it_is_written() {
    let (central, child) = sites().await;
    let id = create(&child, &central, None).await;
    let medium = tempfile::tempdir().unwrap();
    let mut tx = child.site.store.begin().await.unwrap();
    let early = custody::step(&child.site, &mut tx, &id, (central.code(), ParcelState::Sent)).await;
    assert!(early.unwrap_err().to_string().contains("packhorse courier write"));
    drop(tx);
    write(&child, id, medium.path()).await;
    let other = tempfile::tempdir().unwrap();
    write(&child, id, other.path()).await;
    assert!(!other.path().join(id.directory()).exists(), "all of it is written");
    let (whole, faults) =
        outgoing::verify(&child.site, id, medium.path().to_owned(), unheard()).await.unwrap();
    assert_eq!((whole, faults), (vec![1], Vec::new()));
}

#[tokio::test]
async fn what_is_lost_is_planned_again_and_what_turns_up_is_taken() {
    let (central, child) = sites().await;
    carry(&child, &central, None).await;
    let content = noise(MIB as usize, 3);
    let package = package(&central, &child, &content).await;
    let medium = tempfile::tempdir().unwrap();
    let lost = create(&central, &child, None).await;
    write(&central, lost, medium.path()).await;
    for to in [ParcelState::Sent, ParcelState::Lost] {
        let mut tx = central.site.store.begin().await.unwrap();
        custody::step(&central.site, &mut tx, &lost, (child.code(), to)).await.unwrap();
        tx.commit().await.unwrap();
    }
    outgoing::clean(&central.site, &lost).unwrap();

    carry(&central, &child, None).await;

    lies_in_hall(&child, &package, &content).await;
    let received = receive(&child, medium.path()).await;
    assert_eq!(received[0].left, 0, "all of it is here by now");
    carry(&child, &central, None).await;
    assert_eq!(state(&central, &lost, child.code()).await, ParcelState::Confirmed);
}

#[tokio::test]
async fn parcels_of_strangers_and_for_others_are_refused() {
    let (central, child) = sites().await;
    let other = central.child("LYO", SystemClock::shared()).await;
    let (medium, stranger) = (tempfile::tempdir().unwrap(), Node::central(SystemClock::shared()).await);
    let id = create(&child, &central, None).await;
    write(&child, id, medium.path()).await;

    let received = receive(&other, medium.path()).await;
    assert!(received[0].is_for_others, "{received:?}");

    // Another hierarchy, whose centre has the same name: it knows the key of PAR, and nobody trusts it.
    let _other_child = stranger.child("PAR", SystemClock::shared()).await;
    let mut tx = stranger.site.store.begin().await.unwrap();
    let key = (&child.site.courier.recipient(), stranger.site.now());
    trust(&stranger.site, &mut tx, child.code(), key).await.unwrap();
    tx.commit().await.unwrap();
    let forged = tempfile::tempdir().unwrap();
    let id = create(&stranger, &child, None).await;
    write(&stranger, id, forged.path()).await;
    let received = receive(&child, forged.path()).await;
    assert!(received[0].refused.contains("signature"), "{}", received[0].refused);
    let mut tx = child.site.store.read().await.unwrap();
    assert!(parcels::get(&mut tx, &id).await.unwrap().is_none());
}

#[tokio::test]
async fn one_medium_serves_many_sites_with_each_thing_once() {
    let (central, child) = sites().await;
    let other = central.child("LYO", SystemClock::shared()).await;
    other.start();
    other.hall().await;
    carry(&child, &central, None).await;
    carry(&other, &central, None).await;
    let content = noise(2 * MIB as usize, 4);
    let package = package(&central, &child, &content).await;
    central.send(&package, other.code()).await;
    waits(&central, &other, 1).await;

    let medium = tempfile::tempdir().unwrap();
    let to = [child.code().clone(), other.code().clone()];
    let id = outgoing::create(&central.site, &to, None, false).await.unwrap().0.id;
    write(&central, id, medium.path()).await;

    let bytes = fs::metadata(medium.path().join(id.directory()).join("001.PHV")).unwrap().len();
    assert!(bytes < 2 * MIB + MIB / 4, "{bytes} bytes: the bundle is there once");
    for node in [&child, &other] {
        assert_eq!(receive(node, medium.path()).await[0].left, 0);
        lies_in_hall(node, &package, &content).await;
    }
    carry(&child, &central, None).await;
    assert_eq!(state(&central, &id, child.code()).await, ParcelState::Confirmed);
    assert_eq!(state(&central, &id, other.code()).await, ParcelState::Created);
}

#[tokio::test]
async fn without_a_key_or_anything_to_carry_there_is_no_parcel() {
    let central = Node::central(SystemClock::shared()).await;
    let child = central.child("PAR", SystemClock::shared()).await;
    let refused = |error: Error| error.to_string();
    let to = [child.code().clone()];

    // Of a child that joined with an older version.
    let mut tx = central.site.store.begin().await.unwrap();
    let now = central.site.now();
    parcels::put_key(&mut tx, child.code(), "", now).await.unwrap();
    tx.commit().await.unwrap();
    let unknown = outgoing::create(&central.site, &to, None, false).await.map_err(refused).unwrap_err();
    assert!(unknown.contains("packhorse courier trust PAR"), "{unknown}");
    let nobody = outgoing::create(&central.site, &["XXX".parse().unwrap()], None, false).await;
    assert!(nobody.map_err(refused).unwrap_err().contains("neither above nor below it"));
    // Over a line the key comes by itself.
    child.tell(&central, packhorse_domain::object::ObjectKind::Site, "PAR").await;
    let mut tx = central.site.store.read().await.unwrap();
    let known = known(&mut tx, child.code()).await.unwrap();
    assert_eq!(known, Some(child.site.courier.recipient()));
}
