//! How the classes share a line, on a line without faults.

use packhorse_domain::{
    Digest, Priority, Timestamp,
    link::{ItemId, ItemKind, OutItem, Pace},
};
use packhorse_sim::{DiskPlan, LanePlan, LinePlan, Plan, Record, Spec, run_recorded};

const FRAME: u64 = 1024;
const SECOND: i64 = 1_000_000;

/// 8 KiB a second, so that a frame takes an eighth of a second.
fn modem(items: Vec<Spec>) -> Plan {
    let pace = Pace { frame_bytes: FRAME as u32, in_flight_bytes: 64 * FRAME, inline_bytes: 512 };
    let line = LinePlan {
        latency_us: 100_000,
        bytes_per_second: 8 * FRAME,
        queue_bytes: 0,
        window_bytes: 64 * FRAME,
        pace,
        lane: None,
    };
    let disk = DiskPlan { sync_us_min: 1000, sync_us_max: 1000 };
    Plan { seed: 1, lines: vec![line], disks: vec![disk, disk], items, faults: Vec::new() }
}

fn bundle(nth: u8, priority: Priority, length: u64, born: i64) -> Spec {
    let item = OutItem {
        id: ItemId([nth; 16]),
        kind: ItemKind::Bundle,
        priority,
        length,
        digest: Digest([nth; 32]),
        subject: format!("bundle {nth}"),
        target: None,
        bases: Vec::new(),
        rank: 0,
        deadline: None,
        queued_at: Timestamp(born),
        available: length,
        inline: None,
        state: None,
    };
    Spec::new(item, (0, 1), Timestamp(born))
}

fn object(nth: u8, priority: Priority, born: i64) -> Spec {
    let mut spec = bundle(nth, priority, 300, born);
    spec.item.kind = ItemKind::Object;
    spec.item.inline = Some(spec.bytes().to_vec());
    spec
}

/// A plan as it is, and with a lane beside the main connection.
fn without_and_with_lane(plan: Plan) -> [Plan; 2] {
    let mut with_lane = plan.clone();
    with_lane.lines[0].lane = Some(LanePlan { asks_within_us: 0, late_percent: 3, late_us: 100_000 });
    [plan, with_lane]
}

fn records_of(plan: &Plan) -> Vec<Record> {
    let (report, records) = run_recorded(plan);
    report.expect("everything arrives");
    records.into_iter().filter(|record| record.line == 0 && record.side == 0 && record.bytes > 0).collect()
}

fn bytes_of(records: &[Record], nth: u8) -> u64 {
    records.iter().filter(|record| record.item == Some(ItemId([nth; 16]))).map(|record| record.bytes).sum()
}

#[test]
fn an_urgent_object_overtakes_a_bulk_transfer_within_a_frame() {
    for born in (0..20).map(|step| 5 * SECOND + step * 37_000) {
        let plan = modem(vec![bundle(1, Priority::Low, 200 * FRAME, 0), object(2, Priority::High, born)]);
        for plan in without_and_with_lane(plan) {
            let records = records_of(&plan);

            let urgent = records.iter().find(|record| record.item == Some(ItemId([2; 16])));
            let waited = urgent.expect("it was sent").at.0 - born;
            assert!(waited <= 135_000, "born at {born}, it left {waited} µs later");
        }
    }
}

#[test]
fn an_urgent_object_finds_room_in_a_window_that_bulk_has_filled() {
    let mut plan =
        modem(vec![bundle(1, Priority::Low, 300 * FRAME, 0), object(2, Priority::High, 10 * SECOND)]);
    // The disk takes so long that the window fills: the bulk transfer waits for its acknowledgements.
    plan.disks[1] = DiskPlan { sync_us_min: 40_000_000, sync_us_max: 40_000_000 };
    plan.lines[0].bytes_per_second = 1024 * FRAME;
    for plan in without_and_with_lane(plan) {
        let records = records_of(&plan);

        let urgent = records.iter().find(|record| record.item == Some(ItemId([2; 16]))).expect("it was sent");
        assert!(urgent.at.0 - 10 * SECOND < 2000, "it left at {} µs", urgent.at.0);
    }
}

#[test]
fn no_class_starves_and_the_urgent_one_keeps_nearly_all() {
    let plan = modem(vec![
        bundle(1, Priority::Low, 100 * FRAME, 0),
        bundle(2, Priority::Medium, 100 * FRAME, 0),
        bundle(3, Priority::High, 300 * FRAME, 0),
    ]);
    for plan in without_and_with_lane(plan) {
        let records = records_of(&plan);

        let high_done =
            records.iter().rposition(|record| record.item == Some(ItemId([3; 16]))).expect("it was sent");
        let while_high = &records[..high_done];
        let all: u64 = while_high.iter().map(|record| record.bytes).sum();
        for lower in [1, 2] {
            let share = bytes_of(while_high, lower) * 1000 / all;
            assert!((35..=70).contains(&share), "class of bundle {lower} got {share} of 1000");
        }
        assert!(bytes_of(while_high, 3) * 100 / all >= 85);
    }
}

#[test]
fn within_a_class_objects_go_before_bundles_and_then_the_oldest() {
    let plan = modem(vec![
        bundle(1, Priority::Medium, 20 * FRAME, 0),
        bundle(2, Priority::Medium, 20 * FRAME, 1),
        object(3, Priority::Medium, SECOND),
    ]);

    let records = records_of(&plan);

    let last = |nth| records.iter().rposition(|record| record.item == Some(ItemId([nth; 16]))).expect("sent");
    assert!(last(3) < last(1), "the object went first");
    assert!(last(1) < last(2), "the older bundle went first");
    assert_eq!(bytes_of(&records[..last(1)], 2), 0, "the younger one waited");
}

#[test]
fn without_faults_no_byte_goes_twice() {
    let plan = modem(vec![
        bundle(1, Priority::Low, 50 * FRAME, 0),
        bundle(2, Priority::High, 33 * FRAME + 7, SECOND),
    ]);
    for plan in without_and_with_lane(plan) {
        let records = records_of(&plan);

        assert_eq!(bytes_of(&records, 1), 50 * FRAME);
        assert_eq!(bytes_of(&records, 2), 33 * FRAME + 7);
    }
}
