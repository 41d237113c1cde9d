//! How sites and their components are, as they said last.

use packhorse_proto::{object::v1 as object, provider::v1 as wire};
use serde::Serialize;

use crate::view::{Screen, View, amount, clock, or_dash, package::priority, table, time, word};

/// What is wrong fits a line.
const WRONG_MAX: usize = 80;

/// All sites, the worst first.
#[derive(Debug, Serialize)]
pub(crate) struct SiteHealths {
    at: Option<String>,
    sites: Vec<SiteHealth>,
}

/// The components of sites.
#[derive(Debug, Serialize)]
pub(crate) struct ComponentHealths {
    at: Option<String>,
    components: Vec<SiteComponent>,
}

#[derive(Debug, Serialize)]
struct SiteHealth {
    site: String,
    parent: Option<String>,
    /// ok, unknown, warning, silent, critical
    standing: String,
    silent_since: Option<String>,
    told_at: Option<String>,
    received_at: Option<String>,
    /// As it said itself; silent ones too.
    level: String,
    /// The worst of what is not well; empty: all is.
    wrong: Vec<String>,
    components: Vec<Component>,
    disk: Option<Disk>,
    library_bytes: u64,
    certificate: Option<Certificate>,
    lines: Vec<Line>,
    queues: Vec<Queue>,
    caps: Caps,
    /// Beside the clock of its parent.
    clock: Option<Clock>,
    #[serde(skip)]
    age_s: Option<i64>,
}

#[derive(Debug, Serialize)]
struct SiteComponent {
    site: String,
    standing: String,
    told_at: Option<String>,
    #[serde(flatten)]
    component: Component,
}

#[derive(Debug, Clone, Serialize)]
struct Component {
    name: String,
    level: String,
    since: Option<String>,
    last_error: String,
}

#[derive(Debug, Serialize)]
struct Disk {
    free_bytes: u64,
    total_bytes: u64,
    reserve_bytes: u64,
    level: String,
}

#[derive(Debug, Serialize)]
struct Certificate {
    name: String,
    ends: Option<String>,
    level: String,
    #[serde(skip)]
    left_s: i64,
}

#[derive(Debug, Serialize)]
struct Line {
    peer: String,
    up: bool,
    since: Option<String>,
    level: String,
}

#[derive(Debug, Serialize)]
struct Queue {
    peer: String,
    priority: String,
    oldest: Option<String>,
    level: String,
}

#[derive(Debug, Serialize)]
struct Clock {
    /// Negative: behind.
    ahead_s: f64,
    level: String,
}

#[derive(Debug, Default, Serialize)]
struct Caps {
    agents: u32,
    connected: u32,
    behind: u64,
    level: String,
}

/// Where nothing is said, it is well.
fn level(level: i32) -> String {
    match object::HealthLevel::try_from(level) {
        Ok(object::HealthLevel::Unspecified) => "ok".to_owned(),
        known => word(known.map(|level| level.as_str_name()), "HEALTH_LEVEL_"),
    }
}

fn rank(level: &str) -> u8 {
    match level {
        "ok" => 0,
        "warning" => 1,
        _ => 2,
    }
}

/// A time span for people: its largest unit.
fn span(seconds: i64) -> String {
    match seconds.max(0) {
        seconds @ 0..=119 => format!("{seconds} s"),
        seconds @ 120..=7_199 => format!("{} min", seconds / 60),
        seconds @ 7_200..=172_799 => format!("{} h", seconds / 3_600),
        seconds => format!("{} d", seconds / 86_400),
    }
}

impl SiteHealth {
    fn new(one: wire::SiteStanding, at_us: i64) -> SiteHealth {
        let told = one.health.is_some();
        let health = one.health.unwrap_or_default();
        let caps = health.caps.unwrap_or_default();
        let mut shown = SiteHealth {
            standing: word(wire::Standing::try_from(one.standing).map(|one| one.as_str_name()), "STANDING_"),
            site: one.site,
            parent: (!one.parent.is_empty()).then_some(one.parent),
            silent_since: time(one.silent_since_us),
            told_at: time(health.at_us),
            received_at: time(one.received_us),
            level: if told { level(health.level) } else { "unknown".to_owned() },
            wrong: Vec::new(),
            components: health.components.into_iter().map(component).collect(),
            disk: health.disk.map(|disk| Disk {
                free_bytes: disk.free_bytes,
                total_bytes: disk.total_bytes,
                reserve_bytes: disk.reserve_bytes,
                level: level(disk.level),
            }),
            library_bytes: health.library_bytes,
            certificate: health.certificate.map(|one| Certificate {
                name: one.name,
                ends: time(one.ends_us),
                level: level(one.level),
                left_s: one.ends_us.saturating_sub(at_us) / 1_000_000,
            }),
            lines: health.lines.into_iter().map(line).collect(),
            queues: health.queues.into_iter().map(queue).collect(),
            clock: health
                .clock
                .map(|one| Clock { ahead_s: one.ahead_us as f64 / 1e6, level: level(one.level) }),
            caps: Caps {
                agents: caps.agents,
                connected: caps.connected,
                behind: caps.behind,
                level: level(caps.level),
            },
            age_s: told.then(|| at_us.saturating_sub(health.at_us) / 1_000_000),
        };
        shown.wrong = shown.find_wrong();
        shown
    }

    /// What is not well, the worst first.
    fn find_wrong(&self) -> Vec<String> {
        let mut found: Vec<(u8, String)> = Vec::new();
        let mut add = |level: &str, text: String| found.push((rank(level), text));
        for one in &self.components {
            let error = if one.last_error.is_empty() { &one.level } else { &one.last_error };
            add(&one.level, format!("{}: {error}", one.name));
        }
        if let Some(disk) = &self.disk {
            let (free, reserve) = (amount(disk.free_bytes), amount(disk.reserve_bytes));
            add(&disk.level, format!("disk: {free} free, {reserve} are the reserve"));
        }
        if let Some(one) = &self.certificate {
            let ends = clock(one.ends.as_deref());
            add(&one.level, format!("certificate {}: ends {ends}", one.name));
        }
        for line in &self.lines {
            let since = clock(line.since.as_deref());
            add(&line.level, format!("line to {}: down since {since}", line.peer));
        }
        for one in &self.queues {
            let oldest = clock(one.oldest.as_deref());
            add(&one.level, format!("queue to {}: {} priority waits since {oldest}", one.peer, one.priority));
        }
        if let Some(one) = &self.clock {
            let how = if one.ahead_s < 0.0 { "behind" } else { "ahead of" };
            add(&one.level, format!("clock: {} {how} its parent's", span(one.ahead_s.abs() as i64)));
        }
        let Caps { agents, connected, .. } = self.caps;
        add(&self.caps.level, format!("CAP agents: {connected} of {agents} connected"));
        found.retain(|(rank, _)| *rank > 0);
        found.sort_by_key(|(rank, _)| std::cmp::Reverse(*rank));
        found.into_iter().map(|(_, text)| text).collect()
    }

    fn headline(&self) -> String {
        let mut text = match self.wrong.first() {
            Some(first) if first.chars().count() > WRONG_MAX => {
                format!("{}...", first.chars().take(WRONG_MAX - 3).collect::<String>())
            }
            first => first.cloned().unwrap_or_default(),
        };
        if self.wrong.len() > 1 {
            text.push_str(&format!(" (and {} more)", self.wrong.len() - 1));
        }
        match (&self.silent_since, self.wrong.is_empty()) {
            (None, _) => text,
            (Some(since), true) => format!("silent since {}", clock(Some(since))),
            (Some(since), false) => format!("silent since {}; before: {text}", clock(Some(since))),
        }
    }

    fn row(&self) -> [String; 7] {
        let up = self.lines.iter().filter(|line| line.up).count();
        let told = self.age_s.is_some();
        [
            self.site.clone(),
            self.standing.clone(),
            or_dash(&self.headline()),
            if told { format!("{up} of {} up", self.lines.len()) } else { "-".to_owned() },
            self.disk.as_ref().map_or_else(|| "-".to_owned(), Disk::short),
            self.certificate.as_ref().map_or_else(|| "-".to_owned(), Certificate::short),
            self.age_s.map_or_else(|| "never".to_owned(), |age| format!("{} ago", span(age))),
        ]
    }
}

impl Disk {
    fn short(&self) -> String {
        let percent = u128::from(self.free_bytes) * 100 / u128::from(self.total_bytes.max(1));
        format!("{percent}% free")
    }
}

impl Certificate {
    fn short(&self) -> String {
        if self.left_s > 0 { format!("{} left", span(self.left_s)) } else { "expired".to_owned() }
    }
}

fn component(one: object::ComponentHealth) -> Component {
    Component {
        name: one.name,
        level: level(one.level),
        since: time(one.since_us),
        last_error: one.last_error,
    }
}

fn line(line: object::LineHealth) -> Line {
    Line { peer: line.peer, up: line.up, since: time(line.since_us), level: level(line.level) }
}

fn queue(queue: object::QueueHealth) -> Queue {
    Queue {
        peer: queue.peer,
        priority: priority(queue.priority),
        oldest: time(queue.oldest_us),
        level: level(queue.level),
    }
}

impl From<wire::ListSiteHealthResponse> for SiteHealths {
    fn from(answer: wire::ListSiteHealthResponse) -> Self {
        let at_us = answer.at_us;
        let sites = answer.sites.into_iter().map(|one| SiteHealth::new(one, at_us)).collect();
        SiteHealths { at: time(at_us), sites }
    }
}

impl From<wire::ListSiteHealthResponse> for ComponentHealths {
    fn from(answer: wire::ListSiteHealthResponse) -> Self {
        let SiteHealths { at, sites } = answer.into();
        let mut components: Vec<SiteComponent> = Vec::new();
        for site in sites {
            components.extend(site.components.into_iter().map(|component| SiteComponent {
                site: site.site.clone(),
                standing: site.standing.clone(),
                told_at: site.told_at.clone(),
                component,
            }));
        }
        components.sort_by_key(|one| std::cmp::Reverse(rank(&one.component.level)));
        ComponentHealths { at, components }
    }
}

impl View for SiteHealths {
    fn text(&self, screen: Screen) -> String {
        let rows: Vec<_> = self.sites.iter().map(SiteHealth::row).collect();
        let header = ["SITE", "LEVEL", "WRONG", "LINES", "DISK", "CERTIFICATE", "TOLD"];
        table(screen, header, &rows, "no sites")
    }
}

impl View for ComponentHealths {
    fn text(&self, screen: Screen) -> String {
        let row = |one: &SiteComponent| {
            // What a silent site said is no more than what it was.
            let was = if one.standing == "silent" { " (silent)" } else { "" };
            [
                one.site.clone(),
                one.component.name.clone(),
                format!("{}{was}", one.component.level),
                clock(one.component.since.as_deref()),
                or_dash(&one.component.last_error),
            ]
        };
        let rows: Vec<_> = self.components.iter().map(row).collect();
        let header = ["SITE", "COMPONENT", "LEVEL", "SINCE", "LAST ERROR"];
        table(screen, header, &rows, "no site has said anything of its components yet")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PIPE: Screen = Screen { terminal: false };
    const HOUR_US: i64 = 3_600_000_000;
    const NOW_US: i64 = 500_000 * HOUR_US;

    fn health(site: &str) -> object::SiteHealth {
        let component = |name: &str| object::ComponentHealth { name: name.into(), ..Default::default() };
        object::SiteHealth {
            site: site.into(),
            at_us: NOW_US - 240_000_000,
            every_s: 900,
            level: object::HealthLevel::Ok.into(),
            components: vec![component("monitor"), component("despooler")],
            disk: Some(object::DiskHealth {
                free_bytes: 42 << 30,
                total_bytes: 100 << 30,
                reserve_bytes: 2 << 30,
                ..Default::default()
            }),
            certificate: Some(object::CertificateHealth {
                name: "for its parent".into(),
                ends_us: NOW_US + 24 * 90 * HOUR_US,
                ..Default::default()
            }),
            lines: vec![object::LineHealth { peer: "CEN".into(), up: true, ..Default::default() }],
            caps: Some(object::CapsHealth { agents: 2, connected: 2, ..Default::default() }),
            ..Default::default()
        }
    }

    fn standing(health: Option<object::SiteHealth>, standing: wire::Standing) -> wire::SiteStanding {
        let site = health.as_ref().map_or_else(|| "NEW".to_owned(), |health| health.site.clone());
        wire::SiteStanding { site, standing: standing.into(), health, ..Default::default() }
    }

    /// One of each, in the order in which a site server gives them.
    fn answer() -> wire::ListSiteHealthResponse {
        let mut bad = health("LYO");
        bad.level = object::HealthLevel::Critical.into();
        bad.components[1].level = object::HealthLevel::Critical.into();
        bad.components[1].last_error = "cannot read the list of bundles".into();
        bad.components[1].since_us = NOW_US - HOUR_US;
        bad.caps = Some(object::CapsHealth {
            agents: 2,
            connected: 1,
            level: object::HealthLevel::Warning.into(),
            ..Default::default()
        });
        let mut silent = health("MAR");
        silent.at_us = NOW_US - 5 * HOUR_US;
        let mut gone = standing(Some(silent), wire::Standing::Silent);
        gone.silent_since_us = NOW_US - 5 * HOUR_US;
        wire::ListSiteHealthResponse {
            sites: vec![
                standing(Some(bad), wire::Standing::Critical),
                gone,
                standing(None, wire::Standing::Unknown),
                standing(Some(health("PAR")), wire::Standing::Ok),
            ],
            at_us: NOW_US,
        }
    }

    #[test]
    fn each_site_is_a_line_that_says_what_is_wrong() {
        let text = SiteHealths::from(answer()).text(PIPE);

        let lines: Vec<&str> = text.lines().collect();
        let words = |at: usize| lines[at].split_whitespace().collect::<Vec<_>>().join(" ");
        assert_eq!(words(0), "SITE LEVEL WRONG LINES DISK CERTIFICATE TOLD");
        assert_eq!(
            words(1),
            "LYO critical despooler: cannot read the list of bundles (and 1 more) 1 of 1 up 42% free 90 d left 4 min ago"
        );
        assert!(words(2).starts_with("MAR silent silent since 2027-"), "{text}");
        assert!(words(2).ends_with("5 h ago"), "{text}");
        assert_eq!(words(3), "NEW unknown - - - - never");
        assert_eq!(words(4), "PAR ok - 1 of 1 up 42% free 90 d left 4 min ago");
    }

    #[test]
    fn components_are_listed_the_worst_first_and_those_of_a_silent_site_say_so() {
        let text = ComponentHealths::from(answer()).text(PIPE);

        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines.len(), 7, "{text}");
        let first = lines[1].split_whitespace().collect::<Vec<_>>().join(" ");
        assert!(first.starts_with("LYO despooler critical 2027-"), "{text}");
        assert!(first.ends_with("cannot read the list of bundles"), "{text}");
        assert_eq!(text.matches("ok (silent)").count(), 2, "{text}");
        let nobody = ComponentHealths { at: None, components: vec![] };
        assert_eq!(nobody.text(PIPE), "no site has said anything of its components yet");
    }

    #[test]
    fn documents_have_names_that_stay() {
        let json = serde_json::to_value(SiteHealths::from(answer())).expect("json");
        assert_eq!(json["sites"][0]["standing"], "critical");
        assert_eq!(json["sites"][0]["wrong"][1], "CAP agents: 1 of 2 connected");
        assert_eq!(json["sites"][0]["components"][1]["level"], "critical");
        assert_eq!(json["sites"][1]["level"], "ok", "what it said while it did");
        assert!(json["sites"][1]["silent_since"].is_string());
        assert!(json["sites"][2]["told_at"].is_null() && json["sites"][2]["disk"].is_null());
        assert_eq!(json["sites"][3]["disk"]["level"], "ok");
        let json = serde_json::to_value(ComponentHealths::from(answer())).expect("json");
        assert_eq!(json["components"][0]["name"], "despooler");
    }

    #[test]
    fn what_is_wrong_fits_a_line_and_spans_have_one_unit() {
        let mut bad = health("LYO");
        bad.components[0].level = object::HealthLevel::Warning.into();
        bad.components[0].last_error = "é".repeat(200);
        let answer = wire::ListSiteHealthResponse {
            sites: vec![standing(Some(bad), wire::Standing::Warning)],
            at_us: NOW_US,
        };
        assert_eq!(SiteHealths::from(answer).sites[0].headline().chars().count(), WRONG_MAX);
        for (seconds, expected) in
            [(-5, "0 s"), (119, "119 s"), (120, "2 min"), (7_200, "2 h"), (172_800, "2 d")]
        {
            assert_eq!(span(seconds), expected);
        }
    }
}
