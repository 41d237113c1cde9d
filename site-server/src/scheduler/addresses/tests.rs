//! Clocks of addresses, and the terms of a link at a real site.

use std::sync::Arc;

use packhorse_domain::{
    address::{Budget, Calendar, WhenSpent},
    link::Open,
};
use packhorse_runtime::{ManualClock, SystemClock};

use super::*;
use crate::testing::Node;

fn at(text: &str) -> Timestamp {
    Timestamp(text.parse::<jiff::Timestamp>().expect(text).as_microsecond())
}

fn in_zone(zone: &str) -> Address {
    let peer = "PAR".parse().expect("a code");
    Address { time_zone: zone.to_owned(), ..Address::open(peer, MAIN.parse().expect("a name")) }
}

#[test]
fn an_address_has_the_clock_of_its_zone() {
    for (zone, now, (weekday, hour), next_hour, next_day, next_month) in [
        // A Thursday in winter.
        (
            "UTC",
            "2026-01-15T12:34:56Z",
            (3, 12),
            "2026-01-15T13:00:00Z",
            "2026-01-16T00:00:00Z",
            "2026-02-01T00:00:00Z",
        ),
        // A whole hour begins itself.
        (
            "Europe/Paris",
            "2026-12-31T22:00:00Z",
            (3, 23),
            "2026-12-31T23:00:00Z",
            "2026-12-31T23:00:00Z",
            "2026-12-31T23:00:00Z",
        ),
        // The Sunday with 25 hours: the hour from 2 to 3 comes twice.
        (
            "Europe/Paris",
            "2026-10-25T00:30:00Z",
            (6, 2),
            "2026-10-25T01:00:00Z",
            "2026-10-25T23:00:00Z",
            "2026-10-31T23:00:00Z",
        ),
        (
            "Europe/Paris",
            "2026-10-25T01:30:00Z",
            (6, 2),
            "2026-10-25T02:00:00Z",
            "2026-10-25T23:00:00Z",
            "2026-10-31T23:00:00Z",
        ),
        // Hours that begin at half past by UTC.
        (
            "Asia/Kolkata",
            "2026-06-30T18:20:00Z",
            (1, 23),
            "2026-06-30T18:30:00Z",
            "2026-06-30T18:30:00Z",
            "2026-06-30T18:30:00Z",
        ),
        (
            "No/Such",
            "2026-01-15T12:00:00Z",
            (3, 12),
            "2026-01-15T13:00:00Z",
            "2026-01-16T00:00:00Z",
            "2026-02-01T00:00:00Z",
        ),
    ] {
        let moment = moment(&zone_of(&in_zone(zone)), at(now));

        let expected = LocalMoment {
            hour: LocalHour::new(weekday, hour).expect("an hour"),
            next_hour_at: at(next_hour),
            next_day_at: at(next_day),
            next_month_at: at(next_month),
        };
        assert_eq!(moment, expected, "{zone} {now}");
    }
}

#[test]
fn times_that_no_clock_knows_are_no_panic() {
    for now in [i64::MIN, i64::MAX] {
        let moment = moment(&zone_of(&in_zone("Europe/Paris")), Timestamp(now));
        assert!(moment.next_hour_at >= Timestamp(now));
    }
}

#[test]
fn a_day_is_that_of_the_address() {
    let days = days(&TimeZone::get("Asia/Tokyo").expect("a zone"), at("2026-02-28T15:00:00Z"));

    assert_eq!((days.today.as_str(), days.first_of_month.as_str()), ("2026-03-01", "2026-03-01"));
    assert_eq!(days.oldest, "2025-12-29");
}

#[test]
fn zones_are_found_and_suggested() {
    assert_eq!(zone_name("europe/paris").as_deref(), Some("Europe/Paris"));
    assert_eq!(zone_name("UTC").as_deref(), Some("UTC"));
    for wrong in ["Europe/Pariss", "Paris", "../../etc/passwd", ""] {
        assert_eq!(zone_name(wrong), None, "{wrong}");
    }
    assert_eq!(zones_like("Paris"), ["Europe/Paris"]);
    assert_eq!(zones_like("Europe/Pariss"), ["Europe/Paris"]);
    assert!(zones_like("").is_empty() && zones_like("Xyzzy").is_empty());
}

const NOON: &str = "2026-03-02T12:00:00Z";

fn named(name: &str) -> AddressName {
    name.parse().expect("a name")
}

fn line(peer: &SiteCode, name: &str, order: u32, rules: &[&str]) -> Address {
    let calendar = Calendar::of(rules.iter().copied()).expect("good rules");
    Address { order, calendar, ..Address::open(peer.clone(), named(name)) }
}

async fn put(site: &Site, address: &Address) {
    let mut tx = site.store.begin().await.expect("begun");
    addresses::put(&mut tx, address).await.expect("written");
    tx.commit().await.expect("committed");
}

async fn dials(site: &Site, peer: &SiteCode, failed: &[&str]) -> Vec<String> {
    let failed: Vec<AddressName> = failed.iter().map(|name| named(name)).collect();
    let dials = dialling(site, peer, &failed).await.expect("read");
    let shown = dials.into_iter().map(|dial| {
        let name = dial.address.map_or_else(|| "-".to_owned(), |name| name.to_string());
        format!("{name} {}", dial.endpoint)
    });
    shown.collect()
}

#[tokio::test]
async fn without_an_address_everything_goes() {
    let node = Node::central(Arc::new(ManualClock::new(at(NOON)))).await;
    let peer: SiteCode = "PAR".parse().unwrap();

    record_use(&node.site, &peer, None, 1_000).await.unwrap();
    let terms = terms(&node.site, &peer, Some(&named("main"))).await.unwrap();

    assert_eq!((terms.allowance, &terms.address), (Allowance::default(), &None));
    assert_eq!(terms.eta(at(NOON), Priority::Low, 7_200, 2), Some(at("2026-03-02T13:00:00Z")));
    assert_eq!(terms.eta(at(NOON), Priority::Low, 7_200, 0), None);
    assert_eq!(terms.eta(at(NOON), Priority::Low, u64::MAX, 1), None);
}

#[tokio::test]
async fn terms_follow_the_clock_and_the_budget() {
    let clock = ManualClock::new(at(NOON));
    let node = Node::central(Arc::new(clock.clone())).await;
    let peer: SiteCode = "PAR".parse().unwrap();
    let budget =
        Budget { per_day_bytes: Some(1_000), per_month_bytes: None, when_spent: WhenSpent::HighOnly };
    let main = Address {
        time_zone: "Europe/Paris".to_owned(),
        budget: Some(budget),
        ..line(&peer, "main", 2, &["* 13:00-14:00 high+medium 64kbit/s"])
    };
    put(&node.site, &main).await;
    put(&node.site, &line(&peer, "modem", 9, &["closed"])).await;
    let open = async || terms(&node.site, &peer, None).await.unwrap().allowance.open;

    let first = terms(&node.site, &peer, None).await.unwrap();
    assert_eq!(first.allowance.open, Open::HighAndMedium, "it is one o'clock in Paris");
    assert_eq!(first.allowance.bytes_per_second, Some(8_000));
    assert_eq!(first.address, Some(main.clone()));
    assert_eq!(first.eta(at(NOON), Priority::Low, 500, 1_000), Some(at("2026-03-02T13:00:00.5Z")));
    let modem = terms(&node.site, &peer, Some(&named("modem"))).await.unwrap();
    assert_eq!(modem.allowance.open, Open::Nothing);
    let gone = terms(&node.site, &peer, Some(&named("gone"))).await.unwrap();
    assert_eq!(gone.address, Some(main));

    record_use(&node.site, &peer, Some(&named("modem")), 5_000).await.unwrap();
    record_use(&node.site, &peer, None, 600).await.unwrap();
    assert_eq!(open().await, Open::HighAndMedium, "each address has a budget of its own");
    record_use(&node.site, &peer, Some(&named("main")), 400).await.unwrap();
    let spent = terms(&node.site, &peer, None).await.unwrap();
    assert_eq!((spent.allowance.open, spent.spent.day_bytes), (Open::High, 1_000));
    clock.advance(Duration::from_secs(11 * 3600));
    let next = terms(&node.site, &peer, None).await.unwrap();
    assert_eq!(next.allowance.open, Open::All, "midnight in Paris is eleven o'clock here");
    assert_eq!(next.spent, Spent { day_bytes: 0, month_bytes: 1_000 });
    clock.advance(Duration::from_secs(30 * 24 * 3600));
    assert_eq!(terms(&node.site, &peer, None).await.unwrap().spent, Spent::default());
}

#[tokio::test]
async fn the_parent_is_dialled_by_its_addresses_or_by_the_settings() {
    // Joining takes certificates that are valid today.
    let clock = SystemClock::shared();
    let central = Node::central(clock.clone()).await;
    let child = central.child("PAR", clock).await;
    let (site, parent) = (&child.site, central.code());
    let settings = central.site.settings.endpoints[0].as_str();

    assert_eq!(dials(site, parent, &[]).await, [format!("- {settings}")]);
    assert_eq!(dials(&central.site, child.code(), &[]).await, [""; 0], "a parent does not dial");
    put(site, &line(parent, "main", 1, &[])).await;
    assert_eq!(dials(site, parent, &[]).await, [format!("main {settings}")]);
    let radio = Address { endpoint: Some("radio:7443".to_owned()), ..line(parent, "radio", 2, &[]) };
    put(site, &radio).await;
    assert_eq!(dials(site, parent, &[]).await, [format!("main {settings}")]);
    assert_eq!(
        dials(site, parent, &["main"]).await,
        ["radio radio:7443".to_owned(), format!("main {settings}")]
    );
    put(site, &line(parent, "main", 1, &["closed"])).await;
    assert_eq!(dials(site, parent, &[]).await, ["radio radio:7443"]);
    put(site, &Address { calendar: Calendar::of(["no-backup"]).unwrap(), ..radio }).await;
    assert_eq!(dials(site, parent, &[]).await, [""; 0], "all are closed");
}
