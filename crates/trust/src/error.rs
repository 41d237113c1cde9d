//! Why signed bytes were refused.

use packhorse_domain::{
    Timestamp,
    id::{IdError, PackageId, SiteCode},
    site::SitePathError,
};

use crate::signing::SignedType;

/// Signed bytes that are not believed. None of these passes by trying the same bytes again.
#[derive(Debug, thiserror::Error)]
pub enum TrustError {
    #[error("a signed envelope of {length} bytes is refused: at most {max} are read")]
    TooLarge { length: usize, max: usize },
    #[error("{what} does not decode")]
    Malformed { what: &'static str, source: prost::DecodeError },
    #[error("a signature for `{found}` does not count for `{expected}`")]
    OtherType { expected: SignedType, found: String },
    #[error("an envelope with {count} signatures is refused: at most {max} are read")]
    TooManySignatures { count: usize, max: usize },
    #[error("no signature on this {kind} is valid and by a key that may sign it")]
    NotSigned { kind: SignedType },
    #[error("{0} is not an Ed25519 public key that can be trusted")]
    PublicKey(String),

    /// The message decodes and says something that the format forbids.
    #[error("a {kind} is refused: {rule}")]
    Rule { kind: SignedType, rule: &'static str },
    #[error("a name in a {kind} breaks its grammar")]
    Identifier { kind: SignedType, source: IdError },
    #[error("the path of a delegation is no path of sites")]
    Path { source: SitePathError },

    #[error("a trust file of version {offered} is refused: version {held} is already held")]
    OlderTrustFile { held: u64, offered: u64 },
    #[error("two different trust files have the version {version}: the root key signed both")]
    ConflictingTrustFile { version: u64 },

    #[error("more than {max} delegations are refused")]
    TooManyDelegations { max: usize },
    #[error(
        "the delegation to site {site} hangs in the air: there is none to {parent} at the path that it names"
    )]
    ParentUnknown { site: SiteCode, parent: SiteCode },
    #[error("the delegation to site {site} is not signed by its parent {parent}")]
    NotByParent { site: SiteCode, parent: SiteCode },
    #[error("two different delegations claim site {site}")]
    ConflictingDelegation { site: SiteCode },
    #[error("no delegation to site {site} is held")]
    UnknownSite { site: SiteCode },
    #[error("the delegation to site {site} ended at {} µs since 1970", not_after.0)]
    Expired { site: SiteCode, not_after: Timestamp },

    #[error("author `{author}` may not sign package {package}: it is outside the author's prefixes")]
    AuthorOutsidePrefixes { author: String, package: PackageId },
    #[error("a version of package `{found}` was given as one of {wanted}")]
    OtherPackage { wanted: PackageId, found: String },
}
