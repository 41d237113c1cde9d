//! Time, the lines and the faults: takes the next thing that happens and lets it happen.

use std::collections::BTreeMap;

use packhorse_domain::{
    Timestamp,
    id::SiteCode,
    link::{Frame, ItemId, Link, LinkConfig, Offer, Send},
};

use crate::{
    Mutation,
    disk::Disk,
    history::{History, Record},
    plan::{Fault, Plan},
    rng::{Rng, mix},
    watch::{Urgent, Watch},
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
    frames: u64,
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
}

/// One side of a connection.
#[derive(Debug)]
pub(crate) struct Session {
    pub(crate) link: Link,
    /// Offers of items that the disk is busy with.
    pub(crate) deferred: BTreeMap<ItemId, Offer>,
    pub(crate) urgent: Option<Urgent>,
    /// One side said goodbye: nothing new leaves.
    pub(crate) ending: bool,
    pub(crate) connection: u64,
    busy: bool,
    wake_at: Option<Timestamp>,
}

#[derive(Debug, Default)]
pub(crate) struct Line {
    /// The connection whose frames arrive.
    pub(crate) carries: Option<u64>,
    connecting: bool,
    connections: u64,
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
        frame: Frame,
    },
    Free {
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
        let report = Report { digest, ended_at: at, frames: self.frames };
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
            let may_be_last = matches!(happening, Happening::Durable { .. } | Happening::Wake { .. });
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
    }

    fn finish(&self) -> Result<(), String> {
        let applied: Vec<_> = self.sites.iter().map(|site| &site.disk.applied).collect();
        self.watch.finish(self.plan, &applied)
    }

    fn happen(&mut self, happening: Happening) -> Result<(), String> {
        match happening {
            Happening::Born { spec } => self.born(spec),
            Happening::Arrive { line, side, connection, frame } => {
                if self.lines[line].carries == Some(connection) && self.is_open(line, side, connection) {
                    self.arrive((line, side), frame)?;
                }
                Ok(())
            }
            Happening::Free { line, side, connection } => {
                if self.is_open(line, side, connection) {
                    self.session((line, side)).expect("it is open").busy = false;
                    self.pump((line, side))?;
                }
                Ok(())
            }
            Happening::Wake { line, side, connection } => {
                if self.is_open(line, side, connection) {
                    self.wake((line, side))
                } else {
                    Ok(())
                }
            }
            Happening::Lost { line, side, connection } => {
                if self.is_open(line, side, connection) {
                    self.end((line, side));
                }
                Ok(())
            }
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

    /// Sends what the link has, one frame at a time, as fast as the line takes it.
    pub(crate) fn pump(&mut self, (line, side): (usize, usize)) -> Result<(), String> {
        let now = self.now;
        let Some(session) = self.sites[line + side].sessions.get_mut(&line) else { return Ok(()) };
        if session.busy {
            return Ok(());
        }
        let connection = session.connection;
        if let Some(send) = session.link.next_send(now) {
            session.busy = true;
            let frame = match send {
                Send::Frame(frame) => frame,
                Send::Data { item, offset, length } => self.read(item, offset, length)?,
            };
            let session = self.sites[line + side].sessions.get_mut(&line).expect("it is still open");
            self.history.left(now, (line, side), &frame);
            let frame_bytes = u64::from(self.plan.lines[line].pace.frame_bytes);
            self.watch.left(&frame, frame_bytes, &mut session.urgent)?;
            self.frames += 1;
            let plan = self.plan.lines[line];
            let sent_in = 1 + wire_bytes(&frame) * 1_000_000 / plan.bytes_per_second;
            self.after(sent_in, Happening::Free { line, side, connection });
            let arrive = Happening::Arrive { line, side: 1 - side, connection, frame };
            self.after(sent_in + plan.latency_us, arrive);
        }
        self.plan_wake((line, side));
        Ok(())
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

    fn at(&mut self, at: Timestamp, happening: Happening) {
        self.next_happening += 1;
        self.queue.insert((at, self.next_happening), happening);
    }

    fn is_open(&self, line: usize, side: usize, connection: u64) -> bool {
        self.sites[line + side].sessions.get(&line).is_some_and(|session| session.connection == connection)
    }

    fn arrive(&mut self, (line, side): (usize, usize), frame: Frame) -> Result<(), String> {
        let now = self.now;
        let session = self.session((line, side)).expect("it is open");
        let events = session.link.receive(frame, now).map_err(|violation| violation.to_string())?;
        for event in events {
            self.event((line, side), event)?;
        }
        self.pump((line, side))
    }

    fn wake(&mut self, (line, side): (usize, usize)) -> Result<(), String> {
        let now = self.now;
        let session = self.session((line, side)).expect("it is open");
        session.wake_at = None;
        if session.link.next_wake(now).is_some_and(|at| at <= now) && session.link.wake(now).is_err() {
            self.end((line, side));
            return Ok(());
        }
        self.pump((line, side))
    }

    fn plan_wake(&mut self, (line, side): (usize, usize)) {
        let now = self.now;
        let Some(session) = self.session((line, side)) else { return };
        let Some(at) = session.link.next_wake(now).map(|at| at.max(now)) else { return };
        if session.wake_at.is_none_or(|planned| at < planned) {
            session.wake_at = Some(at);
            let connection = session.connection;
            self.at(at, Happening::Wake { line, side, connection });
        }
    }

    pub(crate) fn connect_in(&mut self, line: usize, microseconds: u64) {
        if !self.lines[line].connecting {
            self.lines[line].connecting = true;
            self.after(microseconds, Happening::Connect { line });
        }
    }

    fn connect(&mut self, line: usize) -> Result<(), String> {
        self.lines[line].connecting = false;
        if !(self.sites[line].up && self.sites[line + 1].up) {
            self.connect_in(line, 200_000);
            return Ok(());
        }
        self.lines[line].connections += 1;
        let connection = self.lines[line].connections;
        self.lines[line].carries = Some(connection);
        for side in [0, 1] {
            let plan = self.plan.lines[line];
            let mut config = LinkConfig::new(code(line + side), code(line + 1 - side));
            config.window_bytes = plan.window_bytes;
            config.pace = plan.pace;
            config.ping_every = std::time::Duration::from_secs(2);
            config.silence = std::time::Duration::from_secs(7);
            config.hello_within = config.silence;
            let link = Link::new(config, self.now);
            let session = Session {
                link,
                deferred: BTreeMap::new(),
                urgent: None,
                ending: false,
                connection,
                busy: false,
                wake_at: None,
            };
            self.sites[line + side].sessions.insert(line, session);
        }
        for side in [0, 1] {
            self.connected((line, side))?;
        }
        Ok(())
    }

    fn end(&mut self, (line, side): (usize, usize)) {
        self.sites[line + side].sessions.remove(&line);
        let backoff = self.rng.within(10_000, 500_000);
        self.connect_in(line, backoff);
    }
}

pub(crate) fn wire_bytes(frame: &Frame) -> u64 {
    match frame {
        Frame::Data { bytes, .. } => 40 + bytes.len() as u64,
        Frame::Offer(offer) => 150 + offer.inline.as_ref().map_or(0, |bytes| bytes.len() as u64),
        _ => 30,
    }
}

fn code(site: usize) -> SiteCode {
    format!("S{site:02}").parse().expect("a site code of three characters")
}
