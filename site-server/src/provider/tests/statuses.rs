//! What is where, and how far.

use packhorse_domain::{
    Digest, Priority,
    effort::Effort,
    link::{ItemId, Stage},
    message,
};
use packhorse_proto::{
    object::v1 as wire,
    provider::v1::{
        GetPackageStatusRequest, GetSiteStatusRequest, ListEventsRequest, TransferState,
        status_service_server::StatusService as _,
    },
};
use tonic::Code;

use super::{World, asked, id_of, inner, refused};
use crate::{
    sender::{LinkView, Moving},
    status,
    store::{
        arrivals::{self, Arrival, ArrivalState},
        bundles::{self, BundleRow, Sending, SendingState},
        neighbours::{self, Relation},
    },
};

fn digest(number: u8) -> Digest {
    Digest([number; 32])
}

fn moving(item: ItemId, outgoing: bool, subject: &str, done: u64) -> Moving {
    Moving {
        item,
        outgoing,
        subject: subject.to_owned(),
        priority: Priority::High,
        stage: Stage::Sending { next: done, acked: done },
        done,
        total: 100,
        rate_bytes_per_s: 0,
    }
}

/// Queues a bundle of 100 bytes for PAR.
async fn queue(world: &World, package: &str, number: u8, state: SendingState) {
    let mut tx = world.site.store.begin().await.unwrap();
    let bundle = BundleRow {
        digest: digest(number),
        package: package.parse().unwrap(),
        source_version: 1,
        target: digest(100),
        bases: vec![],
        length: 100,
        effort: Effort::LeastBytes,
    };
    let sending = Sending {
        peer: "PAR".parse().unwrap(),
        digest: digest(number),
        state,
        reason: String::new(),
        retry_at: world.site.now(),
        changed_at: world.site.now(),
    };
    bundles::put(&mut tx, &bundle, world.site.now()).await.unwrap();
    bundles::put_sending(&mut tx, &sending).await.unwrap();
    tx.commit().await.unwrap();
}

pub(super) async fn arrive(world: &World, package: &str, number: u8, state: ArrivalState) {
    let mut tx = world.site.store.begin().await.unwrap();
    let arrival = Arrival {
        item: ItemId::of(&digest(number)),
        peer: "PAR".parse().unwrap(),
        package: package.parse().unwrap(),
        target: digest(100),
        bases: vec![],
        digest: digest(number),
        length: 100,
        priority: Priority::Low,
        outlined: false,
        state,
        reason: String::new(),
        changed_at: world.site.now(),
    };
    arrivals::put(&mut tx, &arrival).await.unwrap();
    tx.commit().await.unwrap();
}

#[tokio::test]
async fn a_transfer_is_shown_once_and_where_it_is() {
    let world = World::new().await;
    let id = id_of(&world.package().await).to_string();
    queue(&world, &id, 1, SendingState::Queued).await;
    queue(&world, &id, 2, SendingState::Queued).await;
    queue(&world, &id, 3, SendingState::Done).await;
    queue(&world, "CEN00009", 4, SendingState::Queued).await;
    arrive(&world, &id, 5, ArrivalState::Complete).await;
    arrive(&world, &id, 6, ArrivalState::Receiving).await;
    let spool = world.site.directories.arrival(&ItemId::of(&digest(6)));
    std::fs::write(spool, [0; 30]).unwrap();
    let items = vec![
        moving(ItemId::of(&digest(1)), true, &id, 40),
        moving(ItemId::of(&digest(5)), false, &id, 100),
        moving(ItemId::of(&digest(7)), true, &format!("distribution/{id}"), 1),
        moving(ItemId::of(&digest(8)), true, &format!("event/{id}"), 1),
    ];
    world.site.links(|links| {
        links.insert("PAR".parse().unwrap(), LinkView { moving: items, ..LinkView::default() })
    });

    let request = GetPackageStatusRequest { package: id.clone() };
    let transfers = inner(world.statuses.get_package_status(asked(request)).await).transfers;

    let shown: Vec<_> = transfers.iter().map(|one| (one.state(), one.outgoing, one.bytes_done)).collect();
    assert_eq!(
        shown,
        [
            (TransferState::Sending, true, 40),
            (TransferState::Sending, true, 1),
            (TransferState::Queued, true, 0),
            (TransferState::Despooling, false, 100),
            (TransferState::Receiving, false, 30),
        ]
    );
    let unknown = GetPackageStatusRequest { package: "CEN00009".to_owned() };
    refused(world.statuses.get_package_status(asked(unknown)).await, Code::NotFound, &["CEN00009"]);
}

#[tokio::test]
async fn a_site_shows_its_links_with_what_they_have_to_do() {
    let world = World::new().await;
    let id = id_of(&world.package().await).to_string();
    let mut tx = world.site.store.begin().await.unwrap();
    neighbours::add(&mut tx, &"PAR".parse().unwrap(), Relation::Child).await.unwrap();
    tx.commit().await.unwrap();
    queue(&world, &id, 1, SendingState::Queued).await;
    let view = LinkView { up: true, sent_before: 7, last_error: "cut".to_owned(), ..LinkView::default() };
    world.site.links(|links| links.insert("PAR".parse().unwrap(), view));

    let shown = inner(world.statuses.get_site_status(asked(GetSiteStatusRequest {})).await);

    assert_eq!(shown.code, "CEN");
    assert!(shown.library_bytes > 0);
    let [link] = &shown.links[..] else { panic!("one link, not {:?}", shown.links) };
    // The trust file, the package and its bundle.
    assert_eq!((link.peer.as_str(), link.up, link.bytes_sent, link.queued_items), ("PAR", true, 7, 3));
    assert_eq!(link.last_error, "cut");
}

#[tokio::test]
async fn events_are_chosen_and_the_newest_come_first() {
    let world = World::new().await;
    for (subject, message) in [
        ("PAR", message::bundle_delivered(&1, &"PAR")),
        ("PAR", message::bundle_damaged_here(&"cut")),
        ("CEN00001", message::bundle_unusable(&"cut")),
    ] {
        world.clock.advance(std::time::Duration::from_secs(1));
        let mut tx = world.site.store.begin().await.unwrap();
        status::report(&world.site, &mut tx, subject, &message).await.unwrap();
        tx.commit().await.unwrap();
    }
    let sequences = async |request: ListEventsRequest| {
        let events = inner(world.statuses.list_events(asked(request)).await).events;
        events.into_iter().map(|event| event.sequence).collect::<Vec<_>>()
    };
    let all = ListEventsRequest::default();

    assert_eq!(sequences(all.clone()).await, [3, 2, 1]);
    assert_eq!(sequences(ListEventsRequest { limit: 1, ..all.clone() }).await, [3]);
    assert_eq!(sequences(ListEventsRequest { component: "sender".to_owned(), ..all.clone() }).await, [2, 1]);
    assert_eq!(sequences(ListEventsRequest { subject: "CEN00001".to_owned(), ..all.clone() }).await, [3]);
    let severe = ListEventsRequest { severity: wire::Severity::Warning.into(), ..all.clone() };
    assert_eq!(sequences(severe).await, [3, 2]);
    let recent = world.site.now().0 - 1_000_000;
    assert_eq!(sequences(ListEventsRequest { since_us: recent, ..all.clone() }).await, [3]);
    let many = ListEventsRequest { limit: 1001, ..all };
    refused(world.statuses.list_events(asked(many)).await, Code::InvalidArgument, &["limit"]);
}
