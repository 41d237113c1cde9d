//! Advertisements.

use packhorse_proto::{object::v1::Advertisement as WireAdvertisement, provider::v1 as wire};
use serde::Serialize;

use crate::view::{Screen, View, clock, fields, or_dash, package::priority, table, time, yes};

#[derive(Debug, Serialize)]
pub(crate) struct Advertisements {
    advertisements: Vec<Summary>,
}

#[derive(Debug, Serialize)]
pub(crate) struct Advertisement {
    id: String,
    name: String,
    package: String,
    program: String,
    collection: String,
    required: bool,
    start_at: Option<String>,
    expires_at: Option<String>,
    rerun_on_update: bool,
    priority: String,
    ignore_windows: bool,
}

#[derive(Debug, Serialize)]
pub(crate) struct Summary {
    #[serde(flatten)]
    advertisement: Advertisement,
    owner: String,
    held_back: Option<String>,
}

impl From<WireAdvertisement> for Advertisement {
    fn from(advertisement: WireAdvertisement) -> Self {
        Advertisement {
            id: advertisement.id,
            name: advertisement.name,
            package: advertisement.package,
            program: advertisement.program,
            collection: advertisement.collection,
            required: advertisement.required,
            start_at: time(advertisement.start_at_us),
            expires_at: time(advertisement.expires_at_us),
            rerun_on_update: advertisement.rerun_on_update,
            priority: priority(advertisement.priority),
            ignore_windows: advertisement.ignore_windows,
        }
    }
}

impl From<wire::AdvertisementSummary> for Summary {
    fn from(summary: wire::AdvertisementSummary) -> Self {
        Summary {
            advertisement: summary.advertisement.unwrap_or_default().into(),
            owner: summary.owner,
            held_back: Some(summary.held_back).filter(|reason| !reason.is_empty()),
        }
    }
}

impl From<wire::ListAdvertisementsResponse> for Advertisements {
    fn from(answer: wire::ListAdvertisementsResponse) -> Self {
        Advertisements { advertisements: answer.advertisements.into_iter().map(Summary::from).collect() }
    }
}

impl View for Advertisements {
    fn text(&self, screen: Screen) -> String {
        let row = |summary: &Summary| {
            let advertisement = &summary.advertisement;
            [
                advertisement.id.clone(),
                advertisement.name.clone(),
                format!("{} {}", advertisement.package, advertisement.program),
                advertisement.collection.clone(),
                if advertisement.required { "required" } else { "available" }.to_owned(),
                summary.owner.clone(),
                or_dash(summary.held_back.as_deref().unwrap_or_default()),
            ]
        };
        let rows: Vec<_> = self.advertisements.iter().map(row).collect();
        let header = ["ADVERTISEMENT", "NAME", "PROGRAM", "COLLECTION", "KIND", "OWNER", "HELD BACK"];
        table(screen, header, &rows, "no advertisements")
    }
}

impl View for Advertisement {
    fn text(&self, _screen: Screen) -> String {
        let when = |time: &Option<String>, none: &str| {
            time.as_deref().map_or_else(|| none.to_owned(), |at| clock(Some(at)))
        };
        fields(&[
            ("Advertisement", self.id.clone()),
            ("Name", self.name.clone()),
            ("Package", self.package.clone()),
            ("Program", self.program.clone()),
            ("Collection", self.collection.clone()),
            ("Required", yes(self.required)),
            ("Starts", when(&self.start_at, "at once")),
            ("Expires", when(&self.expires_at, "never")),
            ("Run again", if self.rerun_on_update { "for each new version" } else { "never" }.to_owned()),
            ("Priority", self.priority.clone()),
            ("Windows", if self.ignore_windows { "ignored" } else { "waited for" }.to_owned()),
        ])
    }
}

impl View for Summary {
    fn text(&self, screen: Screen) -> String {
        let rest = fields(&[
            ("Owner        ", self.owner.clone()),
            ("Held back", self.held_back.clone().unwrap_or_else(|| "no, it is offered".to_owned())),
        ]);
        format!("{}\n{rest}", self.advertisement.text(screen))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_advertisement_is_shown_with_what_holds_it_back() {
        let summary = Summary::from(wire::AdvertisementSummary {
            advertisement: Some(WireAdvertisement {
                id: "CEN20001".into(),
                package: "CEN00001".into(),
                program: "install".into(),
                collection: "CEN00002".into(),
                required: true,
                expires_at_us: 1_000_000,
                ..WireAdvertisement::default()
            }),
            owner: "CEN".into(),
            held_back: "no client of this site is a member".into(),
        });

        let text = summary.text(Screen { terminal: false });
        for part in ["CEN20001", "at once", "1970-01-01 00:00:01Z", "no client of this site is a member"] {
            assert!(text.contains(part), "{part}: {text}");
        }
        let json = serde_json::to_value(&summary).expect("json");
        assert_eq!(json["expires_at"], "1970-01-01T00:00:01Z");
        assert!(json["start_at"].is_null());
        assert_eq!(json["held_back"], "no client of this site is a member");
    }
}
