//! The same over and over, as often as a caller wants it.

use std::time::Duration;

use futures::Stream;
use packhorse_proto::{
    convert::time::length,
    provider::v1::{ListQueuesRequest, WatchRequest, WatchResponse},
};
use tokio::sync::{OwnedSemaphorePermit, mpsc};
use tokio_stream::wrappers::ReceiverStream;
use tonic::Status;

use super::Inspected;
use crate::{error::Error, provider::invalid};

const INTERVAL_DEFAULT: Duration = Duration::from_secs(1);
const INTERVALS: std::ops::RangeInclusive<Duration> = Duration::from_millis(100)..=Duration::from_secs(60);

/// What is looked at, and how often.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Asked {
    interval: Duration,
    queues: ListQueuesRequest,
}

impl Asked {
    pub(super) fn decode(asked: &WatchRequest) -> Result<Asked, Error> {
        let bad = || invalid("interval", "0.1s to 60s are expected");
        let interval = match &asked.interval {
            None => INTERVAL_DEFAULT,
            Some(given) => length(given).filter(|given| INTERVALS.contains(given)).ok_or_else(bad)?,
        };
        let queues = ListQueuesRequest { peer: asked.peer.clone(), items_max: asked.items_max, all: false };
        Ok(Asked { interval, queues })
    }
}

pub(super) async fn look(view: &Inspected, asked: &Asked) -> Result<WatchResponse, Error> {
    let workers = view.workers();
    Ok(WatchResponse {
        at: workers.at,
        workers: workers.workers,
        links: view.links(&asked.queues.peer).await?.links,
        queues: view.queues(&asked.queues).await?.queues,
    })
}

/// Goes on until the caller has gone or the server stops.
pub(super) fn follow(
    view: Inspected,
    asked: Asked,
    first: WatchResponse,
    permit: OwnedSemaphorePermit,
) -> impl Stream<Item = Result<WatchResponse, Status>> + Send {
    // One that reads slowly gets fewer and no older ones.
    let (answers, heard) = mpsc::channel(1);
    let stop = view.lifecycle.stopping();
    let lifecycle = view.lifecycle.clone();
    lifecycle.spawn_finite("watch", async move {
        let _permit = permit;
        let mut next = Ok(first);
        loop {
            let ends = next.is_err();
            if answers.send(next).await.is_err() || ends {
                return;
            }
            tokio::select! {
                () = stop.cancelled() => return,
                () = answers.closed() => return,
                () = tokio::time::sleep(asked.interval) => {}
            }
            next = look(&view, &asked).await.map_err(Status::from);
        }
    });
    ReceiverStream::new(heard)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn intervals_are_bounded() {
        let asked = |seconds, nanos| {
            let interval = Some(prost_types::Duration { seconds, nanos });
            Asked::decode(&WatchRequest { interval, ..WatchRequest::default() }).map(|asked| asked.interval)
        };

        for (seconds, nanos) in [(0, 100_000_000), (1, 0), (60, 0)] {
            let given = Duration::new(seconds as u64, nanos as u32);
            assert_eq!(asked(seconds, nanos).expect("good"), given);
        }
        for (seconds, nanos) in [(0, 99_999_999), (60, 1), (-1, 0), (0, -5), (i64::MAX, 0)] {
            assert!(matches!(asked(seconds, nanos), Err(Error::Invalid(_))), "{seconds} {nanos}");
        }
        assert_eq!(Asked::decode(&WatchRequest::default()).expect("good").interval, INTERVAL_DEFAULT);
    }
}
