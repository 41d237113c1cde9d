//! How much a version has in common with another.

use std::collections::{HashMap, HashSet};

use packhorse_domain::Digest;

use crate::{
    library::Library,
    manifest::{EntryKind, Manifest},
};

/// Pairs that are remembered; more are forgotten together.
const REMEMBERED_MAX: usize = 1 << 16;

/// How much of `target` is likely to be in `base` too, in percent of its bytes: a file of the same content counts whole,
/// another one at the same path half.
fn likeness(target: &Manifest, base: &Manifest) -> u64 {
    let mut contents = HashSet::new();
    let mut paths = HashSet::new();
    for entry in &base.entries {
        if let EntryKind::File { digest, .. } = &entry.kind {
            contents.insert(digest);
            paths.insert(&entry.path);
        }
    }
    let (mut all, mut halves) = (0_u128, 0_u128);
    for entry in &target.entries {
        let EntryKind::File { length, digest, .. } = &entry.kind else { continue };
        all += u128::from(*length);
        halves += match (contents.contains(digest), paths.contains(&entry.path)) {
            (true, _) => 2 * u128::from(*length),
            (false, true) => u128::from(*length),
            (false, false) => 0,
        };
    }
    u64::try_from(halves * 50 / all.max(1)).unwrap_or(100)
}

impl Library {
    /// How much of one version is likely to be in another, in percent of its bytes; 0 if either is not held or cannot be
    /// read. It is found out once for each pair.
    pub fn likeness(&self, target: &Digest, base: &Digest) -> u64 {
        let pair = (*target, *base);
        if let Some(known) = self.likenesses(|known| known.get(&pair).copied()) {
            return known;
        }
        let manifest = |digest| self.manifest(digest).ok().flatten();
        let Some((target, base)) = manifest(target).zip(manifest(base)) else { return 0 };
        let found = likeness(&target, &base);
        self.likenesses(|known| {
            if known.len() >= REMEMBERED_MAX {
                known.clear();
            }
            known.insert(pair, found);
        });
        found
    }
}

/// What was found out.
pub(crate) type Likenesses = HashMap<(Digest, Digest), u64>;

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::testing::{library, noise, take};

    #[test]
    fn what_is_the_same_counts_whole_and_what_is_at_the_same_path_half() {
        let (_dir, library) = library();
        let version = |files: &[(&str, u64)]| {
            let source = tempfile::tempdir().unwrap();
            for (name, seed) in files {
                fs::write(source.path().join(name), noise(*seed, 1000)).unwrap();
            }
            take(source.path(), &library).digest
        };
        let target = version(&[("a", 1), ("b", 2), ("c", 3), ("d", 4)]);

        for (files, expected) in [
            (&[("a", 1), ("b", 2), ("c", 3), ("d", 4), ("e", 5)][..], 100),
            (&[("moved", 1), ("b", 22)], 25 + 12),
            (&[("x", 9)], 0),
        ] {
            let base = version(files);
            assert_eq!([library.likeness(&target, &base); 2], [expected; 2], "{files:?}");
        }
        assert_eq!(library.likeness(&target, &Digest([7; 32])), 0, "it is not held");
    }
}
