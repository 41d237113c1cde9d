//! A package on its way: what is wanted, hops, places, parcels.

use std::time::Duration;

use super::{NOW, ago, at, first, mends};
use crate::{
    Priority,
    diagnosis::{
        ArrivalFacts, Courier, CustodyStage, HopFacts, Job, LineFacts, OriginFacts, Pace, ParcelFacts,
        PlaceFacts, PointFacts, Shut, Waiting, arrival, custody, hop, line, origin, parcel, parcel_received,
        place,
    },
    distribution::PointKind,
    kill::Killed,
    link::Pulse,
    package::PackageState,
    parcel::ParcelState,
};

fn up() -> LineFacts {
    LineFacts {
        up: true,
        since: Some(ago(100)),
        last_error: String::new(),
        running_for: Duration::from_secs(3600),
        dials: false,
        shut: None,
        address: None,
        pace: Pace::default(),
    }
}

fn item() -> Waiting {
    Waiting {
        item: "3fa2bc91".to_owned(),
        class: Priority::Medium,
        held_by: None,
        courier: None,
        refused: None,
        moves: false,
        done: 0,
        total: 1000,
        bytes_per_second: 0,
        ahead_bytes: 0,
        since: ago(10),
        eta: None,
    }
}

fn on_way(job: Job, line: LineFacts) -> HopFacts {
    HopFacts {
        at: at("CEN"),
        to: at("PAR"),
        what: "package CEN00001 version 1".to_owned(),
        job,
        line,
        now: NOW,
    }
}

#[test]
#[expect(clippy::too_many_lines, reason = "it is a table of cases")]
fn a_hop_stops_at_the_first_thing_that_is_in_its_way() {
    let held = Waiting { held_by: Some("anna".to_owned()), ..item() };
    let refused = Waiting { refused: Some(("no space".to_owned(), ago(-60))), ..item() };
    let courier =
        |parcel| Waiting { courier: Some(Courier { reason: "it is slow".to_owned(), parcel }), ..item() };
    let moves = Waiting { moves: true, done: 10, bytes_per_second: 5, ..item() };
    let down = LineFacts { up: false, last_error: "cut".to_owned(), ..up() };
    let closed = |high_may| LineFacts { shut: Some(Shut::Calendar { opens_at: None, high_may }), ..up() };
    let spent = LineFacts { shut: Some(Shut::Budget { resets_at: None, high_may: false }), ..up() };
    let slow = LineFacts { pace: Pace { rate: Some(1000), ..Pace::default() }, ..up() };
    let slow_now = LineFacts { pace: Pace { rate: Some(9), by_calendar: true, pulse: None }, ..up() };
    let pulse = Pulse { block_bytes: 5000, pause: Duration::from_secs(10) };
    let pulsed = LineFacts { pace: Pace { pulse: Some(pulse), ..Pace::default() }, ..up() };
    let release = "CEN: packhorse queue release 3fa2bc91 --peer PAR";
    let restart = "PAR: systemctl restart packhorse-site-server";
    let cancelled = Job::Cancelled { item: "3fa2bc91".to_owned(), by: "anna".to_owned(), since: ago(5) };
    let cases = [
        (Job::Delivered, up(), "holds", ""),
        (Job::NotMade { error: String::new() }, up(), "waits bundle-made", ""),
        (Job::NotMade { error: "x".to_owned() }, up(), "fails bundle-made", "CEN: packhorse content verify"),
        (cancelled, down.clone(), "fails mini-job-queued", release),
        (Job::Waiting(held.clone()), down.clone(), "fails item-released", release),
        (
            Job::Waiting(courier(None)),
            down.clone(),
            "fails courier-asked",
            "CEN: packhorse courier create --to PAR --medium DIR",
        ),
        (Job::Waiting(refused.clone()), down.clone(), "fails link-up", restart),
        (Job::Waiting(refused), closed(false), "fails item-taken", release),
        (
            Job::Waiting(moves.clone()),
            closed(false),
            "waits line-open",
            "CEN: packhorse address set PAR --open-always",
        ),
        (
            Job::Waiting(item()),
            closed(true),
            "waits line-open",
            "CEN: packhorse queue priority 3fa2bc91 high --peer PAR",
        ),
        (
            Job::Waiting(item()),
            spent,
            "waits budget-left",
            "CEN: packhorse address set PAR --per-day none --per-month none",
        ),
        (Job::Waiting(moves.clone()), up(), "waits item-moves", ""),
        (
            Job::Waiting(moves.clone()),
            slow,
            "waits item-moves",
            "CEN: packhorse address set PAR --rate none --pulse none",
        ),
        (
            Job::Waiting(moves.clone()),
            slow_now,
            "waits item-moves",
            "CEN: packhorse address set PAR --open-always --rate none --pulse none",
        ),
        (
            Job::Waiting(moves),
            pulsed,
            "waits item-moves",
            "CEN: packhorse address set PAR --rate none --pulse none",
        ),
        (Job::Waiting(item()), up(), "waits items-turn", "CEN: packhorse queue first 3fa2bc91 --peer PAR"),
    ];
    for (job, line, expected, command) in cases {
        let facts = on_way(job, line);
        let found = hop(&facts);
        assert_eq!((first(&found).as_str(), mends(&found).as_str()), (expected, command), "{:?}", facts.job);
        let stage = custody(&facts).stage;
        assert_eq!(stage == CustodyStage::Stopped, expected.starts_with("fails"), "{:?}", facts.job);
    }
}

#[test]
fn whoever_dials_says_why_it_does_not_get_through() {
    let restart = "PAR: systemctl restart packhorse-site-server";
    let dial = "LYO: packhorse address set PAR --dial HOST:PORT";
    for (dials, error, command) in [
        (false, "the stream was cut", restart),
        (true, "cannot reach 127.0.0.1:7443: refused", restart),
        (true, "failed to lookup address information", dial),
        (true, "the server's certificate is for another name", dial),
        (true, "every address is closed at this hour", "LYO: packhorse address set PAR --open-always"),
        (true, "the parent refuses the link", ""),
    ] {
        let facts = LineFacts { up: false, dials, last_error: error.to_owned(), ..up() };
        let found = [line(&at("LYO"), &at("PAR"), &facts)];
        assert_eq!((first(&found).as_str(), mends(&found).as_str()), ("fails link-up", command), "{error}");
        assert!(found[0].text.contains(error), "{}", found[0].text);
    }
    for (seconds, expected) in [(34, "waits link-up"), (35, "fails link-up")] {
        let began = LineFacts { up: false, since: None, running_for: Duration::from_secs(seconds), ..up() };
        assert_eq!(first(&[line(&at("PAR"), &at("LYO"), &began)]), expected, "{seconds}");
    }
    for (error, expected, site, command) in [
        ("x: its certificate is not valid yet; compare the clocks: x", "fails clock-agrees", "LYO", "LYO"),
        ("x: by its clock our certificate is out of date; compare", "fails clock-agrees", "PAR", "PAR"),
        ("x: its certificate has expired; compare the clocks: x", "fails certificate-valid", "PAR", ""),
    ] {
        let facts = LineFacts { up: false, dials: true, last_error: error.to_owned(), ..up() };
        let found = [line(&at("LYO"), &at("PAR"), &facts)];
        let set = if command.is_empty() {
            String::new()
        } else {
            format!("{command}: systemctl restart systemd-timesyncd")
        };
        assert_eq!((first(&found).as_str(), mends(&found)), (expected, set), "{error}");
        assert_eq!(found[0].site, at(site), "whose clock or certificate it is");
        assert!(found[0].text.contains(error), "{}", found[0].text);
    }
    let error = "the link's certificate cannot be used: no such file".to_owned();
    let own = LineFacts { up: false, dials: true, last_error: error, ..up() };
    assert_eq!(first(&[line(&at("LYO"), &at("PAR"), &own)]), "fails certificate-valid");
}

fn wanted(points: &[&str], there: &[&str]) -> OriginFacts {
    let names = |names: &[&str]| names.iter().map(|name| name.parse().expect("a name")).collect();
    OriginFacts {
        at: at("CEN"),
        package: "CEN00001".parse().expect("an id"),
        source_version: Some(1),
        owner: Some(at("CEN")),
        deleted_at: None,
        has_source: true,
        killed: None,
        targets: vec![(at("LYO"), names(points), names(there))],
    }
}

#[test]
fn a_package_is_known_and_sent_to_a_point_that_is_there() {
    let send = |point| format!("CEN: packhorse package send CEN00001 --to LYO/{point}");
    let good = wanted(&["share"], &["share"]);
    let cases = [
        (good.clone(), "holds", String::new()),
        (OriginFacts { source_version: None, ..good.clone() }, "waits package-known", String::new()),
        (
            OriginFacts { source_version: None, deleted_at: Some(ago(9)), ..good.clone() },
            "fails package-known",
            String::new(),
        ),
        (OriginFacts { has_source: false, ..wanted(&[], &[]) }, "holds", String::new()),
        (
            OriginFacts {
                killed: Some(Killed { site: at("CEN"), reason: "it wipes disks".to_owned() }),
                ..good
            },
            "fails package-released",
            "CEN: packhorse package revive CEN00001".to_owned(),
        ),
        (wanted(&[], &["share"]), "fails targeted", send("share")),
        (wanted(&[], &[]), "fails targeted", "LYO: packhorse dp add NAME --path DIR".to_owned()),
        (wanted(&["gone"], &["share"]), "fails point-known", send("share")),
        (wanted(&["gone"], &[]), "fails point-known", "LYO: packhorse dp add gone --path DIR".to_owned()),
        // One of two is enough to go on with.
        (wanted(&["gone", "share"], &["share"]), "holds", String::new()),
    ];
    for (facts, expected, command) in cases {
        let found = origin(&facts);
        assert_eq!((first(&found).as_str(), mends(&found)), (expected, command), "{facts:?}");
    }
}

fn held_with(points: Vec<PointFacts>) -> PlaceFacts {
    PlaceFacts {
        at: at("LYO"),
        package: "CEN00001".parse().expect("an id"),
        source_version: 2,
        held: true,
        noted: None,
        is_owner: false,
        points,
    }
}

#[test]
fn the_library_comes_before_the_points_and_each_point_says_how_it_is() {
    let point = |kind, agent, state| {
        held_with(vec![PointFacts { name: "share".parse().expect("a name"), kind, agent, state }])
    };
    let state = |state, version| Some((state, version, "why".to_owned(), ago(5)));
    let (dir, agent) = (Some(PointKind::Directory), Some(PointKind::Agent));
    let restart = "LYO: systemctl restart packhorse-cap-agent  # on the machine of share";
    let broken = PlaceFacts {
        noted: Some((PackageState::Failed, "rot".to_owned(), ago(5))),
        held: false,
        ..held_with(vec![])
    };
    let cases = [
        (held_with(vec![]), "holds", ""),
        (PlaceFacts { held: false, ..held_with(vec![]) }, "waits content-in-library", ""),
        (broken.clone(), "fails content-in-library", ""),
        (
            PlaceFacts { is_owner: true, ..broken },
            "fails content-in-library",
            "LYO: packhorse package update CEN00001",
        ),
        (
            PlaceFacts { held: false, is_owner: true, ..held_with(vec![]) },
            "fails content-in-library",
            "LYO: packhorse package update CEN00001",
        ),
        (point(None, None, None), "fails point-known", "LYO: packhorse dp add share --path DIR"),
        (point(dir, None, state(PackageState::Installed, 2)), "holds", ""),
        (point(dir, None, state(PackageState::Installed, 1)), "waits on-point", ""),
        (
            point(dir, None, state(PackageState::Retrying, 2)),
            "fails on-point",
            "LYO: packhorse dp check share",
        ),
        (point(agent, Some((true, ago(1))), state(PackageState::Failed, 2)), "fails on-point", restart),
        (point(agent, Some((false, ago(1))), state(PackageState::Pending, 2)), "fails on-point", restart),
        // What has it needs no agent.
        (point(agent, Some((false, ago(1))), state(PackageState::Installed, 2)), "holds", ""),
    ];
    for (facts, expected, command) in cases {
        let found = place(&facts);
        assert_eq!((first(&found).as_str(), mends(&found).as_str()), (expected, command), "{facts:?}");
    }
}

#[test]
fn what_comes_in_is_told_with_how_much_of_it_is_there() {
    let coming = ArrivalFacts {
        at: at("LYO"),
        from: at("PAR"),
        what: "package CEN00001 version 1".to_owned(),
        done: 25,
        total: 100,
        complete: false,
        failed: None,
        since: ago(5),
    };
    assert_eq!(first(&arrival(&coming)), "waits arrived");
    assert!(arrival(&coming)[0].text.starts_with("25 %"));
    assert_eq!(first(&arrival(&ArrivalFacts { complete: true, ..coming.clone() })), "waits despooled");
    let failed = ArrivalFacts { complete: true, failed: Some("damaged".to_owned()), ..coming };
    assert!(arrival(&failed)[0].text.contains("damaged"));
}

#[test]
fn a_parcel_says_what_comes_next() {
    let facts = |state, expected_at| ParcelFacts {
        at: at("CEN"),
        to: at("PAR"),
        id: "3fa2bc91".to_owned(),
        state,
        since: ago(100),
        carrier: "Anna".to_owned(),
        tracking: String::new(),
        expected_at,
        now: NOW,
    };
    let receive = "PAR: packhorse courier receive DIR";
    for (state, expected_at, expected, command) in [
        (ParcelState::Planned, None, "fails parcel-sent", "CEN: packhorse courier write 3fa2bc91 DIR"),
        (
            ParcelState::Created,
            None,
            "fails parcel-sent",
            "CEN: packhorse courier sent 3fa2bc91 --carrier WHO",
        ),
        (ParcelState::Sent, None, "waits parcel-received", receive),
        (ParcelState::Sent, Some(ago(-60)), "waits parcel-received", receive),
        (ParcelState::Sent, Some(ago(60)), "fails parcel-on-time", "CEN: packhorse courier lost 3fa2bc91"),
        (ParcelState::Received, None, "waits parcel-received", receive),
        (ParcelState::Confirmed, None, "holds", ""),
        (
            ParcelState::Lost,
            None,
            "fails parcel-on-time",
            "CEN: packhorse courier create --to PAR --medium DIR",
        ),
    ] {
        let found = parcel(&facts(state, expected_at));
        assert_eq!((first(&found).as_str(), mends(&found).as_str()), (expected, command), "{state:?}");
    }
    let known = |known| first(&[parcel_received(&at("PAR"), "3fa2bc91", known)]);
    assert_eq!(known(None), "waits parcel-received");
    assert_eq!(known(Some((false, NOW))), "fails parcel-received");
    assert_eq!(known(Some((true, NOW))), "holds");
}
