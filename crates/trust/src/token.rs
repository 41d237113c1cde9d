//! The token file: what a machine needs to enrol once, in a text that people can open and carry.

use std::{
    fmt, io,
    path::{Path, PathBuf},
};

use packhorse_domain::{Digest, Timestamp, id::SiteCode};
use rustls_pki_types::DnsName;
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use crate::{
    certificate, files,
    identity::{Name, Role},
    signing::PublicKey,
};

pub const VERSION: i64 = 1;
pub const ENDPOINTS_MAX: usize = 8;

const TOKEN_BYTES_MAX: usize = 64 * 1024;
const HEADER: &str =
    "# A Packhorse enrolment token. It works once; until then whoever holds it can enrol with it.\n";

/// A token that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum TokenError {
    #[error("cannot read the token file {path}")]
    Read { path: PathBuf, source: io::Error },
    #[error("cannot write the token file {path}")]
    Write { path: PathBuf, source: io::Error },
    #[error("a token of {length} bytes is refused: at most {max} are read")]
    TooLarge { length: usize, max: usize },
    /// The text of the parser without its excerpt, which could show the secret.
    #[error("the token does not read as TOML: {reason}")]
    Syntax { reason: String },
    #[error("the token has the version {0}, this program knows version 1: upgrade it")]
    Version(i64),
    #[error("`{field}` in the token: {rule}")]
    Field { field: &'static str, rule: &'static str },
}

/// 32 random bytes that are never printed.
#[derive(Clone)]
pub struct Secret(Zeroizing<[u8; 32]>);

impl Secret {
    /// A new secret.
    ///
    /// # Panics
    /// If the operating system has no random numbers to give: no secret is better than a guessable one.
    pub fn generate() -> Self {
        let mut bytes = Zeroizing::new([0; 32]);
        getrandom::fill(&mut *bytes).expect("the operating system gives random numbers");
        Secret(bytes)
    }

    pub fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// What the site keeps of it.
    pub fn hash(&self) -> Digest {
        secret_hash(self.as_bytes())
    }
}

impl PartialEq for Secret {
    /// Compares hashes, so that the time it takes tells nothing of the secret.
    fn eq(&self, other: &Self) -> bool {
        self.hash() == other.hash()
    }
}

impl Eq for Secret {}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(..)")
    }
}

/// What a site keeps of a token's secret, and looks up when one is shown.
pub fn secret_hash(secret: &[u8]) -> Digest {
    Digest(*blake3::hash(secret).as_bytes())
}

/// What the bearer may become, where it asks for that, and whom it trusts when it does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Token {
    /// The site that enrols.
    pub site: SiteCode,
    pub role: Role,
    /// The id that the bearer gets: a child site's code, a CAP's or an administrator's name. `None` for a client,
    /// whose id the site makes up when it enrols.
    pub name: Option<String>,
    /// host:port, 1 to 8, in the order to try them.
    pub endpoints: Vec<String>,
    /// The DNS name that the server's certificate must carry, whatever endpoint was dialled.
    pub server: String,
    /// The certificate of the site's authority, PEM.
    pub authority_pem: String,
    pub root: PublicKey,
    pub secret: Secret,
    pub expires: Timestamp,
    /// For a child site: what it encrypts its request to if it joins by courier, an age recipient.
    pub courier_key: Option<String>,
}

impl Token {
    /// The text of the token file.
    pub fn encode(&self) -> Result<String, TokenError> {
        self.check()?;
        let expires = jiff::Timestamp::from_microsecond(self.expires.0)
            .map_err(|_| TokenError::Field { field: "expires", rule: "it is out of the range of dates" })?;
        let text = Text {
            version: VERSION,
            site: self.site.to_string(),
            role: self.role.to_string(),
            name: self.name.clone(),
            endpoints: self.endpoints.clone(),
            server: self.server.clone(),
            expires: expires.to_string(),
            root: self.root.to_string(),
            secret: Zeroizing::new(hex::encode(self.secret.as_bytes())),
            authority: self.authority_pem.clone(),
            courier_key: self.courier_key.clone(),
        };
        let body = toml::to_string_pretty(&text)
            .map_err(|error| TokenError::Syntax { reason: error.to_string() })?;
        Ok(format!("{HEADER}{body}"))
    }

    /// Reads the text of a token file. Whether it has expired is for the caller to ask.
    pub fn parse(text: &str) -> Result<Self, TokenError> {
        if text.len() > TOKEN_BYTES_MAX {
            return Err(TokenError::TooLarge { length: text.len(), max: TOKEN_BYTES_MAX });
        }
        let syntax = |error: toml::de::Error| TokenError::Syntax { reason: error.message().to_owned() };
        let table: toml::Table = toml::from_str(text).map_err(syntax)?;
        // First, so that a later version is told from a broken token.
        match table.get("version").and_then(toml::Value::as_integer) {
            Some(VERSION) => {}
            Some(other) => return Err(TokenError::Version(other)),
            None => return Err(TokenError::Field { field: "version", rule: "a whole number is expected" }),
        }
        table.try_into::<Text>().map_err(syntax)?.into_token()
    }

    /// Reads a token file.
    pub fn from_file(path: &Path) -> Result<Self, TokenError> {
        let text = files::read_text(path)
            .map(Zeroizing::new)
            .map_err(|source| TokenError::Read { path: path.to_owned(), source })?;
        Token::parse(&text)
    }

    /// Writes a new token file that only its owner can read. A file that is there is kept.
    pub fn create_file(&self, path: &Path) -> Result<(), TokenError> {
        let text = Zeroizing::new(self.encode()?);
        files::create(path, text.as_bytes(), files::PRIVATE)
            .map_err(|source| TokenError::Write { path: path.to_owned(), source })
    }

    pub fn expired(&self, now: Timestamp) -> bool {
        now >= self.expires
    }

    pub fn secret_hash(&self) -> Digest {
        self.secret.hash()
    }

    fn check(&self) -> Result<(), TokenError> {
        let field = |field, rule| Err(TokenError::Field { field, rule });
        match (&self.name, self.role) {
            (None, Role::Client) => {}
            (Some(_), Role::Client) => return field("name", "a client gets its id when it enrols"),
            (None, _) => return field("name", "it is missing"),
            (Some(name), role) => {
                if Name::new(self.site.clone(), role, name).is_err() {
                    return field("name", "it breaks the grammar of its role");
                }
            }
        }
        if self.endpoints.is_empty() || self.endpoints.len() > ENDPOINTS_MAX {
            return field("endpoints", "1 to 8 are expected");
        }
        if !self.endpoints.iter().all(|endpoint| is_endpoint(endpoint)) {
            return field("endpoints", "host:port is expected, an IPv6 address in brackets");
        }
        if DnsName::try_from(self.server.as_str()).is_err() {
            return field("server", "a DNS name is expected");
        }
        if certificate::only_one(&self.authority_pem).and_then(|der| certificate::facts(&der)).is_none() {
            return field("authority", "one certificate in PEM is expected");
        }
        Ok(())
    }
}

/// The fields of the file, as text.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Text {
    version: i64,
    site: String,
    role: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    name: Option<String>,
    endpoints: Vec<String>,
    server: String,
    expires: String,
    root: String,
    #[serde(serialize_with = "serialize_secret", deserialize_with = "deserialize_secret")]
    secret: Zeroizing<String>,
    authority: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    courier_key: Option<String>,
}

impl Text {
    fn into_token(self) -> Result<Token, TokenError> {
        let wrong = |field, rule| TokenError::Field { field, rule };
        let mut secret = Zeroizing::new([0; 32]);
        hex::decode_to_slice(self.secret.as_bytes(), &mut *secret)
            .map_err(|_| wrong("secret", "64 hexadecimal digits are expected"))?;
        let expires: jiff::Timestamp = self
            .expires
            .parse()
            .map_err(|_| wrong("expires", "a time as 2030-01-31T12:00:00Z is expected"))?;
        let token = Token {
            site: self.site.parse().map_err(|_| wrong("site", "a site code is expected"))?,
            role: self.role.parse().map_err(|_| wrong("role", "site, cap, client or admin is expected"))?,
            name: self.name,
            endpoints: self.endpoints,
            server: self.server,
            authority_pem: self.authority,
            root: self
                .root
                .parse()
                .map_err(|_| wrong("root", "an Ed25519 public key in hexadecimal is expected"))?,
            secret: Secret(secret),
            expires: Timestamp(expires.as_microsecond()),
            courier_key: self.courier_key,
        };
        token.check()?;
        Ok(token)
    }
}

fn serialize_secret<S: serde::Serializer>(secret: &Zeroizing<String>, to: S) -> Result<S::Ok, S::Error> {
    to.serialize_str(secret)
}

fn deserialize_secret<'de, D: serde::Deserializer<'de>>(from: D) -> Result<Zeroizing<String>, D::Error> {
    String::deserialize(from).map(Zeroizing::new)
}

fn is_endpoint(text: &str) -> bool {
    let Some((host, port)) = text.rsplit_once(':') else { return false };
    let host_is_one = match host.strip_prefix('[').and_then(|host| host.strip_suffix(']')) {
        Some(address) => address.parse::<std::net::Ipv6Addr>().is_ok(),
        None => {
            (1..=253).contains(&host.len())
                && host.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'.' | b'_'))
        }
    };
    let port_is_one =
        port.bytes().all(|b| b.is_ascii_digit()) && port.parse::<u16>().is_ok_and(|port| port > 0);
    host_is_one && port_is_one
}

#[cfg(test)]
mod tests;
