//! Bundles and objects on this site's links.

use packhorse_proto::provider::v1 as wire;
use serde::Serialize;

use crate::view::{Screen, amount, clock, or_dash, package::priority, table, time, word};

#[derive(Debug, Serialize)]
pub(crate) struct Transfer {
    item: String,
    peer: String,
    direction: &'static str,
    subject: String,
    priority: String,
    state: String,
    bytes_done: u64,
    bytes_total: u64,
    changed_at: Option<String>,
}

impl From<wire::Transfer> for Transfer {
    fn from(transfer: wire::Transfer) -> Self {
        Transfer {
            state: word(
                wire::TransferState::try_from(transfer.state).map(|state| state.as_str_name()),
                "TRANSFER_STATE_",
            ),
            item: transfer.item,
            peer: transfer.peer,
            direction: if transfer.outgoing { "to" } else { "from" },
            subject: transfer.subject,
            priority: priority(transfer.priority),
            bytes_done: transfer.bytes_done,
            bytes_total: transfer.bytes_total,
            changed_at: time(transfer.changed_at_us),
        }
    }
}

impl Transfer {
    /// What tells it from all others on this site's links.
    pub(crate) fn key(&self) -> String {
        format!("{}/{}/{}", self.item, self.direction, self.peer)
    }

    pub(crate) fn headline(&self) -> String {
        format!("{} {} {} {}", or_dash(&self.subject), self.direction, self.peer, self.state)
    }

    pub(crate) fn bytes(&self) -> (u64, u64) {
        (self.bytes_done, self.bytes_total)
    }

    pub(crate) fn is_settled(&self) -> bool {
        matches!(self.state.as_str(), "done" | "failed")
    }

    pub(crate) fn table(transfers: &[Transfer], screen: Screen) -> String {
        let row = |transfer: &Transfer| {
            [
                or_dash(&transfer.subject),
                format!("{} {}", transfer.direction, transfer.peer),
                transfer.priority.clone(),
                transfer.state.clone(),
                amount(transfer.bytes_done),
                amount(transfer.bytes_total),
                clock(transfer.changed_at.as_deref()),
            ]
        };
        let rows: Vec<_> = transfers.iter().map(row).collect();
        let header = ["ABOUT", "PEER", "PRIORITY", "STATE", "DONE", "OF", "CHANGED"];
        table(screen, header, &rows, "no transfers")
    }
}
