//! Calling the client access points of the site: one connection, kept while it works, else the next endpoint.

use std::{path::PathBuf, time::Duration};

use packhorse_domain::{Digest, Timestamp, id::SiteCode, status::AdvertisementStatus};
use packhorse_proto::{
    client::v1::{
        GetFilesRequest, PollRequest, PollResponse, ReportRequest,
        client_access_service_client::ClientAccessServiceClient,
    },
    object::v1 as wire,
};
use packhorse_runtime::{Caller, ChannelOptions, ConnectError, connect, telemetry};
use packhorse_trust::{Credentials, CredentialsError, Name};
use tokio::sync::Mutex;
use tonic::{Code, Request, Status, transport::Channel};

use crate::{blocking::off_thread, chance::shuffle, config::CapAddress, files::FILE_LENGTH_MAX};

/// At most as many names as the service takes.
const NAMES_MAX: usize = 256;
const CALL_TIME: Duration = Duration::from_secs(30);
const FILES_TIME: Duration = Duration::from_secs(600);

/// The site's client access points.
#[derive(Debug)]
pub struct CapClient {
    credentials: PathBuf,
    /// In the order to try them: the first is the one that worked last.
    ways: Mutex<Vec<Way>>,
    channel: Mutex<Option<Channel>>,
}

#[derive(Debug, Clone)]
struct Way {
    server: Name,
    endpoint: String,
}

/// What the client did and what it is.
#[derive(Debug, Clone, Default)]
pub struct Report {
    pub statuses: Vec<AdvertisementStatus>,
    pub facts: Option<wire::ClientFact>,
    pub traceparent: String,
}

#[derive(Debug, thiserror::Error)]
pub enum CapError {
    #[error("the client's credentials cannot be used")]
    Credentials { source: CredentialsError },
    #[error("no client access point can be reached")]
    Connect { source: ConnectError },
    #[error("there is no client access point in the settings")]
    NoWay,
    #[error("the client access point refused to {operation}")]
    Call { operation: &'static str, source: Status },
    #[error("the client access point sent {0}, which was not asked for")]
    Unasked(String),
    #[error("the client access point sent {0} with more than {FILE_LENGTH_MAX} bytes")]
    TooLong(String),
}

impl CapClient {
    pub fn new(site: &SiteCode, caps: &[CapAddress], credentials: PathBuf) -> Self {
        let mut caps: Vec<&CapAddress> = caps.iter().collect();
        shuffle(&mut caps);
        let ways = caps.into_iter().flat_map(|cap| {
            let server = Name::of_cap(site.clone(), &cap.name);
            cap.endpoints
                .iter()
                .map(move |endpoint| Way { server: server.clone(), endpoint: endpoint.clone() })
        });
        CapClient { credentials, ways: Mutex::new(ways.collect()), channel: Mutex::new(None) }
    }

    /// "Is there anything new for me?", to be asked again after so long. It says what time it is here.
    pub async fn poll(
        &self,
        held: Option<&Digest>,
        interval_s: u32,
        now: Timestamp,
    ) -> Result<PollResponse, CapError> {
        let digest = held.map(|digest| digest.as_bytes().to_vec()).unwrap_or_default();
        let request = PollRequest { instruction_digest: digest.into(), interval_s, clock_us: now.0 };
        let answer = self.client().await?.poll(timed(request, CALL_TIME)).await;
        self.judge("poll", answer).await
    }

    /// The files with these names, in any order; `each` takes one after the other.
    pub async fn files(
        &self,
        names: &[String],
        mut each: impl FnMut(String, Vec<u8>),
    ) -> Result<(), CapError> {
        for names in names.chunks(NAMES_MAX) {
            let request = GetFilesRequest { names: names.to_vec() };
            let answer = self.client().await?.get_files(timed(request, FILES_TIME)).await;
            let mut stream = self.judge("send files", answer).await?;
            let mut left: Vec<&String> = names.iter().collect();
            loop {
                let next = stream.message().await.map(tonic::Response::new);
                let Some(file) = self.judge("send files", next).await? else { break };
                // Each name is answered at most once: a client that is sent rubbish must come to an end.
                let Some(at) = left.iter().position(|name| **name == file.name) else {
                    return Err(CapError::Unasked(file.name.chars().take(80).collect()));
                };
                left.swap_remove(at);
                if file.content.len() > FILE_LENGTH_MAX {
                    return Err(CapError::TooLong(file.name));
                }
                each(file.name, file.content.into());
            }
        }
        Ok(())
    }

    /// Answered once it is on the client access point's disk.
    pub async fn report(&self, report: &Report) -> Result<(), CapError> {
        let request = ReportRequest {
            statuses: report.statuses.iter().map(Into::into).collect(),
            facts: report.facts.clone(),
            traceparent: report.traceparent.clone(),
        };
        let answer = self.client().await?.report(timed(request, CALL_TIME)).await;
        self.judge("take a report", answer).await.map(drop)
    }

    async fn client(&self) -> Result<ClientAccessServiceClient<Channel>, CapError> {
        let mut held = self.channel.lock().await;
        let channel = match &*held {
            Some(channel) => channel.clone(),
            None => held.insert(self.dial().await?).clone(),
        };
        // A file of the longest kind and what is around it.
        Ok(ClientAccessServiceClient::new(channel).max_decoding_message_size(FILE_LENGTH_MAX + 64 * 1024))
    }

    async fn dial(&self) -> Result<Channel, CapError> {
        let directory = self.credentials.clone();
        let credentials = off_thread(move || Credentials::load(&directory))
            .await
            .map_err(|source| CapError::Credentials { source })?;
        let mut ways = self.ways.lock().await;
        let mut failure = CapError::NoWay;
        for at in 0..ways.len() {
            let way = &ways[at];
            let caller = Caller::Known(&credentials);
            match connect(&way.endpoint, &way.server, caller, ChannelOptions::default()).await {
                Ok(channel) => {
                    tracing::debug!(endpoint = way.endpoint, cap = way.server.id, "connected");
                    ways[..=at].rotate_right(1);
                    return Ok(channel);
                }
                Err(source) => failure = CapError::Connect { source },
            }
        }
        Err(failure)
    }

    /// After a failure that another connection could mend, the next call makes one, elsewhere if it can.
    async fn judge<T>(
        &self,
        operation: &'static str,
        answer: Result<tonic::Response<T>, Status>,
    ) -> Result<T, CapError> {
        match answer {
            Ok(answer) => Ok(answer.into_inner()),
            Err(source) => {
                if !matches!(source.code(), Code::InvalidArgument | Code::NotFound | Code::ResourceExhausted)
                {
                    *self.channel.lock().await = None;
                    let mut ways = self.ways.lock().await;
                    if !ways.is_empty() {
                        ways.rotate_left(1);
                    }
                }
                Err(CapError::Call { operation, source })
            }
        }
    }
}

fn timed<T>(message: T, longest: Duration) -> Request<T> {
    let mut request = telemetry::inject(Request::new(message));
    request.set_timeout(longest);
    request
}
