//! The queue of each link.

use packhorse_domain::queue::State;
use packhorse_proto::provider::v1 as wire;
use serde::Serialize;

use crate::view::{Screen, View, amount, clean, or_dash, package::priority, table, time, word};

/// So many digits tell items apart, and are quickly typed.
const ITEM_DIGITS: usize = 8;

/// The links of a site with what waits on them.
#[derive(Debug, Serialize)]
pub(crate) struct Queues {
    at: Option<String>,
    #[serde(skip)]
    at_us: i64,
    links: Vec<Link>,
}

#[derive(Debug, Serialize)]
pub(crate) struct Link {
    peer: String,
    up: bool,
    last_error: String,
    queued_items: u32,
    queued_bytes: u64,
    sent_bytes_per_s: u64,
    received_bytes_per_s: u64,
    has_more: bool,
    items: Vec<Item>,
}

#[derive(Debug, Serialize)]
pub(crate) struct Item {
    item: String,
    peer: String,
    direction: &'static str,
    subject: String,
    kind: String,
    priority: String,
    state: &'static str,
    reason: String,
    bytes_done: u64,
    bytes_total: u64,
    rate_bytes_per_s: u64,
    eta: Option<String>,
    held: bool,
    first: bool,
    queued_at: Option<String>,
    retry_at: Option<String>,
    #[serde(skip)]
    eta_us: i64,
    #[serde(skip)]
    retry_at_us: i64,
}

/// Items that were changed, as they are now.
#[derive(Debug, Serialize)]
pub(crate) struct Changed {
    items: Vec<Item>,
}

impl From<wire::ListQueueResponse> for Queues {
    fn from(answer: wire::ListQueueResponse) -> Self {
        let mut items: Vec<Item> = answer.items.into_iter().map(Item::from).collect();
        let links = answer.links.into_iter().map(|link| {
            let (of_link, others) =
                std::mem::take(&mut items).into_iter().partition(|item| item.peer == link.peer);
            items = others;
            Link {
                peer: link.peer,
                up: link.up,
                last_error: link.last_error,
                queued_items: link.queued_items,
                queued_bytes: link.queued_bytes,
                sent_bytes_per_s: link.sent_bytes_per_s,
                received_bytes_per_s: link.received_bytes_per_s,
                has_more: link.has_more,
                items: of_link,
            }
        });
        Queues { at: time(answer.at_us), at_us: answer.at_us, links: links.collect() }
    }
}

impl From<wire::QueueItem> for Item {
    fn from(item: wire::QueueItem) -> Self {
        let state = wire::QueueState::try_from(item.state).ok().and_then(|state| State::try_from(state).ok());
        Item {
            kind: word(
                wire::QueueItemKind::try_from(item.kind).map(|kind| kind.as_str_name()),
                "QUEUE_ITEM_KIND_",
            ),
            item: item.item,
            peer: item.peer,
            direction: if item.outgoing { "to" } else { "from" },
            subject: item.subject,
            priority: priority(item.priority),
            state: state.map_or("unknown", State::as_str),
            reason: item.reason,
            bytes_done: item.bytes_done,
            bytes_total: item.bytes_total,
            rate_bytes_per_s: item.rate_bytes_per_s,
            eta: time(item.eta_us),
            held: item.held,
            first: item.rank < 0,
            queued_at: time(item.queued_at_us),
            retry_at: time(item.retry_at_us),
            eta_us: item.eta_us,
            retry_at_us: item.retry_at_us,
        }
    }
}

impl From<wire::ChangeQueueResponse> for Changed {
    fn from(answer: wire::ChangeQueueResponse) -> Self {
        Changed { items: answer.items.into_iter().map(Item::from).collect() }
    }
}

impl Queues {
    pub(crate) fn links(&self) -> &[Link] {
        &self.links
    }

    pub(crate) fn at_us(&self) -> i64 {
        self.at_us
    }
}

impl Link {
    pub(crate) fn key(&self) -> String {
        format!("link/{}", self.peer)
    }

    pub(crate) fn items(&self) -> &[Item] {
        &self.items
    }

    /// The link and its queue in one line.
    pub(crate) fn headline(&self) -> String {
        let state = match (self.up, self.last_error.as_str()) {
            (true, _) => "up".to_owned(),
            (false, "") => "down".to_owned(),
            (false, error) => format!("down ({error})"),
        };
        let more = if self.has_more { " and more" } else { "" };
        clean(&format!(
            "link {} {state}: sends {}/s, receives {}/s, {}{more} queued, {}",
            self.peer,
            amount(self.sent_bytes_per_s),
            amount(self.received_bytes_per_s),
            self.queued_items,
            amount(self.queued_bytes),
        ))
    }

    fn table(&self, at_us: i64, screen: Screen) -> String {
        let row = |item: &Item| {
            [
                item.short(),
                or_dash(&item.subject),
                item.direction.to_owned(),
                item.class(),
                item.state.to_owned(),
                format!("{} of {}", amount(item.bytes_done), amount(item.bytes_total)),
                item.rate(),
                after(at_us, item.eta_us).unwrap_or_else(|| "-".to_owned()),
                or_dash(&item.why(at_us)),
            ]
        };
        let rows: Vec<_> = self.items.iter().map(row).collect();
        let header = ["ITEM", "ABOUT", "WAY", "PRIORITY", "STATE", "DONE", "RATE", "LEFT", "REASON"];
        table(screen, header, &rows, "nothing waits")
    }
}

impl Item {
    /// What tells it from all others on this site's links.
    pub(crate) fn key(&self) -> String {
        format!("{}/{}/{}", self.item, self.direction, self.peer)
    }

    pub(crate) fn bytes(&self) -> (u64, u64) {
        (self.bytes_done, self.bytes_total)
    }

    pub(crate) fn headline(&self, at_us: i64) -> String {
        let left = after(at_us, self.eta_us).map(|left| format!(", {left} left")).unwrap_or_default();
        let why = Some(self.why(at_us)).filter(|why| !why.is_empty());
        let why = why.map(|why| format!(" ({why})")).unwrap_or_default();
        format!(
            "{} {} {} {} {} {}{left}{why}",
            self.short(),
            or_dash(&self.subject),
            self.direction,
            self.peer,
            self.class(),
            self.state,
        )
    }

    fn short(&self) -> String {
        self.item.chars().take(ITEM_DIGITS).collect()
    }

    fn class(&self) -> String {
        if self.first { format!("{}, first", self.priority) } else { self.priority.clone() }
    }

    fn rate(&self) -> String {
        if self.rate_bytes_per_s == 0 {
            "-".to_owned()
        } else {
            format!("{}/s", amount(self.rate_bytes_per_s))
        }
    }

    fn why(&self, at_us: i64) -> String {
        match after(at_us, self.retry_at_us) {
            Some(left) if self.state == State::Retrying.as_str() => {
                format!("{}; again in {left}", self.reason)
            }
            _ => self.reason.clone(),
        }
    }
}

impl View for Queues {
    fn text(&self, screen: Screen) -> String {
        if self.links.is_empty() {
            return "no links".to_owned();
        }
        let part = |link: &Link| format!("{}\n{}", link.headline(), link.table(self.at_us, screen));
        self.links.iter().map(part).collect::<Vec<_>>().join("\n\n")
    }
}

impl View for Changed {
    fn text(&self, _screen: Screen) -> String {
        let line = |item: &Item| {
            let text = format!(
                "item {} {} to {} {}, priority {}",
                item.short(),
                item.subject,
                item.peer,
                item.state,
                item.class()
            );
            clean(&text)
        };
        self.items.iter().map(line).collect::<Vec<_>>().join("\n")
    }
}

/// The time from one point to a later one, for people; `None` for the wire's 0.
fn after(at_us: i64, until_us: i64) -> Option<String> {
    if until_us == 0 {
        return None;
    }
    let seconds = u64::try_from(until_us.saturating_sub(at_us)).unwrap_or(0).div_ceil(1_000_000);
    Some(match seconds {
        0..60 => format!("{seconds}s"),
        60..3600 => format!("{}m {}s", seconds / 60, seconds % 60),
        3600..86_400 => format!("{}h {}m", seconds / 3600, seconds % 3600 / 60),
        _ => format!("{}d {}h", seconds / 86_400, seconds % 86_400 / 3600),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const PIPE: Screen = Screen { terminal: false };
    const NOW: i64 = 1_800_000_000_000_000;

    fn item(digits: &str, peer: &str) -> wire::QueueItem {
        wire::QueueItem {
            item: digits.repeat(8),
            peer: peer.to_owned(),
            outgoing: true,
            subject: "CEN00001".to_owned(),
            kind: wire::QueueItemKind::Bundle.into(),
            priority: packhorse_proto::object::v1::Priority::High.into(),
            state: wire::QueueState::Sending.into(),
            bytes_done: 1 << 20,
            bytes_total: 4 << 20,
            rate_bytes_per_s: 1 << 20,
            eta_us: NOW + 3_000_000,
            ..wire::QueueItem::default()
        }
    }

    fn queues() -> Queues {
        let held = wire::QueueItem {
            state: wire::QueueState::Held.into(),
            reason: "held by admin anna".to_owned(),
            held: true,
            rank: -1,
            rate_bytes_per_s: 0,
            eta_us: 0,
            ..item("90cc", "PAR")
        };
        let retrying = wire::QueueItem {
            state: wire::QueueState::Retrying.into(),
            reason: "no space: the site's disk is full".to_owned(),
            retry_at_us: NOW + 600_000_000,
            ..item("77aa", "LYO")
        };
        Queues::from(wire::ListQueueResponse {
            links: vec![
                wire::QueueLink {
                    peer: "PAR".to_owned(),
                    up: true,
                    queued_items: 2,
                    queued_bytes: 7 << 20,
                    sent_bytes_per_s: 1 << 20,
                    ..wire::QueueLink::default()
                },
                wire::QueueLink {
                    peer: "LYO".to_owned(),
                    last_error: "cut".to_owned(),
                    has_more: true,
                    ..wire::QueueLink::default()
                },
            ],
            items: vec![item("3fa2", "PAR"), held, retrying],
            at_us: NOW,
        })
    }

    #[test]
    fn each_link_has_a_line_and_its_items_below() {
        let text = queues().text(PIPE);

        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines[0], "link PAR up: sends 1.00 MiB/s, receives 0 B/s, 2 queued, 7.00 MiB", "{text}");
        for (at, words) in [
            (2, ["3fa23fa2", "CEN00001", "sending", "1.00 MiB of 4.00 MiB", "3s"]),
            (3, ["90cc90cc", "high, first", "held", "held by admin anna", "-"]),
            (5, ["link LYO down (cut)", "0 and more queued", "", "", ""]),
            (7, ["77aa77aa", "retrying", "disk is full; again in 10m 0s", "", ""]),
        ] {
            assert!(words.iter().all(|word| lines[at].contains(word)), "{words:?}: {text}");
        }
    }

    #[test]
    fn the_document_has_exact_numbers_and_whole_names() {
        let json = serde_json::to_value(queues()).expect("json");

        let item = &json["links"][0]["items"][0];
        assert_eq!(item["item"], "3fa2".repeat(8));
        assert_eq!((&item["state"], &item["direction"]), (&"sending".into(), &"to".into()));
        assert_eq!((&item["bytes_done"], &item["rate_bytes_per_s"]), (&(1 << 20).into(), &(1 << 20).into()));
        assert_eq!(item["eta"], "2027-01-15T08:00:03Z");
        assert!(json["links"][0]["items"][1]["eta"].is_null());
        assert_eq!(json["links"][0]["items"][1]["first"], true);
        assert_eq!(json["links"][1]["items"].as_array().map(Vec::len), Some(1));
    }

    #[test]
    fn a_site_without_links_and_a_link_without_items_say_so() {
        assert_eq!(Queues::from(wire::ListQueueResponse::default()).text(PIPE), "no links");
        let link = wire::QueueLink { peer: "PAR".to_owned(), up: true, ..wire::QueueLink::default() };
        let answer = wire::ListQueueResponse { links: vec![link], ..wire::ListQueueResponse::default() };
        assert!(Queues::from(answer).text(PIPE).ends_with("\nnothing waits"));
    }

    #[test]
    fn a_change_shows_what_the_items_are_now() {
        let changed = Changed::from(wire::ChangeQueueResponse { items: vec![item("3fa2", "PAR")] });

        assert_eq!(changed.text(PIPE), "item 3fa23fa2 CEN00001 to PAR sending, priority high");
    }

    #[test]
    fn a_state_of_a_newer_site_is_unknown() {
        let answer =
            wire::ChangeQueueResponse { items: vec![wire::QueueItem { state: 99, ..item("3fa2", "PAR") }] };

        assert!(Changed::from(answer).text(PIPE).contains(" unknown, "));
    }

    #[test]
    fn lengths_of_time_are_for_people() {
        for (seconds, expected) in [(1, "1s"), (61, "1m 1s"), (3600, "1h 0m"), (90_000, "1d 1h")] {
            assert_eq!(after(NOW, NOW + seconds * 1_000_000).as_deref(), Some(expected));
        }
        assert_eq!(after(NOW, NOW - 5).as_deref(), Some("0s"), "it is overdue");
        assert_eq!(after(NOW, 0), None);
    }
}
