//! A bundle goes on to the next level while it is still coming in, checked part by part.

use std::{fs, os::unix::fs::FileExt as _};

use packhorse_domain::{object::ObjectKind, package::PackageState};
use packhorse_runtime::SystemClock;

use super::Line;
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

fn spooled(node: &Node) -> u64 {
    let entries = fs::read_dir(node.site.directories.incoming()).expect("a directory");
    let parts = entries
        .filter_map(Result::ok)
        .filter(|entry| entry.path().extension().is_some_and(|end| end == "part"));
    parts.map(|entry| entry.metadata().map_or(0, |facts| facts.len())).sum()
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
    until("it is installed at the end", || async {
        let status = central.status(&package, last.code()).await;
        status.is_some_and(|status| status.state == PackageState::Installed)
    })
    .await;
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
    until("the middle site has noticed the cut", || async {
        middle.site.links(|links| links.get(central.code()).is_some_and(|link| !link.up))
    })
    .await;
    let directory = middle.site.directories.incoming();
    let path = fs::read_dir(directory)
        .unwrap()
        .filter_map(|entry| Some(entry.ok()?.path()))
        .find(|path| path.extension().is_some_and(|end| end == "part"))
        .unwrap();
    let file = fs::File::options().write(true).open(path).unwrap();
    file.write_all_at(b"wrong", (2 << 20) + 1000).unwrap();

    let upper = Line::new(&central, &middle);
    until("it is installed at the end", || async {
        let status = central.status(&package, last.code()).await;
        status.is_some_and(|status| status.state == PackageState::Installed)
    })
    .await;

    let again = upper.data.lock().unwrap().iter().any(|(offset, _)| *offset == 2 << 20);
    assert!(again, "the part that was damaged came again, from its begin");
    assert!(
        upper.data.lock().unwrap().iter().all(|(offset, _)| *offset >= 2 << 20),
        "what is before it was kept"
    );
    let events = central.events().await;
    assert!(events.iter().any(|text| text.contains("has not the hash")), "{events:#?}");
}
