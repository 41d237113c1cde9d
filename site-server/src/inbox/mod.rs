//! Inbox Manager: feeds the instruction files to every CAP agent, and takes in what CAP agents report.

mod feed;
mod reports;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use packhorse_domain::id::PointName;
use packhorse_proto::cap::v1::{
    FeedRequest, FeedResponse, SubmitContentStatusRequest, SubmitContentStatusResponse, SubmitReportsRequest,
    SubmitReportsResponse, cap_service_server::CapService,
};
use packhorse_runtime::{Lifecycle, peer};
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status, Streaming};

use crate::{
    monitor::Wakers,
    site::Site,
    streams::{StreamKind, wire_of},
};

/// Serves `CapService`.
#[derive(Debug, Clone)]
pub(crate) struct InboxManager {
    pub(crate) site: Arc<Site>,
    pub(crate) lifecycle: Lifecycle,
    pub(crate) wakers: Wakers,
}

#[tonic::async_trait]
impl CapService for InboxManager {
    type FeedStream = ReceiverStream<Result<FeedResponse, Status>>;

    async fn feed(
        &self,
        request: Request<Streaming<FeedRequest>>,
    ) -> Result<Response<Self::FeedStream>, Status> {
        let cap = caller(&request)?;
        let open =
            self.site.streams.open(StreamKind::CapFeed, peer(&request)?, wire_of(&request), self.site.now());
        feed::serve(self, (cap, open), request.into_inner()).await.map(Response::new)
    }

    async fn submit_reports(
        &self,
        request: Request<SubmitReportsRequest>,
    ) -> Result<Response<SubmitReportsResponse>, Status> {
        let cap = caller(&request)?;
        reports::take_reports(&self.site, &cap, request.into_inner().reports).await?;
        Ok(Response::new(SubmitReportsResponse {}))
    }

    async fn submit_content_status(
        &self,
        request: Request<SubmitContentStatusRequest>,
    ) -> Result<Response<SubmitContentStatusResponse>, Status> {
        let cap = caller(&request)?;
        reports::take_content_status(&self.site, &cap, request.into_inner().statuses).await?;
        Ok(Response::new(SubmitContentStatusResponse {}))
    }
}

fn caller<T>(request: &Request<T>) -> Result<PointName, Status> {
    peer(request)?
        .as_cap()
        .ok_or_else(|| Status::permission_denied("only a CAP agent of this site may call this"))
}
