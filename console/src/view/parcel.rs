//! Parcels: what is in one, how far it is, and what comes next.

use packhorse_proto::provider::v1 as wire;
use serde::Serialize;

use crate::view::{Screen, View, amount, clean, clock, fields, or_dash, section, table, time, word, yes};

/// So many digits tell parcels apart, and name their directory on a medium.
const DIGITS: usize = 8;

/// A parcel with its packing list.
#[derive(Debug, Serialize)]
pub(crate) struct Parcel {
    /// `None`: nothing of it is kept.
    id: Option<String>,
    incoming: bool,
    sender: String,
    to: Vec<Destination>,
    state: String,
    created_at: Option<String>,
    sent_at: Option<String>,
    carrier: String,
    tracking: String,
    expected_at: Option<String>,
    overdue: bool,
    volumes: u32,
    volumes_done: Vec<u32>,
    bytes: u64,
    items_count: u32,
    /// Packages of which something is not whole at the sender.
    left_out: Vec<String>,
    /// Sites below its destinations that get theirs through these.
    passed_on: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    items: Option<Vec<Item>>,
}

/// The same without the list in the text: for when only its state has changed.
#[derive(Debug, Serialize)]
#[serde(transparent)]
pub(crate) struct Brief(pub(crate) Parcel);

#[derive(Debug, Serialize)]
pub(crate) struct Parcels {
    parcels: Vec<Parcel>,
}

#[derive(Debug, Serialize)]
struct Destination {
    site: String,
    state: String,
    changed_at: Option<String>,
}

#[derive(Debug, Serialize)]
struct Item {
    id: String,
    kind: String,
    subject: String,
    bytes: u64,
    is_delta: bool,
    to: Vec<String>,
    taken_by: Vec<String>,
}

impl From<wire::Parcel> for Parcel {
    fn from(parcel: wire::Parcel) -> Self {
        Parcel {
            id: Some(parcel.id).filter(|id| !id.is_empty()),
            incoming: parcel.incoming,
            sender: parcel.sender,
            to: parcel.to.into_iter().map(Destination::from).collect(),
            state: state(parcel.state),
            created_at: time(parcel.created_at_us),
            sent_at: time(parcel.sent_at_us),
            carrier: parcel.carrier,
            tracking: parcel.tracking,
            expected_at: time(parcel.expected_at_us),
            overdue: parcel.overdue,
            volumes: parcel.volumes,
            volumes_done: parcel.volumes_done,
            bytes: parcel.bytes,
            items_count: parcel.items_count,
            items: Some(parcel.items.into_iter().map(Item::from).collect()),
            left_out: parcel.left_out,
            passed_on: parcel.passed_on,
        }
    }
}

impl From<wire::ParcelSite> for Destination {
    fn from(to: wire::ParcelSite) -> Self {
        Destination { site: to.site, state: state(to.state), changed_at: time(to.changed_at_us) }
    }
}

impl From<wire::ParcelItem> for Item {
    fn from(item: wire::ParcelItem) -> Self {
        Item {
            kind: word(
                wire::ParcelItemKind::try_from(item.kind).map(|kind| kind.as_str_name()),
                "PARCEL_ITEM_KIND_",
            ),
            id: item.id,
            subject: item.subject,
            bytes: item.bytes,
            is_delta: item.is_delta,
            to: item.to,
            taken_by: item.taken_by,
        }
    }
}

impl From<wire::ListParcelsResponse> for Parcels {
    fn from(answer: wire::ListParcelsResponse) -> Self {
        Parcels { parcels: answer.parcels.into_iter().map(Parcel::summary).collect() }
    }
}

fn state(state: i32) -> String {
    word(wire::ParcelState::try_from(state).map(|state| state.as_str_name()), "PARCEL_STATE_")
}

/// The digits that name a parcel in commands.
pub(crate) fn short(id: &str) -> String {
    id.chars().take(DIGITS).collect()
}

impl Parcel {
    /// Where what is in it was not told.
    pub(super) fn summary(parcel: wire::Parcel) -> Self {
        Parcel { items: None, ..Parcel::from(parcel) }
    }

    pub(super) fn short(&self) -> String {
        self.id.as_deref().map(short).unwrap_or_default()
    }

    pub(super) fn sender(&self) -> &str {
        &self.sender
    }

    pub(super) fn volumes(&self) -> u32 {
        self.volumes
    }

    pub(crate) fn sites(&self) -> String {
        self.to.iter().map(|to| to.site.as_str()).collect::<Vec<_>>().join(", ")
    }

    /// Each destination, with its state where it is not that of all.
    fn destinations(&self) -> String {
        let one = |to: &Destination| {
            if to.state == self.state {
                return to.site.clone();
            }
            format!("{} ({} {})", to.site, to.state, clock(to.changed_at.as_deref()))
        };
        self.to.iter().map(one).collect::<Vec<_>>().join(", ")
    }

    fn left(&self) -> Vec<u32> {
        (1..=self.volumes).filter(|volume| !self.volumes_done.contains(volume)).collect()
    }

    fn volumes_text(&self) -> String {
        if self.id.is_none() {
            return self.volumes.to_string();
        }
        let done = if self.incoming { "read" } else { "written" };
        let text = format!("{} of {} {done}", self.volumes_done.len(), self.volumes);
        match self.left().as_slice() {
            // The list is worth its line only where some are done and some are not.
            left if left.is_empty() || self.volumes_done.is_empty() => text,
            left => format!("{text}, left: {}", numbers(left)),
        }
    }

    fn expected(&self) -> String {
        match &self.expected_at {
            None => String::new(),
            Some(at) if self.overdue => format!("{}, overdue", clock(Some(at))),
            Some(at) => clock(Some(at)),
        }
    }

    fn head(&self) -> String {
        let at = |time: &Option<String>| time.as_deref().map(|at| clock(Some(at))).unwrap_or_default();
        fields(&[
            ("parcel", self.id.clone().unwrap_or_default()),
            ("from", self.sender.clone()),
            ("to", self.destinations()),
            ("state", if self.id.is_some() { self.state.clone() } else { String::new() }),
            ("created", at(&self.created_at)),
            ("sent", at(&self.sent_at)),
            ("carrier", self.carrier.clone()),
            ("tracking", self.tracking.clone()),
            ("expected", self.expected()),
            ("volumes", self.volumes_text()),
            ("holds", format!("{} in {} item(s)", amount(self.bytes), self.items_count)),
            ("left out", self.left_out_text()),
            ("below", self.passed_on_text()),
        ])
    }

    fn left_out_text(&self) -> String {
        match &self.left_out[..] {
            [] => String::new(),
            packages => format!("{}: not whole here yet", packages.join(", ")),
        }
    }

    fn passed_on_text(&self) -> String {
        match &self.passed_on[..] {
            [] => String::new(),
            sites => format!("{}: no courier from here, the site above passes it on", sites.join(", ")),
        }
    }

    /// What somebody has to do with it now.
    fn next(&self) -> Option<String> {
        if self.incoming {
            return None;
        }
        let digits = self.id.as_deref().map(short)?;
        let text = match self.state.as_str() {
            "planned" => format!("`packhorse courier write {digits} DIR` writes it to a medium"),
            "created" => format!("`packhorse courier sent {digits} --carrier TEXT` when it is on its way"),
            _ if self.overdue => format!(
                "ask the carrier; `packhorse courier lost {digits}` gives it up, and all of it is planned again"
            ),
            _ => return None,
        };
        Some(clean(&text))
    }

    fn with_next(&self, text: String) -> String {
        let next = self.next().map(|next| format!("\n\nnext: {next}"));
        text + &next.unwrap_or_default()
    }
}

/// Numbers for people.
pub(super) fn numbers(numbers: &[u32]) -> String {
    numbers.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}

impl View for Parcel {
    fn text(&self, screen: Screen) -> String {
        let row = |item: &Item| {
            [
                short(&item.id),
                item.kind.clone(),
                or_dash(&item.subject),
                amount(item.bytes),
                yes(item.is_delta),
                or_dash(&item.to.join(" ")),
                or_dash(&item.taken_by.join(" ")),
            ]
        };
        let rows: Vec<_> = self.items.iter().flatten().map(row).collect();
        let nothing = if self.id.is_none() { "the destinations lack nothing" } else { "nothing" };
        let header = ["ITEM", "KIND", "ABOUT", "BYTES", "DELTA", "TO", "TAKEN BY"];
        let list = table(screen, header, &rows, nothing);
        self.with_next(self.head() + &section("packing list", &list))
    }
}

impl View for Brief {
    fn text(&self, _screen: Screen) -> String {
        self.0.with_next(self.0.head())
    }
}

impl View for Parcels {
    fn text(&self, screen: Screen) -> String {
        let row = |parcel: &Parcel| {
            [
                or_dash(&parcel.short()),
                or_dash(&parcel.sender),
                or_dash(&parcel.sites()),
                parcel.state.clone(),
                format!("{} of {}", parcel.volumes_done.len(), parcel.volumes),
                parcel.items_count.to_string(),
                amount(parcel.bytes),
                or_dash(&parcel.carrier),
                or_dash(&parcel.expected()),
                clock(parcel.created_at.as_deref()),
            ]
        };
        let rows: Vec<_> = self.parcels.iter().map(row).collect();
        let header =
            ["PARCEL", "FROM", "TO", "STATE", "VOLUMES", "ITEMS", "BYTES", "CARRIER", "EXPECTED", "CREATED"];
        table(screen, header, &rows, "no parcels")
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    const PIPE: Screen = Screen { terminal: false };
    const CREATED: i64 = 1_800_000_000_000_000;

    /// On its way to two sites, of which one has it.
    pub(in crate::view) fn parcel() -> wire::Parcel {
        let to = |site: &str, state: wire::ParcelState| wire::ParcelSite {
            site: site.to_owned(),
            state: state.into(),
            changed_at_us: CREATED + 60_000_000,
        };
        let bundle = wire::ParcelItem {
            id: "90cc".repeat(8),
            kind: wire::ParcelItemKind::Bundle.into(),
            subject: "CEN00001".to_owned(),
            bytes: 3 << 20,
            is_delta: true,
            to: vec!["LYO".to_owned(), "PAR".to_owned()],
            taken_by: vec!["PAR".to_owned()],
        };
        wire::Parcel {
            id: "3fa2bc91".repeat(4),
            sender: "CEN".to_owned(),
            to: vec![to("LYO", wire::ParcelState::Sent), to("PAR", wire::ParcelState::Confirmed)],
            state: wire::ParcelState::Sent.into(),
            created_at_us: CREATED,
            sent_at_us: CREATED + 60_000_000,
            carrier: "DHL".to_owned(),
            tracking: "0034501".to_owned(),
            expected_at_us: CREATED + 3_600_000_000,
            volumes: 3,
            volumes_done: vec![1, 2, 3],
            bytes: 3 << 20,
            items_count: 1,
            items: vec![bundle],
            ..wire::Parcel::default()
        }
    }

    fn planned(volumes_done: Vec<u32>) -> wire::Parcel {
        let state = wire::ParcelState::Planned.into();
        wire::Parcel { state, volumes_done, to: vec![], expected_at_us: 0, ..parcel() }
    }

    #[test]
    fn a_parcel_is_shown_with_its_packing_list() {
        let text = Parcel::from(parcel()).text(PIPE);

        for words in [
            "3fa2bc913fa2bc913fa2bc913fa2bc91",
            "LYO, PAR (confirmed 2027-01-15 08:01:00Z)",
            "3 of 3 written",
            "expected  2027-01-15 09:00:00Z",
            "3.00 MiB in 1 item(s)",
            "packing list\nITEM",
        ] {
            assert!(text.contains(words), "{words}: {text}");
        }
        let last = text.lines().last().map(str::split_whitespace).expect("a line").collect::<Vec<_>>();
        assert_eq!(last, ["90cc90cc", "bundle", "CEN00001", "3.00", "MiB", "yes", "LYO", "PAR", "PAR"]);
    }

    #[test]
    fn the_document_has_exact_numbers_and_lower_case_states() {
        let json = serde_json::to_value(Parcel::from(parcel())).expect("json");

        assert_eq!(json["id"], "3fa2bc91".repeat(4));
        assert_eq!((&json["state"], &json["to"][1]["state"]), (&"sent".into(), &"confirmed".into()));
        assert_eq!(json["expected_at"], "2027-01-15T09:00:00Z");
        assert_eq!((&json["bytes"], &json["volumes_done"][2]), (&(3 << 20).into(), &3.into()));
        let item = &json["items"][0];
        assert_eq!((&item["kind"], &item["taken_by"][0]), (&"bundle".into(), &"PAR".into()));
        assert_eq!(serde_json::to_value(Brief(parcel().into())).expect("json"), json);
    }

    #[test]
    fn what_comes_next_follows_from_the_state() {
        let next = |parcel: wire::Parcel| Brief(parcel.into()).text(PIPE);

        let text = next(planned(vec![]));
        assert!(
            text.ends_with("next: `packhorse courier write 3fa2bc91 DIR` writes it to a medium"),
            "{text}"
        );
        assert!(text.contains("0 of 3 written\n"), "{text}");
        assert!(next(planned(vec![2])).contains("1 of 3 written, left: 1, 3\n"));
        let created = wire::ParcelState::Created.into();
        assert!(next(wire::Parcel { state: created, ..parcel() }).contains("courier sent 3fa2bc91"));
        let text = next(wire::Parcel { overdue: true, ..parcel() });
        assert!(text.contains("courier lost 3fa2bc91") && text.contains("09:00:00Z, overdue"), "{text}");
        assert!(!next(parcel()).contains("next: "));
        assert!(!next(wire::Parcel { incoming: true, ..planned(vec![2]) }).contains("next: "));
    }

    #[test]
    fn a_plan_has_no_name_and_nothing_to_do() {
        let plan = wire::Parcel { id: String::new(), items: vec![], ..planned(vec![]) };

        let text = Parcel::from(plan.clone()).text(PIPE);
        assert!(text.starts_with("from") && !text.contains("state"), "{text}");
        assert!(text.contains("volumes   3\n") && text.ends_with("the destinations lack nothing"), "{text}");
        assert!(serde_json::to_value(Parcel::from(plan)).expect("json")["id"].is_null());
    }

    #[test]
    fn parcels_are_listed_without_what_is_in_them() {
        let unknown = wire::Parcel { state: 99, ..parcel() };
        let parcels =
            || Parcels::from(wire::ListParcelsResponse { parcels: vec![parcel(), unknown.clone()] });

        let text = parcels().text(PIPE);
        let lines: Vec<&str> = text.lines().collect();
        assert!(lines[0].starts_with("PARCEL") && lines[0].ends_with("CREATED"), "{text}");
        for words in ["3fa2bc91 ", "LYO, PAR", "sent", "3 of 3", "DHL", "2027-01-15 08:00:00Z"] {
            assert!(lines[1].contains(words), "{words}: {text}");
        }
        assert!(lines[2].contains("unknown"), "{text}");
        let json = serde_json::to_value(parcels()).expect("json");
        assert!(json["parcels"][0].get("items").is_none());
        assert_eq!(Parcels::from(wire::ListParcelsResponse::default()).text(PIPE), "no parcels");
    }
}
