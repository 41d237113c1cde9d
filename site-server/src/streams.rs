//! The long gRPC streams that are open now: who is at the other end, and what went over the connection since.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use futures::{Stream, StreamExt as _};
use packhorse_domain::Timestamp;
use packhorse_runtime::{ConnectionInfo, Wire};
use packhorse_trust::Name;
use tonic::Request;

/// What a stream is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum StreamKind {
    Link,
    Lane,
    CapFeed,
    CourierVolume,
    Watch,
    SupportBundle,
}

/// Those of a site. Clones are the same.
#[derive(Debug, Clone, Default)]
pub(crate) struct Streams(Arc<Mutex<Table>>);

#[derive(Debug, Default)]
struct Table {
    next: u64,
    open: BTreeMap<u64, Opened>,
}

#[derive(Debug, Clone)]
struct Opened {
    kind: StreamKind,
    peer: String,
    since: Timestamp,
    wire: Arc<Wire>,
    sent_before: u64,
    received_before: u64,
}

/// A stream as it is now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct OpenStream {
    pub(crate) kind: StreamKind,
    /// ROLE ID.
    pub(crate) peer: String,
    pub(crate) since: Timestamp,
    /// Of its connection, since it opened.
    pub(crate) sent: u64,
    pub(crate) received: u64,
}

/// Held as long as the stream is open.
#[derive(Debug)]
pub(crate) struct StreamGuard {
    streams: Streams,
    number: u64,
}

impl Streams {
    pub(crate) fn open(&self, kind: StreamKind, peer: &Name, wire: Arc<Wire>, now: Timestamp) -> StreamGuard {
        let opened = Opened {
            kind,
            peer: format!("{} {}", peer.role, peer.id),
            since: now,
            sent_before: wire.sent(),
            received_before: wire.received(),
            wire,
        };
        let mut table = self.table();
        let number = table.next;
        table.next += 1;
        table.open.insert(number, opened);
        StreamGuard { streams: self.clone(), number }
    }

    /// The oldest first.
    pub(crate) fn list(&self) -> Vec<OpenStream> {
        let opened: Vec<Opened> = self.table().open.values().cloned().collect();
        opened.into_iter().map(Opened::now).collect()
    }

    fn table(&self) -> MutexGuard<'_, Table> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Opened {
    fn now(self) -> OpenStream {
        OpenStream {
            sent: self.wire.sent().saturating_sub(self.sent_before),
            received: self.wire.received().saturating_sub(self.received_before),
            kind: self.kind,
            peer: self.peer,
            since: self.since,
        }
    }
}

impl StreamGuard {
    /// The same stream of answers, which counts as open until the caller has it all or has gone.
    pub(crate) fn over<S: Stream>(self, answers: S) -> impl Stream<Item = S::Item> {
        answers.map(move |answer| {
            let _held = &self;
            answer
        })
    }
}

impl Drop for StreamGuard {
    fn drop(&mut self) {
        self.streams.table().open.remove(&self.number);
    }
}

/// What counts the bytes of a call's connection.
pub(crate) fn wire_of<T>(request: &Request<T>) -> Arc<Wire> {
    request.extensions().get::<ConnectionInfo>().map(|info| info.counter.clone()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use packhorse_trust::Role;

    use super::*;

    #[tokio::test]
    async fn a_stream_is_open_until_its_answers_are_gone() {
        let streams = Streams::default();
        let peer = Name::new("CEN".parse().unwrap(), Role::Cap, "cap1").unwrap();
        let first = streams.open(StreamKind::CapFeed, &peer, Arc::default(), Timestamp(1));
        let second = streams.open(StreamKind::Watch, &peer, Arc::default(), Timestamp(2));
        let answers = first.over(futures::stream::iter([1, 2]));

        let kinds = || streams.list().iter().map(|one| one.kind).collect::<Vec<_>>();
        assert_eq!(kinds(), [StreamKind::CapFeed, StreamKind::Watch]);
        assert_eq!(streams.list()[0].peer, "cap cap1");
        assert_eq!(answers.collect::<Vec<i32>>().await, [1, 2]);
        assert_eq!(kinds(), [StreamKind::Watch]);
        drop(second);
        assert_eq!(kinds(), []);
    }
}
