//! A bundle goes on to the next level while it is still coming in, checked part by part.

use std::{fs, os::unix::fs::FileExt as _, path::PathBuf, time::Duration};

use packhorse_domain::{id::PackageId, object::ObjectKind, package::PackageState};
use packhorse_proto::link::v1::RefuseReason;
use packhorse_runtime::SystemClock;

use super::{Line, peer::Peer};
use crate::{
    store::{arrivals, bundles},
    testing::{Node, noise, until},
};

/// CEN, PAR below it, LYO below PAR; the hall of LYO is the only point.
async fn three() -> (Node, Node, Node) {
    let central = Node::central(SystemClock::shared()).await;
    let middle = central.child("PAR", SystemClock::shared()).await;
    let last = middle.child("LYO", SystemClock::shared()).await;
    last.hall().await;
    for node in [&central, &middle, &last] {
        node.start();
    }
    (central, middle, last)
}

async fn knows_hall(central: &Node) {
    until("the point is known above", || async {
        central.object(ObjectKind::DistributionPoint, "LYO/hall").await.is_some()
    })
    .await;
}

/// The file of the bundle that comes in.
fn part(node: &Node) -> Option<PathBuf> {
    let entries = fs::read_dir(node.site.directories.incoming()).expect("a directory");
    let mut paths = entries.filter_map(|entry| Some(entry.ok()?.path()));
    paths.find(|path| path.extension().is_some_and(|end| end == "part"))
}

fn spooled(node: &Node) -> u64 {
    part(node).map_or(0, |path| fs::metadata(path).map_or(0, |facts| facts.len()))
}

/// Writes a wrong word into the third part.
fn damage(node: &Node) {
    let path = part(node).expect("a bundle is coming in");
    let file = fs::File::options().write(true).open(path).unwrap();
    file.write_all_at(b"wrong", (2 << 20) + 1000).unwrap();
}

async fn has_noticed_the_cut(node: &Node, peer: &Node) {
    until("the cut is noticed", || async {
        node.site.links(|links| links.get(peer.code()).is_some_and(|link| !link.up))
    })
    .await;
}

async fn is_installed(central: &Node, package: &PackageId, site: &Node) {
    until("it is installed at the end", || async {
        let status = central.status(package, site.code()).await;
        status.is_some_and(|status| status.state == PackageState::Installed)
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_checked_goes_on_before_the_rest_has_come() {
    let (central, middle, last) = three().await;
    let upper = Line::with(&central, &middle, 5 << 20);
    let lower = Line::new(&middle, &last);
    knows_hall(&central).await;
    let package = central.package(&noise(8 << 20, 21)).await;
    central.send(&package, last.code()).await;
    upper.is_cut().await;

    until("the last site has every part that the middle one has checked", || async {
        lower.data_bytes() >= 4 << 20
    })
    .await;

    assert_eq!(lower.data_bytes(), 4 << 20, "not a byte goes on that is not checked");
    assert!(spooled(&middle) >= 4 << 20, "the middle site itself has no more than a part");
    let mut tx = middle.site.store.read().await.unwrap();
    assert!(bundles::list(&mut tx).await.unwrap().is_empty(), "the middle site has no whole bundle");
    assert_eq!(arrivals::list(&mut tx).await.unwrap().len(), 1);
    drop(tx);

    let _upper = Line::new(&central, &middle);
    is_installed(&central, &package, &last).await;
    let length = lower.data_bytes();
    assert!((8 << 20..(8 << 20) + 300_000).contains(&length), "{length} bytes: each went on once");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_part_with_a_wrong_byte_is_fetched_again_and_nothing_before_it() {
    let (central, middle, last) = three().await;
    let upper = Line::with(&central, &middle, 5 << 20);
    let lower = Line::new(&middle, &last);
    knows_hall(&central).await;
    let package = central.package(&noise(8 << 20, 22)).await;
    central.send(&package, last.code()).await;
    upper.is_cut().await;
    until("four parts have gone on", || async { lower.data_bytes() >= 4 << 20 }).await;
    has_noticed_the_cut(&middle, &central).await;
    damage(&middle);

    let upper = Line::new(&central, &middle);
    is_installed(&central, &package, &last).await;

    let again = upper.data.lock().unwrap().iter().any(|(offset, _)| *offset == 2 << 20);
    assert!(again, "the part that was damaged came again, from its begin");
    assert!(
        upper.data.lock().unwrap().iter().all(|(offset, _)| *offset >= 2 << 20),
        "what is before it was kept"
    );
    let events = central.events().await;
    assert!(events.iter().any(|text| text.contains("has not the hash")), "{events:#?}");
}

/// How far the middle site may pass on what comes in.
async fn goes_on(middle: &Node) -> u64 {
    let mut tx = middle.site.store.read().await.unwrap();
    let arrivals = arrivals::list(&mut tx).await.unwrap();
    arrivals.first().map_or(0, |arrival| middle.site.relays.upto(&arrival.item))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_cut_off_after_it_was_checked_does_not_go_on() {
    let (central, middle, last) = three().await;
    let (upper, lower) = (Line::with(&central, &middle, 5 << 20), Line::new(&middle, &last));
    knows_hall(&central).await;
    drop(lower);
    has_noticed_the_cut(&middle, &last).await;
    let package = central.package(&noise(8 << 20, 23)).await;
    central.send(&package, last.code()).await;
    upper.is_cut().await;
    has_noticed_the_cut(&middle, &central).await;
    until("four parts may go on", || async { goes_on(&middle).await == 4 << 20 }).await;
    damage(&middle);
    // It looks at what it has, and gets nothing more.
    let upper = Line::with(&central, &middle, 0);
    until("what is wrong is cut off", || async { spooled(&middle) == 2 << 20 }).await;
    drop(upper);

    until("no more than that may go on", || async { goes_on(&middle).await == 2 << 20 }).await;

    let lower = Line::new(&middle, &last);
    until("the last site has it", || async { lower.data_bytes() == 2 << 20 }).await;
    has_noticed_the_cut(&middle, &central).await;
    let _upper = Line::new(&central, &middle);
    is_installed(&central, &package, &last).await;
    let length = lower.data_bytes();
    assert!((8 << 20..(8 << 20) + 300_000).contains(&length), "{length} bytes: each went on once");
}

/// How long the middle site waits before it tries the bundle for the last one again; `None`: it has not failed.
async fn waits(middle: &Node) -> Option<Duration> {
    let mut tx = middle.site.store.read().await.unwrap();
    let sendings = bundles::sendings(&mut tx).await.unwrap();
    let failed = sendings.into_iter().find(|sending| sending.state == bundles::SendingState::Failed)?;
    Some(failed.retry_at.since(failed.changed_at))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_bundle_that_still_comes_in_is_tried_again_less_and_less_often() {
    let (central, middle, last) = three().await;
    let (upper, lower) = (Line::with(&central, &middle, 5 << 20), Line::new(&middle, &last));
    knows_hall(&central).await;
    drop(lower);
    let package = central.package(&noise(8 << 20, 24)).await;
    central.send(&package, last.code()).await;
    upper.is_cut().await;
    let mut peer = Peer::met(&middle, &last, 2).await;

    for seconds in [1, 2] {
        let offer = peer.offered(package.as_str()).await;
        peer.refuse(&offer.item, RefuseReason::Damaged.into()).await;

        let expected = Some(Duration::from_secs(seconds));
        until("the refusal is noted", || async { waits(&middle).await == expected }).await;
    }
}
