//! What is handed to the connection cannot be overtaken any more: so the next frame is handed over only when the
//! connection has passed the last one on to the kernel, which itself holds little.

use std::sync::Arc;

use packhorse_domain::link::Gauges;
use packhorse_runtime::Wire;

/// What the kernel holds at least, so that it can fill a packet.
const UNSENT_BYTES_MIN: u64 = 4 * 1024;
const UNSENT_BYTES_MAX: u64 = 1024 * 1024;
/// Above this rate the next frame is got ready while the last one leaves: it takes less than a few milliseconds.
const FAST_BYTES_PER_SECOND: u64 = 16 * 1024 * 1024;

/// The way from the protocol into one connection.
#[derive(Debug)]
pub(super) struct Gate {
    wire: Arc<Wire>,
    /// What the connection will have passed on when it holds nothing of ours; of a QUIC connection, beyond `line`.
    handed: u64,
    /// What a QUIC connection had carried when all that was handed over had left.
    line: u64,
    /// What it may still hold when the next frame comes.
    slack: u64,
}

impl Gate {
    pub(super) fn new(wire: Arc<Wire>) -> Self {
        Gate { wire, handed: 0, line: 0, slack: 0 }
    }

    /// Whether a frame may be handed over.
    pub(super) fn is_open(&self) -> bool {
        self.wire.flushed().is_none_or(|flushed| flushed + self.slack >= self.handed)
    }

    pub(super) fn wire(&self) -> &Wire {
        &self.wire
    }

    /// Whether all that was handed over has left.
    pub(super) fn is_flushed(&self) -> bool {
        self.wire.flushed().is_none_or(|flushed| flushed >= self.handed)
    }

    /// Resolves when the connection has passed something on.
    pub(super) async fn moved(&self) {
        self.wire.moved().await;
    }

    /// A frame of so many bytes was handed over.
    pub(super) fn handed(&mut self, bytes: usize) {
        let before = if self.wire.is_quic() { self.handed } else { self.handed.max(self.wire.sent()) };
        self.handed = before + bytes as u64;
    }

    /// Everything that the line has carried, if the connection holds nothing back.
    pub(super) fn carried(&mut self) -> Option<u64> {
        if self.wire.is_quic() {
            // It does not say what it holds back; what has left since is more than what was handed over, with headers.
            let line = self.wire.on_line();
            let has_left = line >= self.line + self.handed;
            if has_left {
                (self.line, self.handed) = (line, 0);
            }
            return has_left.then_some(line);
        }
        let flushed = self.wire.flushed()?;
        (flushed == self.wire.sent() && flushed >= self.handed).then(|| self.wire.on_line())
    }

    /// As fast as the line is: what waits in the kernel is worth a moment and no more.
    pub(super) fn adjust(&mut self, gauges: &Gauges) {
        let is_fast = gauges.bytes_per_second > FAST_BYTES_PER_SECOND;
        self.wire.set_window(gauges.window_bytes);
        self.slack = if is_fast { 2 * gauges.frame_bytes } else { 0 };
        if gauges.bytes_per_second > 0 {
            let moment = gauges.bytes_per_second / 50;
            let unsent = moment.clamp(UNSENT_BYTES_MIN, UNSENT_BYTES_MAX);
            self.wire.set_unsent_max(u32::try_from(unsent).unwrap_or(u32::MAX));
        }
    }
}
