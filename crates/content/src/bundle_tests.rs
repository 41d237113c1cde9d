//! Tests of bundles: what arrives is what was sent, or nothing is taken.

use std::{
    fs,
    io::Write as _,
    os::unix::fs::{FileExt as _, PermissionsExt},
    sync::Arc,
    time::Duration,
};

use packhorse_domain::Digest;

use super::{
    BundleError, BundlePlan, Coming, Making, Offered, Patience, Source, apply_bundle, apply_offered,
    read_header, write_bundle,
};
use crate::{
    CaseClashes, Library, Limits, Snapshot, SnapshotOptions, snapshot_with,
    testing::{carry_on, library, noise, source, take},
    wire::digest_of,
};

pub(super) fn bundle(library: &Library, target: Digest, bases: &[Digest]) -> Vec<u8> {
    let mut bytes = Vec::new();
    let info =
        write_bundle(library, &BundlePlan { target, bases: bases.to_vec() }, &mut bytes, Making::small(3))
            .unwrap();
    assert_eq!((info.length, info.digest), (bytes.len() as u64, digest_of(&bytes)));
    bytes
}

pub(super) fn apply(library: &Library, bytes: &[u8]) -> Result<crate::Manifest, BundleError> {
    apply_within(library, bytes, &Limits::default())
}

fn apply_within(library: &Library, bytes: &[u8], limits: &Limits) -> Result<crate::Manifest, BundleError> {
    let mut file = tempfile::tempfile().unwrap();
    file.write_all(bytes).unwrap();
    apply_bundle(library, &file, limits)
}

/// A small package: bundles of a few hundred bytes, so that every byte can be tried.
pub(super) fn small(library: &Library) -> Snapshot {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("a"), b"alpha alpha alpha").unwrap();
    fs::write(dir.path().join("b"), noise(5, 60)).unwrap();
    take(dir.path(), library)
}

fn assert_untouched(library: &Library, snapshot: &Snapshot, why: &str) {
    assert!(library.manifests().unwrap().is_empty(), "{why}");
    assert_eq!(library.missing(&snapshot.manifest).len(), snapshot.manifest.chunks().count(), "{why}");
}

#[test]
fn a_bundle_brings_a_whole_version() {
    let (_here, sender) = library();
    let (_there, receiver) = library();
    let sent = take(source(1).path(), &sender);
    let bytes = bundle(&sender, sent.digest, &[]);
    assert_eq!(read_header(&mut &bytes[..]).unwrap().target, sent.digest);

    for _ in 0..2 {
        assert_eq!(apply(&receiver, &bytes).unwrap(), sent.manifest);
        assert!(receiver.has_manifest(&sent.digest));
        assert!(receiver.verify(&sent.digest).unwrap().is_empty());
    }
}

/// Long enough for more than one thread, text and noise.
fn long(nth: u64) -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    let lines = (0..1_100_000_u64).map(|line| format!("line {} of {nth}\n", line * 7919 % 100_003));
    fs::write(dir.path().join("a"), lines.collect::<String>()).unwrap();
    fs::write(dir.path().join("b"), noise(7, 3_000_000)).unwrap();
    fs::write(dir.path().join("c"), noise(nth, 1000)).unwrap();
    dir
}

#[test]
fn a_bundle_that_was_made_quickly_brings_the_same_and_is_the_same_each_time() {
    let (_here, sender) = library();
    let (old, new) = (take(long(1).path(), &sender), take(long(2).path(), &sender));
    let made = |target: &Snapshot, bases: &[Digest], making| {
        let (plan, mut bytes) = (BundlePlan { target: target.digest, bases: bases.to_vec() }, Vec::new());
        let info = write_bundle(&sender, &plan, &mut bytes, making).unwrap();
        assert_eq!((info.length, info.digest), (bytes.len() as u64, digest_of(&bytes)));
        bytes
    };

    for level in [1, 19] {
        let (_there, receiver) = library();
        let whole = made(&old, &[], Making::quick(level));
        let step = made(&new, &[old.digest], Making::quick(level));
        assert!(whole == made(&old, &[], Making::quick(level)), "level {level}");
        assert!(step.len() < 3_000_000, "what is held is not sent again: {}", step.len());
        assert_eq!(apply(&receiver, &whole).unwrap(), old.manifest);
        assert_eq!(apply(&receiver, &step).unwrap(), new.manifest);
        assert!(receiver.verify(&new.digest).unwrap().is_empty());
    }
    assert!(made(&old, &[], Making::small(8)).len() < made(&old, &[], Making::quick(1)).len());
}

/// Levels that look longer for repeats make no difference where there are none.
#[test]
fn what_hardly_compresses_is_made_alike_at_all_levels_that_sites_use() {
    let (_here, sender) = library();
    let (text, dense) = (long(1), tempfile::tempdir().unwrap());
    fs::write(dense.path().join("a"), noise(1, 18_000_000)).unwrap();
    fs::write(dense.path().join("b"), "a line\n".repeat(20_000)).unwrap();
    let made = |tree: &Snapshot, level| {
        let (plan, mut bytes) = (BundlePlan { target: tree.digest, bases: vec![] }, Vec::new());
        write_bundle(&sender, &plan, &mut bytes, Making::small(level)).unwrap();
        bytes
    };
    let (text, dense) = (take(text.path(), &sender), take(dense.path(), &sender));

    assert!(made(&dense, 8) == made(&dense, 6));
    assert!(made(&text, 8) != made(&text, 6));
    assert!(made(&dense, 8).len() < 18_010_000);
    let (_there, receiver) = library();
    assert_eq!(apply(&receiver, &made(&dense, 8)).unwrap(), dense.manifest);
}

/// The bundle of a version without bases, for which a reader waits that goes on without it after `patience`.
pub(super) fn coming(
    bytes: &[u8],
    patience: Duration,
    is_checked: bool,
) -> (fs::File, Arc<Coming>, Source, Offered) {
    let file = tempfile::tempfile().unwrap();
    let coming = Coming::new(0, Patience { next: patience, all: Duration::from_secs(600) }, is_checked);
    let source = Source::coming(file.try_clone().unwrap(), bytes.len() as u64, coming.clone());
    let offered = Offered { digest: digest_of(bytes), target: read_header(&mut &bytes[..]).unwrap().target };
    (file, coming, source, offered)
}

#[test]
fn a_bundle_is_taken_in_while_it_comes() {
    let (_here, sender) = library();
    let sent = take(source(1).path(), &sender);
    let bytes = bundle(&sender, sent.digest, &[]);
    for is_checked in [true, false] {
        let (_there, receiver) = library();
        let (file, coming, source, offered) = coming(&bytes, Duration::from_secs(60), is_checked);

        let applied = std::thread::scope(|scope| {
            let applied =
                scope.spawn(|| apply_offered(&receiver, &source, &offered, &Limits::default(), &mut []));
            for (nth, piece) in bytes.chunks(bytes.len() / 7).enumerate() {
                let is_early = !applied.is_finished() && receiver.manifests().unwrap().is_empty();
                assert!(is_early, "piece {nth} lacks");
                let at = (nth * (bytes.len() / 7)) as u64;
                file.write_all_at(piece, at).unwrap();
                coming.reach(at + piece.len() as u64);
            }
            // Who looks at each byte himself waits for nobody's word.
            if is_checked {
                coming.end();
            }
            applied.join().unwrap()
        });

        assert_eq!(applied.unwrap(), sent.manifest);
        assert!(receiver.verify(&sent.digest).unwrap().is_empty());
    }
}

#[test]
fn of_a_bundle_that_stops_coming_or_is_another_nothing_shows() {
    let (_here, sender) = library();
    let (_there, receiver) = library();
    let sent = take(source(1).path(), &sender);
    let bytes = bundle(&sender, sent.digest, &[]);
    for upto in [0, 55, 56, 300, bytes.len() / 2, bytes.len() - 1] {
        let (mut file, coming, source, offered) = coming(&bytes, Duration::from_secs(60), true);
        file.write_all(&bytes).unwrap();
        coming.reach(upto as u64);
        coming.end();
        apply_offered(&receiver, &source, &offered, &Limits::default(), &mut []).unwrap_err();
        assert_untouched(&receiver, &sent, &format!("{upto} bytes came"));
    }
    for is_checked in [false, true] {
        let (mut file, coming, source, offered) = coming(&bytes, Duration::from_millis(1), is_checked);
        file.write_all(&bytes).unwrap();
        let other = Offered { digest: Digest([1; 32]), ..offered };
        coming.reach(bytes.len() as u64);
        coming.end();
        apply_offered(&receiver, &source, &other, &Limits::default(), &mut []).unwrap_err();
        assert_untouched(&receiver, &sent, "it is not the one that was offered");
        coming.prove();
        if is_checked {
            apply_offered(&receiver, &source, &offered, &Limits::default(), &mut []).unwrap();
        }
    }
}

#[test]
fn names_that_differ_only_in_case_travel_where_they_are_meant() {
    let (_here, sender) = library();
    let (_there, receiver) = library();
    let old = take(source(1).path(), &sender);
    let dir = source(1);
    fs::write(dir.path().join("LARGE"), noise(6, 70_000)).unwrap();
    let options = SnapshotOptions { case_clashes: CaseClashes::Keep, ..SnapshotOptions::default() };
    let new = snapshot_with(dir.path(), &sender, options, &carry_on).unwrap();
    assert!(new.manifest.case_sensitive);

    // From a tree that has none to one that has, and back, and from nothing.
    for (target, bases) in
        [(&old, vec![]), (&new, vec![old.digest]), (&old, vec![new.digest]), (&new, vec![])]
    {
        let bytes = bundle(&sender, target.digest, &bases);
        assert_eq!(apply(&receiver, &bytes).unwrap(), target.manifest);
    }
    assert_eq!(apply(&library().1, &bundle(&sender, new.digest, &[])).unwrap(), new.manifest);
}

#[test]
fn the_same_plan_gives_the_same_bytes_from_any_library() {
    let (_here, one) = library();
    let (_there, other) = library();
    take(source(9).path(), &other);
    let sent = take(source(1).path(), &one);
    take(source(1).path(), &other);
    assert_eq!(bundle(&one, sent.digest, &[]), bundle(&other, sent.digest, &[]));
}

#[test]
fn against_a_base_only_what_is_new_travels() {
    let (_here, sender) = library();
    let (_there, receiver) = library();
    let dir = source(1);
    let old = take(dir.path(), &sender);
    let mut large = fs::read(dir.path().join("large")).unwrap();
    large.splice(300_000..300_000, noise(2, 10));
    fs::write(dir.path().join("large"), large).unwrap();
    let new = take(dir.path(), &sender);
    let full = bundle(&sender, new.digest, &[]);
    let step = bundle(&sender, new.digest, &[old.digest]);
    assert!(step.len() < full.len() / 2, "{} of {}", step.len(), full.len());

    let refused = apply(&receiver, &step);
    assert!(matches!(refused, Err(BundleError::BaseLacking { base }) if base == old.digest));
    apply(&receiver, &bundle(&sender, old.digest, &[])).unwrap();
    apply(&receiver, &step).unwrap();

    assert!(receiver.verify(&new.digest).unwrap().is_empty());
}

#[test]
fn whatever_becomes_of_a_tree_arrives() {
    let (_here, sender) = library();
    let (_there, receiver) = library();
    let dir = source(1);
    let path = |name: &str| dir.path().join(name);
    fs::create_dir(path("sub")).unwrap();
    fs::write(path("sub/moved"), noise(7, 90_000)).unwrap();
    fs::write(path("sub/gone"), b"gone").unwrap();
    let old = take(dir.path(), &sender);
    fs::create_dir(path("other")).unwrap();
    fs::rename(path("sub/moved"), path("other/away")).unwrap();
    fs::copy(path("other/away"), path("copy")).unwrap();
    fs::remove_file(path("sub/gone")).unwrap();
    fs::write(path("empty"), b"").unwrap();
    fs::write(path("twice"), noise(8, 1000)).unwrap();
    fs::write(path("twice too"), noise(8, 1000)).unwrap();
    fs::set_permissions(path("other/away"), PermissionsExt::from_mode(0o755)).unwrap();
    std::os::unix::fs::symlink("other/away", path("link")).unwrap();
    let new = take(dir.path(), &sender);
    let step = bundle(&sender, new.digest, &[old.digest]);
    assert!(step.len() < 2500, "{} bytes, of which 1,000 are new", step.len());
    apply(&receiver, &bundle(&sender, old.digest, &[])).unwrap();

    for _ in 0..2 {
        assert_eq!(apply(&receiver, &step).unwrap(), new.manifest);
    }

    assert!(receiver.verify(&new.digest).unwrap().is_empty());
    // And back again.
    let back = bundle(&sender, old.digest, &[new.digest]);
    assert_eq!(apply(&receiver, &back).unwrap(), old.manifest);
}

#[test]
fn any_flipped_byte_of_a_step_is_refused_and_so_is_any_part_of_it() {
    let (_here, sender) = library();
    let (_there, receiver) = library();
    let old = small(&sender);
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("a"), b"alpha alpha alpha beta").unwrap();
    let new = take(dir.path(), &sender);
    apply(&receiver, &bundle(&sender, old.digest, &[])).unwrap();
    let step = bundle(&sender, new.digest, &[old.digest]);
    for at in 0..step.len() {
        let mut flipped = step.clone();
        flipped[at] ^= 0x41;
        apply(&receiver, &flipped).unwrap_err();
        apply(&receiver, &step[..at]).unwrap_err();
        // With a checksum that is right again it is refused for what it says, or leads to the target all the same.
        let end = step.len() - 32;
        let checksum = digest_of(&flipped[..end]);
        flipped[end..].copy_from_slice(checksum.as_bytes());
        if let Ok(manifest) = apply(&receiver, &flipped) {
            assert_eq!(manifest, new.manifest, "byte {at}");
        }
    }
    assert_eq!(receiver.manifests().unwrap().iter().filter(|one| **one != new.digest).count(), 1);
    apply(&receiver, &[&step[..], &[0]].concat()).unwrap_err();
}

#[test]
fn a_base_whose_chunks_are_gone_is_told() {
    let (_here, sender) = library();
    let (there, receiver) = library();
    let old = small(&sender);
    let dir = source(1);
    fs::write(dir.path().join("a"), b"alpha alpha alpha").unwrap();
    let new = take(dir.path(), &sender);
    let step = bundle(&sender, new.digest, &[old.digest]);
    fs::write(there.path().join("manifests").join(old.digest.to_string()), old.manifest.encode()).unwrap();
    assert!(matches!(apply(&receiver, &step), Err(BundleError::ChunkLacking { .. })));
    assert!(!receiver.has_manifest(&new.digest));
}

#[test]
fn any_flipped_byte_is_refused_and_the_library_unchanged() {
    let (_here, sender) = library();
    let sent = small(&sender);
    let bytes = bundle(&sender, sent.digest, &[]);
    let (_there, receiver) = library();
    for at in 0..bytes.len() {
        for flip in [0x01, 0x80] {
            let mut damaged = bytes.clone();
            damaged[at] ^= flip;
            assert!(apply(&receiver, &damaged).is_err(), "byte {at}");
            assert_untouched(&receiver, &sent, &format!("byte {at}"));
        }
    }
    apply(&receiver, &bytes).unwrap();
}

#[test]
fn a_bundle_cut_off_anywhere_or_continued_is_refused() {
    let (_here, sender) = library();
    let sent = small(&sender);
    let bytes = bundle(&sender, sent.digest, &[]);
    let (_there, receiver) = library();
    for length in 0..bytes.len() {
        let refused = apply(&receiver, &bytes[..length]);
        assert!(matches!(refused, Err(BundleError::Truncated)), "length {length}: {refused:?}");
        assert_untouched(&receiver, &sent, &format!("length {length}"));
    }
    let longer = [bytes.as_slice(), b"x"].concat();
    assert!(matches!(apply(&receiver, &longer), Err(BundleError::Trailing)));
    assert_untouched(&receiver, &sent, "trailing");
}

#[test]
fn limits_are_checked_before_anything_is_unpacked() {
    let (_here, sender) = library();
    let sent = small(&sender);
    let bytes = bundle(&sender, sent.digest, &[]);
    let (_there, receiver) = library();
    let with = |limits| apply_within(&receiver, &bytes, &limits);
    let limits = Limits::default();
    assert!(matches!(with(Limits { manifest_length_max: 10, ..limits }), Err(BundleError::TooLong { .. })));
    assert!(matches!(with(Limits { content_length_max: 76, ..limits }), Err(BundleError::Manifest(_))));
    assert_untouched(&receiver, &sent, "limits");
}

#[test]
fn what_is_not_held_is_not_bundled() {
    let (dir, sender) = library();
    let sent = take(source(1).path(), &sender);
    let absent = digest_of(b"absent");
    let plan = |target, base| BundlePlan { target, bases: vec![base] };
    let mut out = Vec::new();
    let refused = write_bundle(&sender, &plan(absent, sent.digest), &mut out, Making::small(3));
    assert!(matches!(refused, Err(BundleError::TargetLacking { .. })));
    let refused = write_bundle(&sender, &plan(sent.digest, absent), &mut out, Making::small(3));
    assert!(matches!(refused, Err(BundleError::BaseLacking { base }) if base == absent));
    drop(sender);
    for name in ["0000000000000001.pack", "0000000000000001.index"] {
        fs::remove_file(dir.path().join("packs").join(name)).unwrap();
    }
    let emptied = Library::open(dir.path()).unwrap();
    let plan = BundlePlan { target: sent.digest, bases: Vec::new() };
    assert!(matches!(
        write_bundle(&emptied, &plan, &mut out, Making::small(3)),
        Err(BundleError::Library(_))
    ));
}
