//! The less urgent classes get their share, however much there is above them.

use packhorse_domain::{
    Priority,
    link::{Allowance, ItemId, Progress, Stage},
};

use crate::wire::Way;

/// Of a hundred bytes that more urgent classes send.
const SHARE_PERCENT: u64 = 5;
/// What a frame costs beside its bytes when classes share the line.
const FRAME_COST: u64 = 200;

/// What each class would have had to get since it last got something or had nothing to send.
#[derive(Debug, Default)]
pub(crate) struct Share {
    passed_by: [u64; 3],
}

/// What a class has and may do, as seen from outside.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Standing {
    /// Something could leave at once.
    ready: bool,
    in_flight: u64,
    /// Bundles that are open.
    bundles: usize,
}

/// What is known of an item that a link holds.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Known {
    pub(crate) progress: Progress,
    pub(crate) is_bundle: bool,
    /// Bytes that can be read.
    pub(crate) available: u64,
    /// It was taken back on this connection, and may have to wait before it can be offered again.
    pub(crate) taken_back: bool,
}

/// What a link may do at the moment.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Bounds {
    pub(crate) allowance: Allowance,
    pub(crate) bundles_max: usize,
    pub(crate) window: u64,
    /// What counts in it, and in whichever class.
    pub(crate) in_flight: u64,
    pub(crate) frame: u64,
}

impl Known {
    /// All of it that was waited for has left: its offer, or its last byte.
    pub(crate) fn has_left(&self) -> bool {
        match self.progress.stage {
            Stage::Queued => false,
            Stage::Offered | Stage::Inline => true,
            Stage::Sending { next, .. } => next == self.progress.length,
        }
    }

    /// Where its next frame leaves.
    pub(crate) fn way(&self, has_lane: bool) -> Way {
        let is_bulk = self.is_bundle && matches!(self.progress.stage, Stage::Sending { .. });
        if is_bulk && has_lane { Way::Lane } else { Way::Main }
    }
}

impl Share {
    /// A frame with so many bytes of an item left.
    pub(crate) fn left(
        &mut self,
        (item, priority, bytes): (ItemId, Priority, u64),
        standings: &[Standing; 3],
        frame: u64,
        ways: u64,
    ) -> Result<(), String> {
        let class = rank(priority);
        let cost = bytes + FRAME_COST;
        self.passed_by[class] = self.passed_by[class].saturating_sub(cost * 100 / SHARE_PERCENT);
        let classes = Priority::ALL.iter().zip(standings).zip(&mut self.passed_by).enumerate();
        for (at, ((class_of, standing), passed_by)) in classes.filter(|(at, _)| *at != class) {
            *passed_by = match (standing.ready, at > class) {
                (true, true) => *passed_by + cost,
                (true, false) => *passed_by,
                (false, _) => 0,
            };
            // One frame is owed when so much has passed by; that and what is owed to another class may still have to go.
            // With a lane something may leave meanwhile on each connection.
            if *passed_by > (frame + FRAME_COST) * (100 / SHARE_PERCENT + 2 * ways) {
                return Err(format!(
                    "{passed_by} bytes went before the {class_of} class, the last of {item}"
                ));
            }
        }
        Ok(())
    }
}

/// How the classes stand.
pub(crate) fn standings(items: &[Known], bounds: &Bounds) -> [Standing; 3] {
    let mut standings = [Standing::default(); 3];
    for known in items {
        let standing = &mut standings[rank(known.progress.priority)];
        standing.in_flight += match known.progress.stage {
            Stage::Queued | Stage::Offered => 0,
            Stage::Inline => known.progress.length,
            Stage::Sending { next, acked } => next - acked,
        };
        let is_open = known.progress.stage != Stage::Queued;
        standing.bundles += usize::from(known.is_bundle && is_open);
    }
    let counted: u64 = standings.iter().map(|standing| standing.in_flight).sum();
    // The rest is of what was taken back: it counts until the peer has heard of that.
    standings[2].in_flight += bounds.in_flight.saturating_sub(counted);
    for known in items {
        let class = rank(known.progress.priority);
        let may = bounds.allowance.open.admits(known.progress.priority)
            && (!known.is_bundle || standings[class].bundles < bounds.bundles_max);
        let has = match known.progress.stage {
            Stage::Queued => !known.taken_back,
            Stage::Offered | Stage::Inline => false,
            Stage::Sending { next, .. } => next < known.available,
        };
        standings[class].ready |= may && has;
    }
    // A class that waits for acknowledgements of its own, or of one below the most urgent, is not held up by that one.
    let mut has_room = true;
    for class in 1..3 {
        let own: u64 = standings[class..].iter().map(|standing| standing.in_flight).sum();
        let cap = bounds.window - bounds.window / if class == 1 { 8 } else { 4 };
        has_room &= own + bounds.frame.min(bounds.window / 4) <= cap;
        standings[class].ready &= has_room;
    }
    standings
}

fn rank(priority: Priority) -> usize {
    Priority::ALL.iter().position(|of| *of == priority).expect("all are listed")
}
