//! The way to the site server: which endpoint answers, and a connection that is shared until it fails.

use std::sync::{
    Mutex, PoisonError,
    atomic::{AtomicUsize, Ordering},
};

use packhorse_runtime::{Caller, ChannelOptions, ConnectError, connect};
use packhorse_trust::{Credentials, Name};
use tonic::{Code, Status, transport::Channel};

/// The agent's site server, as its caller sees it.
#[derive(Debug)]
pub(crate) struct Site {
    endpoints: Vec<String>,
    server: Name,
    credentials: Credentials,
    /// Which endpoint to try first: the one that answered last.
    preferred: AtomicUsize,
    shared: Mutex<Option<Channel>>,
}

#[derive(Debug, thiserror::Error)]
pub(crate) enum SiteError {
    #[error("no endpoint of the site answers; the last one tried")]
    NoneAnswers(#[source] ConnectError),
    #[error("no endpoint of the site is known")]
    NoneKnown,
}

impl Site {
    pub(crate) fn new(endpoints: Vec<String>, server: Name, credentials: Credentials) -> Self {
        Site { endpoints, server, credentials, preferred: AtomicUsize::new(0), shared: Mutex::new(None) }
    }

    /// A connection of the caller's own.
    pub(crate) async fn connect(&self) -> Result<Channel, SiteError> {
        self.reach(Caller::Known(&self.credentials)).await
    }

    /// A connection on which nobody shows who it is, as enrolment needs it.
    pub(crate) async fn connect_anonymously(&self) -> Result<Channel, SiteError> {
        self.reach(Caller::Anonymous { authority_pem: &self.credentials.authority_pem }).await
    }

    /// The connection that calls share.
    pub(crate) async fn channel(&self) -> Result<Channel, SiteError> {
        if let Some(channel) = self.shared().clone() {
            return Ok(channel);
        }
        let channel = self.connect().await?;
        *self.shared() = Some(channel.clone());
        Ok(channel)
    }

    /// Gives up the shared connection, so that the next call may find another endpoint.
    pub(crate) fn forget(&self) {
        *self.shared() = None;
    }

    /// As [`Site::forget`], if a call failed because of the connection. A broken one shows as UNKNOWN, too.
    pub(crate) fn forget_after(&self, status: &Status) {
        if matches!(status.code(), Code::Unavailable | Code::Unknown | Code::Cancelled | Code::Internal) {
            self.forget();
        }
    }

    async fn reach(&self, caller: Caller<'_>) -> Result<Channel, SiteError> {
        reach(&self.endpoints, &self.server, caller, &self.preferred).await
    }

    fn shared(&self) -> std::sync::MutexGuard<'_, Option<Channel>> {
        self.shared.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Tries each endpoint once, `preferred` first.
pub(crate) async fn reach(
    endpoints: &[String],
    server: &Name,
    caller: Caller<'_>,
    preferred: &AtomicUsize,
) -> Result<Channel, SiteError> {
    let first = preferred.load(Ordering::Relaxed);
    let mut last = SiteError::NoneKnown;
    for step in 0..endpoints.len() {
        let at = (first + step) % endpoints.len();
        match connect(&endpoints[at], server, caller, ChannelOptions::default()).await {
            Ok(channel) => {
                preferred.store(at, Ordering::Relaxed);
                return Ok(channel);
            }
            Err(error) => last = SiteError::NoneAnswers(error),
        }
    }
    Err(last)
}
