//! The queue of each link: what waits, and what administrators want of it.

mod change;
pub(super) mod list;

use std::sync::Arc;

use packhorse_domain::{id::SiteCode, queue::ItemPrefix};
use packhorse_proto::provider::v1::{
    ChangeQueueRequest, ChangeQueueResponse, ListQueueRequest, ListQueueResponse,
    queue_service_server::QueueService,
};
use packhorse_runtime::peer;
use tonic::{Request, Response, Status};

pub(crate) use list::list;

use super::{invalid, parsed};
use crate::{
    error::Error,
    site::Site,
    store::{
        Tx,
        neighbours::{self, Neighbour},
    },
};

#[derive(Debug)]
pub(crate) struct Queue {
    site: Arc<Site>,
}

impl Queue {
    pub(crate) fn new(site: Arc<Site>) -> Self {
        Queue { site }
    }
}

/// The neighbour that was named, or all of them.
pub(super) async fn neighbours(site: &Site, tx: &mut Tx, peer: &str) -> Result<Vec<Neighbour>, Error> {
    let all = neighbours::list(tx).await?;
    if peer.is_empty() {
        return Ok(all);
    }
    let code: SiteCode = parsed("peer", peer)?;
    let known = all.iter().map(|one| one.code.as_str()).collect::<Vec<_>>().join(", ");
    let named: Vec<_> = all.into_iter().filter(|one| one.code == code).collect();
    if named.is_empty() {
        let known = if known.is_empty() { "it has none".to_owned() } else { format!("name one of {known}") };
        return Err(invalid("peer", format!("{code} is no neighbour of site {}; {known}", site.code())));
    }
    Ok(named)
}

/// That nothing begins with these digits where it was looked for.
fn not_queued(prefix: &ItemPrefix, peer: &str) -> Error {
    let link = if peer.is_empty() { "any link".to_owned() } else { format!("the link to {peer}") };
    Error::NotQueued { prefix: prefix.to_string(), link }
}

#[tonic::async_trait]
impl QueueService for Queue {
    async fn list_queue(
        &self,
        request: Request<ListQueueRequest>,
    ) -> Result<Response<ListQueueResponse>, Status> {
        Ok(Response::new(list::list(&self.site, request.get_ref()).await?))
    }

    async fn change_queue(
        &self,
        request: Request<ChangeQueueRequest>,
    ) -> Result<Response<ChangeQueueResponse>, Status> {
        let who = peer(&request)?.clone();
        Ok(Response::new(change::change(&self.site, &who, request.get_ref()).await?))
    }
}
