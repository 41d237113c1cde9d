//! Archives in bundles: what lies deflated in them travels as it differs, and comes out as it was.

use std::{fs, path::Path};

use super::*;
use crate::{
    bundle::{
        Making, Source,
        tests::{apply, bundle},
    },
    deflated::tests::zip,
    delta::Index,
    testing::{library, noise, take},
};

/// What an application could be: half of it is left when it is deflated.
fn program(seed: u64) -> Vec<u8> {
    let mut bytes: Vec<u8> = noise(1, 100_000).iter().flat_map(|byte| [byte >> 4, byte & 15]).collect();
    for at in (0..bytes.len()).step_by(5000) {
        bytes[at] = seed as u8;
    }
    bytes
}

fn archive(seed: u64, level: u32) -> Vec<u8> {
    let (program, stays) = (program(seed), noise(2, 100_000));
    zip(&[("bin/app", &program, Some(level)), ("data/stays", &stays, Some(level)), ("note", b"hello", None)])
}

/// A bundle from a directory with some files to one with others, both taken in by two libraries, and its length.
fn stepped(old: &[(&str, Vec<u8>)], new: &[(&str, Vec<u8>)]) -> usize {
    let write = |directory: &Path, files: &[(&str, Vec<u8>)]| {
        files.iter().for_each(|(name, bytes)| fs::write(directory.join(name), bytes).unwrap());
    };
    let (before, after) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    write(before.path(), old);
    write(after.path(), new);
    let ((_one, sender), (_other, receiver)) = (library(), library());
    let (base, target) = (take(before.path(), &sender), take(after.path(), &sender));
    take(before.path(), &receiver);
    let bytes = bundle(&sender, target.digest, &[base.digest]);

    assert_eq!(apply(&receiver, &bytes).unwrap(), target.manifest);

    assert!(receiver.verify(&target.digest).unwrap().is_empty());
    bytes.len()
}

#[test]
fn a_new_version_of_an_archive_is_as_small_as_what_differs_in_it() {
    for level in [1, 6, 9] {
        let length = stepped(&[("app.whl", archive(1, level))], &[("app.whl", archive(2, level))]);
        assert!(length < 3000, "{length} bytes at level {level}");
    }
}

#[test]
fn an_archive_is_told_by_what_lay_unpacked_and_the_other_way_round() {
    let length = stepped(&[("app", program(1))], &[("app.zip", archive(2, 6))]);
    assert!(length < 103_000, "{length} bytes, 100,000 of which are new");
    let length = stepped(&[("app.zip", archive(1, 6))], &[("app", program(2))]);
    assert!(length < 3000, "{length} bytes");
}

#[test]
fn an_archive_of_another_program_and_a_broken_one_come_as_they_are() {
    let stored = archive(2, 0);
    let mut broken = archive(2, 6);
    broken[1000] ^= 1;
    for new in [stored, broken] {
        stepped(&[("app.zip", archive(1, 6))], &[("app.zip", new)]);
    }
}

/// The streams of a told file that is one run of deflated bytes, and what makes it again.
fn remade(numbers: &[u64], plain: &[u8], length: u64) -> Result<Vec<u8>, BundleError> {
    let directory = tempfile::tempdir().unwrap();
    let old = OldContent::new(directory.path()).unwrap();
    let index = Index::new(&old).unwrap();
    let mut spools = Spools::new(directory.path()).unwrap();
    let mut encoder = Encoder::new(&old, &index, &mut spools);
    encoder.file(&mut &plain[..], None).unwrap();
    for number in numbers {
        encoder.number(Stream::Deflated, *number).unwrap();
    }
    let sections = spools.finish(directory.path(), Making::small(3)).unwrap();
    let lengths = sections.lengths.clone();
    let mut file = tempfile::tempfile().unwrap();
    sections.write(&mut file).unwrap();
    let mut streams = Streams::open(&Source::whole(file).unwrap(), 0, &lengths).unwrap();
    let (mut decoder, mut made) = (Decoder::new(&old), tempfile::tempfile().unwrap());
    assert!(make(&mut streams, &mut decoder, length, &mut made)?);
    let mut bytes = Vec::new();
    made.read_to_end(&mut bytes).unwrap();
    Ok(bytes)
}

#[test]
fn what_is_told_of_a_run_has_to_fit_and_to_become_what_it_was() {
    let plain = program(1);
    let packed = zip(&[("one", &plain, Some(6))]);
    let run = in_archive(Region { file: &file_of(&packed), start: 0, length: packed.len() as u64 }).unwrap();
    let (length, made) = (run[0].length, plain.len() as u64);
    let at = run[0].at as usize;
    assert_eq!(remade(&[1, 0, length, made, 6], &plain, length).unwrap(), packed[at..at + length as usize]);

    for (numbers, why) in [
        ([1, 1, length, made, 6], "no room"),
        ([1, u64::MAX, length, made, 6], "no room"),
        ([1, 0, length + 1, made, 6], "no room"),
        ([1, 0, length, made, 0], "no room"),
        ([1, 0, length, u64::MAX, 6], "no room"),
        ([1, 0, length, made, 1], "something else"),
        ([1, 0, length - 1, made, 6], "something else"),
        ([1, 0, length, made + 1, 6], "less than its tree needs"),
    ] {
        let error = remade(&numbers, &plain, length).unwrap_err();
        assert!(error.to_string().contains(why), "{numbers:?}: {error}");
    }
}

fn file_of(bytes: &[u8]) -> File {
    let mut file = tempfile::tempfile().unwrap();
    file.write_all(bytes).unwrap();
    file
}
