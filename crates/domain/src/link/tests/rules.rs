//! A peer that breaks the rules: each has its name, nothing grows without end, nothing panics.

use proptest::prelude::{Just, Strategy, any, prop_oneof, proptest};

use super::{NOW, bundle, code, config, data, frames, hello_of, object, offer_frame, open_link};
use crate::link::{Frame, Hello, ItemId, Link, Offer, RefuseReason, Violation, limits};

const ITEM: ItemId = ItemId([1; 16]);

fn check(cases: impl IntoIterator<Item = (Link, Frame, Violation)>) {
    for (mut link, frame, violation) in cases {
        assert_eq!(link.receive(frame, NOW), Err(violation));
    }
}

fn offered(length: u64) -> Link {
    let mut link = open_link();
    link.receive(Frame::Offer(offer_frame(1, length)), NOW).expect("a good offer");
    link
}

fn wanted(length: u64) -> Link {
    let mut link = offered(length);
    link.accept(ITEM, 0).expect("it is open");
    link
}

/// A link that has offered an item of 500 bytes.
fn offering() -> Link {
    let mut link = open_link();
    link.offer(bundle(1, 500)).expect("room");
    frames(&mut link);
    link
}

/// The same after it sent the bytes from 100 on.
fn sending() -> Link {
    let mut link = offering();
    link.receive(Frame::Want { item: ITEM, offset: 100 }, NOW).expect("offered");
    frames(&mut link);
    link
}

#[test]
fn a_stream_begins_with_one_hello_of_the_right_site() {
    let new = || Link::new(config("CEN", "PAR"), NOW);
    let hello = |change: &dyn Fn(&mut Hello)| {
        let Frame::Hello(mut hello) = hello_of("PAR") else { unreachable!("it is a hello") };
        change(&mut hello);
        Frame::Hello(hello)
    };
    let features = vec![String::new(); limits::FEATURES_MAX + 1];
    check([
        (open_link(), hello_of("PAR"), Violation::SecondHello),
        (new(), Frame::Ping { value: 1 }, Violation::NotHello { got: "ping" }),
        (new(), hello_of("LYO"), Violation::WrongSite { expected: code("PAR"), got: code("LYO") }),
        (new(), hello(&|hello| hello.revision = 0), Violation::NoRevision),
        (new(), hello(&|hello| hello.epoch = vec![0; 33]), Violation::HelloTooLarge { what: "epoch" }),
        (
            new(),
            hello(&|hello| hello.features.clone_from(&features)),
            Violation::HelloTooLarge { what: "features" },
        ),
    ]);
}

#[test]
fn each_rule_for_offers_has_its_own_name() {
    let item = ITEM;
    let inline = |bytes: usize, length: u64| {
        Frame::Offer(Offer { inline: Some(vec![0; bytes]), ..offer_frame(1, length) })
    };
    let subject = Offer { subject: "x".repeat(257), ..offer_frame(1, 1) };
    check([
        (offered(10), Frame::Offer(offer_frame(1, 11)), Violation::OfferChanged { item }),
        (open_link(), inline(10, 11), Violation::InlineLength { item, got: 10, length: 11 }),
        (open_link(), inline(70_000, 70_000), Violation::OfferTooLarge { item, what: "inline bytes" }),
        (open_link(), inline(30_000, 30_000), Violation::WindowOverrun { under_way: 30_000, window: 20_000 }),
        (
            open_link(),
            Frame::Offer(offer_frame(1, u64::MAX)),
            Violation::OfferTooLarge { item, what: "length" },
        ),
        (open_link(), Frame::Offer(subject), Violation::OfferTooLarge { item, what: "subject" }),
    ]);
    let again = offered(10).receive(Frame::Offer(offer_frame(1, 10)), NOW);
    assert_eq!(again, Ok(vec![]), "the same offer twice is one");
}

#[test]
fn each_rule_for_data_has_its_own_name() {
    let item = ITEM;
    let max = limits::DATA_BYTES_MAX;
    let length = 100_000;
    check([
        (open_link(), data(1, 0, 1), Violation::UnknownItem { frame: "data", item }),
        (offered(10), data(1, 0, 1), Violation::NotWanted { item }),
        (wanted(length), data(1, 1, 10), Violation::OutOfOrder { item, expected: 0, got: 1 }),
        (wanted(length), data(1, 0, 100_001), Violation::BeyondLength { item, offset: 0, length }),
        (wanted(length), data(1, 0, 0), Violation::DataSize { item, got: 0, max }),
        (wanted(length), data(1, 0, max + 1), Violation::DataSize { item, got: max + 1, max }),
        (wanted(length), data(1, 0, 20_001), Violation::WindowOverrun { under_way: 20_001, window: 20_000 }),
    ]);
}

#[test]
fn each_rule_for_answers_has_its_own_name() {
    let item = ITEM;
    let unknown = |frame| Violation::UnknownItem { frame, item };
    let refuse = Frame::Refuse { item, reason: RefuseReason::Damaged, text: String::new() };
    check([
        (open_link(), Frame::Want { item, offset: 0 }, unknown("want")),
        (open_link(), Frame::Ack { item, offset: 0 }, unknown("ack")),
        (open_link(), Frame::Written { item, offset: 0 }, unknown("written")),
        (offering(), Frame::Written { item, offset: 0 }, Violation::AckUnwanted { item }),
        (open_link(), Frame::Receipt { item }, unknown("receipt")),
        (open_link(), refuse, unknown("refuse")),
        (sending(), Frame::Want { item, offset: 0 }, Violation::WantedTwice { item }),
        (
            sending(),
            Frame::Ack { item, offset: 501 },
            Violation::AckBeyondSent { item, offset: 501, sent: 500 },
        ),
        (
            sending(),
            Frame::Ack { item, offset: 99 },
            Violation::AckBackwards { item, offset: 99, acked: 100 },
        ),
        (offering(), Frame::Ack { item, offset: 0 }, Violation::AckUnwanted { item }),
        (
            offering(),
            Frame::Want { item, offset: 501 },
            Violation::WantBeyondLength { item, offset: 501, length: 500 },
        ),
        (open_link(), Frame::Pong { value: 3, clock: None }, Violation::UnknownPong { value: 3 }),
    ]);
    let mut inline = open_link();
    inline.offer(object(1, 1)).expect("room");
    frames(&mut inline);
    check([(inline, Frame::Want { item, offset: 0 }, Violation::WantedInline { item })]);
}

#[test]
fn a_peer_cannot_make_this_side_hold_things_without_end() {
    let many = |frame: &dyn Fn(u16) -> Frame| {
        let mut link = open_link();
        (0..20_000).find_map(|nth| link.receive(frame(nth), NOW).err())
    };
    let offer = |nth: u16| {
        let mut offer = offer_frame(0, 10);
        offer.item.0[..2].copy_from_slice(&nth.to_be_bytes());
        offer
    };

    assert_eq!(many(&|nth| Frame::Offer(offer(nth))), Some(Violation::TooManyOffers { max: 1024 }));
    assert_eq!(many(&|nth| Frame::Ping { value: nth.into() }), Some(Violation::TooManyPings { max: 64 }));
    let unknown = many(&|nth| Frame::UnknownOffer { item: offer(nth).item, inline_bytes: 0 });
    assert_eq!(unknown, Some(Violation::NotReading { max: limits::ANSWERS_MAX }));
}

fn any_frame() -> impl Strategy<Value = Frame> {
    let item = || (0_u8..4).prop_map(|nth| ItemId([nth; 16]));
    let offset = || prop_oneof![0_u64..3000, any::<u64>()];
    prop_oneof![
        Just(hello_of("PAR")),
        (0_u8..4, offset(), any::<bool>()).prop_map(|(nth, length, whole)| {
            let inline = whole.then(|| vec![0; (length % 3000) as usize]);
            Frame::Offer(Offer { inline, ..offer_frame(nth, length) })
        }),
        item().prop_map(|item| Frame::UnknownOffer { item, inline_bytes: 1 }),
        (item(), offset()).prop_map(|(item, offset)| Frame::Want { item, offset }),
        item().prop_map(|item| Frame::Refuse { item, reason: RefuseReason::Damaged, text: "x".repeat(600) }),
        (0_u8..4, offset(), 0_usize..2000).prop_map(|(nth, offset, length)| data(nth, offset, length)),
        (item(), offset()).prop_map(|(item, offset)| Frame::Ack { item, offset }),
        (item(), offset()).prop_map(|(item, offset)| Frame::Written { item, offset }),
        item().prop_map(|item| Frame::Receipt { item }),
        item().prop_map(|item| Frame::Cancel { item }),
        (0_u64..5).prop_map(|value| Frame::Ping { value }),
        (0_u64..5).prop_map(|value| Frame::Pong { value, clock: None }),
        Just(Frame::Unknown),
    ]
}

proptest! {
    #[test]
    fn no_frame_makes_a_link_panic(script in proptest::collection::vec((any_frame(), 0_u8..6), 1..60)) {
        let mut link = open_link();
        for (frame, act) in script {
            let item = ItemId([act; 16]);
            match act {
                0 => drop(link.offer(bundle(act, 2000))),
                1 => drop(link.accept(item, 0)),
                2 => drop(link.durable(item, 500)),
                3 => drop(link.refuse(item, RefuseReason::NoSpace, "full")),
                4 => drop(link.cancel(ItemId([0; 16]))),
                _ => drop(link.finished(ItemId([1; 16]))),
            }
            let _ = link.receive(frame, NOW);
            frames(&mut link);
            assert!(link.in_flight_bytes() <= 20_000);
        }
    }
}
