//! One side's tree: a sorted list, of which any part can be summed up, listed and compared.

use std::{cmp::Ordering, collections::BTreeMap, ops::Range};

use crate::{
    Digest,
    object::{Direction, ObjectKind},
    reconcile::{Compare, Differing, Entry, Held, Listing, Node, is_compared, limits},
};

/// What a side says next.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Say {
    Compare(Compare),
    List(Listing),
}

/// What one side holds of a set, in the order of the keys.
#[derive(Debug)]
pub struct Tree {
    set: Direction,
    leaves: Vec<Leaf>,
}

#[derive(Debug)]
struct Leaf {
    key: Digest,
    held: Held,
}

/// Where an object hangs in the tree. Keys are digests so that the tree is even, whatever the names are.
pub fn key(kind: &str, id: &str) -> Digest {
    let mut hasher = blake3::Hasher::new();
    hasher.update(kind.as_bytes()).update(b"/").update(id.as_bytes());
    Digest(*hasher.finalize().as_bytes())
}

impl Tree {
    pub fn new(set: Direction, held: Vec<Held>) -> Self {
        let leaves = held.into_iter().filter(|held| is_compared(held.kind, set));
        let mut leaves: Vec<Leaf> =
            leaves.map(|held| Leaf { key: key(held.kind.as_str(), &held.id), held }).collect();
        leaves.sort_unstable_by_key(|leaf| leaf.key);
        Tree { set, leaves }
    }

    /// What opens a comparison.
    pub fn root(&self) -> Compare {
        Compare { set: self.set, nodes: vec![self.node(&[])] }
    }

    /// What to say to nodes of the peer's tree: nothing to those that are the same here. The answers beyond
    /// `frames_max` are left for a later comparison.
    pub fn answer(&self, compare: &Compare, frames_max: usize) -> Vec<Say> {
        let mut nodes: Vec<&Node> = compare.nodes.iter().collect();
        nodes.sort_unstable_by_key(|node| &node.prefix);
        let mut says = Vec::new();
        let mut deeper = Vec::new();
        let mut last: Option<&Node> = None;
        for node in nodes {
            // Nodes within each other are no comparison of ours, and would have us sum up the same part many times.
            if last.is_some_and(|last| node.prefix.starts_with(&last.prefix)) {
                continue;
            }
            last = Some(node);
            let Some(digits) = digits(&node.prefix) else {
                continue;
            };
            let own = self.node(&digits);
            if own == *node {
                continue;
            }
            if self.under(&digits).len() <= limits::ENTRIES_MAX {
                says.push(Say::List(self.list(&node.prefix, &digits, false)));
            } else {
                deeper.extend(self.children(&digits));
            }
        }
        let compares = deeper.chunks(limits::NODES_MAX);
        says.extend(compares.map(|nodes| Say::Compare(Compare { set: self.set, nodes: nodes.to_vec() })));
        says.truncate(frames_max);
        says
    }

    /// What to say to the peer's listing. Where much more is held here it goes deeper instead, so that the peer lists
    /// smaller parts.
    pub fn answer_listing(&self, listing: &Listing) -> Option<Say> {
        let digits = digits(&listing.prefix).filter(|_| !listing.is_answer)?;
        Some(if self.under(&digits).len() <= limits::ENTRIES_MAX {
            Say::List(self.list(&listing.prefix, &digits, true))
        } else {
            Say::Compare(Compare { set: self.set, nodes: self.children(&digits).collect() })
        })
    }

    /// What differs between a part of this tree and the peer's listing of it. Nothing where so much is held here that
    /// smaller parts will be listed. Of the peer's entries those count that belong there and whose kind is known.
    pub fn differing<'a>(&'a self, listing: &'a Listing) -> Vec<Differing<'a>> {
        let Some(digits) = digits(&listing.prefix) else {
            return Vec::new();
        };
        let own = &self.leaves[self.under(&digits)];
        if own.len() > limits::ENTRIES_MAX {
            return Vec::new();
        }
        let known = |entry: &'a Entry| {
            let kind = ObjectKind::parse(&entry.kind).filter(|kind| is_compared(*kind, self.set))?;
            let key = key(&entry.kind, &entry.id);
            (order(&key, &digits) == Ordering::Equal).then_some((key, (kind, entry)))
        };
        let mut theirs: BTreeMap<Digest, _> = listing.entries.iter().filter_map(known).collect();
        let mut differing = Vec::new();
        for Leaf { key, held } in own {
            let peer = theirs.remove(key).map(|(_, entry)| (entry.version, entry.digest));
            if peer != Some((held.version, held.digest)) {
                differing.push(Differing { kind: held.kind, id: &held.id, own: Some(held), peer });
            }
        }
        differing.extend(theirs.into_values().map(|(kind, entry)| Differing {
            kind,
            id: &entry.id,
            own: None,
            peer: Some((entry.version, entry.digest)),
        }));
        differing
    }

    fn node(&self, digits: &[u8]) -> Node {
        let leaves = &self.leaves[self.under(digits)];
        let mut hasher = blake3::Hasher::new();
        for Leaf { key, held } in leaves {
            hasher.update(key.as_bytes()).update(&held.version.to_le_bytes()).update(held.digest.as_bytes());
        }
        Node {
            prefix: digits.iter().filter_map(|digit| char::from_digit(u32::from(*digit), 16)).collect(),
            entries: leaves.len() as u64,
            digest: Digest(*hasher.finalize().as_bytes()),
        }
    }

    /// The sixteen parts of a part; none of one whose key is complete.
    fn children(&self, digits: &[u8]) -> impl Iterator<Item = Node> {
        let is_complete = digits.len() >= limits::PREFIX_DIGITS_MAX;
        (0..16u8).filter(move |_| !is_complete).map(move |digit| self.node(&[digits, &[digit]].concat()))
    }

    fn list(&self, prefix: &str, digits: &[u8], is_answer: bool) -> Listing {
        let entries = self.leaves[self.under(digits)].iter().map(|Leaf { held, .. }| Entry {
            kind: held.kind.as_str().to_owned(),
            id: held.id.clone(),
            version: held.version,
            digest: held.digest,
        });
        Listing { set: self.set, prefix: prefix.to_owned(), entries: entries.collect(), is_answer }
    }

    fn under(&self, digits: &[u8]) -> Range<usize> {
        let start = self.leaves.partition_point(|leaf| order(&leaf.key, digits) == Ordering::Less);
        let end = self.leaves.partition_point(|leaf| order(&leaf.key, digits) != Ordering::Greater);
        start..end
    }
}

/// Whether a key is before, within or after a part of the tree.
fn order(key: &Digest, digits: &[u8]) -> Ordering {
    let of_key = key.as_bytes().iter().flat_map(|byte| [byte >> 4, byte & 15]).take(digits.len());
    of_key.cmp(digits.iter().copied())
}

/// The digits of a prefix; `None` of what is none.
fn digits(prefix: &str) -> Option<Vec<u8>> {
    let digit = |char: char| char.to_digit(16).and_then(|digit| u8::try_from(digit).ok());
    let digits: Option<Vec<u8>> = prefix.chars().map(digit).collect();
    digits.filter(|digits| digits.len() <= limits::PREFIX_DIGITS_MAX)
}
