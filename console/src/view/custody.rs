//! Where the bytes of a package are: the hierarchy, hop by hop.

use packhorse_proto::{inquiry::v1 as inquiry, provider::v1 as wire};
use serde::Serialize;

use crate::view::{Screen, View, amount, clean, clock, time, word};

/// Characters of a bar.
const BAR: u64 = 20;

#[derive(Debug, Serialize)]
pub(crate) struct Custody {
    package: String,
    name: String,
    source_version: u64,
    at: Option<String>,
    sites: Vec<Site>,
}

#[derive(Debug, Serialize)]
pub(crate) struct Site {
    site: String,
    parent: Option<String>,
    /// Below the site that was asked.
    depth: usize,
    held: bool,
    points: u32,
    points_installed: u32,
    live: bool,
    told_at: Option<String>,
    hop: Option<Hop>,
}

#[derive(Debug, Serialize)]
struct Hop {
    from: String,
    stage: String,
    bytes_done: u64,
    bytes_total: u64,
    bytes_per_second: u64,
    percent: Option<u64>,
    parcel: Option<String>,
    expected_at: Option<String>,
    reason: String,
}

impl Custody {
    pub(crate) fn new(package: &str, answer: wire::GetCustodyResponse) -> Self {
        let mut sites: Vec<Site> = Vec::new();
        for one in answer.sites {
            let depth =
                sites.iter().find(|site| site.site == one.parent).map_or(0, |parent| parent.depth + 1);
            sites.push(Site {
                depth,
                parent: (!one.parent.is_empty()).then_some(one.parent),
                held: one.held,
                points: one.points,
                points_installed: one.points_installed,
                live: one.live,
                told_at: time(one.at_us),
                hop: one.hop.map(Hop::from),
                site: one.site,
            });
        }
        Custody {
            package: package.to_owned(),
            name: answer.name,
            source_version: answer.source_version,
            at: time(answer.at_us),
            sites,
        }
    }

    pub(crate) fn sites(&self) -> impl Iterator<Item = &Site> {
        self.sites.iter()
    }

    /// Every site has it, on every point that is to.
    pub(crate) fn is_settled(&self) -> bool {
        self.sites.iter().all(Site::is_there)
    }
}

impl From<inquiry::Custody> for Hop {
    fn from(hop: inquiry::Custody) -> Self {
        let stage = inquiry::CustodyStage::try_from(hop.stage).map(|stage| stage.as_str_name());
        Hop {
            stage: word(stage, "CUSTODY_STAGE_"),
            from: hop.from,
            bytes_done: hop.bytes_done,
            bytes_total: hop.bytes_total,
            bytes_per_second: hop.bytes_per_second,
            percent: (hop.bytes_done * 100).checked_div(hop.bytes_total),
            parcel: (!hop.parcel.is_empty()).then_some(hop.parcel),
            expected_at: time(hop.eta_us),
            reason: hop.reason,
        }
    }
}

impl Site {
    pub(crate) fn key(&self) -> String {
        self.site.clone()
    }

    /// Bytes on the hop to it, while they are not all there.
    pub(crate) fn bytes(&self) -> Option<(u64, u64)> {
        let hop = self.hop.as_ref().filter(|hop| !self.held && hop.bytes_total > 0)?;
        Some((hop.bytes_done, hop.bytes_total))
    }

    pub(crate) fn headline(&self) -> String {
        format!("{}{} {}", "  ".repeat(self.depth), self.site, clean(&self.state()))
    }

    fn is_there(&self) -> bool {
        (self.held || self.parent.is_none()) && self.points_installed >= self.points
    }

    fn state(&self) -> String {
        let points = match self.points {
            0 => String::new(),
            all => format!(", on {} of {all} distribution point(s)", self.points_installed),
        };
        let told = match (self.live, self.told_at.as_deref()) {
            (true, _) => String::new(),
            (false, Some(at)) => format!(" (told before {})", clock(Some(at))),
            (false, None) => String::new(),
        };
        if self.held {
            return format!("there{points}{told}");
        }
        let Some(hop) = &self.hop else { return format!("not there{points}{told}") };
        let by = hop.parcel.as_deref().map(|parcel| format!(" by parcel {parcel}")).unwrap_or_default();
        let eta = hop
            .expected_at
            .as_deref()
            .map(|at| format!(", expected {}", clock(Some(at))))
            .unwrap_or_default();
        let reason = if hop.reason.is_empty() { String::new() } else { format!(": {}", hop.reason) };
        format!("{}{by}{eta}{points}{told}{reason}", hop.stage)
    }

    fn bar(&self) -> String {
        let percent = match (self.held, &self.hop) {
            (true, _) => 100,
            (false, Some(hop)) => hop.percent.unwrap_or(0).min(100),
            (false, None) => 0,
        };
        let full = usize::try_from(percent * BAR / 100).unwrap_or_default();
        let empty = usize::try_from(BAR).unwrap_or_default() - full;
        format!("[{}{}] {percent:>3} %", "#".repeat(full), ".".repeat(empty))
    }

    fn amounts(&self) -> String {
        match self.bytes() {
            None => String::new(),
            Some((done, total)) => format!(" {} of {}", amount(done), amount(total)),
        }
    }
}

impl View for Custody {
    fn text(&self, _: Screen) -> String {
        let head = format!("{} {} version {}", self.package, clean(&self.name), self.source_version);
        let width = self.sites.iter().map(|site| 2 * site.depth + site.site.len()).max().unwrap_or(0);
        let line = |site: &Site| {
            let name = format!("{}{}", "  ".repeat(site.depth), site.site);
            format!("{name:<width$}  {}{} {}", site.bar(), site.amounts(), clean(&site.state()))
        };
        let lines: Vec<String> = self.sites.iter().map(line).collect();
        format!("{head}\n{}", lines.join("\n"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn site(code: &str, parent: &str, hop: Option<inquiry::Custody>) -> wire::CustodySite {
        wire::CustodySite { site: code.into(), parent: parent.into(), hop, live: true, ..Default::default() }
    }

    #[test]
    fn each_site_stands_below_its_parent_with_what_is_on_the_way_to_it() {
        let moving = inquiry::Custody {
            stage: inquiry::CustodyStage::Moving.into(),
            bytes_done: 512,
            bytes_total: 1024,
            eta_us: 60_000_000,
            ..Default::default()
        };
        let parcel = inquiry::Custody {
            stage: inquiry::CustodyStage::Waiting.into(),
            bytes_total: 1024,
            parcel: "3fa2bc91".into(),
            reason: "it is on its way".into(),
            ..Default::default()
        };
        let answer = wire::GetCustodyResponse {
            name: "Editor".into(),
            source_version: 3,
            at_us: 1_000_000,
            sites: vec![
                wire::CustodySite { held: true, ..site("CEN", "", None) },
                wire::CustodySite { points: 2, ..site("PAR", "CEN", Some(moving)) },
                wire::CustodySite { live: false, at_us: 1_000_000, ..site("LYO", "PAR", Some(parcel)) },
            ],
        };
        let custody = Custody::new("CEN00001", answer);
        let text = custody.text(Screen { terminal: false });
        let lines: Vec<&str> = text.lines().collect();

        assert!(!custody.is_settled());
        assert!(lines[1].starts_with("CEN      [####################] 100 %"), "{text}");
        assert!(
            lines[2].starts_with("  PAR    [##########..........]  50 % 512 B of 1.00 KiB moving"),
            "{text}"
        );
        assert!(lines[2].contains("on 0 of 2") && lines[2].contains("expected 1970"), "{text}");
        assert!(lines[3].starts_with("    LYO  [....") && lines[3].contains("by parcel 3fa2bc91"), "{text}");
        assert!(lines[3].contains("told before 1970"), "{text}");
        let json = serde_json::to_value(&custody).expect("json");
        assert_eq!(
            (&json["sites"][1]["hop"]["percent"], &json["sites"][2]["depth"]),
            (&50.into(), &2.into())
        );
    }
}
