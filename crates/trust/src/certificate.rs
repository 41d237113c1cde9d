//! Reading what a certificate says, short of believing it.

use packhorse_domain::Timestamp;
use rustls_pki_types::{CertificateDer, pem::PemObject};
use x509_parser::prelude::{FromDer, X509Certificate};

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
