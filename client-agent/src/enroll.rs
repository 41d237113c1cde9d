//! Enrolment: from a token to credentials and settings. It can be repeated after any interruption: the key is made
//! once, and the same key gets a certificate again.

use std::{collections::BTreeMap, path::Path, time::Duration};

use packhorse_domain::{Timestamp, id::SiteCode};
use packhorse_proto::enroll::v1::{
    EnrollRequest, EnrollResponse, enroll_service_client::EnrollServiceClient,
};
use packhorse_runtime::{
    Caller, ChannelOptions, ConnectError, connect,
    durable::{DurableError, write_file_durable},
};
use packhorse_trust::{
    Credentials, CredentialsError, Name, Role, Token, TokenError, credentials::kept_key_and_request,
};
use tonic::{Request, Status};

use crate::{
    config::{CapSection, ConfigFile, TelemetrySection},
    home::{Home, HomeError},
};

const CALL_TIME: Duration = Duration::from_secs(60);

/// What the settings say that the token does not.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wishes {
    pub labels: BTreeMap<String, String>,
    /// Empty: the machine's own.
    pub hostname: String,
    pub poll_interval_s: u32,
}

#[derive(Debug, thiserror::Error)]
pub enum EnrollError {
    #[error("the token cannot be used")]
    Token {
        #[from]
        source: TokenError,
    },
    #[error("the token is for a {0}, not for a client: ask for another")]
    OtherRole(Role),
    #[error("the token has expired: ask for a new one")]
    Expired,
    #[error("the token's server `{0}` is no client access point of its site")]
    NoCap(String),
    #[error("the agent's directory cannot be used")]
    Home {
        #[from]
        source: HomeError,
    },
    #[error("the client's credentials cannot be made or kept")]
    Credentials {
        #[from]
        source: CredentialsError,
    },
    #[error("no endpoint of the token can be reached")]
    Connect { source: ConnectError },
    #[error("the token names no endpoint")]
    NoEndpoint,
    #[error("the site refuses to enrol this client")]
    Refused { source: Status },
    #[error("the site gave a certificate for somebody else")]
    OtherIdentity,
    #[error("the settings cannot be written")]
    Encode { source: toml::ser::Error },
    #[error("the settings cannot be kept")]
    Keep {
        #[from]
        source: DurableError,
    },
}

/// Enrols, unless it was done before; gives the client's name.
pub async fn enroll(home: &Home, token: &Path, wishes: &Wishes, now: Timestamp) -> Result<Name, EnrollError> {
    let token = Token::from_file(token)?;
    if token.role != Role::Client {
        return Err(EnrollError::OtherRole(token.role));
    }
    let cap = cap_name(&token.server, &token.site).ok_or_else(|| EnrollError::NoCap(token.server.clone()))?;
    home.make()?;

    let directory = home.credentials();
    let name = match Credentials::load(&directory) {
        Ok(held) if !is_whose(&held, &token) => return Err(EnrollError::OtherIdentity),
        // The last time it came as far as this.
        Ok(held) if held.validity()?.1 > now => held.name()?,
        Ok(_) | Err(CredentialsError::Missing { .. }) => {
            if token.expired(now) {
                return Err(EnrollError::Expired);
            }
            let credentials = ask(&directory, &token, &cap, wishes).await?;
            credentials.store(&directory)?;
            credentials.name()?
        }
        Err(source) => return Err(source.into()),
    };
    if !home.config().exists() {
        write_settings(home, &token, &cap, wishes)?;
    }
    Ok(name)
}

async fn ask(
    directory: &Path,
    token: &Token,
    cap: &Name,
    wishes: &Wishes,
) -> Result<Credentials, EnrollError> {
    let (key_pem, request) = kept_key_and_request(directory, "client")?;
    let mut failure = EnrollError::NoEndpoint;
    for endpoint in &token.endpoints {
        let caller = Caller::Anonymous { authority_pem: &token.authority_pem };
        let channel = match connect(endpoint, cap, caller, ChannelOptions::default()).await {
            Ok(channel) => channel,
            Err(source) => {
                failure = EnrollError::Connect { source };
                continue;
            }
        };
        let mut message = Request::new(EnrollRequest {
            courier_key: String::new(),
            secret: token.secret.as_bytes().to_vec().into(),
            certificate_request: request.clone(),
            hostname: wishes.hostname.clone(),
            ..EnrollRequest::default()
        });
        message.set_timeout(CALL_TIME);
        match EnrollServiceClient::new(channel).enroll(message).await {
            Ok(answer) => return accept(answer.into_inner(), key_pem.to_string(), token),
            Err(source) => failure = EnrollError::Refused { source },
        }
    }
    Err(failure)
}

/// The authority stays the one in the token: an answer does not change whom this client trusts.
fn accept(answer: EnrollResponse, key_pem: String, token: &Token) -> Result<Credentials, EnrollError> {
    let credentials = Credentials {
        key_pem: key_pem.into(),
        cert_pem: answer.certificate,
        authority_pem: token.authority_pem.clone(),
    };
    credentials.check()?;
    if is_whose(&credentials, token) { Ok(credentials) } else { Err(EnrollError::OtherIdentity) }
}

fn is_whose(credentials: &Credentials, token: &Token) -> bool {
    credentials.name().is_ok_and(|name| name.site == token.site && name.as_client().is_some())
}

fn write_settings(home: &Home, token: &Token, cap: &Name, wishes: &Wishes) -> Result<(), EnrollError> {
    let file = ConfigFile {
        site: token.site.to_string(),
        root: token.root.to_string(),
        poll_interval_s: wishes.poll_interval_s,
        hostname: wishes.hostname.clone(),
        time_zone: String::new(),
        labels: wishes.labels.clone(),
        telemetry: TelemetrySection::default(),
        caps: vec![CapSection { name: cap.id.clone(), endpoints: token.endpoints.clone() }],
    };
    let text = toml::to_string(&file).map_err(|source| EnrollError::Encode { source })?;
    Ok(write_file_durable(&home.config(), text.as_bytes(), 0o600)?)
}

/// The CAP with this DNS name: the inverse of `Name::dns_name`.
fn cap_name(dns_name: &str, site: &SiteCode) -> Option<Name> {
    let (label, _) = dns_name.split_once('.')?;
    let id = match label.strip_prefix("x--") {
        None => label.to_owned(),
        Some(escaped) => unescape(escaped)?,
    };
    let name = Name::new(site.clone(), Role::Cap, &id).ok()?;
    (name.dns_name() == dns_name).then_some(name)
}

/// `TEXT--MARKS`, where MARKS has two bits for each character of TEXT, the first being the lowest.
fn unescape(escaped: &str) -> Option<String> {
    let (text, marks) = escaped.rsplit_once("--")?;
    let mut marks = u128::from_str_radix(marks, 16).ok()?;
    let mut id = String::with_capacity(text.len());
    for character in text.chars() {
        id.push(match marks & 3 {
            0 => character,
            1 => character.to_ascii_uppercase(),
            2 => '_',
            _ => '.',
        });
        marks >>= 2;
    }
    Some(id)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_name_of_a_cap_is_read_from_its_dns_name() {
        let site: SiteCode = "LYO".parse().unwrap();
        for id in ["cap1", "Front.desk", "a_b", "CAP-1", "x--odd", "A1234567890123456789012345678901", "end-"]
        {
            let name = Name::new(site.clone(), Role::Cap, id).unwrap();
            assert_eq!(cap_name(&name.dns_name(), &site), Some(name), "{id}");
        }
        for other in ["cap1.cap.par.packhorse.internal", "lyo.site.lyo.packhorse.internal", "cap1", ""] {
            assert_eq!(cap_name(other, &site), None, "{other}");
        }
    }
}
