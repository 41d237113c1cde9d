//! Certificates carry the names that we give, and no others.

use std::{fs, os::unix::fs::PermissionsExt, sync::Arc};

use rcgen::KeyPair;
use rustls::{
    ClientConfig, ClientConnection, RootCertStore, ServerConfig, ServerConnection, crypto::ring,
    server::WebPkiClientVerifier, time_provider::TimeProvider,
};
use rustls_pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime, pem::PemObject};
use x509_parser::{
    extensions::GeneralName,
    prelude::{FromDer, X509Certificate},
};

use super::*;
use crate::identity::identity_of;

const NOW: Timestamp = Timestamp(1_800_000_000_000_000);
const DAY: Duration = Duration::from_secs(86_400);

fn authority(site: &str) -> (tempfile::TempDir, Authority) {
    let directory = tempfile::tempdir().expect("a directory");
    let site = site.parse().expect("a code");
    let authority = Authority::create(&directory.path().join("authority"), &site, NOW).expect("an authority");
    (directory, authority)
}

fn name(text: &str) -> Name {
    text.parse().expect("a name")
}

fn der(pem: &str) -> CertificateDer<'static> {
    certificate::only_one(pem).expect("one certificate")
}

fn issued(authority: &Authority, name: &Name) -> Credentials {
    let (key_pem, request) = new_key_and_request("host").expect("a request");
    let cert_pem = authority.issue(&request, name, DAY, NOW).expect("a certificate");
    Credentials { key_pem, cert_pem, authority_pem: authority.certificate_pem().to_owned() }
}

#[test]
fn an_authority_comes_back_as_it_was_made() {
    let (directory, made) = authority("CEN");
    let at = directory.path().join("authority");

    let loaded = Authority::load(&at).expect("loaded");

    assert_eq!(loaded.site(), made.site());
    assert_eq!(loaded.certificate_pem(), made.certificate_pem());
    let mode = fs::metadata(at.join(KEY_FILE)).expect("the key").permissions().mode();
    assert_eq!(mode & 0o7777, 0o600);
    let again = Authority::create(&at, made.site(), NOW);
    assert!(matches!(again, Err(AuthorityError::Exists { .. })));
}

#[test]
fn an_authority_cut_off_in_its_making_is_finished_with_the_same_key() {
    let (directory, made) = authority("CEN");
    let at = directory.path().join("authority");
    let key = fs::read(at.join(KEY_FILE)).expect("the key");
    fs::remove_file(at.join(CERTIFICATE_FILE)).expect("the certificate is gone");

    assert!(matches!(Authority::load(&at), Err(AuthorityError::Read { .. })));
    Authority::create(&at, made.site(), NOW).expect("finished");

    assert_eq!(fs::read(at.join(KEY_FILE)).expect("the key"), key);
}

#[test]
fn an_authority_whose_key_others_can_read_or_that_is_not_its_own_is_refused() {
    let ((one_at, _one), (other_at, _other)) = (authority("CEN"), authority("CEN"));
    let (one, other) = (one_at.path().join("authority"), other_at.path().join("authority"));
    fs::copy(other.join(CERTIFICATE_FILE), one.join(CERTIFICATE_FILE)).expect("copied");
    fs::set_permissions(other.join(KEY_FILE), fs::Permissions::from_mode(0o640)).expect("the mode");

    assert!(matches!(Authority::load(&one), Err(AuthorityError::OtherKey { .. })));
    let exposed = Authority::load(&other);
    assert!(matches!(
        exposed,
        Err(AuthorityError::KeyFile { source: KeyFileError::Exposed { mode: 0o640, .. } })
    ));
}

#[test]
fn a_request_for_other_names_gets_only_ours() {
    let (_directory, authority) = authority("CEN");
    let key = KeyPair::generate().expect("a key");
    let mut params = CertificateParams::new(vec!["evil.example.org".to_owned()]).expect("params");
    params.subject_alt_names.push(SanType::URI("packhorse://CEN/admin/root".try_into().expect("ASCII")));
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::Any, ExtendedKeyUsagePurpose::ServerAuth];
    let request = params.serialize_request(&key).and_then(|request| request.pem()).expect("a request");
    let client = name("packhorse://CEN/client/0190a1b2-0000-7000-8000-000000000001");

    let certificate = der(&authority.issue(&request, &client, DAY, NOW).expect("a certificate"));

    assert_eq!(identity_of(&certificate), Ok(client));
    let (_, read) = X509Certificate::from_der(&certificate).expect("a certificate");
    let names = read.subject_alternative_name().expect("one").expect("there").value;
    assert_eq!(names.general_names.len(), 1);
    let usage = read.extended_key_usage().expect("one").expect("there").value;
    assert!(usage.client_auth && !usage.server_auth && !usage.any);
    assert!(!read.key_usage().expect("one").expect("there").value.key_cert_sign());
    assert!(!read.is_ca());
    assert_eq!(read.public_key().raw, key.subject_public_key_info());
    assert!(!format!("{}", read.subject()).contains("rcgen"));
}

#[test]
fn servers_get_their_dns_name_and_both_usages() {
    let (_directory, authority) = authority("CEN");

    for text in ["packhorse://CEN/site/PAR", "packhorse://CEN/cap/Front_1"] {
        let certificate = der(&issued(&authority, &name(text)).cert_pem);
        let (_, read) = X509Certificate::from_der(&certificate).expect("a certificate");
        let names = &read.subject_alternative_name().expect("one").expect("there").value.general_names;
        let dns = name(text).dns_name();
        assert!(names.contains(&GeneralName::DNSName(&dns)) && names.len() == 2, "{names:?}");
        let usage = read.extended_key_usage().expect("one").expect("there").value;
        assert!(usage.client_auth && usage.server_auth);
    }
}

#[test]
fn a_certificate_holds_from_a_little_before_to_its_end_and_not_past_the_authoritys() {
    let (_directory, authority) = authority("CEN");
    let (_, request) = new_key_and_request("host").expect("a request");
    let cap = name("packhorse://CEN/cap/front");
    let facts = |validity| {
        let pem = authority.issue(&request, &cap, validity, NOW).expect("a certificate");
        certificate::facts(&der(&pem)).expect("facts")
    };

    assert_eq!(facts(DAY).not_before, Timestamp(NOW.0 - 300_000_000));
    assert_eq!(facts(DAY).not_after, NOW.plus(DAY));
    assert_eq!(facts(DAY * 36_500).not_after, NOW.plus(YEARS_10));
    let expired = authority.issue(&request, &cap, DAY, NOW.plus(YEARS_10));
    assert!(matches!(expired, Err(AuthorityError::Expired { .. })));
}

#[test]
fn serial_numbers_are_128_bits_and_differ() {
    let (_directory, authority) = authority("CEN");
    let cap = name("packhorse://CEN/cap/front");
    let serial = || {
        let certificate = der(&issued(&authority, &cap).cert_pem);
        X509Certificate::from_der(&certificate).expect("a certificate").1.raw_serial().to_vec()
    };

    let (one, other) = (serial(), serial());

    assert_ne!(one, other);
    assert_eq!((one.len(), other.len()), (16, 16));
}

#[test]
fn an_authority_names_nobody_at_another_site_and_nobody_without_a_name() {
    let (_directory, authority) = authority("CEN");
    let (_, request) = new_key_and_request("host").expect("a request");
    let elsewhere = name("packhorse://PAR/cap/front");
    let nobody = Name { id: "../x".to_owned(), ..name("packhorse://CEN/cap/front") };

    assert!(matches!(authority.issue(&request, &elsewhere, DAY, NOW), Err(AuthorityError::OtherSite { .. })));
    assert!(matches!(authority.issue(&request, &nobody, DAY, NOW), Err(AuthorityError::Name { .. })));
}

#[test]
fn a_bad_request_is_refused() {
    let (_directory, authority) = authority("CEN");
    let cap = name("packhorse://CEN/cap/front");
    let issue = |request: &str| authority.issue(request, &cap, DAY, NOW);
    let (_, request) = new_key_and_request("host").expect("a request");
    let body: String = request.lines().filter(|line| !line.starts_with("---")).collect();
    let p384 = KeyPair::generate_for(&rcgen::PKCS_ECDSA_P384_SHA384).expect("a key");
    let p384 = CertificateParams::default().serialize_request(&p384).and_then(|request| request.pem());

    for at in [10, body.len() / 2, body.len() - 10] {
        let mut torn: Vec<char> = body.chars().collect();
        torn[at] = if torn[at] == 'A' { 'B' } else { 'A' };
        let torn: String = torn.into_iter().collect();
        let torn =
            format!("-----BEGIN CERTIFICATE REQUEST-----\n{torn}\n-----END CERTIFICATE REQUEST-----\n");
        assert!(issue(&torn).is_err(), "character {at}");
    }
    assert!(matches!(issue(""), Err(AuthorityError::Request { .. })));
    assert!(matches!(issue(&p384.expect("a request")), Err(AuthorityError::RequestKey)));
    assert!(matches!(issue(&"x".repeat(20_000)), Err(AuthorityError::RequestTooLarge { .. })));
    assert!(issue(&request).is_ok());
}

#[derive(Debug)]
struct FixedTime;

impl TimeProvider for FixedTime {
    fn current_time(&self) -> Option<UnixTime> {
        Some(UnixTime::since_unix_epoch(Duration::from_micros(NOW.0.unsigned_abs())))
    }
}

/// A handshake in memory, both sides with certificates.
fn handshake(server: &Credentials, client: &Credentials, expected: &str) -> Result<(), rustls::Error> {
    let provider = Arc::new(ring::default_provider());
    let roots = |credentials: &Credentials| {
        let mut roots = RootCertStore::empty();
        roots.add(der(&credentials.authority_pem)).expect("an authority");
        Arc::new(roots)
    };
    let key = |credentials: &Credentials| {
        PrivateKeyDer::from_pem_slice(credentials.key_pem.as_bytes()).expect("a key")
    };
    let verifier = WebPkiClientVerifier::builder_with_provider(roots(server), provider.clone())
        .build()
        .expect("a verifier");
    let server_config = ServerConfig::builder_with_details(provider.clone(), Arc::new(FixedTime))
        .with_protocol_versions(&[&rustls::version::TLS13])
        .expect("TLS 1.3")
        .with_client_cert_verifier(verifier)
        .with_single_cert(vec![der(&server.cert_pem)], key(server))
        .expect("a server");
    let client_config = ClientConfig::builder_with_details(provider, Arc::new(FixedTime))
        .with_protocol_versions(&[&rustls::version::TLS13])
        .expect("TLS 1.3")
        .with_root_certificates(roots(client))
        .with_client_auth_cert(vec![der(&client.cert_pem)], key(client))
        .expect("a client");
    let expected = ServerName::try_from(expected.to_owned()).expect("a DNS name");
    let mut caller = ClientConnection::new(Arc::new(client_config), expected).expect("a caller");
    let mut called = ServerConnection::new(Arc::new(server_config)).expect("a called one");
    while caller.is_handshaking() || called.is_handshaking() {
        let mut wire = Vec::new();
        caller.write_tls(&mut wire).expect("memory");
        called.read_tls(&mut wire.as_slice()).expect("memory");
        called.process_new_packets()?;
        wire.clear();
        called.write_tls(&mut wire).expect("memory");
        caller.read_tls(&mut wire.as_slice()).expect("memory");
        caller.process_new_packets()?;
    }
    Ok(())
}

#[test]
fn issued_certificates_make_connections_and_only_the_right_ones() {
    let (_directory, cen) = authority("CEN");
    let (_other_directory, stranger) = authority("CEN");
    let server = cen.own_credentials(DAY, NOW).expect("credentials");
    let child = issued(&cen, &name("packhorse://CEN/site/PAR"));
    let client = issued(&cen, &name("packhorse://CEN/client/0190a1b2-0000-7000-8000-000000000001"));
    let forged = Credentials {
        authority_pem: server.authority_pem.clone(),
        ..issued(&stranger, &name("packhorse://CEN/site/PAR"))
    };
    let (own, other) = ("cen.site.cen.packhorse.internal", "par.site.cen.packhorse.internal");

    assert_eq!(handshake(&server, &child, own), Ok(()));
    assert_eq!(handshake(&server, &client, own), Ok(()));
    assert!(handshake(&server, &child, other).is_err(), "another server than the one expected");
    assert!(handshake(&client, &child, own).is_err(), "a client's certificate serves nobody");
    assert!(handshake(&server, &forged, own).is_err(), "another authority of the same name");
}
