//! A bundle on its way into the spool: its file, how much of it is on the disk, and how much was checked.

#[cfg(test)]
mod tests;

use std::{fs::File, io, os::unix::fs::FileExt as _, sync::Arc, time::Duration};

use packhorse_content::Outline;
use packhorse_domain::link::{ItemId, Ranges};
use tokio::{sync::mpsc, time::Instant};
use tracing::Span;

use crate::{
    courier::Claim,
    despooler::{Expected, Filling, Unpacking, is_soon, keeps_bundles},
    error::Error,
    sender::{
        spooled::{Opened, Spool},
        written::WrittenLog,
    },
    site::Site,
    store::arrivals::Arrival,
};

/// Received bytes become durable, and are checked, at the latest after this many.
const SYNC_BYTES: u64 = 1024 * 1024;
/// What is taken in while it comes becomes durable in the library, and its file goes then: a sync of the file would write
/// everything once more. So it waits until there are so many bytes, and so long.
const SYNC_LATER_BYTES: u64 = 1024 * 1024 * 1024;
const SYNC_LATER: Duration = Duration::from_secs(10);
/// How much of a part is read at a time to check it.
const READ_BYTES: usize = 256 * 1024;

pub(super) struct Arriving {
    pub(super) arrival: Arrival,
    spool: Spool,
    file: Arc<File>,
    /// What is in the file is noted beside it: it had gaps once.
    is_scattered: bool,
    log: Option<WrittenLog>,
    /// It leads to the item's digest.
    outline: Option<Arc<Outline>>,
    written: Ranges,
    /// What a sync had before it lately, whether or not it put it on the disk.
    seen: Ranges,
    durable: Ranges,
    /// Since when what was written later waits for the disk.
    durable_since: Instant,
    /// All before this is known to be what it should be.
    checked: u64,
    is_syncing: bool,
    /// Since when it comes, and how much was here then.
    began: (Instant, u64),
    unpacked: Unpacked,
    /// From its offer to its last byte.
    _span: Span,
    /// The right to write to the file.
    claim: Claim,
}

/// Whether it is taken in while it comes.
enum Unpacked {
    NotYet,
    /// Somebody was asked, and this is his who does it.
    Asked(Option<Filling>),
    /// The same, and its file goes when he is done, who checks what it leads to: so its parts need not be.
    Only(Filling),
}

impl Unpacked {
    fn filling(&self) -> Option<&Filling> {
        match self {
            Unpacked::Asked(filling) => filling.as_ref(),
            Unpacked::Only(filling) => Some(filling),
            Unpacked::NotYet => None,
        }
    }
}

/// A sync that is done: one at a time for each bundle.
pub(super) struct Synced {
    pub(super) item: ItemId,
    result: Result<Reached, SyncError>,
}

/// How far a file is now.
struct Reached {
    seen: Ranges,
    is_durable: bool,
    checked: u64,
    /// Of the log, that say so.
    lines: u64,
}

/// Why what came is of no use.
#[derive(Debug, thiserror::Error)]
pub(super) enum SyncError {
    #[error("the file in the spool cannot be made durable")]
    Disk(#[from] io::Error),
    #[error("the part at offset {at} has not the hash that its outline names; what came before it is kept")]
    Damaged { at: u64 },
}

impl Arriving {
    pub(super) fn new(arrival: Arrival, spool: Spool, opened: Opened, claim: Claim, span: Span) -> Self {
        Arriving {
            arrival,
            spool,
            file: Arc::new(opened.file),
            is_scattered: opened.is_scattered,
            log: None,
            outline: None,
            began: (Instant::now(), opened.here.bytes()),
            unpacked: Unpacked::NotYet,
            written: opened.here.clone(),
            seen: opened.here.clone(),
            durable: opened.here,
            durable_since: Instant::now(),
            checked: 0,
            is_syncing: false,
            _span: span,
            claim,
        }
    }

    /// Somebody reads it from a medium.
    pub(super) fn is_wanted_elsewhere(&self) -> bool {
        self.claim.is_wanted()
    }

    /// All before this is on the disk.
    pub(super) fn durable(&self) -> u64 {
        self.durable.end_from(0)
    }

    /// All before this was seen by a sync.
    pub(super) fn seen(&self) -> u64 {
        self.seen.end_from(0)
    }

    /// All before this came.
    pub(super) fn written(&self) -> u64 {
        self.written.end_from(0)
    }

    pub(super) fn to_come(&self) -> u64 {
        self.arrival.length.saturating_sub(self.written.bytes())
    }

    /// Bytes on the disk, wherever.
    pub(super) fn durable_bytes(&self) -> u64 {
        self.durable.bytes()
    }

    pub(super) fn checked(&self) -> u64 {
        self.checked
    }

    pub(super) fn has_outline(&self) -> bool {
        self.outline.is_some()
    }

    /// All bytes are on the disk, or in the library soon, and checked if that is done here.
    pub(super) fn is_whole(&self) -> bool {
        let length = self.arrival.length;
        self.seen() == length && (self.to_check().is_none() || self.checked == length)
    }

    /// By what the parts are checked.
    fn to_check(&self) -> Option<&Arc<Outline>> {
        self.outline.as_ref().filter(|_| !matches!(self.unpacked, Unpacked::Only(_)))
    }

    /// Tells whoever takes it in that it is what it should be, if that is known.
    pub(super) fn told_whole(&self) {
        let has_parts = self.to_check().is_some_and(|outline| !outline.hashes().is_empty());
        if let (true, Some(filling)) = (has_parts, self.unpacked.filling()) {
            filling.prove();
        }
    }

    /// Whether something came that is to be synced now, or that is not checked.
    pub(super) fn is_behind(&self) -> bool {
        let done = if self.may_wait() { &self.seen } else { &self.durable };
        done.bytes() < self.written.bytes() || (self.to_check().is_some() && self.checkable() > self.checked)
    }

    /// Whether something came that is not on the disk.
    pub(super) fn is_at_risk(&self) -> bool {
        self.durable.bytes() < self.written.bytes()
    }

    /// Nobody takes it in any more: all that came goes to the disk.
    pub(super) fn stop_unpacking(&mut self) {
        self.unpacked = Unpacked::Asked(None);
    }

    pub(super) fn is_syncing(&self) -> bool {
        self.is_syncing
    }

    /// Takes an outline that leads to the item's digest.
    pub(super) fn outlined(&mut self, outline: Outline) {
        self.outline = Some(Arc::new(outline));
    }

    /// A copy into the page cache: shorter than handing it to another thread. True: it is time to sync.
    pub(super) fn write(&mut self, offset: u64, bytes: &[u8]) -> io::Result<bool> {
        self.is_scattered |= offset > self.written();
        if self.is_scattered && self.log.is_none() {
            // Before there is a gap: the file's length says nothing any more.
            self.log = Some(self.spool.log(self.arrival.length, &self.durable, &self.written)?);
        }
        self.file.write_all_at(bytes, offset)?;
        let run = offset..offset + bytes.len() as u64;
        if let Some(log) = &mut self.log {
            log.wrote(&run)?;
        }
        self.written.insert(run);
        if let Some(filling) = self.unpacked.filling() {
            filling.reach(self.written());
        }
        Ok(self.is_due())
    }

    /// What is to be taken in while the rest comes, if that is soon. Once.
    pub(super) fn is_soon_here(&self) -> bool {
        let (since, here) = self.began;
        matches!(self.unpacked, Unpacked::NotYet)
            && is_soon(self.written.bytes().saturating_sub(here), since.elapsed(), self.to_come())
    }

    /// Has it taken in while the rest comes. The file's way to the disk may wait for that if the peer knows of such waiting.
    pub(super) async fn unpack(&mut self, site: &Arc<Site>, may_wait: bool) -> Result<(), Error> {
        let is_alone = may_wait && !keeps_bundles(site).await?;
        let Arrival { item, package, target, digest, length, .. } = &self.arrival;
        let expected = Expected {
            item: *item,
            package: package.clone(),
            target: *target,
            digest: *digest,
            length: *length,
            is_checked: !is_alone,
        };
        let file = self.file.try_clone().map_err(|source| Error::File {
            what: "open a bundle in the spool once more".to_owned(),
            source,
        })?;
        let filling = Unpacking::begin(site, &expected, file, self.written()).await?;
        self.unpacked = match filling {
            Some(filling) if is_alone => Unpacked::Only(filling),
            filling => Unpacked::Asked(filling),
        };
        Ok(())
    }

    fn is_due(&self) -> bool {
        self.written.bytes() - self.seen.bytes() >= SYNC_BYTES || self.written() == self.arrival.length
    }

    /// Whether the disk need not have it yet: whoever takes it in makes it durable elsewhere. Without hashes nothing but
    /// the bytes of the file would tell what is damaged.
    fn may_wait(&self) -> bool {
        matches!(self.unpacked, Unpacked::Only(_))
            && self.outline.is_some()
            && self.written.bytes() - self.durable.bytes() < SYNC_LATER_BYTES
            && self.durable_since.elapsed() < SYNC_LATER
    }

    /// Where the last whole part ends among the bytes that a sync has seen.
    fn checkable(&self) -> u64 {
        let part_bytes = self.outline.as_ref().map_or(u64::MAX, |outline| outline.part_bytes());
        let seen = self.seen();
        if seen == self.arrival.length { seen } else { seen / part_bytes * part_bytes }
    }

    /// Makes what came durable, unless that may wait, and checks it, beside everything else; `done` hears of it.
    pub(super) fn sync(&mut self, done: &mpsc::UnboundedSender<Synced>) {
        if std::mem::replace(&mut self.is_syncing, true) {
            return;
        }
        let (item, length) = (self.arrival.item, self.arrival.length);
        let (file, outline, done) = (self.file.clone(), self.to_check().cloned(), done.clone());
        let (seen, checked, is_durable) = (self.written.clone(), self.checked, !self.may_wait());
        let lines = self.log.as_ref().map_or(0, WrittenLog::lines);
        tokio::task::spawn_blocking(move || {
            let synced = if is_durable { file.sync_data() } else { Ok(()) };
            let checked = synced.map_err(SyncError::Disk).and_then(|()| match outline {
                Some(outline) => check_parts(&file, &outline, (checked, seen.end_from(0)), length),
                None => Ok(checked),
            });
            let result = checked.map(|checked| Reached { seen, is_durable, checked, lines });
            // Nobody waits for it once the session is over.
            drop(done.send(Synced { item, result }));
        });
    }

    /// Cuts off what is damaged, so that it comes again. Nobody may write meanwhile: what went beyond the cut would leave
    /// a hole before it.
    pub(super) async fn cut_off(self, at: u64) -> io::Result<()> {
        let file = self.file;
        let (is_scattered, spool, length) = (self.is_scattered, self.spool, self.arrival.length);
        let cut = move || {
            let here = Ranges::before(at);
            if is_scattered {
                spool.log(length, &here, &here)?;
            }
            file.set_len(at).and_then(|()| file.sync_all())
        };
        tokio::task::spawn_blocking(cut).await.unwrap_or_else(|error| Err(io::Error::other(error)))
    }

    /// Takes note of a sync. True: another is due.
    pub(super) fn synced(&mut self, synced: Synced) -> Result<bool, SyncError> {
        self.is_syncing = false;
        let reached = synced.result?;
        self.checked = self.checked.max(reached.checked);
        self.seen = reached.seen;
        if reached.is_durable {
            self.durable = self.seen.clone();
            self.durable_since = Instant::now();
            if let Some(log) = &mut self.log
                && !log.shorten(&self.durable, &self.written)?
                && reached.lines > 0
            {
                log.synced(reached.lines)?;
            }
        }
        Ok(!self.is_whole() && self.is_due())
    }
}

/// Checks the parts that are whole now and were not before.
pub(super) fn check_parts(
    file: &File,
    outline: &Outline,
    (checked, durable): (u64, u64),
    length: u64,
) -> Result<u64, SyncError> {
    if outline.hashes().is_empty() {
        // A single part is checked by the digest of the whole, by whoever takes it in.
        return Ok(if durable == length { length } else { 0 });
    }
    let mut at = checked;
    let mut buffer = vec![0; READ_BYTES];
    while at < length {
        let end = (at + outline.part_bytes()).min(length);
        if end > durable {
            break;
        }
        let nth = usize::try_from(at / outline.part_bytes()).unwrap_or(usize::MAX);
        let mut check = outline.part_check(nth).ok_or(SyncError::Damaged { at })?;
        let mut from = at;
        while from < end {
            let piece =
                &mut buffer[..usize::try_from(end - from).map_or(READ_BYTES, |left| left.min(READ_BYTES))];
            file.read_exact_at(piece, from)?;
            check.update(piece);
            from += piece.len() as u64;
        }
        if !check.passes() {
            return Err(SyncError::Damaged { at });
        }
        at = end;
    }
    Ok(at)
}
