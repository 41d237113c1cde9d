//! Packages and advertisements in numbers.

use packhorse_proto::provider::v1 as wire;
use serde::Serialize;

use crate::view::{Screen, View, or_dash, table};

#[derive(Debug, Serialize)]
pub(crate) struct PackageSummaries {
    packages: Vec<PackageSummary>,
    #[serde(skip)]
    by_site: bool,
}

/// How the places of a package stand.
#[derive(Debug, Serialize)]
pub(crate) struct PackageSummary {
    package: String,
    name: String,
    /// `None`: of all sites.
    site: Option<String>,
    source_version: u64,
    points: Places,
    libraries: Places,
}

#[derive(Debug, Default, Serialize)]
struct Places {
    targeted: u64,
    installed: u64,
    outdated: u64,
    pending: u64,
    retrying: u64,
    failed: u64,
    removing: u64,
    silent: u64,
}

impl From<wire::PlaceCounts> for Places {
    fn from(counts: wire::PlaceCounts) -> Self {
        Places {
            targeted: counts.targeted,
            installed: counts.installed,
            outdated: counts.outdated,
            pending: counts.pending,
            retrying: counts.retrying,
            failed: counts.failed,
            removing: counts.removing,
            silent: counts.silent,
        }
    }
}

impl From<wire::PackageTally> for PackageSummary {
    fn from(summary: wire::PackageTally) -> Self {
        PackageSummary {
            package: summary.package,
            name: summary.name,
            site: Some(summary.site).filter(|site| !site.is_empty()),
            source_version: summary.source_version,
            points: summary.points.unwrap_or_default().into(),
            libraries: summary.libraries.unwrap_or_default().into(),
        }
    }
}

impl PackageSummary {
    /// One line over the places.
    pub(crate) fn headline(&self) -> String {
        let (points, libraries) = (&self.points, &self.libraries);
        let mut parts =
            vec![format!("{} of {} distribution points installed", points.installed, points.targeted)];
        let others = [
            (points.outdated, "outdated"),
            (points.pending, "pending"),
            (points.retrying, "retrying"),
            (points.failed, "failed"),
            (points.removing, "removing"),
            (points.silent, "silent"),
        ];
        parts.extend(
            others.iter().filter(|(count, _)| *count > 0).map(|(count, what)| format!("{count} {what}")),
        );
        parts.push(format!("in the libraries of {} sites", libraries.installed));
        format!("version {}: {}", self.source_version, parts.join(", "))
    }
}

impl PackageSummaries {
    pub(crate) fn new(packages: Vec<wire::PackageTally>, by_site: bool) -> Self {
        PackageSummaries { packages: packages.into_iter().map(PackageSummary::from).collect(), by_site }
    }
}

impl View for PackageSummaries {
    fn text(&self, screen: Screen) -> String {
        let row = |one: &PackageSummary| {
            let points = &one.points;
            [
                if self.by_site { one.site.clone().unwrap_or_default() } else { one.package.clone() },
                or_dash(&one.name),
                one.source_version.to_string(),
                points.targeted.to_string(),
                points.installed.to_string(),
                points.outdated.to_string(),
                points.pending.to_string(),
                points.retrying.to_string(),
                points.failed.to_string(),
                points.removing.to_string(),
                points.silent.to_string(),
                one.libraries.installed.to_string(),
            ]
        };
        let rows: Vec<_> = self.packages.iter().map(row).collect();
        let header = [
            if self.by_site { "SITE" } else { "PACKAGE" },
            "NAME",
            "VERSION",
            "TARGETED",
            "INSTALLED",
            "OUTDATED",
            "PENDING",
            "RETRYING",
            "FAILED",
            "REMOVING",
            "SILENT",
            "LIBRARIES",
        ];
        table(screen, header, &rows, if self.by_site { "no places" } else { "no packages" })
    }
}

#[derive(Debug, Serialize)]
pub(crate) struct AdvertisementSummaries {
    advertisements: Vec<AdvertisementSummary>,
    #[serde(skip)]
    by_site: bool,
}

/// How the clients of an advertisement stand.
#[derive(Debug, Serialize)]
pub(crate) struct AdvertisementSummary {
    advertisement: String,
    name: String,
    /// `None`: of all sites.
    site: Option<String>,
    succeeded: u64,
    failed: u64,
    interrupted: u64,
    running: u64,
    retrying: u64,
    downloading: u64,
    waiting: u64,
    rejected: u64,
    expired: u64,
}

impl From<wire::AdvertisementTally> for AdvertisementSummary {
    fn from(summary: wire::AdvertisementTally) -> Self {
        AdvertisementSummary {
            advertisement: summary.advertisement,
            name: summary.name,
            site: Some(summary.site).filter(|site| !site.is_empty()),
            succeeded: summary.succeeded,
            failed: summary.failed,
            interrupted: summary.interrupted,
            running: summary.running,
            retrying: summary.retrying,
            downloading: summary.downloading,
            waiting: summary.waiting,
            rejected: summary.rejected,
            expired: summary.expired,
        }
    }
}

impl AdvertisementSummary {
    fn columns(&self) -> [(u64, &'static str); 9] {
        [
            (self.succeeded, "succeeded"),
            (self.failed, "failed"),
            (self.interrupted, "interrupted"),
            (self.running, "running"),
            (self.retrying, "retrying"),
            (self.downloading, "downloading"),
            (self.waiting, "waiting"),
            (self.rejected, "rejected"),
            (self.expired, "expired"),
        ]
    }

    /// One line over the clients.
    pub(crate) fn headline(&self) -> String {
        let columns = self.columns();
        let all: u64 = columns.iter().map(|(count, _)| count).sum();
        let parts: Vec<_> = columns
            .iter()
            .filter(|(count, _)| *count > 0)
            .map(|(count, what)| format!("{count} {what}"))
            .collect();
        match parts.is_empty() {
            true => "no client has reported".to_owned(),
            false => format!("{all} clients have reported: {}", parts.join(", ")),
        }
    }
}

impl AdvertisementSummaries {
    pub(crate) fn new(advertisements: Vec<wire::AdvertisementTally>, by_site: bool) -> Self {
        let advertisements = advertisements.into_iter().map(AdvertisementSummary::from).collect();
        AdvertisementSummaries { advertisements, by_site }
    }
}

impl View for AdvertisementSummaries {
    fn text(&self, screen: Screen) -> String {
        let row = |one: &AdvertisementSummary| {
            let [succeeded, failed, interrupted, running, retrying, downloading, waiting, rejected, expired] =
                one.columns().map(|(count, _)| count.to_string());
            [
                if self.by_site { one.site.clone().unwrap_or_default() } else { one.advertisement.clone() },
                or_dash(&one.name),
                succeeded,
                failed,
                interrupted,
                running,
                retrying,
                downloading,
                waiting,
                rejected,
                expired,
            ]
        };
        let rows: Vec<_> = self.advertisements.iter().map(row).collect();
        let header = [
            if self.by_site { "SITE" } else { "ADVERTISEMENT" },
            "NAME",
            "SUCCEEDED",
            "FAILED",
            "INTERRUPTED",
            "RUNNING",
            "RETRYING",
            "DOWNLOADING",
            "WAITING",
            "REJECTED",
            "EXPIRED",
        ];
        table(
            screen,
            header,
            &rows,
            if self.by_site { "no client has reported" } else { "no advertisements" },
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PIPE: Screen = Screen { terminal: false };

    fn package(site: &str) -> wire::PackageTally {
        wire::PackageTally {
            package: "CEN00001".into(),
            name: "Editor".into(),
            site: site.into(),
            source_version: 3,
            points: Some(wire::PlaceCounts {
                targeted: 7,
                installed: 4,
                failed: 1,
                silent: 2,
                ..Default::default()
            }),
            libraries: Some(wire::PlaceCounts { installed: 5, ..Default::default() }),
        }
    }

    #[test]
    fn packages_are_lines_of_numbers() {
        let text = PackageSummaries::new(vec![package("")], false).text(PIPE);
        let lines: Vec<Vec<&str>> = text.lines().map(|line| line.split_whitespace().collect()).collect();
        assert_eq!(lines[1], ["CEN00001", "Editor", "3", "7", "4", "0", "0", "0", "1", "0", "2", "5"]);

        let text = PackageSummaries::new(vec![package("PAR")], true).text(PIPE);
        assert!(text.starts_with("SITE") && text.contains("\nPAR"), "{text}");
        let json = serde_json::to_value(PackageSummaries::new(vec![package("")], false)).expect("json");
        assert_eq!(json["packages"][0]["points"]["installed"], 4);
        assert!(json["packages"][0]["site"].is_null());
    }

    #[test]
    fn a_headline_names_what_is_not_as_it_should_be() {
        assert_eq!(
            PackageSummary::from(package("")).headline(),
            "version 3: 4 of 7 distribution points installed, 1 failed, 2 silent, in the libraries of 5 sites"
        );
        let summary = wire::AdvertisementTally { succeeded: 9, failed: 2, rejected: 1, ..Default::default() };
        assert_eq!(
            AdvertisementSummary::from(summary).headline(),
            "12 clients have reported: 9 succeeded, 2 failed, 1 rejected"
        );
        let nobody = AdvertisementSummary::from(wire::AdvertisementTally::default());
        assert_eq!(nobody.headline(), "no client has reported");
    }

    #[test]
    fn advertisements_are_lines_of_numbers() {
        let summary = wire::AdvertisementTally {
            advertisement: "CEN20001".into(),
            succeeded: 1,
            failed: 2,
            interrupted: 3,
            running: 4,
            retrying: 5,
            downloading: 6,
            waiting: 7,
            rejected: 8,
            expired: 9,
            ..Default::default()
        };
        let text = AdvertisementSummaries::new(vec![summary], false).text(PIPE);
        let line: Vec<&str> = text.lines().nth(1).expect("a line").split_whitespace().collect();
        assert_eq!(line, ["CEN20001", "-", "1", "2", "3", "4", "5", "6", "7", "8", "9"]);
    }
}
