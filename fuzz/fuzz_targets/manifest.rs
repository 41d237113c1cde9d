//! Manifests from outside are read or refused; there is one encoding of each, and paths and links stay inside.

#![no_main]

use libfuzzer_sys::fuzz_target;
use packhorse_content::{EntryKind, Limits, Manifest};

#[expect(dead_code, reason = "others use the rest of it")]
mod common;

/// A directory, a file of two chunks in it, an empty file and a link.
fn good() -> Vec<u8> {
    let mut bytes = b"PHMF\x01\0\x04\0\0\0\x01\0d\0\x03\0d/a\x01".to_vec();
    bytes.extend_from_slice(&30_u64.to_le_bytes());
    bytes.extend_from_slice(&[9; 32]);
    bytes.extend_from_slice(&2_u32.to_le_bytes());
    for length in [10_u32, 20] {
        bytes.extend_from_slice(&[length as u8; 32]);
        bytes.extend_from_slice(&length.to_le_bytes());
    }
    bytes.extend_from_slice(b"\x01\0e\x02\0\0\0\0\0\0\0\0");
    bytes.extend_from_slice(blake3::hash(b"").as_bytes());
    bytes.extend_from_slice(&[0; 4]);
    bytes.extend_from_slice(b"\x01\0l\x03\x03\0d/a");
    bytes
}

fuzz_target!(|input: &[u8]| {
    ask(input);
    ask(&[b"PHMF\x01\0\x03\0\0\0", input].concat());
    let mut changed = good();
    assert!(Manifest::decode(&changed, &Limits::default()).is_ok());
    common::edits(input).for_each(|edit| edit.apply(&mut changed));
    ask(&changed);
});

fn ask(bytes: &[u8]) {
    let limits = Limits { entries_max: 10_000, ..Limits::default() };
    let Ok(manifest) = Manifest::decode(bytes, &limits) else { return };
    assert_eq!(manifest.encode(), bytes, "there is one encoding of a manifest");
    assert_eq!(manifest.check(&limits), Ok(()));
    let mut last = "";
    for entry in &manifest.entries {
        let path = entry.path.as_str();
        assert!(last < path && path.len() <= 4096 && !path.starts_with('/'));
        assert!(!path.split('/').any(|component| ["", ".", ".."].contains(&component)));
        if let EntryKind::Symlink { target } = &entry.kind {
            assert!(!target.starts_with('/'));
        }
        last = path;
    }
    assert!(manifest.chunks().all(|chunk| chunk.length > 0));
    let _ = (manifest.total_length(), manifest.file_count(), manifest.digest());
}
