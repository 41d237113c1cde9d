//! What was found on media, and the keys that parcels are encrypted to.

use packhorse_proto::provider::v1 as wire;
use serde::Serialize;

use crate::view::{
    Screen, View, clean,
    parcel::{Parcel, numbers, short},
    table,
};

/// The volumes of a parcel as they are on a medium.
#[derive(Debug, Serialize)]
pub(crate) struct Verified {
    parcel: String,
    whole: Vec<u32>,
    faults: Vec<String>,
}

#[derive(Debug, Serialize)]
pub(crate) struct Received {
    parcels: Vec<ReceivedParcel>,
    /// Parcels with receipts that were written.
    answers: Vec<Parcel>,
}

#[derive(Debug, Serialize)]
struct ReceivedParcel {
    parcel: Option<Parcel>,
    items_taken: u32,
    items_left: u32,
    volumes_missing: Vec<u32>,
    faults: Vec<String>,
    refused: String,
    for_others: bool,
    #[serde(skip)]
    receipt_to: Option<String>,
}

#[derive(Debug, Serialize)]
pub(crate) struct Keys {
    keys: Vec<Key>,
}

#[derive(Debug, Serialize)]
struct Key {
    site: String,
    this_site: bool,
    /// `None`: not known yet.
    recipient: Option<String>,
}

impl From<wire::ReceiveParcelsResponse> for Received {
    fn from(answer: wire::ReceiveParcelsResponse) -> Self {
        let one = |received: wire::ReceivedParcel| ReceivedParcel {
            parcel: received.parcel.map(Parcel::summary),
            items_taken: received.items_taken,
            items_left: received.items_left,
            volumes_missing: received.volumes_missing,
            faults: received.faults,
            refused: received.refused,
            for_others: received.for_others,
            receipt_to: Some(received.receipt_to).filter(|site| !site.is_empty()),
        };
        Received { parcels: answer.parcels.into_iter().map(one).collect(), answers: Vec::new() }
    }
}

impl From<wire::ListKeysResponse> for Keys {
    fn from(answer: wire::ListKeysResponse) -> Self {
        let one = |(at, key): (usize, wire::CourierKey)| Key {
            site: key.site,
            this_site: at == 0,
            recipient: Some(key.recipient).filter(|recipient| !recipient.is_empty()),
        };
        Keys { keys: answer.keys.into_iter().enumerate().map(one).collect() }
    }
}

impl Verified {
    pub(crate) fn new(parcel: String, answer: wire::VerifyParcelResponse) -> Self {
        Verified { parcel, whole: answer.whole, faults: answer.faults }
    }

    pub(crate) fn faults(&self) -> usize {
        self.faults.len()
    }

    pub(crate) fn has_whole(&self) -> bool {
        !self.whole.is_empty()
    }
}

impl Received {
    /// The sites to which receipts of these go, each once.
    pub(crate) fn receipts_to(&self) -> Vec<String> {
        let all = self.parcels.iter().filter_map(|one| one.receipt_to.clone());
        all.collect::<std::collections::BTreeSet<_>>().into_iter().collect()
    }

    /// A parcel with receipts was written.
    pub(crate) fn answer(&mut self, parcel: wire::Parcel) {
        self.answers.push(Parcel::summary(parcel));
    }

    /// Whether nothing is left to take; `None`: there was nothing.
    pub(crate) fn is_everything(&self) -> Option<bool> {
        let taken = |one: &ReceivedParcel| one.items_left == 0 && one.refused.is_empty();
        let mut ours = self.parcels.iter().filter(|one| !one.for_others).peekable();
        ours.peek().is_some().then(|| ours.all(taken))
    }
}

impl ReceivedParcel {
    fn text(&self) -> String {
        let parcel = self.parcel.as_ref();
        let digits = parcel.map(Parcel::short).filter(|digits| !digits.is_empty());
        let from = parcel.map(Parcel::sender).filter(|sender| !sender.is_empty());
        let mut head = format!("parcel {}", digits.as_deref().unwrap_or("unknown"));
        if let Some(from) = from {
            head.push_str(&format!(" from {from}"));
        }
        let mut lines = if self.for_others {
            vec![format!("{head}: for other sites")]
        } else if self.refused.is_empty() {
            vec![format!("{head}: {} item(s) taken, {} left", self.items_taken, self.items_left)]
        } else {
            vec![format!("{head}: refused: {}", self.refused)]
        };
        // What is no parcel has nothing but faults.
        if digits.is_none() && self.refused.is_empty() && !self.faults.is_empty() {
            lines.clear();
        }
        if !self.volumes_missing.is_empty() {
            let of = parcel.map(Parcel::volumes).filter(|volumes| *volumes > 0);
            let of = of.map(|volumes| format!(", of {volumes}")).unwrap_or_default();
            lines.push(format!("  missing{of}: volume(s) {}", numbers(&self.volumes_missing)));
        }
        lines.extend(self.faults.iter().map(|fault| format!("  fault: {fault}")));
        lines.iter().map(|line| clean(line)).collect::<Vec<_>>().join("\n")
    }
}

impl View for Verified {
    fn text(&self, _screen: Screen) -> String {
        let whole = if self.whole.is_empty() { "none".to_owned() } else { numbers(&self.whole) };
        let mut lines = vec![format!("parcel {}: whole volume(s): {whole}", short(&self.parcel))];
        lines.extend(self.faults.iter().map(|fault| format!("  fault: {fault}")));
        lines.iter().map(|line| clean(line)).collect::<Vec<_>>().join("\n")
    }
}

impl View for Received {
    fn text(&self, _screen: Screen) -> String {
        if self.parcels.is_empty() {
            return "nothing was found".to_owned();
        }
        let answer = |parcel: &Parcel| {
            let digits = parcel.short();
            clean(&format!("receipt written: parcel {digits} to {}", parcel.sites()))
        };
        let received = self.parcels.iter().map(ReceivedParcel::text);
        received.chain(self.answers.iter().map(answer)).collect::<Vec<_>>().join("\n")
    }
}

impl View for Keys {
    fn text(&self, screen: Screen) -> String {
        let row = |key: &Key| {
            let site = if key.this_site { format!("{} (this site)", key.site) } else { key.site.clone() };
            [site, key.recipient.clone().unwrap_or_else(|| "not known yet".to_owned())]
        };
        let rows: Vec<_> = self.keys.iter().map(row).collect();
        table(screen, ["SITE", "KEY"], &rows, "no keys")
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::view::parcel::tests::parcel;

    const PIPE: Screen = Screen { terminal: false };

    fn incoming() -> wire::ReceivedParcel {
        wire::ReceivedParcel {
            parcel: Some(wire::Parcel { incoming: true, ..parcel() }),
            items_taken: 5,
            ..wire::ReceivedParcel::default()
        }
    }

    fn received(parcels: Vec<wire::ReceivedParcel>) -> Received {
        Received::from(wire::ReceiveParcelsResponse { parcels, ..wire::ReceiveParcelsResponse::default() })
    }

    #[test]
    fn what_was_taken_is_told_of_each_parcel() {
        let partly = wire::ReceivedParcel {
            items_left: 2,
            volumes_missing: vec![2, 3],
            faults: vec!["volume 1 is there twice\u{1b}".to_owned()],
            ..incoming()
        };
        let refused = wire::ReceivedParcel {
            parcel: None,
            refused: "it is for LYO".to_owned(),
            ..wire::ReceivedParcel::default()
        };

        let text = received(vec![incoming(), partly, refused]).text(PIPE);

        assert_eq!(
            text,
            "parcel 3fa2bc91 from CEN: 5 item(s) taken, 0 left\n\
             parcel 3fa2bc91 from CEN: 5 item(s) taken, 2 left\n  missing, of 3: volume(s) 2, 3\n  \
             fault: volume 1 is there twice \n\
             parcel unknown: refused: it is for LYO"
        );
        assert_eq!(received(vec![]).text(PIPE), "nothing was found");
    }

    #[test]
    fn something_left_or_refused_is_not_everything() {
        let left = wire::ReceivedParcel { items_left: 1, ..incoming() };
        let refused = wire::ReceivedParcel { refused: "from a stranger".to_owned(), ..incoming() };

        for (parcels, expected) in [
            (vec![], None),
            (vec![incoming()], Some(true)),
            (vec![incoming(), left], Some(false)),
            (vec![incoming(), refused], Some(false)),
        ] {
            assert_eq!(received(parcels).is_everything(), expected);
        }
    }

    #[test]
    fn the_document_of_what_was_taken_has_no_packing_list() {
        let json = serde_json::to_value(received(vec![incoming()])).expect("json");

        let one = &json["parcels"][0];
        assert_eq!((&one["items_taken"], &one["refused"]), (&5.into(), &"".into()));
        assert_eq!(one["parcel"]["incoming"], true);
        assert!(one["parcel"].get("items").is_none());
    }

    #[test]
    fn a_medium_has_whole_volumes_and_faults() {
        let answer = wire::VerifyParcelResponse {
            whole: vec![1, 3],
            faults: vec!["volume 2 is damaged".to_owned()],
            ..wire::VerifyParcelResponse::default()
        };

        let verified = Verified::new("3fa2bc91".to_owned(), answer);

        assert_eq!(
            verified.text(PIPE),
            "parcel 3fa2bc91: whole volume(s): 1, 3\n  fault: volume 2 is damaged"
        );
        assert!(verified.has_whole() && verified.faults() == 1);
        assert_eq!(
            serde_json::to_value(verified).expect("json"),
            json!({ "parcel": "3fa2bc91", "whole": [1, 3], "faults": ["volume 2 is damaged"] })
        );
        let nothing = Verified::new("3fa2bc91".to_owned(), wire::VerifyParcelResponse::default());
        assert!(!nothing.has_whole() && nothing.text(PIPE).ends_with("none"));
    }

    #[test]
    fn this_sites_key_is_the_first() {
        let key = |site: &str, recipient: &str| wire::CourierKey {
            site: site.to_owned(),
            recipient: recipient.to_owned(),
        };
        let keys =
            || Keys::from(wire::ListKeysResponse { keys: vec![key("CEN", "age1abc"), key("LYO", "")] });

        let text = keys().text(PIPE);
        let lines: Vec<Vec<&str>> = text.lines().map(|line| line.split_whitespace().collect()).collect();
        assert_eq!(lines[1], ["CEN", "(this", "site)", "age1abc"]);
        assert_eq!(lines[2], ["LYO", "not", "known", "yet"]);
        assert_eq!(
            serde_json::to_value(keys()).expect("json"),
            json!({ "keys": [
                { "site": "CEN", "this_site": true, "recipient": "age1abc" },
                { "site": "LYO", "this_site": false, "recipient": null },
            ] })
        );
    }
}
