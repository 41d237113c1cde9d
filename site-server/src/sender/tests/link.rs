//! What goes over the line between two sites, and what is left after it was cut.

use std::{fs, sync::Arc, time::Duration};

use packhorse_domain::{
    id::PackageId,
    message,
    object::{Direction, ObjectKind},
    package::PackageState,
};
use packhorse_runtime::SystemClock;
use tokio::{sync::mpsc, time::timeout};
use tokio_util::sync::CancellationToken;

use super::{Line, Session, lines};
use crate::{
    sender::dial_parent,
    status,
    store::{
        arrivals, bundles, contents,
        neighbours::{self, Relation},
        objects, settings,
    },
    testing::{Node, noise, until},
};

pub(super) async fn two() -> (Node, Node) {
    let central = Node::central(SystemClock::shared()).await;
    let child = central.child("PAR", SystemClock::shared()).await;
    child.hall().await;
    central.start();
    child.start();
    (central, child)
}

pub(super) async fn is_installed(node: &Node, package: &PackageId, at: &Node) -> bool {
    node.status(package, at.code()).await.is_some_and(|status| status.state == PackageState::Installed)
}

pub(super) async fn knows_hall(central: &Node) {
    until("the point is known above", || async {
        central.object(ObjectKind::DistributionPoint, "PAR/hall").await.is_some()
    })
    .await;
}

fn count(directory: std::path::PathBuf) -> usize {
    fs::read_dir(directory).expect("a directory").count()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_package_goes_down_over_tls_its_status_up_and_a_delete_leaves_nothing() {
    let (central, child) = two().await;
    let (parent, _) = child.site.settings.parent.clone().unwrap();
    let dial = dial_parent(child.site.clone(), child.lifecycle.clone(), child.wakers.clone(), parent);
    child.lifecycle.spawn("link-to-parent", dial);
    knows_hall(&central).await;
    let content = noise(300_000, 1);
    let package = central.package(&content).await;

    central.send(&package, child.code()).await;

    until("the package is installed below and that is known above", || {
        is_installed(&central, &package, &child)
    })
    .await;
    let published = child.path("hall").join(package.as_str()).join("setup.sh");
    until("the directory has the file", || async { published.exists() }).await;
    assert_eq!(fs::read(published).unwrap(), content);
    until("the spools are empty: everybody has it", || async {
        count(central.site.directories.outgoing()) + count(child.site.directories.outgoing()) == 0
    })
    .await;

    central.delete(&package).await;

    until("nothing of it is left", || async {
        let mut left = 0;
        for node in [&central, &child] {
            let mut tx = node.site.store.read().await.unwrap();
            left += contents::list(&mut tx).await.unwrap().len();
            left +=
                bundles::list(&mut tx).await.unwrap().len() + bundles::sendings(&mut tx).await.unwrap().len();
            left += arrivals::list(&mut tx).await.unwrap().len();
            left += objects::list(&mut tx, ObjectKind::PackageStatus).await.unwrap().len();
            left += objects::list(&mut tx, ObjectKind::Package).await.unwrap().len();
            left += node.site.library.manifests().unwrap().len();
            left += count(node.site.directories.outgoing()) + count(node.site.directories.incoming());
        }
        left + usize::from(child.path("hall").join(package.as_str()).exists()) == 0
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cut_transfer_goes_on_at_the_durable_offset() {
    let (central, child) = two().await;
    let first = Line::with(&central, &child, 4 << 20);
    knows_hall(&central).await;
    let package = central.package(&noise(8 << 20, 2)).await;
    central.send(&package, child.code()).await;
    first.is_cut().await;
    until("both ends have noticed", || async {
        let is_down = |node: &Node| node.site.links(|links| links.values().all(|link| !link.up));
        is_down(&central) && is_down(&child)
    })
    .await;
    let durable = {
        let entries = fs::read_dir(child.site.directories.incoming()).unwrap().map(Result::unwrap);
        let parts = entries.filter(|entry| entry.path().extension().is_some_and(|end| end == "part"));
        parts.map(|entry| entry.metadata().unwrap().len()).sum::<u64>()
    };
    assert!(durable >= 3 << 20, "{durable} bytes are kept");

    let second = Line::new(&central, &child);
    until("it has arrived", || is_installed(&central, &package, &child)).await;

    let resumed = second.data.lock().unwrap()[0].0;
    assert_eq!(resumed, durable);
    let whole = durable + second.data_bytes();
    assert!((8 << 20..(8 << 20) + 300_000).contains(&whole), "{whole} bytes make one bundle");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_bundle_damaged_in_the_spool_is_refused_and_made_anew() {
    let (central, child) = two().await;
    let line = Line::new(&central, &child);
    knows_hall(&central).await;
    drop(line);
    let package = central.package(&noise(2 << 20, 3)).await;
    central.send(&package, child.code()).await;
    until("the bundle is in the spool and queued", || async {
        let mut tx = central.site.store.read().await.unwrap();
        !bundles::sendings(&mut tx).await.unwrap().is_empty()
    })
    .await;
    // Beside it lies its outline.
    let files = fs::read_dir(central.site.directories.outgoing()).unwrap().map(|file| file.unwrap().path());
    let spooled = files.max_by_key(|file| file.metadata().unwrap().len()).unwrap();
    let mut bytes = fs::read(&spooled).unwrap();
    bytes[1 << 20] ^= 1;
    fs::write(&spooled, bytes).unwrap();

    let line = Line::new(&central, &child);
    until("it has arrived", || is_installed(&central, &package, &child)).await;

    assert!(line.data_bytes() > 3 << 20, "it went over the line twice");
    let events = central.events().await;
    assert!(events.iter().any(|text| text.contains("damaged and is made anew")), "{events:#?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_child_that_lost_the_base_gets_the_whole() {
    let (central, child) = two().await;
    let line = Line::new(&central, &child);
    knows_hall(&central).await;
    let common = noise(1 << 20, 4);
    let package = central.package(&common).await;
    central.send(&package, child.code()).await;
    until("the first version is there", || is_installed(&central, &package, &child)).await;
    let first = line.data_bytes();
    drop(line);
    until("the line is down", || async { child.site.links(|links| links.values().all(|link| !link.up)) })
        .await;
    // What the child says it holds and what it holds differ.
    child.site.library.collect(&[]).unwrap();
    assert!(child.site.library.manifests().unwrap().is_empty());

    central.update(&package, &[common.as_slice(), b"more"].concat()).await;
    let line = Line::new(&central, &child);
    until("the second version is there", || async {
        let status = central.status(&package, child.code()).await;
        status.is_some_and(|status| status.state == PackageState::Installed && status.source_version == 2)
    })
    .await;

    assert!(line.data_bytes() >= first, "{} bytes are not the whole", line.data_bytes());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_peer_with_another_database_is_told_everything_again() {
    let (central, child) = two().await;
    let line = Line::new(&central, &child);
    knows_hall(&central).await;
    // Messages are not compared: one that the peer lost comes back only if everything is told again.
    let message = "PAR/000000000001";
    let is_told = || async {
        let mut tx = child.site.store.read().await.unwrap();
        objects::lacking(&mut tx, central.code(), Direction::Up, 100).await.unwrap().is_empty()
    };
    // What arrived is told again until its receipt is written: cut before that, it would come a second time.
    until("the message is acknowledged", is_told).await;
    drop(line);
    let is_down = || async { child.site.links(|links| links.values().all(|link| !link.up)) };
    until("the line is down", is_down).await;
    let mut tx = central.site.store.begin().await.unwrap();
    objects::remove(&mut tx, ObjectKind::Event, message).await.unwrap();
    tx.commit().await.unwrap();

    let line = Line::new(&central, &child);
    // Every change is told on this line; what was acknowledged is not told again.
    let mut tx = child.site.store.begin().await.unwrap();
    status::report(&child.site, &mut tx, "", &message::bundle_damaged_here(&"news")).await.unwrap();
    tx.commit().await.unwrap();
    until("news comes", || async { central.events().await.iter().any(|text| text.ends_with("news")) }).await;
    assert!(central.object(ObjectKind::Event, message).await.is_none());
    drop(line);
    until("the line is down", is_down).await;

    let mut tx = child.site.store.begin().await.unwrap();
    neighbours::met(&mut tx, central.code(), b"another", child.site.now()).await.unwrap();
    tx.commit().await.unwrap();
    let _line = Line::new(&central, &child);
    until("the message is back", || async { central.object(ObjectKind::Event, message).await.is_some() })
        .await;
    let mut tx = child.site.store.read().await.unwrap();
    let met = neighbours::list(&mut tx).await.unwrap().remove(0).epoch;
    let mut tx = central.site.store.read().await.unwrap();
    assert_eq!(Some(met), settings::get(&mut tx, settings::EPOCH).await.unwrap());
}

#[tokio::test]
async fn a_session_that_ends_before_a_peer_that_reads_nothing_sleeps() {
    let node = Node::central(SystemClock::shared()).await;
    let (outbound, _unread) = mpsc::channel(1);
    let (_silent, inbound) = mpsc::channel(1);
    let line = lines::Line { counter: Arc::default(), inbound, outbound };
    let peer = "PAR".parse().unwrap();
    let session = Session::new(node.site.clone(), peer, Relation::Child, &node.wakers, &line);
    let stop = CancellationToken::new();
    let mut run = std::pin::pin!(session.run(line, stop.clone()));
    let mut polls = 0;
    let mut watched = std::future::poll_fn(|context| {
        polls += 1;
        run.as_mut().poll(context)
    });
    assert!(timeout(Duration::from_millis(200), &mut watched).await.is_err());
    stop.cancel();
    node.wakers.link.wake();
    assert!(timeout(Duration::from_millis(300), &mut watched).await.is_err(), "its goodbye is not sent yet");

    assert!(polls < 100, "{polls} times awake");
}
