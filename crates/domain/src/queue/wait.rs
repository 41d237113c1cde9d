//! What an item of a queue waits for.

use super::State;

/// What keeps an item that is to go out from being through.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Wait {
    /// It goes at this moment, or nothing more will become of it.
    Nothing,
    /// For those before it.
    Turn,
    /// For the peer's answer or its confirmation.
    Peer,
    /// The link is down.
    Link,
    /// Its class is closed in this hour.
    Hour,
    /// The budget of the address is spent.
    Budget,
    /// An administrator took it out of the way.
    Release,
    /// It goes by courier.
    Courier,
    /// It was refused, and is tried again later.
    Retry,
}

/// What that follows from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WaitFacts {
    pub state: State,
    /// An administrator holds it; otherwise one that stands as held goes by courier.
    pub held: bool,
    /// Its class may leave by the calendar of the address.
    pub hour_open: bool,
    /// Its class may leave by the calendar and by the budget.
    pub class_open: bool,
}

impl WaitFacts {
    pub fn wait(self) -> Wait {
        match self.state {
            State::Held if !self.held => Wait::Courier,
            State::Held | State::Cancelled => Wait::Release,
            State::Paused => Wait::Link,
            State::Retrying => Wait::Retry,
            // What has begun pauses as well when its class is closed.
            State::Queued | State::Offered | State::Sending if !self.hour_open => Wait::Hour,
            State::Queued | State::Offered | State::Sending if !self.class_open => Wait::Budget,
            State::Queued => Wait::Turn,
            State::Offered | State::Waiting | State::Failed => Wait::Peer,
            State::Sending | State::Receiving | State::Despooling | State::Replaced | State::Delivered => {
                Wait::Nothing
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_item_waits_for_what_keeps_it_most() {
        let facts = |state| WaitFacts { state, held: false, hour_open: true, class_open: true };
        let held = WaitFacts { held: true, ..facts(State::Held) };
        let closed = |state| WaitFacts { hour_open: false, class_open: false, ..facts(state) };
        let spent = |state| WaitFacts { class_open: false, ..facts(state) };
        for (facts, expected) in [
            (facts(State::Queued), Wait::Turn),
            (facts(State::Offered), Wait::Peer),
            (facts(State::Sending), Wait::Nothing),
            (facts(State::Held), Wait::Courier),
            (held, Wait::Release),
            (WaitFacts { hour_open: false, ..held }, Wait::Release),
            (facts(State::Cancelled), Wait::Release),
            (facts(State::Paused), Wait::Link),
            (closed(State::Paused), Wait::Link),
            (facts(State::Retrying), Wait::Retry),
            (closed(State::Queued), Wait::Hour),
            (closed(State::Sending), Wait::Hour),
            (spent(State::Queued), Wait::Budget),
            (spent(State::Offered), Wait::Budget),
            (closed(State::Retrying), Wait::Retry),
            (closed(State::Delivered), Wait::Nothing),
        ] {
            assert_eq!(facts.wait(), expected, "{facts:?}");
        }
    }
}
