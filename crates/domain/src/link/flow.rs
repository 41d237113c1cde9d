//! How much may be under way: what the path needs, and no more.
//!
//! What lies in a buffer on the way cannot be overtaken, so the sender measures how fast bytes arrive and how long their
//! way is, and keeps a little more than the product of the two under way. The measure is that of BBR: the highest rate
//! at which bytes were seen to arrive lately, and the shortest way. Where a lost packet holds back all that came behind it,
//! the longest silence lately counts as a part of the way, so that the line does not run dry meanwhile.

use std::{collections::VecDeque, time::Duration};

use crate::{Timestamp, link::KnownLine};

/// Under way before anything was measured: what TCP itself begins with, twice.
const WINDOW_FIRST: u64 = 32 * 1024;
/// Never less, so that a line always has something to measure.
const WINDOW_MIN: u64 = 8 * 1024;
const WINDOW_MAX: u64 = 64 * 1024 * 1024;
/// What the line carries in this time may always be under way, and two frames are no more than that. On a short way the
/// window would else be one frame, and what is measured the time in which the peer speaks of it: a line that was slow for
/// a moment, as on a machine with much to do, would be thought slow for good.
const WINDOW_TIME: Duration = Duration::from_millis(50);
/// How long a silence counts.
const SILENCE_COUNTS: Duration = Duration::from_secs(10);
/// Rounds over which the highest rate counts.
const RATE_ROUNDS: u64 = 20;
/// A shortest way that was not seen again for so long is looked for with a nearly empty line.
const TRIP_EXPIRES: Duration = Duration::from_secs(30);
const PROBE: Duration = Duration::from_millis(100);
/// Marks kept; a line with more frames under way is measured by some of them.
const MARKS_MAX: usize = 2048;

/// The gauge of one direction of a link.
#[derive(Debug)]
pub(super) struct Flow {
    sent: u64,
    got: u64,
    /// When `got` was heard of, and when the byte before it had left.
    got_at: Timestamp,
    got_sent_at: Timestamp,
    marks: VecDeque<Mark>,
    /// What was sent before this was held up by its sender, not by the line.
    limited_upto: u64,
    round: u64,
    round_ends_at: u64,
    /// (round, bytes a second), the highest first and each later one lower.
    rates: VecDeque<(u64, u64)>,
    /// Where the present measure of the rate began.
    anchor: Anchor,
    /// A lost packet holds back what came behind it.
    in_order: bool,
    /// Times between two words of what came, while something was under way: the longest first, each later one shorter.
    silences: VecDeque<(Timestamp, Duration)>,
    trip: Option<Trip>,
    probe: Option<Probe>,
    start: Start,
    /// A rate was seen that is the line's own: nothing else held up what was sent.
    is_filled: bool,
}

/// What was so when a frame left.
#[derive(Debug, Clone, Copy)]
struct Mark {
    upto: u64,
    at: Timestamp,
    got: u64,
    got_at: Timestamp,
    got_sent_at: Timestamp,
}

/// A point from which bytes are counted: what came, when, and how much had been sent then.
#[derive(Debug, Clone, Copy)]
struct Anchor {
    got: u64,
    at: Timestamp,
    sent: u64,
}

#[derive(Debug, Clone, Copy)]
struct Trip {
    shortest: Duration,
    seen_at: Timestamp,
}

/// The line is kept without a queue, to see how long its way is.
#[derive(Debug, Clone, Copy)]
struct Probe {
    /// Since when there is no queue, and until when that is kept up.
    drained: Option<(Timestamp, Timestamp)>,
    shortest: Option<Duration>,
}

/// While it lasts, the window doubles every round.
#[derive(Debug, Default)]
struct Start {
    over: bool,
    best: u64,
    rounds_without_growth: u32,
}

impl Flow {
    /// A line that is known is not flooded to find out what it carries: what overflows a queue is sent twice.
    pub(super) fn new(known: Option<KnownLine>, now: Timestamp) -> Self {
        let known = known.filter(|known| known.bytes_per_second > 0 && !known.shortest_trip.is_zero());
        Flow {
            sent: 0,
            got: 0,
            got_at: now,
            got_sent_at: now,
            marks: VecDeque::new(),
            limited_upto: 0,
            round: 0,
            round_ends_at: 0,
            rates: known.iter().map(|known| (0, known.bytes_per_second)).collect(),
            anchor: Anchor { got: 0, at: now, sent: 0 },
            in_order: true,
            silences: VecDeque::new(),
            trip: known.map(|known| Trip { shortest: known.shortest_trip, seen_at: now }),
            probe: None,
            start: Start { over: known.is_some(), ..Start::default() },
            is_filled: known.is_some_and(|known| known.is_filled),
        }
    }

    pub(super) fn sent(&mut self, bytes: u64, now: Timestamp) {
        if self.sent == self.got && self.limited_upto == self.sent {
            // After a pause the time before it counts for nothing. Where a single frame is under way at a time, it counts:
            // nothing else would ever be measured.
            self.got_at = now;
            self.got_sent_at = now;
            self.anchor = Anchor { got: self.got, at: now, sent: self.sent };
        }
        self.sent += bytes;
        if self.marks.len() < MARKS_MAX {
            let Flow { got, got_at, got_sent_at, .. } = *self;
            self.marks.push_back(Mark { upto: self.sent, at: now, got, got_at, got_sent_at });
        }
    }

    /// So many of the bytes that were counted last have not left.
    pub(super) fn not_sent(&mut self, bytes: u64) {
        self.sent = self.sent.saturating_sub(bytes).max(self.got);
        while self.marks.back().is_some_and(|mark| mark.upto > self.sent) {
            self.marks.pop_back();
        }
    }

    /// The sender had nothing more to send, or was not allowed to.
    pub(super) fn limited(&mut self) {
        self.limited_upto = self.sent;
    }

    /// Whether a lost packet holds back what came behind it.
    pub(super) fn set_in_order(&mut self, in_order: bool) {
        self.in_order = in_order;
    }

    /// The peer has got so many bytes in all. `false`: that cannot be.
    pub(super) fn got(&mut self, bytes: u64, now: Timestamp) -> bool {
        if bytes > self.sent || bytes < self.got {
            return false;
        }
        if bytes == self.got {
            return true;
        }
        let mut newest = None;
        while let Some(mark) = self.marks.front().copied().filter(|mark| mark.upto <= bytes) {
            newest = Some(mark);
            self.marks.pop_front();
        }
        self.heard_after(now.since(self.got_at), now);
        self.got = bytes;
        self.got_at = now;
        if let Some(mark) = newest {
            self.got_sent_at = mark.at;
            self.measure_trip(&mark, now);
            if self.start.over {
                self.measure_rate_steadily(&mark, now);
            } else {
                self.measure_rate(&mark, now);
            }
        }
        true
    }

    /// Bytes that may be under way.
    pub(super) fn window(&self) -> u64 {
        let Some(product) = self.product() else { return WINDOW_FIRST };
        let window = if self.probe.is_some() {
            product * 3 / 4
        } else if self.start.over {
            let least = carried(self.rate().unwrap_or_default(), WINDOW_TIME);
            ((product + self.carried_in_silence()) * 3 / 2).max(least)
        } else {
            (product * 3).max(WINDOW_FIRST)
        };
        window.clamp(WINDOW_MIN, WINDOW_MAX)
    }

    /// Bytes that the peer is known to have got.
    pub(super) fn heard(&self) -> u64 {
        self.got
    }

    pub(super) fn in_flight(&self) -> u64 {
        self.sent - self.got
    }

    /// Bytes a second that the line was seen to carry.
    pub(super) fn rate(&self) -> Option<u64> {
        self.rates.front().map(|(_, rate)| *rate)
    }

    /// Whether that is what the line carries, and not what there was to send.
    pub(super) fn is_filled(&self) -> bool {
        self.is_filled
    }

    pub(super) fn shortest_trip(&self) -> Option<Duration> {
        self.trip.map(|trip| trip.shortest)
    }

    fn product(&self) -> Option<u64> {
        Some(carried(self.rate()?, self.shortest_trip()?))
    }

    /// What the line carries while nothing is heard of it.
    fn carried_in_silence(&self) -> u64 {
        if !self.in_order {
            return 0;
        }
        let longest = self.silences.front().map_or(Duration::ZERO, |(_, silence)| *silence);
        // A line that stood still for long was not losing packets: it was gone.
        let most = self.shortest_trip().unwrap_or_default() * 4 + Duration::from_millis(100);
        carried(self.rate().unwrap_or_default(), longest.min(most))
    }

    fn heard_after(&mut self, silence: Duration, now: Timestamp) {
        while self.silences.back().is_some_and(|(_, shorter)| *shorter <= silence) {
            self.silences.pop_back();
        }
        self.silences.push_back((now, silence));
        while self.silences.front().is_some_and(|(at, _)| now.since(*at) > SILENCE_COUNTS) {
            self.silences.pop_front();
        }
    }

    fn measure_trip(&mut self, mark: &Mark, now: Timestamp) {
        let trip = now.since(mark.at);
        let known = self.trip.get_or_insert(Trip { shortest: trip, seen_at: now });
        if trip <= known.shortest + known.shortest / 16 {
            *known = Trip { shortest: known.shortest.min(trip), seen_at: now };
            self.probe = None;
        } else if self.probe.is_none() && now.since(known.seen_at) >= TRIP_EXPIRES {
            self.probe = Some(Probe { drained: None, shortest: None });
        }
        self.go_on_probing(mark, trip, now);
    }

    fn go_on_probing(&mut self, mark: &Mark, trip: Duration, now: Timestamp) {
        let (window, in_flight) = (self.window(), self.in_flight());
        let (Some(probe), Some(known)) = (&mut self.probe, &mut self.trip) else { return };
        match probe.drained {
            None if in_flight <= window => probe.drained = Some((now, now.plus(known.shortest + PROBE))),
            None => {}
            Some((since, until)) => {
                if mark.at >= since {
                    probe.shortest = Some(probe.shortest.map_or(trip, |shortest| shortest.min(trip)));
                }
                if let Some(shortest) = probe.shortest.filter(|_| now >= until) {
                    *known = Trip { shortest, seen_at: now };
                    self.probe = None;
                }
            }
        }
    }

    /// In the beginning: over one round trip, so that the window can double in each.
    fn measure_rate(&mut self, mark: &Mark, now: Timestamp) {
        self.count_round(mark);
        // Bytes cannot arrive faster than they left: of the two times the longer one counts.
        let arriving = now.since(mark.got_at);
        let leaving = mark.at.since(mark.got_sent_at);
        let is_limited = mark.upto <= self.limited_upto;
        self.note_rate(self.got - mark.got, arriving.max(leaving), is_limited);
    }

    /// Later: over several, since what a loss held back comes all at once and would make the line seem fast.
    fn measure_rate_steadily(&mut self, mark: &Mark, now: Timestamp) {
        self.count_round(mark);
        let Anchor { got, at, sent } = self.anchor;
        let time = now.since(at);
        if time < self.shortest_trip().unwrap_or_default() * 4 {
            return;
        }
        let is_limited = sent < self.limited_upto;
        self.is_filled |= !is_limited;
        self.anchor = Anchor { got: self.got, at: now, sent: self.sent };
        self.note_rate(self.got - got, time, is_limited);
    }

    fn count_round(&mut self, mark: &Mark) {
        if mark.upto > self.round_ends_at {
            self.round += 1;
            self.round_ends_at = self.sent;
            self.end_of_round();
        }
    }

    fn note_rate(&mut self, bytes: u64, time: Duration, is_limited: bool) {
        let micros = u64::try_from(time.as_micros()).unwrap_or(u64::MAX);
        let Some(rate) = bytes.saturating_mul(1_000_000).checked_div(micros) else { return };
        if is_limited && self.rate().is_some_and(|known| rate < known) {
            return;
        }
        while self.rates.back().is_some_and(|(_, lower)| *lower <= rate) {
            self.rates.pop_back();
        }
        self.rates.push_back((self.round, rate));
        while self.rates.front().is_some_and(|(round, _)| round + RATE_ROUNDS < self.round) {
            self.rates.pop_front();
        }
    }

    /// The beginning is over when three rounds brought no more.
    fn end_of_round(&mut self) {
        let Some(rate) = self.rate().filter(|_| !self.start.over) else { return };
        if rate >= self.start.best + self.start.best / 4 {
            self.start.best = rate;
            self.start.rounds_without_growth = 0;
        } else if self.sent > self.limited_upto {
            self.start.rounds_without_growth += 1;
            self.start.over = self.start.rounds_without_growth >= 3;
            self.is_filled |= self.start.over;
        }
    }
}

/// Bytes in a time at a rate.
fn carried(rate: u64, time: Duration) -> u64 {
    u64::try_from(u128::from(rate) * time.as_micros() / 1_000_000).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A line with a queue of its own in front: bytes leave it at `rate`, arrive after `trip` is half over, and the
    /// word of that comes back after the other half.
    fn run(rate: u64, trip: Duration, frame: u64, seconds: u64) -> (Flow, u64, Duration) {
        let mut now = Timestamp(0);
        let mut flow = Flow::new(None, now);
        let (mut free_at, mut arrivals, mut total) = (now, VecDeque::new(), 0);
        let mut longest_queue = Duration::ZERO;
        while now < Timestamp(seconds as i64 * 1_000_000) {
            while flow.in_flight() == 0 || flow.in_flight() + frame <= flow.window() {
                flow.sent(frame, now);
                total += frame;
                free_at = free_at.max(now).plus(Duration::from_micros(frame * 1_000_000 / rate));
                arrivals.push_back((free_at.plus(trip), total));
                if now > Timestamp(seconds as i64 * 500_000) {
                    longest_queue = longest_queue.max(free_at.since(now));
                }
            }
            let (at, got) = arrivals.pop_front().expect("something is under way");
            now = at;
            assert!(flow.got(got, now));
        }
        let got = flow.got;
        (flow, got, longest_queue)
    }

    #[test]
    fn it_finds_the_line_and_fills_it_without_a_long_queue() {
        for (rate, trip_ms, frame) in [
            (1_250_000, 100, 30_000),
            (32_000, 600, 3_000),
            (125_000_000, 10, 256_000),
            (8_000, 1_000, 1_000),
        ] {
            let trip = Duration::from_millis(trip_ms);
            let (flow, got, queue) = run(rate, trip, frame, 60);

            let measured = flow.rate().expect("measured");
            assert!((rate * 9 / 10..=rate * 11 / 10).contains(&measured), "{measured} of {rate}");
            assert!(got >= rate * 60 * 9 / 10, "{got} bytes in a minute at {rate}");
            let most = trip * 2 + Duration::from_micros(frame * 2_000_000 / rate + 50_000);
            assert!(queue <= most, "a queue of {queue:?} on a way of {trip:?} at {rate}");
        }
    }

    /// A line that loses one packet in 200: what comes behind it is held back until it was sent again. The word of what
    /// came is told every 5 ms at most.
    fn run_with_losses(known: Option<KnownLine>, seconds: i64) -> (Flow, u64, u64) {
        let (rate, trip, frame) = (2_500_000, Duration::from_millis(100), 62_500);
        let mut now = Timestamp(0);
        let mut flow = Flow::new(known, now);
        let (mut free_at, mut sent, mut packets) = (now, 0, 0_u64);
        let (mut released_at, mut words) = (now, VecDeque::new());
        let (mut got_rate_max, mut told_at) = (0, now);
        while now < Timestamp(seconds * 1_000_000) {
            while flow.in_flight() == 0 || flow.in_flight() + frame <= flow.window() * 3 / 4 {
                flow.sent(frame, now);
                for _ in 0..43 {
                    packets += 1;
                    free_at = free_at.max(now).plus(Duration::from_micros(1450 * 1_000_000 / rate));
                    let again = if packets * 7919 % 200 == 0 { trip + trip / 8 } else { Duration::ZERO };
                    released_at = released_at.max(free_at.plus(trip / 2 + again));
                }
                sent += frame;
                told_at = released_at.max(told_at.plus(Duration::from_millis(5)));
                words.push_back((told_at.plus(trip / 2), sent));
            }
            let (at, mut got) = words.pop_front().expect("something is under way");
            now = at;
            while let Some((_, more)) = words.pop_front_if(|(later, _)| *later <= at) {
                got = more;
            }
            assert!(flow.got(got, now));
            got_rate_max = got_rate_max.max(flow.rate().unwrap_or_default());
        }
        let got = flow.got;
        (flow, got, got_rate_max)
    }

    #[test]
    fn losses_neither_starve_the_line_nor_make_it_seem_fast() {
        for known in [
            None,
            Some(KnownLine {
                bytes_per_second: 2_500_000,
                is_filled: true,
                shortest_trip: Duration::from_millis(100),
            }),
        ] {
            let (_, got, fastest) = run_with_losses(known, 60);

            assert!(got >= 2_500_000 * 60 * 9 / 10, "{got} bytes in a minute");
            assert!(fastest <= 2_500_000 * 5 / 4, "{fastest} bytes a second were thought to come");
        }
    }

    /// A line that loses one packet in 200, on which each frame travels for itself.
    #[test]
    fn where_a_loss_holds_up_nothing_else_the_line_is_full_without_a_long_queue() {
        let (rate, trip, frame, packets) = (2_500_000, Duration::from_millis(100), 8_192, 6);
        let (mut now, mut nth) = (Timestamp(0), 0_u64);
        let mut flow = Flow::new(None, now);
        flow.set_in_order(false);
        let (mut free_at, mut arrivals, mut got) = (now, std::collections::BTreeMap::new(), 0);
        let mut longest_queue = Duration::ZERO;
        while now < Timestamp(60_000_000) {
            while flow.in_flight() + frame <= flow.window() * 3 / 4 {
                flow.sent(frame, now);
                free_at = free_at.max(now).plus(Duration::from_micros(frame * 1_000_000 / rate));
                let is_lost = (nth..nth + packets).any(|packet| packet * 7919 % 200 == 0);
                nth += packets;
                let again = if is_lost { trip + trip / 8 } else { Duration::ZERO };
                arrivals.insert((free_at.plus(trip + again), nth), frame);
                if now > Timestamp(30_000_000) {
                    longest_queue = longest_queue.max(free_at.since(now));
                }
            }
            let ((at, _), bytes) = arrivals.pop_first().expect("something is under way");
            (now, got) = (at, got + bytes);
            assert!(flow.got(got, now));
        }

        assert!(got >= rate * 60 * 95 / 100, "{got} bytes in a minute");
        assert!(longest_queue <= trip * 3 / 4, "a queue of {longest_queue:?} on a way of {trip:?}");
    }

    #[test]
    fn what_little_there_was_to_send_says_nothing_of_what_the_line_carries() {
        let (trip, mut now, mut flow, mut sent) =
            (Duration::from_millis(1), Timestamp(0), Flow::new(None, Timestamp(0)), 0);
        for _ in 0..1_000 {
            flow.sent(500, now);
            flow.limited();
            sent += 500;
            now = now.plus(trip);
            assert!(flow.got(sent, now));
        }

        assert!(flow.rate().is_some_and(|rate| rate <= 500_000), "{:?}", flow.rate());
        assert!(!flow.is_filled());
        assert!(run(1_250_000, trip, 30_000, 10).0.is_filled());
        for is_filled in [true, false] {
            let known = KnownLine { bytes_per_second: 500_000, is_filled, shortest_trip: trip };
            let mut flow = Flow::new(Some(known), Timestamp(0));
            flow.sent(500, Timestamp(0));
            flow.limited();
            assert!(flow.got(500, Timestamp(5_000)));
            assert_eq!(flow.is_filled(), is_filled, "as it was before the line was made anew");
        }
        let known = KnownLine { bytes_per_second: 2_500_000, is_filled: false, shortest_trip: trip };
        assert!(run_with_losses(Some(known), 10).0.is_filled(), "somebody filled it since");
    }

    #[test]
    fn a_line_that_is_known_is_filled_at_once_and_not_flooded() {
        let trip = Duration::from_millis(100);
        let known = KnownLine { bytes_per_second: 2_500_000, is_filled: true, shortest_trip: trip };

        let flow = Flow::new(Some(known), Timestamp(0));

        assert_eq!(flow.window(), 375_000, "half as much again as is on the way");
    }

    #[test]
    fn a_sender_with_little_to_say_does_not_make_the_line_slow() {
        let (mut flow, _, _) = run(1_250_000, Duration::from_millis(100), 30_000, 10);
        let before = flow.rate();
        let mut now = Timestamp(11_000_000);
        let in_flight = flow.sent;
        assert!(flow.got(in_flight, now));

        for _ in 0..100 {
            flow.sent(100, now);
            flow.limited();
            now = now.plus(Duration::from_millis(100));
            assert!(flow.got(flow.sent, now));
        }

        assert_eq!(flow.rate(), before);
    }

    #[test]
    fn a_peer_cannot_have_got_what_was_not_sent() {
        let mut flow = Flow::new(None, Timestamp(0));
        flow.sent(1000, Timestamp(0));

        assert!(!flow.got(1001, Timestamp(1)));
        assert!(flow.got(1000, Timestamp(1)));
        assert!(!flow.got(999, Timestamp(2)));
    }
}
