//! Tells the site what the client did and what it is. What was not answered is told again.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use packhorse_domain::Digest;
use packhorse_proto::object::v1 as wire;
use packhorse_runtime::{Next, Worker, error_chain, telemetry::within};
use prost::Message as _;
use tracing::Instrument as _;

use crate::{
    cap::{CapError, Report},
    chance::backoff,
    ledger::LedgerError,
    shared::Shared,
};

/// At most as many as the service takes.
const REPORTS_MAX: usize = 256;
const BACKOFF_MIN: Duration = Duration::from_secs(1);
const BACKOFF_MAX: Duration = Duration::from_secs(60);

/// Reports.
#[derive(Debug)]
pub struct Reporter {
    shared: Arc<Shared>,
    /// Facts are sent when the process starts, and then when they change.
    facts_sent: bool,
    failures: u32,
    not_before: Option<Instant>,
}

#[derive(Debug, thiserror::Error)]
pub enum ReportError {
    #[error("a report did not reach the site")]
    Cap {
        #[from]
        source: CapError,
    },
    #[error("the outbox of reports cannot be used")]
    Ledger {
        #[from]
        source: LedgerError,
    },
}

impl Reporter {
    pub fn new(shared: Arc<Shared>) -> Self {
        Reporter { shared, facts_sent: false, failures: 0, not_before: None }
    }

    /// Sends all that the site has not confirmed.
    pub async fn report(&mut self) -> Result<(), ReportError> {
        let facts = wire::ClientFact::from(&self.shared.facts());
        let digest = facts_digest(&facts);
        let known = self.facts_sent && self.shared.ledger.facts_sent()?.as_ref() == Some(&digest);
        if !known {
            self.shared.cap.report(&Report { facts: Some(facts), ..Report::default() }).await?;
            self.shared.ledger.set_facts_sent(&digest)?;
            self.facts_sent = true;
        }
        loop {
            let Some(report) = self.next()? else { return Ok(()) };
            let span = within(
                &report.traceparent,
                || tracing::info_span!(target: "reporter", "report", statuses = report.statuses.len()),
            );
            self.shared.cap.report(&report).instrument(span).await?;
            self.shared.ledger.confirmed(&report.statuses)?;
        }
    }

    /// Waiting statuses of one trace: a call carries only one.
    fn next(&self) -> Result<Option<Report>, LedgerError> {
        let waiting = self.shared.ledger.waiting(REPORTS_MAX)?;
        let Some(first) = waiting.first() else { return Ok(None) };
        let traceparent = first.traceparent.clone();
        let statuses =
            waiting.into_iter().filter(|entry| entry.traceparent == traceparent).map(|entry| entry.status);
        Ok(Some(Report { statuses: statuses.collect(), facts: None, traceparent }))
    }
}

fn facts_digest(facts: &wire::ClientFact) -> Digest {
    // Labels are a map, which is encoded in any order.
    let mut labels: Vec<_> = facts.labels.iter().collect();
    labels.sort();
    let rest = wire::ClientFact { labels: Default::default(), ..facts.clone() };
    let mut hasher = blake3::Hasher::new();
    hasher.update(&rest.encode_to_vec());
    for (name, value) in labels {
        for text in [name, value] {
            hasher.update(&(text.len() as u64).to_le_bytes());
            hasher.update(text.as_bytes());
        }
    }
    Digest(*hasher.finalize().as_bytes())
}

impl Worker for Reporter {
    const NAME: &'static str = "reporter";
    const PERIOD: Duration = Duration::from_secs(60);
    type Error = LedgerError;

    async fn step(&mut self) -> Result<Next, LedgerError> {
        // Wake-ups come with each change; a site that is not there is not asked with each.
        if let Some(left) = self.not_before.map(|at| at.saturating_duration_since(Instant::now()))
            && !left.is_zero()
        {
            return Ok(Next::After(left));
        }
        match self.report().await {
            Ok(()) => {
                self.failures = 0;
                self.not_before = None;
                Ok(Next::Idle)
            }
            Err(ReportError::Ledger { source }) => Err(source),
            Err(error) => {
                self.failures = self.failures.saturating_add(1);
                let pause = backoff(self.failures, BACKOFF_MIN, BACKOFF_MAX);
                self.not_before = Some(Instant::now() + pause);
                tracing::warn!(error = error_chain(&error), failures = self.failures, "report failed");
                Ok(Next::After(pause))
            }
        }
    }
}
