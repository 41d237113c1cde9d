//! Frames that came and wait for the protocol, within bounds however fast a peer sends.

use std::sync::Arc;

use packhorse_domain::link::Frame;
use packhorse_proto::link::v1 as wire;
use packhorse_runtime::Lifecycle;
use prost::Message as _;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tokio_stream::{Stream, StreamExt as _};
use tonic::Status;

use crate::sender::fault::SessionError;

/// Frames read ahead of the protocol; the rest waits in the connection's window, at the peer.
pub(super) const FRAMES_MAX: usize = 256;
/// Bytes of them, at most.
const BYTES_MAX: usize = 1024 * 1024;

/// What the wire hands in; its end is the stream's end.
pub(super) type Inbound = mpsc::Receiver<Arrived>;

/// A frame, and the room that it takes until it is taken in.
#[derive(Debug)]
pub(super) struct Arrived {
    pub(super) frame: Result<Frame, SessionError>,
    _room: Option<OwnedSemaphorePermit>,
}

impl From<Result<Frame, SessionError>> for Arrived {
    fn from(frame: Result<Frame, SessionError>) -> Self {
        Arrived { frame, _room: None }
    }
}

/// Reads frames off a stream until it ends.
pub(super) fn read_frames<S>(lifecycle: &Lifecycle, frames: S) -> Inbound
where
    S: Stream<Item = Result<Option<wire::Frame>, Status>> + Send + 'static,
{
    let (sender, inbound) = mpsc::channel(FRAMES_MAX);
    let room = Room::default();
    lifecycle.spawn_finite("link-reader", async move {
        tokio::pin!(frames);
        loop {
            let message = tokio::select! {
                // The session is over, whatever the peer does with its end of the stream.
                () = sender.closed() => return,
                message = frames.next() => message,
            };
            let Some(message) = message else { return };
            let frame = message.map(Option::unwrap_or_default);
            let arrived = room.take_in(frame.map_err(|status| SessionError::of_status(&status))).await;
            let ends = arrived.frame.is_err();
            if sender.send(arrived).await.is_err() {
                return;
            }
            if ends {
                // Dropped before the session has had its last word, the stream would take that along.
                return sender.closed().await;
            }
        }
    });
    inbound
}

/// The bytes that one connection may have waiting here.
#[derive(Debug)]
pub(super) struct Room(Arc<Semaphore>);

impl Default for Room {
    fn default() -> Self {
        Room(Arc::new(Semaphore::new(BYTES_MAX)))
    }
}

impl Room {
    /// Waits until there is room for a frame.
    pub(super) async fn take_in(&self, frame: Result<wire::Frame, SessionError>) -> Arrived {
        let frame = match frame {
            Ok(frame) => frame,
            Err(error) => return Err(error).into(),
        };
        // One frame always fits, however long it is: the decoder has a limit of its own.
        let bytes = u32::try_from(frame.encoded_len().clamp(1, BYTES_MAX)).unwrap_or(1);
        let room = self.0.clone().acquire_many_owned(bytes).await.ok();
        let frame = Frame::try_from(frame).map_err(|error| SessionError::Frame(error.text()));
        Arrived { frame, _room: room }
    }
}
