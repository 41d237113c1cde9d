//! Archives that nobody packed: whatever is found in them, a bundle from one version to the next brings the very same bytes.

#![no_main]

use std::{cell::RefCell, io::Write as _};

use libfuzzer_sys::fuzz_target;
use packhorse_content::{
    BundlePlan, ChunkRef, Entry, EntryKind, Library, Limits, Making, Manifest, apply_bundle, write_bundle,
};
use packhorse_domain::Digest;

mod common;

struct World {
    _directory: tempfile::TempDir,
    sender: Library,
    receiver: Library,
    archives: Vec<Vec<u8>>,
    runs: u64,
}

thread_local! {
    static WORLD: RefCell<World> = RefCell::new(World::new());
}

fn words(seed: usize, count: usize) -> Vec<u8> {
    (0..count).flat_map(|nth| format!("w{} ", (nth * 7919 + seed) % (nth % 13 + 31)).into_bytes()).collect()
}

fn deflated(plain: &[u8], level: u32) -> Vec<u8> {
    let mut encoder = flate2::write::DeflateEncoder::new(Vec::new(), flate2::Compression::new(level));
    encoder.write_all(plain).and_then(|()| encoder.finish()).expect("memory takes it")
}

fn gzip(plain: &[u8], level: u32) -> Vec<u8> {
    [&[0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 3][..], &deflated(plain, level), &[0; 8]].concat()
}

/// A zip, as plain as can be.
fn zip(members: &[(&str, &[u8], u32)]) -> Vec<u8> {
    let (mut bytes, mut directory) = (Vec::new(), Vec::new());
    for (name, plain, level) in members {
        let packed = deflated(plain, *level);
        let mut fields = vec![20, 0, 0, 0, 8, 0, 0, 0, 0, 0, 0, 0, 0, 0];
        for number in [packed.len() as u32, plain.len() as u32, name.len() as u32] {
            fields.extend_from_slice(&number.to_le_bytes());
        }
        let at = bytes.len() as u32;
        bytes.extend([&b"PK\x03\x04"[..], &fields, name.as_bytes(), &packed].concat());
        let place = [&[0; 10][..], &at.to_le_bytes()].concat();
        directory.extend([&b"PK\x01\x02\x14\0"[..], &fields, &place, name.as_bytes()].concat());
    }
    let (count, at) = (members.len() as u16, bytes.len() as u32);
    bytes.extend_from_slice(&directory);
    bytes.extend_from_slice(b"PK\x05\x06\0\0\0\0");
    bytes.extend([count.to_le_bytes(), count.to_le_bytes()].concat());
    bytes.extend([(directory.len() as u32).to_le_bytes(), at.to_le_bytes()].concat());
    bytes.extend([0; 2]);
    bytes
}

impl World {
    fn new() -> Self {
        let directory = common::memory();
        let open = |name: &str| Library::open(&directory.path().join(name)).expect("it can be opened");
        let (one, other, third) = (words(1, 400), words(2, 300), words(3, 400));
        let archives = vec![
            zip(&[("a", &one, 6), ("b", &other, 6)]),
            zip(&[("a", &third, 6), ("b", &other, 6), ("c", &one, 1)]),
            gzip(&one, 6),
            [gzip(&third, 9), gzip(&other, 6)].concat(),
        ];
        let (sender, receiver) = (open("sender"), open("receiver"));
        World { _directory: directory, sender, receiver, archives, runs: 0 }
    }

    fn put(library: &Library, bytes: &[u8]) -> Manifest {
        let digest = Digest(*blake3::hash(bytes).as_bytes());
        let chunk = ChunkRef { digest, length: bytes.len() as u32 };
        let (length, chunks) = (bytes.len() as u64, if bytes.is_empty() { vec![] } else { vec![chunk] });
        let kind = EntryKind::File { executable: false, length, digest, chunks };
        let manifest = Manifest { case_sensitive: false, entries: vec![Entry { path: "app".into(), kind }] };
        let mut writer = library.writer().expect("it can be written to");
        if !bytes.is_empty() {
            writer.add(digest, bytes).expect("it takes it");
        }
        writer.flush_durable().expect("it is kept");
        library.put_manifest(&manifest.encode()).expect("it is whole");
        manifest
    }

    fn step(&self, old: &[u8], new: &[u8]) {
        let base = Self::put(&self.sender, old).digest();
        Self::put(&self.receiver, old);
        let target = Self::put(&self.sender, new);
        let mut file = tempfile::tempfile_in("/dev/shm").or_else(|_| tempfile::tempfile()).expect("a file");
        let plan = BundlePlan { target: target.digest(), bases: vec![base] };
        write_bundle(&self.sender, &plan, &mut file, Making::small(1))
            .expect("whatever it is, it can be bundled");
        let applied = apply_bundle(&self.receiver, &file, &Limits::default());
        assert_eq!(applied.expect("it was bundled here"), target);
        assert!(self.receiver.verify(&target.digest()).expect("it is read").is_empty());
    }
}

fuzz_target!(|input: &[u8]| {
    WORLD.with_borrow_mut(|world| {
        let [first, input @ ..] = input else { return };
        let which = |nth: u8| world.archives[usize::from(nth) % world.archives.len()].clone();
        let (mut old, mut new) = (which(first & 3), which(first >> 2));
        for edit in common::edits(input) {
            edit.apply(if edit.of % 2 == 0 { &mut old } else { &mut new });
        }
        old.truncate(60_000);
        new.truncate(60_000);
        world.step(&old, &new);
        world.runs += 1;
        if world.runs.is_multiple_of(1000) {
            for library in [&world.sender, &world.receiver] {
                library.collect(&[]).expect("nobody writes");
            }
        }
    });
});
