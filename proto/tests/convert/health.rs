//! How sites are: what is said comes back, limits hold, and an idle site says it in few bytes.

use std::time::Duration;

use packhorse_domain::{
    Priority, Timestamp,
    care::Disk,
    health::{
        CapsHealth, CertificateHealth, ClockHealth, ComponentHealth, DiskHealth, Level, LineHealth,
        QueueHealth, SiteHealth,
    },
    id::SiteCode,
};
use packhorse_proto::object::v1 as wire;
use proptest::{collection::vec, option, prelude::*, sample::select};
use prost::Message as _;

use crate::{limits::refused, read, there_and_back};

fn site() -> impl Strategy<Value = SiteCode> {
    "[A-Z0-9]{3}".prop_map(|text: String| text.parse().expect("a code"))
}

fn level() -> impl Strategy<Value = Level> {
    select(vec![Level::Ok, Level::Warning, Level::Critical])
}

fn since() -> impl Strategy<Value = Option<Timestamp>> {
    option::of((1..=i64::MAX).prop_map(Timestamp))
}

fn component() -> impl Strategy<Value = ComponentHealth> {
    ("[a-z-]{1,64}", level(), since(), ".{0,60}")
        .prop_map(|(name, level, since, last_error)| ComponentHealth { name, level, since, last_error })
}

fn line() -> impl Strategy<Value = LineHealth> {
    (site(), any::<bool>(), since(), level()).prop_map(|(peer, up, since, level)| LineHealth {
        peer,
        up,
        since,
        level,
    })
}

fn queue() -> impl Strategy<Value = QueueHealth> {
    (site(), select(Priority::ALL.to_vec()), any::<i64>(), level()).prop_map(
        |(peer, priority, oldest, level)| QueueHealth { peer, priority, oldest: Timestamp(oldest), level },
    )
}

fn health() -> impl Strategy<Value = SiteHealth> {
    let disk = (any::<[u64; 3]>(), level()).prop_map(|([free_bytes, total_bytes, reserve_bytes], level)| {
        DiskHealth { disk: Disk { free_bytes, total_bytes }, reserve_bytes, level }
    });
    let certificate = (".{0,16}", any::<i64>(), level()).prop_map(|(name, ends, level)| CertificateHealth {
        name,
        ends: Timestamp(ends),
        level,
    });
    let caps = (any::<[u32; 2]>(), any::<u64>(), level())
        .prop_map(|([agents, connected], behind, level)| CapsHealth { agents, connected, behind, level });
    let clock = (any::<i64>(), level()).prop_map(|(ahead_us, level)| ClockHealth { ahead_us, level });
    let said = (site(), any::<i64>(), 1..=86_400_u64, level(), any::<u64>());
    let parts = (
        vec(component(), 0..5),
        option::of(disk),
        option::of(certificate),
        vec(line(), 0..4),
        vec(queue(), 0..4),
        caps,
        option::of(clock),
    );
    (said, parts).prop_map(|((site, at, every, level, library_bytes), parts)| {
        let (components, disk, certificate, lines, queues, caps, clock) = parts;
        let (at, every) = (Timestamp(at), Duration::from_secs(every));
        SiteHealth {
            site,
            at,
            every,
            level,
            components,
            disk,
            library_bytes,
            certificate,
            lines,
            queues,
            caps,
            clock,
        }
    })
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(128) })]

    #[test]
    fn it_comes_back(health in health()) {
        prop_assert_eq!(there_and_back::<wire::SiteHealth, SiteHealth>(&health), health);
    }

    #[test]
    fn no_bytes_bring_a_receiver_down(bytes in vec(any::<u8>(), 0..400)) {
        read::<wire::SiteHealth, SiteHealth>(&bytes);
    }

    #[test]
    fn damaged_ones_do_not_either(health in health(), at in any::<prop::sample::Index>(), byte: u8) {
        let mut bytes = wire::SiteHealth::from(&health).encode_to_vec();
        let at = at.index(bytes.len());
        bytes[at] = byte;
        read::<wire::SiteHealth, SiteHealth>(&bytes);
    }
}

fn good() -> wire::SiteHealth {
    wire::SiteHealth { site: "PAR".to_owned(), every_s: 900, ..Default::default() }
}

fn one(name: usize, error: usize) -> wire::ComponentHealth {
    wire::ComponentHealth { name: "x".repeat(name), last_error: "x".repeat(error), ..Default::default() }
}

#[test]
fn each_limit_holds_and_names_its_field() {
    let line = || wire::LineHealth { peer: "CEN".to_owned(), ..Default::default() };
    let queue = || wire::QueueHealth { peer: "CEN".to_owned(), ..Default::default() };
    let cases: Vec<(wire::SiteHealth, Option<&str>)> = vec![
        (good(), None),
        (wire::SiteHealth { site: "PARIS".to_owned(), ..good() }, Some("site")),
        (wire::SiteHealth { every_s: 0, ..good() }, Some("every_s")),
        (wire::SiteHealth { every_s: 86_400, ..good() }, None),
        (wire::SiteHealth { every_s: 86_401, ..good() }, Some("every_s")),
        (wire::SiteHealth { components: vec![one(64, 256); 64], ..good() }, None),
        (wire::SiteHealth { components: vec![one(1, 0); 65], ..good() }, Some("components")),
        (wire::SiteHealth { components: vec![one(65, 0)], ..good() }, Some("name")),
        (wire::SiteHealth { components: vec![one(0, 0)], ..good() }, Some("name")),
        (wire::SiteHealth { components: vec![one(1, 257)], ..good() }, Some("last_error")),
        (wire::SiteHealth { lines: vec![line(); 1_024], ..good() }, None),
        (wire::SiteHealth { lines: vec![line(); 1_025], ..good() }, Some("lines")),
        (wire::SiteHealth { lines: vec![wire::LineHealth::default()], ..good() }, Some("peer")),
        (wire::SiteHealth { queues: vec![queue(); 3_072], ..good() }, None),
        (wire::SiteHealth { queues: vec![queue(); 3_073], ..good() }, Some("queues")),
        (
            wire::SiteHealth { queues: vec![wire::QueueHealth { priority: 9, ..queue() }], ..good() },
            Some("priority"),
        ),
    ];
    for (at, (message, expected)) in cases.into_iter().enumerate() {
        assert_eq!(refused::<_, SiteHealth>(message), expected, "case {at}");
    }
}

#[test]
fn a_level_of_a_later_version_is_no_better_than_the_worst_that_is_known() {
    let said = |level| SiteHealth::try_from(wire::SiteHealth { level, ..good() }).expect("taken").level;

    assert_eq!((said(0), said(1), said(2), said(3)), (Level::Ok, Level::Ok, Level::Warning, Level::Critical));
    assert_eq!(said(4), Level::Critical);
}
