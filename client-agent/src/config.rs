//! Settings: `client.toml`, written by `enroll` and read by `serve`.

use std::{collections::BTreeMap, path::Path};

use jiff::tz::TimeZone;
use packhorse_domain::{
    client::{LABELS_MAX, TEXT_LENGTH_MAX},
    id::{PointName, SiteCode},
};
use packhorse_runtime::{
    config::{ConfigError, Problems, load},
    telemetry::check_metrics,
};
use packhorse_trust::PublicKey;
use serde::{Deserialize, Serialize};

pub const POLL_INTERVAL_DEFAULT_S: u32 = 60;
pub const POLL_INTERVAL_MAX_S: u32 = 7 * 24 * 3600;
const CAPS_MAX: usize = 16;
const ENDPOINTS_MAX: usize = 8;

/// The file, as it is written.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ConfigFile {
    pub site: String,
    /// The root's public key, pinned when the client enrolled.
    pub root: String,
    #[serde(default = "poll_interval_default")]
    pub poll_interval_s: u32,
    /// Empty: the machine's own.
    #[serde(default)]
    pub hostname: String,
    /// The IANA name of the zone in which maintenance windows are meant. Empty: the machine's.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub time_zone: String,
    #[serde(default)]
    pub labels: BTreeMap<String, String>,
    #[serde(default)]
    pub telemetry: TelemetrySection,
    pub caps: Vec<CapSection>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CapSection {
    pub name: String,
    /// HOST:PORT.
    pub endpoints: Vec<String>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct TelemetrySection {
    /// text or json.
    pub format: String,
    pub filter: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub otlp_endpoint: Option<String>,
    /// Where metrics are shown to a monitor, as `127.0.0.1:9466`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub metrics_listen: Option<String>,
    /// How often metrics are exported.
    pub metrics_every_s: u32,
}

/// Settings that make sense.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Config {
    pub site: SiteCode,
    pub root: PublicKey,
    pub poll_interval_s: u32,
    pub hostname: String,
    /// `None`: the machine's, as it is at each moment.
    pub time_zone: Option<TimeZone>,
    pub labels: BTreeMap<String, String>,
    pub telemetry: TelemetrySection,
    pub caps: Vec<CapAddress>,
}

/// A client access point and the ways to it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CapAddress {
    pub name: PointName,
    pub endpoints: Vec<String>,
}

impl Default for TelemetrySection {
    fn default() -> Self {
        TelemetrySection {
            format: "text".into(),
            filter: "info".into(),
            otlp_endpoint: None,
            metrics_listen: None,
            metrics_every_s: 60,
        }
    }
}

fn poll_interval_default() -> u32 {
    POLL_INTERVAL_DEFAULT_S
}

impl Config {
    /// Reads and checks the file; one error shows all that is wrong with it.
    pub fn load(path: &Path) -> Result<Self, ConfigError> {
        let file: ConfigFile = load(path)?;
        let mut problems = Problems::new();
        let config = Config::check(file, &mut problems);
        problems.into_result(path)?;
        Ok(config.expect("settings without a problem are whole"))
    }

    fn check(file: ConfigFile, problems: &mut Problems) -> Option<Self> {
        let site = problems.check("site", file.site.parse::<SiteCode>());
        let root = problems.check("root", file.root.parse::<PublicKey>());
        let fits = |text: &str| text.len() <= TEXT_LENGTH_MAX && !text.chars().any(char::is_control);
        problems.require(
            "poll_interval_s",
            (1..=POLL_INTERVAL_MAX_S).contains(&file.poll_interval_s),
            "1 second to 7 days are expected",
        );
        problems.require(
            "hostname",
            fits(&file.hostname),
            "at most 255 bytes without control characters are expected",
        );
        let time_zone = match file.time_zone.as_str() {
            "" => None,
            name => problems.check("time_zone", TimeZone::get(name)),
        };
        problems.require("labels", file.labels.len() <= LABELS_MAX, "at most 64 labels are expected");
        problems.require(
            "labels",
            file.labels.iter().all(|(name, value)| !name.is_empty() && fits(name) && fits(value)),
            "names and values of at most 255 bytes without control characters are expected",
        );
        problems.require(
            "telemetry.format",
            matches!(file.telemetry.format.as_str(), "text" | "json"),
            "text or json is expected",
        );
        let listen = file.telemetry.metrics_listen.as_deref();
        check_metrics(problems, listen, file.telemetry.metrics_every_s);
        problems.require("caps", (1..=CAPS_MAX).contains(&file.caps.len()), "1 to 16 are expected");
        let mut caps = Vec::new();
        for (at, cap) in file.caps.into_iter().enumerate() {
            let setting = format!("caps[{at}].name");
            let name = problems.check(&setting, cap.name.parse::<PointName>());
            problems.require(
                &format!("caps[{at}].endpoints"),
                (1..=ENDPOINTS_MAX).contains(&cap.endpoints.len()),
                "1 to 8 are expected",
            );
            caps.extend(name.map(|name| CapAddress { name, endpoints: cap.endpoints }));
        }
        Some(Config {
            site: site?,
            root: root?,
            poll_interval_s: file.poll_interval_s,
            hostname: file.hostname,
            time_zone,
            labels: file.labels,
            telemetry: file.telemetry,
            caps,
        })
    }

    /// The settings in force, as they could be written.
    pub fn to_file(&self) -> ConfigFile {
        let zone = self.time_zone.as_ref().and_then(TimeZone::iana_name);
        let caps = self
            .caps
            .iter()
            .map(|cap| CapSection { name: cap.name.to_string(), endpoints: cap.endpoints.clone() });
        ConfigFile {
            site: self.site.to_string(),
            root: self.root.to_string(),
            poll_interval_s: self.poll_interval_s,
            hostname: self.hostname.clone(),
            time_zone: zone.unwrap_or_default().to_owned(),
            labels: self.labels.clone(),
            telemetry: self.telemetry.clone(),
            caps: caps.collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use packhorse_trust::SigningKey;

    use super::*;

    fn text(extra: &str) -> String {
        let root = SigningKey::generate().public();
        format!(
            "site = \"LYO\"\nroot = \"{root}\"\n{extra}\n[[caps]]\nname = \"cap1\"\nendpoints = [\"cap1.lyo:7443\"]\n"
        )
    }

    fn load_text(text: &str) -> Result<Config, ConfigError> {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("client.toml");
        std::fs::write(&path, text).unwrap();
        Config::load(&path)
    }

    #[test]
    fn what_is_left_out_has_its_default_and_reads_back() {
        let config = load_text(&text("")).unwrap();

        assert_eq!(config.poll_interval_s, 60);
        assert_eq!(config.caps[0].name.as_str(), "cap1");
        assert_eq!(config.time_zone, None);
        let written = toml::to_string(&config.to_file()).unwrap();
        assert_eq!(load_text(&written).unwrap(), config);
    }

    #[test]
    fn a_time_zone_is_one_that_there_is() {
        let config = load_text(&text("time_zone = \"Europe/Paris\"")).unwrap();
        assert_eq!(config.to_file().time_zone, "Europe/Paris");

        let error = load_text(&text("time_zone = \"Europe/Pariss\"")).unwrap_err().to_string();
        assert!(error.contains("time_zone:") && error.contains("Pariss"), "{error}");
    }

    #[test]
    fn an_unknown_key_is_refused() {
        assert!(matches!(load_text(&text("pol_interval_s = 5")), Err(ConfigError::Parse { .. })));
    }

    #[test]
    fn all_that_is_wrong_is_shown_at_once() {
        let wrong = "site = \"lyon\"\nroot = \"x\"\npoll_interval_s = 0\ncaps = []\n";

        let text = load_text(wrong).unwrap_err().to_string();

        for setting in ["site:", "root:", "poll_interval_s:", "caps:"] {
            assert!(text.contains(setting), "{setting} in {text}");
        }
    }
}
