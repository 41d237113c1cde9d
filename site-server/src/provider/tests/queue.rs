//! What waits on the links: listed, held, moved, cancelled, and what cannot be.

use packhorse_domain::{
    Digest,
    effort::Effort,
    link::{ItemId, Stage},
    object::ObjectKind,
};
use packhorse_proto::{
    object::v1::Priority,
    provider::v1::{
        AddTargetsRequest, ChangeQueueRequest, ListQueueRequest, ListQueueResponse, QueueAction, QueueItem,
        QueueState, queue_service_server::QueueService as _,
    },
};
use packhorse_runtime::Worker as _;
use tonic::{Code, Status};

use super::{World, asked, id_of, inner, refused, statuses::arrive};
use crate::{
    provider::Queue,
    replication::ReplicationManager,
    scheduler,
    sender::{LinkView, Moving},
    store::{
        arrivals::{self, ArrivalState},
        bundles::{self, BundleRow, Sending, SendingState},
        neighbours::{self, Relation},
        objects, queue,
    },
};

/// A digest that begins with this byte, and ends with that one.
pub(super) fn digest(first: u8, last: u8) -> Digest {
    let mut bytes = [first; 32];
    bytes[31] = last;
    bytes[15] = last;
    Digest(bytes)
}

/// A central site with the children PAR and LYO, and a package; its objects are with the children already.
pub(super) async fn world() -> (World, String) {
    let world = World::new().await;
    let package = id_of(&world.package().await).to_string();
    let mut tx = world.site.store.begin().await.unwrap();
    for child in ["PAR", "LYO"] {
        let child = child.parse().unwrap();
        neighbours::add(&mut tx, &child, Relation::Child).await.unwrap();
        for object in
            objects::lacking(&mut tx, &child, packhorse_domain::object::Direction::Down, 100).await.unwrap()
        {
            objects::acknowledge(&mut tx, &child, object.kind, &object.id, object.version).await.unwrap();
        }
    }
    tx.commit().await.unwrap();
    (world, package)
}

pub(super) async fn put(world: &World, peer: &str, package: &str, digest: Digest, state: SendingState) {
    world.clock.advance(std::time::Duration::from_secs(1));
    let now = world.site.now();
    let bundle = BundleRow {
        digest,
        package: package.parse().unwrap(),
        source_version: 1,
        target: Digest([200; 32]),
        bases: vec![],
        length: 1000,
        effort: Effort::LeastBytes,
    };
    let sending = Sending {
        peer: peer.parse().unwrap(),
        digest,
        state,
        reason: if state == SendingState::Failed { "its disk is full".to_owned() } else { String::new() },
        retry_at: now.plus(std::time::Duration::from_secs(60)),
        changed_at: now,
    };
    let mut tx = world.site.store.begin().await.unwrap();
    bundles::put(&mut tx, &bundle, now).await.unwrap();
    bundles::put_sending(&mut tx, &sending).await.unwrap();
    tx.commit().await.unwrap();
}

async fn list(world: &World, peer: &str, all: bool) -> ListQueueResponse {
    let request = ListQueueRequest { peer: peer.to_owned(), all };
    inner(Queue::new(world.site.clone()).list_queue(asked(request)).await)
}

async fn change(
    world: &World,
    action: QueueAction,
    items: &[&str],
    peer: &str,
) -> Result<Vec<QueueItem>, Status> {
    let request = ChangeQueueRequest {
        items: items.iter().map(|&item| item.to_owned()).collect(),
        peer: peer.to_owned(),
        action: action.into(),
        priority: if action == QueueAction::Priority { Priority::High.into() } else { 0 },
    };
    let answer = Queue::new(world.site.clone()).change_queue(asked(request)).await?;
    Ok(answer.into_inner().items)
}

fn order(answer: &ListQueueResponse) -> Vec<(&str, &str, QueueState)> {
    answer.items.iter().map(|item| (item.peer.as_str(), &item.item[..4], item.state())).collect()
}

async fn orders(world: &World) -> usize {
    let mut tx = world.site.store.read().await.unwrap();
    queue::list(&mut tx).await.unwrap().len()
}

#[tokio::test]
async fn a_queue_is_listed_in_the_order_in_which_it_is_sent_with_the_time_it_takes() {
    let (world, package) = world().await;
    for (first, state) in [
        (1, SendingState::Queued),
        (2, SendingState::Queued),
        (3, SendingState::Queued),
        (4, SendingState::Failed),
        (5, SendingState::Done),
    ] {
        put(&world, "PAR", &package, digest(first, 0), state).await;
    }
    let moving = Moving {
        item: ItemId::of(&digest(1, 0)),
        outgoing: true,
        subject: package.clone(),
        priority: packhorse_domain::Priority::Medium,
        stage: Stage::Sending { next: 500, acked: 400 },
        done: 400,
        total: 1000,
        rate_bytes_per_s: 90,
    };
    let view = LinkView { up: true, sent_bytes_per_s: 100, moving: vec![moving], ..LinkView::default() };
    world.site.links(|links| links.insert("PAR".parse().unwrap(), view));
    change(&world, QueueAction::Hold, &["0202"], "").await.unwrap();
    change(&world, QueueAction::First, &["0303"], "").await.unwrap();

    let shown = list(&world, "PAR", false).await;

    assert_eq!(
        order(&shown),
        [
            ("PAR", "0303", QueueState::Queued),
            ("PAR", "0101", QueueState::Sending),
            ("PAR", "0202", QueueState::Held),
            ("PAR", "0404", QueueState::Retrying),
        ]
    );
    let seconds: Vec<i64> =
        shown.items.iter().map(|item| (item.eta_us - shown.at_us).max(0) / 1_000_000).collect();
    assert_eq!(seconds, [10, 16, 0, 0], "each waits for those before it");
    let facts: Vec<_> = shown
        .items
        .iter()
        .map(|item| (item.bytes_done, item.rate_bytes_per_s, item.reason.as_str()))
        .collect();
    assert_eq!(facts, [(0, 0, ""), (400, 90, ""), (0, 0, "held by admin anna"), (0, 0, "its disk is full")]);
    let [link] = &shown.links[..] else { panic!("one link") };
    assert_eq!((link.up, link.queued_items, link.queued_bytes, link.sent_bytes_per_s), (true, 4, 3600, 100));
    assert_eq!(list(&world, "PAR", true).await.items.len(), 5, "what is delivered is shown when asked for");
    let all = list(&world, "", false).await;
    assert_eq!(all.links.iter().map(|link| link.peer.as_str()).collect::<Vec<_>>(), ["LYO", "PAR"]);
}

#[tokio::test]
async fn an_item_goes_to_several_and_one_of_them_can_be_named() {
    let (world, package) = world().await;
    for peer in ["PAR", "LYO"] {
        put(&world, peer, &package, digest(1, 0), SendingState::Queued).await;
    }

    let one = change(&world, QueueAction::Hold, &["0101"], "PAR").await.unwrap();
    let both = change(&world, QueueAction::Priority, &["0101", "010101"], "").await.unwrap();

    assert_eq!(one.len(), 1);
    assert_eq!((one[0].peer.as_str(), one[0].held, one[0].state()), ("PAR", true, QueueState::Held));
    assert_eq!(both.len(), 2, "an item that is named twice is one");
    assert!(both.iter().all(|item| item.priority() == Priority::High));
    assert_eq!(
        order(&list(&world, "", false).await),
        [("LYO", "0101", QueueState::Paused), ("PAR", "0101", QueueState::Held)]
    );
    assert_eq!(
        world.audit().await[1..],
        [
            "admin anna holds CEN00001 (01010101) to PAR",
            "admin anna set priority high for CEN00001 (01010101) to LYO",
            "admin anna set priority high for CEN00001 (01010101) to PAR",
        ]
    );
}

#[tokio::test]
async fn a_change_that_was_made_is_none_and_a_released_item_is_as_it_was() {
    let (world, package) = world().await;
    put(&world, "PAR", &package, digest(1, 0), SendingState::Queued).await;
    change(&world, QueueAction::Hold, &["0101"], "").await.unwrap();
    let noted = world.audit().await.len();

    change(&world, QueueAction::Hold, &["0101"], "").await.unwrap();
    assert_eq!((world.audit().await.len(), orders(&world).await), (noted, 1));

    let released = change(&world, QueueAction::Release, &["0101"], "").await.unwrap();
    assert_eq!((released[0].held, orders(&world).await), (false, 0));
}

#[tokio::test]
async fn the_first_of_several_is_the_one_that_was_named_first() {
    let (world, package) = world().await;
    for first in 1..=4 {
        put(&world, "PAR", &package, digest(first, 0), SendingState::Queued).await;
    }

    change(&world, QueueAction::First, &["0404"], "").await.unwrap();
    change(&world, QueueAction::First, &["0303", "0202"], "").await.unwrap();

    let shown = list(&world, "", false).await;
    let items: Vec<_> = shown.items.iter().map(|item| &item.item[..2]).collect();
    assert_eq!(items, ["03", "02", "04", "01"]);
}

#[tokio::test]
async fn digits_that_mean_nothing_or_more_than_one_item_are_refused_and_change_nothing() {
    let (world, package) = world().await;
    put(&world, "PAR", &package, digest(1, 0), SendingState::Queued).await;
    put(&world, "PAR", &package, digest(1, 1), SendingState::Queued).await;
    put(&world, "PAR", &package, digest(2, 0), SendingState::Queued).await;
    put(&world, "PAR", &package, digest(3, 0), SendingState::Done).await;
    let hold = async |items: &[&str], peer: &str| change(&world, QueueAction::Hold, items, peer).await;

    let whole = ItemId::of(&digest(1, 1)).to_string();
    refused(hold(&["0101"], "").await, Code::InvalidArgument, &["more than one", &whole, "more digits"]);
    refused(hold(&["0202", "abcd"], "").await, Code::NotFound, &["abcd", "any link", "`packhorse queue`"]);
    refused(hold(&["0202"], "LYO").await, Code::NotFound, &["0202", "the link to LYO"]);
    refused(hold(&["0303"], "").await, Code::NotFound, &["0303"]);
    refused(hold(&["020"], "").await, Code::InvalidArgument, &["4 to 32 hexadecimal digits"]);
    refused(hold(&[], "").await, Code::InvalidArgument, &["items"]);
    refused(hold(&["0202"; 257], "").await, Code::InvalidArgument, &["256"]);
    refused(hold(&["0202"], "NIC").await, Code::InvalidArgument, &["NIC", "LYO, PAR"]);
    let nothing = change(&world, QueueAction::Unspecified, &["0202"], "").await;
    refused(nothing, Code::InvalidArgument, &["action"]);

    assert_eq!(orders(&world).await, 0);
    assert_eq!(hold(&[&whole.to_uppercase()], "").await.unwrap().len(), 1);
}

#[tokio::test]
async fn a_cancelled_bundle_stays_out_until_it_is_released_or_sent_again() {
    let (world, package) = world().await;
    put(&world, "PAR", &package, digest(1, 0), SendingState::Queued).await;
    change(&world, QueueAction::Hold, &["0101"], "").await.unwrap();

    let cancelled = change(&world, QueueAction::Cancel, &["0101"], "").await.unwrap();

    assert_eq!(
        (cancelled[0].state(), cancelled[0].reason.as_str()),
        (QueueState::Cancelled, "cancelled by admin anna")
    );
    assert_eq!(orders(&world).await, 0);
    let hold = change(&world, QueueAction::Hold, &["0101"], "").await;
    refused(hold, Code::FailedPrecondition, &["cancelled", "packhorse queue release 01010101"]);
    let released = change(&world, QueueAction::Release, &["0101"], "").await.unwrap();
    assert_eq!((released[0].state(), released[0].reason.as_str()), (QueueState::Paused, "the link is down"));

    change(&world, QueueAction::Cancel, &["0101"], "").await.unwrap();
    super::points::add(&world, "hall", "points/hall").await.unwrap();
    let target = packhorse_proto::object::v1::distribution::Target {
        site: "CEN".to_owned(),
        distribution_point: "hall".to_owned(),
    };
    let request = AddTargetsRequest { package: package.clone(), targets: vec![target] };
    use packhorse_proto::provider::v1::package_service_server::PackageService as _;
    world.packages.add_targets(asked(request)).await.unwrap();
    let shown = list(&world, "PAR", false).await;
    let bundle = shown.items.iter().find(|item| item.item.starts_with("0101")).unwrap();
    assert_eq!(bundle.state(), QueueState::Cancelled, "that target does not lie behind PAR");
}

#[tokio::test]
async fn a_refused_bundle_that_is_released_is_tried_at_once() {
    let (world, package) = world().await;
    put(&world, "PAR", &package, digest(1, 0), SendingState::Failed).await;
    let peer = "PAR".parse().unwrap();
    let admitted = async || scheduler::admit(&world.site, &peer, Relation::Child).await.unwrap().jobs.len();
    assert_eq!(admitted().await, 0);

    change(&world, QueueAction::Release, &["0101"], "").await.unwrap();

    assert_eq!(admitted().await, 1);
}

#[tokio::test]
async fn objects_are_held_and_not_cancelled() {
    let (world, package) = world().await;
    let second = id_of(&world.package().await).to_string();
    let shown = list(&world, "PAR", false).await;
    let object = shown.items.iter().find(|item| item.subject == format!("package/{second}")).unwrap();
    assert!(shown.items.iter().all(|item| item.subject != format!("package/{package}")), "PAR has that one");

    let cancel = change(&world, QueueAction::Cancel, &[&object.item], "").await;
    refused(cancel, Code::FailedPrecondition, &["objects are state", "hold it", "at its owner"]);
    let held = change(&world, QueueAction::Hold, &[&object.item[..8]], "PAR").await.unwrap();

    assert_eq!(held[0].state(), QueueState::Held);
    let admit = async |peer: &str| {
        let peer = peer.parse().unwrap();
        let admitted = scheduler::admit(&world.site, &peer, Relation::Child).await.unwrap();
        admitted.jobs.iter().any(|job| job.item.id.to_string() == object.item)
    };
    assert!(!admit("PAR").await && admit("LYO").await);
}

#[tokio::test]
async fn what_comes_in_is_changed_where_it_comes_from() {
    let (world, package) = world().await;
    arrive(&world, &package, 7, ArrivalState::Receiving).await;

    let hold = change(&world, QueueAction::Hold, &["0707"], "").await;

    refused(hold, Code::FailedPrecondition, &["comes from site PAR", "do it at site PAR"]);
    assert_eq!(order(&list(&world, "", false).await), [("PAR", "0707", QueueState::Waiting)]);
}

#[tokio::test]
async fn an_order_for_what_is_gone_is_forgotten() {
    let (world, package) = world().await;
    put(&world, "PAR", &package, digest(1, 0), SendingState::Queued).await;
    put(&world, "PAR", &package, digest(2, 0), SendingState::Queued).await;
    let second = id_of(&world.package().await);
    let shown = list(&world, "PAR", false).await;
    let object = shown.items.iter().find(|item| item.subject == format!("package/{second}")).unwrap();
    change(&world, QueueAction::Hold, &["0101", "0202", &object.item], "PAR").await.unwrap();
    let mut replication = ReplicationManager::new(world.site.clone());
    replication.step().await.unwrap();
    assert_eq!(orders(&world).await, 3);

    let mut tx = world.site.store.begin().await.unwrap();
    let peer = "PAR".parse().unwrap();
    bundles::remove_sending(&mut tx, &peer, &digest(1, 0)).await.unwrap();
    objects::acknowledge(&mut tx, &peer, ObjectKind::Package, second.as_str(), 1).await.unwrap();
    tx.commit().await.unwrap();
    replication.step().await.unwrap();

    assert_eq!(orders(&world).await, 1);
}

#[tokio::test]
async fn a_bundle_that_goes_on_while_it_comes_in_can_be_changed_on_its_way_out() {
    let (world, package) = world().await;
    arrive(&world, &package, 7, ArrivalState::Receiving).await;
    let now = world.site.now();
    let mut tx = world.site.store.begin().await.unwrap();
    let mut arrival = arrivals::list(&mut tx).await.unwrap().remove(0);
    arrivals::remove(&mut tx, &arrival.item).await.unwrap();
    arrival.outlined = true;
    arrivals::put(&mut tx, &arrival).await.unwrap();
    let sending = Sending {
        peer: "LYO".parse().unwrap(),
        digest: arrival.digest,
        state: SendingState::Queued,
        reason: String::new(),
        retry_at: now,
        changed_at: now,
    };
    bundles::put_sending(&mut tx, &sending).await.unwrap();
    tx.commit().await.unwrap();

    let held = change(&world, QueueAction::Hold, &["0707"], "").await.unwrap();
    let incoming = change(&world, QueueAction::Hold, &["0707"], "PAR").await;

    assert_eq!((held.len(), held[0].peer.as_str(), held[0].state()), (1, "LYO", QueueState::Held));
    refused(incoming, Code::FailedPrecondition, &["do it at site PAR"]);
    let cancelled = change(&world, QueueAction::Cancel, &["0707"], "LYO").await.unwrap();
    assert_eq!(cancelled[0].state(), QueueState::Cancelled);
}
