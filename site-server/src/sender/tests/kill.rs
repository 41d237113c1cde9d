//! Kills between sites: whose are taken, that they go before all else, and that what is killed is not sent.

use std::sync::Arc;

use packhorse_domain::{
    Priority, Timestamp,
    kill::Kill,
    object::{NotAllowed, Object, ObjectKind},
};
use packhorse_proto::{convert, object::v1 as wire};
use packhorse_runtime::{Clock as _, ManualClock, SystemClock};
use packhorse_trust::{SignedType, SigningKey, sign};

use super::{
    Line,
    link::{is_installed, knows_hall, two},
};
use crate::{
    kills, scheduler,
    sender::apply::{Rejection, apply},
    store::{bundles, neighbours::Relation},
    testing::{Node, noise, until},
};

fn kill(site: &str, package: &str, version: u64) -> Object {
    let body = Kill {
        package: package.parse().unwrap(),
        release: 3,
        reason: "it wipes disks".into(),
        at: Timestamp(1),
    };
    Object {
        kind: ObjectKind::Kill,
        id: format!("{site}/{package}"),
        owner: site.parse().unwrap(),
        version,
        deleted: false,
        body: convert::encode::<wire::Kill, _>(&body),
        traceparent: String::new(),
    }
}

fn lift(site: &str, package: &str, version: u64) -> Object {
    Object { deleted: true, body: Vec::new(), ..kill(site, package, version) }
}

fn signed(object: &Object, key: &SigningKey) -> Vec<u8> {
    sign(SignedType::Object, convert::encode::<wire::Object, _>(object), &[key])
}

async fn down(child: &Node, content: &[u8]) -> Result<(), Rejection> {
    let mut tx = child.site.store.begin().await.unwrap();
    let result = apply(&child.site, &mut tx, &"CEN".parse().unwrap(), Relation::Parent, content).await;
    tx.commit().await.unwrap();
    result
}

async fn killed(node: &Node, release: u64) -> Option<String> {
    let mut tx = node.site.store.read().await.unwrap();
    let list = kills::list(&mut tx).await.unwrap();
    list.killed(&"CEN00001".parse().unwrap(), release).map(|killed| killed.to_string())
}

#[tokio::test]
async fn only_a_site_above_kills_with_its_own_key_and_in_its_own_name() {
    let clock = Arc::new(ManualClock::new(SystemClock.now()));
    let central = Node::central(clock.clone()).await;
    let child = central.child("PAR", clock).await;
    let (above, own) = (central.site.director(), child.site.director());
    let good = kill("CEN", "CEN00001", 1);
    let encoded = convert::encode::<wire::Object, _>(&good);

    for (forged, why) in [
        (signed(&good, &SigningKey::generate()), "a key of nobody"),
        (signed(&good, own), "the child's key"),
        (sign(SignedType::Instruction, encoded.clone(), &[above]), "another use of the key"),
        (encoded, "no signature"),
    ] {
        let result = down(&child, &forged).await;
        assert!(matches!(result, Err(Rejection::Signature(_) | Rejection::Decode(_))), "{why}: {result:?}");
    }
    for owner in ["MAR", "PAR"] {
        let result = down(&child, &signed(&kill(owner, "CEN00001", 1), above)).await;
        assert!(matches!(result, Err(Rejection::NotAllowed(NotAllowed::OwnerNotAbove { .. }))), "{owner}");
    }
    let mut other_body = kill("CEN", "CEN00002", 1);
    other_body.id = "CEN/CEN00001".to_owned();
    let central_code = good.owner.clone();
    for (misnamed, why) in [
        (Object { owner: central_code.clone(), ..kill("PAR", "CEN00001", 1) }, "in the name of another"),
        (Object { owner: central_code.clone(), ..lift("PAR", "CEN00001", 9) }, "lifts in its name"),
        (other_body, "about another package"),
        (Object { id: "CEN00001".to_owned(), ..good.clone() }, "no site"),
        (Object { id: "CEN/nothing".to_owned(), ..lift("CEN", "CEN00001", 9) }, "no package"),
        (Object { id: "CEN/CEN00001/x".to_owned(), ..lift("CEN", "CEN00001", 9) }, "more than that"),
    ] {
        let result = down(&child, &signed(&misnamed, above)).await;
        assert!(matches!(result, Err(Rejection::OtherName)), "{why}: {result:?}");
    }
    assert_eq!(killed(&child, 1).await, None);

    down(&child, &signed(&good, above)).await.unwrap();
    assert_eq!(killed(&child, 3).await.as_deref(), Some("killed by CEN: it wipes disks"));
    assert_eq!(killed(&child, 4).await, None);
    // A package of the child, which the site above does not even know.
    down(&child, &signed(&kill("CEN", "PAR00001", 1), above)).await.unwrap();
}

#[tokio::test]
async fn the_newest_word_stays_whatever_comes_late() {
    let clock = Arc::new(ManualClock::new(SystemClock.now()));
    let central = Node::central(clock.clone()).await;
    let child = central.child("PAR", clock).await;
    let key = central.site.director();

    for (word, is_killed, why) in [
        (kill("CEN", "CEN00001", 1), true, "killed"),
        (lift("CEN", "CEN00001", 2), false, "lifted"),
        (kill("CEN", "CEN00001", 1), false, "the old kill again"),
        (kill("CEN", "CEN00001", 3), true, "killed again"),
        (lift("CEN", "CEN00001", 2), true, "the old lift again"),
    ] {
        down(&child, &signed(&word, key)).await.unwrap();
        assert_eq!(killed(&child, 3).await.is_some(), is_killed, "{why}");
    }
}

#[tokio::test]
async fn a_kill_is_of_the_most_urgent_class_whatever_its_package_is() {
    let central = Node::central(SystemClock::shared()).await;
    let child = central.child("PAR", SystemClock::shared()).await;
    let package = central.package(b"echo").await;
    central.kill(&package, "it wipes disks").await;

    let admitted = scheduler::admit(&central.site, child.code(), Relation::Child).await.unwrap();

    let class = |kind: &str| {
        let subject = format!("{kind}{package}");
        admitted.jobs.iter().find(|job| job.item.subject == subject).map(|job| job.item.priority)
    };
    assert_eq!((class("package/"), class("kill/CEN/")), (Some(Priority::Medium), Some(Priority::High)));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_kill_overtakes_the_bundle_and_calls_it_back_until_it_is_lifted() {
    let (central, child) = two().await;
    let grandchild = child.child("LYO", SystemClock::shared()).await;
    grandchild.start();
    let line = Line::slow(&central, &child);
    let _lower = Line::new(&child, &grandchild);
    knows_hall(&central).await;
    let length = 16 << 20;
    let package = central.package(&noise(length, 2)).await;
    central.send(&package, child.code()).await;
    until("the bundle is under way", || async { line.data_bytes() > 0 }).await;

    central.kill(&package, "it wipes disks").await;

    until("the kill is two levels down", || async { killed(&grandchild, 1).await.is_some() }).await;
    let before = line.data_bytes();
    assert!(before < length as u64 / 2, "{before} bytes went first");
    until("nothing of it waits at the centre", || async {
        let mut tx = central.site.store.read().await.unwrap();
        bundles::sendings(&mut tx).await.unwrap().is_empty()
            && bundles::list(&mut tx).await.unwrap().is_empty()
    })
    .await;
    until("the child says why it has nothing", || async {
        let status = central.status(&package, child.code()).await;
        status.is_some_and(|status| status.reason == "it is not sent: killed by CEN: it wipes disks")
    })
    .await;
    assert!(!is_installed(&central, &package, &child).await);
    assert!(line.data_bytes() < length as u64, "it was called back");

    line.hurry();
    central.revive(&package).await;
    until("it is there at last", || is_installed(&central, &package, &child)).await;
    assert_eq!(killed(&grandchild, 1).await, None);
}
