//! Chance, so that clients which start together do not go on doing everything together.

use std::time::Duration;

use uuid::Uuid;

/// A number from 0 up to, and without, 1.
pub(crate) fn fraction() -> f64 {
    // The last 53 bits of a random UUID are all random, and as many as such a number holds.
    let bits = u64::try_from(Uuid::new_v4().as_u128() & ((1 << 53) - 1)).unwrap_or(0);
    bits as f64 / (1_u64 << 53) as f64
}

/// A span up to a fifth shorter or longer.
pub(crate) fn jittered(span: Duration) -> Duration {
    span.mul_f64(0.8 + 0.4 * fraction())
}

pub(crate) fn shuffle<T>(items: &mut [T]) {
    for last in (1..items.len()).rev() {
        let other = (fraction() * (last + 1) as f64) as usize;
        items.swap(last, other.min(last));
    }
}

/// The pause after a number of failures in a row: doubled each time, within limits, jittered.
pub(crate) fn backoff(failures: u32, shortest: Duration, longest: Duration) -> Duration {
    let doublings = failures.saturating_sub(1).min(20);
    jittered(shortest.saturating_mul(1 << doublings).min(longest))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn jitter_stays_within_a_fifth_and_spreads() {
        let spans: Vec<Duration> = (0..200).map(|_| jittered(Duration::from_secs(60))).collect();

        assert!(spans.iter().all(|span| (48.0..=72.0).contains(&span.as_secs_f64())));
        assert!(spans.iter().any(|span| span.as_secs_f64() < 55.0));
        assert!(spans.iter().any(|span| span.as_secs_f64() > 65.0));
    }

    #[test]
    fn shuffling_keeps_everything_and_moves_something() {
        let mut items: Vec<u32> = (0..100).collect();
        shuffle(&mut items);
        assert_ne!(items, (0..100).collect::<Vec<_>>());
        items.sort_unstable();
        assert_eq!(items, (0..100).collect::<Vec<_>>());
    }

    #[test]
    fn pauses_double_up_to_their_limit() {
        let pause =
            |failures| backoff(failures, Duration::from_secs(5), Duration::from_secs(60)).as_secs_f64();

        assert!((4.0..=6.0).contains(&pause(1)));
        assert!((16.0..=24.0).contains(&pause(3)));
        assert!((48.0..=72.0).contains(&pause(u32::MAX)));
    }
}
