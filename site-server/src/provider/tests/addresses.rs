//! Addresses of neighbours.

use packhorse_domain::address::{ADDRESSES_MAX, Calendar};
use packhorse_proto::provider::v1::{
    Address, AddressSummary, Budget, ListAddressesRequest, Pulse, RemoveAddressRequest, SetAddressRequest,
    WhenSpent, address_service_server::AddressService as _,
};
use tonic::{Code, Status};

use super::{World, asked, inner, refused};
use crate::{
    scheduler::addresses::record_use,
    store::neighbours::{self, Relation},
};

/// A central site with the child PAR.
async fn world() -> World {
    let world = World::new().await;
    let mut tx = world.site.store.begin().await.expect("begun");
    neighbours::add(&mut tx, &"PAR".parse().expect("a code"), Relation::Child).await.expect("added");
    tx.commit().await.expect("committed");
    world
}

fn to_par() -> SetAddressRequest {
    SetAddressRequest { peer: "PAR".to_owned(), ..SetAddressRequest::default() }
}

async fn set(world: &World, request: SetAddressRequest) -> Result<Address, Status> {
    let answer = world.addresses.set_address(asked(request)).await?.into_inner();
    Ok(answer.address.expect("an address"))
}

async fn list(world: &World, peer: &str) -> Vec<AddressSummary> {
    let request = ListAddressesRequest { peer: peer.to_owned() };
    inner(world.addresses.list_addresses(asked(request)).await).addresses
}

#[tokio::test]
async fn only_what_is_given_changes() {
    let world = world().await;
    let night = Calendar::of(["closed", "* 22:00-06:00 all"]).unwrap();
    let made = set(
        &world,
        SetAddressRequest {
            endpoint: Some("par.example.net:7443".to_owned()),
            time_zone: Some("europe/paris".to_owned()),
            calendar: Some((&night).into()),
            bytes_per_second: Some(8_000),
            pulse: Some(Pulse { block_bytes: 5_000, pause_us: 2_000_000 }),
            per_day_bytes: Some(50_000_000),
            when_spent: WhenSpent::Closed.into(),
            ..to_par()
        },
    )
    .await
    .unwrap();

    assert_eq!((made.name.as_str(), made.order, made.time_zone.as_str()), ("main", 1, "Europe/Paris"));
    assert_eq!(set(&world, to_par()).await.unwrap(), made, "nothing was given");
    let monthly = SetAddressRequest { per_month_bytes: Some(1_000), ..to_par() };
    let budget = Budget { per_month_bytes: 1_000, ..made.budget.unwrap() };
    assert_eq!(set(&world, monthly).await.unwrap(), Address { budget: Some(budget), ..made.clone() });
    let taken_away = SetAddressRequest {
        endpoint: Some(String::new()),
        calendar: Some(Calendar::default()).as_ref().map(Into::into),
        bytes_per_second: Some(0),
        pulse: Some(Pulse::default()),
        per_day_bytes: Some(0),
        per_month_bytes: Some(0),
        ..to_par()
    };
    let plain = Address {
        endpoint: String::new(),
        calendar: Some((&Calendar::default()).into()),
        bytes_per_second: 0,
        pulse: None,
        budget: None,
        ..made
    };
    assert_eq!(set(&world, taken_away).await.unwrap(), plain);
    assert_eq!(list(&world, "").await[0].address, Some(plain));
    let audit = world.audit().await;
    assert_eq!(audit.len(), 3, "what changed nothing is not told: {audit:?}");
    assert!(audit[0].starts_with("admin anna set address PAR/main: order 1, endpoint par.example.net"));
    assert!(audit[0].contains("at most 64kbit/s, pulse 5kB/2s, 50MB a day, then closed"), "{}", audit[0]);
    assert!(audit[0].contains("* 22:00-24:00") || audit[0].contains("* 06:00-22:00 closed"), "{}", audit[0]);
    assert!(audit[2].ends_with("always open"), "{}", audit[2]);
}

#[tokio::test]
async fn what_is_off_is_refused_with_a_remedy() {
    let world = world().await;
    let to = |peer: &str| SetAddressRequest { peer: peer.to_owned(), ..SetAddressRequest::default() };
    let zone = |zone: &str| SetAddressRequest { time_zone: Some(zone.to_owned()), ..to_par() };
    for (request, words) in [
        (to("LYO"), &["field `peer`", "neighbours are: PAR", "once it has joined"][..]),
        (to("CEN"), &["field `peer`"]),
        (to("par"), &["field `peer`", "3 characters"]),
        (SetAddressRequest { name: "Main".to_owned(), ..to_par() }, &["field `name`"]),
        (SetAddressRequest { endpoint: Some("par".to_owned()), ..to_par() }, &["HOST:PORT"]),
        (zone("Europe/Pariss"), &["field `time_zone`", "it may be Europe/Paris"]),
        (zone("Mars"), &["field `time_zone`"]),
        (zone(""), &["give an IANA name"]),
        (SetAddressRequest { bytes_per_second: Some(1), ..to_par() }, &["bytes_per_second", "1kbit/s"]),
        (SetAddressRequest { pulse: Some(Pulse { block_bytes: 1, pause_us: 1 }), ..to_par() }, &["pulse"]),
        (SetAddressRequest { per_day_bytes: Some(u64::MAX), ..to_par() }, &["budget"]),
        (SetAddressRequest { when_spent: WhenSpent::Closed.into(), ..to_par() }, &["per day or per month"]),
        (SetAddressRequest { when_spent: 9, per_day_bytes: Some(1), ..to_par() }, &["when_spent"]),
    ] {
        refused(set(&world, request).await, Code::InvalidArgument, words);
    }
    let hours = packhorse_proto::provider::v1::Calendar { hours: vec![Default::default()] };
    let short = SetAddressRequest { calendar: Some(hours), ..to_par() };
    refused(set(&world, short).await, Code::InvalidArgument, &["calendar.hours"]);
    let unknown = ListAddressesRequest { peer: "LYO".to_owned() };
    refused(world.addresses.list_addresses(asked(unknown)).await, Code::InvalidArgument, &["PAR"]);
    assert!(list(&world, "PAR").await.is_empty() && world.audit().await.is_empty());
}

#[tokio::test]
async fn a_further_address_comes_after_those_that_are_there() {
    let world = world().await;
    let called = |name: &str| SetAddressRequest { name: name.to_owned(), ..to_par() };
    for name in ["main", "backup"] {
        set(&world, called(name)).await.unwrap();
    }
    let shown = async || {
        let listed = list(&world, "PAR").await.into_iter().map(|one| one.address.unwrap().name);
        listed.collect::<Vec<_>>()
    };

    assert_eq!(shown().await, ["main", "backup"]);
    set(&world, SetAddressRequest { order: Some(0), ..called("backup") }).await.unwrap();
    assert_eq!(shown().await, ["backup", "main"]);
    for number in 2..ADDRESSES_MAX {
        set(&world, called(&format!("line-{number}"))).await.unwrap();
    }
    refused(set(&world, called("more")).await, Code::FailedPrecondition, &["remove one first"]);
    set(&world, called("main")).await.unwrap();
}

#[tokio::test]
async fn what_went_over_a_line_is_shown_and_outlives_its_address() {
    let world = world().await;
    let peer = "PAR".parse().unwrap();
    set(&world, SetAddressRequest { per_day_bytes: Some(1_000), ..to_par() }).await.unwrap();

    record_use(&world.site, &peer, None, 700).await.unwrap();
    record_use(&world.site, &peer, None, 0).await.unwrap();
    let used = async || list(&world, "PAR").await.first().map(|one| (one.day_bytes, one.month_bytes));
    assert_eq!(used().await, Some((700, 700)));
    let remove = || RemoveAddressRequest { peer: "PAR".to_owned(), name: String::new() };
    inner(world.addresses.remove_address(asked(remove())).await);
    assert_eq!(used().await, None);
    refused(world.addresses.remove_address(asked(remove())).await, Code::NotFound, &["address PAR/main"]);
    set(&world, to_par()).await.unwrap();

    assert_eq!(used().await, Some((700, 700)));
    assert!(world.audit().await.iter().any(|text| text == "admin anna removed address PAR/main"));
}
