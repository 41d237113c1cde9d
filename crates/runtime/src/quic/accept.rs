//! The called end: who calls, and what for, is known before anything else is heard of it.

use std::{io, net::SocketAddr, sync::Arc, time::Duration};

use packhorse_trust::{IdentityError, Name, identity_of};
use quinn::{
    Endpoint, EndpointConfig, Incoming, ServerConfig, TokioRuntime, crypto::rustls::QuicServerConfig,
};
use rustls_pki_types::CertificateDer;
use socket2::{Domain, Protocol, SockRef, Socket, Type};
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore},
    time::timeout,
};
use tokio_util::sync::CancellationToken;

use crate::{
    error::error_chain,
    lifecycle::Lifecycle,
    quic::{ALPN, QuicConnection, QuicError, QuicLimits, transport, window::PathWindow},
    tls::{ServerTls, TlsError},
};

/// Packets may come faster than they are read, for a moment.
const SOCKET_BUFFER_BYTES: usize = 2 * 1024 * 1024;
/// What a caller may say that it is for.
const PURPOSE_BYTES_MAX: usize = 64;

#[derive(Debug, Clone, Copy)]
pub struct QuicOptions {
    pub limits: QuicLimits,
    /// Until the caller has said what it is for.
    pub handshake_timeout: Duration,
    pub handshakes_max: usize,
}

/// A UDP port at which callers with a certificate of this site's authority are heard.
#[derive(Debug)]
pub struct QuicServer {
    endpoint: Endpoint,
    tls: ServerTls,
    options: QuicOptions,
    handshakes: Arc<Semaphore>,
}

/// Why a caller was turned away. It learns nothing of it but a closed connection.
#[derive(Debug, thiserror::Error)]
enum Refused {
    #[error("it cannot be spoken to")]
    Tls(#[from] TlsError),
    #[error("no handshake")]
    Handshake(#[from] QuicError),
    #[error("no handshake in time")]
    TooSlow,
    #[error("it shows no certificate")]
    Anonymous,
    #[error("its certificate says not who it is")]
    Identity(#[from] IdentityError),
}

impl QuicServer {
    /// Takes the UDP port.
    pub fn bind(address: SocketAddr, tls: ServerTls, options: QuicOptions) -> io::Result<Self> {
        let socket = Socket::new(Domain::for_address(address), Type::DGRAM, Some(Protocol::UDP))?;
        // As the TCP port beside it.
        if address.is_ipv6() {
            socket.set_only_v6(false)?;
        }
        socket.bind(&address.into())?;
        let buffers = SockRef::from(&socket);
        // The kernel gives what it may.
        buffers.set_recv_buffer_size(SOCKET_BUFFER_BYTES)?;
        buffers.set_send_buffer_size(SOCKET_BUFFER_BYTES)?;
        let endpoint = Endpoint::new(EndpointConfig::default(), None, socket.into(), Arc::new(TokioRuntime))?;
        let handshakes = Arc::new(Semaphore::new(options.handshakes_max));
        let server = QuicServer { endpoint, tls, options, handshakes };
        server.endpoint.set_server_config(server.config(PathWindow::default()).ok());
        Ok(server)
    }

    pub fn port(&self) -> io::Result<u16> {
        Ok(self.endpoint.local_addr()?.port())
    }

    /// Hears callers until `stop`. `take` is asked with each caller's name and what it says that it is for; what it
    /// answers, if it does not take the connection, is told to the caller.
    pub async fn serve<F>(self, lifecycle: Lifecycle, take: F, stop: CancellationToken)
    where
        F: Fn(Name, &[u8], QuicConnection) -> Result<(), String> + Send + Sync + 'static,
    {
        let (server, take) = (Arc::new(self), Arc::new(take));
        while let Some(Some(incoming)) = stop.run_until_cancelled(server.endpoint.accept()).await {
            let Ok(permit) = server.handshakes.clone().try_acquire_owned() else {
                incoming.refuse();
                continue;
            };
            // While many call, each has to show that it is where it says before anything is kept of it.
            let is_busy = server.handshakes.available_permits() < server.options.handshakes_max / 2;
            if is_busy && !incoming.remote_address_validated() {
                // It was validated or it could be asked: else it is dropped.
                let _ = incoming.retry();
                continue;
            }
            let (server, take) = (server.clone(), take.clone());
            lifecycle.spawn_finite("quic-handshake", async move {
                let address = incoming.remote_address();
                if let Err(error) = server.shake_hands(incoming, &*take, permit).await {
                    tracing::debug!(%address, error = error_chain(&error), "caller turned away");
                }
            });
        }
        // Connections that exist end with those who use them.
        server.endpoint.set_server_config(None);
    }

    async fn shake_hands<F>(
        &self,
        incoming: Incoming,
        take: &F,
        _permit: OwnedSemaphorePermit,
    ) -> Result<(), Refused>
    where
        F: Fn(Name, &[u8], QuicConnection) -> Result<(), String>,
    {
        let window = PathWindow::default();
        let config = Arc::new(self.config(window.clone())?);
        let greeting = async {
            let connection =
                incoming.accept_with(config).map_err(QuicError::from)?.await.map_err(QuicError::from)?;
            let name = name_of(&connection)?;
            let (mut say, mut hear) = connection.accept_bi().await.map_err(QuicError::from)?;
            let purpose = hear.read_to_end(PURPOSE_BYTES_MAX).await.map_err(|_| QuicError::BrokenOff)?;
            let quic = QuicConnection::new(connection, &window);
            match take(name, &purpose, quic.clone()) {
                Ok(()) => say.finish().map_err(|_| QuicError::BrokenOff)?,
                Err(reason) => quic.close(&reason),
            }
            Ok(())
        };
        timeout(self.options.handshake_timeout, greeting).await.unwrap_or(Err(Refused::TooSlow))
    }

    /// Anew for each caller: the certificate may have been replaced.
    fn config(&self, window: PathWindow) -> Result<ServerConfig, TlsError> {
        let mut tls = (*self.tls.current()).clone();
        tls.alpn_protocols = vec![ALPN.to_vec()];
        let tls = QuicServerConfig::try_from(tls).map_err(|_| TlsError::NoQuic)?;
        let mut config = ServerConfig::with_crypto(Arc::new(tls));
        config.transport_config(Arc::new(transport(self.options.limits, None, window)));
        Ok(config)
    }
}

fn name_of(connection: &quinn::Connection) -> Result<Name, Refused> {
    let identity = connection.peer_identity().ok_or(Refused::Anonymous)?;
    let chain = identity.downcast::<Vec<CertificateDer<'static>>>().map_err(|_| Refused::Anonymous)?;
    Ok(identity_of(chain.first().ok_or(Refused::Anonymous)?)?)
}
