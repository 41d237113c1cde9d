//! What is in the receiver's file and not on its disk: it leaves the window, and is not acknowledged.

use super::*;

const ITEM: ItemId = ItemId([1; 16]);

/// A link of CEN with a PAR of this revision.
fn link_with(revision: u32) -> Link {
    let mut link = Link::new(config("CEN", "PAR"), NOW);
    frames(&mut link);
    let Frame::Hello(hello) = hello_of("PAR") else { panic!("it is a hello") };
    link.receive(Frame::Hello(Hello { revision, ..hello }), NOW).expect("a good hello");
    link
}

/// One that receives, and so much of its item.
fn receiving(revision: u32, kilobytes: u64) -> Link {
    let mut link = link_with(revision);
    link.receive(Frame::Offer(offer_frame(1, 100_000)), NOW).expect("a good offer");
    link.accept(ITEM, 0).expect("it is offered");
    for nth in 0..kilobytes {
        link.receive(data(1, nth * 1000, 1000), NOW).expect("the window has room");
    }
    frames(&mut link);
    link
}

#[test]
fn what_is_written_leaves_the_window_of_both_sides_and_is_not_acknowledged() {
    let mut receiver = receiving(REVISION, 20);
    receiver.written(ITEM, 12_000).expect("it came");
    receiver.written(ITEM, 20_000).expect("it came");
    assert_eq!(frames(&mut receiver), [Send::Frame(Frame::Written { item: ITEM, offset: 20_000 })]);
    for nth in 20..40 {
        receiver.receive(data(1, nth * 1000, 1000), NOW).expect("what was written is not counted");
    }
    let overrun = receiver.receive(data(1, 40_000, 1000), NOW);
    assert!(matches!(overrun, Err(Violation::WindowOverrun { .. })), "{overrun:?}");

    let mut sender = open_link();
    sender.offer(bundle(1, 100_000)).expect("there is room");
    frames(&mut sender);
    sender.receive(Frame::Want { item: ITEM, offset: 0 }, NOW).expect("it is offered");
    let first = frames(&mut sender).len() as u64 * 1000;
    assert!((15_000..=20_000).contains(&first), "most of the window is used: {first}");
    let written = sender.receive(Frame::Written { item: ITEM, offset: first }, NOW);
    assert_eq!(written, Ok(vec![Event::Written { item: ITEM, offset: first }]));
    assert_eq!(sender.in_flight_bytes(), 0);
    assert!(!frames(&mut sender).is_empty(), "it has room again");
}

#[test]
fn an_ack_may_come_after_it_and_say_less_and_an_older_word_says_nothing() {
    let mut receiver = receiving(REVISION, 20);
    receiver.written(ITEM, 20_000).expect("it came");
    receiver.durable(ITEM, 5_000).expect("it came");
    let words = [Frame::Written { item: ITEM, offset: 20_000 }, Frame::Ack { item: ITEM, offset: 5_000 }];
    assert_eq!(frames(&mut receiver), words.clone().map(Send::Frame));
    receiver.written(ITEM, 10_000).expect("it came");
    receiver.durable(ITEM, 20_000).expect("it came");
    assert_eq!(frames(&mut receiver), [Send::Frame(Frame::Ack { item: ITEM, offset: 20_000 })]);
    receiver.written(ITEM, 20_000).expect("it came");
    assert_eq!(frames(&mut receiver), [], "what is durable is written");
    assert_eq!(
        receiver.written(ITEM, 20_001),
        Err(AnswerError::Offset { item: ITEM, offset: 20_001, from: 0, to: 20_000 })
    );

    let mut sender = open_link();
    sender.offer(bundle(1, 10_000)).expect("there is room");
    frames(&mut sender);
    sender.receive(Frame::Want { item: ITEM, offset: 2_000 }, NOW).expect("it is offered");
    frames(&mut sender);
    assert_eq!(sender.in_flight_bytes(), 8_000);
    for (word, in_flight) in [
        (Frame::Written { item: ITEM, offset: 9_000 }, 1_000),
        (Frame::Ack { item: ITEM, offset: 5_000 }, 1_000),
        (Frame::Written { item: ITEM, offset: 3_000 }, 1_000),
        (Frame::Ack { item: ITEM, offset: 10_000 }, 0),
    ] {
        sender.receive(word.clone(), NOW).expect("it was sent");
        assert_eq!(sender.in_flight_bytes(), in_flight, "{word:?}");
    }
    let beyond = sender.receive(Frame::Written { item: ITEM, offset: 10_001 }, NOW);
    assert_eq!(beyond, Err(Violation::AckBeyondSent { item: ITEM, offset: 10_001, sent: 10_000 }));
}

#[test]
fn a_peer_that_does_not_know_it_is_not_told_and_its_window_waits() {
    let mut receiver = receiving(3, 20);
    assert!(!receiver.knows_written());
    receiver.written(ITEM, 20_000).expect("nothing is wrong with it");
    assert_eq!(frames(&mut receiver), []);
    let overrun = receiver.receive(data(1, 20_000, 1000), NOW);
    assert!(matches!(overrun, Err(Violation::WindowOverrun { .. })), "{overrun:?}");
}
