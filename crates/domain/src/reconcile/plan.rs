//! The rule of repair: what one side does about an object that the two hold differently.

use std::cmp::Ordering;

use crate::{
    Digest,
    object::{Direction, ObjectKind},
};

/// Which end of the link this side is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Side {
    Parent,
    Child,
}

impl Side {
    /// The set that this side sends by ordinary replication.
    pub fn sends(self) -> Direction {
        match self {
            Side::Parent => Direction::Down,
            Side::Child => Direction::Up,
        }
    }
}

/// Where an object was made, as seen from this side.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Owner {
    Here,
    Peer,
    Elsewhere,
}

/// An object as this side holds it, and what it believes of the peer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Held {
    pub kind: ObjectKind,
    pub id: String,
    pub owner: Owner,
    pub version: u64,
    /// Of the bytes as stored.
    pub digest: Digest,
    /// The peer has said that it holds this version.
    pub is_acknowledged: bool,
}

/// An object that the two sides hold differently, or only one of them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Differing<'a> {
    pub kind: ObjectKind,
    pub id: &'a str,
    pub own: Option<&'a Held>,
    /// The peer's version and the digest of its bytes.
    pub peer: Option<(u64, Digest)>,
}

/// What this side does about it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Repair {
    /// It is on its way, or the other side acts on the same sight, or nobody on this link can.
    Leave,
    /// Forget that the peer acknowledged it: ordinary replication then offers it.
    OfferAgain,
    /// Send it against its ordinary way: the peer has lost what it gave, or what was given to it.
    GiveBack,
    /// One version has two contents: the owner writes its own one anew as a higher version.
    Raise,
    /// This side lost it, or what it had become, and the peer gives it back. Somebody should know.
    Await,
}

/// What one side does about an object; the other side sees the same and does its own part.
///
/// The highest version wins, wherever it is found. Ordinary replication brings it where this side sends the set.
/// Against the stream comes only what can be trusted: an object that goes down is signed by its owner, so a child may
/// hand it to a parent that lost it; one that goes up is not, so a parent hands it to its very owner only. What the
/// owner takes back it corrects as it corrects any state that is out of date.
///
/// Two contents of one version mean that a database was restored and then changed. The owner alone can settle that. For
/// what goes down it is not told by a listing, which anybody could make up, but by the signed copy that the child gives
/// back.
pub fn repair(side: Side, set: Direction, differing: &Differing<'_>) -> Repair {
    let sends = side.sends() == set;
    let Some(own) = differing.own else {
        return if sends { Repair::Await } else { Repair::Leave };
    };
    let peer_version = differing.peer.map(|(version, _)| version);
    match (peer_version.cmp(&Some(own.version)), set, own.owner) {
        (Ordering::Less, ..) if sends && own.is_acknowledged => Repair::OfferAgain,
        (Ordering::Less, ..) if sends => Repair::Leave,
        (Ordering::Less, Direction::Down, _) => Repair::GiveBack,
        (Ordering::Less, Direction::Up, Owner::Peer) => Repair::GiveBack,
        (Ordering::Equal, Direction::Up, Owner::Here) => Repair::Raise,
        (Ordering::Equal, Direction::Down, Owner::Peer) => Repair::GiveBack,
        (Ordering::Greater, ..) if sends => Repair::Await,
        _ => Repair::Leave,
    }
}
