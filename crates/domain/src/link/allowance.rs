//! What an address lets a link carry at this moment.

use std::time::Duration;

use crate::Priority;

/// Which classes may leave now. What has begun pauses when its class is closed; nothing that arrived is lost.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub enum Open {
    Nothing,
    High,
    HighAndMedium,
    #[default]
    All,
}

/// A block, then a pause: for lines on which something else must find room again and again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pulse {
    pub block_bytes: u32,
    pub pause: Duration,
}

/// What may leave now, and how fast. Rates count everything that a line carries, headers included.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Allowance {
    pub open: Open,
    /// `None`: as fast as the line goes.
    pub bytes_per_second: Option<u64>,
    pub pulse: Option<Pulse>,
}

impl Open {
    pub fn admits(self, priority: Priority) -> bool {
        match self {
            Open::Nothing => false,
            Open::High => priority == Priority::High,
            Open::HighAndMedium => priority != Priority::Low,
            Open::All => true,
        }
    }
}
