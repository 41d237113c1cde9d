//! Support bundles for the console: made one at a time, told how far they are, and sent in pieces.

use std::{pin::Pin, sync::Arc};

use bytes::Bytes;
use futures::Stream;
use packhorse_domain::{Timestamp, message};
use packhorse_proto::{
    convert::time::point,
    provider::v1::{CollectRequest, CollectResponse, support_service_server::SupportService},
};
use packhorse_runtime::{Lifecycle, peer};
use packhorse_support::Archive;
use packhorse_trust::Name;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status};

use super::{Inspected, change::Change, invalid};
use crate::{
    error::Error,
    site::Site,
    streams::{StreamKind, wire_of},
    support::{Making, PARTS},
};

const DATA_BYTES: usize = 256 * 1024;
/// Messages that wait to be sent.
const WAITING: usize = 4;

type Answers = mpsc::Sender<Result<CollectResponse, Status>>;

/// Serves `SupportService`.
#[derive(Debug)]
pub(crate) struct Support {
    view: Inspected,
    /// Each holds a whole archive in memory and reads all of the database.
    one: Arc<Semaphore>,
}

impl Support {
    pub(crate) fn new(site: Arc<Site>, lifecycle: Lifecycle) -> Self {
        Support { view: Inspected { site, lifecycle }, one: Arc::new(Semaphore::new(1)) }
    }

    fn permit(&self) -> Result<OwnedSemaphorePermit, Status> {
        self.one.clone().try_acquire_owned().map_err(|_| {
            Status::resource_exhausted("a support bundle is being made already; try again when it is done")
        })
    }

    async fn note(&self, who: &Name) -> Result<(), Error> {
        let site = &*self.view.site;
        let change = Change::begin(site, who).await?;
        change.finish(site.code().as_str(), message::support_bundle_collected()).await
    }
}

/// Makes the bundle and sends it, as long as somebody waits.
async fn collect(view: &Inspected, caller_clock: Option<Timestamp>, answers: &Answers) -> Result<(), Error> {
    let mut making = Making::begin(view, caller_clock).await;
    while let Some(part) = making.next() {
        if answers.send(Ok(told(part))).await.is_err() {
            return Ok(());
        }
        making.step().await?;
    }
    if answers.send(Ok(told(PARTS.len() - 1))).await.is_ok() {
        send(making.finish().await?, answers).await;
    }
    Ok(())
}

fn told(part: usize) -> CollectResponse {
    let count = |number: usize| u32::try_from(number).unwrap_or(u32::MAX);
    CollectResponse {
        part: PARTS[part].to_owned(),
        parts_done: count(part),
        parts_total: count(PARTS.len()),
        ..CollectResponse::default()
    }
}

async fn send(archive: Archive, answers: &Answers) {
    let parts = u32::try_from(PARTS.len()).unwrap_or(u32::MAX);
    let mut bytes = Bytes::from(archive.bytes);
    let (mut length, mut files) = (bytes.len() as u64, archive.files);
    while !bytes.is_empty() {
        let data = bytes.split_to(bytes.len().min(DATA_BYTES));
        let piece = CollectResponse {
            part: String::new(),
            parts_done: parts,
            parts_total: parts,
            length: std::mem::take(&mut length),
            files: std::mem::take(&mut files),
            data,
        };
        if answers.send(Ok(piece)).await.is_err() {
            return;
        }
    }
}

#[tonic::async_trait]
impl SupportService for Support {
    type CollectStream = Pin<Box<dyn Stream<Item = Result<CollectResponse, Status>> + Send>>;

    async fn collect(
        &self,
        request: Request<CollectRequest>,
    ) -> Result<Response<Self::CollectStream>, Status> {
        let who = peer(&request)?.clone();
        let given = request.get_ref().caller_clock.as_ref();
        let bad = || invalid("caller_clock", "a time from the year 1 to 9999 is expected; leave it out");
        let caller_clock = given.map(|at| point(at).ok_or_else(bad)).transpose()?;
        let permit = self.permit()?;
        self.note(&who).await?;
        let view = self.view.clone();
        let open =
            view.site.streams.open(StreamKind::SupportBundle, &who, wire_of(&request), view.site.now());
        let (answers, heard) = mpsc::channel(WAITING);
        let stop = view.lifecycle.stopping();
        view.lifecycle.clone().spawn_finite("support-bundle", async move {
            let _permit = permit;
            let done = stop.run_until_cancelled(Box::pin(collect(&view, caller_clock, &answers))).await;
            let failed = match done {
                Some(Ok(())) => return,
                Some(Err(error)) => Status::from(error),
                None => Status::unavailable("the site server stops; try again"),
            };
            // Nobody has to be there any more.
            drop(answers.send(Err(failed)).await);
        });
        Ok(Response::new(Box::pin(open.over(ReceiverStream::new(heard)))))
    }
}
