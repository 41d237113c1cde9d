//! How far a package is at each place, and when nothing more is to be waited for.

use packhorse_proto::{
    object::v1::{PackageState, PackageStatus},
    provider::v1 as wire,
};
use serde::Serialize;

use crate::view::{
    Screen, View, clock, or_dash, section, summary::PackageSummary, table, time, transfer::Transfer, word,
};

#[derive(Debug, Serialize)]
pub(crate) struct PackageProgress {
    package: String,
    /// The places in numbers; `None` from a site server that does not count yet.
    summary: Option<PackageSummary>,
    places: Vec<Place>,
    transfers: Vec<Transfer>,
}

#[derive(Debug, Serialize)]
pub(crate) struct Place {
    site: String,
    /// `None`: the site's own content library.
    distribution_point: Option<String>,
    state: String,
    source_version: u64,
    held: Vec<String>,
    reason: String,
    changed_at: Option<String>,
}

impl From<PackageStatus> for Place {
    fn from(status: PackageStatus) -> Self {
        Place {
            state: word(
                PackageState::try_from(status.state).map(|state| state.as_str_name()),
                "PACKAGE_STATE_",
            ),
            site: status.site,
            distribution_point: Some(status.distribution_point).filter(|point| !point.is_empty()),
            source_version: status.source_version,
            held: status.held.iter().map(hex::encode).collect(),
            reason: status.reason,
            changed_at: time(status.changed_at_us),
        }
    }
}

impl PackageProgress {
    pub(crate) fn new(package: &str, answer: wire::GetPackageStatusResponse) -> Self {
        PackageProgress {
            package: package.to_owned(),
            summary: answer.summary.map(PackageSummary::from),
            places: answer.places.into_iter().map(Place::from).collect(),
            transfers: answer.transfers.into_iter().map(Transfer::from).collect(),
        }
    }

    pub(crate) fn places(&self) -> &[Place] {
        &self.places
    }

    pub(crate) fn transfers(&self) -> &[Transfer] {
        &self.transfers
    }

    /// Whether every place has come to an end with the package's version. A target that has not reported yet, or
    /// that tells of an older version, is waited for.
    pub(crate) fn is_settled(&self, package: &wire::Package) -> bool {
        let wanted = package.version.as_ref().map_or(0, |version| version.source_version);
        let reported = |target: &packhorse_proto::object::v1::distribution::Target| {
            self.places.iter().any(|place| {
                place.site == target.site
                    && place.distribution_point.as_deref() == Some(target.distribution_point.as_str())
            })
        };
        let without_source = wanted == 0;
        self.places.iter().all(|place| place.is_settled(wanted))
            && (without_source || package.targets.iter().all(reported))
            && self.transfers.iter().all(Transfer::is_settled)
    }
}

impl Place {
    pub(crate) fn name(&self) -> String {
        match &self.distribution_point {
            Some(point) => format!("{}/{point}", self.site),
            None => format!("{} library", self.site),
        }
    }

    pub(crate) fn headline(&self) -> String {
        format!("{} {} version {} {}", self.name(), self.state, self.source_version, self.reason)
    }

    pub(crate) fn is_settled(&self, wanted: u64) -> bool {
        matches!(self.state.as_str(), "installed" | "failed") && self.source_version >= wanted
    }
}

impl View for PackageProgress {
    fn text(&self, screen: Screen) -> String {
        let row = |place: &Place| {
            [
                place.name(),
                place.state.clone(),
                place.source_version.to_string(),
                clock(place.changed_at.as_deref()),
                or_dash(&place.reason),
            ]
        };
        let rows: Vec<_> = self.places.iter().map(row).collect();
        let mut places = table(screen, ["PLACE", "STATE", "VERSION", "SINCE", "REASON"], &rows, "no places");
        if let Some(summary) = &self.summary {
            places = format!("{}\n\n{places}", summary.headline());
        }
        if self.transfers.is_empty() {
            return places;
        }
        places + &section("Transfers", &Transfer::table(&self.transfers, screen))
    }
}

#[cfg(test)]
mod tests {
    use packhorse_proto::object::v1::{PackageVersion, distribution::Target};

    use super::*;

    const PIPE: Screen = Screen { terminal: false };

    fn package(source_version: u64) -> wire::Package {
        wire::Package {
            version: Some(PackageVersion { source_version, ..PackageVersion::default() }),
            targets: vec![Target { site: "PAR".into(), distribution_point: "desk".into() }],
            ..wire::Package::default()
        }
    }

    fn place(site: &str, point: &str, state: PackageState, source_version: u64) -> PackageStatus {
        PackageStatus {
            package: "CEN00001".into(),
            site: site.into(),
            distribution_point: point.into(),
            state: state.into(),
            source_version,
            held: vec![vec![0xCD; 32].into()],
            ..PackageStatus::default()
        }
    }

    fn progress(places: Vec<PackageStatus>, transfers: Vec<wire::Transfer>) -> PackageProgress {
        PackageProgress::new("CEN00001", wire::GetPackageStatusResponse { places, transfers, summary: None })
    }

    #[test]
    fn a_package_is_settled_when_every_target_has_its_version() {
        let library = || place("CEN", "", PackageState::Installed, 2);

        assert!(
            progress(vec![library(), place("PAR", "desk", PackageState::Installed, 2)], vec![])
                .is_settled(&package(2))
        );
        assert!(
            progress(vec![library(), place("PAR", "desk", PackageState::Failed, 2)], vec![])
                .is_settled(&package(2))
        );
        for open in [
            progress(vec![], vec![]),
            progress(vec![library()], vec![]),
            progress(vec![library(), place("PAR", "desk", PackageState::Pending, 2)], vec![]),
            progress(vec![library(), place("PAR", "desk", PackageState::Installed, 1)], vec![]),
            progress(
                vec![
                    library(),
                    place("PAR", "desk", PackageState::Installed, 2),
                    place("PAR", "old", PackageState::Removing, 2),
                ],
                vec![],
            ),
        ] {
            assert!(!open.is_settled(&package(2)), "{open:?}");
        }
    }

    #[test]
    fn a_transfer_under_way_is_waited_for() {
        let installed = || vec![place("PAR", "desk", PackageState::Installed, 1)];
        let transfer =
            |state: wire::TransferState| wire::Transfer { state: state.into(), ..Default::default() };

        assert!(!progress(installed(), vec![transfer(wire::TransferState::Sending)]).is_settled(&package(1)));
        assert!(progress(installed(), vec![transfer(wire::TransferState::Done)]).is_settled(&package(1)));
    }

    #[test]
    fn a_package_without_source_has_nothing_to_wait_for() {
        assert!(progress(vec![], vec![]).is_settled(&package(0)));
    }

    #[test]
    fn places_are_shown_and_documented() {
        let progress = progress(
            vec![
                place("CEN", "", PackageState::Installed, 2),
                place("PAR", "desk", PackageState::Retrying, 2),
            ],
            vec![wire::Transfer {
                item: "ab".into(),
                peer: "PAR".into(),
                outgoing: true,
                state: wire::TransferState::Sending.into(),
                bytes_done: 512,
                bytes_total: 1024,
                ..Default::default()
            }],
        );

        let text = progress.text(PIPE);
        for part in ["CEN library", "PAR/desk", "retrying", "to PAR", "sending", "512 B", "1.00 KiB"] {
            assert!(text.contains(part), "{part}: {text}");
        }
        let json = serde_json::to_value(&progress).expect("json");
        assert!(json["places"][0]["distribution_point"].is_null());
        assert_eq!(json["places"][1]["state"], "retrying");
        assert_eq!(json["places"][1]["held"][0], "cd".repeat(32));
        assert_eq!(
            (&json["transfers"][0]["direction"], &json["transfers"][0]["bytes_done"]),
            (&"to".into(), &512.into())
        );
    }
}
