//! Whose word counts against a package, and whose does not.

use packhorse_proto::convert::encode;
use packhorse_trust::{SigningKey, sign};

use super::*;

/// The instruction of most tests with one file more.
fn with(organisation: &Organisation, name: &str, content: &[u8]) -> Issued {
    let mut files = organisation.issue(&draft()).files;
    files.insert(name.to_owned(), content.to_vec());
    organisation.seal(&draft(), files)
}

fn killed(held: &Held) -> Option<String> {
    let package = draft().version.package;
    held.seen().kills.killed(&package, draft().version.release).map(|killed| killed.to_string())
}

fn signed(kind: SignedType, object: &Object, key: &SigningKey) -> Vec<u8> {
    sign(kind, encode::<wire::Object, _>(object), &[key])
}

#[test]
fn a_site_at_or_above_this_one_kills_and_lifts() {
    let organisation = Organisation::new();
    let client = Client::of(&organisation);
    assert_eq!(killed(&client.read(&organisation.issue(&draft())).unwrap()), None);

    for (owner, release, expected) in [
        ("CEN", Some(3), Some("killed by CEN: it wipes disks")),
        ("PAR", Some(4), Some("killed by PAR: it wipes disks")),
        ("CEN", Some(2), None),
        ("CEN", None, None),
    ] {
        let word = organisation.word(owner, 5, release);
        let held = client.read(&with(&organisation, &format!("kill/{owner}/CEN00001"), &word)).unwrap();
        assert_eq!(killed(&held).as_deref(), expected, "{owner} {release:?}");
        assert_eq!((held.kills.len(), held.doubted_kills.len()), (1, 0));
        assert_eq!(held.kills[0].2.version, 5, "a lifted one is remembered as well");
        assert_eq!(held.offers.len(), 1);
    }
}

#[test]
fn nobody_else_kills_and_nobody_lifts_what_another_killed() {
    let organisation = Organisation::new();
    let client = Client::of(&organisation);
    let of = |owner| kill_object(owner, 5, Some(3));
    let (central, paris, lyon) = (&organisation.central, &organisation.paris, &organisation.lyon);
    let in_the_name_of_paris = Object { owner: site("CEN"), ..of("PAR") };
    let lifts_in_its_name = Object { owner: site("CEN"), ..kill_object("PAR", 9, None) };
    let mut about_another = of("CEN");
    about_another.body = encode::<wire::Kill, _>(&Kill {
        package: "CEN00002".parse().unwrap(),
        release: 3,
        reason: "it wipes disks".into(),
        at: NOW,
    });
    let another_kind = Object { kind: ObjectKind::Distribution, ..of("CEN") };
    let no_kill = Object { body: b"nothing".to_vec(), ..of("CEN") };
    let object = SignedType::Object;
    let cases = [
        ("kill/LYO/CEN00001", signed(object, &of("LYO"), lyon), "LYO is not above"),
        ("kill/CEN/CEN00001", signed(object, &of("CEN"), paris), "not signed by its owner CEN"),
        ("kill/CEN/CEN00001", signed(object, &of("CEN"), &SigningKey::generate()), "not signed by its owner"),
        (
            "kill/CEN/CEN00001",
            signed(SignedType::Instruction, &of("CEN"), central),
            "not signed by its owner",
        ),
        ("kill/CEN/CEN00001", signed(SignedType::Delegation, &of("CEN"), central), "not signed by its owner"),
        ("kill/PAR/CEN00001", signed(object, &in_the_name_of_paris, central), "another object"),
        ("kill/PAR/CEN00001", signed(object, &lifts_in_its_name, central), "another object"),
        ("kill/PAR/CEN00001", signed(object, &of("CEN"), central), "another object"),
        ("kill/CEN/CEN00002", signed(object, &of("CEN"), central), "another object"),
        ("kill/CEN/CEN00001", signed(object, &about_another, central), "another object"),
        ("kill/CEN/CEN00001", signed(object, &another_kind, central), "another object"),
        ("kill/CEN/CEN00001", signed(object, &no_kill, central), "does not read"),
        ("kill/cen/CEN00001", signed(object, &of("CEN"), central), "another object"),
        ("kill/CEN/CEN00001", b"nothing".to_vec(), "does not read"),
    ];
    for (name, content, reason) in cases {
        let held = client.read(&with(&organisation, name, &content)).unwrap();

        assert!(held.kills.is_empty() && killed(&held).is_none(), "{name} {reason}");
        assert_eq!(held.doubted_kills[0].0, name);
        assert!(held.doubted_kills[0].1.contains(reason), "{reason}: {:?}", held.doubted_kills);
        assert_eq!(held.offers.len(), 1, "the rest of the instruction stands");
    }
}

#[test]
fn no_byte_of_a_kill_can_be_changed() {
    let organisation = Organisation::new();
    let client = Client::of(&organisation);
    let word = organisation.word("CEN", 1, Some(3));

    for at in 0..word.len() {
        let mut changed = word.clone();
        changed[at] ^= 1;
        let held = client.read(&with(&organisation, "kill/CEN/CEN00001", &changed)).unwrap();
        assert!(held.kills.is_empty(), "byte {at}");
    }
}
