//! How a session ends when an end is at fault: what the peer is told of it, and what people are told.

use std::time::Duration;

use packhorse_domain::{
    id::SiteCode,
    link::{Frame, Lost, Violation, limits},
    message::{self, Message},
};
use packhorse_runtime::error_chain;
use tokio::sync::mpsc;
use tonic::{Code, Status};

use crate::{
    error::Error,
    sender::{gate::Gate, inbound::Inbound},
    site::Site,
    status::{self, kind_of},
};

/// Bytes of one message on the stream: the longest frame has 256 KiB of data.
pub(crate) const MESSAGE_BYTES_MAX: usize = 512 * 1024;
/// How long a peer may take to hear why it is left.
const FAREWELL: Duration = Duration::from_secs(1);
/// What the peer is told of a failure that is not its own.
const OWN_FAILURE: &str = "the site server failed; its log says how";
/// How the messages begin by which the decoder and HTTP/2 say that what came is no message.
const UNDECODABLE: [&str; 3] = ["failed to decode Protobuf message", "protocol error:", "Unexpected EOF"];

/// Why a session ended.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SessionError {
    #[error("the peer broke the protocol")]
    Violation(#[source] Violation),
    #[error(transparent)]
    Lost(#[from] Lost),
    #[error("a frame does not decode: {0}")]
    Frame(String),
    /// It says that this side broke the protocol.
    #[error("the peer closed the link because of what came from this site: {0}")]
    Accused(String),
    #[error("the stream was cut: {0}")]
    Cut(String),
    /// If the main connection went on meanwhile, UDP does not pass any more.
    #[error("nothing came over UDP for too long")]
    LaneSilent,
    #[error("the link failed")]
    Own(#[from] Error),
}

impl SessionError {
    /// How a stream ended, by its last word.
    pub(super) fn of_status(status: &Status) -> SessionError {
        let text = status.message().to_owned();
        match status.code() {
            // Only the parent says this, of what it got.
            Code::InvalidArgument => SessionError::Accused(text),
            // Only the decoder on this side says this: too long, or compressed.
            Code::OutOfRange | Code::Unimplemented => SessionError::Frame(text),
            Code::Internal if UNDECODABLE.iter().any(|begin| text.starts_with(begin)) => {
                SessionError::Frame(text)
            }
            _ => SessionError::Cut(text),
        }
    }

    /// What a call ends with.
    pub(super) fn status(&self) -> Status {
        let text = error_chain(self);
        match self {
            error if error.is_of_the_peer() => Status::invalid_argument(text),
            SessionError::Own(_) => Status::internal(OWN_FAILURE),
            _ => Status::unavailable(text),
        }
    }

    /// Coming back at once would bring the same again.
    pub(super) fn is_defect(&self) -> bool {
        self.is_of_the_peer() || matches!(self, SessionError::Accused(_))
    }

    fn is_of_the_peer(&self) -> bool {
        matches!(
            self,
            SessionError::Violation(_) | SessionError::Frame(_) | SessionError::Lost(Lost::NoHello { .. })
        )
    }

    /// The kind of the fault, if it is one for people to know.
    fn kind(&self) -> Option<String> {
        match self {
            SessionError::Violation(violation) => Some(kind_of(violation)),
            SessionError::Lost(lost) => Some(kind_of(lost)),
            SessionError::Frame(_) | SessionError::Accused(_) => Some(kind_of(self)),
            SessionError::Cut(_) | SessionError::LaneSilent | SessionError::Own(_) => None,
        }
    }
}

/// Tells people, at most now and then for each kind, and the peer, if it is at fault.
pub(super) async fn settle(
    site: &Site,
    peer: &SiteCode,
    error: &SessionError,
    (inbound, outbound, mut gate): (Inbound, mpsc::Sender<Frame>, Gate),
) {
    if let Some(kind) = error.kind() {
        let message = message::link_closed(peer, &kind, &error_chain(error));
        if let Err(failure) = tell(site, peer, &message).await {
            let (text, error) = (message.text(), error_chain(&failure));
            tracing::error!(target: "sender", peer = %peer, text, error, "not recorded");
        }
    }
    if error.is_of_the_peer() {
        let mut reason = error_chain(error);
        reason.truncate(reason.floor_char_boundary(limits::TEXT_BYTES_MAX));
        // One that does not listen is not waited for.
        drop(tokio::time::timeout(FAREWELL, say_goodbye(reason, inbound, outbound, &mut gate)).await);
    }
}

async fn tell(site: &Site, peer: &SiteCode, message: &Message) -> Result<(), Error> {
    let mut tx = site.store.begin().await?;
    status::report(site, &mut tx, peer.as_str(), message).await?;
    Ok(tx.commit().await?)
}

/// Says why, and waits for the peer to hang up: a stream that is dropped takes with it what was not sent yet.
async fn say_goodbye(reason: String, mut inbound: Inbound, outbound: mpsc::Sender<Frame>, gate: &mut Gate) {
    let frame = Frame::Goodbye { reason, at_fault: true };
    if let Ok(permit) = outbound.reserve().await {
        gate.handed(frame.bytes());
        permit.send(frame);
    }
    drop(outbound);
    while !gate.is_flushed() {
        gate.moved().await;
    }
    while inbound.recv().await.is_some_and(|arrived| arrived.frame.is_ok()) {}
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_word_of_a_stream_tells_who_is_at_fault() {
        let end = |status: Status| {
            let error = SessionError::of_status(&status);
            (kind_of(&error), error.is_defect())
        };
        let cut = ("Cut".to_owned(), false);

        assert_eq!(end(Status::unavailable("gone")), cut);
        assert_eq!(end(Status::internal(OWN_FAILURE)), cut);
        assert_eq!(end(Status::unknown("h2 protocol error")), cut);
        assert_eq!(end(Status::invalid_argument("a second hello")), ("Accused".to_owned(), true));
        assert_eq!(end(Status::out_of_range("too long")), ("Frame".to_owned(), true));
        assert_eq!(end(Status::internal("failed to decode Protobuf message: x")), ("Frame".to_owned(), true));
    }
}
