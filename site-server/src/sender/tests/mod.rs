//! The link between real sites: over channels where frames are counted and cut, and over TLS.

mod apply;
mod backup;
mod courier;
mod hostile;
mod kill;
pub(super) mod lanes;
mod link;
mod parent;
mod peer;
mod queue;
mod relay;
mod repair;
mod retry;
mod room;
mod skew;

use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use packhorse_domain::link::{Frame, ItemId};
use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;

use super::{
    inbound::{Arrived, Inbound},
    lines,
    session::{OUTBOUND_FRAMES_MAX, Session},
};
use crate::{store::neighbours::Relation, testing::Node};

/// A line between a parent and a child.
pub(crate) struct Line {
    /// Data frames that went down: offset and length.
    pub(super) data: Arc<Mutex<Vec<(u64, u64)>>>,
    /// The item of each of them.
    pub(super) items: Arc<Mutex<Vec<ItemId>>>,
    /// How long it rests after each of them; none: it stands still before the next.
    rest: watch::Sender<Option<Duration>>,
    /// Comparisons and listings, both ways.
    pub(super) compared: Arc<Mutex<Vec<Frame>>>,
    cut: CancellationToken,
}

impl Line {
    /// Joins the two until the line is dropped.
    pub(crate) fn new(parent: &Node, child: &Node) -> Line {
        Line::with(parent, child, u64::MAX)
    }

    /// As [`Line::new`], but it rests after each frame of data, until it is told to hurry.
    pub(super) fn slow(parent: &Node, child: &Node) -> Line {
        Line::made(parent, child, u64::MAX, Duration::from_millis(20))
    }

    pub(super) fn hurry(&self) {
        self.rest.send_replace(Some(Duration::ZERO));
    }

    /// No data goes down any more, until it is told to hurry.
    pub(super) fn stand_still(&self) {
        self.rest.send_replace(None);
    }

    /// As [`Line::new`], but it is cut after so many bytes of data.
    pub(super) fn with(parent: &Node, child: &Node, bytes_max: u64) -> Line {
        Line::made(parent, child, bytes_max, Duration::ZERO)
    }

    fn made(parent: &Node, child: &Node, bytes_max: u64, rest: Duration) -> Line {
        let line = Line {
            data: Arc::default(),
            items: Arc::default(),
            compared: Arc::default(),
            rest: watch::Sender::new(Some(rest)),
            cut: CancellationToken::new(),
        };
        let (from_parent, to_child) = line.way(parent, bytes_max);
        let (from_child, to_parent) = line.way(child, u64::MAX);
        for (node, peer, relation, outbound, inbound) in [
            (parent, child, Relation::Child, from_parent, to_parent),
            (child, parent, Relation::Parent, from_child, to_child),
        ] {
            let line = lines::Line { counter: Arc::default(), inbound, outbound };
            let peer = peer.code().clone();
            let session = Session::new(node.site.clone(), peer, relation, &node.wakers, &line);
            let stop = node.lifecycle.stopping();
            node.lifecycle.spawn_finite("link", async move { session.run(line, stop).await });
        }
        line
    }

    fn way(&self, node: &Node, bytes_max: u64) -> (mpsc::Sender<Frame>, Inbound) {
        let (outbound, mut frames) = mpsc::channel::<Frame>(OUTBOUND_FRAMES_MAX);
        let (sender, inbound) = mpsc::channel::<Arrived>(64);
        let (cut, data, sent) = (self.cut.clone(), self.data.clone(), AtomicU64::new(0));
        let (items, mut rest) = (self.items.clone(), self.rest.subscribe());
        let compared = self.compared.clone();
        node.lifecycle.spawn_finite("line", async move {
            while let Some(Some(frame)) = cut.run_until_cancelled(frames.recv()).await {
                if let Frame::Data { item, offset, bytes } = &frame {
                    let Ok(rest) = rest.wait_for(Option::is_some).await.map(|rest| rest.unwrap_or_default())
                    else {
                        return;
                    };
                    let length = bytes.len() as u64;
                    if sent.fetch_add(length, Ordering::SeqCst) + length > bytes_max {
                        return cut.cancel();
                    }
                    items.lock().unwrap().push(*item);
                    data.lock().unwrap().push((*offset, length));
                    if !rest.is_zero() {
                        tokio::time::sleep(rest).await;
                    }
                }
                if matches!(frame, Frame::Compare(_) | Frame::Listing(_)) {
                    compared.lock().unwrap().push(frame.clone());
                }
                if sender.send(Ok(frame).into()).await.is_err() {
                    return;
                }
            }
        });
        (outbound, inbound)
    }

    pub(crate) fn data_bytes(&self) -> u64 {
        self.data.lock().unwrap().iter().map(|(_, length)| length).sum()
    }

    pub(super) async fn is_cut(&self) {
        self.cut.cancelled().await;
    }
}

impl Drop for Line {
    fn drop(&mut self) {
        self.cut.cancel();
    }
}
