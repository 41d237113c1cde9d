//! Time, the lines and the faults: takes the next thing that happens and lets it happen.

use std::collections::BTreeMap;

use packhorse_domain::{
    Timestamp,
    link::{Allowance, Frame, ItemId},
};

use crate::{
    Mutation,
    disk::Disk,
    history::{History, Record},
    line::{Line, Session},
    plan::{Fault, Plan},
    rng::{Rng, mix},
    watch::Watch,
    wire::Way,
};

/// How long after the last fault everything must have arrived.
const PATIENCE_US: i64 = 3_600_000_000;

/// A promise was broken; the seed makes it happen again.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("seed {seed}, after {} µs: {what}", at.0)]
pub struct Failure {
    pub seed: u64,
    pub at: Timestamp,
    pub what: String,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Report {
    /// Of everything that went over the lines, with its times.
    pub digest: u64,
    pub ended_at: Timestamp,
    pub frames: u64,
    pub seen: Seen,
}

/// How often something rare came about: a fault that never bites proves nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Seen {
    /// Connections that ended because one side said something that cannot be.
    pub broken_off: u64,
    /// Data frames of an item that was still coming in.
    pub passed_on_early: u64,
    /// Items that went on in the middle.
    pub resumed: u64,
    /// Words of what is in a file and not on the disk.
    pub written: u64,
    /// Items whose bytes were not what was sent, and that were sent anew.
    pub damaged: u64,
    /// Objects that a comparison brought back.
    pub repaired: u64,
    /// Frames of a bundle that came before some in front of them.
    pub overtook: u64,
    /// Frames of a lane that answered an older want.
    pub late: u64,
    /// Wants that named something held beyond a gap.
    pub left_out: u64,
}

#[derive(Debug)]
pub(crate) struct World<'p> {
    pub(crate) plan: &'p Plan,
    pub(crate) mutation: Option<Mutation>,
    pub(crate) now: Timestamp,
    pub(crate) sites: Vec<Site>,
    pub(crate) watch: Watch,
    pub(crate) rng: Rng,
    pub(crate) lines: Vec<Line>,
    pub(crate) history: History,
    pub(crate) frames: u64,
    pub(crate) seen: Seen,
    queue: BTreeMap<(Timestamp, u64), Happening>,
    next_happening: u64,
}

#[derive(Debug, Default)]
pub(crate) struct Site {
    pub(crate) disk: Disk,
    pub(crate) sessions: BTreeMap<usize, Session>,
    /// The next write finds a full disk.
    pub(crate) full: bool,
    pub(crate) up: bool,
    /// Counts the starts: what an earlier one began is not told to a later one.
    pub(crate) boot: u32,
    /// How far its time of day is beside the true one.
    pub(crate) clock_us: i64,
    /// What it lets each of its lines carry.
    pub(crate) allowed: BTreeMap<usize, Allowed>,
}

/// What an address lets a line carry now.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Allowed {
    pub(crate) allowance: Allowance,
    pub(crate) bundles_max: usize,
}

impl Default for Allowed {
    fn default() -> Self {
        Allowed { allowance: Allowance::default(), bundles_max: usize::MAX }
    }
}

#[derive(Debug)]
pub(crate) enum Happening {
    Born {
        spec: usize,
    },
    Arrive {
        line: usize,
        side: usize,
        connection: u64,
        way: Way,
        frame: Frame,
    },
    /// A connection takes another frame.
    Free {
        line: usize,
        side: usize,
        connection: u64,
        way: Way,
    },
    /// A side asks for a lane.
    Ask {
        line: usize,
        side: usize,
        connection: u64,
    },
    /// A side has its end of the lane.
    Attach {
        line: usize,
        side: usize,
        connection: u64,
    },
    Wake {
        line: usize,
        side: usize,
        connection: u64,
    },
    /// A side learns that its connection is gone.
    Lost {
        line: usize,
        side: usize,
        connection: u64,
    },
    Connect {
        line: usize,
    },
    /// A side shows its tree.
    Compare {
        line: usize,
        side: usize,
        connection: u64,
    },
    Restart {
        site: usize,
    },
    Durable {
        site: usize,
        boot: u32,
        work: u64,
    },
    Fault(Fault),
    OfferAgain {
        site: usize,
        line: usize,
        item: ItemId,
    },
}

/// Runs a plan to its end, or to the first broken promise.
pub fn run(plan: &Plan, mutation: Option<Mutation>) -> Result<Report, Failure> {
    World::new(plan, mutation, false).run().0
}

/// Runs a plan and gives all frames that left, also when it fails.
pub fn run_recorded(plan: &Plan) -> (Result<Report, Failure>, Vec<Record>) {
    World::new(plan, None, true).run()
}

impl<'p> World<'p> {
    fn new(plan: &'p Plan, mutation: Option<Mutation>, keep_records: bool) -> Self {
        let mut world = World {
            plan,
            mutation,
            now: Timestamp(0),
            sites: plan.disks.iter().map(|_| Site { up: true, ..Site::default() }).collect(),
            watch: Watch::new(plan),
            rng: Rng::new(mix(plan.seed ^ 0x5eed)),
            lines: plan.lines.iter().map(|_| Line::default()).collect(),
            history: History::new(keep_records),
            frames: 0,
            seen: Seen::default(),
            queue: BTreeMap::new(),
            next_happening: 0,
        };
        for line in 0..plan.lines.len() {
            world.connect_in(line, 1000);
        }
        for (spec, item) in plan.items.iter().enumerate() {
            world.at(item.born, Happening::Born { spec });
        }
        for (at, fault) in &plan.faults {
            world.at(*at, Happening::Fault(*fault));
        }
        world
    }

    fn run(mut self) -> (Result<Report, Failure>, Vec<Record>) {
        let outcome = self.run_to_the_end();
        let (seed, at) = (self.plan.seed, self.now);
        let (digest, records) = self.history.finish();
        let report = Report { digest, ended_at: at, frames: self.frames, seen: self.seen };
        (outcome.map(|()| report).map_err(|what| Failure { seed, at, what }), records)
    }

    fn run_to_the_end(&mut self) -> Result<(), String> {
        let calm_at = self.plan.calm_at();
        while let Some(((at, _), happening)) = self.queue.pop_first() {
            self.now = at;
            if at.0 > calm_at.0 + PATIENCE_US {
                self.finish()?;
                return Err("it never comes to rest".to_owned());
            }
            let may_be_last = matches!(
                happening,
                Happening::Durable { .. } | Happening::Wake { .. } | Happening::Compare { .. }
            );
            self.happen(happening)?;
            if may_be_last && at > calm_at && self.is_at_rest() {
                return self.finish();
            }
        }
        Err("nothing happens any more".to_owned())
    }

    fn is_at_rest(&self) -> bool {
        let busy = |happening: &Happening| matches!(happening, Happening::Restart { .. });
        self.sites.iter().all(|site| site.disk.outbox.is_empty() && site.disk.is_idle())
            && !self.queue.values().any(busy)
            && self.check_objects().is_ok()
    }

    fn finish(&self) -> Result<(), String> {
        let applied: Vec<_> = self.sites.iter().map(|site| &site.disk.applied).collect();
        self.watch.finish(self.plan, &applied)?;
        self.check_objects()
    }

    fn happen(&mut self, happening: Happening) -> Result<(), String> {
        match happening {
            Happening::Born { spec } => self.born(spec),
            Happening::Arrive { line, side, connection, .. }
            | Happening::Attach { line, side, connection }
                if self.lines[line].carries != Some(connection) || !self.is_open(line, side, connection) =>
            {
                Ok(())
            }
            Happening::Arrive { line, side, way, frame, .. } => self.arrive((line, side), way, frame),
            Happening::Attach { line, side, .. } => self.attach((line, side)),
            Happening::Free { line, side, connection, .. }
            | Happening::Ask { line, side, connection }
            | Happening::Wake { line, side, connection }
            | Happening::Lost { line, side, connection }
            | Happening::Compare { line, side, connection }
                if !self.is_open(line, side, connection) =>
            {
                Ok(())
            }
            Happening::Free { line, side, way, .. } => self.free((line, side), way),
            Happening::Ask { line, side, .. } => {
                self.ask((line, side));
                Ok(())
            }
            Happening::Wake { line, side, .. } => self.wake((line, side)),
            Happening::Lost { line, side, .. } => {
                self.end((line, side));
                Ok(())
            }
            Happening::Compare { line, side, .. } => self.compare((line, side)),
            Happening::Connect { line } => self.connect(line),
            Happening::Restart { site } => {
                self.sites[site].up = true;
                Ok(())
            }
            Happening::Durable { site, boot, work } => {
                if self.sites[site].boot == boot {
                    self.durable(site, work)
                } else {
                    Ok(())
                }
            }
            Happening::Fault(fault) => self.fault(fault),
            Happening::OfferAgain { site, line, item } => self.offer_again((site, line), item),
        }
    }

    /// What the clock on the wall of a site shows.
    pub(crate) fn clock(&self, site: usize) -> Timestamp {
        Timestamp(self.now.0 + self.sites[site].clock_us)
    }

    pub(crate) fn has(&self, mutation: Mutation) -> bool {
        self.mutation == Some(mutation)
    }

    pub(crate) fn session(&mut self, (line, side): (usize, usize)) -> Option<&mut Session> {
        self.sites[line + side].sessions.get_mut(&line)
    }

    pub(crate) fn begin(&mut self, site: usize, work: crate::disk::Work) {
        let disk = self.plan.disks[site];
        let takes = self.rng.within(disk.sync_us_min, disk.sync_us_max);
        let work = self.sites[site].disk.begin(work);
        let boot = self.sites[site].boot;
        self.after(takes, Happening::Durable { site, boot, work });
    }

    pub(crate) fn after(&mut self, microseconds: u64, happening: Happening) {
        self.at(Timestamp(self.now.0 + microseconds as i64), happening);
    }

    pub(crate) fn at(&mut self, at: Timestamp, happening: Happening) {
        self.next_happening += 1;
        self.queue.insert((at, self.next_happening), happening);
    }
}
