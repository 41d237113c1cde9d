//! One medium for a whole subtree, and for many children: each thing once, and receipts by whatever way they come.

use std::{fs, path::Path};

use packhorse_domain::{
    courier::Policy,
    object::ObjectKind,
    parcel::{ParcelReceipt, ParcelState},
};
use packhorse_proto::provider::v1::{PlanParcelRequest, courier_service_server::CourierService as _};
use packhorse_runtime::SystemClock;

use super::{MIB, carry, create, lies_in_hall, package, receive, sites, state, waits, write};
use crate::{
    courier::{outgoing, unheard},
    provider,
    store::couriers,
    testing::{Node, noise, until},
};

/// A site below another gets its parcels from the centre, beside what its parent would bring.
async fn give_courier(central: &Node, site: &Node) {
    let transit = std::time::Duration::from_secs(86_400);
    let route = packhorse_domain::courier::Route {
        policy: Policy::Asked,
        ..packhorse_domain::courier::Route::new(site.code().clone(), transit)
    };
    let mut tx = central.site.store.begin().await.unwrap();
    couriers::put_route(&mut tx, &route).await.unwrap();
    tx.commit().await.unwrap();
}

fn volume_bytes(medium: &Path, id: &packhorse_parcel::ParcelId) -> u64 {
    fs::metadata(medium.join(id.directory()).join("001.PHV")).unwrap().len()
}

#[tokio::test]
async fn one_medium_serves_a_subtree_and_the_receipt_of_the_lowest_comes_up_through_its_parent() {
    let (central, child) = sites().await;
    let below = child.child("LYO", SystemClock::shared()).await;
    below.start();
    below.hall().await;
    // What is below makes itself known, step by step.
    carry(&below, &child, None).await;
    carry(&child, &central, None).await;
    let content = noise(2 * MIB as usize, 9);
    let package = package(&central, &child, &content).await;
    central.send(&package, below.code()).await;

    let to = [child.code().clone(), below.code().clone()];
    let refused = outgoing::create(&central.site, &to, None, false).await.map_err(|error| error.to_string());
    assert!(refused.unwrap_err().contains("packhorse courier route set LYO"), "it has no courier yet");
    give_courier(&central, &below).await;
    waits(&central, &below, 1).await;
    let medium = tempfile::tempdir().unwrap();
    let id = outgoing::create(&central.site, &to, None, false).await.unwrap().0.id;
    write(&central, id, medium.path()).await;
    let bytes = volume_bytes(medium.path(), &id);
    assert!(bytes < 2 * MIB + MIB / 4, "{bytes} bytes: the bundle is there once");

    // The lowest takes it first; its parent has not even seen it.
    assert_eq!(receive(&below, medium.path()).await[0].left, 0);
    lies_in_hall(&below, &package, &content).await;
    assert_eq!(receive(&child, medium.path()).await[0].left, 0);
    lies_in_hall(&child, &package, &content).await;
    until("the lowest reports", || async {
        let held = below.status(&package, below.code()).await;
        held.is_some_and(|status| !status.held.is_empty())
    })
    .await;

    carry(&below, &child, None).await;
    carry(&child, &central, None).await;
    for node in [&child, &below] {
        until("both are confirmed", || async {
            state(&central, &id, node.code()).await == ParcelState::Confirmed
        })
        .await;
        waits(&central, node, 0).await;
    }
    // The next one is a difference for the lowest too.
    let mut newer = content.clone();
    newer[5..25].fill(1);
    central.update(&package, &newer).await;
    waits(&central, &child, 1).await;
    waits(&central, &below, 1).await;
    let id = outgoing::create(&central.site, &to, None, false).await.unwrap().0.id;
    let medium = tempfile::tempdir().unwrap();
    write(&central, id, medium.path()).await;
    assert!(volume_bytes(medium.path(), &id) < MIB / 4);
    assert_eq!(receive(&below, medium.path()).await[0].left, 0);
    lies_in_hall(&below, &package, &newer).await;
}

/// What a parcel for these and for a subtree is for, and who gets theirs through another.
async fn planned(
    central: &Node,
    to: &[&str],
    subtrees: &[&str],
) -> Result<(Vec<String>, Vec<String>), tonic::Status> {
    let names = |codes: &[&str]| codes.iter().map(ToString::to_string).collect();
    let request =
        PlanParcelRequest { to: names(to), subtrees: names(subtrees), ..PlanParcelRequest::default() };
    let couriers = provider::Couriers::new(central.site.clone(), central.lifecycle.clone());
    let parcel = couriers.plan_parcel(central.asked(request)).await?.into_inner().parcel.unwrap();
    Ok((parcel.to.into_iter().map(|to| to.site).collect(), parcel.passed_on))
}

#[tokio::test]
async fn a_subtree_is_named_by_its_top() {
    let (central, child) = sites().await;
    let other = central.child("MAR", SystemClock::shared()).await;
    let [low, lowest] =
        [child.child("LYO", SystemClock::shared()).await, child.child("NCE", SystemClock::shared()).await];
    for (node, parent) in [(&low, &child), (&lowest, &child)] {
        node.start();
        carry(node, parent, None).await;
    }
    other.start();
    carry(&other, &central, None).await;
    carry(&child, &central, None).await;
    let codes = |codes: &[&str]| codes.iter().map(ToString::to_string).collect::<Vec<_>>();

    let (to, passed_on) = planned(&central, &[], &["PAR"]).await.unwrap();
    assert_eq!((to, passed_on), (codes(&["PAR"]), codes(&["LYO", "NCE"])), "nobody below has a courier");
    give_courier(&central, &low).await;
    let (to, passed_on) = planned(&central, &[], &["PAR"]).await.unwrap();
    assert_eq!((to, passed_on), (codes(&["PAR", "LYO"]), codes(&["NCE"])));
    let (to, passed_on) = planned(&central, &["MAR", "LYO"], &["PAR"]).await.unwrap();
    assert_eq!((to, passed_on), (codes(&["MAR", "LYO", "PAR"]), codes(&["NCE"])), "each once");
    let (mut to, passed_on) = planned(&central, &[], &["CEN"]).await.unwrap();
    to.sort();
    assert_eq!((to, passed_on), (codes(&["LYO", "MAR", "PAR"]), codes(&["NCE"])), "all below the centre");
    let (to, passed_on) = planned(&central, &[], &["LYO"]).await.unwrap();
    assert_eq!((to, passed_on), (codes(&["LYO"]), codes(&[])));

    for (node, to, subtrees, words) in [
        (&central, &[][..], &[][..], "field `to`"),
        (&central, &[], &["NCE"], "packhorse courier route set NCE"),
        (&central, &[], &["XXX"], "not known below site CEN"),
        (&child, &[], &["CEN"], "named with --to"),
        (&other, &[], &["MAR"], "no site below site MAR"),
    ] {
        let refused = planned(node, to, subtrees).await.unwrap_err();
        assert!(refused.message().contains(words), "{words}: {}", refused.message());
    }
}

#[tokio::test]
async fn a_receipt_that_comes_over_a_line_counts_at_once() {
    let (central, child) = sites().await;
    carry(&child, &central, None).await;
    package(&central, &child, &noise(MIB as usize, 4)).await;
    let medium = tempfile::tempdir().unwrap();
    let id = create(&central, &child, None).await;
    write(&central, id, medium.path()).await;
    receive(&child, medium.path()).await;

    // As the line would bring it.
    let receipt = ParcelReceipt::id(child.code(), &id.0);
    child.tell(&central, ObjectKind::ParcelReceipt, &receipt).await;

    until("it is confirmed", || async { state(&central, &id, child.code()).await == ParcelState::Confirmed })
        .await;
    waits(&central, &child, 0).await;
}

/// What a parcel to thirty sites weighs beside one to a single site that lacks the same: at most a twentieth more.
#[tokio::test]
async fn a_medium_for_thirty_sites_is_hardly_larger_than_one_for_one() {
    let central = Node::central(SystemClock::shared()).await;
    central.start();
    let mut children = Vec::new();
    for number in 1..=30 {
        let child = central.child(&format!("S{number:02}"), SystemClock::shared()).await;
        child.hall().await;
        let point = format!("{}/hall", child.code());
        child.tell(&central, ObjectKind::Site, child.code().as_str()).await;
        child.tell(&central, ObjectKind::DistributionPoint, &point).await;
        children.push(child);
    }
    let package = central.package(&noise(2 * MIB as usize, 2)).await;
    for child in &children {
        central.send(&package, child.code()).await;
    }
    for child in &children {
        waits(&central, child, 1).await;
    }
    let medium = tempfile::tempdir().unwrap();
    let mut bytes = Vec::new();
    let all: Vec<_> = children.iter().map(|child| child.code().clone()).collect();
    for to in [&all[..1], &all] {
        let id = outgoing::create(&central.site, to, None, false).await.unwrap().0.id;
        outgoing::write(&central.site, id, medium.path().to_owned(), Vec::new(), unheard()).await.unwrap();
        bytes.push(volume_bytes(medium.path(), &id));
    }
    assert!(bytes[1] * 100 <= bytes[0] * 105, "{bytes:?}");
    let last = children.last().unwrap();
    last.start();
    let received = receive(last, medium.path()).await;
    assert!(received.iter().any(|one| one.left == 0 && one.taken > 0), "{received:?}");
}
