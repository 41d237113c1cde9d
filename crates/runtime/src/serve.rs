//! A gRPC server on a TCP listener: accepts, shakes hands, learns who called, and applies limits to all of it.
//!
//! Nobody who connects can hold up anybody else: handshakes run beside each other, each within a time, and what was
//! refused costs nothing more.

use std::{
    collections::BTreeSet,
    io,
    net::SocketAddr,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
    time::Duration,
};

use packhorse_domain::id::SiteCode;
use packhorse_trust::{IdentityError, identity_of};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::{TcpListener, TcpStream},
    sync::{OwnedSemaphorePermit, Semaphore, mpsc},
    task::JoinSet,
    time::{Sleep, sleep},
};
use tokio_rustls::{TlsAcceptor, server::TlsStream};
use tokio_stream::{StreamExt as _, wrappers::ReceiverStream};
use tokio_util::sync::CancellationToken;
use tonic::{service::Routes, transport::server::Connected};

use crate::{
    authorize::{Authorize, Peer, Rules},
    error::error_chain,
    telemetry::rpc_span,
    tls::ServerTls,
    wire::{CongestionControl, Counted, Wire},
};

const STREAMS_MAX: u32 = 256;
const FRAME_MAX: u32 = 256 * 1024;
const HEADERS_MAX: u32 = 16 * 1024;
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
/// What an HTTP/2 client says first.
const PREFACE_LENGTH: u64 = 24;

/// Beside what the rules name.
const ALWAYS_SERVED: [&str; 3] = [
    "grpc.health.v1.Health",
    "grpc.reflection.v1.ServerReflection",
    "grpc.reflection.v1alpha.ServerReflection",
];

/// What a server serves and to whom.
#[derive(Debug)]
pub struct Services {
    /// Certificates of other sites count nothing here.
    pub site: SiteCode,
    /// Without health and reflection: those are always there.
    pub routes: Routes,
    pub rules: Rules,
    /// An encoded `FileDescriptorSet`, for reflection.
    pub descriptors: &'static [u8],
}

#[derive(Debug, Clone)]
pub struct ServerOptions {
    /// What a caller may send on one stream before we have read it.
    pub stream_window: u32,
    /// The same for all streams of a connection together.
    pub connection_window: u32,
    /// For TLS, and then again for the caller's first word.
    pub handshake_timeout: Duration,
    pub handshakes_max: usize,
    /// How often a caller is asked whether it lives, and how long its answer may take.
    pub keepalive: Duration,
    /// More callers wait until others leave.
    pub connections_max: usize,
    /// Callers without a certificate; more are turned away.
    pub anonymous_max: usize,
    pub congestion_control: CongestionControl,
}

#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    #[error("the descriptors for reflection do not decode")]
    Reflection(#[source] tonic_reflection::server::Error),
    #[error("the server ended")]
    Transport(#[source] tonic::transport::Error),
}

/// What is known of the connection that a request came over: an extension of every request.
#[derive(Debug, Clone)]
pub struct ConnectionInfo {
    pub peer: Peer,
    pub address: SocketAddr,
    pub counter: Arc<Wire>,
}

impl Default for ServerOptions {
    fn default() -> Self {
        ServerOptions {
            stream_window: 1024 * 1024,
            connection_window: 2 * 1024 * 1024,
            handshake_timeout: Duration::from_secs(10),
            handshakes_max: 256,
            keepalive: Duration::from_secs(20),
            connections_max: 8192,
            anonymous_max: 256,
            congestion_control: CongestionControl::default(),
        }
    }
}

/// Serves until `stop`, then takes no more connections, lets the calls that run end, and returns. Long calls must
/// watch `stop` themselves.
pub async fn serve(
    listener: TcpListener,
    tls: ServerTls,
    services: Services,
    options: ServerOptions,
    stop: CancellationToken,
) -> Result<(), ServeError> {
    let served = service_names(services.rules);
    let (reporter, health) = tonic_health::server::health_reporter();
    for name in &served {
        reporter.set_service_status(*name, tonic_health::ServingStatus::Serving).await;
    }
    let v1 = reflection(services.descriptors, &served).build_v1().map_err(ServeError::Reflection)?;
    let v1alpha =
        reflection(services.descriptors, &served).build_v1alpha().map_err(ServeError::Reflection)?;
    let routes = services.routes.add_service(health).add_service(v1).add_service(v1alpha);

    let (accepted, connections) = mpsc::channel(64);
    let accepting = Accepting::new(listener, tls, &options).run(accepted, stop.clone());
    let serving = tonic::transport::Server::builder()
        .trace_fn(rpc_span)
        .max_concurrent_streams(STREAMS_MAX)
        .http2_keepalive_interval(Some(options.keepalive))
        .http2_keepalive_timeout(Some(options.keepalive))
        .http2_max_header_list_size(HEADERS_MAX)
        .max_frame_size(FRAME_MAX)
        .initial_stream_window_size(options.stream_window)
        .initial_connection_window_size(options.connection_window)
        .layer(Authorize::new(services.site, services.rules))
        .add_routes(routes)
        .serve_with_incoming_shutdown(
            ReceiverStream::new(connections).map(Ok::<_, io::Error>),
            stop.cancelled_owned(),
        );
    tokio::pin!(serving);
    tokio::select! {
        result = &mut serving => return result.map_err(ServeError::Transport),
        () = accepting => {}
    }
    serving.await.map_err(ServeError::Transport)
}

/// What a server serves is what its rules speak of: the descriptors know every service of Packhorse.
fn service_names(rules: Rules) -> BTreeSet<&'static str> {
    rules.iter().filter_map(|(pattern, _)| pattern.strip_prefix('/')?.split('/').next()).collect()
}

/// Reflection that lists what this server serves, and can describe everything that a tool may ask of it.
fn reflection<'a>(
    descriptors: &'a [u8],
    served: &BTreeSet<&'static str>,
) -> tonic_reflection::server::Builder<'a> {
    let builder = tonic_reflection::server::Builder::configure()
        .register_encoded_file_descriptor_set(descriptors)
        .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
        .register_encoded_file_descriptor_set(tonic_reflection::pb::v1::FILE_DESCRIPTOR_SET)
        .register_encoded_file_descriptor_set(tonic_reflection::pb::v1alpha::FILE_DESCRIPTOR_SET);
    served.iter().chain(&ALWAYS_SERVED).fold(builder, |builder, name| builder.with_service_name(*name))
}

/// Takes connections and shakes hands with each, beside the others.
struct Accepting {
    listener: TcpListener,
    tls: ServerTls,
    handshake_timeout: Duration,
    handshakes: Arc<Semaphore>,
    connections: Arc<Semaphore>,
    anonymous: Arc<Semaphore>,
    congestion_control: CongestionControl,
}

impl Accepting {
    fn new(listener: TcpListener, tls: ServerTls, options: &ServerOptions) -> Self {
        Accepting {
            listener,
            tls,
            handshake_timeout: options.handshake_timeout,
            handshakes: Arc::new(Semaphore::new(options.handshakes_max)),
            connections: Arc::new(Semaphore::new(options.connections_max)),
            anonymous: Arc::new(Semaphore::new(options.anonymous_max)),
            congestion_control: options.congestion_control.clone(),
        }
    }

    /// Ends at the stop, and with it the handshakes that are not done.
    async fn run(self, accepted: mpsc::Sender<Connection>, stop: CancellationToken) {
        let mut handshakes = JoinSet::new();
        loop {
            let next = tokio::select! {
                () = stop.cancelled() => return,
                Some(_) = handshakes.join_next() => continue,
                next = self.next() => next,
            };
            match next {
                Ok(arrival) => {
                    let accepted = accepted.clone();
                    handshakes.spawn(async move {
                        let address = arrival.address;
                        match arrival.shake_hands().await {
                            // The other side ends only together with this one.
                            Ok(connection) => drop(accepted.send(connection).await),
                            Err(error) => {
                                tracing::debug!(%address, error = error_chain(&error), "caller turned away");
                            }
                        }
                    });
                }
                // Too many open files, a caller that left again: nothing that the next one should suffer from.
                Err(error) => {
                    tracing::warn!(error = error_chain(&error), "cannot accept a connection");
                    sleep(ACCEPT_PAUSE).await;
                }
            }
        }
    }

    async fn next(&self) -> io::Result<Arrival> {
        let handshake = permit(&self.handshakes).await;
        let connection = permit(&self.connections).await;
        let (stream, address) = self.listener.accept().await?;
        let counter = Arc::<Wire>::default();
        Ok(Arrival {
            stream,
            address,
            counter,
            acceptor: TlsAcceptor::from(self.tls.current()),
            timeout: self.handshake_timeout,
            anonymous: self.anonymous.clone(),
            congestion_control: self.congestion_control.clone(),
            _handshake: handshake,
            connection,
        })
    }
}

async fn permit(semaphore: &Arc<Semaphore>) -> OwnedSemaphorePermit {
    semaphore.clone().acquire_owned().await.expect("nobody closes this semaphore")
}

/// Somebody who connected and has not said who it is.
struct Arrival {
    stream: TcpStream,
    address: SocketAddr,
    counter: Arc<Wire>,
    acceptor: TlsAcceptor,
    timeout: Duration,
    anonymous: Arc<Semaphore>,
    congestion_control: CongestionControl,
    _handshake: OwnedSemaphorePermit,
    connection: OwnedSemaphorePermit,
}

/// Why a caller was turned away. It learns nothing of it but a closed connection.
#[derive(Debug, thiserror::Error)]
enum HandshakeError {
    #[error("cannot set up the socket")]
    Socket(#[source] io::Error),
    #[error("no TLS handshake")]
    Tls(#[source] io::Error),
    #[error("no TLS handshake in time")]
    TooSlow,
    #[error("its certificate says not who it is")]
    Identity(#[source] IdentityError),
    #[error("too many callers without a certificate")]
    TooManyAnonymous,
}

impl Arrival {
    async fn shake_hands(self) -> Result<Connection, HandshakeError> {
        let stream = Counted::new(self.stream, self.counter.clone(), &self.congestion_control)
            .map_err(HandshakeError::Socket)?;
        let tls = tokio::time::timeout(self.timeout, self.acceptor.accept(stream))
            .await
            .map_err(|_| HandshakeError::TooSlow)?
            .map_err(HandshakeError::Tls)?;
        let certificate = tls.get_ref().1.peer_certificates().and_then(<[_]>::first);
        let peer = match certificate {
            Some(certificate) => Peer::Known(identity_of(certificate).map_err(HandshakeError::Identity)?),
            None => Peer::Anonymous,
        };
        let mut permits = vec![self.connection];
        if peer == Peer::Anonymous {
            permits.push(self.anonymous.try_acquire_owned().map_err(|_| HandshakeError::TooManyAnonymous)?);
        }
        Ok(Connection {
            tls,
            info: ConnectionInfo { peer, address: self.address, counter: self.counter },
            first_word: Some((Box::pin(sleep(self.timeout)), PREFACE_LENGTH)),
            _permits: permits,
        })
    }
}

/// A connection with a caller.
struct Connection {
    tls: TlsStream<Counted>,
    info: ConnectionInfo,
    /// Until the caller has said this much: when it is cut. HTTP/2's own keepalive begins only afterwards.
    first_word: Option<(Pin<Box<Sleep>>, u64)>,
    _permits: Vec<OwnedSemaphorePermit>,
}

impl Connected for Connection {
    type ConnectInfo = ConnectionInfo;

    fn connect_info(&self) -> ConnectionInfo {
        self.info.clone()
    }
}

impl AsyncRead for Connection {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        if let Poll::Ready(result) = Pin::new(&mut self.tls).poll_read(cx, buf) {
            let read = (buf.filled().len() - before) as u64;
            self.first_word =
                self.first_word.take().filter(|(_, left)| *left > read).map(|(cut, left)| (cut, left - read));
            return Poll::Ready(result);
        }
        let Some((cut, _)) = &mut self.first_word else { return Poll::Pending };
        ready!(cut.as_mut().poll(cx));
        Poll::Ready(Err(io::Error::from(io::ErrorKind::TimedOut)))
    }
}

impl AsyncWrite for Connection {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.tls).poll_write(cx, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        parts: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.tls).poll_write_vectored(cx, parts)
    }

    fn is_write_vectored(&self) -> bool {
        self.tls.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.tls).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.tls).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests;
