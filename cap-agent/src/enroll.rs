//! Enrolment of this agent: a token and a key become credentials and a `cap.toml`.
//!
//! It can be cut at any instant and repeated: the key is kept from the first time on, and a token gives the same key a
//! certificate as often as it asks.

use std::{
    io,
    net::SocketAddr,
    path::{Path, PathBuf},
    sync::atomic::AtomicUsize,
    time::Duration,
};

use packhorse_domain::id::{IdError, PointName};
use packhorse_proto::enroll::v1::{
    EnrollRequest, EnrollResponse, enroll_service_client::EnrollServiceClient,
};
use packhorse_runtime::{
    Caller, Clock,
    config::ConfigError,
    durable::{DurableError, write_file_durable},
};
use packhorse_trust::{
    Credentials, CredentialsError, Name, Role, Token, TokenError, credentials::kept_key_and_request,
};

use crate::{
    config::{self, Settings, Telemetry},
    site::{SiteError, reach},
};

const CREDENTIALS: &str = "credentials";
const ANSWER_LONGEST: Duration = Duration::from_secs(60);

/// What `cap-agent enroll` was told.
#[derive(Debug)]
pub struct EnrollOptions {
    pub directory: PathBuf,
    pub token: PathBuf,
    pub listen: SocketAddr,
    /// Where clients reach this agent; empty: at this machine's name.
    pub endpoints: Vec<String>,
    pub distribution_point: bool,
}

/// How an enrolment ended.
#[derive(Debug)]
pub struct Enrolled {
    pub settings: Settings,
    /// A `cap.toml` was there already and was left as it is.
    pub kept_settings: bool,
}

#[derive(Debug, thiserror::Error)]
pub enum EnrollError {
    #[error("the token cannot be used")]
    Token(#[source] TokenError),
    #[error("the token is for a {0}: ask for one for a CAP")]
    OtherRole(Role),
    #[error("the token's name is not one for a CAP")]
    Name(#[source] IdError),
    #[error("the token expired: ask for a new one")]
    Expired,
    #[error("the token leads to {server} and not to the site server {expected}")]
    OtherServer { server: String, expected: String },
    #[error("`{endpoint}` is not an endpoint: HOST:PORT is expected, an IPv6 address in brackets")]
    Endpoint { endpoint: String },
    #[error("1 to {max} endpoints are expected, not {count}")]
    Endpoints { count: usize, max: usize },
    #[error("{} is the directory of {held}: take another for {asked}", directory.display())]
    OtherAgent { directory: PathBuf, held: String, asked: String },
    #[error("the settings that are there already cannot be used")]
    Settings(#[source] ConfigError),
    #[error("cannot make the directory {}", path.display())]
    Directory { path: PathBuf, source: io::Error },
    #[error("the credentials cannot be used")]
    Credentials(#[source] CredentialsError),
    #[error("cannot reach the site")]
    Unreachable(#[source] SiteErrorText),
    #[error("the site refuses")]
    Refused(#[source] tonic::Status),
    #[error("the site does not answer within {} s", ANSWER_LONGEST.as_secs())]
    Silent,
    #[error("the site gave a certificate for {given} and not for {expected}")]
    OtherIdentity { given: String, expected: String },
    #[error("cannot write the settings")]
    Write(#[source] DurableError),
}

/// Why no endpoint of the site could be reached.
#[derive(Debug, thiserror::Error)]
#[error(transparent)]
pub struct SiteErrorText(SiteError);

/// Where the agent's key and certificate are.
pub(crate) fn credentials_in(directory: &Path) -> PathBuf {
    directory.join(CREDENTIALS)
}

/// Enrols this agent with the token, and writes what it needs to serve into its directory.
pub async fn enroll(options: &EnrollOptions, clock: &dyn Clock) -> Result<Enrolled, EnrollError> {
    let token = Token::from_file(&options.token).map_err(EnrollError::Token)?;
    let asked = asked_name(&token, clock)?;
    let held = held_settings(&options.directory, &asked)?;
    let settings = match &held {
        Some(settings) => settings.clone(),
        None => new_settings(options, &token, &asked)?,
    };

    std::fs::create_dir_all(&options.directory)
        .map_err(|source| EnrollError::Directory { path: options.directory.clone(), source })?;
    let directory = credentials_in(&options.directory);
    let (key_pem, request) = kept_key_and_request(&directory, &asked.id).map_err(EnrollError::Credentials)?;
    let response = ask(&token, request).await?;
    let credentials =
        Credentials { key_pem, cert_pem: response.certificate, authority_pem: response.authority };
    let given = credentials.name().map_err(EnrollError::Credentials)?;
    if given != asked {
        return Err(EnrollError::OtherIdentity { given: given.to_string(), expected: asked.to_string() });
    }
    credentials.store(&directory).map_err(EnrollError::Credentials)?;
    // Last, so that a directory with settings is one that is enrolled.
    if held.is_none() {
        let path = options.directory.join(config::FILE);
        write_file_durable(&path, settings.encode().as_bytes(), 0o644).map_err(EnrollError::Write)?;
    }
    Ok(Enrolled { settings, kept_settings: held.is_some() })
}

/// Whom the token makes of this agent.
fn asked_name(token: &Token, clock: &dyn Clock) -> Result<Name, EnrollError> {
    if token.role != Role::Cap {
        return Err(EnrollError::OtherRole(token.role));
    }
    if token.expired(clock.now()) {
        return Err(EnrollError::Expired);
    }
    let name: PointName = token.name.as_deref().unwrap_or_default().parse().map_err(EnrollError::Name)?;
    Ok(Name::of_cap(token.site.clone(), &name))
}

fn held_settings(directory: &Path, asked: &Name) -> Result<Option<Settings>, EnrollError> {
    if !directory.join(config::FILE).exists() {
        return Ok(None);
    }
    let settings = Settings::load(directory).map_err(EnrollError::Settings)?;
    let held = Name::of_cap(settings.site.clone(), &settings.name);
    if held == *asked {
        return Ok(Some(settings));
    }
    Err(EnrollError::OtherAgent {
        directory: directory.to_owned(),
        held: held.to_string(),
        asked: asked.to_string(),
    })
}

fn new_settings(options: &EnrollOptions, token: &Token, asked: &Name) -> Result<Settings, EnrollError> {
    let mut endpoints = options.endpoints.clone();
    if endpoints.is_empty() {
        endpoints.push(own_endpoint(options.listen));
    }
    let (count, max) = (endpoints.len(), config::ENDPOINTS_MAX);
    if count > max {
        return Err(EnrollError::Endpoints { count, max });
    }
    if let Some(endpoint) = endpoints.iter().find(|endpoint| config::check_endpoint(endpoint).is_err()) {
        return Err(EnrollError::Endpoint { endpoint: endpoint.clone() });
    }
    Ok(Settings {
        site: token.site.clone(),
        name: asked.id.parse().map_err(EnrollError::Name)?,
        site_endpoints: token.endpoints.clone(),
        listen: options.listen,
        endpoints,
        distribution_point: options.distribution_point,
        keep_unwanted: config::keep_unwanted_default(),
        telemetry: Telemetry::default(),
    })
}

/// The site's answer, over a connection whose other end the token's authority vouches for.
async fn ask(token: &Token, certificate_request: String) -> Result<EnrollResponse, EnrollError> {
    let server = Name::of_site(token.site.clone(), &token.site);
    if token.server != server.dns_name() {
        return Err(EnrollError::OtherServer { server: token.server.clone(), expected: server.dns_name() });
    }
    let caller = Caller::Anonymous { authority_pem: &token.authority_pem };
    let channel = reach(&token.endpoints, &server, caller, &AtomicUsize::new(0))
        .await
        .map_err(|error| EnrollError::Unreachable(SiteErrorText(error)))?;
    let request = EnrollRequest {
        courier_key: String::new(),
        secret: token.secret.as_bytes().to_vec().into(),
        certificate_request,
        director_key: Vec::new().into(),
        hostname: hostname(),
    };
    let mut client = EnrollServiceClient::new(channel);
    match tokio::time::timeout(ANSWER_LONGEST, client.enroll(request)).await {
        Ok(answer) => answer.map(tonic::Response::into_inner).map_err(EnrollError::Refused),
        Err(_) => Err(EnrollError::Silent),
    }
}

/// Where this machine is reached if nobody says it: at the address it listens on, or else by its name.
fn own_endpoint(listen: SocketAddr) -> String {
    if listen.ip().is_unspecified() {
        format!("{}:{}", hostname(), listen.port())
    } else {
        listen.to_string()
    }
}

fn hostname() -> String {
    rustix::system::uname().nodename().to_string_lossy().into_owned()
}
