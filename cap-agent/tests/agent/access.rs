//! What clients get, from whom, and for how long without the site.

use packhorse_domain::Digest;
use packhorse_proto::{
    client::v1::{
        GetFilesRequest, GetFilesResponse, PollRequest, PollResponse,
        client_access_service_client::ClientAccessServiceClient,
    },
    content::v1::{GetManifestRequest, content_service_client::ContentServiceClient},
};
use packhorse_runtime::Caller;
use packhorse_trust::Role;
use tonic::{Code, transport::Channel};

use crate::setting::{CLIENT, OTHER_CLIENT, Setting};

type Client = ClientAccessServiceClient<Channel>;

async fn poll(client: &mut Client, held: &[u8]) -> Result<PollResponse, Code> {
    let request = PollRequest { instruction_digest: held.to_vec().into(), interval_s: 60, clock_us: 0 };
    client.poll(request).await.map(tonic::Response::into_inner).map_err(|status| status.code())
}

async fn get(client: &mut Client, names: &[&str]) -> Result<Vec<GetFilesResponse>, Code> {
    let names = names.iter().map(|name| (*name).to_owned()).collect();
    let mut answers =
        client.get_files(GetFilesRequest { names }).await.map_err(|status| status.code())?.into_inner();
    let mut files = Vec::new();
    while let Some(file) = answers.message().await.map_err(|status| status.code())? {
        files.push(file);
    }
    Ok(files)
}

fn instruction(client: &str) -> String {
    format!("instruction/{client}")
}

fn digest_of(content: &[u8]) -> Digest {
    Digest(*blake3::hash(content).as_bytes())
}

#[tokio::test]
async fn a_client_gets_its_own_instruction_once_and_the_files_it_names() {
    let mut setting = Setting::new().await;
    setting.site.put(&instruction(CLIENT), Some(b"for you"));
    setting.site.put("offer/CEN20001", Some(b"an offer"));
    setting.site.put("trust", Some(b"trust"));
    setting.start_agent().await;
    setting.site.caught_up().await;
    let mut client = setting.client(Role::Client, CLIENT).await;

    let news = poll(&mut client, b"").await.expect("answered");
    let nothing_new = poll(&mut client, digest_of(b"for you").as_bytes()).await.expect("answered");
    let files = get(&mut client, &["trust", "offer/CEN20001"]).await.expect("given");

    assert_eq!((news.instruction.as_ref(), news.known), (b"for you".as_slice(), true));
    assert_eq!((nothing_new.instruction.as_ref(), nothing_new.known), (b"".as_slice(), true));
    assert_eq!(
        files.iter().map(|file| file.content.as_ref()).collect::<Vec<_>>(),
        [b"trust".as_slice(), b"an offer"]
    );
    let mut other = setting.client(Role::Client, OTHER_CLIENT).await;
    assert_eq!(
        poll(&mut other, b"").await,
        Ok(PollResponse::default()),
        "nothing is known for another client"
    );
}

#[tokio::test]
async fn what_is_not_for_a_client_is_refused() {
    let mut setting = Setting::new().await;
    setting.site.put(&instruction(OTHER_CLIENT), Some(b"for another"));
    setting.site.put("content/dp1/CEN00001", Some(b""));
    setting.start_agent().await;
    setting.site.caught_up().await;
    let mut client = setting.client(Role::Client, CLIENT).await;

    assert_eq!(get(&mut client, &[&instruction(OTHER_CLIENT)]).await, Err(Code::PermissionDenied));
    assert_eq!(get(&mut client, &[&instruction(CLIENT)]).await, Err(Code::PermissionDenied));
    assert_eq!(get(&mut client, &["content/dp1/CEN00001"]).await, Err(Code::PermissionDenied));
    assert_eq!(get(&mut client, &["../credentials/key.pem"]).await, Err(Code::InvalidArgument));
    assert_eq!(get(&mut client, &["trust"; 257]).await, Err(Code::InvalidArgument));
    assert_eq!(get(&mut client, &["offer/CEN29999"]).await, Err(Code::NotFound));
    assert_eq!(poll(&mut client, b"short").await, Err(Code::InvalidArgument));
}

#[tokio::test]
async fn only_clients_poll_and_strangers_read_nothing() {
    let mut setting = Setting::new().await;
    setting.start_agent().await;
    let authority_pem = setting.site.authority.certificate_pem().to_owned();
    let stranger = setting.connect(Caller::Anonymous { authority_pem: &authority_pem }).await;

    for role in [Role::Admin, Role::Cap] {
        let mut caller = setting.client(role, "someone").await;
        assert_eq!(poll(&mut caller, b"").await, Err(Code::PermissionDenied), "{role}");
    }
    assert_eq!(poll(&mut Client::new(stranger.clone()), b"").await, Err(Code::Unauthenticated));
    let manifest = vec![1; 32].into();
    let read = ContentServiceClient::new(stranger).get_manifest(GetManifestRequest { manifest }).await;
    assert_eq!(read.map(drop).map_err(|status| status.code()), Err(Code::Unauthenticated));
}

#[tokio::test]
async fn a_restarted_agent_goes_on_from_its_cursor() {
    let mut setting = Setting::new().await;
    setting.site.put("trust", Some(b"trust"));
    setting.site.put("offer/CEN20001", Some(b"an offer"));
    setting.start_agent().await;
    setting.site.caught_up().await;
    setting.stop_agent().await;
    setting.site.put("offer/CEN20001", None);
    setting.site.put("offer/CEN20002", Some(b"another"));

    setting.start_agent().await;
    setting.site.caught_up().await;

    let hellos = setting.site.known().hellos.clone();
    assert_eq!((hellos[0].cursor, hellos[0].feed.as_ref()), (0, b"".as_slice()));
    assert_eq!((hellos[1].cursor, hellos[1].feed.as_ref()), (2, b"one".as_slice()));
    assert_eq!(hellos[1].endpoints, ["cap.example:7453"]);
    assert!(hellos[1].distribution_point);
    let mut client = setting.client(Role::Client, CLIENT).await;
    assert_eq!(get(&mut client, &["trust", "offer/CEN20002"]).await.map(|files| files.len()), Ok(2));
    assert_eq!(get(&mut client, &["offer/CEN20001"]).await, Err(Code::NotFound), "it was deleted meanwhile");
}

#[tokio::test]
async fn another_feed_replaces_everything_that_was_held() {
    let mut setting = Setting::new().await;
    setting.site.put(&instruction(CLIENT), Some(b"old"));
    setting.site.put("offer/CEN20001", Some(b"old"));
    setting.start_agent().await;
    setting.site.caught_up().await;
    setting.stop_site().await;

    setting.site.change(|known| {
        known.feed = "two";
        known.cursor = 0;
        known.files.clear();
        known.stored.clear();
    });
    setting.site.put("trust", Some(b"new"));
    setting.start_site().await;
    setting.site.caught_up().await;

    let mut client = setting.client(Role::Client, CLIENT).await;
    assert_eq!(get(&mut client, &["trust"]).await.map(|files| files.len()), Ok(1));
    assert_eq!(get(&mut client, &["offer/CEN20001"]).await, Err(Code::NotFound));
    assert_eq!(poll(&mut client, b"").await.map(|answer| answer.known), Ok(false));
}

#[tokio::test]
async fn clients_are_served_while_the_site_is_away_even_after_a_restart() {
    let mut setting = Setting::new().await;
    setting.site.put(&instruction(CLIENT), Some(b"for you"));
    setting.site.put("trust", Some(b"trust"));
    setting.start_agent().await;
    setting.site.caught_up().await;
    setting.stop_site().await;
    setting.stop_agent().await;

    setting.start_agent().await;

    let mut client = setting.client(Role::Client, CLIENT).await;
    assert_eq!(poll(&mut client, b"").await.expect("answered").instruction.as_ref(), b"for you");
    assert_eq!(get(&mut client, &["trust"]).await.map(|files| files.len()), Ok(1));
    setting.site.put(&instruction(CLIENT), Some(b"newer"));
    setting.start_site().await;
    setting.site.caught_up().await;
    let newer = poll(&mut client, digest_of(b"for you").as_bytes()).await.expect("answered");
    assert_eq!(newer.instruction.as_ref(), b"newer", "and what changed meanwhile comes with the site");
}
