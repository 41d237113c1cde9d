//! One-time tokens with which child sites, CAP agents and clients join this site.

use std::time::Duration;

use packhorse_domain::{
    Timestamp,
    id::{ClientId, PointName, SiteCode},
    message,
    object::ObjectKind,
    package::check_name,
};
use packhorse_trust::{Name, Role, Secret, Token, token::ENDPOINTS_MAX};
use uuid::Uuid;

use super::{change::Change, invalid, parsed};
use crate::{
    error::Error,
    site::Site,
    store::{
        Tx, caps, delegations, neighbours, objects, points,
        tokens::{self, TokenRow},
    },
};

const VALID_DEFAULT_S: u32 = 24 * 3600;
const VALID_MAX_S: u32 = 30 * 24 * 3600;

/// For a new child of this site.
pub(super) async fn for_site(site: &Site, who: &Name, code: &str, valid_s: u32) -> Result<String, Error> {
    let child: SiteCode = parsed("code", code)?;
    let mut change = Change::begin(site, who).await?;
    check_site_free(site, &mut change.tx, &child).await?;
    let text = format!("site {child}");
    let bearer =
        Bearer { role: Role::Site, name: child.to_string(), endpoints: site.settings.endpoints.clone() };
    hand_out(change, bearer, &Name::of_site(site.code().clone(), site.code()), (valid_s, text)).await
}

/// For a CAP agent of this site.
pub(super) async fn for_cap(site: &Site, who: &Name, name: &str, valid_s: u32) -> Result<String, Error> {
    let cap: PointName = parsed("name", name)?;
    let mut change = Change::begin(site, who).await?;
    let used = tokens::is_used(&mut change.tx, Role::Cap.as_str(), name).await?
        || caps::list(&mut change.tx).await?.iter().any(|held| held.name == cap)
        || points::list(&mut change.tx).await?.iter().any(|held| held.name == cap);
    if used {
        return Err(Error::Exists(format!(
            "{cap} is the name of a CAP agent or distribution point of site {} already; choose another",
            site.code()
        )));
    }
    let text = format!("CAP agent {cap}");
    let bearer =
        Bearer { role: Role::Cap, name: cap.to_string(), endpoints: site.settings.endpoints.clone() };
    hand_out(change, bearer, &Name::of_site(site.code().clone(), site.code()), (valid_s, text)).await
}

/// For a client agent. It enrols through a CAP, since it needs to reach nothing else.
pub(super) async fn for_client(site: &Site, who: &Name, label: &str, valid_s: u32) -> Result<String, Error> {
    if !label.is_empty() {
        check_name(label).map_err(|error| invalid("name", error))?;
    }
    let mut change = Change::begin(site, who).await?;
    // The token has one server name, so its endpoints are those of one CAP: the one heard of last.
    let cap = caps::list(&mut change.tx)
        .await?
        .into_iter()
        .filter(|cap| !cap.endpoints.is_empty())
        .max_by_key(|cap| cap.seen_at)
        .ok_or_else(|| {
            Error::Precondition(format!(
                "site {} has no CAP agent, and clients reach the site through one; make a token with `packhorse cap token \
                 NAME`, and with it run `cap-agent enroll` and `cap-agent serve`",
                site.code()
            ))
        })?;
    // Drawn now, so that a repeated enrolment gives the same id.
    let id: ClientId = parsed("id", &Uuid::new_v4().to_string())?;
    let label = if label.is_empty() { String::new() } else { format!(" ({label})") };
    let text = format!("client {id}{label}");
    let bearer = Bearer { role: Role::Client, name: id.to_string(), endpoints: cap.endpoints };
    hand_out(change, bearer, &Name::of_cap(site.code().clone(), &cap.name), (valid_s, text)).await
}

/// Who may become what with a token, and where.
struct Bearer {
    role: Role,
    name: String,
    endpoints: Vec<String>,
}

async fn hand_out(
    mut change: Change<'_>,
    bearer: Bearer,
    server: &Name,
    (valid_s, bearer_name): (u32, String),
) -> Result<String, Error> {
    let site = change.site;
    let Bearer { role, name, mut endpoints } = bearer;
    endpoints.truncate(ENDPOINTS_MAX);
    let token = Token {
        site: site.code().clone(),
        role,
        name: (role != Role::Client).then(|| name.clone()),
        endpoints,
        server: server.dns_name(),
        authority_pem: site.authority.certificate_pem().to_owned(),
        root: *site.root(),
        secret: Secret::generate(),
        expires: expiry(site.now(), valid_s)?,
        courier_key: (role == Role::Site).then(|| site.courier.recipient().to_string()),
    };
    let encoded = token.encode().map_err(|error| {
        Error::Precondition(format!(
            "no token can be made: {error}; correct `endpoints` in the settings of {}",
            server.role
        ))
    })?;
    let row = TokenRow {
        role: role.as_str().to_owned(),
        name: name.clone(),
        expires_at: token.expires,
        used_by: None,
    };
    tokens::add(&mut change.tx, &token.secret_hash(), &row, site.now()).await?;
    change.finish(&name, message::token_made(&bearer_name)).await?;
    Ok(encoded)
}

fn expiry(now: Timestamp, valid_s: u32) -> Result<Timestamp, Error> {
    let valid_s = if valid_s == 0 { VALID_DEFAULT_S } else { valid_s };
    if valid_s > VALID_MAX_S {
        return Err(invalid("valid_s", "a token is valid for at most 30 days: give less"));
    }
    Ok(now.plus(Duration::from_secs(valid_s.into())))
}

/// A code names one site of the hierarchy, for good.
async fn check_site_free(site: &Site, tx: &mut Tx, child: &SiteCode) -> Result<(), Error> {
    let taken = site.path().is_under(child)
        || objects::held(tx, ObjectKind::Site, child.as_str()).await?.is_some()
        || tokens::is_used(tx, Role::Site.as_str(), child.as_str()).await?
        || delegations::list(tx).await?.iter().any(|(held, _)| held == child)
        || neighbours::list(tx).await?.iter().any(|held| held.code == *child);
    if taken {
        return Err(Error::Exists(format!(
            "there is a site {child} in the hierarchy already; choose another code (`packhorse site list` shows those in use)"
        )));
    }
    site.path().child(child.clone()).map(drop).map_err(|error| {
        Error::Precondition(format!(
            "site {child} cannot be a child of {}: {error}; let it join a site further up",
            site.code()
        ))
    })
}
