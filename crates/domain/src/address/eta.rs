//! When something will be over, with a line that is closed at times, limited, and may run out of its budget.

use std::time::Duration;

use super::{Address, LocalMoment, Spent, allowance};
use crate::{
    Priority, Timestamp,
    link::{Allowance, Pulse},
};

/// How far an estimate looks: what takes longer is never over, as far as people are concerned.
pub const ETA_LONGEST: Duration = Duration::from_secs(60 * 24 * 3600);
const SECOND_US: u128 = 1_000_000;

/// What is to be carried, and over what.
#[derive(Debug, Clone, Copy)]
pub struct Load<'a> {
    pub address: &'a Address,
    pub class: Priority,
    /// Everything that leaves before it, and itself.
    pub bytes_left: u64,
    /// As measured while nothing limited it; 0: nothing gets through.
    pub bytes_per_second: u64,
    /// At the time from which the estimate is made.
    pub spent: Spent,
}

/// When the load will have been carried; `None`: not within [`ETA_LONGEST`].
///
/// Goes from hour to hour of the address, and within an hour to where a budget runs out. What is over exactly then is
/// not known better than the measured rate is; but more bytes never take less time.
pub fn eta(now: Timestamp, load: &Load<'_>, local: impl Fn(Timestamp) -> LocalMoment) -> Option<Timestamp> {
    let end = now.plus(ETA_LONGEST);
    let (mut at, mut left, mut spent) = (now, load.bytes_left, load.spent);
    if left == 0 {
        return Some(now);
    }
    while at < end {
        let moment = local(at);
        let hour_ends = moment.hour_ends(at);
        let rate = rate(load, allowance(load.address, moment.hour, spent));
        let mut until = hour_ends;
        if rate > 0 {
            let before_spent = load.address.budget.and_then(|budget| budget.left(spent)).unwrap_or(u64::MAX);
            let carried = bytes_in(hour_ends.since(at), rate).min(before_spent).min(left);
            if carried == left {
                return Some(at.plus(time_for(carried, rate)));
            }
            left -= carried;
            spent.day_bytes = spent.day_bytes.saturating_add(carried);
            spent.month_bytes = spent.month_bytes.saturating_add(carried);
            if carried == before_spent {
                // From here on other classes are open, in the same hour.
                until = at.plus(time_for(carried, rate)).min(hour_ends);
            }
        }
        if until >= moment.next_day_at {
            spent.day_bytes = 0;
        }
        if until >= moment.next_month_at {
            spent.month_bytes = 0;
        }
        at = until;
    }
    None
}

/// Bytes per second that this class gets, on average over blocks and pauses; 0: it is closed.
fn rate(load: &Load<'_>, allowed: Allowance) -> u64 {
    if !allowed.open.admits(load.class) {
        return 0;
    }
    let rate =
        allowed.bytes_per_second.map_or(load.bytes_per_second, |limit| limit.min(load.bytes_per_second));
    match allowed.pulse {
        Some(pulse) if rate > 0 => average(pulse, rate),
        _ => rate,
    }
}

/// A block at full rate, then nothing while the pause lasts.
fn average(pulse: Pulse, rate: u64) -> u64 {
    let block = u128::from(pulse.block_bytes);
    let round_us = block * SECOND_US / u128::from(rate) + pulse.pause.as_micros();
    if round_us == 0 {
        return rate;
    }
    u64::try_from(block * SECOND_US / round_us).unwrap_or(rate).clamp(1, rate)
}

fn bytes_in(span: Duration, rate: u64) -> u64 {
    u64::try_from(span.as_micros() * u128::from(rate) / SECOND_US).unwrap_or(u64::MAX)
}

/// Rounded up, so that it never says that something is over before it is.
fn time_for(bytes: u64, rate: u64) -> Duration {
    let us = (u128::from(bytes) * SECOND_US).div_ceil(u128::from(rate));
    Duration::from_micros(u64::try_from(us).unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::address::{
        Budget, LocalHour, WhenSpent,
        tests::{address, calendar},
    };

    const HOUR_US: i64 = 3_600_000_000;
    const DAY_US: i64 = 24 * HOUR_US;
    /// The tests' clock begins on a Monday, the first of a month, and its months have 30 days.
    const MONTH_US: i64 = 30 * DAY_US;

    fn local(at: Timestamp) -> LocalMoment {
        let next = |unit: i64| Timestamp((at.0.div_euclid(unit) + 1) * unit);
        let (day, hour) = (at.0.div_euclid(DAY_US).rem_euclid(7), at.0.div_euclid(HOUR_US).rem_euclid(24));
        LocalMoment {
            hour: LocalHour::new(day.try_into().expect("a day"), hour.try_into().expect("an hour"))
                .expect("fits"),
            next_hour_at: next(HOUR_US),
            next_day_at: next(DAY_US),
            next_month_at: next(MONTH_US),
        }
    }

    /// Hours from the beginning of the tests' clock until it is over.
    fn hours(load: &Load<'_>, from_hour: i64) -> Option<f64> {
        let end = eta(Timestamp(from_hour * HOUR_US), load, local)?;
        Some(end.0 as f64 / HOUR_US as f64)
    }

    fn load(address: &Address, bytes_left: u64) -> Load<'_> {
        Load { address, class: Priority::Low, bytes_left, bytes_per_second: 1_000, spent: Spent::default() }
    }

    /// What goes in an hour at the measured rate.
    const HOURLY: u64 = 3_600_000;

    #[test]
    fn closed_hours_and_rates_are_walked_through() {
        for (rules, bytes, from_hour, expected) in [
            (&[][..], HOURLY, 0, Some(1.0)),
            (&[], HOURLY * 5 / 2, 0, Some(2.5)),
            (&[], 0, 7, Some(7.0)),
            (&["* 8-18 closed"], HOURLY, 8, Some(19.0)),
            (&["* 8-18 closed"], 8 * HOURLY, 6, Some(24.0)),
            (&["* 22-6 closed"], 3 * HOURLY, 21, Some(32.0)),
            (&["sat,sun closed"], 2 * HOURLY, 4 * 24 + 23, Some(7.0 * 24.0 + 1.0)),
            (&["* 8-18 high+medium"], HOURLY, 8, Some(19.0)),
            (&["* 0-2 4kbit/s"], 2 * HOURLY, 0, Some(3.0)),
            (&["* 0-2 64kbit/s"], 2 * HOURLY, 0, Some(2.0)),
            (&["closed", "sun 23-24 all"], 2 * HOURLY, 0, Some(2.0 * 7.0 * 24.0)),
            (&["closed"], 1, 0, None),
            (&["closed", "sun 23-24 all"], 10 * HOURLY, 0, None),
        ] {
            let address = Address { calendar: calendar(rules), ..address("main") };

            assert_eq!(
                hours(&load(&address, bytes), from_hour),
                expected,
                "{rules:?} {bytes} from {from_hour}"
            );
        }
    }

    #[test]
    fn only_the_hours_of_its_class_count() {
        let address = Address { calendar: calendar(&["high", "* 12-13 high+medium"]), ..address("main") };
        let of = |class| hours(&Load { class, ..load(&address, HOURLY) }, 0);

        assert_eq!(of(Priority::High), Some(1.0));
        assert_eq!(of(Priority::Medium), Some(13.0));
        assert_eq!(of(Priority::Low), None);
    }

    #[test]
    fn a_spent_budget_waits_for_midnight_or_for_the_first() {
        let budget = |day: Option<u64>, month: Option<u64>, when_spent| Address {
            budget: Some(Budget { per_day_bytes: day, per_month_bytes: month, when_spent }),
            ..address("main")
        };
        let daily = budget(Some(HOURLY), None, WhenSpent::Closed);
        let monthly = budget(None, Some(HOURLY), WhenSpent::Closed);
        let both = budget(Some(HOURLY), Some(3 * HOURLY / 2), WhenSpent::Closed);
        let high_only = budget(Some(HOURLY), None, WhenSpent::HighOnly);
        for (address, bytes, day_bytes, expected) in [
            (&daily, HOURLY, 0, Some(1.0)),
            (&daily, HOURLY / 2, HOURLY, Some(24.5)),
            (&daily, 3 * HOURLY, 0, Some(49.0)),
            (&daily, HOURLY, HOURLY / 2, Some(24.5)),
            (&daily, 61 * HOURLY, 0, None),
            (&monthly, 2 * HOURLY, 0, Some(30.0 * 24.0 + 1.0)),
            (&both, 2 * HOURLY, 0, Some(30.0 * 24.0 + 0.5)),
            (&high_only, 2 * HOURLY, 0, Some(25.0)),
        ] {
            let spent = Spent { day_bytes, month_bytes: day_bytes };
            let load = Load { spent, ..load(address, bytes) };
            assert_eq!(hours(&load, 0), expected, "{:?} {bytes} {day_bytes}", address.budget);
        }
        let urgent = Load { class: Priority::High, ..load(&high_only, 2 * HOURLY) };
        assert_eq!(hours(&urgent, 0), Some(2.0), "what is urgent goes on");
    }

    #[test]
    fn a_pulse_takes_its_pauses() {
        let pulse = Pulse { block_bytes: 1_000, pause: Duration::from_secs(3) };
        let address = Address { pulse: Some(pulse), ..address("main") };

        assert_eq!(hours(&load(&address, HOURLY), 0), Some(4.0));
    }

    #[test]
    fn a_line_that_carries_nothing_and_a_clock_that_stands_still_come_to_an_end() {
        let address = address("main");
        let dead = Load { bytes_per_second: 0, ..load(&address, 1) };
        let stuck = |at: Timestamp| LocalMoment { next_hour_at: at, ..local(at) };

        assert_eq!(eta(Timestamp(0), &dead, local), None);
        assert_eq!(eta(Timestamp(0), &dead, stuck), None);
        assert_eq!(eta(Timestamp(i64::MAX), &dead, local_at_the_end), None);
    }

    fn local_at_the_end(at: Timestamp) -> LocalMoment {
        LocalMoment {
            hour: LocalHour::new(0, 0).expect("an hour"),
            next_hour_at: at,
            next_day_at: at,
            next_month_at: at,
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(256) })]

        #[test]
        fn more_bytes_never_take_less_time(
            few in 0..50_000_000u64,
            more in 0..50_000_000u64,
            closed_from in 0..24u8,
            budget in proptest::option::of((1..20_000_000u64, 1..200_000_000u64, any::<bool>())),
            (rate, pulsed, now) in (1..5_000u64, any::<bool>(), 0..MONTH_US),
        ) {
            let rule = format!("* {closed_from:02}:00-{:02}:00 high 8kbit/s", (closed_from + 9) % 24);
            let address = Address {
                calendar: calendar(&[&rule]),
                budget: budget.map(|(day, month, closed)| Budget {
                    per_day_bytes: Some(day),
                    per_month_bytes: Some(month),
                    when_spent: if closed { WhenSpent::Closed } else { WhenSpent::HighOnly },
                }),
                pulse: pulsed.then_some(Pulse { block_bytes: 5_000, pause: Duration::from_secs(2) }),
                ..address("main")
            };
            let of = |bytes_left| {
                let load = Load { bytes_per_second: rate, ..load(&address, bytes_left) };
                eta(Timestamp(now), &load, local)
            };
            let never = Timestamp(i64::MAX);

            let (first, second) = (of(few).unwrap_or(never), of(few + more).unwrap_or(never));

            prop_assert!(first <= second, "{first:?} {second:?}");
            prop_assert!(first >= Timestamp(now));
        }
    }
}
