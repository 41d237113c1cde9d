//! A lane over QUIC: each frame is a message of its own.

use std::{sync::Arc, time::Duration};

use futures::stream::{FuturesUnordered, StreamExt as _};
use packhorse_domain::{id::SiteCode, link::Frame};
use packhorse_proto::link::v1 as wire;
use packhorse_runtime::{
    Lifecycle, QuicConnection, QuicError, QuicLimits, QuicOptions, QuicServer, error_chain,
};
use packhorse_trust::Name;
use prost::Message as _;
use tokio::sync::mpsc;

use crate::{
    sender::{
        fault::{MESSAGE_BYTES_MAX, SessionError},
        inbound::{Arrived, FRAMES_MAX, Room},
        lines::Line,
        session::OUTBOUND_FRAMES_MAX,
    },
    site::Site,
};

/// Frames that have begun to come and are not whole.
const UNFINISHED_MAX: usize = 1024;

/// A child is sent bundles.
pub(super) const CHILD_LIMITS: QuicLimits =
    QuicLimits { message_max: MESSAGE_BYTES_MAX as u32, unread_max: 16 * 1024 * 1024 };

/// A parent hears over lanes what came, and hardly more.
pub(crate) const QUIC_OPTIONS: QuicOptions = QuicOptions {
    limits: QuicLimits { message_max: MESSAGE_BYTES_MAX as u32, unread_max: 1024 * 1024 },
    handshake_timeout: Duration::from_secs(10),
    handshakes_max: 256,
};

/// Takes lanes of children at the site's UDP port until the process stops.
pub(crate) async fn serve_lanes(site: Arc<Site>, lifecycle: Lifecycle, server: QuicServer) {
    let stop = lifecycle.stopping();
    let spawner = lifecycle.clone();
    let take = move |name: Name, purpose: &[u8], quic: QuicConnection| {
        let child = child_of(&site, &name).ok_or_else(|| format!("{name} is no child of {}", site.code()))?;
        let session = <[u8; 16]>::try_from(purpose).map_err(|_| "16 bytes are expected".to_owned())?;
        let door = site.links(|links| links.get(&child).and_then(|view| view.door.clone()));
        let door = door.ok_or_else(|| "that session is over".to_owned())?;
        door.admit(session).map_err(|error| error.to_string())?;
        door.enter(line_of(&spawner, quic)).map_err(|error| error.to_string())
    };
    server.serve(lifecycle, take, stop).await;
}

/// A certificate of this site's authority for a site, which has a link or it would find no door.
fn child_of(site: &Site, name: &Name) -> Option<SiteCode> {
    name.as_site().filter(|_| name.site == *site.code())
}

/// The connection as a line of a link.
pub(super) fn line_of(lifecycle: &Lifecycle, quic: QuicConnection) -> Line {
    let (outbound, frames) = mpsc::channel(OUTBOUND_FRAMES_MAX);
    let (inbound, arrived) = mpsc::channel(FRAMES_MAX);
    let counter = quic.wire().clone();
    lifecycle.spawn_finite("lane-writer", write(quic.clone(), frames));
    lifecycle.spawn_finite("lane-reader", read(quic, inbound));
    Line { counter, inbound: arrived, outbound }
}

async fn write(quic: QuicConnection, mut frames: mpsc::Receiver<Frame>) {
    while let Some(frame) = frames.recv().await {
        let message = wire::Frame::from(frame).encode_to_vec();
        if quic.send(&message).await.is_err() {
            // The reader says how it ended.
            return;
        }
    }
    quic.close("the session is over");
}

/// Frames that are whole go in, whatever is missing of those before them.
async fn read(quic: QuicConnection, inbound: mpsc::Sender<Arrived>) {
    let room = Room::default();
    let mut unfinished = FuturesUnordered::new();
    let error = loop {
        tokio::select! {
            () = inbound.closed() => return quic.close("the session is over"),
            begun = quic.next(), if unfinished.len() < UNFINISHED_MAX => match begun {
                Ok(begun) => unfinished.push(begun.whole(MESSAGE_BYTES_MAX)),
                Err(error) => break error,
            },
            Some(whole) = unfinished.next() => {
                let frame = match whole {
                    Ok(bytes) => wire::Frame::decode(&*bytes).map_err(|error| SessionError::Frame(error.to_string())),
                    Err(error) => break error,
                };
                let arrived = room.take_in(frame).await;
                let ends = arrived.frame.is_err();
                if inbound.send(arrived).await.is_err() || ends {
                    return inbound.closed().await;
                }
            }
        }
    };
    if let Some(error) = end_of(&error) {
        // Nobody hears it if the session is over.
        let _ = inbound.send(Err(error).into()).await;
    }
}

/// What it means for the session; `None`: the other end closed it.
fn end_of(error: &QuicError) -> Option<SessionError> {
    match error {
        QuicError::Closed { .. } => None,
        QuicError::Silent => Some(SessionError::LaneSilent),
        QuicError::TooLong { .. } => Some(SessionError::Frame(error.to_string())),
        QuicError::BrokenOff | QuicError::Failed(_) => Some(SessionError::Cut(error_chain(error))),
    }
}
