//! What was told is made again, byte for byte; how much it takes to tell; and what is no delta is refused.

use std::{
    io::{self, Read as _, Write as _},
    path::Path,
};

use proptest::prelude::{prop, proptest};

use super::*;
use crate::{
    bundle::{Making, Source},
    testing::noise,
};

fn old_of(directory: &Path, bytes: &[u8]) -> OldContent {
    let mut old = OldContent::new(directory).unwrap();
    old.set_length(bytes.len() as u64).unwrap();
    old.put(0, bytes).unwrap();
    old
}

/// The sections of a delta of some files, in a file of their own, and their lengths.
fn told(directory: &Path, old: &OldContent, files: &[Vec<u8>]) -> (Source, Vec<(u64, u64)>) {
    let index = Index::new(old).unwrap();
    let mut spools = Spools::new(directory).unwrap();
    let mut encoder = Encoder::new(old, &index, &mut spools);
    for file in files {
        assert_eq!(encoder.file(&mut file.as_slice(), None).unwrap(), file.len() as u64);
    }
    let sections = spools.finish(directory, Making::small(3)).unwrap();
    let lengths = sections.lengths.clone();
    let mut out = tempfile::tempfile_in(directory).unwrap();
    sections.write(&mut out).unwrap();
    out.flush().unwrap();
    (Source::whole(out).unwrap(), lengths)
}

fn made(old: &OldContent, told: &(Source, Vec<(u64, u64)>), lengths: &[usize]) -> Vec<Vec<u8>> {
    let mut streams = Streams::open(&told.0, 0, &told.1).unwrap();
    let mut decoder = Decoder::new(old);
    let files = lengths.iter().map(|length| {
        let (mut file, mut content) = (Vec::new(), decoder.file(&mut streams, *length as u64));
        content.read_to_end(&mut file).unwrap();
        assert!(content.failure().is_none());
        file
    });
    let files = files.collect();
    streams.check_end().unwrap();
    files
}

/// Bytes that telling these files takes. They come out as they were.
fn bytes_of(old: &[u8], files: &[Vec<u8>]) -> u64 {
    let directory = tempfile::tempdir().unwrap();
    let old = old_of(directory.path(), old);
    let told = told(directory.path(), &old, files);
    let lengths: Vec<usize> = files.iter().map(Vec::len).collect();
    assert!(made(&old, &told, &lengths) == files, "other bytes came out");
    told.1.iter().map(|(_, compressed)| compressed).sum()
}

#[test]
fn what_is_the_same_costs_nothing_wherever_it_is() {
    let old = noise(1, 5_000_000);
    let mut moved = old[3_000_000..].to_vec();
    moved.extend_from_slice(&old[..3_000_000]);

    assert!(bytes_of(&old, std::slice::from_ref(&old)) < 400);
    assert!(bytes_of(&old, &[moved, old[1_000_000..1_200_000].to_vec()]) < 600);
}

#[test]
fn addresses_that_moved_cost_little() {
    // Every 20 bytes a word that is higher by one of three numbers now.
    let old = noise(2, 2_000_000);
    let mut new = old.clone();
    for (nth, word) in new.chunks_exact_mut(20).enumerate() {
        let value = u32::from_le_bytes([word[0], word[1], word[2], word[3]]);
        let moved = value.wrapping_add([0x1f40, 0x1f44, 0xffff_0010][nth % 7 % 3]);
        word[..4].copy_from_slice(&moved.to_le_bytes());
    }

    let bytes = bytes_of(&old, &[new]);

    assert!(bytes < 10_000, "{bytes} bytes for 100,000 addresses");
}

#[test]
fn what_is_new_is_told_as_it_is() {
    let (old, new) = (noise(3, 1_000_000), noise(4, 5_000_000));

    let bytes = bytes_of(&old, &[new, Vec::new(), vec![7]]);

    assert!(bytes < 5_002_000, "{bytes}");
    assert!(bytes_of(&[], &[noise(5, 100)]) < 300);
}

#[test]
fn a_delta_that_lies_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    let content = noise(6, 300_000);
    let mut new = content.clone();
    new[1000] ^= 7;
    new.truncate(200_001);
    let old = old_of(directory.path(), &content);
    let told = told(directory.path(), &old, &[new]);
    let shorter = old_of(directory.path(), &content[..1500]);

    let result = |old: &OldContent, length: u64, lengths: &[(u64, u64)]| {
        let mut streams = Streams::open(&told.0, 0, lengths)?;
        let mut decoder = Decoder::new(old);
        let mut content = decoder.file(&mut streams, length);
        io::copy(&mut content, &mut io::sink()).unwrap();
        content.failure().map_or_else(|| streams.check_end(), Err)
    };
    result(&old, 200_001, &told.1).unwrap();
    for (old, length) in [(&shorter, 200_001), (&old, 200_000), (&old, 200_002), (&old, 1)] {
        result(old, length, &told.1).unwrap_err();
    }
    for nth in 0..told.1.len() {
        for (plain, compressed) in [(0, 0), (told.1[nth].0 + 1, told.1[nth].1)] {
            let mut lengths = told.1.clone();
            if lengths[nth] != (plain, compressed) && lengths[nth].0 > 0 {
                lengths[nth] = (plain, compressed);
                result(&old, 200_001, &lengths).unwrap_err();
            }
        }
    }
}

proptest! {
    /// Pieces of the old content in any order, changed or not, with other bytes between them.
    #[test]
    fn whatever_is_told_is_made_again(
        pieces in prop::collection::vec((0_usize..200_000, 0_usize..90_000, 0_usize..300, 0_u8..4), 0..12),
        split in 0_usize..500_000,
    ) {
        let old = noise(7, 200_000);
        let mut new = Vec::new();
        for (from, length, fresh, kind) in pieces {
            let begin = new.len();
            new.extend_from_slice(&old[from..(from + length).min(old.len())]);
            if kind > 0 {
                for at in (begin..new.len()).step_by(3 + usize::from(kind) * 11) {
                    new[at] = new[at].wrapping_add(kind);
                }
            }
            new.extend_from_slice(&noise(8 + fresh as u64, fresh));
        }
        let rest = new.split_off(split.min(new.len()));
        bytes_of(&old, &[new, rest]);
    }
}

#[test]
fn a_window_larger_than_agreed_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    for (stream, window_log, is_refused) in [(0, 22, false), (0, 23, true), (13, 26, false), (13, 27, true)] {
        assert_eq!(STREAMS[13], Stream::Literals);
        let frame_of = |window_log| {
            let mut frame = zstd::stream::write::Encoder::new(Vec::new(), 1).unwrap();
            frame.window_log(window_log).unwrap();
            frame.write_all(b"x").unwrap();
            frame.finish().unwrap()
        };
        let frames: Vec<Vec<u8>> =
            (0..STREAMS.len()).map(|nth| frame_of(if nth == stream { window_log } else { 10 })).collect();
        let mut file = tempfile::tempfile_in(directory.path()).unwrap();
        file.write_all(&frames.concat()).unwrap();
        let plain = |nth| u64::from(STREAMS[nth] != Stream::Frames);
        let lengths: Vec<(u64, u64)> =
            frames.iter().enumerate().map(|(nth, frame)| (plain(nth), frame.len() as u64)).collect();
        let mut streams = Streams::open(&Source::whole(file).unwrap(), 0, &lengths).unwrap();

        // Without any frames the literals are one.
        let read = STREAMS.into_iter().filter(|stream| *stream != Stream::Frames);
        let read = read.map(|stream| streams.byte(stream)).find_map(Result::err);

        assert_eq!(read.is_some(), is_refused, "{window_log} of {stream}");
    }
}
