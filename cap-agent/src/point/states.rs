//! What is known of each package at this distribution point, and which of it the site has not heard yet.
//!
//! No disk and no network: times are arguments.

use std::{collections::BTreeMap, time::Duration};

use packhorse_domain::{
    Digest, Timestamp,
    id::{PointName, SiteCode},
    status::{HELD_MAX, cut},
};
use packhorse_proto::object::v1::{PackageState, PackageStatus};
use tokio::time::Instant;

use crate::backoff::Backoff;

const REASON_LENGTH_MAX: usize = 1024;
const PAUSE_SHORTEST: Duration = Duration::from_secs(1);
const PAUSE_LONGEST: Duration = Duration::from_secs(300);

#[derive(Debug)]
pub(crate) struct Packages {
    site: SiteCode,
    point: PointName,
    rows: BTreeMap<String, Row>,
}

#[derive(Debug)]
pub(crate) struct Row {
    status: PackageStatus,
    sent: bool,
    backoff: Backoff,
    /// Not to be tried again before this.
    due: Option<Instant>,
    wanted: bool,
}

/// How a package stands.
#[derive(Debug)]
pub(crate) struct Standing {
    pub(crate) state: PackageState,
    pub(crate) source_version: u64,
    /// Newest first.
    pub(crate) held: Vec<Digest>,
    pub(crate) reason: String,
}

impl Packages {
    pub(crate) fn new(site: SiteCode, point: PointName, statuses: Vec<PackageStatus>) -> Self {
        let rows = statuses.into_iter().map(|status| (status.package.clone(), Row::new(status))).collect();
        Packages { site, point, rows }
    }

    /// Sets how a package stands; the status to record, if that is news.
    pub(crate) fn set(&mut self, package: &str, standing: Standing, now: Timestamp) -> Option<PackageStatus> {
        let Standing { state, source_version, mut held, reason } = standing;
        held.truncate(HELD_MAX);
        let status = PackageStatus {
            package: package.to_owned(),
            site: self.site.to_string(),
            distribution_point: self.point.to_string(),
            state: state.into(),
            source_version,
            held: held.iter().map(|digest| digest.as_bytes().to_vec().into()).collect(),
            reason: cut(&reason, REASON_LENGTH_MAX).to_owned(),
            changed_at_us: now.0,
        };
        let row = self.rows.entry(package.to_owned()).or_insert_with(|| Row::new(PackageStatus::default()));
        if row.status == (PackageStatus { changed_at_us: row.status.changed_at_us, ..status.clone() }) {
            return None;
        }
        row.status = status.clone();
        row.sent = false;
        Some(status)
    }

    /// The manifests that were held whole when this was last looked at.
    pub(crate) fn held(&self, package: &str) -> Vec<Digest> {
        let held = self.rows.get(package).map(|row| row.status.held.as_slice()).unwrap_or_default();
        held.iter().filter_map(|digest| Digest::try_from(digest.as_ref()).ok()).collect()
    }

    pub(crate) fn status(&self, package: &str) -> Option<&PackageStatus> {
        self.rows.get(package).map(|row| &row.status)
    }

    /// Statuses that the site has not answered for, at most `count_max`.
    pub(crate) fn unsent(&self, count_max: usize) -> Vec<PackageStatus> {
        self.rows.values().filter(|row| !row.sent).take(count_max).map(|row| row.status.clone()).collect()
    }

    /// The site has these; what changed meanwhile is still to be sent.
    pub(crate) fn mark_sent(&mut self, statuses: &[PackageStatus]) {
        for status in statuses {
            if let Some(row) = self.rows.get_mut(&status.package) {
                row.sent |= row.status == *status;
            }
        }
    }

    /// After a reconnect: the site hears everything again, and what failed is tried at once.
    pub(crate) fn begin_session(&mut self) {
        for row in self.rows.values_mut() {
            row.sent = false;
            row.due = None;
            row.backoff.reset();
        }
    }

    /// A try failed: when the next one may be.
    pub(crate) fn put_off(&mut self, package: &str, now: Instant) {
        if let Some(row) = self.rows.get_mut(package) {
            row.due = Some(now + row.backoff.next());
        }
    }

    pub(crate) fn succeeded(&mut self, package: &str) {
        if let Some(row) = self.rows.get_mut(package) {
            row.due = None;
            row.backoff.reset();
        }
    }

    pub(crate) fn is_due(&self, package: &str, now: Instant) -> bool {
        self.rows.get(package).and_then(|row| row.due).is_none_or(|due| due <= now)
    }

    /// When the next put-off try is due.
    pub(crate) fn next_due(&self) -> Option<Instant> {
        self.rows.values().filter_map(|row| row.due).min()
    }

    /// Packages that are known and not wanted, with what they were.
    pub(crate) fn unwanted(&mut self, is_wanted: impl Fn(&str) -> bool) -> Vec<PackageStatus> {
        let mut unwanted = Vec::new();
        for (package, row) in &mut self.rows {
            row.wanted = is_wanted(package);
            if !row.wanted {
                row.due = None;
                unwanted.push(row.status.clone());
            }
        }
        unwanted
    }

    /// Forgets packages whose removal the site has heard of; which they were.
    pub(crate) fn forget_removed(&mut self) -> Vec<String> {
        let is_gone = |row: &Row| {
            row.sent
                && !row.wanted
                && row.status.state == i32::from(PackageState::Removing)
                && row.status.held.is_empty()
        };
        let gone: Vec<String> =
            self.rows.iter().filter(|(_, row)| is_gone(row)).map(|(package, _)| package.clone()).collect();
        for package in &gone {
            self.rows.remove(package);
        }
        gone
    }
}

impl Row {
    fn new(status: PackageStatus) -> Self {
        let backoff = Backoff::new(PAUSE_SHORTEST, PAUSE_LONGEST);
        Row { status, sent: false, backoff, due: None, wanted: true }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn packages() -> Packages {
        Packages::new("CEN".parse().expect("a site"), "dp".parse().expect("a name"), Vec::new())
    }

    fn standing(state: PackageState) -> Standing {
        Standing { state, source_version: 1, held: vec![Digest([1; 32])], reason: String::new() }
    }

    #[test]
    fn a_status_is_news_once_and_keeps_the_time_of_its_change() {
        let mut packages = packages();

        let first = packages.set("CEN00001", standing(PackageState::Pending), Timestamp(5));
        let same = packages.set("CEN00001", standing(PackageState::Pending), Timestamp(6));

        assert_eq!(first.map(|status| status.changed_at_us), Some(5));
        assert_eq!(same, None);
        assert_eq!(packages.unsent(10).len(), 1);
    }

    #[test]
    fn what_changes_while_it_is_sent_is_sent_again() {
        let mut packages = packages();
        packages.set("CEN00001", standing(PackageState::Pending), Timestamp(5));
        let sent = packages.unsent(10);
        packages.set("CEN00001", standing(PackageState::Installed), Timestamp(6));

        packages.mark_sent(&sent);
        assert_eq!(packages.unsent(10).len(), 1);
        let sent = packages.unsent(10);
        packages.mark_sent(&sent);

        assert_eq!(packages.unsent(10), []);
    }

    #[test]
    fn a_new_session_hears_everything_and_tries_everything() {
        let mut packages = packages();
        packages.set("CEN00001", standing(PackageState::Retrying), Timestamp(5));
        let sent = packages.unsent(10);
        packages.mark_sent(&sent);
        let now = Instant::now();
        packages.put_off("CEN00001", now);
        assert!(!packages.is_due("CEN00001", now));

        packages.begin_session();

        assert_eq!(packages.unsent(10).len(), 1);
        assert!(packages.is_due("CEN00001", now));
    }

    #[test]
    fn a_removed_package_is_forgotten_once_the_site_has_heard_of_it() {
        let mut packages = packages();
        packages.set("CEN00001", Standing { held: vec![], ..standing(PackageState::Removing) }, Timestamp(5));
        packages.unwanted(|_| false);
        assert!(packages.forget_removed().is_empty());

        let sent = packages.unsent(10);
        packages.mark_sent(&sent);

        assert_eq!(packages.forget_removed(), ["CEN00001"]);
        assert!(packages.status("CEN00001").is_none());
    }
}
