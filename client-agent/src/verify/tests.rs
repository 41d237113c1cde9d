//! Nothing unsigned, mixed, foreign or old is adopted.

use super::*;
use crate::testing::{CLIENT, Draft, Issued, NOW, Organisation, draft, kill_object, program, site};

mod kills;

struct Client {
    root: PublicKey,
    site: SiteCode,
    id: ClientId,
    seen: Seen,
}

impl Client {
    fn of(organisation: &Organisation) -> Self {
        Client {
            root: organisation.root.public(),
            site: site("PAR"),
            id: CLIENT.parse().unwrap(),
            seen: Seen::default(),
        }
    }

    fn read(&self, issued: &Issued) -> Result<Held, Refusal> {
        let reader =
            Reader { root: &self.root, site: &self.site, client: &self.id, seen: &self.seen, now: NOW };
        read_new(&reader, &issued.bytes, issued)
    }
}

/// The doubt about the one offer or its package.
fn doubt(held: &Held) -> String {
    match (&held.offers[..], &held.refused[..]) {
        ([offer], []) => offer.package.clone().expect_err("the package is believed"),
        ([], [(_, reason)]) => reason.clone(),
        other => panic!("{other:?}"),
    }
}

#[test]
fn an_instruction_with_all_its_files_is_believed() {
    let organisation = Organisation::new();
    let client = Client::of(&organisation);

    let held = client.read(&organisation.issue(&draft())).unwrap();

    assert!(held.refused.is_empty());
    let package = held.offers[0].package.as_ref().unwrap();
    assert_eq!(package.version, draft().version);
    assert_eq!(held.offers[0].advertisement, draft().advertisement);
    assert_eq!(held.offers[0].traceparent, "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01");
    let seen = held.seen();
    assert_eq!((seen.serial, seen.trust_version, seen.release(&draft().version.package)), (10, 2, 3));
}

#[test]
fn a_tampered_instruction_is_refused_at_whatever_byte() {
    let organisation = Organisation::new();
    let client = Client::of(&organisation);
    let issued = organisation.issue(&draft());

    for at in (0..issued.bytes.len()).step_by(7) {
        let mut tampered = issued.clone();
        tampered.bytes[at] ^= 1;
        assert!(client.read(&tampered).is_err(), "byte {at}");
    }
}

#[test]
fn an_instruction_for_another_is_refused() {
    let organisation = Organisation::new();
    let client = Client::of(&organisation);

    let other = Draft { client: "00000000-0000-4000-8000-000000000002".parse().unwrap(), ..draft() };
    assert!(matches!(client.read(&organisation.issue(&other)), Err(Refusal::OtherClient(_))));
    let elsewhere = Draft { site: site("LYO"), ..draft() };
    assert!(matches!(client.read(&organisation.issue(&elsewhere)), Err(Refusal::OtherSite(_))));
}

#[test]
fn nothing_older_than_what_was_seen_is_believed() {
    let organisation = Organisation::new();
    let mut client = Client::of(&organisation);
    let issued = organisation.issue(&draft());
    client.seen = client.read(&issued).unwrap().seen();
    assert!(client.read(&issued).is_ok(), "the same again is not older");

    let older = organisation.issue(&Draft { serial: 9, ..draft() });
    assert!(matches!(client.read(&older), Err(Refusal::OlderSerial { serial: 9, seen: 10 })));

    let mut older = draft();
    older.version.release = 2;
    let held = client.read(&organisation.issue(&older)).unwrap();
    assert!(doubt(&held).contains("release 2"), "{}", doubt(&held));
    assert!(held.seen().releases.is_empty(), "what is doubted leaves no mark");

    client.seen.trust_version = 3;
    assert!(matches!(client.read(&issued), Err(Refusal::OlderTrust { version: 2, seen: 3 })));
}

#[test]
fn an_expired_instruction_is_not_taken_on() {
    let organisation = Organisation::new();
    let client = Client::of(&organisation);

    let issued = organisation.issue(&Draft { not_after: NOW, ..draft() });

    assert!(matches!(client.read(&issued), Err(Refusal::Expired(_))));
}

#[test]
fn a_site_that_is_not_above_offers_nothing() {
    let organisation = Organisation::new();
    let client = Client::of(&organisation);

    let sibling = organisation.issue(&Draft { owner: site("LYO"), ..draft() });
    let held = client.read(&sibling).unwrap();
    assert!(doubt(&held).contains("its owner LYO is not above this site"), "{}", doubt(&held));

    let own = organisation.issue(&Draft { owner: site("PAR"), ..draft() });
    assert!(client.read(&own).unwrap().refused.is_empty());
}

#[test]
fn a_site_cannot_speak_in_the_name_of_one_above_it() {
    let mut organisation = Organisation::new();
    let client = Client::of(&organisation);
    let mut issued = organisation.issue(&draft());
    // What LYO signs while it says that CEN owns it.
    std::mem::swap(&mut organisation.central, &mut organisation.lyon);
    let forged = organisation.issue(&draft()).files.remove("offer/CEN20001").unwrap();
    std::mem::swap(&mut organisation.central, &mut organisation.lyon);

    issued.files.insert("offer/CEN20001".into(), forged);
    let held = client.read(&organisation.seal(&draft(), issued.files)).unwrap();

    assert!(doubt(&held).contains("not signed by its owner CEN"), "{}", doubt(&held));
}

#[test]
fn an_author_signs_only_within_the_prefixes() {
    let organisation = Organisation::new();
    let client = Client::of(&organisation);
    let mut outside = draft();
    outside.version.package = "PAR00001".parse().unwrap();
    outside.advertisement.package = "PAR00001".parse().unwrap();

    let held = client.read(&organisation.issue(&outside)).unwrap();

    assert!(doubt(&held).contains("outside the author's prefixes"), "{}", doubt(&held));
}

#[test]
fn a_command_line_that_its_author_did_not_sign_is_not_believed() {
    let organisation = Organisation::new();
    let client = Client::of(&organisation);
    let mut changed = draft();
    changed.version.programs = vec![program(&["./install.sh"])];
    changed.tamper = |signed| {
        let at = signed.windows(7).position(|window| window == b"install").unwrap();
        let at = at + signed[at + 7..].windows(7).position(|window| window == b"install").unwrap() + 7;
        signed[at..at + 7].copy_from_slice(b"destroy");
    };

    let held = client.read(&organisation.issue(&changed)).unwrap();

    assert!(doubt(&held).contains("not signed by an author"), "{}", doubt(&held));
}

#[test]
fn old_and_new_files_are_never_mixed() {
    let organisation = Organisation::new();
    let client = Client::of(&organisation);
    let issued = organisation.issue(&draft());

    for name in issued.files.keys() {
        let mut missing = issued.clone();
        missing.files.remove(name);
        assert!(matches!(client.read(&missing), Err(Refusal::Missing(_))), "{name}");

        let mut mixed = issued.clone();
        mixed.files.insert(name.clone(), b"another".to_vec());
        let refusal = client.read(&mixed).expect_err("another file");
        assert!(refusal.is_transient(), "{name}");
    }
}

#[test]
fn a_misnamed_offer_is_not_believed() {
    let organisation = Organisation::new();
    let client = Client::of(&organisation);
    let mut issued = organisation.issue(&draft());
    let offer = issued.files.remove("offer/CEN20001").unwrap();
    issued.files.insert("offer/CEN20009".into(), offer);

    let held = client.read(&organisation.seal(&draft(), issued.files)).unwrap();

    assert_eq!(held.refused[0].0.as_str(), "CEN20009");
    assert!(doubt(&held).contains("another object than its name says"));
}
