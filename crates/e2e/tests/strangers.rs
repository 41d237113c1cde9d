//! Who has no certificate, a wrong one, or one for another use, gets nowhere; an administrator can look around.

use std::{fs, path::Path, process::Command, time::Duration};

use anyhow::{Context as _, Result, bail, ensure};
use packhorse_e2e::Hierarchy;
use packhorse_proto::{
    client::v1::{
        GetFilesRequest, PollRequest, ReportRequest, client_access_service_client::ClientAccessServiceClient,
    },
    link::v1::{ExchangeRequest, link_service_client::LinkServiceClient},
    object::v1::{AdvertisementStatus, ClientFact},
    provider::v1::{GetSiteStatusRequest, status_service_client::StatusServiceClient},
};
use packhorse_runtime::{Caller, ChannelOptions, Clock as _, ConnectError, SystemClock, connect};
use packhorse_trust::{Authority, Credentials, Name, Role};
use tonic::{Code, transport::Channel};

const DAY: Duration = Duration::from_secs(24 * 3600);

fn site_name(code: &str) -> Result<Name> {
    let code = code.parse()?;
    Ok(Name::of_site(Clone::clone(&code), &code))
}

async fn dial(port: u16, server: &Name, caller: Caller<'_>) -> Result<Channel, ConnectError> {
    connect(&format!("127.0.0.1:{port}"), server, caller, ChannelOptions::default()).await
}

async fn site_status(channel: Channel) -> Result<(), Code> {
    let answer = StatusServiceClient::new(channel).get_site_status(GetSiteStatusRequest {}).await;
    answer.map(|_| ()).map_err(|status| status.code())
}

fn credentials(directory: &Path) -> Result<Credentials> {
    Credentials::load(directory).with_context(|| format!("no credentials in {}", directory.display()))
}

#[test]
fn nobody_without_a_certificate_of_the_site_gets_an_answer() -> Result<()> {
    let mut hierarchy = Hierarchy::for_test()?;
    hierarchy.central("CEN")?;
    hierarchy.child("PAR", "CEN")?;
    let (centre, admin) = (site_name("CEN")?, credentials(hierarchy.console("CEN").admin_directory())?);
    let other_admin = credentials(hierarchy.console("PAR").admin_directory())?;
    let port = hierarchy.port("CEN");
    // The same names, by somebody who has made an authority of his own.
    let forged = forged_admin(&hierarchy.scratch("forged"), &admin)?;
    let mixed = Credentials { authority_pem: admin.authority_pem.clone(), ..forged };
    let elsewhere = Credentials { authority_pem: admin.authority_pem.clone(), ..other_admin };

    tokio::runtime::Runtime::new()?.block_on(async {
        let known = dial(port, &centre, Caller::Known(&admin)).await?;
        ensure!(site_status(known).await == Ok(()), "the administrator is refused");
        let anonymous = Caller::Anonymous { authority_pem: &admin.authority_pem };
        let nobody = dial(port, &centre, anonymous).await?;
        ensure!(site_status(nobody).await == Err(Code::Unauthenticated), "without a certificate");
        for (what, stranger) in [("a forged certificate", &mixed), ("another site's", &elsewhere)] {
            match dial(port, &centre, Caller::Known(stranger)).await {
                Err(ConnectError::Refused { .. }) => {}
                Err(error) => bail!("{what}: {error}"),
                Ok(channel) => ensure!(site_status(channel).await.is_err(), "{what} was accepted"),
            }
        }
        Ok(())
    })
}

/// An administrator's certificate for CEN from an authority that is not CEN's.
fn forged_admin(directory: &Path, real: &Credentials) -> Result<Credentials> {
    let now = SystemClock.now();
    let authority = Authority::create(directory, &"CEN".parse()?, now)?;
    let (key_pem, request) = packhorse_trust::credentials::new_key_and_request("admin")?;
    let cert_pem = authority.issue(&request, &real.name()?, DAY, now)?;
    Ok(Credentials { key_pem, cert_pem, authority_pem: authority.certificate_pem().to_owned() })
}

#[test]
fn a_certificate_is_good_for_its_own_role_and_its_own_id() -> Result<()> {
    let mut hierarchy = Hierarchy::for_test()?;
    hierarchy.central("CEN")?;
    hierarchy.cap("CEN", "cap1")?;
    hierarchy.clients(&["CEN/cen-1", "CEN/cen-2"])?;
    let own = credentials(&hierarchy.client_directory("cen-1").join("credentials"))?;
    let admin = credentials(hierarchy.console("CEN").admin_directory())?;
    let other = credentials(&hierarchy.client_directory("cen-2").join("credentials"))?.name()?.id;
    let cap = Name::new("CEN".parse()?, Role::Cap, "cap1")?;
    let cap_port: u16 = cap_port(&hierarchy)?;

    tokio::runtime::Runtime::new()?.block_on(async {
        let at_site = dial(hierarchy.port("CEN"), &site_name("CEN")?, Caller::Known(&own)).await?;
        ensure!(
            site_status(at_site.clone()).await == Err(Code::PermissionDenied),
            "a client is no administrator"
        );
        let frames = tokio_stream::iter(Vec::<ExchangeRequest>::new());
        let link = LinkServiceClient::new(at_site).exchange(frames).await;
        ensure!(link.is_err_and(|status| status.code() == Code::PermissionDenied), "a client is no site");

        let mut access = ClientAccessServiceClient::new(dial(cap_port, &cap, Caller::Known(&own)).await?);
        access.poll(PollRequest::default()).await?;
        let names = vec![format!("instruction/{other}")];
        let file = access.get_files(GetFilesRequest { names }).await;
        ensure!(file.is_err_and(|status| status.code() == Code::PermissionDenied), "another's instruction");
        let status = AdvertisementStatus {
            advertisement: "CEN00001".to_owned(),
            client: other.clone(),
            site: "CEN".to_owned(),
            ..AdvertisementStatus::default()
        };
        let report = ReportRequest { statuses: vec![status], ..ReportRequest::default() };
        ensure!(access.report(report).await.is_err(), "a report in another's name");
        let facts = ClientFact { id: other, site: "CEN".to_owned(), ..ClientFact::default() };
        let report = ReportRequest { facts: Some(facts), ..ReportRequest::default() };
        ensure!(access.report(report).await.is_err(), "facts in another's name");

        let channel = dial(cap_port, &cap, Caller::Known(&admin)).await?;
        let polled = ClientAccessServiceClient::new(channel).poll(PollRequest::default()).await;
        ensure!(polled.is_err_and(|status| status.code() == Code::PermissionDenied), "an admin is no client");
        Ok(())
    })
}

fn cap_port(hierarchy: &Hierarchy) -> Result<u16> {
    let answer = hierarchy.console("CEN").json(&["status", "site"])?;
    let endpoint = answer["caps"][0]["endpoints"][0].as_str().context("no endpoint of the CAP")?;
    Ok(endpoint.rsplit(':').next().context("no port")?.parse()?)
}

#[test]
fn a_token_works_once_and_for_what_it_was_made() -> Result<()> {
    let mut hierarchy = Hierarchy::for_test()?;
    hierarchy.central("CEN")?;
    hierarchy.cap("CEN", "cap1")?;
    let token = hierarchy.scratch("client.token");
    let token_path = token.display().to_string();
    hierarchy.console("CEN").done(&["client", "token", "--out", &token_path])?;
    let enroll = |program: &Path, name: &str, more: &[&str]| -> Result<(bool, String)> {
        let directory = hierarchy.scratch(name);
        let mut command = Command::new(program);
        command.arg("enroll").arg("--dir").arg(&directory).arg("--token").arg(&token).args(more);
        let output = command.output()?;
        Ok((output.status.success(), String::from_utf8_lossy(&output.stderr).into_owned()))
    };
    let (cap_agent, client_agent) = (&hierarchy.binaries().cap_agent, &hierarchy.binaries().client_agent);

    let (as_cap, said) = enroll(cap_agent, "as-cap", &["--listen", "127.0.0.1:1", "--endpoint", "a:1"])?;
    assert!(!as_cap, "a client's token made a CAP agent");
    assert!(said.contains("token"), "{said}");
    assert!(enroll(client_agent, "first", &[])?.0, "the token's first use");
    let (second, said) = enroll(client_agent, "second", &[])?;
    assert!(!second, "the token worked twice");
    assert!(said.contains("token"), "{said}");
    let text = fs::read_to_string(&token)?;
    assert!(!said.contains(secret_of(&text)?), "the secret is shown: {said}");
    Ok(())
}

fn secret_of(token: &str) -> Result<&str> {
    let line =
        token.lines().find_map(|line| line.strip_prefix("secret = ")).context("no secret in the token")?;
    Ok(line.trim_matches(['"', '\'']))
}

#[test]
fn an_administrator_finds_every_service_by_reflection() -> Result<()> {
    use tonic_reflection::pb::v1::{
        ServerReflectionRequest, server_reflection_client::ServerReflectionClient,
        server_reflection_request::MessageRequest, server_reflection_response::MessageResponse,
    };

    let mut hierarchy = Hierarchy::for_test()?;
    hierarchy.central("CEN")?;
    let admin = credentials(hierarchy.console("CEN").admin_directory())?;

    let services = tokio::runtime::Runtime::new()?.block_on(async {
        let channel = dial(hierarchy.port("CEN"), &site_name("CEN")?, Caller::Known(&admin)).await?;
        let request = ServerReflectionRequest {
            host: String::new(),
            message_request: Some(MessageRequest::ListServices(String::new())),
        };
        let mut client = ServerReflectionClient::new(channel);
        let mut answers = client.server_reflection_info(tokio_stream::iter([request])).await?.into_inner();
        let answer = answers.message().await?.context("no answer")?;
        match answer.message_response {
            Some(MessageResponse::ListServicesResponse(list)) => {
                Ok(list.service.into_iter().map(|service| service.name).collect::<Vec<_>>())
            }
            other => bail!("another answer: {other:?}"),
        }
    })?;

    for role in [
        "Package",
        "Collection",
        "Advertisement",
        "DistributionPoint",
        "Site",
        "Status",
        "Inspect",
        "Support",
    ] {
        let name = format!("packhorse.provider.v1.{role}Service");
        assert!(services.contains(&name), "{name} is missing in {services:?}");
    }
    for name in ["packhorse.link.v1.LinkService", "packhorse.enroll.v1.EnrollService"] {
        assert!(services.iter().any(|service| service == name), "{name} is missing in {services:?}");
    }
    Ok(())
}
