//! How far a parcel on media is with one of its destinations, and what that says of itself.

use std::{fmt, str::FromStr};

use crate::{Timestamp, id::SiteCode, link::ItemId};

/// Items that a receipt names; of a parcel with more, nobody is told more until it is complete.
pub const RECEIPT_ITEMS_MAX: usize = 16_384;

/// What a site has taken of a parcel from above.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ParcelReceipt {
    pub parcel: [u8; 16],
    /// The site that made it.
    pub sender: SiteCode,
    /// The site that took it in.
    pub site: SiteCode,
    /// `None`: all that is for the site.
    pub items: Option<Vec<ItemId>>,
    pub changed_at: Timestamp,
}

impl ParcelReceipt {
    /// The id of its object.
    pub fn id(site: &SiteCode, parcel: &[u8; 16]) -> String {
        let digits: String = parcel.iter().map(|byte| format!("{byte:02x}")).collect();
        format!("{site}/{digits}")
    }
}

/// It goes forward only, by hand where only a person knows; but what was thought lost may turn up.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ParcelState {
    /// Given up: all of its items are planned again.
    Lost,
    /// Laid out; not all volumes are written.
    Planned,
    /// All volumes are written and were read back.
    Created,
    Sent,
    /// A part of it was taken in.
    Received,
    /// All of it was taken in.
    Confirmed,
}

/// A step that a parcel does not take.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the parcel is {from} and becomes {to} no more")]
pub struct NoWay {
    pub from: ParcelState,
    pub to: ParcelState,
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is no state of a parcel")]
pub struct ParcelStateError(String);

const STATES: [ParcelState; 6] = [
    ParcelState::Lost,
    ParcelState::Planned,
    ParcelState::Created,
    ParcelState::Sent,
    ParcelState::Received,
    ParcelState::Confirmed,
];

impl ParcelState {
    pub fn as_str(self) -> &'static str {
        match self {
            ParcelState::Lost => "lost",
            ParcelState::Planned => "planned",
            ParcelState::Created => "created",
            ParcelState::Sent => "sent",
            ParcelState::Received => "received",
            ParcelState::Confirmed => "confirmed",
        }
    }

    /// Whether there is something to wait for.
    pub fn is_open(self) -> bool {
        !matches!(self, ParcelState::Lost | ParcelState::Confirmed)
    }

    /// The state after `to` was said: a step that is behind it already changes nothing.
    pub fn becomes(self, to: ParcelState) -> Result<ParcelState, NoWay> {
        match (self, to) {
            // Somebody has it in hands.
            (ParcelState::Lost, ParcelState::Received | ParcelState::Confirmed) => Ok(to),
            (ParcelState::Lost, ParcelState::Lost) => Ok(self),
            (ParcelState::Lost | ParcelState::Confirmed, _) if to != ParcelState::Confirmed => {
                Err(NoWay { from: self, to })
            }
            (_, ParcelState::Lost) => Ok(to),
            // Not all of it is on media yet: there is nothing to send.
            (ParcelState::Planned, ParcelState::Sent) => Err(NoWay { from: self, to }),
            _ => Ok(self.max(to)),
        }
    }
}

impl fmt::Display for ParcelState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for ParcelState {
    type Err = ParcelStateError;

    fn from_str(text: &str) -> Result<Self, ParcelStateError> {
        let found = STATES.into_iter().find(|state| state.as_str() == text);
        found.ok_or_else(|| ParcelStateError(text.chars().take(20).collect()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ParcelState::{Confirmed, Created, Lost, Planned, Received, Sent};

    #[test]
    fn it_goes_forward_only() {
        for (from, to, then) in [
            (Planned, Created, Some(Created)),
            (Planned, Sent, None),
            (Planned, Received, Some(Received)),
            (Created, Sent, Some(Sent)),
            (Sent, Created, Some(Sent)),
            (Sent, Received, Some(Received)),
            (Received, Sent, Some(Received)),
            (Received, Confirmed, Some(Confirmed)),
            (Confirmed, Confirmed, Some(Confirmed)),
            (Confirmed, Lost, None),
            (Confirmed, Sent, None),
            (Sent, Lost, Some(Lost)),
            (Received, Lost, Some(Lost)),
            (Lost, Sent, None),
            (Lost, Lost, Some(Lost)),
            (Lost, Received, Some(Received)),
            (Lost, Confirmed, Some(Confirmed)),
        ] {
            assert_eq!(from.becomes(to).ok(), then, "{from} to {to}");
        }
    }

    #[test]
    fn states_come_back_from_their_names() {
        for state in STATES {
            assert_eq!(state.as_str().parse(), Ok(state));
        }
        assert!("open".parse::<ParcelState>().is_err());
    }
}
