//! Which bundle a child gets: one that is small, or one that is there soon.

use std::time::Duration;

use packhorse_domain::{
    address::{Address, MAIN},
    courier::Route,
    distribution::Distribution,
    effort::Effort,
    id::PackageId,
    link::Gauges,
    object::ObjectKind,
};
use packhorse_proto::object::v1 as wire;
use packhorse_runtime::{SystemClock, Worker as _};

use crate::{
    config::Settings,
    distribution::DistributionManager,
    record::{self, Body},
    replication::ReplicationManager,
    sender::{LinkView, tests::Line},
    store::{
        addresses,
        bundles::{self, BundleRow, Sending, SendingState},
        couriers,
    },
    testing::{Node, until},
};

/// A central site with the children PAR and LYO, and a package that has no content in common with what they hold.
struct World {
    central: Node,
    package: PackageId,
    children: [Node; 2],
}

/// What two levels make of very different length.
fn text(version: u64) -> Vec<u8> {
    let words = ["bundle", "line", "child", "parent", "site", "courier", "library", "chunk"];
    let mut state = version;
    let mut word = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        words[(state >> 33) as usize % words.len()]
    };
    (0..20_000).map(|nth| format!("{} {nth} ", word())).collect::<String>().into_bytes()
}

impl World {
    async fn new(targets: &[&str]) -> World {
        World::with(targets, |_| {}).await
    }

    async fn with(targets: &[&str], change: impl FnOnce(&mut Settings)) -> World {
        let central = Node::central_with(SystemClock::shared(), change).await;
        let children = [
            central.child("PAR", SystemClock::shared()).await,
            central.child("LYO", SystemClock::shared()).await,
        ];
        let package = central.package(&text(1)).await;
        let world = World { central, package, children };
        world.send_to(targets).await;
        world
    }

    async fn send_to(&self, targets: &[&str]) {
        let mut distribution = Distribution::empty(self.package.clone());
        distribution.add(targets.iter().map(|target| target.parse().unwrap()));
        let body = Body::of::<wire::Distribution, _>(&distribution);
        let mut tx = self.central.site.store.begin().await.unwrap();
        let (kind, id) = (ObjectKind::Distribution, self.package.as_str());
        record::write(&self.central.site, &mut tx, kind, id, body).await.unwrap();
        tx.commit().await.unwrap();
    }

    /// What is known of the line to a child.
    fn line(&self, child: &str, view: LinkView) {
        self.central.site.links(|links| links.insert(child.parse().unwrap(), view));
    }

    /// Makes what is needed, and queues it.
    async fn look(&self) {
        for _ in 0..4 {
            DistributionManager::new(self.central.site.clone()).step().await.unwrap();
        }
        ReplicationManager::new(self.central.site.clone()).step().await.unwrap();
    }

    /// The bundles that are there, the smallest first.
    async fn made(&self) -> Vec<BundleRow> {
        let mut made = bundles::list(&mut self.central.site.store.read().await.unwrap()).await.unwrap();
        made.sort_by_key(|bundle| bundle.length);
        made
    }

    async fn efforts(&self) -> Vec<Effort> {
        self.made().await.into_iter().map(|bundle| bundle.effort).collect()
    }

    /// For what the bundles were made that are queued for a child.
    async fn queued(&self, child: &str) -> Vec<Effort> {
        let made = self.made().await;
        let sendings = self.sendings(child).await;
        let waiting = sendings.iter().filter(|sending| sending.state.is_waiting());
        let bundle = |sending: &Sending| made.iter().find(|bundle| bundle.digest == sending.digest);
        waiting.filter_map(bundle).map(|bundle| bundle.effort).collect()
    }

    async fn sendings(&self, child: &str) -> Vec<Sending> {
        let mut tx = self.central.site.store.read().await.unwrap();
        bundles::sendings_to(&mut tx, &child.parse().unwrap()).await.unwrap()
    }
}

fn lan() -> LinkView {
    LinkView { up: true, round_trips: [Duration::from_micros(300)].into(), ..LinkView::default() }
}

#[tokio::test]
async fn a_child_on_a_fast_line_gets_what_is_made_soon() {
    let world = World::new(&["PAR/hall"]).await;
    world.line("PAR", lan());

    world.look().await;

    assert_eq!(world.queued("PAR").await, [Effort::LeastTime]);
    assert_eq!(world.efforts().await, [Effort::LeastTime], "and no other is made");
    world.central.update(&world.package, &text(2)).await;
    world.look().await;
    assert_eq!(world.queued("PAR").await, [Effort::LeastTime], "of the next version too");
}

#[tokio::test]
async fn where_bytes_count_or_nobody_knows_a_child_gets_what_is_small() {
    let slow = Gauges { bytes_per_second: 1_000_000, is_filled: true, ..Gauges::default() };
    for (what, view) in [
        ("it is not up", LinkView { up: false, ..lan() }),
        ("nothing is known", LinkView { up: true, ..LinkView::default() }),
        ("it was seen to be slow", LinkView { gauges: slow, ..lan() }),
    ] {
        let world = World::new(&["PAR/hall"]).await;
        world.line("PAR", view);

        world.look().await;

        assert_eq!(world.queued("PAR").await, [Effort::LeastBytes], "{what}");
    }
    let world = World::with(&["PAR/hall"], |settings| settings.bundle_level_on_fast_lines = 8).await;
    world.line("PAR", lan());
    world.look().await;
    assert_eq!(world.queued("PAR").await, [Effort::LeastBytes], "the settings say that nothing is fast");
}

#[tokio::test]
async fn a_limit_of_the_line_makes_bytes_count() {
    let world = World::new(&["PAR/hall"]).await;
    world.line("PAR", lan());
    let open = Address::open("PAR".parse().unwrap(), MAIN.parse().unwrap());
    let limited = Address { rate: Some("1Gbit/s".parse().unwrap()), ..open };
    let mut tx = world.central.site.store.begin().await.unwrap();
    addresses::put(&mut tx, &limited).await.unwrap();
    tx.commit().await.unwrap();

    world.look().await;

    assert_eq!(world.queued("PAR").await, [Effort::LeastBytes]);
}

#[tokio::test]
async fn a_courier_makes_bytes_count() {
    let world = World::new(&["PAR/hall"]).await;
    world.line("PAR", lan());
    let route = Route::new("PAR".parse().unwrap(), Duration::from_secs(3600));
    let mut tx = world.central.site.store.begin().await.unwrap();
    couriers::put_route(&mut tx, &route).await.unwrap();
    tx.commit().await.unwrap();

    world.look().await;

    assert_eq!(world.queued("PAR").await, [Effort::LeastBytes]);
}

#[tokio::test]
async fn what_goes_on_to_sites_further_down_is_small() {
    let world = World::new(&["PAR/hall", "REI/hall"]).await;
    let below = world.children[0].child("REI", SystemClock::shared()).await;
    below.tell(&world.central, ObjectKind::Site, below.code().as_str()).await;
    for child in ["PAR", "LYO"] {
        world.line(child, lan());
    }

    world.look().await;

    assert_eq!(world.queued("PAR").await, [Effort::LeastBytes]);
    world.send_to(&["LYO/hall"]).await;
    world.look().await;
    assert_eq!(world.queued("LYO").await, [Effort::LeastBytes], "one that is there");
}

#[tokio::test]
async fn one_that_is_small_and_there_is_for_all() {
    let world = World::new(&["LYO/hall"]).await;
    world.look().await;
    assert_eq!(world.queued("LYO").await, [Effort::LeastBytes]);
    world.send_to(&["PAR/hall", "LYO/hall"]).await;
    world.line("PAR", lan());

    world.look().await;

    assert_eq!(world.queued("PAR").await, [Effort::LeastBytes]);
    assert_eq!(world.efforts().await, [Effort::LeastBytes]);
}

#[tokio::test]
async fn a_child_on_a_slow_line_gets_its_own_and_both_stay() {
    let world = World::new(&["PAR/hall"]).await;
    world.line("PAR", lan());
    world.look().await;
    world.send_to(&["PAR/hall", "LYO/hall"]).await;

    world.look().await;

    assert_eq!(world.efforts().await, [Effort::LeastBytes, Effort::LeastTime], "the small one is smaller");
    assert_eq!(world.queued("LYO").await, [Effort::LeastBytes]);
    assert_eq!(world.queued("PAR").await, [Effort::LeastTime], "nothing changes for what is queued");
    // Where the server starts again, no line is up.
    world.central.site.links(|links| links.clear());
    world.look().await;
    assert_eq!(world.efforts().await, [Effort::LeastBytes, Effort::LeastTime]);
    assert_eq!(world.queued("PAR").await, [Effort::LeastTime]);
    let spool = std::fs::read_dir(world.central.site.directories.outgoing()).unwrap();
    let files = spool.filter(|entry| entry.as_ref().unwrap().path().extension().unwrap() == "bundle");
    assert_eq!(files.count(), 2);
}

/// The receipt comes before the child's word that it holds what came.
#[tokio::test]
async fn what_was_delivered_is_not_made_or_sent_a_second_time_although_another_is_there() {
    let world = World::new(&["PAR/hall", "LYO/hall"]).await;
    world.line("PAR", lan());
    world.line("LYO", lan());
    world.look().await;
    let [sending] = &world.sendings("PAR").await[..] else { panic!("one mini-job") };
    let done = Sending { state: SendingState::Done, changed_at: world.central.site.now(), ..sending.clone() };
    let mut tx = world.central.site.store.begin().await.unwrap();
    bundles::put_sending(&mut tx, &done).await.unwrap();
    // The other one falls back to what is small.
    bundles::remove_sending(&mut tx, world.children[1].code(), &sending.digest).await.unwrap();
    tx.commit().await.unwrap();
    world.central.site.links(|links| links.clear());

    world.look().await;

    assert_eq!(world.efforts().await, [Effort::LeastBytes, Effort::LeastTime]);
    assert_eq!(world.queued("LYO").await, [Effort::LeastBytes]);
    assert_eq!(world.sendings("PAR").await, [done]);
}

/// What has no content has the same bytes, whatever it was made for.
#[tokio::test]
async fn the_same_bytes_are_one_bundle_for_all() {
    let world = World::new(&[]).await;
    let package = world.central.package(b"").await;
    let world = World { package, ..world };
    world.send_to(&["PAR/hall"]).await;
    world.line("PAR", lan());
    world.look().await;
    assert_eq!(world.queued("PAR").await, [Effort::LeastTime]);

    world.send_to(&["PAR/hall", "LYO/hall"]).await;
    world.look().await;

    assert_eq!(world.efforts().await, [Effort::LeastBytes]);
    assert_eq!(world.queued("LYO").await, [Effort::LeastBytes]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn how_short_the_way_to_a_child_is_is_known_soon_after_it_came() {
    let world = World::new(&[]).await;
    let child = &world.children[0];
    // Nobody takes the bundle in at the child, so that it is needed for as long as somebody looks.
    world.central.start();
    let _line = Line::new(&world.central, child);
    until("a ping came back at once", || async {
        let way = world.central.site.links(|links| links.get(child.code()).map(LinkView::known_way));
        way.and_then(|way| way.trip).is_some_and(|trip| trip <= Duration::from_millis(2))
    })
    .await;

    world.send_to(&["PAR/hall"]).await;

    until("a bundle is made", || async { !world.made().await.is_empty() }).await;
    assert_eq!(world.efforts().await, [Effort::LeastTime]);
}
