//! Anti-entropy: two sites find what differs between them down a tree of digests, and repair it.
//!
//! Each side shows the root of the set that it sends, on connect and then now and then. Where the trees differ the
//! answers go one digit deeper, and where little is left both sides list it and act on what they see by
//! [`repair`]. Nothing is kept between the frames: a lost one costs time only.

mod plan;
mod tree;

#[cfg(test)]
mod tests;

pub use plan::{Differing, Held, Owner, Repair, Side, repair};
pub use tree::{Say, Tree, key};

use crate::{
    Digest,
    object::{Direction, ObjectKind},
};

/// Numbers that both sides keep to.
pub mod limits {
    /// Nodes in one comparison.
    pub const NODES_MAX: usize = 256;
    /// Entries in one listing.
    pub const ENTRIES_MAX: usize = 64;
    /// Hexadecimal digits of a prefix.
    pub const PREFIX_DIGITS_MAX: usize = 64;
}

/// A part of the tree: all entries whose key begins with these hexadecimal digits; empty for the root.
pub type Prefix = String;

/// "This is what I hold": nodes of the sender's tree, for the receiver to compare with its own.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Compare {
    /// The objects that are compared: those that go down from parent to child, or those that go up.
    pub set: Direction,
    pub nodes: Vec<Node>,
}

/// A part of one side's tree, in short.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Node {
    pub prefix: Prefix,
    pub entries: u64,
    pub digest: Digest,
}

/// Everything that the sender holds under a prefix, once it is little.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listing {
    pub set: Direction,
    pub prefix: Prefix,
    pub entries: Vec<Entry>,
    /// It answers a listing of the same prefix: both sides have now seen both.
    pub is_answer: bool,
}

/// One object as one side holds it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// The kind's name; of a later version perhaps one that is not known here.
    pub kind: String,
    pub id: String,
    pub version: u64,
    /// Of the bytes as stored.
    pub digest: Digest,
}

impl Compare {
    /// Whether it opens a comparison.
    pub fn is_root(&self) -> bool {
        matches!(self.nodes.as_slice(), [node] if node.prefix.is_empty())
    }
}

/// Whether objects of this kind are compared in this set. Messages are not: each site forgets old ones by itself.
pub fn is_compared(kind: ObjectKind, set: Direction) -> bool {
    kind.direction() == set && kind != ObjectKind::Event
}
