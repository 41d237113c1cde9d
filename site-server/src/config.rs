//! The settings of a site server: `site.toml`.

mod content;

use std::{net::SocketAddr, path::Path, time::Duration};

use packhorse_domain::{health::telling::Pace, id::SiteCode};
use packhorse_runtime::{
    CongestionControl,
    config::{self, ConfigError, Problems},
    telemetry::{self, LogFormat, TelemetryConfig},
};
use serde::{Deserialize, Serialize};

pub use content::{Content, ContentSettings};

/// As written in the file. Unknown settings are refused.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// The site's code.
    pub code: String,
    /// What people call the site.
    pub name: String,
    /// Where the server listens, for everybody: neighbours, CAP agents, the console.
    pub listen: String,
    /// Where others reach it, HOST:PORT; the first one goes into tokens.
    pub endpoints: Vec<String>,
    /// The zstd level of bundles, 1 to 19.
    #[serde(default = "bundle_level")]
    pub bundle_level: i32,
    /// The same for children on fast lines, where a bundle is sent sooner than it is made. From `bundle_level` on no line
    /// counts as fast.
    #[serde(default = "bundle_level_on_fast_lines")]
    pub bundle_level_on_fast_lines: i32,
    /// How long a client may act on an instruction without a newer one.
    #[serde(default = "instruction_validity_h")]
    pub instruction_validity_h: u32,
    /// The parent site; absent at the central site.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub parent: Option<Parent>,
    #[serde(default)]
    pub content: Content,
    #[serde(default)]
    pub link: Link,
    #[serde(default)]
    pub telemetry: Telemetry,
}

/// Where the parent site is.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Parent {
    pub site: String,
    pub endpoints: Vec<String>,
}

/// How links to neighbours behave; what one of them may carry is said by its addresses.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Link {
    /// `bbr`, where the kernel has it, or `system`: what the machine is set to.
    #[serde(default = "congestion_control")]
    pub congestion_control: String,
    /// What a less urgent class gets of a line while a more urgent one has work, in percent, 0 to 50.
    #[serde(default = "lower_share_percent")]
    pub lower_share_percent: u8,
    /// Sites to which bundles go at once; the most urgent first, the others wait.
    #[serde(default = "sendings_max")]
    pub sendings_max: u32,
    /// Bundles that are open at once to one site.
    #[serde(default = "sendings_per_site_max")]
    pub sendings_per_site_max: u32,
    /// Further connections that carry bundles: `auto`, where they are worth it; `udp` or `tcp`, only those; `off`.
    #[serde(default = "lanes")]
    pub lanes: String,
    /// How often what a neighbour holds is compared with what it should hold, besides on connect.
    #[serde(default = "compare_every_s")]
    pub compare_every_s: u32,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Telemetry {
    /// text or json
    #[serde(default = "log_format")]
    pub format: String,
    /// A level, or component=level pairs, as in `info,sender=debug`.
    #[serde(default = "log_filter")]
    pub filter: String,
    /// An OTLP collector to export traces and metrics to, as `http://127.0.0.1:4317`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub otlp_endpoint: Option<String>,
    /// Where metrics are shown to a monitor, as `127.0.0.1:9464`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub metrics_listen: Option<String>,
    /// How often metrics are exported.
    #[serde(default = "metrics_every_s")]
    pub metrics_every_s: u32,
}

/// The settings, checked.
#[derive(Debug, Clone)]
pub struct Settings {
    pub code: SiteCode,
    pub name: String,
    pub listen: SocketAddr,
    pub endpoints: Vec<String>,
    pub bundle_level: i32,
    pub bundle_level_on_fast_lines: i32,
    pub instruction_validity: Duration,
    pub parent: Option<(SiteCode, Vec<String>)>,
    pub content: ContentSettings,
    pub link: LinkSettings,
    pub telemetry: TelemetryConfig,
    /// How often the site says how it is. Those above count on it, so it stands in no file; tests have a faster one.
    pub health: Pace,
}

/// `[link]`, checked.
#[derive(Debug, Clone)]
pub struct LinkSettings {
    pub congestion_control: CongestionControl,
    pub lower_share_percent: u8,
    pub sendings_max: usize,
    pub sendings_per_site_max: usize,
    pub lanes: LaneMode,
    pub compare_every: Duration,
    pub patience: Patience,
}

/// Which lanes a site takes and opens.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum LaneMode {
    /// Those that are worth it.
    #[default]
    Auto,
    Off,
    /// Over UDP, on every line.
    Udp,
    /// Over TCP, on every line that is not slow.
    Tcp,
}

/// How long a neighbour is waited for. It is part of the protocol and stands in no file; tests have less of it.
#[derive(Debug, Clone, Copy)]
pub struct Patience {
    /// Until its hello.
    pub hello: Duration,
    /// Without a frame.
    pub silence: Duration,
    /// On a link by a backup address: until it is looked whether one before it can be reached again.
    pub backup: Duration,
}

impl Default for Patience {
    fn default() -> Self {
        Patience {
            hello: Duration::from_secs(30),
            silence: Duration::from_secs(60),
            backup: Duration::from_secs(60),
        }
    }
}

fn congestion_control() -> String {
    "bbr".to_owned()
}

fn lower_share_percent() -> u8 {
    5
}

fn sendings_max() -> u32 {
    200
}

fn sendings_per_site_max() -> u32 {
    3
}

fn lanes() -> String {
    "auto".to_owned()
}

fn bundle_level() -> i32 {
    8
}

fn bundle_level_on_fast_lines() -> i32 {
    1
}

fn instruction_validity_h() -> u32 {
    72
}

fn compare_every_s() -> u32 {
    600
}

fn metrics_every_s() -> u32 {
    60
}

fn log_format() -> String {
    "text".to_owned()
}

fn log_filter() -> String {
    "info".to_owned()
}

impl Default for Link {
    fn default() -> Self {
        Link {
            congestion_control: congestion_control(),
            lower_share_percent: lower_share_percent(),
            sendings_max: sendings_max(),
            sendings_per_site_max: sendings_per_site_max(),
            lanes: lanes(),
            compare_every_s: compare_every_s(),
        }
    }
}

impl Link {
    fn check(&self, problems: &mut Problems) -> LinkSettings {
        let congestion_control = match self.congestion_control.as_str() {
            "system" => CongestionControl::System,
            "bbr" => CongestionControl::Bbr,
            _ => {
                problems.add("link.congestion_control", "bbr or system is expected");
                CongestionControl::default()
            }
        };
        problems.require("link.lower_share_percent", self.lower_share_percent <= 50, "0 to 50 is expected");
        problems.require(
            "link.sendings_max",
            (1..=10_000).contains(&self.sendings_max),
            "1 to 10,000 is expected",
        );
        let per_site = (1..=256).contains(&self.sendings_per_site_max);
        problems.require("link.sendings_per_site_max", per_site, "1 to 256 is expected");
        let lanes = match self.lanes.as_str() {
            "auto" => LaneMode::Auto,
            "off" => LaneMode::Off,
            "udp" => LaneMode::Udp,
            "tcp" => LaneMode::Tcp,
            _ => {
                problems.add("link.lanes", "auto, udp, tcp or off is expected");
                LaneMode::default()
            }
        };
        problems.require(
            "link.compare_every_s",
            (10..=86_400).contains(&self.compare_every_s),
            "10 seconds to a day is expected",
        );
        LinkSettings {
            congestion_control,
            lower_share_percent: self.lower_share_percent,
            sendings_max: self.sendings_max as usize,
            sendings_per_site_max: self.sendings_per_site_max as usize,
            lanes,
            compare_every: Duration::from_secs(u64::from(self.compare_every_s)),
            patience: Patience::default(),
        }
    }
}

impl Default for Telemetry {
    fn default() -> Self {
        Telemetry {
            format: log_format(),
            filter: log_filter(),
            otlp_endpoint: None,
            metrics_listen: None,
            metrics_every_s: metrics_every_s(),
        }
    }
}

impl Telemetry {
    fn check(self, code: Option<&SiteCode>, problems: &mut Problems) -> Option<TelemetryConfig> {
        let format = match self.format.as_str() {
            "text" => Some(LogFormat::Text),
            "json" => Some(LogFormat::Json),
            _ => {
                problems.add("telemetry.format", "text or json is expected");
                None
            }
        };
        let listen = self.metrics_listen.as_deref();
        let (metrics_listen, metrics_every) =
            telemetry::check_metrics(problems, listen, self.metrics_every_s);
        Some(TelemetryConfig {
            format: format?,
            filter: self.filter,
            otlp_endpoint: self.otlp_endpoint,
            metrics_listen,
            metrics_every,
            service: "packhorse-site-server".to_owned(),
            instance: code?.to_string(),
        })
    }
}

impl Config {
    pub fn load(path: &Path) -> Result<Settings, ConfigError> {
        let config: Config = config::load(path)?;
        let mut problems = Problems::new();
        let settings = config.check(&mut problems);
        problems.into_result(path)?;
        Ok(settings.expect("no problem was found"))
    }

    /// `None` only where `problems` holds why.
    fn check(self, problems: &mut Problems) -> Option<Settings> {
        let code = problems.check("code", self.code.parse::<SiteCode>());
        let listen = problems.check("listen", self.listen.parse::<SocketAddr>());
        check_endpoints(problems, "endpoints", &self.endpoints);
        problems.require(
            "name",
            packhorse_domain::package::check_name(&self.name).is_ok(),
            "1 to 128 characters are expected",
        );
        for (setting, level) in [
            ("bundle_level", self.bundle_level),
            ("bundle_level_on_fast_lines", self.bundle_level_on_fast_lines),
        ] {
            problems.require(setting, (1..=19).contains(&level), "1 to 19 is expected");
        }
        problems.require(
            "instruction_validity_h",
            (1..=24 * 366).contains(&self.instruction_validity_h),
            "1 hour to 366 days is expected",
        );
        let parent = self.parent.and_then(|parent| {
            check_endpoints(problems, "parent.endpoints", &parent.endpoints);
            Some((problems.check("parent.site", parent.site.parse::<SiteCode>())?, parent.endpoints))
        });
        let content = self.content.check(problems);
        let link = self.link.check(problems);
        let telemetry = self.telemetry.check(code.as_ref(), problems);
        let code = code?;
        Some(Settings {
            content,
            link,
            telemetry: telemetry?,
            health: Pace::default(),
            code,
            name: self.name,
            listen: listen?,
            endpoints: self.endpoints,
            bundle_level: self.bundle_level,
            bundle_level_on_fast_lines: self.bundle_level_on_fast_lines,
            instruction_validity: Duration::from_secs(u64::from(self.instruction_validity_h) * 3600),
            parent,
        })
    }
}

fn check_endpoints(problems: &mut Problems, setting: &str, endpoints: &[String]) {
    problems.require(setting, (1..=8).contains(&endpoints.len()), "1 to 8 endpoints are expected");
    for endpoint in endpoints {
        let is_endpoint = endpoint
            .rsplit_once(':')
            .is_some_and(|(host, port)| !host.is_empty() && port.parse::<u16>().is_ok_and(|port| port > 0));
        problems.require(setting, is_endpoint, &format!("`{endpoint}` is not HOST:PORT"));
    }
}

#[cfg(test)]
mod tests {
    use packhorse_content::CaseClashes;
    use packhorse_domain::care::Reserve;

    use super::*;

    fn load(text: &str) -> Result<Settings, ConfigError> {
        let file = tempfile::NamedTempFile::new().expect("a file");
        std::fs::write(file.path(), text).expect("written");
        Config::load(file.path())
    }

    #[test]
    fn every_problem_is_reported_at_once() {
        let error = load("code = 'cen'\nname = ''\nlisten = 'here'\nendpoints = []\nbundle_level = 99\nbundle_level_on_fast_lines = 0\n[link]\ncompare_every_s = 1\n[content]\nreserve = 'much'\nverify_every_d = 999\nverify_rate = '5'\ncase_clashes = 'maybe'\n[telemetry]\nmetrics_listen = '9464'\nmetrics_every_s = 0\n")
            .expect_err("bad");

        let text = error.to_string();
        for setting in [
            "code",
            "name",
            "listen",
            "endpoints",
            "bundle_level: ",
            "bundle_level_on_fast_lines",
            "link.compare_every_s",
            "content.reserve",
            "content.verify_every_d",
            "content.verify_rate",
            "content.case_clashes",
            "telemetry.metrics_listen",
            "telemetry.metrics_every_s",
        ] {
            assert!(text.contains(setting), "{setting} is missing in: {text}");
        }
    }

    #[test]
    fn a_misspelt_setting_is_refused() {
        let error =
            load("code = 'CEN'\nname = 'x'\nlisten = '127.0.0.1:1'\nendpoints = ['a:1']\nbundel_level = 3\n");

        let text = packhorse_runtime::error_chain(&error.expect_err("unknown"));
        assert!(text.contains("bundel_level"), "{text}");
    }

    #[test]
    fn what_is_left_out_has_a_sane_value() {
        let settings =
            load("code = 'CEN'\nname = 'x'\nlisten = '127.0.0.1:1'\nendpoints = ['a:1']\n").expect("good");

        assert_eq!((settings.bundle_level, settings.bundle_level_on_fast_lines), (8, 1));
        assert_eq!(settings.instruction_validity, Duration::from_secs(72 * 3600));
        assert_eq!(settings.link.compare_every, Duration::from_secs(600));
        assert_eq!(settings.content.reserve, Reserve::Auto);
        assert_eq!(settings.content.verify_every, Some(Duration::from_secs(30 * 86_400)));
        assert_eq!(settings.content.verify_bytes_per_s, 8_000_000);
        assert_eq!(settings.content.case_clashes, CaseClashes::Refuse);
    }
}
