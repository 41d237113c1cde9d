//! What administrators change in the queue of a link between real sites, seen on the line.

use std::{fs, time::Duration};

use packhorse_domain::{id::PackageId, link::ItemId, object::ObjectKind};
use packhorse_proto::{
    object::v1::Priority,
    provider::v1::{
        ChangeQueueRequest, ListQueueRequest, QueueAction, QueueItem, queue_service_server::QueueService as _,
    },
};

use super::{
    Line,
    link::{is_installed, knows_hall, two},
};
use crate::{
    provider::Queue,
    store::bundles::{self, SendingState},
    testing::{Node, noise, until},
};

/// A line on which nothing went for so long is still.
const STILL: Duration = Duration::from_millis(400);
const LENGTH: u64 = 4 << 20;

async fn items(node: &Node) -> Vec<QueueItem> {
    let request = ListQueueRequest { all: true, ..ListQueueRequest::default() };
    Queue::new(node.site.clone()).list_queue(node.asked(request)).await.unwrap().into_inner().items
}

/// The item that carries this, once it is queued.
async fn item(node: &Node, subject: &str) -> ItemId {
    let is_it = |item: &QueueItem| item.outgoing && item.subject == subject;
    until("it is in the queue", || async { items(node).await.iter().any(is_it) }).await;
    items(node).await.iter().find(|item| is_it(item)).unwrap().item.parse().unwrap()
}

async fn change(node: &Node, action: QueueAction, item: &ItemId) {
    let request = ChangeQueueRequest {
        items: vec![item.to_string()[..12].to_owned()],
        action: action.into(),
        priority: if action == QueueAction::Priority { Priority::High.into() } else { 0 },
        ..ChangeQueueRequest::default()
    };
    Queue::new(node.site.clone()).change_queue(node.asked(request)).await.unwrap();
}

/// A package of that many bytes on its way to the child.
async fn sent(central: &Node, child: &Node, length: u64, seed: u64) -> (PackageId, ItemId) {
    let package = central.package(&noise(usize::try_from(length).unwrap(), seed)).await;
    central.send(&package, child.code()).await;
    let item = item(central, package.as_str()).await;
    (package, item)
}

/// Waits until data of an item went over the line.
async fn is_on(line: &Line, item: &ItemId) {
    until("it is on the line", || async { line.items.lock().unwrap().contains(item) }).await;
}

/// Bytes of data that went over the line, once no more come.
async fn stopped(line: &Line) -> u64 {
    let mut before = u64::MAX;
    while before != line.data_bytes() {
        before = line.data_bytes();
        tokio::time::sleep(STILL).await;
    }
    before
}

/// Where the data of an item begins and ends among all that went over the line.
fn span(line: &Line, item: &ItemId) -> (usize, usize) {
    let items = line.items.lock().unwrap();
    let at = |one: &ItemId| one == item;
    (items.iter().position(at).unwrap(), items.iter().rposition(at).unwrap())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_held_item_stops_and_goes_on_at_the_durable_offset() {
    let (central, child) = two().await;
    let line = Line::slow(&central, &child);
    knows_hall(&central).await;
    let length = 3 * LENGTH;
    let (package, item) = sent(&central, &child, length, 11).await;
    let shown = async || {
        let items = items(&central).await;
        items.into_iter().find(|one| one.item == item.to_string()).unwrap()
    };
    until("a part is there, and it is known how fast it came", || async {
        let shown = shown().await;
        shown.bytes_done > 0 && shown.rate_bytes_per_s > 0
    })
    .await;

    change(&central, QueueAction::Hold, &item).await;

    let at_hold = line.data_bytes();
    let held_at = stopped(&line).await;
    // A second of this line is far more than this.
    assert!(held_at - at_hold < LENGTH, "{at_hold} bytes were sent when it was held, and then {held_at}");
    let entry = fs::read_dir(child.site.directories.incoming()).unwrap().next().unwrap().unwrap();
    let durable = entry.metadata().unwrap().len();
    assert_eq!(durable, held_at, "what came is kept");
    let shown = shown().await;
    assert!(shown.held && 0 < shown.bytes_done && shown.bytes_done <= durable, "{shown:?}");
    assert_eq!(shown.rate_bytes_per_s, 0);

    let frames = line.data.lock().unwrap().len();
    change(&central, QueueAction::Release, &item).await;
    line.hurry();
    until("it has arrived", || is_installed(&central, &package, &child)).await;

    assert_eq!(line.data.lock().unwrap()[frames].0, durable);
    let whole = line.data_bytes();
    assert!((length..length + 300_000).contains(&whole), "{whole} bytes: none went twice");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_item_of_a_higher_priority_or_put_first_overtakes_those_before_it() {
    let (central, child) = two().await;
    let line = Line::slow(&central, &child);
    knows_hall(&central).await;
    let (_, held) = sent(&central, &child, LENGTH, 21).await;
    let (_, second) = sent(&central, &child, LENGTH, 22).await;
    let (_, third) = sent(&central, &child, LENGTH, 23).await;
    let (package, last) = sent(&central, &child, LENGTH, 24).await;
    change(&central, QueueAction::Hold, &held).await;
    is_on(&line, &second).await;

    change(&central, QueueAction::First, &third).await;
    change(&central, QueueAction::Priority, &last).await;
    change(&central, QueueAction::Release, &held).await;
    is_on(&line, &last).await;
    line.hurry();
    until("the last has arrived", || is_installed(&central, &package, &child)).await;
    until("all have arrived", || async {
        let mut tx = central.site.store.read().await.unwrap();
        bundles::sendings(&mut tx).await.unwrap().is_empty()
    })
    .await;

    let ends = [&last, &third, &second].map(|item| span(&line, item).1);
    assert!(ends.is_sorted(), "the last ended first, then the one that was put first: {ends:?}");
    assert!(span(&line, &second).0 < span(&line, &last).0, "the line was busy with the second");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cancelled_bundle_is_not_sent_others_are_and_it_comes_when_it_is_sent_again() {
    let (central, child) = two().await;
    let line = Line::slow(&central, &child);
    knows_hall(&central).await;
    let (package, item) = sent(&central, &child, 2 * LENGTH, 31).await;
    let (other, next) = sent(&central, &child, 1 << 20, 32).await;
    is_on(&line, &item).await;

    change(&central, QueueAction::Cancel, &item).await;
    is_on(&line, &next).await;
    line.hurry();
    until("the other has arrived", || is_installed(&central, &other, &child)).await;
    let sent = stopped(&line).await;
    central.wakers.replication.wake();
    central.wakers.distribution.wake();
    let third = central.package(b"news").await;
    until("news goes down", || async { child.object(ObjectKind::Package, third.as_str()).await.is_some() })
        .await;

    assert_eq!(stopped(&line).await, sent);
    assert!(!is_installed(&central, &package, &child).await);
    let mut tx = central.site.store.read().await.unwrap();
    let sendings = bundles::sendings(&mut tx).await.unwrap();
    drop(tx);
    let cancelled = sendings.iter().find(|one| ItemId::of(&one.digest) == item).unwrap();
    assert_eq!(
        (cancelled.state, cancelled.reason.as_str()),
        (SendingState::Cancelled, "cancelled by admin anna")
    );

    central.send(&package, child.code()).await;
    until("it has arrived", || is_installed(&central, &package, &child)).await;
    let whole = line.data_bytes();
    assert!((9 << 20..(9 << 20) + 600_000).contains(&whole), "{whole} bytes: none went twice");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cancelled_bundle_does_not_hold_up_the_next_version() {
    let (central, child) = two().await;
    let line = Line::new(&central, &child);
    knows_hall(&central).await;
    drop(line);
    let (package, first) = sent(&central, &child, 1 << 20, 41).await;
    change(&central, QueueAction::Cancel, &first).await;

    central.update(&package, &noise(1 << 20, 42)).await;
    let line = Line::new(&central, &child);

    until("the new version has arrived", || async {
        let status = central.status(&package, child.code()).await;
        status.is_some_and(|status| status.source_version == 2)
            && is_installed(&central, &package, &child).await
    })
    .await;
    assert!(!line.items.lock().unwrap().contains(&first));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_held_object_waits_while_others_go_down() {
    let (central, child) = two().await;
    let held = central.package(b"echo 1").await;
    let item = item(&central, &format!("package/{held}")).await;
    change(&central, QueueAction::Hold, &item).await;

    let _line = Line::new(&central, &child);
    let other = central.package(b"echo 2").await;
    until("the other is below", || async {
        child.object(ObjectKind::Package, other.as_str()).await.is_some()
    })
    .await;
    assert!(child.object(ObjectKind::Package, held.as_str()).await.is_none());

    change(&central, QueueAction::Release, &item).await;
    until("it is below too", || async { child.object(ObjectKind::Package, held.as_str()).await.is_some() })
        .await;
}
