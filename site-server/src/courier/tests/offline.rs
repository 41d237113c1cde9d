//! A site that had no line for a season, and then one parcel.

use std::{sync::Arc, time::Duration};

use packhorse_domain::object::ObjectKind;
use packhorse_runtime::{Clock as _, ManualClock, SystemClock};

use super::{carry, lies_in_hall, package, sites, waits};
use crate::{
    kills,
    store::{bundles, neighbours::Relation, objects},
    testing::{Node, noise, until},
};

const SEASON: Duration = Duration::from_secs(90 * 24 * 3600);

/// What goes down and is not acknowledged: the kinds and ids.
async fn lacking(central: &Node, child: &Node) -> Vec<(ObjectKind, String)> {
    let mut tx = central.site.store.read().await.unwrap();
    let direction = crate::scheduler::direction(Relation::Child);
    let all = objects::lacking(&mut tx, child.code(), direction, usize::MAX).await.unwrap();
    all.into_iter().map(|object| (object.kind, object.id)).collect()
}

#[tokio::test]
async fn after_ninety_days_one_parcel_brings_all_that_happened() {
    let clock = ManualClock::new(SystemClock.now());
    let central = Node::central(Arc::new(clock.clone())).await;
    let child = central.child("PAR", Arc::new(clock.clone())).await;
    central.start();
    child.start();
    child.hall().await;
    carry(&child, &central, None).await;
    let (kept, gone) = (noise(200_000, 1), noise(200_000, 2));
    let kept_id = package(&central, &child, &kept).await;
    let gone_id = central.package(&gone).await;
    central.send(&gone_id, child.code()).await;
    waits(&central, &child, 2).await;
    carry(&central, &child, None).await;
    lies_in_hall(&child, &kept_id, &kept).await;
    lies_in_hall(&child, &gone_id, &gone).await;
    until("the child knows what it has", || async {
        let held = child.status(&kept_id, child.code()).await;
        held.is_some_and(|status| !status.held.is_empty())
    })
    .await;
    carry(&child, &central, None).await;

    // A season of updates, of which only the last is of interest.
    clock.advance(SEASON);
    let mut newest = kept.clone();
    for week in 0..4_u8 {
        newest[usize::from(week) * 1000] ^= 0xff;
        central.update(&kept_id, &newest).await;
    }
    central.delete(&gone_id).await;
    // And two packages that turned out to be bad, of which one was mended.
    central.kill(&kept_id, "it wipes disks").await;
    newest[5000] ^= 0xff;
    central.update(&kept_id, &newest).await;
    let bad_id = central.package(&noise(100_000, 4)).await;
    central.send(&bad_id, child.code()).await;
    central.kill(&bad_id, "it is a worm").await;
    let added = noise(100_000, 3);
    let added_id = central.package(&added).await;
    central.send(&added_id, child.code()).await;
    waits(&central, &child, 2).await;
    carry(&central, &child, None).await;

    lies_in_hall(&child, &kept_id, &newest).await;
    lies_in_hall(&child, &added_id, &added).await;
    let mut tx = child.site.store.read().await.unwrap();
    let kills = kills::list(&mut tx).await.unwrap();
    drop(tx);
    let killed = |package, release| kills.killed(package, release).map(|killed| killed.to_string());
    assert_eq!(killed(&kept_id, 5).as_deref(), Some("killed by CEN: it wipes disks"));
    assert_eq!((killed(&kept_id, 6), killed(&bad_id, 2)), (None, None), "what comes after may run");
    assert_eq!(killed(&bad_id, 1).as_deref(), Some("killed by CEN: it is a worm"));
    until("the child says why it lacks that one", || async {
        let status = child.status(&bad_id, child.code()).await;
        status.is_some_and(|status| status.reason == "it is not sent: killed by CEN: it is a worm")
    })
    .await;
    until("what was deleted is gone", || async {
        !child.path("hall").join(gone_id.as_str()).exists()
            && child.object(ObjectKind::Package, gone_id.as_str()).await.is_none()
    })
    .await;
    carry(&child, &central, None).await;
    until("the centre knows", || async { lacking(&central, &child).await.is_empty() }).await;
    // Its own word counts as it did: what it signs is believed, and its key to the line still opens it.
    let director = child.site.trust(|trust| trust.director(child.code(), clock.now())).unwrap();
    assert_eq!(director, child.site.director().public());
    let above = central.site.trust(|trust| trust.director(child.code(), clock.now())).unwrap();
    assert_eq!(above, director);
}

/// How many manifests the bundles that wait for the child build on, each.
async fn bases(central: &Node, child: &Node) -> Vec<usize> {
    let mut tx = central.site.store.read().await.unwrap();
    let mut bases = Vec::new();
    for sending in bundles::sendings_to(&mut tx, child.code()).await.unwrap() {
        let bundle = bundles::get(&mut tx, &sending.digest).await.unwrap();
        bases.extend(bundle.filter(|_| sending.state.is_waiting()).map(|bundle| bundle.bases.len()));
    }
    bases
}

#[tokio::test]
async fn what_a_parcel_removes_is_no_base_of_a_bundle_in_it() {
    let (central, child) = sites().await;
    carry(&child, &central, None).await;
    let gone = noise(200_000, 1);
    let gone_id = package(&central, &child, &gone).await;
    carry(&central, &child, None).await;
    lies_in_hall(&child, &gone_id, &gone).await;
    until("the child knows what it has", || async {
        let held = child.status(&gone_id, child.code()).await;
        held.is_some_and(|status| !status.held.is_empty())
    })
    .await;
    carry(&child, &central, None).await;

    // The bundle is made while the other package is still wanted there.
    let mut like = gone.clone();
    like[1000] ^= 0xff;
    let like_id = package(&central, &child, &like).await;
    assert_eq!(bases(&central, &child).await, [1]);
    central.delete(&gone_id).await;

    until("another takes its place", || async { bases(&central, &child).await == [0] }).await;
    carry(&central, &child, None).await;
    lies_in_hall(&child, &like_id, &like).await;
}
