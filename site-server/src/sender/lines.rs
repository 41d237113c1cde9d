//! The connections of one link: the main line, and lanes for the bytes of bundles.

use std::{future::poll_fn, sync::Arc, task::Poll, time::Duration};

use futures::future::{FutureExt as _, select_all};
use packhorse_domain::link::{Frame, Gauges};
use packhorse_runtime::Wire;
use tokio::sync::mpsc::{self, error::TrySendError};

use crate::sender::{
    gate::Gate,
    inbound::{Arrived, Inbound},
};

/// Why nothing more is handed to a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Pause {
    /// The protocol has nothing that may leave now.
    Idle,
    /// The connection still holds the last frame.
    Gate,
    /// The stream has not taken the last frame.
    Stream,
}

/// A connection as it comes from the wire.
#[derive(Debug)]
pub(crate) struct Line {
    pub(super) counter: Arc<Wire>,
    pub(super) inbound: Inbound,
    pub(super) outbound: mpsc::Sender<Frame>,
}

/// All connections of a link; the first one is the main line.
pub(super) struct Lines {
    pub(super) ins: Ins,
    pub(super) outs: Outs,
}

/// What comes.
pub(super) struct Ins {
    lines: Vec<Inbound>,
    /// Which is asked first, so that none is always last.
    first: usize,
}

/// What goes.
pub(super) struct Outs {
    lines: Vec<Out>,
    turn: usize,
}

/// The way out over one connection.
pub(super) struct Out {
    outbound: mpsc::Sender<Frame>,
    pub(super) gate: Gate,
    pause: Pause,
}

/// Something came, or a connection ended.
pub(super) enum Came {
    Frame { on_lane: bool, arrived: Arrived },
    End { on_lane: bool },
}

impl Lines {
    pub(super) fn new(main: Line) -> Self {
        let mut lines =
            Lines { ins: Ins { lines: Vec::new(), first: 0 }, outs: Outs { lines: Vec::new(), turn: 0 } };
        lines.add(main);
        lines
    }

    /// The main line alone, unless it has ended.
    pub(super) fn into_main(self) -> Option<(Inbound, mpsc::Sender<Frame>, Gate)> {
        let main = self.outs.lines.into_iter().next()?;
        Some((self.ins.lines.into_iter().next()?, main.outbound, main.gate))
    }

    pub(super) fn add(&mut self, line: Line) {
        self.ins.lines.push(line.inbound);
        let gate = Gate::new(line.counter);
        self.outs.lines.push(Out { outbound: line.outbound, gate, pause: Pause::Idle });
    }
}

impl Ins {
    /// The next thing that comes, on whichever line.
    pub(super) async fn next(&mut self) -> Came {
        poll_fn(|context| {
            let count = self.lines.len();
            for nth in (0..count).map(|nth| (nth + self.first) % count) {
                if let Poll::Ready(arrived) = self.lines[nth].poll_recv(context) {
                    self.first = nth + 1;
                    return Poll::Ready(came(nth, arrived));
                }
            }
            Poll::Pending
        })
        .await
    }

    /// What has come already.
    pub(super) fn try_next(&mut self) -> Option<Came> {
        self.next().now_or_never()
    }

    /// What still comes after the end of one line, until all have ended.
    pub(super) async fn rest(&mut self) -> Option<Came> {
        while !self.lines.is_empty() {
            match self.next().await {
                Came::End { .. } => self.lines.retain(|line| !line.is_closed() || !line.is_empty()),
                came => return Some(came),
            }
        }
        None
    }
}

fn came(nth: usize, arrived: Option<Arrived>) -> Came {
    let on_lane = nth > 0;
    match arrived {
        Some(arrived) => Came::Frame { on_lane, arrived },
        None => Came::End { on_lane },
    }
}

impl Outs {
    pub(super) fn main(&mut self) -> &mut Out {
        self.lines.first_mut().expect("a link has a main line")
    }

    pub(super) fn lane(&mut self, nth: usize) -> &mut Out {
        &mut self.lines[nth + 1]
    }

    /// The lane whose turn it is.
    pub(super) fn turn(&mut self) -> usize {
        self.turn = (self.turn + 1) % self.lanes().max(1);
        self.turn
    }

    pub(super) fn lanes(&self) -> usize {
        self.lines.len() - 1
    }

    /// Whether a lane is one on which each frame travels for itself.
    pub(super) fn has_quic(&self) -> bool {
        self.lines.iter().any(|out| out.gate.wire().is_quic())
    }

    /// Nothing more leaves the main line until something happens.
    pub(super) fn is_idle(&self) -> bool {
        self.lines.first().is_some_and(|main| main.pause == Pause::Idle)
    }

    /// Whether a connection may take more, once one does; `false`: it has ended. Never, while none is busy.
    pub(super) async fn can_take(&self) -> bool {
        let waits: Vec<_> = self.lines.iter().filter_map(Out::waits).collect();
        if waits.is_empty() { std::future::pending().await } else { select_all(waits).await.0 }
    }

    /// Bytes that the connections have carried in both directions.
    pub(super) fn bytes(&self) -> u64 {
        self.lines.iter().map(|out| out.gate.wire().sent() + out.gate.wire().received()).sum()
    }

    /// All that the connections have carried to the peer, if none of them holds anything back.
    pub(super) fn carried(&mut self) -> Option<u64> {
        self.lines.iter_mut().map(|out| out.gate.carried()).sum()
    }

    /// About one round trip, as the first connection was made.
    pub(super) fn trip(&self) -> Duration {
        let main = self.lines.first().and_then(|main| main.gate.wire().dialled());
        main.map_or(Duration::ZERO, |dialled| dialled.within)
    }

    /// What the lanes carry is shared among them.
    pub(super) fn adjust(&mut self, gauges: &Gauges) {
        let lanes = self.lanes().max(1) as u64;
        let of_lane = Gauges { bytes_per_second: gauges.bytes_per_second / lanes, ..*gauges };
        for (nth, out) in self.lines.iter_mut().enumerate() {
            out.gate.adjust(if nth == 0 { gauges } else { &of_lane });
        }
    }
}

impl Out {
    /// Whether the connection can take a frame at once.
    pub(super) fn has_room(&mut self) -> bool {
        self.pause = match self.outbound.try_reserve() {
            _ if !self.gate.is_open() => Pause::Gate,
            Ok(_) => return true,
            Err(TrySendError::Full(())) => Pause::Stream,
            // Its end comes in.
            Err(TrySendError::Closed(())) => Pause::Idle,
        };
        false
    }

    /// The protocol had nothing for it.
    pub(super) fn rests(&mut self) {
        self.pause = Pause::Idle;
    }

    /// Hands over a frame for which there [was room](Out::has_room).
    pub(super) fn hand(&mut self, frame: Frame) {
        self.gate.handed(frame.bytes());
        // There was room, or it has ended, which comes in.
        drop(self.outbound.try_send(frame));
    }

    fn waits(&self) -> Option<futures::future::BoxFuture<'_, bool>> {
        match self.pause {
            Pause::Idle => None,
            Pause::Gate => Some(self.gate.moved().map(|()| true).boxed()),
            Pause::Stream => Some(self.outbound.reserve().map(|permit| permit.is_ok()).boxed()),
        }
    }
}
