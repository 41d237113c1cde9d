//! The ledger keeps what it was told, across restarts.

use packhorse_domain::{
    advertisement::{Acceptance, Delivery},
    kill::{Kill, Word},
};

use super::*;

fn owner() -> Owner {
    Owner {
        client: "00000000-0000-4000-8000-000000000001".parse().unwrap(),
        site: "LYO".parse().unwrap(),
        hostname: "till-7".into(),
    }
}

fn open_at(directory: &Path) -> Ledger {
    Ledger::open(directory, owner()).unwrap()
}

fn run_of(advertisement: &str, state: RunState) -> RunRecord {
    RunRecord {
        advertisement: advertisement.parse().unwrap(),
        occurrence: 2,
        package: "CEN00001".parse().unwrap(),
        program: "install".parse().unwrap(),
        source_version: 2,
        release: 4,
        state,
        attempts: 1,
        idempotent: true,
        success_codes: vec![0, 3010],
        begun_at: Timestamp(5),
        ended_at: None,
        exit_code: Some(-1),
        reason: "a \"reason\"".into(),
        traceparent: "00-1-2-01".into(),
    }
}

fn change(advertisement: &str, delivery: Delivery, at: i64) -> StatusChange {
    StatusChange {
        advertisement: advertisement.parse().unwrap(),
        acceptance: Acceptance::Accepted,
        delivery: Some(delivery),
        exit_code: None,
        output_tail: String::new(),
        reason: String::new(),
        source_version: 2,
        closed: None,
        at: Timestamp(at),
        traceparent: "00-1-2-01".into(),
    }
}

#[test]
fn a_ledger_keeps_everything_over_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    let seen = Seen {
        serial: 7,
        trust_version: 3,
        releases: BTreeMap::from([("CEN00001".parse().unwrap(), 4)]),
        instruction: Some(Digest([9; 32])),
        ..Seen::default()
    };
    let run = run_of("CEN20001", RunState::Open);
    {
        let ledger = open_at(dir.path());
        ledger.adopt(&seen).unwrap();
        ledger.record(Some(&run), Some(&change("CEN20001", Delivery::Running, 10))).unwrap();
        ledger.set_facts_sent(&Digest([1; 32])).unwrap();
    }

    let ledger = open_at(dir.path());

    assert_eq!(ledger.seen().unwrap(), seen);
    assert_eq!(ledger.run(&run.advertisement, 2).unwrap(), Some(run.clone()));
    assert_eq!(ledger.run(&run.advertisement, 1).unwrap(), None);
    assert_eq!(ledger.runs().unwrap(), [run]);
    assert_eq!(ledger.facts_sent().unwrap(), Some(Digest([1; 32])));
    let waiting = ledger.waiting(10).unwrap();
    assert_eq!(waiting.len(), 1);
    assert_eq!(waiting[0].status.delivery, Delivery::Running);
    assert_eq!(waiting[0].traceparent, "00-1-2-01");
}

#[test]
fn high_water_marks_never_go_down() {
    let dir = tempfile::tempdir().unwrap();
    let ledger = open_at(dir.path());
    let package: PackageId = "CEN00001".parse().unwrap();
    let seen = |n, release| Seen {
        serial: n,
        trust_version: n,
        releases: BTreeMap::from([(package.clone(), release)]),
        ..Seen::default()
    };

    ledger.adopt(&seen(5, 5)).unwrap();
    ledger.adopt(&seen(4, 3)).unwrap();

    assert_eq!(ledger.seen().unwrap(), seen(5, 5));
    assert_eq!(ledger.seen().unwrap().release(&package), 5);
}

#[test]
fn the_newest_word_of_a_kill_stays_over_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    let ledger = open_at(dir.path());
    let package: PackageId = "CEN00001".parse().unwrap();
    let kill = |release| Kill {
        package: package.clone(),
        release,
        reason: "it wipes disks".into(),
        at: Timestamp(7),
    };
    let seen = |version, kill: Option<Kill>| {
        let mut seen = Seen::default();
        seen.kills.take("CEN".parse().unwrap(), package.clone(), Word { version, kill });
        seen
    };
    let killed =
        |ledger: &Ledger| ledger.seen().unwrap().kills.killed(&package, 3).map(|killed| killed.to_string());
    assert_eq!(killed(&ledger), None);

    for (version, word, expected) in [
        (1, Some(kill(3)), Some("killed by CEN: it wipes disks")),
        (3, None, None),
        (2, Some(kill(9)), None),
        (4, Some(kill(4)), Some("killed by CEN: it wipes disks")),
        (3, None, Some("killed by CEN: it wipes disks")),
    ] {
        ledger.adopt(&seen(version, word)).unwrap();
        assert_eq!(killed(&ledger).as_deref(), expected, "{version}");
    }
    ledger.adopt(&Seen::default()).unwrap();
    drop(ledger);

    let ledger = open_at(dir.path());
    assert_eq!(ledger.seen().unwrap().kills, seen(4, Some(kill(4))).kills);
    let view = read_snapshot(dir.path()).unwrap();
    assert_eq!((view.kills[0].release, view.kills[0].site.as_str()), (4, "CEN"));
}

#[test]
fn a_run_from_before_releases_were_kept_is_of_any() {
    let run = run_of("CEN20001", RunState::Open);
    let mut row: serde_json::Value = serde_json::from_slice(&run.encode()).unwrap();
    row.as_object_mut().unwrap().remove("release").unwrap();

    let read = RunRecord::decode(&serde_json::to_vec(&row).unwrap()).unwrap();

    assert_eq!(read, RunRecord { release: 0, ..run });
}

#[test]
fn a_generation_grows_with_each_change_and_not_without() {
    let dir = tempfile::tempdir().unwrap();
    let ledger = open_at(dir.path());
    let id: AdvertisementId = "CEN20001".parse().unwrap();
    let generation = || ledger.status(&id).unwrap().unwrap().generation;

    ledger.record(None, Some(&change("CEN20001", Delivery::Downloading, 10))).unwrap();
    assert_eq!(generation(), 1);
    ledger.record(None, Some(&change("CEN20001", Delivery::Downloading, 11))).unwrap();
    assert_eq!(generation(), 1, "the same again is no news");
    ledger.record(None, Some(&change("CEN20001", Delivery::Running, 12))).unwrap();
    assert_eq!(generation(), 2);
    assert_eq!(ledger.status(&id).unwrap().unwrap().changed_at, Timestamp(12));
}

#[test]
fn a_report_is_kept_until_the_very_state_is_confirmed() {
    let dir = tempfile::tempdir().unwrap();
    let ledger = open_at(dir.path());
    ledger.record(None, Some(&change("CEN20001", Delivery::Running, 10))).unwrap();
    let sent: Vec<_> = ledger.waiting(10).unwrap().into_iter().map(|waiting| waiting.status).collect();

    ledger.record(None, Some(&change("CEN20001", Delivery::Succeeded, 20))).unwrap();
    ledger.confirmed(&sent).unwrap();
    let waiting = ledger.waiting(10).unwrap();
    assert_eq!(waiting[0].status.delivery, Delivery::Succeeded, "it changed on the way");

    ledger.confirmed(&[waiting[0].status.clone()]).unwrap();
    assert!(ledger.waiting(10).unwrap().is_empty());
}

#[test]
fn people_read_the_ledger_while_the_agent_holds_it() {
    let dir = tempfile::tempdir().unwrap();
    let ledger = open_at(dir.path());

    ledger
        .record(Some(&run_of("CEN20001", RunState::Open)), Some(&change("CEN20001", Delivery::Running, 10)))
        .unwrap();

    let view = read_snapshot(dir.path()).unwrap();
    assert_eq!(view.advertisements[0].delivery, "running");
    assert_eq!(view.runs[0].state, "running");
    drop(ledger);
}
