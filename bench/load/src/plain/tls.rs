//! A file over TLS: read a piece, write a piece.

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
    task::JoinSet,
};
use tokio_rustls::{TlsAcceptor, TlsConnector};

use super::{Began, PIECE_BYTES, Receiving, Sending, Source};
use crate::figures::Figures;

/// Sends the file to as many as are expected.
pub(crate) async fn send(sending: Sending) -> anyhow::Result<Figures> {
    let listener = TcpListener::bind(sending.listen).await?;
    let acceptor = TlsAcceptor::from(sending.config);
    let mut running = JoinSet::new();
    let mut began = None;
    for _ in 0..sending.count {
        let (stream, _) = listener.accept().await?;
        if began.is_none() {
            began = Some(Began::now()?);
        }
        let (acceptor, file) = (acceptor.clone(), sending.file.clone());
        running.spawn(async move { send_one(stream, &acceptor, &file).await });
    }
    while let Some(sent) = running.join_next().await {
        sent??;
    }
    let began = began.map_or_else(Began::now, Ok)?;
    began.figures(sending.file.length * sending.count as u64)
}

async fn send_one(stream: TcpStream, acceptor: &TlsAcceptor, file: &Source) -> anyhow::Result<()> {
    stream.set_nodelay(true)?;
    let mut tls = acceptor.accept(stream).await?;
    let (mut offset, mut buffer) = (0, vec![0; PIECE_BYTES]);
    loop {
        let length = file.read(offset, &mut buffer)?;
        if length == 0 {
            return Ok(tls.shutdown().await?);
        }
        tls.write_all(&buffer[..length]).await?;
        offset += length as u64;
    }
}

/// Takes what comes over so many connections and throws it away.
pub(crate) async fn receive(receiving: Receiving) -> anyhow::Result<Figures> {
    let began = Began::now()?;
    let connector = TlsConnector::from(receiving.config);
    let mut running = JoinSet::new();
    for _ in 0..receiving.count {
        let (connector, server) = (connector.clone(), receiving.server.clone());
        running.spawn(async move {
            let stream = TcpStream::connect(receiving.connect).await?;
            let mut tls = connector.connect(server, stream).await?;
            let (mut bytes, mut buffer) = (0, vec![0; PIECE_BYTES]);
            loop {
                match tls.read(&mut buffer).await? {
                    0 => return anyhow::Ok(bytes),
                    length => bytes += length as u64,
                }
            }
        });
    }
    let mut bytes = 0;
    while let Some(received) = running.join_next().await {
        bytes += received??;
    }
    began.figures(bytes)
}
