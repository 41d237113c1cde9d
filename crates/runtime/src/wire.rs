//! A TCP stream that tells what went over the wire, encryption included, and what is still held back above it. A QUIC
//! connection tells the same, as far as it can.

use std::{
    io::{self, IoSlice},
    net::SocketAddr,
    pin::Pin,
    sync::{
        Arc, OnceLock,
        atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering},
    },
    task::{Context, Poll},
    time::Duration,
};

use rustix::net::sockopt;
use socket2::SockRef;
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::TcpStream,
    sync::Notify,
};

/// What the kernel holds that it has not sent, unless somebody says otherwise: enough for any line, and on a slow one
/// little enough to be overtaken.
const UNSENT_BYTES: u32 = 32 * 1024;

/// A packet carries so many bytes of the connection, and has headers of IP and TCP of so many.
const PACKET_PAYLOAD_BYTES: u64 = 1448;
const PACKET_HEADER_BYTES: u64 = 52;
/// Of IP and UDP.
const DATAGRAM_HEADER_BYTES: u64 = 28;

/// How a kernel decides what a path can take: `bbr` finds it on lines that lose packets, where the usual ones do not.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum CongestionControl {
    /// What the machine is set to.
    System,
    /// `bbr` where the kernel has it, else what the machine is set to.
    #[default]
    Bbr,
}

/// What connections sent and received. Shared: clones of the `Arc` see it grow.
#[derive(Debug, Default)]
pub struct Wire {
    /// A connection counts here. Without one nothing is ever held back.
    attached: AtomicBool,
    sent: AtomicU64,
    received: AtomicU64,
    /// Of `sent`: when nothing was held back above the kernel, at the last time that this was so.
    flushed: AtomicU64,
    /// About how many packets left: with bytes, and to confirm what came.
    packets: AtomicU64,
    unsent_max: AtomicU32,
    moved: Notify,
    /// The kernel finds out by itself what the path takes, whatever it loses.
    is_bbr: AtomicBool,
    dialled: OnceLock<Dialled>,
    /// Then it is no TCP connection, and all is counted there.
    quic: OnceLock<quinn::Connection>,
    /// What a QUIC connection may have under way.
    window: AtomicU64,
}

/// How the other end was reached.
#[derive(Debug, Clone, Copy)]
pub struct Dialled {
    pub address: SocketAddr,
    /// About one round trip.
    pub within: Duration,
}

#[derive(Debug)]
pub(crate) struct Counted {
    stream: TcpStream,
    wire: Arc<Wire>,
    /// Set on the socket.
    unsent_max: u32,
}

impl Wire {
    pub fn sent(&self) -> u64 {
        match self.quic.get() {
            Some(connection) => connection.stats().udp_tx.bytes,
            None => self.sent.load(Ordering::Relaxed),
        }
    }

    pub fn received(&self) -> u64 {
        match self.quic.get() {
            Some(connection) => connection.stats().udp_rx.bytes,
            None => self.received.load(Ordering::Relaxed),
        }
    }

    /// About how many bytes the line carried for it, the headers of IP and TCP or UDP included.
    pub fn on_line(&self) -> u64 {
        if let Some(connection) = self.quic.get() {
            let sent = connection.stats().udp_tx;
            return sent.bytes + sent.datagrams * DATAGRAM_HEADER_BYTES;
        }
        self.sent() + self.packets.load(Ordering::Relaxed) * PACKET_HEADER_BYTES
    }

    /// Whether it is a QUIC connection: what it is given leaves at once, and nobody has to wait for that.
    pub fn is_quic(&self) -> bool {
        self.quic.get().is_some()
    }

    /// Whether the kernel finds out by itself what the path takes, however many packets that loses.
    pub fn is_bbr(&self) -> bool {
        self.is_bbr.load(Ordering::Relaxed)
    }

    /// How the other end was reached, if this end dialled.
    pub fn dialled(&self) -> Option<Dialled> {
        self.dialled.get().copied()
    }

    pub(crate) fn set_dialled(&self, dialled: Dialled) {
        // The first connection counts; later ones go to the same place.
        let _ = self.dialled.set(dialled);
    }

    /// Counts a QUIC connection.
    pub(crate) fn of_quic(connection: quinn::Connection) -> Self {
        Wire { quic: OnceLock::from(connection), ..Wire::default() }
    }

    /// Bytes that a QUIC connection may have under way; 0: not said yet.
    pub fn window(&self) -> u64 {
        self.window.load(Ordering::Relaxed)
    }

    pub fn set_window(&self, bytes: u64) {
        self.window.store(bytes, Ordering::Relaxed);
    }

    /// Bytes that the kernel had taken when, at last, nothing was held back above it. `None`: no connection counts here.
    pub fn flushed(&self) -> Option<u64> {
        self.attached.load(Ordering::Relaxed).then(|| self.flushed.load(Ordering::Acquire))
    }

    /// Resolves when more was flushed than at the last call. For one caller at a time.
    pub async fn moved(&self) {
        self.moved.notified().await;
    }

    /// How many bytes the kernel may hold unsent: they cannot be overtaken. It holds from the next write on.
    pub fn set_unsent_max(&self, bytes: u32) {
        self.unsent_max.store(bytes, Ordering::Relaxed);
    }
}

impl CongestionControl {
    fn set(&self, stream: &TcpStream) {
        if *self == CongestionControl::Bbr
            && let Err(error) = sockopt::set_tcp_congestion(stream, "bbr")
        {
            tracing::debug!(%error, "the kernel has no bbr; the connection uses what it is set to");
        }
    }
}

impl Counted {
    /// Takes a stream and sets what every one of our streams needs: small messages leave at once, little waits in the
    /// kernel, and a peer that is gone without a word is found out even while nothing is being sent.
    pub(crate) fn new(
        stream: TcpStream,
        wire: Arc<Wire>,
        congestion_control: &CongestionControl,
    ) -> io::Result<Self> {
        stream.set_nodelay(true)?;
        congestion_control.set(&stream);
        let is_bbr = sockopt::tcp_congestion(&stream).is_ok_and(|name| name.starts_with("bbr"));
        wire.is_bbr.store(is_bbr, Ordering::Relaxed);
        sockopt::set_socket_keepalive(&stream, true)?;
        sockopt::set_tcp_keepidle(&stream, Duration::from_secs(60))?;
        sockopt::set_tcp_keepintvl(&stream, Duration::from_secs(15))?;
        sockopt::set_tcp_keepcnt(&stream, 4)?;
        wire.attached.store(true, Ordering::Relaxed);
        if wire.unsent_max.load(Ordering::Relaxed) == 0 {
            wire.set_unsent_max(UNSENT_BYTES);
        }
        Ok(Counted { stream, wire, unsent_max: 0 })
    }

    fn before_write(&mut self) -> io::Result<()> {
        let unsent_max = self.wire.unsent_max.load(Ordering::Relaxed);
        if unsent_max != self.unsent_max {
            SockRef::from(&self.stream).set_tcp_notsent_lowat(unsent_max)?;
            self.unsent_max = unsent_max;
        }
        Ok(())
    }

    fn count_sent(&self, result: Poll<io::Result<usize>>) -> Poll<io::Result<usize>> {
        if let Poll::Ready(Ok(length)) = result {
            self.wire.sent.fetch_add(length as u64, Ordering::Relaxed);
            self.wire.packets.fetch_add((length as u64).div_ceil(PACKET_PAYLOAD_BYTES), Ordering::Relaxed);
        }
        result
    }
}

impl AsyncRead for Counted {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        let result = Pin::new(&mut self.stream).poll_read(cx, buf);
        let length = (buf.filled().len() - before) as u64;
        self.wire.received.fetch_add(length, Ordering::Relaxed);
        // What came is confirmed by a packet without bytes, unless some were about to leave.
        self.wire.packets.fetch_add(u64::from(length > 0), Ordering::Relaxed);
        result
    }
}

impl AsyncWrite for Counted {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.before_write()?;
        let result = Pin::new(&mut self.stream).poll_write(cx, bytes);
        self.count_sent(result)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        parts: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.before_write()?;
        let result = Pin::new(&mut self.stream).poll_write_vectored(cx, parts);
        self.count_sent(result)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    /// What is above flushes downwards: when this is called, everything that it had is in the kernel.
    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let sent = self.wire.sent.load(Ordering::Relaxed);
        if self.wire.flushed.swap(sent, Ordering::Release) != sent {
            self.wire.moved.notify_one();
        }
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
