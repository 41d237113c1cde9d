//! Tests of bundles that build on nothing and have a library's blocks as they are.

use std::{
    fs,
    io::Write as _,
    path::Path,
    thread,
    time::{Duration, Instant},
};

use packhorse_domain::Digest;

use crate::{
    Library, Limits, Making,
    bundle::{
        BundlePlan, apply_offered,
        hostile_tests::{
            apart::{self, Apart},
            each_change,
        },
        tests::{apply, coming, small},
        write_bundle,
    },
    testing::{library, noise, quick_dir, source, take},
};

/// Of a bundle's sections.
const LITERAL_LENGTHS: usize = 4;
const FRAMES: usize = 12;
const LITERALS: usize = 13;

fn quick(library: &Library, target: Digest) -> Vec<u8> {
    let mut bytes = Vec::new();
    write_bundle(library, &BundlePlan { target, bases: vec![] }, &mut bytes, Making::quick(1)).unwrap();
    bytes
}

fn pack_of(library: &Path) -> Vec<u8> {
    fs::read(library.join("packs/0000000000000001.pack")).unwrap()
}

/// Files of all lengths, of which some are the same.
fn many(count: u64, from: u64) -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    for nth in from..from + count {
        let lines = (0..nth * 97 % 9001).map(|line| format!("{} of {}\n", line * line % 8111, nth % 31));
        fs::write(dir.path().join(format!("text{nth:03}")), lines.collect::<String>()).unwrap();
    }
    fs::write(dir.path().join("zz"), noise(from, 900_000)).unwrap();
    dir
}

#[test]
fn blocks_are_sent_as_they_lie_and_stored_as_they_came() {
    let ((here, sender), (there, receiver)) = (library(), library());
    let sent = take(many(90, 0).path(), &sender);

    let bundle = quick(&sender, sent.digest);

    assert_eq!(apply(&receiver, &bundle).unwrap(), sent.manifest);
    let (here, there) = (pack_of(here.path()), pack_of(there.path()));
    assert!(here.len() > 1_000_000 && here == there, "{} and {}", here.len(), there.len());
    let blocks = Apart::of(&bundle).sections[LITERALS].frame.clone();
    assert!(contains(&here, &blocks[..1000]));
}

/// Has the bundle tell its literals in these frames, with what each of them holds.
fn reframe(bundle: &mut Apart, frames: &[(Vec<u8>, u64)]) {
    let numbers: Vec<u64> = frames.iter().flat_map(|(frame, plain)| [frame.len() as u64, *plain]).collect();
    bundle.set(FRAMES, &apart::numbers(&numbers));
    bundle.sections[LITERALS].frame = frames.iter().flat_map(|(frame, _)| frame).copied().collect();
}

/// The same bundle with frames that were compressed in another way than libraries do, and these.
fn otherwise(bundle: &[u8]) -> (Vec<u8>, Vec<Vec<u8>>) {
    let mut bundle = Apart::of(bundle);
    let (lengths, literals) = (bundle.plain(FRAMES), bundle.sections[LITERALS].frame.clone());
    let (mut lengths, mut literals) = (&lengths[..], &literals[..]);
    let mut frames = Vec::new();
    while !lengths.is_empty() {
        let (length, plain) = (number(&mut lengths), number(&mut lengths));
        let (frame, rest) = literals.split_at(length as usize);
        let frame = zstd::encode_all(&zstd::decode_all(frame).unwrap()[..], 9).unwrap();
        frames.push((frame, plain));
        literals = rest;
    }
    reframe(&mut bundle, &frames);
    (bundle.together(), frames.into_iter().map(|(frame, _)| frame).collect())
}

#[test]
fn what_came_compressed_is_not_compressed_again_even_if_some_of_it_was_there() {
    let (_here, sender) = library();
    let sent = take(many(90, 0).path(), &sender);
    let known = take(many(20, 20).path(), &sender);
    let (bundle, frames) = otherwise(&quick(&sender, sent.digest));
    for (before, at_least) in [(None, frames.len()), (Some(&known), frames.len() - 4)] {
        let (there, receiver) = library();
        if let Some(known) = before {
            apply(&receiver, &quick(&sender, known.digest)).unwrap();
        }

        assert_eq!(apply(&receiver, &bundle).unwrap(), sent.manifest);

        let pack = pack_of(there.path());
        let stored = frames.iter().filter(|frame| contains(&pack, frame)).count();
        assert!(stored > 3 && stored >= at_least, "{stored} of {}", frames.len());
        assert!(receiver.verify(&sent.digest).unwrap().is_empty());
    }
}

fn contains(all: &[u8], part: &[u8]) -> bool {
    all.windows(part.len()).any(|bytes| bytes == part)
}

fn number(bytes: &mut &[u8]) -> u64 {
    let length = bytes.iter().position(|byte| byte & 0x80 == 0).unwrap() + 1;
    let (number, rest) = bytes.split_at(length);
    *bytes = rest;
    number.iter().rev().fold(0, |number, byte| number << 7 | u64::from(byte & 0x7f))
}

#[test]
fn what_lies_between_other_content_arrives_where_some_of_it_is() {
    let ((_here, sender), (there, receiver)) = (library(), library());
    let old = take(many(60, 0).path(), &sender);
    let new = take(many(60, 40).path(), &sender);
    let kinds = take(source(3).path(), &sender);

    for target in [&new, &old, &kinds, &new] {
        assert_eq!(apply(&receiver, &quick(&sender, target.digest)).unwrap(), target.manifest);
        assert!(receiver.verify(&target.digest).unwrap().is_empty());
    }
    drop(receiver);
    assert!(Library::open(there.path()).unwrap().verify(&new.digest).unwrap().is_empty());
}

#[test]
fn whatever_becomes_of_it_nothing_wrong_is_taken() {
    let (_here, sender) = library();
    let there = quick_dir();
    let receiver = Library::open(there.path()).unwrap();
    let sent = small(&sender);
    let bundle = quick(&sender, sent.digest);
    for at in 0..bundle.len() {
        apply(&receiver, &bundle[..at]).unwrap_err();
        let mut flipped = bundle.clone();
        flipped[at] ^= 0x41;
        apply(&receiver, &flipped).unwrap_err();
    }
    let good = Apart::of(&bundle);
    // Under a checksum that is right it is refused for what it says, or leads to the target all the same.
    let check = |bundle: &Apart, what: &str| {
        if let Ok(manifest) = apply(&receiver, &bundle.together()) {
            assert_eq!(manifest, sent.manifest, "{what}");
        }
    };
    for at in 0..good.sections[LITERALS].frame.len() {
        for bits in [1, 0x80] {
            let mut bundle = good.clone();
            bundle.sections[LITERALS].frame[at] ^= bits;
            check(&bundle, &format!("literals, byte {at}"));
        }
    }
    (0..LITERALS).for_each(|stream| each_change(&good, stream, &check));
    for more in [1, u64::MAX] {
        let mut bundle = good.clone();
        bundle.sections[LITERALS].plain_length = bundle.sections[LITERALS].plain_length.wrapping_add(more);
        apply(&receiver, &bundle.together()).unwrap_err();
    }
    let mut longer = good.clone();
    longer.sections[LITERALS].frame.push(0);
    apply(&receiver, &longer.together()).unwrap_err();
    apply(&receiver, &bundle).unwrap();
    assert!(receiver.verify(&sent.digest).unwrap().is_empty());
}

/// What is wrong is told at once, though the thread that unpacks waits for what never comes.
#[test]
fn nobody_waits_for_the_rest_of_what_is_wrong_already() {
    let (_here, sender) = library();
    let sent = take(many(90, 0).path(), &sender);
    let good = quick(&sender, sent.digest);
    // The first file is whole in the first frame, the second is wrong.
    let mut wrong = Apart::of(&good);
    let first_file = number(&mut &wrong.plain(LITERAL_LENGTHS)[..]);
    wrong.set(LITERAL_LENGTHS, &apart::numbers(&[first_file, 1 << 40]));
    let first_frame = number(&mut &wrong.plain(FRAMES)[..]) as usize;
    let upto = |of: &Apart| of.together().len() - 32 - of.sections[LITERALS].frame.len() + first_frame + 9;
    let parts = [upto(&Apart::of(&good)), upto(&wrong)];
    for ((bytes, stops), part) in [(good, true), (wrong.together(), false)].into_iter().zip(parts) {
        let (_there, receiver) = library();
        let (mut file, coming, source, offered) = coming(&bytes, Duration::from_secs(300), true);
        file.write_all(&bytes[..part]).unwrap();
        coming.reach(part as u64);
        let applies = thread::spawn(move || {
            let applied = apply_offered(&receiver, &source, &offered, &Limits::default(), &mut []);
            assert!(receiver.manifests().unwrap().is_empty());
            applied
        });
        if stops {
            coming.end();
        }

        let deadline = Instant::now() + Duration::from_secs(60);
        while !applies.is_finished() {
            assert!(Instant::now() < deadline, "it waits for what is not wanted any more");
            thread::yield_now();
        }
        applies.join().unwrap().unwrap_err();
    }
}

/// Frames that lie otherwise than the files they hold: what is stored is what was checked.
#[test]
fn frames_that_are_cut_otherwise_bring_the_same() {
    let ((_here, sender), (_there, receiver)) = (library(), library());
    let sent = take(many(90, 0).path(), &sender);
    let mut bundle = Apart::of(&quick(&sender, sent.digest));
    let literals = bundle.plain(LITERALS);
    let frames =
        literals.chunks(100_001).map(|piece| (zstd::encode_all(piece, 3).unwrap(), piece.len() as u64));
    let frames: Vec<(Vec<u8>, u64)> = frames.collect();
    reframe(&mut bundle, &frames);

    assert_eq!(apply(&receiver, &bundle.together()).unwrap(), sent.manifest);
    assert!(receiver.verify(&sent.digest).unwrap().is_empty());

    let ahead = frames.iter().rev().flat_map(|(frame, _)| frame).copied().collect();
    bundle.sections[LITERALS].frame = ahead;
    let (_elsewhere, other) = library();
    apply(&other, &bundle.together()).unwrap_err();
    assert!(other.manifests().unwrap().is_empty());
}
