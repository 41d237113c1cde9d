//! Whether a bundle goes over the line or by courier, and why.

use std::{str::FromStr, time::Duration};

use super::Policy;
use crate::Timestamp;

/// Media that are sooner by less than this, and a tenth of the time, are not worth the errand.
const WORTH: Duration = Duration::from_secs(3600);

/// How a bundle gets to a neighbour.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Way {
    #[default]
    Line,
    Courier,
}

/// What was asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wish {
    /// Of this very bundle, by an administrator.
    Person(Way),
    /// Of all bundles of its package.
    Package(Way),
    Nobody,
}

/// What the choice follows from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Question {
    pub wish: Wish,
    /// `None`: the neighbour has no courier.
    pub policy: Option<Policy>,
    /// As it is now.
    pub way: Way,
    pub now: Timestamp,
    /// When media are there: those under way with it, else those of the next departure. `None`: nobody knows.
    pub media_at: Option<Timestamp>,
    /// When the line will have brought it; `None`: not for a long time.
    pub line_at: Option<Timestamp>,
    /// It has waited for a courier, and nobody came.
    pub missed: bool,
}

impl Way {
    pub fn as_str(self) -> &'static str {
        match self {
            Way::Line => "line",
            Way::Courier => "courier",
        }
    }
}

/// As [`Way::as_str`] gives it.
impl FromStr for Way {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        [Way::Line, Way::Courier].into_iter().find(|way| way.as_str() == text).ok_or(())
    }
}

/// A person's wish, then the package's, then what the route says. What has been chosen stays while it is about as good as
/// the other, so that measured rates do not push a bundle to and fro.
pub fn choose(question: &Question) -> Way {
    let Some(policy) = question.policy else {
        return match question.wish {
            Wish::Person(way) => way,
            // Nobody would ever come for it.
            Wish::Package(_) | Wish::Nobody => Way::Line,
        };
    };
    match (question.wish, policy) {
        (Wish::Person(way) | Wish::Package(way), _) => way,
        (Wish::Nobody, Policy::Always) => Way::Courier,
        (Wish::Nobody, Policy::Asked) => Way::Line,
        (Wish::Nobody, Policy::Sooner) => sooner(question),
    }
}

fn sooner(question: &Question) -> Way {
    let Some(media_at) = question.media_at else { return Way::Line };
    let Some(line_at) = question.line_at else { return Way::Courier };
    // The next courier would be promised sooner as well, at every look.
    if question.missed {
        return Way::Line;
    }
    let (of_line, of_media) = (line_at.since(question.now), media_at.since(question.now));
    let margin = |time: Duration| WORTH.max(time / 10);
    match question.way {
        Way::Line if of_media + margin(of_media) < of_line => Way::Courier,
        Way::Courier if of_line < of_media => Way::Line,
        as_it_is => as_it_is,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hours(hours: i64) -> Option<Timestamp> {
        Some(Timestamp(hours * 3_600_000_000))
    }

    const OPEN: Question = Question {
        wish: Wish::Nobody,
        policy: Some(Policy::Sooner),
        way: Way::Line,
        now: Timestamp(0),
        media_at: None,
        line_at: None,
        missed: false,
    };

    #[test]
    fn media_that_are_sooner_take_it_and_what_was_chosen_stays_while_it_is_about_as_good() {
        for (way, media, line, expected) in [
            (Way::Line, hours(48), hours(100), Way::Courier),
            (Way::Line, hours(48), hours(10), Way::Line),
            (Way::Line, hours(48), hours(50), Way::Line),
            (Way::Courier, hours(48), hours(50), Way::Courier),
            (Way::Courier, hours(48), hours(47), Way::Line),
            (Way::Line, hours(1), hours(2), Way::Line),
            (Way::Line, hours(48), None, Way::Courier),
            (Way::Courier, None, hours(999), Way::Line),
            (Way::Courier, None, None, Way::Line),
        ] {
            let question = Question { way, media_at: media, line_at: line, ..OPEN };
            assert_eq!(choose(&question), expected, "{question:?}");
            // Who did not come once is not waited for, unless there is nothing else.
            let missed = Question { missed: true, ..question };
            let line_or_nothing = if line.is_some() { Way::Line } else { expected };
            assert_eq!(choose(&missed), line_or_nothing, "{missed:?}");
        }
    }

    #[test]
    fn a_person_decides_before_a_package_and_a_package_before_the_route() {
        let both = [Way::Line, Way::Courier];
        for way in both {
            for policy in [Policy::Sooner, Policy::Always, Policy::Asked].map(Some).into_iter().chain([None])
            {
                let asked = Question { wish: Wish::Person(way), policy, ..OPEN };
                assert_eq!(choose(&asked), way);
                let preferred = Question { wish: Wish::Package(way), policy, ..OPEN };
                assert_eq!(choose(&preferred), if policy.is_none() { Way::Line } else { way });
            }
        }
        let nobody = |policy| choose(&Question { policy, ..OPEN });
        assert_eq!(nobody(Some(Policy::Always)), Way::Courier);
        assert_eq!(nobody(Some(Policy::Asked)), Way::Line);
        assert_eq!(nobody(None), Way::Line);
    }
}
