//! Which files of a source need not be read: those that are as they were when they were last.
//!
//! A file is known if its device, inode, length, mode and times are those of the last snapshot. That is believed only
//! where every change must have altered one of them: on file systems that keep the time of change, of files that were
//! clearly older than that snapshot, and as long as the machine's clock went on. Before files are read their file
//! system is synced: what a program has mapped and written to is then caught at its next write, which it would not
//! be while the page is still waiting to be written.

use std::{
    collections::{HashMap, HashSet},
    fs::{File, Metadata, OpenOptions},
    os::unix::fs::{MetadataExt, OpenOptionsExt},
    path::Path,
};

use packhorse_domain::{Digest, settled::Clocks};
use rustix::fs::OFlags;

use super::{Found, FoundKind};
use crate::{
    library::Library,
    manifest::EntryKind,
    stamps::{Stamp, Stamps, clocks, keeps_times},
};

/// Where the last snapshot's stamps are, and the time that counts as the beginning of this one.
pub(super) struct Memory<'a> {
    pub(super) record: &'a Path,
    pub(super) begun: Clocks,
}

/// What is known of the files before they are read, and what is to be known the next time.
pub(super) struct Plan<'a> {
    memory: Option<Memory<'a>>,
    known: HashMap<String, (Stamp, EntryKind)>,
    /// Devices whose times of change are believed, synced since this snapshot began.
    settled: HashSet<u64>,
    /// Files with several names, by device and inode: one reading is enough.
    linked: HashMap<(u64, u64), (Stamp, EntryKind)>,
    next: Vec<Option<Stamp>>,
}

impl<'a> Memory<'a> {
    /// `None` where the kernel does not say enough of its clocks.
    pub(super) fn begin(record: &'a Path) -> Option<Self> {
        clocks().map(|begun| Memory { record, begun })
    }
}

impl<'a> Plan<'a> {
    pub(super) fn make(
        source: &Path,
        library: &Library,
        memory: Option<Memory<'a>>,
        found: &[Found],
    ) -> Self {
        let mut known = memory.as_ref().map(|memory| load(memory, library)).unwrap_or_default();
        let files = || {
            found.iter().filter_map(|found| match &found.kind {
                FoundKind::File(metadata) => Some((found.path.as_str(), metadata)),
                _ => None,
            })
        };
        // What was lost of the library has to be read again.
        known.retain(|_, (_, kind)| match kind {
            EntryKind::File { chunks, .. } => chunks.iter().all(|chunk| library.has_chunk(&chunk.digest)),
            _ => false,
        });
        let mut settled = HashMap::new();
        if memory.is_some() {
            for (path, metadata) in files() {
                let is_known = known.get(path).is_some_and(|(stamp, _)| *stamp == Stamp::of(metadata));
                if !is_known {
                    settled.entry(metadata.dev()).or_insert_with(|| settle(&source.join(path)));
                }
            }
        }
        let settled = settled.into_iter().filter_map(|(device, is)| is.then_some(device)).collect();
        Plan { memory, known, settled, linked: HashMap::new(), next: Vec::new() }
    }

    /// What the file holds, if that is known.
    pub(super) fn known(&mut self, path: &str, stamp: &Stamp) -> Option<EntryKind> {
        let (before, kind) = self.known.remove(path)?;
        if before != *stamp {
            return None;
        }
        self.next.push(Some(before));
        Some(kind)
    }

    /// What was just read of another name of the file.
    pub(super) fn twin(&mut self, stamp: &Stamp) -> Option<EntryKind> {
        let (read, kind) = self.linked.get(&(stamp.device, stamp.inode))?;
        if read != stamp {
            return None;
        }
        let kind = kind.clone();
        self.note(stamp);
        Some(kind)
    }

    pub(super) fn was_read(&mut self, metadata: &Metadata, kind: &EntryKind) {
        let stamp = Stamp::of(metadata);
        if metadata.nlink() > 1 {
            self.linked.insert((stamp.device, stamp.inode), (stamp, kind.clone()));
        }
        self.note(&stamp);
    }

    fn note(&mut self, stamp: &Stamp) {
        let is_sure = self
            .memory
            .as_ref()
            .is_some_and(|memory| self.settled.contains(&stamp.device) && stamp.is_settled_at(&memory.begun));
        self.next.push(is_sure.then_some(*stamp));
    }

    /// Keeps the stamps for the next snapshot. If that fails, everything is read again then.
    pub(super) fn remember(self, manifest: Digest) {
        let Some(Memory { record, begun }) = self.memory else { return };
        let stamps = Stamps { begun, compared_at: begun.wall_us, manifest, files: self.next };
        if let Err(error) = stamps.save(record) {
            tracing::warn!(path = %record.display(), %error, "the next snapshot of this source will read everything");
        }
    }
}

fn load(memory: &Memory<'_>, library: &Library) -> HashMap<String, (Stamp, EntryKind)> {
    let Some(stamps) = Stamps::load(memory.record).filter(|stamps| stamps.hold_at(&memory.begun)) else {
        return HashMap::new();
    };
    // One that is gone or damaged tells nothing; its files are read.
    let Ok(Some(manifest)) = library.manifest(&stamps.manifest) else { return HashMap::new() };
    let files = manifest.entries.into_iter().filter(|entry| matches!(entry.kind, EntryKind::File { .. }));
    files
        .zip(stamps.files)
        .filter_map(|(entry, stamp)| stamp.map(|stamp| (entry.path, (stamp, entry.kind))))
        .collect()
}

/// Has all that waits for the file's file system written. Whether its times of change can be believed from here on.
fn settle(path: &Path) -> bool {
    let flags = (OFlags::NOFOLLOW | OFlags::NONBLOCK).bits() as i32;
    let settled = OpenOptions::new()
        .read(true)
        .custom_flags(flags)
        .open(path)
        .map(|file: File| keeps_times(&file) && rustix::fs::syncfs(&file).is_ok());
    settled.unwrap_or(false)
}
