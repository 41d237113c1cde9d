//! Tokens and what is had for them.

use std::time::Duration;

use packhorse_domain::id::SiteCode;
use packhorse_proto::{
    enroll::v1::{EnrollRequest, EnrollResponse, enroll_service_server::EnrollService as _},
    provider::v1::{
        CreateCapTokenRequest, CreateClientTokenRequest, CreateSiteTokenRequest, LinkState,
        ListClientsRequest, ListSitesRequest, site_service_server::SiteService as _,
        status_service_server::StatusService as _,
    },
};
use packhorse_trust::{Credentials, Role, SigningKey, Token, TrustStore, credentials::new_key_and_request};
use tonic::{Code, Request, Status};

use super::{World, asked, inner, refused};
use crate::{
    enroll::Enrollment,
    store::caps::{self, CapRow},
};

struct Machine {
    key_pem: String,
    request: String,
}

impl Machine {
    fn new() -> Machine {
        let (key_pem, request) = new_key_and_request("machine").expect("a key");
        Machine { key_pem: key_pem.to_string(), request }
    }

    /// The same key, in a request that was made anew.
    fn again(&self) -> Machine {
        let request = packhorse_trust::credentials::request_for(&self.key_pem, "machine").expect("a request");
        Machine { key_pem: self.key_pem.clone(), request }
    }
}

async fn enrol(
    world: &World,
    token: &Token,
    machine: &Machine,
    director: Option<&SigningKey>,
) -> Result<EnrollResponse, Status> {
    let request = EnrollRequest {
        courier_key: String::new(),
        secret: token.secret.as_bytes().to_vec().into(),
        certificate_request: machine.request.clone(),
        director_key: director.map(|key| key.public().as_bytes().to_vec()).unwrap_or_default().into(),
        hostname: "till-7".to_owned(),
    };
    Ok(Enrollment::new(world.site.clone()).enroll(Request::new(request)).await?.into_inner())
}

async fn site_token(world: &World, code: &str) -> Result<Token, Status> {
    let request = CreateSiteTokenRequest { code: code.to_owned(), valid_s: 0 };
    let text = world.sites.create_site_token(asked(request)).await?.into_inner().token;
    Ok(Token::parse(&text).expect("a token"))
}

async fn cap_token(world: &World, name: &str, valid_s: u32) -> Result<Token, Status> {
    let request = CreateCapTokenRequest { name: name.to_owned(), valid_s };
    let text = world.sites.create_cap_token(asked(request)).await?.into_inner().token;
    Ok(Token::parse(&text).expect("a token"))
}

async fn client_token(world: &World) -> Result<Token, Status> {
    let request = CreateClientTokenRequest::default();
    let text = world.sites.create_client_token(asked(request)).await?.into_inner().token;
    Ok(Token::parse(&text).expect("a token"))
}

fn certified(machine: &Machine, answer: &EnrollResponse) -> String {
    let credentials = Credentials {
        key_pem: machine.key_pem.clone().into(),
        cert_pem: answer.certificate.clone(),
        authority_pem: answer.authority.clone(),
    };
    credentials.check().expect("they belong together");
    credentials.name().expect("a name").to_string()
}

#[tokio::test]
async fn a_token_works_for_one_key_as_often_as_it_asks() {
    let world = World::new().await;
    let token = cap_token(&world, "hall", 0).await.unwrap();
    assert_eq!((token.role, token.server.as_str()), (Role::Cap, "cen.site.cen.packhorse.internal"));
    let machine = Machine::new();

    let first = enrol(&world, &token, &machine, None).await.unwrap();
    let again = enrol(&world, &token, &machine.again(), None).await.unwrap();

    assert_eq!(certified(&machine, &first), "packhorse://CEN/cap/hall");
    assert_eq!(certified(&machine, &again), "packhorse://CEN/cap/hall");
    refused(enrol(&world, &token, &Machine::new(), None).await, Code::PermissionDenied, &["another key"]);
    refused(cap_token(&world, "hall", 0).await, Code::AlreadyExists, &["hall"]);
    assert!(TrustStore::new(token.root, &again.trust_file, &[]).is_ok());
}

#[tokio::test]
async fn tokens_end_and_are_for_their_role_alone() {
    let world = World::new().await;
    let old = cap_token(&world, "hall", 60).await.unwrap();
    let token = cap_token(&world, "hall", 60).await.unwrap();
    let director = SigningKey::generate();

    refused(enrol(&world, &old, &Machine::new(), None).await, Code::PermissionDenied, &["newer one"]);
    let as_site = enrol(&world, &token, &Machine::new(), Some(&director)).await;
    refused(as_site, Code::PermissionDenied, &["not for a site"]);
    let no_request = Machine { request: "junk".to_owned(), ..Machine::new() };
    refused(enrol(&world, &token, &no_request, None).await, Code::InvalidArgument, &["certificate_request"]);
    world.clock.advance(Duration::from_secs(60));
    refused(enrol(&world, &token, &Machine::new(), None).await, Code::PermissionDenied, &["expired"]);
    refused(cap_token(&world, "desk", 31 * 24 * 3600).await, Code::InvalidArgument, &["valid_s", "30 days"]);
}

#[tokio::test]
async fn a_client_gets_one_id_for_good() {
    let world = World::new().await;
    refused(client_token(&world).await, Code::FailedPrecondition, &["packhorse cap token"]);
    let mut tx = world.site.store.begin().await.unwrap();
    let cap = CapRow {
        name: "hall".parse().unwrap(),
        cursor: 0,
        endpoints: vec!["10.0.0.7:7453".to_owned()],
        seen_at: world.site.now(),
    };
    caps::put(&mut tx, &cap).await.unwrap();
    tx.commit().await.unwrap();
    let token = client_token(&world).await.unwrap();
    let other = client_token(&world).await.unwrap();
    assert_eq!(
        (token.endpoints.as_slice(), token.server.as_str()),
        (&cap.endpoints[..], "hall.cap.cen.packhorse.internal")
    );

    let machine = Machine::new();
    let first = enrol(&world, &token, &machine, None).await.unwrap();
    let again = enrol(&world, &token, &machine.again(), None).await.unwrap();
    let second = enrol(&world, &other, &Machine::new(), None).await.unwrap();

    assert_eq!(first.id, again.id);
    assert_ne!(first.id, second.id, "one token does not void another client's");
    assert_eq!(certified(&machine, &first), format!("packhorse://CEN/client/{}", first.id));
    let clients = inner(world.statuses.list_clients(asked(ListClientsRequest {})).await).clients;
    assert_eq!(clients.len(), 2);
}

#[tokio::test]
async fn a_child_site_joins_with_its_director_and_no_other() {
    let world = World::new().await;
    let par: SiteCode = "PAR".parse().unwrap();
    let token = site_token(&world, "PAR").await.unwrap();
    let listed = inner(world.sites.list_sites(asked(ListSitesRequest {})).await).sites;
    assert_eq!(listed.iter().find(|site| site.code == "PAR").unwrap().link(), LinkState::Invited);
    let (machine, director) = (Machine::new(), SigningKey::generate());

    refused(enrol(&world, &token, &machine, None).await, Code::InvalidArgument, &["director_key"]);
    let answer = enrol(&world, &token, &machine, Some(&director)).await.unwrap();
    let again = enrol(&world, &token, &machine.again(), Some(&director)).await.unwrap();

    assert_eq!(certified(&machine, &answer), "packhorse://CEN/site/PAR");
    assert_eq!(answer.delegations, again.delegations);
    let chain: Vec<Vec<u8>> = answer.delegations.iter().map(|one| one.to_vec()).collect();
    let trust = TrustStore::new(token.root, &answer.trust_file, &chain).unwrap();
    assert_eq!(trust.director(&par, world.site.now()).unwrap(), director.public());
    assert!(world.site.trust(|trust| trust.path_of(&par).is_some()), "the parent believes it too");
    let impostor = enrol(&world, &token, &machine, Some(&SigningKey::generate())).await;
    refused(impostor, Code::PermissionDenied, &["director"]);
    refused(site_token(&world, "PAR").await, Code::AlreadyExists, &["PAR"]);
    refused(site_token(&world, "CEN").await, Code::AlreadyExists, &["CEN"]);
    let listed = inner(world.sites.list_sites(asked(ListSitesRequest {})).await).sites;
    assert_eq!(listed.iter().find(|site| site.code == "PAR").unwrap().link(), LinkState::Down);
    assert_eq!(listed.iter().find(|site| site.code == "CEN").unwrap().link(), LinkState::Self_);
}

#[tokio::test]
async fn whoever_asks_too_often_has_to_wait() {
    let world = World::new().await;
    let server = Enrollment::new(world.site.clone());
    let mut exhausted = false;
    for _ in 0..200 {
        let status = server.enroll(Request::new(EnrollRequest::default())).await.expect_err("no token");
        exhausted |= status.code() == Code::ResourceExhausted;
    }
    assert!(exhausted);
}
