//! A line between two sites: a TCP relay that counts, slows down and can be cut.

use std::{
    io::{Read as _, Write as _},
    net::{Shutdown, SocketAddr, TcpListener, TcpStream},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result};

const BUFFER: usize = 16 * 1024;
const DIAL_LIMIT: Duration = Duration::from_secs(2);

/// Bytes that came out at the other end.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct LineBytes {
    /// From the parent to the child.
    pub down: u64,
    /// From the child to the parent.
    pub up: u64,
}

/// A relay from its own port to a parent's. Closed when dropped.
#[derive(Debug)]
pub struct Line {
    shared: Arc<Shared>,
    accepting: Option<JoinHandle<()>>,
}

#[derive(Debug)]
struct Shared {
    listen: SocketAddr,
    target: SocketAddr,
    closed: AtomicBool,
    cut: AtomicBool,
    /// Bytes a second downwards; 0: as fast as it goes.
    rate: AtomicU64,
    down: AtomicU64,
    up: AtomicU64,
    /// When the next bytes may go down, over all connections.
    next: Mutex<Instant>,
    open: Mutex<Vec<TcpStream>>,
}

impl Line {
    pub fn start(port: u16, target: u16) -> Result<Self> {
        let listener =
            TcpListener::bind(("127.0.0.1", port)).with_context(|| format!("cannot listen on {port}"))?;
        let shared = Arc::new(Shared {
            listen: listener.local_addr()?,
            target: SocketAddr::from(([127, 0, 0, 1], target)),
            closed: AtomicBool::new(false),
            cut: AtomicBool::new(false),
            rate: AtomicU64::new(0),
            down: AtomicU64::new(0),
            up: AtomicU64::new(0),
            next: Mutex::new(Instant::now()),
            open: Mutex::new(Vec::new()),
        });
        let accepting = thread::spawn({
            let shared = Arc::clone(&shared);
            move || shared.accept(&listener)
        });
        Ok(Line { shared, accepting: Some(accepting) })
    }

    pub fn port(&self) -> u16 {
        self.shared.listen.port()
    }

    /// Breaks every connection; new ones are refused until `restore`.
    pub fn cut(&self) {
        self.shared.cut.store(true, Ordering::SeqCst);
        self.shared.break_all();
    }

    pub fn restore(&self) {
        self.shared.cut.store(false, Ordering::SeqCst);
    }

    /// Bytes a second from the parent to the child; 0: as fast as it goes. Changes bite at once.
    pub fn limit(&self, bytes_per_second: u64) {
        self.shared.rate.store(bytes_per_second, Ordering::SeqCst);
    }

    /// Since the start, over all connections.
    pub fn bytes(&self) -> LineBytes {
        LineBytes { down: self.shared.down.load(Ordering::SeqCst), up: self.shared.up.load(Ordering::SeqCst) }
    }
}

impl Drop for Line {
    fn drop(&mut self) {
        self.shared.closed.store(true, Ordering::SeqCst);
        // Wakes the thread that accepts.
        let _ = TcpStream::connect(self.shared.listen);
        self.shared.break_all();
        if let Some(accepting) = self.accepting.take() {
            let _ = accepting.join();
        }
    }
}

impl Shared {
    fn accept(self: &Arc<Self>, listener: &TcpListener) {
        while let Ok((child, _)) = listener.accept() {
            if self.closed.load(Ordering::SeqCst) {
                return;
            }
            if self.cut.load(Ordering::SeqCst) {
                continue;
            }
            let Ok(parent) = TcpStream::connect_timeout(&self.target, DIAL_LIMIT) else { continue };
            // A connection that cannot be relayed is dropped, as a bad line would.
            let _ = self.relay(child, parent);
        }
    }

    fn relay(self: &Arc<Self>, child: TcpStream, parent: TcpStream) -> std::io::Result<()> {
        child.set_nodelay(true)?;
        parent.set_nodelay(true)?;
        let both = [child.try_clone()?, parent.try_clone()?];
        let (child_out, parent_out) = (child.try_clone()?, parent.try_clone()?);
        {
            let mut open = self.open();
            if self.cut.load(Ordering::SeqCst) {
                return Ok(());
            }
            open.extend(both);
        }
        let (down, up) = (Arc::clone(self), Arc::clone(self));
        thread::spawn(move || down.carry(parent, child_out, true));
        thread::spawn(move || up.carry(child, parent_out, false));
        Ok(())
    }

    fn carry(&self, mut from: TcpStream, mut to: TcpStream, down: bool) {
        let mut buffer = [0; BUFFER];
        while let Ok(length @ 1..) = from.read(&mut buffer) {
            let bytes = &buffer[..length];
            if down {
                self.wait_for_turn(length);
            }
            if self.cut.load(Ordering::SeqCst) || to.write_all(bytes).is_err() {
                break;
            }
            let count = if down { &self.down } else { &self.up };
            count.fetch_add(length as u64, Ordering::SeqCst);
        }
        let _ = from.shutdown(Shutdown::Both);
        let _ = to.shutdown(Shutdown::Both);
        self.forget_ended();
    }

    /// Holds bytes back until the rate allows them; looks again often, so that a changed rate or a cut bites at once.
    fn wait_for_turn(&self, length: usize) {
        let began = Instant::now();
        loop {
            let rate = self.rate.load(Ordering::SeqCst);
            if rate == 0 || self.cut.load(Ordering::SeqCst) || self.closed.load(Ordering::SeqCst) {
                return;
            }
            let cost = Duration::from_secs_f64(length as f64 / rate as f64);
            let mut next = self.next.lock().unwrap_or_else(PoisonError::into_inner);
            let now = Instant::now();
            if *next <= now || now.duration_since(began) > cost * 4 {
                *next = now.max(*next) + cost;
                return;
            }
            let wait = next.duration_since(now).min(Duration::from_millis(20));
            drop(next);
            thread::sleep(wait);
        }
    }

    fn break_all(&self) {
        for stream in self.open().drain(..) {
            let _ = stream.shutdown(Shutdown::Both);
        }
    }

    fn forget_ended(&self) {
        self.open().retain(|stream| stream.peer_addr().is_ok());
    }

    fn open(&self) -> MutexGuard<'_, Vec<TcpStream>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::free_port;

    /// Answers each connection with `length` bytes.
    fn source(length: usize) -> u16 {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a socket");
        let port = listener.local_addr().expect("an address").port();
        thread::spawn(move || {
            while let Ok((mut stream, _)) = listener.accept() {
                thread::spawn(move || stream.write_all(&vec![7; length]));
            }
        });
        port
    }

    fn line_to(target: u16) -> Line {
        Line::start(free_port().expect("a port"), target).expect("a line")
    }

    #[test]
    fn a_line_carries_everything_and_counts_it() {
        let line = line_to(source(300_000));

        let mut got = Vec::new();
        let mut stream = TcpStream::connect(("127.0.0.1", line.port())).expect("connected");
        stream.read_to_end(&mut got).expect("read");

        assert_eq!(got, vec![7; 300_000]);
        assert_eq!(line.bytes(), LineBytes { down: 300_000, up: 0 });
    }

    #[test]
    fn a_cut_line_breaks_what_is_open_and_refuses_what_is_new() {
        let line = line_to(source(50_000_000));
        line.limit(200_000);
        let mut stream = TcpStream::connect(("127.0.0.1", line.port())).expect("connected");
        stream.read_exact(&mut [0; 1000]).expect("some bytes");

        line.cut();

        let mut rest = Vec::new();
        let _ = stream.read_to_end(&mut rest);
        assert!(rest.len() < 1_000_000, "{}", rest.len());
        let mut refused = TcpStream::connect(("127.0.0.1", line.port())).expect("the port is still ours");
        assert!(!matches!(refused.read(&mut [0; 1]), Ok(1)));
        line.restore();
        let mut again = TcpStream::connect(("127.0.0.1", line.port())).expect("connected");
        again.read_exact(&mut [0; 1000]).expect("bytes again");
    }

    #[test]
    fn a_limited_line_is_as_slow_as_it_should_be() {
        let line = line_to(source(200_000));
        line.limit(400_000);
        let began = Instant::now();

        let mut stream = TcpStream::connect(("127.0.0.1", line.port())).expect("connected");
        stream.read_to_end(&mut Vec::new()).expect("read");

        let took = began.elapsed();
        assert!((Duration::from_millis(350)..Duration::from_secs(3)).contains(&took), "{took:?}");
    }
}
