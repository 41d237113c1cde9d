//! Joining the parent: over a line, or by courier.

use std::path::{Path, PathBuf};

use packhorse_domain::{Timestamp, site::SitePath};
use packhorse_parcel::Recipient;
use packhorse_proto::enroll::v1::{
    EnrollRequest, EnrollResponse, enroll_service_client::EnrollServiceClient,
};
use packhorse_runtime::{Caller, ChannelOptions, connect};
use packhorse_trust::{Credentials, Name, Role, SigningKey, Token, TrustStore, credentials};

use super::{InitError, Plan, describe, step};
use crate::{
    config::Parent,
    courier::{Courier, joining},
    directories::Directories,
    store::{Store, delegations, neighbours, parcels, settings},
};

/// How far it came.
pub(super) enum Joined {
    Parent(Parent),
    /// The request lies on a medium, and has to be answered.
    Asked(PathBuf),
}

/// A child: the parent gives it a certificate for the link and delegates to its director.
pub(super) async fn join(
    directories: &Directories,
    plan: &Plan,
    token: &Token,
    director: &SigningKey,
    now: Timestamp,
) -> Result<Joined, InitError> {
    check_token(plan, token)?;
    let (key_pem, request) =
        credentials::kept_key_and_request(&directories.parent_credentials(), plan.code.as_str())
            .map_err(step("make the link's key"))?;
    let courier = Courier::open(&directories.courier_key()).map_err(step("make the key for parcels"))?;
    let request = EnrollRequest {
        secret: token.secret.as_bytes().to_vec().into(),
        certificate_request: request,
        director_key: director.public().as_bytes().to_vec().into(),
        hostname: rustix::system::uname().nodename().to_string_lossy().into_owned(),
        courier_key: courier.recipient().to_string(),
    };
    let Some(answer) = answered(plan, token, &request, &courier, now).await? else {
        return ask(plan, token, &request).map(Joined::Asked);
    };
    let invalid = |what| InitError::Answer { site: token.site.clone(), what };
    let trust = checked(plan, token, &answer, director, now)?;
    let path: &SitePath = trust.path_of(&plan.code).ok_or_else(|| invalid("no delegation to this site"))?;
    Credentials { key_pem, cert_pem: answer.certificate.clone(), authority_pem: answer.authority.clone() }
        .store(&directories.parent_credentials())
        .map_err(step("store the link's certificate"))?;

    let store = Store::open(&directories.database()).await.map_err(step("make the database"))?;
    let mut tx = store.begin().await.map_err(step("make the database"))?;
    describe(&mut tx, plan, &token.root).await?;
    neighbours::add(&mut tx, &token.site, neighbours::Relation::Parent)
        .await
        .map_err(step("write the parent"))?;
    // A parent that knows nothing of parcels has none.
    if !answer.courier_key.is_empty() {
        let recipient: Recipient =
            answer.courier_key.parse().map_err(|_| invalid("its courier key is none"))?;
        parcels::put_key(&mut tx, &token.site, &recipient.to_string(), now)
            .await
            .map_err(step("write the parent's courier key"))?;
    }
    let chain = trust.delegations_to(&plan.code).map_err(step("read the delegations"))?;
    for (site, delegation) in path.sites()[1..].iter().zip(chain) {
        delegations::put(&mut tx, site, delegation).await.map_err(step("write the delegations"))?;
    }
    settings::set(&mut tx, settings::TRUST_FILE, &answer.trust_file)
        .await
        .map_err(step("write the trust file"))?;
    tx.commit().await.map_err(step("make the database"))?;
    store.close().await;
    Ok(Joined::Parent(Parent { site: token.site.to_string(), endpoints: token.endpoints.clone() }))
}

/// The parent's answer. `None`: on the medium there is none yet.
async fn answered(
    plan: &Plan,
    token: &Token,
    request: &EnrollRequest,
    courier: &Courier,
    now: Timestamp,
) -> Result<Option<EnrollResponse>, InitError> {
    let Some(medium) = &plan.medium else {
        check_valid(token, now)?;
        return enroll(token, request.clone()).await.map(Some);
    };
    let answer = joining::answer(medium, &plan.code, courier).map_err(step("join by courier"))?;
    let Some(answer) = answer else {
        check_valid(token, now)?;
        return Ok(None);
    };
    // Over a line it is known who answers; a medium may have been in anybody's hands.
    if answer.authority != token.authority_pem {
        let what = "it is of another authority";
        return Err(InitError::Answer { site: token.site.clone(), what });
    }
    Ok(Some(EnrollResponse { courier_key: token.courier_key.clone().unwrap_or_default(), ..answer }))
}

/// The chain of trust of an answer that makes this site, with its own key, a child of the parent.
fn checked(
    plan: &Plan,
    token: &Token,
    answer: &EnrollResponse,
    director: &SigningKey,
    now: Timestamp,
) -> Result<TrustStore, InitError> {
    let invalid = |what| InitError::Answer { site: token.site.clone(), what };
    let own = answer.delegations.iter().map(|bytes| bytes.to_vec()).collect::<Vec<_>>();
    let trust =
        TrustStore::new(token.root, &answer.trust_file, &own).map_err(step("check the parent's answer"))?;
    let path: &SitePath = trust.path_of(&plan.code).ok_or_else(|| invalid("no delegation to this site"))?;
    if path.parent() != Some(&token.site) {
        return Err(invalid("the delegation is not by the parent"));
    }
    if trust.director(&plan.code, now).ok() != Some(director.public()) {
        return Err(invalid("the delegation is for another key than this site's"));
    }
    Ok(trust)
}

/// Puts the request onto the medium, encrypted to the parent that the token names.
fn ask(plan: &Plan, token: &Token, request: &EnrollRequest) -> Result<PathBuf, InitError> {
    let parent = token.courier_key.as_deref().and_then(|text| text.parse().ok());
    let parent = parent.ok_or_else(|| InitError::NoCourier(token.site.clone()))?;
    let medium = plan.medium.as_deref().unwrap_or(Path::new("."));
    joining::ask(medium, &plan.code, &parent, request).map_err(step("join by courier"))
}

fn check_token(plan: &Plan, token: &Token) -> Result<(), InitError> {
    if token.role != Role::Site {
        return Err(InitError::OtherRole(token.role));
    }
    if token.name.as_deref() != Some(plan.code.as_str()) {
        return Err(InitError::OtherCode {
            token: token.name.clone().unwrap_or_default(),
            given: plan.code.clone(),
        });
    }
    Ok(())
}

/// What was answered in time may arrive later.
fn check_valid(token: &Token, now: Timestamp) -> Result<(), InitError> {
    if token.expired(now) { Err(InitError::Expired(token.site.clone())) } else { Ok(()) }
}

async fn enroll(token: &Token, request: EnrollRequest) -> Result<EnrollResponse, InitError> {
    let server = Name::of_site(token.site.clone(), &token.site);
    let mut failure = None;
    for endpoint in &token.endpoints {
        let caller = Caller::Anonymous { authority_pem: &token.authority_pem };
        let channel = match connect(endpoint, &server, caller, ChannelOptions::default()).await {
            Ok(channel) => channel,
            Err(error) => {
                failure = Some(error);
                continue;
            }
        };
        return EnrollServiceClient::new(channel)
            .enroll(request)
            .await
            .map(tonic::Response::into_inner)
            .map_err(|status| InitError::Refused {
                site: token.site.clone(),
                text: status.message().to_owned(),
            });
    }
    Err(failure.map_or_else(
        || InitError::Answer { site: token.site.clone(), what: "the token names no endpoint" },
        InitError::Unreachable,
    ))
}
