//! Bundles that are taken in while they arrive, so that little is left to do when the last byte is there.
//!
//! What is to show at a directory of this site is only staged so, and shows as soon as it is proved; Despooler takes it into the
//! library afterwards. That costs decoding it twice, and who waits for the tree does not wait for the library.
//!
//! Nothing is recorded of it: it may be in vain. When a bundle is whole, Despooler asks what came of it, and if that is
//! nothing takes the bundle in as if nobody had begun.

use std::{
    collections::HashMap,
    fs::File,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use packhorse_content::{
    BundleError, Coming, Library, Limits, Offered, Patience, Source, apply_offered, stage_offered,
};
use packhorse_domain::{Digest, id::PackageId, link::ItemId};
use packhorse_runtime::error_chain;
use tokio::{sync::OwnedRwLockReadGuard, task::JoinHandle};

use super::{
    Stage,
    staging::{Showing, StagedTrees, finished},
};
use crate::{error::Error, site::Site};

/// What is shorter is taken in soon enough.
const WORTH_BYTES: u64 = 8 * 1024 * 1024;
/// The rest should be here within this time: who waits for it keeps the clean-up waiting.
const SOON: Duration = Duration::from_secs(5);
/// Whoever waits longer gives up: the line, or the medium, has become slow.
const PATIENCE: Patience = Patience { next: Duration::from_secs(10), all: Duration::from_secs(300) };

/// The bundle that is being taken in, and those that Despooler has not asked for yet.
#[derive(Debug, Default)]
pub(crate) struct Unpacking(Mutex<HashMap<ItemId, Task>>);

#[derive(Debug)]
struct Task {
    unpacks: JoinHandle<Result<(To, Gate), BundleError>>,
    coming: Arc<Coming>,
    length: u64,
}

/// Until it is recorded nobody may collect it.
type Gate = OwnedRwLockReadGuard<()>;

/// What came of a bundle that was taken in while it came.
#[derive(Debug)]
pub(super) struct Unpacked {
    pub(super) to: To,
    pub(super) gate: Gate,
    /// Whoever filled the file found that it is what was offered.
    pub(super) is_proved: bool,
}

#[derive(Debug)]
pub(super) enum To {
    /// Its version is there.
    Library,
    /// What it brings is what was wanted, and is about to show.
    Directories(Showing),
}

/// A bundle that is coming.
#[derive(Debug, Clone)]
pub(crate) struct Expected {
    pub(crate) item: ItemId,
    pub(crate) package: PackageId,
    pub(crate) target: Digest,
    pub(crate) digest: Digest,
    pub(crate) length: u64,
    /// Whoever fills the file checks each byte of it.
    pub(crate) is_checked: bool,
}

/// The word of whoever fills the file. When it is dropped, nothing more comes.
#[derive(Debug)]
pub(crate) struct Filling(Arc<Coming>);

impl Filling {
    pub(crate) fn of(coming: Arc<Coming>) -> Filling {
        Filling(coming)
    }

    /// All before `upto` is in the file.
    pub(crate) fn reach(&self, upto: u64) {
        self.0.reach(upto);
    }

    /// Each byte was checked by a hash that leads to the digest of the whole.
    pub(crate) fn prove(&self) {
        self.0.prove();
    }
}

impl Drop for Filling {
    fn drop(&mut self) {
        self.0.end();
    }
}

/// Whether somebody should wait for the rest of a bundle, of which so many bytes came in some time.
pub(crate) fn is_soon(came: u64, within: Duration, rest: u64) -> bool {
    u128::from(came) * SOON.as_micros() >= u128::from(rest) * within.as_micros()
}

impl Unpacking {
    /// Begins with a bundle of whose file all before `upto` is there. `None`: it is not worth it, or not now.
    pub(crate) async fn begin(
        site: &Arc<Site>,
        expected: &Expected,
        file: File,
        upto: u64,
    ) -> Result<Option<Filling>, Error> {
        if expected.length < WORTH_BYTES || site.unpacking.is_at_work() || !site.staged.is_swept() {
            return Ok(None);
        }
        let Ok(gate) = site.content_gate.clone().try_read_owned() else { return Ok(None) };
        let stage = Stage::of(site, &expected.package, expected.target).await?;
        let (item, package) = (&expected.item, &expected.package);
        tracing::debug!(target: "despooler", %item, %package, upto, "a bundle is taken in while it comes");
        let coming = Coming::new(upto, PATIENCE, expected.is_checked);
        let source = Source::coming(file, expected.length, coming.clone());
        let offered = Offered { digest: expected.digest, target: expected.target };
        let unpacked_at = site.clone();
        let unpacks = tokio::task::spawn_blocking(move || {
            let to = unpack((&unpacked_at.library, &unpacked_at.staged), &source, &offered, stage)?;
            Ok((to, gate))
        });
        let task = Task { unpacks, coming: coming.clone(), length: expected.length };
        site.unpacking.tasks(|tasks| tasks.insert(expected.item, task));
        Ok(Some(Filling::of(coming)))
    }

    fn is_at_work(&self) -> bool {
        self.tasks(|tasks| tasks.values().any(|task| !task.unpacks.is_finished()))
    }

    /// What came of a bundle that is whole now. `None`: it is still to be taken in.
    pub(super) async fn outcome(&self, item: &ItemId) -> Option<Unpacked> {
        let Task { unpacks, coming, length } = self.tasks(|tasks| tasks.remove(item))?;
        let unpacked = match unpacks.await {
            Ok(unpacked) => unpacked.map_err(|error| error_chain(&error)),
            Err(error) => Err(error.to_string()),
        };
        let in_vain = |why: &String| tracing::debug!(target: "despooler", %item, error = why, "it was begun with in vain");
        let (to, gate) = unpacked.inspect_err(in_vain).ok()?;
        Some(Unpacked { to, gate, is_proved: coming.is_proved(length) })
    }

    /// Forgets those that do not arrive any more.
    pub(super) fn retain(&self, arrives: impl Fn(&ItemId) -> bool) {
        self.tasks(|tasks| tasks.retain(|item, _| arrives(item)));
    }

    fn tasks<T>(&self, change: impl FnOnce(&mut HashMap<ItemId, Task>) -> T) -> T {
        change(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

fn unpack(
    (library, trees): (&Library, &StagedTrees),
    source: &Source,
    offered: &Offered,
    stage: Stage,
) -> Result<To, BundleError> {
    let (places, mut staging) = stage.begin(source);
    if staging.is_empty() {
        apply_offered(library, source, offered, &Limits::default(), &mut [])?;
        return Ok(To::Library);
    }
    let manifest = stage_offered(library, source, offered, &Limits::default(), &mut staging)?;
    let staged = finished(places, staging, offered.target);
    Ok(To::Directories(trees.put_ahead(staged, manifest)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_waits_has_not_long_to_wait() {
        let second = Duration::from_secs(1);
        for (came, within, rest, expected) in [
            (100, second, 500, true),
            (100, second, 501, false),
            (100, 10 * second, 50, true),
            (100, 10 * second, 51, false),
            (0, second, 1, false),
            (u64::MAX, second, u64::MAX, true),
        ] {
            assert_eq!(is_soon(came, within, rest), expected, "{came} in {within:?}, {rest}");
        }
    }
}
