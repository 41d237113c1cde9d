//! The database in a file of its own.

mod kinds;
mod tallies;

use std::{path::Path, time::Duration};

use packhorse_domain::{
    Digest, Timestamp,
    address::{Address, Spent},
    distribution::PointKind,
    effort::Effort,
    id::{PackageId, SiteCode},
    link::ItemId,
    object::{Direction, Held, Merge, Object, ObjectKind, merge},
    queue::Order,
};

use super::{
    Store, StoreError, Tx, addresses,
    arrivals::{self, Arrival, ArrivalState},
    bundles::{self, BundleRow, Sending, SendingState},
    caps, clients,
    contents::{self, Content},
    neighbours, objects, points,
    queue::{self, QueueOrder},
    settings, tokens,
};

async fn open(directory: &Path) -> Store {
    Store::open(&directory.join("site.db")).await.expect("opened")
}

fn site(code: &str) -> SiteCode {
    code.parse().expect("a code")
}

async fn put(tx: &mut Tx, kind: ObjectKind, id: &str, version: u64) {
    let object = Object {
        kind,
        id: id.to_owned(),
        owner: site("CEN"),
        version,
        deleted: false,
        body: id.into(),
        traceparent: String::new(),
    };
    let digest = Digest([u8::try_from(version).unwrap(); 32]);
    objects::put(tx, &object, b"content", &digest, Timestamp(i64::try_from(version).unwrap())).await.unwrap();
}

async fn lacking(tx: &mut Tx, peer: &str, direction: Direction) -> Vec<String> {
    let found = objects::lacking(tx, &site(peer), direction, 100).await.unwrap();
    found.into_iter().map(|object| object.id).collect()
}

#[tokio::test]
async fn a_database_is_held_by_others_for_just_as_long_as_it_is() {
    let directory = tempfile::tempdir().unwrap();
    let (store, other) = (open(directory.path()).await, open(directory.path()).await);
    assert!(store.held().await.is_none());

    let holds = other.begin().await.unwrap();
    // What the database says to one that waited in vain for as long as one waits.
    store.waits.begin().refused();
    let held = tokio::time::timeout(Duration::from_secs(30), async {
        loop {
            if let Some(held) = store.held().await {
                return held;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    });
    let held = held.await.expect("it is held");
    assert_eq!(
        (held.path, held.by),
        (directory.path().join("site.db"), None),
        "this process is no other one"
    );

    holds.commit().await.unwrap();
    assert!(store.held().await.is_none(), "though nobody has written since");
    store.begin().await.unwrap().commit().await.unwrap();
    assert!(store.held().await.is_none());
}

#[tokio::test]
async fn a_database_of_a_newer_version_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    let store = open(directory.path()).await;
    let mut tx = store.begin().await.unwrap();
    sqlx::query("INSERT INTO _sqlx_migrations (version, description, success, checksum, execution_time) VALUES (99, 'x', 1, x'00', 0)")
        .execute(tx.connection())
        .await
        .unwrap();
    tx.commit().await.unwrap();
    store.close().await;

    let error = Store::open(&directory.path().join("site.db")).await.expect_err("newer");

    assert!(matches!(error, StoreError::Newer { .. }), "{error}");
}

#[tokio::test]
async fn what_is_not_committed_never_was() {
    let directory = tempfile::tempdir().unwrap();
    let store = open(directory.path()).await;
    let before = store.read().await.unwrap().changes().await.unwrap();
    let mut tx = store.begin().await.unwrap();
    put(&mut tx, ObjectKind::Package, "CEN00001", 1).await;
    assert_eq!(tx.next_number("event").await.unwrap(), 1);
    drop(tx);

    let mut tx = store.begin().await.unwrap();
    assert!(objects::get(&mut tx, ObjectKind::Package, "CEN00001").await.unwrap().is_none());
    assert_eq!(tx.changes().await.unwrap(), before);
    assert_eq!(tx.next_number("event").await.unwrap(), 1, "the number was given back");
}

#[tokio::test]
async fn what_is_committed_is_there_after_opening_again() {
    let directory = tempfile::tempdir().unwrap();
    let store = open(directory.path()).await;
    let mut tx = store.begin().await.unwrap();
    put(&mut tx, ObjectKind::Package, "CEN00001", 3).await;
    settings::set(&mut tx, "a", b"1").await.unwrap();
    settings::set(&mut tx, "a", b"2").await.unwrap();
    tx.commit().await.unwrap();
    store.close().await;

    let store = open(directory.path()).await;
    let mut tx = store.read().await.unwrap();
    let held = objects::held(&mut tx, ObjectKind::Package, "CEN00001").await.unwrap();
    let expected = Held { owner: site("CEN"), version: 3, digest: Digest([3; 32]) };
    assert_eq!(held.as_ref(), Some(&expected));
    assert_eq!(merge(held.as_ref(), &site("CEN"), 4, &Digest([4; 32])), Merge::Adopt);
    assert_eq!(settings::get(&mut tx, "a").await.unwrap(), Some(b"2".to_vec()));
}

#[tokio::test]
async fn a_neighbour_lacks_what_it_has_not_acknowledged() {
    let directory = tempfile::tempdir().unwrap();
    let store = open(directory.path()).await;
    let mut tx = store.begin().await.unwrap();
    put(&mut tx, ObjectKind::Package, "CEN00001", 1).await;
    put(&mut tx, ObjectKind::Package, "CEN00002", 2).await;
    put(&mut tx, ObjectKind::Event, "CEN/000000000001", 1).await;
    put(&mut tx, ObjectKind::Client, "client", 2).await;
    put(&mut tx, ObjectKind::Site, "CEN", 3).await;
    put(&mut tx, ObjectKind::Trust, "trust", 9).await;

    assert_eq!(lacking(&mut tx, "PAR", Direction::Down).await, ["trust", "CEN00001", "CEN00002"]);
    assert_eq!(lacking(&mut tx, "PAR", Direction::Up).await, ["CEN", "client", "CEN/000000000001"]);
    let newest = objects::lacking_newest(&mut tx, &site("PAR"), Direction::Down, 2).await.unwrap();
    assert_eq!(newest.iter().map(|one| one.id.as_str()).collect::<Vec<_>>(), ["trust", "CEN00002"]);

    for (id, version) in [("CEN00001", 1), ("CEN00002", 1), ("trust", 9)] {
        let kind = if id == "trust" { ObjectKind::Trust } else { ObjectKind::Package };
        objects::acknowledge(&mut tx, &site("PAR"), kind, id, version).await.unwrap();
    }
    assert_eq!(
        lacking(&mut tx, "PAR", Direction::Down).await,
        ["CEN00002"],
        "an older version is not enough"
    );
    put(&mut tx, ObjectKind::Package, "CEN00001", 5).await;
    objects::acknowledge(&mut tx, &site("PAR"), ObjectKind::Package, "CEN00001", 5).await.unwrap();
    objects::acknowledge(&mut tx, &site("PAR"), ObjectKind::Package, "CEN00001", 1).await.unwrap();
    assert_eq!(lacking(&mut tx, "PAR", Direction::Down).await, ["CEN00002"], "a late word changes nothing");
    assert_eq!(lacking(&mut tx, "MAR", Direction::Down).await.len(), 3, "each neighbour by itself");

    objects::forget_acknowledged(&mut tx, &site("PAR")).await.unwrap();
    assert_eq!(lacking(&mut tx, "PAR", Direction::Down).await.len(), 3);
}

#[tokio::test]
async fn trimming_keeps_the_newest_of_one_owner() {
    let directory = tempfile::tempdir().unwrap();
    let store = open(directory.path()).await;
    let mut tx = store.begin().await.unwrap();
    for sequence in 1..=9 {
        put(&mut tx, ObjectKind::Event, &format!("CEN/{sequence:012}"), 1).await;
    }
    put(&mut tx, ObjectKind::Event, "CEO/000000000001", 1).await;
    objects::acknowledge(&mut tx, &site("PAR"), ObjectKind::Event, "CEN/000000000001", 1).await.unwrap();

    objects::trim(&mut tx, ObjectKind::Event, &site("CEN"), 4).await.unwrap();

    let kept = objects::list(&mut tx, ObjectKind::Event).await.unwrap();
    let kept: Vec<_> = kept.iter().map(|event| event.id.as_str()).collect();
    assert_eq!(
        kept,
        ["CEN/000000000006", "CEN/000000000007", "CEN/000000000008", "CEN/000000000009", "CEO/000000000001"]
    );
    let left: i64 =
        sqlx::query_scalar("SELECT COUNT(*) FROM replica").fetch_one(tx.connection()).await.unwrap();
    assert_eq!(left, 0, "nor is it remembered who had it");
}

#[tokio::test]
async fn a_newer_token_voids_unused_ones_and_a_used_one_takes_the_name() {
    let directory = tempfile::tempdir().unwrap();
    let store = open(directory.path()).await;
    let mut tx = store.begin().await.unwrap();
    let [first, second, other] = [1, 2, 3].map(|n| Digest([n; 32]));
    let row = |name: &str| tokens::TokenRow {
        role: "site".to_owned(),
        name: name.to_owned(),
        expires_at: Timestamp(100),
        used_by: None,
    };
    tokens::add(&mut tx, &first, &row("PAR"), Timestamp(0)).await.unwrap();
    tokens::add(&mut tx, &other, &row("LYO"), Timestamp(0)).await.unwrap();

    tokens::add(&mut tx, &second, &row("PAR"), Timestamp(1)).await.unwrap();

    assert!(tokens::get(&mut tx, &first).await.unwrap().is_none());
    assert_eq!(tokens::invited_sites(&mut tx, Timestamp(99)).await.unwrap(), ["LYO", "PAR"]);
    assert!(tokens::invited_sites(&mut tx, Timestamp(100)).await.unwrap().is_empty(), "they expired");
    tokens::use_by(&mut tx, &second, &Digest([7; 32])).await.unwrap();
    tokens::add(&mut tx, &first, &row("ALP"), Timestamp(200)).await.unwrap();
    assert!(tokens::get(&mut tx, &other).await.unwrap().is_none(), "an expired one goes with the next");
    assert!(tokens::is_used(&mut tx, "site", "PAR").await.unwrap());
    assert_eq!(tokens::get(&mut tx, &second).await.unwrap().unwrap().used_by, Some(vec![7; 32]));
    assert!(!tokens::is_used(&mut tx, "site", "LYO").await.unwrap());
}

/// The version of a topic.
async fn version(tx: &mut Tx, topic: &str) -> i64 {
    tx.changes().await.unwrap().into_iter().find(|(name, _)| name == topic).expect("a topic").1
}

#[tokio::test]
async fn every_change_of_a_followed_table_raises_its_topic() {
    let directory = tempfile::tempdir().unwrap();
    let store = open(directory.path()).await;
    let mut tx = store.begin().await.unwrap();
    let package: PackageId = "CEN00001".parse().unwrap();
    let content = Content { package: package.clone(), manifest: Digest([1; 32]), source_version: 1 };

    put(&mut tx, ObjectKind::Package, "CEN00001", 1).await;
    put(&mut tx, ObjectKind::Package, "CEN00001", 2).await;
    objects::remove(&mut tx, ObjectKind::Package, "CEN00001").await.unwrap();
    assert_eq!(version(&mut tx, "object").await, 3);

    neighbours::add(&mut tx, &site("PAR"), neighbours::Relation::Child).await.unwrap();
    neighbours::met(&mut tx, &site("PAR"), b"epoch", Timestamp(1)).await.unwrap();
    assert_eq!(version(&mut tx, "neighbour").await, 2);

    contents::add(&mut tx, &content, Timestamp(1)).await.unwrap();
    contents::add(&mut tx, &content, Timestamp(1)).await.unwrap();
    contents::remove(&mut tx, &package, &content.manifest).await.unwrap();
    assert_eq!(version(&mut tx, "content").await, 3);

    let point = points::PointRow {
        name: "hall".parse().unwrap(),
        kind: PointKind::Agent,
        location: "a:1".to_owned(),
    };
    points::put(&mut tx, &point).await.unwrap();
    points::put(&mut tx, &point).await.unwrap();
    points::put(&mut tx, &points::PointRow { location: "a:2".to_owned(), ..point.clone() }).await.unwrap();
    points::remove(&mut tx, &point.name).await.unwrap();
    assert_eq!(version(&mut tx, "point").await, 3, "the same again is no change");

    caps::put_file(&mut tx, "offer", Some(b"1"), "").await.unwrap();
    caps::put_file(&mut tx, "offer", None, "").await.unwrap();
    assert_eq!(version(&mut tx, "cap_file").await, 2);

    let address = Address::open(site("PAR"), "main".parse().unwrap());
    addresses::put(&mut tx, &address).await.unwrap();
    addresses::put(&mut tx, &Address { order: 2, ..address.clone() }).await.unwrap();
    assert!(addresses::remove(&mut tx, &address.peer, &address.name).await.unwrap());
    assert_eq!(version(&mut tx, "address").await, 3);

    let collection = "CEN10001".parse().unwrap();
    let client = "00000000-0000-0000-0000-000000000001".parse().unwrap();
    clients::add_member(&mut tx, &collection, &client).await.unwrap();
    clients::remove_member(&mut tx, &collection, &client).await.unwrap();
    assert_eq!(version(&mut tx, "membership").await, 2);
}

#[tokio::test]
async fn what_went_over_a_line_is_counted_by_day_and_by_month() {
    let directory = tempfile::tempdir().unwrap();
    let store = open(directory.path()).await;
    let mut tx = store.begin().await.unwrap();
    let (par, main, modem) = (site("PAR"), "main".parse().unwrap(), "modem".parse().unwrap());
    let days = |today: &str, first_of_month: &str, oldest: &str| addresses::Days {
        today: today.to_owned(),
        first_of_month: first_of_month.to_owned(),
        oldest: oldest.to_owned(),
    };
    let last = days("2026-01-31", "2026-01-01", "2025-12-01");
    let first = days("2026-02-01", "2026-02-01", "2025-12-02");
    let later = days("2026-02-02", "2026-02-01", "2026-02-01");
    for (name, days, bytes) in
        [(&main, &last, 1), (&main, &first, 10), (&main, &first, 20), (&modem, &first, 100)]
    {
        addresses::add_use(&mut tx, &par, name, days, bytes).await.unwrap();
    }

    let used = addresses::spent(&mut tx, &par, &main, &first).await.unwrap();
    assert_eq!(used, Spent { day_bytes: 30, month_bytes: 30 });
    let used = addresses::spent(&mut tx, &par, &main, &later).await.unwrap();
    assert_eq!(used, Spent { day_bytes: 0, month_bytes: 30 });
    assert_eq!(addresses::spent(&mut tx, &site("LYO"), &main, &first).await.unwrap(), Spent::default());
    assert_eq!(version(&mut tx, "address").await, 0, "nobody is woken");
    addresses::add_use(&mut tx, &par, &modem, &later, 1).await.unwrap();
    assert_eq!(addresses::spent(&mut tx, &par, &main, &last).await.unwrap(), Spent::default(), "forgotten");
    assert_eq!(addresses::spent(&mut tx, &par, &main, &first).await.unwrap().day_bytes, 30);
}

#[tokio::test]
async fn every_change_of_a_transfer_raises_its_topic() {
    let directory = tempfile::tempdir().unwrap();
    let store = open(directory.path()).await;
    let mut tx = store.begin().await.unwrap();
    let package: PackageId = "CEN00001".parse().unwrap();
    let target = Digest([1; 32]);

    let bundle = BundleRow {
        digest: Digest([2; 32]),
        package: package.clone(),
        source_version: 1,
        target,
        bases: vec![],
        length: 1,
        effort: Effort::LeastBytes,
    };
    let sending = Sending {
        peer: site("PAR"),
        digest: bundle.digest,
        state: SendingState::Queued,
        reason: String::new(),
        retry_at: Timestamp(0),
        changed_at: Timestamp(0),
    };
    bundles::put(&mut tx, &bundle, Timestamp(0)).await.unwrap();
    bundles::put_sending(&mut tx, &sending).await.unwrap();
    bundles::put_sending(&mut tx, &sending).await.unwrap();
    bundles::remove(&mut tx, &bundle.digest).await.unwrap();
    assert_eq!(version(&mut tx, "bundle").await, 5, "two rows are gone");

    let given = QueueOrder {
        order: Order { held: true, priority: Some(packhorse_domain::Priority::Low), rank: -2 },
        changed_by: "admin anna".to_owned(),
        changed_at: Timestamp(7),
    };
    let item = ItemId::of(&bundle.digest);
    queue::put(&mut tx, &site("PAR"), &item, &given).await.unwrap();
    queue::put(&mut tx, &site("PAR"), &item, &given).await.unwrap();
    assert_eq!(queue::of(&mut tx, &site("PAR")).await.unwrap(), [(item, given)].into());
    assert!(queue::of(&mut tx, &site("LYO")).await.unwrap().is_empty());
    queue::remove(&mut tx, &site("PAR"), &item).await.unwrap();
    assert_eq!(version(&mut tx, "bundle").await, 8);

    let arrival = Arrival {
        item: ItemId([1; 16]),
        peer: site("CEN"),
        package: package.clone(),
        target,
        bases: vec![],
        digest: bundle.digest,
        length: 1,
        priority: packhorse_domain::Priority::High,
        outlined: false,
        state: ArrivalState::Receiving,
        reason: String::new(),
        changed_at: Timestamp(0),
    };
    arrivals::put(&mut tx, &arrival).await.unwrap();
    arrivals::put(&mut tx, &arrival).await.unwrap();
    arrivals::remove(&mut tx, &arrival.item).await.unwrap();
    assert_eq!(version(&mut tx, "arrival").await, 3);
}

#[tokio::test]
async fn a_bundle_keeps_what_it_was_made_for_and_what_is_for_everybody_stays_so() {
    let directory = tempfile::tempdir().unwrap();
    let store = open(directory.path()).await;
    let mut tx = store.begin().await.unwrap();
    let bundle = |effort| BundleRow {
        digest: Digest([2; 32]),
        package: "CEN00001".parse().unwrap(),
        source_version: 1,
        target: Digest([1; 32]),
        bases: vec![Digest([3; 32])],
        length: 1,
        effort,
    };

    for (made, kept) in [
        (Effort::LeastTime, Effort::LeastTime),
        (Effort::LeastTime, Effort::LeastTime),
        (Effort::LeastBytes, Effort::LeastBytes),
        (Effort::LeastTime, Effort::LeastBytes),
    ] {
        bundles::put(&mut tx, &bundle(made), Timestamp(0)).await.unwrap();
        assert_eq!(bundles::list(&mut tx).await.unwrap(), [bundle(kept)]);
    }
    sqlx::query("INSERT INTO bundle (digest, package, source_version, target, bases, length, made_at) VALUES ($1, 'CEN00001', 1, $1, X'', 1, 0)")
        .bind([4_u8; 32].as_slice())
        .execute(tx.connection())
        .await
        .unwrap();
    let before = bundles::get(&mut tx, &Digest([4; 32])).await.unwrap().unwrap();
    assert_eq!(before.effort, Effort::LeastBytes, "of a bundle that was made before there was a choice");
}
