//! Two machines and a line that is faster than they think.

use std::collections::VecDeque;

use super::*;
use crate::link::KnownLine;

const LINE_BYTES_PER_MS: u64 = 1_000_000;
const ENOUGH: u64 = 200_000_000;

/// How much comes within a few seconds over a line of which its sender knows another rate.
fn carried(known_bytes_per_second: u64, trip_ms: u64, priority: Priority) -> u64 {
    let shortest_trip = Duration::from_millis(trip_ms);
    let known = KnownLine { bytes_per_second: known_bytes_per_second, is_filled: true, shortest_trip };
    let to_peer = LinkConfig { known: Some(known), ..LinkConfig::new(code("CEN"), code("PAR")) };
    let mut link = Link::new(to_peer, NOW);
    let mut peer = Link::new(LinkConfig::new(code("PAR"), code("CEN")), NOW);
    link.offer(OutItem { priority, ..bundle(1, 1 << 40) }).expect("room");
    let (mut now, mut came) = (NOW, 0);
    let mut way = VecDeque::new();
    while now < NOW.plus(Duration::from_secs(3)) && came < ENOUGH {
        let (mut sent, mut frames) = (0, Vec::new());
        while sent < LINE_BYTES_PER_MS
            && let Some(send) = link.next_send(now)
        {
            frames.push(match send {
                Send::Frame(frame) => frame,
                Send::Data { offset, length, .. } => data(1, offset, length),
            });
            sent += frames.last().map_or(0, |frame| frame.bytes() as u64);
        }
        way.push_back((now.plus(shortest_trip), frames));
        now = now.plus(Duration::from_millis(1));
        let arrived = way.pop_front_if(|(at, _)| *at <= now).map(|(_, frames)| frames);
        for event in arrived
            .into_iter()
            .flatten()
            .flat_map(|frame| peer.receive(frame, now).expect("a good frame"))
            .collect::<Vec<_>>()
        {
            match event {
                Event::Offered(offer) => peer.accept(offer.item, 0).expect("it is open"),
                Event::Write { item, offset, bytes, .. } => {
                    came = offset + bytes.len() as u64;
                    peer.durable(item, came).expect("it was written");
                }
                _ => {}
            }
        }
        while let Some(send) = peer.next_send(now) {
            if let Send::Frame(frame) = send {
                link.receive(frame, now).expect("a good frame");
            }
        }
    }
    came
}

/// Where only one frame may be under way, what is measured is how soon the peer speaks of it, and not the line.
#[test]
fn a_line_that_was_slow_once_is_found_to_be_fast() {
    for priority in [Priority::High, Priority::Medium, Priority::Low] {
        for trip_ms in [1, 3, 6, 12] {
            for known in [20_000, 155_000, 400_000, 10_000_000, 50_000_000, 90_000_000] {
                let came = carried(known, trip_ms, priority);

                assert!(
                    came >= ENOUGH,
                    "{came} bytes, {priority}, {trip_ms} ms, known as {known} bytes a second"
                );
            }
        }
    }
}
