//! Which destinations get bundles now, when there are more of them than the sender may serve at once.

use std::{collections::BTreeSet, time::Duration};

use crate::{Priority, Timestamp, id::SiteCode};

/// A sending that moved nothing for so long lets others go first: a dead or slow site holds up nobody.
pub const STALLED_AFTER: Duration = Duration::from_secs(5);

/// A destination that has bundles waiting.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Claim {
    pub site: SiteCode,
    /// Of its most urgent bundle: a queue is as urgent as that.
    pub priority: Priority,
    /// Since when it waits for its turn, or has it.
    pub since: Timestamp,
    /// When its sending last moved; of one that has no turn, `None`.
    pub moved_at: Option<Timestamp>,
}

/// The destinations whose turn it is. One that has its turn keeps it against others of the same priority, unless it has
/// stalled.
pub fn grant(claims: &[Claim], sendings_max: usize, now: Timestamp) -> BTreeSet<SiteCode> {
    let mut in_order: Vec<&Claim> = claims.iter().collect();
    in_order.sort_by_key(|claim| {
        let has_stalled = claim.moved_at.is_some_and(|at| now.since(at) >= STALLED_AFTER);
        (has_stalled, claim.priority, claim.moved_at.is_none(), claim.since, claim.site.clone())
    });
    in_order.into_iter().take(sendings_max).map(|claim| claim.site.clone()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn claim(site: &str, priority: Priority, since: i64, moved_at: Option<i64>) -> Claim {
        Claim {
            site: site.parse().expect("a site code"),
            priority,
            since: Timestamp(since * 1_000_000),
            moved_at: moved_at.map(|at| Timestamp(at * 1_000_000)),
        }
    }

    #[test]
    fn the_most_urgent_go_first_and_the_stalled_last() {
        let (high, medium, low) = (Priority::High, Priority::Medium, Priority::Low);
        let cases: [(&[Claim], usize, &[&str]); 6] = [
            (&[claim("AAA", low, 1, None), claim("BBB", high, 2, None)], 1, &["BBB"]),
            (&[claim("AAA", low, 1, Some(100)), claim("BBB", high, 2, None)], 1, &["BBB"]),
            (&[claim("AAA", low, 2, Some(100)), claim("BBB", low, 1, None)], 1, &["AAA"]),
            (&[claim("AAA", low, 2, Some(90)), claim("BBB", low, 1, None)], 1, &["BBB"]),
            (&[claim("AAA", high, 2, Some(90)), claim("BBB", medium, 1, None)], 2, &["AAA", "BBB"]),
            (&[claim("CCC", low, 3, None), claim("BBB", low, 1, None)], 1, &["BBB"]),
        ];
        for (claims, most, expected) in cases {
            let granted = grant(claims, most, Timestamp(100_000_000));
            let granted: Vec<&str> = granted.iter().map(SiteCode::as_str).collect();
            assert_eq!(granted, expected, "{claims:?}");
        }
    }
}
