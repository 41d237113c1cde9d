//! One CAP's feed: its files from its cursor on, then each change.

use std::{sync::Arc, time::Duration};

use packhorse_domain::{
    distribution::PointKind, id::PointName, instruction::FileName, object::ObjectKind, status::PointFact,
};
use packhorse_proto::{
    cap::v1::{CapFile, FeedHello, FeedRequest, FeedResponse, feed_request::Body as FeedBody},
    object::v1 as wire,
};
use tokio::sync::mpsc;
use tokio_stream::{StreamExt as _, wrappers::ReceiverStream};
use tonic::{Status, Streaming};

use crate::{
    error::Error,
    inbox::InboxManager,
    record::{self, Body},
    site::Site,
    store::{
        caps::{self, CapRow},
        points::{self, PointRow},
    },
    streams::StreamGuard,
    trace,
};

const HELLO_TIMEOUT: Duration = Duration::from_secs(10);
const FILES_MAX: usize = 256;
const BATCH_BYTES_MAX: usize = 1024 * 1024;
/// A change that nobody told us of is sent after this time.
const LOOK_AGAIN: Duration = Duration::from_secs(5);
/// Often enough that a CAP with nothing to do does not count as gone.
const NOTE_PRESENCE: Duration = Duration::from_secs(20);

pub(super) async fn serve(
    inbox: &InboxManager,
    (cap, open): (PointName, StreamGuard),
    mut requests: Streaming<FeedRequest>,
) -> Result<ReceiverStream<Result<FeedResponse, Status>>, Status> {
    let first = tokio::time::timeout(HELLO_TIMEOUT, requests.next())
        .await
        .map_err(|_| Status::deadline_exceeded("no hello within 10 s"))?
        .ok_or_else(|| Status::invalid_argument("the feed begins with a hello"))??;
    let Some(FeedBody::Hello(hello)) = first.body else {
        return Err(Status::invalid_argument("the feed begins with a hello"));
    };
    // A cursor ahead of us was given by a database that we do not have any more.
    let newest = newest(&inbox.site).await?;
    let restart = hello.cursor != 0 && (hello.feed[..] != inbox.site.epoch || hello.cursor > newest);
    let cursor = if restart { 0 } else { hello.cursor };
    meet(&inbox.site, &cap, cursor, &hello).await?;

    let (sender, responses) = mpsc::channel(4);
    let mut woken = inbox.wakers.feed.subscribe();
    let mut asked = inbox.site.cap_inquiries.opened(cap.clone(), hello.answers_inquiries);
    let (site, stop) = (inbox.site.clone(), inbox.lifecycle.stopping());
    let sends = {
        let (site, cap, stop) = (site.clone(), cap.clone(), stop.clone());
        async move {
            let mut cursor = cursor;
            let mut restart = restart;
            loop {
                while let Some(batch) = next_batch(&site, &cap, cursor, restart).await? {
                    (cursor, restart) = (batch.cursor, false);
                    if sender.send(Ok(batch)).await.is_err() {
                        return Ok::<(), Error>(());
                    }
                }
                tokio::select! {
                    () = stop.cancelled() => return Ok(()),
                    () = sender.closed() => return Ok(()),
                    _ = woken.changed() => {}
                    Some(inquiry) = asked.recv() => {
                        let feed = site.epoch.clone().into();
                        let asks = FeedResponse { feed, cursor, inquiry: Some(inquiry), ..FeedResponse::default() };
                        if sender.send(Ok(asks)).await.is_err() {
                            return Ok(());
                        }
                    }
                    () = tokio::time::sleep(LOOK_AGAIN) => {}
                }
            }
        }
    };
    inbox.lifecycle.spawn_finite("cap-feed", async move {
        let _open = open;
        let result = tokio::select! {
            result = sends => result,
            result = follow(site, &cap, cursor, requests) => result,
            () = stop.cancelled() => Ok(()),
        };
        if let Err(error) = result {
            let error = packhorse_runtime::error_chain(&error);
            tracing::warn!(target: "inbox-manager", cap = %cap, error, "a feed ended");
        }
    });
    Ok(ReceiverStream::new(responses))
}

/// Notes who is there, and makes it a distribution point if it is one.
async fn meet(site: &Site, cap: &PointName, cursor: u64, hello: &FeedHello) -> Result<(), Error> {
    if hello.endpoints.is_empty()
        || hello.endpoints.len() > 8
        || hello.endpoints.iter().any(|one| one.len() > 300)
    {
        return Err(Error::Invalid("endpoints: 1 to 8 of at most 300 bytes are expected".to_owned()));
    }
    let mut tx = site.store.begin().await?;
    let row = CapRow { name: cap.clone(), cursor, endpoints: hello.endpoints.clone(), seen_at: site.now() };
    caps::put(&mut tx, &row).await?;
    let id = format!("{}/{cap}", site.code());
    let is_directory = points::list(&mut tx)
        .await?
        .iter()
        .any(|point| point.name == *cap && point.kind == PointKind::Directory);
    if hello.distribution_point && !is_directory {
        let location = hello.endpoints.join("\n");
        points::put(
            &mut tx,
            &PointRow { name: cap.clone(), kind: PointKind::Agent, location: location.clone() },
        )
        .await?;
        let fact =
            PointFact { site: site.code().clone(), name: cap.clone(), kind: PointKind::Agent, location };
        let body = Body::of::<wire::DistributionPointFact, _>(&fact);
        record::write(site, &mut tx, ObjectKind::DistributionPoint, &id, body).await?;
    }
    tx.commit().await?;
    tracing::info!(target: "inbox-manager", cap = %cap, cursor, software = hello.software, "a CAP agent is here");
    Ok(())
}

async fn newest(site: &Site) -> Result<u64, Error> {
    Ok(caps::newest_sequence(&mut site.store.read().await?).await?)
}

async fn next_batch(
    site: &Arc<Site>,
    cap: &PointName,
    cursor: u64,
    restart: bool,
) -> Result<Option<FeedResponse>, Error> {
    let mut tx = site.store.read().await?;
    let files = caps::files_after(&mut tx, cap, cursor, (FILES_MAX, BATCH_BYTES_MAX)).await?;
    drop(tx);
    if files.is_empty() && !restart {
        return Ok(None);
    }
    let mut batch =
        FeedResponse { feed: site.epoch.clone().into(), restart, cursor, ..FeedResponse::default() };
    for file in files {
        // Of what else is in a feed nobody asks where it is.
        if let Some(FileName::Offer(advertisement)) = FileName::parse(&file.name)
            && !file.deleted
        {
            trace::note(
                &file.content,
                || tracing::info_span!(target: "inbox-manager", "feed", %cap, advertisement),
            );
        }
        batch.cursor = file.sequence;
        batch.files.push(CapFile { name: file.name, content: file.content.into(), deleted: file.deleted });
    }
    let (files, cursor) = (batch.files.len(), batch.cursor);
    tracing::debug!(target: "inbox-manager", %cap, files, cursor, restart, "files for a CAP agent");
    Ok(Some(batch))
}

/// Notes how far the CAP has stored, and that it is there while there is nothing to store; ends when it hangs up.
async fn follow(
    site: Arc<Site>,
    cap: &PointName,
    mut cursor: u64,
    mut requests: Streaming<FeedRequest>,
) -> Result<(), Error> {
    loop {
        match tokio::time::timeout(NOTE_PRESENCE, requests.next()).await {
            Ok(Some(Ok(FeedRequest { body: Some(FeedBody::Stored(stored)) }))) => cursor = stored.cursor,
            Ok(Some(Ok(FeedRequest { body: Some(FeedBody::Presence(presence)) }))) => {
                site.cap_inquiries.answered(presence);
                continue;
            }
            Ok(Some(Ok(_))) => continue,
            Ok(Some(Err(_)) | None) => return Ok(()),
            // HTTP/2's keepalive ends the stream of one that is gone.
            Err(_) => {}
        }
        let mut tx = site.store.begin().await?;
        caps::stored(&mut tx, cap, cursor, site.now()).await?;
        tx.commit().await?;
    }
}
