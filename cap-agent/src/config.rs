//! The agent's settings: `cap.toml`, written by `enroll` and then the administrator's.

use std::{net::SocketAddr, path::Path, time::Duration};

use packhorse_domain::id::{PointName, SiteCode};
use packhorse_runtime::{
    config::{self, ConfigError, Problems},
    telemetry::{self, LogFormat, TelemetryConfig},
};

pub(crate) const FILE: &str = "cap.toml";
pub(crate) const ENDPOINTS_MAX: usize = 8;
pub(crate) const LISTEN_DEFAULT: &str = "0.0.0.0:7453";
const DAY_S: u64 = 86_400;
const METRICS_EVERY_S: u32 = 60;

/// Settings that were checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    pub site: SiteCode,
    /// This agent's name as access point and distribution point.
    pub name: PointName,
    pub site_endpoints: Vec<String>,
    pub listen: SocketAddr,
    /// Where clients reach this agent.
    pub endpoints: Vec<String>,
    pub distribution_point: bool,
    /// How long content stays after nobody wants it any more: clients may still be reading it.
    pub keep_unwanted: Duration,
    pub telemetry: Telemetry,
}

/// The section `telemetry`.
#[derive(Debug, Clone, PartialEq, Eq, serde::Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Telemetry {
    pub format: LogFormat,
    pub filter: String,
    pub otlp_endpoint: Option<String>,
    pub metrics_listen: Option<String>,
    pub metrics_every_s: u32,
}

#[derive(Debug, serde::Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    site: String,
    name: String,
    site_endpoints: Vec<String>,
    #[serde(default = "listen_default")]
    listen: String,
    endpoints: Vec<String>,
    #[serde(default = "yes")]
    distribution_point: bool,
    #[serde(default = "keep_default")]
    keep_unwanted_s: u64,
    #[serde(default)]
    telemetry: Telemetry,
}

#[derive(Debug, thiserror::Error)]
#[error("HOST:PORT is expected, an IPv6 address in brackets")]
pub(crate) struct EndpointError;

impl Default for Telemetry {
    fn default() -> Self {
        Telemetry {
            format: LogFormat::Text,
            filter: "info".to_owned(),
            otlp_endpoint: None,
            metrics_listen: None,
            metrics_every_s: METRICS_EVERY_S,
        }
    }
}

impl Settings {
    /// Reads `cap.toml` of the agent's directory; every problem of it is told at once.
    pub fn load(directory: &Path) -> Result<Self, ConfigError> {
        let path = directory.join(FILE);
        let file: File = config::load(&path)?;
        let mut problems = Problems::new();
        let settings = file.check(&mut problems);
        problems.into_result(&path)?;
        Ok(settings.expect("without a problem every setting was understood"))
    }

    /// For the whole process.
    pub fn telemetry(&self) -> TelemetryConfig {
        TelemetryConfig {
            format: self.telemetry.format,
            filter: self.telemetry.filter.clone(),
            otlp_endpoint: self.telemetry.otlp_endpoint.clone(),
            // It was checked when the settings were read.
            metrics_listen: self.telemetry.metrics_listen.as_ref().and_then(|address| address.parse().ok()),
            metrics_every: Duration::from_secs(self.telemetry.metrics_every_s.into()),
            service: "packhorse-cap-agent".to_owned(),
            instance: format!("{}/{}", self.site, self.name),
        }
    }

    /// The text of a `cap.toml` with these settings.
    pub fn encode(&self) -> String {
        let mut text = format!(
            "# A client access point{} of site {}.\n",
            if self.distribution_point { " and distribution point" } else { "" },
            self.site
        );
        let quoted = |value: &str| toml::Value::from(value).to_string();
        let list = |values: &[String]| toml::Value::from(values.to_vec()).to_string();
        text += &format!("site = {}\n", quoted(self.site.as_str()));
        text += &format!("name = {}\n", quoted(self.name.as_str()));
        text += &format!("site_endpoints = {}\n", list(&self.site_endpoints));
        text += &format!("listen = {}\n", quoted(&self.listen.to_string()));
        text += "# Where clients reach this agent.\n";
        text += &format!("endpoints = {}\n", list(&self.endpoints));
        text += &format!("distribution_point = {}\n", self.distribution_point);
        text += "# How long content stays after nobody wants it any more.\n";
        text += &format!("keep_unwanted_s = {}\n", self.keep_unwanted.as_secs());
        let format = match self.telemetry.format {
            LogFormat::Text => "text",
            LogFormat::Json => "json",
        };
        text += &format!("\n[telemetry]\nformat = {}\n", quoted(format));
        text += &format!("filter = {}\n", quoted(&self.telemetry.filter));
        match &self.telemetry.otlp_endpoint {
            Some(endpoint) => text += &format!("otlp_endpoint = {}\n", quoted(endpoint)),
            None => text += "# otlp_endpoint = \"http://127.0.0.1:4317\"\n",
        }
        match &self.telemetry.metrics_listen {
            Some(address) => text += &format!("metrics_listen = {}\n", quoted(address)),
            None => text += "# metrics_listen = \"127.0.0.1:9465\"\n",
        }
        if self.telemetry.metrics_every_s != METRICS_EVERY_S {
            text += &format!("metrics_every_s = {}\n", self.telemetry.metrics_every_s);
        }
        text
    }
}

impl File {
    /// The settings, if there is no problem.
    fn check(self, problems: &mut Problems) -> Option<Settings> {
        let site = problems.check("site", self.site.parse());
        let name = problems.check("name", self.name.parse());
        let listen = problems.check("listen", self.listen.parse());
        check_endpoints("site_endpoints", &self.site_endpoints, problems);
        check_endpoints("endpoints", &self.endpoints, problems);
        let keeps = self.keep_unwanted_s <= 365 * DAY_S;
        problems.require("keep_unwanted_s", keeps, "at most a year, 31536000, is expected");
        let (shown_at, every_s) = (self.telemetry.metrics_listen.as_deref(), self.telemetry.metrics_every_s);
        telemetry::check_metrics(problems, shown_at, every_s);
        if let Some(endpoint) = &self.telemetry.otlp_endpoint {
            let is_address = endpoint.starts_with("http://") || endpoint.starts_with("https://");
            problems.require(
                "telemetry.otlp_endpoint",
                is_address,
                "an address as http://127.0.0.1:4317 is expected",
            );
        }
        Some(Settings {
            site: site?,
            name: name?,
            site_endpoints: self.site_endpoints,
            listen: listen?,
            endpoints: self.endpoints,
            distribution_point: self.distribution_point,
            keep_unwanted: Duration::from_secs(self.keep_unwanted_s),
            telemetry: self.telemetry,
        })
    }
}

pub(crate) fn check_endpoint(text: &str) -> Result<(), EndpointError> {
    let (host, port) = text.rsplit_once(':').ok_or(EndpointError)?;
    let is_host = match host.strip_prefix('[').and_then(|host| host.strip_suffix(']')) {
        Some(address) => address.parse::<std::net::Ipv6Addr>().is_ok(),
        None => {
            (1..=253).contains(&host.len())
                && host.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'.' | b'_'))
        }
    };
    let is_port = port.bytes().all(|b| b.is_ascii_digit()) && port.parse::<u16>().is_ok_and(|port| port > 0);
    if is_host && is_port { Ok(()) } else { Err(EndpointError) }
}

fn check_endpoints(setting: &str, endpoints: &[String], problems: &mut Problems) {
    let fits = (1..=ENDPOINTS_MAX).contains(&endpoints.len());
    problems.require(setting, fits, "1 to 8 endpoints are expected");
    for (at, endpoint) in endpoints.iter().enumerate() {
        problems.check(&format!("{setting}[{at}]"), check_endpoint(endpoint));
    }
}

fn listen_default() -> String {
    LISTEN_DEFAULT.to_owned()
}

fn yes() -> bool {
    true
}

fn keep_default() -> u64 {
    60
}

/// What `enroll` writes where nothing else is asked for.
pub(crate) fn keep_unwanted_default() -> Duration {
    Duration::from_secs(keep_default())
}

#[cfg(test)]
mod tests {
    use std::fs;

    use packhorse_runtime::error_chain;

    use super::*;

    fn load(text: &str) -> Result<Settings, String> {
        let directory = tempfile::tempdir().expect("a directory");
        fs::write(directory.path().join(FILE), text).expect("written");
        Settings::load(directory.path()).map_err(|error| error_chain(&error))
    }

    fn settings() -> Settings {
        Settings {
            site: "CEN".parse().expect("a site"),
            name: "shop-12".parse().expect("a name"),
            site_endpoints: vec!["site.example:7451".to_owned()],
            listen: "0.0.0.0:7453".parse().expect("an address"),
            endpoints: vec!["10.0.0.7:7453".to_owned(), "[fe80::1]:7453".to_owned()],
            distribution_point: false,
            keep_unwanted: Duration::from_secs(30),
            telemetry: Telemetry {
                format: LogFormat::Json,
                filter: "info,packhorse_cap_agent=debug".to_owned(),
                otlp_endpoint: Some("http://127.0.0.1:4317".to_owned()),
                metrics_listen: Some("127.0.0.1:9465".to_owned()),
                metrics_every_s: 30,
            },
        }
    }

    #[test]
    fn what_is_written_reads_back_the_same() {
        assert_eq!(load(&settings().encode()), Ok(settings()));
    }

    #[test]
    fn only_what_has_no_default_must_be_said() {
        let text = "site = 'CEN'\nname = 'a'\nsite_endpoints = ['s:1']\nendpoints = ['c:2']\n";

        let settings = load(text).expect("settings");

        assert_eq!(settings.listen.to_string(), LISTEN_DEFAULT);
        assert!(settings.distribution_point);
        assert_eq!(settings.telemetry, Telemetry::default());
    }

    #[test]
    fn every_problem_is_told_at_once() {
        let text =
            "site = 'cen'\nname = '../a'\nsite_endpoints = []\nlisten = 'here'\nendpoints = ['c', 'c:1']\n";

        let error = load(text).expect_err("many problems");

        for setting in ["site:", "name:", "site_endpoints:", "listen:", "endpoints[0]:"] {
            assert!(error.contains(setting), "{setting} is missing in {error}");
        }
        assert!(!error.contains("endpoints[1]"), "{error}");
    }

    #[test]
    fn a_misspelt_setting_is_refused() {
        let text = format!("keep_unwanted = 3\n{}", settings().encode());

        assert!(load(&text).expect_err("unknown").contains("keep_unwanted"));
        assert!(load(&settings().encode().replace("filter", "filters")).is_err());
    }
}
