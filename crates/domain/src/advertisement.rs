//! Advertisements (offers), and how far each is on a client.

use crate::{
    Priority, Timestamp,
    id::{AdvertisementId, CollectionId, PackageId, ProgramName},
    package::{PackageError, check_name},
};

/// A program of a package for a collection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Advertisement {
    pub id: AdvertisementId,
    pub name: String,
    pub package: PackageId,
    pub program: ProgramName,
    pub collection: CollectionId,
    /// Clients run it by themselves; otherwise it is only offered.
    pub required: bool,
    /// `None`: as soon as possible.
    pub start_at: Option<Timestamp>,
    pub expires_at: Option<Timestamp>,
    /// Run again for each new version of the package's source.
    pub rerun_on_update: bool,
    pub priority: Priority,
    /// Clients begin it outside their maintenance windows too.
    pub ignore_windows: bool,
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AdvertisementError {
    #[error(transparent)]
    Name(#[from] PackageError),
    #[error("it would expire before it starts: give a later expiry")]
    ExpiresBeforeStart,
}

impl Advertisement {
    pub fn check(&self) -> Result<(), AdvertisementError> {
        check_name(&self.name)?;
        match (self.start_at, self.expires_at) {
            (Some(start), Some(end)) if end <= start => Err(AdvertisementError::ExpiresBeforeStart),
            _ => Ok(()),
        }
    }

    pub fn is_expired(&self, now: Timestamp) -> bool {
        self.expires_at.is_some_and(|end| end <= now)
    }

    pub fn has_started(&self, now: Timestamp) -> bool {
        self.start_at.is_none_or(|start| start <= now)
    }

    /// What a run of it counts as: a client runs an advertisement once for each of these.
    pub fn occurrence(&self, source_version: u64) -> u64 {
        if self.rerun_on_update { source_version } else { 0 }
    }
}

/// Whether a client took an advertisement.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Acceptance {
    Accepted,
    Rejected,
    Expired,
}

/// How far a client is with it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Delivery {
    /// For its time, a maintenance window, or the user's choice.
    Waiting,
    Downloading,
    Retrying,
    Running,
    Succeeded,
    Failed,
    /// The run left no result.
    Interrupted,
}

/// The words of [`standing`].
pub const STANDINGS: [&str; 9] = [
    "waiting",
    "downloading",
    "retrying",
    "running",
    "succeeded",
    "failed",
    "interrupted",
    "rejected",
    "expired",
];

/// How a client stands with an advertisement, in one word: how far it is, or why it does not take it.
pub fn standing(acceptance: Acceptance, delivery: Delivery) -> &'static str {
    match acceptance {
        Acceptance::Accepted => delivery.as_str(),
        refused => refused.as_str(),
    }
}

impl Acceptance {
    pub const ALL: [Acceptance; 3] = [Acceptance::Accepted, Acceptance::Rejected, Acceptance::Expired];

    pub fn parse(text: &str) -> Option<Acceptance> {
        Acceptance::ALL.into_iter().find(|acceptance| acceptance.as_str() == text)
    }

    pub fn as_str(self) -> &'static str {
        match self {
            Acceptance::Accepted => "accepted",
            Acceptance::Rejected => "rejected",
            Acceptance::Expired => "expired",
        }
    }
}

impl Delivery {
    pub const ALL: [Delivery; 7] = [
        Delivery::Waiting,
        Delivery::Downloading,
        Delivery::Retrying,
        Delivery::Running,
        Delivery::Succeeded,
        Delivery::Failed,
        Delivery::Interrupted,
    ];

    pub fn parse(text: &str) -> Option<Delivery> {
        Delivery::ALL.into_iter().find(|delivery| delivery.as_str() == text)
    }

    pub fn as_str(self) -> &'static str {
        match self {
            Delivery::Waiting => "waiting",
            Delivery::Downloading => "downloading",
            Delivery::Retrying => "retrying",
            Delivery::Running => "running",
            Delivery::Succeeded => "succeeded",
            Delivery::Failed => "failed",
            Delivery::Interrupted => "interrupted",
        }
    }

    /// Nothing more will come of this run.
    pub fn is_final(self) -> bool {
        matches!(self, Delivery::Succeeded | Delivery::Failed | Delivery::Interrupted)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn every_standing_has_its_word_and_there_is_no_other() {
        let words: BTreeSet<&str> = Acceptance::ALL
            .into_iter()
            .flat_map(|acceptance| Delivery::ALL.map(|delivery| standing(acceptance, delivery)))
            .collect();

        assert_eq!(words, STANDINGS.into());
    }
}
