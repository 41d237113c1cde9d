//! A small site server for the agent to speak to: it keeps to the protocol and remembers what it was told.

use std::{
    collections::BTreeMap,
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard},
    time::Duration,
};

use futures::{Stream, StreamExt as _, future, stream};
use packhorse_content::Library;
use packhorse_domain::Timestamp;
use packhorse_fetch::ContentServer;
use packhorse_proto::{
    cap::v1::{
        CapFile, ClientReport, FeedHello, FeedRequest, FeedResponse, SubmitContentStatusRequest,
        SubmitContentStatusResponse, SubmitReportsRequest, SubmitReportsResponse,
        cap_service_server::{CapService, CapServiceServer},
        client_report,
        feed_request::Body,
    },
    enroll::v1::{
        EnrollRequest, EnrollResponse,
        enroll_service_server::{EnrollService, EnrollServiceServer},
    },
    object::v1::PackageStatus,
};
use packhorse_runtime::{Clock as _, SystemClock};
use packhorse_trust::{Authority, Name};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tonic::{Code, Request, Response, Status, Streaming, service::Routes};

/// One run of the site's server. Clones share what the site knows.
#[derive(Clone)]
pub(crate) struct Site {
    pub(crate) authority: Arc<Authority>,
    state: Arc<watch::Sender<()>>,
    known: Arc<Mutex<Known>>,
    stop: CancellationToken,
}

#[derive(Default)]
pub(crate) struct Known {
    pub(crate) feed: &'static str,
    /// The latest of each name, with the cursor of its change.
    pub(crate) files: BTreeMap<String, (u64, CapFile)>,
    pub(crate) cursor: u64,
    pub(crate) hellos: Vec<FeedHello>,
    pub(crate) stored: Vec<u64>,
    /// What every call of SubmitReports brought, whatever the answer was.
    pub(crate) submitted: Vec<Vec<ClientReport>>,
    pub(crate) refuse_reports: Option<Code>,
    /// Calls with a report about this advertisement are refused as unreadable.
    pub(crate) refuse_if: Option<&'static str>,
    /// What was answered with yes.
    pub(crate) taken: Vec<ClientReport>,
    pub(crate) statuses: Vec<PackageStatus>,
    /// Whom the next enrolment is for, and how many of them are refused first.
    pub(crate) enrolling: Option<Name>,
    pub(crate) refuse_enrolments: u32,
    pub(crate) requests: Vec<EnrollRequest>,
}

type Batches = Pin<Box<dyn Stream<Item = Result<FeedResponse, Status>> + Send>>;

impl Site {
    pub(crate) fn new(authority: Arc<Authority>) -> Self {
        let known = Known { feed: "one", ..Known::default() };
        Site {
            authority,
            state: Arc::new(watch::Sender::new(())),
            known: Arc::new(Mutex::new(known)),
            stop: CancellationToken::new(),
        }
    }

    /// The same site, for another run of its server.
    pub(crate) fn again(&self, stop: CancellationToken) -> Self {
        Site { stop, ..self.clone() }
    }

    pub(crate) fn routes(&self, library: Option<&Arc<Library>>) -> Routes {
        let routes = Routes::new(CapServiceServer::new(self.clone()))
            .add_service(EnrollServiceServer::new(self.clone()));
        match library {
            Some(library) => routes.add_service(ContentServer::new(library.clone()).into_service()),
            None => routes,
        }
    }

    pub(crate) fn known(&self) -> MutexGuard<'_, Known> {
        self.known.lock().expect("no test panics while it holds this")
    }

    pub(crate) fn change<T>(&self, change: impl FnOnce(&mut Known) -> T) -> T {
        let result = change(&mut self.known());
        self.state.send_replace(());
        result
    }

    /// Writes an instruction file, or deletes it.
    pub(crate) fn put(&self, name: &str, content: Option<&[u8]>) {
        self.change(|known| {
            known.cursor += 1;
            let content = content.map(<[u8]>::to_vec);
            let file = CapFile {
                name: name.to_owned(),
                deleted: content.is_none(),
                content: content.unwrap_or_default().into(),
            };
            known.files.insert(name.to_owned(), (known.cursor, file));
        });
    }

    /// Waits until what the site knows answers the question.
    pub(crate) async fn wait_for<T>(&self, what: &str, question: impl Fn(&Known) -> Option<T>) -> T {
        let mut changes = self.state.subscribe();
        let answer = async {
            loop {
                if let Some(answer) = question(&self.known()) {
                    return answer;
                }
                changes.changed().await.expect("the site outlives this");
            }
        };
        tokio::time::timeout(Duration::from_secs(30), answer)
            .await
            .unwrap_or_else(|_| panic!("never happened: {what}"))
    }

    /// Waits until the agent has stored all that the site has for it.
    pub(crate) async fn caught_up(&self) {
        let cursor = self.known().cursor;
        self.wait_for("the agent has caught up", |known| known.stored.contains(&cursor).then_some(())).await;
    }

    /// What changed after `from`; for the first batch of an unknown feed, everything.
    fn batch(&self, hello: &FeedHello, from: u64, is_first: bool) -> FeedResponse {
        let known = self.known();
        let restart = is_first && hello.feed != known.feed.as_bytes();
        let from = if restart { 0 } else { from };
        let mut files: Vec<_> = known.files.values().filter(|(cursor, _)| *cursor > from).collect();
        files.sort_by_key(|(cursor, _)| *cursor);
        FeedResponse {
            feed: known.feed.as_bytes().to_vec().into(),
            restart,
            files: files.into_iter().map(|(_, file)| file.clone()).collect(),
            cursor: known.cursor,
            ..FeedResponse::default()
        }
    }
}

#[tonic::async_trait]
impl CapService for Site {
    type FeedStream = Batches;

    async fn feed(&self, request: Request<Streaming<FeedRequest>>) -> Result<Response<Batches>, Status> {
        let mut requests = request.into_inner();
        let Some(FeedRequest { body: Some(Body::Hello(hello)) }) = requests.message().await? else {
            return Err(Status::invalid_argument("a feed begins with hello"));
        };
        self.change(|known| known.hellos.push(hello.clone()));
        let site = self.clone();
        let answers = requests.filter_map(move |answer| {
            if let Ok(FeedRequest { body: Some(Body::Stored(stored)) }) = answer {
                site.change(|known| known.stored.push(stored.cursor));
            }
            future::ready(None)
        });
        let first = (self.clone(), self.state.subscribe(), hello.cursor, true);
        let batches = stream::unfold(first, move |(site, mut changes, mut cursor, mut is_first)| {
            let hello = hello.clone();
            async move {
                loop {
                    let batch = site.batch(&hello, cursor, is_first);
                    if batch.cursor > cursor || batch.restart {
                        cursor = batch.cursor;
                        return Some((Ok(batch), (site, changes, cursor, false)));
                    }
                    is_first = false;
                    changes.changed().await.ok()?;
                }
            }
        });
        let stop = self.stop.clone().cancelled_owned();
        Ok(Response::new(stream::select(batches, answers).take_until(stop).boxed()))
    }

    async fn submit_reports(
        &self,
        request: Request<SubmitReportsRequest>,
    ) -> Result<Response<SubmitReportsResponse>, Status> {
        let reports = request.into_inner().reports;
        let refusal = self.change(|known| {
            known.submitted.push(reports.clone());
            let unreadable = reports.iter().any(|report| is_about(report, known.refuse_if));
            let refusal = if unreadable { Some(Code::InvalidArgument) } else { known.refuse_reports };
            if refusal.is_none() {
                known.taken.extend(reports);
            }
            refusal
        });
        match refusal {
            Some(code) => Err(Status::new(code, "not now")),
            None => Ok(Response::new(SubmitReportsResponse {})),
        }
    }

    async fn submit_content_status(
        &self,
        request: Request<SubmitContentStatusRequest>,
    ) -> Result<Response<SubmitContentStatusResponse>, Status> {
        self.change(|known| known.statuses.extend(request.into_inner().statuses));
        Ok(Response::new(SubmitContentStatusResponse {}))
    }
}

#[tonic::async_trait]
impl EnrollService for Site {
    async fn enroll(&self, request: Request<EnrollRequest>) -> Result<Response<EnrollResponse>, Status> {
        let request = request.into_inner();
        let name = self.change(|known| {
            known.requests.push(request.clone());
            if known.refuse_enrolments > 0 {
                known.refuse_enrolments -= 1;
                return Err(Status::permission_denied("the token is used"));
            }
            known.enrolling.clone().ok_or_else(|| Status::permission_denied("the token is unknown"))
        })?;
        let certificate = self
            .authority
            .issue(&request.certificate_request, &name, Duration::from_secs(3600), SystemClock.now())
            .map_err(|error| Status::invalid_argument(error.to_string()))?;
        Ok(Response::new(EnrollResponse {
            certificate,
            authority: self.authority.certificate_pem().to_owned(),
            id: name.id,
            site: name.site.to_string(),
            ..EnrollResponse::default()
        }))
    }
}

/// In a moment that no test sees the end of.
pub(crate) fn soon() -> Timestamp {
    SystemClock.now().plus(Duration::from_secs(3600))
}

fn is_about(report: &ClientReport, advertisement: Option<&str>) -> bool {
    match &report.body {
        Some(client_report::Body::Advertisement(status)) => {
            Some(status.advertisement.as_str()) == advertisement
        }
        Some(client_report::Body::Facts(_)) | None => false,
    }
}
