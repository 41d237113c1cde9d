//! Pauses after failures: doubling, and spread so that agents which lost their site at once do not come back at once.

use std::time::Duration;

#[derive(Debug, Clone)]
pub(crate) struct Backoff {
    shortest: Duration,
    longest: Duration,
    failures: u32,
}

impl Backoff {
    pub(crate) fn new(shortest: Duration, longest: Duration) -> Self {
        Backoff { shortest, longest, failures: 0 }
    }

    /// It works again: the next pause is a short one.
    pub(crate) fn reset(&mut self) {
        self.failures = 0;
    }

    /// One more failure; how long to wait now.
    pub(crate) fn next(&mut self) -> Duration {
        let pause = self.shortest.saturating_mul(1 << self.failures.min(16)).min(self.longest);
        self.failures = self.failures.saturating_add(1);
        spread(pause, random()).max(self.shortest)
    }
}

/// Between half of `pause` and the whole of it, by `dice` of 0..=255.
fn spread(pause: Duration, dice: u8) -> Duration {
    pause / 2 + pause / 2 * u32::from(dice) / 255
}

fn random() -> u8 {
    let mut dice = [0];
    match getrandom::fill(&mut dice) {
        Ok(()) => dice[0],
        // Without randomness agents merely come back together.
        Err(_) => u8::MAX,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_to_the_longest_and_begin_again_after_success() {
        let (shortest, longest) = (Duration::from_millis(500), Duration::from_secs(30));
        let mut backoff = Backoff::new(shortest, longest);

        let pauses: Vec<Duration> = (0..40).map(|_| backoff.next()).collect();
        backoff.reset();

        assert!(pauses.iter().all(|pause| (shortest..=longest).contains(pause)), "{pauses:?}");
        assert!(pauses[10] >= longest / 2);
        assert_eq!(backoff.next(), shortest);
    }

    #[test]
    fn a_pause_is_spread_over_its_second_half() {
        let pause = Duration::from_secs(10);

        assert_eq!(spread(pause, 0), Duration::from_secs(5));
        assert_eq!(spread(pause, 255), pause);
    }
}
