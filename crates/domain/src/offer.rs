//! Offer Manager's decision: whether a site offers an advertisement, and what holds it back.

use std::fmt;

use crate::{Timestamp, advertisement::Advertisement, id::PackageId, kill::Killed};

/// What a site knows that bears on one advertisement.
#[derive(Debug, Clone)]
pub struct OfferView<'a> {
    pub advertisement: &'a Advertisement,
    /// The collection's definition has arrived.
    pub collection_known: bool,
    /// Its members at this site.
    pub members: usize,
    /// `None`: the package's definition has not arrived.
    pub package: Option<PackageView>,
    pub now: Timestamp,
}

/// The advertised package at this site.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PackageView {
    /// Its present release must not run.
    pub killed: Option<Killed>,
    pub has_source: bool,
    pub has_program: bool,
    /// Distribution points of this site that should hold it.
    pub points_targeted: usize,
    /// Those that hold its present version.
    pub points_installed: usize,
}

/// Why an advertisement is not offered at a site.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum HeldBack {
    Expired,
    CollectionUnknown,
    NoMembers,
    PackageUnknown(PackageId),
    Killed(Killed),
    NoSuchProgram,
    NoPoint,
    NotOnAnyPoint,
}

impl fmt::Display for HeldBack {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            HeldBack::Expired => f.write_str("it has expired"),
            HeldBack::CollectionUnknown => f.write_str("the collection has not arrived at this site yet"),
            HeldBack::NoMembers => f.write_str("the collection has no member at this site"),
            HeldBack::PackageUnknown(package) => {
                write!(f, "package {package} has not arrived at this site yet")
            }
            HeldBack::Killed(killed) => write!(f, "the package is {killed}"),
            HeldBack::NoSuchProgram => f.write_str("the package has no such program"),
            HeldBack::NoPoint => f.write_str(
                "the package is sent to no distribution point of this site; use `packhorse package send`",
            ),
            HeldBack::NotOnAnyPoint => {
                f.write_str("the content is not yet on any distribution point of this site")
            }
        }
    }
}

/// The gates of the original: no instruction before the collection has a member; not advertised before the content is
/// on at least one distribution point of the site.
///
/// What was killed is told before what could be mended: nothing that is done about the rest makes it run.
pub fn held_back(view: &OfferView<'_>) -> Option<HeldBack> {
    if view.advertisement.is_expired(view.now) {
        return Some(HeldBack::Expired);
    }
    if let Some(killed) = view.package.as_ref().and_then(|package| package.killed.clone()) {
        return Some(HeldBack::Killed(killed));
    }
    if !view.collection_known {
        return Some(HeldBack::CollectionUnknown);
    }
    if view.members == 0 {
        return Some(HeldBack::NoMembers);
    }
    let Some(package) = &view.package else {
        return Some(HeldBack::PackageUnknown(view.advertisement.package.clone()));
    };
    if !package.has_program {
        return Some(HeldBack::NoSuchProgram);
    }
    match (package.has_source, package.points_targeted, package.points_installed) {
        (false, ..) => None,
        (true, _, 1..) => None,
        (true, 0, 0) => Some(HeldBack::NoPoint),
        (true, _, 0) => Some(HeldBack::NotOnAnyPoint),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Priority;

    fn advertisement() -> Advertisement {
        Advertisement {
            id: "CEN20001".parse().expect("an id"),
            name: "tills".into(),
            package: "CEN00001".parse().expect("an id"),
            program: "install".parse().expect("a name"),
            collection: "CEN10001".parse().expect("an id"),
            required: true,
            start_at: None,
            expires_at: Some(Timestamp(100)),
            rerun_on_update: true,
            priority: Priority::Medium,
            ignore_windows: false,
        }
    }

    #[test]
    fn every_gate_holds() {
        let advertisement = advertisement();
        let package = PackageView {
            killed: None,
            has_source: true,
            has_program: true,
            points_targeted: 1,
            points_installed: 1,
        };
        let open = OfferView {
            advertisement: &advertisement,
            collection_known: true,
            members: 1,
            package: Some(package.clone()),
            now: Timestamp(99),
        };
        let with = |package| OfferView { package: Some(package), ..open.clone() };
        let killed = Killed { site: "CEN".parse().expect("a code"), reason: "it wipes disks".into() };
        let is_killed = PackageView { killed: Some(killed.clone()), ..package.clone() };

        assert_eq!(held_back(&open), None);
        for (view, reason) in [
            (OfferView { now: Timestamp(100), ..open.clone() }, HeldBack::Expired),
            (OfferView { collection_known: false, ..open.clone() }, HeldBack::CollectionUnknown),
            (OfferView { members: 0, ..open.clone() }, HeldBack::NoMembers),
            (
                OfferView { package: None, ..open.clone() },
                HeldBack::PackageUnknown(advertisement.package.clone()),
            ),
            (with(is_killed.clone()), HeldBack::Killed(killed.clone())),
            (OfferView { members: 0, ..with(is_killed.clone()) }, HeldBack::Killed(killed)),
            (OfferView { now: Timestamp(100), ..with(is_killed) }, HeldBack::Expired),
            (with(PackageView { has_program: false, ..package.clone() }), HeldBack::NoSuchProgram),
            (with(PackageView { points_installed: 0, ..package.clone() }), HeldBack::NotOnAnyPoint),
            (
                with(PackageView { points_installed: 0, points_targeted: 0, ..package.clone() }),
                HeldBack::NoPoint,
            ),
        ] {
            assert_eq!(held_back(&view), Some(reason));
        }
    }

    #[test]
    fn a_package_without_source_needs_no_distribution_point() {
        let advertisement = advertisement();
        let package = PackageView {
            killed: None,
            has_source: false,
            has_program: true,
            points_targeted: 0,
            points_installed: 0,
        };
        let view = OfferView {
            advertisement: &advertisement,
            collection_known: true,
            members: 1,
            package: Some(package),
            now: Timestamp(0),
        };

        assert_eq!(held_back(&view), None);
    }
}
