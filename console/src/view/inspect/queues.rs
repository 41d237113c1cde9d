//! What waits for each neighbour, and why.

use packhorse_proto::provider::v1 as wire;
use serde::Serialize;

use super::{micros, span_or_dash, span_us};
use crate::view::{Screen, amount, or_dash, package::priority, table, time, word, yes};

#[derive(Debug, Serialize)]
pub(super) struct Queue {
    peer: String,
    up: bool,
    classes: Vec<Class>,
    items: Vec<Item>,
    more: bool,
}

#[derive(Debug, Serialize)]
struct Class {
    priority: String,
    open: bool,
    items: u32,
    events: u32,
    bytes: u64,
    oldest_age_us: Option<u64>,
}

#[derive(Debug, Serialize)]
struct Item {
    place: u32,
    item: String,
    subject: String,
    kind: String,
    priority: String,
    state: String,
    waits_for: String,
    why: String,
    age_us: Option<u64>,
    done_bytes: u64,
    total_bytes: u64,
    retry_at: Option<String>,
}

impl From<wire::PeerQueue> for Queue {
    fn from(queue: wire::PeerQueue) -> Self {
        Queue {
            peer: queue.peer,
            up: queue.up,
            classes: queue.classes.into_iter().map(Into::into).collect(),
            items: queue.items.into_iter().map(Into::into).collect(),
            more: queue.more,
        }
    }
}

impl From<wire::ClassQueue> for Class {
    fn from(class: wire::ClassQueue) -> Self {
        Class {
            priority: priority(class.priority),
            open: class.open,
            items: class.items,
            events: class.events,
            bytes: class.bytes,
            oldest_age_us: span_us(class.oldest_age),
        }
    }
}

impl From<wire::WaitingItem> for Item {
    fn from(item: wire::WaitingItem) -> Self {
        let kind = wire::QueueItemKind::try_from(item.kind).map(|kind| kind.as_str_name());
        let state = wire::QueueState::try_from(item.state).map(|state| state.as_str_name());
        let waits_for = wire::WaitReason::try_from(item.waits_for).map(|wait| wait.as_str_name());
        Item {
            place: item.place,
            item: item.item,
            subject: item.subject,
            kind: word(kind, "QUEUE_ITEM_KIND_"),
            priority: priority(item.priority),
            state: word(state, "QUEUE_STATE_"),
            waits_for: word(waits_for, "WAIT_REASON_"),
            why: item.why,
            age_us: span_us(item.age),
            done_bytes: item.done_bytes,
            total_bytes: item.total_bytes,
            retry_at: time(micros(item.retry_at)),
        }
    }
}

/// By neighbour and class.
pub(super) fn text(queues: &[Queue], screen: Screen) -> String {
    let row = |queue: &Queue, class: &Class| {
        let items = if queue.more { format!("{} and more", class.items) } else { class.items.to_string() };
        [
            queue.peer.clone(),
            class.priority.clone(),
            yes(class.open),
            items,
            class.events.to_string(),
            amount(class.bytes),
            span_or_dash(class.oldest_age_us),
        ]
    };
    let rows: Vec<_> =
        queues.iter().flat_map(|queue| queue.classes.iter().map(|class| row(queue, class))).collect();
    table(screen, ["PEER", "CLASS", "OPEN", "ITEMS", "EVENTS", "LEFT", "OLDEST"], &rows, "no neighbours")
}

/// The first of each neighbour.
pub(super) fn items(queues: &[Queue], screen: Screen) -> String {
    let row = |queue: &Queue, item: &Item| {
        [
            queue.peer.clone(),
            item.place.to_string(),
            item.item.chars().take(8).collect(),
            or_dash(&item.subject),
            item.priority.clone(),
            item.state.clone(),
            format!("{} of {}", amount(item.done_bytes), amount(item.total_bytes)),
            span_or_dash(item.age_us),
            item.waits_for.clone(),
            or_dash(&item.why),
        ]
    };
    let rows: Vec<_> =
        queues.iter().flat_map(|queue| queue.items.iter().map(|item| row(queue, item))).collect();
    let header = ["PEER", "PLACE", "ITEM", "ABOUT", "PRIORITY", "STATE", "DONE", "AGE", "WAITS FOR", "WHY"];
    table(screen, header, &rows, "nothing waits")
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use packhorse_proto::{convert::time::duration, object::v1::Priority};

    use super::*;

    #[test]
    fn classes_are_counted_and_items_say_why_they_wait() {
        let class = wire::ClassQueue {
            priority: Priority::Low.into(),
            items: 7,
            bytes: 1024,
            oldest_age: Some(duration(Duration::from_secs(90))),
            ..wire::ClassQueue::default()
        };
        let item = wire::WaitingItem {
            place: 1,
            item: "3fa2bc91".repeat(4),
            subject: "CEN00001".to_owned(),
            kind: wire::QueueItemKind::Bundle.into(),
            priority: Priority::Low.into(),
            state: wire::QueueState::Queued.into(),
            waits_for: wire::WaitReason::Hour.into(),
            why: "class low is closed in this hour (UTC)".to_owned(),
            ..wire::WaitingItem::default()
        };
        let queue = wire::PeerQueue {
            peer: "PAR".to_owned(),
            classes: vec![class],
            items: vec![item],
            more: true,
            ..wire::PeerQueue::default()
        };

        let queues: Vec<Queue> = vec![queue.into()];
        let screen = Screen { terminal: false };

        let counted = text(&queues, screen);
        assert!(counted.contains("7 and more") && counted.contains("90.0 s"), "{counted}");
        let listed = items(&queues, screen);
        assert!(listed.contains("hour") && listed.contains("closed in this hour"), "{listed}");
        let document = serde_json::to_value(&queues).expect("json");
        assert_eq!(document[0]["items"][0]["waits_for"], "hour");
        assert_eq!(document[0]["classes"][0]["oldest_age_us"], 90_000_000);
    }
}
