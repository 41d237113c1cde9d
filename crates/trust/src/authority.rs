//! A site's certificate authority. It names its own neighbours and nobody else's; there are no chains.

use std::{
    fmt, io,
    path::{Path, PathBuf},
    time::Duration,
};

use packhorse_domain::{Timestamp, id::SiteCode};
use rcgen::{
    BasicConstraints, CertificateParams, CertificateSigningRequestParams, DnType, ExtendedKeyUsagePurpose,
    IsCa, Issuer, KeyPair, KeyUsagePurpose, PublicKeyData, SanType, SerialNumber, date_time_ymd,
};

use crate::{
    certificate,
    credentials::{Credentials, CredentialsError, new_key_and_request},
    files::{self, KeyFileError},
    identity::{IdentityError, Name, Role},
};

const KEY_FILE: &str = "authority-key.pem";
const CERTIFICATE_FILE: &str = "authority.pem";
const YEARS_10: Duration = Duration::from_secs(10 * 365 * 86_400);
/// The clocks of neighbours may be this far behind ours.
const CLOCK_DIFFERENCE: Duration = Duration::from_secs(300);
const REQUEST_BYTES_MAX: usize = 16 * 1024;
/// 9999-12-31 23:59:59, the last second that a certificate can name.
const LAST_SECOND: i64 = 253_402_300_799;

/// What keeps an authority from being, or from issuing.
#[derive(Debug, thiserror::Error)]
pub enum AuthorityError {
    #[error("there is already an authority in {path}: it is never overwritten")]
    Exists { path: PathBuf },
    #[error("the authority's key cannot be used")]
    KeyFile { source: KeyFileError },
    #[error("cannot read the authority's certificate {path}")]
    Read { path: PathBuf, source: io::Error },
    #[error("cannot write the authority to {path}")]
    Write { path: PathBuf, source: io::Error },
    #[error("{path} is not the certificate of a site's authority")]
    Certificate { path: PathBuf },
    #[error("the authority's certificate {path} is for another key than the one beside it")]
    OtherKey { path: PathBuf },
    #[error("the authority's certificate ended at {} µs since 1970: make a new one and enrol anew", not_after.0)]
    Expired { not_after: Timestamp },

    #[error("a certificate request of {length} bytes is refused: at most {max} are read")]
    RequestTooLarge { length: usize, max: usize },
    #[error("the certificate request does not decode or is not signed by its own key")]
    Request { source: rcgen::Error },
    #[error("the key in the certificate request is neither ECDSA P-256 nor Ed25519")]
    RequestKey,
    #[error("the authority of site {own} issues no certificate for site {asked}")]
    OtherSite { own: SiteCode, asked: SiteCode },
    #[error("the name asked for is none")]
    Name { source: IdentityError },
    #[error("the certificate cannot be made")]
    Make { source: rcgen::Error },
    #[error("the site's own key cannot be made")]
    Own { source: CredentialsError },
}

/// The key and certificate with which a site vouches for its neighbours.
pub struct Authority {
    site: SiteCode,
    issuer: Issuer<'static, KeyPair>,
    certificate_pem: String,
    not_after: Timestamp,
}

impl Authority {
    /// A new authority in a directory, for ten years. What a crash left unfinished is finished with the same key.
    pub fn create(directory: &Path, site: &SiteCode, now: Timestamp) -> Result<Self, AuthorityError> {
        let certificate_path = directory.join(CERTIFICATE_FILE);
        if certificate_path.exists() {
            return Err(AuthorityError::Exists { path: certificate_path });
        }
        files::make_directory(directory)
            .map_err(|source| AuthorityError::Write { path: directory.to_owned(), source })?;
        let key_path = directory.join(KEY_FILE);
        let key = if key_path.exists() {
            load_key(&key_path)?
        } else {
            let key = KeyPair::generate().map_err(|source| AuthorityError::Make { source })?;
            let pem = zeroize::Zeroizing::new(key.serialize_pem());
            files::create_key(&key_path, &pem).map_err(|source| AuthorityError::KeyFile { source })?;
            key
        };
        let certificate = authority_params(site, now)?
            .self_signed(&key)
            .map_err(|source| AuthorityError::Make { source })?;
        files::create(&certificate_path, certificate.pem().as_bytes(), files::PUBLIC).map_err(|source| {
            match source.kind() {
                io::ErrorKind::AlreadyExists => AuthorityError::Exists { path: certificate_path.clone() },
                _ => AuthorityError::Write { path: certificate_path.clone(), source },
            }
        })?;
        Authority::load(directory)
    }

    /// The authority that is in a directory.
    pub fn load(directory: &Path) -> Result<Self, AuthorityError> {
        let path = directory.join(CERTIFICATE_FILE);
        let certificate_pem =
            files::read_text(&path).map_err(|source| AuthorityError::Read { path: path.clone(), source })?;
        let unusable = || AuthorityError::Certificate { path: path.clone() };
        let der = certificate::only_one(&certificate_pem).ok_or_else(unusable)?;
        let facts = certificate::facts(&der).ok_or_else(unusable)?;
        let site = site_in(&facts.common_name).ok_or_else(unusable)?;
        let key = load_key(&directory.join(KEY_FILE))?;
        if key.subject_public_key_info() != facts.public_key {
            return Err(AuthorityError::OtherKey { path });
        }
        let issuer = Issuer::from_ca_cert_der(&der, key).map_err(|_| unusable())?;
        Ok(Authority { site, issuer, certificate_pem, not_after: facts.not_after })
    }

    pub fn site(&self) -> &SiteCode {
        &self.site
    }

    /// What neighbours trust.
    pub fn certificate_pem(&self) -> &str {
        &self.certificate_pem
    }

    /// A certificate (PEM) for the key in a request. Every name in it is ours: the request's own are not looked at.
    pub fn issue(
        &self,
        request_pem: &str,
        name: &Name,
        validity: Duration,
        now: Timestamp,
    ) -> Result<String, AuthorityError> {
        if name.site != self.site {
            return Err(AuthorityError::OtherSite { own: self.site.clone(), asked: name.site.clone() });
        }
        name.check().map_err(|source| AuthorityError::Name { source })?;
        if now >= self.not_after {
            return Err(AuthorityError::Expired { not_after: self.not_after });
        }
        let key = request_key(request_pem)?;
        let params = leaf_params(name, now, now.plus(validity).min(self.not_after))?;
        let certificate =
            params.signed_by(&key, &self.issuer).map_err(|source| AuthorityError::Make { source })?;
        Ok(certificate.pem())
    }

    /// A new key and certificate with which the site server serves.
    pub fn own_credentials(&self, validity: Duration, now: Timestamp) -> Result<Credentials, AuthorityError> {
        let name = Name::of_site(self.site.clone(), &self.site);
        let (key_pem, request) =
            new_key_and_request(&name.id).map_err(|source| AuthorityError::Own { source })?;
        let cert_pem = self.issue(&request, &name, validity, now)?;
        Ok(Credentials { key_pem, cert_pem, authority_pem: self.certificate_pem.clone() })
    }
}

impl fmt::Debug for Authority {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Authority({})", self.site)
    }
}

fn load_key(path: &Path) -> Result<KeyPair, AuthorityError> {
    let pem = files::read_key(path).map_err(|source| AuthorityError::KeyFile { source })?;
    KeyPair::from_pem(&pem)
        .map_err(|_| AuthorityError::KeyFile { source: KeyFileError::Malformed { path: path.to_owned() } })
}

fn common_name(site: &SiteCode) -> String {
    format!("Packhorse {site} authority")
}

fn site_in(common_name: &str) -> Option<SiteCode> {
    common_name.strip_prefix("Packhorse ")?.strip_suffix(" authority")?.parse().ok()
}

fn authority_params(site: &SiteCode, now: Timestamp) -> Result<CertificateParams, AuthorityError> {
    let mut params = params(&common_name(site), now, now.plus(YEARS_10))?;
    // No chains: what it issues can issue nothing.
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    Ok(params)
}

fn leaf_params(
    name: &Name,
    now: Timestamp,
    not_after: Timestamp,
) -> Result<CertificateParams, AuthorityError> {
    let text = |text: String| text.try_into().map_err(|source| AuthorityError::Make { source });
    let mut params = params(&format!("{} {}", name.role, name.id), now, not_after)?;
    params.is_ca = IsCa::ExplicitNoCa;
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
    params.use_authority_key_identifier_extension = true;
    params.subject_alt_names = vec![SanType::URI(text(name.uri())?)];
    match name.role {
        Role::Site | Role::Cap => {
            params.extended_key_usages.push(ExtendedKeyUsagePurpose::ServerAuth);
            params.subject_alt_names.push(SanType::DnsName(text(name.dns_name())?));
        }
        Role::Client | Role::Admin => {}
    }
    Ok(params)
}

fn params(
    common_name: &str,
    now: Timestamp,
    not_after: Timestamp,
) -> Result<CertificateParams, AuthorityError> {
    let mut params = CertificateParams::default();
    params.distinguished_name = rcgen::DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, common_name);
    let epoch = date_time_ymd(1970, 1, 1);
    let not_before =
        Timestamp(now.0.saturating_sub(i64::try_from(CLOCK_DIFFERENCE.as_micros()).unwrap_or(0)));
    params.not_before = epoch + since_epoch(not_before);
    params.not_after = epoch + since_epoch(not_after);
    params.serial_number = Some(random_serial()?);
    Ok(params)
}

fn since_epoch(time: Timestamp) -> Duration {
    let seconds = time.0.div_euclid(1_000_000).clamp(0, LAST_SECOND);
    Duration::from_secs(seconds.unsigned_abs())
}

/// 128 random bits, but for the first two: a serial number is positive and has no zero in front.
fn random_serial() -> Result<SerialNumber, AuthorityError> {
    let mut bytes = [0; 16];
    getrandom::fill(&mut bytes)
        .map_err(|_| AuthorityError::Make { source: rcgen::Error::RingUnspecified })?;
    bytes[0] = bytes[0] & 0x7f | 0x40;
    Ok(SerialNumber::from_slice(&bytes))
}

/// The public key of a request that was signed with it.
fn request_key(pem: &str) -> Result<rcgen::PublicKey, AuthorityError> {
    if pem.len() > REQUEST_BYTES_MAX {
        return Err(AuthorityError::RequestTooLarge { length: pem.len(), max: REQUEST_BYTES_MAX });
    }
    let request = CertificateSigningRequestParams::from_pem(pem)
        .map_err(|source| AuthorityError::Request { source })?;
    let key = request.public_key;
    // The request's signature algorithm does not fix the curve, the length of the key does.
    let known = (*key.algorithm() == rcgen::PKCS_ECDSA_P256_SHA256 && key.der_bytes().len() == 65)
        || (*key.algorithm() == rcgen::PKCS_ED25519 && key.der_bytes().len() == 32);
    if known { Ok(key) } else { Err(AuthorityError::RequestKey) }
}

#[cfg(test)]
mod tests;
