//! What a process shows when it connects: its key, its certificate, and the authority that both sides trust.
//!
//! In a directory: `key.pem` (mode 0600), `cert.pem`, `authority.pem`. The key is made once and kept, so that an
//! enrolment or renewal that was cut off can be repeated.

use std::{
    fmt, io,
    path::{Path, PathBuf},
};

use packhorse_domain::Timestamp;
use rcgen::{CertificateParams, DnType, KeyPair, PublicKeyData};
use zeroize::Zeroizing;

use crate::{
    certificate::{self, Facts},
    files::{self, KeyFileError},
    identity::{IdentityError, Name, identity_of},
};

const KEY_FILE: &str = "key.pem";
const CERTIFICATE_FILE: &str = "cert.pem";
const AUTHORITY_FILE: &str = "authority.pem";

/// Credentials that cannot be used, made or kept.
#[derive(Debug, thiserror::Error)]
pub enum CredentialsError {
    #[error("there are no credentials in {directory} ({file} is missing): enrol first")]
    Missing { directory: PathBuf, file: &'static str },
    #[error("the key cannot be used")]
    KeyFile { source: KeyFileError },
    #[error("cannot read {path}")]
    Read { path: PathBuf, source: io::Error },
    #[error("cannot write {path}")]
    Write { path: PathBuf, source: io::Error },
    #[error("{what} is not one certificate in PEM")]
    Certificate { what: &'static str },
    #[error("the key is not a private key in PEM (PKCS#8)")]
    Key,
    #[error("the certificate is for another key than the one beside it")]
    Mismatch,
    #[error("{path} already holds another key, which is kept: ask for a certificate for that one")]
    OtherKey { path: PathBuf },
    #[error("the certificate names nobody")]
    Identity { source: IdentityError },
    #[error("a key or a certificate request cannot be made")]
    Make { source: rcgen::Error },
}

/// A key, the certificate for it and the authority of the other side, all in PEM.
#[derive(Clone, PartialEq, Eq)]
pub struct Credentials {
    pub key_pem: Zeroizing<String>,
    pub cert_pem: String,
    pub authority_pem: String,
}

impl Credentials {
    /// Reads a directory. The key must be private and the certificate must be for it.
    pub fn load(directory: &Path) -> Result<Self, CredentialsError> {
        let credentials = Credentials {
            key_pem: read_key(directory)?.ok_or_else(|| CredentialsError::Missing {
                directory: directory.to_owned(),
                file: KEY_FILE,
            })?,
            cert_pem: read_text(directory, CERTIFICATE_FILE)?,
            authority_pem: read_text(directory, AUTHORITY_FILE)?,
        };
        credentials.check()?;
        Ok(credentials)
    }

    /// Writes a directory, on disk when this returns. The certificate comes last: with it the rest is there. A key
    /// that is there already has to be the same, since a crash in between would part key and certificate.
    pub fn store(&self, directory: &Path) -> Result<(), CredentialsError> {
        self.check()?;
        make_directory(directory)?;
        match read_key(directory)? {
            None => create_key(directory, &self.key_pem)?,
            Some(held) if held == self.key_pem => {}
            Some(_) => return Err(CredentialsError::OtherKey { path: directory.join(KEY_FILE) }),
        }
        for (file, content) in [(AUTHORITY_FILE, &self.authority_pem), (CERTIFICATE_FILE, &self.cert_pem)] {
            let path = directory.join(file);
            files::replace(&path, content.as_bytes(), files::PUBLIC)
                .map_err(|source| CredentialsError::Write { path, source })?;
        }
        Ok(())
    }

    /// Whether the parts are what they should be and belong together. Whom the authority trusts is for TLS to say.
    pub fn check(&self) -> Result<(), CredentialsError> {
        certificate::only_one(&self.authority_pem)
            .and_then(|der| certificate::facts(&der))
            .ok_or(CredentialsError::Certificate { what: AUTHORITY_FILE })?;
        let key = KeyPair::from_pem(&self.key_pem).map_err(|_| CredentialsError::Key)?;
        if key.subject_public_key_info() != self.facts()?.public_key {
            return Err(CredentialsError::Mismatch);
        }
        Ok(())
    }

    /// Whose they are.
    pub fn name(&self) -> Result<Name, CredentialsError> {
        let der = certificate::only_one(&self.cert_pem)
            .ok_or(CredentialsError::Certificate { what: CERTIFICATE_FILE })?;
        identity_of(&der).map_err(|source| CredentialsError::Identity { source })
    }

    /// From when to when the certificate holds.
    pub fn validity(&self) -> Result<(Timestamp, Timestamp), CredentialsError> {
        self.facts().map(|facts| (facts.not_before, facts.not_after))
    }

    fn facts(&self) -> Result<Facts, CredentialsError> {
        certificate::only_one(&self.cert_pem)
            .and_then(|der| certificate::facts(&der))
            .ok_or(CredentialsError::Certificate { what: CERTIFICATE_FILE })
    }
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Credentials").field("name", &self.name().ok()).finish_non_exhaustive()
    }
}

/// A new key and a request for a certificate for it, both PEM. The common name is for people: the authority gives
/// the names.
pub fn new_key_and_request(common_name: &str) -> Result<(Zeroizing<String>, String), CredentialsError> {
    let key = KeyPair::generate().map_err(|source| CredentialsError::Make { source })?;
    let request = request(&key, common_name)?;
    Ok((Zeroizing::new(key.serialize_pem()), request))
}

/// The key in a directory, made and on disk if there was none, and a request for a certificate for it.
pub fn kept_key_and_request(
    directory: &Path,
    common_name: &str,
) -> Result<(Zeroizing<String>, String), CredentialsError> {
    if let Some(key_pem) = read_key(directory)? {
        let request = request_for(&key_pem, common_name)?;
        return Ok((key_pem, request));
    }
    make_directory(directory)?;
    let (key_pem, request) = new_key_and_request(common_name)?;
    create_key(directory, &key_pem)?;
    Ok((key_pem, request))
}

/// A request for a certificate for a key that is there, as for a renewal.
pub fn request_for(key_pem: &str, common_name: &str) -> Result<String, CredentialsError> {
    let key = KeyPair::from_pem(key_pem).map_err(|_| CredentialsError::Key)?;
    request(&key, common_name)
}

fn request(key: &KeyPair, common_name: &str) -> Result<String, CredentialsError> {
    let made = |source| CredentialsError::Make { source };
    let mut params = CertificateParams::default();
    params.distinguished_name = rcgen::DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, common_name);
    params.serialize_request(key).and_then(|request| request.pem()).map_err(made)
}

fn make_directory(directory: &Path) -> Result<(), CredentialsError> {
    files::make_directory(directory)
        .map_err(|source| CredentialsError::Write { path: directory.to_owned(), source })
}

fn create_key(directory: &Path, pem: &str) -> Result<(), CredentialsError> {
    files::create_key(&directory.join(KEY_FILE), pem).map_err(|source| CredentialsError::KeyFile { source })
}

fn read_key(directory: &Path) -> Result<Option<Zeroizing<String>>, CredentialsError> {
    match files::read_key(&directory.join(KEY_FILE)) {
        Ok(pem) => Ok(Some(pem)),
        Err(KeyFileError::Read { source, .. }) if source.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(source) => Err(CredentialsError::KeyFile { source }),
    }
}

fn read_text(directory: &Path, file: &'static str) -> Result<String, CredentialsError> {
    let path = directory.join(file);
    files::read_text(&path).map_err(|source| match source.kind() {
        io::ErrorKind::NotFound => CredentialsError::Missing { directory: directory.to_owned(), file },
        _ => CredentialsError::Read { path, source },
    })
}

#[cfg(test)]
mod tests;
