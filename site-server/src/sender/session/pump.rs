//! Frames between the protocol and the connections of a link.

use std::time::Duration;

use bytes::Bytes;
use packhorse_domain::link::{Event, Frame, ItemId, LaneSend, Send};
use tokio::time::{Instant, timeout_at};
use tokio_util::sync::CancellationToken;

use super::Session;
use crate::sender::{
    fault::SessionError,
    inbound::Arrived,
    lanes::LineFacts,
    lines::{Came, Ins, Line, Lines, Outs},
};

/// Frames taken in together, so that their effects share one commit.
const BATCH_FRAMES_MAX: usize = 256;
/// So long UDP is not tried again after it did not pass.
const UDP_FAILURE_COUNTS: Duration = Duration::from_secs(600);
/// After one connection has ended, what the others have brought is taken in for so long: it need not come again.
const REST: Duration = Duration::from_millis(200);

impl Session {
    /// Hands the connections what they can take at once.
    pub(super) async fn pump(&mut self, outs: &mut Outs) -> Result<(), SessionError> {
        outs.adjust(&self.link.gauges());
        // Either may have left something to the other.
        while self.pump_main(outs).await? || self.pump_lanes(outs).await? {}
        Ok(())
    }

    /// False: nothing left.
    async fn pump_main(&mut self, outs: &mut Outs) -> Result<bool, SessionError> {
        let mut has_left = false;
        while outs.main().has_room() {
            self.carried(outs);
            let frame = match self.link.next_send(self.ticks.now()) {
                None => {
                    outs.main().rests();
                    break;
                }
                // The time at which it leaves, since it may have waited for its turn.
                Some(Send::Frame(Frame::Pong { value, .. })) => {
                    Frame::Pong { value, clock: Some(self.site.now()) }
                }
                Some(Send::Frame(frame)) => frame,
                Some(Send::Data { item, offset, length }) => match self.read(item, offset, length).await? {
                    Some(bytes) => Frame::Data { item, offset, bytes },
                    None => continue,
                },
            };
            outs.main().hand(frame);
            has_left = true;
        }
        Ok(has_left)
    }

    /// Each in its turn, so that all carry about the same, until none of them takes one more. False: nothing left.
    async fn pump_lanes(&mut self, outs: &mut Outs) -> Result<bool, SessionError> {
        let (mut idle, mut has_left) = (0, false);
        while idle < outs.lanes() {
            let nth = outs.turn();
            let takes = outs.lane(nth).has_room() && self.pump_lane(nth, outs).await?;
            idle = if takes { 0 } else { idle + 1 };
            has_left |= takes;
        }
        Ok(has_left)
    }

    /// False: there is nothing for a lane.
    async fn pump_lane(&mut self, nth: usize, outs: &mut Outs) -> Result<bool, SessionError> {
        self.carried(outs);
        match self.link.next_on_lane(self.ticks.now()) {
            None => {
                outs.lane(nth).rests();
                return Ok(false);
            }
            Some(LaneSend::Frame(frame)) => outs.lane(nth).hand(frame),
            Some(LaneSend::Bulk(bulk)) => {
                let (item, offset, want) = (bulk.item, bulk.offset, bulk.want);
                if let Some(bytes) = self.read(item, offset, bulk.length).await? {
                    outs.lane(nth).hand(Frame::Bulk { item, offset, bytes, want });
                }
            }
        }
        Ok(true)
    }

    fn carried(&mut self, outs: &mut Outs) {
        if let Some(carried) = outs.carried() {
            self.link.carried(carried, self.ticks.now());
        }
    }

    /// `None`: it cannot be read, and is not sent any more.
    async fn read(
        &mut self,
        item: ItemId,
        offset: u64,
        length: usize,
    ) -> Result<Option<Bytes>, SessionError> {
        match self.sender.read(item, offset, length).await {
            Ok(bytes) => Ok(Some(bytes)),
            Err(error) => {
                self.sender.unreadable(item, &error).await?;
                self.link.unreadable(item, length);
                Ok(None)
            }
        }
    }

    pub(super) async fn take_in(&mut self, first: Came, ins: &mut Ins) -> Result<(), SessionError> {
        let mut events = Vec::new();
        let mut next = Some(first);
        let mut result = Ok(());
        for _ in 0..BATCH_FRAMES_MAX {
            let (on_lane, arrived) = match next.take().or_else(|| ins.try_next()) {
                Some(Came::Frame { on_lane, arrived }) => (on_lane, arrived),
                Some(Came::End { on_lane: true }) => {
                    result = Err(SessionError::Cut("a lane ended".to_owned()));
                    break;
                }
                // That is met again.
                Some(Came::End { on_lane: false }) | None => break,
            };
            match self.receive(on_lane, arrived) {
                Ok(more) => events.extend(more),
                Err(error) => {
                    result = Err(error);
                    break;
                }
            }
        }
        // What came before the line was cut has come.
        self.handle(events).await.and(result)
    }

    fn receive(&mut self, on_lane: bool, arrived: Arrived) -> Result<Vec<Event>, SessionError> {
        let now = self.ticks.now();
        let frame = arrived.frame?;
        let events =
            if on_lane { self.link.receive_on_lane(frame, now) } else { self.link.receive(frame, now) };
        events.map_err(SessionError::Violation)
    }

    /// Takes in the data that came although the link has ended.
    pub(super) async fn take_rest(&mut self, lines: &mut Lines) -> Result<(), SessionError> {
        let until = Instant::now() + REST;
        while let Ok(Some(came)) = timeout_at(until, lines.ins.rest()).await {
            let Came::Frame { arrived, .. } = came else { continue };
            if let Ok(frame @ (Frame::Data { .. } | Frame::Bulk { .. })) = arrived.frame {
                let events = self.link.receive(frame, self.ticks.now()).map_err(SessionError::Violation)?;
                self.handle(events).await?;
            }
        }
        Ok(())
    }

    /// Asks for lanes while a bundle comes in over a line that is worth them.
    pub(super) fn open_lanes(&mut self, lines: &Lines, token: &CancellationToken) {
        if !self.lanes.may_open() || !self.receiver.is_receiving() {
            return;
        }
        let now = self.site.now();
        let (bytes_per_second, failed_at) = self.site.links(|links| {
            links.get(&self.peer).map_or((0, None), |view| (view.received_best, view.udp_failed_at))
        });
        let line = LineFacts {
            trip: lines.outs.trip(),
            bytes_per_second,
            to_come: self.receiver.to_come(),
            is_udp_bad: failed_at.is_some_and(|at| now.since(at) < UDP_FAILURE_COUNTS),
        };
        if self.lanes.open(self.site.settings.link.lanes, &line, token) {
            // They may bring something before this side has heard of them.
            self.link.expect_lanes();
        }
    }

    pub(super) fn attach(&mut self, line: Line, lines: &mut Lines) {
        self.view(|view| view.lanes.push(line.counter.clone()));
        lines.add(line);
        self.link.set_lanes(lines.outs.lanes(), !lines.outs.has_quic());
    }
}
