//! What a bundle is made for: few bytes on the line, or to be ready soon.
//!
//! On a slow line seconds of a processor are cheap and bytes are dear. On a fast one it is the other way round: there the line
//! waits for the bundle.

use std::time::Duration;

/// What counts when a bundle is made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Effort {
    /// It becomes as small as the site makes bundles.
    #[default]
    LeastBytes,
    /// It is ready soon, and larger for that.
    LeastTime,
}

/// What is known of the line to a site.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct KnownWay {
    pub is_up: bool,
    /// `None`: nothing has filled it yet, so that nobody knows.
    pub bytes_per_second: Option<u64>,
    /// There and back, at the shortest lately.
    pub trip: Option<Duration>,
    /// Its address has a rate, a pulse, a budget, or hours in which not everything goes.
    pub is_limited: bool,
}

/// Where a bundle goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Journey {
    pub way: KnownWay,
    /// Sites beyond are to have it too. It goes on as it is, over lines that nobody knows here.
    pub goes_on: bool,
    /// A courier may take it.
    pub by_courier: bool,
}

/// What two zstd levels differ by is sent in less than the time in which the smaller one is made.
const FAST_BYTES_PER_SECOND: u64 = 25_000_000;
/// So short are the ways within a building, with what two busy sites add to them.
const SHORT_TRIP: Duration = Duration::from_millis(2);

/// The text is none of [`Effort::as_str`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is nothing that a bundle is made for")]
pub struct UnknownEffort(String);

impl std::str::FromStr for Effort {
    type Err = UnknownEffort;

    fn from_str(text: &str) -> Result<Self, UnknownEffort> {
        let known = [Effort::LeastBytes, Effort::LeastTime].into_iter().find(|one| one.as_str() == text);
        known.ok_or_else(|| UnknownEffort(text.chars().take(80).collect()))
    }
}

impl Effort {
    /// What a bundle for such a journey is made for. What is not known counts as slow.
    pub fn of(journey: &Journey) -> Effort {
        let Journey { way, goes_on, by_courier } = journey;
        let is_fast = match way.bytes_per_second {
            Some(bytes_per_second) => bytes_per_second >= FAST_BYTES_PER_SECOND,
            None => way.trip.is_some_and(|trip| trip <= SHORT_TRIP),
        };
        match way.is_up && is_fast && !way.is_limited && !goes_on && !by_courier {
            true => Effort::LeastTime,
            false => Effort::LeastBytes,
        }
    }

    /// Whether a bundle that was made so is one for who needs it made for `need`: a small one is for everybody.
    pub fn serves(self, need: Effort) -> bool {
        self == Effort::LeastBytes || need == Effort::LeastTime
    }

    pub fn as_str(self) -> &'static str {
        match self {
            Effort::LeastBytes => "least-bytes",
            Effort::LeastTime => "least-time",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn time_counts_where_the_line_is_known_to_be_fast_and_nothing_else_is_in_the_way() {
        use Effort::{LeastBytes, LeastTime};
        let ms = |ms: u64| Some(Duration::from_millis(ms));
        let lan = KnownWay { is_up: true, bytes_per_second: None, trip: ms(1), is_limited: false };
        let measured = |bytes_per_second| KnownWay { bytes_per_second: Some(bytes_per_second), ..lan };
        let direct = |way| Journey { way, goes_on: false, by_courier: false };
        for (what, journey, effort) in [
            ("a short way", direct(lan), LeastTime),
            ("the longest that counts", direct(KnownWay { trip: ms(2), ..lan }), LeastTime),
            ("a longer one", direct(KnownWay { trip: ms(3), ..lan }), LeastBytes),
            ("nothing is known", direct(KnownWay { trip: None, ..lan }), LeastBytes),
            ("a short way that carries little", direct(measured(24_999_999)), LeastBytes),
            ("a fast line", direct(measured(25_000_000)), LeastTime),
            ("a long and fast one", direct(KnownWay { trip: ms(80), ..measured(100_000_000) }), LeastTime),
            ("it is down", direct(KnownWay { is_up: false, ..measured(100_000_000) }), LeastBytes),
            ("a limit", direct(KnownWay { is_limited: true, ..lan }), LeastBytes),
            ("sites beyond", Journey { goes_on: true, ..direct(lan) }, LeastBytes),
            ("a courier", Journey { by_courier: true, ..direct(lan) }, LeastBytes),
            ("a site that was never seen", direct(KnownWay::default()), LeastBytes),
        ] {
            assert_eq!(Effort::of(&journey), effort, "{what}");
        }
    }

    #[test]
    fn a_small_bundle_serves_everybody_and_a_quick_one_only_who_is_in_a_hurry() {
        use Effort::{LeastBytes, LeastTime};
        for (made, need, serves) in [
            (LeastBytes, LeastBytes, true),
            (LeastBytes, LeastTime, true),
            (LeastTime, LeastTime, true),
            (LeastTime, LeastBytes, false),
        ] {
            assert_eq!(made.serves(need), serves, "{made:?} {need:?}");
        }
    }
}
