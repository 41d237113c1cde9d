//! Names in certificates.

use std::collections::HashSet;

use rcgen::{CertificateParams, KeyPair, SanType};
use rustls_pki_types::DnsName;

use super::*;

fn certificate_with(names: &[&str]) -> Vec<u8> {
    let key = KeyPair::generate().expect("a key");
    let mut params = CertificateParams::default();
    params.subject_alt_names =
        names.iter().map(|&name| SanType::URI(name.try_into().expect("ASCII"))).collect();
    params.self_signed(&key).expect("a certificate").der().to_vec()
}

fn name(text: &str) -> Name {
    text.parse().expect("a name")
}

#[test]
fn a_certificate_gives_the_name_in_it() {
    let text = "packhorse://CEN/client/0190a1b2-0000-7000-8000-000000000001";

    let found = identity_of(&certificate_with(&[text])).expect("a name");

    assert_eq!(found, name(text));
    assert_eq!(found.role, Role::Client);
    assert_eq!(found.to_string(), text);
    assert!(found.as_client().is_some() && found.as_site().is_none() && found.as_admin().is_none());
}

#[test]
fn a_certificate_with_two_uris_names_nobody() {
    let (one, other) = ("packhorse://CEN/cap/front", "packhorse://CEN/admin/root");

    assert_eq!(identity_of(&certificate_with(&[one, other])), Err(IdentityError::Uris(2)));
    assert_eq!(identity_of(&certificate_with(&[one, "https://example.org/"])), Err(IdentityError::Uris(2)));
    assert_eq!(identity_of(&certificate_with(&[])), Err(IdentityError::Uris(0)));
}

#[test]
fn bytes_that_are_no_certificate_name_nobody() {
    let mut longer = certificate_with(&["packhorse://CEN/cap/front"]);
    longer.push(0);

    assert_eq!(identity_of(&longer), Err(IdentityError::NotACertificate));
    assert_eq!(identity_of(&[]), Err(IdentityError::NotACertificate));
    assert_eq!(identity_of(&[0x30; 64]), Err(IdentityError::NotACertificate));
}

#[test]
fn a_name_keeps_to_its_grammar() {
    for bad in [
        "",
        "packhorse://",
        "packhorse://CEN",
        "packhorse://CEN/cap",
        "packhorse://CEN/cap/",
        "packhorse://CEN/cap/front/",
        "packhorse://CEN/cap/front?admin",
        "packhorse://CEN/cap/a%2fb",
        "packhorse://CEN/Cap/front",
        "packhorse://CEN/root/front",
        "packhorse://cen/cap/front",
        "packhorse://CEN/site/paris",
        "packhorse://CEN/client/front",
        "packhorse://CEN/admin/../x",
        "PACKHORSE://CEN/cap/front",
        "https://CEN/cap/front",
        " packhorse://CEN/cap/front",
    ] {
        assert!(bad.parse::<Name>().is_err(), "{bad}");
        assert!(identity_of(&certificate_with(&[bad])).is_err(), "{bad}");
    }
}

#[test]
fn a_dns_name_is_the_plain_one_where_it_can_be() {
    assert_eq!(name("packhorse://CEN/site/PAR").dns_name(), "par.site.cen.packhorse.internal");
    assert_eq!(name("packhorse://CEN/cap/front-1").dns_name(), "front-1.cap.cen.packhorse.internal");
    assert_eq!(
        name("packhorse://CEN/cap/Front.desk").dns_name(),
        "x--front-desk--c01.cap.cen.packhorse.internal"
    );
}

#[test]
fn no_two_names_have_one_dns_name() {
    let letters = ["a", "A", "x", "0", "1", "-", "_", "."];
    let mut ids: Vec<String> = vec![String::new()];
    let mut all = Vec::new();
    for _ in 0..4 {
        ids = ids.iter().flat_map(|id| letters.iter().map(move |letter| format!("{id}{letter}"))).collect();
        all.extend(ids.iter().cloned());
    }
    // What the escaped form of one looks like is an id as well.
    for id in all.clone() {
        all.push(dns_label(&id));
    }
    let ids: HashSet<String> = all.into_iter().filter(|id| id.parse::<PointName>().is_ok()).collect();
    let names: HashSet<String> = ids
        .iter()
        .map(|id| Name::new("CEN".parse().expect("a code"), Role::Cap, id).expect("a name").dns_name())
        .collect();

    assert!(ids.len() > 3000);
    assert_eq!(names.len(), ids.len());
    assert!(names.iter().all(|name| DnsName::try_from(name.as_str()).is_ok()));
}

#[test]
fn the_longest_names_are_dns_names_too() {
    for id in ["A_".repeat(16), "A".repeat(32), format!("a{}", ".".repeat(31)), "a".repeat(32)] {
        let name = Name::new("CEN".parse().expect("a code"), Role::Cap, &id).expect("a name");
        assert!(DnsName::try_from(name.dns_name()).is_ok(), "{}", name.dns_name());
    }
}
