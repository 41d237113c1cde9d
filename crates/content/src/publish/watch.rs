//! What is known of the files of a published version from the last time that they were compared.

use std::{collections::HashMap, fs::File, path::Path};

use packhorse_domain::{Digest, settled::Clocks};

use super::{Look, PublishTo};
use crate::{
    manifest::{EntryKind, Manifest},
    stamps::{Stamp, Stamps, keeps_times},
};

pub(super) struct Watch<'a> {
    record: &'a Path,
    manifest: Digest,
    begun: Option<Clocks>,
    before: Option<Stamps>,
}

impl<'a> Watch<'a> {
    pub(super) fn begin(to: PublishTo<'a>, manifest: Digest, begun: Option<Clocks>) -> Self {
        Watch { record: to.record, manifest, begun, before: Stamps::load(to.record) }
    }

    /// Whether this version was shown when the record was made.
    pub(super) fn is_of(&self, manifest: &Digest) -> bool {
        self.before.as_ref().is_some_and(|before| before.manifest == *manifest)
    }

    /// Files that need not be read if they are as they were. On file systems whose times say little, a change may be
    /// missed by that; it is found when everything is read.
    pub(super) fn unread<'m>(&self, manifest: &'m Manifest, look: Look) -> HashMap<&'m str, Stamp> {
        if look == Look::AtEverything {
            return HashMap::new();
        }
        let files = manifest.entries.iter().filter(|entry| matches!(entry.kind, EntryKind::File { .. }));
        files
            .zip(self.settled(&self.manifest))
            .filter_map(|(entry, stamp)| stamp.map(|stamp| (entry.path.as_str(), stamp)))
            .collect()
    }

    /// Files of a version in `at` that surely hold what they should if they are as they were.
    pub(super) fn sure(&self, manifest: &Digest, at: &Path) -> Vec<Option<Stamp>> {
        match File::open(at) {
            Ok(tree) if keeps_times(&tree) => self.settled(manifest),
            _ => Vec::new(),
        }
    }

    /// In the order of the version's files. What was written shortly before the record is not in it: it may have been
    /// changed within the same tick of the clock.
    fn settled(&self, manifest: &Digest) -> Vec<Option<Stamp>> {
        match (&self.before, &self.begun) {
            (Some(before), Some(now)) if before.manifest == *manifest && before.hold_at(now) => before
                .files
                .iter()
                .map(|stamp| stamp.filter(|stamp| stamp.is_settled_at(&before.begun)))
                .collect(),
            _ => Vec::new(),
        }
    }

    /// Until the next record is kept, nobody may take it that all is done: not even the name is durable.
    pub(super) fn forget(&self) {
        if let Err(error) = std::fs::remove_file(self.record)
            && error.kind() != std::io::ErrorKind::NotFound
        {
            tracing::warn!(path = %self.record.display(), %error, "cannot remove");
        }
    }

    /// Keeps what the files look like now.
    pub(super) fn save(self, files: Vec<Option<Stamp>>, look: Look) {
        let Some(begun) = self.begun else { return };
        let compared_at = match (look, &self.before) {
            (Look::AtWhatWasTouched, Some(before)) if before.manifest == self.manifest => before.compared_at,
            _ => begun.wall_us,
        };
        let stamps = Stamps { begun, compared_at, manifest: self.manifest, files };
        // A check that found nothing new leaves the record as it is, and costs no sync.
        if self.before.as_ref().is_some_and(|before| {
            before.files == stamps.files
                && before.compared_at == stamps.compared_at
                && before.manifest == stamps.manifest
                && before.files.iter().flatten().all(|stamp| stamp.is_settled_at(&before.begun))
                && before.hold_at(&begun)
        }) {
            return;
        }
        if let Err(error) = stamps.save(self.record) {
            tracing::warn!(path = %self.record.display(), %error, "the next check reads everything");
        }
    }
}
