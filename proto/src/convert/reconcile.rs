//! Anti-entropy's comparisons and listings.

use packhorse_domain::{
    object::{Direction, ID_LENGTH_MAX},
    reconcile::{Compare, Entry, Listing, Node, limits},
};

use super::{ConvertError, digest, digest_bytes, limited};
use crate::link::v1 as wire;

/// Bytes of a kind's name: those of a later version are not longer.
const KIND_LENGTH_MAX: usize = 64;

/// A prefix that is not hexadecimal.
#[derive(Debug, thiserror::Error)]
#[error("hexadecimal digits in lower case are expected")]
struct NotHexadecimal;

impl From<Compare> for wire::Compare {
    fn from(compare: Compare) -> Self {
        let nodes = compare.nodes.into_iter().map(|node| wire::compare::Node {
            prefix: node.prefix,
            entries: node.entries,
            digest: digest_bytes(&node.digest),
        });
        wire::Compare { set: set(compare.set).into(), nodes: nodes.collect() }
    }
}

impl TryFrom<wire::Compare> for Compare {
    type Error = ConvertError;

    fn try_from(compare: wire::Compare) -> Result<Self, ConvertError> {
        limited("nodes", &compare.nodes, limits::NODES_MAX)?;
        let node = |node: wire::compare::Node| {
            Ok(Node {
                prefix: prefix(node.prefix)?,
                entries: node.entries,
                digest: digest("digest", &node.digest)?,
            })
        };
        Ok(Compare {
            set: read_set(compare.set)?,
            nodes: compare.nodes.into_iter().map(node).collect::<Result<_, _>>()?,
        })
    }
}

impl From<Listing> for wire::Listing {
    fn from(listing: Listing) -> Self {
        let entries = listing.entries.into_iter().map(|entry| wire::listing::Entry {
            kind: entry.kind,
            id: entry.id,
            version: entry.version,
            digest: digest_bytes(&entry.digest),
        });
        wire::Listing {
            set: set(listing.set).into(),
            prefix: listing.prefix,
            entries: entries.collect(),
            is_answer: listing.is_answer,
        }
    }
}

impl TryFrom<wire::Listing> for Listing {
    type Error = ConvertError;

    fn try_from(listing: wire::Listing) -> Result<Self, ConvertError> {
        limited("entries", &listing.entries, limits::ENTRIES_MAX)?;
        let entry = |entry: wire::listing::Entry| {
            limited("kind", entry.kind.as_bytes(), KIND_LENGTH_MAX)?;
            limited("id", entry.id.as_bytes(), ID_LENGTH_MAX)?;
            Ok(Entry {
                kind: entry.kind,
                id: entry.id,
                version: entry.version,
                digest: digest("digest", &entry.digest)?,
            })
        };
        Ok(Listing {
            set: read_set(listing.set)?,
            prefix: prefix(listing.prefix)?,
            entries: listing.entries.into_iter().map(entry).collect::<Result<_, _>>()?,
            is_answer: listing.is_answer,
        })
    }
}

fn set(set: Direction) -> wire::ObjectSet {
    match set {
        Direction::Down => wire::ObjectSet::Down,
        Direction::Up => wire::ObjectSet::Up,
    }
}

fn read_set(value: i32) -> Result<Direction, ConvertError> {
    match wire::ObjectSet::try_from(value) {
        Ok(wire::ObjectSet::Down) => Ok(Direction::Down),
        Ok(wire::ObjectSet::Up) => Ok(Direction::Up),
        Ok(wire::ObjectSet::Unspecified) | Err(_) => Err(ConvertError::Unknown { field: "set", value }),
    }
}

fn prefix(text: String) -> Result<String, ConvertError> {
    limited("prefix", text.as_bytes(), limits::PREFIX_DIGITS_MAX)?;
    if text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f')) {
        Ok(text)
    } else {
        Err(super::invalid("prefix", NotHexadecimal))
    }
}
