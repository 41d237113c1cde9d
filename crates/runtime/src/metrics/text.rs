//! Figures as Prometheus reads them: its text format, version 0.0.4.

use std::fmt::Write as _;

use super::{Column, Kind, Sheet};

pub(super) const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// A figure without rows still says that it exists.
pub(super) fn encode(sheet: &Sheet, common: &[(&'static str, String)]) -> String {
    let mut text = String::new();
    for column in sheet.figures.values() {
        encode_column(&mut text, column, common);
    }
    text
}

fn encode_column(text: &mut String, Column { figure, rows }: &Column, common: &[(&'static str, String)]) {
    let kind = match figure.kind {
        Kind::Gauge => "gauge",
        Kind::Counter => "counter",
    };
    // Writing to a string cannot fail.
    let _ = writeln!(text, "# HELP {} {}\n# TYPE {0} {kind}", figure.name, escaped(figure.help, false));
    for row in rows {
        let own = figure.labels.iter().copied().zip(row.labels.iter().map(String::as_str));
        let all = common.iter().map(|(name, value)| (*name, value.as_str())).chain(own);
        let labels: Vec<String> =
            all.map(|(name, value)| format!("{name}=\"{}\"", escaped(value, true))).collect();
        let braces = if labels.is_empty() { String::new() } else { format!("{{{}}}", labels.join(",")) };
        let _ = writeln!(text, "{}{braces} {}", figure.name, number(row.value));
    }
}

fn escaped(text: &str, quotes: bool) -> String {
    let mut escaped = text.replace('\\', "\\\\").replace('\n', "\\n");
    if quotes {
        escaped = escaped.replace('"', "\\\"");
    }
    escaped
}

/// Rust writes numbers as Prometheus reads them, but for the infinite ones.
fn number(value: f64) -> String {
    match value {
        f64::INFINITY => "+Inf".to_owned(),
        f64::NEG_INFINITY => "-Inf".to_owned(),
        value => value.to_string(),
    }
}
