//! Support bundles of a site: made by its server while it runs, or from its directory when it does not.
//!
//! Parts take what is public by what they ask for. What cannot be had is named, and the rest goes on.

mod database;
mod files;
mod json;
mod live;
mod offline;

use std::time::Duration;

use packhorse_domain::{Timestamp, redact::Redactor};
use packhorse_support::{Archive, Bundle, Title, add_machine, pieces_of_keys};

use crate::{
    directories::Directories,
    error::Error,
    provider::Inspected,
    store::{Store, diagnosis},
};

pub use offline::{OfflineError, offline};

/// One that takes longer is left out.
const PART_LONGEST: Duration = Duration::from_secs(120);

/// What is looked at, in this order. The last makes the archive.
pub(crate) const PARTS: [&str; 7] = [
    "the machine",
    "the site's directory",
    "the database",
    "packages, advertisements and events",
    "the content library",
    "components, links and queues",
    "the archive",
];

/// A bundle of a site that runs, part by part.
#[derive(Debug)]
pub(crate) struct Making<'a> {
    view: &'a Inspected,
    caller_clock: Option<Timestamp>,
    bundle: Bundle,
    done: usize,
}

impl<'a> Making<'a> {
    pub(crate) async fn begin(view: &'a Inspected, caller_clock: Option<Timestamp>) -> Making<'a> {
        let mut bundle = Bundle::new(Redactor::default());
        know_secrets(&mut bundle, &view.site.directories, Some(&view.site.store)).await;
        Making { view, caller_clock, bundle, done: 0 }
    }

    /// Which of [`PARTS`] comes next; `None`: it is to be [finished](Making::finish).
    pub(crate) fn next(&self) -> Option<usize> {
        (self.done + 1 < PARTS.len()).then_some(self.done)
    }

    /// Adds the next part.
    pub(crate) async fn step(&mut self) -> Result<(), Error> {
        let (site, bundle) = (&*self.view.site, &mut self.bundle);
        match self.done {
            0 => {
                live::add_site(bundle, site, self.caller_clock);
                blocking(bundle, add_machine).await?;
            }
            1 => {
                let directories = site.directories.clone();
                blocking(bundle, move |bundle| files::add(bundle, &directories)).await?;
            }
            2 => database::add_facts(bundle, &site.store).await,
            3 => database::add_objects(bundle, &site.store, Some(site.code())).await,
            4 => live::add_library(bundle, self.view).await,
            _ => {
                live::add_state(bundle, self.view).await;
                live::add_log(bundle);
            }
        }
        self.done += 1;
        Ok(())
    }

    pub(crate) async fn finish(self) -> Result<Archive, Error> {
        let title = title(self.view.site.code().as_str(), self.view.site.now());
        let bundle = self.bundle;
        let packed = tokio::task::spawn_blocking(move || bundle.finish(&title)).await?;
        packed.map_err(|source| Error::File { what: "pack the support bundle".to_owned(), source })
    }
}

fn title(code: &str, made_at: Timestamp) -> Title {
    Title { of: format!("site server {code}"), name: code.to_owned(), made_at }
}

/// Tells the bundle which secrets there are here, so that it knows them wherever they turn up.
async fn know_secrets(bundle: &mut Bundle, directories: &Directories, store: Option<&Store>) {
    let root = directories.root().to_owned();
    let pieces = tokio::task::spawn_blocking(move || pieces_of_keys(&root)).await.unwrap_or_default();
    let mut hashes = Vec::new();
    if let Some(store) = store
        && let Ok(mut tx) = store.read().await
    {
        // Without them, secrets of tokens are still known by their names.
        hashes = diagnosis::token_hashes(&mut tx).await.unwrap_or_default();
    }
    bundle.redact(|redactor| redactor.with_known(pieces).with_tokens(hashes));
}

async fn blocking(bundle: &mut Bundle, add: impl FnOnce(&mut Bundle) + Send + 'static) -> Result<(), Error> {
    let mut taken = std::mem::take(bundle);
    let added = tokio::task::spawn_blocking(move || {
        add(&mut taken);
        taken
    });
    *bundle = added.await?;
    Ok(())
}

/// What a part that takes too long comes to.
async fn in_time<T, E>(work: impl Future<Output = Result<T, E>>) -> Result<T, String>
where
    E: std::error::Error,
{
    match tokio::time::timeout(PART_LONGEST, work).await {
        Ok(done) => done.map_err(|error| packhorse_runtime::error_chain(&error)),
        Err(_) => Err(format!("it took more than {} s", PART_LONGEST.as_secs())),
    }
}
