//! Sender: what goes out on one link.

use std::{collections::HashMap, fs::File, os::unix::fs::FileExt as _, sync::Arc, time::Duration};

use packhorse_domain::{
    id::SiteCode,
    link::{Event, ItemId, Link, OfferError, RefuseReason, Stage},
    object::ObjectKind,
};

use crate::{
    error::Error,
    scheduler::{self, Job, JobContent},
    sender::{Moving, deliver},
    site::Site,
    store::neighbours::Relation,
};

/// How long an object that was refused for now waits.
const REFUSED_WAIT: Duration = Duration::from_secs(60);

/// The items that this side has handed to the link.
pub(super) struct Sender {
    site: Arc<Site>,
    peer: SiteCode,
    relation: Relation,
    jobs: HashMap<ItemId, Open>,
    /// Refused for now; not offered again before this time.
    waiting: HashMap<ItemId, tokio::time::Instant>,
}

struct Open {
    job: Job,
    /// Of a bundle, once it is read.
    file: Option<Arc<File>>,
}

impl Sender {
    pub(super) fn new(site: Arc<Site>, peer: SiteCode, relation: Relation) -> Self {
        Sender { site, peer, relation, jobs: HashMap::new(), waiting: HashMap::new() }
    }

    /// Hands the link what Scheduler admits.
    pub(super) async fn fill(&mut self, link: &mut Link) -> Result<(), Error> {
        let now = tokio::time::Instant::now();
        self.waiting.retain(|_, until| *until > now);
        let jobs = scheduler::admit(&self.site, &self.peer, self.relation).await?;
        let still: Vec<ItemId> = jobs.iter().map(|job| job.item.id).collect();
        let gone: Vec<ItemId> = self
            .jobs
            .iter()
            .filter(|(id, open)| matches!(open.job.content, JobContent::Bundle(_)) && !still.contains(id))
            .map(|(id, _)| *id)
            .collect();
        for id in gone {
            link.cancel(id);
            self.jobs.remove(&id);
        }
        self.hand(jobs, link);
        Ok(())
    }

    /// Hands the link mini-jobs; what it has no room for is left out.
    pub(super) fn hand(&mut self, jobs: Vec<Job>, link: &mut Link) {
        for job in jobs {
            let id = job.item.id;
            if self.jobs.contains_key(&id) || self.waiting.contains_key(&id) {
                continue;
            }
            match link.offer(job.item.clone()) {
                Ok(packhorse_domain::link::Offering::Replaced(older)) => {
                    self.jobs.remove(&older);
                    self.jobs.insert(id, Open { job, file: None });
                }
                // A newer state of it is under way.
                Ok(packhorse_domain::link::Offering::Outdated) => {}
                Ok(_) => drop(self.jobs.insert(id, Open { job, file: None })),
                // Of this class; one that is more urgent may still have room.
                Err(OfferError::Full { .. }) => {}
                Err(error @ OfferError::Invalid { .. }) => {
                    tracing::error!(target: "sender", peer = %self.peer, error = %error, "an item cannot be offered");
                }
            }
        }
    }

    /// The bytes of an item that go out next.
    pub(super) async fn read(
        &mut self,
        item: ItemId,
        offset: u64,
        length: usize,
    ) -> std::io::Result<Vec<u8>> {
        let open = self.jobs.get_mut(&item).ok_or_else(|| std::io::Error::other("the item is not queued"))?;
        let bundle = match &open.job.content {
            JobContent::Object { content, .. } => {
                let start = usize::try_from(offset).unwrap_or(usize::MAX);
                return content
                    .get(start..start.saturating_add(length))
                    .map(<[u8]>::to_vec)
                    .ok_or_else(|| std::io::Error::other("the object is shorter"));
            }
            JobContent::Bundle(bundle) => bundle,
        };
        let path = self.site.directories.bundle(&bundle.digest);
        let file = open.file.clone();
        let (file, bytes) = tokio::task::spawn_blocking(move || {
            let file = match file {
                Some(file) => file,
                None => Arc::new(File::open(path)?),
            };
            let mut bytes = vec![0; length];
            file.read_exact_at(&mut bytes, offset)?;
            Ok::<_, std::io::Error>((file, bytes))
        })
        .await
        .map_err(std::io::Error::other)??;
        open.file = Some(file);
        Ok(bytes)
    }

    /// A bundle that cannot be read is made anew.
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
    pub(super) async fn handle(&mut self, events: Vec<Event>) -> Result<bool, Error> {
        let mut delivered = Vec::new();
        let mut refused = Vec::new();
        for event in events {
            match event {
                Event::Delivered { item } => delivered.extend(self.jobs.remove(&item).map(|open| open.job)),
                Event::Refused { item, reason, text } => {
                    if let Some(open) = self.jobs.remove(&item) {
                        if matches!(open.job.content, JobContent::Object { .. })
                            && !matches!(reason, RefuseReason::Held | RefuseReason::NotAllowed)
                        {
                            self.waiting.insert(item, tokio::time::Instant::now() + REFUSED_WAIT);
                        }
                        refused.push((open.job, reason, text));
                    }
                }
                _ => {}
            }
        }
        if delivered.is_empty() && refused.is_empty() {
            return Ok(false);
        }
        deliver::record(&self.site, &self.peer, &delivered, &refused).await?;
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
                    done: match progress.stage {
                        Stage::Sending { acked, .. } => acked,
                        Stage::Queued | Stage::Offered | Stage::Inline => 0,
                    },
                    total: progress.length,
                })
            })
            .collect()
    }
}
