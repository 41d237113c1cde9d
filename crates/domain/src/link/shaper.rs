//! Keeps what leaves within what an address allows: a rate, blocks with pauses.

use std::time::Duration;

use crate::{
    Timestamp,
    link::{Allowance, Open},
};

/// How much of a second may be made up for after a late timer; more would be a burst.
const CATCH_UP: Duration = Duration::from_millis(100);
/// A packet carries so many bytes of the connection, and has headers of IP and TCP of so many.
const PAYLOAD_BYTES: u64 = 1448;
const HEADER_BYTES: u64 = 52;

/// The tap of one direction of a link.
#[derive(Debug)]
pub(super) struct Shaper {
    allowance: Allowance,
    /// Millionths of a byte that may leave; below zero it is a debt.
    credit: i128,
    filled_at: Timestamp,
    /// Of the present block.
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

    /// Bytes of a frame, at most: one that were longer than a block would break it.
    pub(super) fn frame_max(&self) -> u64 {
        self.allowance.pulse.map_or(u64::MAX, |pulse| u64::from(pulse.block_bytes / 2).max(1))
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

    /// Whether a frame may leave now; one that may is whole, and its excess is owed.
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
            if self.block_left <= 0 && self.paused_until.is_none() {
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
            // What went beyond the last block is taken from this one, and a pause saves up nothing.
            self.block_left += i64::from(pulse.block_bytes);
            self.paused_until = (self.block_left <= 0).then(|| now.plus(pulse.pause));
            self.credit = self.credit.min(0);
        }
    }
}

/// What a frame costs on the line: with HTTP/2, TLS, TCP and IP around it.
fn wire_cost(frame_bytes: u64) -> u64 {
    let records = frame_bytes / (16 * 1024) + 1;
    let bytes = frame_bytes + 14 + records * 22;
    bytes + bytes.div_ceil(PAYLOAD_BYTES) * HEADER_BYTES
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

    #[test]
    fn blocks_alternate_with_pauses() {
        let pulse = Pulse { block_bytes: 10_000, pause: Duration::from_secs(2) };
        let allowance = Allowance { pulse: Some(pulse), ..Allowance::default() };

        // Also where a frame is longer than a block: what is too much is made up for by longer pauses.
        for (frame, most) in [(1000, 12_000), (15_000, 16_000)] {
            let sent = seconds(allowance, frame, Duration::ZERO, 60);

            let all = sent.iter().sum::<u64>();
            assert!((300_000 - 16_000..=300_000 + 16_000).contains(&all), "{all}");
            assert!(sent.iter().all(|second| *second <= most), "{sent:?}");
        }
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
