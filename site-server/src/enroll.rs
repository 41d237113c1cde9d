//! Enrolment: a token and a key become a certificate of this site's authority.
//!
//! Anybody may call this, so it has a rate, and a refusal says no more than what the bearer of a token has to do.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use packhorse_domain::{
    Digest,
    id::{ClientId, PointName, SiteCode},
    message,
};
use packhorse_parcel::Recipient;
use packhorse_proto::enroll::v1::{EnrollRequest, EnrollResponse, enroll_service_server::EnrollService};
use packhorse_runtime::error_chain;
use packhorse_trust::{
    AuthorityError, Name, PublicKey, Role, TrustError, TrustStore, make_delegation, token,
};
use rcgen::{CertificateSigningRequestParams, PublicKeyData as _};
use tokio::time::Instant;
use tonic::{Request, Response, Status};

use crate::{
    error::Error,
    init::CERTIFICATE_VALIDITY,
    record,
    site::Site,
    status,
    store::{Tx, clients, delegations, neighbours, parcels, tokens},
};

const SECRET_LENGTH: usize = 32;
const REQUEST_LENGTH_MAX: usize = 16 * 1024;
const HOSTNAME_LENGTH_MAX: usize = 255;
const CALLS_AT_ONCE: u32 = 40;
const CALLS_PER_SECOND: u32 = 20;

/// The service.
#[derive(Debug)]
pub(crate) struct Enrollment {
    site: Arc<Site>,
    rate: Mutex<Rate>,
}

/// Why there is no certificate.
#[derive(Debug)]
enum Refusal {
    /// The token does not allow it.
    Denied(&'static str),
    /// The request does not say what it should.
    Invalid(String),
    Failed(Error),
}

impl<E: Into<Error>> From<E> for Refusal {
    fn from(error: E) -> Self {
        Refusal::Failed(error.into())
    }
}

impl From<Refusal> for Status {
    fn from(refusal: Refusal) -> Self {
        match refusal {
            Refusal::Denied(text) => Status::permission_denied(text),
            Refusal::Invalid(text) => Status::invalid_argument(text),
            Refusal::Failed(error) => error.into(),
        }
    }
}

impl Enrollment {
    pub(crate) fn new(site: Arc<Site>) -> Self {
        Enrollment { site, rate: Mutex::new(Rate::new(Instant::now())) }
    }
}

/// Answers a request that came on a medium as one that came over a line.
pub(crate) async fn answer(
    site: &Site,
    request: &EnrollRequest,
    code: &SiteCode,
) -> Result<EnrollResponse, Status> {
    enroll(site, request, Some(code)).await.map_err(Status::from)
}

/// `code`: the site that it has to be for.
async fn enroll(
    site: &Site,
    request: &EnrollRequest,
    code: Option<&SiteCode>,
) -> Result<EnrollResponse, Refusal> {
    let key = check(request)?;
    let mut tx = site.store.begin().await?;
    let bearer = Bearer::of_token(site, &mut tx, request, &key).await?;
    if let Some(code) = code.filter(|code| code.as_str() != bearer.name.id) {
        let text = format!("the token in it is for {}, and it is named {code}: name it so", bearer.name.id);
        return Err(Refusal::Invalid(text));
    }
    let certificate = site
        .authority
        .issue(&request.certificate_request, &bearer.name, CERTIFICATE_VALIDITY, site.now())
        .map_err(refused_request)?;
    let answer = match bearer.name.role {
        Role::Site => Some(delegate(site, &mut tx, &bearer, request).await?),
        Role::Client => {
            let client: ClientId = bearer.name.id.parse().map_err(Error::from)?;
            clients::seen(&mut tx, &client, "", site.now()).await?;
            None
        }
        Role::Cap | Role::Admin => None,
    };
    if !bearer.again {
        tokens::use_by(&mut tx, &bearer.token, &key).await?;
    }
    let who = format!("{} {}", bearer.name.role, bearer.name.id);
    let host = format!("{:?}", request.hostname);
    let message = match bearer.again {
        true => message::enrolled_again(&who, &host, &key.short()),
        false => message::enrolled(&who, &host, &key.short()),
    };
    status::report(site, &mut tx, &bearer.name.id, &message).await?;
    tx.commit().await?;

    let delegations = match answer {
        // On disk, so that what is believed now is believed after a restart too.
        Some(Delegated { child, delegation }) => site.change_trust(|trust| {
            trust.add_delegation(&delegation)?;
            delegations_to(trust, &child)
        })?,
        None => site.trust(|trust| delegations_to(trust, site.code()))?,
    };
    Ok(EnrollResponse {
        certificate,
        authority: site.authority.certificate_pem().to_owned(),
        id: bearer.name.id,
        site: site.code().to_string(),
        delegations,
        trust_file: site.trust(|trust| trust.trust_file_bytes().to_vec()).into(),
        courier_key: site.courier.recipient().to_string(),
    })
}

fn delegations_to(trust: &TrustStore, site: &SiteCode) -> Result<Vec<bytes::Bytes>, TrustError> {
    Ok(trust.delegations_to(site)?.into_iter().map(bytes::Bytes::copy_from_slice).collect())
}

/// Whom a token makes of its bearer.
struct Bearer {
    token: Digest,
    name: Name,
    /// The same key has used the token before.
    again: bool,
}

impl Bearer {
    async fn of_token(
        site: &Site,
        tx: &mut Tx,
        request: &EnrollRequest,
        key: &Digest,
    ) -> Result<Bearer, Refusal> {
        let secret = token::secret_hash(&request.secret);
        let row = tokens::get(tx, &secret).await?.ok_or(Refusal::Denied(
            "this token is unknown here, or a newer one took its place; ask for a new one",
        ))?;
        if site.now() >= row.expires_at {
            return Err(Refusal::Denied("the token expired; ask for a new one"));
        }
        let again = match row.used_by.as_deref() {
            None => false,
            Some(used_by) if used_by == key.as_bytes() => true,
            Some(_) => {
                return Err(Refusal::Denied("the token was used already, by another key; ask for a new one"));
            }
        };
        let own = site.code().clone();
        let name = match row.role.parse::<Role>() {
            Ok(Role::Site) => Name::of_site(own, &row.name.parse::<SiteCode>()?),
            Ok(Role::Cap) => Name::of_cap(own, &row.name.parse::<PointName>()?),
            Ok(Role::Client) => Name::of_client(own, &row.name.parse::<ClientId>()?),
            Ok(Role::Admin) | Err(_) => {
                return Err(Refusal::Denied("nobody enrols with a token of this role"));
            }
        };
        match (name.role, request.director_key.is_empty()) {
            (Role::Site, true) => {
                Err(Refusal::Invalid("director_key: a child site gives its director's key".to_owned()))
            }
            (Role::Cap | Role::Client | Role::Admin, false) => {
                Err(Refusal::Denied("the token is not for a site; ask for one with `packhorse site token`"))
            }
            _ => Ok(Bearer { token: secret, name, again }),
        }
    }
}

/// Checks the request by itself, and gives the digest of its key. The rest of it differs each time it is made.
fn check(request: &EnrollRequest) -> Result<Digest, Refusal> {
    let plain_hostname =
        request.hostname.len() <= HOSTNAME_LENGTH_MAX && !request.hostname.chars().any(char::is_control);
    let rules = [
        (request.secret.len() == SECRET_LENGTH, "secret: 32 bytes are expected"),
        (
            request.certificate_request.len() <= REQUEST_LENGTH_MAX,
            "certificate_request: at most 16 KiB are taken",
        ),
        (matches!(request.director_key.len(), 0 | 32), "director_key: 32 bytes are expected, or none"),
        (plain_hostname, "hostname: at most 255 bytes without control characters are taken"),
    ];
    if let Some((_, text)) = rules.iter().find(|(holds, _)| !holds) {
        return Err(Refusal::Invalid((*text).to_owned()));
    }
    let asked = CertificateSigningRequestParams::from_pem(&request.certificate_request).map_err(|error| {
        Refusal::Invalid(format!("certificate_request: it is not a PKCS#10 request in PEM: {error}"))
    })?;
    Ok(record::digest(asked.public_key.der_bytes()))
}

fn refused_request(error: AuthorityError) -> Refusal {
    match error {
        AuthorityError::RequestTooLarge { .. }
        | AuthorityError::Request { .. }
        | AuthorityError::RequestKey => {
            Refusal::Invalid(format!("certificate_request: {}", error_chain(&error)))
        }
        error => Refusal::Failed(Error::Authority(error)),
    }
}

/// A child site, and this site's word for its director.
struct Delegated {
    child: SiteCode,
    delegation: Vec<u8>,
}

/// Makes the bearer a child of this site. One that comes again has to come with the same director.
async fn delegate(
    site: &Site,
    tx: &mut Tx,
    bearer: &Bearer,
    request: &EnrollRequest,
) -> Result<Delegated, Refusal> {
    let child: SiteCode = bearer.name.id.parse()?;
    let director = PublicKey::try_from(&request.director_key[..])
        .map_err(|error| Refusal::Invalid(format!("director_key: {error}")))?;
    let path = site.path().child(child.clone()).map_err(|error| {
        Error::Precondition(format!("site {child} cannot be a child of {}: {error}", site.code()))
    })?;
    let delegation = make_delegation(&path, &director, None, site.director());
    let held = delegations::list(tx).await?.into_iter().find(|(held, _)| *held == child);
    match held {
        Some((_, held)) if held == delegation => {}
        Some(_) => {
            return Err(Refusal::Denied(
                "the site has enrolled with another director's key, which it must keep",
            ));
        }
        None => {
            // Tried on a copy: what is refused must not be on the disk.
            let mut trust = site.trust(TrustStore::clone);
            trust.add_delegation(&delegation)?;
            delegations::put(tx, &child, &delegation).await?;
            neighbours::add(tx, &child, neighbours::Relation::Child).await?;
        }
    }
    // With it parcels can go there before a line ever carried anything.
    let is_news = !bearer.again || parcels::key(tx, &child).await?.is_none();
    // A request that is answered again may be an old one: it takes the place of no key that was told since.
    if !request.courier_key.is_empty() && is_news {
        let recipient: Recipient =
            request.courier_key.parse().map_err(|error| Refusal::Invalid(format!("courier_key: {error}")))?;
        parcels::put_key(tx, &child, &recipient.to_string(), site.now()).await?;
    }
    Ok(Delegated { child, delegation })
}

/// So many calls at once, and then so many a second.
#[derive(Debug)]
struct Rate {
    left: u32,
    counted_at: Instant,
}

impl Rate {
    fn new(now: Instant) -> Self {
        Rate { left: CALLS_AT_ONCE, counted_at: now }
    }

    fn take(&mut self, now: Instant) -> bool {
        let pause = Duration::from_secs(1) / CALLS_PER_SECOND;
        let earned = now.saturating_duration_since(self.counted_at).as_nanos() / pause.as_nanos();
        match u32::try_from(earned) {
            Ok(earned) if earned < CALLS_AT_ONCE => {
                self.counted_at += pause * earned;
                self.left = (self.left + earned).min(CALLS_AT_ONCE);
            }
            _ => *self = Rate::new(now),
        }
        match self.left.checked_sub(1) {
            Some(left) => {
                self.left = left;
                true
            }
            None => false,
        }
    }
}

#[tonic::async_trait]
impl EnrollService for Enrollment {
    async fn enroll(&self, request: Request<EnrollRequest>) -> Result<Response<EnrollResponse>, Status> {
        if !self.rate.lock().unwrap_or_else(PoisonError::into_inner).take(Instant::now()) {
            return Err(Status::resource_exhausted("too many enrolments at once: come back in 5 s"));
        }
        let answer = enroll(&self.site, request.get_ref(), None).await.map_err(Status::from);
        if let Err(status) = &answer {
            tracing::warn!(target: "provider", hostname = ?request.get_ref().hostname, reason = status.message(), "an enrolment was refused");
        }
        answer.map(Response::new)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn calls_in_excess_wait_for_their_time() {
        let start = Instant::now();
        let mut rate = Rate::new(start);
        let mut taken = |after| (0..1000).filter(|_| rate.take(start + Duration::from_millis(after))).count();

        assert_eq!(taken(0), 40);
        assert_eq!(taken(49), 0);
        assert_eq!(taken(1000), 20);
        assert_eq!(taken(60_000), 40);
    }
}
