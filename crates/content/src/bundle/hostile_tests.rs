//! Bundles that are made to do harm, under checksums, digests and lengths that are right.

use std::fs;

use packhorse_domain::Digest;

use super::{
    BundleError, BundleHeader, Making,
    tests::{apply, bundle},
    tree::{self, Base},
};
use crate::{
    ChunkRef, Entry, EntryKind, Library, Manifest, ManifestError, PathError,
    deflated::tests::zip,
    delta::{Encoder, Index, OldContent, Spools, Stream},
    testing::{library, noise, quick_dir, take},
    wire::digest_of,
};

#[path = "../../tests/apart/mod.rs"]
#[expect(dead_code, reason = "others use the rest of it")]
pub(super) mod apart;

use apart::{Apart, numbers, sealed};

const TREE: usize = 0;
const CONTENT: &[u8] = b"what a file holds";

fn file(path: &str) -> Entry {
    let digest = digest_of(CONTENT);
    let length = CONTENT.len() as u64;
    let chunks = vec![ChunkRef { digest, length: length as u32 }];
    Entry { path: path.into(), kind: EntryKind::File { executable: false, length, digest, chunks } }
}

fn directory(path: &str) -> Entry {
    Entry { path: path.into(), kind: EntryKind::Directory }
}

fn link(path: &str, target: &str) -> Entry {
    Entry { path: path.into(), kind: EntryKind::Symlink { target: target.into() } }
}

/// The bundle of a version that no snapshot would make.
fn told(entries: Vec<Entry>) -> Vec<u8> {
    told_as(&Manifest { case_sensitive: false, entries })
}

fn told_as(manifest: &Manifest) -> Vec<u8> {
    let (directory, library) = library();
    let base = Base::of(&library, &[]).unwrap();
    let old = OldContent::new(directory.path()).unwrap();
    let index = Index::new(&old).unwrap();
    let mut spools = Spools::new(directory.path()).unwrap();
    let told = tree::tell(manifest, &base, &mut spools).unwrap();
    let mut encoder = Encoder::new(&old, &index, &mut spools);
    for _ in &told {
        encoder.number(Stream::Deflated, 0).unwrap();
        encoder.file(&mut &CONTENT[..], None).unwrap();
    }
    spools.number(Stream::Inflated, 0).unwrap();
    let sections = spools.finish(directory.path(), Making::small(3)).unwrap();
    let manifest_length = manifest.encode().len() as u64;
    let plain_length = manifest_length + told.iter().map(|told| told.length).sum::<u64>();
    let header = BundleHeader { target: manifest.digest(), bases: Vec::new(), manifest_length, plain_length };
    let mut bytes = header.encode();
    for (plain, compressed) in &sections.lengths {
        bytes.extend_from_slice(&plain.to_le_bytes());
        bytes.extend_from_slice(&compressed.to_le_bytes());
    }
    sections.write(&mut bytes).unwrap();
    sealed(bytes)
}

/// Nothing of it is taken.
fn refused(entries: Vec<Entry>) -> ManifestError {
    refused_as(&Manifest { case_sensitive: false, entries })
}

fn refused_as(manifest: &Manifest) -> ManifestError {
    let (_dir, library) = library();
    let before = library.disk_bytes();
    let error = apply(&library, &told_as(manifest)).unwrap_err();
    assert!(library.manifests().unwrap().is_empty() && !library.has_chunk(&digest_of(CONTENT)));
    assert!(library.disk_bytes() <= before + 16, "at most an empty pack is left");
    match error {
        BundleError::Manifest(error) => error,
        other => panic!("{other:?}"),
    }
}

#[test]
fn paths_that_lead_elsewhere_are_refused() {
    for (path, why) in [
        ("", PathError::Empty),
        ("/etc/passwd", PathError::Absolute),
        ("../x", PathError::Dots),
        ("a/../../x", PathError::Dots),
        ("./a", PathError::Dots),
        ("a//b", PathError::EmptyComponent),
        ("a/", PathError::EmptyComponent),
        ("a\0", PathError::Nul),
        (&"a".repeat(10_000), PathError::TooLong),
        (&"a".repeat(256), PathError::ComponentTooLong),
    ] {
        let error = refused(vec![file(path)]);
        assert_eq!(error, ManifestError::Path { path: path.into(), source: why });
    }
}

#[test]
fn links_that_leave_and_paths_through_links_are_refused() {
    for target in ["/etc/passwd", "..", "../x", "d/../../x", "l2/../..", &"x/".repeat(5000)] {
        let error = refused(vec![directory("d"), link("l", target), link("l2", "d")]);
        assert_eq!(error, ManifestError::Link { path: "l".into() });
    }
    let error = refused(vec![link("a", "b"), file("a/x"), directory("b")]);
    assert_eq!(error, ManifestError::Orphan { path: "a/x".into() });
}

#[test]
fn two_entries_of_one_path_are_refused() {
    for entries in [
        vec![file("a"), file("a")],
        vec![directory("a"), link("a", "b")],
        vec![directory("a"), file("a/x"), file("a/x")],
    ] {
        let path = entries.last().unwrap().path.clone();
        assert_eq!(refused(entries), ManifestError::Order { path });
    }
    assert_eq!(refused(vec![file("b"), file("a")]), ManifestError::Order { path: "a".into() });
}

#[test]
fn names_that_differ_only_in_case_are_refused_unless_that_is_meant() {
    let entries = || vec![directory("A"), file("A/x"), directory("a"), file("a/y")];
    let error = refused(entries());
    assert_eq!(error, ManifestError::CaseClash { path: "A".into(), other: "a".into() });
    let meant = Manifest { case_sensitive: true, entries: entries() };
    assert_eq!(apply(&library().1, &told_as(&meant)).unwrap(), meant);

    let error = refused_as(&Manifest { case_sensitive: true, entries: vec![file("a"), file("b")] });
    assert_eq!(error, ManifestError::NoCaseClash);
}

/// That they are meant is said once and first: a tree is told in one way.
#[test]
fn that_case_counts_is_said_at_the_begin() {
    let (_dir, library) = library();
    let meant = Manifest { case_sensitive: true, entries: vec![directory("A"), directory("a")] };
    let good = Apart::of(&told_as(&meant));
    let (first, second) = (&b"\x02\0\x01A\0"[..], &b"\x02\0\x01a\0"[..]);
    assert_eq!(good.plain(TREE), [b"\x02\x01", first, second].concat());
    for tree in [
        [b"\x02\x01\x01", first, second].concat(),
        [b"\x02", first, b"\x01", second].concat(),
        [b"\x02\x01", first, b"\x01", second].concat(),
    ] {
        let mut bundle = good.clone();
        bundle.set(TREE, &tree);
        assert!(matches!(apply(&library, &bundle.together()), Err(BundleError::Unmade(_))), "{tree:?}");
    }
    apply(&library, &good.together()).unwrap();
}

/// A tree may name contents that were told before, of the bases or of itself, and no others.
#[test]
fn contents_that_are_not_there_yet_are_refused() {
    let (_dir, library) = library();
    let good = Apart::of(&told(vec![file("a"), file("b")]));
    let length = CONTENT.len() as u64;
    let tree = |first: u64, second: u64| {
        let (a, b) = (numbers(&[2, 0, 1]), numbers(&[2, 0, 1]));
        let (length, first, second) = (numbers(&[length]), numbers(&[first]), numbers(&[second]));
        [&[2][..], &a, b"a\x01", &length, &first, &b, b"b\x01", &length, &second].concat()
    };
    assert_eq!(good.plain(TREE), tree(0, 2));
    for (first, second) in [(2, 0), (2, 2), (4, 0), (1, 0), (0, 1), (0, 4), (0, u64::MAX), (u64::MAX, 0)] {
        let mut bundle = good.clone();
        bundle.set(TREE, &tree(first, second));
        let error = apply(&library, &bundle.together()).unwrap_err();
        assert!(matches!(error, BundleError::Unmade(why) if why.contains("content")), "{error:?}");
    }
    apply(&library, &good.together()).unwrap();
}

/// Where a long file is cut is told in a bundle without bases, and its digest. Others make another manifest.
#[test]
fn a_file_is_cut_as_its_manifest_says_or_refused() {
    let (_dir, sender) = library();
    let (_there, receiver) = library();
    let source = quick_dir();
    fs::write(source.path().join("a"), noise(1, 300_000)).unwrap();
    let sent = take(source.path(), &sender);
    let good = Apart::of(&bundle(&sender, sent.digest, &[]));
    let lengths: Vec<u64> = sent.manifest.chunks().map(|chunk| chunk.length.into()).collect();
    let tree = |lengths: &[u64], digest: &[u8]| {
        [&numbers(&[1, 2, 0, 1])[..], b"a\x01", &numbers(&[300_000, 0]), &numbers(lengths), digest].concat()
    };
    let digest = digest_of(&noise(1, 300_000)).0;
    assert_eq!(good.plain(TREE), tree(&lengths, &digest));
    let (first, rest) = lengths.split_first().unwrap();
    let chunks = [
        [&[1, first - 1][..], rest].concat(),
        [&[first + 1, rest[0] - 1][..], &rest[1..]].concat(),
        [&[0][..], &lengths].concat(),
        vec![300_000],
        vec![262_144, 262_144],
        vec![1; 300_000],
        vec![150_000],
        vec![150_000, 150_000, 1],
        vec![u64::MAX],
    ];
    let chunks = chunks.iter().map(|lengths| tree(lengths, &digest));
    let digests =
        [&[7; 32][..], &digest[..31], &[], &[digest; 2].concat()].map(|digest| tree(&lengths, digest));
    for wrong in chunks.chain(digests) {
        let mut bundle = good.clone();
        bundle.set(TREE, &wrong);
        let error = apply(&receiver, &bundle.together()).unwrap_err();
        assert!(matches!(error, BundleError::Unmade(_)), "{error:?}");
        assert!(receiver.manifests().unwrap().is_empty());
    }
    apply(&receiver, &good.together()).unwrap();
}

#[test]
fn lengths_without_end_are_refused() {
    let (_dir, library) = library();
    let good = told(vec![file("a")]);
    for section in 0..14 {
        for (place, length) in [(0, u64::MAX), (8, u64::MAX), (8, u64::MAX - 300), (8, 1 << 40)] {
            let mut bundle = good[..good.len() - 32].to_vec();
            let at = 56 + section * 16 + place;
            bundle[at..at + 8].copy_from_slice(&length.to_le_bytes());
            let error = apply(&library, &sealed(bundle)).unwrap_err();
            assert!(matches!(error, BundleError::Truncated | BundleError::Unmade(_)), "{error:?}");
        }
    }
    assert!(library.manifests().unwrap().is_empty());
}

/// A bundle of which one stream says something else, once for each of its bytes and two of their bits.
pub(super) fn each_change(good: &Apart, stream: usize, check: &dyn Fn(&Apart, &str)) {
    let plain = good.plain(stream);
    for (at, bits) in (0..plain.len()).flat_map(|at| [1, 0x80].map(|bits| (at, bits))) {
        let (mut bundle, mut changed) = (good.clone(), plain.clone());
        changed[at] ^= bits;
        bundle.set(stream, &changed);
        check(&bundle, &format!("stream {stream}, byte {at}"));
    }
}

fn archive(seed: u64) -> Vec<u8> {
    let text = |seed| noise(seed, 600).iter().map(|byte| byte % 23 + b'a').collect::<Vec<u8>>();
    let (stays, changes) = (text(1), [text(1), text(seed), text(1)].concat());
    zip(&[("stays", &stays, Some(6)), ("changes", &changes, Some(6))])
}

fn with_archive(library: &Library, seed: u64) -> crate::Snapshot {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("app.zip"), archive(seed)).unwrap();
    take(dir.path(), library)
}

#[test]
fn a_bundle_with_an_archive_in_it_is_refused_whatever_becomes_of_it() {
    let (_here, sender) = library();
    let there = quick_dir();
    let receiver = Library::open(there.path()).unwrap();
    let (old, new) = (with_archive(&sender, 2), with_archive(&sender, 3));
    with_archive(&receiver, 2);
    let step = bundle(&sender, new.digest, &[old.digest]);
    let good = Apart::of(&step);
    assert!(good.plain(2)[0] > 0 && good.plain(3)[0] > 0, "an archive is told inflated");
    for at in 0..step.len() {
        apply(&receiver, &step[..at]).unwrap_err();
        let mut flipped = step.clone();
        flipped[at] ^= 0x41;
        apply(&receiver, &flipped).unwrap_err();
        // With a checksum that is right it is refused for what it says, or leads to the target all the same.
        if let Ok(manifest) = apply(&receiver, &sealed(flipped[..step.len() - 32].to_vec())) {
            assert_eq!(manifest, new.manifest, "byte {at}");
        }
    }
    // What the streams say, changed under their compression.
    for stream in 0..good.sections.len() {
        each_change(&good, stream, &|bundle, what| {
            if let Ok(manifest) = apply(&receiver, &bundle.together()) {
                assert_eq!(manifest, new.manifest, "{what}");
            }
        });
    }
    assert!(receiver.verify(&old.digest).unwrap().is_empty());
    assert_eq!(receiver.manifests().unwrap().iter().filter(|one| **one != new.digest).count(), 1);
    apply(&receiver, &step).unwrap();
    assert!(receiver.verify(&new.digest).unwrap().is_empty());
}

/// So many literals are unpacked by a thread of their own.
#[test]
fn many_literals_that_are_not_what_the_tree_needs_are_refused() {
    const LITERALS: usize = 13;
    let (_here, sender) = library();
    let (_there, receiver) = library();
    let dir = tempfile::tempdir().unwrap();
    let content = noise(1, 3_000_000).iter().map(|byte| byte % 23).collect::<Vec<u8>>();
    fs::write(dir.path().join("long"), content).unwrap();
    let sent = take(dir.path(), &sender);
    let good = Apart::of(&bundle(&sender, sent.digest, &[]));
    let plain = good.plain(LITERALS);
    assert!(plain.len() > 2_000_000);
    let refused = |bundle: &Apart, what: &str| {
        let error = apply(&receiver, &bundle.together()).unwrap_err();
        assert!(matches!(error, BundleError::Unmade(_)), "{what}: {error:?}");
        assert!(receiver.manifests().unwrap().is_empty());
    };
    for (what, plain) in [
        ("one less", plain[..plain.len() - 1].to_vec()),
        ("few", plain[..2_000_000].to_vec()),
        ("one more", [&plain[..], b"x"].concat()),
        ("many more", plain.repeat(2)),
    ] {
        let mut bundle = good.clone();
        bundle.set(LITERALS, &plain);
        refused(&bundle, what);
    }
    for (what, declared) in [("declares less", -1), ("declares more", 1), ("declares much more", 1 << 40)] {
        let mut bundle = good.clone();
        let length = &mut bundle.sections[LITERALS].plain_length;
        *length = length.wrapping_add_signed(declared);
        refused(&bundle, what);
    }
    let frame = &good.sections[LITERALS].frame;
    for nth in 0..50 {
        let at = frame.len() * nth / 50;
        let (mut cut, mut flipped) = (good.clone(), good.clone());
        cut.sections[LITERALS].frame.truncate(at);
        refused(&cut, &format!("cut at {at}"));
        flipped.sections[LITERALS].frame[at] ^= 0x41;
        refused(&flipped, &format!("flipped at {at}"));
    }
    apply(&receiver, &good.together()).unwrap();
    assert!(receiver.verify(&sent.digest).unwrap().is_empty());
}

#[test]
fn bases_are_counted_and_known() {
    let (_dir, library) = library();
    let good = Apart::of(&told(vec![file("a")]));
    for count in [1, 64, 65, u16::MAX] {
        let mut bundle = good.clone();
        bundle.head[6..8].copy_from_slice(&count.to_le_bytes());
        bundle.head.extend([7; 32].repeat(count.into()));
        let error = apply(&library, &bundle.together()).unwrap_err();
        match count {
            1 | 64 => assert!(matches!(error, BundleError::BaseLacking { base } if base == Digest([7; 32]))),
            _ => assert!(matches!(error, BundleError::TooManyBases(_))),
        }
    }
}
