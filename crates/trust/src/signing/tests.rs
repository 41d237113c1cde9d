//! Signed envelopes: what counts and what does not.

use std::{fs, os::unix::fs::PermissionsExt};

use super::*;

fn signed(keys: &[&SigningKey]) -> Vec<u8> {
    sign(SignedType::Instruction, b"what is said".to_vec(), keys)
}

#[test]
fn the_signed_text_is_the_one_that_the_format_promises() {
    let key = SigningKey::generate();
    let mut text = b"packhorse-signature-v1".to_vec();
    text.extend_from_slice(b"\x0b\0\0\0\0\0\0\0instruction");
    text.extend_from_slice(b"\x0c\0\0\0\0\0\0\0what is said");

    let envelope = wire::Signed::decode(signed(&[&key]).as_slice()).expect("an envelope");

    assert_eq!(envelope.r#type, "instruction");
    assert_eq!(envelope.signatures[0].key_id[..], blake3::hash(key.public().as_bytes()).as_bytes()[..]);
    let signature =
        ed25519_dalek::Signature::from_slice(&envelope.signatures[0].signature).expect("64 bytes");
    key.public().0.verify_strict(&text, &signature).expect("the signature is over that text");
}

#[test]
fn what_was_signed_opens() {
    let (key, other) = (SigningKey::generate(), SigningKey::generate());

    let payload = open(SignedType::Instruction, &signed(&[&key]), &[other.public(), key.public()]);

    assert_eq!(payload.expect("signed by one of the two"), b"what is said");
}

#[test]
fn an_envelope_with_any_bit_flipped_is_refused() {
    let key = SigningKey::generate();
    let bytes = signed(&[&key]);

    for at in 0..bytes.len() {
        for bit in 0..8 {
            let mut flipped = bytes.clone();
            flipped[at] ^= 1 << bit;
            assert!(
                open(SignedType::Instruction, &flipped, &[key.public()]).is_err(),
                "byte {at}, bit {bit}"
            );
        }
    }
}

#[test]
fn an_envelope_cut_anywhere_is_refused() {
    let key = SigningKey::generate();
    let bytes = signed(&[&key]);

    for length in 0..bytes.len() {
        assert!(open(SignedType::Instruction, &bytes[..length], &[key.public()]).is_err(), "{length} bytes");
    }
}

#[test]
fn a_signature_for_one_use_is_worth_nothing_for_another() {
    let key = SigningKey::generate();
    let bytes = signed(&[&key]);

    let refused = open(SignedType::Delegation, &bytes, &[key.public()]);
    let mut retagged = wire::Signed::decode(bytes.as_slice()).expect("an envelope");
    retagged.r#type = "delegation".to_owned();
    let forged = open(SignedType::Delegation, &retagged.encode_to_vec(), &[key.public()]);

    assert!(matches!(refused, Err(TrustError::OtherType { .. })));
    assert!(matches!(forged, Err(TrustError::NotSigned { .. })));
}

#[test]
fn a_signature_by_an_unknown_key_is_refused() {
    let (key, other) = (SigningKey::generate(), SigningKey::generate());

    let by_other = open(SignedType::Instruction, &signed(&[&other]), &[key.public()]);
    let by_nobody = open(SignedType::Instruction, &signed(&[]), &[key.public()]);
    let nobody_allowed = open(SignedType::Instruction, &signed(&[&key]), &[]);

    assert!(matches!(by_other, Err(TrustError::NotSigned { .. })));
    assert!(matches!(by_nobody, Err(TrustError::NotSigned { .. })));
    assert!(matches!(nobody_allowed, Err(TrustError::NotSigned { .. })));
}

#[test]
fn a_signature_under_the_name_of_another_key_is_refused() {
    let (key, other) = (SigningKey::generate(), SigningKey::generate());
    let mut envelope = wire::Signed::decode(signed(&[&other]).as_slice()).expect("an envelope");
    envelope.signatures[0].key_id = key.public().key_id().0.to_vec().into();

    let opened = open(SignedType::Instruction, &envelope.encode_to_vec(), &[key.public(), other.public()]);

    assert!(matches!(opened, Err(TrustError::NotSigned { .. })));
}

#[test]
fn a_key_counts_once_however_often_it_signed() {
    let (key, second) = (SigningKey::generate(), SigningKey::generate());
    let twice = signed(&[&key, &key, &second]);
    let mut envelope = wire::Signed::decode(twice.as_slice()).expect("an envelope");
    assert_eq!(envelope.signatures.len(), 2, "and signs once");
    let again = envelope.signatures[0].clone();
    envelope.signatures.push(again);

    let read = Envelope::parse(SignedType::Instruction, &envelope.encode_to_vec()).expect("an envelope");

    assert_eq!(read.signers(&[key.public(), key.public()]), [key.public()]);
    assert_eq!(read.signers(&[key.public(), second.public()]).len(), 2);
}

#[test]
fn envelopes_beyond_the_limits_are_refused() {
    let key = SigningKey::generate();
    let mut crowded = wire::Signed::decode(signed(&[&key]).as_slice()).expect("an envelope");
    crowded.signatures = vec![crowded.signatures[0].clone(); SIGNATURES_MAX + 1];
    let large = sign(SignedType::Object, vec![0; ENVELOPE_BYTES_MAX], &[&key]);

    assert!(matches!(
        open(SignedType::Instruction, &crowded.encode_to_vec(), &[key.public()]),
        Err(TrustError::TooManySignatures { count: 17, max: 16 })
    ));
    assert!(matches!(open(SignedType::Object, &large, &[key.public()]), Err(TrustError::TooLarge { .. })));
}

#[test]
fn weak_and_impossible_public_keys_are_refused() {
    let mut identity_point = [0; 32];
    identity_point[0] = 1;

    assert!(PublicKey::from_bytes(&identity_point).is_err());
    assert!(PublicKey::try_from([1; 31].as_slice()).is_err());
    assert!("zz".parse::<PublicKey>().is_err());
    let key = SigningKey::generate().public();
    assert_eq!(key.to_string().parse::<PublicKey>().expect("its own text"), key);
}

#[test]
fn a_key_file_is_private_and_gives_the_key_back() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("director.pem");

    let made = SigningKey::create_file(&path).expect("a new key");

    let mode = fs::metadata(&path).expect("the file").permissions().mode();
    assert_eq!(mode & 0o7777, 0o600);
    assert_eq!(SigningKey::from_file(&path).expect("the key").public(), made.public());
    let left: Vec<_> = fs::read_dir(directory.path()).expect("the directory").collect();
    assert_eq!(left.len(), 1, "nothing but the key is left");
}

#[test]
fn a_key_file_that_others_can_read_is_refused_with_the_remedy() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("director.pem");
    SigningKey::create_file(&path).expect("a new key");

    for mode in [0o644, 0o640, 0o604, 0o620, 0o601] {
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).expect("the mode");
        let refused = SigningKey::from_file(&path).expect_err("others can read it");
        assert!(refused.to_string().contains(&format!("chmod 600 {}", path.display())), "{refused}");
    }
}

#[test]
fn a_key_file_is_never_overwritten() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("director.pem");
    let first = SigningKey::create_file(&path).expect("a new key");

    let refused = SigningKey::create_file(&path);

    assert!(matches!(refused, Err(KeyFileError::Exists { .. })));
    assert_eq!(SigningKey::from_file(&path).expect("the key").public(), first.public());
}

#[test]
fn a_file_without_a_key_is_refused() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("director.pem");
    let missing = SigningKey::from_file(&path);
    assert!(matches!(missing, Err(KeyFileError::Read { .. })));

    for content in [b"no key".to_vec(), vec![0xff; 100], vec![b'a'; 100_000], Vec::new()] {
        files::replace(&path, &content, files::PRIVATE).expect("a file");
        assert!(SigningKey::from_file(&path).is_err(), "{} bytes", content.len());
    }
}

#[test]
fn a_private_key_is_not_printed() {
    let key = SigningKey::generate();

    let shown = format!("{key:?}");

    assert!(!shown.contains(&hex::encode(key.0.to_bytes())));
    assert!(shown.contains(&key.public().to_string()));
}
