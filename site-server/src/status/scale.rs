//! What summaries cost, in a real database through the real way of writing, asked for over the real service: a small one with
//! every test run, a large one for `bench/status.sh`, which sets how large.

use std::{env, fs, time::Instant};

use packhorse_domain::{
    Timestamp,
    advertisement::{Acceptance, Delivery},
    id::SiteCode,
    object::{Object, ObjectKind},
    package::PackageState,
    site::SiteFact,
    status::{AdvertisementStatus, PackageStatus},
};
use packhorse_proto::{
    convert,
    object::v1 as wire,
    provider::v1::{
        SummarizeAdvertisementsRequest, SummarizePackagesRequest, status_service_client::StatusServiceClient,
        status_service_server::StatusServiceServer,
    },
};
use packhorse_runtime::SystemClock;
use tokio::net::TcpListener;
use tokio_stream::{StreamExt as _, wrappers::TcpListenerStream};
use tonic::transport::{Channel, Endpoint, Server};

use crate::{
    provider::Statuses,
    record,
    store::{Tx, objects},
    testing::Node,
};

/// Rows in one transaction.
const BATCH: usize = 5_000;

struct Scale {
    packages: usize,
    sites: usize,
    clients: usize,
    advertisements: usize,
}

impl Scale {
    fn asked() -> Scale {
        let number = |name: &str, default: usize| {
            env::var(format!("PACKHORSE_BENCH_{name}"))
                .ok()
                .and_then(|text| text.parse().ok())
                .unwrap_or(default)
        };
        Scale {
            packages: number("PACKAGES", 20),
            sites: number("SITES", 10),
            clients: number("CLIENTS", 200),
            advertisements: number("ADVERTISEMENTS", 5),
        }
    }

    fn code(&self, number: usize) -> SiteCode {
        assert!(number < 36 * 36);
        let digit = |number: usize| char::from(b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ"[number % 36]);
        format!("S{}{}", digit(number / 36), digit(number)).parse().unwrap()
    }
}

/// Writes a row as one that came from its owner; its length as it travels.
async fn put(
    tx: &mut Tx,
    kind: ObjectKind,
    id: String,
    owner: &SiteCode,
    (version, body): (u64, Vec<u8>),
) -> usize {
    let owner = owner.clone();
    let object = Object { kind, id, owner, version, deleted: false, body, traceparent: String::new() };
    let content = convert::encode::<wire::Object, _>(&object);
    objects::put(tx, &object, &content, &record::digest(&content), Timestamp(1)).await.unwrap();
    content.len()
}

fn place(package: usize, site: &SiteCode, state: PackageState) -> PackageStatus {
    PackageStatus {
        package: format!("CEN{package:05}").parse().unwrap(),
        site: site.clone(),
        point: "dp1".parse().ok(),
        state,
        source_version: 1,
        held: vec![packhorse_domain::Digest([7; 32])],
        reason: String::new(),
        changed_at: Timestamp(1_800_000_000_000_000),
    }
}

fn client(advertisement: usize, client: usize, site: &SiteCode, delivery: Delivery) -> AdvertisementStatus {
    AdvertisementStatus {
        advertisement: format!("CEN{:05}", 20_000 + advertisement).parse().unwrap(),
        client: format!("00000000-0000-4000-8000-{client:012}").parse().unwrap(),
        site: site.clone(),
        hostname: format!("till-{client}"),
        acceptance: Acceptance::Accepted,
        delivery,
        exit_code: None,
        output_tail: String::new(),
        reason: String::new(),
        source_version: 1,
        changed_at: Timestamp(1_800_000_000_000_000),
        generation: 1,
        closed: None,
    }
}

async fn fill(node: &Node, scale: &Scale) -> f64 {
    let began = Instant::now();
    let mut tx = node.site.store.begin().await.unwrap();
    let mut left = BATCH;
    let states = [PackageState::Installed, PackageState::Pending, PackageState::Failed];
    for number in 0..scale.sites {
        let code = scale.code(number);
        let fact = SiteFact {
            code: code.clone(),
            parent: "CEN".parse().ok(),
            name: String::new(),
            software: String::new(),
            courier_key: String::new(),
        };
        let body = convert::encode::<wire::SiteFact, _>(&fact);
        put(&mut tx, ObjectKind::Site, code.to_string(), &code, (1, body)).await;
        for package in 0..scale.packages {
            let status = place(package, &code, states[(number + package) % 3]);
            let body = convert::encode::<wire::PackageStatus, _>(&status);
            put(&mut tx, ObjectKind::PackageStatus, record::package_status_id(&status), &code, (1, body))
                .await;
            pass(node, &mut tx, &mut left).await;
        }
    }
    for number in 0..scale.clients {
        let code = scale.code(number % scale.sites);
        for advertisement in 0..scale.advertisements {
            let delivery = Delivery::ALL[(number + advertisement) % Delivery::ALL.len()];
            let status = client(advertisement, number, &code, delivery);
            let id = format!("{}/{}", status.advertisement, status.client);
            let body = convert::encode::<wire::AdvertisementStatus, _>(&status);
            put(&mut tx, ObjectKind::AdvertisementStatus, id, &code, (1, body)).await;
            pass(node, &mut tx, &mut left).await;
        }
    }
    tx.commit().await.unwrap();
    began.elapsed().as_secs_f64()
}

/// Goes on in a transaction of its own when this one has enough.
async fn pass(node: &Node, tx: &mut Tx, left: &mut usize) {
    *left -= 1;
    if *left == 0 {
        *left = BATCH;
        let full = std::mem::replace(tx, node.site.store.read().await.unwrap());
        full.commit().await.unwrap();
        *tx = node.site.store.begin().await.unwrap();
    }
}

/// The real service behind a real socket.
async fn served(node: &Node) -> StatusServiceClient<Channel> {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let service = StatusServiceServer::new(Statuses::new(node.site.clone(), node.lifecycle.clone()));
    // As the site server does: else a longer answer waits for an acknowledgement that is delayed.
    let incoming = TcpListenerStream::new(listener).map(|socket| {
        socket.and_then(|socket| {
            socket.set_nodelay(true)?;
            Ok(socket)
        })
    });
    let serve = Server::builder().add_service(service).serve_with_incoming(incoming);
    node.lifecycle.spawn_finite("bench", async move { drop(serve.await) });
    let endpoint = Endpoint::from_shared(format!("http://{address}")).unwrap();
    StatusServiceClient::new(endpoint.connect().await.unwrap())
}

/// The median of eleven times, in milliseconds.
async fn median<F: Future<Output = ()>>(ask: impl Fn() -> F) -> f64 {
    let mut times = Vec::new();
    for _ in 0..11 {
        let began = Instant::now();
        ask().await;
        times.push(began.elapsed().as_secs_f64() * 1e3);
    }
    times.sort_by(f64::total_cmp);
    times[5]
}

/// One change of a place's state: rows written, and bytes as it travels.
async fn change(node: &Node, code: &SiteCode) -> (u64, usize) {
    let mut tx = node.site.store.begin().await.unwrap();
    let before = tx.rows_changed().await.unwrap();
    let status = place(0, code, PackageState::Retrying);
    let body = convert::encode::<wire::PackageStatus, _>(&status);
    let id = record::package_status_id(&status);
    let bytes = put(&mut tx, ObjectKind::PackageStatus, id, code, (2, body)).await;
    let rows = tx.rows_changed().await.unwrap() - before;
    tx.commit().await.unwrap();
    (rows, bytes)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn summaries_cost_little_however_much_there_is() {
    let scale = Scale::asked();
    let node = Node::central(SystemClock::shared()).await;
    let filled = fill(&node, &scale).await;
    let service = served(&node).await;

    let packages = || async {
        let answer = service.clone().summarize_packages(SummarizePackagesRequest::default()).await.unwrap();
        let packages = answer.into_inner().packages;
        let places: u64 =
            packages.iter().filter_map(|one| one.points).map(|p| p.installed + p.pending + p.failed).sum();
        assert_eq!((packages.len(), places), (scale.packages, (scale.packages * scale.sites) as u64));
    };
    let by_site = || async {
        let package = "CEN00001".to_owned();
        let request = SummarizePackagesRequest { package, by_site: true, ..Default::default() };
        let answer = service.clone().summarize_packages(request).await.unwrap().into_inner();
        assert_eq!(answer.packages.len(), scale.sites);
    };
    let advertisements = || async {
        let request = SummarizeAdvertisementsRequest::default();
        let answer = service.clone().summarize_advertisements(request).await.unwrap().into_inner();
        let running: u64 = answer.advertisements.iter().map(|one| one.running).sum();
        assert_eq!(answer.advertisements.len(), scale.advertisements);
        assert!(running > 0);
    };
    let times = [median(packages).await, median(by_site).await, median(advertisements).await];
    let code = scale.code(0);
    let (rows, bytes) = change(&node, &code).await;

    // The object, two tallies taken from and two added to, a tally that came to nothing or two, and the change log.
    assert!(rows <= 9, "a change of one state wrote {rows} rows");
    assert!(times.iter().all(|time| *time < 1e3), "{times:?}");
    let path = node.site.directories.database();
    let database: u64 = ["", "-wal"]
        .iter()
        .filter_map(|end| fs::metadata(format!("{}{end}", path.display())).ok())
        .map(|facts| facts.len())
        .sum();
    println!(
        "figures {{\"rows\": {}, \"fill_s\": {filled:.1}, \"packages_ms\": {:.2}, \"package_by_site_ms\": {:.2}, \
         \"advertisements_ms\": {:.2}, \"rows_per_change\": {rows}, \"bytes_per_change\": {bytes}, \"database_bytes\": {database}}}",
        scale.packages * scale.sites + scale.clients * scale.advertisements,
        times[0],
        times[1],
        times[2],
    );
}
