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
    plan::{Fault, Spoil},
    share::{Bounds, Known, Share, standings},
    watch::Urgent,
    world::{Happening, World},
};

/// How long a connection goes on at most after something on the way has spoiled a frame of it.
const SPOILED_LASTS_US: u64 = 5_000_000;
/// The window of a peer that names none.
const WINDOW_DEFAULT: u64 = packhorse_domain::link::limits::WINDOW_BYTES_DEFAULT;

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
    share: Share,
    busy: bool,
    wake_at: Option<Timestamp>,
}

#[derive(Debug, Default)]
pub(crate) struct Line {
    /// The connection whose frames arrive.
    pub(crate) carries: Option<u64>,
    connecting: bool,
    connections: u64,
    /// When the last frame of each side will have left the queue.
    free_at: [Timestamp; 2],
    /// What happens to the next frame of each side, and the frame that is to arrive behind it.
    pub(crate) spoil: [Option<Spoil>; 2],
    behind: [Option<Frame>; 2],
    /// The connection of which a frame was spoiled.
    spoiled: Option<u64>,
}

impl World<'_> {
    /// Sends what the link has, one frame at a time, as fast as the line takes it.
    pub(crate) fn pump(&mut self, (line, side): (usize, usize)) -> Result<(), String> {
        let now = self.now;
        let Some(session) = self.sites[line + side].sessions.get_mut(&line) else { return Ok(()) };
        if session.busy {
            return Ok(());
        }
        if let Some(send) = session.link.next_send(now) {
            session.busy = true;
            let frame = match send {
                Send::Frame(frame) => frame,
                Send::Data { item, offset, length } => self.read((line, side), (item, offset), length)?,
            };
            self.history.left(now, (line, side), &frame);
            self.frames += 1;
            self.look_at((line, side), &frame)?;
            self.onto_the_line((line, side), frame);
        }
        self.plan_wake((line, side));
        Ok(())
    }

    pub(crate) fn free(&mut self, (line, side): (usize, usize)) -> Result<(), String> {
        if let Some(session) = self.session((line, side)) {
            session.busy = false;
        }
        self.pump((line, side))
    }

    /// Checks that this frame may leave, and now.
    fn look_at(&mut self, (line, side): (usize, usize), frame: &Frame) -> Result<(), String> {
        let item = match frame {
            Frame::Offer(offer) => offer.item,
            Frame::Data { item, .. } => *item,
            _ => return Ok(()),
        };
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
        let standings = standings(&self.known((line, side))?, &bounds);
        let session = self.sites[line + side].sessions.get_mut(&line).expect("a frame of it left");
        session.share.left((item, priority, bytes), &standings, frame_bytes)?;
        self.watch.left(frame, frame_bytes, &mut session.urgent)
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

    fn onto_the_line(&mut self, (line, side): (usize, usize), frame: Frame) {
        let plan = self.plan.lines[line];
        let micros = |bytes: u64| (bytes * 1_000_000 / plan.bytes_per_second) as i64;
        let at = &mut self.lines[line];
        let connection = at.connections;
        let left_at = at.free_at[side].max(self.now).0 + 1 + micros(wire_bytes(&frame));
        at.free_at[side] = Timestamp(left_at);
        let free_at = Timestamp((left_at - micros(plan.queue_bytes)).max(self.now.0 + 1));
        let arrives_at = Timestamp(left_at + plan.latency_us as i64);

        let (mut frames, behind) = (vec![frame], at.behind[side].take());
        if let Some(spoil) = at.spoil[side].take() {
            self.spoil((line, side), spoil, &mut frames);
        }
        frames.extend(behind);
        for frame in frames {
            self.at(arrives_at, Happening::Arrive { line, side: 1 - side, connection, frame });
        }
        self.at(free_at, Happening::Free { line, side, connection });
    }

    fn spoil(&mut self, (line, side): (usize, usize), spoil: Spoil, frames: &mut Vec<Frame>) {
        match spoil {
            Spoil::Drop => frames.clear(),
            Spoil::Duplicate => frames.extend_from_within(..),
            Spoil::Swap => self.lines[line].behind[side] = frames.pop(),
            Spoil::Damage => {
                // Bytes that go on before they are whole are checked part by part, which is not the link's.
                let passes =
                    |item: &ItemId| self.watch.spec_of(item).is_ok_and(|at| self.plan.items[at].cut_through);
                match damaged(&mut frames[0], passes) {
                    Some(item) => self.watch.damaged(item),
                    // It waits for a frame that it can do something to.
                    None => {
                        self.lines[line].spoil[side] = Some(spoil);
                        return;
                    }
                }
            }
        }
        self.lines[line].spoiled = Some(self.lines[line].connections);
        self.after(SPOILED_LASTS_US, Happening::Fault(Fault::Cut { line, silent: false }));
    }

    pub(crate) fn is_open(&self, line: usize, side: usize, connection: u64) -> bool {
        self.sites[line + side].sessions.get(&line).is_some_and(|session| session.connection == connection)
    }

    pub(crate) fn arrive(&mut self, (line, side): (usize, usize), frame: Frame) -> Result<(), String> {
        let now = self.now;
        let session = self.session((line, side)).expect("it is open");
        let connection = session.connection;
        let events = match session.link.receive(frame, now) {
            Ok(events) => events,
            Err(_) if self.lines[line].spoiled == Some(connection) => {
                self.seen.broken_off += 1;
                self.break_off((line, side));
                return Ok(());
            }
            Err(violation) => return Err(violation.to_string()),
        };
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
        let spoil = self.lines[line].spoil;
        self.lines[line] =
            Line { carries: Some(connection), connections: connection, spoil, ..Line::default() };
        for side in [0, 1] {
            let link = self.link((line, side));
            let session = Session {
                link,
                deferred: BTreeMap::new(),
                urgent: None,
                ending: false,
                connection,
                taken_back: BTreeSet::new(),
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

/// Changes a byte of an item, if the frame has one.
fn damaged(frame: &mut Frame, is_spared: impl Fn(&ItemId) -> bool) -> Option<ItemId> {
    match frame {
        Frame::Data { item, bytes, .. } if !is_spared(item) => {
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
        Frame::Data { bytes, .. } => 40 + bytes.len() as u64,
        Frame::Offer(offer) => 150 + offer.inline.as_ref().map_or(0, |bytes| bytes.len() as u64),
        _ => 30,
    }
}

pub(crate) fn code(site: usize) -> SiteCode {
    format!("S{site:02}").parse().expect("a site code of three characters")
}
