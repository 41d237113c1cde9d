//! Objects: the small records that sites replicate, and the rule by which copies become one.

use crate::{Digest, id::SiteCode, site::SitePath};

/// What an object is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ObjectKind {
    Package,
    Distribution,
    Collection,
    Advertisement,
    Trust,
    Kill,
    Site,
    DistributionPoint,
    Client,
    PackageStatus,
    AdvertisementStatus,
    Event,
    ParcelReceipt,
    SiteHealth,
}

/// Which way an object travels.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Direction {
    /// From its owner to every site below.
    Down,
    /// From its owner to the central site.
    Up,
}

impl ObjectKind {
    pub const ALL: [ObjectKind; 14] = [
        ObjectKind::Package,
        ObjectKind::Distribution,
        ObjectKind::Collection,
        ObjectKind::Advertisement,
        ObjectKind::Trust,
        ObjectKind::Kill,
        ObjectKind::Site,
        ObjectKind::DistributionPoint,
        ObjectKind::Client,
        ObjectKind::PackageStatus,
        ObjectKind::AdvertisementStatus,
        ObjectKind::Event,
        ObjectKind::ParcelReceipt,
        ObjectKind::SiteHealth,
    ];

    pub fn direction(self) -> Direction {
        match self {
            ObjectKind::Package
            | ObjectKind::Distribution
            | ObjectKind::Collection
            | ObjectKind::Advertisement
            | ObjectKind::Trust
            | ObjectKind::Kill => Direction::Down,
            ObjectKind::Site
            | ObjectKind::DistributionPoint
            | ObjectKind::Client
            | ObjectKind::PackageStatus
            | ObjectKind::AdvertisementStatus
            | ObjectKind::Event
            | ObjectKind::ParcelReceipt
            | ObjectKind::SiteHealth => Direction::Up,
        }
    }

    pub fn as_str(self) -> &'static str {
        match self {
            ObjectKind::Package => "package",
            ObjectKind::Distribution => "distribution",
            ObjectKind::Collection => "collection",
            ObjectKind::Advertisement => "advertisement",
            ObjectKind::Trust => "trust",
            ObjectKind::Kill => "kill",
            ObjectKind::Site => "site",
            ObjectKind::DistributionPoint => "distribution-point",
            ObjectKind::Client => "client",
            ObjectKind::PackageStatus => "package-status",
            ObjectKind::AdvertisementStatus => "advertisement-status",
            ObjectKind::Event => "event",
            ObjectKind::ParcelReceipt => "parcel-receipt",
            ObjectKind::SiteHealth => "site-health",
        }
    }

    pub fn parse(text: &str) -> Option<ObjectKind> {
        ObjectKind::ALL.into_iter().find(|kind| kind.as_str() == text)
    }
}

/// A record with its body still encoded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Object {
    pub kind: ObjectKind,
    pub id: String,
    pub owner: SiteCode,
    pub version: u64,
    pub deleted: bool,
    pub body: Vec<u8>,
    /// The W3C trace context of the change that made it.
    pub traceparent: String,
}

pub const ID_LENGTH_MAX: usize = 128;
pub const BODY_LENGTH_MAX: usize = 1024 * 1024;

/// What is known of a copy that is already held.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Held {
    pub owner: SiteCode,
    pub version: u64,
    /// Of the bytes as stored.
    pub digest: Digest,
}

/// What to do with an arriving copy.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Merge {
    /// It is news.
    Adopt,
    /// It is held, or something newer is.
    Held,
    /// One name and one version, two contents: keep what is held and raise an alarm.
    Conflict,
}

/// The merge rule: the highest version wins, whatever came first, twice or late.
pub fn merge(held: Option<&Held>, owner: &SiteCode, version: u64, digest: &Digest) -> Merge {
    match held {
        None => Merge::Adopt,
        Some(held) if held.owner != *owner => Merge::Conflict,
        Some(held) if version > held.version => Merge::Adopt,
        Some(held) if version == held.version && held.digest != *digest => Merge::Conflict,
        Some(_) => Merge::Held,
    }
}

/// Who handed an object over.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum From<'a> {
    Parent,
    /// A child, with the sites known to lie below it, itself included.
    Child(&'a [SiteCode]),
}

/// Why an object is not taken from this peer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NotAllowed {
    #[error("a {} object goes {}, and came the other way", kind.as_str(), way(*kind))]
    WrongWay { kind: ObjectKind },
    #[error("{owner} is not above this site ({path}) and cannot own a {kind} here", kind = kind.as_str())]
    OwnerNotAbove { kind: ObjectKind, owner: SiteCode, path: SitePath },
    #[error("{owner} is not below the child that sent its {kind}", kind = kind.as_str())]
    OwnerNotBelow { kind: ObjectKind, owner: SiteCode },
}

fn way(kind: ObjectKind) -> &'static str {
    match kind.direction() {
        Direction::Down => "down",
        Direction::Up => "up",
    }
}

/// Whether a peer may hand over an object of this kind and owner to the site at the end of `path`.
///
/// Against their way objects come back to who lost them: what goes down, and is signed by its owner, from a child; what
/// goes up to its very owner. Messages do not: each site forgets old ones by itself.
pub fn admit(kind: ObjectKind, owner: &SiteCode, from: &From<'_>, path: &SitePath) -> Result<(), NotAllowed> {
    match (kind.direction(), from) {
        (Direction::Down, From::Parent)
            if path.parent().is_some() && path.site() != owner && path.is_under(owner) =>
        {
            Ok(())
        }
        (Direction::Down, From::Parent) => {
            Err(NotAllowed::OwnerNotAbove { kind, owner: owner.clone(), path: path.clone() })
        }
        (Direction::Down, From::Child(_)) if path.is_under(owner) => Ok(()),
        (Direction::Up, From::Parent)
            if path.parent().is_some() && path.site() == owner && kind != ObjectKind::Event =>
        {
            Ok(())
        }
        (Direction::Up, From::Child(below)) if below.contains(owner) => Ok(()),
        (Direction::Up, From::Child(_)) => Err(NotAllowed::OwnerNotBelow { kind, owner: owner.clone() }),
        _ => Err(NotAllowed::WrongWay { kind }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn code(text: &str) -> SiteCode {
        text.parse().expect("a site code")
    }

    fn path(codes: &[&str]) -> SitePath {
        SitePath::new(codes.iter().map(|text| code(text)).collect()).expect("a path")
    }

    #[test]
    fn the_highest_version_wins_in_any_order() {
        let held = Held { owner: code("CEN"), version: 3, digest: Digest([3; 32]) };

        assert_eq!(merge(None, &code("CEN"), 1, &Digest([1; 32])), Merge::Adopt);
        assert_eq!(merge(Some(&held), &code("CEN"), 4, &Digest([4; 32])), Merge::Adopt);
        assert_eq!(merge(Some(&held), &code("CEN"), 3, &Digest([3; 32])), Merge::Held);
        assert_eq!(merge(Some(&held), &code("CEN"), 2, &Digest([2; 32])), Merge::Held);
        assert_eq!(merge(Some(&held), &code("CEN"), 3, &Digest([9; 32])), Merge::Conflict);
        assert_eq!(
            merge(Some(&held), &code("PAR"), 9, &Digest([9; 32])),
            Merge::Conflict,
            "an owner never changes"
        );
    }

    #[test]
    fn a_child_sends_no_policy_and_a_parent_no_status() {
        let here = path(&["CEN", "PAR"]);
        let below = [code("LYO")];

        assert!(admit(ObjectKind::Package, &code("CEN"), &From::Parent, &here).is_ok());
        assert!(admit(ObjectKind::PackageStatus, &code("LYO"), &From::Child(&below), &here).is_ok());
        assert!(matches!(
            admit(ObjectKind::Package, &code("LYO"), &From::Child(&below), &here),
            Err(NotAllowed::WrongWay { .. })
        ));
        assert!(matches!(
            admit(ObjectKind::PackageStatus, &code("CEN"), &From::Parent, &here),
            Err(NotAllowed::WrongWay { .. })
        ));
    }

    #[test]
    fn what_was_lost_comes_back_against_its_way() {
        let here = path(&["CEN", "PAR"]);
        let child = From::Child(&[]);

        assert!(admit(ObjectKind::Package, &code("CEN"), &child, &here).is_ok());
        assert!(admit(ObjectKind::Package, &code("PAR"), &child, &here).is_ok());
        assert!(admit(ObjectKind::Client, &code("PAR"), &From::Parent, &here).is_ok());
        for (kind, owner) in
            [(ObjectKind::Event, "PAR"), (ObjectKind::Client, "LYO"), (ObjectKind::Client, "CEN")]
        {
            let result = admit(kind, &code(owner), &From::Parent, &here);
            assert!(matches!(result, Err(NotAllowed::WrongWay { .. })), "{kind:?} of {owner}");
        }
        let central = path(&["CEN"]);
        assert!(admit(ObjectKind::Client, &code("CEN"), &From::Parent, &central).is_err());
    }

    #[test]
    fn nobody_speaks_for_a_site_that_is_not_on_its_side() {
        let here = path(&["CEN", "PAR"]);

        assert!(matches!(
            admit(ObjectKind::Package, &code("MAR"), &From::Parent, &here),
            Err(NotAllowed::OwnerNotAbove { .. })
        ));
        assert!(matches!(
            admit(ObjectKind::Package, &code("PAR"), &From::Parent, &here),
            Err(NotAllowed::OwnerNotAbove { .. })
        ));
        assert!(matches!(
            admit(ObjectKind::Client, &code("MAR"), &From::Child(&[code("LYO")]), &here),
            Err(NotAllowed::OwnerNotBelow { .. })
        ));
    }

    #[test]
    fn kinds_keep_their_names() {
        for kind in ObjectKind::ALL {
            assert_eq!(ObjectKind::parse(kind.as_str()), Some(kind));
        }
    }
}
