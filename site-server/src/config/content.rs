//! `[content]`: how a site looks after its content library.

use std::time::Duration;

use packhorse_content::CaseClashes;
use packhorse_domain::{address::Rate, care::Reserve};
use packhorse_runtime::config::Problems;
use serde::{Deserialize, Serialize};

#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Content {
    /// What new package content leaves free on a disk: `auto`, an amount as `5GB`, or a part as `5%`.
    #[serde(default = "reserve")]
    pub reserve: String,
    /// How often the library is read through for rot, in days; 0: only when somebody asks.
    #[serde(default = "verify_every_d")]
    pub verify_every_d: u32,
    /// How fast it is read then, as `8MB/s`.
    #[serde(default = "verify_rate")]
    pub verify_rate: String,
    /// Versions of a package that are kept beside the current one, for bundles that build on them.
    #[serde(default = "older_versions")]
    pub older_versions: u32,
    /// From so many of them bundles to the current version are made before a child is known to need them.
    #[serde(default)]
    pub prepare_ahead: u32,
    /// A source in which names differ only in case: `refuse` or `keep`.
    #[serde(default = "case_clashes")]
    pub case_clashes: String,
}

/// The same, checked.
#[derive(Debug, Clone, Copy)]
pub struct ContentSettings {
    pub reserve: Reserve,
    /// `None`: only when somebody asks.
    pub verify_every: Option<Duration>,
    pub verify_bytes_per_s: u64,
    pub older_versions: usize,
    pub prepare_ahead: usize,
    pub case_clashes: CaseClashes,
}

/// The status of a library names no more versions.
const OLDER_VERSIONS_MAX: u32 = packhorse_domain::status::HELD_MAX as u32 - 1;

const VERIFY_RATE_BYTES_PER_S: u64 = 8_000_000;

fn reserve() -> String {
    Reserve::Auto.to_string()
}

fn verify_every_d() -> u32 {
    30
}

fn verify_rate() -> String {
    "8MB/s".to_owned()
}

fn older_versions() -> u32 {
    1
}

fn case_clashes() -> String {
    "refuse".to_owned()
}

impl Default for Content {
    fn default() -> Self {
        Content {
            reserve: reserve(),
            verify_every_d: verify_every_d(),
            verify_rate: verify_rate(),
            older_versions: older_versions(),
            prepare_ahead: 0,
            case_clashes: case_clashes(),
        }
    }
}

impl Content {
    pub(super) fn check(&self, problems: &mut Problems) -> ContentSettings {
        let reserve = problems.check("content.reserve", self.reserve.parse::<Reserve>());
        let rate = problems.check("content.verify_rate", self.verify_rate.parse::<Rate>());
        problems.require(
            "content.verify_every_d",
            self.verify_every_d <= 366,
            "a number of days up to 366 is expected, or 0 for never",
        );
        problems.require(
            "content.older_versions",
            self.older_versions <= OLDER_VERSIONS_MAX,
            &format!("a number up to {OLDER_VERSIONS_MAX} is expected"),
        );
        problems.require(
            "content.prepare_ahead",
            self.prepare_ahead <= self.older_versions,
            "no more than content.older_versions is expected: a bundle builds on a version that is kept",
        );
        let case_clashes = match self.case_clashes.as_str() {
            "refuse" => CaseClashes::Refuse,
            "keep" => CaseClashes::Keep,
            _ => {
                problems.add("content.case_clashes", "refuse or keep is expected");
                CaseClashes::default()
            }
        };
        let days = u64::from(self.verify_every_d);
        ContentSettings {
            reserve: reserve.unwrap_or_default(),
            verify_every: (days > 0).then(|| Duration::from_secs(days * 86_400)),
            verify_bytes_per_s: rate.map_or(VERIFY_RATE_BYTES_PER_S, Rate::bytes_per_second),
            older_versions: self.older_versions as usize,
            prepare_ahead: self.prepare_ahead as usize,
            case_clashes,
        }
    }
}
