//! A site as it is, and as its parent sees it.

use std::time::Duration;

use super::{NOW, ago, at, first, mends};
use crate::{
    Timestamp,
    care::Disk,
    diagnosis::{
        CapFacts, ComponentFacts, Locked, Neighbour, Silence, SiteFacts, Verdict, caps, clock, silent, site,
    },
};

fn component(consecutive_errors: u32) -> ComponentFacts {
    ComponentFacts {
        name: "sender".to_owned(),
        consecutive_errors,
        last_error: "the disk is gone".to_owned(),
        last_step: Some(ago(5)),
    }
}

fn well() -> SiteFacts {
    SiteFacts {
        at: at("PAR"),
        components: vec![component(0)],
        unusable: Vec::new(),
        locked: None,
        disk: Some(("/srv/library".to_owned(), Disk { free_bytes: 100, total_bytes: 1000 }, 50)),
        certificate: Some(("of the site server".to_owned(), Timestamp(i64::MAX))),
        begins: Some(("for its parent".to_owned(), ago(300))),
        now: NOW,
    }
}

fn held(by: Option<(u32, String)>) -> Locked {
    Locked { path: "/srv/site.db".to_owned(), since: ago(20), by }
}

#[test]
fn who_holds_the_database_is_to_be_ended_or_found() {
    let sqlite = || Some((4711, "sqlite3".to_owned()));
    for (by, who, command) in [
        (sqlite(), "process 4711 (sqlite3) holds", "PAR: kill 4711"),
        (None, "another program holds", "PAR: fuser -v /srv/site.db"),
    ] {
        let found = site(&SiteFacts { locked: Some(held(by)), ..well() });
        assert_eq!(mends(&found), command);
        assert!(found[0].text.starts_with(who) && found[0].text.contains("/srv/site.db"), "{found:?}");
        assert_eq!(found[0].since, Some(ago(20)));
    }
}

#[test]
fn a_site_says_what_is_wrong_with_it() {
    const DAY: i64 = 24 * 3600;
    type Change = fn(&mut SiteFacts);
    let cases: [(&str, Change, &str); 12] = [
        ("all is well", |_| {}, "holds"),
        ("one failure is a collision", |facts| facts.components = vec![component(1)], "holds"),
        ("again and again", |facts| facts.components = vec![component(2)], "fails components-well"),
        (
            "a directory is gone, and a component fails of it",
            |facts| {
                facts.components = vec![component(9)];
                facts.unusable = vec![("/srv/spool".to_owned(), "it is no directory".to_owned())];
            },
            "fails directories-there",
        ),
        (
            "less than the reserve",
            |facts| facts.disk = Some(("/srv".to_owned(), Disk { free_bytes: 49, total_bytes: 1000 }, 50)),
            "fails disk-room",
        ),
        (
            "just the reserve",
            |facts| facts.disk = Some(("/srv".to_owned(), Disk { free_bytes: 50, total_bytes: 1000 }, 50)),
            "holds",
        ),
        ("expired", |facts| facts.certificate = Some(("x".to_owned(), ago(1))), "fails certificate-valid"),
        (
            "expires within two weeks",
            |facts| facts.certificate = Some(("x".to_owned(), ago(-13 * DAY))),
            "waits certificate-valid",
        ),
        (
            "another program writes, and a component fails of it",
            |facts| {
                facts.components = vec![component(9)];
                facts.locked = Some(held(None));
            },
            "fails database-free",
        ),
        (
            "the clock is before all certificates",
            |facts| facts.begins = Some(("x".to_owned(), ago(-1))),
            "fails clock-agrees",
        ),
        ("a certificate begins now", |facts| facts.begins = Some(("x".to_owned(), ago(0))), "holds"),
        ("expires later", |facts| facts.certificate = Some(("x".to_owned(), ago(-15 * DAY))), "holds"),
    ];
    for (what, change, expected) in cases {
        let mut facts = well();
        change(&mut facts);
        assert_eq!(first(&site(&facts)), expected, "{what}");
    }
}

#[test]
fn a_site_that_does_not_answer_hangs_or_cannot_be_asked() {
    for (link, verdict) in [
        (Silence::Dead, Verdict::Fails),
        (Silence::Slow, Verdict::Unknown),
        (Silence::Down, Verdict::Unknown),
    ] {
        let facts = Neighbour {
            at: at("CEN"),
            to: at("PAR"),
            link,
            seen_at: Some(ago(60)),
            waited: Duration::from_secs(7),
        };
        let found = silent(&facts);
        assert_eq!((found.verdict, found.check.as_str()), (verdict, "site-answers"), "{link:?}");
        let is_mended = found.remedy.is_some_and(|remedy| remedy.command.contains("restart"));
        assert_eq!(is_mended, link == Silence::Dead, "{link:?}");
    }
}

#[test]
fn clocks_may_differ_by_a_minute_and_the_way() {
    let second = Duration::from_secs(1);
    for (there, round_trip, verdict) in [
        (NOW, second, Verdict::Holds),
        (ago(60), second, Verdict::Holds),
        (ago(62), second, Verdict::Fails),
        (ago(-62), second, Verdict::Fails),
        (ago(65), second * 10, Verdict::Holds),
    ] {
        let found = clock(&at("CEN"), &at("PAR"), NOW, there, round_trip);
        assert_eq!(found.verdict, verdict, "{there:?}");
        assert_eq!(found.site, at("PAR"), "whose clock it is");
    }
    assert!(clock(&at("CEN"), &at("PAR"), NOW, ago(100), second).text.contains("behind"));
    assert!(clock(&at("CEN"), &at("PAR"), NOW, ago(-100), second).text.contains("ahead of"));
}

#[test]
fn access_points_are_there_and_fed() {
    let cap = |connected, behind| CapFacts {
        name: "gate".parse().expect("a name"),
        connected,
        seen_at: ago(100),
        behind,
    };
    for (all, expected, command) in [
        (vec![], "fails cap-known", "PAR: packhorse cap token NAME --out NAME.token"),
        (vec![cap(true, 0)], "holds", ""),
        (vec![cap(true, 3)], "waits cap-fed", ""),
        (
            vec![cap(false, 3)],
            "fails cap-connected",
            "PAR: systemctl restart packhorse-cap-agent  # on the machine of gate",
        ),
    ] {
        let found = caps(&at("PAR"), &all);
        assert_eq!((first(&found).as_str(), mends(&found).as_str()), (expected, command), "{all:?}");
    }
}
