//! What leaves is held to the promises: whether it may, and whether it is its turn.

use packhorse_domain::link::{Frame, ItemId, Ranges};

use crate::{
    share::{Bounds, Known, standings},
    wire::{Way, wire_bytes},
    world::World,
};

/// The window of a peer that names none.
const WINDOW_DEFAULT: u64 = packhorse_domain::link::limits::WINDOW_BYTES_DEFAULT;

impl World<'_> {
    /// Checks that this frame may leave, and now.
    pub(crate) fn look_at(&mut self, at: (usize, usize), way: Way, frame: &Frame) -> Result<(), String> {
        match frame {
            Frame::Want { item, offset } => self.wants(at, *item, *offset, &Ranges::default()),
            Frame::WantRest { item, offset, held } => self.wants(at, *item, *offset, held),
            Frame::Offer(offer) => return self.check_turn(at, way, offer.item, frame),
            Frame::Data { item, offset, bytes } | Frame::Bulk { item, offset, bytes, .. } => {
                let run = *offset..offset + bytes.len() as u64;
                self.check_not_held((at.0, 1 - at.1), *item, &run)?;
                return self.check_turn(at, way, *item, frame);
            }
            _ => {}
        }
        Ok(())
    }

    fn check_turn(
        &mut self,
        (line, side): (usize, usize),
        way: Way,
        item: ItemId,
        frame: &Frame,
    ) -> Result<(), String> {
        let allowed = self.sites[line + side].allowed.get(&line).copied().unwrap_or_default();
        let bytes = frame.item_bytes() as u64;
        let spec = &self.plan.items[self.watch.spec_of(&item)?];
        let priority = spec.item.priority;
        if !allowed.allowance.open.admits(priority) {
            return Err(format!("{item} of class {priority} leaves while that is closed"));
        }
        if allowed.bundles_max == 0 && spec.is_bundle() {
            return Err(format!("the bundle {item} leaves while there may be none"));
        }
        let line_plan = &self.plan.lines[line];
        let (pace, frame_bytes) = (line_plan.pace, u64::from(line_plan.pace.frame_bytes));
        let window = if line_plan.window_bytes == 0 { WINDOW_DEFAULT } else { line_plan.window_bytes };
        let bounds = Bounds {
            allowance: allowed.allowance,
            bundles_max: allowed.bundles_max,
            window: window.min(pace.in_flight_bytes),
            in_flight: self.sites[line + side].sessions[&line].link.in_flight_bytes(),
            frame: frame_bytes,
        };
        let known = self.known((line, side))?;
        let standings = standings(&known, &bounds);
        let of = |item: ItemId| known.iter().find(|known| known.progress.item == item);
        let session = self.sites[line + side].sessions.get_mut(&line).expect("a frame of it left");
        let has_lane = session.lane.is_attached;
        let ways = 1 + u64::from(has_lane);
        session.share.left((item, priority, bytes), &standings, frame_bytes, ways)?;
        session.urgent.take_if(|urgent| urgent.item == item && of(item).is_none_or(Known::has_left));
        let waits_on = session.urgent.and_then(|urgent| of(urgent.item)).map(|known| known.way(has_lane));
        // Where the connection is taken the line shares itself; where it is free, what is urgent waits for room.
        let is_in_front = waits_on.is_some_and(|other| other == way || !session.is_busy(other));
        match session.urgent.as_mut().filter(|_| is_in_front) {
            Some(urgent) => self.watch.left((item, wire_bytes(frame)), (frame_bytes, ways), urgent),
            None => Ok(()),
        }
    }

    fn known(&self, (line, side): (usize, usize)) -> Result<Vec<Known>, String> {
        let site = line + side;
        let session = &self.sites[site].sessions[&line];
        let known = session.link.progress().map(|progress| {
            let spec = self.watch.spec_of(&progress.item)?;
            Ok(Known {
                progress,
                is_bundle: self.plan.items[spec].is_bundle(),
                available: self.readable(site, spec),
                taken_back: session.taken_back.contains(&progress.item),
            })
        });
        known.collect()
    }
}
