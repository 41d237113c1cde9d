//! How much goes out at once: as much as the path holds and the address allows, in frames that hold up little.

use crate::link::{
    Gauges, Link,
    choice::{Carries, Room},
    machine::FEEDBACK_REVISION,
};

/// Before anything was measured.
const FRAME_BYTES_FIRST: u64 = 16 * 1024;
const FRAME_BYTES_MIN: u64 = 1024;
/// What a frame has at least where that is no more than a tenth of a second.
const FRAME_BYTES_SLOW: u64 = 4 * 1024;

/// A word of what came waits for others so long, twice.
const LANE_WORDS_PER_SECOND: u64 = 100;

impl Link {
    pub fn gauges(&self) -> Gauges {
        Gauges {
            bytes_per_second: self.flow.rate().unwrap_or_default(),
            is_filled: self.flow.is_filled(),
            shortest_trip: self.flow.shortest_trip().unwrap_or_default(),
            under_way_bytes: self.flow.in_flight(),
            window_bytes: self.flow.window(),
            frame_bytes: self.frame_bytes(),
        }
    }

    pub(super) fn room(&self, window_bytes: u64, carries: Carries) -> Room {
        let (pace, left) = (self.config.pace, self.shaper.room());
        let window = window_bytes.min(pace.in_flight_bytes).max(1);
        // A peer of revision 1 does not say what it got: its acks alone hold this side back.
        let path = if self.speaks(FEEDBACK_REVISION) { self.path() } else { u64::MAX / 8 };
        let room = Room {
            window,
            path,
            under_way: self.flow.in_flight(),
            frame: self.frame_bytes().min(left),
            lane_frame: self.lane_frame(window, path).min(left),
            inline: u64::from(pace.inline_bytes).min(left),
            share_percent: u64::from(self.config.lower_share_percent),
            open: self.shaper.open(),
            bundles: self.bundles_max,
            gives_way: self.waits.other_than(carries),
            carries,
        };
        room.fitted()
    }

    /// Frames of a lane are short: on a short way the line would run dry while the word of one waits for others, if no
    /// more than the way holds were under way.
    fn path(&self) -> u64 {
        let window = self.flow.window();
        if self.lanes == 0 {
            return window;
        }
        // One frame that is being sent, and one that has come and was not told of yet.
        window
            + self.flow.rate().unwrap_or_default() / LANE_WORDS_PER_SECOND
            + 2 * self.lane_frame_bytes(window)
    }

    /// What the line carries in a moment: a frame that has begun holds up what is urgent no longer than that.
    pub(super) fn frame_bytes(&self) -> u64 {
        let rate = Some(self.fastest()).filter(|rate| *rate < u64::MAX);
        // On the slowest lines small frames would be headers for the most part: there the moment is longer.
        let of_rate = |rate: u64| (rate / 40).max((rate / 10).min(FRAME_BYTES_SLOW)).max(FRAME_BYTES_MIN);
        let bytes = rate.map_or(FRAME_BYTES_FIRST, of_rate);
        bytes.min(u64::from(self.config.pace.frame_bytes))
    }

    /// As far as is known, nothing leaves faster.
    pub(super) fn fastest(&self) -> u64 {
        let limit = self.shaper.rate().unwrap_or(u64::MAX);
        self.flow.rate().map_or(limit, |seen| seen.min(limit))
    }
}
