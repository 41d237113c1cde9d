//! Lanes: further connections that carry the bytes of bundles, so that one lost packet holds up little, and nothing that
//! is urgent.

use crate::{
    Timestamp,
    link::{
        AnswerError, Event, Frame, ItemId, Link, Ranges, Violation, choice::Carries, limits,
        machine::LANES_REVISION,
    },
};

/// What a side that takes lanes says in its hello.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LaneOffer {
    /// Further calls, at most so many.
    pub calls: u32,
    /// The UDP port for a lane on which each frame travels for itself; 0: none.
    pub port: u16,
    /// Names this session to what wants to be one of its lanes.
    pub session: [u8; 16],
}

/// What goes onto a lane.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LaneSend {
    Frame(Frame),
    Bulk(Bulk),
}

/// Bytes of a bundle that go onto a lane: the caller reads them and sends them as one frame, or says at once that they are
/// [unreadable](Link::unreadable).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bulk {
    pub item: ItemId,
    pub offset: u64,
    pub length: usize,
    /// Which want of the peer they answer.
    pub want: u64,
}

/// Which connections could take a frame of an item: the last time they asked they got none, or an answer that is soon
/// gone.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Waits {
    pub(super) main: bool,
    lane: bool,
}

impl Waits {
    /// Whether the other one does, as seen from the connection that carries this.
    pub(super) fn other_than(self, carries: Carries) -> bool {
        match carries {
            Carries::All => false,
            Carries::NoBulk => self.lane,
            Carries::Bulk => self.main,
        }
    }
}

impl LaneOffer {
    pub(super) fn is_empty(&self) -> bool {
        self.calls == 0 && self.port == 0
    }
}

/// What has come of a frame when its lane is cut is lost: so they are small, as far as that costs no more than a
/// hundredth in headers.
const FRAME_BYTES_MIN: u64 = 8 * 1024;
/// A lane's frame is what the line carries in this part of a second.
const FRAMES_PER_SECOND: u64 = 320;
/// Each frame under way may leave a gap; the peer keeps account of no more than [`limits::RANGES_MAX`].
const FRAMES_UNDER_WAY_MAX: u64 = limits::RANGES_MAX as u64 / 2;

impl Link {
    /// From now on what comes of bundles may come in any order. Say so before the first lane is asked for.
    pub fn expect_lanes(&mut self) {
        self.incoming.expect_lanes();
    }

    /// So many lanes are there. While there is one, bytes of bundles leave by [`next_on_lane`](Link::next_on_lane) alone.
    /// `in_order`: what comes behind a lost packet of a lane waits for it.
    pub fn set_lanes(&mut self, lanes: usize, in_order: bool) {
        self.lanes = lanes;
        self.waits.lane = false;
        self.flow.set_in_order(in_order || lanes == 0);
        if lanes > 0 {
            self.expect_lanes();
        }
    }

    /// What goes onto a lane that can take a frame. Ask [`next_send`](Link::next_send) first, and again after it.
    pub fn next_on_lane(&mut self, now: Timestamp) -> Option<LaneSend> {
        let send = self.got_due(now).map(LaneSend::Frame);
        let send = send.or_else(|| self.next_bulk(now).map(LaneSend::Bulk));
        self.waits.lane = !matches!(send, Some(LaneSend::Bulk(_)));
        send
    }

    fn next_bulk(&mut self, now: Timestamp) -> Option<Bulk> {
        let peer = self.peer.as_ref().filter(|peer| !peer.leaving && !self.ending)?;
        let window_bytes = peer.window_bytes;
        if !self.shaper.ready(now) {
            self.flow.limited();
            return None;
        }
        let room = self.room(window_bytes, Carries::Bulk);
        let bulk = self.outgoing.next_bulk(&room);
        match &bulk {
            Some(bulk) => self.spent(bulk.length, now),
            None if room.has_room_for_one_more() => self.flow.limited(),
            None => {}
        }
        bulk
    }

    /// Several of them are under way at once.
    pub(super) fn lane_frame_bytes(&self, path: u64) -> u64 {
        let most = self.frame_bytes().min(path / 4);
        (self.fastest() / FRAMES_PER_SECOND).max(FRAME_BYTES_MIN).min(most)
    }

    /// Not so short that more are under way than the peer keeps account of.
    pub(super) fn lane_frame(&self, window: u64, path: u64) -> u64 {
        self.lane_frame_bytes(path).max(window.min(path) / FRAMES_UNDER_WAY_MAX)
    }

    /// Takes in what came on a lane.
    pub fn receive_on_lane(&mut self, frame: Frame, now: Timestamp) -> Result<Vec<Event>, Violation> {
        match frame {
            Frame::Bulk { .. } | Frame::Got { .. } => self.receive(frame, now),
            other => Err(Violation::NotForLane { got: other.name() }),
        }
    }

    /// Whether the peer leaves out what is held beyond the offset of a want.
    pub fn leaves_out(&self) -> bool {
        self.speaks(LANES_REVISION)
    }

    /// As [`accept`](Link::accept); `held` is durable too, lies beyond the offset, and is not sent again. Only for a
    /// peer that [leaves it out](Link::leaves_out).
    pub fn accept_rest(&mut self, item: ItemId, durable: u64, held: Ranges) -> Result<(), AnswerError> {
        self.incoming.accept(item, durable, held, &mut self.control)
    }
}
