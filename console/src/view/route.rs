//! The couriers as ways, and what goes by them.

use packhorse_domain::courier;
use packhorse_proto::provider::v1 as wire;
use serde::Serialize;

use crate::{
    error::ConsoleError,
    view::{Screen, View, amount, clean, clock, table, time, word},
};

#[derive(Debug, Serialize)]
pub(crate) struct Routes {
    routes: Vec<Summary>,
}

#[derive(Debug, Serialize)]
struct Summary {
    #[serde(flatten)]
    route: Route,
    /// When what is given to it now is there.
    arrival: Option<String>,
    waiting_items: u32,
    waiting_bytes: u64,
}

#[derive(Debug, Serialize)]
pub(crate) struct Route {
    peer: String,
    takes: &'static str,
    departs: String,
    time_zone: String,
    transit_s: u64,
}

#[derive(Debug, Serialize)]
pub(crate) struct Chosen {
    bundles: Vec<Bundle>,
}

#[derive(Debug, Serialize)]
struct Bundle {
    item: String,
    package: String,
    peer: String,
    bytes: u64,
    sender: String,
    reason: String,
}

impl TryFrom<wire::CourierRoute> for Route {
    type Error = ConsoleError;

    fn try_from(route: wire::CourierRoute) -> Result<Self, ConsoleError> {
        let route = courier::Route::try_from(route).map_err(ConsoleError::Answer)?;
        Ok(Route {
            peer: route.peer.to_string(),
            takes: route.policy.as_str(),
            departs: route.departures.to_string(),
            time_zone: route.time_zone,
            transit_s: route.transit.as_secs(),
        })
    }
}

impl TryFrom<wire::ListRoutesResponse> for Routes {
    type Error = ConsoleError;

    fn try_from(answer: wire::ListRoutesResponse) -> Result<Self, ConsoleError> {
        let one = |summary: wire::CourierRouteSummary| {
            Ok(Summary {
                route: summary.route.ok_or(ConsoleError::Incomplete("route"))?.try_into()?,
                arrival: time(summary.arrival_at_us),
                waiting_items: summary.waiting_items,
                waiting_bytes: summary.waiting_bytes,
            })
        };
        Ok(Routes { routes: answer.routes.into_iter().map(one).collect::<Result<_, ConsoleError>>()? })
    }
}

impl From<wire::ChooseWayResponse> for Chosen {
    fn from(answer: wire::ChooseWayResponse) -> Self {
        let one = |chosen: wire::WayChosen| Bundle {
            sender: word(Ok(chosen.way().as_str_name()), "SENDER_"),
            item: chosen.item,
            package: chosen.package,
            peer: chosen.peer,
            bytes: chosen.bytes,
            reason: chosen.reason,
        };
        Chosen { bundles: answer.chosen.into_iter().map(one).collect() }
    }
}

impl Route {
    fn line(&self) -> String {
        let departs = match self.departs.as_str() {
            "any" => "leaves at any time".to_owned(),
            departs => format!("leaves {departs} ({})", self.time_zone),
        };
        let takes = match self.takes {
            "sooner" => "takes what it brings sooner than the line",
            "always" => "takes every bundle",
            _ => "takes what it is given",
        };
        format!("courier to {}: {departs}, {} under way, {takes}", self.peer, span(self.transit_s))
    }
}

/// As it is typed.
fn span(seconds: u64) -> String {
    match seconds {
        _ if seconds.is_multiple_of(86_400) => format!("{}d", seconds / 86_400),
        _ if seconds.is_multiple_of(3_600) => format!("{}h", seconds / 3_600),
        _ if seconds.is_multiple_of(60) => format!("{}m", seconds / 60),
        _ => format!("{seconds}s"),
    }
}

impl View for Route {
    fn text(&self, _screen: Screen) -> String {
        clean(&self.line())
    }
}

impl View for Routes {
    fn text(&self, screen: Screen) -> String {
        let row = |one: &Summary| {
            [
                one.route.peer.clone(),
                one.route.takes.to_owned(),
                one.route.departs.clone(),
                one.route.time_zone.clone(),
                span(one.route.transit_s),
                clock(one.arrival.as_deref()),
                one.waiting_items.to_string(),
                amount(one.waiting_bytes),
            ]
        };
        let head = ["SITE", "TAKES", "LEAVES", "ZONE", "UNDER WAY", "SENT NOW IS THERE", "WAITING", "BYTES"];
        let rows: Vec<_> = self.routes.iter().map(row).collect();
        table(
            screen,
            head,
            &rows,
            "no courier is set: `packhorse courier route set SITE --transit 2d` sets one",
        )
    }
}

impl View for Chosen {
    fn text(&self, _screen: Screen) -> String {
        let line = |one: &Bundle| {
            let reason = if one.reason.is_empty() { String::new() } else { format!(": {}", one.reason) };
            let to = if one.sender == "courier" { "waits for a courier" } else { "goes over the line" };
            clean(&format!(
                "{} {} to {} {to}{reason}",
                &one.item[..one.item.len().min(8)],
                one.package,
                one.peer
            ))
        };
        self.bundles.iter().map(line).collect::<Vec<_>>().join("\n")
    }
}
