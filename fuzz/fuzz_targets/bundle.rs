//! Bundles from outside are taken in or refused, and what is held stays. A good one, with an archive in it, and one
//! in blocks are changed under their compression and their checksum.

#![no_main]

use std::{cell::RefCell, fs, io::Write as _, ops::ControlFlow, path::Path};

use libfuzzer_sys::fuzz_target;
use packhorse_content::{
    BundlePlan, Library, Limits, Making, Snapshot, apply_bundle, read_header, snapshot, write_bundle,
};

#[path = "../../crates/content/tests/apart/mod.rs"]
#[expect(dead_code, reason = "others use the rest of it")]
mod apart;
mod common;

use apart::{Apart, sealed};

struct World {
    _directory: tempfile::TempDir,
    library: Library,
    base: Snapshot,
    target: Snapshot,
    step: Apart,
    blocks: Apart,
    runs: u64,
}

thread_local! {
    static WORLD: RefCell<World> = RefCell::new(World::new());
}

fn words(seed: usize, count: usize) -> Vec<u8> {
    (0..count).flat_map(|nth| format!("w{} ", (nth * 7919 + seed) % (nth % 13 + 31)).into_bytes()).collect()
}

fn gzip(plain: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::new(6));
    encoder.write_all(plain).and_then(|()| encoder.finish()).expect("memory takes it")
}

fn source(at: &Path, version: usize) {
    fs::create_dir_all(at.join("bin")).expect("a directory can be made");
    let app = gzip(&[words(1, 700), words(version, 60), words(2, 700)].concat());
    let program: Vec<u8> = (0..20_000).map(|nth| (nth * version % 251) as u8).collect();
    for (name, bytes) in
        [("app.gz", app), ("bin/program", program), ("bin/stays", words(9, 90)), ("same", words(9, 90))]
    {
        fs::write(at.join(name), bytes).expect("a file can be made");
    }
    fs::write(at.join(format!("only{version}")), words(version, 20)).expect("a file can be made");
    std::os::unix::fs::symlink("bin/stays", at.join("link")).expect("a link can be made");
}

impl World {
    fn new() -> Self {
        let directory = common::memory();
        let open = |name: &str| Library::open(&directory.path().join(name)).expect("it can be opened");
        let (sender, library) = (open("sender"), open("receiver"));
        let take = |library: &Library, version: usize| {
            let at = directory.path().join(version.to_string());
            snapshot(&at, library, &|_| ControlFlow::Continue(())).expect("it can be taken")
        };
        for version in [1, 2] {
            source(&directory.path().join(version.to_string()), version);
        }
        let (base, target) = (take(&sender, 1), take(&sender, 2));
        take(&library, 1);
        let made = |bases: Vec<_>, making| {
            let (plan, mut bytes) = (BundlePlan { target: target.digest, bases }, Vec::new());
            write_bundle(&sender, &plan, &mut bytes, making).expect("it can be bundled");
            Apart::of(&bytes)
        };
        let (step, blocks) = (made(vec![base.digest], Making::small(3)), made(vec![], Making::quick(1)));
        World { _directory: directory, library, base, target, step, blocks, runs: 0 }
    }

    fn apply(&self, bytes: &[u8]) {
        let limits = Limits { content_length_max: 1 << 22, manifest_length_max: 1 << 16, entries_max: 1000 };
        let mut file = tempfile::tempfile_in("/dev/shm").or_else(|_| tempfile::tempfile()).expect("a file");
        file.write_all(bytes).expect("it is written");
        if let Ok(manifest) = apply_bundle(&self.library, &file, &limits) {
            assert_eq!(read_header(&mut &bytes[..]).expect("it was read").target, manifest.digest());
        }
    }
}

fuzz_target!(|input: &[u8]| {
    WORLD.with_borrow_mut(|world| {
        let in_blocks = input.len() % 2 == 1;
        let mut bundle = if in_blocks { world.blocks.clone() } else { world.step.clone() };
        for edit in common::edits(input) {
            match edit.of % 17 {
                13 if in_blocks => edit.apply(&mut bundle.sections[13].frame),
                14 => edit.apply(&mut bundle.head),
                15 if bundle.head.len() >= 56 => bundle.declare(edit.number(), edit.number().wrapping_mul(2)),
                15 | 16 => bundle.sections[0].plain_length = edit.number(),
                stream => {
                    let mut plain = bundle.plain(stream);
                    edit.apply(&mut plain);
                    bundle.set(stream, &plain);
                }
            }
        }
        world.apply(&bundle.together());
        if let Some((45, garbage)) = input.split_first() {
            world.apply(&sealed([&world.step.head[..], garbage].concat()));
        }
        world.runs += 1;
        if world.runs.is_multiple_of(512) {
            for digest in world.library.manifests().expect("it lists them") {
                assert!([world.base.digest, world.target.digest].contains(&digest));
                assert!(world.library.verify(&digest).expect("it is read").is_empty());
            }
            world.library.collect(&[world.base.digest]).expect("nobody writes");
        }
    });
});
