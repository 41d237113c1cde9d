//! Sender: what goes out on one link.

use std::{
    collections::HashMap,
    fs::{self, File},
    sync::Arc,
    time::Duration,
};

use bytes::Bytes;
use packhorse_content::Outline;
use packhorse_domain::{
    Priority, Timestamp,
    id::SiteCode,
    link::{self, Event, ItemId, Link, OfferError, Open, Stage},
    object::ObjectKind,
};

use packhorse_runtime::telemetry::{exports_traces, within};
use tokio::time::Instant;
use tracing::Span;

use crate::{
    error::Error,
    scheduler::{self, Job, JobContent},
    sender::{
        Moving,
        ahead::{self, Ahead},
        deliver,
    },
    site::Site,
    store::{neighbours::Relation, refusals},
    trace,
};

/// The items that this side has handed to the link.
pub(super) struct Sender {
    site: Arc<Site>,
    peer: SiteCode,
    relation: Relation,
    jobs: HashMap<ItemId, OpenJob>,
    /// Objects refused on this link; not offered again before this time, or not on this link.
    waiting: HashMap<ItemId, Option<Timestamp>>,
    /// When something that was refused may be offered again.
    retry_at: Option<Instant>,
    /// When the peer last took something of a bundle.
    moved_at: Option<Instant>,
    ahead: Ahead,
}

struct OpenJob {
    job: Job,
    /// Of a bundle, once it is read.
    file: Option<Arc<File>>,
    /// From its offer to its receipt.
    _span: Span,
}

impl OpenJob {
    fn new(job: Job, peer: &SiteCode) -> Self {
        let traceparent = match &job.content {
            // Nothing is a child of it.
            _ if !exports_traces() => String::new(),
            // They are many, and part of no trace that somebody looks for.
            JobContent::Object { kind: ObjectKind::Event, .. } => String::new(),
            JobContent::Object { content, .. } => trace::of_content(content),
            JobContent::Bundle(_) => job.traceparent.clone(),
        };
        let _span = within(&traceparent, || {
            let (subject, bytes) = (&job.item.subject, job.item.length);
            tracing::info_span!(target: "sender", "send", %peer, item = %job.item.id, subject, bytes)
        });
        let (subject, bytes) = (&job.item.subject, job.item.length);
        tracing::debug!(target: "sender", %peer, item = %job.item.id, subject, bytes, "offered");
        OpenJob { job, file: None, _span }
    }
}

impl Sender {
    pub(super) fn new(site: Arc<Site>, peer: SiteCode, relation: Relation) -> Self {
        Sender {
            site,
            peer,
            relation,
            jobs: HashMap::new(),
            waiting: HashMap::new(),
            retry_at: None,
            moved_at: None,
            ahead: Ahead::default(),
        }
    }

    /// Hands the link what Scheduler admits.
    pub(super) async fn fill(&mut self, link: &mut Link) -> Result<(), Error> {
        self.offer_again().await?;
        let admitted = scheduler::admit(&self.site, &self.peer, self.relation).await?;
        let gone: Vec<ItemId> =
            self.jobs.iter().filter(|(_, open)| admitted.takes_back(&open.job)).map(|(id, _)| *id).collect();
        for id in gone {
            link.cancel(id);
            self.jobs.remove(&id);
        }
        self.hand(admitted.jobs, link);
        let retry_at = self.waiting.values().flatten().copied().chain(admitted.retry_at).min();
        self.retry_at = retry_at.map(|at| Instant::now() + at.since(self.site.now()));
        Ok(())
    }

    /// When there will be more to [fill](Sender::fill) in, without anything that changes.
    pub(super) fn retry_at(&self) -> Option<Instant> {
        self.retry_at
    }

    /// Hands the link mini-jobs; what it has no room for is left out.
    pub(super) fn hand(&mut self, jobs: Vec<Job>, link: &mut Link) {
        for job in jobs {
            let id = job.item.id;
            // What is still coming in here may have come further.
            link.available(id, job.item.available);
            if self.jobs.contains_key(&id) || self.waiting.contains_key(&id) {
                continue;
            }
            match link.offer(job.item.clone()) {
                Ok(packhorse_domain::link::Offering::Replaced(older)) => {
                    self.jobs.remove(&older);
                    self.jobs.insert(id, OpenJob::new(job, &self.peer));
                }
                // A newer state of it is under way.
                Ok(packhorse_domain::link::Offering::Outdated) => {}
                Ok(_) => drop(self.jobs.insert(id, OpenJob::new(job, &self.peer))),
                // Of this class; one that is more urgent may still have room.
                Err(OfferError::Full { .. }) => {}
                Err(error @ OfferError::Invalid { .. }) => {
                    tracing::error!(target: "sender", peer = %self.peer, error = %error, "an item cannot be offered");
                }
            }
        }
    }

    /// What was refused and has waited long enough is offered again.
    async fn offer_again(&mut self) -> Result<(), Error> {
        let (now, waiting) = (self.site.now(), self.waiting.len());
        self.waiting.retain(|_, until| until.is_none_or(|until| until > now));
        if self.waiting.len() == waiting {
            return Ok(());
        }
        let mut tx = self.site.store.begin().await?;
        refusals::end_waits(&mut tx, &self.peer, now).await?;
        Ok(tx.commit().await?)
    }

    /// More of what is still coming in here can go on.
    pub(super) fn relay(&self, link: &mut Link) {
        for (item, open) in &self.jobs {
            if open.job.item.available < open.job.item.length {
                link.available(*item, self.site.relays.upto(item));
            }
        }
    }

    /// How urgent its most urgent bundle is, and how long ago one moved. `None`: there is no bundle to send.
    pub(super) fn claim(&self, open: Open) -> Option<(Priority, Duration)> {
        let bundles = self.jobs.values().filter(|one| matches!(one.job.content, JobContent::Bundle(_)));
        let priority =
            bundles.map(|one| one.job.item.priority).filter(|priority| open.admits(*priority)).min()?;
        Some((priority, self.moved_at.map_or(Duration::MAX, |at| at.elapsed())))
    }

    /// Gives the hashes of a bundle's parts, if they are known.
    fn outline(&self, item: ItemId, link: &mut Link) {
        let Some(JobContent::Bundle(bundle)) = self.jobs.get(&item).map(|one| &one.job.content) else {
            return;
        };
        let directories = &self.site.directories;
        let bytes = fs::read(directories.outline(&bundle.digest))
            .or_else(|_| fs::read(directories.arrival_outline(&item)));
        // A torn one, or none, means that the peer passes on only what is whole.
        if let Some(outline) = bytes.ok().and_then(|bytes| Outline::from_bytes(&bytes).ok())
            && !outline.hashes().is_empty()
            && outline.leads_to(bundle.length, &bundle.digest)
        {
            let hashes = outline.hashes().to_vec();
            link.outline(link::Outline { item, part_bytes: outline.part_bytes(), hashes });
        }
    }

    /// The bytes of an item that go out next.
    pub(super) async fn read(&mut self, item: ItemId, offset: u64, length: usize) -> std::io::Result<Bytes> {
        if let Some(bytes) = self.ahead.take(item, offset, length) {
            return Ok(bytes);
        }
        let open = self.jobs.get_mut(&item).ok_or_else(|| std::io::Error::other("the item is not queued"))?;
        let bundle = match &open.job.content {
            JobContent::Object { content, .. } => {
                let start = usize::try_from(offset).unwrap_or(usize::MAX);
                return content
                    .get(start..start.saturating_add(length))
                    .map(Bytes::copy_from_slice)
                    .ok_or_else(|| std::io::Error::other("the object is shorter"));
            }
            JobContent::Bundle(bundle) => bundle,
        };
        let whole = self.site.directories.bundle(&bundle.digest);
        let coming = self.site.directories.arrival(&item);
        let file = open.file.clone();
        let to_read = Ahead::length(offset, length, open.job.item.available);
        let (file, bytes) = tokio::task::spawn_blocking(move || {
            let file = match file {
                Some(file) => file,
                // Despooler moves it from one place to the other.
                None => Arc::new(
                    File::open(&whole).or_else(|_| File::open(coming)).or_else(|_| File::open(whole))?,
                ),
            };
            let bytes = ahead::read(&file, offset, to_read)?;
            Ok::<_, std::io::Error>((file, bytes))
        })
        .await
        .map_err(std::io::Error::other)??;
        open.file = Some(file);
        Ok(self.ahead.fill(item, offset, bytes, length))
    }

    /// A bundle that cannot be read is made anew, or tried again while it still comes in.
    pub(super) async fn unreadable(&mut self, item: ItemId, error: &std::io::Error) -> Result<(), Error> {
        let Some(open) = self.jobs.remove(&item) else {
            return Ok(());
        };
        if let JobContent::Bundle(bundle) = &open.job.content {
            deliver::remake(&self.site, &self.peer, bundle, &format!("it cannot be read: {error}")).await?;
        }
        Ok(())
    }

    /// Records what the peer said. True: there is room for more.
    pub(super) async fn handle(&mut self, events: Vec<Event>, link: &mut Link) -> Result<bool, Error> {
        let mut delivered = Vec::new();
        let mut refused = Vec::new();
        for event in events {
            match event {
                Event::Wanted { item, .. } => {
                    self.moved_at = Some(Instant::now());
                    self.outline(item, link);
                }
                Event::Acked { .. } | Event::Written { .. } => self.moved_at = Some(Instant::now()),
                Event::Delivered { item } => {
                    tracing::debug!(target: "sender", peer = %self.peer, %item, "delivered");
                    delivered.extend(self.jobs.remove(&item).map(|open| open.job));
                }
                Event::Refused { item, reason, text } => {
                    tracing::debug!(target: "sender", peer = %self.peer, %item, %reason, text, "refused");
                    refused.extend(self.jobs.remove(&item).map(|open| (open.job, reason, text)));
                }
                _ => {}
            }
        }
        if delivered.is_empty() && refused.is_empty() {
            return Ok(false);
        }
        self.waiting.extend(deliver::record(&self.site, &self.peer, &delivered, &refused).await?);
        Ok(true)
    }

    /// What moves, for people: bundles, and objects that are not done at once.
    pub(super) fn moving(&self, link: &Link) -> Vec<Moving> {
        link.progress()
            .filter_map(|progress| {
                let open = self.jobs.get(&progress.item)?;
                let is_event =
                    matches!(&open.job.content, JobContent::Object { kind: ObjectKind::Event, .. });
                (!is_event).then(|| Moving {
                    item: progress.item,
                    outgoing: true,
                    subject: open.job.item.subject.clone(),
                    priority: progress.priority,
                    stage: progress.stage,
                    done: match progress.stage {
                        Stage::Sending { acked, .. } => acked,
                        Stage::Queued | Stage::Offered | Stage::Inline => 0,
                    },
                    total: progress.length,
                    rate_bytes_per_s: 0,
                })
            })
            .collect()
    }
}
