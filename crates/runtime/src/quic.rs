//! A QUIC connection whose messages travel each for itself: a lost packet holds up the message that it was part of, and
//! nothing else. TLS, certificates and names are those of every other connection.

mod accept;
mod dial;
mod window;

use std::{sync::Arc, time::Duration};

use quinn::{ConnectionError, IdleTimeout, ReadToEndError, RecvStream, TransportConfig, VarInt, WriteError};

pub use accept::{QuicOptions, QuicServer};
pub use dial::{QuicConnectError, QuicDial, quic_connect};

use crate::{quic::window::PathWindow, wire::Wire};

/// What both ends say that they speak.
const ALPN: &[u8] = b"packhorse-lane/1";
/// Messages under way in one direction.
const MESSAGES_MAX: u32 = 2048;
/// Unacknowledged, kept to be sent again.
const UNACKNOWLEDGED_BYTES_MAX: u64 = 64 * 1024 * 1024;
/// As on the TCP connections beside it.
const KEEPALIVE: Duration = Duration::from_secs(20);
const SILENCE: Duration = Duration::from_secs(60);
/// What UDP carries over Ethernet, where nothing on the way takes of that.
const PACKET_BYTES_MAX: u16 = 1472;
/// Packets that one acknowledgement may stand for, and how long it may wait for them.
const PACKETS_PER_ACK: u32 = 4;
const ACK_WITHIN: Duration = Duration::from_millis(10);

/// What the other end can make this one hold.
#[derive(Debug, Clone, Copy)]
pub struct QuicLimits {
    /// Bytes of one message.
    pub message_max: u32,
    /// Of all messages together, before they are read: what comes within a round trip, at most.
    pub unread_max: u32,
}

/// Why a QUIC connection, or a message on it, is of no more use.
#[derive(Debug, thiserror::Error)]
pub enum QuicError {
    /// UDP may not pass where TCP does: do without for a while.
    #[error("nothing came for too long")]
    Silent,
    /// The other end does not want it, or no more.
    #[error("the other end closed it: {reason}")]
    Closed { reason: String },
    #[error("a message is longer than {max} bytes")]
    TooLong { max: usize },
    #[error("a message was broken off")]
    BrokenOff,
    #[error("the connection failed")]
    Failed(#[source] ConnectionError),
}

impl From<ConnectionError> for QuicError {
    fn from(error: ConnectionError) -> Self {
        match error {
            ConnectionError::TimedOut => QuicError::Silent,
            ConnectionError::ApplicationClosed(close) => QuicError::Closed {
                reason: String::from_utf8_lossy(&close.reason).chars().take(200).collect(),
            },
            other => QuicError::Failed(other),
        }
    }
}

/// One end of a connection. The last clone that is dropped closes it.
#[derive(Debug, Clone)]
pub struct QuicConnection {
    connection: quinn::Connection,
    wire: Arc<Wire>,
}

/// A message that has begun to come.
#[derive(Debug)]
pub struct Arriving(RecvStream);

impl QuicConnection {
    fn new(connection: quinn::Connection, window: &PathWindow) -> Self {
        let wire = Arc::new(Wire::of_quic(connection.clone()));
        window.follow(&wire);
        QuicConnection { connection, wire }
    }

    /// Counts what this connection carries, and says how much it may have under way.
    pub fn wire(&self) -> &Arc<Wire> {
        &self.wire
    }

    /// Hands over a message. It returns before the message is there.
    pub async fn send(&self, message: &[u8]) -> Result<(), QuicError> {
        let mut stream = self.connection.open_uni().await?;
        stream.write_all(message).await.map_err(broken_off)?;
        stream.finish().map_err(|_| QuicError::BrokenOff)
    }

    /// The next message that has begun to come, in the order in which they were sent.
    pub async fn next(&self) -> Result<Arriving, QuicError> {
        Ok(Arriving(self.connection.accept_uni().await?))
    }

    /// Ends it; the other end is told why.
    pub fn close(&self, reason: &str) {
        self.connection.close(VarInt::from_u32(0), reason.as_bytes());
    }
}

impl Arriving {
    /// The whole message, once all of it has come.
    pub async fn whole(mut self, max: usize) -> Result<Vec<u8>, QuicError> {
        self.0.read_to_end(max).await.map_err(|error| match error {
            ReadToEndError::TooLong => QuicError::TooLong { max },
            ReadToEndError::Read(quinn::ReadError::ConnectionLost(error)) => error.into(),
            ReadToEndError::Read(_) => QuicError::BrokenOff,
        })
    }
}

fn broken_off(error: WriteError) -> QuicError {
    match error {
        WriteError::ConnectionLost(error) => error.into(),
        _ => QuicError::BrokenOff,
    }
}

/// `trip`: about one round trip, if it is known.
fn transport(limits: QuicLimits, trip: Option<Duration>, window: PathWindow) -> TransportConfig {
    let mut config = TransportConfig::default();
    let mut packets = quinn::MtuDiscoveryConfig::default();
    packets.upper_bound(PACKET_BYTES_MAX);
    let mut acks = quinn::AckFrequencyConfig::default();
    acks.ack_eliciting_threshold(VarInt::from_u32(PACKETS_PER_ACK - 1)).max_ack_delay(Some(ACK_WITHIN));
    config
        .max_concurrent_uni_streams(VarInt::from_u32(MESSAGES_MAX))
        // One, with which the caller says what it wants.
        .max_concurrent_bidi_streams(VarInt::from_u32(1))
        .stream_receive_window(VarInt::from_u32(limits.message_max))
        .receive_window(VarInt::from_u32(limits.unread_max))
        .send_window(UNACKNOWLEDGED_BYTES_MAX)
        .datagram_receive_buffer_size(None)
        .keep_alive_interval(Some(KEEPALIVE))
        .max_idle_timeout(IdleTimeout::try_from(SILENCE).ok())
        .mtu_discovery_config(Some(packets))
        .ack_frequency_config(Some(acks))
        .congestion_controller_factory(Arc::new(window));
    if let Some(trip) = trip {
        config.initial_rtt(trip);
    }
    config
}

#[cfg(test)]
mod tests;
