//! Storms of messages, in a real site's database.

use std::{sync::Arc, time::Duration};

use packhorse_domain::{
    link::{ItemId, Violation},
    message::{self, storm},
    object::ObjectKind,
    status::Event,
};
use packhorse_proto::object::v1 as wire;
use packhorse_runtime::{Clock as _, ManualClock, SystemClock};

use super::{kind_of, report, settle_counts};
use crate::{
    record,
    store::{
        Store, Tx,
        events::{self, Wanted},
    },
    testing::Node,
};

struct World {
    clock: ManualClock,
    node: Node,
}

impl World {
    async fn new() -> World {
        let clock = ManualClock::new(SystemClock.now());
        World { node: Node::central(Arc::new(clock.clone())).await, clock }
    }

    async fn begin(&self) -> Tx {
        self.node.site.store.begin().await.unwrap()
    }

    async fn events(&self) -> Vec<(u64, Event)> {
        let mut tx = self.node.site.store.read().await.unwrap();
        let events = record::list::<wire::Event, Event>(&mut tx, ObjectKind::Event).await.unwrap();
        events.into_iter().map(|(object, event)| (object.version, event)).collect()
    }

    /// Says it so many times, in one transaction for a hundred.
    async fn storm(&self, times: u64, message: impl Fn(u64) -> message::Message) {
        for hundred in 0..times / 100 {
            let mut tx = self.begin().await;
            for number in hundred * 100..(hundred + 1) * 100 {
                report(&self.node.site, &mut tx, "PAR", &message(number)).await.unwrap();
            }
            tx.commit().await.unwrap();
        }
    }
}

#[tokio::test]
async fn a_storm_of_one_message_is_one_message_with_a_true_count() {
    let world = World::new().await;

    world
        .storm(100_000, |number| message::object_refused(&"PAR", &"Conflict", &format!("item {number}")))
        .await;
    world.clock.advance(storm::FLUSH_LONGEST);
    settle_counts(&world.node.site, world.node.site.now()).await.unwrap();

    let events = world.events().await;
    let [(version, event)] = &events[..] else { panic!("one message, not {}", events.len()) };
    assert_eq!((event.count, event.message), (100_000, 8252));
    assert_eq!(event.fields["why"], "item 0", "as it was said first");
    // What went up the line: each version once, if the line is that fast.
    assert!(*version <= 18, "{version} versions");
}

#[tokio::test]
async fn a_storm_of_different_messages_is_cut_and_what_was_left_out_is_told() {
    let world = World::new().await;
    let others = message::bundle_unusable(&"rotten");
    let mut tx = world.begin().await;
    report(&world.node.site, &mut tx, "CEN00001", &others).await.unwrap();
    tx.commit().await.unwrap();

    world.storm(100_000, |number| message::object_refused(&"PAR", &number, &"it is wrong")).await;
    world.clock.advance(storm::FLUSH_LONGEST);
    settle_counts(&world.node.site, world.node.site.now()).await.unwrap();

    let events = world.events().await;
    let of = |number: u32| events.iter().filter(|(_, event)| event.message == number).collect::<Vec<_>>();
    assert_eq!(of(8252).len(), storm::BURST as usize);
    let left_out = of(610);
    assert_eq!(left_out.len(), 1);
    assert_eq!(left_out[0].1.count, 100_000 - u64::from(storm::BURST), "none is lost without being told");
    assert_eq!(left_out[0].1.fields["component"], "receiver");
    assert_eq!(of(4401).len(), 1, "another component is heard");
}

#[tokio::test]
async fn what_people_did_is_never_left_out() {
    let world = World::new().await;

    world.storm(1_000, |_| message::library_check_asked().by("admin anna")).await;

    assert_eq!(world.events().await.len(), 1_000);
}

#[tokio::test]
async fn a_message_whose_transaction_was_taken_back_is_said_anew() {
    let world = World::new().await;
    let (site, message) = (&world.node.site, message::bundle_unusable(&"rotten"));
    let mut tx = world.begin().await;
    report(site, &mut tx, "CEN00001", &message).await.unwrap();
    drop(tx);
    let mut tx = world.begin().await;
    report(site, &mut tx, "PAR", &message::kind_unknown(&"PAR", &"7")).await.unwrap();
    report(site, &mut tx, "CEN00001", &message).await.unwrap();
    tx.commit().await.unwrap();

    let told: Vec<_> =
        world.events().await.into_iter().map(|(_, event)| (event.message, event.count)).collect();

    assert_eq!(told, [(8251, 1), (4401, 1)], "the number of the first was given to another");
}

#[tokio::test]
async fn after_its_hour_a_message_is_said_again() {
    let world = World::new().await;
    for _ in 0..3 {
        world.storm(100, |_| message::bundle_unusable(&"rotten")).await;
        world.clock.advance(Duration::from_secs(3600));
        settle_counts(&world.node.site, world.node.site.now()).await.unwrap();
    }

    let told: Vec<_> = world.events().await.into_iter().map(|(_, event)| event.count).collect();

    assert_eq!(told, [100, 100, 100]);
}

#[tokio::test]
async fn messages_of_a_database_of_before_the_index_are_found_when_it_is_opened() {
    let world = World::new().await;
    let site = &world.node.site;
    let mut tx = world.begin().await;
    report(site, &mut tx, "CEN00001", &message::bundle_unusable(&"rotten")).await.unwrap();
    report(site, &mut tx, "PAR", &message::kind_unknown(&"PAR", &"7")).await.unwrap();
    tx.commit().await.unwrap();
    site.store.by_hand("DELETE FROM event; DELETE FROM setting WHERE name = 'events'").await;
    let wanted = Wanted { subject: "PAR".to_owned(), ..Wanted::default() };
    let found = async || {
        let mut tx = site.store.read().await.unwrap();
        events::list(&mut tx, &wanted, 9).await.unwrap().len()
    };
    assert_eq!(found().await, 0);

    let opened = Store::open(&site.directories.database()).await.unwrap();

    assert_eq!(found().await, 1);
    let mut tx = site.store.read().await.unwrap();
    assert_eq!(events::newest(&mut tx).await.unwrap(), 4, "after those that were given");
    opened.close().await;
}

#[test]
fn what_a_peer_chooses_makes_no_new_kind() {
    let item = ItemId([7; 16]);

    assert_eq!(kind_of(&Violation::SecondHello), "SecondHello");
    assert_eq!(kind_of(&Violation::NotWanted { item }), "NotWanted");
    assert_eq!(kind_of(&Some(5)), "Some");
}
