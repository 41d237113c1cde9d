//! What is found in archives, and what comes out again.

use std::io::{self, Write as _};

use flate2::{Compression, GzBuilder, write::DeflateEncoder};
use proptest::prelude::{any, prop, proptest};

use super::*;
use crate::testing::noise;

/// Text of a kind, so that deflating it has something to decide.
fn text(seed: u64, length: usize) -> Vec<u8> {
    let words = noise(seed, length).into_iter().map(|byte| format!("word{} ", byte % 53));
    words.collect::<String>().into_bytes()[..length].to_vec()
}

fn packed(plain: &[u8], level: u32) -> Vec<u8> {
    let mut encoder = DeflateEncoder::new(Vec::new(), Compression::new(level));
    encoder.write_all(plain).unwrap();
    encoder.finish().unwrap()
}

fn file_of(bytes: &[u8]) -> File {
    let mut file = tempfile::tempfile().unwrap();
    file.write_all(bytes).unwrap();
    file
}

fn all(file: &File) -> Region<'_> {
    Region { file, start: 0, length: file.metadata().unwrap().len() }
}

fn found(bytes: &[u8]) -> Vec<Deflated> {
    in_archive(all(&file_of(bytes))).unwrap()
}

/// Most programs do not flush before the end, which would leave its mark.
struct Unflushed<W>(W);

impl<W: io::Write> io::Write for Unflushed<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// A zip of members; those without a level are stored.
pub(crate) fn zip(members: &[(&str, &[u8], Option<u32>)]) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut archive = rawzip::ZipArchiveWriter::new(&mut bytes);
    for (name, plain, level) in members {
        let method = level.map_or(rawzip::CompressionMethod::STORE, |_| rawzip::CompressionMethod::DEFLATE);
        let (mut entry, config) = archive.new_file(*name).compression_method(method).start().unwrap();
        let descriptor = match level {
            Some(level) => {
                let encoder = DeflateEncoder::new(&mut entry, Compression::new(*level));
                let mut writer = config.wrap(Unflushed(encoder));
                writer.write_all(plain).unwrap();
                let (encoder, descriptor) = writer.finish().unwrap();
                encoder.0.finish().unwrap();
                descriptor
            }
            None => {
                let mut writer = config.wrap(&mut entry);
                writer.write_all(plain).unwrap();
                writer.finish().unwrap().1
            }
        };
        entry.finish(descriptor).unwrap();
    }
    archive.finish().unwrap();
    bytes
}

#[test]
fn what_is_deflated_in_a_zip_is_found_under_its_name() {
    let (one, two) = (text(1, 5000), text(2, 9000));
    let bytes = zip(&[
        ("a/one", &one, Some(6)),
        ("stored", &two, None),
        ("tiny", b"x", Some(6)),
        ("two", &two, Some(9)),
    ]);

    let found = found(&bytes);

    let names: Vec<&[u8]> = found.iter().map(|run| &run.name[..]).collect();
    assert_eq!(names, [&b"a/one"[..], b"two"]);
    for (run, (plain, level)) in found.iter().zip([(&one, 6), (&two, 9)]) {
        let at = run.at as usize;
        assert!(bytes[at..at + run.length as usize] == packed(plain, level), "level {level}");
    }
}

#[test]
fn each_member_of_a_gzip_is_found_whatever_its_header_has() {
    let (one, two) = (text(1, 5000), text(2, 9000));
    let mut bytes = Vec::new();
    let header = GzBuilder::new().filename("one").comment("of two").extra("extra").mtime(7);
    let mut encoder = header.write(&mut bytes, Compression::new(6));
    encoder.write_all(&one).unwrap();
    encoder.finish().unwrap();
    let begin = bytes.len();
    let mut encoder = GzBuilder::new().write(&mut bytes, Compression::new(1));
    encoder.write_all(&two).unwrap();
    encoder.finish().unwrap();

    let [first, second] = &found(&bytes)[..] else { panic!("two members are expected") };

    let end = (first.at + first.length) as usize;
    assert_eq!(bytes[first.at as usize..end], packed(&one, 6));
    assert_eq!((end + 8, second.at as usize), (begin, begin + 10));
    for cut in [5, begin - 9] {
        assert_eq!(found(&bytes[..cut]), [], "cut off after {cut}");
    }
}

#[test]
fn what_is_no_archive_or_lies_has_nothing_in_it() {
    let bytes = zip(&[("one", &text(1, 5000), Some(6))]);
    assert_eq!(found(&[]), []);
    assert_eq!(found(&text(1, 5000)), []);
    assert_eq!(found(&bytes[..bytes.len() - 1]), []);
    assert_eq!(found(&[&b"PK\x03\x04"[..], &noise(1, 5000)].concat()), []);
    assert_eq!(found(&[&[0x1f, 0x8b, 8, 0xff][..], &noise(1, 5000)].concat()), []);
}

#[test]
fn what_would_become_too_much_or_ends_too_soon_is_not_inflated() {
    let bomb = file_of(&packed(&vec![0; 1 << 20], 9));
    let region = all(&bomb);
    assert!(inflated_max(region.length) < 1 << 20);
    assert_eq!(inflate(region, inflated_max(region.length), &mut io::sink()).unwrap(), None);
    assert_eq!(inflate(region, 1 << 20, &mut io::sink()).unwrap(), Some((region.length, 1 << 20)));
    assert_eq!(inflate(region.part(0, region.length - 1), 1 << 20, &mut io::sink()).unwrap(), None);
    let none = file_of(&noise(1, 1000));
    assert_eq!(inflate(all(&none), 1 << 20, &mut io::sink()).unwrap(), None);
}

#[test]
fn the_level_of_a_run_is_found_and_makes_the_same_bytes() {
    for level in 1..=9 {
        let plain = text(level, 300_000);
        let bytes = packed(&plain, level as u32);
        let (there, here) = (file_of(&bytes), file_of(&plain));

        let found = Levels::default().of(all(&there), all(&here)).unwrap().expect("zlib made it");

        let mut made = Vec::new();
        io::copy(&mut deflated(&plain[..], found), &mut made).unwrap();
        assert!(made == bytes, "level {level}, found as {found:?}");
        assert_eq!(Level::from_number(found.number()), Some(found));
    }
    assert_eq!([0, 10, u64::MAX].map(Level::from_number), [None; 3]);
}

#[test]
fn an_archive_of_another_program_is_given_up_soon() {
    let plain = text(1, 30_000);
    // No level of zlib leaves text as it is.
    let (other, here) = (file_of(&packed(&plain, 0)), file_of(&plain));
    let mut levels = Levels::default();
    for _ in 0..4 {
        assert_eq!(levels.of(all(&other), all(&here)).unwrap(), None);
    }
    let zlib = file_of(&packed(&plain, 6));
    assert_eq!(levels.of(all(&zlib), all(&here)).unwrap(), None, "it is not looked at any more");
}

proptest! {
    /// Whatever the bytes: what is found lies within them, in order, and nothing panics.
    #[test]
    fn garbage_is_looked_through(
        flips in prop::collection::vec((0_usize..4000, any::<u8>()), 0..20),
        is_gzip in any::<bool>(),
        cut in 0_usize..4000,
    ) {
        let mut bytes = zip(&[("one", &text(1, 3000), Some(6)), ("two", &text(2, 4000), Some(1))]);
        if is_gzip {
            bytes = [&[0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 3][..], &packed(&text(1, 9000), 6), &[0; 8]].concat();
        }
        for (at, byte) in flips {
            let length = bytes.len();
            bytes[at % length] = byte;
        }
        bytes.truncate(bytes.len().saturating_sub(cut / 8).max(4));

        let mut end = 0;
        for run in found(&bytes) {
            assert!(run.at >= end && run.at + run.length <= bytes.len() as u64);
            end = run.at + run.length;
        }
    }
}
