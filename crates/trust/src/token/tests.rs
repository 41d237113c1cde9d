//! Token files.

use std::{fs, os::unix::fs::PermissionsExt, time::Duration};

use super::*;
use crate::{authority::Authority, signing::SigningKey};

const NOW: Timestamp = Timestamp(1_800_000_000_123_456);

fn token() -> Token {
    let directory = tempfile::tempdir().expect("a directory");
    let site: SiteCode = "CEN".parse().expect("a code");
    let authority = Authority::create(directory.path(), &site, NOW).expect("an authority");
    Token {
        server: Name::of_site(site.clone(), &site).dns_name(),
        site,
        role: Role::Cap,
        name: Some("front".to_owned()),
        endpoints: vec!["cen.example.org:7440".to_owned(), "[2001:db8::1]:7440".to_owned()],
        authority_pem: authority.certificate_pem().to_owned(),
        root: SigningKey::generate().public(),
        secret: Secret::generate(),
        expires: NOW,
        courier_key: None,
    }
}

#[test]
fn a_token_comes_back_as_it_was_written() {
    let cap = token();
    let client = Token { role: Role::Client, name: None, ..cap.clone() };

    for token in [cap, client] {
        let text = token.encode().expect("a text");
        assert_eq!(Token::parse(&text).expect("a token"), token);
        assert!(text.contains("expires = \"2027-01-15T08:00:00.123456Z\""), "{text}");
    }
}

#[test]
fn a_token_file_is_private_and_never_overwritten() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("front.token");
    let token = token();

    token.create_file(&path).expect("written");

    assert_eq!(fs::metadata(&path).expect("the file").permissions().mode() & 0o7777, 0o600);
    assert_eq!(Token::from_file(&path).expect("read"), token);
    assert!(matches!(token.create_file(&path), Err(TokenError::Write { .. })));
}

#[test]
fn a_token_is_expired_from_its_end_on() {
    let token = token();

    assert!(!token.expired(Timestamp(NOW.0 - 1)));
    assert!(token.expired(NOW));
    assert!(token.expired(NOW.plus(Duration::from_secs(1))));
}

#[test]
fn the_secret_is_known_by_its_hash_and_is_not_printed() {
    let token = token();
    let secret = hex::encode(token.secret.as_bytes());

    assert_eq!(token.secret_hash().0, *blake3::hash(token.secret.as_bytes()).as_bytes());
    assert!(!format!("{token:?}").contains(&secret));
    assert_ne!(Secret::generate(), Secret::generate());
}

#[test]
fn a_token_with_a_bad_field_is_refused() {
    let good = token().encode().expect("a text");
    let line = |field: &str| {
        good.lines().find(|line| line.starts_with(&format!("{field} = "))).expect("the field").to_owned()
    };

    for (field, value) in [
        ("site", "\"cen\""),
        ("role", "\"root\""),
        ("role", "\"client\""),
        ("role", "\"site\""),
        ("name", "\"../x\""),
        ("server", "\"not a name\""),
        ("expires", "\"tomorrow\""),
        ("root", "\"00\""),
        ("secret", "\"00\""),
        ("secret", "7"),
    ] {
        let bad = good.replace(&line(field), &format!("{field} = {value}"));
        assert!(Token::parse(&bad).is_err(), "{field} = {value}");
    }
    for field in ["site", "role", "name", "server", "expires", "root", "secret", "version"] {
        let bad = good.replace(&line(field), "");
        assert!(Token::parse(&bad).is_err(), "without {field}");
    }
    assert!(Token::parse(&good).is_ok());
}

#[test]
fn what_a_token_cannot_say_cannot_be_written() {
    let good = token();
    let endpoint = |text: &str| Token { endpoints: vec![text.to_owned()], ..good.clone() };

    for bad in
        ["", "host", ":1", "host:", "host:0", "host:65536", "host:+1", "ho st:1", "::1:80", "[x]:1", "h/x:1"]
    {
        assert!(endpoint(bad).encode().is_err(), "{bad}");
    }
    assert!(Token { endpoints: vec![], ..good.clone() }.encode().is_err());
    assert!(Token { endpoints: vec!["host:1".to_owned(); 9], ..good.clone() }.encode().is_err());
    assert!(Token { name: None, ..good.clone() }.encode().is_err());
    assert!(Token { authority_pem: "no certificate".to_owned(), ..good.clone() }.encode().is_err());
    assert!(good.encode().is_ok());
}

#[test]
fn unknown_fields_and_later_versions_are_told_apart() {
    let good = token().encode().expect("a text");

    let unknown = Token::parse(&good.replacen("version = 1", "version = 1\nports = 3", 1));
    let later = Token::parse(&good.replacen("version = 1", "version = 2\nports = 3", 1));

    assert!(
        matches!(unknown, Err(TokenError::Syntax { ref reason }) if reason.contains("ports")),
        "{unknown:?}"
    );
    assert!(matches!(later, Err(TokenError::Version(2))), "{later:?}");
}

#[test]
fn a_text_that_is_too_long_or_no_toml_is_refused() {
    let good = token().encode().expect("a text");
    let long = format!("{good}\n#{}", "x".repeat(TOKEN_BYTES_MAX));

    assert!(matches!(Token::parse(&long), Err(TokenError::TooLarge { .. })));
    assert!(matches!(Token::parse("= = ="), Err(TokenError::Syntax { .. })));
    assert!(Token::parse("").is_err());
}

#[test]
fn an_error_does_not_show_the_secret() {
    let token = token();
    let secret = hex::encode(token.secret.as_bytes());
    let torn = token.encode().expect("a text").replace(&format!("\"{secret}\""), &format!("\"{secret}"));

    let error = Token::parse(&torn).expect_err("a torn line");

    assert!(!format!("{error} {error:?}").contains(&secret));
}
