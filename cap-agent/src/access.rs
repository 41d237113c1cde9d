//! What clients call: poll, files, reports. Who a client is, its certificate alone says.

use std::{
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use bytes::Bytes;
use futures::{Stream, StreamExt as _, stream};
use packhorse_domain::{
    Digest, Timestamp,
    id::{ClientId, SiteCode},
    instruction::FileName,
};
use packhorse_proto::client::v1::{
    GetFilesRequest, GetFilesResponse, PollRequest, PollResponse, ReportRequest, ReportResponse,
    client_access_service_server::ClientAccessService,
};
use packhorse_runtime::{Clock, Waker, error_chain, peer, telemetry};
use tonic::{Request, Response, Status};
use tracing::Instrument as _;

use crate::{
    blocking::off_thread,
    client_report,
    presence::{Poll, Presence},
    store::{Store, StoreError},
};

const NAMES_MAX: usize = 256;
const NAME_LENGTH_MAX: usize = 128;

/// The client access point.
#[derive(Debug)]
pub(crate) struct Access {
    pub(crate) site: SiteCode,
    pub(crate) store: Arc<Store>,
    pub(crate) presence: Arc<Presence>,
    /// Wakes whoever sends reports on.
    pub(crate) reports: Waker,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) polls: Arc<Polls>,
}

/// How often clients polled, by what they were answered.
#[derive(Debug, Default)]
pub(crate) struct Polls {
    /// They have the newest instruction.
    pub(crate) unchanged: AtomicU64,
    /// They got a newer one.
    pub(crate) news: AtomicU64,
    /// There is no instruction for them.
    pub(crate) unknown: AtomicU64,
}

type Files = Pin<Box<dyn Stream<Item = Result<GetFilesResponse, Status>> + Send>>;

#[tonic::async_trait]
impl ClientAccessService for Access {
    type GetFilesStream = Files;

    async fn poll(&self, request: Request<PollRequest>) -> Result<Response<PollResponse>, Status> {
        let client = client(&request)?;
        let PollRequest { instruction_digest: held, interval_s, clock_us } = request.into_inner();
        if !held.is_empty() {
            Digest::try_from(held.as_ref())
                .map_err(|error| Status::invalid_argument(format!("instruction_digest: {error}")))?;
        }
        let digest = self.store.instruction_digest(&client);
        let news = digest.is_none_or(|digest| digest.as_bytes() != held.as_ref());
        let poll = Poll { is_current: !news, interval_s, clock: Timestamp(clock_us) };
        self.presence.polled(&client, poll, self.clock.now());
        if digest.is_none() {
            self.polls.unknown.fetch_add(1, Ordering::Relaxed);
            return Ok(Response::new(PollResponse::default()));
        }
        let count = if news { &self.polls.news } else { &self.polls.unchanged };
        count.fetch_add(1, Ordering::Relaxed);
        let instruction = if news { self.instruction(&client).await? } else { Bytes::new() };
        Ok(Response::new(PollResponse { instruction, known: true, next_poll_s: 0 }))
    }

    async fn get_files(&self, request: Request<GetFilesRequest>) -> Result<Response<Files>, Status> {
        client(&request)?;
        let names = request.into_inner().names;
        if names.len() > NAMES_MAX {
            return Err(Status::invalid_argument(format!("names: at most {NAMES_MAX} are given a call")));
        }
        for name in &names {
            check_open_to_clients(name)?;
        }
        let store = self.store.clone();
        // Read one by one as the client takes them, so that a call costs the memory of a file and not of 256.
        let files = stream::iter(names).then(move |name| read_file(store.clone(), name));
        Ok(Response::new(files.boxed()))
    }

    async fn report(&self, request: Request<ReportRequest>) -> Result<Response<ReportResponse>, Status> {
        let client = client(&request)?;
        let reports = client_report::checked(request.into_inner(), &client, &self.site)?;
        let span = tracing::info_span!(
            target: "client-access", "client.report", client = %client, reports = reports.len()
        );
        if let Some(report) = reports.first() {
            telemetry::set_parent(&span, &report.traceparent);
        }
        let (store, now) = (self.store.clone(), self.clock.now());
        off_thread(move || store.push_reports(&reports, now))
            .instrument(span)
            .await
            .map_err(|error| refusal(&error))?;
        self.reports.wake();
        Ok(Response::new(ReportResponse {}))
    }
}

impl Access {
    async fn instruction(&self, client: &ClientId) -> Result<Bytes, Status> {
        let (store, name) = (self.store.clone(), FileName::Instruction(client.as_str()).to_string());
        let content = off_thread(move || store.file(&name)).await.map_err(|error| refusal(&error))?;
        // It can have been deleted since the digest was looked up; the next poll sees that.
        content.ok_or_else(|| Status::unavailable("the instruction changes just now: poll again"))
    }
}

/// The caller, as its certificate names it.
fn client<T>(request: &Request<T>) -> Result<ClientId, Status> {
    let name = peer(request)?;
    name.as_client().ok_or_else(|| Status::permission_denied(format!("{name} is not a client")))
}

/// Only the files that instructions name are for every client. Instructions come by polling, each to its own client.
fn check_open_to_clients(name: &str) -> Result<(), Status> {
    let parsed = if name.len() <= NAME_LENGTH_MAX { FileName::parse(name) } else { None };
    match parsed {
        Some(
            FileName::Trust
            | FileName::Delegation(_)
            | FileName::Offer(_)
            | FileName::Package(_)
            | FileName::Points(_)
            | FileName::Kill { .. },
        ) => Ok(()),
        Some(FileName::Instruction(_)) => {
            Err(Status::permission_denied("an instruction is given to its own client alone, by polling"))
        }
        Some(FileName::Content { .. }) => {
            Err(Status::permission_denied("content files are for distribution points alone"))
        }
        None => Err(Status::invalid_argument("names: one of them is not the name of an instruction file")),
    }
}

async fn read_file(store: Arc<Store>, name: String) -> Result<GetFilesResponse, Status> {
    off_thread(move || match store.file(&name) {
        Ok(Some(content)) => Ok(GetFilesResponse { name, content }),
        Ok(None) => Err(Status::not_found(format!("no file {name} is held here: poll again"))),
        Err(error) => Err(refusal(&error)),
    })
    .await
}

fn refusal(error: &StoreError) -> Status {
    match error {
        StoreError::OutboxFull(_) => {
            Status::resource_exhausted("too many reports wait for the site: come back in 600 s")
        }
        StoreError::Open { .. }
        | StoreError::Directory { .. }
        | StoreError::Database { .. }
        | StoreError::Inconsistent { .. } => {
            tracing::error!(error = error_chain(error), "cannot serve a client");
            Status::unavailable("this access point cannot use its disk just now: try another, or again later")
        }
    }
}
