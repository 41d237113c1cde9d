//! Tests of outlines: the digest is BLAKE3's, and nothing but the item's own parts passes.

use std::io::{ErrorKind, Write};

use packhorse_domain::Digest;
use proptest::prelude::*;

use super::{Outline, OutlineError, Outliner, part_bytes, part_bytes_from};
use crate::{testing::noise, wire::digest_of};

const MIB: usize = 1024 * 1024;
/// BLAKE3's chunk: the smallest part there could be, for outlines of many parts of few bytes.
const TINY: u64 = 1024;

fn outline(part_bytes_min: u64, bytes: &[u8]) -> (Digest, Outline) {
    let mut outliner = Outliner::with_part_bytes(part_bytes_min);
    outliner.update(bytes);
    outliner.finish()
}

fn parts<'a>(outline: &Outline, bytes: &'a [u8]) -> Vec<&'a [u8]> {
    bytes.chunks(outline.part_bytes() as usize).collect()
}

/// What holds for every item.
fn assert_holds(part_bytes_min: u64, bytes: &[u8]) -> (Digest, Outline) {
    let length = bytes.len() as u64;
    let (digest, outline) = outline(part_bytes_min, bytes);
    assert_eq!(digest, digest_of(bytes), "{length}");
    assert_eq!(outline.part_bytes(), part_bytes_from(part_bytes_min, length), "{length}");
    assert!(outline.leads_to(length, &digest), "{length}");
    let parts = parts(&outline, bytes);
    if parts.len() < 2 {
        assert!(outline.hashes().is_empty(), "{length}");
        assert!(!outline.check(0, bytes), "{length}: the digest checks it");
        return (digest, outline);
    }
    assert_eq!(outline.hashes().len(), parts.len(), "{length}");
    for (nth, part) in parts.iter().enumerate() {
        assert!(outline.check(nth, part), "part {nth} of {length}");
    }
    assert!(!outline.check(parts.len(), parts[0]), "{length}");
    (digest, outline)
}

#[test]
fn an_outline_leads_to_the_digest_at_every_edge() {
    let lengths = [0, 1, 1023, 1024, 1025, MIB - 1, MIB, MIB + 1, 3 * MIB, 5 * MIB + 7];
    let all = noise(1, 5 * MIB + 7);
    for length in lengths {
        assert_holds(MIB as u64, &all[..length]);
    }
}

#[test]
fn more_parts_than_the_most_become_fewer_larger_ones() {
    let most = 4096 * TINY as usize;
    let all = noise(2, 3 * most);
    for (length, part_bytes, count) in [
        (most - 1, TINY, 4096),
        (most, TINY, 4096),
        (most + 1, 2 * TINY, 2049),
        (most + 2 * TINY as usize, 2 * TINY, 2049),
        (2 * most, 2 * TINY, 4096),
        (2 * most + 1, 4 * TINY, 2049),
        (3 * most, 4 * TINY, 3072),
    ] {
        let (_, outline) = assert_holds(TINY, &all[..length]);
        assert_eq!((outline.part_bytes(), outline.hashes().len()), (part_bytes, count), "{length}");
    }
}

#[test]
fn parts_are_as_small_as_their_count_allows() {
    let mib = MIB as u64;
    for (length, expected) in [
        (0, mib),
        (1, mib),
        (4096 * mib, mib),
        (4096 * mib + 1, 2 * mib),
        (8192 * mib, 2 * mib),
        (8192 * mib + 1, 4 * mib),
        (u64::MAX, 1 << 52),
    ] {
        assert_eq!(part_bytes(length), expected, "{length}");
        assert!(Outline::new(expected, Vec::new()).is_ok(), "{length}");
    }
}

#[test]
fn a_file_has_the_outline_of_its_first_bytes() {
    let bytes = noise(3, 9 * MIB + 5);
    let mut file = tempfile::tempfile().unwrap();
    file.write_all(&bytes).unwrap();
    for length in [0, 1, MIB, 4 * MIB, 8 * MIB + 1, bytes.len()] {
        let of_file = Outline::of_file(&file, length as u64).unwrap();
        assert_eq!(of_file, outline(MIB as u64, &bytes[..length]), "{length}");
    }
    let error = Outline::of_file(&file, bytes.len() as u64 + 1).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::UnexpectedEof);
}

#[test]
fn the_digest_so_far_is_known_at_any_moment() {
    let bytes = noise(4, 5000);
    let mut outliner = Outliner::with_part_bytes(TINY);
    assert_eq!(outliner.digest(), digest_of(b""));
    for (nth, piece) in bytes.chunks(333).enumerate() {
        outliner.update(piece);
        assert_eq!(outliner.digest(), digest_of(&bytes[..bytes.len().min((nth + 1) * 333)]));
    }
}

#[test]
fn no_other_bytes_pass_as_a_part() {
    let bytes = noise(5, 5 * TINY as usize + 7);
    let (_, outline) = outline(TINY, &bytes);
    let parts = parts(&outline, &bytes);
    for (nth, part) in parts.iter().enumerate() {
        for (other, wrong) in parts.iter().enumerate().filter(|(other, _)| *other != nth) {
            assert!(!outline.check(nth, wrong), "part {other} as part {nth}");
        }
        for at in 0..part.len() {
            let mut flipped = part.to_vec();
            flipped[at] ^= 1 << (at % 8);
            assert!(!outline.check(nth, &flipped), "byte {at} of part {nth}");
        }
        assert!(!outline.check(nth, b""));
        assert!(!outline.check(nth, &part[1..]) && !outline.check(nth, &part[..part.len() - 1]));
        assert!(!outline.check(nth, &[*part, b"x"].concat()), "one more than part {nth}");
        assert!(!outline.check(nth, &noise(6, 100_000)), "far more than part {nth}");
    }
    assert!(!outline.check(usize::MAX, parts[0]));
}

#[test]
fn a_part_is_checked_as_it_comes() {
    let bytes = noise(7, 4 * TINY as usize);
    let (_, outline) = outline(TINY, &bytes);
    let mut check = outline.part_check(2).unwrap();
    for piece in bytes[2 * TINY as usize..][..TINY as usize].chunks(100) {
        assert!(!check.passes(), "not before it is whole");
        check.update(piece);
    }
    assert!(check.passes());
    check.update(b"");
    assert!(check.passes());
    check.update(b"x");
    check.update(b"");
    assert!(!check.passes(), "what came too much stays");
    assert!(outline.part_check(4).is_none());
}

#[test]
fn another_items_outline_does_not_lead_to_the_digest() {
    let bytes = noise(8, 7 * TINY as usize + 1);
    let length = bytes.len() as u64;
    let (digest, outline) = outline(TINY, &bytes);
    let with = |change: &dyn Fn(&mut Vec<Digest>)| {
        let mut hashes = outline.hashes.clone();
        change(&mut hashes);
        Outline { part_bytes: TINY, hashes }
    };
    for nth in 0..8 {
        for byte in 0..32 {
            assert!(!with(&|hashes| hashes[nth].0[byte] ^= 0x10).leads_to(length, &digest));
        }
        for other in 0..nth {
            assert!(!with(&|hashes| hashes.swap(nth, other)).leads_to(length, &digest));
        }
        let without = [&outline.hashes[..nth], &outline.hashes[nth + 1..]].concat();
        assert!(!with(&|hashes| hashes.clone_from(&without)).leads_to(length, &digest));
        assert!(!with(&|hashes| hashes.push(hashes[nth])).leads_to(length, &digest));
    }
    assert!(!with(&Vec::clear).leads_to(length, &digest));
    for wrong in [0, 1, TINY, 7 * TINY, 8 * TINY + 1, u64::MAX] {
        assert!(!outline.leads_to(wrong, &digest), "{wrong}");
    }
    assert!(!outline.leads_to(length, &digest_of(b"another")));
    let larger = Outline { part_bytes: 2 * TINY, hashes: outline.hashes.clone() };
    assert!(!larger.leads_to(length, &digest), "larger parts");
}

#[test]
fn a_single_part_has_the_empty_outline_only() {
    let bytes = noise(9, 2 * TINY as usize);
    let (_, two) = outline(TINY, &bytes);
    let one = &bytes[..TINY as usize];
    assert!(!two.leads_to(TINY, &digest_of(one)));
    let named_by_its_digest = Outline { part_bytes: TINY, hashes: vec![digest_of(one)] };
    assert!(!named_by_its_digest.leads_to(TINY, &digest_of(one)));
}

#[test]
fn an_outline_is_read_as_it_was_written_or_not_at_all() {
    let (_, outline) = outline(MIB as u64, &noise(10, 3 * MIB + 1));
    let bytes = outline.to_bytes();
    assert_eq!(Outline::from_bytes(&bytes).as_ref(), Ok(&outline));
    for length in 0..bytes.len() {
        assert!(Outline::from_bytes(&bytes[..length]).is_err(), "{length}");
    }
    let changed = |at: usize, to: &[u8]| {
        let mut changed = bytes.clone();
        changed[at..at + to.len()].copy_from_slice(to);
        Outline::from_bytes(&changed).unwrap_err()
    };
    assert_eq!(changed(3, b"X"), OutlineError::NotAnOutline);
    assert_eq!(changed(4, &[2, 0]), OutlineError::Version(2));
    assert_eq!(changed(6, &[3, 0]), OutlineError::Trailing);
    assert_eq!(changed(6, &[5, 0]), OutlineError::Truncated);
    assert_eq!(changed(6, &[1, 16]), OutlineError::Count(4097));
    for part_bytes in [0, 1, 1024, MIB as u64 - 1, MIB as u64 + 1, 3 * MIB as u64, 1 << 53, u64::MAX] {
        assert_eq!(changed(8, &part_bytes.to_le_bytes()), OutlineError::PartBytes(part_bytes));
    }
    assert_eq!(Outline::from_bytes(&[&bytes[..], b"x"].concat()), Err(OutlineError::Trailing));
}

#[test]
fn counts_that_no_item_has_are_refused() {
    let hashes = |count| vec![digest_of(b""); count];
    let mib = MIB as u64;
    for count in [0, 2, 4096] {
        let outline = Outline::new(mib, hashes(count)).unwrap();
        let bytes = outline.to_bytes();
        assert!(bytes.len() <= Outline::ENCODED_LENGTH_MAX);
        assert_eq!(Outline::from_bytes(&bytes), Ok(outline));
    }
    for count in [1, 4097] {
        assert_eq!(Outline::new(mib, hashes(count)), Err(OutlineError::Count(count)));
        let bytes = Outline { part_bytes: mib, hashes: hashes(count) }.to_bytes();
        assert_eq!(Outline::from_bytes(&bytes), Err(OutlineError::Count(count)));
    }
    let largest = Outline::new(1 << 52, hashes(4096)).unwrap();
    assert!(!largest.check(4095, b"x"), "its offset fits into 64 bits");
    assert!(!largest.leads_to(u64::MAX, &digest_of(b"")));
}

proptest! {
    #[test]
    fn any_bytes_in_any_pieces_have_the_same_outline(
        seed: u64,
        length in 0_usize..40_000,
        pieces in prop::collection::vec(1_usize..9000, 1..20),
    ) {
        let bytes = noise(seed, length);
        let whole = assert_holds(TINY, &bytes);
        let mut outliner = Outliner::with_part_bytes(TINY);
        let mut rest = &bytes[..];
        for piece in pieces.into_iter().cycle() {
            if rest.is_empty() {
                break;
            }
            let (now, later) = rest.split_at(piece.min(rest.len()));
            outliner.update(now);
            rest = later;
        }
        prop_assert_eq!(outliner.finish(), whole);
    }

    #[test]
    fn any_changed_byte_is_found_in_its_part(
        length in 2049_usize..40_000,
        at: prop::sample::Index,
        bits in 1_u8..,
    ) {
        let mut bytes = noise(11, length);
        let (digest, outline) = outline(TINY, &bytes);
        let at = at.index(length);
        bytes[at] ^= bits;
        for (nth, part) in parts(&outline, &bytes).iter().enumerate() {
            prop_assert_eq!(outline.check(nth, part), nth != at / TINY as usize);
        }
        prop_assert_ne!(digest_of(&bytes), digest);
    }

    #[test]
    fn bytes_from_outside_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..200), length: u64) {
        let framed = [b"PHOL\x01\x00".as_slice(), &bytes].concat();
        for bytes in [bytes, framed] {
            if let Ok(outline) = Outline::from_bytes(&bytes) {
                outline.leads_to(length, &digest_of(&bytes));
                outline.check(0, &bytes);
            }
        }
    }
}
