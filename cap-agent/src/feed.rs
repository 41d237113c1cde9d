//! Keeps the site's feed of instruction files open, and stores what comes before it says so.
//!
//! While the site is away the agent serves clients from what it holds; this task only tries again.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use packhorse_domain::{
    instruction::FileName,
    object::{BODY_LENGTH_MAX, ID_LENGTH_MAX},
};
use packhorse_proto::{
    cap::v1::{
        CapFile, FeedHello, FeedRequest, FeedResponse, FeedStored, cap_service_client::CapServiceClient,
        feed_request::Body,
    },
    object::v1 as wire,
};
use packhorse_runtime::{Clock, Waker, error_chain, telemetry::within};
use prost::Message as _;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::CancellationToken;
use tracing::Span;

use crate::{
    backoff::Backoff,
    blocking::off_thread,
    presence::Presence,
    site::{Site, SiteError},
    store::{Batch, FeedPosition, Store, StoreError},
};

const FILES_MAX: usize = 256;
/// A batch is measured before its last file is added: a mebibyte, and then a file of a mebibyte.
const BATCH_BYTES_MAX: usize = 2 * 1024 * 1024;
const MESSAGE_BYTES_MAX: usize = BATCH_BYTES_MAX + 256 * 1024;
const FEED_LENGTH_MAX: usize = 64;
/// The longest name is `content/POINT/PACKAGE`.
const NAME_LENGTH_MAX: usize = ID_LENGTH_MAX;

/// The task that follows the feed.
#[derive(Debug)]
pub(crate) struct Feed {
    pub(crate) store: Arc<Store>,
    pub(crate) site: Arc<Site>,
    pub(crate) presence: Arc<Presence>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) hello: Hello,
    pub(crate) news: News,
}

/// What the agent tells of itself.
#[derive(Debug, Clone)]
pub(crate) struct Hello {
    pub(crate) endpoints: Vec<String>,
    pub(crate) distribution_point: bool,
}

/// Whom to tell that the site is there, or that files changed.
#[derive(Debug, Clone, Default)]
pub(crate) struct News {
    sessions: Arc<AtomicU64>,
    is_open: Arc<AtomicBool>,
    pub(crate) reports: Waker,
    pub(crate) point: Waker,
}

#[derive(Debug, thiserror::Error)]
pub(crate) enum FeedError {
    #[error("cannot reach the site")]
    Site(#[source] SiteError),
    #[error("the site refuses the feed")]
    Refused(#[source] tonic::Status),
    #[error("the feed broke")]
    Broken(#[source] tonic::Status),
    #[error("the site ended the feed")]
    Ended,
    #[error("the site sent a batch that breaks the rules of the feed: {0}")]
    Rule(&'static str),
    #[error("cannot store what the feed brought")]
    Store(#[source] StoreError),
}

impl News {
    /// How often the feed has been opened.
    pub(crate) fn sessions(&self) -> u64 {
        self.sessions.load(Ordering::Acquire)
    }

    /// Whether the site is there now.
    pub(crate) fn is_open(&self) -> bool {
        self.is_open.load(Ordering::Relaxed)
    }

    fn opened(&self) {
        self.is_open.store(true, Ordering::Relaxed);
        self.sessions.fetch_add(1, Ordering::AcqRel);
        self.reports.wake();
        self.point.wake();
    }
}

impl Feed {
    /// Follows the feed until it is told to stop.
    pub(crate) async fn follow(self, stop: CancellationToken) {
        let mut backoff = Backoff::new(Duration::from_millis(500), Duration::from_secs(30));
        loop {
            let ended = tokio::select! {
                () = stop.cancelled() => return,
                ended = self.session(&mut backoff) => ended,
            };
            let pause = backoff.next();
            let pause_ms = u64::try_from(pause.as_millis()).unwrap_or(u64::MAX);
            tracing::warn!(
                error = error_chain(&ended),
                pause_ms,
                "the feed is down; clients are served from disk"
            );
            tokio::select! {
                () = stop.cancelled() => return,
                () = tokio::time::sleep(pause) => {}
            }
        }
    }

    /// One call, to its end.
    async fn session(&self, backoff: &mut Backoff) -> FeedError {
        let ended = self.exchange(backoff).await.err().unwrap_or(FeedError::Ended);
        self.news.is_open.store(false, Ordering::Relaxed);
        ended
    }

    async fn exchange(&self, backoff: &mut Backoff) -> Result<(), FeedError> {
        let channel = self.site.connect().await.map_err(FeedError::Site)?;
        let mut client = CapServiceClient::new(channel).max_decoding_message_size(MESSAGE_BYTES_MAX);
        // One answer is under way at a time: the next batch is taken when this one is stored.
        let (answers, requests) = mpsc::channel(2);
        let position = self.store.position();
        let hello = self.hello.at(&position);
        answers.send(said(Body::Hello(hello))).await.map_err(|_| FeedError::Ended)?;
        let mut batches =
            client.feed(ReceiverStream::new(requests)).await.map_err(FeedError::Refused)?.into_inner();
        tracing::info!(cursor = position.cursor, "the feed is open");
        self.news.opened();

        while let Some(response) = batches.message().await.map_err(FeedError::Broken)? {
            if let Some(inquiry) = response.inquiry {
                let presence = Body::Presence(self.presence.answer(inquiry, self.clock.now()));
                answers.send(said(presence)).await.map_err(|_| FeedError::Ended)?;
                continue;
            }
            let cursor = self.take(response).await?;
            backoff.reset();
            answers.send(said(Body::Stored(FeedStored { cursor }))).await.map_err(|_| FeedError::Ended)?;
        }
        Ok(())
    }

    /// Stores a batch and returns the cursor that is now durable.
    async fn take(&self, response: FeedResponse) -> Result<u64, FeedError> {
        let batch = check(response, &self.store.position())?;
        let _spans: Vec<Span> = batch.files.iter().map(span).collect();
        let (cursor, files, restart) = (batch.position.cursor, batch.files.len(), batch.restart);
        let store = self.store.clone();
        off_thread(move || store.apply(&batch)).await.map_err(FeedError::Store)?;
        tracing::debug!(cursor, files, restart, "stored a batch of the feed");
        self.news.point.wake();
        Ok(cursor)
    }
}

impl Hello {
    fn at(&self, position: &FeedPosition) -> FeedHello {
        FeedHello {
            cursor: position.cursor,
            feed: position.feed.clone().into(),
            endpoints: self.endpoints.clone(),
            distribution_point: self.distribution_point,
            software: env!("CARGO_PKG_VERSION").to_owned(),
            answers_inquiries: true,
        }
    }
}

/// The span of storing a file, within the trace of the advertisement that it offers; of other files none.
fn span(file: &CapFile) -> Span {
    match FileName::parse(&file.name) {
        Some(FileName::Offer(advertisement)) if !file.deleted => within(
            &traceparent(&file.content),
            || tracing::info_span!(target: "feed", "store", advertisement),
        ),
        _ => Span::none(),
    }
}

/// Where a signed object came from. It is for people: nothing is believed for it, and what does not decode has none.
fn traceparent(content: &[u8]) -> String {
    let signed = wire::Signed::decode(content).unwrap_or_default();
    let object = wire::Object::decode(signed.payload.as_ref()).unwrap_or_default();
    object.traceparent
}

fn said(body: Body) -> FeedRequest {
    FeedRequest { body: Some(body) }
}

/// Holds a batch against the rules of the feed, before any of it is stored.
fn check(response: FeedResponse, held: &FeedPosition) -> Result<Batch, FeedError> {
    let rule = |holds: bool, text: &'static str| if holds { Ok(()) } else { Err(FeedError::Rule(text)) };
    rule(response.feed.len() <= FEED_LENGTH_MAX, "the name of a feed has at most 64 bytes")?;
    rule(response.files.len() <= FILES_MAX, "a batch has at most 256 files")?;
    let bytes: usize = response.files.iter().map(|file| file.content.len()).sum();
    rule(bytes <= BATCH_BYTES_MAX, "a batch has at most 1 MiB")?;
    for file in &response.files {
        let named = !file.name.is_empty() && file.name.len() <= NAME_LENGTH_MAX;
        rule(
            named && !file.name.chars().any(char::is_control),
            "a file has a name of 1 to 128 printable bytes",
        )?;
        rule(file.content.len() <= BODY_LENGTH_MAX, "a file has at most 1 MiB")?;
    }
    if !response.restart {
        let same = held.feed.is_empty() || response.feed == held.feed;
        rule(same, "another feed begins with a restart")?;
        rule(response.cursor >= held.cursor, "the cursor goes back without a restart")?;
    }
    let position = FeedPosition { feed: response.feed.to_vec(), cursor: response.cursor };
    Ok(Batch { restart: response.restart, files: response.files, position })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn held() -> FeedPosition {
        FeedPosition { feed: b"one".to_vec(), cursor: 5 }
    }

    fn response(feed: &'static str, cursor: u64) -> FeedResponse {
        FeedResponse { feed: feed.into(), cursor, ..FeedResponse::default() }
    }

    fn file(name: &str, length: usize) -> CapFile {
        CapFile { name: name.to_owned(), content: vec![0; length].into(), deleted: false }
    }

    #[test]
    fn another_feed_and_an_older_cursor_come_only_with_a_restart() {
        assert!(check(response("one", 5), &held()).is_ok());
        assert!(check(response("two", 6), &held()).is_err());
        assert!(check(response("one", 4), &held()).is_err());

        let batch = check(FeedResponse { restart: true, ..response("two", 1) }, &held()).expect("a restart");

        assert_eq!(batch.position, FeedPosition { feed: b"two".to_vec(), cursor: 1 });
    }

    #[test]
    fn the_first_feed_needs_no_restart() {
        assert!(check(response("one", 0), &FeedPosition::default()).is_ok());
    }

    #[test]
    fn a_batch_beyond_the_limits_is_refused_whole() {
        let mebibyte = 1024 * 1024;
        let cases: [Vec<CapFile>; 5] = [
            vec![file("trust", mebibyte + 1)],
            vec![file("a", mebibyte), file("b", mebibyte), file("c", 1)],
            (0..257).map(|number| file(&format!("offer/{number}"), 0)).collect(),
            vec![file("", 1)],
            vec![file(&"n".repeat(129), 1)],
        ];
        for files in cases {
            assert!(check(FeedResponse { files, ..response("one", 6) }, &held()).is_err());
        }
        assert!(
            check(FeedResponse { files: vec![file("trust", mebibyte)], ..response("one", 6) }, &held())
                .is_ok()
        );
    }
}
