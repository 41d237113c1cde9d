//! Lanes of one link: the child opens them while a bundle comes in over a line that is worth it, and the parent takes
//! them into the session that they name.

use std::{
    str::FromStr as _,
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
};

use packhorse_domain::{
    id::SiteCode,
    link::{Frame, LaneOffer, limits},
};
use packhorse_proto::link::v1::{ExchangeRequest, link_service_client::LinkServiceClient};
use packhorse_runtime::{Lifecycle, Wire, error_chain};
use tokio::sync::mpsc;
use tokio_stream::{StreamExt as _, wrappers::ReceiverStream};
use tokio_util::sync::CancellationToken;
use tonic::{
    Request, Status,
    metadata::{AsciiMetadataValue, MetadataMap},
};

use crate::{
    sender::{
        dial::{DialError, channel},
        fault::MESSAGE_BYTES_MAX,
        inbound::read_frames,
        lines::Line,
        session::OUTBOUND_FRAMES_MAX,
    },
    site::Site,
};

/// Names the session whose lane a call wants to be.
const LANE: &str = "packhorse-lane";
/// On a slower line one connection is enough, and each more only costs its handshake.
const WORTH_BYTES_PER_SECOND: u64 = 125_000;

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

/// How a child opens lanes to its parent.
pub(super) struct Opener {
    pub(super) site: Arc<Site>,
    pub(super) lifecycle: Lifecycle,
    pub(super) parent: SiteCode,
    pub(super) endpoint: String,
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
    /// Takes in a lane of the session that is named.
    pub(super) fn enter(&self, session: [u8; 16], line: Line) -> Result<(), Status> {
        if session != self.offer.session {
            return Err(Status::permission_denied("that session is over"));
        }
        if self.taken.fetch_add(1, Ordering::Relaxed) >= self.offer.lanes {
            return Err(Status::resource_exhausted("the session takes no more lanes"));
        }
        self.enter.try_send(line).map_err(|_| Status::permission_denied("that session is over"))
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
    pub(super) fn open(&mut self, bytes_per_second: u64, token: &CancellationToken) -> bool {
        if bytes_per_second < WORTH_BYTES_PER_SECOND {
            return false;
        }
        let (Some(opener), Some(offer)) = (&self.opener, self.offered.take()) else { return false };
        let count = offer.lanes.min(opener.site.settings.link.lanes);
        for _ in 0..count {
            opener.open(offer.session, self.enter.clone(), token.clone());
        }
        count > 0
    }

    /// The next lane that is there.
    pub(super) async fn next(&mut self) -> Line {
        match self.door.recv().await {
            Some(line) => line,
            None => std::future::pending().await,
        }
    }
}

impl Opener {
    /// Opens one lane, beside everything else. The link goes on without it if that fails.
    fn open(&self, session: [u8; 16], enter: mpsc::Sender<Line>, token: CancellationToken) {
        let (site, lifecycle) = (self.site.clone(), self.lifecycle.clone());
        let (parent, endpoint) = (self.parent.clone(), self.endpoint.clone());
        self.lifecycle.spawn_finite("lane", async move {
            let opening = Box::pin(open(&site, &lifecycle, (&parent, &endpoint), session));
            match token.run_until_cancelled(opening).await {
                Some(Ok(line)) => drop(enter.send(line).await),
                Some(Err(error)) => {
                    let error = error_chain(&error);
                    tracing::warn!(target: "sender", peer = %parent, error, "a lane was not opened");
                }
                None => {}
            }
        });
    }
}

async fn open(
    site: &Site,
    lifecycle: &Lifecycle,
    (parent, endpoint): (&SiteCode, &str),
    session: [u8; 16],
) -> Result<Line, DialError> {
    let counter = Arc::<Wire>::default();
    let channel = channel(site, parent, endpoint, counter.clone()).await?;
    let (outbound, frames) = mpsc::channel(OUTBOUND_FRAMES_MAX);
    let frames =
        ReceiverStream::new(frames).map(|frame: Frame| ExchangeRequest { frame: Some(frame.into()) });
    let mut request = Request::new(frames);
    let name = AsciiMetadataValue::from_str(&hex::encode(session)).expect("digits are ASCII");
    request.metadata_mut().insert(LANE, name);
    let mut client = LinkServiceClient::new(channel).max_decoding_message_size(MESSAGE_BYTES_MAX);
    let answer = client.exchange(request).await;
    let answers = answer.map_err(|status| DialError::Refused(Box::new(status)))?.into_inner();
    let inbound = read_frames(lifecycle, answers.map(|message| message.map(|message| message.frame)));
    Ok(Line { counter, inbound, outbound })
}
