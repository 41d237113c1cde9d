//! Lanes of one link: the child opens them while a bundle comes in over a line that is worth it, and the parent takes
//! them into the session that they name.

mod open;
mod quic;

use std::{
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

use packhorse_domain::link::{LaneOffer, limits};
use packhorse_runtime::Wire;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use tonic::{Status, metadata::MetadataMap};

pub(super) use open::Opener;
pub(crate) use quic::{QUIC_OPTIONS, serve_lanes};

use crate::{config::LaneMode, sender::lines::Line};

/// Names the session whose lane a call wants to be.
const LANE: &str = "packhorse-lane";
/// On a shorter way a lost packet is soon made up for, and what TCP costs is less.
const WORTH_TRIP: Duration = Duration::from_millis(10);
/// For less, making a connection does not pay.
const WORTH_BYTES: u64 = 128 * 1024;
/// On a slower line one TCP connection is enough, and each more only costs its handshake.
const WORTH_BYTES_PER_SECOND: u64 = 125_000;

/// Which lanes are opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Plan {
    /// One over UDP.
    udp: bool,
    /// So many over TCP, if there is none over UDP.
    calls: u32,
}

/// What a child knows of the line and of what comes over it.
#[derive(Debug, Clone, Copy)]
pub(super) struct LineFacts {
    /// There and back, about.
    pub(super) trip: Duration,
    /// The most that it was seen to bring.
    pub(super) bytes_per_second: u64,
    /// Bytes of bundles that are still to come.
    pub(super) to_come: u64,
    /// UDP did not pass lately.
    pub(super) is_udp_bad: bool,
}

/// Where lanes come into a session.
#[derive(Debug, Clone)]
pub(crate) struct Door {
    offer: LaneOffer,
    taken: Arc<AtomicU32>,
    enter: mpsc::Sender<Line>,
}

/// The lanes of one session.
pub(super) struct Lanes {
    door: mpsc::Receiver<Line>,
    enter: mpsc::Sender<Line>,
    /// Of a child, that opens them.
    opener: Option<Opener>,
    /// What the parent takes, until they were asked for.
    offered: Option<LaneOffer>,
}

/// Why a lane is not taken.
#[derive(Debug, thiserror::Error)]
pub(crate) enum DoorError {
    #[error("that session is over")]
    Over,
    #[error("the session takes no more lanes")]
    Full,
}

impl From<DoorError> for Status {
    fn from(error: DoorError) -> Self {
        match error {
            DoorError::Over => Status::permission_denied(error.to_string()),
            DoorError::Full => Status::resource_exhausted(error.to_string()),
        }
    }
}

impl LaneMode {
    /// What a parent takes of a child. A kernel that finds its way over lines that lose packets needs no more than one
    /// TCP connection.
    pub(super) fn offer(self, port: u16, main: &Wire) -> Option<LaneOffer> {
        let (port, calls) = match self {
            LaneMode::Off => return None,
            LaneMode::Auto if main.is_bbr() => (port, 0),
            LaneMode::Auto => (port, limits::LANES_MAX),
            LaneMode::Udp => (port, 0),
            LaneMode::Tcp => (0, limits::LANES_MAX),
        };
        // A session of its own: a lane of an older one finds no door.
        let session = uuid::Uuid::new_v4().into_bytes();
        (port > 0 || calls > 0).then_some(LaneOffer { calls, port, session })
    }

    /// What a child opens of that, now.
    pub(super) fn plan(self, offer: &LaneOffer, line: &LineFacts) -> Option<Plan> {
        let is_long = line.trip >= WORTH_TRIP && line.to_come >= WORTH_BYTES;
        let is_fast = line.bytes_per_second >= WORTH_BYTES_PER_SECOND;
        let udp = offer.port > 0
            && match self {
                LaneMode::Off | LaneMode::Tcp => false,
                LaneMode::Udp => true,
                LaneMode::Auto => is_long && !line.is_udp_bad,
            };
        let calls = match self {
            LaneMode::Tcp if is_fast => offer.calls,
            LaneMode::Auto if is_fast && is_long => offer.calls,
            _ => 0,
        };
        (udp || calls > 0).then_some(Plan { udp, calls })
    }
}

/// Which session a call wants to be a lane of; `None`: it is a link itself.
pub(super) fn session_of(metadata: &MetadataMap) -> Result<Option<[u8; 16]>, Status> {
    let Some(value) = metadata.get(LANE) else { return Ok(None) };
    let mut session = [0; 16];
    match value.to_str().map(|text| hex::decode_to_slice(text, &mut session)) {
        Ok(Ok(())) => Ok(Some(session)),
        _ => Err(Status::invalid_argument("packhorse-lane: 32 hexadecimal digits are expected")),
    }
}

impl Door {
    /// Whether a lane of the session that is named is taken: then it enters.
    pub(super) fn admit(&self, session: [u8; 16]) -> Result<(), DoorError> {
        if session != self.offer.session {
            return Err(DoorError::Over);
        }
        let most = self.offer.calls.max(u32::from(self.offer.port > 0));
        if self.taken.fetch_add(1, Ordering::Relaxed) >= most {
            return Err(DoorError::Full);
        }
        Ok(())
    }

    /// Takes in a lane that was admitted.
    pub(super) fn enter(&self, line: Line) -> Result<(), DoorError> {
        self.enter.try_send(line).map_err(|_| DoorError::Over)
    }
}

impl Lanes {
    pub(super) fn new() -> Self {
        let (enter, door) = mpsc::channel(limits::LANES_MAX as usize);
        Lanes { door, enter, opener: None, offered: None }
    }

    pub(super) fn open_with(&mut self, opener: Opener) {
        self.opener = Some(opener);
    }

    /// The door for the lanes that this side takes.
    pub(super) fn door(&self, offer: LaneOffer) -> Door {
        Door { offer, taken: Arc::default(), enter: self.enter.clone() }
    }

    /// The parent has said what it takes.
    pub(super) fn offered(&mut self, offer: Option<LaneOffer>) {
        self.offered = offer.filter(|_| self.opener.is_some());
    }

    /// Whether there are lanes to be opened when they are worth it.
    pub(super) fn may_open(&self) -> bool {
        self.offered.is_some()
    }

    /// Opens lanes if the line is worth it. True: they will come.
    pub(super) fn open(&mut self, mode: LaneMode, line: &LineFacts, token: &CancellationToken) -> bool {
        let (Some(opener), Some(offer)) = (&self.opener, &self.offered) else { return false };
        let Some(plan) = mode.plan(offer, line) else { return false };
        opener.open(plan, *offer, &self.enter, token);
        self.offered = None;
        true
    }

    /// The next lane that is there.
    pub(super) async fn next(&mut self) -> Line {
        match self.door.recv().await {
            Some(line) => line,
            None => std::future::pending().await,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const OFFER: LaneOffer = LaneOffer { calls: 8, port: 7, session: [1; 16] };
    const LONG: LineFacts = LineFacts {
        trip: Duration::from_millis(100),
        bytes_per_second: 2_500_000,
        to_come: 60_000_000,
        is_udp_bad: false,
    };

    #[test]
    fn lanes_are_opened_where_they_are_worth_it() {
        let slow = LineFacts { bytes_per_second: 32_000, ..LONG };
        let short = LineFacts { trip: Duration::from_millis(1), ..LONG };
        let small = LineFacts { to_come: 10_000, ..LONG };
        let tcp_only = LineFacts { is_udp_bad: true, ..LONG };
        let plan = |udp, calls| Some(Plan { udp, calls });

        for (mode, line, expected) in [
            (LaneMode::Auto, LONG, plan(true, 8)),
            (LaneMode::Auto, slow, plan(true, 0)),
            (LaneMode::Auto, short, None),
            (LaneMode::Auto, small, None),
            (LaneMode::Auto, tcp_only, plan(false, 8)),
            (LaneMode::Udp, LineFacts { is_udp_bad: true, ..short }, plan(true, 0)),
            (LaneMode::Tcp, short, plan(false, 8)),
            (LaneMode::Tcp, slow, None),
            (LaneMode::Off, LONG, None),
        ] {
            assert_eq!(mode.plan(&OFFER, &line), expected, "{mode:?} {line:?}");
        }
        let no_port = LaneOffer { port: 0, ..OFFER };
        assert_eq!(LaneMode::Auto.plan(&no_port, &LONG), plan(false, 8));
        assert_eq!(LaneMode::Udp.plan(&no_port, &LONG), None);
    }
}
