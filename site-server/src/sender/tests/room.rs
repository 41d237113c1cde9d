//! A child whose disk has no room for package content: it takes everything else.

use packhorse_domain::{care::Reserve, object::ObjectKind, package::PackageState};
use packhorse_runtime::SystemClock;

use super::Line;
use crate::{
    store::{arrivals, bundles},
    testing::{Node, noise, until},
};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_bundle_that_does_not_fit_waits_and_objects_pass() {
    let central = Node::central(SystemClock::shared()).await;
    let child = central
        .child_with("PAR", SystemClock::shared(), |settings| {
            settings.content.reserve = Reserve::Bytes(u64::MAX / 2);
        })
        .await;
    child.hall().await;
    central.start();
    child.start();
    let _line = Line::new(&central, &child);
    until("the point is known above", || async {
        central.object(ObjectKind::DistributionPoint, "PAR/hall").await.is_some()
    })
    .await;
    let package = central.package(&noise(100_000, 3)).await;

    central.send(&package, child.code()).await;

    until("both ends know why it waits", || async {
        let above = central.status(&package, child.code()).await;
        above.is_some_and(|status| {
            status.state == PackageState::Retrying && status.reason.contains("sent again by itself")
        })
    })
    .await;
    let told = child.events_about(package.as_str()).await;
    let told: Vec<_> = told.iter().filter(|text| text.contains("a bundle waits")).collect();
    assert_eq!(told.len(), 1, "{told:?}");
    let spool = child.site.directories.incoming();
    for words in [spool.to_str().unwrap(), "are free", "are needed", "stay in reserve", "when there is room"]
    {
        assert!(told[0].contains(words), "{words} is not in: {}", told[0]);
    }
    until("the parent tells too", || async {
        central.events_about(package.as_str()).await.iter().any(|text| text.contains("(no space)"))
    })
    .await;
    let mut tx = central.site.store.read().await.unwrap();
    let sendings = bundles::sendings(&mut tx).await.unwrap();
    assert_eq!(sendings.len(), 1);
    assert!(sendings[0].retry_at > sendings[0].changed_at, "it is tried again: {sendings:?}");
    let mut tx = child.site.store.read().await.unwrap();
    assert!(arrivals::list(&mut tx).await.unwrap().is_empty());

    let other = central.package(b"an object that comes after it").await;
    until("objects pass", || async { child.object(ObjectKind::Package, other.as_str()).await.is_some() })
        .await;
}
