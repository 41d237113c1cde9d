//! Status Manager's summary of this site: how it and its components are, for those above.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use packhorse_domain::{
    Timestamp,
    health::{
        LINES_MAX, SiteHealth,
        assess::{Assessor, CapFacts, ComponentFacts, Facts, LineFacts, Waiting},
        judge::COUNTED,
        telling,
    },
    object::ObjectKind,
    status::Severity,
};
use packhorse_proto::object::v1 as wire;
use packhorse_runtime::{Lifecycle, Next, Worker};

use super::surroundings;
use crate::{
    error::Error,
    figures,
    provider::CAP_PRESENT,
    record::{self, Body},
    site::Site,
    store::{
        Tx, caps, events,
        neighbours::{self, Relation},
    },
};

/// So often it looks within the shortest time between two reports.
const LOOKS: u32 = 6;

/// Looks how the site is, and writes it where that is news.
pub(crate) struct HealthReporter {
    site: Arc<Site>,
    lifecycle: Lifecycle,
    assessor: Option<Assessor>,
}

impl HealthReporter {
    pub(crate) fn new(site: Arc<Site>, lifecycle: Lifecycle) -> Self {
        HealthReporter { site, lifecycle, assessor: None }
    }

    async fn report(&mut self) -> Result<(), Error> {
        let site = &*self.site;
        let mut tx = site.store.read().await?;
        let told = told(site, &mut tx).await?;
        let facts = facts(site, &self.lifecycle, &mut tx).await?;
        drop(tx);
        let assessor = self.assessor.get_or_insert_with(|| Assessor::new(site.opened_at, told.as_ref()));
        let mut health = assessor.assess(&facts);
        if !telling::is_due(told.as_ref(), &health, site.settings.health) {
            return Ok(());
        }
        let library = site.library.clone();
        health.library_bytes = tokio::task::spawn_blocking(move || library.disk_bytes()).await?;
        assessor.queued(&mut health, &waiting(&mut site.store.read().await?).await?);
        let mut tx = site.store.begin().await?;
        let (id, body) = (site.code().as_str(), Body::of::<wire::SiteHealth, _>(&health));
        record::write(site, &mut tx, ObjectKind::SiteHealth, id, body).await?;
        Ok(tx.commit().await?)
    }
}

/// What this site said last of itself. What does not decode a later version of this program wrote; that is written over.
async fn told(site: &Site, tx: &mut Tx) -> Result<Option<SiteHealth>, Error> {
    let found =
        record::find::<wire::SiteHealth, SiteHealth>(tx, ObjectKind::SiteHealth, site.code().as_str()).await;
    match found {
        Ok(found) => Ok(found.map(|(_, health)| health)),
        Err(Error::Stored { .. }) => Ok(None),
        Err(error) => Err(error),
    }
}

async fn facts(site: &Site, lifecycle: &Lifecycle, tx: &mut Tx) -> Result<Facts, Error> {
    let (now, pace) = (site.now(), site.settings.health);
    let found = surroundings::look(site).await?;
    let (mut lines, mut ahead_us) = (Vec::new(), None);
    for neighbour in neighbours::list(tx).await?.into_iter().take(LINES_MAX) {
        let view = site
            .links(|links| links.get(&neighbour.code).map(|view| (view.up, view.since, view.clock_ahead_us)));
        let (up, since, ahead) = view.unwrap_or_default();
        if neighbour.relation == Relation::Parent {
            ahead_us = ahead;
        }
        // Before this process it was up last when the neighbour was seen last.
        let since = [since, neighbour.seen_at].into_iter().find(|at| *at != Timestamp::default());
        lines.push(LineFacts { peer: neighbour.code, up, since });
    }
    let mut agents = Vec::new();
    for cap in caps::list(tx).await? {
        agents.push(CapFacts {
            connected: now.since(cap.seen_at) < CAP_PRESENT,
            seen_at: cap.seen_at,
            behind: caps::count_after(tx, &cap.name, cap.cursor).await?,
        });
    }
    Ok(Facts {
        site: site.code().clone(),
        now,
        every: pace.every,
        calm: pace.calm,
        components: components(site, lifecycle, tx, now).await?,
        disk: found.disk.map(|(_, disk, reserve)| (disk, reserve)),
        certificate: found.certificate.map(|(name, ends)| (name.to_owned(), ends)),
        lines,
        caps: agents,
        ahead_us,
    })
}

/// Those that have steps, and whoever else complained within the hour.
async fn components(
    site: &Site,
    lifecycle: &Lifecycle,
    tx: &mut Tx,
    now: Timestamp,
) -> Result<BTreeMap<String, ComponentFacts>, Error> {
    let mut components: BTreeMap<String, ComponentFacts> = BTreeMap::new();
    for worker in lifecycle.statuses() {
        let one = components.entry(worker.name.to_owned()).or_default();
        one.works = true;
        one.signs.consecutive_errors = worker.consecutive_errors;
        one.last_error = worker.last_error.unwrap_or_default();
    }
    let since = Timestamp(now.0.saturating_sub(i64::try_from(COUNTED.as_micros()).unwrap_or(i64::MAX)));
    for (component, severity, times) in events::complaints(tx, site.code(), since).await? {
        let signs = &mut components.entry(component).or_default().signs;
        match severity {
            Severity::Error => signs.errors += times,
            _ => signs.warnings += times,
        }
    }
    Ok(components)
}

/// What waits longest in each class. Counting takes a moment, so it is done only for what is written.
async fn waiting(tx: &mut Tx) -> Result<Vec<Waiting>, Error> {
    let known = neighbours::list(tx).await?;
    let (waiting, _) = figures::waiting(tx, &known).await?;
    let one = |((peer, priority), waiting): (_, figures::Waiting)| Waiting {
        peer,
        priority,
        oldest: waiting.oldest,
    };
    Ok(waiting.into_iter().map(one).collect())
}

impl Worker for HealthReporter {
    const NAME: &'static str = "health-reporter";
    const PERIOD: Duration = Duration::from_secs(10);
    type Error = Error;

    async fn step(&mut self) -> Result<Next, Error> {
        self.report().await?;
        Ok(Next::After(self.site.settings.health.shortest / LOOKS))
    }
}
