//! Lanes: beside the main connection of a session one on which each frame travels for itself, while both ends come to know
//! of it at different times.

use std::ops::Range;

use packhorse_domain::link::{Event, Frame, ItemId, LaneSend, Ranges};

use crate::{
    Mutation,
    wire::Way,
    world::{Happening, World},
};

/// The side of a line that asks for lanes.
const CHILD: usize = 1;

/// What a session has of its lane.
#[derive(Debug, Default)]
pub(crate) struct Lane {
    /// Frames of it are taken in.
    is_expected: bool,
    /// Frames go out over it.
    pub(crate) is_attached: bool,
    pub(crate) busy: bool,
    /// What came before this side takes anything in.
    early: Vec<Frame>,
}

/// What a want that left said of an item.
#[derive(Debug)]
pub(crate) struct Wanted {
    /// Which want on this session it was.
    nth: u64,
    /// Held already: it may not come again.
    held: Ranges,
}

impl World<'_> {
    /// The parent has said hello: some time later the child asks for a lane.
    pub(crate) fn plan_lane(&mut self, (line, side): (usize, usize)) {
        let Some(plan) = self.plan.lines[line].lane.filter(|_| side == CHILD) else { return };
        let asks_in = self.rng.within(0, plan.asks_within_us);
        let connection = self.lines[line].connections;
        self.after(asks_in, Happening::Ask { line, side, connection });
    }

    /// The parent hears of it when it was asked, and the child of the answer; either may be busy with something else.
    pub(crate) fn ask(&mut self, (line, side): (usize, usize)) {
        let is_expected = !self.has(Mutation::AskUnprepared);
        let Some(session) = self.session((line, side)).filter(|session| !session.ending) else { return };
        session.lane.is_expected = true;
        if is_expected {
            session.link.expect_lanes();
        }
        let connection = session.connection;
        let plan = self.plan.lines[line];
        let busy = plan.latency_us + plan.lane.map_or(0, |lane| lane.late_us);
        for (side, trips) in [(1 - side, 1), (side, 2)] {
            let hears_in = trips * plan.latency_us + self.rng.within(0, busy);
            self.after(hears_in, Happening::Attach { line, side, connection });
        }
    }

    pub(crate) fn attach(&mut self, (line, side): (usize, usize)) -> Result<(), String> {
        let Some(session) = self.session((line, side)).filter(|session| !session.ending) else {
            return Ok(());
        };
        session.link.set_lanes(1, false);
        (session.lane.is_expected, session.lane.is_attached) = (true, true);
        let connection = session.connection;
        for frame in std::mem::take(&mut session.lane.early) {
            if self.is_open(line, side, connection) {
                self.arrive((line, side), Way::Lane, frame)?;
            }
        }
        self.pump((line, side))
    }

    /// Sends what goes onto the lane. False: nothing, or not now.
    pub(crate) fn pump_lane(&mut self, (line, side): (usize, usize)) -> Result<bool, String> {
        let now = self.now;
        let Some(session) = self.session((line, side)) else { return Ok(false) };
        if !session.lane.is_attached || session.lane.busy {
            return Ok(false);
        }
        let Some(send) = session.link.next_on_lane(now) else { return Ok(false) };
        session.lane.busy = true;
        let frame = match send {
            LaneSend::Frame(frame) => frame,
            LaneSend::Bulk(bulk) => {
                let (item, offset, want) = (bulk.item, bulk.offset, bulk.want);
                let bytes = self.read((line, side), (item, offset), bulk.length)?.into();
                Frame::Bulk { item, offset, bytes, want }
            }
        };
        self.leaves((line, side), Way::Lane, frame)?;
        Ok(true)
    }

    /// What of a frame that came a side takes in now; the rest waits until it knows of the lane.
    pub(crate) fn admit(&mut self, at: (usize, usize), way: Way, frame: Frame) -> Option<Frame> {
        let (resends, takes_late) = (self.has(Mutation::SendHeld), self.has(Mutation::TakeLate));
        let session = self.session(at)?;
        match frame {
            frame if way == Way::Lane && !session.lane.is_expected => {
                session.lane.early.push(frame);
                None
            }
            Frame::WantRest { item, offset, .. } if resends => Some(Frame::Want { item, offset }),
            Frame::Bulk { item, offset, bytes, want } if takes_late => {
                let want = session.wanted.get(&item).map_or(want, |wanted| wanted.nth);
                Some(Frame::Bulk { item, offset, bytes, want })
            }
            frame => Some(frame),
        }
    }

    /// Counts what only lanes bring about.
    pub(crate) fn notice(&mut self, (line, side): (usize, usize), events: &[Event], is_bulk: bool) {
        self.seen.late += u64::from(is_bulk && events.is_empty());
        for event in events {
            if let Event::Write { item, offset, .. } = event
                && let Some(file) = self.sites[line + side].disk.files.get(item)
            {
                self.seen.overtook += u64::from(*offset > file.written().end_from(0));
            }
        }
    }

    /// A want leaves: what it names may not come any more.
    pub(crate) fn wants(&mut self, at: (usize, usize), item: ItemId, offset: u64, held: &Ranges) {
        self.seen.left_out += u64::from(!held.is_empty());
        let Some(session) = self.session(at) else { return };
        session.wants += 1;
        let mut held = held.clone();
        held.insert(0..offset);
        session.wanted.insert(item, Wanted { nth: session.wants, held });
    }

    /// Bytes leave for a side: it must not have said that it holds them.
    pub(crate) fn check_not_held(
        &self,
        (line, side): (usize, usize),
        item: ItemId,
        run: &Range<u64>,
    ) -> Result<(), String> {
        let session = self.sites[line + side].sessions.get(&line);
        match session.and_then(|session| session.wanted.get(&item)) {
            Some(wanted) if wanted.held.overlaps(run) => {
                Err(format!("bytes {run:?} of {item} leave, some of which were said to be held"))
            }
            _ => Ok(()),
        }
    }
}
