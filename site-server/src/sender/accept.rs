//! The parent's end: children call, each for one link.

use std::sync::Arc;

use packhorse_domain::{id::SiteCode, link::Frame};
use packhorse_proto::link::v1::{ExchangeRequest, ExchangeResponse, link_service_server::LinkService};
use packhorse_runtime::{Lifecycle, peer};
use tokio::sync::mpsc;
use tokio_stream::{Stream, StreamExt as _, wrappers::ReceiverStream};
use tonic::{Request, Response, Status, Streaming};

use crate::{
    error::Error,
    monitor::Wakers,
    sender::{
        inbound::read_frames,
        lanes::session_of,
        lines::Line,
        session::{OUTBOUND_FRAMES_MAX, Session},
    },
    site::Site,
    store::neighbours::{self, Relation},
    streams::{StreamKind, wire_of},
};

/// The child of this site that calls, by its certificate.
pub(crate) async fn calling_child<T>(site: &Site, request: &Request<T>) -> Result<SiteCode, Status> {
    let child =
        peer(request)?.as_site().ok_or_else(|| Status::permission_denied("only a site may call this"))?;
    let mut tx = site.store.read().await.map_err(Error::from)?;
    match neighbours::children(&mut tx).await.map_err(Error::from)?.contains(&child) {
        true => Ok(child),
        false => Err(Status::permission_denied(format!("{child} is not a child of {}", site.code()))),
    }
}

/// Serves `LinkService`.
#[derive(Debug, Clone)]
pub(crate) struct LinkServer {
    pub(crate) site: Arc<Site>,
    pub(crate) lifecycle: Lifecycle,
    pub(crate) wakers: Wakers,
}

#[tonic::async_trait]
impl LinkService for LinkServer {
    type ExchangeStream = std::pin::Pin<Box<dyn Stream<Item = Result<ExchangeResponse, Status>> + Send>>;

    async fn exchange(
        &self,
        request: Request<Streaming<ExchangeRequest>>,
    ) -> Result<Response<Self::ExchangeStream>, Status> {
        let child = calling_child(&self.site, &request).await?;
        let counter = wire_of(&request);
        let lane_of = session_of(request.metadata())?;
        let kind = if lane_of.is_some() { StreamKind::Lane } else { StreamKind::Link };
        let open = self.site.streams.open(kind, peer(&request)?, counter.clone(), self.site.now());
        let frames = request.into_inner().map(|message| message.map(|message| message.frame));
        let inbound = read_frames(&self.lifecycle, frames);
        let (outbound, answers) = mpsc::channel(OUTBOUND_FRAMES_MAX);
        let answers = ReceiverStream::new(answers)
            .map(|frame: Frame| Ok(ExchangeResponse { frame: Some(frame.into()) }));
        if let Some(session) = lane_of {
            let door = self.site.links(|links| links.get(&child).and_then(|view| view.door.clone()));
            let door = door.ok_or_else(|| Status::permission_denied("that session is over"))?;
            door.admit(session)?;
            door.enter(Line { counter, inbound, outbound })?;
            return Ok(Response::new(Box::pin(open.over(answers))));
        }
        let line = Line { counter, inbound, outbound };
        let session = Session::new(self.site.clone(), child, Relation::Child, &self.wakers, &line);
        let (failed, failure) = tokio::sync::oneshot::channel();
        let stop = self.lifecycle.stopping();
        self.lifecycle.spawn_finite("link", async move {
            if let Err(error) = session.run(line, stop).await {
                drop(failed.send(error.status()));
            }
        });
        let end = futures::stream::once(failure).filter_map(|end| end.ok().map(Err));
        Ok(Response::new(Box::pin(open.over(answers.chain(end)))))
    }
}
