//! Labels: what somebody who finds a medium without the console must read on it.

use packhorse_proto::provider::v1 as wire;
use serde::Serialize;

use crate::view::{Screen, View, clean, parcel::short, time};

/// Lines stay short enough for a label.
const SITES_A_LINE: usize = 8;
const DATE_LENGTH: usize = 10;

#[derive(Debug, Serialize)]
pub(crate) struct Labels {
    labels: Vec<Label>,
}

#[derive(Debug, Serialize)]
struct Label {
    parcel: String,
    volume: u32,
    volumes: u32,
    from: String,
    to: Vec<String>,
    created: String,
}

impl From<&wire::Parcel> for Labels {
    fn from(parcel: &wire::Parcel) -> Self {
        let label = |volume| Label {
            parcel: short(&parcel.id).to_ascii_uppercase(),
            volume,
            volumes: parcel.volumes,
            from: parcel.sender.clone(),
            to: parcel.to.iter().map(|to| to.site.clone()).collect(),
            created: time(parcel.created_at_us).unwrap_or_default().chars().take(DATE_LENGTH).collect(),
        };
        Labels { labels: (1..=parcel.volumes).map(label).collect() }
    }
}

impl Label {
    /// In a frame to cut along.
    fn text(&self) -> String {
        let mut lines = vec![
            format!("PACKHORSE PARCEL {}", self.parcel),
            format!("volume {} of {}", self.volume, self.volumes),
            format!("from     {}", self.from),
        ];
        for (at, sites) in self.to.chunks(SITES_A_LINE).enumerate() {
            let name = if at == 0 { "to" } else { "" };
            lines.push(format!("{name:<8} {}", sites.join(" ")));
        }
        lines.push(format!("created  {}", self.created));
        let lines: Vec<String> = lines.iter().map(|line| clean(line)).collect();
        let width = lines.iter().map(|line| line.chars().count()).max().unwrap_or(0);
        let edge = format!("+{}+", "-".repeat(width + 2));
        let inner = lines.iter().map(|line| format!("| {line:<width$} |"));
        [edge.clone()].into_iter().chain(inner).chain([edge]).collect::<Vec<_>>().join("\n")
    }
}

impl View for Labels {
    fn text(&self, _screen: Screen) -> String {
        self.labels.iter().map(Label::text).collect::<Vec<_>>().join("\n\n")
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::view::parcel::tests::parcel;

    const PIPE: Screen = Screen { terminal: false };

    #[test]
    fn each_volume_has_a_label_to_cut_out() {
        let text = Labels::from(&parcel()).text(PIPE);

        let second = "\
+---------------------------+
| PACKHORSE PARCEL 3FA2BC91 |
| volume 2 of 3             |
| from     CEN              |
| to       LYO PAR          |
| created  2027-01-15       |
+---------------------------+";
        assert_eq!(text.split("\n\n").count(), 3);
        assert_eq!(text.split("\n\n").nth(1), Some(second), "{text}");
    }

    #[test]
    fn many_destinations_take_several_lines() {
        let site = |at: u32| wire::ParcelSite { site: format!("S{at:02}"), ..wire::ParcelSite::default() };
        let many = wire::Parcel { to: (0..20).map(site).collect(), volumes: 1, ..parcel() };

        let text = Labels::from(&many).text(PIPE);

        assert!(text.contains("| to       S00 S01") && text.contains("|          S16 S17 S18 S19"), "{text}");
        let widths: Vec<usize> = text.lines().map(str::len).collect();
        assert!(widths.iter().all(|width| *width == widths[0]), "{text}");
    }

    #[test]
    fn the_document_has_the_same() {
        let labels = Labels::from(&wire::Parcel { volumes: 1, ..parcel() });

        let json = serde_json::to_value(labels).expect("json");
        assert_eq!(
            json,
            json!({ "labels": [{
                "parcel": "3FA2BC91",
                "volume": 1,
                "volumes": 1,
                "from": "CEN",
                "to": ["LYO", "PAR"],
                "created": "2027-01-15",
            }] })
        );
    }
}
