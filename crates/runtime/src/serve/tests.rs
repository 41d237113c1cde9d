//! Real sockets, real TLS: who is let in, who is not, and that nobody is in another's way.

mod limits;

use std::{sync::LazyLock, time::Instant};

use packhorse_domain::Timestamp;
use packhorse_proto::enroll::v1::{
    EnrollRequest, EnrollResponse,
    enroll_service_client::EnrollServiceClient,
    enroll_service_server::{EnrollService, EnrollServiceServer},
};
use packhorse_trust::{Authority, Credentials, Name, Role, credentials::new_key_and_request};
use tokio::io::AsyncReadExt as _;
use tonic::{Code, Request, Response, Status, transport::Channel};
use tonic_health::pb::health_check_response::ServingStatus::Serving;
use tonic_reflection::pb::v1::{
    ServerReflectionRequest, server_reflection_client::ServerReflectionClient,
    server_reflection_request::MessageRequest, server_reflection_response::MessageResponse,
};

use super::*;
use crate::{
    authorize::peer,
    channel::{ChannelOptions, ConnectError, Refusal, connect},
    clock::{Clock as _, SystemClock},
    tls::{Caller, client_config},
};

const DAY: Duration = Duration::from_secs(86_400);
const ANYBODY: Rules = &[("/packhorse.enroll.v1.EnrollService/Enroll", &[])];
const CAPS: Rules = &[("/packhorse.enroll.v1.EnrollService/*", &[Role::Cap])];

static CEN: LazyLock<Authority> = LazyLock::new(|| authority("CEN"));
static PAR: LazyLock<Authority> = LazyLock::new(|| authority("PAR"));

fn authority(site: &str) -> Authority {
    let dir = tempfile::tempdir().unwrap();
    Authority::create(dir.path(), &site.parse().unwrap(), SystemClock.now()).unwrap()
}

fn name(site: &str, role: Role, id: &str) -> Name {
    Name::new(site.parse().unwrap(), role, id).unwrap()
}

fn credentials(authority: &Authority, name: &Name, now: Timestamp) -> Credentials {
    let (key_pem, request) = new_key_and_request("test").unwrap();
    let cert_pem = authority.issue(&request, name, DAY, now).unwrap();
    Credentials { key_pem, cert_pem, authority_pem: authority.certificate_pem().to_owned() }
}

fn cap() -> Credentials {
    credentials(&CEN, &name("CEN", Role::Cap, "cap1"), SystemClock.now())
}

fn site() -> Name {
    name("CEN", Role::Site, "CEN")
}

/// Answers with the caller's id.
struct Enroll;

#[tonic::async_trait]
impl EnrollService for Enroll {
    async fn enroll(&self, request: Request<EnrollRequest>) -> Result<Response<EnrollResponse>, Status> {
        let id = peer(&request).map(|name| name.id.clone()).unwrap_or_default();
        if request.get_ref().hostname == "slow" {
            tokio::time::sleep(Duration::from_millis(300)).await;
        }
        Ok(Response::new(EnrollResponse { id, ..Default::default() }))
    }
}

struct Running {
    endpoint: String,
    tls: ServerTls,
    stop: CancellationToken,
    task: JoinSet<Result<(), ServeError>>,
}

async fn start(rules: Rules, options: ServerOptions) -> Running {
    start_at("127.0.0.1:0", rules, options).await
}

async fn start_at(address: &str, rules: Rules, options: ServerOptions) -> Running {
    let listener = TcpListener::bind(address).await.unwrap();
    let endpoint = listener.local_addr().unwrap().to_string();
    let tls = ServerTls::new(&CEN.own_credentials(DAY, SystemClock.now()).unwrap()).unwrap();
    let services = Services {
        site: "CEN".parse().unwrap(),
        routes: Routes::new(EnrollServiceServer::new(Enroll)),
        rules,
        descriptors: packhorse_proto::DESCRIPTORS,
    };
    let stop = CancellationToken::new();
    let mut task = JoinSet::new();
    task.spawn(serve(listener, tls.clone(), services, options, stop.clone()));
    Running { endpoint, tls, stop, task }
}

impl Running {
    async fn connect(&self, caller: Caller<'_>) -> Result<Channel, ConnectError> {
        connect(&self.endpoint, &site(), caller, ChannelOptions::default()).await
    }

    async fn connect_anonymous(&self) -> Channel {
        self.connect(Caller::Anonymous { authority_pem: CEN.certificate_pem() }).await.unwrap()
    }

    async fn refusal(&self, server: &Name, caller: &Credentials) -> Refusal {
        match connect(&self.endpoint, server, Caller::Known(caller), ChannelOptions::default()).await {
            Err(ConnectError::Refused { refusal, .. }) => refusal,
            other => panic!("a refusal is expected, not {other:?}"),
        }
    }
}

async fn enroll(channel: &Channel, hostname: &str) -> Result<String, Code> {
    let request = EnrollRequest { hostname: hostname.to_owned(), ..Default::default() };
    let result = EnrollServiceClient::new(channel.clone()).enroll(request).await;
    result.map(|response| response.into_inner().id).map_err(|status| status.code())
}

async fn health(channel: &Channel, service: &str) -> Result<i32, Code> {
    let mut client = tonic_health::pb::health_client::HealthClient::new(channel.clone());
    let answer = client.check(tonic_health::pb::HealthCheckRequest { service: service.to_owned() }).await;
    answer.map(|answer| answer.into_inner().status).map_err(|status| status.code())
}

async fn reflect(channel: &Channel, ask: MessageRequest) -> Result<MessageResponse, Code> {
    let request = ServerReflectionRequest { message_request: Some(ask), ..Default::default() };
    let requests = tokio_stream::iter([request]);
    let answer = ServerReflectionClient::new(channel.clone()).server_reflection_info(requests).await;
    let answer =
        answer.map_err(|status| status.code())?.into_inner().message().await.map_err(|s| s.code())?;
    Ok(answer.and_then(|answer| answer.message_response).expect("an answer"))
}

async fn services(channel: &Channel) -> Result<Vec<String>, Code> {
    match reflect(channel, MessageRequest::ListServices(String::new())).await? {
        MessageResponse::ListServicesResponse(list) => {
            Ok(list.service.into_iter().map(|service| service.name).collect())
        }
        other => panic!("a list is expected, not {other:?}"),
    }
}

#[tokio::test]
async fn without_a_certificate_only_open_methods_answer() {
    let open = start(ANYBODY, ServerOptions::default()).await;
    let closed = start(CAPS, ServerOptions::default()).await;

    let (to_open, to_closed) = (open.connect_anonymous().await, closed.connect_anonymous().await);

    assert_eq!(enroll(&to_open, "").await, Ok(String::new()));
    assert_eq!(enroll(&to_closed, "").await, Err(Code::Unauthenticated));
    assert_eq!(health(&to_closed, "").await, Ok(Serving.into()));
    assert_eq!(services(&to_closed).await, Err(Code::Unauthenticated));
}

#[tokio::test]
async fn the_role_in_the_certificate_decides_and_the_handler_learns_the_name() {
    let server = start(CAPS, ServerOptions::default()).await;
    let admin = credentials(&CEN, &name("CEN", Role::Admin, "root"), SystemClock.now());

    let by_cap = server.connect(Caller::Known(&cap())).await.unwrap();
    let by_admin = server.connect(Caller::Known(&admin)).await.unwrap();

    assert_eq!(enroll(&by_cap, "").await, Ok("cap1".to_owned()));
    assert_eq!(enroll(&by_admin, "").await, Err(Code::PermissionDenied));
}

#[tokio::test]
async fn reflection_lists_what_is_served_here_and_describes_all_of_it() {
    let server = start(CAPS, ServerOptions::default()).await;
    let channel = server.connect(Caller::Known(&cap())).await.unwrap();

    let listed = services(&channel).await.unwrap();

    assert_eq!(
        listed,
        [
            "packhorse.enroll.v1.EnrollService",
            "grpc.health.v1.Health",
            "grpc.reflection.v1.ServerReflection",
            "grpc.reflection.v1alpha.ServerReflection",
        ]
    );
    for service in listed {
        let answer = reflect(&channel, MessageRequest::FileContainingSymbol(service.clone())).await.unwrap();
        assert!(matches!(answer, MessageResponse::FileDescriptorResponse(_)), "{service}: {answer:?}");
    }
}

#[tokio::test]
async fn health_answers_for_the_server_and_for_each_of_its_services() {
    let server = start(CAPS, ServerOptions::default()).await;
    let channel = server.connect_anonymous().await;

    assert_eq!(health(&channel, "").await, Ok(Serving.into()));
    assert_eq!(health(&channel, "packhorse.enroll.v1.EnrollService").await, Ok(Serving.into()));
    assert_eq!(health(&channel, "packhorse.link.v1.LinkService").await, Err(Code::NotFound));
}

#[tokio::test]
async fn both_ends_refuse_what_they_do_not_trust_and_the_caller_learns_which() {
    let server = start(CAPS, ServerOptions::default()).await;
    let of_par = credentials(&PAR, &name("PAR", Role::Cap, "cap1"), SystemClock.now());
    let strange = Credentials { authority_pem: CEN.certificate_pem().to_owned(), ..of_par.clone() };
    let before = Timestamp(SystemClock.now().0 - 30 * DAY.as_micros() as i64);
    let expired = credentials(&CEN, &name("CEN", Role::Cap, "cap1"), before);

    assert_eq!(server.refusal(&site(), &of_par).await, Refusal::WrongAuthority);
    assert_eq!(server.refusal(&site(), &strange).await, Refusal::ByServer);
    assert_eq!(server.refusal(&site(), &expired).await, Refusal::OutOfDate);
    let later = Timestamp(SystemClock.now().0 + DAY.as_micros() as i64);
    let early = credentials(&CEN, &name("CEN", Role::Cap, "cap1"), later);
    assert_eq!(server.refusal(&site(), &early).await, Refusal::OutOfDate, "TLS has one word for both");
    assert_eq!(server.refusal(&name("CEN", Role::Site, "PAR"), &cap()).await, Refusal::WrongName);
}

#[tokio::test]
async fn a_server_whose_certificate_is_not_of_this_time_is_refused() {
    let server = start(CAPS, ServerOptions::default()).await;
    let before = Timestamp(SystemClock.now().0 - 30 * DAY.as_micros() as i64);

    server.tls.replace(&CEN.own_credentials(DAY, before).unwrap()).unwrap();

    assert_eq!(server.refusal(&site(), &cap()).await, Refusal::Expired);

    let later = Timestamp(SystemClock.now().0 + DAY.as_micros() as i64);
    server.tls.replace(&CEN.own_credentials(DAY, later).unwrap()).unwrap();

    assert_eq!(server.refusal(&site(), &cap()).await, Refusal::NotYetValid);
}

#[tokio::test]
async fn a_certificate_is_replaced_while_the_server_serves() {
    let server = start(CAPS, ServerOptions::default()).await;
    let old = server.connect(Caller::Known(&cap())).await.unwrap();
    let of_par = PAR.own_credentials(DAY, SystemClock.now()).unwrap();

    server.tls.replace(&of_par).unwrap();

    assert_eq!(server.refusal(&site(), &cap()).await, Refusal::WrongAuthority);
    assert_eq!(enroll(&old, "").await, Ok("cap1".to_owned()), "a connection that exists goes on");
}

#[tokio::test]
async fn silent_callers_are_cut_and_block_nobody() {
    let options = ServerOptions {
        handshake_timeout: Duration::from_millis(200),
        handshakes_max: 4,
        ..ServerOptions::default()
    };
    let server = start(CAPS, options).await;
    let mut silent = Vec::new();
    for _ in 0..3 {
        silent.push(TcpStream::connect(&server.endpoint).await.unwrap());
    }

    let begun = Instant::now();
    let channel = server.connect(Caller::Known(&cap())).await.unwrap();
    let beside_them = enroll(&channel, "").await;

    assert_eq!(beside_them, Ok("cap1".to_owned()));
    // More of them than there is room for only make others wait until they are cut.
    for _ in 0..8 {
        silent.push(TcpStream::connect(&server.endpoint).await.unwrap());
    }
    server.connect(Caller::Known(&cap())).await.unwrap();
    for stream in &mut silent {
        assert_eq!(stream.read(&mut [0; 64]).await.unwrap_or(0), 0, "closed");
    }
    assert!(begun.elapsed() < Duration::from_secs(9), "cut by the server, not by the end of the test");
}

#[tokio::test]
async fn a_caller_that_falls_silent_after_tls_is_cut() {
    let options = ServerOptions { handshake_timeout: Duration::from_millis(200), ..ServerOptions::default() };
    let server = start(CAPS, options).await;
    let config = client_config(Caller::Known(&cap())).unwrap();
    let stream = TcpStream::connect(&server.endpoint).await.unwrap();
    let dns_name = site().dns_name().try_into().unwrap();
    let mut tls = tokio_rustls::TlsConnector::from(config).connect(dns_name, stream).await.unwrap();

    let mut said = Vec::new();
    let end = tokio::time::timeout(Duration::from_secs(9), tls.read_to_end(&mut said)).await;

    assert!(end.is_ok(), "cut");
    assert!(!said.is_empty(), "the server had said its first word");
}

#[tokio::test]
async fn callers_without_a_certificate_cannot_take_all_the_room() {
    let server = start(ANYBODY, ServerOptions { anonymous_max: 2, ..ServerOptions::default() }).await;
    let _held = (server.connect_anonymous().await, server.connect_anonymous().await);

    let third = server.connect(Caller::Anonymous { authority_pem: CEN.certificate_pem() }).await;
    let known = server.connect(Caller::Known(&cap())).await.unwrap();

    assert!(matches!(third, Err(ConnectError::Unreachable { .. })), "{third:?}");
    assert_eq!(enroll(&known, "").await, Ok("cap1".to_owned()));
}

#[tokio::test]
async fn a_server_that_is_not_there_or_says_nothing_is_told_apart() {
    let closed = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap().to_string();
    let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let silent_at = silent.local_addr().unwrap().to_string();
    let (own, server) = (cap(), site());
    let to = |endpoint: String| {
        let options =
            ChannelOptions { connect_timeout: Duration::from_millis(300), ..ChannelOptions::default() };
        let (own, server) = (&own, &server);
        async move { connect(&endpoint, server, Caller::Known(own), options).await.map(drop) }
    };

    assert!(matches!(to(closed).await, Err(ConnectError::Unreachable { .. })));
    assert!(matches!(to(silent_at).await, Err(ConnectError::TimedOut { .. })));
    for bad in ["", "host", ":5", "host:", "host:0", "host:65536", "http://host"] {
        assert!(matches!(to(bad.to_owned()).await, Err(ConnectError::Endpoint { .. })), "{bad}");
    }
}

#[tokio::test]
async fn bytes_are_counted_as_they_go_over_the_wire() {
    let server = start(CAPS, ServerOptions::default()).await;
    let options = ChannelOptions::default();
    let counter = options.counter.clone();
    let channel = connect(&server.endpoint, &site(), Caller::Known(&cap()), options).await.unwrap();
    let before = (counter.sent(), counter.received());

    enroll(&channel, &"x".repeat(100_000)).await.unwrap();

    assert!(before.0 > 500 && before.1 > 500, "the handshake counts: {before:?}");
    let sent = counter.sent() - before.0;
    assert!((100_000..110_000).contains(&sent), "{sent}");
}

#[tokio::test]
async fn a_stop_lets_the_running_call_end_and_takes_no_more() {
    let mut server = start(CAPS, ServerOptions::default()).await;
    let channel = server.connect(Caller::Known(&cap())).await.unwrap();
    let mut running = JoinSet::new();
    let on = channel.clone();
    running.spawn(async move { enroll(&on, "slow").await });
    // The server has the slow call once it has answered one that was sent after it.
    tokio::task::yield_now().await;
    enroll(&channel, "").await.unwrap();

    server.stop.cancel();
    let slow = running.join_next().await.unwrap().unwrap();
    drop(channel);
    let ended = server.task.join_next().await.unwrap().unwrap();

    assert_eq!(slow, Ok("cap1".to_owned()));
    assert!(ended.is_ok(), "{ended:?}");
    assert!(TcpStream::connect(&server.endpoint).await.is_err());
}

#[tokio::test]
async fn a_channel_finds_its_server_again_after_a_restart() {
    let mut first = start(CAPS, ServerOptions::default()).await;
    let endpoint = first.endpoint.clone();
    let channel = first.connect(Caller::Known(&cap())).await.unwrap();
    enroll(&channel, "").await.unwrap();
    first.stop.cancel();
    first.task.join_next().await.unwrap().unwrap().unwrap();

    let _second = start_at(&endpoint, CAPS, ServerOptions::default()).await;
    let again = async {
        while enroll(&channel, "").await.is_err() {
            tokio::task::yield_now().await;
        }
    };

    assert!(tokio::time::timeout(Duration::from_secs(9), again).await.is_ok());
}
