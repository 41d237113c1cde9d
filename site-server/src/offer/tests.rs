//! What is offered when, and the instruction that each client gets.

use std::{sync::Arc, time::Duration};

use packhorse_domain::{
    Priority,
    advertisement::Advertisement,
    client::ClientFact,
    collection::Collection,
    distribution::{Distribution, PointKind},
    id::PackageId,
    instruction::Instruction,
    object::ObjectKind,
    package::PackageState,
    status::PackageStatus,
    window::Windows,
};
use packhorse_proto::{convert, object::v1 as wire};
use packhorse_runtime::{Clock as _, ManualClock, SystemClock, Worker as _};
use packhorse_trust::SignedType;

use super::OfferManager;
use crate::{
    collection::CollectionEvaluator,
    record::{self, Body},
    store::{
        caps, clients, contents, offers,
        points::{self, PointRow},
    },
    testing::Node,
};

const TILL: &str = "00000000-0000-0000-0000-000000000001";
const DESK: &str = "00000000-0000-0000-0000-000000000002";
const OFFER: &str = "CEN20001";

struct World {
    node: Node,
    clock: ManualClock,
    evaluator: CollectionEvaluator,
    manager: OfferManager,
}

impl World {
    async fn new() -> World {
        let clock = ManualClock::new(SystemClock.now());
        let node = Node::central(Arc::new(clock.clone())).await;
        let (evaluator, manager) =
            (CollectionEvaluator::new(node.site.clone()), OfferManager::new(node.site.clone()));
        World { node, clock, evaluator, manager }
    }

    async fn write(&self, kind: ObjectKind, id: &str, body: Body) {
        let mut tx = self.node.site.store.begin().await.unwrap();
        record::write(&self.node.site, &mut tx, kind, id, body).await.unwrap();
        tx.commit().await.unwrap();
    }

    async fn client(&self, id: &str) {
        let fact = ClientFact {
            id: id.parse().unwrap(),
            site: self.node.code().clone(),
            hostname: "till-7".to_owned(),
            os: "linux".to_owned(),
            arch: "x86_64".to_owned(),
            labels: Default::default(),
            software: "1".to_owned(),
        };
        let mut tx = self.node.site.store.begin().await.unwrap();
        clients::seen(&mut tx, &fact.id, "", self.node.site.now()).await.unwrap();
        tx.commit().await.unwrap();
        self.write(ObjectKind::Client, id, Body::of::<wire::ClientFact, _>(&fact)).await;
    }

    async fn collection(&self, members: &[&str]) {
        self.collection_with("CEN10001", members, Windows::NONE).await;
    }

    async fn collection_with(&self, id: &str, members: &[&str], windows: Windows) {
        let collection = Collection {
            id: id.parse().unwrap(),
            name: "tills".to_owned(),
            rule: Vec::new(),
            clients: members.iter().map(|member| member.parse().unwrap()).collect(),
            windows,
        };
        let body = Body::of::<wire::Collection, _>(&collection);
        self.write(ObjectKind::Collection, id, body).await;
    }

    async fn advertise(&self, package: &str, program: &str) {
        let advertisement = Advertisement {
            id: OFFER.parse().unwrap(),
            name: "tills".to_owned(),
            package: package.parse().unwrap(),
            program: program.parse().unwrap(),
            collection: "CEN10001".parse().unwrap(),
            required: true,
            start_at: None,
            expires_at: Some(self.clock.now().plus(Duration::from_secs(30 * 24 * 3600))),
            rerun_on_update: true,
            priority: Priority::Medium,
            ignore_windows: false,
        };
        let body = Body::of::<wire::Advertisement, _>(&advertisement);
        self.write(ObjectKind::Advertisement, OFFER, body).await;
    }

    async fn target(&self, package: &PackageId) {
        let mut distribution = Distribution::empty(package.clone());
        distribution.add(["CEN/hall".parse().unwrap()]);
        let mut tx = self.node.site.store.begin().await.unwrap();
        let point = PointRow {
            name: "hall".parse().unwrap(),
            kind: PointKind::Agent,
            location: "10.0.0.7:7453".to_owned(),
        };
        points::put(&mut tx, &point).await.unwrap();
        tx.commit().await.unwrap();
        let body = Body::of::<wire::Distribution, _>(&distribution);
        self.write(ObjectKind::Distribution, package.as_str(), body).await;
    }

    async fn install(&self, package: &PackageId) {
        let mut tx = self.node.site.store.begin().await.unwrap();
        let held = contents::of(&mut tx, package).await.unwrap();
        let status = PackageStatus {
            package: package.clone(),
            site: self.node.code().clone(),
            point: Some("hall".parse().unwrap()),
            state: PackageState::Installed,
            source_version: 1,
            held: vec![held[0].manifest],
            reason: String::new(),
            changed_at: self.node.site.now(),
        };
        record::put_package_status(&self.node.site, &mut tx, status).await.unwrap();
        tx.commit().await.unwrap();
    }

    async fn step(&mut self) {
        self.evaluator.step().await.unwrap();
        self.manager.step().await.unwrap();
    }

    /// Why the advertisement is held back.
    async fn held_back(&mut self) -> Option<String> {
        self.step().await;
        let mut tx = self.node.site.store.read().await.unwrap();
        offers::held_back(&mut tx).await.unwrap().pop().map(|(_, reason)| reason)
    }

    async fn file(&self, name: &str) -> Option<Vec<u8>> {
        caps::file(&mut self.node.site.store.read().await.unwrap(), name).await.unwrap()
    }

    async fn instruction(&self, client: &str) -> Instruction {
        let signed = self.file(&format!("instruction/{client}")).await.expect("an instruction");
        let site = &self.node.site;
        let payload = site
            .trust(|trust| trust.open_by_site(SignedType::Instruction, &signed, site.code(), site.now()))
            .expect("it is signed by the site");
        convert::decode::<wire::Instruction, _>(&payload).expect("decoded")
    }
}

fn names(instruction: &Instruction) -> Vec<&str> {
    instruction.files.iter().map(|file| file.name.as_str()).collect()
}

/// Everything is there: one offer for one of two clients.
async fn offered() -> (World, PackageId) {
    let mut world = World::new().await;
    let package = world.node.package(b"echo").await;
    world.client(TILL).await;
    world.client(DESK).await;
    world.collection(&[TILL]).await;
    world.target(&package).await;
    world.install(&package).await;
    world.advertise(package.as_str(), "install").await;
    world.step().await;
    (world, package)
}

#[tokio::test]
async fn each_gate_opens_in_its_turn() {
    let mut world = World::new().await;
    world.advertise("CEN00001", "install").await;

    let reason = |text: Option<String>| text.unwrap_or_default();
    assert!(reason(world.held_back().await).contains("collection has not arrived"));
    world.collection(&[TILL]).await;
    assert!(reason(world.held_back().await).contains("no member"));
    world.client(TILL).await;
    assert!(reason(world.held_back().await).contains("CEN00001 has not arrived"));
    let package = world.node.package(b"echo").await;
    assert_eq!(package.as_str(), "CEN00001");
    world.advertise("CEN00001", "remove").await;
    assert!(reason(world.held_back().await).contains("no such program"));
    world.advertise("CEN00001", "install").await;
    assert!(reason(world.held_back().await).contains("sent to no distribution point"));
    world.target(&package).await;
    assert!(reason(world.held_back().await).contains("not yet on any"));
    assert!(world.file(&format!("offer/{OFFER}")).await.is_none());
    world.install(&package).await;
    assert_eq!(world.held_back().await, None);
    assert!(world.file(&format!("offer/{OFFER}")).await.is_some());
    world.clock.advance(Duration::from_secs(31 * 24 * 3600));
    assert!(reason(world.held_back().await).contains("expired"));
    assert!(world.file(&format!("offer/{OFFER}")).await.is_none());
}

#[tokio::test]
async fn an_instruction_names_what_is_for_its_client_and_no_more() {
    let (world, package) = offered().await;

    let till = world.instruction(TILL).await;
    let offer = format!("offer/{OFFER}");
    let expected = [offer, format!("package/{package}"), format!("points/{package}"), "trust".to_owned()];
    assert_eq!(names(&till), expected);
    for file in &till.files {
        let content = world.file(&file.name).await.expect("it is there");
        assert_eq!(record::digest(&content), file.digest, "{}", file.name);
    }
    assert_eq!(names(&world.instruction(DESK).await), ["trust"]);
}

#[tokio::test]
async fn an_instruction_is_issued_again_when_it_changed_or_grows_old() {
    let (mut world, _) = offered().await;
    let validity = world.node.site.settings.instruction_validity;
    assert_eq!(world.instruction(TILL).await.serial, 1);

    world.step().await;
    world.clock.advance(validity / 2 - Duration::from_secs(1));
    world.step().await;
    assert_eq!(world.instruction(TILL).await.serial, 1, "nothing changed and it is fresh");

    world.clock.advance(Duration::from_secs(1));
    world.step().await;
    let again = world.instruction(TILL).await;
    assert_eq!((again.serial, again.not_after), (2, world.clock.now().plus(validity)));

    world.collection(&[TILL, DESK]).await;
    world.step().await;
    assert_eq!(world.instruction(TILL).await.serial, 2);
    assert_eq!(world.instruction(DESK).await.serial, 3);
}

#[tokio::test]
async fn an_instruction_says_the_windows_of_all_collections_of_its_client() {
    let (mut world, _) = offered().await;
    let windows =
        |rules: &[&str]| rules.iter().fold(Windows::NONE, |all, rule| all.and(&rule.parse().unwrap()));
    let night = windows(&["mon-fri 22:00-06:00"]);
    let none_said = world.file(&format!("instruction/{TILL}")).await;
    assert_eq!(world.instruction(TILL).await.windows, Windows::NONE);

    // Neither is a member of the one, and a collection without windows opens none.
    world.collection_with("CEN10002", &["00000000-0000-0000-0000-000000000003"], night.clone()).await;
    world.collection_with("CEN10003", &[TILL, DESK], Windows::NONE).await;
    world.step().await;
    assert_eq!(world.file(&format!("instruction/{TILL}")).await, none_said, "nothing is issued anew");

    world.collection_with("CEN10002", &[TILL], night.clone()).await;
    world.step().await;
    let till = world.instruction(TILL).await;
    assert_eq!((till.serial, till.windows), (2, night.clone()));
    assert_eq!(world.instruction(DESK).await.windows, Windows::NONE);

    world.collection_with("CEN10003", &[TILL, DESK], windows(&["sat,sun"])).await;
    world.step().await;
    let till = world.instruction(TILL).await;
    assert_eq!((till.serial, till.windows), (3, windows(&["sat,sun", "mon-fri 22-6"])));
    assert_eq!(world.instruction(DESK).await.windows, windows(&["sat,sun"]));
    world.step().await;
    assert_eq!(world.instruction(TILL).await.serial, 3, "nothing changed");

    world.write(ObjectKind::Collection, "CEN10003", Body::Deleted).await;
    world.collection_with("CEN10002", &[TILL], Windows::NONE).await;
    world.step().await;
    for client in [TILL, DESK] {
        assert_eq!(world.instruction(client).await.windows, Windows::NONE, "{client}");
    }
}

#[tokio::test]
async fn what_is_killed_is_held_back_and_every_client_is_told() {
    let (mut world, package) = offered().await;
    let name = format!("kill/CEN/{package}");
    assert!(world.file(&name).await.is_none());

    world.node.kill(&package, "it wipes disks").await;

    assert_eq!(world.held_back().await.as_deref(), Some("the package is killed by CEN: it wipes disks"));
    for client in [TILL, DESK] {
        let instruction = world.instruction(client).await;
        assert_eq!((instruction.serial, names(&instruction)), (2, vec![name.as_str(), "trust"]), "{client}");
    }
    let kill = world.node.object(ObjectKind::Kill, &format!("CEN/{package}")).await.unwrap();
    assert_eq!(world.file(&name).await, Some(kill.content), "as its owner signed it");

    // A later release may run, and the earlier ones stay killed.
    world.node.update(&package, b"echo fixed").await;
    world.install(&package).await;
    assert_eq!(world.held_back().await, None);
    assert!(names(&world.instruction(TILL).await).contains(&name.as_str()));

    // Who holds the kill has to hear that it is lifted.
    world.node.revive(&package).await;
    world.step().await;
    let lifted = world.file(&name).await.expect("its tombstone");
    assert!(record::object_in(&lifted).unwrap().0.deleted);
    assert_eq!(world.instruction(DESK).await.serial, 3);
}

#[tokio::test]
async fn a_deleted_advertisement_takes_its_files_with_it() {
    let (mut world, package) = offered().await;
    assert_eq!(world.instruction(TILL).await.serial, 1);

    world.write(ObjectKind::Advertisement, OFFER, Body::Deleted).await;
    assert_eq!(world.held_back().await, None);

    for name in [format!("offer/{OFFER}"), format!("package/{package}"), format!("points/{package}")] {
        assert!(world.file(&name).await.is_none(), "{name}");
    }
    let instruction = world.instruction(TILL).await;
    assert_eq!((instruction.serial, names(&instruction)), (2, vec!["trust"]));
}
