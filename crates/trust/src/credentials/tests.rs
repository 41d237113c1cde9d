//! Keys and certificates on the disk.

use std::{fs, os::unix::fs::PermissionsExt, time::Duration};

use super::*;
use crate::authority::Authority;

const NOW: Timestamp = Timestamp(1_800_000_000_000_000);

fn authority(directory: &Path) -> Authority {
    Authority::create(&directory.join("authority"), &"CEN".parse().expect("a code"), NOW)
        .expect("an authority")
}

fn credentials(authority: &Authority) -> Credentials {
    authority.own_credentials(Duration::from_secs(86_400), NOW).expect("credentials")
}

#[test]
fn credentials_come_back_as_they_were_stored() {
    let directory = tempfile::tempdir().expect("a directory");
    let stored = credentials(&authority(directory.path()));
    let at = directory.path().join("var/lib/own");

    stored.store(&at).expect("stored");

    let loaded = Credentials::load(&at).expect("loaded");
    assert_eq!(loaded, stored);
    assert_eq!(loaded.name().expect("a name").to_string(), "packhorse://CEN/site/CEN");
    assert_eq!(loaded.validity().expect("times").1, NOW.plus(Duration::from_secs(86_400)));
    let mode = fs::metadata(at.join("key.pem")).expect("the key").permissions().mode();
    assert_eq!(mode & 0o7777, 0o600);
}

#[test]
fn an_enrolment_that_is_repeated_asks_for_the_same_key() {
    let directory = tempfile::tempdir().expect("a directory");
    let at = directory.path().join("own");

    let (first, request) = kept_key_and_request(&at, "host").expect("a key");
    let (second, _) = kept_key_and_request(&at, "host").expect("the key");

    assert_eq!(first, second);
    assert!(matches!(Credentials::load(&at), Err(CredentialsError::Missing { file: "cert.pem", .. })));
    let authority = authority(directory.path());
    let name = "packhorse://CEN/cap/front".parse().expect("a name");
    let cert_pem = authority.issue(&request, &name, Duration::from_secs(60), NOW).expect("a certificate");
    let whole =
        Credentials { key_pem: second, cert_pem, authority_pem: authority.certificate_pem().to_owned() };
    whole.store(&at).expect("stored");
    assert_eq!(Credentials::load(&at).expect("loaded").name().expect("a name"), name);
}

#[test]
fn a_renewal_keeps_the_key() {
    let directory = tempfile::tempdir().expect("a directory");
    let authority = authority(directory.path());
    let held = credentials(&authority);
    let at = directory.path().join("own");
    held.store(&at).expect("stored");
    let later = NOW.plus(Duration::from_secs(3600));

    let request = request_for(&held.key_pem, "CEN").expect("a request");
    let name = held.name().expect("a name");
    let cert_pem =
        authority.issue(&request, &name, Duration::from_secs(86_400), later).expect("a certificate");
    Credentials { cert_pem, ..held.clone() }.store(&at).expect("stored");

    let renewed = Credentials::load(&at).expect("loaded");
    assert_eq!(renewed.key_pem, held.key_pem);
    assert!(renewed.validity().expect("times").1 > held.validity().expect("times").1);
}

#[test]
fn another_key_does_not_replace_the_one_that_is_there() {
    let directory = tempfile::tempdir().expect("a directory");
    let authority = authority(directory.path());
    let at = directory.path().join("own");
    let first = credentials(&authority);
    first.store(&at).expect("stored");

    let refused = credentials(&authority).store(&at);

    assert!(matches!(refused, Err(CredentialsError::OtherKey { .. })));
    assert_eq!(Credentials::load(&at).expect("loaded"), first);
}

#[test]
fn a_key_that_others_can_read_is_refused() {
    let directory = tempfile::tempdir().expect("a directory");
    let at = directory.path().join("own");
    credentials(&authority(directory.path())).store(&at).expect("stored");
    fs::set_permissions(at.join("key.pem"), fs::Permissions::from_mode(0o644)).expect("the mode");

    let refused = Credentials::load(&at);

    let Err(CredentialsError::KeyFile { source }) = refused else { panic!("{refused:?}") };
    assert!(source.to_string().contains("chmod 600"));
}

#[test]
fn parts_that_do_not_belong_together_are_refused() {
    let directory = tempfile::tempdir().expect("a directory");
    let authority = authority(directory.path());
    let (one, other) = (credentials(&authority), credentials(&authority));
    let two_certificates = format!("{}{}", one.cert_pem, other.cert_pem);

    let mixed = Credentials { key_pem: other.key_pem, ..one.clone() };
    let doubled = Credentials { cert_pem: two_certificates, ..one.clone() };
    let headless = Credentials { authority_pem: String::new(), ..one.clone() };

    assert!(matches!(mixed.check(), Err(CredentialsError::Mismatch)));
    assert!(matches!(doubled.check(), Err(CredentialsError::Certificate { what: "cert.pem" })));
    assert!(matches!(headless.check(), Err(CredentialsError::Certificate { what: "authority.pem" })));
    assert!(one.check().is_ok());
}

#[test]
fn a_private_key_is_not_printed() {
    let directory = tempfile::tempdir().expect("a directory");
    let one = credentials(&authority(directory.path()));

    assert!(!format!("{one:?}").contains("PRIVATE"));
}
