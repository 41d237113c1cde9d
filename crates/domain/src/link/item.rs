//! Items: runs of bytes with a name that never changes.

use std::{fmt, str::FromStr};

use crate::{Digest, Priority, Timestamp, link::limits};

/// The name of an item. It comes from the content, so that it never changes and never names two things.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ItemId(pub [u8; 16]);

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ItemIdError {
    #[error("an item id has 16 bytes, not {0}")]
    Length(usize),
    #[error("`{0}` is not an item id: 32 hexadecimal digits are expected")]
    Text(String),
}

/// What an item is. Objects are small and go before the bundles of their class.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ItemKind {
    Object,
    Bundle,
}

/// Which state of which object an item carries: a newer state takes the place of an older one that still waits.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ObjectState {
    /// `KIND/ID` of the object.
    pub object: String,
    pub version: u64,
}

/// An item to be sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OutItem {
    pub id: ItemId,
    pub kind: ItemKind,
    pub priority: Priority,
    pub length: u64,
    pub digest: Digest,
    /// What it is about, for people: a package id, or `KIND/ID` of an object.
    pub subject: String,
    /// For a bundle: the manifest it leads to.
    pub target: Option<Digest>,
    /// For a bundle: the manifests it builds on.
    pub bases: Vec<Digest>,
    /// What somebody has put before all others of its class has a smaller one; 0 unless somebody did.
    pub rank: i64,
    /// When it is needed: within a class and kind, what is needed first goes first.
    pub deadline: Option<Timestamp>,
    /// Among those, the oldest goes first.
    pub queued_at: Timestamp,
    /// How many of its bytes can be read already; the rest is still coming in. At most its length.
    pub available: u64,
    /// The bytes of a small item: they travel within the offer where the link allows it.
    pub inline: Option<Vec<u8>>,
    /// For an object: which state it is.
    pub state: Option<ObjectState>,
}

impl ItemId {
    /// The id of the item whose bytes have this digest.
    pub fn of(digest: &Digest) -> Self {
        let mut id = [0; 16];
        id.copy_from_slice(&digest.as_bytes()[..16]);
        ItemId(id)
    }

    pub fn as_bytes(&self) -> &[u8; 16] {
        &self.0
    }
}

impl TryFrom<&[u8]> for ItemId {
    type Error = ItemIdError;

    fn try_from(bytes: &[u8]) -> Result<Self, ItemIdError> {
        bytes.try_into().map(ItemId).map_err(|_| ItemIdError::Length(bytes.len()))
    }
}

impl FromStr for ItemId {
    type Err = ItemIdError;

    fn from_str(text: &str) -> Result<Self, ItemIdError> {
        let mut bytes = [0; 16];
        hex::decode_to_slice(text, &mut bytes)
            .map_err(|_| ItemIdError::Text(text.chars().take(40).collect()))?;
        Ok(ItemId(bytes))
    }
}

impl fmt::Display for ItemId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex::encode(self.0))
    }
}

impl fmt::Debug for ItemId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex::encode(&self.0[..4]))
    }
}

impl OutItem {
    /// What is wrong with it, if it cannot be offered to anybody.
    pub(super) fn fault(&self) -> Option<&'static str> {
        let inline_length = self.inline.as_ref().map(|bytes| bytes.len() as u64);
        if self.length > limits::ITEM_BYTES_MAX {
            Some("its length is above the limit")
        } else if self.subject.len() > limits::SUBJECT_BYTES_MAX {
            Some("its subject is too long")
        } else if self.bases.len() > limits::BASES_MAX {
            Some("it builds on too many manifests")
        } else if inline_length.is_some_and(|length| length != self.length) {
            Some("its inline bytes are not of its length")
        } else if inline_length.is_some_and(|length| length > limits::INLINE_BYTES_MAX as u64) {
            Some("it is too long to be sent inline")
        } else if self.available > self.length {
            Some("more of it is available than it has")
        } else {
            None
        }
    }
}
