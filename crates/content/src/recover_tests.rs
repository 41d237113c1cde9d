//! Tests of opening packs and indexes that say what nobody wrote, under checksums that are right.

use std::{
    fs::{self, File},
    path::{Path, PathBuf},
    time::{Duration, SystemTime},
};

use packhorse_domain::Digest;

use crate::{
    Block, ChunkRef, Library,
    pack::{PACK_HEADER, encode_block},
    testing::{library, noise, quick_dir},
    wire::digest_of,
};

const CHECKSUM: usize = 16;

fn pieces() -> Vec<Vec<u8>> {
    (0..3).map(|seed| noise(seed, 20)).collect()
}

fn pack(of: &Path) -> PathBuf {
    of.join("packs/0000000000000001.pack")
}

fn index(of: &Path) -> PathBuf {
    of.join("packs/0000000000000001.index")
}

/// A library with a block for each piece, in one pack; its pack and its index.
fn two_blocks() -> (Vec<u8>, Vec<u8>) {
    let (dir, library) = library();
    let pieces = pieces();
    for some in [&pieces[..2], &pieces[2..]] {
        let mut writer = library.writer().unwrap();
        for piece in some {
            writer.add(digest_of(piece), piece).unwrap();
        }
        writer.seal().unwrap();
    }
    drop(library);
    (fs::read(pack(dir.path())).unwrap(), fs::read(index(dir.path())).unwrap())
}

/// What such a library gives is what was put into it, or nothing; and it is mended by what is put into it again.
fn assert_gives_no_other(pack_bytes: &[u8], index_bytes: Option<&[u8]>, why: &str) {
    let dir = quick_dir();
    fs::create_dir(dir.path().join("packs")).unwrap();
    fs::write(pack(dir.path()), pack_bytes).unwrap();
    if let Some(bytes) = index_bytes {
        fs::write(index(dir.path()), bytes).unwrap();
    }
    let library = Library::open(dir.path()).unwrap();
    for piece in pieces() {
        if let Ok(Some(bytes)) = library.chunk(&digest_of(&piece)) {
            assert_eq!(bytes, piece, "{why}");
        }
    }
    let digests: Vec<Digest> = pieces().iter().map(|piece| digest_of(piece)).collect();
    let _ = library.read_blocks(&digests, &mut |block| {
        let _ = block.verified_plain();
        std::ops::ControlFlow::Continue(())
    });
    library.forget_damaged(&digests).unwrap();
    let mut writer = library.writer().unwrap();
    for piece in pieces() {
        writer.add(digest_of(&piece), &piece).unwrap();
    }
    writer.seal().unwrap();
    for piece in pieces() {
        assert_eq!(library.chunk(&digest_of(&piece)).unwrap(), Some(piece), "{why}");
    }
    library.collect(&[]).unwrap();
}

#[test]
fn a_pack_that_lies_under_right_checksums_gives_nothing_else() {
    let (pack, _) = two_blocks();
    let first = PACK_HEADER.len();
    let data = u32::from_le_bytes(pack[first + 12..first + 16].try_into().unwrap()) as usize;
    let second = first + 16 + 2 * 36 + data + CHECKSUM;
    assert_eq!(pack[second..second + 4], *b"PHBK");
    for (begin, end) in [(first, second), (second, pack.len())] {
        for (at, bits) in (begin..end - CHECKSUM).flat_map(|at| [1, 0x80].map(|bits| (at, bits))) {
            let mut lying = pack.clone();
            lying[at] ^= bits;
            let checksum = digest_of(&lying[begin..end - CHECKSUM]);
            lying[end - CHECKSUM..end].copy_from_slice(&checksum.0[..CHECKSUM]);
            assert_gives_no_other(&lying, None, &format!("byte {at}"));
        }
    }
}

#[test]
fn an_index_that_lies_under_a_right_checksum_gives_nothing_else() {
    let (pack, index) = two_blocks();
    let end = index.len() - 32;
    for (at, bits) in (0..end).flat_map(|at| [1, 0x80].map(|bits| (at, bits))) {
        let mut lying = index[..end].to_vec();
        lying[at] ^= bits;
        let checksum = digest_of(&lying);
        lying.extend_from_slice(&checksum.0);
        assert_gives_no_other(&pack, Some(&lying), &format!("byte {at}"));
    }
}

#[test]
fn lengths_that_add_up_to_too_much_are_damage() {
    for length in [u32::MAX, 1 << 31, 300_000] {
        let chunks = vec![ChunkRef { digest: digest_of(b""), length }; 4];
        let block = Block { chunks, data: zstd::encode_all(&b"x"[..], 1).unwrap() };
        let bytes = [&PACK_HEADER[..], &encode_block(&block)].concat();
        assert_gives_no_other(&bytes, None, &format!("{length}"));
    }
}

/// A sync that follows one that failed says nothing: what may not be on the disk is written once more.
#[test]
fn what_no_index_speaks_of_is_written_anew() {
    let (bytes, _) = two_blocks();
    let dir = quick_dir();
    fs::create_dir(dir.path().join("packs")).unwrap();
    fs::write(pack(dir.path()), &bytes).unwrap();
    let long_ago = SystemTime::UNIX_EPOCH + Duration::from_secs(1000);
    let modified = || fs::metadata(pack(dir.path())).unwrap().modified().unwrap();
    let forget =
        || File::options().write(true).open(pack(dir.path())).unwrap().set_modified(long_ago).unwrap();
    forget();

    drop(Library::open(dir.path()).unwrap());

    assert!(modified() > long_ago);
    assert_eq!(fs::read(pack(dir.path())).unwrap(), bytes);
    forget();
    drop(Library::open(dir.path()).unwrap());
    assert_eq!(modified(), long_ago, "what an index speaks of is durable");
}

#[test]
fn what_a_writer_gives_up_takes_no_room() {
    let (dir, library) = library();
    let mut writer = library.writer().unwrap();
    for nth in 0..20 {
        let piece = noise(nth, 200_000);
        writer.add(digest_of(&piece), &piece).unwrap();
    }
    drop(writer);
    assert_eq!(fs::metadata(pack(dir.path())).unwrap().len(), PACK_HEADER.len() as u64);
}
