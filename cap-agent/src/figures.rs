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
    Clock,
    metrics::{Figure, Kind, Sheet, Source},
};
use packhorse_trust::Credentials;

use crate::{
    access::Polls,
    blocking::off_thread,
    enroll::credentials_in,
    feed::News,
    store::{Store, StoreError},
};

macro_rules! figures {
    ($($constant:ident, $name:literal, $kind:ident, [$($label:literal),*], $help:literal;)*) => {
        $(const $constant: Figure =
            Figure { name: $name, kind: Kind::$kind, labels: &[$($label),*], help: $help };)*

        const ALL: &[&Figure] = &[$(&$constant),*];
    };
}

figures! {
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
    DISK_FREE, "packhorse_disk_free_bytes", Gauge, [],
        "What is free on the disk of the agent's directory";
    DISK_SIZE, "packhorse_disk_size_bytes", Gauge, [],
        "The size of the disk of the agent's directory";
    CERTIFICATE, "packhorse_certificate_remaining_seconds", Gauge, ["certificate"],
        "How long a certificate of this process is valid still; negative once it has expired";
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
        if let Ok(disk) = rustix::fs::statvfs(&self.directory) {
            sheet.count(&DISK_FREE, &[], disk.f_bavail.saturating_mul(disk.f_frsize));
            sheet.count(&DISK_SIZE, &[], disk.f_blocks.saturating_mul(disk.f_frsize));
        }
        // As it lies on the disk: it may have been renewed since the start.
        let credentials = Credentials::load(&credentials_in(&self.directory));
        if let Some((_, not_after)) = credentials.ok().and_then(|credentials| credentials.validity().ok()) {
            let left_us = not_after.0.saturating_sub(self.clock.now().0);
            sheet.put(&CERTIFICATE, &["own"], left_us as f64 / 1e6);
        }
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
