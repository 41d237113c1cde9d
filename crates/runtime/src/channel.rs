//! Calling a server: a gRPC channel over a connection whose other end has proved who it is.

use std::{
    io,
    pin::Pin,
    sync::{Arc, Mutex, PoisonError},
    task::{Context, Poll},
    time::Duration,
};

use hyper_util::rt::TokioIo;
use packhorse_trust::Name;
use rustls::{AlertDescription, CertificateError, ClientConfig};
use rustls_pki_types::ServerName;
use tokio::{
    io::{AsyncRead, AsyncReadExt as _, AsyncWrite, ReadBuf},
    net::TcpStream,
    time::Instant,
};
use tokio_rustls::{TlsConnector, client::TlsStream};
use tonic::transport::{Channel, Endpoint};

use crate::{
    tls::{Caller, TlsError, client_config},
    wire::{CongestionControl, Counted, Dialled, Wire},
};

/// Larger than any header block we send; the other end may be older or newer than we are.
const HEADERS_MAX: u32 = 16 * 1024;
const FRAME_MAX: u32 = 256 * 1024;

#[derive(Debug, Clone)]
pub struct ChannelOptions {
    /// What the server may send on one stream before we have read it.
    pub stream_window: u32,
    /// The same for all streams of the connection together.
    pub connection_window: u32,
    pub keepalive_interval: Duration,
    pub keepalive_timeout: Duration,
    /// For TCP, TLS and the server's first word together.
    pub connect_timeout: Duration,
    /// Counts the bytes of this channel's connections. Keep a clone to read it.
    pub counter: Arc<Wire>,
    pub congestion_control: CongestionControl,
}

#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    /// The settings are wrong: no use in trying again.
    #[error("`{endpoint}` is not an endpoint: HOST:PORT is expected")]
    Endpoint { endpoint: String },
    /// What we show or trust is broken: no use in trying again.
    #[error("cannot call {endpoint} with these credentials")]
    Credentials {
        endpoint: String,
        #[source]
        source: TlsError,
    },
    /// Nobody is there: try again, or elsewhere.
    #[error("cannot reach {endpoint}")]
    Unreachable {
        endpoint: String,
        #[source]
        source: io::Error,
    },
    /// Somebody is there, but one of the two does not accept the other: a matter for people, or for new certificates.
    #[error("no trust between us and {server} at {endpoint}: {refusal}")]
    Refused {
        endpoint: String,
        server: String,
        refusal: Refusal,
        #[source]
        source: io::Error,
    },
    #[error("{endpoint} did not answer within {} s", after.as_secs_f32())]
    TimedOut { endpoint: String, after: Duration },
}

/// Why two ends do not trust each other.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    #[error("its certificate is from another authority")]
    WrongAuthority,
    #[error("its certificate has expired; compare the clocks")]
    Expired,
    #[error("its certificate is not valid yet; compare the clocks")]
    NotYetValid,
    #[error("its certificate is for another name")]
    WrongName,
    #[error("it refuses our certificate")]
    ByServer,
    #[error("by its clock our certificate is out of date; compare the clocks")]
    OutOfDate,
    #[error("it does not speak TLS as we do")]
    Protocol,
}

impl Default for ChannelOptions {
    fn default() -> Self {
        ChannelOptions {
            stream_window: 1024 * 1024,
            connection_window: 2 * 1024 * 1024,
            keepalive_interval: Duration::from_secs(20),
            keepalive_timeout: Duration::from_secs(20),
            connect_timeout: Duration::from_secs(10),
            counter: Arc::default(),
            congestion_control: CongestionControl::default(),
        }
    }
}

/// Connects to `server` at `endpoint` (`HOST:PORT`). The name in the certificate decides, not the address. When this
/// returns, both ends have accepted each other. A connection that is cut later is made anew by the next call.
pub async fn connect(
    endpoint: &str,
    server: &Name,
    caller: Caller<'_>,
    options: ChannelOptions,
) -> Result<Channel, ConnectError> {
    let bad = || ConnectError::Endpoint { endpoint: endpoint.chars().take(200).collect() };
    check_endpoint(endpoint).ok_or_else(bad)?;
    let dns_name = server.dns_name();
    let config = client_config(caller)
        .map_err(|source| ConnectError::Credentials { endpoint: endpoint.to_owned(), source })?;
    let dialler = Arc::new(Dialler {
        endpoint: endpoint.to_owned(),
        server: server.to_string(),
        name: ServerName::try_from(dns_name.clone()).map_err(|_| bad())?,
        config,
        timeout: options.connect_timeout,
        counter: options.counter.clone(),
        congestion_control: options.congestion_control.clone(),
    });
    let first = Mutex::new(Some(dialler.dial().await?));
    Endpoint::from_shared(format!("http://{dns_name}"))
        .map_err(|_| bad())?
        .initial_stream_window_size(options.stream_window)
        .initial_connection_window_size(options.connection_window)
        .http2_keep_alive_interval(options.keepalive_interval)
        .keep_alive_timeout(options.keepalive_timeout)
        .keep_alive_while_idle(true)
        .http2_max_header_list_size(HEADERS_MAX)
        .max_frame_size(FRAME_MAX)
        .connect_with_connector(tower::service_fn(move |_| {
            let made = first.lock().unwrap_or_else(PoisonError::into_inner).take();
            let dialler = dialler.clone();
            async move {
                match made {
                    Some(stream) => Ok(TokioIo::new(stream)),
                    None => dialler.dial().await.map(TokioIo::new),
                }
            }
        }))
        .await
        .map_err(|source| ConnectError::Unreachable {
            endpoint: endpoint.to_owned(),
            source: io::Error::other(source),
        })
}

fn check_endpoint(endpoint: &str) -> Option<()> {
    let (host, port) = endpoint.rsplit_once(':')?;
    (!host.is_empty() && endpoint.len() <= 300 && port.parse::<u16>().is_ok_and(|port| port > 0))
        .then_some(())
}

/// Makes connections to one server.
struct Dialler {
    endpoint: String,
    server: String,
    name: ServerName<'static>,
    config: Arc<ClientConfig>,
    timeout: Duration,
    counter: Arc<Wire>,
    congestion_control: CongestionControl,
}

impl Dialler {
    async fn dial(&self) -> Result<Begun, ConnectError> {
        tokio::time::timeout(self.timeout, self.dial_without_limit()).await.unwrap_or_else(|_| {
            Err(ConnectError::TimedOut { endpoint: self.endpoint.clone(), after: self.timeout })
        })
    }

    async fn dial_without_limit(&self) -> Result<Begun, ConnectError> {
        let began = Instant::now();
        let stream = TcpStream::connect(&self.endpoint).await.map_err(|error| self.failed(error))?;
        if let Ok(address) = stream.peer_addr() {
            self.counter.set_dialled(Dialled { address, within: began.elapsed() });
        }
        let stream = Counted::new(stream, self.counter.clone(), &self.congestion_control)
            .map_err(|error| self.failed(error))?;
        let mut tls = TlsConnector::from(self.config.clone())
            .connect(self.name.clone(), stream)
            .await
            .map_err(|error| self.failed(error))?;
        // In TLS 1.3 our side is done before the server has looked at our certificate. Its first word, which is its
        // HTTP/2 settings, is the proof that it accepted; a refusal comes here instead of with the first call.
        let mut first_word = vec![0; 256];
        let length = tls.read(&mut first_word).await.map_err(|error| self.failed(error))?;
        if length == 0 {
            return Err(self.failed(io::Error::from(io::ErrorKind::UnexpectedEof)));
        }
        first_word.truncate(length);
        Ok(Begun { first_word, read: 0, tls })
    }

    fn failed(&self, source: io::Error) -> ConnectError {
        let endpoint = self.endpoint.clone();
        match source.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>()).map(refusal) {
            Some(refusal) => ConnectError::Refused { endpoint, server: self.server.clone(), refusal, source },
            None => ConnectError::Unreachable { endpoint, source },
        }
    }
}

fn refusal(error: &rustls::Error) -> Refusal {
    match error {
        rustls::Error::InvalidCertificate(error) => match error {
            CertificateError::Expired | CertificateError::ExpiredContext { .. } => Refusal::Expired,
            CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => {
                Refusal::NotYetValid
            }
            CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => {
                Refusal::WrongName
            }
            _ => Refusal::WrongAuthority,
        },
        rustls::Error::AlertReceived(
            AlertDescription::BadCertificate
            | AlertDescription::UnsupportedCertificate
            | AlertDescription::CertificateRevoked
            | AlertDescription::CertificateUnknown
            | AlertDescription::UnknownCA
            | AlertDescription::AccessDenied
            | AlertDescription::DecryptError
            | AlertDescription::CertificateRequired,
        ) => Refusal::ByServer,
        // Also of one that is not valid yet: TLS has one word for both.
        rustls::Error::AlertReceived(AlertDescription::CertificateExpired) => Refusal::OutOfDate,
        _ => Refusal::Protocol,
    }
}

/// A connection whose first bytes were read already and are given again.
struct Begun {
    first_word: Vec<u8>,
    read: usize,
    tls: TlsStream<Counted>,
}

impl AsyncRead for Begun {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let rest = &self.first_word[self.read..];
        if rest.is_empty() {
            return Pin::new(&mut self.tls).poll_read(cx, buf);
        }
        let length = rest.len().min(buf.remaining());
        buf.put_slice(&rest[..length]);
        self.read += length;
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Begun {
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
