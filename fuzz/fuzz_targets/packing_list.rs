//! Packing lists from outside are read or refused; there is one encoding of each.

#![no_main]

use std::cell::RefCell;

use libfuzzer_sys::fuzz_target;
use packhorse_parcel::{Contents, ContentsError, Identity, Limits, PackingList};

#[expect(dead_code, reason = "others use the rest of it")]
mod common;

thread_local! {
    static RECIPIENT: RefCell<Identity> = RefCell::new(Identity::generate());
}

/// A list for one site: an item of 5 bytes, an empty one, and one that lies on two volumes of a MiB.
fn good(recipient: &str) -> Vec<u8> {
    let mut bytes = b"PHPL\x01\0".to_vec();
    bytes.extend_from_slice(&[7; 16 + 8]);
    bytes.extend_from_slice(b"CEN\0\0\x10\0\0\0\0\0\x01\0PAR");
    bytes.extend_from_slice(recipient.as_bytes());
    bytes.extend_from_slice(b"\x01\0\x03\0\0\0\x01\0\0\0");
    for (id, length) in [(1, 5_u64), (2, 0), (3, 1 << 20)] {
        bytes.extend_from_slice(&[id; 16]);
        bytes.extend_from_slice(&length.to_le_bytes());
        bytes.extend_from_slice(&[id; 32]);
        bytes.extend_from_slice(b"\0\0\x02\0\0\0hi");
    }
    bytes.extend_from_slice(&[9; 2 * 32]);
    bytes
}

fuzz_target!(|input: &[u8]| {
    RECIPIENT.with_borrow(|identity| {
        ask(input, identity);
        let mut changed = good(&identity.recipient().to_string());
        PackingList::decode(&changed, &Limits::default()).expect("it is good");
        common::edits(input).for_each(|edit| edit.apply(&mut changed));
        ask(&changed, identity);
    });
});

fn ask(bytes: &[u8], identity: &Identity) {
    let limits = Limits { items_max: 10_000, list_bytes_max: 1 << 20 };
    let opened = Contents::open(bytes, &identity.recipient(), &limits, &|envelope| Ok(envelope.to_vec()));
    let Ok(list) = PackingList::decode(bytes, &limits) else {
        return assert!(matches!(opened, Err(ContentsError::List(_))));
    };
    assert_eq!(list.encode(), bytes, "there is one encoding of a list");
    let Ok(contents) = opened else { return };
    let bytes: u64 = (1..=contents.volumes()).map(|number| contents.bytes(number)).sum();
    assert_eq!(bytes, contents.items().map(|(_, item)| item.length).sum::<u64>(), "all of it lies somewhere");
}
