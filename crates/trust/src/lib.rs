//! Who may say what: keys, signatures, delegations, certificates and enrolment tokens.
//!
//! Signatures decide what is run; certificates only decide who may connect. Nothing here opens a socket or reads
//! the clock: the time is an argument.

pub mod authority;
mod certificate;
pub mod chain;
pub mod credentials;
pub mod error;
mod files;
pub mod identity;
pub mod payload;
pub mod signing;
pub mod token;

pub use authority::{Authority, AuthorityError};
pub use certificate::{CertificateFacts, certificate_facts};
pub use chain::TrustStore;
pub use credentials::{Credentials, CredentialsError};
pub use error::TrustError;
pub use files::KeyFileError;
pub use identity::{IdentityError, Name, Role, identity_of};
pub use payload::{Author, Delegation, Director, TrustFile, make_delegation, make_trust_file};
pub use signing::{PublicKey, SignedType, SigningKey, open, sign};
pub use token::{Secret, Token, TokenError};
