//! Sites, this site's own state, and distribution points.

use packhorse_proto::{
    object::v1::{DistributionPointFact, DistributionPointKind},
    provider::v1 as wire,
};
use serde::Serialize;

use crate::view::{
    Screen, View, amount, clean, clock, or_dash, section, table, time, transfer::Transfer, word, yes,
};

#[derive(Debug, Serialize)]
pub(crate) struct Sites {
    sites: Vec<Site>,
}

#[derive(Debug, Serialize)]
struct Site {
    code: String,
    parent: Option<String>,
    name: String,
    software: String,
    link: String,
    seen_at: Option<String>,
}

#[derive(Debug, Serialize)]
pub(crate) struct SiteStatus {
    code: String,
    library_bytes: u64,
    links: Vec<Link>,
    caps: Vec<Cap>,
    transfers: Vec<Transfer>,
    components: Vec<Component>,
}

#[derive(Debug, Serialize)]
struct Link {
    peer: String,
    up: bool,
    since: Option<String>,
    queued_items: u32,
    bytes_sent: u64,
    bytes_received: u64,
    round_trip_us: Option<u64>,
    last_error: String,
}

#[derive(Debug, Serialize)]
struct Cap {
    name: String,
    connected: bool,
    behind: u32,
    endpoints: Vec<String>,
}

#[derive(Debug, Serialize)]
struct Component {
    name: String,
    steps: u64,
    last_step_at: Option<String>,
    consecutive_errors: u32,
    last_error: String,
}

#[derive(Debug, Serialize)]
pub(crate) struct Points {
    distribution_points: Vec<Point>,
}

#[derive(Debug, Serialize)]
struct Point {
    site: String,
    name: String,
    kind: String,
    location: String,
}

impl From<wire::ListSitesResponse> for Sites {
    fn from(answer: wire::ListSitesResponse) -> Self {
        let site = |site: wire::Site| Site {
            link: word(wire::LinkState::try_from(site.link).map(|link| link.as_str_name()), "LINK_STATE_"),
            code: site.code,
            parent: Some(site.parent).filter(|parent| !parent.is_empty()),
            name: site.name,
            software: site.software,
            seen_at: time(site.seen_at_us),
        };
        Sites { sites: answer.sites.into_iter().map(site).collect() }
    }
}

impl View for Sites {
    fn text(&self, screen: Screen) -> String {
        let row = |site: &Site| {
            [
                site.code.clone(),
                or_dash(site.parent.as_deref().unwrap_or_default()),
                or_dash(&site.name),
                site.link.clone(),
                clock(site.seen_at.as_deref()),
                or_dash(&site.software),
            ]
        };
        let rows: Vec<_> = self.sites.iter().map(row).collect();
        table(screen, ["SITE", "PARENT", "NAME", "LINK", "HEARD OF", "SOFTWARE"], &rows, "no sites")
    }
}

/// What became of the requests of new sites on a medium.
#[derive(Debug, Serialize)]
pub(crate) struct Admitted {
    sites: Vec<OneAdmitted>,
}

#[derive(Debug, Serialize)]
struct OneAdmitted {
    code: String,
    admitted: bool,
    reason: String,
}

impl From<wire::AdmitSitesResponse> for Admitted {
    fn from(answer: wire::AdmitSitesResponse) -> Self {
        let one = |site: wire::SiteAdmitted| OneAdmitted {
            code: site.code,
            admitted: site.admitted,
            reason: site.reason,
        };
        Admitted { sites: answer.sites.into_iter().map(one).collect() }
    }
}

impl Admitted {
    pub(crate) fn is_empty(&self) -> bool {
        self.sites.is_empty()
    }

    pub(crate) fn refused(&self) -> usize {
        self.sites.iter().filter(|site| !site.admitted).count()
    }
}

impl View for Admitted {
    fn text(&self, _screen: Screen) -> String {
        if self.sites.is_empty() {
            return "nothing was found".to_owned();
        }
        let line = |site: &OneAdmitted| match site.admitted {
            true => clean(&format!("site {}: the answer lies on the medium", site.code)),
            false => clean(&format!("site {}: refused: {}", site.code, site.reason)),
        };
        self.sites.iter().map(line).collect::<Vec<_>>().join("\n")
    }
}

impl From<wire::GetSiteStatusResponse> for SiteStatus {
    fn from(answer: wire::GetSiteStatusResponse) -> Self {
        let link = |link: wire::Link| Link {
            peer: link.peer,
            up: link.up,
            since: time(link.since_us),
            queued_items: link.queued_items,
            bytes_sent: link.bytes_sent,
            bytes_received: link.bytes_received,
            round_trip_us: Some(link.round_trip_us).filter(|time| *time > 0),
            last_error: link.last_error,
        };
        let cap = |cap: wire::Cap| Cap {
            name: cap.name,
            connected: cap.connected,
            behind: cap.behind,
            endpoints: cap.endpoints,
        };
        let component = |component: wire::Component| Component {
            name: component.name,
            steps: component.steps,
            last_step_at: time(component.last_step_us),
            consecutive_errors: component.consecutive_errors,
            last_error: component.last_error,
        };
        SiteStatus {
            code: answer.code,
            library_bytes: answer.library_bytes,
            links: answer.links.into_iter().map(link).collect(),
            caps: answer.caps.into_iter().map(cap).collect(),
            transfers: answer.transfers.into_iter().map(Transfer::from).collect(),
            components: answer.components.into_iter().map(component).collect(),
        }
    }
}

impl SiteStatus {
    /// One line for each link and agent, as a watch shows them.
    pub(crate) fn headlines(&self) -> Vec<(String, String)> {
        let links = self.links.iter().map(|link| {
            let state = if link.up { "up" } else { "down" };
            let text =
                format!("link {} {state}, {} queued {}", link.peer, link.queued_items, link.last_error);
            (format!("link/{}", link.peer), text)
        });
        let caps = self.caps.iter().map(|cap| {
            let state = if cap.connected { "connected" } else { "not connected" };
            (format!("cap/{}", cap.name), format!("cap {} {state}, {} files behind", cap.name, cap.behind))
        });
        links.chain(caps).collect()
    }

    pub(crate) fn transfers(&self) -> &[Transfer] {
        &self.transfers
    }

    fn links(&self, screen: Screen) -> String {
        let row = |link: &Link| {
            [
                link.peer.clone(),
                if link.up { "up" } else { "down" }.to_owned(),
                clock(link.since.as_deref()),
                link.queued_items.to_string(),
                amount(link.bytes_sent),
                amount(link.bytes_received),
                link.round_trip_us.map_or_else(|| "-".to_owned(), |us| format!("{} ms", us.div_ceil(1000))),
                or_dash(&link.last_error),
            ]
        };
        let rows: Vec<_> = self.links.iter().map(row).collect();
        let header = ["PEER", "LINK", "SINCE", "QUEUED", "SENT", "RECEIVED", "ROUND TRIP", "LAST ERROR"];
        table(screen, header, &rows, "no links")
    }

    fn caps(&self, screen: Screen) -> String {
        let row = |cap: &Cap| {
            [cap.name.clone(), yes(cap.connected), cap.behind.to_string(), or_dash(&cap.endpoints.join(" "))]
        };
        let rows: Vec<_> = self.caps.iter().map(row).collect();
        table(screen, ["CAP", "CONNECTED", "BEHIND", "ENDPOINTS"], &rows, "no client access points")
    }

    fn components(&self, screen: Screen) -> String {
        let row = |component: &Component| {
            [
                component.name.clone(),
                component.steps.to_string(),
                clock(component.last_step_at.as_deref()),
                component.consecutive_errors.to_string(),
                or_dash(&component.last_error),
            ]
        };
        let rows: Vec<_> = self.components.iter().map(row).collect();
        table(screen, ["COMPONENT", "STEPS", "LAST STEP", "ERRORS", "LAST ERROR"], &rows, "no components")
    }
}

impl View for SiteStatus {
    fn text(&self, screen: Screen) -> String {
        let mut text =
            format!("site {}, content library {}", super::clean(&self.code), amount(self.library_bytes));
        text += &section("Links", &self.links(screen));
        text += &section("Client access points", &self.caps(screen));
        text += &section("Transfers", &Transfer::table(&self.transfers, screen));
        text += &section("Components", &self.components(screen));
        text
    }
}

impl From<Vec<DistributionPointFact>> for Points {
    fn from(facts: Vec<DistributionPointFact>) -> Self {
        let point = |fact: DistributionPointFact| Point {
            kind: word(
                DistributionPointKind::try_from(fact.kind).map(|kind| kind.as_str_name()),
                "DISTRIBUTION_POINT_KIND_",
            ),
            site: fact.site,
            name: fact.name,
            location: fact.location,
        };
        Points { distribution_points: facts.into_iter().map(point).collect() }
    }
}

impl View for Points {
    fn text(&self, screen: Screen) -> String {
        let row = |point: &Point| {
            [format!("{}/{}", point.site, point.name), point.kind.clone(), or_dash(&point.location)]
        };
        let rows: Vec<_> = self.distribution_points.iter().map(row).collect();
        table(screen, ["POINT", "KIND", "LOCATION"], &rows, "no distribution points")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PIPE: Screen = Screen { terminal: false };

    #[test]
    fn sites_are_listed_with_their_links() {
        let sites = Sites::from(wire::ListSitesResponse {
            sites: vec![
                wire::Site {
                    code: "CEN".into(),
                    name: "Centre".into(),
                    software: "0.1.0".into(),
                    link: wire::LinkState::Self_ as i32,
                    ..Default::default()
                },
                wire::Site {
                    code: "PAR".into(),
                    parent: "CEN".into(),
                    link: wire::LinkState::Invited as i32,
                    seen_at_us: 1_000_000,
                    ..Default::default()
                },
            ],
        });

        let text = sites.text(PIPE);
        assert!(
            text.lines().nth(1).is_some_and(|line| line.contains("CEN") && line.contains("self")),
            "{text}"
        );
        assert!(text.lines().nth(2).is_some_and(|line| line.contains("invited")), "{text}");
        assert_eq!(
            serde_json::to_value(&sites).expect("json")["sites"][1],
            serde_json::json!({
                "code": "PAR", "parent": "CEN", "name": "", "software": "", "link": "invited",
                "seen_at": "1970-01-01T00:00:01Z"
            })
        );
        assert!(serde_json::to_value(&sites).expect("json")["sites"][0]["parent"].is_null());
    }

    #[test]
    fn a_sites_state_tells_of_links_agents_and_components() {
        let status = SiteStatus::from(wire::GetSiteStatusResponse {
            code: "CEN".into(),
            links: vec![wire::Link {
                peer: "PAR".into(),
                up: true,
                queued_items: 7,
                round_trip_us: 12_345,
                ..Default::default()
            }],
            components: vec![wire::Component {
                name: "sender".into(),
                last_error: "disk full".into(),
                ..Default::default()
            }],
            caps: vec![wire::Cap { name: "hall".into(), behind: 3, ..Default::default() }],
            library_bytes: 2048,
            ..Default::default()
        });

        let text = status.text(PIPE);
        for part in ["site CEN", "2.00 KiB", "PAR", "13 ms", "hall", "sender", "disk full", "no transfers"] {
            assert!(text.contains(part), "{part}: {text}");
        }
        let json = serde_json::to_value(&status).expect("json");
        assert_eq!(json["links"][0]["round_trip_us"], 12_345);
        assert_eq!(json["caps"][0]["behind"], 3);
        assert_eq!(status.headlines()[0].1.trim(), "link PAR up, 7 queued");
    }
}
