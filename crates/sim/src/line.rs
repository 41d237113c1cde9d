//! The lines: connections come and go, and frames go over them as fast as each line is.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use packhorse_domain::{
    Timestamp,
    id::SiteCode,
    link::{Frame, ItemId, Link, LinkConfig, Offer, Send},
};

use crate::{
    Mutation,
    lane::{Lane, Wanted},
    share::Share,
    watch::Urgent,
    wire::{Way, Wire},
    world::{Happening, World},
};

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
    /// Items that were taken back.
    pub(crate) taken_back: BTreeSet<ItemId>,
    pub(crate) lane: Lane,
    /// Wants that left, and the last of each item.
    pub(crate) wants: u64,
    pub(crate) wanted: BTreeMap<ItemId, Wanted>,
    pub(crate) share: Share,
    busy: bool,
    wake_at: Option<Timestamp>,
}

#[derive(Debug, Default)]
pub(crate) struct Line {
    /// The connection whose frames arrive.
    pub(crate) carries: Option<u64>,
    connecting: bool,
    pub(crate) connections: u64,
    /// What each side sends goes over its own.
    pub(crate) wires: [Wire; 2],
    /// The connection of which a frame was spoiled.
    pub(crate) spoiled: Option<u64>,
}

impl Session {
    /// Whether a connection has not taken its last frame yet.
    pub(crate) fn is_busy(&self, way: Way) -> bool {
        match way {
            Way::Main => self.busy,
            Way::Lane => self.lane.busy,
        }
    }
}

impl World<'_> {
    /// Sends what the link has, one frame at a time on each connection, as fast as the line takes it.
    pub(crate) fn pump(&mut self, at: (usize, usize)) -> Result<(), String> {
        while self.pump_main(at)? || self.pump_lane(at)? {}
        self.plan_wake(at);
        Ok(())
    }

    fn pump_main(&mut self, (line, side): (usize, usize)) -> Result<bool, String> {
        let now = self.now;
        let Some(session) = self.session((line, side)).filter(|session| !session.busy) else {
            return Ok(false);
        };
        let Some(send) = session.link.next_send(now) else { return Ok(false) };
        session.busy = true;
        let frame = match send {
            Send::Frame(frame) => frame,
            Send::Data { item, offset, length } => {
                let bytes = self.read((line, side), (item, offset), length)?.into();
                Frame::Data { item, offset, bytes }
            }
        };
        self.leaves((line, side), Way::Main, frame)?;
        Ok(true)
    }

    pub(crate) fn leaves(&mut self, at: (usize, usize), way: Way, frame: Frame) -> Result<(), String> {
        self.history.left(self.now, at, way, &frame);
        self.frames += 1;
        self.look_at(at, way, &frame)?;
        self.onto_the_line(at, way, frame);
        Ok(())
    }

    pub(crate) fn free(&mut self, at: (usize, usize), way: Way) -> Result<(), String> {
        if let Some(session) = self.session(at) {
            match way {
                Way::Main => session.busy = false,
                Way::Lane => session.lane.busy = false,
            }
        }
        self.pump(at)
    }

    pub(crate) fn is_open(&self, line: usize, side: usize, connection: u64) -> bool {
        self.sites[line + side].sessions.get(&line).is_some_and(|session| session.connection == connection)
    }

    pub(crate) fn arrive(
        &mut self,
        (line, side): (usize, usize),
        way: Way,
        frame: Frame,
    ) -> Result<(), String> {
        let now = self.now;
        let Some(frame) = self.admit((line, side), way, frame) else { return Ok(()) };
        let is_bulk = matches!(frame, Frame::Bulk { .. });
        let session = self.session((line, side)).expect("it is open");
        let connection = session.connection;
        let received = match way {
            Way::Main => session.link.receive(frame, now),
            Way::Lane => session.link.receive_on_lane(frame, now),
        };
        let events = match received {
            Ok(events) => events,
            Err(_) if self.lines[line].spoiled == Some(connection) => {
                self.seen.broken_off += 1;
                self.break_off((line, side));
                return Ok(());
            }
            Err(violation) => return Err(violation.to_string()),
        };
        self.notice((line, side), &events, is_bulk);
        for event in events {
            self.event((line, side), event)?;
        }
        self.pump((line, side))
    }

    /// A side that is told nonsense closes the connection; the other one hears of that.
    fn break_off(&mut self, (line, side): (usize, usize)) {
        let connection = self.lines[line].connections;
        self.lines[line].carries = None;
        self.end((line, side));
        let told_in = self.plan.lines[line].latency_us;
        self.after(told_in, Happening::Lost { line, side: 1 - side, connection });
    }

    pub(crate) fn wake(&mut self, (line, side): (usize, usize)) -> Result<(), String> {
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
        if at == now && (session.is_busy(Way::Main) || session.is_busy(Way::Lane)) {
            // It is asked again when the connection takes more.
            return;
        }
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

    pub(crate) fn connect(&mut self, line: usize) -> Result<(), String> {
        self.lines[line].connecting = false;
        if !(self.sites[line].up && self.sites[line + 1].up) {
            self.connect_in(line, 200_000);
            return Ok(());
        }
        let connection = self.lines[line].connections + 1;
        let wires = [0, 1].map(|side| Wire::new(self.lines[line].wires[side].spoil));
        self.lines[line] =
            Line { carries: Some(connection), connections: connection, wires, ..Line::default() };
        for side in [0, 1] {
            let link = self.link((line, side));
            let session = Session {
                link,
                deferred: BTreeMap::new(),
                urgent: None,
                ending: false,
                connection,
                taken_back: BTreeSet::new(),
                lane: Lane::default(),
                wants: 0,
                wanted: BTreeMap::new(),
                share: Share::default(),
                busy: false,
                wake_at: None,
            };
            let site = &mut self.sites[line + side];
            site.disk.release(line);
            site.sessions.insert(line, session);
        }
        for side in [0, 1] {
            self.connected((line, side))?;
        }
        Ok(())
    }

    fn link(&self, (line, side): (usize, usize)) -> Link {
        let plan = self.plan.lines[line];
        let mut config = LinkConfig::new(code(line + side), code(line + 1 - side));
        config.window_bytes = plan.window_bytes;
        config.pace = plan.pace;
        config.ping_every = Duration::from_secs(2);
        config.silence = Duration::from_secs(7);
        config.hello_within = config.silence;
        if self.has(Mutation::StarveAClass) {
            config.lower_share_percent = 0;
        }
        let mut link = Link::new(config, self.now);
        let allowed = self.sites[line + side].allowed.get(&line).copied().unwrap_or_default();
        if !self.has(Mutation::IgnoreHours) {
            link.allow(allowed.allowance, self.now);
        }
        link.set_bundles_max(allowed.bundles_max);
        link
    }

    pub(crate) fn end(&mut self, (line, side): (usize, usize)) {
        let site = &mut self.sites[line + side];
        site.sessions.remove(&line);
        site.disk.release(line);
        let backoff = self.rng.within(10_000, 500_000);
        self.connect_in(line, backoff);
    }
}

pub(crate) fn code(site: usize) -> SiteCode {
    format!("S{site:02}").parse().expect("a site code of three characters")
}
