//! What a site server is doing, as it is seen over gRPC: real sites, a real link, TLS.

use packhorse_domain::{object::ObjectKind, queue::State};
use packhorse_proto::{
    object::v1::Priority,
    provider::v1::{
        Calendar, ListLinksRequest, ListQueuesRequest, ListStreamsRequest, ListWorkersRequest, LiveLink,
        LiveWorker, MovingStage, Open, Relation, SetAddressRequest, StepResult, StreamKind, WaitReason,
        WaitingItem, WakeReason, WatchRequest, address_service_server::AddressService as _, calendar::Hour,
        inspect_service_client::InspectServiceClient, inspect_service_server::InspectService as _,
    },
};
use packhorse_runtime::{Caller, ChannelOptions, Lifecycle, SystemClock, connect};
use packhorse_trust::{Credentials, Name};
use tonic::{Code, transport::Channel};

use super::{asked, inner, queue, refused};
use crate::{
    provider::{Addresses, Inspect},
    sender::dial_parent,
    store::bundles::SendingState,
    testing::{Node, noise, until},
};

/// Whoever has these credentials calls the site.
pub(super) async fn channel(node: &Node, credentials: &Credentials) -> Channel {
    let endpoint = node.site.settings.endpoints[0].clone();
    let server = Name::of_site(node.code().clone(), node.code());
    connect(&endpoint, &server, Caller::Known(credentials), ChannelOptions::default()).await.unwrap()
}

pub(super) async fn as_admin(node: &Node) -> Channel {
    channel(node, &Credentials::load(&node.site.directories.admin()).unwrap()).await
}

/// A central site and a child whose link is up, and a distribution point below.
async fn linked() -> (Node, Node) {
    let central = Node::central(SystemClock::shared()).await;
    let child = central.child("PAR", SystemClock::shared()).await;
    child.hall().await;
    central.start();
    child.start();
    let (parent, _) = child.site.settings.parent.clone().unwrap();
    let dial = dial_parent(child.site.clone(), child.lifecycle.clone(), child.wakers.clone(), parent);
    child.lifecycle.spawn("link-to-parent", dial);
    until("the point is known above", || async {
        central.object(ObjectKind::DistributionPoint, "PAR/hall").await.is_some()
    })
    .await;
    (central, child)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_administrator_sees_over_the_wire_what_moves_and_within_which_terms() {
    let (central, child) = linked().await;
    let limit = SetAddressRequest {
        peer: "PAR".to_owned(),
        bytes_per_second: Some(100_000),
        per_day_bytes: Some(1_000_000_000),
        time_zone: Some("Europe/Paris".to_owned()),
        ..SetAddressRequest::default()
    };
    let addresses = Addresses::new(central.site.clone());
    addresses.set_address(central.asked(limit)).await.unwrap();
    let package = central.package(&noise(4 << 20, 5)).await;
    central.send(&package, child.code()).await;
    let client = InspectServiceClient::new(as_admin(&central).await);
    let links = async |peer: &str| {
        let request = ListLinksRequest { peer: peer.to_owned() };
        client.clone().list_links(request).await.map(|answer| answer.into_inner().links)
    };
    let moves = |link: &LiveLink| {
        link.moving.iter().any(|one| one.stage() == MovingStage::Moving && one.durable_bytes > 0)
    };
    until("a part of it is there", || async { links("").await.unwrap().iter().any(moves) }).await;

    let link = links("PAR").await.unwrap().remove(0);
    let item = link.moving.iter().find(|one| one.subject == package.as_str()).unwrap();
    assert!(link.up && link.since.is_some() && link.relation() == Relation::Child, "{link:?}");
    assert_eq!((link.address.as_str(), link.revision), ("main", packhorse_domain::link::REVISION));
    assert!(item.outgoing && item.priority() == Priority::Medium, "{item:?}");
    assert!(item.offset_bytes >= item.durable_bytes && item.length_bytes > 4 << 20, "{item:?}");
    let terms = link.terms.unwrap();
    let budget = terms.budget.unwrap();
    assert_eq!((terms.open(), terms.limit_bytes_per_s), (Open::All, 100_000));
    assert_eq!((terms.open_classes.len(), terms.time_zone.as_str()), (3, "Europe/Paris"));
    assert_eq!((budget.per_day_bytes, budget.spent), (1_000_000_000, false));
    assert!(budget.left_bytes <= 1_000_000_000 && budget.left_bytes > 900_000_000, "{budget:?}");

    let below = InspectServiceClient::new(as_admin(&child).await);
    let up =
        below.clone().list_links(ListLinksRequest::default()).await.unwrap().into_inner().links.remove(0);
    assert_eq!((up.peer.as_str(), up.relation()), ("CEN", Relation::Parent));
    assert_eq!(up.endpoint, central.site.settings.endpoints[0], "the child dialled");
    assert!(up.moving.iter().any(|one| !one.outgoing && one.subject == package.as_str()), "{up:?}");

    let request = ListQueuesRequest::default();
    let queue = client.clone().list_queues(request).await.unwrap().into_inner().queues.remove(0);
    let medium = queue.classes.iter().find(|class| class.priority() == Priority::Medium).unwrap();
    assert!(
        medium.items >= 1 && medium.bytes > 0 && medium.open && medium.oldest_age.is_some(),
        "{medium:?}"
    );
    let first = queue.items.iter().find(|one| one.subject == package.as_str()).unwrap();
    assert_eq!((first.waits_for(), first.item.as_str()), (WaitReason::Nothing, item.item.as_str()));

    refused(links("XYZ").await, Code::InvalidArgument, &["peer", "PAR"]);
    let site = Credentials::load(&child.site.directories.parent_credentials()).unwrap();
    let by_site = InspectServiceClient::new(channel(&central, &site).await);
    refused(
        by_site.clone().list_workers(ListWorkersRequest {}).await,
        Code::PermissionDenied,
        &["ListWorkers"],
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn components_and_open_streams_are_told_and_who_watches_hears_again_and_again() {
    let (central, _child) = linked().await;
    let mut client = InspectServiceClient::new(as_admin(&central).await);
    until("every component sleeps", || async {
        let mut client = client.clone();
        let workers = client.list_workers(ListWorkersRequest {}).await.unwrap().into_inner().workers;
        // Monitor waits for changes within its step.
        let sleeps = |one: &LiveWorker| one.steps > 0 && (!one.running || one.name == "monitor");
        workers.len() > 10 && workers.iter().all(sleeps)
    })
    .await;

    let workers = client.list_workers(ListWorkersRequest {}).await.unwrap().into_inner();
    assert!(workers.started_at.is_some() && workers.at.is_some());
    for worker in &workers.workers {
        assert_eq!(worker.last_step_result(), StepResult::Ok, "{worker:?}");
        assert!(worker.last_step_took.is_some() && worker.last_step_at.is_some(), "{worker:?}");
        let sleeps = worker.next_wake_at.is_some()
            && matches!(worker.next_wake_reason(), WakeReason::Period | WakeReason::Asked);
        assert!(sleeps || worker.running, "{worker:?}");
    }

    let interval = Some(prost_types::Duration { seconds: 0, nanos: 100_000_000 });
    let request = WatchRequest { interval, ..WatchRequest::default() };
    let mut watched = client.watch(request.clone()).await.unwrap().into_inner();
    let first = watched.message().await.unwrap().unwrap();
    let second = watched.message().await.unwrap().unwrap();
    assert!(first.workers.len() > 10 && first.links.len() == 1 && first.queues.len() == 1);
    let micros = |at: &Option<prost_types::Timestamp>| {
        packhorse_proto::convert::time::point(at.as_ref().unwrap()).unwrap().0
    };
    assert!(micros(&second.at) - micros(&first.at) >= 100_000, "{:?} {:?}", first.at, second.at);

    let streams = client.list_streams(ListStreamsRequest {}).await.unwrap().into_inner().streams;
    let link = streams.iter().find(|one| one.kind() == StreamKind::Link).unwrap();
    assert_eq!(link.peer, "site PAR");
    assert!(link.received_bytes > 0 && link.since.is_some(), "{link:?}");
    assert!(streams.iter().any(|one| one.kind() == StreamKind::Watch && one.peer == "admin admin"));
    drop(watched);
    until("nobody watches any more", || async {
        let mut client = client.clone();
        let streams = client.list_streams(ListStreamsRequest {}).await.unwrap().into_inner().streams;
        streams.iter().all(|one| one.kind() != StreamKind::Watch)
    })
    .await;

    let mut held = Vec::new();
    for _ in 0..8 {
        held.push(client.watch(request.clone()).await.unwrap());
    }
    refused(client.watch(request.clone()).await, Code::ResourceExhausted, &["8"]);
    let bad = WatchRequest { interval: Some(prost_types::Duration::default()), ..request };
    refused(client.watch(bad).await, Code::InvalidArgument, &["interval", "0.1s"]);
}

#[tokio::test]
async fn each_waiting_item_says_what_it_waits_for() {
    let (world, package) = queue::world().await;
    let inspect = Inspect::new(world.site.clone(), Lifecycle::new());
    for (first, state) in [
        (1, SendingState::Queued),
        (2, SendingState::Failed),
        (3, SendingState::Cancelled),
        (4, SendingState::Done),
    ] {
        queue::put(&world, "PAR", &package, queue::digest(first, 0), state).await;
    }
    let items = async |items_max: u32| -> Vec<WaitingItem> {
        let request = ListQueuesRequest { peer: "PAR".to_owned(), items_max, ..Default::default() };
        let mut queues = inner(inspect.list_queues(asked(request)).await).queues;
        queues.remove(0).items.into_iter().filter(|item| item.subject == package).collect()
    };
    let waits = async || -> Vec<(String, WaitReason)> {
        items(0).await.iter().map(|item| (item.item[..2].to_owned(), item.waits_for())).collect()
    };

    let named = |list: &[(&str, WaitReason)]| -> Vec<(String, WaitReason)> {
        list.iter().map(|(item, wait)| ((*item).to_owned(), *wait)).collect()
    };
    use WaitReason::{Budget, Link, Release, Retry, Turn};
    assert_eq!(waits().await, named(&[("01", Link), ("02", Retry), ("03", Release)]));
    assert_eq!(items(0).await[1].why, "its disk is full");

    world.site.links(|links| links.entry("PAR".parse().unwrap()).or_default().up = true);
    assert_eq!(waits().await, named(&[("01", Turn), ("02", Retry), ("03", Release)]));
    assert_eq!(items(0).await[0].why, "it is the next");
    assert_eq!(State::try_from(items(0).await[2].state()).unwrap(), State::Cancelled);

    let week = |open: Open| Calendar { hours: vec![Hour { open: open.into(), ..Hour::default() }; 168] };
    let closed = week(Open::High);
    let request = SetAddressRequest { peer: "PAR".to_owned(), calendar: Some(closed), ..Default::default() };
    inner(world.addresses.set_address(asked(request)).await);
    assert_eq!(waits().await, named(&[("01", WaitReason::Hour), ("02", Retry), ("03", Release)]));

    let request = SetAddressRequest {
        peer: "PAR".to_owned(),
        calendar: Some(week(Open::All)),
        per_day_bytes: Some(1),
        ..SetAddressRequest::default()
    };
    inner(world.addresses.set_address(asked(request)).await);
    let par = "PAR".parse().unwrap();
    crate::scheduler::addresses::record_use(&world.site, &par, None, 5).await.unwrap();
    assert_eq!(waits().await, named(&[("01", Budget), ("02", Retry), ("03", Release)]));

    let request = ListQueuesRequest { items_max: 1_001, ..ListQueuesRequest::default() };
    refused(inspect.list_queues(asked(request)).await, Code::InvalidArgument, &["items_max"]);
    let request = ListQueuesRequest { peer: "PAR".to_owned(), items_max: 1, ..Default::default() };
    let queue = inner(inspect.list_queues(asked(request)).await).queues.remove(0);
    assert_eq!(queue.items.len(), 1);
    assert_eq!(queue.classes.iter().map(|class| class.items).sum::<u32>(), 2, "{:?}", queue.classes);
    assert!(!queue.classes.iter().find(|class| class.priority() == Priority::Low).unwrap().open);
}
