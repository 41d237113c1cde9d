//! Collections and their members at this site.

use packhorse_domain::window::Windows;
use packhorse_proto::{
    object::v1::{Collection as WireCollection, collection},
    provider::v1 as wire,
};
use serde::Serialize;

use crate::view::{Screen, View, client::Fact, fields, or_dash, section, table};

#[derive(Debug, Serialize)]
pub(crate) struct Collections {
    collections: Vec<Summary>,
}

#[derive(Debug, Serialize)]
pub(crate) struct Collection {
    id: String,
    name: String,
    rule: Vec<Condition>,
    clients: Vec<String>,
    /// As they are typed; none: it says nothing of when programs begin.
    windows: Vec<String>,
}

#[derive(Debug, Serialize)]
struct Condition {
    fact: String,
    pattern: String,
    negated: bool,
}

#[derive(Debug, Serialize)]
struct Summary {
    #[serde(flatten)]
    collection: Collection,
    owner: String,
    member_count: u32,
}

/// A collection with its members.
#[derive(Debug, Serialize)]
pub(crate) struct Shown {
    #[serde(flatten)]
    summary: Summary,
    members: Vec<Fact>,
}

impl From<WireCollection> for Collection {
    fn from(collection: WireCollection) -> Self {
        let condition = |condition: collection::Condition| Condition {
            fact: condition.fact,
            pattern: condition.pattern,
            negated: condition.negated,
        };
        Collection {
            id: collection.id,
            name: collection.name,
            rule: collection.rule.into_iter().map(condition).collect(),
            clients: collection.clients,
            // Hours that no week has are of no site server that there is.
            windows: Windows::of(collection.window_hours).unwrap_or_default().rules(),
        }
    }
}

impl From<wire::CollectionSummary> for Summary {
    fn from(summary: wire::CollectionSummary) -> Self {
        Summary {
            collection: summary.collection.unwrap_or_default().into(),
            owner: summary.owner,
            member_count: summary.members,
        }
    }
}

impl From<wire::ListCollectionsResponse> for Collections {
    fn from(answer: wire::ListCollectionsResponse) -> Self {
        Collections { collections: answer.collections.into_iter().map(Summary::from).collect() }
    }
}

impl From<wire::GetCollectionResponse> for Shown {
    fn from(answer: wire::GetCollectionResponse) -> Self {
        Shown {
            summary: answer.collection.unwrap_or_default().into(),
            members: answer.members.into_iter().map(Fact::from).collect(),
        }
    }
}

impl Collection {
    fn rule(&self) -> String {
        let condition = |condition: &Condition| {
            format!("{}{}{}", condition.fact, if condition.negated { "!=" } else { "=" }, condition.pattern)
        };
        self.rule.iter().map(condition).collect::<Vec<_>>().join(" and ")
    }

    fn by_hand(&self) -> String {
        match self.clients.len() {
            0 => String::new(),
            few @ 1..=3 => self.clients[..few].join(" "),
            many => format!("{many} clients"),
        }
    }
}

impl View for Collections {
    fn text(&self, screen: Screen) -> String {
        let row = |summary: &Summary| {
            [
                summary.collection.id.clone(),
                summary.collection.name.clone(),
                summary.owner.clone(),
                summary.member_count.to_string(),
                or_dash(&summary.collection.rule()),
                summary.collection.clients.len().to_string(),
                or_dash(&summary.collection.windows.join("; ")),
            ]
        };
        let rows: Vec<_> = self.collections.iter().map(row).collect();
        table(
            screen,
            ["COLLECTION", "NAME", "OWNER", "MEMBERS HERE", "RULE", "BY HAND", "WINDOWS"],
            &rows,
            "no collections",
        )
    }
}

impl View for Collection {
    fn text(&self, _screen: Screen) -> String {
        fields(&[
            ("Collection", self.id.clone()),
            ("Name", self.name.clone()),
            ("Rule", self.rule()),
            ("By hand", self.by_hand()),
            ("Windows", self.windows.join("; ")),
        ])
    }
}

impl View for Shown {
    fn text(&self, screen: Screen) -> String {
        let summary = &self.summary;
        let head =
            fields(&[("Owner     ", summary.owner.clone()), ("Members", summary.member_count.to_string())]);
        format!("{}\n{head}", summary.collection.text(screen))
            + &section("Members", &Fact::table(&self.members, screen))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PIPE: Screen = Screen { terminal: false };

    fn tills() -> wire::CollectionSummary {
        let condition = |fact: &str, pattern: &str, negated| collection::Condition {
            fact: fact.into(),
            pattern: pattern.into(),
            negated,
        };
        wire::CollectionSummary {
            collection: Some(WireCollection {
                id: "CEN00002".into(),
                name: "Tills".into(),
                rule: vec![condition("label.role", "till", false), condition("site", "LAB", true)],
                clients: vec![],
                window_hours: vec![22, 23, 24, 25],
            }),
            owner: "CEN".into(),
            members: 12,
        }
    }

    #[test]
    fn a_rule_is_shown_as_it_is_typed() {
        let collections = Collections::from(wire::ListCollectionsResponse { collections: vec![tills()] });

        let text = collections.text(PIPE);

        assert!(text.contains("label.role=till and site!=LAB"), "{text}");
        assert!(text.contains("mon 22:00-02:00"), "{text}");
        let json = serde_json::to_value(&collections).expect("json");
        assert_eq!(json["collections"][0]["id"], "CEN00002");
        assert_eq!(json["collections"][0]["member_count"], 12);
        assert_eq!(json["collections"][0]["windows"], serde_json::json!(["mon 22:00-02:00"]));
        assert_eq!(
            json["collections"][0]["rule"][1],
            serde_json::json!({ "fact": "site", "pattern": "LAB", "negated": true })
        );
    }

    #[test]
    fn a_collection_without_members_says_so() {
        let shown = Shown::from(wire::GetCollectionResponse { collection: Some(tills()), members: vec![] });

        assert!(shown.text(PIPE).ends_with("no members at this site"), "{}", shown.text(PIPE));
        assert_eq!(serde_json::to_value(&shown).expect("json")["members"], serde_json::json!([]));
    }
}
