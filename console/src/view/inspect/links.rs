//! Links: the line, what moves on it, and what may leave.

use packhorse_proto::provider::v1 as wire;
use serde::Serialize;

use super::{ago, micros, span_or_dash, span_us};
use crate::view::{Screen, amount, or_dash, package::priority, table, time, word};

#[derive(Debug, Serialize)]
pub(super) struct Link {
    peer: String,
    relation: String,
    up: bool,
    since: Option<String>,
    last_error: String,
    address: String,
    endpoint: String,
    revision: u32,
    features: Vec<String>,
    round_trip_us: Option<u64>,
    shortest_trip_us: Option<u64>,
    clock_ahead_us: Option<i64>,
    line_bytes_per_s: u64,
    in_flight_bytes: u64,
    window_bytes: u64,
    frame_bytes: u64,
    sent_bytes: u64,
    received_bytes: u64,
    sent_bytes_per_s: u64,
    received_bytes_per_s: u64,
    lanes: Vec<Lane>,
    udp_failed_at: Option<String>,
    moving: Vec<Moving>,
    terms: Terms,
    #[serde(skip)]
    since_us: i64,
}

#[derive(Debug, Serialize)]
struct Lane {
    kind: String,
    sent_bytes: u64,
    received_bytes: u64,
}

#[derive(Debug, Serialize)]
struct Moving {
    item: String,
    direction: &'static str,
    subject: String,
    priority: String,
    stage: String,
    offset_bytes: u64,
    durable_bytes: u64,
    length_bytes: u64,
    bytes_per_s: u64,
}

#[derive(Debug, Default, Serialize)]
struct Terms {
    open: Vec<String>,
    limit_bytes_per_s: Option<u64>,
    time_zone: String,
    budget: Option<Budget>,
}

#[derive(Debug, Serialize)]
struct Budget {
    per_day_bytes: u64,
    per_month_bytes: u64,
    day_bytes: u64,
    month_bytes: u64,
    left_bytes: u64,
    spent: bool,
}

impl From<wire::LiveLink> for Link {
    fn from(link: wire::LiveLink) -> Self {
        let relation = wire::Relation::try_from(link.relation).map(|one| one.as_str_name());
        let since_us = micros(link.since);
        Link {
            peer: link.peer,
            relation: word(relation, "RELATION_"),
            up: link.up,
            since: time(since_us),
            last_error: link.last_error,
            address: link.address,
            endpoint: link.endpoint,
            revision: link.revision,
            features: link.features,
            round_trip_us: span_us(link.round_trip),
            shortest_trip_us: span_us(link.shortest_trip),
            clock_ahead_us: link.clock_ahead_us,
            line_bytes_per_s: link.line_bytes_per_s,
            in_flight_bytes: link.in_flight_bytes,
            window_bytes: link.window_bytes,
            frame_bytes: link.frame_bytes,
            sent_bytes: link.sent_bytes,
            received_bytes: link.received_bytes,
            sent_bytes_per_s: link.sent_bytes_per_s,
            received_bytes_per_s: link.received_bytes_per_s,
            lanes: link.lanes.into_iter().map(Into::into).collect(),
            udp_failed_at: time(micros(link.udp_failed_at)),
            moving: link.moving.into_iter().map(Into::into).collect(),
            terms: link.terms.map(Into::into).unwrap_or_default(),
            since_us,
        }
    }
}

impl From<wire::LiveLane> for Lane {
    fn from(lane: wire::LiveLane) -> Self {
        let kind = wire::LaneKind::try_from(lane.kind).map(|kind| kind.as_str_name());
        Lane {
            kind: word(kind, "LANE_KIND_"),
            sent_bytes: lane.sent_bytes,
            received_bytes: lane.received_bytes,
        }
    }
}

impl From<wire::MovingItem> for Moving {
    fn from(item: wire::MovingItem) -> Self {
        let stage = wire::MovingStage::try_from(item.stage).map(|stage| stage.as_str_name());
        Moving {
            item: item.item,
            direction: if item.outgoing { "to" } else { "from" },
            subject: item.subject,
            priority: priority(item.priority),
            stage: word(stage, "MOVING_STAGE_"),
            offset_bytes: item.offset_bytes,
            durable_bytes: item.durable_bytes,
            length_bytes: item.length_bytes,
            bytes_per_s: item.bytes_per_s,
        }
    }
}

impl From<wire::LiveTerms> for Terms {
    fn from(terms: wire::LiveTerms) -> Self {
        let budget = terms.budget.map(|budget| Budget {
            per_day_bytes: budget.per_day_bytes,
            per_month_bytes: budget.per_month_bytes,
            day_bytes: budget.day_bytes,
            month_bytes: budget.month_bytes,
            left_bytes: budget.left_bytes,
            spent: budget.spent,
        });
        Terms {
            open: terms.open_classes.into_iter().map(priority).collect(),
            limit_bytes_per_s: (terms.limit_bytes_per_s > 0).then_some(terms.limit_bytes_per_s),
            time_zone: terms.time_zone,
            budget,
        }
    }
}

impl Link {
    fn state(&self, at_us: i64) -> String {
        match (self.up, self.since_us) {
            (true, since) => format!("up for {}", ago(at_us, since)),
            (false, 0) => "never up".to_owned(),
            (false, since) => format!("down for {}", ago(at_us, since)),
        }
    }

    fn open(&self) -> String {
        match self.terms.open.as_slice() {
            [] => "nothing".to_owned(),
            [_, _, _] => "all".to_owned(),
            some => some.join("+"),
        }
    }

    fn budget(&self) -> String {
        match &self.terms.budget {
            None => "-".to_owned(),
            Some(budget) if budget.spent => "spent".to_owned(),
            Some(budget) => format!("{} left", amount(budget.left_bytes)),
        }
    }

    fn address(&self) -> String {
        let parts: Vec<&str> = [self.address.as_str(), self.endpoint.as_str()]
            .into_iter()
            .filter(|part| !part.is_empty())
            .collect();
        or_dash(&parts.join(" "))
    }
}

/// How each link is, and what it may carry.
pub(super) fn text(links: &[Link], at_us: i64, screen: Screen) -> String {
    let row = |link: &Link| {
        [
            link.peer.clone(),
            link.relation.clone(),
            link.state(at_us),
            link.address(),
            link.open(),
            link.terms
                .limit_bytes_per_s
                .map_or_else(|| "-".to_owned(), |limit| format!("{}/s", amount(limit))),
            link.budget(),
            or_dash(&link.last_error),
        ]
    };
    let rows: Vec<_> = links.iter().map(row).collect();
    let header = ["PEER", "IS", "LINK", "ADDRESS", "OPEN", "LIMIT", "BUDGET", "LAST ERROR"];
    table(screen, header, &rows, "no links")
}

/// What each line does.
pub(super) fn lines(links: &[Link], screen: Screen) -> String {
    let row = |link: &Link| {
        let lanes: Vec<&str> = link.lanes.iter().map(|lane| lane.kind.as_str()).collect();
        [
            link.peer.clone(),
            span_or_dash(link.round_trip_us),
            span_or_dash(link.shortest_trip_us),
            link.clock_ahead_us.map_or_else(|| "-".to_owned(), |us| format!("{:+.3} s", us as f64 / 1e6)),
            format!("{}/s", amount(link.line_bytes_per_s)),
            format!("{} of {}", amount(link.in_flight_bytes), amount(link.window_bytes)),
            amount(link.frame_bytes),
            or_dash(&lanes.join(" ")),
            format!("{}/s", amount(link.sent_bytes_per_s)),
            format!("{}/s", amount(link.received_bytes_per_s)),
            link.revision.to_string(),
        ]
    };
    let rows: Vec<_> = links.iter().filter(|link| link.up).map(row).collect();
    let header = [
        "PEER",
        "TRIP",
        "SHORTEST",
        "CLOCK",
        "LINE",
        "IN FLIGHT",
        "FRAME",
        "LANES",
        "SENDS",
        "RECEIVES",
        "REVISION",
    ];
    table(screen, header, &rows, "no link is up")
}

pub(super) fn moving(links: &[Link], screen: Screen) -> String {
    let row = |link: &Link, item: &Moving| {
        [
            format!("{} {}", item.direction, link.peer),
            item.item.chars().take(8).collect(),
            or_dash(&item.subject),
            item.priority.clone(),
            item.stage.clone(),
            amount(item.offset_bytes),
            format!("{} of {}", amount(item.durable_bytes), amount(item.length_bytes)),
            format!("{}/s", amount(item.bytes_per_s)),
        ]
    };
    let rows: Vec<_> = links.iter().flat_map(|link| link.moving.iter().map(|item| row(link, item))).collect();
    let header = ["WAY", "ITEM", "ABOUT", "PRIORITY", "STAGE", "AT", "DURABLE", "RATE"];
    table(screen, header, &rows, "nothing moves")
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use packhorse_proto::{convert::time::duration, object::v1::Priority};

    use super::{
        super::tests::{NOW, at},
        *,
    };

    const PIPE: Screen = Screen { terminal: false };

    #[test]
    fn a_link_shows_its_line_its_terms_and_what_moves() {
        let item = wire::MovingItem {
            item: "3fa2bc91".repeat(4),
            outgoing: true,
            subject: "CEN00001".to_owned(),
            priority: Priority::Medium.into(),
            stage: wire::MovingStage::Moving.into(),
            offset_bytes: 2048,
            durable_bytes: 1024,
            length_bytes: 4096,
            ..wire::MovingItem::default()
        };
        let budget =
            wire::LiveBudget { per_day_bytes: 4096, left_bytes: 1024, ..wire::LiveBudget::default() };
        let terms = wire::LiveTerms {
            open_classes: vec![Priority::High.into(), Priority::Medium.into()],
            limit_bytes_per_s: 8192,
            budget: Some(budget),
            ..wire::LiveTerms::default()
        };
        let link = wire::LiveLink {
            peer: "PAR".to_owned(),
            relation: wire::Relation::Child.into(),
            up: true,
            since: at(60),
            address: "main".to_owned(),
            round_trip: Some(duration(Duration::from_millis(42))),
            clock_ahead_us: Some(-61_500_000),
            moving: vec![item],
            terms: Some(terms),
            ..wire::LiveLink::default()
        };
        let down = wire::LiveLink {
            peer: "LYO".to_owned(),
            last_error: "cut".to_owned(),
            ..wire::LiveLink::default()
        };

        let links: Vec<Link> = vec![link.into(), down.into()];

        let shown = text(&links, NOW, PIPE);
        for part in ["up for 60.0 s", "high+medium", "8.00 KiB/s", "1.00 KiB left", "never up", "cut"] {
            assert!(shown.contains(part), "{part} is not in\n{shown}");
        }
        assert!(lines(&links, PIPE).contains("-61.500 s"));
        assert!(lines(&links, PIPE).contains("42 ms") && !lines(&links, PIPE).contains("LYO"));
        let moving = moving(&links, PIPE);
        assert!(moving.contains("to PAR") && moving.contains("1.00 KiB of 4.00 KiB"), "{moving}");
        let document = serde_json::to_value(&links).expect("json");
        assert_eq!(document[0]["terms"]["open"][1], "medium");
        assert_eq!(document[0]["moving"][0]["stage"], "moving");
        assert_eq!(document[0]["round_trip_us"], 42_000);
    }
}
