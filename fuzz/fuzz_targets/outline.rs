//! Outlines from outside are read or refused, and never panic whatever they are asked.

#![no_main]

use libfuzzer_sys::fuzz_target;
use packhorse_content::{Outline, Outliner};

fuzz_target!(|bytes: &[u8]| {
    ask(bytes, bytes);
    // The same as hashes behind a good head, so that not every run has to find one.
    let hashes = &bytes[..bytes.len() / 32 * 32];
    let mut encoded = b"PHOL\x01\x00".to_vec();
    encoded.extend_from_slice(&((hashes.len() / 32) as u16).to_le_bytes());
    encoded.extend_from_slice(&(1_u64 << (20 + bytes.len() % 33)).to_le_bytes());
    encoded.extend_from_slice(hashes);
    ask(&encoded, bytes);
});

fn ask(encoded: &[u8], part: &[u8]) {
    let Ok(outline) = Outline::from_bytes(encoded) else { return };
    assert_eq!(outline.to_bytes(), encoded, "there is one encoding of an outline");
    let parts = outline.hashes().len();
    let longest = parts as u128 * u128::from(outline.part_bytes());
    let longest = u64::try_from(longest).unwrap_or(u64::MAX);
    let mut outliner = Outliner::new();
    outliner.update(part);
    let (digest, single) = outliner.finish();
    assert_eq!(digest.as_bytes(), blake3::hash(part).as_bytes());
    assert!(single.hashes().is_empty() && single.leads_to(part.len() as u64, &digest));
    for length in [0, 1, longest, longest.wrapping_add(1), longest.saturating_sub(1), u64::MAX] {
        let leads = outline.leads_to(length, &digest);
        assert!(!leads || parts == 0, "hashes out of the bytes do not lead to the digest of the bytes");
    }
    for nth in [0, 1, parts.saturating_sub(1), parts, usize::MAX] {
        assert!(!outline.check(nth, part), "bytes do not hold their own hash");
        assert!(!outline.check(nth, &[]));
        assert_eq!(outline.part_check(nth).is_some(), nth < parts);
    }
    assert_eq!(
        Outline::new(outline.part_bytes(), outline.hashes().to_vec()),
        Ok(outline),
        "it keeps to the rules"
    );
}
