//! What happens to a frame between two sites: it takes its time, it may be late, and something may spoil it.

use packhorse_domain::{
    Timestamp,
    link::{Frame, ItemId, Offer},
};

use crate::{
    plan::{Fault, Spoil},
    world::{Happening, World},
};

/// How long a connection goes on at most after something on the way has spoiled a frame of it.
const SPOILED_LASTS_US: u64 = 5_000_000;

/// Over which connection of a session a frame goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Way {
    /// Frames arrive in the order in which they left.
    Main,
    /// Each frame travels for itself.
    Lane,
}

/// One direction of a line.
#[derive(Debug, Default)]
pub(crate) struct Wire {
    /// When the last frame will have left the queue.
    free_at: Timestamp,
    /// When the last frame of the main connection arrives: no other overtakes it there.
    arrives_at: Timestamp,
    /// What happens to the next frame, and the frame that is to arrive behind it.
    pub(crate) spoil: Option<Spoil>,
    behind: Option<(Way, Frame)>,
}

impl Wire {
    /// Of a new connection.
    pub(crate) fn new(spoil: Option<Spoil>) -> Self {
        Wire { spoil, ..Wire::default() }
    }
}

impl World<'_> {
    pub(crate) fn onto_the_line(&mut self, (line, side): (usize, usize), way: Way, frame: Frame) {
        let plan = self.plan.lines[line];
        let micros = |bytes: u64| (bytes * 1_000_000 / plan.bytes_per_second) as i64;
        let late = self.lateness(line) as i64;
        let at = &mut self.lines[line];
        let (connection, wire) = (at.connections, &mut at.wires[side]);
        let left_at = wire.free_at.max(self.now).0 + 1 + micros(wire_bytes(&frame));
        wire.free_at = Timestamp(left_at);
        let free_at = Timestamp((left_at - micros(plan.queue_bytes)).max(self.now.0 + 1));
        let mut arrives_at = Timestamp(left_at + plan.latency_us as i64 + late);
        if way == Way::Main {
            arrives_at = arrives_at.max(wire.arrives_at);
            wire.arrives_at = arrives_at;
        }

        let (mut frames, behind) = (vec![(way, frame)], wire.behind.take());
        if let Some(spoil) = wire.spoil.take() {
            self.spoil((line, side), spoil, &mut frames);
        }
        frames.extend(behind);
        for (way, frame) in frames {
            self.at(arrives_at, Happening::Arrive { line, side: 1 - side, connection, way, frame });
        }
        self.at(free_at, Happening::Free { line, side, connection, way });
    }

    /// A packet that was lost was sent again: what was in it is late, and on the main connection all behind it too.
    fn lateness(&mut self, line: usize) -> u64 {
        match self.plan.lines[line].lane {
            Some(lane) if self.rng.percent(lane.late_percent) => self.rng.within(0, lane.late_us),
            _ => 0,
        }
    }

    fn spoil(&mut self, (line, side): (usize, usize), spoil: Spoil, frames: &mut Vec<(Way, Frame)>) {
        match spoil {
            Spoil::Drop => frames.clear(),
            Spoil::Duplicate => frames.extend_from_within(..),
            Spoil::Swap => self.lines[line].wires[side].behind = frames.pop(),
            Spoil::Damage => {
                // Bytes that go on before they are whole are checked part by part, which is not the link's.
                let passes =
                    |item: &ItemId| self.watch.spec_of(item).is_ok_and(|at| self.plan.items[at].cut_through);
                match damaged(&mut frames[0].1, passes) {
                    Some(item) => self.watch.damaged(item),
                    // It waits for a frame that it can do something to.
                    None => {
                        self.lines[line].wires[side].spoil = Some(spoil);
                        return;
                    }
                }
            }
        }
        self.lines[line].spoiled = Some(self.lines[line].connections);
        self.after(SPOILED_LASTS_US, Happening::Fault(Fault::Cut { line, silent: false }));
    }
}

/// Changes a byte of an item, if the frame has one.
fn damaged(frame: &mut Frame, is_spared: impl Fn(&ItemId) -> bool) -> Option<ItemId> {
    match frame {
        Frame::Data { item, bytes, .. } | Frame::Bulk { item, bytes, .. } if !is_spared(item) => {
            let mut changed = bytes.to_vec();
            changed[0] ^= 1;
            *bytes = changed.into();
            Some(*item)
        }
        Frame::Offer(Offer { item, inline: Some(bytes), .. }) => {
            bytes[0] ^= 1;
            Some(*item)
        }
        _ => None,
    }
}

pub(crate) fn wire_bytes(frame: &Frame) -> u64 {
    match frame {
        Frame::Data { bytes, .. } | Frame::Bulk { bytes, .. } => 40 + bytes.len() as u64,
        Frame::Offer(offer) => 150 + offer.inline.as_ref().map_or(0, |bytes| bytes.len() as u64),
        _ => 30,
    }
}
