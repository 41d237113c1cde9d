//! Windows as they are typed, told and added up, and when they open: in a zone without changes and on the nights when
//! clocks are changed.

use proptest::{collection::vec, prelude::*};

use super::*;
use crate::address::{LocalHour, LocalMoment};

const MINUTE_US: i64 = 60_000_000;
const WEEK_US: i64 = 7 * 24 * HOUR_US;

fn windows(rules: &[&str]) -> Windows {
    rules.iter().fold(Windows::default(), |all, rule| all.and(&rule.parse().expect(rule)))
}

/// A zone that is as many minutes before UTC as the last pair says that has begun. Time began on a Monday.
fn clock(changes: &[(i64, i64)]) -> impl Fn(Timestamp) -> LocalMoment {
    move |at: Timestamp| {
        let offset = changes.iter().rev().find(|(from, _)| *from <= at.0).map_or(0, |(_, minutes)| *minutes);
        let local = at.0 + offset * MINUTE_US;
        let number = |part: i64| u8::try_from(part).expect("small");
        let next = local.div_euclid(HOUR_US) * HOUR_US + HOUR_US - offset * MINUTE_US;
        // A change ends the hour, as it does where it really happens.
        let change = changes.iter().map(|(from, _)| *from).filter(|from| *from > at.0 && *from < next).min();
        LocalMoment {
            hour: LocalHour::new(
                number(local.div_euclid(24 * HOUR_US).rem_euclid(7)),
                number(local.div_euclid(HOUR_US).rem_euclid(24)),
            )
            .expect("an hour"),
            next_hour_at: Timestamp(change.unwrap_or(next)),
            next_day_at: Timestamp(i64::MAX),
            next_month_at: Timestamp(i64::MAX),
        }
    }
}

/// Minutes from a Monday 00:00 UTC.
fn minutes(day: i64, hour: i64, minute: i64) -> i64 {
    ((day * 24 + hour) * 60 + minute) * MINUTE_US
}

/// Hours from now until it opens; 0: it is open.
fn opens(windows: &Windows, now: i64, room_min: u64, changes: &[(i64, i64)]) -> Option<f64> {
    let local = clock(changes);
    match windows.admit(Timestamp(now), Duration::from_secs(room_min * 60), LocalClock(&local)) {
        Ok(()) => Some(0.0),
        Err(Closed::Until(at)) => Some((at.0 - now) as f64 / HOUR_US as f64),
        Err(Closed::NoRoom) => None,
    }
}

#[test]
fn a_window_is_typed_as_the_hours_of_a_calendar_and_told_as_short() {
    for (typed, told) in [
        (vec![], "any time"),
        (vec!["mon-fri 22:00-06:00"], "mon-fri 22:00-06:00"),
        (vec!["MON-Fri 22-6"], "mon-fri 22:00-06:00"),
        (vec!["22-6"], "* 22:00-06:00"),
        (vec!["sun"], "sun"),
        (vec!["sat,sun"], "sat-sun"),
        (vec!["*"], "*"),
        (vec!["0-24"], "*"),
        (vec!["sun 22-6"], "sun 22:00-06:00"),
        (vec!["mon 20-24"], "mon 20:00-24:00"),
        (vec!["mon 22-24", "tue 0-6"], "mon 22:00-06:00"),
        (vec!["mon-fri 22-6", "sat,sun"], "fri 22:00-24:00; sat-sun; mon-thu 22:00-06:00"),
        (vec!["fri 22-24", "sat-sun", "mon 0-6"], "fri 22:00-24:00; sat-sun; mon 00:00-06:00"),
        (vec!["mon 12-24", "tue 0-12"], "mon 12:00-24:00; tue 00:00-12:00"),
        (vec!["tue 3-4", "mon 1-2"], "mon 01:00-02:00; tue 03:00-04:00"),
        (vec!["wed 3-5", "wed 4-6"], "wed 03:00-06:00"),
    ] {
        let mut rules: Vec<String> = windows(&typed).to_string().split("; ").map(str::to_owned).collect();
        let mut expected: Vec<&str> = told.split("; ").collect();
        rules.sort_unstable();
        expected.sort_unstable();
        assert_eq!(rules, expected, "{typed:?}");
    }
}

#[test]
fn what_is_no_window_is_named_with_a_remedy() {
    for (typed, expected) in [
        ("", "needs days, whole hours, or both, as `mon-fri 22:00-06:00`"),
        ("nightly", "`nightly` is not a word of a window"),
        ("mon closed", "`closed` is not a word"),
        ("22:30-06:00", "not a range of whole hours"),
        ("22:00", "not a range of whole hours"),
        ("mon 22-22", "leave the hours out"),
        ("mon 24-6", "from 00:00 to 24:00"),
        ("mon tue 1-2", "`tue` comes after other days: make a second window"),
        ("1-2 3-4", "`3-4` comes after other hours"),
        (&"x".repeat(201), "at most 200 bytes"),
    ] {
        let error = typed.parse::<Windows>().expect_err(typed).to_string();
        assert!(error.contains(expected), "{typed}: {error}");
    }
    assert_eq!(Windows::of([168]), Err(WindowError::Hour(168)));
    assert_eq!(Windows::of([5, 3, 5]).expect("hours").hours(), [3, 5]);
}

#[test]
fn a_client_is_in_the_windows_of_all_its_collections() {
    let (none, night, weekend) = (windows(&[]), windows(&["22-6"]), windows(&["sat,sun"]));

    assert_eq!(none.clone().and(&none), none);
    assert_eq!(none.clone().and(&night), night, "a collection without windows opens none");
    assert_eq!(night.clone().and(&none), night);
    assert_eq!(night.clone().and(&weekend), weekend.clone().and(&night), "in any order");
    assert_eq!(night.clone().and(&night), night);
    let saturday_noon = minutes(5, 12, 0);
    assert_eq!(opens(&night, saturday_noon, 1, &[]), Some(10.0));
    assert_eq!(opens(&night.and(&weekend), saturday_noon, 1, &[]), Some(0.0));
}

#[test]
fn a_program_begins_where_it_fits() {
    let two_hours = 120;
    for (rules, (day, hour, minute), room, expected) in [
        (&[][..], (2, 12, 0), two_hours, Some(0.0)),
        (&["*"], (2, 12, 0), 7 * 24 * 60, Some(0.0)),
        (&["mon-fri 22-6"], (0, 12, 0), two_hours, Some(10.0)),
        (&["mon-fri 22-6"], (0, 22, 0), two_hours, Some(0.0)),
        (&["mon-fri 22-6"], (0, 21, 59), two_hours, Some(1.0 / 60.0)),
        (&["mon-fri 22-6"], (1, 3, 59), two_hours, Some(0.0)),
        // It has to fit into what is left, but for a minute.
        (&["mon-fri 22-6"], (1, 4, 1), two_hours, Some(0.0)),
        (&["mon-fri 22-6"], (1, 4, 2), two_hours, Some(17.0 + 58.0 / 60.0)),
        (&["mon-fri 22-6"], (1, 5, 59), 1, Some(0.0)),
        (&["mon-fri 22-6"], (1, 6, 0), 1, Some(16.0)),
        // The window that goes over the end of the week.
        (&["sun 22-6"], (0, 5, 0), 60, Some(0.0)),
        (&["sun 22-6"], (0, 7, 0), 60, Some(6.0 * 24.0 + 15.0)),
        (&["fri 22-24", "sat", "sun 0-12"], (4, 12, 0), 38 * 60, Some(10.0)),
        (&["fri 22-24", "sat", "sun 0-12"], (4, 12, 0), 39 * 60, None),
        // As long as the window, and it is all the same begun: a minute after it opened, and not two.
        (&["wed 3-5"], (2, 3, 1), two_hours, Some(0.0)),
        (&["wed 3-5"], (2, 3, 2), two_hours, Some(7.0 * 24.0 - 2.0 / 60.0)),
        (&["wed 3-5"], (2, 3, 0), two_hours + 2, None),
        // The longer of two.
        (&["mon 3-4", "thu 3-6"], (0, 0, 0), two_hours, Some(3.0 * 24.0 + 3.0)),
        (&["mon 3-4", "thu 3-6"], (0, 0, 0), 60, Some(3.0)),
    ] {
        let found = opens(&windows(rules), minutes(day, hour, minute), room, &[]);
        assert_eq!(found, expected, "{rules:?} {day} {hour}:{minute} {room}");
    }
}

/// Sunday from 2 to 3 does not come: at 02:00 it becomes 03:00, in a zone an hour before UTC, in the first week.
const FORWARD: &[(i64, i64)] = &[(i64::MIN, 60), (6 * 24 * HOUR_US + HOUR_US, 120)];
/// Sunday from 2 to 3 comes twice: at 03:00 it becomes 02:00.
const BACK: &[(i64, i64)] = &[(i64::MIN, 120), (6 * 24 * HOUR_US + HOUR_US, 60)];
/// By half an hour, as on Lord Howe.
const HALF_FORWARD: &[(i64, i64)] = &[(i64::MIN, 630), (5 * 24 * HOUR_US + 15 * HOUR_US + HOUR_US / 2, 660)];
/// A day that does not come: Friday, as on Samoa.
const DAY_SKIPPED: &[(i64, i64)] = &[(i64::MIN, -600), (4 * 24 * HOUR_US + 10 * HOUR_US, 840)];

#[test]
fn changes_of_clocks_skip_and_double_nothing() {
    let sunday = |hour: i64, minute: i64| minutes(6, hour, minute);
    let none_skipped: Option<f64> = Some(0.0);
    for (rules, now, room, changes, expected, what) in [
        // By UTC the change is at 01:00.
        (
            &["sun 2-3"][..],
            sunday(0, 0),
            30,
            FORWARD,
            Some(1.0),
            "the hour that is skipped is held in the next",
        ),
        (&["sun 2-3"], sunday(1, 0), 60, FORWARD, none_skipped, "from its beginning"),
        (&["sun 2-3"], sunday(1, 20), 30, FORWARD, none_skipped, "for whoever looks in the middle of it"),
        (&["sun 2-3"], sunday(2, 0), 30, FORWARD, Some(167.0 - 1.0), "for an hour and no longer"),
        (&["sun 1-4"], sunday(0, 0), 120, FORWARD, none_skipped, "three hours are two that night"),
        (&["sun 1-4"], sunday(0, 0), 180, FORWARD, Some(167.0), "which are too few, but not the next time"),
        (&["sun 2-4"], sunday(0, 0), 60, FORWARD, Some(1.0), "of two hours one is left"),
        (&["sun 1-3"], sunday(1, 0), 30, FORWARD, Some(166.0), "which had its turn before the change"),
        (&["22-6"], sunday(3, 30), 30, FORWARD, none_skipped, "it ends by the clock"),
        (&["22-6"], sunday(4, 0), 30, FORWARD, Some(16.0), "and not an hour after"),
        (&["sun 2-3"], sunday(0, 0), 120, BACK, none_skipped, "an hour that comes twice is two hours"),
        (&["sun 2-3"], sunday(1, 59), 1, BACK, none_skipped, "up to its second end"),
        (&["sun 2-3"], sunday(2, 0), 1, BACK, Some(167.0), "and then for a week no more"),
        (&["22-6"], sunday(4, 59), 1, BACK, none_skipped, "by the clock"),
        (&["22-6"], sunday(5, 0), 1, BACK, Some(16.0), "by the clock"),
        (&["sun 2-3"], minutes(5, 15, 0), 25, HALF_FORWARD, Some(0.5), "half of the hour comes"),
        (&["sun 2-3"], minutes(5, 15, 0), 40, HALF_FORWARD, Some(168.0), "which is too little for more"),
        (&["fri 22-24"], minutes(4, 9, 0), 60, DAY_SKIPPED, Some(1.0), "a day that is skipped"),
    ] {
        let found = opens(&windows(rules), now, room, changes);
        assert_eq!(found, expected, "{what}: {rules:?}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(128) })]

    #[test]
    fn windows_are_made_again_from_their_rules(hours in vec(0..168u32, 0..168), ranges in vec((0..168u32, 1..60u32), 0..4)) {
        let within = ranges.iter().flat_map(|(from, length)| (*from..from + length).map(|hour| hour % 168));
        for windows in [Windows::of(hours.iter().copied()).expect("hours"), Windows::of(within).expect("hours")] {
            let again = windows.rules().iter().fold(Windows::default(), |all, rule| {
                all.and(&rule.parse().expect("it is a rule"))
            });
            prop_assert_eq!(&again, &windows);
            prop_assert!(windows.rules().len() <= 168);
        }
    }

    /// What is promised to be open then is open then, and nothing before is.
    #[test]
    fn it_opens_when_it_is_said_to(
        hours in vec(0..168u32, 1..20),
        now in 0..WEEK_US,
        room in 1..300u64,
        changes in prop::sample::select(vec![&[][..], FORWARD, BACK, HALF_FORWARD, DAY_SKIPPED]),
    ) {
        let windows = Windows::of(hours).expect("hours");
        let local = clock(changes);
        let room = Duration::from_secs(room * 60);
        let admit = |at: i64| windows.admit(Timestamp(at), room, LocalClock(&local));
        match admit(now) {
            Ok(()) => {}
            Err(Closed::Until(at)) => {
                prop_assert!(at.0 > now);
                prop_assert_eq!(admit(at.0), Ok(()));
                prop_assert_eq!(admit(at.0 - 1), Err(Closed::Until(at)));
                prop_assert_eq!(admit(now + (at.0 - now) / 2), Err(Closed::Until(at)));
            }
            Err(Closed::NoRoom) => prop_assert_eq!(admit(now + WEEK_US / 3), Err(Closed::NoRoom)),
        }
    }
}
