//! What a monitor may know of a site. Nothing is counted for it on the way of the work: it is read when it is asked for,
//! from the links as they are shown to people, from the workers, and from the database.

mod counted;
mod list;
#[cfg(test)]
mod tests;

use std::{path::Path, sync::Arc};

use futures::future::BoxFuture;
use packhorse_runtime::{
    error_chain,
    metrics::{Sheet, Source, machine},
};
use packhorse_trust::Credentials;

pub(crate) use crate::store::counts::Waiting;
use crate::{care::room, sender::LinkView, site::Site, store::neighbours};
use counted::Counted;
pub(crate) use counted::waiting;

/// Reads the figures of a site.
pub(crate) struct SiteFigures {
    site: Arc<Site>,
    counted: tokio::sync::Mutex<Counted>,
}

impl SiteFigures {
    pub(crate) fn new(site: Arc<Site>) -> Self {
        SiteFigures { site, counted: tokio::sync::Mutex::default() }
    }

    async fn read(&self) -> Sheet {
        let mut sheet = Sheet::new();
        sheet.declare(list::ALL);
        sheet.declare(&[&machine::CERTIFICATE]);
        let links = self.links(&mut sheet).await;
        let counted = self.counted.lock().await.read(&self.site).await;
        let disk = self.disk().await;
        if links.is_err() || counted.is_err() || disk.is_none() {
            sheet.incomplete();
        }
        let failed = |error: crate::error::Error| {
            tracing::warn!(target: "metrics", error = error_chain(&error), "some figures cannot be read");
        };
        links.unwrap_or_else(failed);
        match counted {
            Ok(counted) => sheet.add(counted),
            Err(error) => failed(error),
        }
        sheet.add(disk.unwrap_or_default());
        sheet
    }

    /// Every neighbour, those too that have never been there.
    async fn links(&self, sheet: &mut Sheet) -> Result<(), crate::error::Error> {
        let known = neighbours::list(&mut self.site.store.read().await?).await?;
        for neighbour in known {
            let peer = neighbour.code;
            self.site.links(|links| link(sheet, peer.as_str(), links.get(&peer)));
        }
        Ok(())
    }

    /// What must be asked of the disk. `None`: whoever asked has gone.
    async fn disk(&self) -> Option<Sheet> {
        let site = self.site.clone();
        tokio::task::spawn_blocking(move || {
            let mut sheet = Sheet::new();
            let library = site.directories.library();
            sheet.count(&list::LIBRARY, &[], site.library.disk_bytes());
            match room::disk(&library) {
                Ok(disk) => {
                    sheet.count(&list::DISK_FREE, &[], disk.free_bytes);
                    sheet.count(&list::DISK_SIZE, &[], disk.total_bytes);
                    sheet.count(&list::DISK_RESERVE, &[], site.settings.content.reserve.bytes(disk));
                }
                Err(_) => sheet.incomplete(),
            }
            let database = site.directories.database();
            let log = database.with_extension("db-wal");
            sheet.count(&list::DATABASE, &[], length(&database) + length(&log));
            machine::certificate(&mut sheet, "own", Some(&site.credentials), site.now());
            // A site without a parent has no certificate from one.
            let parent = Credentials::load(&site.directories.parent_credentials()).ok();
            machine::certificate(&mut sheet, "parent", parent.as_ref(), site.now());
            sheet
        })
        .await
        .ok()
    }
}

impl Source for SiteFigures {
    fn collect(&self) -> BoxFuture<'_, Sheet> {
        Box::pin(self.read())
    }
}

fn link(sheet: &mut Sheet, peer: &str, view: Option<&LinkView>) {
    let (absent, labels) = (LinkView::default(), [peer]);
    let view = view.unwrap_or(&absent);
    sheet.put(&list::LINK_UP, &labels, if view.up { 1.0 } else { 0.0 });
    if view.since.0 > 0 {
        sheet.put(&list::LINK_CHANGED, &labels, view.since.0 as f64 / 1e6);
    }
    sheet.count(&list::LINK_SENT, &labels, view.sent_before + view.sent());
    sheet.count(&list::LINK_RECEIVED, &labels, view.received_before + view.received());
    // The link says how short the way was; at first there is only what the connection took.
    let shortest = view.gauges.shortest_trip.as_secs_f64();
    let trip = if shortest > 0.0 { shortest } else { view.round_trip_us as f64 / 1e6 };
    if trip > 0.0 {
        sheet.put(&list::LINK_TRIP, &labels, trip);
    }
    if let Some(ahead_us) = view.clock_ahead_us {
        sheet.put(&list::LINK_CLOCK, &labels, ahead_us as f64 / 1e6);
    }
    let gauges = if view.up { view.gauges } else { absent.gauges };
    sheet.count(&list::LINK_RATE, &labels, gauges.bytes_per_second);
    sheet.count(&list::LINK_IN_FLIGHT, &labels, gauges.under_way_bytes);
    sheet.count(&list::LINK_WINDOW, &labels, gauges.window_bytes);
}

fn length(path: &Path) -> u64 {
    std::fs::metadata(path).map_or(0, |file| file.len())
}
