//! Enrolment: the agent's own with its site, and a client's through the agent.

use std::fs;

use packhorse_cap_agent::{EnrollError, EnrollOptions, Settings, enroll, start};
use packhorse_domain::Timestamp;
use packhorse_proto::enroll::v1::{EnrollRequest, enroll_service_client::EnrollServiceClient};
use packhorse_runtime::{Caller, Clock as _, Lifecycle, SystemClock};
use packhorse_trust::{
    Authority, Credentials, Role, Secret, SigningKey, Token, credentials::new_key_and_request,
};
use tonic::Code;

use crate::{
    setting::{CLIENT, Setting, name, site_code},
    site::soon,
};

fn token(setting: &Setting) -> Token {
    Token {
        site: site_code(),
        role: Role::Cap,
        name: Some("shop-12".to_owned()),
        endpoints: vec![setting.site_endpoint()],
        server: name(Role::Site, "CEN").dns_name(),
        authority_pem: setting.site.authority.certificate_pem().to_owned(),
        root: SigningKey::generate().public(),
        secret: Secret::generate(),
        expires: soon(),
        courier_key: None,
    }
}

fn options(setting: &Setting, token: &Token) -> EnrollOptions {
    let path = setting.directory.path().join("token.toml");
    let _ = fs::remove_file(&path);
    token.create_file(&path).expect("a token file");
    EnrollOptions {
        directory: setting.directory.path().join("shop"),
        token: path,
        listen: "127.0.0.1:0".parse().expect("an address"),
        endpoints: vec!["shop-12.example:7453".to_owned()],
        distribution_point: false,
    }
}

#[tokio::test]
async fn an_interrupted_enrolment_is_repeated_with_the_same_key() {
    let setting = Setting::new().await;
    let token = token(&setting);
    let options = options(&setting, &token);
    setting.site.change(|known| {
        known.enrolling = Some(name(Role::Cap, "shop-12"));
        known.refuse_enrolments = 1;
    });

    let refused = enroll(&options, &SystemClock).await.expect_err("refused at first");
    let enrolled = enroll(&options, &SystemClock).await.expect("enrolled");
    let repeated = enroll(&options, &SystemClock).await.expect("enrolled again");

    assert!(matches!(refused, EnrollError::Refused(_)), "{refused:?}");
    assert!(!enrolled.kept_settings && repeated.kept_settings);
    let settings = Settings::load(&options.directory).expect("settings");
    assert_eq!(settings, enrolled.settings);
    assert_eq!((settings.name.as_str(), settings.distribution_point), ("shop-12", false));
    assert_eq!(settings.endpoints, ["shop-12.example:7453"]);
    let requests = setting.site.known().requests.clone();
    assert!(requests.iter().all(|request| request.secret.as_ref() == token.secret.as_bytes()));
    assert_eq!(requests.len(), 3);
    let credentials = Credentials::load(&options.directory.join("credentials")).expect("credentials");
    assert_eq!(credentials.name().expect("a name"), name(Role::Cap, "shop-12"));
    let run = Lifecycle::new();
    start(&options.directory, settings, &run).await.expect("what was enrolled can serve");
    setting.site.wait_for("it opens its feed", |known| known.hellos.first().map(drop)).await;
    run.stop();
}

#[tokio::test]
async fn the_secret_is_shown_only_to_the_authority_in_the_token() {
    let setting = Setting::new().await;
    let impostor =
        Authority::create(&setting.directory.path().join("impostor"), &site_code(), SystemClock.now())
            .expect("an authority");
    let token = Token { authority_pem: impostor.certificate_pem().to_owned(), ..token(&setting) };

    let refused = enroll(&options(&setting, &token), &SystemClock).await.expect_err("refused");

    assert!(matches!(refused, EnrollError::Unreachable(_)), "{refused:?}");
    assert!(setting.site.known().requests.is_empty());
}

#[tokio::test]
async fn a_token_that_is_not_for_this_is_refused_before_anything_is_written() {
    let setting = Setting::new().await;
    let good = token(&setting);
    let for_client = Token { role: Role::Client, name: None, ..good.clone() };
    let expired = Token { expires: Timestamp(1_000_000), ..good.clone() };
    let elsewhere = Token { server: name(Role::Cap, "other").dns_name(), ..good };

    for token in [for_client, expired] {
        let options = options(&setting, &token);
        assert!(enroll(&options, &SystemClock).await.is_err());
        assert!(!options.directory.exists());
    }
    let refused = enroll(&options(&setting, &elsewhere), &SystemClock).await.expect_err("refused");
    assert!(matches!(refused, EnrollError::OtherServer { .. }), "{refused:?}");
}

#[tokio::test]
async fn a_client_enrols_through_its_agent() {
    let mut setting = Setting::new().await;
    setting.start_agent().await;
    setting.site.change(|known| known.enrolling = Some(name(Role::Client, CLIENT)));
    let authority_pem = setting.site.authority.certificate_pem().to_owned();
    let channel = setting.connect(Caller::Anonymous { authority_pem: &authority_pem }).await;
    let mut client = EnrollServiceClient::new(channel);
    let (_, certificate_request) = new_key_and_request("till-3").expect("a key");
    let request = EnrollRequest {
        courier_key: String::new(),
        secret: vec![7; 32].into(),
        certificate_request,
        hostname: "till-3".to_owned(),
        ..EnrollRequest::default()
    };

    let answer = client.enroll(request.clone()).await.expect("enrolled").into_inner();
    setting.site.change(|known| known.refuse_enrolments = 1);
    let used = client.enroll(request.clone()).await.expect_err("refused");
    setting.stop_site().await;
    let away = client.enroll(request.clone()).await.expect_err("nobody to ask");

    assert_eq!(answer.id, CLIENT);
    assert_eq!(setting.site.known().requests[0], request);
    assert_eq!((used.code(), used.message()), (Code::PermissionDenied, "the token is used"));
    assert_eq!(away.code(), Code::Unavailable);
}

#[tokio::test]
async fn who_enrols_in_excess_is_told_to_come_back() {
    let mut setting = Setting::new().await;
    setting.start_agent().await;
    let authority_pem = setting.site.authority.certificate_pem().to_owned();
    let channel = setting.connect(Caller::Anonymous { authority_pem: &authority_pem }).await;
    let mut client = EnrollServiceClient::new(channel);
    let request = EnrollRequest { secret: vec![7; 32].into(), ..EnrollRequest::default() };
    let calls = (0..200).map(|_| {
        let (mut client, request) = (client.clone(), request.clone());
        async move { client.enroll(request).await.map(drop).map_err(|status| status.code()) }
    });

    let answers = futures::future::join_all(calls).await;

    assert!(answers.contains(&Err(Code::ResourceExhausted)), "{answers:?}");
    assert!(setting.site.known().requests.len() < 200);
    let malformed = client.enroll(EnrollRequest::default()).await.expect_err("no secret");
    assert_eq!(malformed.code(), Code::InvalidArgument);
}
