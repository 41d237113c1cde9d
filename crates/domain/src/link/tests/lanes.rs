//! Two machines with lanes between them: what overtakes what changes nothing of what arrives, and both keep the same
//! account of what is under way.

use std::{collections::VecDeque, time::Duration};

use proptest::prelude::{prop, proptest};

use super::{NOW, bundle, code, config, data, frames, object, offer_frame};
use crate::{
    Priority, Timestamp,
    link::{
        Allowance, Bulk, Event, Frame, Hello, ItemId, ItemKind, LaneOffer, LaneSend, Link, OutItem, REVISION,
        Ranges, RefuseReason, Send, Stage, Violation, limits,
    },
};

const ITEM: ItemId = ItemId([1; 16]);
const OFFER: LaneOffer = LaneOffer { calls: 4, port: 0, session: [7; 16] };

fn hello(site: &str) -> Frame {
    Frame::Hello(Hello {
        site: code(site),
        revision: REVISION,
        features: Vec::new(),
        epoch: Vec::new(),
        window_bytes: 200_000,
        lanes: Some(OFFER),
    })
}

/// A link after both hellos, with lanes.
fn open(own: &str, peer: &str) -> Link {
    let mut config = config(own, peer);
    config.window_bytes = 200_000;
    config.pace.frame_bytes = limits::DATA_BYTES_MAX as u32;
    let mut link = Link::new(config, NOW);
    frames(&mut link);
    link.receive(hello(peer), NOW).expect("a good hello");
    link.set_lanes(4, true);
    link
}

/// A receiver of one item that holds the bytes before `durable` and `held`.
fn receiver(length: u64, durable: u64, held: Ranges) -> Link {
    let mut link = open("PAR", "CEN");
    link.receive(Frame::Offer(offer_frame(1, length)), NOW).expect("a good offer");
    link.accept_rest(ITEM, durable, held).expect("it is open");
    link
}

fn bulk(want: u64, offset: u64, length: usize) -> Frame {
    Frame::Bulk { item: ITEM, offset, bytes: vec![0; length].into(), want }
}

fn bulk_of(link: &mut Link) -> Option<Bulk> {
    match link.next_on_lane(NOW)? {
        LaneSend::Bulk(bulk) => Some(bulk),
        LaneSend::Frame(frame) => panic!("{frame:?}"),
    }
}

/// Gives each what the other says on the main connection.
fn talk(sender: &mut Link, receiver: &mut Link, now: Timestamp) {
    loop {
        let all = |link: &mut Link| std::iter::from_fn(|| link.next_send(now)).collect::<Vec<_>>();
        let (to, from) = (all(sender), all(receiver));
        if to.is_empty() && from.is_empty() {
            return;
        }
        for (sends, link) in [(to, &mut *receiver), (from, &mut *sender)] {
            for send in sends {
                let Send::Frame(frame) = send else { panic!("bytes of a bundle leave on lanes: {send:?}") };
                link.receive(frame, now).expect("both keep to the rules");
            }
        }
    }
}

proptest! {
    /// Whichever lane is fast: every byte comes once, the held ones never, and at the end nothing is under way.
    #[test]
    fn in_any_order_it_is_the_same_item(
        picks in prop::collection::vec((0_usize..4, 0_usize..4), 1..400),
        held in prop::collection::vec((1_u64..400_000, 1_u64..9_000), 0..10),
        durable in 0_u64..20_000,
    ) {
        let mut now = NOW;
        let length = 400_000;
        let held: Ranges = held
            .into_iter()
            .map(|(from, bytes)| from.max(durable + 1)..(from + bytes).min(length))
            .filter(|run| run.start < run.end)
            .collect();
        let (mut sender, mut receiver) = (open("CEN", "PAR"), receiver(length, durable, held.clone()));
        sender.offer(bundle(1, length)).expect("room");
        let offer = sender.next_send(now).expect("it is offered");
        assert!(matches!(offer, Send::Frame(Frame::Offer(_))));
        talk(&mut sender, &mut receiver, now);

        let mut lanes: [VecDeque<Frame>; 4] = Default::default();
        let mut here = held.clone();
        here.insert(0..durable);
        let (mut sent, mut words) = (0, Vec::new());
        let mut picks = picks.into_iter().cycle();
        while here.bytes() < length {
            now = now.plus(Duration::from_millis(30));
            let (into, from) = picks.next().expect("without end");
            if let Some(LaneSend::Bulk(bulk)) = sender.next_on_lane(now) {
                sent += bulk.length as u64;
                let bytes = vec![0; bulk.length].into();
                let (item, offset, want) = (bulk.item, bulk.offset, bulk.want);
                lanes[into].push_back(Frame::Bulk { item, offset, bytes, want });
            }
            let lane = (0..4).map(|nth| (nth + from) % 4).find(|nth| !lanes[*nth].is_empty());
            // Without one, the word of what came is still on its way.
            let events = match lane.and_then(|lane| lanes[lane].pop_front()) {
                Some(frame) => receiver.receive_on_lane(frame, now).expect("both keep to the rules"),
                None => Vec::new(),
            };
            for event in events {
                let Event::Write { offset, bytes, .. } = event else { panic!("{event:?}") };
                let run = offset..offset + bytes.len() as u64;
                assert!(!here.overlaps(&run), "{run:?} came twice");
                here.insert(run);
            }
            assert!(now < NOW.plus(Duration::from_secs(60)), "it stands still");
            receiver.durable(ITEM, here.end_from(0)).expect("it came");
            talk(&mut sender, &mut receiver, now);
            // Words of what came overtake one another too.
            words.extend(receiver.next_on_lane(now));
            if words.len() > from || lanes.iter().all(VecDeque::is_empty) {
                while let Some(word) = words.pop() {
                    let LaneSend::Frame(got @ Frame::Got { .. }) = word else { panic!("{word:?}") };
                    sender.receive_on_lane(got, now).expect("an old word says nothing");
                }
            }
        }

        assert_eq!(sent, length - durable - held.bytes());
        assert_eq!(sender.in_flight_bytes(), 0);
        receiver.finished(ITEM).expect("it is open");
        talk(&mut sender, &mut receiver, now);
        assert!(sender.is_idle() && receiver.is_idle());
        // Nothing of the window was lost on the way.
        let mut offer = offer_frame(2, 1 << 20);
        offer.priority = Priority::High;
        receiver.receive(Frame::Offer(offer), now).expect("a good offer");
        receiver.accept(ItemId([2; 16]), 0).expect("it is open");
        let want = 2;
        let all = Frame::Bulk { item: ItemId([2; 16]), offset: 0, bytes: vec![0; 200_000].into(), want };
        receiver.receive_on_lane(all, now).expect("the window is free");
    }
}

/// What leaves on a lane comes, and the word of it comes back, until nothing more leaves.
fn talk_on_lane(sender: &mut Link, receiver: &mut Link, mut now: Timestamp) -> Timestamp {
    loop {
        let bulks: Vec<Bulk> = std::iter::from_fn(|| match sender.next_on_lane(now)? {
            LaneSend::Bulk(bulk) => Some(bulk),
            LaneSend::Frame(frame) => panic!("{frame:?}"),
        })
        .collect();
        if bulks.is_empty() {
            return now;
        }
        for Bulk { item, offset, length, want } in bulks {
            let frame = Frame::Bulk { item, offset, bytes: vec![0; length].into(), want };
            receiver.receive_on_lane(frame, now).expect("the sender keeps to the window");
        }
        now = now.plus(Duration::from_millis(10));
        while let Some(LaneSend::Frame(got)) = receiver.next_on_lane(now) {
            sender.receive_on_lane(got, now).expect("it was sent");
        }
    }
}

#[test]
fn what_was_taken_back_counts_until_the_peer_has_heard_of_that() {
    let (mut sender, mut receiver) = (open("CEN", "PAR"), open("PAR", "CEN"));
    for nth in 1..=4 {
        sender.offer(bundle(nth, 150_000)).expect("room");
        let Some(Send::Frame(offer)) = sender.next_send(NOW) else { panic!("it is offered") };
        receiver.receive(offer, NOW).expect("a good offer");
        receiver.accept(ItemId([nth; 16]), 0).expect("it is open");
    }
    talk(&mut sender, &mut receiver, NOW);

    // The main connection waits for a lost packet: what leaves on the lane overtakes each cancel.
    let mut now = NOW;
    for nth in 1..=3 {
        now = talk_on_lane(&mut sender, &mut receiver, now);
        assert!(sender.cancel(ItemId([nth; 16])));
    }
    assert!(sender.in_flight_bytes() > 80_000);

    talk(&mut sender, &mut receiver, now);
    assert_eq!(sender.in_flight_bytes(), 0);
    assert!(matches!(sender.next_on_lane(now), Some(LaneSend::Bulk(bulk)) if bulk.item == ItemId([4; 16])));
}

#[test]
fn the_main_connection_carries_what_is_no_bundle_and_the_lanes_nothing_else() {
    let mut link = open("CEN", "PAR");
    link.offer(bundle(1, 100_000)).expect("room");
    frames(&mut link);
    link.receive(Frame::Want { item: ITEM, offset: 0 }, NOW).expect("offered");

    assert_eq!(frames(&mut link), []);
    let first = bulk_of(&mut link).expect("a bundle is wanted");
    assert_eq!((first.item, first.offset, first.want), (ITEM, 0, 1));
    link.offer(OutItem { priority: Priority::High, ..object(2, 1) }).expect("room");
    assert!(matches!(&frames(&mut link)[..], [Send::Frame(Frame::Offer(_))]));
    link.receive(Frame::Got { bytes: first.length as u64 + 10 }, NOW).expect("it was sent");
    let next = bulk_of(&mut link).expect("it goes on");
    assert_eq!(next.offset, first.length as u64);
}

#[test]
fn a_rate_is_for_what_is_more_urgent_whichever_connection_is_asked_first() {
    let large = |nth, kind, priority| OutItem { kind, priority, state: None, ..bundle(nth, 1 << 20) };
    for [on_main, on_lane] in [[Priority::Low, Priority::High], [Priority::High, Priority::Low]] {
        let mut link = open("CEN", "PAR");
        link.allow(Allowance { bytes_per_second: Some(50_000), ..Allowance::default() }, NOW);
        link.offer(large(1, ItemKind::Object, on_main)).expect("room");
        link.offer(large(2, ItemKind::Bundle, on_lane)).expect("room");
        let mut now = NOW;
        // Both offers leave, one after the other.
        while link.progress().any(|of| of.stage == Stage::Queued) {
            now = now.plus(Duration::from_millis(10));
            link.next_send(now);
        }
        for nth in [1, 2] {
            link.receive(Frame::Want { item: ItemId([nth; 16]), offset: 0 }, now).expect("offered");
        }

        let (mut sent, mut left) = (0, [0; 2]);
        while now < NOW.plus(Duration::from_secs(20)) {
            now = now.plus(Duration::from_millis(1));
            let main = match link.next_send(now) {
                Some(Send::Data { item, offset, length }) => Some((0, item, offset, length)),
                _ => None,
            };
            let lane = match link.next_on_lane(now) {
                Some(LaneSend::Bulk(bulk)) => Some((1, bulk.item, bulk.offset, bulk.length)),
                _ => None,
            };
            for (way, item, offset, length) in main.into_iter().chain(lane) {
                (sent, left[way]) = (sent + length as u64, left[way] + length as u64);
                link.receive(Frame::Got { bytes: sent }, now).expect("it was sent");
                link.receive(Frame::Ack { item, offset: offset + length as u64 }, now).expect("it was sent");
            }
        }

        let urgent = left[usize::from(on_lane == Priority::High)] * 100 / sent;
        assert!(sent > 900_000 && (93..=97).contains(&urgent), "{urgent} % of {sent} bytes, {left:?}");
    }
}

#[test]
fn without_lanes_the_main_connection_leaves_out_what_is_held() {
    let mut link = open("CEN", "PAR");
    link.set_lanes(0, true);
    link.offer(bundle(1, 5000)).expect("room");
    frames(&mut link);
    let held = [200..300, 4000..5000].into_iter().collect();
    link.receive(Frame::WantRest { item: ITEM, offset: 100, held }, NOW).expect("offered");

    let sent: Vec<(u64, usize)> = frames(&mut link)
        .into_iter()
        .map(|send| match send {
            Send::Data { offset, length, .. } => (offset, length),
            other => panic!("{other:?}"),
        })
        .collect();

    assert_eq!(sent, [(100, 100), (300, 3700)]);
    assert_eq!(link.in_flight_bytes(), 3800);
    link.receive(Frame::Ack { item: ITEM, offset: 5000 }, NOW).expect("all of it is there");
    assert_eq!(link.in_flight_bytes(), 0);
}

#[test]
fn what_is_late_on_a_lane_is_dropped() {
    let mut link = receiver(100_000, 0, Ranges::default());
    link.refuse(ITEM, RefuseReason::NoSpace, "full").expect("it is open");
    assert_eq!(
        link.receive_on_lane(bulk(1, 0, 1000), NOW),
        Ok(vec![]),
        "nobody can tell when a lane is empty"
    );

    link.receive(Frame::Offer(offer_frame(1, 100_000)), NOW).expect("offered again");
    link.accept(ITEM, 0).expect("it is open");
    assert_eq!(link.receive_on_lane(bulk(1, 50_000, 1000), NOW), Ok(vec![]), "it answers the first want");
    let written = link.receive_on_lane(bulk(2, 50_000, 1000), NOW).expect("it answers the second");
    assert!(matches!(&written[..], [Event::Write { offset: 50_000, .. }]));
}

#[test]
fn each_rule_of_lanes_has_its_own_name() {
    let item = ITEM;
    let half = || {
        let mut link = receiver(100_000, 0, std::iter::once(90_000..95_000).collect());
        link.receive_on_lane(bulk(1, 10_000, 1000), NOW).expect("it may overtake");
        link
    };
    let mut no_lanes = super::open_link();
    for (mut link, frame, violation) in [
        (half(), bulk(1, 10_999, 10), Violation::Overlap { item, offset: 10_999 }),
        (half(), bulk(1, 9_000, 1001), Violation::Overlap { item, offset: 9_000 }),
        (half(), bulk(1, 94_999, 1), Violation::Overlap { item, offset: 94_999 }),
        (half(), bulk(1, 99_999, 2), Violation::BeyondLength { item, offset: 99_999, length: 100_000 }),
        (half(), data(1, 20_000, 1), Violation::NotForLane { got: "data" }),
        (half(), Frame::Ping { value: 0 }, Violation::NotForLane { got: "ping" }),
    ] {
        assert_eq!(link.receive_on_lane(frame, NOW), Err(violation));
    }
    assert_eq!(
        half().receive(data(1, 20_000, 1), NOW),
        Err(Violation::OutOfOrder { item, expected: 0, got: 20_000 })
    );
    assert_eq!(no_lanes.receive(bulk(1, 0, 1), NOW), Err(Violation::NoLanes));

    let mut link = receiver(100_000, 0, Ranges::default());
    let mut gaps = (0..).map(|nth| link.receive_on_lane(bulk(1, 1 + 2 * nth, 1), NOW));
    let refused = gaps.by_ref().take(limits::RANGES_MAX + 1).find_map(Result::err);
    assert_eq!(refused, Some(Violation::TooManyGaps { item, max: limits::RANGES_MAX }));

    let mut link = open("CEN", "PAR");
    link.offer(bundle(1, 500)).expect("room");
    frames(&mut link);
    let want = |held: std::ops::Range<u64>| Frame::WantRest {
        item,
        offset: 100,
        held: std::iter::once(held).collect(),
    };
    assert_eq!(link.receive(want(100..200), NOW), Err(Violation::HeldShape { item }));
    assert_eq!(link.receive(want(200..501), NOW), Err(Violation::HeldShape { item }));
}
