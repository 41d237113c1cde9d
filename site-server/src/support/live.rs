//! What only a server that runs can say: what it is doing, what it logged, what its library takes.

use packhorse_domain::{Timestamp, link::REVISION};
use packhorse_proto::provider::v1::ListQueuesRequest;
use packhorse_runtime::recent;
use packhorse_support::Bundle;
use serde_json::json;

use super::{database::time, in_time, json as document};
use crate::{
    provider::{Inspected, Libraries, Statuses},
    site::Site,
};

/// Items of each neighbour.
const ITEMS: u32 = 1_000;

/// Versions, the site's place, and the clocks.
pub(super) fn add_site(bundle: &mut Bundle, site: &Site, caller_clock: Option<Timestamp>) {
    let path: Vec<String> = site.path().sites().iter().map(ToString::to_string).collect();
    let facts = json!({
        "software": env!("CARGO_PKG_VERSION"),
        "link_revision": REVISION,
        "code": site.code().to_string(),
        "name": site.settings.name,
        "path": path,
        "root": site.root().to_string(),
        "started_at": time(site.opened_at),
        "process": std::process::id(),
        "program": std::env::current_exe().ok().map(|path| path.display().to_string()),
        "lane_port": site.lane_port(),
    });
    bundle.json("site.json", "Versions, and the site's place in the hierarchy.", &facts);
    let now = site.now();
    let ahead = caller_clock.map(|caller| now.0.saturating_sub(caller.0) as f64 / 1e6);
    let clock = json!({
        "site": time(now),
        "console": caller_clock.and_then(time),
        "site_ahead_s": ahead,
    });
    let about = "The site's clock and the console's; the time that the question took counts as a difference.";
    bundle.json("clock.json", about, &clock);
}

pub(super) async fn add_library(bundle: &mut Bundle, view: &Inspected) {
    let usage = in_time(Box::pin(Libraries::new(view.site.clone()).usage())).await;
    let usage = usage.and_then(|usage| document::json("provider.v1.GetUsageResponse", &usage));
    bundle.json_of("library.json", "What the content library takes, by version.", usage);
    let repairs: Vec<String> = view.site.care.repairs().iter().map(|repair| format!("{repair:?}")).collect();
    bundle.json("repairs.json", "What was mended in the library since the server started.", &repairs);
}

pub(super) async fn add_state(bundle: &mut Bundle, view: &Inspected) {
    let workers = document::json("provider.v1.ListWorkersResponse", &view.workers());
    bundle.json_of("live/workers.json", "Components: their last steps and errors (InspectService).", workers);
    let links = in_time(view.links("")).await;
    let links = links.and_then(|links| document::json("provider.v1.ListLinksResponse", &links));
    bundle.json_of("live/links.json", "Links: the line, what moves, terms (InspectService).", links);
    let asked = ListQueuesRequest { items_max: ITEMS, all: true, ..ListQueuesRequest::default() };
    let queues = in_time(Box::pin(view.queues(&asked))).await;
    let queues = queues.and_then(|queues| document::json("provider.v1.ListQueuesResponse", &queues));
    bundle.json_of("live/queues.json", "What waits for each neighbour, and why (InspectService).", queues);
    let streams = document::json("provider.v1.ListStreamsResponse", &view.streams());
    bundle.json_of("live/streams.json", "Open gRPC streams (InspectService).", streams);
    let statuses = Statuses::new(view.site.clone(), view.lifecycle.clone());
    let status = in_time(Box::pin(statuses.site())).await;
    let status = status.and_then(|status| document::json("provider.v1.GetSiteStatusResponse", &status));
    bundle.json_of("live/status.json", "The site as `packhorse status site` shows it.", status);
}

pub(super) fn add_log(bundle: &mut Bundle) {
    let recent = recent::lines();
    let mut text = String::new();
    if recent.dropped > 0 {
        text = format!("({} older lines are not kept)\n", recent.dropped);
    }
    for line in recent.lines {
        text.push_str(&line);
        text.push('\n');
    }
    bundle.text("log.txt", "The last lines that the site server logged.", &text);
}
