//! What a peer's receipts and refusals change in the database.

use std::{
    fs::File,
    io::{self, Read as _},
    path::Path,
    time::Duration,
};

use packhorse_domain::{
    Digest, Timestamp,
    id::SiteCode,
    link::{ItemId, RefuseReason},
    message,
};

use crate::{
    error::Error,
    scheduler::{self, Job, JobContent},
    sender::refused,
    site::Site,
    status,
    store::{
        Tx,
        bundles::{self, BundleRow, Sending, SendingState},
        objects, queue, refusals,
    },
};

/// The first time; then twice as long each time.
const NO_SPACE_WAIT: Duration = Duration::from_secs(60);
const REFUSED_WAIT: Duration = Duration::from_secs(60);
/// A wrong part is cut off by the peer and comes again: the first time at once.
const DAMAGED_WAIT: Duration = Duration::from_secs(1);
/// What is refused again and again is tried less and less often, down to this.
const WAIT_MAX: Duration = Duration::from_secs(3600);

/// Records receipts and refusals in one transaction. Returns the objects among the refused, and when each is offered
/// again; `None`: not on this link.
pub(super) async fn record(
    site: &Site,
    peer: &SiteCode,
    delivered: &[Job],
    refused: &[(Job, RefuseReason, String)],
) -> Result<Vec<(ItemId, Option<Timestamp>)>, Error> {
    let mut tx = site.store.begin().await?;
    for job in delivered {
        held(site, &mut tx, peer, job).await?;
    }
    let (mut broken, mut waiting) = (Vec::new(), Vec::new());
    for (job, reason, text) in refused {
        match (&job.content, reason) {
            (_, RefuseReason::Held) => held(site, &mut tx, peer, job).await?,
            (JobContent::Object { .. }, _) => {
                let retry_at = refused::record(site, &mut tx, peer, job, (*reason, text)).await?;
                waiting.push((job.item.id, retry_at));
            }
            (JobContent::Bundle(bundle), RefuseReason::Damaged) => {
                let message = message::bundle_damaged_there(peer, text);
                status::report(site, &mut tx, bundle.package.as_str(), &message).await?;
                broken.push(bundle);
            }
            (JobContent::Bundle(bundle), _) => {
                let (state, wait) = match reason {
                    // A whole one builds on nothing: there is none to take its place.
                    RefuseReason::BaseMissing if !bundle.bases.is_empty() => {
                        (SendingState::BaseMissing, Duration::ZERO)
                    }
                    RefuseReason::NoSpace => (SendingState::Failed, NO_SPACE_WAIT),
                    _ => (SendingState::Failed, REFUSED_WAIT),
                };
                put(site, &mut tx, peer, bundle, state, &format!("{reason}: {text}"), wait).await?;
                let message = message::bundle_refused(peer, reason, text);
                status::report(site, &mut tx, bundle.package.as_str(), &message).await?;
            }
        }
    }
    tx.commit().await?;
    for bundle in broken {
        remake(site, peer, bundle, "the peer found it damaged").await?;
    }
    Ok(waiting)
}

async fn held(site: &Site, tx: &mut Tx, peer: &SiteCode, job: &Job) -> Result<(), Error> {
    queue::remove(tx, peer, &job.item.id).await?;
    match &job.content {
        JobContent::Object { kind, id, version, .. } => {
            objects::acknowledge(tx, peer, *kind, id, *version).await?;
            refusals::remove(tx, peer, *kind, id).await?;
        }
        JobContent::Bundle(bundle) => {
            put(site, tx, peer, bundle, SendingState::Done, "", Duration::ZERO).await?;
            let message = message::bundle_delivered(&bundle.source_version, peer);
            status::report(site, tx, bundle.package.as_str(), &message).await?;
        }
    }
    Ok(())
}

#[expect(clippy::too_many_arguments, reason = "a mini-job has this many parts")]
async fn put(
    site: &Site,
    tx: &mut Tx,
    peer: &SiteCode,
    bundle: &BundleRow,
    state: SendingState,
    reason: &str,
    wait: Duration,
) -> Result<(), Error> {
    let now = site.now();
    let before = bundles::sending(tx, peer, &bundle.digest).await?;
    // What came of its last moments on the link does not queue it again.
    if state != SendingState::Done && before.as_ref().is_some_and(|one| one.state == SendingState::Cancelled)
    {
        return Ok(());
    }
    let before = before
        .filter(|before| before.state == SendingState::Failed && state == SendingState::Failed)
        .map(|before| before.retry_at.since(before.changed_at));
    let wait = wait_after(before, wait);
    let sending = Sending {
        peer: peer.clone(),
        digest: bundle.digest,
        state,
        reason: reason.to_owned(),
        retry_at: now.plus(wait),
        changed_at: now,
    };
    Ok(bundles::put_sending(tx, &sending).await?)
}

/// How long to wait after a failure, if there was one before it after which we waited `before`.
fn wait_after(before: Option<Duration>, first: Duration) -> Duration {
    before.map_or(first, |before| before.saturating_mul(2).clamp(first, WAIT_MAX.max(first)))
}

/// Forgets a bundle that a peer could not use and whose file is not what it should be. If it is, only the line was at
/// fault, and of one that still comes in the whole decides later: these are tried again.
pub(super) async fn remake(site: &Site, peer: &SiteCode, bundle: &BundleRow, why: &str) -> Result<(), Error> {
    let mut tx = site.store.read().await?;
    // Its file was there before its row.
    let is_here = bundles::get(&mut tx, &bundle.digest).await?.is_some();
    drop(tx);
    let is_damaged = is_here && !is_whole(site, bundle).await?;
    let mut tx = site.store.begin().await?;
    if is_damaged {
        bundles::remove(&mut tx, &bundle.digest).await?;
        let message = message::bundle_damaged_here(&why);
        status::report(site, &mut tx, bundle.package.as_str(), &message).await?;
    } else if scheduler::bundle_of(&mut tx, &bundle.digest).await?.is_some() {
        put(site, &mut tx, peer, bundle, SendingState::Failed, why, DAMAGED_WAIT).await?;
    }
    tx.commit().await?;
    if is_damaged {
        // Gone already is as good; anything else shows when the bundle is made anew.
        drop(std::fs::remove_file(site.directories.bundle(&bundle.digest)));
    }
    Ok(())
}

async fn is_whole(site: &Site, bundle: &BundleRow) -> Result<bool, Error> {
    let (path, expected) = (site.directories.bundle(&bundle.digest), bundle.digest);
    let digest = tokio::task::spawn_blocking(move || digest_of_file(&path)).await?;
    Ok(digest.is_ok_and(|digest| digest == expected))
}

/// The digest of a file's content, in one pass.
fn digest_of_file(path: &Path) -> io::Result<Digest> {
    let mut file = File::open(path)?;
    let mut hasher = blake3::Hasher::new();
    let mut buffer = vec![0; 256 * 1024];
    loop {
        match file.read(&mut buffer)? {
            0 => return Ok(Digest(*hasher.finalize().as_bytes())),
            length => drop(hasher.update(&buffer[..length])),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_fails_again_waits_twice_as_long_up_to_an_hour() {
        let seconds = Duration::from_secs;
        for (before, first, expected) in [
            (None, 5, 5),
            (Some(5), 5, 10),
            (Some(10), 60, 60),
            (Some(60), 5, 120),
            (Some(2400), 60, 3600),
            (Some(3600), 600, 3600),
        ] {
            assert_eq!(wait_after(before.map(seconds), seconds(first)), seconds(expected), "{before:?}");
        }
    }
}
