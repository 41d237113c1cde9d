//! A file as messages of a server's stream, with the settings that were measured to be the best: frames of 256 KiB,
//! windows of 1 and 2 MiB. The messages are those of the link, so that what is compared is all that is around them.

use std::{
    io,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    task::{Context, Poll},
};

use bytes::Bytes;
use futures::Stream;
use hyper_util::rt::TokioIo;
use packhorse_proto::link::v1::{
    Data, ExchangeRequest, ExchangeResponse, Frame, frame::Body, link_service_client::LinkServiceClient,
    link_service_server::LinkService, link_service_server::LinkServiceServer,
};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::{TcpListener, TcpStream},
    sync::Notify,
    task::JoinSet,
};
use tokio_rustls::{TlsAcceptor, TlsConnector, server::TlsStream};
use tokio_stream::StreamExt as _;
use tonic::{
    Request, Response, Status, Streaming,
    transport::{Endpoint, Server, server::Connected},
};

use super::{Began, PIECE_BYTES, Receiving, Sending, Source};
use crate::figures::Figures;

const FRAME_MAX: u32 = 256 * 1024;
const STREAM_WINDOW: u32 = 1024 * 1024;
const CONNECTION_WINDOW: u32 = 2 * 1024 * 1024;

struct Sender {
    file: Source,
    left: Arc<AtomicUsize>,
    done: Arc<Notify>,
}

#[tonic::async_trait]
impl LinkService for Sender {
    type ExchangeStream = Pin<Box<dyn Stream<Item = Result<ExchangeResponse, Status>> + Send>>;

    async fn exchange(
        &self,
        _: Request<Streaming<ExchangeRequest>>,
    ) -> Result<Response<Self::ExchangeStream>, Status> {
        let (file, left, done) = (self.file.clone(), self.left.clone(), self.done.clone());
        let messages = futures::stream::try_unfold(0, move |offset| {
            let next = message(&file, offset);
            if matches!(next, Ok(None)) && left.fetch_sub(1, Ordering::Relaxed) == 1 {
                done.notify_one();
            }
            async move { next }
        });
        Ok(Response::new(Box::pin(messages)))
    }
}

fn message(file: &Source, offset: u64) -> Result<Option<(ExchangeResponse, u64)>, Status> {
    let mut bytes = vec![0; PIECE_BYTES];
    let length = file.read(offset, &mut bytes).map_err(|error| Status::internal(error.to_string()))?;
    if length == 0 {
        return Ok(None);
    }
    bytes.truncate(length);
    let data = Data { item: Bytes::from_static(&[7; 16]), offset, bytes: bytes.into(), ..Data::default() };
    let frame = Some(Frame { body: Some(Body::Data(data)) });
    Ok(Some((ExchangeResponse { frame }, offset + length as u64)))
}

/// Streams the file to as many as are expected.
pub(crate) async fn send(sending: Sending) -> anyhow::Result<Figures> {
    let listener = TcpListener::bind(sending.listen).await?;
    let acceptor = TlsAcceptor::from(sending.config);
    let (left, done) = (Arc::new(AtomicUsize::new(sending.count)), Arc::<Notify>::default());
    let length = sending.file.length;
    let service = LinkServiceServer::new(Sender { file: sending.file, left, done: done.clone() });
    let incoming = futures::stream::try_unfold(listener, move |listener| {
        let acceptor = acceptor.clone();
        async move {
            let (stream, _) = listener.accept().await?;
            stream.set_nodelay(true)?;
            let accepted = Accepted(acceptor.accept(stream).await?);
            Ok::<_, io::Error>(Some((accepted, listener)))
        }
    });
    let began = Began::now()?;
    Server::builder()
        .initial_stream_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .max_frame_size(FRAME_MAX)
        .add_service(service)
        .serve_with_incoming_shutdown(Box::pin(incoming), async move { done.notified().await })
        .await?;
    began.figures(length * sending.count as u64)
}

/// Reads so many streams and throws them away.
pub(crate) async fn receive(receiving: Receiving) -> anyhow::Result<Figures> {
    let began = Began::now()?;
    let connector = TlsConnector::from(receiving.config);
    let mut running = JoinSet::new();
    for _ in 0..receiving.count {
        let (connector, server, address) = (connector.clone(), receiving.server.clone(), receiving.connect);
        let dial = tower::service_fn(move |_| {
            let (connector, server) = (connector.clone(), server.clone());
            async move {
                let stream = TcpStream::connect(address).await?;
                stream.set_nodelay(true)?;
                Ok::<_, io::Error>(TokioIo::new(connector.connect(server, stream).await?))
            }
        });
        running.spawn(async move {
            let channel = Endpoint::from_static("http://load")
                .initial_stream_window_size(STREAM_WINDOW)
                .initial_connection_window_size(CONNECTION_WINDOW)
                .max_frame_size(FRAME_MAX)
                .connect_with_connector(dial)
                .await?;
            let mut link = LinkServiceClient::new(channel);
            let mut messages = link.exchange(futures::stream::pending()).await?.into_inner();
            let mut bytes = 0;
            while let Some(message) = messages.next().await {
                if let Some(Body::Data(data)) = message?.frame.and_then(|frame| frame.body) {
                    bytes += data.bytes.len() as u64;
                }
            }
            anyhow::Ok(bytes)
        });
    }
    let mut bytes = 0;
    while let Some(received) = running.join_next().await {
        bytes += received??;
    }
    began.figures(bytes)
}

/// A connection of which nothing is told.
struct Accepted(TlsStream<TcpStream>);

impl Connected for Accepted {
    type ConnectInfo = ();

    fn connect_info(&self) {}
}

impl AsyncRead for Accepted {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_read(cx, buf)
    }
}

impl AsyncWrite for Accepted {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write(cx, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        parts: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write_vectored(cx, parts)
    }

    fn is_write_vectored(&self) -> bool {
        self.0.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(cx)
    }
}
