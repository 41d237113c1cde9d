//! What a link is told when it begins.

use std::time::Duration;

use crate::{
    id::SiteCode,
    link::{Hello, LaneOffer, REVISION, limits},
};

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LinkConfig {
    /// This site.
    pub own: SiteCode,
    /// Who the peer has proved to be; its hello must say the same.
    pub peer: SiteCode,
    /// Of this site's database.
    pub epoch: Vec<u8>,
    /// Optional abilities of this side.
    pub features: Vec<String>,
    /// How many unacknowledged bytes the peer may have under way to this side.
    pub window_bytes: u64,
    pub pace: Pace,
    /// What the line to this peer did when it was last up: then it need not be found out anew.
    pub known: Option<KnownLine>,
    /// How much of what goes out each less urgent class gets while a more urgent one has work, in percent.
    pub lower_share_percent: u8,
    /// How often the peer is asked whether it lives.
    pub ping_every: Duration,
    /// The lanes that this side takes.
    pub lanes: Option<LaneOffer>,
    /// After so long without a frame the peer counts as gone. It must be longer than a frame takes on the line.
    pub silence: Duration,
    /// Who has not said its hello by then is not waited for.
    pub hello_within: Duration,
}

/// A line as an earlier stream measured it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct KnownLine {
    pub bytes_per_second: u64,
    /// As in [`Gauges`](crate::link::Gauges).
    pub is_filled: bool,
    pub shortest_trip: Duration,
}

/// How much goes out at once, at most; how much it is follows from what the line was seen to carry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pace {
    /// Bytes of one data frame: what has begun cannot be overtaken.
    pub frame_bytes: u32,
    /// Unacknowledged bytes that this side has under way, whatever the peer would allow.
    pub in_flight_bytes: u64,
    /// Items up to this length travel within their offer, if the caller gave their bytes.
    pub inline_bytes: u32,
}

/// What this side lets a peer have under way: bytes go to a file as they come, so it is dirty pages and no memory.
const WINDOW_BYTES: u64 = 32 * 1024 * 1024;

impl LinkConfig {
    pub fn new(own: SiteCode, peer: SiteCode) -> Self {
        LinkConfig {
            own,
            peer,
            epoch: Vec::new(),
            features: Vec::new(),
            window_bytes: WINDOW_BYTES,
            pace: Pace::default(),
            known: None,
            lower_share_percent: 5,
            ping_every: Duration::from_secs(15),
            lanes: None,
            silence: Duration::from_secs(60),
            hello_within: Duration::from_secs(30),
        }
    }

    pub(super) fn hello(&self) -> Hello {
        Hello {
            site: self.own.clone(),
            revision: REVISION,
            features: self.features.clone(),
            epoch: self.epoch.clone(),
            window_bytes: window_or_default(self.window_bytes),
            lanes: self.lanes,
        }
    }
}

impl Default for Pace {
    fn default() -> Self {
        Pace {
            frame_bytes: limits::DATA_BYTES_MAX as u32,
            in_flight_bytes: 64 * 1024 * 1024,
            inline_bytes: limits::INLINE_BYTES_MAX as u32,
        }
    }
}

pub(super) fn window_or_default(bytes: u64) -> u64 {
    if bytes == 0 { limits::WINDOW_BYTES_DEFAULT } else { bytes }
}
