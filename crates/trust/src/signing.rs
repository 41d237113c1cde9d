//! Ed25519 keys and signed envelopes.
//!
//! A signature covers a type tag and the exact payload bytes, so that it is worth nothing for another use.

use std::{fmt, path::Path, str::FromStr};

use ed25519_dalek::{
    Signer,
    pkcs8::{DecodePrivateKey, EncodePrivateKey, spki::der::pem::LineEnding},
};
use packhorse_domain::Digest;
use packhorse_proto::object::v1 as wire;
use prost::Message;
use zeroize::Zeroizing;

use crate::{
    error::TrustError,
    files::{self, KeyFileError},
};

/// A longer envelope is refused before it is decoded.
pub const ENVELOPE_BYTES_MAX: usize = 2 * 1024 * 1024;
pub const SIGNATURES_MAX: usize = 16;

const PREFIX: &[u8] = b"packhorse-signature-v1";

/// What a signature is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum SignedType {
    Object,
    PackageVersion,
    Instruction,
    TrustFile,
    Delegation,
    PackingList,
}

impl SignedType {
    pub fn as_str(self) -> &'static str {
        match self {
            SignedType::Object => "object",
            SignedType::PackageVersion => "package-version",
            SignedType::Instruction => "instruction",
            SignedType::TrustFile => "trust-file",
            SignedType::Delegation => "delegation",
            SignedType::PackingList => "packing-list",
        }
    }
}

impl fmt::Display for SignedType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A public key that is a point on the curve and not one of the weak ones. Its text is 64 hexadecimal digits.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct PublicKey(ed25519_dalek::VerifyingKey);

impl PublicKey {
    pub fn from_bytes(bytes: &[u8; 32]) -> Result<Self, TrustError> {
        match ed25519_dalek::VerifyingKey::from_bytes(bytes) {
            Ok(key) if !key.is_weak() => Ok(PublicKey(key)),
            _ => Err(TrustError::PublicKey(hex::encode(bytes))),
        }
    }

    pub fn as_bytes(&self) -> &[u8; 32] {
        self.0.as_bytes()
    }

    /// What names the key in a signature: BLAKE3 of its bytes.
    pub fn key_id(&self) -> Digest {
        Digest(*blake3::hash(self.as_bytes()).as_bytes())
    }
}

impl TryFrom<&[u8]> for PublicKey {
    type Error = TrustError;

    fn try_from(bytes: &[u8]) -> Result<Self, TrustError> {
        match bytes.try_into() {
            Ok(bytes) => PublicKey::from_bytes(bytes),
            Err(_) => Err(TrustError::PublicKey(format!("a value of {} bytes", bytes.len()))),
        }
    }
}

impl FromStr for PublicKey {
    type Err = TrustError;

    fn from_str(text: &str) -> Result<Self, TrustError> {
        let mut bytes = [0; 32];
        hex::decode_to_slice(text, &mut bytes)
            .map_err(|_| TrustError::PublicKey(format!("`{}`", text.chars().take(80).collect::<String>())))?;
        PublicKey::from_bytes(&bytes)
    }
}

impl fmt::Display for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex::encode(self.as_bytes()))
    }
}

impl fmt::Debug for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PublicKey({self})")
    }
}

/// A private key. It is wiped from memory when dropped, and never printed.
pub struct SigningKey(ed25519_dalek::SigningKey);

impl SigningKey {
    /// A new key in memory.
    ///
    /// # Panics
    /// If the operating system has no random numbers to give: no key is better than a guessable one.
    pub fn generate() -> Self {
        let mut seed = Zeroizing::new([0; 32]);
        getrandom::fill(&mut *seed).expect("the operating system gives random numbers");
        SigningKey(ed25519_dalek::SigningKey::from_bytes(&seed))
    }

    /// A new key in a new file (PKCS#8 PEM, mode 0600), on disk when this returns. A file that is there is kept.
    pub fn create_file(path: &Path) -> Result<Self, KeyFileError> {
        let key = SigningKey::generate();
        let pem = key
            .0
            .to_pkcs8_pem(LineEnding::LF)
            .map_err(|_| KeyFileError::Malformed { path: path.to_owned() })?;
        files::create_key(path, &pem)?;
        Ok(key)
    }

    /// The key in a file that only its owner can read.
    pub fn from_file(path: &Path) -> Result<Self, KeyFileError> {
        let pem = files::read_key(path)?;
        ed25519_dalek::SigningKey::from_pkcs8_pem(&pem)
            .map(SigningKey)
            .map_err(|_| KeyFileError::Malformed { path: path.to_owned() })
    }

    pub fn public(&self) -> PublicKey {
        PublicKey(self.0.verifying_key())
    }
}

impl fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SigningKey({:?})", self.public())
    }
}

/// Signs a payload and gives the encoded envelope. Of more than 16 keys the first 16 sign; a key that is given
/// twice signs once.
pub fn sign(kind: SignedType, payload: Vec<u8>, keys: &[&SigningKey]) -> Vec<u8> {
    let text = signed_text(kind, &payload);
    let mut signatures: Vec<wire::Signature> = Vec::new();
    for key in keys {
        let key_id = key.public().key_id();
        if signatures.len() < SIGNATURES_MAX && signatures.iter().all(|made| made.key_id[..] != key_id.0) {
            let signature = key.0.sign(&text).to_bytes().to_vec().into();
            signatures.push(wire::Signature { key_id: key_id.0.to_vec().into(), signature });
        }
    }
    wire::Signed { r#type: kind.as_str().to_owned(), payload: payload.into(), signatures }.encode_to_vec()
}

/// The payload of an envelope that is of this type and signed by one of the allowed keys.
pub fn open(kind: SignedType, bytes: &[u8], allowed: &[PublicKey]) -> Result<Vec<u8>, TrustError> {
    let envelope = Envelope::parse(kind, bytes)?;
    if envelope.signers(allowed).is_empty() {
        return Err(TrustError::NotSigned { kind });
    }
    Ok(envelope.payload)
}

/// An envelope whose signatures were not looked at yet.
pub(crate) struct Envelope {
    kind: SignedType,
    pub(crate) payload: Vec<u8>,
    signatures: Vec<wire::Signature>,
}

impl Envelope {
    pub(crate) fn parse(kind: SignedType, bytes: &[u8]) -> Result<Self, TrustError> {
        if bytes.len() > ENVELOPE_BYTES_MAX {
            return Err(TrustError::TooLarge { length: bytes.len(), max: ENVELOPE_BYTES_MAX });
        }
        let signed = wire::Signed::decode(bytes)
            .map_err(|source| TrustError::Malformed { what: "a signed envelope", source })?;
        if signed.r#type != kind.as_str() {
            let found = signed.r#type.chars().take(80).collect();
            return Err(TrustError::OtherType { expected: kind, found });
        }
        let count = signed.signatures.len();
        if count > SIGNATURES_MAX {
            return Err(TrustError::TooManySignatures { count, max: SIGNATURES_MAX });
        }
        Ok(Envelope { kind, payload: signed.payload.into(), signatures: signed.signatures })
    }

    /// Which of these keys signed, each once however often it signed.
    pub(crate) fn signers(&self, allowed: &[PublicKey]) -> Vec<PublicKey> {
        let text = signed_text(self.kind, &self.payload);
        let mut signers = Vec::new();
        for key in allowed {
            if !signers.contains(key) && self.is_signed_by(key, &text) {
                signers.push(*key);
            }
        }
        signers
    }

    fn is_signed_by(&self, key: &PublicKey, text: &[u8]) -> bool {
        let key_id = key.key_id();
        self.signatures.iter().filter(|made| made.key_id[..] == key_id.0).any(|made| {
            ed25519_dalek::Signature::from_slice(&made.signature)
                .is_ok_and(|signature| key.0.verify_strict(text, &signature).is_ok())
        })
    }
}

/// Each part after its length, so that no two pairs of type and payload have one text.
fn signed_text(kind: SignedType, payload: &[u8]) -> Vec<u8> {
    let kind = kind.as_str().as_bytes();
    let mut text = Vec::with_capacity(PREFIX.len() + 16 + kind.len() + payload.len());
    text.extend_from_slice(PREFIX);
    for part in [kind, payload] {
        text.extend_from_slice(&(part.len() as u64).to_le_bytes());
        text.extend_from_slice(part);
    }
    text
}

#[cfg(test)]
mod tests;
