//! How far an advertisement is on each client, and when nothing more is to be waited for.

use packhorse_proto::{
    object::v1::{Acceptance, AdvertisementStatus, Delivery},
    provider::v1 as wire,
};
use serde::Serialize;

use crate::view::{Screen, View, clock, or_dash, summary::AdvertisementSummary, table, time, word};

#[derive(Debug, Serialize)]
pub(crate) struct AdvertisementProgress {
    advertisement: String,
    held_back: Option<String>,
    /// The clients in numbers; `None` from a site server that does not count yet.
    summary: Option<AdvertisementSummary>,
    clients: Vec<ClientProgress>,
}

#[derive(Debug, Serialize)]
pub(crate) struct ClientProgress {
    client: String,
    site: String,
    hostname: String,
    acceptance: String,
    delivery: String,
    exit_code: Option<i32>,
    source_version: u64,
    reason: String,
    output_tail: String,
    changed_at: Option<String>,
}

impl From<AdvertisementStatus> for ClientProgress {
    fn from(status: AdvertisementStatus) -> Self {
        ClientProgress {
            acceptance: word(
                Acceptance::try_from(status.acceptance).map(|word| word.as_str_name()),
                "ACCEPTANCE_",
            ),
            delivery: word(Delivery::try_from(status.delivery).map(|word| word.as_str_name()), "DELIVERY_"),
            client: status.client,
            site: status.site,
            hostname: status.hostname,
            exit_code: status.exit_code,
            source_version: status.source_version,
            reason: status.reason,
            output_tail: status.output_tail,
            changed_at: time(status.changed_at_us),
        }
    }
}

impl AdvertisementProgress {
    pub(crate) fn new(advertisement: &str, answer: wire::GetAdvertisementStatusResponse) -> Self {
        AdvertisementProgress {
            advertisement: advertisement.to_owned(),
            summary: answer.summary.map(AdvertisementSummary::from),
            held_back: Some(answer.held_back).filter(|reason| !reason.is_empty()),
            clients: answer.clients.into_iter().map(ClientProgress::from).collect(),
        }
    }

    pub(crate) fn clients(&self) -> &[ClientProgress] {
        &self.clients
    }

    pub(crate) fn held_back(&self) -> Option<&str> {
        self.held_back.as_deref()
    }

    /// Whether every client of `expected` has come to an end, and there is one.
    pub(crate) fn is_settled(&self, expected: &[String], wanted: u64) -> bool {
        let ended =
            |id: &String| self.clients.iter().any(|client| client.client == *id && client.is_settled(wanted));
        !expected.is_empty()
            && expected.iter().all(ended)
            && self.clients.iter().all(|client| client.is_settled(wanted))
    }
}

impl ClientProgress {
    pub(crate) fn id(&self) -> &str {
        &self.client
    }

    pub(crate) fn headline(&self) -> String {
        let host = if self.hostname.is_empty() { &self.client } else { &self.hostname };
        format!("{}/{host} {} {} {}", self.site, self.acceptance, self.delivery, self.reason)
    }

    /// A refused or expired offer ends as surely as a run does. An older version than `wanted` is not the end.
    pub(crate) fn is_settled(&self, wanted: u64) -> bool {
        matches!(self.acceptance.as_str(), "rejected" | "expired")
            || matches!(self.delivery.as_str(), "succeeded" | "failed" | "interrupted")
                && self.source_version >= wanted
    }
}

impl View for AdvertisementProgress {
    fn text(&self, screen: Screen) -> String {
        let row = |client: &ClientProgress| {
            [
                or_dash(&client.hostname),
                client.site.clone(),
                client.acceptance.clone(),
                client.delivery.clone(),
                client.exit_code.map_or_else(|| "-".to_owned(), |code| code.to_string()),
                client.source_version.to_string(),
                clock(client.changed_at.as_deref()),
                or_dash(&client.reason),
            ]
        };
        let rows: Vec<_> = self.clients.iter().map(row).collect();
        let header = ["HOST", "SITE", "OFFER", "DELIVERY", "EXIT CODE", "VERSION", "SINCE", "REASON"];
        let mut clients = table(screen, header, &rows, "no client has reported");
        if let Some(summary) = self.summary.as_ref().filter(|_| !self.clients.is_empty()) {
            clients = format!("{}\n\n{clients}", summary.headline());
        }
        match &self.held_back {
            Some(reason) => format!("held back at this site: {}\n{clients}", super::clean(reason)),
            None => clients,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PIPE: Screen = Screen { terminal: false };

    fn client(id: &str, delivery: Delivery, source_version: u64) -> AdvertisementStatus {
        AdvertisementStatus {
            client: id.into(),
            hostname: format!("host-{id}"),
            acceptance: Acceptance::Accepted.into(),
            delivery: delivery.into(),
            source_version,
            ..AdvertisementStatus::default()
        }
    }

    fn advertised(clients: Vec<AdvertisementStatus>) -> AdvertisementProgress {
        let held_back = String::new();
        let answer = wire::GetAdvertisementStatusResponse { clients, held_back, summary: None };
        AdvertisementProgress::new("CEN20001", answer)
    }

    #[test]
    fn an_advertisement_is_settled_when_every_member_has_come_to_an_end() {
        let expected = ["1".to_owned(), "2".to_owned()];
        let ended = client("1", Delivery::Succeeded, 2);

        assert!(advertised(vec![ended.clone(), client("2", Delivery::Failed, 2)]).is_settled(&expected, 2));
        assert!(!advertised(vec![ended.clone()]).is_settled(&expected, 2), "one has not reported");
        assert!(!advertised(vec![ended.clone(), client("2", Delivery::Running, 2)]).is_settled(&expected, 2));
        assert!(
            !advertised(vec![ended.clone(), client("2", Delivery::Succeeded, 1)]).is_settled(&expected, 2)
        );
        assert!(!advertised(vec![]).is_settled(&[], 0), "nobody is no end");

        let mut rejected = client("2", Delivery::Unspecified, 0);
        rejected.acceptance = Acceptance::Rejected.into();
        assert!(advertised(vec![ended, rejected]).is_settled(&expected, 2));
    }

    #[test]
    fn clients_are_shown_with_their_exit_codes() {
        let mut failed = client("1", Delivery::Failed, 1);
        failed.exit_code = Some(3);
        failed.output_tail = "no space\n".into();
        let progress = advertised(vec![failed, client("2", Delivery::Waiting, 0)]);

        let text = progress.text(PIPE);
        assert!(
            text.lines().nth(1).is_some_and(|line| line.contains("host-1") && line.contains(" 3 ")),
            "{text}"
        );
        let json = serde_json::to_value(&progress).expect("json");
        assert_eq!(json["clients"][0]["exit_code"], 3);
        assert_eq!(json["clients"][0]["output_tail"], "no space\n");
        assert!(json["clients"][1]["exit_code"].is_null());
        assert_eq!(json["clients"][1]["delivery"], "waiting");
    }
}
