//! Hours by the clock of a place: the rules in `domain` know no time zones, and are told which hour it is.

use std::{sync::Once, time::Duration};

use jiff::{Zoned, tz::TimeZone};
use packhorse_domain::{
    Timestamp,
    address::{LocalHour, LocalMoment},
};

const HOUR: Duration = Duration::from_secs(3600);

/// The machine's zone, as it is now. One that cannot be made out counts as UTC, and the log says so once.
pub fn system_zone() -> TimeZone {
    static SAID: Once = Once::new();
    TimeZone::try_system().unwrap_or_else(|error| {
        SAID.call_once(|| {
            tracing::warn!(%error, "the machine's time zone is not known: its clock counts as UTC");
        });
        TimeZone::UTC
    })
}

/// A point in time by the clock of a zone; beyond the last day that the clock knows, that day.
pub fn zoned(zone: &TimeZone, at: Timestamp) -> Zoned {
    jiff::Timestamp::from_microsecond(at.0).unwrap_or(jiff::Timestamp::MAX).to_zoned(zone.clone())
}

/// Which hour it is in a zone, and when that, the day and the month end.
pub fn moment(zone: &TimeZone, at: Timestamp) -> LocalMoment {
    let here = zoned(zone, at);
    let weekday = u8::try_from(here.weekday().to_monday_zero_offset()).unwrap_or_default();
    let hour = u8::try_from(here.hour()).unwrap_or_default();
    let into_hour = here.time().duration_since(jiff::civil::time(here.hour(), 0, 0, 0)).unsigned_abs();
    // Beyond the last day that the clock knows, any later time will do.
    let from = |later: Result<Zoned, jiff::Error>| match later {
        Ok(later) => Timestamp(later.timestamp().as_microsecond()),
        Err(_) => at.plus(HOUR),
    };
    let next_day = here.tomorrow().and_then(|day| day.start_of_day());
    let next_month = here
        .first_of_month()
        .and_then(|first| first.checked_add(jiff::Span::new().months(1)))
        .and_then(|first| first.start_of_day());
    LocalMoment {
        hour: LocalHour::new(weekday, hour).expect("a weekday is below 7 and an hour below 24"),
        next_hour_at: at.plus(HOUR.saturating_sub(into_hour)),
        next_day_at: from(next_day),
        next_month_at: from(next_month),
    }
}

#[cfg(test)]
mod tests {
    use packhorse_domain::{
        address::LocalClock,
        window::{Closed, Windows},
    };

    use super::*;

    fn at(text: &str) -> Timestamp {
        Timestamp(text.parse::<jiff::Timestamp>().expect(text).as_microsecond())
    }

    /// When a window has an hour for a program, seen from a time; `now` if that is when.
    fn opens(zone: &str, window: &str, now: &str) -> String {
        let zone = TimeZone::get(zone).expect(zone);
        let windows: Windows = window.parse().expect(window);
        let clock = |at| moment(&zone, at);
        match windows.admit(at(now), HOUR, LocalClock(&clock)) {
            Ok(()) => "now".to_owned(),
            Err(Closed::NoRoom) => "never".to_owned(),
            Err(Closed::Until(at)) => zoned(&zone, at).strftime("%a %Y-%m-%d %H:%M%:z").to_string(),
        }
    }

    #[test]
    fn a_window_opens_by_the_clock_of_its_place_in_weeks_when_that_is_changed_too() {
        for (zone, window, now, expected) in [
            ("UTC", "mon-fri 22-6", "2026-11-27T15:00:00Z", "Fri 2026-11-27 22:00+00:00"),
            ("Europe/Paris", "mon-fri 22-6", "2026-11-27T15:00:00Z", "Fri 2026-11-27 22:00+01:00"),
            ("Europe/Paris", "mon-fri 22-6", "2026-11-27T21:00:00Z", "now"),
            ("Asia/Kolkata", "* 2-4", "2026-06-30T20:29:00Z", "Wed 2026-07-01 02:00+05:30"),
            ("Asia/Kolkata", "* 2-4", "2026-06-30T20:30:00Z", "now"),
            // Where 02:00 to 03:00 does not come, it is held from 03:00 on.
            ("Europe/Paris", "sun 2-3", "2027-03-27T12:00:00Z", "Sun 2027-03-28 03:00+02:00"),
            ("Europe/Paris", "sun 2-3", "2027-03-28T01:00:00Z", "now"),
            ("Europe/Paris", "sun 2-3", "2027-03-28T02:00:00Z", "Sun 2027-04-04 02:00+02:00"),
            ("America/New_York", "sun 2-3", "2027-03-14T05:00:00Z", "Sun 2027-03-14 03:00-04:00"),
            ("America/New_York", "sun 2-4", "2027-03-14T05:00:00Z", "Sun 2027-03-14 03:00-04:00"),
            // Where it comes twice, it is open twice as long, once.
            ("Europe/Paris", "sun 2-3", "2026-10-24T12:00:00Z", "Sun 2026-10-25 02:00+02:00"),
            ("Europe/Paris", "sun 2-3", "2026-10-25T01:00:00Z", "now"),
            ("Europe/Paris", "sun 2-3", "2026-10-25T02:00:00Z", "Sun 2026-11-01 02:00+01:00"),
            // The end is by the clock, whichever way it was changed.
            ("Europe/Paris", "* 22-6", "2027-03-28T03:01:00Z", "now"),
            ("Europe/Paris", "* 22-6", "2027-03-28T03:02:00Z", "Sun 2027-03-28 22:00+02:00"),
            ("Europe/Paris", "* 22-6", "2026-10-25T04:01:00Z", "now"),
            ("Europe/Paris", "* 22-6", "2026-10-25T04:02:00Z", "Sun 2026-10-25 22:00+01:00"),
            // By half an hour, and half an hour is too little for an hour: the next week.
            ("Australia/Lord_Howe", "sun 2-3", "2026-10-03T12:00:00Z", "Sun 2026-10-11 02:00+11:00"),
            ("Australia/Lord_Howe", "sun 1-2", "2026-04-04T12:00:00Z", "Sun 2026-04-05 01:00+11:00"),
            // A Friday that never came.
            ("Pacific/Apia", "fri 22-24", "2011-12-29T12:00:00Z", "Sat 2011-12-31 00:00+14:00"),
        ] {
            assert_eq!(opens(zone, window, now), expected, "{zone} {window} {now}");
        }
    }

    #[test]
    fn times_that_no_clock_knows_are_no_panic() {
        let zone = TimeZone::get("Europe/Paris").expect("a zone");
        let windows: Windows = "thu 22-23".parse().expect("a window");
        let clock = |at| moment(&zone, at);
        for now in [i64::MIN, i64::MAX] {
            let _ = windows.admit(Timestamp(now), HOUR, LocalClock(&clock));
            assert!(moment(&zone, Timestamp(now)).next_hour_at >= Timestamp(now));
        }
    }

    #[test]
    fn the_machine_has_a_zone() {
        assert!(moment(&system_zone(), at("2026-11-27T15:00:00Z")).next_hour_at > at("2026-11-27T15:00:00Z"));
    }
}
