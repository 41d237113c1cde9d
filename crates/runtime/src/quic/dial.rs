//! The caller's end.

use std::{
    io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    sync::Arc,
    time::Duration,
};

use packhorse_trust::Name;
use quinn::{ClientConfig, Endpoint, crypto::rustls::QuicClientConfig};

use crate::{
    quic::{ALPN, QuicConnection, QuicError, QuicLimits, transport, window::PathWindow},
    tls::{Caller, TlsError, client_config},
};

/// TCP, TLS and the other end's word have the same time.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// Where to, and what is known of the way.
#[derive(Debug, Clone, Copy)]
pub struct QuicDial {
    pub address: SocketAddr,
    /// About one round trip.
    pub trip: Option<Duration>,
}

#[derive(Debug, thiserror::Error)]
pub enum QuicConnectError {
    /// What we show or trust is broken: no use in trying again.
    #[error("cannot call {address} with these credentials")]
    Credentials { address: SocketAddr, source: TlsError },
    #[error("cannot use UDP")]
    Socket(#[source] io::Error),
    /// UDP does not pass, or nobody is there.
    #[error("{address} did not answer within {} s", CONNECT_TIMEOUT.as_secs())]
    TimedOut { address: SocketAddr },
    #[error("cannot reach {address} over UDP")]
    Unreachable { address: SocketAddr, source: QuicError },
}

/// Connects to `server` and says what it is for; when this returns, the other end has accepted that.
pub async fn quic_connect(
    dial: QuicDial,
    server: &Name,
    caller: Caller<'_>,
    purpose: &[u8],
    limits: QuicLimits,
) -> Result<QuicConnection, QuicConnectError> {
    let address = dial.address;
    let timed = tokio::time::timeout(CONNECT_TIMEOUT, connect(dial, server, caller, purpose, limits));
    timed.await.unwrap_or(Err(QuicConnectError::TimedOut { address }))
}

async fn connect(
    QuicDial { address, trip }: QuicDial,
    server: &Name,
    caller: Caller<'_>,
    purpose: &[u8],
    limits: QuicLimits,
) -> Result<QuicConnection, QuicConnectError> {
    let credentials = |source| QuicConnectError::Credentials { address, source };
    let unreachable = |source| QuicConnectError::Unreachable { address, source };
    let mut tls = (*client_config(caller).map_err(credentials)?).clone();
    tls.alpn_protocols = vec![ALPN.to_vec()];
    let tls = QuicClientConfig::try_from(tls).map_err(|_| credentials(TlsError::NoQuic))?;
    let mut config = ClientConfig::new(Arc::new(tls));
    let window = PathWindow::default();
    config.transport_config(Arc::new(transport(limits, trip, window.clone())));

    let any: IpAddr = match address {
        SocketAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
        SocketAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
    };
    let endpoint = Endpoint::client(SocketAddr::new(any, 0)).map_err(QuicConnectError::Socket)?;
    let connecting = endpoint
        .connect_with(config, address, &server.dns_name())
        .map_err(|error| QuicConnectError::Socket(io::Error::other(error)))?;
    let connection = connecting.await.map_err(|error| unreachable(error.into()))?;
    let (mut say, mut hear) = connection.open_bi().await.map_err(|error| unreachable(error.into()))?;
    say.write_all(purpose).await.map_err(|error| unreachable(super::broken_off(error)))?;
    say.finish().map_err(|_| unreachable(QuicError::BrokenOff))?;
    // Nothing more is said if it is accepted; else the connection is closed.
    hear.read_to_end(0).await.map_err(|error| {
        unreachable(match error {
            quinn::ReadToEndError::Read(quinn::ReadError::ConnectionLost(error)) => error.into(),
            _ => QuicError::BrokenOff,
        })
    })?;
    Ok(QuicConnection::new(connection, &window))
}
