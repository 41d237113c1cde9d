//! Which bundles wait for a courier, with real sites: what a line does is seen, what a person or a package wants is heard.

use std::{sync::Arc, time::Duration};

use packhorse_domain::{
    courier::{Policy, Route, Way},
    id::PackageId,
    link::{Gauges, ItemId, ItemKind},
};
use packhorse_proto::provider::v1::{
    ChooseWayRequest, SetSenderRequest, courier_route_service_server::CourierRouteService as _,
    package_service_server::PackageService as _,
};
use packhorse_runtime::{Clock as _, ManualClock, SystemClock, Worker as _};

use super::{SenderChoice, waiting};
use crate::{
    provider, scheduler,
    sender::LinkView,
    store::{
        couriers::{self, Choice},
        neighbours::Relation,
    },
    testing::{Node, noise, until},
};

const DAY: Duration = Duration::from_secs(86_400);

struct Pair {
    central: Node,
    child: Node,
    clock: ManualClock,
}

/// A centre that runs, and a child that it knows with its distribution point.
async fn pair() -> Pair {
    let clock = ManualClock::new(SystemClock.now());
    let central = Node::central(Arc::new(clock.clone())).await;
    let child = central.child("PAR", Arc::new(clock.clone())).await;
    child.hall().await;
    for kind in
        [packhorse_domain::object::ObjectKind::Site, packhorse_domain::object::ObjectKind::DistributionPoint]
    {
        let id = if kind == packhorse_domain::object::ObjectKind::Site { "PAR" } else { "PAR/hall" };
        child.tell(&central, kind, id).await;
    }
    central.start();
    Pair { central, child, clock }
}

impl Pair {
    async fn route(&self, policy: Policy, transit: Duration) {
        let route = Route { policy, ..Route::new(self.child.code().clone(), transit) };
        let mut tx = self.central.site.store.begin().await.unwrap();
        couriers::put_route(&mut tx, &route).await.unwrap();
        tx.commit().await.unwrap();
    }

    /// A package for the child, with its bundle in the queue.
    async fn package(&self, bytes: usize) -> (PackageId, ItemId) {
        let package = self.central.package(&noise(bytes, 1)).await;
        self.central.send(&package, self.child.code()).await;
        until("the bundle waits", || async { self.item(&package).await.is_some() }).await;
        let item = self.item(&package).await.unwrap();
        (package, item)
    }

    async fn item(&self, package: &PackageId) -> Option<ItemId> {
        let mut tx = self.central.site.store.read().await.unwrap();
        let waiting = waiting(&mut tx, self.child.code()).await.unwrap();
        let bundle = waiting.into_iter().find(|(_, bundle)| bundle.package == *package);
        bundle.map(|(_, bundle)| ItemId::of(&bundle.digest))
    }

    fn line(&self, up: bool, bytes_per_second: u64) {
        let gauges = Gauges { bytes_per_second, ..Gauges::default() };
        let view = LinkView { up, since: self.clock.now(), gauges, ..LinkView::default() };
        self.central.site.links(|links| links.insert(self.child.code().clone(), view));
    }

    /// What was chosen, after a look around.
    async fn look(&self, item: &ItemId) -> Option<Choice> {
        SenderChoice::new(self.central.site.clone()).step().await.unwrap();
        let mut tx = self.central.site.store.read().await.unwrap();
        couriers::choices_for(&mut tx, self.child.code()).await.unwrap().remove(item)
    }

    /// The bundles that the line may carry now.
    async fn admitted(&self) -> usize {
        let admitted =
            scheduler::admit(&self.central.site, self.child.code(), Relation::Child).await.unwrap();
        admitted.jobs.iter().filter(|job| job.item.kind == ItemKind::Bundle).count()
    }

    async fn choose(&self, name: &str, way: Option<Way>) {
        let request = ChooseWayRequest {
            bundles: vec![name.to_owned()],
            way: packhorse_proto::convert::courier::sender_on_wire(way),
            ..ChooseWayRequest::default()
        };
        let routes = provider::CourierRoutes::new(self.central.site.clone());
        routes.choose_way(self.central.asked(request)).await.unwrap();
    }
}

#[tokio::test]
async fn the_sooner_of_line_and_media_brings_it_and_says_why() {
    let pair = pair().await;
    pair.line(true, 10);
    pair.route(Policy::Sooner, DAY).await;
    // At ten bytes a second two megabytes take more than two days.
    let (package, item) = pair.package(2_000_000).await;

    assert_eq!(pair.admitted().await, 0, "the line does not even begin");
    let choice = pair.look(&item).await.unwrap();
    assert_eq!(choice.way, Way::Courier);
    assert!(choice.reason.contains("media are there") && choice.reason.contains("the line would take until"));
    let told = pair.central.events_about(package.as_str()).await;
    assert!(told.iter().any(|text| text.contains("packhorse courier create --to PAR")), "{told:?}");

    // The line is better today.
    pair.line(true, 1_000_000);
    let choice = pair.look(&item).await.unwrap();
    assert_eq!(choice.way, Way::Line, "{choice:?}");
    assert_eq!(pair.admitted().await, 1);

    // And tomorrow it is down: that is noticed when it is more than a hiccup.
    pair.line(false, 1_000_000);
    assert_eq!(pair.look(&item).await.unwrap().way, Way::Line);
    pair.clock.advance(Duration::from_secs(601));
    let choice = pair.look(&item).await.unwrap();
    assert_eq!(choice.way, Way::Courier);
    assert!(choice.reason.contains("nobody knows when the line is"), "{choice:?}");

    // Without a courier nothing waits for one.
    let mut tx = pair.central.site.store.begin().await.unwrap();
    couriers::remove_route(&mut tx, pair.child.code()).await.unwrap();
    tx.commit().await.unwrap();
    assert_eq!(pair.look(&item).await, None);
    assert_eq!(pair.admitted().await, 1);
}

#[tokio::test]
async fn what_a_person_or_a_package_wants_comes_before_what_is_sooner() {
    let pair = pair().await;
    pair.line(true, 1_000_000_000);
    pair.route(Policy::Sooner, DAY).await;
    let (package, item) = pair.package(10_000).await;
    assert_eq!(pair.look(&item).await.unwrap().way, Way::Line);

    // The package prefers it.
    let packages = provider::Packages::new(pair.central.site.clone());
    let prefers = |way: Option<Way>| SetSenderRequest {
        package: package.to_string(),
        sender: packhorse_proto::convert::courier::sender_on_wire(way),
    };
    packages.set_sender(pair.central.asked(prefers(Some(Way::Courier)))).await.unwrap();
    let choice = pair.look(&item).await.unwrap();
    assert_eq!((choice.way, choice.asked_by.as_str()), (Way::Courier, ""));
    assert!(choice.reason.contains("package prefers"), "{choice:?}");
    assert_eq!(pair.admitted().await, 0);

    // A person does not.
    pair.choose(&item.to_string()[..8], Some(Way::Line)).await;
    let choice = pair.look(&item).await.unwrap();
    assert_eq!(choice.way, Way::Line);
    assert!(choice.asked_by.contains("anna"), "{choice:?}");
    assert_eq!(pair.admitted().await, 1);

    pair.choose(package.as_str(), None).await;
    assert_eq!(pair.look(&item).await.unwrap().way, Way::Courier);
    packages.set_sender(pair.central.asked(prefers(None))).await.unwrap();
    assert_eq!(pair.look(&item).await.unwrap().way, Way::Line);

    // Also without any courier: somebody has a stick in the hand.
    let mut tx = pair.central.site.store.begin().await.unwrap();
    couriers::remove_route(&mut tx, pair.child.code()).await.unwrap();
    tx.commit().await.unwrap();
    pair.choose(package.as_str(), Some(Way::Courier)).await;
    assert_eq!(pair.look(&item).await.unwrap().way, Way::Courier);
    assert_eq!(pair.admitted().await, 0);
}

#[tokio::test]
async fn a_parcel_under_way_counts_by_when_it_is_expected() {
    let pair = pair().await;
    pair.line(true, 50);
    pair.route(Policy::Always, DAY).await;
    let (_, item) = pair.package(2_000_000).await;
    assert_eq!(pair.look(&item).await.unwrap().way, Way::Courier);
    let to = [pair.child.code().clone()];
    let (parcel, _) = crate::courier::outgoing::create(&pair.central.site, &to, None, false).await.unwrap();
    let mut tx = pair.central.site.store.begin().await.unwrap();
    let state = packhorse_domain::parcel::ParcelState::Sent;
    crate::store::parcels::put_site(&mut tx, &parcel.id, pair.child.code(), state, pair.clock.now())
        .await
        .unwrap();
    tx.commit().await.unwrap();
    // The next one would be too late, and this one is not.
    pair.route(Policy::Sooner, 30 * DAY).await;
    let row = crate::store::parcels::ParcelRow {
        sent_at: Some(pair.clock.now()),
        expected_at: Some(pair.clock.now().plus(Duration::from_secs(3_600))),
        ..parcel
    };
    let mut tx = pair.central.site.store.begin().await.unwrap();
    crate::store::parcels::put(&mut tx, &row).await.unwrap();
    tx.commit().await.unwrap();
    assert_eq!(pair.look(&item).await.unwrap().way, Way::Courier);

    // It did not come, and the line is sooner than the next.
    pair.clock.advance(Duration::from_secs(3_601));
    assert_eq!(pair.look(&item).await.unwrap().way, Way::Line);
}

#[tokio::test]
async fn who_did_not_come_is_not_waited_for() {
    let pair = pair().await;
    // Two days by the line, and a courier that takes one whenever somebody sends it.
    pair.line(true, 10);
    pair.route(Policy::Sooner, DAY).await;
    let (_, item) = pair.package(2_000_000).await;
    assert_eq!(pair.look(&item).await.unwrap().way, Way::Courier);

    pair.clock.advance(DAY / 2);
    assert_eq!(pair.look(&item).await.unwrap().way, Way::Courier);
    pair.clock.advance(DAY / 2 + Duration::from_secs(1));
    let choice = pair.look(&item).await.unwrap();
    assert_eq!((choice.way, choice.reason.as_str()), (Way::Line, "nobody came for it"));
    assert_eq!(pair.admitted().await, 1);
    pair.clock.advance(3 * DAY);
    assert_eq!(pair.look(&item).await.unwrap().way, Way::Line, "promises do not count again");
}
