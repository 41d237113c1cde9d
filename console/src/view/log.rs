//! How much each component logs.

use packhorse_domain::{Timestamp, log::LogLevel};
use packhorse_proto::provider::v1 as wire;
use serde::Serialize;

use crate::view::{Screen, View, table};

#[derive(Debug, Serialize)]
pub(crate) struct Levels {
    components: Vec<Row>,
}

#[derive(Debug, Serialize)]
struct Row {
    component: String,
    level: &'static str,
    /// What the settings say.
    configured: &'static str,
    /// Until the settings hold again; none: they hold now.
    left_s: Option<u64>,
}

impl Levels {
    pub(crate) fn new(components: Vec<wire::ComponentLogLevel>, now: Timestamp) -> Self {
        let row = |one: wire::ComponentLogLevel| Row {
            level: word(one.level()),
            configured: word(one.configured()),
            left_s: (one.until_us > 0).then(|| Timestamp(one.until_us).since(now).as_secs()),
            component: one.component,
        };
        Levels { components: components.into_iter().map(row).collect() }
    }
}

/// A later version may have levels that this one does not know.
fn word(level: wire::LogLevel) -> &'static str {
    LogLevel::try_from(level).map_or("unknown", LogLevel::as_str)
}

impl View for Levels {
    fn text(&self, screen: Screen) -> String {
        let row = |row: &Row| {
            let left = match row.left_s {
                Some(seconds) => format!("{} min {} s", seconds / 60, seconds % 60),
                None => "-".to_owned(),
            };
            [row.component.clone(), row.level.to_owned(), row.configured.to_owned(), left]
        };
        let rows: Vec<_> = self.components.iter().map(row).collect();
        table(screen, ["COMPONENT", "LEVEL", "CONFIGURED", "FOR"], &rows, "no components")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_change_shows_what_holds_again_and_when() {
        let one = |component: &str, level: wire::LogLevel, until_us| wire::ComponentLogLevel {
            component: component.to_owned(),
            level: level.into(),
            configured: wire::LogLevel::Info.into(),
            until_us,
        };
        let levels = Levels::new(
            vec![one("sender", wire::LogLevel::Debug, 95_000_000), one("monitor", wire::LogLevel::Info, 0)],
            Timestamp(5_000_000),
        );

        let text = levels.text(Screen { terminal: false });

        let lines: Vec<&str> = text.lines().map(str::trim_end).collect();
        assert_eq!(
            lines[1].split_whitespace().collect::<Vec<_>>(),
            ["sender", "debug", "info", "1", "min", "30", "s"]
        );
        assert_eq!(lines[2].split_whitespace().collect::<Vec<_>>(), ["monitor", "info", "info", "-"]);
        let json = serde_json::to_value(&levels).expect("JSON");
        assert_eq!(
            (&json["components"][0]["left_s"], &json["components"][1]["left_s"]),
            (&90.into(), &serde_json::Value::Null)
        );
    }
}
