//! Peers of an older and of a newer revision. Sites are upgraded one by one over months.

use bytes::Bytes;
use packhorse_domain::{
    object::{Object, ObjectKind},
    package::PackageState,
    status::PackageStatus,
};
use packhorse_proto::{
    convert,
    link::v1::{self as wire, frame::Body},
    object::v1 as stored,
};
use packhorse_runtime::SystemClock;
use packhorse_trust::{SignedType, sign};
use prost::Message as _;

use super::{
    Line,
    peer::{Peer, field, hello, offer, unknown},
};
use crate::{
    record,
    store::objects,
    testing::{Node, noise, until},
};

/// The central site, and a child whose link is made by hand.
async fn two() -> (Node, Node) {
    let central = Node::central(SystemClock::shared()).await;
    let child = central.child("PAR", SystemClock::shared()).await;
    central.start();
    (central, child)
}

fn installed(package: &str) -> Vec<u8> {
    let status = PackageStatus {
        package: package.parse().unwrap(),
        site: "PAR".parse().unwrap(),
        point: None,
        state: PackageState::Installed,
        source_version: 1,
        held: Vec::new(),
        reason: String::new(),
        changed_at: packhorse_domain::Timestamp(1),
    };
    let object = Object {
        kind: ObjectKind::PackageStatus,
        id: record::package_status_id(&status),
        owner: "PAR".parse().unwrap(),
        version: 1,
        deleted: false,
        body: convert::encode::<stored::PackageStatus, _>(&status),
        traceparent: String::new(),
    };
    convert::encode::<stored::Object, _>(&object)
}

/// Takes a bundle as a program of revision 1 does: what came is told of by acks alone.
async fn take_bundle(peer: &mut Peer, offer: &wire::Offer) -> Vec<u8> {
    let item = offer.item.clone();
    peer.say(Body::Want(wire::Want { item: item.clone(), offset: 0, held: Vec::new() })).await;
    let mut bytes = Vec::new();
    let mut acked = 0;
    while (bytes.len() as u64) < offer.length {
        match peer.hear().await.expect("data") {
            Body::Data(data) => {
                assert_eq!(data.offset, bytes.len() as u64);
                bytes.extend_from_slice(&data.bytes);
            }
            Body::Offer(offer) => peer.receipt(&offer.item).await,
            _ => {}
        }
        if bytes.len() - acked >= 1 << 20 {
            acked = bytes.len();
            peer.say(Body::Ack(wire::Ack { item: item.clone(), offset: acked as u64 })).await;
        }
    }
    peer.receipt(&item).await;
    bytes
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_older_peer_gets_its_bundle_and_nothing_that_it_does_not_know() {
    let (central, child) = two().await;
    child.hall().await;
    child.start();
    let hall = || child.object(ObjectKind::DistributionPoint, "PAR/hall");
    until("the child describes its point", || async { hall().await.is_some() }).await;
    let mut peer = Peer::met(&central, &child, 1).await;
    let (item, point) = offer(&hall().await.unwrap().content);
    peer.say(Body::Offer(point)).await;
    assert!(matches!(peer.answer(&item).await, Some(Body::Receipt(_))));
    let package = central.package(&noise(12 << 20, 31)).await;
    central.send(&package, child.code()).await;

    let bundle = peer.offered(package.as_str()).await;
    let bytes = take_bundle(&mut peer, &bundle).await;
    let (item, status) = offer(&installed(package.as_str()));
    peer.say(Body::Offer(status)).await;

    assert_eq!(record::digest(&bytes).as_bytes().as_slice(), bundle.digest.as_ref());
    assert!(bytes.len() > 12 << 20, "more than three windows of a peer that names none");
    assert!(matches!(peer.answer(&item).await, Some(Body::Receipt(_))));
    let known = central.status(&package, child.code()).await.expect("the status came up");
    assert_eq!(known.state, PackageState::Installed);
    for name in ["got", "outline", "compare", "listing", "unknown"] {
        assert!(!peer.names.contains(&name), "a {name} went to a peer of revision 1");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_newer_peer_says_beyond_this_version_is_ignored_or_refused_in_words() {
    let (central, child) = two().await;
    let mut peer = Peer::call(&central, &child).await;
    let Body::Hello(hello) = hello(&child, 9) else { panic!("a hello") };
    let mut hello = hello.encode_to_vec();
    hello.extend(unknown());
    peer.say_frame(&field(1, &hello)).await;
    // A body of revision 9, a field beside a known body, and a set of objects that nobody compares yet.
    peer.say_frame(&unknown()).await;
    let ping = field(10, &[wire::Ping { value: 7 }.encode_to_vec(), unknown()].concat());
    peer.say_frame(&[ping, unknown()].concat()).await;
    peer.say(Body::Compare(wire::Compare { set: 42, ..wire::Compare::default() })).await;

    let (other, new_kind) = offer(b"something new");
    peer.say(Body::Offer(wire::Offer { kind: 77, ..new_kind })).await;
    let refused = peer.answer(&other).await;
    let object = stored::Object { kind: 99, owner: "PAR".to_owned(), version: 1, ..Default::default() };
    let (inner, new_object) = offer(&stored::Object { id: "x".to_owned(), ..object }.encode_to_vec());
    peer.say(Body::Offer(new_object)).await;
    let refused_object = peer.answer(&inner).await;

    for refused in [refused, refused_object] {
        let Some(Body::Refuse(refuse)) = refused else { panic!("a refusal is expected, not {refused:?}") };
        assert_eq!(refuse.reason(), wire::RefuseReason::UnknownKind, "{}", refuse.text);
    }
    assert!(peer.names.contains(&"pong"), "{:?}", peer.names);
    until("people here know of both", || async {
        let events = central.events().await;
        let told = |part: &str| events.iter().filter(|text| text.contains(part)).count();
        told("items of a kind that this version does not know") == 1
            && told("an object from site PAR was refused: it does not decode: field `kind`") == 1
    })
    .await;
    // The rest of the link goes on.
    let package = central.package(b"echo").await;
    peer.offered(&format!("package/{package}")).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn fields_of_a_later_version_travel_down_and_up_byte_for_byte() {
    let central = Node::central(SystemClock::shared()).await;
    let middle = central.child("PAR", SystemClock::shared()).await;
    let last = middle.child("LYO", SystemClock::shared()).await;
    central.start();
    middle.start();
    let _line = Line::new(&central, &middle);
    let package = central.package(b"echo").await;
    let held = central.object(ObjectKind::Package, package.as_str()).await.unwrap();
    let signed = stored::Signed::decode(held.content.as_slice()).unwrap();
    let mut object = stored::Object::decode(signed.payload).unwrap();
    object.version += 1;
    object.body = Bytes::from([object.body.as_ref(), &unknown()].concat());
    let payload = [object.encode_to_vec(), unknown()].concat();
    let content = [sign(SignedType::Object, payload, &[central.site.director()]), unknown()].concat();
    let read: Object = object.try_into().unwrap();
    let mut tx = central.site.store.begin().await.unwrap();
    objects::put(&mut tx, &read, &content, &record::digest(&content), central.site.now()).await.unwrap();
    tx.commit().await.unwrap();

    let mut peer = Peer::met(&middle, &last, 9).await;
    let went_down = loop {
        let offer = peer.offered(&format!("package/{package}")).await;
        peer.receipt(&offer.item).await;
        if offer.inline_data == content {
            break offer;
        }
    };
    let fact = last.object(ObjectKind::Site, "LYO").await.unwrap().content;
    let fact = [fact, unknown()].concat();
    let (item, offered) = offer(&fact);
    peer.say(Body::Offer(offered)).await;
    let answer = peer.answer(&item).await;

    assert_eq!(went_down.inline_data, content);
    assert!(matches!(answer, Some(Body::Receipt(_))), "{answer:?}");
    until("the fact is at the top as it was said", || async {
        central.object(ObjectKind::Site, "LYO").await.is_some_and(|object| object.content == fact)
    })
    .await;
}
