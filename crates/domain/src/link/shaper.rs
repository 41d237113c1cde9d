//! Keeps what leaves within what an address allows: a rate, blocks with pauses.

use std::time::Duration;

use crate::{
    Timestamp,
    link::{Allowance, Open, Pulse, frame::DATA_HEADER_BYTES},
};

/// How much of a second may be made up for after a late timer; more would be a burst.
const CATCH_UP: Duration = Duration::from_millis(100);
/// A packet carries so many bytes of the connection, and has headers of IP and TCP of so many.
const PAYLOAD_BYTES: u64 = 1448;
const HEADER_BYTES: u64 = 52;
/// HTTP/2 puts so many bytes around a frame, and TLS so many around each record of at most so many.
const HTTP_BYTES: u64 = 14;
const RECORD_BYTES: u64 = 22;
const RECORD_PAYLOAD_BYTES: u64 = 16 * 1024;
/// What is less than this part of a block is not worth a frame of its own.
const REST_PART: u32 = 100;

/// The tap of one direction of a link.
#[derive(Debug)]
pub(super) struct Shaper {
    allowance: Allowance,
    /// Millionths of a byte that may leave; below zero it is a debt.
    credit: i128,
    filled_at: Timestamp,
    /// Of the present block; below zero it is owed by the next one.
    block_left: i64,
    paused_until: Option<Timestamp>,
    /// Counted since the connection was last looked at, and how much it had carried then.
    charged: u64,
    carried: u64,
}

impl Shaper {
    pub(super) fn new(now: Timestamp) -> Self {
        Shaper {
            allowance: Allowance::default(),
            credit: 0,
            filled_at: now,
            block_left: 0,
            paused_until: None,
            charged: 0,
            carried: 0,
        }
    }

    pub(super) fn open(&self) -> Open {
        self.allowance.open
    }

    pub(super) fn rate(&self) -> Option<u64> {
        self.allowance.bytes_per_second
    }

    /// For so many bytes of an item what is left of a block has room: a frame with more would break it.
    pub(super) fn room(&self) -> u64 {
        let left = u64::try_from(self.block_left).unwrap_or_default();
        self.allowance.pulse.map_or(u64::MAX, |_| item_bytes_within(left).max(1))
    }

    pub(super) fn set(&mut self, allowance: Allowance, now: Timestamp) {
        if allowance == self.allowance {
            return;
        }
        self.fill(now);
        if allowance.bytes_per_second != self.allowance.bytes_per_second {
            // What was owed at another rate is not owed at this one.
            self.credit = 0;
        }
        if allowance.pulse != self.allowance.pulse {
            self.paused_until = None;
            self.block_left = allowance.pulse.map_or(0, |pulse| i64::from(pulse.block_bytes));
        }
        self.allowance = allowance;
    }

    /// Whether a frame may leave now; one that may is whole, and what it goes beyond its [room](Shaper::room) is owed.
    pub(super) fn ready(&mut self, now: Timestamp) -> bool {
        self.fill(now);
        self.paused_until.is_none() && (self.allowance.bytes_per_second.is_none() || self.credit >= 0)
    }

    /// When a frame may leave; `None`: it may now, as far as this goes.
    pub(super) fn ready_at(&self) -> Option<Timestamp> {
        self.paid_at().max(self.paused_until)
    }

    fn paid_at(&self) -> Option<Timestamp> {
        self.allowance.bytes_per_second.filter(|_| self.credit < 0).map(|rate| {
            let micros = self.credit.unsigned_abs().div_ceil(u128::from(rate.max(1)));
            self.filled_at.plus(Duration::from_micros(u64::try_from(micros).unwrap_or(u64::MAX)))
        })
    }

    /// A frame of so many bytes leaves.
    pub(super) fn spend(&mut self, frame_bytes: u64, now: Timestamp) {
        let cost = wire_cost(frame_bytes);
        self.charged += cost;
        self.charge(i128::from(cost), now);
    }

    /// The line has carried so many bytes in all and none are held back: the reckoning is made right by it.
    pub(super) fn carried(&mut self, line_bytes: u64, now: Timestamp) {
        let more = line_bytes.saturating_sub(self.carried);
        self.carried = line_bytes;
        let charged = std::mem::take(&mut self.charged);
        if self.allowance.bytes_per_second.is_some() || self.allowance.pulse.is_some() {
            self.charge(i128::from(more) - i128::from(charged), now);
        }
    }

    fn charge(&mut self, cost: i128, now: Timestamp) {
        if self.allowance.bytes_per_second.is_some() {
            self.credit -= cost * 1_000_000;
        }
        if let Some(pulse) = self.allowance.pulse {
            self.block_left -= i64::try_from(cost).unwrap_or(i64::MAX);
            if self.block_left < rest_max(pulse) && self.paused_until.is_none() {
                // The block has left when it is paid for.
                self.paused_until = Some(self.paid_at().unwrap_or(now).max(now).plus(pulse.pause));
            }
        }
    }

    fn fill(&mut self, now: Timestamp) {
        let passed = now.since(self.filled_at).as_micros() as i128;
        self.filled_at = now;
        if let Some(rate) = self.allowance.bytes_per_second {
            let most = i128::from(rate) * CATCH_UP.as_micros() as i128;
            self.credit = (self.credit + i128::from(rate) * passed).min(most);
        }
        if let (Some(pulse), Some(until)) = (self.allowance.pulse, self.paused_until)
            && now >= until
        {
            // What went beyond the last block is taken from this one, what was too little for a frame is added, and a
            // pause saves up nothing.
            self.block_left += i64::from(pulse.block_bytes);
            self.paused_until = (self.block_left < rest_max(pulse)).then(|| now.plus(pulse.pause));
            self.credit = self.credit.min(0);
        }
    }
}

/// What a frame costs on the line: with HTTP/2, TLS, TCP and IP around it.
fn wire_cost(frame_bytes: u64) -> u64 {
    let records = frame_bytes / RECORD_PAYLOAD_BYTES + 1;
    let bytes = frame_bytes + HTTP_BYTES + records * RECORD_BYTES;
    bytes + bytes.div_ceil(PAYLOAD_BYTES) * HEADER_BYTES
}

/// So many bytes of an item a data frame can have that costs no more than this on the line.
fn item_bytes_within(line_bytes: u64) -> u64 {
    let packets = line_bytes.div_ceil(PAYLOAD_BYTES + HEADER_BYTES);
    let bytes = line_bytes.saturating_sub(packets * HEADER_BYTES + HTTP_BYTES);
    let records = bytes / RECORD_PAYLOAD_BYTES + 1;
    bytes.saturating_sub(records * RECORD_BYTES + DATA_HEADER_BYTES as u64)
}

/// Less than this is left of a block at its end: no frame fits, or none that were worth it.
fn rest_max(pulse: Pulse) -> i64 {
    let least = wire_cost(DATA_HEADER_BYTES as u64 + 1).max(u64::from(pulse.block_bytes / REST_PART));
    i64::try_from(least).unwrap_or(i64::MAX).min(i64::from(pulse.block_bytes))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::link::Pulse;

    /// Bytes on the line in each second, with a timer that is late by up to `late`.
    fn seconds(allowance: Allowance, frame: u64, late: Duration, seconds: usize) -> Vec<u64> {
        let (mut now, mut sent) = (Timestamp(0), vec![0; seconds]);
        let mut shaper = Shaper::new(now);
        shaper.set(allowance, now);
        loop {
            while shaper.ready(now) {
                let Some(second) = sent.get_mut((now.0 / 1_000_000) as usize) else { return sent };
                *second += wire_cost(frame);
                shaper.spend(frame, now);
            }
            let at = shaper.ready_at().expect("it is not ready");
            assert!(at > now);
            now = at.plus(late);
        }
    }

    #[test]
    fn any_ten_seconds_are_within_three_percent_of_the_rate() {
        for rate in [8_000, 32_000, 1_250_000, 12_500_000] {
            let frame = (rate / 40).clamp(1024, 256 * 1024);
            let allowance = Allowance { bytes_per_second: Some(rate), ..Allowance::default() };
            let sent = seconds(allowance, frame, Duration::from_millis(1), 60);

            for ten in sent.windows(10).skip(1) {
                let got = ten.iter().sum::<u64>();
                assert!(got.abs_diff(rate * 10) <= rate * 10 * 3 / 100, "{got} of {}", rate * 10);
            }
        }
    }

    fn pulsed(block_bytes: u32, bytes_per_second: Option<u64>) -> Allowance {
        let pulse = Some(Pulse { block_bytes, pause: Duration::from_secs(2) });
        Allowance { bytes_per_second, pulse, ..Allowance::default() }
    }

    #[test]
    fn blocks_alternate_with_pauses() {
        // Also where a frame is longer than a block: what is too much is made up for by longer pauses.
        for (frame, most) in [(1000, 12_000), (15_000, 16_000)] {
            let sent = seconds(pulsed(10_000, None), frame, Duration::ZERO, 60);

            let all = sent.iter().sum::<u64>();
            assert!((300_000 - 16_000..=300_000 + 16_000).contains(&all), "{all}");
            assert!(sent.iter().all(|second| *second <= most), "{sent:?}");
        }
    }

    /// Bytes on the line from the begin of each block to the begin of the next. A frame has at most `frame` bytes of an
    /// item; behind each goes an answer, which waits for nothing, and a packet of the kernel, which nobody asks.
    fn blocks(allowance: Allowance, frame: u64, answer: u64, count: usize) -> Vec<u64> {
        let (mut now, mut line, mut blocks) = (Timestamp(0), 0, vec![0]);
        let mut shaper = Shaper::new(now);
        shaper.set(allowance, now);
        while blocks.len() <= count {
            if shaper.ready(now) {
                let data = DATA_HEADER_BYTES as u64 + frame.min(shaper.room());
                let bytes = wire_cost(data) + wire_cost(answer) + HEADER_BYTES;
                shaper.spend(data, now);
                shaper.spend(answer, now);
                line += bytes;
                shaper.carried(line, now);
                *blocks.last_mut().expect("there is one") += bytes;
            } else {
                blocks.extend(shaper.paused_until.map(|_| 0));
                now = shaper.ready_at().expect("it is not ready");
            }
        }
        blocks.truncate(count);
        blocks
    }

    #[test]
    fn a_block_is_within_three_percent_of_its_bytes() {
        let frames = [(600, None), (2_500, None), (25_000, None), (262_144, None)];
        let slow = [(1_024, Some(8_000)), (3_200, Some(32_000))];
        for block in [5_000, 10_000, 50_000, 1_000_000] {
            for (frame, rate) in frames.into_iter().chain(slow) {
                // Before the first one nothing was owed.
                let blocks = blocks(pulsed(block, rate), frame, 25, 30).split_off(1);

                let most = u64::from(block) * 3 / 100;
                let are_near = blocks.iter().all(|bytes| bytes.abs_diff(u64::from(block)) <= most);
                assert!(are_near, "{block} bytes in frames of {frame}: {blocks:?}");
            }
        }
    }

    #[test]
    fn what_goes_beyond_a_block_is_taken_from_the_next() {
        for (block, answer) in [(1_000, 25), (5_000, 20_000), (50_000, 70_000)] {
            let blocks = blocks(pulsed(block, None), 3_000, answer, 100);

            let (all, expected) = (blocks.iter().sum::<u64>(), 100 * u64::from(block));
            assert!(all.abs_diff(expected) <= wire_cost(answer) + 200, "{all} of {expected}");
        }
    }

    #[test]
    fn a_frame_fills_what_is_left_and_goes_no_further() {
        for left in 124..100_000 {
            let bytes = item_bytes_within(left);

            let cost = wire_cost(DATA_HEADER_BYTES as u64 + bytes);
            assert!(bytes > 0 && cost <= left && left - cost < 2 * HEADER_BYTES, "{bytes} in {left}: {cost}");
        }
        assert_eq!(item_bytes_within(123), 0);
        assert_eq!(item_bytes_within(0), 0);
    }

    #[test]
    fn what_the_connection_really_carried_is_made_up_for() {
        let (mut shaper, now) = (Shaper::new(Timestamp(0)), Timestamp(0));
        shaper.set(Allowance { bytes_per_second: Some(100_000), ..Allowance::default() }, now);
        assert!(shaper.ready(now));
        shaper.spend(1000, now);

        shaper.carried(100_000, now);

        let at = shaper.ready_at().expect("it owes a second").0;
        assert!((1_000_000..1_100_000).contains(&at), "{at}");
    }

    #[test]
    fn a_change_bites_at_once() {
        let (mut shaper, now) = (Shaper::new(Timestamp(0)), Timestamp(0));
        shaper.set(Allowance { bytes_per_second: Some(1000), ..Allowance::default() }, now);
        assert!(shaper.ready(now));
        shaper.spend(1_000_000, now);
        assert!(!shaper.ready(now));

        shaper.set(Allowance::default(), now);

        assert!(shaper.ready(now));
    }
}
