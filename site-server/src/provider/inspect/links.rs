//! Links as people see them: the line, what moves on it, and what it may carry in this hour.

use packhorse_domain::{Priority, Timestamp, address::Budget, link::Stage};
use packhorse_proto::{
    convert::time::{duration, timestamp},
    object::v1 as wire,
    provider::v1::{
        LaneKind, LiveBudget, LiveLane, LiveLink, LiveTerms, MovingItem, MovingStage, Open, Pulse, Relation,
        WhenSpent,
    },
};

use crate::{
    error::Error,
    provider::queue::neighbours,
    scheduler::addresses::{Terms, terms},
    sender::{LinkView, Moving},
    site::Site,
    store::neighbours::{Neighbour, Relation as Kin},
};

pub(super) async fn list(site: &Site, peer: &str) -> Result<Vec<LiveLink>, Error> {
    let mut tx = site.store.read().await?;
    let neighbours = neighbours(site, &mut tx, peer).await?;
    drop(tx);
    let mut links = Vec::new();
    for neighbour in neighbours {
        let view = site.links(|links| links.get(&neighbour.code).cloned()).unwrap_or_default();
        let terms = terms(site, &neighbour.code, view.address.as_ref()).await?;
        links.push(link(&neighbour, &view, &terms));
    }
    Ok(links)
}

fn link(neighbour: &Neighbour, view: &LinkView, terms: &Terms) -> LiveLink {
    let relation = match neighbour.relation {
        Kin::Parent => Relation::Parent,
        Kin::Child => Relation::Child,
    };
    let gauges = &view.gauges;
    // What was under way when the link went down is not any more.
    let now = |count: u64| if view.up { count } else { 0 };
    let micros = |us: u64| (us > 0).then(|| duration(std::time::Duration::from_micros(us)));
    LiveLink {
        peer: neighbour.code.to_string(),
        relation: relation.into(),
        up: view.up,
        since: (view.since != Timestamp::default()).then(|| timestamp(view.since)),
        last_error: view.last_error.clone(),
        address: terms.address.as_ref().map(|address| address.name.to_string()).unwrap_or_default(),
        endpoint: view.counter.dialled().map(|dialled| dialled.address.to_string()).unwrap_or_default(),
        revision: view.revision,
        features: view.features.clone(),
        round_trip: micros(view.round_trip_us),
        clock_ahead_us: view.clock_ahead_us,
        shortest_trip: (!gauges.shortest_trip.is_zero()).then(|| duration(gauges.shortest_trip)),
        line_bytes_per_s: gauges.bytes_per_second,
        in_flight_bytes: now(gauges.under_way_bytes),
        window_bytes: gauges.window_bytes,
        frame_bytes: gauges.frame_bytes,
        sent_bytes: view.sent_before + view.sent(),
        received_bytes: view.received_before + view.received(),
        sent_bytes_per_s: now(view.sent_bytes_per_s),
        received_bytes_per_s: now(view.received_bytes_per_s),
        lanes: view.lanes.iter().filter(|_| view.up).map(|wire| lane(wire)).collect(),
        udp_failed_at: view.udp_failed_at.map(timestamp),
        moving: view.moving.iter().map(moving).collect(),
        terms: Some(shown_terms(terms)),
    }
}

fn lane(wire: &packhorse_runtime::Wire) -> LiveLane {
    let kind = if wire.is_quic() { LaneKind::Quic } else { LaneKind::Tcp };
    LiveLane { kind: kind.into(), sent_bytes: wire.sent(), received_bytes: wire.received() }
}

fn moving(one: &Moving) -> MovingItem {
    let (stage, offset) = match one.stage {
        Stage::Queued => (MovingStage::Queued, one.done),
        Stage::Offered => (MovingStage::Offered, one.done),
        Stage::Inline => (MovingStage::Inline, one.total),
        Stage::Sending { next, .. } if one.outgoing => (MovingStage::Moving, next),
        Stage::Sending { .. } => (MovingStage::Moving, one.done),
    };
    MovingItem {
        item: one.item.to_string(),
        outgoing: one.outgoing,
        subject: one.subject.clone(),
        priority: wire::Priority::from(one.priority).into(),
        stage: stage.into(),
        offset_bytes: offset,
        durable_bytes: one.done,
        length_bytes: one.total,
        bytes_per_s: one.rate_bytes_per_s,
    }
}

fn shown_terms(terms: &Terms) -> LiveTerms {
    let allowed = terms.allowance;
    let classes = Priority::ALL.into_iter().filter(|class| allowed.open.admits(*class));
    let address = terms.address.as_ref();
    LiveTerms {
        open: Open::from(allowed.open).into(),
        open_classes: classes.map(|class| wire::Priority::from(class).into()).collect(),
        limit_bytes_per_s: allowed.bytes_per_second.unwrap_or_default(),
        pulse: allowed.pulse.map(Pulse::from),
        time_zone: address.map(|address| address.time_zone.clone()).unwrap_or_default(),
        budget: address.and_then(|address| address.budget).map(|budget| shown_budget(&budget, terms)),
    }
}

fn shown_budget(budget: &Budget, terms: &Terms) -> LiveBudget {
    let left = budget.left(terms.spent);
    LiveBudget {
        per_day_bytes: budget.per_day_bytes.unwrap_or_default(),
        per_month_bytes: budget.per_month_bytes.unwrap_or_default(),
        day_bytes: terms.spent.day_bytes,
        month_bytes: terms.spent.month_bytes,
        left_bytes: left.unwrap_or_default(),
        spent: left.is_none(),
        when_spent: WhenSpent::from(budget.when_spent).into(),
    }
}
