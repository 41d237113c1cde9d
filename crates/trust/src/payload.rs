//! What the signed trust file and delegations say, as domain values, and how they are made.
//!
//! Decoding here checks the form alone; whether it may be believed is for `chain` to say.

use packhorse_domain::{
    Timestamp,
    id::{PackageId, SiteCode},
    site::SitePath,
};
use packhorse_proto::object::v1 as wire;
use prost::Message;

use crate::{
    error::TrustError,
    signing::{PublicKey, SignedType, SigningKey, sign},
};

pub const AUTHORS_MAX: usize = 1024;
pub const PREFIXES_MAX: usize = 64;
pub const AUTHOR_NAME_BYTES_MAX: usize = 128;

/// One who may sign packages.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Author {
    pub key: PublicKey,
    pub name: String,
    /// Starts of package ids; an empty one covers all, none at all covers nothing.
    pub prefixes: Vec<String>,
}

impl Author {
    pub fn covers(&self, package: &PackageId) -> bool {
        self.prefixes.iter().any(|prefix| package.as_str().starts_with(prefix))
    }
}

/// A site and the key that it directs with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Director {
    pub site: SiteCode,
    pub key: PublicKey,
}

/// Who may sign what, by the word of the root.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TrustFile {
    pub version: u64,
    pub authors: Vec<Author>,
    pub central: Director,
}

impl TrustFile {
    /// Reads the payload of an opened `trust-file` envelope.
    pub fn decode(payload: &[u8]) -> Result<Self, TrustError> {
        let file = wire::TrustFile::decode(payload)
            .map_err(|source| TrustError::Malformed { what: "a trust file", source })?;
        if file.version == 0 {
            return Err(trust_file_rule("its version is 0"));
        }
        if file.authors.len() > AUTHORS_MAX {
            return Err(trust_file_rule("it has more than 1,024 authors"));
        }
        let central = file.central.ok_or_else(|| trust_file_rule("it names no central site"))?;
        Ok(TrustFile {
            version: file.version,
            authors: file.authors.into_iter().map(decode_author).collect::<Result<_, _>>()?,
            central: decode_director(&central, SignedType::TrustFile)?,
        })
    }
}

/// A parent's word that a key directs the subtree at the end of a path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Delegation {
    /// At least two sites: the central site is named by the trust file.
    pub path: SitePath,
    pub key: PublicKey,
    /// `None`: until the parent takes it back.
    pub not_after: Option<Timestamp>,
}

impl Delegation {
    /// Reads the payload of a `delegation` envelope.
    pub fn decode(payload: &[u8]) -> Result<Self, TrustError> {
        let kind = SignedType::Delegation;
        let delegation = wire::Delegation::decode(payload)
            .map_err(|source| TrustError::Malformed { what: "a delegation", source })?;
        if delegation.path.len() > SitePath::LEVELS_MAX {
            return Err(TrustError::Rule { kind, rule: "its path has more than 8 levels" });
        }
        let sites =
            delegation.path.iter().map(|code| site_code(code, kind)).collect::<Result<Vec<_>, _>>()?;
        let path = SitePath::new(sites).map_err(|source| TrustError::Path { source })?;
        let director = delegation.director.ok_or(TrustError::Rule { kind, rule: "it names no director" })?;
        let director = decode_director(&director, kind)?;
        if path.parent().is_none() {
            return Err(TrustError::Rule { kind, rule: "its path has no parent" });
        }
        if director.site != *path.site() {
            return Err(TrustError::Rule {
                kind,
                rule: "its director is not of the site at the end of its path",
            });
        }
        if delegation.not_after_us < 0 {
            return Err(TrustError::Rule { kind, rule: "its end lies before 1970" });
        }
        let not_after = (delegation.not_after_us != 0).then_some(Timestamp(delegation.not_after_us));
        Ok(Delegation { path, key: director.key, not_after })
    }

    pub fn site(&self) -> &SiteCode {
        self.path.site()
    }
}

/// A signed trust file.
pub fn make_trust_file(version: u64, authors: &[Author], central: &Director, root: &SigningKey) -> Vec<u8> {
    let file = wire::TrustFile {
        version,
        authors: authors
            .iter()
            .map(|author| wire::trust_file::Author {
                public_key: author.key.as_bytes().to_vec().into(),
                name: author.name.clone(),
                prefixes: author.prefixes.clone(),
            })
            .collect(),
        central: Some(encode_director(&central.site, &central.key)),
    };
    sign(SignedType::TrustFile, file.encode_to_vec(), &[root])
}

/// A signed delegation to the site at the end of `path`, by the director key of the site before it.
pub fn make_delegation(
    path: &SitePath,
    director: &PublicKey,
    not_after: Option<Timestamp>,
    parent: &SigningKey,
) -> Vec<u8> {
    let delegation = wire::Delegation {
        path: path.sites().iter().map(SiteCode::to_string).collect(),
        director: Some(encode_director(path.site(), director)),
        not_after_us: not_after.map_or(0, |end| end.0),
    };
    sign(SignedType::Delegation, delegation.encode_to_vec(), &[parent])
}

fn encode_director(site: &SiteCode, key: &PublicKey) -> wire::Director {
    wire::Director { site: site.to_string(), public_key: key.as_bytes().to_vec().into() }
}

fn decode_director(director: &wire::Director, kind: SignedType) -> Result<Director, TrustError> {
    Ok(Director {
        site: site_code(&director.site, kind)?,
        key: PublicKey::try_from(&director.public_key[..])?,
    })
}

fn decode_author(author: wire::trust_file::Author) -> Result<Author, TrustError> {
    if author.name.len() > AUTHOR_NAME_BYTES_MAX {
        return Err(trust_file_rule("an author's name is longer than 128 bytes"));
    }
    if author.prefixes.len() > PREFIXES_MAX {
        return Err(trust_file_rule("an author has more than 64 prefixes"));
    }
    // A prefix that can start no package id is a slip, and what its writer meant is not known.
    let starts_an_id = |prefix: &String| {
        prefix.len() <= 8 && prefix.bytes().all(|b| b.is_ascii_uppercase() || b.is_ascii_digit())
    };
    if !author.prefixes.iter().all(starts_an_id) {
        return Err(trust_file_rule("a prefix is not the start of a package id"));
    }
    Ok(Author {
        key: PublicKey::try_from(&author.public_key[..])?,
        name: author.name,
        prefixes: author.prefixes,
    })
}

fn site_code(text: &str, kind: SignedType) -> Result<SiteCode, TrustError> {
    text.parse().map_err(|source| TrustError::Identifier { kind, source })
}

fn trust_file_rule(rule: &'static str) -> TrustError {
    TrustError::Rule { kind: SignedType::TrustFile, rule }
}
