//! How much a QUIC connection may have under way. Its user measures the path and knows it; a loss says nothing of that
//! on the lines that this is for.

use std::{
    any::Any,
    sync::{Arc, OnceLock},
    time::Instant,
};

use quinn::congestion::{Controller, ControllerFactory};

use crate::wire::Wire;

/// Before it is said: what is usual.
const WINDOW_FIRST: u64 = 32 * 1024;
/// Beyond what the user has under way there are headers, acknowledgements and what is sent again.
const ROOM_BYTES: u64 = 8 * 1024;

/// The window that a [`Wire`] says.
#[derive(Debug, Clone, Default)]
pub(super) struct PathWindow(Arc<OnceLock<Arc<Wire>>>);

impl PathWindow {
    pub(super) fn follow(&self, wire: &Arc<Wire>) {
        // It was not set before.
        let _ = self.0.set(wire.clone());
    }
}

impl ControllerFactory for PathWindow {
    fn build(self: Arc<Self>, _now: Instant, _current_mtu: u16) -> Box<dyn Controller> {
        Box::new((*self).clone())
    }
}

impl Controller for PathWindow {
    fn on_congestion_event(&mut self, _now: Instant, _sent: Instant, _persistent: bool, _lost_bytes: u64) {}

    fn on_mtu_update(&mut self, _new_mtu: u16) {}

    fn window(&self) -> u64 {
        let said = self.0.get().map_or(0, |wire| wire.window());
        if said == 0 { WINDOW_FIRST } else { said + said / 4 + ROOM_BYTES }
    }

    fn clone_box(&self) -> Box<dyn Controller> {
        Box::new(self.clone())
    }

    fn initial_window(&self) -> u64 {
        WINDOW_FIRST
    }

    fn into_any(self: Box<Self>) -> Box<dyn Any> {
        self
    }
}
