//! Tests of the manifest: one encoding for each, and nothing hostile gets through.

use packhorse_domain::Digest;
use proptest::prelude::{Just, Strategy, any, prop, prop_oneof, proptest};

use super::{ChunkRef, EMPTY, Entry, EntryKind, HEADER_BYTES, Manifest, ManifestError};
use crate::{limits::Limits, wire::digest_of};

fn file(path: &str, chunks: &[u32]) -> Entry {
    let chunks: Vec<ChunkRef> = chunks
        .iter()
        .map(|length| ChunkRef { digest: Digest([*length as u8; 32]), length: *length })
        .collect();
    let digest = match chunks.as_slice() {
        [] => EMPTY,
        [chunk] => chunk.digest,
        _ => Digest([9; 32]),
    };
    let length = chunks.iter().map(|chunk| u64::from(chunk.length)).sum();
    Entry { path: path.into(), kind: EntryKind::File { executable: false, length, digest, chunks } }
}

fn directory(path: &str) -> Entry {
    Entry { path: path.into(), kind: EntryKind::Directory }
}

fn link(path: &str, target: &str) -> Entry {
    Entry { path: path.into(), kind: EntryKind::Symlink { target: target.into() } }
}

fn decode(entries: Vec<Entry>) -> Result<Manifest, ManifestError> {
    Manifest::decode(&Manifest { case_sensitive: false, entries }.encode(), &Limits::default())
}

/// A kernel has such modules, and a tree that was put together by hand such directories.
fn clashing() -> Vec<Entry> {
    vec![
        directory("Lib"),
        file("Lib/x", &[1]),
        directory("lib"),
        file("lib/y", &[2]),
        file("xt_HL.ko", &[3]),
        link("xt_hl.ko", "lib/y"),
    ]
}

fn any_manifest() -> impl Strategy<Value = Manifest> {
    let kind = prop_oneof![Just(0u8), Just(1), Just(2), Just(3)];
    let entry =
        ("[a-cA]{1,2}", prop::option::of("[a-z.]{1,5}x"), kind, prop::collection::vec(1u32..=262_144, 0..5));
    prop::collection::vec((entry, any::<bool>()), 0..30).prop_map(|made| {
        let mut entries = std::collections::BTreeMap::new();
        for ((top, below, kind, chunks), executable) in made {
            let path = match below {
                Some(below) => {
                    entries.insert(top.clone(), directory(&top));
                    format!("{top}/{below}")
                }
                None => format!("{top}-"),
            };
            let mut entry = match kind {
                0 => directory(&path),
                3 => link(&path, "a/b"),
                _ => file(&path, &chunks),
            };
            if let EntryKind::File { executable: bit, .. } = &mut entry.kind {
                *bit = executable;
            }
            entries.insert(path, entry);
        }
        let mut entries: Vec<Entry> = entries.into_values().collect();
        entries.sort_by(|one, other| one.path.cmp(&other.path));
        let mut manifest = Manifest { case_sensitive: false, entries };
        manifest.case_sensitive =
            matches!(manifest.check(&Limits::default()), Err(ManifestError::CaseClash { .. }));
        manifest
    })
}

proptest! {
    #[test]
    fn what_was_encoded_is_decoded(manifest in any_manifest()) {
        let bytes = manifest.encode();
        let lengths: u64 = manifest.entries.iter().map(Entry::encoded_length).sum();
        assert_eq!(bytes.len() as u64, HEADER_BYTES + lengths);
        assert_eq!(Manifest::decode(&bytes, &Limits::default()), Ok(manifest));
    }

    #[test]
    fn what_is_accepted_is_the_only_encoding(manifest in any_manifest(), at in any::<prop::sample::Index>(), to: u8) {
        let mut bytes = manifest.encode();
        let at = at.index(bytes.len());
        bytes[at] = to;
        if let Ok(decoded) = Manifest::decode(&bytes, &Limits::default()) {
            assert_eq!(decoded.encode(), bytes);
        }
    }

    #[test]
    fn random_bytes_do_not_panic(mut bytes in prop::collection::vec(any::<u8>(), 0..400), headed: bool) {
        if headed && bytes.len() >= 10 {
            bytes[..10].copy_from_slice(b"PHMF\x01\0\x03\0\0\0");
        }
        let _ = Manifest::decode(&bytes, &Limits::default());
    }
}

#[test]
fn hostile_paths_are_refused() {
    for path in ["", "/etc/x", "..", "a/../../b", "./a", "a//b", "a/", "a\0"] {
        assert!(matches!(decode(vec![file(path, &[1])]), Err(ManifestError::Path { .. })), "{path:?}");
    }
}

#[test]
fn order_duplicates_and_orphans_are_refused() {
    let order = |entries| matches!(decode(entries), Err(ManifestError::Order { .. }));
    assert!(order(vec![file("b", &[1]), file("a", &[1])]));
    assert!(order(vec![file("a", &[1]), file("a", &[1])]));
    let orphan = |entries| matches!(decode(entries), Err(ManifestError::Orphan { .. }));
    assert!(orphan(vec![file("a/b", &[1])]));
    assert!(orphan(vec![file("a", &[1]), file("a/b", &[1])]));
    assert!(orphan(vec![link("a", "c"), file("a/b", &[1]), directory("c")]));
}

#[test]
fn links_that_leave_are_refused() {
    for target in ["/etc/passwd", "../x", "d/../../x", "l2/../..", ""] {
        let refused = decode(vec![directory("d"), link("l", target), link("l2", "d")]);
        assert!(matches!(refused, Err(ManifestError::Link { .. })), "{target}");
    }
    assert!(decode(vec![directory("d"), link("l", "d/../d")]).is_ok());
}

#[test]
fn names_that_differ_only_in_case_are_refused_unless_that_is_meant() {
    let clash = |entries, path: &str, other: &str| {
        let expected = ManifestError::CaseClash { path: path.into(), other: other.into() };
        assert_eq!(decode(entries), Err(expected));
    };
    clash(clashing(), "Lib", "lib");
    clash(vec![file("xt_HL.ko", &[1]), file("xt_hl.ko", &[1])], "xt_HL.ko", "xt_hl.ko");
    clash(vec![link("A", "b"), file("a", &[1]), file("b", &[1])], "A", "a");
    clash(vec![directory("d"), directory("d/A"), file("d/a", &[1])], "d/A", "d/a");
    assert!(decode(vec![file("A", &[1]), directory("b"), file("b/a", &[1])]).is_ok());

    let meant = Manifest { case_sensitive: true, entries: clashing() };
    assert_eq!(Manifest::decode(&meant.encode(), &Limits::default()), Ok(meant));
}

/// Else the same tree could be named by two digests.
#[test]
fn what_is_meant_must_be_there() {
    for entries in [vec![], vec![file("a", &[1]), file("b", &[1])]] {
        let manifest = Manifest { case_sensitive: true, entries };
        assert_eq!(Manifest::decode(&manifest.encode(), &Limits::default()), Err(ManifestError::NoCaseClash));
    }
}

#[test]
fn chunks_make_up_their_file() {
    let change = |change: &dyn Fn(&mut u64, &mut Digest, &mut Vec<ChunkRef>), chunks: &[u32]| {
        let mut entry = file("a", chunks);
        if let EntryKind::File { length, digest, chunks, .. } = &mut entry.kind {
            change(length, digest, chunks);
        }
        matches!(
            Manifest { case_sensitive: false, entries: vec![entry] }.check(&Limits::default()),
            Err(ManifestError::Chunks { .. })
        )
    };
    assert!(change(&|length, _, _| *length += 1, &[1, 2]));
    assert!(change(&|_, digest, _| digest.0[0] ^= 1, &[1]));
    assert!(change(&|_, digest, _| digest.0[0] ^= 1, &[]));
    assert!(change(&|_, _, chunks| chunks[0].length = 0, &[1, 2]));
    assert!(change(
        &|length, _, chunks| {
            chunks[0].length = 262_145;
            *length = 262_147;
        },
        &[1, 2]
    ));
    assert!(!change(&|_, _, _| {}, &[1, 2]));
}

#[test]
fn limits_hold_before_memory_is_spent() {
    let bytes =
        Manifest { case_sensitive: false, entries: vec![file("a", &[10, 20]), file("b", &[5])] }.encode();
    let limits = Limits::default();
    let with = |limits| Manifest::decode(&bytes, &limits);
    assert!(with(limits).is_ok());
    let length = bytes.len() as u64;
    assert!(matches!(
        with(Limits { manifest_length_max: length - 1, ..limits }),
        Err(ManifestError::TooLong { .. })
    ));
    assert!(matches!(with(Limits { entries_max: 1, ..limits }), Err(ManifestError::TooManyEntries { .. })));
    assert!(matches!(
        with(Limits { content_length_max: 34, ..limits }),
        Err(ManifestError::TooMuchContent { .. })
    ));
    // Two million entries and four thousand million chunks announced, and none there.
    let announced = [b"PHMF\x01\0".as_slice(), &2_000_000u32.to_le_bytes()].concat();
    assert_eq!(Manifest::decode(&announced, &limits), Err(ManifestError::Truncated));
    let mut chunks = Manifest { case_sensitive: false, entries: vec![file("a", &[10, 20])] }.encode();
    let count_at = chunks.len() - 72 - 4;
    chunks[count_at..count_at + 4].copy_from_slice(&u32::MAX.to_le_bytes());
    assert_eq!(Manifest::decode(&chunks, &limits), Err(ManifestError::Truncated));
}

#[test]
fn a_manifest_cut_off_or_continued_is_refused() {
    let bytes = Manifest {
        case_sensitive: false,
        entries: vec![directory("d"), file("d/a", &[10, 20]), link("l", "d/a")],
    }
    .encode();
    for length in 0..bytes.len() {
        assert!(Manifest::decode(&bytes[..length], &Limits::default()).is_err(), "{length}");
    }
    let longer = [bytes.as_slice(), b"\0"].concat();
    assert_eq!(Manifest::decode(&longer, &Limits::default()), Err(ManifestError::Trailing(1)));
    let mut newer = bytes;
    newer[4] = 3;
    assert_eq!(Manifest::decode(&newer, &Limits::default()), Err(ManifestError::Version(3)));
}

#[test]
fn each_chunk_comes_once_in_order() {
    let manifest = Manifest {
        case_sensitive: false,
        entries: vec![file("a", &[3, 1]), file("b", &[3]), file("c", &[2, 1])],
    };
    let lengths: Vec<u32> = manifest.chunks().map(|chunk| chunk.length).collect();
    assert_eq!(lengths, [3, 1, 2]);
    assert_eq!((manifest.total_length(), manifest.file_count()), (10, 3));
}

/// Other machines and later versions name content by these bytes.
#[test]
fn the_format_does_not_change() {
    let manifest = Manifest {
        case_sensitive: false,
        entries: vec![directory("d"), file("d/a", &[10, 20]), link("l", "d/a")],
    };
    assert_eq!(EMPTY, digest_of(b""));
    assert_eq!(
        manifest.encode().len(),
        10 + (2 + 1 + 1) + (2 + 3 + 1 + 8 + 32 + 4 + 72) + (2 + 1 + 1 + 2 + 3)
    );
    assert_eq!(
        manifest.digest().to_string(),
        "1e15707e0a6dfa9c7d8f6d0c2ff563d1acf189dc74caae8536e72e99bda0b0a5"
    );
    let case_sensitive = Manifest { case_sensitive: true, ..manifest.clone() }.encode();
    assert_eq!(case_sensitive[..6], *b"PHMF\x02\0");
    assert_eq!(case_sensitive[6..], manifest.encode()[6..]);
}
