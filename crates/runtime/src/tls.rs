//! TLS as Packhorse speaks it: 1.3 only, one authority per site, HTTP/2 inside.
//!
//! A caller needs no certificate, so that it can enrol; one that it shows must be good. What an unknown caller
//! may do is decided per call (see `authorize`).

use std::{fmt, sync::Arc};

use arc_swap::ArcSwap;
use packhorse_trust::Credentials;
use rustls::{
    CipherSuite, ClientConfig, RootCertStore, ServerConfig,
    crypto::{CryptoProvider, ring},
    server::WebPkiClientVerifier,
    version::TLS13,
};
use rustls_pki_types::{
    CertificateDer, PrivateKeyDer,
    pem::{self, PemObject as _},
};

/// Keys, certificates and authorities that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    #[error("the {what} is not PEM")]
    Pem {
        what: &'static str,
        #[source]
        source: pem::Error,
    },
    #[error("the {what} has no certificate in it")]
    Empty { what: &'static str },
    #[error("the {what} cannot be used")]
    Unusable {
        what: &'static str,
        #[source]
        source: rustls::Error,
    },
    #[error("its cipher suites are of no use for QUIC")]
    NoQuic,
    #[error("the authority cannot be used to check callers")]
    Verifier(#[source] rustls::server::VerifierBuilderError),
}

/// Who a caller says it is.
#[derive(Debug, Clone, Copy)]
pub enum Caller<'a> {
    Known(&'a Credentials),
    /// Has no certificate yet, but knows whom it trusts.
    Anonymous {
        authority_pem: &'a str,
    },
}

/// A server's side of TLS. Clones share it, and its certificate can be replaced while it serves: connections that
/// exist keep the old one.
#[derive(Clone)]
pub struct ServerTls(Arc<ArcSwap<ServerConfig>>);

impl ServerTls {
    pub fn new(credentials: &Credentials) -> Result<Self, TlsError> {
        Ok(ServerTls(Arc::new(ArcSwap::from(server_config(credentials)?))))
    }

    pub fn replace(&self, credentials: &Credentials) -> Result<(), TlsError> {
        self.0.store(server_config(credentials)?);
        Ok(())
    }

    pub(crate) fn current(&self) -> Arc<ServerConfig> {
        self.0.load_full()
    }
}

impl fmt::Debug for ServerTls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ServerTls")
    }
}

pub(crate) fn client_config(caller: Caller<'_>) -> Result<Arc<ClientConfig>, TlsError> {
    let authority_pem = match caller {
        Caller::Known(credentials) => &credentials.authority_pem,
        Caller::Anonymous { authority_pem } => authority_pem,
    };
    let builder = ClientConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&TLS13])
        .map_err(unusable("TLS version"))?
        .with_root_certificates(authority(authority_pem)?);
    let mut config = match caller {
        Caller::Known(credentials) => builder
            .with_client_auth_cert(certificates("certificate", &credentials.cert_pem)?, key(credentials)?)
            .map_err(unusable("certificate"))?,
        Caller::Anonymous { .. } => builder.with_no_client_auth(),
    };
    config.alpn_protocols = vec![b"h2".to_vec()];
    Ok(Arc::new(config))
}

fn server_config(credentials: &Credentials) -> Result<Arc<ServerConfig>, TlsError> {
    let verifier = WebPkiClientVerifier::builder_with_provider(
        Arc::new(authority(&credentials.authority_pem)?),
        provider(),
    )
    .allow_unauthenticated()
    .build()
    .map_err(TlsError::Verifier)?;
    let mut config = ServerConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&TLS13])
        .map_err(unusable("TLS version"))?
        .with_client_cert_verifier(verifier)
        .with_single_cert(certificates("certificate", &credentials.cert_pem)?, key(credentials)?)
        .map_err(unusable("certificate"))?;
    config.alpn_protocols = vec![b"h2".to_vec()];
    Ok(Arc::new(config))
}

/// Named everywhere: which one a process-wide default would be depends on what else is linked in.
fn provider() -> Arc<CryptoProvider> {
    let mut provider = ring::default_provider();
    // AES with 128 bits is as safe here and a tenth cheaper for each byte: both ends prefer it.
    provider.cipher_suites.sort_by_key(|suite| suite.suite() != CipherSuite::TLS13_AES_128_GCM_SHA256);
    Arc::new(provider)
}

fn authority(authority_pem: &str) -> Result<RootCertStore, TlsError> {
    let mut roots = RootCertStore::empty();
    for certificate in certificates("authority", authority_pem)? {
        roots.add(certificate).map_err(unusable("authority"))?;
    }
    Ok(roots)
}

fn certificates(what: &'static str, pem: &str) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let certificates = CertificateDer::pem_slice_iter(pem.as_bytes())
        .collect::<Result<Vec<_>, _>>()
        .map_err(|source| TlsError::Pem { what, source })?;
    if certificates.is_empty() { Err(TlsError::Empty { what }) } else { Ok(certificates) }
}

fn key(credentials: &Credentials) -> Result<PrivateKeyDer<'static>, TlsError> {
    PrivateKeyDer::from_pem_slice(credentials.key_pem.as_bytes())
        .map_err(|source| TlsError::Pem { what: "key", source })
}

fn unusable(what: &'static str) -> impl FnOnce(rustls::Error) -> TlsError {
    move |source| TlsError::Unusable { what, source }
}
