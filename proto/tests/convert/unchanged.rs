//! What is said without anything new is, byte for byte, what versions before that said: what is signed stays as it was.

use packhorse_domain::{
    Digest, Priority, Timestamp,
    advertisement::{Acceptance, Advertisement, Delivery},
    collection::{Collection, Condition},
    instruction::{FileReference, Instruction},
    status::AdvertisementStatus,
    window::Windows,
};
use packhorse_proto::{convert::encode, object::v1 as wire};

const CLIENT: &str = "00000000-0000-4000-8000-000000000001";

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn instruction() -> Instruction {
    Instruction {
        site: "LYO".parse().expect("a code"),
        client: CLIENT.parse().expect("an id"),
        serial: 7,
        issued_at: Timestamp(1_700_000_000_000_000),
        not_after: Timestamp(1_700_000_259_200_000),
        files: vec![FileReference { name: "trust".to_owned(), digest: Digest([9; 32]) }],
        windows: Windows::NONE,
    }
}

fn collection() -> Collection {
    let condition = Condition { fact: "label.role".to_owned(), pattern: "till".to_owned(), negated: false };
    Collection {
        id: "CEN00002".parse().expect("an id"),
        name: "Tills".to_owned(),
        rule: vec![condition],
        clients: vec![CLIENT.parse().expect("an id")],
        windows: Windows::NONE,
    }
}

fn advertisement() -> Advertisement {
    Advertisement {
        id: "CEN20001".parse().expect("an id"),
        name: "Editor".to_owned(),
        package: "CEN00001".parse().expect("an id"),
        program: "install".parse().expect("a name"),
        collection: "CEN00002".parse().expect("an id"),
        required: true,
        start_at: Some(Timestamp(1)),
        expires_at: Some(Timestamp(2)),
        rerun_on_update: true,
        priority: Priority::High,
        ignore_windows: false,
    }
}

fn status() -> AdvertisementStatus {
    AdvertisementStatus {
        advertisement: "CEN20001".parse().expect("an id"),
        client: CLIENT.parse().expect("an id"),
        site: "LYO".parse().expect("a code"),
        hostname: "till-7".to_owned(),
        acceptance: Acceptance::Accepted,
        delivery: Delivery::Waiting,
        exit_code: None,
        output_tail: String::new(),
        reason: "it waits for the user".to_owned(),
        source_version: 3,
        changed_at: Timestamp(5),
        generation: 2,
        closed: None,
    }
}

/// What was made of them before there were windows.
const INSTRUCTION: &str = "\
    0a034c594f122430303030303030302d303030302d343030302d383030302d3030303030303030303030311807208080f9c0c1c482032880a8\
    c5bcc2c4820332290a05747275737412200909090909090909090909090909090909090909090909090909090909090909";
const COLLECTION: &str = "\
    0a0843454e3030303032120554696c6c731a120a0a6c6162656c2e726f6c65120474696c6c222430303030303030302d303030302d34303030\
    2d383030302d303030303030303030303031";
const ADVERTISEMENT: &str = "\
    0a0843454e32303030311206456469746f721a0843454e30303030312207696e7374616c6c2a0843454e303030303230013801400248015001";
const STATUS: &str = "\
    0a0843454e3230303031122430303030303030302d303030302d343030302d383030302d3030303030303030303030311a034c594f22067469\
    6c6c2d37280130014a15697420776169747320666f72207468652075736572500358056002";

#[test]
fn what_says_nothing_of_windows_is_as_it_was_before_there_were_any() {
    for (bytes, before) in [
        (encode::<wire::Instruction, _>(&instruction()), INSTRUCTION),
        (encode::<wire::Collection, _>(&collection()), COLLECTION),
        (encode::<wire::Advertisement, _>(&advertisement()), ADVERTISEMENT),
        (encode::<wire::AdvertisementStatus, _>(&status()), STATUS),
    ] {
        assert_eq!(hex(&bytes), before);
    }
}

#[test]
fn the_same_windows_are_the_same_bytes_however_they_came_together() {
    let windows = |rules: &[&str]| {
        rules.iter().fold(Windows::NONE, |all, rule| all.and(&rule.parse().expect("a window")))
    };
    let bytes = |windows| encode::<wire::Instruction, _>(&Instruction { windows, ..instruction() });

    let one = bytes(windows(&["mon-fri 22:00-06:00", "sat,sun"]));

    assert_eq!(bytes(windows(&["sun", "fri 22-24", "sat 0-24", "mon-fri 22-6"])), one);
    assert_ne!(one, bytes(Windows::NONE));
    assert!(one.len() < bytes(Windows::NONE).len() + 2 * 168, "it stays small");
}
