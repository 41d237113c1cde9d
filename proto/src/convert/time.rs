//! Times as the well-known types have them, for the services that are made to be read by people.

use std::time::Duration;

use packhorse_domain::Timestamp;

pub fn timestamp(at: Timestamp) -> prost_types::Timestamp {
    let nanos = at.0.rem_euclid(1_000_000) * 1_000;
    prost_types::Timestamp {
        seconds: at.0.div_euclid(1_000_000),
        nanos: i32::try_from(nanos).unwrap_or_default(),
    }
}

/// A length beyond what the type holds becomes the longest.
pub fn duration(length: Duration) -> prost_types::Duration {
    prost_types::Duration {
        seconds: i64::try_from(length.as_secs()).unwrap_or(i64::MAX),
        nanos: i32::try_from(length.subsec_nanos()).unwrap_or_default(),
    }
}

/// `None`: it is before the year 1, after 9999, or its parts do not fit together.
pub fn point(at: &prost_types::Timestamp) -> Option<Timestamp> {
    let in_calendar = (-62_135_596_800..=253_402_300_799).contains(&at.seconds);
    let whole = (0..1_000_000_000).contains(&at.nanos);
    (in_calendar && whole).then(|| Timestamp(at.seconds * 1_000_000 + i64::from(at.nanos) / 1_000))
}

/// `None`: it is negative, or its parts do not fit together.
pub fn length(length: &prost_types::Duration) -> Option<Duration> {
    let nanos = u32::try_from(length.nanos).ok().filter(|nanos| *nanos < 1_000_000_000)?;
    Some(Duration::new(u64::try_from(length.seconds).ok()?, nanos))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_come_back_and_nonsense_does_not() {
        for at in [0, 1, -1, 1_795_780_248_123_456, -62_135_596_800_000_000] {
            assert_eq!(point(&timestamp(Timestamp(at))), Some(Timestamp(at)), "{at}");
        }
        for span in [Duration::ZERO, Duration::from_micros(250), Duration::from_secs(86_400)] {
            assert_eq!(length(&duration(span)), Some(span));
        }
        for (seconds, nanos) in [(i64::MAX, 0), (i64::MIN, 0), (0, -1), (0, 1_000_000_000)] {
            assert_eq!(point(&prost_types::Timestamp { seconds, nanos }), None);
        }
        for (seconds, nanos) in [(-1, 0), (0, -1), (0, 1_000_000_000)] {
            assert_eq!(length(&prost_types::Duration { seconds, nanos }), None);
        }
    }
}
