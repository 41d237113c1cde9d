//! Tests of the library: what is durable stays, what is damaged is named, and mended.

use std::{fs, ops::ControlFlow, path::PathBuf, sync::Arc};

use packhorse_domain::Digest;

use super::{Library, Pack};
use crate::{
    Block, ChunkRef, Entry, EntryKind, LibraryError, Manifest,
    testing::{library, noise, quick_dir},
    wire::digest_of,
};

fn add(library: &Library, pieces: &[Vec<u8>]) -> Vec<Digest> {
    let mut writer = library.writer().unwrap();
    let digests: Vec<Digest> = pieces.iter().map(|piece| digest_of(piece)).collect();
    for (digest, piece) in digests.iter().zip(pieces) {
        writer.add(*digest, piece).unwrap();
    }
    writer.seal().unwrap();
    digests
}

fn pieces(seed: u64, count: u64) -> Vec<Vec<u8>> {
    (0..count).map(|number| noise(seed * 1000 + number, 100 + number as usize)).collect()
}

fn files(library: &tempfile::TempDir, suffix: &str) -> Vec<PathBuf> {
    let entries = fs::read_dir(library.path().join("packs")).unwrap().map(|entry| entry.unwrap().path());
    let mut files: Vec<_> = entries.filter(|path| path.to_string_lossy().ends_with(suffix)).collect();
    files.sort();
    files
}

fn manifest_of(pieces: &[Vec<u8>]) -> Manifest {
    let entries = pieces.iter().enumerate().map(|(number, piece)| {
        let chunk = ChunkRef { digest: digest_of(piece), length: piece.len() as u32 };
        let (length, digest) = (piece.len() as u64, chunk.digest);
        let kind = EntryKind::File { executable: false, length, digest, chunks: vec![chunk] };
        Entry { path: format!("{number:04}"), kind }
    });
    Manifest { case_sensitive: false, entries: entries.collect() }
}

#[test]
fn chunks_are_held_once_and_come_back_after_opening_anew() {
    let (dir, library) = library();
    let pieces = pieces(1, 600);
    let digests = add(&library, &pieces);
    let before = library.disk_bytes();
    assert_eq!(add(&library, &pieces), digests);
    assert_eq!(library.disk_bytes(), before);
    drop(library);

    let library = Library::open(dir.path()).unwrap();

    for (digest, piece) in digests.iter().zip(&pieces) {
        assert!(library.has_chunk(digest));
        assert_eq!(library.chunk(digest).unwrap().as_ref(), Some(piece));
    }
    assert!(!library.has_chunk(&digest_of(b"other")));
    assert_eq!(library.chunk(&digest_of(b"other")).unwrap(), None);
}

#[test]
fn later_writers_fill_the_same_pack() {
    let (dir, library) = library();
    for seed in 0..5 {
        add(&library, &pieces(seed, 3));
    }
    assert_eq!(files(&dir, ".pack").len(), 1);
    drop(library);

    let library = Library::open(dir.path()).unwrap();
    add(&library, &pieces(7, 3));

    assert_eq!(files(&dir, ".pack").len(), 1);
    assert!(pieces(3, 3).iter().chain(&pieces(7, 3)).all(|piece| library.has_chunk(&digest_of(piece))));
}

#[test]
fn a_second_process_is_kept_out() {
    let (dir, library) = library();
    let refused = Library::open(dir.path()).unwrap_err();
    assert!(matches!(refused, LibraryError::Locked { .. }));
    assert!(refused.to_string().contains("in use by another process"), "{refused}");
    drop(library);
    Library::open(dir.path()).unwrap();
}

#[test]
fn a_library_of_a_newer_format_is_left_alone() {
    let (dir, library) = library();
    add(&library, &pieces(1, 1));
    drop(library);
    let pack = files(&dir, ".pack").remove(0);
    let mut bytes = fs::read(&pack).unwrap();
    bytes[4] = 2;
    fs::write(&pack, &bytes).unwrap();
    assert!(matches!(Library::open(dir.path()), Err(LibraryError::Format { .. })));
    assert_eq!(fs::read(&pack).unwrap(), bytes);
    fs::write(dir.path().join("format"), "packhorse-library 2\n").unwrap();
    assert!(matches!(Library::open(dir.path()), Err(LibraryError::Format { .. })));
}

#[test]
fn what_is_not_durable_is_not_seen() {
    let (_dir, library) = library();
    let pieces = pieces(1, 4);
    let digests: Vec<Digest> = pieces.iter().map(|piece| digest_of(piece)).collect();
    let mut writer = library.writer().unwrap();
    assert!(writer.add(digests[0], &pieces[0]).unwrap());
    assert!(!writer.add(digests[0], &pieces[0]).unwrap());
    assert!(!library.has_chunk(&digests[0]));

    writer.flush_durable().unwrap();
    assert_eq!(library.chunk(&digests[0]).unwrap().as_ref(), Some(&pieces[0]));

    writer.add(digests[1], &pieces[1]).unwrap();
    drop(writer);
    assert!(library.has_chunk(&digests[0]));
    assert!(!library.has_chunk(&digests[1]));
    // The next writer takes the same pack, over what was left there.
    add(&library, &pieces[2..]);
    for number in [0, 2, 3] {
        assert_eq!(library.chunk(&digests[number]).unwrap().as_ref(), Some(&pieces[number]));
    }
}

#[test]
fn what_was_flushed_outlives_a_writer_that_never_sealed() {
    let (dir, library) = library();
    let pieces = pieces(1, 3);
    let mut writer = library.writer().unwrap();
    for piece in &pieces {
        writer.add(digest_of(piece), piece).unwrap();
        writer.flush_durable().unwrap();
    }
    // As after kill -9: the files as they are, no index.
    let copy = tempfile::tempdir().unwrap();
    fs::create_dir(copy.path().join("packs")).unwrap();
    for file in files(&dir, "") {
        fs::copy(&file, copy.path().join("packs").join(file.file_name().unwrap())).unwrap();
    }
    assert!(files(&dir, ".index").is_empty());

    let reopened = Library::open(copy.path()).unwrap();

    for piece in &pieces {
        assert_eq!(reopened.chunk(&digest_of(piece)).unwrap().as_ref(), Some(piece));
    }
}

#[test]
fn a_torn_pack_keeps_its_whole_blocks_and_takes_new_ones() {
    let (dir, library) = library();
    let pieces: Vec<Vec<u8>> = (0..3).map(|seed| noise(seed, 20)).collect();
    let mut ends = vec![];
    let mut writer = library.writer().unwrap();
    for piece in &pieces {
        writer.add(digest_of(piece), piece).unwrap();
        writer.flush_durable().unwrap();
        ends.push(fs::metadata(&files(&dir, ".pack")[0]).unwrap().len());
    }
    let pack = fs::read(&files(&dir, ".pack")[0]).unwrap();
    for length in 0..=pack.len() {
        let torn = quick_dir();
        fs::create_dir(torn.path().join("packs")).unwrap();
        fs::write(torn.path().join("packs/0000000000000001.pack"), &pack[..length]).unwrap();

        let reopened = Library::open(torn.path()).unwrap();

        for (piece, end) in pieces.iter().zip(&ends) {
            assert_eq!(reopened.has_chunk(&digest_of(piece)), *end <= length as u64, "cut at {length}");
        }
        // Each addition syncs: not at every offset.
        if length % 16 == 0 {
            let digests = add(&reopened, &pieces);
            for (digest, piece) in digests.iter().zip(&pieces) {
                assert_eq!(reopened.chunk(digest).unwrap().as_ref(), Some(piece), "cut at {length}");
            }
        }
    }
}

#[test]
fn a_flipped_byte_is_damage_that_is_named_and_mended() {
    let (dir, library) = library();
    let pieces = pieces(1, 2);
    for piece in &pieces {
        add(&library, std::slice::from_ref(piece));
    }
    let manifest = library.put_manifest(&manifest_of(&pieces).encode()).unwrap();
    let path = files(&dir, ".pack").remove(0);
    let whole = fs::read(&path).unwrap();
    let damaged = digest_of(&pieces[0]);
    // The first block lies between the header and the second block, which is of about the same length.
    for at in (16..16 + (whole.len() - 16) / 2 - 10).step_by(7) {
        let mut bytes = whole.clone();
        bytes[at] ^= 0x10;
        fs::write(&path, &bytes).unwrap();
        let found = library.chunk(&damaged);
        assert!(
            matches!(&found, Err(LibraryError::Damaged { pack, offset: 16 }) if *pack == path),
            "byte {at}: {found:?}"
        );
        let asked = library.read_blocks(&[damaged], &mut |_| ControlFlow::Continue(()));
        assert!(matches!(asked, Err(LibraryError::Damaged { .. })));
    }
    assert_eq!(
        library.verify(&manifest).unwrap().iter().map(|chunk| chunk.digest).collect::<Vec<_>>(),
        [damaged]
    );

    library.forget_damaged(&[damaged, digest_of(&pieces[1])]).unwrap();

    assert!(!library.has_chunk(&damaged));
    assert_eq!(library.chunk(&digest_of(&pieces[1])).unwrap().as_ref(), Some(&pieces[1]));
    assert_eq!(library.missing(&manifest_of(&pieces)).len(), 1);
    add(&library, &pieces);
    assert!(library.verify(&manifest).unwrap().is_empty());
    drop(library);
    let library = Library::open(dir.path()).unwrap();
    assert!(library.verify(&manifest).unwrap().is_empty());
}

#[test]
fn a_lost_or_damaged_index_is_made_anew() {
    for damage in [true, false] {
        let (dir, library) = library();
        let pieces = pieces(1, 5);
        add(&library, &pieces);
        drop(library);
        let index = files(&dir, ".index").remove(0);
        let whole = fs::read(&index).unwrap();
        if damage {
            let mut bytes = whole.clone();
            bytes[60] ^= 1;
            fs::write(&index, bytes).unwrap();
        } else {
            fs::remove_file(&index).unwrap();
        }

        let library = Library::open(dir.path()).unwrap();

        assert!(pieces.iter().all(|piece| library.has_chunk(&digest_of(piece))));
        assert_eq!(fs::read(&index).unwrap(), whole);
    }
}

#[test]
fn a_manifest_is_put_only_when_its_chunks_are_held() {
    let (dir, library) = library();
    let pieces = pieces(1, 3);
    let manifest = manifest_of(&pieces);
    add(&library, &pieces[..2]);
    let digest = library.stage_manifest(&manifest.encode()).unwrap();
    assert!(matches!(
        library.put_manifest(&manifest.encode()),
        Err(LibraryError::Incomplete { missing: 1, .. })
    ));
    assert!(!library.has_manifest(&digest));
    assert_eq!(library.staged_manifest(&digest).unwrap(), Some(manifest.clone()));

    add(&library, &pieces[2..]);
    assert_eq!(library.put_manifest(&manifest.encode()).unwrap(), digest);

    assert_eq!(library.staged_manifests().unwrap(), []);
    assert_eq!(library.manifests().unwrap(), [digest]);
    assert_eq!(library.manifest(&digest).unwrap(), Some(manifest.clone()));
    fs::write(dir.path().join("manifests").join(digest.to_string()), "rotten").unwrap();
    assert!(matches!(library.manifest(&digest), Err(LibraryError::DamagedManifest { .. })));
    library.put_manifest(&manifest.encode()).unwrap();
    assert_eq!(library.manifest(&digest).unwrap(), Some(manifest));
}

#[test]
fn blocks_go_as_stored_where_all_is_wanted_and_remade_where_not() {
    let (_here, library) = library();
    let pieces = pieces(1, 40);
    let digests = add(&library, &pieces);
    for wanted in [&digests[..], &digests[5..9], &[digests[7], digests[3], digests[7]]] {
        let (_there, other) = crate::testing::library();
        let mut writer = other.writer().unwrap();
        let mut added = 0;
        let mut blocks = 0;
        library
            .read_blocks(wanted, &mut |block| {
                added += writer.add_block(block).unwrap();
                blocks += 1;
                ControlFlow::Continue(())
            })
            .unwrap();
        writer.seal().unwrap();
        let unique: std::collections::HashSet<_> = wanted.iter().collect();
        assert_eq!((added, blocks), (unique.len(), 1));
        for digest in wanted {
            assert_eq!(other.chunk(digest).unwrap(), library.chunk(digest).unwrap());
        }
    }
    let lacking = library.read_blocks(&[digests[0], digest_of(b"x")], &mut |_| ControlFlow::Continue(()));
    assert!(matches!(lacking, Err(LibraryError::Lacking { chunk }) if chunk == digest_of(b"x")));
}

#[test]
fn false_chunks_and_blocks_are_not_taken() {
    let (_dir, library) = library();
    let mut writer = library.writer().unwrap();
    assert!(matches!(writer.add(digest_of(b"a"), b"b"), Err(LibraryError::WrongChunk { .. })));
    let mut compressor = Block::compressor().unwrap();
    let lie = ChunkRef { digest: digest_of(b"a"), length: 1 };
    let block = Block::compress(&mut compressor, vec![lie], b"b").unwrap();
    assert!(matches!(writer.add_block(block), Err(LibraryError::Block(_))));
    writer.seal().unwrap();
    assert!(!library.has_chunk(&digest_of(b"a")));
}

#[test]
fn writers_and_readers_work_side_by_side() {
    let (_dir, library) = library();
    std::thread::scope(|scope| {
        for seed in 0..4 {
            let library = &library;
            scope.spawn(move || {
                for round in 0..5 {
                    let pieces = pieces(seed * 10 + round, 50);
                    let digests = add(library, &pieces);
                    for (digest, piece) in digests.iter().zip(&pieces) {
                        assert_eq!(library.chunk(digest).unwrap().as_ref(), Some(piece));
                    }
                }
            });
        }
    });
}

#[test]
fn a_failed_write_shows_nothing_and_its_pack_is_left_alone() {
    let (_dir, library) = library();
    // A file that cannot grow stands for a full disk.
    let full = rustix::fs::memfd_create("full", rustix::fs::MemfdFlags::ALLOW_SEALING).unwrap();
    let full = fs::File::from(full);
    full.set_len(16).unwrap();
    rustix::fs::fcntl_add_seals(&full, rustix::fs::SealFlags::GROW).unwrap();
    let pack = Pack::new(99, "full.pack".into(), full, None);
    library.shared.give_back(Arc::new(pack));
    let pieces = pieces(1, 2);
    let digest = digest_of(&pieces[0]);

    let mut writer = library.writer().unwrap();
    writer.add(digest, &pieces[0]).unwrap();
    assert!(matches!(writer.flush_durable(), Err(LibraryError::Io { .. })));
    assert!(matches!(writer.add(digest_of(&pieces[1]), &pieces[1]), Err(LibraryError::WriterFailed)));
    assert!(matches!(writer.seal(), Err(LibraryError::WriterFailed)));

    assert!(!library.has_chunk(&digest));
    add(&library, &pieces);
    assert_eq!(library.chunk(&digest).unwrap().as_ref(), Some(&pieces[0]));
}
