//! Reading what a certificate says, short of believing it.

use packhorse_domain::Timestamp;
use rustls_pki_types::{CertificateDer, pem::PemObject};
use x509_parser::prelude::{FromDer, X509Certificate};

use crate::identity::identity_of;

/// What a certificate tells everybody.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CertificateFacts {
    /// As `CN=packhorse://CEN/site/CEN`.
    pub subject: String,
    pub issuer: String,
    pub serial: String,
    /// Who it is for; `None`: it is no end of a connection, as an authority's own.
    pub identity: Option<String>,
    pub is_authority: bool,
    pub not_before: Timestamp,
    pub not_after: Timestamp,
}

/// The facts of the one certificate in a PEM text; `None`: there is none, more than one, or it is none of X.509.
pub fn certificate_facts(pem: &str) -> Option<CertificateFacts> {
    let der = only_one(pem)?;
    let known = facts(&der)?;
    let (_, certificate) = X509Certificate::from_der(&der).ok()?;
    Some(CertificateFacts {
        subject: certificate.subject().to_string(),
        issuer: certificate.issuer().to_string(),
        serial: certificate.raw_serial_as_string(),
        identity: identity_of(&der).ok().map(|name| name.uri()),
        is_authority: certificate.is_ca(),
        not_before: known.not_before,
        not_after: known.not_after,
    })
}

pub(crate) struct Facts {
    /// The subject's public key, in its DER form.
    pub(crate) public_key: Vec<u8>,
    pub(crate) common_name: String,
    pub(crate) not_before: Timestamp,
    pub(crate) not_after: Timestamp,
}

/// The certificate in a PEM text that holds exactly one.
pub(crate) fn only_one(pem: &str) -> Option<CertificateDer<'static>> {
    let mut found = CertificateDer::pem_slice_iter(pem.as_bytes());
    match (found.next(), found.next()) {
        (Some(Ok(certificate)), None) => Some(certificate),
        _ => None,
    }
}

pub(crate) fn facts(certificate: &[u8]) -> Option<Facts> {
    let (rest, certificate) = X509Certificate::from_der(certificate).ok()?;
    if !rest.is_empty() {
        return None;
    }
    let common_name = certificate.subject().iter_common_name().next()?.as_str().ok()?.to_owned();
    let time = |seconds: i64| Timestamp(seconds.saturating_mul(1_000_000));
    Some(Facts {
        public_key: certificate.public_key().raw.to_vec(),
        common_name,
        not_before: time(certificate.validity().not_before.timestamp()),
        not_after: time(certificate.validity().not_after.timestamp()),
    })
}
