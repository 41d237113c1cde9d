//! What a peer refuses, and when it is offered again.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use packhorse_domain::{id::PackageId, object::ObjectKind};
use packhorse_proto::link::v1::RefuseReason;
use packhorse_runtime::{Clock as _, ManualClock, SystemClock};

use super::{Line, peer::Peer};
use crate::{
    sender::session::LOOK_AGAIN,
    testing::{Node, until},
};

struct World {
    clock: ManualClock,
    central: Node,
    child: Node,
}

async fn world() -> World {
    let clock = ManualClock::new(SystemClock.now());
    let central = Node::central(Arc::new(clock.clone())).await;
    let child = central.child("PAR", Arc::new(clock.clone())).await;
    central.start();
    World { clock, central, child }
}

impl World {
    async fn met(&self) -> Peer {
        Peer::met(&self.central, &self.child, 2).await
    }

    fn pass(&self, minutes: u64) {
        self.clock.advance(Duration::from_secs(60 * minutes));
        self.central.wakers.link.wake();
    }

    /// Offers something else, and sees that the package does not come before it.
    async fn is_not_offered(&self, peer: &mut Peer, package: &PackageId) {
        let other = self.central.package(b"something else").await;
        let subject = format!("package/{other}");
        let offer = loop {
            let offer = peer.any_object().await;
            assert_ne!(offer.subject, format!("package/{package}"), "it is offered again");
            if offer.subject == subject {
                break offer;
            }
            peer.receipt(&offer.item).await;
        };
        peer.receipt(&offer.item).await;
    }

    async fn alarms(&self, package: &PackageId) -> usize {
        let events = self.central.events_about(&format!("package/{package}")).await;
        events.iter().filter(|text| text.contains("site PAR refused it")).count()
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_not_allowed_now_is_offered_again_later_and_told_once() {
    let world = world().await;
    let package = world.central.package(b"echo").await;
    let subject = format!("package/{package}");
    let mut peer = world.met().await;
    let refused = RefuseReason::NotAllowed.into();

    let offer = peer.offered(&subject).await;
    peer.refuse(&offer.item, refused).await;
    until("people know", || async { world.alarms(&package).await == 1 }).await;
    world.is_not_offered(&mut peer, &package).await;

    world.pass(10);
    let offer = peer.offered(&subject).await;
    peer.refuse(&offer.item, refused).await;
    world.is_not_offered(&mut peer, &package).await;
    world.pass(10);
    world.is_not_offered(&mut peer, &package).await;

    world.pass(10);
    let offer = peer.offered(&subject).await;
    peer.refuse(&offer.item, refused).await;
    world.is_not_offered(&mut peer, &package).await;

    let mut peer = world.met().await;
    let offer = peer.offered(&subject).await;
    peer.receipt(&offer.item).await;
    assert_eq!(world.alarms(&package).await, 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_peer_does_not_know_waits_for_its_next_hello() {
    for reason in [RefuseReason::UnknownKind.into(), 77] {
        let world = world().await;
        let package = world.central.package(b"echo").await;
        let subject = format!("package/{package}");
        let mut peer = world.met().await;
        let offer = peer.offered(&subject).await;
        peer.refuse(&offer.item, reason).await;
        until("people know", || async { world.alarms(&package).await == 1 }).await;

        world.pass(60 * 24 * 7);
        world.is_not_offered(&mut peer, &package).await;

        let mut peer = world.met().await;
        let offer = peer.offered(&subject).await;
        peer.refuse(&offer.item, reason).await;
        world.is_not_offered(&mut peer, &package).await;
        assert_eq!(world.alarms(&package).await, 1);
    }
}

/// Nothing else happens that would make the session look.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_damaged_bundle_is_tried_again_when_that_is_due() {
    let central = Node::central(SystemClock::shared()).await;
    let child = central.child("PAR", SystemClock::shared()).await;
    child.hall().await;
    central.start();
    let line = Line::new(&central, &child);
    until("the point is known above", || async {
        central.object(ObjectKind::DistributionPoint, "PAR/hall").await.is_some()
    })
    .await;
    drop(line);
    let package = central.package(b"echo").await;
    central.send(&package, child.code()).await;
    let mut peer = Peer::met(&central, &child, 2).await;
    let offer = peer.offered(package.as_str()).await;
    let refused_at = Instant::now();
    peer.refuse(&offer.item, RefuseReason::Damaged.into()).await;

    let again = peer.offered(package.as_str()).await;

    let after = refused_at.elapsed();
    assert_eq!(again.item, offer.item);
    assert!((Duration::from_secs(1)..LOOK_AGAIN).contains(&after), "{after:?}");
}
