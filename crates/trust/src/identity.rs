//! Who holds a certificate: the one `packhorse://SITE/ROLE/ID` in its subject alternative names.
//!
//! What was verified is for TLS to say; here a name is only read, strictly.

use std::{fmt, str::FromStr};

use packhorse_domain::id::{ClientId, IdError, PointName, SiteCode};
use x509_parser::{
    extensions::GeneralName,
    prelude::{FromDer, X509Certificate},
};

const SCHEME: &str = "packhorse://";
const DOMAIN: &str = "packhorse.internal";

/// What the holder of a certificate is to the site whose authority issued it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Role {
    /// The site server itself, or that of a child site.
    Site,
    /// A CAP agent.
    Cap,
    /// A client agent.
    Client,
    /// An administrator at the console.
    Admin,
}

impl Role {
    pub fn as_str(self) -> &'static str {
        match self {
            Role::Site => "site",
            Role::Cap => "cap",
            Role::Client => "client",
            Role::Admin => "admin",
        }
    }

    /// Whether holders of it are also called, and not only call.
    pub fn is_server(self) -> bool {
        matches!(self, Role::Site | Role::Cap)
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for Role {
    type Err = IdentityError;

    fn from_str(text: &str) -> Result<Self, IdentityError> {
        [Role::Site, Role::Cap, Role::Client, Role::Admin]
            .into_iter()
            .find(|role| role.as_str() == text)
            .ok_or_else(|| IdentityError::Role(text.chars().take(80).collect()))
    }
}

/// A certificate or a name from which no identity can be taken.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum IdentityError {
    #[error("these bytes are not one certificate")]
    NotACertificate,
    #[error("the certificate has {0} URIs as names; exactly one is expected")]
    Uris(usize),
    #[error("`{0}` is not of the form packhorse://SITE/ROLE/ID")]
    Form(String),
    #[error("`{0}` is not a role: site, cap, client or admin is expected")]
    Role(String),
    #[error("a part of a name breaks its grammar")]
    Part(#[source] IdError),
}

/// A name in a certificate. Its text is `packhorse://SITE/ROLE/ID`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Name {
    /// The site whose authority gives the name.
    pub site: SiteCode,
    pub role: Role,
    /// A site code, a CAP's name, a client id or an administrator's name.
    pub id: String,
}

impl Name {
    /// A name whose id follows the grammar of its role.
    pub fn new(site: SiteCode, role: Role, id: &str) -> Result<Self, IdentityError> {
        let name = Name { site, role, id: id.to_owned() };
        name.check()?;
        Ok(name)
    }

    pub fn of_site(authority: SiteCode, site: &SiteCode) -> Self {
        Name { site: authority, role: Role::Site, id: site.to_string() }
    }

    pub fn of_cap(authority: SiteCode, cap: &PointName) -> Self {
        Name { site: authority, role: Role::Cap, id: cap.to_string() }
    }

    pub fn of_client(authority: SiteCode, client: &ClientId) -> Self {
        Name { site: authority, role: Role::Client, id: client.to_string() }
    }

    pub fn of_admin(authority: SiteCode, admin: &PointName) -> Self {
        Name { site: authority, role: Role::Admin, id: admin.to_string() }
    }

    /// Whether the id follows the grammar of the role.
    pub fn check(&self) -> Result<(), IdentityError> {
        match self.role {
            Role::Site => self.id.parse::<SiteCode>().map(drop),
            Role::Cap | Role::Admin => self.id.parse::<PointName>().map(drop),
            Role::Client => self.id.parse::<ClientId>().map(drop),
        }
        .map_err(IdentityError::Part)
    }

    /// The site server, if this is one's name.
    pub fn as_site(&self) -> Option<SiteCode> {
        (self.role == Role::Site).then(|| self.id.parse().ok()).flatten()
    }

    /// The CAP agent, if this is one's name.
    pub fn as_cap(&self) -> Option<PointName> {
        (self.role == Role::Cap).then(|| self.id.parse().ok()).flatten()
    }

    /// The client, if this is one's name.
    pub fn as_client(&self) -> Option<ClientId> {
        (self.role == Role::Client).then(|| self.id.parse().ok()).flatten()
    }

    /// The administrator, if this is one's name.
    pub fn as_admin(&self) -> Option<PointName> {
        (self.role == Role::Admin).then(|| self.id.parse().ok()).flatten()
    }

    pub fn uri(&self) -> String {
        self.to_string()
    }

    /// What a caller demands to find in the certificate of a server: `ID.ROLE.SITE.packhorse.internal` in lower
    /// case. No two names have the same.
    ///
    /// An id of letters a-z, digits and `-` stands for itself, and a site's code for its lower case. Any other
    /// (capitals, `_`, `.`, a `-` at the end, the start `x--`) becomes `x--TEXT--MARKS`: TEXT has the small letter
    /// for a capital and `-` for `_` and `.`; MARKS is a hexadecimal number with two bits for each character, the
    /// first being the lowest: 0 as it stands, 1 a capital, 2 `_`, 3 `.`. So `Front.desk` is
    /// `x--front-desk--c01`.
    pub fn dns_name(&self) -> String {
        let label = match self.role {
            Role::Site => self.id.to_ascii_lowercase(),
            Role::Cap | Role::Client | Role::Admin => dns_label(&self.id),
        };
        format!("{label}.{}.{}.{DOMAIN}", self.role, self.site.as_str().to_ascii_lowercase())
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{SCHEME}{}/{}/{}", self.site, self.role, self.id)
    }
}

impl FromStr for Name {
    type Err = IdentityError;

    fn from_str(text: &str) -> Result<Self, IdentityError> {
        let form = || IdentityError::Form(text.chars().take(80).collect());
        let parts: Vec<&str> = text.strip_prefix(SCHEME).ok_or_else(form)?.splitn(4, '/').collect();
        let [site, role, id] = parts[..] else { return Err(form()) };
        Name::new(site.parse().map_err(IdentityError::Part)?, role.parse()?, id)
    }
}

/// The name in a certificate (DER). A certificate with two URIs, or with one of another kind, names nobody.
pub fn identity_of(certificate: &[u8]) -> Result<Name, IdentityError> {
    let (rest, certificate) =
        X509Certificate::from_der(certificate).map_err(|_| IdentityError::NotACertificate)?;
    if !rest.is_empty() {
        return Err(IdentityError::NotACertificate);
    }
    let names = certificate.subject_alternative_name().map_err(|_| IdentityError::NotACertificate)?;
    let uris: Vec<&str> = names
        .iter()
        .flat_map(|names| &names.value.general_names)
        .filter_map(|name| match name {
            GeneralName::URI(uri) => Some(*uri),
            _ => None,
        })
        .collect();
    match uris[..] {
        [uri] => uri.parse(),
        _ => Err(IdentityError::Uris(uris.len())),
    }
}

fn dns_label(id: &str) -> String {
    let stands = id.bytes().all(|b| matches!(b, b'a'..=b'z' | b'0'..=b'9' | b'-'));
    if stands && !id.ends_with('-') && !id.starts_with("x--") {
        return id.to_owned();
    }
    let mut text = String::with_capacity(id.len());
    let mut marks: u128 = 0;
    for (at, character) in id.chars().enumerate() {
        let (shown, mark) = match character {
            'A'..='Z' => (character.to_ascii_lowercase(), 1),
            '_' => ('-', 2),
            '.' => ('-', 3),
            _ => (character, 0),
        };
        text.push(shown);
        // Ids have at most 36 characters: 72 bits.
        marks |= mark << (2 * at.min(63));
    }
    format!("x--{text}--{marks:x}")
}

#[cfg(test)]
mod tests;
