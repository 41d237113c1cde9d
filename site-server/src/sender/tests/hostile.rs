//! A child with a valid certificate that breaks every rule: it is told why and cut, people at both ends hear of it, and
//! nobody else is in any way hurt.

use std::{collections::BTreeSet, time::Duration};

use bytes::Bytes;
use packhorse_domain::{
    link::{ItemId, limits},
    package::PackageState,
};
use packhorse_proto::link::v1::{self as wire, frame::Body};
use packhorse_runtime::SystemClock;
use tonic::Code;

use super::peer::{Peer, channel, field, hello, message, offer};
use crate::{
    config::{Patience, Settings},
    sender::{MESSAGE_BYTES_MAX, dial_parent},
    testing::{Node, noise, until},
};

fn impatient(settings: &mut Settings) {
    let short = Duration::from_secs(2);
    settings.link.patience = Patience { hello: short, silence: short, ..Patience::default() };
}

async fn two() -> (Node, Node) {
    let central = Node::central(SystemClock::shared()).await;
    let child = central.child("PAR", SystemClock::shared()).await;
    central.start();
    (central, child)
}

/// What a hostile child does, and what it is told.
#[derive(Debug, Clone, Copy)]
enum Deed {
    /// Frames one after the other, after a hello if `met`.
    Says { met: bool, bodies: fn(&Node) -> Vec<Body> },
    /// Bytes on the stream in place of messages.
    Writes(fn() -> Vec<u8>),
    /// Data for an object of 10 bytes that the parent wanted: its offset, and how many bytes.
    Sends { offset: u64, length: usize },
    /// Objects of 1 MiB, all open at once, until the window is overrun.
    Floods,
}

fn item() -> Bytes {
    Bytes::from_static(&[7; 16])
}

/// An object that is not sent with its offer.
fn announced(content: &[u8], length: u64) -> (ItemId, wire::Offer) {
    let (item, offered) = offer(content);
    (item, wire::Offer { length, inline_data: Bytes::new(), ..offered })
}

/// The kind of the fault, the reason that is given, and the deed.
const DEEDS: [(&str, &str, Deed); 15] = [
    (
        "NotHello",
        "the first frame is a receipt, not a hello",
        Deed::Says { met: false, bodies: |_| vec![Body::Receipt(wire::Receipt { item: item() })] },
    ),
    (
        "WrongSite",
        "the hello is of site LYO, but this is the link with PAR",
        Deed::Says {
            met: false,
            bodies: |_| {
                vec![Body::Hello(wire::Hello { site: "LYO".into(), revision: 2, ..Default::default() })]
            },
        },
    ),
    (
        "SecondHello",
        "a second hello on one stream",
        Deed::Says { met: true, bodies: |child| vec![hello(child, 2)] },
    ),
    (
        "UnknownItem",
        "a data of item 07070707070707070707070707070707, which is not open",
        Deed::Says {
            met: true,
            bodies: |_| {
                vec![Body::Data(wire::Data { item: item(), offset: 0, bytes: b"x"[..].into(), want: 0 })]
            },
        },
    ),
    (
        "UnknownItem",
        "a ack of item",
        Deed::Says { met: true, bodies: |_| vec![Body::Ack(wire::Ack { item: item(), offset: 1 })] },
    ),
    (
        "UnknownPong",
        "a pong with value 5, which no waiting ping has",
        Deed::Says { met: true, bodies: |_| vec![Body::Pong(wire::Pong { value: 5, clock_us: 0 })] },
    ),
    (
        "InlineLength",
        "has 3 bytes inline and a length of 9",
        Deed::Says { met: true, bodies: |_| vec![Body::Offer(wire::Offer { length: 9, ..offer(b"abc").1 })] },
    ),
    (
        "OfferTooLarge",
        "breaks a limit: length",
        Deed::Says {
            met: true,
            bodies: |_| vec![Body::Offer(announced(b"abc", limits::ITEM_BYTES_MAX + 1).1)],
        },
    ),
    (
        "Frame",
        "a frame does not decode: field `item` is not valid",
        Deed::Says { met: true, bodies: |_| vec![Body::Receipt(wire::Receipt { item: b"abc"[..].into() })] },
    ),
    ("Frame", "failed to decode Protobuf message", Deed::Writes(|| message(&[0xff; 40]))),
    ("Frame", "invalid compression flag", Deed::Writes(|| vec![7; 40])),
    (
        "Frame",
        "message length too large",
        Deed::Writes(|| message(&field(1, &field(99, &vec![0; MESSAGE_BYTES_MAX])))),
    ),
    ("BeyondLength", "goes beyond its length of 10", Deed::Sends { offset: 0, length: 11 }),
    ("OutOfOrder", "at offset 5; 0 is next", Deed::Sends { offset: 5, length: 5 }),
    ("WindowOverrun", "unacknowledged bytes are under way; the window is 33554432", Deed::Floods),
];

async fn wanted(peer: &mut Peer, content: &[u8], length: u64) -> Bytes {
    let (item, offered) = announced(content, length);
    let name = offered.item.clone();
    peer.say(Body::Offer(offered)).await;
    assert!(matches!(peer.answer(&item).await, Some(Body::Want(_))));
    name
}

async fn flood(peer: &mut Peer) {
    const PIECE: usize = limits::DATA_BYTES_MAX;
    for nth in 0..33_u8 {
        let item = wanted(peer, &[nth], 1 << 20).await;
        for piece in 0..4 {
            // The last byte is kept back, so that none of them is ever whole.
            let length = if piece == 3 { PIECE - 1 } else { PIECE };
            let (item, offset) = (item.clone(), (piece * PIECE) as u64);
            peer.say(Body::Data(wire::Data { item, offset, bytes: vec![0; length].into(), want: 0 })).await;
        }
    }
}

/// Does it, and gives how the call ended.
async fn end_of(central: &Node, child: &Node, deed: Deed) -> (Code, String, Option<(String, bool)>) {
    let is_met = !matches!(deed, Deed::Says { met: false, .. });
    let mut peer = if is_met { Peer::met(central, child, 2).await } else { Peer::call(central, child).await };
    match deed {
        Deed::Says { bodies, .. } => {
            for body in bodies(child) {
                peer.say(body).await;
            }
        }
        Deed::Writes(bytes) => peer.say_bytes(bytes()).await,
        Deed::Sends { offset, length } => {
            let item = wanted(&mut peer, b"0123456789", 10).await;
            peer.say(Body::Data(wire::Data { item, offset, bytes: vec![0; length].into(), want: 0 })).await;
        }
        Deed::Floods => flood(&mut peer).await,
    }
    let (code, text) = peer.ended().await;
    (code, text, peer.goodbye.take())
}

/// The messages about a link that was closed.
async fn told_of(node: &Node, peer: &str) -> Vec<String> {
    let mut events = node.events_about(peer).await;
    events.retain(|text| text.starts_with("the link with"));
    events
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_broken_rule_ends_the_call_with_its_reason_and_one_message() {
    let (central, child) = two().await;
    let mut kinds = BTreeSet::new();
    for (kind, reason, deed) in DEEDS {
        let (code, text, goodbye) = end_of(&central, &child, deed).await;

        assert_eq!(code, Code::InvalidArgument, "{reason}: {text}");
        assert!(text.contains(reason), "{text} should say: {reason}");
        let (said, at_fault) = goodbye.unwrap_or_default();
        assert!(at_fault && text.contains(&said), "{reason}: the goodbye says {said}");
        // Each kind of fault of one peer is told once in ten minutes.
        let is_news = kinds.insert(kind);
        let events = told_of(&central, "PAR").await;
        let told = events.iter().filter(|event| event.contains(reason)).count();
        assert_eq!(told, usize::from(is_news), "{reason}: {events:#?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_peer_that_does_it_again_and_again_does_not_flood_the_messages() {
    let (central, child) = two().await;
    let again = Deed::Says { met: true, bodies: |child| vec![hello(child, 2)] };

    for _ in 0..5 {
        assert_eq!(end_of(&central, &child, again).await.0, Code::InvalidArgument);
    }

    let events = told_of(&central, "PAR").await;
    assert_eq!(events.len(), 1, "{events:#?}");
    assert_eq!(
        events[0],
        "the link with site PAR was closed: the peer broke the protocol: a second hello on one stream"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn while_one_child_misbehaves_the_transfer_to_another_goes_on() {
    let (central, hostile) = two().await;
    let child = central.child("LYO", SystemClock::shared()).await;
    child.hall().await;
    child.start();
    let dial = dial_parent(
        child.site.clone(),
        child.lifecycle.clone(),
        child.wakers.clone(),
        central.code().clone(),
    );
    child.lifecycle.spawn("link-to-parent", dial);
    until("the point is known above", || async {
        central.object(packhorse_domain::object::ObjectKind::DistributionPoint, "LYO/hall").await.is_some()
    })
    .await;
    let since = || central.site.links(|links| links.get(child.code()).map(|link| link.since));
    let began = since();
    let package = central.package(&noise(16 << 20, 41)).await;
    central.send(&package, child.code()).await;

    for (_, reason, deed) in DEEDS {
        assert_eq!(end_of(&central, &hostile, deed).await.0, Code::InvalidArgument, "{reason}");
    }

    until("the other has its package", || async {
        let status = central.status(&package, child.code()).await;
        status.is_some_and(|status| status.state == PackageState::Installed)
    })
    .await;
    assert_eq!(since(), began, "by the same session");
    assert!(told_of(&central, "LYO").await.is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_not_the_peer_s_to_say_is_refused_and_told_of_once() {
    let (central, child) = two().await;
    let mut peer = Peer::met(&central, &child, 2).await;
    let of_another = central.object(packhorse_domain::object::ObjectKind::Site, "CEN").await.unwrap().content;
    let bundle = wire::Offer { kind: wire::ItemKind::Bundle.into(), ..announced(b"bundle", 100).1 };
    let huge = announced(b"huge", 1 << 30).1;

    for offered in [offer(&of_another).1, bundle, huge, offer(&of_another).1] {
        let item = ItemId::try_from(offered.item.as_ref()).unwrap();
        peer.say(Body::Offer(offered)).await;
        let answer = peer.answer(&item).await;
        let Some(Body::Refuse(refuse)) = answer else { panic!("a refusal is expected, not {answer:?}") };
        assert_eq!(refuse.reason(), wire::RefuseReason::NotAllowed, "{}", refuse.text);
    }

    let events = central.events_about("PAR").await;
    let told = |part: &str| events.iter().filter(|text| text.contains(part)).count();
    assert_eq!(told("an object from site PAR was refused"), 1, "{events:#?}");
    assert_eq!(told("content comes from the parent only"), 1, "{events:#?}");
    assert_eq!(told("an object has at most 1 MiB"), 1, "{events:#?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_says_nothing_or_a_byte_now_and_then_is_not_waited_for() {
    let central = Node::central_with(SystemClock::shared(), impatient).await;
    let child = central.child("PAR", SystemClock::shared()).await;
    central.start();

    let mut mute = Peer::call(&central, &child).await;
    let (code, text) = mute.ended().await;
    assert_eq!((code, text.as_str()), (Code::InvalidArgument, "site PAR said no hello within 2 s"));

    let mut slow = Peer::met(&central, &child, 2).await;
    let bytes = message(&field(1, &field(99, &[0; 10_000])));
    let trickle = async {
        for byte in bytes {
            slow.say_bytes(vec![byte]).await;
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    let in_vain = tokio::time::timeout(Duration::from_secs(4), trickle).await;
    let (code, text) = slow.ended().await;
    assert!(in_vain.is_err());
    assert_eq!((code, text.as_str()), (Code::Unavailable, "site PAR was silent for 2 s"));

    let events = central.events_about("PAR").await;
    for reason in ["said no hello", "was silent for"] {
        assert!(events.iter().any(|text| text.contains(reason)), "{reason}: {events:#?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_child_that_is_accused_by_its_peer_says_so_and_a_second_call_takes_the_place_of_the_first() {
    let (central, child) = two().await;
    let one_channel = channel(&central, &child).await;
    let mut first = Peer::call_on(one_channel.clone()).await;
    first.say(hello(&child, 2)).await;
    central.package(b"echo").await;
    assert!(first.hear().await.is_some(), "it works");

    let mut second = Peer::call_on(one_channel).await;
    second.say(hello(&child, 2)).await;
    let (code, _) = first.ended().await;
    assert_eq!(code, Code::Ok);
    assert!(matches!(&first.goodbye, Some((reason, false)) if reason.contains("a newer connection")));
    assert!(second.hear().await.is_some(), "it goes on here");

    let reason = "the parent sent data before they were wanted".to_owned();
    second.say(Body::Goodbye(wire::Goodbye { reason: reason.clone(), at_fault: true })).await;
    second.ended().await;
    let events = central.events_about("PAR").await;
    assert!(events.iter().any(|text| text.ends_with(&reason)), "{events:#?}");
}
