//! What is taken of a peer, and what is refused.

use std::{collections::BTreeMap, sync::Arc};

use packhorse_domain::{
    advertisement::{Acceptance, Delivery},
    distribution::Distribution,
    object::{NotAllowed, Object, ObjectKind},
    package::PackageState,
    site::SiteFact,
    status::{AdvertisementStatus, Event, EventType, PackageStatus, Severity},
};
use packhorse_proto::{convert, object::v1 as wire};
use packhorse_runtime::{Clock as _, ManualClock, SystemClock};
use packhorse_trust::{Author, Director, SignedType, SigningKey, make_trust_file, sign};

use crate::{
    record,
    sender::apply::{Rejection, apply},
    store::{neighbours::Relation, objects},
    testing::Node,
};

struct World {
    central: Node,
    child: Node,
}

async fn world() -> World {
    let clock = Arc::new(ManualClock::new(SystemClock.now()));
    let central = Node::central(clock.clone()).await;
    let child = central.child("PAR", clock).await;
    World { central, child }
}

fn object(kind: ObjectKind, id: &str, owner: &str, version: u64, body: Vec<u8>) -> Object {
    let owner = owner.parse().unwrap();
    Object { kind, id: id.to_owned(), owner, version, deleted: false, body, traceparent: String::new() }
}

fn tombstone(kind: ObjectKind, id: &str, owner: &str) -> Object {
    Object { deleted: true, ..object(kind, id, owner, 9, Vec::new()) }
}

fn encoded(object: &Object) -> Vec<u8> {
    convert::encode::<wire::Object, _>(object)
}

fn signed(object: &Object, key: &SigningKey) -> Vec<u8> {
    sign(SignedType::Object, encoded(object), &[key])
}

fn distribution(id: &str, version: u64, targets: &[&str]) -> Object {
    let mut body = Distribution::empty(id.parse().unwrap());
    body.add(targets.iter().map(|target| target.parse().unwrap()));
    object(ObjectKind::Distribution, id, "CEN", version, convert::encode::<wire::Distribution, _>(&body))
}

fn fact(code: &str, parent: Option<&str>, version: u64) -> Vec<u8> {
    let fact = SiteFact {
        code: code.parse().unwrap(),
        parent: parent.map(|parent| parent.parse().unwrap()),
        name: "A site".to_owned(),
        software: "1".to_owned(),
        courier_key: String::new(),
    };
    encoded(&object(ObjectKind::Site, code, code, version, convert::encode::<wire::SiteFact, _>(&fact)))
}

fn status(package: &str, site: &str) -> Object {
    let status = PackageStatus {
        package: package.parse().unwrap(),
        site: site.parse().unwrap(),
        point: None,
        state: PackageState::Pending,
        source_version: 1,
        held: Vec::new(),
        reason: String::new(),
        changed_at: SystemClock.now(),
    };
    let body = convert::encode::<wire::PackageStatus, _>(&status);
    object(ObjectKind::PackageStatus, &record::package_status_id(&status), site, 1, body)
}

/// Applies and commits.
async fn take(node: &Node, peer: &str, relation: Relation, content: &[u8]) -> Result<(), Rejection> {
    let mut tx = node.site.store.begin().await.unwrap();
    let result = apply(&node.site, &mut tx, &peer.parse().unwrap(), relation, content).await;
    tx.commit().await.unwrap();
    result
}

impl World {
    async fn down(&self, content: &[u8]) -> Result<(), Rejection> {
        take(&self.child, "CEN", Relation::Parent, content).await
    }

    async fn up(&self, content: &[u8]) -> Result<(), Rejection> {
        take(&self.central, "PAR", Relation::Child, content).await
    }

    /// Signed by the central site's director.
    fn sign(&self, object: &Object) -> Vec<u8> {
        signed(object, self.central.site.director())
    }

    async fn held(&self, node: &Node, kind: ObjectKind, id: &str) -> Option<objects::StoredObject> {
        let mut tx = node.site.store.read().await.unwrap();
        objects::get(&mut tx, kind, id).await.unwrap()
    }
}

#[tokio::test]
async fn no_byte_of_a_signed_object_can_be_changed() {
    let world = world().await;
    let package = world.central.package(b"echo").await;
    let content = world.central.object(ObjectKind::Package, package.as_str()).await.unwrap().content;

    for at in 0..content.len() {
        let mut changed = content.clone();
        changed[at] ^= 1;
        assert!(world.down(&changed).await.is_err(), "byte {at} of {}", content.len());
    }
    assert!(world.held(&world.child, ObjectKind::Package, package.as_str()).await.is_none());

    world.down(&content).await.unwrap();
    let held = world.held(&world.child, ObjectKind::Package, package.as_str()).await.unwrap();
    assert_eq!(held.content, content);
}

#[tokio::test]
async fn only_a_site_above_speaks_and_only_with_its_own_key() {
    let world = world().await;
    let own = distribution("CEN00001", 1, &[]);
    let of_another = |owner: &str| Object { owner: owner.parse().unwrap(), ..own.clone() };

    let forged = signed(&own, &SigningKey::generate());
    assert!(matches!(world.down(&forged).await, Err(Rejection::Signature(_))));
    let by_child = signed(&own, world.child.site.director());
    assert!(matches!(world.down(&by_child).await, Err(Rejection::Signature(_))));
    for owner in ["MAR", "PAR"] {
        let result = world.down(&world.sign(&of_another(owner))).await;
        assert!(matches!(result, Err(Rejection::NotAllowed(NotAllowed::OwnerNotAbove { .. }))), "{owner}");
    }
    assert!(matches!(world.down(&encoded(&own)).await, Err(Rejection::Signature(_) | Rejection::Decode(_))));
    world.down(&world.sign(&own)).await.unwrap();
}

#[tokio::test]
async fn objects_come_only_the_way_that_their_kind_goes() {
    let world = world().await;

    let policy = Object { owner: "PAR".parse().unwrap(), ..distribution("CEN00001", 1, &[]) };
    let from_child = world.up(&encoded(&policy)).await;
    assert!(matches!(from_child, Err(Rejection::NotAllowed(NotAllowed::WrongWay { .. }))));
    let from_parent = world.down(&world.sign(&status("CEN00001", "CEN"))).await;
    assert!(matches!(from_parent, Err(Rejection::NotAllowed(NotAllowed::WrongWay { .. }))));
}

#[tokio::test]
async fn a_body_says_what_its_name_says() {
    let world = world().await;
    let body = distribution("CEN00001", 1, &[]).body;

    let renamed = object(ObjectKind::Distribution, "CEN00002", "CEN", 1, body.clone());
    assert!(matches!(world.down(&world.sign(&renamed)).await, Err(Rejection::OtherName)));
    let full_tombstone = Object { body, ..tombstone(ObjectKind::Distribution, "CEN00001", "CEN") };
    assert!(matches!(world.down(&world.sign(&full_tombstone)).await, Err(Rejection::OtherName)));
    let of_another = Object { owner: "PAR".parse().unwrap(), ..status("CEN00001", "CEN") };
    assert!(matches!(world.up(&encoded(&of_another)).await, Err(Rejection::OtherName)));
    let health = |id: &str, said: &str| {
        let body = wire::SiteHealth { site: said.to_owned(), every_s: 900, ..Default::default() };
        encoded(&object(ObjectKind::SiteHealth, id, "PAR", 1, prost::Message::encode_to_vec(&body)))
    };
    for (id, said) in [("LYO", "LYO"), ("LYO", "PAR"), ("PAR", "CEN")] {
        let of_another = world.up(&health(id, said)).await;
        assert!(matches!(of_another, Err(Rejection::OtherName)), "{id} says {said}");
    }
    world.up(&health("PAR", "PAR")).await.unwrap();
    for (kind, id) in [
        (ObjectKind::PackageStatus, "CEN00001/LYO/"),
        (ObjectKind::Event, "LYO/000000000001"),
        (ObjectKind::DistributionPoint, "LYO/hall"),
        (ObjectKind::Site, "LYO"),
        (ObjectKind::SiteHealth, "LYO"),
    ] {
        let squat = world.up(&encoded(&tombstone(kind, id, "PAR"))).await;
        assert!(matches!(squat, Err(Rejection::OtherName)), "{id}");
    }
    world.up(&encoded(&tombstone(ObjectKind::Event, "PAR/000000000001", "PAR"))).await.unwrap();
}

#[tokio::test]
async fn an_author_signs_only_packages_under_its_prefix() {
    let world = world().await;
    let package = world.central.package(b"echo").await;
    let content = world.central.object(ObjectKind::Package, package.as_str()).await.unwrap().content;
    let key = |name: &str| SigningKey::from_file(&world.central.site.directories.key(name)).unwrap();
    let director = world.central.site.director().public();
    let central = Director { site: "CEN".parse().unwrap(), key: director };
    let allow = |version: u64, prefix: &str| {
        let author =
            Author { key: key("author").public(), name: "CEN".to_owned(), prefixes: vec![prefix.to_owned()] };
        let file = make_trust_file(version, &[author], &central, &key("root"));
        world.sign(&object(ObjectKind::Trust, "trust", "CEN", version, file))
    };

    world.down(&allow(2, "CEN9")).await.unwrap();
    assert!(matches!(world.down(&content).await, Err(Rejection::Signature(_))));
    world.down(&allow(3, "CEN")).await.unwrap();
    world.down(&content).await.unwrap();
    assert_eq!(world.child.site.trust(|trust| trust.trust_version()), 3);
}

#[tokio::test]
async fn the_highest_version_stays_whatever_comes_late_or_twice() {
    let world = world().await;
    let second = world.sign(&distribution("CEN00001", 2, &["PAR/hall"]));
    world.down(&second).await.unwrap();

    world.down(&second).await.unwrap();
    world.down(&world.sign(&distribution("CEN00001", 1, &[]))).await.unwrap();
    let forked = world.sign(&distribution("CEN00001", 2, &["PAR/desk"]));
    assert!(matches!(world.down(&forked).await, Err(Rejection::Conflict)));

    let held = world.held(&world.child, ObjectKind::Distribution, "CEN00001").await.unwrap();
    assert_eq!((held.version, held.content), (2, second));
}

#[tokio::test]
async fn a_new_site_makes_itself_known_under_its_parent_only() {
    let world = world().await;
    let unknown = encoded(&status("CEN00001", "LYO"));
    assert!(matches!(world.up(&unknown).await, Err(Rejection::NotAllowed(NotAllowed::OwnerNotBelow { .. }))));

    world.up(&fact("PAR", Some("CEN"), 1)).await.unwrap();
    assert!(world.up(&fact("LYO", Some("MAR"), 1)).await.is_err(), "its parent is not below PAR");
    assert!(world.up(&fact("LYO", None, 1)).await.is_err());
    world.up(&fact("LYO", Some("PAR"), 1)).await.unwrap();
    world.up(&unknown).await.unwrap();
    world.up(&fact("ALP", Some("LYO"), 1)).await.unwrap();
    assert!(world.up(&fact("LYO", Some("ALP"), 2)).await.is_err(), "a site stays where it hangs");
    assert!(world.up(&fact("PAR", Some("LYO"), 2)).await.is_err());
}

#[tokio::test]
async fn nobody_below_speaks_for_this_site_or_for_another_child() {
    let world = world().await;
    let other = world.central.child("MAR", Arc::new(SystemClock)).await;
    world.up(&fact("PAR", Some("CEN"), 1)).await.unwrap();

    for code in ["CEN", "MAR"] {
        let claim = world.up(&fact(code, Some("PAR"), 99)).await;
        assert!(matches!(claim, Err(Rejection::NotAllowed(NotAllowed::OwnerNotBelow { .. }))), "{code}");
        assert!(world.up(&encoded(&status("CEN00001", code))).await.is_err(), "{code}");
    }
    let own = world.held(&world.central, ObjectKind::Site, "CEN").await.unwrap();
    assert_eq!(own.version, 1);
    take(&world.central, "MAR", Relation::Child, &fact("MAR", Some("CEN"), 1)).await.unwrap();
    drop(other);
}

#[tokio::test]
async fn messages_of_sites_below_do_not_pile_up() {
    let world = world().await;
    let event = |sequence: u64| {
        let event = Event {
            site: "PAR".parse().unwrap(),
            sequence,
            at: SystemClock.now(),
            component: "sender".to_owned(),
            severity: Severity::Info,
            event_type: EventType::Detail,
            subject: String::new(),
            text: "x".to_owned(),
            message: 0,
            fields: BTreeMap::new(),
            count: 1,
            last_at: SystemClock.now(),
        };
        let body = convert::encode::<wire::Event, _>(&event);
        object(ObjectKind::Event, &format!("PAR/{sequence:012}"), "PAR", 1, body)
    };
    let code = "PAR".parse().unwrap();
    let mut tx = world.central.site.store.begin().await.unwrap();
    // Never a round number: a site that means ill gives the numbers that it likes.
    for sequence in (1..).filter(|sequence| sequence % 16 != 0).take(10_000) {
        apply(&world.central.site, &mut tx, &code, Relation::Child, &encoded(&event(sequence)))
            .await
            .unwrap();
    }
    tx.commit().await.unwrap();

    let mut tx = world.central.site.store.read().await.unwrap();
    let kept = objects::list_under(&mut tx, ObjectKind::Event, "PAR/").await.unwrap();
    assert!((5_000..5_016).contains(&kept.len()), "{}", kept.len());
    assert!(kept[0].id.as_str() > "PAR/000000005300", "the oldest go: {}", kept[0].id);
}

#[tokio::test]
async fn a_status_of_an_advertisement_is_its_site_s_own() {
    let world = world().await;
    let status = AdvertisementStatus {
        advertisement: "CEN20001".parse().unwrap(),
        client: "00000000-0000-0000-0000-000000000001".parse().unwrap(),
        site: "CEN".parse().unwrap(),
        hostname: "till".to_owned(),
        acceptance: Acceptance::Accepted,
        delivery: Delivery::Waiting,
        exit_code: None,
        output_tail: String::new(),
        reason: String::new(),
        source_version: 1,
        changed_at: SystemClock.now(),
        generation: 1,
        closed: None,
    };
    let body = convert::encode::<wire::AdvertisementStatus, _>(&status);
    let id = "CEN20001/00000000-0000-0000-0000-000000000001";

    let claim = world.up(&encoded(&object(ObjectKind::AdvertisementStatus, id, "PAR", 1, body))).await;

    assert!(matches!(claim, Err(Rejection::OtherName)));
}

#[tokio::test]
async fn a_child_gives_back_only_what_the_owner_above_signed() {
    let world = world().await;
    let own = distribution("CEN00001", 3, &["PAR/hall"]);

    assert!(matches!(world.up(&encoded(&own)).await, Err(Rejection::Signature(_))), "not signed");
    for key in [&SigningKey::generate(), world.child.site.director()] {
        assert!(matches!(world.up(&signed(&own, key)).await, Err(Rejection::Signature(_))));
    }
    let of_child = Object { owner: "PAR".parse().unwrap(), ..own.clone() };
    let result = world.up(&signed(&of_child, world.child.site.director())).await;
    assert!(matches!(result, Err(Rejection::NotAllowed(NotAllowed::WrongWay { .. }))));
    assert!(world.held(&world.central, ObjectKind::Distribution, "CEN00001").await.is_none());

    world.up(&world.sign(&own)).await.unwrap();
    let held = world.held(&world.central, ObjectKind::Distribution, "CEN00001").await.unwrap();
    assert_eq!(held.version, 3);
    world.up(&world.sign(&distribution("CEN00001", 2, &[]))).await.unwrap();
    let held = world.held(&world.central, ObjectKind::Distribution, "CEN00001").await.unwrap();
    assert_eq!(held.version, 3, "an older one changes nothing");
}

#[tokio::test]
async fn a_fork_is_settled_by_the_owner_and_an_alarm_elsewhere() {
    let world = world().await;
    let here = world.sign(&distribution("CEN00001", 3, &["PAR/hall"]));
    let other = world.sign(&distribution("CEN00001", 3, &["PAR/desk"]));
    world.up(&here).await.unwrap();
    world.down(&here).await.unwrap();

    world.up(&other).await.unwrap();
    assert!(matches!(world.down(&other).await, Err(Rejection::Conflict)));

    let held = world.held(&world.central, ObjectKind::Distribution, "CEN00001").await.unwrap();
    assert_eq!((held.version, held.body), (4, distribution("CEN00001", 3, &["PAR/hall"]).body));
    world.down(&held.content).await.unwrap();
    world.up(&other).await.unwrap();
    let held = world.held(&world.central, ObjectKind::Distribution, "CEN00001").await.unwrap();
    assert_eq!(held.version, 4, "the same fork again changes nothing");
}

#[tokio::test]
async fn a_parent_gives_back_to_a_site_only_its_own() {
    let world = world().await;
    let own = encoded(&status("CEN00001", "PAR"));
    let of_below = encoded(&status("CEN00001", "LYO"));

    world.down(&own).await.unwrap();
    let result = world.down(&of_below).await;

    assert!(matches!(result, Err(Rejection::NotAllowed(NotAllowed::WrongWay { .. }))));
    let message = encoded(&tombstone(ObjectKind::Event, "PAR/000000000001", "PAR"));
    let result = world.down(&message).await;
    assert!(matches!(result, Err(Rejection::NotAllowed(NotAllowed::WrongWay { .. }))));
    let in_envelope =
        signed(&Object { version: 2, ..status("CEN00001", "PAR") }, world.child.site.director());
    assert!(matches!(world.down(&in_envelope).await, Err(Rejection::OtherName)));
    assert!(world.held(&world.child, ObjectKind::PackageStatus, "CEN00001/PAR/").await.is_some());
}
