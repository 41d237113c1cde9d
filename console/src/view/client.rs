//! Clients as they describe themselves.

use std::collections::BTreeMap;

use packhorse_proto::{object::v1::ClientFact, provider::v1 as wire};
use serde::Serialize;

use crate::view::{Screen, View, clock, or_dash, table, time};

#[derive(Debug, Serialize)]
pub(crate) struct Clients {
    clients: Vec<Client>,
}

#[derive(Debug, Serialize)]
pub(crate) struct Client {
    #[serde(flatten)]
    fact: Fact,
    seen_at: Option<String>,
}

#[derive(Debug, Serialize)]
pub(crate) struct Fact {
    id: String,
    site: String,
    hostname: String,
    os: String,
    arch: String,
    labels: BTreeMap<String, String>,
    software: String,
}

impl From<ClientFact> for Fact {
    fn from(fact: ClientFact) -> Self {
        Fact {
            id: fact.id,
            site: fact.site,
            hostname: fact.hostname,
            os: fact.os,
            arch: fact.arch,
            labels: fact.labels.into_iter().collect(),
            software: fact.software,
        }
    }
}

impl From<wire::ListClientsResponse> for Clients {
    fn from(answer: wire::ListClientsResponse) -> Self {
        let client = |client: wire::Client| Client {
            fact: client.fact.unwrap_or_default().into(),
            seen_at: time(client.seen_at_us),
        };
        Clients { clients: answer.clients.into_iter().map(client).collect() }
    }
}

impl Fact {
    fn cells(&self) -> [String; 5] {
        let labels: Vec<String> = self.labels.iter().map(|(name, value)| format!("{name}={value}")).collect();
        [
            self.id.clone(),
            self.site.clone(),
            or_dash(&self.hostname),
            format!("{}/{}", self.os, self.arch),
            or_dash(&labels.join(" ")),
        ]
    }

    pub(crate) fn table(facts: &[Fact], screen: Screen) -> String {
        let rows: Vec<_> = facts.iter().map(Fact::cells).collect();
        table(screen, ["CLIENT", "SITE", "HOST", "SYSTEM", "LABELS"], &rows, "no members at this site")
    }
}

impl View for Clients {
    fn text(&self, screen: Screen) -> String {
        let row = |client: &Client| {
            let [id, site, host, system, labels] = client.fact.cells();
            [id, site, host, system, labels, or_dash(&client.fact.software), clock(client.seen_at.as_deref())]
        };
        let rows: Vec<_> = self.clients.iter().map(row).collect();
        let header = ["CLIENT", "SITE", "HOST", "SYSTEM", "LABELS", "SOFTWARE", "HEARD OF"];
        table(screen, header, &rows, "no clients")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_client_is_shown_with_its_labels_in_order() {
        let fact = ClientFact {
            id: "0b5c1f5e-0000-4000-8000-000000000001".into(),
            site: "LYO".into(),
            hostname: "till-07".into(),
            os: "linux".into(),
            arch: "x86_64".into(),
            labels: [("role".to_owned(), "till".to_owned()), ("floor".to_owned(), "2".to_owned())].into(),
            software: "0.1.0".into(),
        };
        let clients = Clients::from(wire::ListClientsResponse {
            clients: vec![wire::Client { fact: Some(fact), seen_at_us: 0 }],
        });

        let text = clients.text(Screen { terminal: false });
        assert!(text.contains("floor=2 role=till") && text.contains("linux/x86_64"), "{text}");
        let json = serde_json::to_value(&clients).expect("json");
        assert_eq!(json["clients"][0]["hostname"], "till-07");
        assert_eq!(json["clients"][0]["labels"]["role"], "till");
        assert!(json["clients"][0]["seen_at"].is_null());
    }
}
