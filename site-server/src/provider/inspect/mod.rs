//! What the site server is doing at this moment, as people and their tools see it.

mod links;
mod queues;
mod watch;
mod workers;

use std::{pin::Pin, sync::Arc};

use futures::Stream;
use packhorse_proto::{
    convert::time::timestamp,
    provider::v1::{
        ListLinksRequest, ListLinksResponse, ListQueuesRequest, ListQueuesResponse, ListStreamsRequest,
        ListStreamsResponse, ListWorkersRequest, ListWorkersResponse, LiveStream, StreamKind as WireKind,
        WatchRequest, WatchResponse, inspect_service_server::InspectService,
    },
};
use packhorse_runtime::{Lifecycle, peer};
use tokio::sync::Semaphore;
use tonic::{Request, Response, Status};

use crate::{
    error::Error,
    site::Site,
    streams::{OpenStream, StreamKind, wire_of},
};

/// Who watches makes the site server look again and again.
const WATCHERS_MAX: usize = 8;

/// Serves `InspectService`.
#[derive(Debug)]
pub(crate) struct Inspect {
    view: Inspected,
    watchers: Arc<Semaphore>,
}

/// The state that is looked at. Clones look at the same.
#[derive(Debug, Clone)]
pub(crate) struct Inspected {
    pub(crate) site: Arc<Site>,
    pub(crate) lifecycle: Lifecycle,
}

impl Inspect {
    pub(crate) fn new(site: Arc<Site>, lifecycle: Lifecycle) -> Self {
        Inspect { view: Inspected { site, lifecycle }, watchers: Arc::new(Semaphore::new(WATCHERS_MAX)) }
    }
}

impl Inspected {
    pub(crate) fn workers(&self) -> ListWorkersResponse {
        ListWorkersResponse {
            at: Some(timestamp(self.site.now())),
            started_at: Some(timestamp(self.site.opened_at)),
            workers: self.lifecycle.statuses().into_iter().map(workers::shown).collect(),
        }
    }

    pub(crate) async fn links(&self, peer: &str) -> Result<ListLinksResponse, Error> {
        let links = links::list(&self.site, peer).await?;
        Ok(ListLinksResponse { at: Some(timestamp(self.site.now())), links })
    }

    pub(crate) async fn queues(&self, asked: &ListQueuesRequest) -> Result<ListQueuesResponse, Error> {
        let queues = queues::list(&self.site, asked).await?;
        Ok(ListQueuesResponse { at: Some(timestamp(self.site.now())), queues })
    }

    pub(crate) fn streams(&self) -> ListStreamsResponse {
        let streams = self.site.streams.list().into_iter().map(shown).collect();
        ListStreamsResponse { at: Some(timestamp(self.site.now())), streams }
    }
}

fn shown(stream: OpenStream) -> LiveStream {
    let kind = match stream.kind {
        StreamKind::Link => WireKind::Link,
        StreamKind::Lane => WireKind::Lane,
        StreamKind::CapFeed => WireKind::CapFeed,
        StreamKind::CourierVolume => WireKind::CourierVolume,
        StreamKind::Watch => WireKind::Watch,
        StreamKind::SupportBundle => WireKind::SupportBundle,
    };
    LiveStream {
        kind: kind.into(),
        peer: stream.peer,
        since: Some(timestamp(stream.since)),
        sent_bytes: stream.sent,
        received_bytes: stream.received,
    }
}

#[tonic::async_trait]
impl InspectService for Inspect {
    type WatchStream = Pin<Box<dyn Stream<Item = Result<WatchResponse, Status>> + Send>>;

    async fn list_workers(
        &self,
        _: Request<ListWorkersRequest>,
    ) -> Result<Response<ListWorkersResponse>, Status> {
        Ok(Response::new(self.view.workers()))
    }

    async fn list_links(
        &self,
        request: Request<ListLinksRequest>,
    ) -> Result<Response<ListLinksResponse>, Status> {
        Ok(Response::new(self.view.links(&request.get_ref().peer).await?))
    }

    async fn list_queues(
        &self,
        request: Request<ListQueuesRequest>,
    ) -> Result<Response<ListQueuesResponse>, Status> {
        Ok(Response::new(self.view.queues(request.get_ref()).await?))
    }

    async fn list_streams(
        &self,
        _: Request<ListStreamsRequest>,
    ) -> Result<Response<ListStreamsResponse>, Status> {
        Ok(Response::new(self.view.streams()))
    }

    async fn watch(&self, request: Request<WatchRequest>) -> Result<Response<Self::WatchStream>, Status> {
        let asked = watch::Asked::decode(request.get_ref())?;
        let permit = self.watchers.clone().try_acquire_owned().map_err(|_| {
            Status::resource_exhausted(format!(
                "{WATCHERS_MAX} callers watch already, which is the most; end one of them, or ask once"
            ))
        })?;
        // What is asked wrongly is said now, and not within the stream.
        let first = watch::look(&self.view, &asked).await?;
        let (kind, now) = (StreamKind::Watch, self.view.site.now());
        let open = self.view.site.streams.open(kind, peer(&request)?, wire_of(&request), now);
        let answers = watch::follow(self.view.clone(), asked, first, permit);
        Ok(Response::new(Box::pin(open.over(answers))))
    }
}
