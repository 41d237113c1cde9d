//! What a monitor may know of a client agent.

use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicI64, AtomicU64, Ordering},
    },
};

use futures::future::BoxFuture;
use packhorse_domain::{
    Timestamp,
    advertisement::{Delivery, STANDINGS, standing},
};
use packhorse_runtime::{
    figures,
    metrics::{Sheet, Source, machine},
};
use packhorse_trust::Credentials;

use crate::{blocking::off_thread, ledger::LedgerError, shared::Shared};

figures! {
    ALL:
    POLLS, "packhorse_client_polls_total", Counter, ["result"],
        "Polls of the client access point, by result";
    POLL_AGE, "packhorse_client_poll_age_seconds", Gauge, [],
        "How long ago a poll last succeeded; since the process began, if none has";
    RUNS, "packhorse_client_runs_total", Counter, ["result"],
        "Programs that ended since the process began, by result";
    ADVERTISEMENTS, "packhorse_client_advertisements", Gauge, ["state"],
        "Advertisements that this client knows, by state";
    FETCHED, "packhorse_client_fetched_bytes_total", Counter, [],
        "Bytes of content fetched from distribution points";
    REPORTS, "packhorse_client_reports_waiting", Gauge, [],
        "Reports that the site has not confirmed, counted up to 256";
    LIBRARY, "packhorse_library_bytes", Gauge, [],
        "What the content library takes on the disk";
}

const REPORTS_COUNTED: usize = 256;

/// What is counted while the agent works.
#[derive(Debug, Default)]
pub struct Counts {
    polls_ok: AtomicU64,
    polls_failed: AtomicU64,
    /// Microseconds; 0: none yet.
    polled_at: AtomicI64,
    succeeded: AtomicU64,
    failed: AtomicU64,
    interrupted: AtomicU64,
    fetched: AtomicU64,
}

impl Counts {
    pub(crate) fn polled(&self, now: Timestamp) {
        self.polls_ok.fetch_add(1, Ordering::Relaxed);
        self.polled_at.store(now.0, Ordering::Relaxed);
    }

    pub(crate) fn poll_failed(&self) {
        self.polls_failed.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn ended(&self, delivery: Delivery) {
        let count = match delivery {
            Delivery::Succeeded => &self.succeeded,
            Delivery::Interrupted => &self.interrupted,
            _ => &self.failed,
        };
        count.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn fetched(&self, bytes: u64) {
        self.fetched.fetch_add(bytes, Ordering::Relaxed);
    }
}

/// Reads the figures of a client agent.
pub(crate) struct ClientFigures {
    shared: Arc<Shared>,
    began_at: Timestamp,
}

impl ClientFigures {
    pub(crate) fn new(shared: Arc<Shared>) -> Self {
        ClientFigures { began_at: shared.clock.now(), shared }
    }
}

impl Source for ClientFigures {
    fn collect(&self) -> BoxFuture<'_, Sheet> {
        let (shared, began_at) = (self.shared.clone(), self.began_at);
        Box::pin(off_thread(move || read(&shared, began_at)))
    }
}

fn read(shared: &Shared, began_at: Timestamp) -> Sheet {
    let mut sheet = Sheet::new();
    sheet.declare(ALL);
    sheet.declare(machine::ALL);
    let (counts, now) = (&shared.counts, shared.clock.now());
    let of = |count: &AtomicU64| count.load(Ordering::Relaxed);
    sheet.count(&POLLS, &["ok"], of(&counts.polls_ok));
    sheet.count(&POLLS, &["failed"], of(&counts.polls_failed));
    let polled_at = Timestamp(counts.polled_at.load(Ordering::Relaxed)).max(began_at);
    sheet.put(&POLL_AGE, &[], now.since(polled_at).as_secs_f64());
    sheet.count(&RUNS, &["succeeded"], of(&counts.succeeded));
    sheet.count(&RUNS, &["failed"], of(&counts.failed));
    sheet.count(&RUNS, &["interrupted"], of(&counts.interrupted));
    sheet.count(&FETCHED, &[], of(&counts.fetched));
    if remembered(shared, &mut sheet).is_err() {
        sheet.incomplete();
    }
    sheet.count(&LIBRARY, &[], shared.library.disk_bytes());
    machine::disk(&mut sheet, shared.home.path());
    let credentials = Credentials::load(&shared.home.credentials()).ok();
    machine::certificate(&mut sheet, "own", credentials.as_ref(), now);
    sheet
}

fn remembered(shared: &Shared, sheet: &mut Sheet) -> Result<(), LedgerError> {
    let mut states: BTreeMap<&str, u64> = STANDINGS.map(|state| (state, 0)).into();
    for status in shared.ledger.statuses()? {
        *states.entry(standing(status.acceptance, status.delivery)).or_default() += 1;
    }
    for (state, count) in states {
        sheet.count(&ADVERTISEMENTS, &[state], count);
    }
    sheet.count(&REPORTS, &[], shared.ledger.waiting(REPORTS_COUNTED)?.len() as u64);
    Ok(())
}
