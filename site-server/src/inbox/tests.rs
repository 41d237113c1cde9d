//! A CAP agent over TLS: what it is fed, and what is taken of it.

use std::time::Duration;

use packhorse_domain::{
    Digest,
    object::{Object, ObjectKind},
    status::AdvertisementStatus,
};
use packhorse_proto::{
    cap::v1::{
        ClientReport, FeedHello, FeedRequest, FeedResponse, FeedStored, SubmitReportsRequest,
        cap_service_client::CapServiceClient, client_report, feed_request,
    },
    object::v1 as wire,
};
use packhorse_runtime::{Caller, ChannelOptions, SystemClock, connect};
use packhorse_trust::{Credentials, Name, credentials::new_key_and_request};
use tokio::{sync::mpsc, time::timeout};
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Streaming, transport::Channel};

use crate::{
    init::CERTIFICATE_VALIDITY,
    record,
    store::{caps, clients, objects},
    testing::{Node, until},
};

const CLIENT: &str = "00000000-0000-0000-0000-000000000001";
const STRANGER: &str = "00000000-0000-0000-0000-000000000002";

async fn cap(node: &Node, cap: &str) -> CapServiceClient<Channel> {
    let site = &node.site;
    let (key_pem, request) = new_key_and_request(cap).unwrap();
    let name = Name::of_cap(node.code().clone(), &cap.parse().unwrap());
    let cert_pem = site.authority.issue(&request, &name, CERTIFICATE_VALIDITY, site.now()).unwrap();
    let authority_pem = site.authority.certificate_pem().to_owned();
    let credentials = Credentials { key_pem, cert_pem, authority_pem };
    let server = Name::of_site(node.code().clone(), node.code());
    let endpoint = &site.settings.endpoints[0];
    let channel = connect(endpoint, &server, Caller::Known(&credentials), ChannelOptions::default());
    CapServiceClient::new(channel.await.expect("connected"))
}

struct Feed {
    requests: mpsc::Sender<FeedRequest>,
    answers: Streaming<FeedResponse>,
}

impl Feed {
    async fn open(node: &Node, name: &str, cursor: u64, feed: &[u8]) -> Feed {
        let (requests, stream) = mpsc::channel(4);
        let hello = FeedHello {
            cursor,
            feed: feed.to_vec().into(),
            endpoints: vec!["10.0.0.7:7453".to_owned()],
            ..FeedHello::default()
        };
        let body = Some(feed_request::Body::Hello(hello));
        requests.send(FeedRequest { body }).await.unwrap();
        let mut client = cap(node, name).await.max_decoding_message_size(16 << 20);
        let answers = client.feed(ReceiverStream::new(stream)).await.expect("a feed").into_inner();
        Feed { requests, answers }
    }

    async fn next(&mut self) -> FeedResponse {
        let batch = timeout(Duration::from_secs(20), self.answers.message()).await.expect("in time");
        batch.unwrap().expect("a batch")
    }
}

fn names(batch: &FeedResponse) -> Vec<&str> {
    batch.files.iter().map(|file| file.name.as_str()).collect()
}

async fn write(node: &Node, files: &[(&str, Option<&[u8]>, &str)]) {
    let mut tx = node.site.store.begin().await.unwrap();
    for (name, content, audience) in files {
        caps::put_file(&mut tx, name, *content, audience).await.unwrap();
    }
    tx.commit().await.unwrap();
    node.wakers.feed.wake();
}

#[tokio::test]
async fn a_feed_goes_on_from_the_cursor_and_tells_changes_as_they_come() {
    let node = Node::central(SystemClock::shared()).await;
    write(&node, &[("one", Some(b"1"), ""), ("two", Some(b"2"), ""), ("three", Some(b"3"), "")]).await;
    let mut feed = Feed::open(&node, "hall", 2, &node.site.epoch).await;

    let first = feed.next().await;
    assert_eq!((names(&first), first.cursor, first.restart), (vec!["three"], 3, false));
    write(&node, &[("one", None, "")]).await;
    let second = feed.next().await;
    assert_eq!((names(&second), second.files[0].deleted, second.cursor), (vec!["one"], true, 4));

    let stored = feed_request::Body::Stored(FeedStored { cursor: 4 });
    feed.requests.send(FeedRequest { body: Some(stored) }).await.unwrap();
    until("the cursor is noted", || async {
        let mut tx = node.site.store.read().await.unwrap();
        caps::list(&mut tx).await.unwrap()[0].cursor == 4
    })
    .await;
}

#[tokio::test]
async fn a_cursor_that_is_not_ours_begins_anew() {
    let node = Node::central(SystemClock::shared()).await;
    write(&node, &[("one", Some(b"1"), ""), ("two", Some(b"2"), "")]).await;

    for (cursor, feed) in [(1, b"another".as_slice()), (99, &node.site.epoch)] {
        let batch = Feed::open(&node, "hall", cursor, feed).await.next().await;
        assert!(batch.restart, "cursor {cursor}");
        assert_eq!((names(&batch), batch.cursor), (vec!["one", "two"], 2));
    }
}

#[tokio::test]
async fn batches_are_bounded_in_number_and_in_bytes() {
    let node = Node::central(SystemClock::shared()).await;
    let many: Vec<String> = (0..300).map(|number| format!("file-{number:03}")).collect();
    let large = vec![7; 600 * 1024];
    let mut files: Vec<(&str, Option<&[u8]>, &str)> =
        many.iter().map(|name| (name.as_str(), Some(b"x".as_slice()), "")).collect();
    files.extend([
        ("large-1", Some(&large[..]), ""),
        ("large-2", Some(&large), ""),
        ("last", Some(b"x"), ""),
    ]);
    write(&node, &files).await;
    let mut feed = Feed::open(&node, "hall", 0, b"").await;

    assert_eq!(feed.next().await.files.len(), 256);
    let second = feed.next().await;
    assert_eq!((second.files.len(), names(&second).last()), (45, Some(&"large-1")));
    let third = feed.next().await;
    assert_eq!((names(&third), third.cursor), (vec!["large-2", "last"], 303));
}

#[tokio::test]
async fn a_file_for_one_cap_is_told_to_no_other() {
    let node = Node::central(SystemClock::shared()).await;
    write(&node, &[("hall-s", Some(b"1"), "hall"), ("desk-s", Some(b"2"), "desk"), ("all", Some(b"3"), "")])
        .await;

    let batch = Feed::open(&node, "hall", 0, b"").await.next().await;

    assert_eq!(names(&batch), ["hall-s", "all"]);
}

fn report(client: &str, advertisement: &str, generation: u64) -> ClientReport {
    let status = wire::AdvertisementStatus {
        advertisement: advertisement.to_owned(),
        client: "somebody else".to_owned(),
        acceptance: wire::Acceptance::Accepted.into(),
        delivery: wire::Delivery::Waiting.into(),
        generation,
        reason: format!("generation {generation}"),
        ..wire::AdvertisementStatus::default()
    };
    ClientReport {
        client: client.to_owned(),
        body: Some(client_report::Body::Advertisement(status)),
        ..ClientReport::default()
    }
}

#[tokio::test]
async fn reports_count_by_generation_and_strangers_not_at_all() {
    let node = Node::central(SystemClock::shared()).await;
    let mut tx = node.site.store.begin().await.unwrap();
    clients::seen(&mut tx, &CLIENT.parse().unwrap(), "hall", node.site.now()).await.unwrap();
    let advertisement = Object {
        kind: ObjectKind::Advertisement,
        id: "CEN20001".to_owned(),
        owner: node.code().clone(),
        version: 1,
        deleted: true,
        body: Vec::new(),
        traceparent: String::new(),
    };
    objects::put(&mut tx, &advertisement, b"", &Digest([1; 32]), node.site.now()).await.unwrap();
    tx.commit().await.unwrap();
    let mut cap = cap(&node, "hall").await;
    let mut submit = async |reports: Vec<ClientReport>| {
        cap.submit_reports(SubmitReportsRequest { reports }).await.expect("taken");
    };

    submit(vec![
        report(STRANGER, "CEN20001", 1),
        report("not an id", "CEN20001", 1),
        report(CLIENT, "CEN29999", 1),
        report(CLIENT, "", 1),
        report(CLIENT, "CEN20001", 5),
    ])
    .await;
    submit(vec![report(CLIENT, "CEN20001", 4), report(CLIENT, "CEN20001", 5)]).await;

    let mut tx = node.site.store.read().await.unwrap();
    let held = record::list::<wire::AdvertisementStatus, AdvertisementStatus>(
        &mut tx,
        ObjectKind::AdvertisementStatus,
    )
    .await
    .unwrap();
    assert_eq!(held.len(), 1, "only what a client of this site says of what there is");
    let (object, status) = &held[0];
    assert_eq!((object.version, status.reason.as_str()), (5, "generation 5"));
    assert_eq!((status.client.as_str(), status.site.as_str()), (CLIENT, "CEN"));
}
