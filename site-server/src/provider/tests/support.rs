//! Support bundles over gRPC and from a directory: what is in them, and what never is.

use std::{
    collections::BTreeMap,
    fs,
    io::Read as _,
    path::{Path, PathBuf},
    time::Duration,
};

use packhorse_domain::message;
use packhorse_proto::{
    convert::time::timestamp,
    provider::v1::{
        CollectRequest, CollectResponse, CreateCapTokenRequest, CreatePackageRequest, ListStreamsRequest,
        SetAddressRequest, StreamKind, inspect_service_client::InspectServiceClient,
        package_service_server::PackageService as _, site_service_server::SiteService as _,
        support_service_client::SupportServiceClient,
    },
};
use packhorse_runtime::{Clock as _, SystemClock};
use packhorse_trust::Credentials;
use serde_json::Value;
use tokio::{sync::oneshot, time::timeout};
use tonic::{Code, Status, Streaming, transport::Channel};

use super::{
    inspect::{as_admin, channel},
    refused,
};
use crate::{
    provider::{Addresses, Packages, Sites},
    status,
    store::neighbours::{self, Relation},
    support,
    testing::{Node, until},
};
use packhorse_proto::provider::v1::address_service_server::AddressService as _;

/// Stands for what must not get out, wherever it is put.
const PLANTED: &str = "PLANTEDx9Kq";

type Files = BTreeMap<String, String>;

/// The files of an archive by their names below its directory.
fn unpack(archive: &[u8]) -> Files {
    let mut tar = tar::Archive::new(zstd::Decoder::new(archive).unwrap());
    let files = tar.entries().unwrap().map(|entry| {
        let mut entry = entry.unwrap();
        let mut text = String::new();
        entry.read_to_string(&mut text).expect("all of it is text");
        let path = entry.path().unwrap().display().to_string();
        (path.split_once('/').unwrap().1.to_owned(), text)
    });
    files.collect()
}

/// What the messages say, and the archive.
async fn heard(mut answers: Streaming<CollectResponse>) -> Result<(Vec<String>, Vec<u8>, u32), Status> {
    let (mut parts, mut archive, mut announced) = (Vec::new(), Vec::new(), None);
    while let Some(message) = answers.message().await? {
        if message.data.is_empty() {
            parts.push(message.part);
        } else {
            announced = announced.or(Some((message.length, message.files)));
            archive.extend_from_slice(&message.data);
        }
    }
    let (length, files) = announced.expect("an archive");
    assert_eq!(length, archive.len() as u64);
    Ok((parts, archive, files))
}

fn request() -> CollectRequest {
    CollectRequest { caller_clock: Some(timestamp(SystemClock.now())) }
}

/// Private keys of a site, line by line, and whole.
fn keys(directory: &Path) -> Vec<String> {
    let mut found = Vec::new();
    for key in ["keys/director.pem", "keys/author.pem", "keys/root.pem", "keys/courier.key", "admin/key.pem"]
    {
        let text = fs::read_to_string(directory.join(key)).unwrap();
        assert!(text.contains("PRIVATE KEY") || text.contains("AGE-SECRET-KEY"), "{key}");
        found.extend(text.lines().filter(|line| !line.starts_with('-')).map(str::to_owned));
    }
    found
}

fn site_directory(node: &Node) -> PathBuf {
    node.path("site")
}

/// Puts secrets wherever somebody may have put one; gives those that do not say themselves that they are planted.
async fn plant(node: &Node) -> Vec<String> {
    let directory = site_directory(node);
    let mut secrets = keys(&directory);
    let director = fs::read_to_string(directory.join("keys/director.pem")).unwrap();
    let age = fs::read_to_string(directory.join("keys/courier.key")).unwrap();
    let made = Sites::new(node.site.clone())
        .create_cap_token(node.asked(CreateCapTokenRequest { name: "cap1".to_owned(), ..Default::default() }))
        .await;
    let token = made.unwrap().into_inner().token;
    let secret =
        token.lines().find_map(|line| line.strip_prefix("secret = ")).unwrap().trim_matches(['"', '\'']);
    secrets.push(secret.to_owned());
    let piece = director.lines().nth(1).unwrap();

    let mut tx = node.site.store.begin().await.unwrap();
    let texts = [
        format!("somebody pasted a key: {} and went on", director.trim()),
        format!("and {age}"),
        format!("and a token: {token}"),
        format!("and only its secret {secret}, and half of a key {piece}"),
        format!("dialled https://anna:{PLANTED}@proxy.example:3128/ in vain"),
        format!("ran setup --password {PLANTED} with apiKey=\"{PLANTED}\""),
    ];
    // What is said again of one thing is counted, and not said.
    for (nth, text) in texts.iter().enumerate() {
        let message = message::point_failed(&"hall", text);
        status::report(&node.site, &mut tx, &format!("CEN0000{nth}"), &message).await.unwrap();
    }
    neighbours::add(&mut tx, &"PAR".parse().unwrap(), Relation::Child).await.unwrap();
    tx.commit().await.unwrap();
    let address = SetAddressRequest {
        peer: "PAR".to_owned(),
        endpoint: Some(format!("https://anna:{PLANTED}@par.example:7443")),
        ..SetAddressRequest::default()
    };
    Addresses::new(node.site.clone()).set_address(node.asked(address)).await.unwrap();
    let package =
        CreatePackageRequest { name: format!("Editor token={PLANTED}"), ..CreatePackageRequest::default() };
    Packages::new(node.site.clone()).create_package(node.asked(package)).await.unwrap();
    node.site.links(|links| {
        let view = links.entry("PAR".parse().unwrap()).or_default();
        view.last_error = format!("refused: Authorization: Bearer {PLANTED}");
    });
    let mut config = fs::read_to_string(directory.join("site.toml")).unwrap();
    config.insert_str(0, &format!("# the password is {PLANTED}\n"));
    config.push_str(&format!(
        "otlp_endpoint = \"http://anna:{PLANTED}@otel.example:4317\"\n[proxy]\nkey = \"{PLANTED}\"\n"
    ));
    fs::write(directory.join("site.toml"), config).unwrap();
    fs::write(directory.join(format!("uploads/password={PLANTED}")), PLANTED).unwrap();
    fs::write(directory.join("uploads/notes.txt"), PLANTED).unwrap();
    secrets.push(PLANTED.to_owned());
    secrets
}

/// That none of the secrets is in any file, in one piece or told apart by escapes.
#[track_caller]
fn has_none_of(files: &Files, secrets: &[String]) {
    for (name, text) in files {
        for secret in secrets {
            assert!(!text.contains(secret.as_str()), "{secret} is in {name}:\n{text}");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_bundle_has_what_explains_a_site_and_no_secret_that_was_put_anywhere() {
    let node = Node::central(SystemClock::shared()).await;
    node.start();
    let secrets = plant(&node).await;
    let mut client = SupportServiceClient::new(as_admin(&node).await);

    let (parts, archive, count) = heard(client.collect(request()).await.unwrap().into_inner()).await.unwrap();

    assert_eq!(parts, support::PARTS);
    let files = unpack(&archive);
    assert_eq!(count as usize, files.len());
    has_none_of(&files, &secrets);
    let documents: BTreeMap<&str, Value> = files
        .iter()
        .filter(|(name, _)| name.ends_with(".json"))
        .map(|(name, text)| {
            (name.as_str(), serde_json::from_str(text).unwrap_or_else(|error| panic!("{name}: {error}")))
        })
        .collect();
    let readme = &files["README.txt"];
    for name in files.keys().filter(|name| *name != "README.txt") {
        assert!(
            readme.lines().any(|line| line.starts_with(name.as_str())),
            "{name} is not explained in\n{readme}"
        );
    }
    assert!(!readme.contains("missing:"), "{readme}");

    assert_eq!(documents["site.json"]["path"][0], "CEN");
    assert_eq!(documents["neighbours.json"][0]["code"], "PAR");
    assert_eq!(documents["addresses.json"][0]["endpoint"], "https://[redacted]@par.example:7443");
    assert_eq!(documents["packages.json"][0]["name"], "Editor token=[redacted]");
    assert_eq!(documents["database/check.json"][0], "ok");
    let facts = &documents["database/facts.json"];
    assert_eq!(facts["migration"], facts["newest_migration"]);
    assert!(facts["rows"].as_array().unwrap().iter().any(|row| row["table"] == "token" && row["rows"] == 1));
    assert!(documents["clock.json"]["site_ahead_s"].as_f64().unwrap() < 60.0);
    let workers = documents["live/workers.json"]["workers"].as_array().unwrap();
    assert!(workers.iter().any(|worker| worker["name"] == "distribution-manager"));
    let streams = documents["live/streams.json"]["streams"].as_array().unwrap();
    assert!(streams.iter().any(|stream| stream["kind"] == "STREAM_KIND_SUPPORT_BUNDLE"), "{streams:?}");
    let certificates = documents["certificates.json"].as_array().unwrap();
    let own = |one: &&Value| one["file"] == "credentials/own/cert.pem";
    assert_eq!(certificates.iter().find(own).unwrap()["identity"], "packhorse://CEN/site/CEN");
    let link = &documents["live/links.json"]["links"][0];
    assert_eq!(link["lastError"], "refused: Authorization: Bearer [redacted]");
    let events = documents["events.json"].as_array().unwrap();
    let said = |text: &str| events.iter().any(|event| event["text"].as_str().unwrap().contains(text));
    assert!(said("somebody pasted a key: [redacted] and went on"), "{events:?}");
    assert!(said("admin admin collected a support bundle"), "{events:?}");
    assert!(said("ran setup --password [redacted] with apiKey=\"[redacted]\""), "{events:?}");
    assert!(files["site.toml"].contains("http://[redacted]@otel.example:4317"), "{}", files["site.toml"]);
    assert!(files["files.txt"].contains("-0600") && files["files.txt"].contains("keys/director.pem"));
    assert!(files["machine/limits.txt"].contains("Max open files"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_bundle_is_made_at_a_time_and_only_for_administrators() {
    let node = Node::central(SystemClock::shared()).await;
    let child = node.child("PAR", SystemClock::shared()).await;
    let mut client = SupportServiceClient::new(as_admin(&node).await);
    // A transaction that writes keeps the note of the first from being made.
    let writing = node.site.store.begin().await.unwrap();
    let (made, first) = oneshot::channel();
    let mut caller = client.clone();
    node.lifecycle.spawn_finite("first", async move {
        // Who looks whether it has begun may have come before it.
        let first = loop {
            match caller.collect(request()).await {
                Err(status) if status.code() == Code::ResourceExhausted => {
                    tokio::time::sleep(Duration::from_millis(2)).await;
                }
                answer => break answer,
            }
        };
        drop(made.send(first));
    });
    // One that comes before it waits as it does, and makes room again.
    until("the first has begun", || async {
        let mut client = client.clone();
        let answer = timeout(Duration::from_millis(300), client.collect(request())).await;
        answer.is_ok_and(|answer| answer.is_err_and(|status| status.code() == Code::ResourceExhausted))
    })
    .await;
    refused(client.collect(request()).await, Code::ResourceExhausted, &["one", "try again"]);
    drop(writing);
    heard(first.await.unwrap().unwrap().into_inner()).await.unwrap();

    // Whoever hangs up makes room.
    drop(client.collect(request()).await.unwrap());
    until("nothing is left of it", || async {
        let mut inspect = InspectServiceClient::new(as_admin(&node).await);
        let streams = inspect.list_streams(ListStreamsRequest {}).await.unwrap().into_inner().streams;
        streams.iter().all(|stream| stream.kind() != StreamKind::SupportBundle)
    })
    .await;
    until("another is made", || async {
        let mut client: SupportServiceClient<Channel> = client.clone();
        client.collect(request()).await.is_ok()
    })
    .await;

    let bad = CollectRequest { caller_clock: Some(prost_types::Timestamp { seconds: i64::MAX, nanos: 0 }) };
    refused(client.collect(bad).await, Code::InvalidArgument, &["caller_clock"]);
    let site = Credentials::load(&child.site.directories.parent_credentials()).unwrap();
    let mut by_site = SupportServiceClient::new(channel(&node, &site).await);
    refused(by_site.collect(request()).await, Code::PermissionDenied, &["Collect"]);
}

/// Names, modes, lengths and times of all there is.
fn everything(directory: &Path) -> String {
    packhorse_support::listing(directory)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_site_that_does_not_run_has_a_bundle_too_and_stays_as_it_is() {
    let node = Node::central(SystemClock::shared()).await;
    let secrets = plant(&node).await;
    let directory = site_directory(&node);
    node.site.store.close().await;
    let before = everything(&directory);

    let archive = support::offline(&directory, SystemClock.now()).await.unwrap();

    assert_eq!(everything(&directory), before);
    let files = unpack(&archive.bytes);
    has_none_of(&files, &secrets);
    let check: Value = serde_json::from_str(&files["database/check.json"]).unwrap();
    assert_eq!(check[0], "ok");
    assert!(files["events.json"].contains("and only its secret [redacted], and half of a key [redacted]"));
    assert!(files["README.txt"].contains("missing: only a site server that runs can say it"));

    // A damaged database and settings that are none hide nothing else.
    fs::write(directory.join("site.db"), vec![7; 9000]).unwrap();
    fs::write(directory.join("site.toml"), format!("code = \"CEN\"\npassword = {PLANTED}\n")).unwrap();
    let archive = support::offline(&directory, SystemClock.now()).await.unwrap();
    let files = unpack(&archive.bytes);
    has_none_of(&files, &secrets);
    let readme = &files["README.txt"];
    assert!(readme.contains("line 2 is no TOML"), "{readme}");
    assert!(
        readme.lines().any(|line| line.starts_with("events.json") && line.contains("missing")),
        "{readme}"
    );
    assert!(files["files.txt"].contains("site.db") && files.contains_key("certificates.json"));

    fs::remove_file(directory.join("site.db")).unwrap();
    let archive = support::offline(&directory, SystemClock.now()).await.unwrap();
    assert!(unpack(&archive.bytes)["README.txt"].contains("missing: cannot open the site database"));
    assert!(!directory.join("site.db").exists(), "nothing is made");
    assert!(support::offline(&directory.join("none"), SystemClock.now()).await.is_err());
}
