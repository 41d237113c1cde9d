//! One machine, and a peer that keeps to the rules; what happens when it does not is in `rules`.

mod lanes;
mod pace;
mod rules;
mod written;

use std::time::Duration;

use super::{
    Allowance, AnswerError, Event, Frame, Hello, ItemId, ItemKind, Link, LinkConfig, Lost, ObjectState,
    Offer, OfferError, Offering, Open, OutItem, Pace, Pulse, REVISION, RefuseReason, Send, Violation, limits,
};
use crate::{Digest, Priority, Timestamp, id::SiteCode};

const NOW: Timestamp = Timestamp(1_000_000);

fn code(text: &str) -> SiteCode {
    text.parse().expect("a site code")
}

fn config(own: &str, peer: &str) -> LinkConfig {
    let mut config = LinkConfig::new(code(own), code(peer));
    config.pace = Pace { frame_bytes: 1000, in_flight_bytes: 100_000, inline_bytes: 500 };
    config.window_bytes = 20_000;
    config
}

fn hello_of(site: &str) -> Frame {
    let (features, epoch) = (vec!["later".to_owned()], vec![1]);
    Frame::Hello(Hello { site: code(site), revision: 9, features, epoch, window_bytes: 20_000, lanes: None })
}

/// A link of CEN with PAR after both hellos.
fn open_link() -> Link {
    let mut link = Link::new(config("CEN", "PAR"), NOW);
    assert!(matches!(link.next_send(NOW), Some(Send::Frame(Frame::Hello(_)))));
    link.receive(hello_of("PAR"), NOW).expect("a good hello");
    link
}

fn bundle(nth: u8, length: u64) -> OutItem {
    OutItem {
        id: ItemId([nth; 16]),
        kind: ItemKind::Bundle,
        priority: Priority::Medium,
        length,
        digest: Digest([nth; 32]),
        subject: "CEN00001".to_owned(),
        target: None,
        bases: Vec::new(),
        rank: 0,
        deadline: None,
        queued_at: Timestamp(i64::from(nth)),
        available: length,
        inline: None,
        state: None,
    }
}

fn object(nth: u8, version: u64) -> OutItem {
    let state = Some(ObjectState { object: "collection/CEN00002".to_owned(), version });
    OutItem { kind: ItemKind::Object, inline: Some(vec![nth; 10]), state, ..bundle(nth, 10) }
}

fn offer_frame(nth: u8, length: u64) -> Offer {
    let item = bundle(nth, length);
    Offer {
        item: item.id,
        kind: item.kind,
        priority: item.priority,
        length,
        digest: item.digest,
        subject: item.subject,
        target: None,
        bases: Vec::new(),
        inline: None,
    }
}

fn data(nth: u8, offset: u64, length: usize) -> Frame {
    Frame::Data { item: ItemId([nth; 16]), offset, bytes: vec![0; length].into() }
}

fn frames(link: &mut Link) -> Vec<Send> {
    std::iter::from_fn(|| link.next_send(NOW)).collect()
}

#[test]
fn an_item_goes_from_its_offer_to_its_receipt() {
    let mut link = open_link();
    let item = ItemId([1; 16]);
    assert_eq!(link.offer(bundle(1, 1500)), Ok(Offering::Queued));
    assert_eq!(link.offer(bundle(1, 1500)), Ok(Offering::Known));
    assert!(matches!(&frames(&mut link)[..], [Send::Frame(Frame::Offer(offer))] if offer.item == item));

    let wanted = link.receive(Frame::Want { item, offset: 200 }, NOW);

    assert_eq!(wanted, Ok(vec![Event::Wanted { item, offset: 200 }]));
    let sent = frames(&mut link);
    let expected = [(200, 1000), (1200, 300)].map(|(offset, length)| Send::Data { item, offset, length });
    assert_eq!(sent, expected);
    assert_eq!(link.in_flight_bytes(), 1300);
    assert_eq!(
        link.receive(Frame::Ack { item, offset: 1500 }, NOW),
        Ok(vec![Event::Acked { item, offset: 1500 }])
    );
    assert_eq!(link.in_flight_bytes(), 0);
    assert!(!link.is_idle(), "an ack is not a receipt");
    assert_eq!(link.receive(Frame::Receipt { item }, NOW), Ok(vec![Event::Delivered { item }]));
    assert!(link.is_idle());
}

#[test]
fn a_receiver_acknowledges_what_is_durable_and_no_more() {
    let mut link = open_link();
    let item = ItemId([1; 16]);
    link.receive(Frame::Offer(offer_frame(1, 3000)), NOW).expect("a good offer");
    assert_eq!(link.accept(item, 1000), Ok(()));
    link.receive(data(1, 1000, 1000), NOW).expect("wanted data");
    link.receive(data(1, 2000, 1000), NOW).expect("wanted data");

    assert_eq!(
        link.durable(item, 3001),
        Err(AnswerError::Offset { item, offset: 3001, from: 1000, to: 3000 })
    );
    assert_eq!(link.durable(item, 2000), Ok(()));
    assert_eq!(link.durable(item, 3000), Ok(()));

    let sent = frames(&mut link);
    let [want, ack] =
        [Frame::Want { item, offset: 1000 }, Frame::Ack { item, offset: 3000 }].map(Send::Frame);
    assert_eq!(sent, [want, ack], "two syncs cost one ack");
    assert_eq!(link.finished(item), Ok(()));
    assert_eq!(frames(&mut link), [Send::Frame(Frame::Receipt { item })]);
    assert_eq!(link.finished(item), Err(AnswerError::NotOpen(item)));
}

#[test]
fn a_newer_state_takes_the_place_of_an_older_one_that_waits() {
    let mut link = open_link();
    link.offer(object(1, 1)).expect("room");

    assert_eq!(link.offer(object(2, 2)), Ok(Offering::Replaced(ItemId([1; 16]))));
    assert_eq!(link.offer(object(1, 1)), Ok(Offering::Outdated));

    let sent = frames(&mut link);
    assert!(
        matches!(&sent[..], [Send::Frame(Frame::Offer(offer))] if offer.inline == Some(vec![2; 10])),
        "{sent:?}"
    );
    assert_eq!(link.offer(object(3, 3)), Ok(Offering::Queued), "what was sent whole is not taken back");
}

#[test]
fn a_cancelled_item_is_offered_again_only_when_nothing_old_can_come() {
    let mut link = open_link();
    let item = ItemId([1; 16]);
    link.offer(bundle(1, 5000)).expect("room");
    frames(&mut link);

    assert!(link.cancel(item));
    assert_eq!(link.offer(bundle(1, 5000)), Ok(Offering::Queued));

    let [cancel, ping] = [Frame::Cancel { item }, Frame::Ping { value: 0 }].map(Send::Frame);
    assert_eq!(frames(&mut link), [cancel, ping]);
    assert_eq!(link.receive(Frame::Want { item, offset: 0 }, NOW), Ok(vec![]), "it crossed the cancel");
    assert_eq!(frames(&mut link), []);
    link.receive(Frame::Pong { value: 0, clock: None }, NOW).expect("the pong of the ping");
    assert!(matches!(&frames(&mut link)[..], [Send::Frame(Frame::Offer(offer))] if offer.item == item));
}

#[test]
fn data_under_way_to_a_refused_item_are_dropped_until_the_peer_knows() {
    let mut link = open_link();
    let item = ItemId([1; 16]);
    link.receive(Frame::Offer(offer_frame(1, 5000)), NOW).expect("a good offer");
    link.accept(item, 0).expect("it is open");
    link.receive(data(1, 0, 1000), NOW).expect("wanted data");

    link.refuse(item, RefuseReason::NoSpace, "é".repeat(1000)).expect("it is open");

    let sent = frames(&mut link);
    assert!(
        matches!(&sent[1], Send::Frame(Frame::Refuse { text, .. }) if text.len() <= limits::TEXT_BYTES_MAX)
    );
    assert_eq!(sent[2], Send::Frame(Frame::Ping { value: 0 }));
    assert_eq!(link.receive(data(1, 1000, 1000), NOW), Ok(vec![]));
    link.receive(Frame::Pong { value: 0, clock: None }, NOW).expect("the pong of the ping");
    assert_eq!(link.receive(data(1, 2000, 10), NOW), Err(Violation::UnknownItem { frame: "data", item }));
}

#[test]
fn a_refusal_of_what_is_held_is_a_receipt() {
    let mut link = open_link();
    let item = ItemId([1; 16]);
    link.offer(bundle(1, 5000)).expect("room");
    frames(&mut link);

    let held = Frame::Refuse { item, reason: RefuseReason::Held, text: String::new() };

    assert_eq!(link.receive(held, NOW), Ok(vec![Event::Delivered { item }]));
}

#[test]
fn the_window_of_the_peer_is_never_exceeded() {
    let mut link = open_link();
    let item = ItemId([1; 16]);
    link.offer(bundle(1, 1_000_000)).expect("room");
    frames(&mut link);
    link.receive(Frame::Want { item, offset: 0 }, NOW).expect("offered");

    let sent = frames(&mut link);

    assert!(link.in_flight_bytes() <= 20_000);
    assert!(sent.len() >= 15, "most of the window is used: {}", sent.len());
    link.receive(Frame::Ack { item, offset: 1000 }, NOW).expect("it was sent");
    assert_eq!(frames(&mut link).len(), 1, "an ack makes room");
}

#[test]
fn a_high_item_finds_an_open_offer_and_room_whatever_waits_below() {
    let mut link = open_link();
    for nth in 0..200 {
        link.offer(OutItem { priority: Priority::Low, ..bundle(nth, 50_000) }).expect("room");
    }
    for send in frames(&mut link) {
        if let Send::Frame(Frame::Offer(offer)) = send {
            link.receive(Frame::Want { item: offer.item, offset: 0 }, NOW).expect("offered");
        }
    }
    frames(&mut link);

    link.offer(OutItem { priority: Priority::High, ..object(250, 1) }).expect("room");

    let next = link.next_send(NOW);
    assert!(
        matches!(&next, Some(Send::Frame(Frame::Offer(offer))) if offer.priority == Priority::High),
        "{next:?}"
    );
}

#[test]
fn what_was_put_in_front_goes_before_all_others_of_its_class_and_before_no_other_class() {
    let mut link = open_link();
    link.offer(object(1, 1)).expect("room");
    for (nth, rank) in [(2, 0), (3, -1), (4, -2)] {
        link.offer(OutItem { rank, inline: Some(vec![0; 10]), ..bundle(nth, 10) }).expect("room");
    }
    link.offer(OutItem { priority: Priority::High, state: None, ..object(5, 1) }).expect("room");
    link.offer(OutItem { priority: Priority::Low, rank: -9, ..bundle(6, 10) }).expect("room");

    let offered: Vec<u8> = frames(&mut link)
        .into_iter()
        .filter_map(|send| match send {
            Send::Frame(Frame::Offer(offer)) => Some(offer.item.0[0]),
            _ => None,
        })
        .collect();

    assert_eq!(offered, [5, 4, 3, 1, 2, 6]);
}

#[test]
fn within_a_class_what_is_needed_first_goes_first_and_then_the_oldest() {
    let mut link = open_link();
    for (nth, deadline) in [(1, None), (2, Some(90)), (3, Some(20)), (4, None)] {
        let deadline = deadline.map(Timestamp);
        link.offer(OutItem { deadline, ..bundle(nth, 10) }).expect("room");
    }

    let offered: Vec<u8> = frames(&mut link)
        .into_iter()
        .filter_map(|send| match send {
            Send::Frame(Frame::Offer(offer)) => Some(offer.item.0[0]),
            _ => None,
        })
        .collect();

    assert_eq!(offered, [3, 2, 1, 4]);
}

#[test]
fn what_is_still_coming_in_goes_on_as_far_as_it_is_there() {
    let mut link = open_link();
    let item = ItemId([1; 16]);
    link.offer(OutItem { available: 1500, ..bundle(1, 4000) }).expect("room");
    frames(&mut link);
    link.receive(Frame::Want { item, offset: 0 }, NOW).expect("offered");
    let lengths = |link: &mut Link| -> Vec<usize> {
        let sent = frames(link).into_iter();
        sent.map(|send| if let Send::Data { length, .. } = send { length } else { 0 }).collect()
    };

    assert_eq!(lengths(&mut link), [1000, 500]);
    link.available(item, 2000);
    assert_eq!(lengths(&mut link), [500]);
    link.available(item, 9999);
    assert_eq!(lengths(&mut link), [1000, 1000], "no more than it has");
}

#[test]
fn a_closed_class_pauses_where_it_is_and_a_rate_holds_back_the_next_frame() {
    let mut link = open_link();
    let item = ItemId([1; 16]);
    link.offer(bundle(1, 5000)).expect("room");
    frames(&mut link);
    link.receive(Frame::Want { item, offset: 0 }, NOW).expect("offered");
    link.allow(Allowance { open: Open::High, ..Allowance::default() }, NOW);
    assert_eq!(frames(&mut link), [], "it is of medium priority");
    link.offer(OutItem { priority: Priority::High, ..object(2, 1) }).expect("room");
    assert_eq!(frames(&mut link).len(), 1, "what is open goes");

    link.allow(Allowance { bytes_per_second: Some(1000), ..Allowance::default() }, NOW);
    let first = frames(&mut link);

    assert!(matches!(first[..], [Send::Data { offset: 0, .. }]), "one frame, and then a debt: {first:?}");
    let ping_at = link.next_wake(NOW).expect("a ping is due");
    link.wake(ping_at).expect("it was heard lately");
    assert_eq!(link.next_send(ping_at), Some(Send::Frame(Frame::Ping { value: 0 })));
    let at = link.next_wake(ping_at).expect("when the debt is paid");
    assert!(at > ping_at && matches!(link.next_send(at), Some(Send::Data { .. })));
}

#[test]
fn a_block_of_a_pulse_ends_with_a_frame_that_is_cut_to_what_is_left() {
    let mut link = open_link();
    let item = ItemId([1; 16]);
    link.offer(bundle(1, 50_000)).expect("room");
    frames(&mut link);
    link.receive(Frame::Want { item, offset: 0 }, NOW).expect("offered");
    let pulse = Pulse { block_bytes: 2500, pause: Duration::from_secs(1) };
    link.allow(Allowance { pulse: Some(pulse), ..Allowance::default() }, NOW);

    let block = frames(&mut link);

    // Each has 35 + 14 + 22 + 52 bytes of headers.
    let lengths = [(0, 1000), (1000, 1000), (2000, 131)];
    assert_eq!(block, lengths.map(|(offset, length)| Send::Data { item, offset, length }));
    let whole = OutItem { priority: Priority::High, inline: Some(vec![2; 400]), ..bundle(2, 400) };
    link.offer(OutItem { kind: ItemKind::Object, ..whole }).expect("room");
    assert_eq!(frames(&mut link), [], "the block is over");
    let at = link.next_wake(NOW).expect("the end of the pause");
    assert_eq!(at, NOW.plus(Duration::from_secs(1)));
    let next = link.next_send(at);
    assert!(matches!(&next, Some(Send::Frame(Frame::Offer(offer))) if offer.inline.is_some()), "{next:?}");
}

#[test]
fn without_a_turn_no_bundle_goes_and_everything_else_does() {
    let mut link = open_link();
    link.set_bundles_max(0);
    link.offer(bundle(1, 5000)).expect("room");
    link.offer(object(2, 1)).expect("room");

    let sent = frames(&mut link);
    assert!(matches!(&sent[..], [Send::Frame(Frame::Offer(offer))] if offer.kind == ItemKind::Object));

    link.set_bundles_max(1);
    link.offer(bundle(3, 5000)).expect("room");
    assert_eq!(frames(&mut link).len(), 1, "the second waits until the first is done");
}

#[test]
fn bytes_that_cannot_be_read_are_not_under_way() {
    let mut link = open_link();
    let item = ItemId([1; 16]);
    link.offer(bundle(1, 5000)).expect("room");
    frames(&mut link);
    link.receive(Frame::Want { item, offset: 0 }, NOW).expect("offered");
    let first = link.next_send(NOW);
    assert_eq!(first, Some(Send::Data { item, offset: 0, length: 1000 }));
    let second = link.next_send(NOW);
    assert_eq!(second, Some(Send::Data { item, offset: 1000, length: 1000 }));

    link.unreadable(item, 1000);

    assert_eq!(link.gauges().under_way_bytes, 1000, "of the first");
    assert_eq!(link.in_flight_bytes(), 2000, "of the peer's window, until it has heard of the cancel");
    assert_eq!(frames(&mut link)[0], Send::Frame(Frame::Cancel { item }));
    assert_eq!(link.receive(Frame::Got { bytes: 1000 }, NOW), Ok(vec![]));
    assert_eq!(link.gauges().under_way_bytes, 0);
    let more = Violation::GotBeyondSent { got: 1001, known: 1000, sent: 1000 };
    assert_eq!(link.receive(Frame::Got { bytes: 1001 }, NOW), Err(more));
}

#[test]
fn what_came_is_told_soon_and_not_for_every_frame() {
    let mut link = open_link();
    link.receive(Frame::Offer(offer_frame(1, 10_000)), NOW).expect("a good offer");
    link.accept(ItemId([1; 16]), 0).expect("it is open");
    frames(&mut link);
    for at in 0..10 {
        link.receive(data(1, at * 1000, 1000), NOW).expect("wanted data");
    }

    assert_eq!(frames(&mut link), []);
    let at = link.next_wake(NOW).expect("soon");
    assert!(at <= NOW.plus(Duration::from_millis(5)));
    assert_eq!(link.next_send(at), Some(Send::Frame(Frame::Got { bytes: 10_000 })));
    assert_eq!(link.next_send(at), None);
}

#[test]
fn each_class_leaves_room_for_those_above_it() {
    for (priority, most) in [(Priority::Low, 15_000), (Priority::Medium, 17_500), (Priority::High, 20_000)] {
        let mut link = open_link();
        link.offer(OutItem { priority, ..bundle(1, 1_000_000) }).expect("room");
        frames(&mut link);
        link.receive(Frame::Want { item: ItemId([1; 16]), offset: 0 }, NOW).expect("offered");

        frames(&mut link);

        let in_flight = link.in_flight_bytes();
        assert!((most - 1000..=most).contains(&in_flight), "{priority}: {in_flight}");
    }
}

#[test]
fn refusals_make_room_for_the_offers_behind() {
    let mut link = open_link();
    for nth in 0..100 {
        link.offer(bundle(nth, 5000)).expect("room");
    }

    let mut offered = 0;
    while let Some(Send::Frame(Frame::Offer(offer))) = link.next_send(NOW) {
        offered += 1;
        let reason = RefuseReason::BaseMissing;
        link.receive(Frame::Refuse { item: offer.item, reason, text: String::new() }, NOW).expect("offered");
    }

    assert_eq!(offered, 100);
    assert!(link.is_idle());
}

#[test]
fn a_full_queue_is_said_and_holds_up_no_other_class() {
    let mut link = open_link();
    let nth = |nth: u16| {
        let mut item = OutItem { priority: Priority::Low, ..bundle(0, 10) };
        item.id.0[..2].copy_from_slice(&nth.to_be_bytes());
        item
    };
    for at in 0..limits::QUEUED_ITEMS_MAX {
        link.offer(nth(at as u16)).expect("room");
    }

    assert_eq!(link.offer(nth(9999)), Err(OfferError::Full { priority: Priority::Low }));
    assert_eq!(link.offer(bundle(255, 10)), Ok(Offering::Queued));
    let bad = OutItem { length: 11, ..object(9, 9) };
    assert!(matches!(link.offer(bad), Err(OfferError::Invalid { .. })));
}

#[test]
fn the_lower_revision_is_spoken_and_unknown_things_are_ignored() {
    let mut ours = config("CEN", "PAR");
    ours.features = vec!["later".to_owned(), "other".to_owned()];
    let mut link = Link::new(ours, NOW);

    let events = link.receive(hello_of("PAR"), NOW).expect("a good hello");

    let features = vec!["later".to_owned()];
    assert_eq!(events, [Event::PeerHello { revision: REVISION, features, epoch: vec![1], lanes: None }]);
    assert_eq!(link.receive(Frame::Unknown, NOW), Ok(vec![]));
    frames(&mut link);
    let item = ItemId([7; 16]);
    let offer = Frame::UnknownOffer { item, inline_bytes: 0 };
    assert_eq!(link.receive(offer, NOW), Ok(vec![Event::UnknownKind { item }]));
    let reason = RefuseReason::UnknownKind;
    assert!(matches!(&frames(&mut link)[..], [Send::Frame(Frame::Refuse { reason: r, .. })] if *r == reason));
}

#[test]
fn nothing_but_the_hello_leaves_before_the_peer_has_said_hello() {
    let mut link = Link::new(config("CEN", "PAR"), NOW);
    link.offer(bundle(1, 10)).expect("room");

    assert_eq!(frames(&mut link).len(), 1);
}

#[test]
fn a_silent_peer_is_asked_and_then_given_up() {
    let mut link = open_link();
    let at = |seconds| NOW.plus(Duration::from_secs(seconds));
    assert_eq!(link.next_wake(NOW), Some(at(1)));

    link.wake(at(15)).expect("it was heard 15 s ago");
    assert_eq!(link.next_send(at(15)), Some(Send::Frame(Frame::Ping { value: 0 })));
    assert_eq!(link.next_wake(at(15)), Some(at(60)));
    assert!(link.wake(at(60)).is_err());

    let pong = link.receive(Frame::Pong { value: 0, clock: None }, at(16)).expect("the pong of the ping");
    assert_eq!(pong, [Event::Pong { round_trip: Duration::from_secs(1), clock: None }]);
    assert_eq!(link.wake(at(70)), Ok(()));
}

#[test]
fn how_long_the_way_is_is_found_out_soon_and_looked_at_now_and_then() {
    let mut link = open_link();
    let (mut now, mut asked) = (NOW, Vec::new());
    for value in 0..7 {
        now = link.next_wake(now).expect("a ping is due");
        link.wake(now).expect("it was heard lately");
        assert_eq!(link.next_send(now), Some(Send::Frame(Frame::Ping { value })));
        link.receive(Frame::Pong { value, clock: None }, now).expect("the pong of the ping");
        asked.push(now.since(NOW).as_secs());
    }

    assert_eq!(asked, [1, 3, 7, 15, 30, 45, 60]);
}

#[test]
fn who_says_no_hello_is_not_waited_for_as_long() {
    let mut link = Link::new(config("CEN", "PAR"), NOW);
    let at = |seconds| NOW.plus(Duration::from_secs(seconds));

    assert_eq!(link.next_wake(NOW), Some(at(30)));
    assert_eq!(link.wake(at(29)), Ok(()));
    assert!(matches!(link.wake(at(30)), Err(Lost::NoHello { .. })));
}

#[test]
fn after_goodbye_answers_leave_and_nothing_new() {
    let mut link = open_link();
    let item = ItemId([1; 16]);
    link.receive(Frame::Offer(offer_frame(1, 10)), NOW).expect("a good offer");
    link.offer(bundle(2, 10)).expect("room");

    link.goodbye("the site stops");
    link.finished(item).expect("it is open");

    let sent = frames(&mut link);
    assert!(
        matches!(&sent[..], [Send::Frame(Frame::Goodbye { .. }), Send::Frame(Frame::Receipt { .. })]),
        "{sent:?}"
    );
    let mut other = open_link();
    other.offer(bundle(2, 10)).expect("room");
    other.receive(Frame::Goodbye { reason: String::new(), at_fault: false }, NOW).expect("allowed");
    assert_eq!(frames(&mut other), [], "it would be lost");
}
