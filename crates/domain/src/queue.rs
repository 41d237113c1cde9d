//! The queue of a link as an administrator orders it: what an order does to an item, how an item stands, which items a
//! typed prefix means, and when each is through.
//!
//! Who goes next is decided by the link itself; an order only changes what the link is told of an item.

mod wait;

use std::{fmt, str::FromStr};

use crate::{
    Priority,
    link::{ItemId, OutItem, Stage},
};

pub use wait::{Wait, WaitFacts};

/// What an administrator wants of an item on one link. The default is what nobody asked for anything else.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Order {
    /// It is not sent, and what the peer holds of it is kept.
    pub held: bool,
    /// Instead of its own.
    pub priority: Option<Priority>,
    /// Before all others of its class when smaller.
    pub rank: i64,
}

/// A change of an order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Change {
    Hold,
    Release,
    Priority(Priority),
    /// Before all others; `others` is the smallest rank among them.
    First {
        others: i64,
    },
}

/// How an item on a link stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum State {
    /// It waits for its turn.
    Queued,
    /// The peer knows of it and has not answered, or has not confirmed what it got.
    Offered,
    Sending,
    /// An administrator holds it.
    Held,
    /// Nothing moves on its link.
    Paused,
    /// Refused; it is tried again later.
    Retrying,
    /// An administrator took it out of the queue.
    Cancelled,
    /// Another bundle takes its place.
    Replaced,
    Delivered,
    Receiving,
    /// Begun, and the peer is not sending it now.
    Waiting,
    /// All bytes are here, and their effect is not.
    Despooling,
    /// What came cannot be used.
    Failed,
}

/// What the state of a waiting item follows from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Facts {
    pub held: bool,
    /// It was refused, and its next try is not due.
    pub retries: bool,
    /// How far the link is with it.
    pub stage: Option<Stage>,
    pub link_up: bool,
}

/// The beginning of an item's name in hexadecimal, as people type it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ItemPrefix(String);

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{0}` does not name an item: {ITEM_PREFIX_DIGITS_MIN} to 32 hexadecimal digits are expected, as `packhorse queue` shows them"
)]
pub struct ItemPrefixError(String);

/// Fewer digits are too easily mistyped.
pub const ITEM_PREFIX_DIGITS_MIN: usize = 4;
const ITEM_DIGITS: usize = 32;

/// An item in a queue, for the question when it is through.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ahead {
    pub left_bytes: u64,
    /// It is in nobody's way: it is held, or waits for another try.
    pub stands_aside: bool,
}

impl Order {
    #[must_use]
    pub fn after(self, change: Change) -> Order {
        match change {
            Change::Hold => Order { held: true, ..self },
            Change::Release => Order { held: false, ..self },
            Change::Priority(priority) => Order { priority: Some(priority), ..self },
            Change::First { others } if self.rank < others => self,
            Change::First { others } => Order { rank: others.min(0).saturating_sub(1), ..self },
        }
    }

    /// Tells the link of it.
    pub fn apply(self, item: &mut OutItem) {
        item.priority = self.priority.unwrap_or(item.priority);
        item.rank = self.rank;
    }
}

impl Facts {
    pub fn state(self) -> State {
        match self.stage {
            _ if self.held => State::Held,
            Some(Stage::Sending { .. }) => State::Sending,
            Some(Stage::Offered | Stage::Inline) => State::Offered,
            _ if self.retries => State::Retrying,
            _ if !self.link_up => State::Paused,
            Some(Stage::Queued) | None => State::Queued,
        }
    }
}

impl State {
    pub const ALL: [State; 13] = [
        State::Queued,
        State::Offered,
        State::Sending,
        State::Held,
        State::Paused,
        State::Retrying,
        State::Cancelled,
        State::Replaced,
        State::Delivered,
        State::Receiving,
        State::Waiting,
        State::Despooling,
        State::Failed,
    ];

    pub fn as_str(self) -> &'static str {
        match self {
            State::Queued => "queued",
            State::Offered => "offered",
            State::Sending => "sending",
            State::Held => "held",
            State::Paused => "paused",
            State::Retrying => "retrying",
            State::Cancelled => "cancelled",
            State::Replaced => "replaced",
            State::Delivered => "delivered",
            State::Receiving => "receiving",
            State::Waiting => "waiting",
            State::Despooling => "despooling",
            State::Failed => "failed",
        }
    }

    /// Whether nothing more will become of it by itself.
    pub fn is_over(self) -> bool {
        matches!(self, State::Cancelled | State::Replaced | State::Delivered)
    }

    /// Whether others do not wait for it.
    pub fn stands_aside(self) -> bool {
        self.is_over() || matches!(self, State::Held | State::Retrying | State::Waiting | State::Failed)
    }
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl ItemPrefix {
    pub fn matches(&self, item: &ItemId) -> bool {
        item.to_string().starts_with(&self.0)
    }

    /// The first and the last item that it can mean.
    pub fn range(&self) -> (ItemId, ItemId) {
        let filled = |digit: char| {
            let text: String = self.0.chars().chain(std::iter::repeat(digit)).take(ITEM_DIGITS).collect();
            text.parse().expect("32 hexadecimal digits are an item's name")
        };
        (filled('0'), filled('f'))
    }
}

impl FromStr for ItemPrefix {
    type Err = ItemPrefixError;

    fn from_str(text: &str) -> Result<Self, ItemPrefixError> {
        let fits = (ITEM_PREFIX_DIGITS_MIN..=ITEM_DIGITS).contains(&text.len());
        if !fits || !text.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            return Err(ItemPrefixError(text.chars().take(40).collect()));
        }
        Ok(ItemPrefix(text.to_ascii_lowercase()))
    }
}

impl fmt::Display for ItemPrefix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// How many bytes go until each item of a queue is through, those before it included. `None`: it stands aside.
pub fn bytes_until(queue: &[Ahead]) -> Vec<Option<u64>> {
    let mut before: u64 = 0;
    let through = |item: &Ahead| {
        if item.stands_aside {
            return None;
        }
        before = before.saturating_add(item.left_bytes);
        Some(before)
    };
    queue.iter().map(through).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_order_changes_only_what_was_asked_for() {
        let none = Order::default();
        let low = Order { priority: Some(Priority::Low), rank: -3, ..none };

        for (before, change, expected) in [
            (none, Change::Hold, Order { held: true, ..none }),
            (low, Change::Hold, Order { held: true, ..low }),
            (Order { held: true, ..low }, Change::Release, low),
            (none, Change::Release, none),
            (low, Change::Priority(Priority::High), Order { priority: Some(Priority::High), ..low }),
            (none, Change::First { others: 0 }, Order { rank: -1, ..none }),
            (none, Change::First { others: -1 }, Order { rank: -2, ..none }),
            (none, Change::First { others: 7 }, none),
            (low, Change::First { others: -2 }, low),
            (low, Change::First { others: -3 }, Order { rank: -4, ..low }),
            (none, Change::First { others: i64::MIN }, Order { rank: i64::MIN, ..none }),
        ] {
            assert_eq!(before.after(change), expected, "{before:?} {change:?}");
        }
    }

    #[test]
    fn the_state_is_what_keeps_it_most() {
        let facts = Facts { held: false, retries: false, stage: None, link_up: true };
        let sending = Some(Stage::Sending { next: 9, acked: 5 });

        for (facts, expected) in [
            (facts, State::Queued),
            (Facts { stage: Some(Stage::Queued), ..facts }, State::Queued),
            (Facts { stage: Some(Stage::Offered), ..facts }, State::Offered),
            (Facts { stage: Some(Stage::Inline), ..facts }, State::Offered),
            (Facts { stage: sending, ..facts }, State::Sending),
            (Facts { stage: sending, held: true, ..facts }, State::Held),
            (Facts { retries: true, ..facts }, State::Retrying),
            (Facts { retries: true, link_up: false, ..facts }, State::Retrying),
            (Facts { link_up: false, ..facts }, State::Paused),
            (Facts { link_up: false, held: true, ..facts }, State::Held),
        ] {
            assert_eq!(facts.state(), expected, "{facts:?}");
        }
    }

    #[test]
    fn every_state_has_a_text_of_its_own() {
        let texts: std::collections::BTreeSet<_> = State::ALL.into_iter().map(State::as_str).collect();

        assert_eq!(texts.len(), State::ALL.len());
    }

    #[test]
    fn a_prefix_is_four_digits_or_more_in_either_case() {
        for bad in ["", "3fa", "3fag", "3f a", "żźćń", &"a".repeat(33)] {
            assert!(bad.parse::<ItemPrefix>().is_err(), "{bad}");
        }
        let item = ItemId([0x3f, 0xa2, 0xbc, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1]);
        for (text, means_it) in
            [("3fa2", true), ("3FA2B", true), ("3fa3", false), (&item.to_string(), true), ("fa2bc", false)]
        {
            assert_eq!(text.parse::<ItemPrefix>().expect(text).matches(&item), means_it, "{text}");
        }
    }

    #[test]
    fn a_prefix_means_the_items_between_its_ends() {
        let prefix: ItemPrefix = "3fa2b".parse().expect("a prefix");

        let (first, last) = prefix.range();

        assert_eq!(first.to_string(), format!("3fa2b{}", "0".repeat(27)));
        assert_eq!(last.to_string(), format!("3fa2b{}", "f".repeat(27)));
    }

    #[test]
    fn an_item_waits_for_those_before_it_that_are_in_its_way() {
        let moves = |left_bytes| Ahead { left_bytes, stands_aside: false };
        let aside = |left_bytes| Ahead { left_bytes, stands_aside: true };

        for (queue, expected) in [
            (vec![moves(100), moves(50)], vec![Some(100), Some(150)]),
            (vec![moves(100), aside(1000), moves(50)], vec![Some(100), None, Some(150)]),
            (vec![moves(0), moves(10)], vec![Some(0), Some(10)]),
            (vec![], vec![]),
            (vec![moves(u64::MAX), moves(u64::MAX)], vec![Some(u64::MAX), Some(u64::MAX)]),
        ] {
            assert_eq!(bytes_until(&queue), expected, "{queue:?}");
        }
    }
}
