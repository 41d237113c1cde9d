//! Hands the outbox on to the site: a report leaves the disk only after the site has answered for it.

use std::{sync::Arc, time::Duration};

use packhorse_proto::cap::v1::{SubmitReportsRequest, cap_service_client::CapServiceClient};
use packhorse_runtime::{Next, Worker, telemetry::within};
use tonic::Code;
use tracing::Span;

use crate::{
    blocking::off_thread,
    site::{Site, SiteError},
    store::{Store, StoreError, WaitingReport},
};

const BATCH_COUNT_MAX: usize = 1000;
/// Below the 4 MiB that a gRPC server takes in one message, whatever the size of the reports.
const BATCH_BYTES_MAX: usize = 1024 * 1024;
/// Of a longer batch the rest is handed on all the same, and leaves no trace here.
const TRACED_MAX: usize = 100;
/// A site that does not answer for this long is asked again; repeating has no other effect.
const ANSWER_LONGEST: Duration = Duration::from_secs(60);

/// The worker that empties the outbox.
#[derive(Debug)]
pub(crate) struct SendReports {
    store: Arc<Store>,
    site: Arc<Site>,
    batch_count: usize,
}

#[derive(Debug, thiserror::Error)]
pub(crate) enum SendError {
    #[error("cannot reach the site")]
    Site(#[source] SiteError),
    #[error("the site does not take reports")]
    Refused(#[source] tonic::Status),
    #[error("the site does not answer for reports within {} s", ANSWER_LONGEST.as_secs())]
    Silent,
    #[error("cannot use the outbox")]
    Store(#[source] StoreError),
}

impl SendReports {
    pub(crate) fn new(store: Arc<Store>, site: Arc<Site>) -> Self {
        SendReports { store, site, batch_count: BATCH_COUNT_MAX }
    }

    async fn submit(&self, batch: &[WaitingReport]) -> Result<(), SendError> {
        let channel = self.site.channel().await.map_err(SendError::Site)?;
        let _spans: Vec<Span> = batch.iter().take(TRACED_MAX).map(span).collect();
        let reports = batch.iter().map(|waiting| waiting.report.clone()).collect();
        let mut client = CapServiceClient::new(channel);
        let answer =
            tokio::time::timeout(ANSWER_LONGEST, client.submit_reports(SubmitReportsRequest { reports }));
        match answer.await {
            Ok(Ok(_)) => Ok(()),
            Ok(Err(status)) => {
                self.site.forget_after(&status);
                Err(SendError::Refused(status))
            }
            Err(_) => {
                self.site.forget();
                Err(SendError::Silent)
            }
        }
    }

    async fn remove(&self, batch: Vec<WaitingReport>) -> Result<(), SendError> {
        let store = self.store.clone();
        off_thread(move || store.remove_reports(&batch)).await.map_err(SendError::Store)
    }
}

/// The span of handing a report on, within the trace of what it reports.
fn span(WaitingReport { report, .. }: &WaitingReport) -> Span {
    within(
        &report.traceparent,
        || tracing::info_span!(target: "report-sender", "submit-report", client = report.client),
    )
}

impl Worker for SendReports {
    const NAME: &'static str = "report-sender";
    const PERIOD: Duration = Duration::from_secs(30);
    type Error = SendError;

    async fn step(&mut self) -> Result<Next, SendError> {
        let (store, count) = (self.store.clone(), self.batch_count);
        let batch = off_thread(move || store.first_reports(count, BATCH_BYTES_MAX))
            .await
            .map_err(SendError::Store)?;
        if batch.is_empty() {
            return Ok(Next::Idle);
        }
        match self.submit(&batch).await {
            Ok(()) => self.batch_count = BATCH_COUNT_MAX.min(self.batch_count * 2),
            // One report that the site cannot read must not hold up all others: halve until it stands alone.
            Err(SendError::Refused(status)) if status.code() == Code::InvalidArgument => {
                if let [WaitingReport { report, .. }] = batch.as_slice() {
                    tracing::error!(
                        client = report.client,
                        reason = status.message(),
                        "the site refuses a report for good; it is dropped"
                    );
                } else {
                    self.batch_count = (batch.len() / 2).max(1);
                    return Ok(Next::Again);
                }
            }
            Err(error) => return Err(error),
        }
        self.remove(batch).await?;
        Ok(Next::Again)
    }
}
