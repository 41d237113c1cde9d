//! Tallies: how many places of a package, and how many clients of an advertisement, stand how.
//!
//! Nothing is counted from messages. Each row that is held counts in some cells. Whoever writes a row takes the cells of
//! the old one back and adds those of the new one, in the same transaction, so that a tally always equals the rows.

use std::collections::BTreeMap;

use crate::{
    advertisement::{Acceptance, Delivery},
    distribution::Distribution,
    id::{AdvertisementId, PackageId, SiteCode},
    package::PackageState,
    status::{AdvertisementStatus, PackageStatus},
};

/// What a row counts as, and how often.
pub type Counted = BTreeMap<Cell, i64>;

/// One number of a tally.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Cell {
    Package(PackageCell),
    Advertisement(AdvertisementCell),
}

/// Places of a package that stand alike.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct PackageCell {
    pub package: PackageId,
    /// `None`: of all sites.
    pub site: Option<SiteCode>,
    pub place: PlaceKind,
    pub standing: Standing,
    /// The version that the state is about; 0 of what is targeted.
    pub source_version: u64,
}

/// Where a place is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum PlaceKind {
    /// A site's own content library.
    Library,
    /// A distribution point.
    Point,
}

/// How a place stands, in the order of its columns.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Standing {
    /// The package is to be there, whether the place has said anything or not.
    Targeted,
    Installed,
    Pending,
    Retrying,
    Failed,
    Removing,
}

/// Clients of an advertisement that stand alike.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct AdvertisementCell {
    pub advertisement: AdvertisementId,
    /// `None`: of all sites.
    pub site: Option<SiteCode>,
    pub acceptance: Acceptance,
    pub delivery: Delivery,
}

impl PlaceKind {
    pub const ALL: [PlaceKind; 2] = [PlaceKind::Library, PlaceKind::Point];

    pub fn as_str(self) -> &'static str {
        match self {
            PlaceKind::Library => "library",
            PlaceKind::Point => "point",
        }
    }

    pub fn parse(text: &str) -> Option<PlaceKind> {
        PlaceKind::ALL.into_iter().find(|kind| kind.as_str() == text)
    }
}

impl Standing {
    pub const ALL: [Standing; 6] = [
        Standing::Targeted,
        Standing::Installed,
        Standing::Pending,
        Standing::Retrying,
        Standing::Failed,
        Standing::Removing,
    ];

    pub fn as_str(self) -> &'static str {
        match self {
            Standing::Targeted => "targeted",
            Standing::Installed => "installed",
            Standing::Pending => "pending",
            Standing::Retrying => "retrying",
            Standing::Failed => "failed",
            Standing::Removing => "removing",
        }
    }

    pub fn parse(text: &str) -> Option<Standing> {
        Standing::ALL.into_iter().find(|standing| standing.as_str() == text)
    }
}

impl From<PackageState> for Standing {
    fn from(state: PackageState) -> Self {
        match state {
            PackageState::Pending => Standing::Pending,
            PackageState::Installed => Standing::Installed,
            PackageState::Retrying => Standing::Retrying,
            PackageState::Failed => Standing::Failed,
            PackageState::Removing => Standing::Removing,
        }
    }
}

/// What a place counts as: one in its site and one in all.
pub fn of_package_status(status: &PackageStatus) -> Counted {
    let cell = |site| {
        Cell::Package(PackageCell {
            package: status.package.clone(),
            site,
            place: if status.point.is_some() { PlaceKind::Point } else { PlaceKind::Library },
            standing: status.state.into(),
            source_version: status.source_version,
        })
    };
    Counted::from([(cell(None), 1), (cell(Some(status.site.clone())), 1)])
}

/// What a distribution counts as: its targets, by site and in all.
pub fn of_distribution(distribution: &Distribution) -> Counted {
    let cell = |site| {
        Cell::Package(PackageCell {
            package: distribution.package.clone(),
            site,
            place: PlaceKind::Point,
            standing: Standing::Targeted,
            source_version: 0,
        })
    };
    let mut counted = Counted::new();
    for target in &distribution.targets {
        *counted.entry(cell(None)).or_default() += 1;
        *counted.entry(cell(Some(target.site.clone()))).or_default() += 1;
    }
    counted
}

/// What a client counts as: one in its site and one in all.
pub fn of_advertisement_status(status: &AdvertisementStatus) -> Counted {
    let cell = |site| {
        Cell::Advertisement(AdvertisementCell {
            advertisement: status.advertisement.clone(),
            site,
            acceptance: status.acceptance,
            delivery: status.delivery,
        })
    };
    Counted::from([(cell(None), 1), (cell(Some(status.site.clone())), 1)])
}

/// What changes when a row that counted as `before` counts as `after`. Cells that stay as they are are not in it.
pub fn change(before: Counted, after: Counted) -> Counted {
    let mut change = after;
    for (cell, times) in before {
        *change.entry(cell).or_default() -= times;
    }
    change.retain(|_, by| *by != 0);
    change
}

/// How the places of a package stand, as it is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Places {
    pub targeted: u64,
    /// With the newest version.
    pub installed: u64,
    /// With an older one.
    pub outdated: u64,
    pub pending: u64,
    pub retrying: u64,
    pub failed: u64,
    pub removing: u64,
}

impl Places {
    /// Adds the number of a cell; `newest` is the version that is to be there.
    pub fn add(&mut self, standing: Standing, source_version: u64, newest: u64, places: u64) {
        let column = match standing {
            Standing::Targeted => &mut self.targeted,
            Standing::Installed if source_version < newest => &mut self.outdated,
            Standing::Installed => &mut self.installed,
            Standing::Pending => &mut self.pending,
            Standing::Retrying => &mut self.retrying,
            Standing::Failed => &mut self.failed,
            Standing::Removing => &mut self.removing,
        };
        *column = column.saturating_add(places);
    }

    /// Places that were targeted and have said nothing yet. Places that are no longer targeted and not yet removing
    /// may hide some, for the moment until they are told so.
    pub fn silent(&self) -> u64 {
        let heard = self.installed + self.outdated + self.pending + self.retrying + self.failed;
        self.targeted.saturating_sub(heard)
    }
}

/// How the clients of an advertisement stand, as it is shown. Who rejected it, or for whom it expired, is in no other
/// column.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Clients {
    pub rejected: u64,
    pub expired: u64,
    pub waiting: u64,
    pub downloading: u64,
    pub retrying: u64,
    pub running: u64,
    pub succeeded: u64,
    pub failed: u64,
    pub interrupted: u64,
}

impl Clients {
    pub fn add(&mut self, acceptance: Acceptance, delivery: Delivery, clients: u64) {
        let column = match (acceptance, delivery) {
            (Acceptance::Rejected, _) => &mut self.rejected,
            (Acceptance::Expired, _) => &mut self.expired,
            (Acceptance::Accepted, Delivery::Waiting) => &mut self.waiting,
            (Acceptance::Accepted, Delivery::Downloading) => &mut self.downloading,
            (Acceptance::Accepted, Delivery::Retrying) => &mut self.retrying,
            (Acceptance::Accepted, Delivery::Running) => &mut self.running,
            (Acceptance::Accepted, Delivery::Succeeded) => &mut self.succeeded,
            (Acceptance::Accepted, Delivery::Failed) => &mut self.failed,
            (Acceptance::Accepted, Delivery::Interrupted) => &mut self.interrupted,
        };
        *column = column.saturating_add(clients);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Timestamp;

    fn place(site: &str, point: Option<&str>, state: PackageState, source_version: u64) -> PackageStatus {
        PackageStatus {
            package: "CEN00001".parse().expect("an id"),
            site: site.parse().expect("a code"),
            point: point.map(|point| point.parse().expect("a name")),
            state,
            source_version,
            held: vec![],
            reason: String::new(),
            changed_at: Timestamp(0),
        }
    }

    fn client(acceptance: Acceptance, delivery: Delivery) -> AdvertisementStatus {
        AdvertisementStatus {
            advertisement: "CEN20001".parse().expect("an id"),
            client: "3b0e1f7e-6f3f-4b69-9d8c-5d0f3c1f6a01".parse().expect("an id"),
            site: "PAR".parse().expect("a code"),
            hostname: String::new(),
            acceptance,
            delivery,
            exit_code: None,
            output_tail: String::new(),
            reason: String::new(),
            source_version: 1,
            changed_at: Timestamp(0),
            generation: 1,
            closed: None,
        }
    }

    fn shown(change: &Counted) -> Vec<String> {
        let one = |cell: &Cell| match cell {
            Cell::Package(cell) => format!(
                "{} {} {} v{}",
                cell.site.as_ref().map_or("all", SiteCode::as_str),
                cell.place.as_str(),
                cell.standing.as_str(),
                cell.source_version
            ),
            Cell::Advertisement(cell) => format!(
                "{} {} {}",
                cell.site.as_ref().map_or("all", SiteCode::as_str),
                cell.acceptance.as_str(),
                cell.delivery.as_str()
            ),
        };
        change.iter().map(|(cell, by)| format!("{by:+} {}", one(cell))).collect()
    }

    #[test]
    fn a_change_takes_back_what_the_old_row_counted_and_adds_the_new_one() {
        let pending = || of_package_status(&place("PAR", Some("dp1"), PackageState::Pending, 2));
        let installed = || of_package_status(&place("PAR", Some("dp1"), PackageState::Installed, 2));
        let nothing = Counted::new;

        for (before, after, expected) in [
            (nothing(), pending(), vec!["+1 all point pending v2", "+1 PAR point pending v2"]),
            (
                pending(),
                installed(),
                vec![
                    "+1 all point installed v2",
                    "-1 all point pending v2",
                    "+1 PAR point installed v2",
                    "-1 PAR point pending v2",
                ],
            ),
            (installed(), installed(), vec![]),
            (installed(), nothing(), vec!["-1 all point installed v2", "-1 PAR point installed v2"]),
            (
                nothing(),
                of_package_status(&place("CEN", None, PackageState::Removing, 0)),
                vec!["+1 all library removing v0", "+1 CEN library removing v0"],
            ),
        ] {
            assert_eq!(shown(&change(before, after)), expected);
        }
    }

    #[test]
    fn targets_are_counted_by_site_whether_they_have_said_anything_or_not() {
        let distribution = |targets: &[&str]| Distribution {
            package: "CEN00001".parse().expect("an id"),
            targets: targets.iter().map(|target| target.parse().expect("a target")).collect(),
        };
        let two = of_distribution(&distribution(&["LYO/a", "LYO/b", "PAR/a"]));
        assert_eq!(
            shown(&two),
            ["+3 all point targeted v0", "+2 LYO point targeted v0", "+1 PAR point targeted v0"]
        );

        let less = change(two, of_distribution(&distribution(&["LYO/a", "LYO/b"])));
        assert_eq!(shown(&less), ["-1 all point targeted v0", "-1 PAR point targeted v0"]);
    }

    #[test]
    fn each_client_is_in_one_column() {
        use {Acceptance as A, Delivery as D};
        for (acceptance, delivery, expected) in [
            (A::Rejected, D::Waiting, Clients { rejected: 3, ..Clients::default() }),
            (A::Expired, D::Succeeded, Clients { expired: 3, ..Clients::default() }),
            (A::Accepted, D::Waiting, Clients { waiting: 3, ..Clients::default() }),
            (A::Accepted, D::Downloading, Clients { downloading: 3, ..Clients::default() }),
            (A::Accepted, D::Retrying, Clients { retrying: 3, ..Clients::default() }),
            (A::Accepted, D::Running, Clients { running: 3, ..Clients::default() }),
            (A::Accepted, D::Succeeded, Clients { succeeded: 3, ..Clients::default() }),
            (A::Accepted, D::Failed, Clients { failed: 3, ..Clients::default() }),
            (A::Accepted, D::Interrupted, Clients { interrupted: 3, ..Clients::default() }),
        ] {
            let mut clients = Clients::default();
            clients.add(acceptance, delivery, 3);
            assert_eq!(clients, expected, "{acceptance:?} {delivery:?}");
        }
        let moved = change(
            of_advertisement_status(&client(A::Accepted, D::Running)),
            of_advertisement_status(&client(A::Accepted, D::Failed)),
        );
        assert_eq!(
            shown(&moved),
            [
                "-1 all accepted running",
                "+1 all accepted failed",
                "-1 PAR accepted running",
                "+1 PAR accepted failed"
            ]
        );
    }

    #[test]
    fn places_are_shown_against_the_version_that_is_to_be_there() {
        let mut places = Places::default();
        for (standing, version, count) in [
            (Standing::Targeted, 0, 10),
            (Standing::Installed, 3, 4),
            (Standing::Installed, 2, 2),
            (Standing::Failed, 3, 1),
            (Standing::Removing, 1, 5),
        ] {
            places.add(standing, version, 3, count);
        }
        assert_eq!((places.installed, places.outdated, places.failed, places.removing), (4, 2, 1, 5));
        assert_eq!(places.silent(), 3, "those that are removing were not asked to have it");
        assert_eq!(Places { installed: 5, ..Places::default() }.silent(), 0);
    }

    #[test]
    fn words_keep_their_meaning() {
        for standing in Standing::ALL {
            assert_eq!(Standing::parse(standing.as_str()), Some(standing));
        }
        for kind in PlaceKind::ALL {
            assert_eq!(PlaceKind::parse(kind.as_str()), Some(kind));
        }
        for acceptance in Acceptance::ALL {
            assert_eq!(Acceptance::parse(acceptance.as_str()), Some(acceptance));
        }
        for delivery in Delivery::ALL {
            assert_eq!(Delivery::parse(delivery.as_str()), Some(delivery));
        }
    }
}
