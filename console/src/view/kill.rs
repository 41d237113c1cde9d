//! What must not run, by whose word and why.

use packhorse_proto::provider::v1 as wire;
use serde::Serialize;

use crate::view::{Screen, View, clock, table, time, yes};

#[derive(Debug, Serialize)]
pub(crate) struct Kills {
    kills: Vec<Kill>,
}

#[derive(Debug, Serialize)]
pub(crate) struct Kill {
    package: String,
    /// This one and all before it.
    release: u64,
    site: String,
    reason: String,
    at: Option<String>,
    /// The release that the site knows is among them.
    covers_present: bool,
}

impl From<wire::PackageKill> for Kill {
    fn from(known: wire::PackageKill) -> Self {
        let kill = known.kill.unwrap_or_default();
        Kill {
            package: kill.package,
            release: kill.release,
            site: known.site,
            reason: kill.reason,
            at: time(kill.at_us),
            covers_present: known.covers_present,
        }
    }
}

impl Kills {
    pub(crate) fn new(kills: Vec<wire::PackageKill>) -> Self {
        Kills { kills: kills.into_iter().map(Kill::from).collect() }
    }
}

impl Kill {
    /// One of the lines of a package.
    pub(super) fn line(&self) -> String {
        let Kill { release, site, reason, .. } = self;
        let present = if self.covers_present { "" } else { ", not the present one" };
        format!("up to release {release}{present}, by {site}: {reason}")
    }
}

impl View for Kills {
    fn text(&self, screen: Screen) -> String {
        let row = |kill: &Kill| {
            [
                kill.package.clone(),
                kill.release.to_string(),
                yes(kill.covers_present),
                kill.site.clone(),
                clock(kill.at.as_deref()),
                kill.reason.clone(),
            ]
        };
        let rows: Vec<_> = self.kills.iter().map(row).collect();
        let header = ["PACKAGE", "UP TO RELEASE", "PRESENT", "BY", "SINCE", "REASON"];
        table(screen, header, &rows, "nothing is killed")
    }
}

#[cfg(test)]
mod tests {
    use packhorse_proto::object::v1 as object;

    use super::*;

    #[test]
    fn a_kill_says_who_and_why() {
        let kill = object::Kill {
            package: "CEN00001".into(),
            release: 3,
            reason: "it wipes disks".into(),
            at_us: 1_500_000,
        };
        let known = wire::PackageKill { site: "CEN".into(), kill: Some(kill), covers_present: true };
        let kills = Kills::new(vec![known.clone()]);

        let text = kills.text(Screen { terminal: false });
        let row = text.lines().nth(1).expect("a row");
        let expected = ["CEN00001", "3", "yes", "CEN", "1970-01-01", "00:00:01Z", "it", "wipes", "disks"];
        assert_eq!(row.split_whitespace().collect::<Vec<_>>(), expected);
        let json = serde_json::to_value(&kills).expect("json");
        assert_eq!((&json["kills"][0]["release"], &json["kills"][0]["site"]), (&3.into(), &"CEN".into()));
        assert_eq!(json["kills"][0]["covers_present"], true);
        assert_eq!(Kill::from(known.clone()).line(), "up to release 3, by CEN: it wipes disks");
        let earlier = wire::PackageKill { covers_present: false, ..known };
        assert!(Kill::from(earlier).line().contains("not the present one"));
        assert_eq!(Kills::new(vec![]).text(Screen { terminal: false }), "nothing is killed");
    }
}
