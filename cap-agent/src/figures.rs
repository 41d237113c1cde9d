//! What a monitor may know of a CAP agent.

use std::{
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use futures::future::BoxFuture;
use packhorse_content::Library;
use packhorse_runtime::{
    Clock, figures,
    metrics::{Sheet, Source, machine},
};
use packhorse_trust::Credentials;

use crate::{
    access::Polls,
    blocking::off_thread,
    enroll::credentials_in,
    feed::News,
    store::{Store, StoreError},
};

figures! {
    ALL:
    FEED, "packhorse_feed_connected", Gauge, [],
        "1 if the site's feed of instruction files is open";
    FEED_OPENED, "packhorse_feed_opened_total", Counter, [],
        "How often the feed was opened";
    CLIENTS, "packhorse_feed_clients", Gauge, [],
        "Clients whose instruction is held here";
    FILES, "packhorse_feed_files", Gauge, [],
        "Instruction files that are held here";
    POLLS, "packhorse_polls_total", Counter, ["answer"],
        "Polls of clients, by what they were answered";
    REPORTS, "packhorse_reports_waiting", Gauge, [],
        "Reports of clients that the site has not answered for";
    REPORTS_AGE, "packhorse_reports_oldest_age_seconds", Gauge, [],
        "How long the oldest of them has waited; 0 if there is none";
    SERVED, "packhorse_content_served_bytes_total", Counter, [],
        "Bytes of content handed out, as they lie on the disk; missing at an agent that is no distribution point";
    LIBRARY, "packhorse_library_bytes", Gauge, [],
        "What the content library takes on the disk; missing at an agent that is no distribution point";
}

/// Reads the figures of a CAP agent.
#[derive(Debug, Clone)]
pub(crate) struct CapFigures {
    pub(crate) directory: PathBuf,
    pub(crate) store: Arc<Store>,
    pub(crate) library: Option<Arc<Library>>,
    pub(crate) news: News,
    pub(crate) polls: Arc<Polls>,
    pub(crate) served: Option<Arc<AtomicU64>>,
    pub(crate) clock: Arc<dyn Clock>,
}

impl Source for CapFigures {
    fn collect(&self) -> BoxFuture<'_, Sheet> {
        let figures = self.clone();
        Box::pin(off_thread(move || figures.read()))
    }
}

impl CapFigures {
    fn read(&self) -> Sheet {
        let mut sheet = Sheet::new();
        sheet.declare(ALL);
        sheet.declare(machine::ALL);
        sheet.put(&FEED, &[], if self.news.is_open() { 1.0 } else { 0.0 });
        sheet.count(&FEED_OPENED, &[], self.news.sessions());
        sheet.count(&CLIENTS, &[], self.store.clients() as u64);
        for (answer, count) in [
            ("unchanged", &self.polls.unchanged),
            ("news", &self.polls.news),
            ("unknown", &self.polls.unknown),
        ] {
            sheet.count(&POLLS, &[answer], count.load(Ordering::Relaxed));
        }
        if self.stored(&mut sheet).is_err() {
            // The store says itself what is wrong, to whoever needs it.
            sheet.incomplete();
        }
        if let Some(served) = &self.served {
            sheet.count(&SERVED, &[], served.load(Ordering::Relaxed));
        }
        if let Some(library) = &self.library {
            sheet.count(&LIBRARY, &[], library.disk_bytes());
        }
        machine::disk(&mut sheet, &self.directory);
        // As it lies on the disk: it may have been renewed since the start.
        let credentials = Credentials::load(&credentials_in(&self.directory)).ok();
        machine::certificate(&mut sheet, "own", credentials.as_ref(), self.clock.now());
        sheet
    }

    fn stored(&self, sheet: &mut Sheet) -> Result<(), StoreError> {
        sheet.count(&FILES, &[], self.store.files_held()?);
        sheet.count(&REPORTS, &[], self.store.reports_waiting()?);
        let age = self.store.oldest_report()?.map_or(0.0, |at| self.clock.now().since(at).as_secs_f64());
        sheet.put(&REPORTS_AGE, &[], age);
        Ok(())
    }
}
