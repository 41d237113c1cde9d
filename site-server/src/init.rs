//! Makes a site: its keys, its authority, its database. `site.toml` is written last, so that an interrupted attempt
//! is begun again and a finished one is never overwritten.

mod join;

use std::{
    fs,
    net::SocketAddr,
    path::{Path, PathBuf},
    time::Duration,
};

use packhorse_domain::{
    Timestamp,
    id::SiteCode,
    object::{Object, ObjectKind},
};
use packhorse_proto::{convert, object::v1 as wire};
use packhorse_runtime::{Clock, ConnectError, durable::write_file_durable};
use packhorse_trust::{
    Author, Authority, Credentials, Director, Name, PublicKey, Role, SignedType, SigningKey, Token,
    credentials, make_trust_file, sign,
};

use join::{Joined, join};

use crate::{
    config::{Config, Content, Link, Telemetry},
    directories::Directories,
    store::{Store, Tx, objects, settings},
};

/// Certificates that a site gives. Renewal is by enrolling again.
pub(crate) const CERTIFICATE_VALIDITY: Duration = Duration::from_secs(5 * 365 * 24 * 3600);
const ADMIN: &str = "admin";

/// What the operator said of the new site.
#[derive(Debug, Clone)]
pub struct Plan {
    pub directory: PathBuf,
    pub code: SiteCode,
    pub name: String,
    pub listen: SocketAddr,
    pub endpoints: Vec<String>,
    /// `None`: a central site.
    pub join: Option<PathBuf>,
    /// The directory of a medium by which it joins, without a line.
    pub medium: Option<PathBuf>,
}

/// What came of it.
#[derive(Debug, PartialEq, Eq)]
pub enum Made {
    Site,
    /// A request lies there, which the parent has to answer; then the same is done again.
    Asked(PathBuf),
}

#[derive(Debug, thiserror::Error)]
pub enum InitError {
    #[error("there is a site in {0} already; use another directory, or `site-server serve --dir {0}`")]
    Exists(PathBuf),
    #[error("the token is for site {token}, not for {given}; use --code {token}")]
    OtherCode { token: String, given: SiteCode },
    #[error("the token is for a {0}, not for a site; make one with `packhorse site token`")]
    OtherRole(Role),
    #[error("the token expired; make a new one at site {0} with `packhorse site token`")]
    Expired(SiteCode),
    #[error(
        "none of the parent's endpoints answers; check the address in the token and that the parent runs"
    )]
    Unreachable(#[source] ConnectError),
    #[error("site {site} does not let us in: {text}")]
    Refused { site: SiteCode, text: String },
    #[error(
        "the token does not say to whom the request is encrypted: site {0} is too old for joining by courier; upgrade it and \
         make a new token"
    )]
    NoCourier(SiteCode),
    #[error("the answer of site {site} is not valid: {what}")]
    Answer { site: SiteCode, what: &'static str },
    #[error("cannot {step}")]
    Step { step: &'static str, source: Box<dyn std::error::Error + Send + Sync> },
}

fn step<E>(step: &'static str) -> impl FnOnce(E) -> InitError
where
    E: std::error::Error + Send + Sync + 'static,
{
    move |source| InitError::Step { step, source: Box::new(source) }
}

/// Makes a central site, or a child that joins its parent.
pub async fn init(plan: &Plan, clock: &dyn Clock) -> Result<Made, InitError> {
    let directories = Directories::new(&plan.directory);
    if directories.config().exists() {
        return Err(InitError::Exists(plan.directory.clone()));
    }
    for directory in [plan.directory.clone(), directories.keys()].into_iter().chain(directories.working()) {
        fs::create_dir_all(&directory).map_err(step("make the site's directories"))?;
    }
    let director = kept_key(&directories.key("director"))?;
    let (authority, own) = kept_authority(&directories, &plan.code, clock.now())?;
    let parent = match &plan.join {
        None => {
            found(&directories, plan, &director, clock.now()).await?;
            None
        }
        Some(token) => {
            let token = Token::from_file(token).map_err(step("read the token"))?;
            match join(&directories, plan, &token, &director, clock.now()).await? {
                Joined::Parent(parent) => Some(parent),
                Joined::Asked(path) => return Ok(Made::Asked(path)),
            }
        }
    };
    own.store(&directories.credentials()).map_err(step("store the site's certificate"))?;
    make_admin(&directories, plan, &authority, clock.now())?;
    let config = Config {
        code: plan.code.to_string(),
        name: plan.name.clone(),
        listen: plan.listen.to_string(),
        endpoints: plan.endpoints.clone(),
        bundle_level: 8,
        bundle_level_on_fast_lines: 1,
        instruction_validity_h: 72,
        parent,
        content: Content::default(),
        link: Link::default(),
        telemetry: Telemetry::default(),
    };
    let text = toml::to_string(&config).map_err(step("write site.toml"))?;
    write_file_durable(&directories.config(), text.as_bytes(), 0o600).map_err(step("write site.toml"))?;
    Ok(Made::Site)
}

fn kept_key(path: &Path) -> Result<SigningKey, InitError> {
    match path.exists() {
        true => SigningKey::from_file(path),
        false => SigningKey::create_file(path),
    }
    .map_err(step("make a signing key"))
}

fn kept_authority(
    directories: &Directories,
    code: &SiteCode,
    now: Timestamp,
) -> Result<(Authority, Credentials), InitError> {
    let authority = match Authority::load(&directories.authority()) {
        Ok(authority) => authority,
        Err(_) => Authority::create(&directories.authority(), code, now)
            .map_err(step("make the site's authority"))?,
    };
    let (key_pem, request) = credentials::kept_key_and_request(&directories.credentials(), code.as_str())
        .map_err(step("make the site's key"))?;
    let name = Name::of_site(code.clone(), code);
    let cert_pem = authority
        .issue(&request, &name, CERTIFICATE_VALIDITY, now)
        .map_err(step("make the site's certificate"))?;
    let own = Credentials { key_pem, cert_pem, authority_pem: authority.certificate_pem().to_owned() };
    Ok((authority, own))
}

fn make_admin(
    directories: &Directories,
    plan: &Plan,
    authority: &Authority,
    now: Timestamp,
) -> Result<(), InitError> {
    let (key_pem, request) = credentials::kept_key_and_request(&directories.admin(), ADMIN)
        .map_err(step("make the administrator's key"))?;
    let name = Name::new(plan.code.clone(), Role::Admin, ADMIN).map_err(step("name the administrator"))?;
    let cert_pem = authority
        .issue(&request, &name, CERTIFICATE_VALIDITY, now)
        .map_err(step("make the administrator's certificate"))?;
    Credentials { key_pem, cert_pem, authority_pem: authority.certificate_pem().to_owned() }
        .store(&directories.admin())
        .map_err(step("store the administrator's certificate"))?;
    let endpoint = plan.endpoints.first().map_or_else(|| plan.listen.to_string(), Clone::clone);
    let console = format!("site = \"{}\"\nendpoint = \"{endpoint}\"\n", plan.code);
    write_file_durable(&directories.admin().join("console.toml"), console.as_bytes(), 0o600)
        .map_err(step("write console.toml"))
}

/// A central site: it holds the root key, is the first author, and signs the first trust file.
async fn found(
    directories: &Directories,
    plan: &Plan,
    director: &SigningKey,
    now: Timestamp,
) -> Result<(), InitError> {
    let root = kept_key(&directories.key("root"))?;
    let author = kept_key(&directories.key("author"))?;
    let authors =
        [Author { key: author.public(), name: plan.code.to_string(), prefixes: vec![String::new()] }];
    let central = Director { site: plan.code.clone(), key: director.public() };
    let trust_file = make_trust_file(1, &authors, &central, &root);

    let store = Store::open(&directories.database()).await.map_err(step("make the database"))?;
    let mut tx = store.begin().await.map_err(step("make the database"))?;
    describe(&mut tx, plan, &root.public()).await?;
    let object = Object {
        kind: ObjectKind::Trust,
        id: "trust".to_owned(),
        owner: plan.code.clone(),
        version: 1,
        deleted: false,
        body: trust_file,
        traceparent: String::new(),
    };
    let content = sign(SignedType::Object, convert::encode::<wire::Object, _>(&object), &[director]);
    objects::put(&mut tx, &object, &content, &crate::record::digest(&content), now)
        .await
        .map_err(step("write the trust file"))?;
    tx.commit().await.map_err(step("make the database"))?;
    store.close().await;
    Ok(())
}

async fn describe(tx: &mut Tx, plan: &Plan, root: &PublicKey) -> Result<(), InitError> {
    let epoch = uuid::Uuid::new_v4();
    for (setting, value) in [
        (settings::CODE, plan.code.as_str().as_bytes()),
        (settings::NAME, plan.name.as_bytes()),
        (settings::EPOCH, epoch.as_bytes().as_slice()),
        (settings::ROOT_KEY, root.as_bytes().as_slice()),
    ] {
        settings::set(tx, setting, value).await.map_err(step("describe the site"))?;
    }
    Ok(())
}
