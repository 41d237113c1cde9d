//! How answers look: as tables for people, or as one JSON document with names that stay.
//!
//! Every view is a struct of its own, so that the wire may change without the documents.

pub(crate) mod address;
pub(crate) mod advertisement;
pub(crate) mod advertisement_progress;
pub(crate) mod calendar;
pub(crate) mod client;
pub(crate) mod collection;
pub(crate) mod content;
pub(crate) mod courier;
pub(crate) mod custody;
pub(crate) mod done;
pub(crate) mod event;
pub(crate) mod event_rule;
pub(crate) mod health;
pub(crate) mod inspect;
pub(crate) mod kill;
pub(crate) mod label;
pub(crate) mod log;
pub(crate) mod package;
pub(crate) mod package_progress;
pub(crate) mod parcel;
pub(crate) mod queue;
pub(crate) mod route;
pub(crate) mod site;
pub(crate) mod summary;
pub(crate) mod support;
pub(crate) mod transfer;
pub(crate) mod why;

use std::io::{self, IsTerminal as _, Write as _};

use comfy_table::{ContentArrangement, Table, presets};
use serde::Serialize;

use crate::{cli::Format, error::ConsoleError};

/// Below this many columns cells are not fitted to the terminal.
const WIDTH_MIN: u16 = 60;

/// Where a table goes: on a terminal it fits the width and has a rule under its header.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Screen {
    pub(crate) terminal: bool,
}

pub(crate) trait View: Serialize {
    /// The text for people, without a line end.
    fn text(&self, screen: Screen) -> String;
}

/// Writes a view to standard output. A reader that closed its end has seen enough.
pub(crate) fn show(view: &impl View, format: Format) -> Result<(), ConsoleError> {
    let mut text = match format {
        Format::Table => view.text(Screen { terminal: io::stdout().is_terminal() }),
        Format::Json => json(view)?,
    };
    text.push('\n');
    write(&text)
}

/// The same, as one line of JSON: for answers that go on.
pub(crate) fn show_line(view: &impl View, format: Format) -> Result<(), ConsoleError> {
    match format {
        Format::Table => show(view, format),
        Format::Json => {
            let line = serde_json::to_string(view).map_err(|error| ConsoleError::Output(error.into()))?;
            write(&format!("{line}\n"))
        }
    }
}

pub(crate) fn write(text: &str) -> Result<(), ConsoleError> {
    let mut out = io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(ConsoleError::Output(error)),
        _ => Ok(()),
    }
}

fn json(view: &impl View) -> Result<String, ConsoleError> {
    serde_json::to_string_pretty(view).map_err(|error| ConsoleError::Output(error.into()))
}

/// Rows under a header; `nothing` when there are none.
fn table<const N: usize>(screen: Screen, header: [&str; N], rows: &[[String; N]], nothing: &str) -> String {
    if rows.is_empty() {
        return nothing.to_owned();
    }
    let mut table = Table::new();
    table
        .load_style(presets::NOTHING)
        .set_content_arrangement(ContentArrangement::Disabled)
        .set_header(header);
    if screen.terminal {
        table.style_mut().header_separator = presets::UTF8_HORIZONTAL_ONLY.header_separator;
        // A narrower terminal, or one that does not say, is better off with lines that it wraps itself.
        if table.width().is_some_and(|width| width >= WIDTH_MIN) {
            table.set_content_arrangement(ContentArrangement::Dynamic);
        }
    }
    for row in rows {
        table.add_row(row.iter().map(|cell| clean(cell)));
    }
    for column in table.column_iter_mut() {
        column.set_padding((0, 2));
    }
    table.trim_fmt()
}

/// Names and values of one thing; empty values are left out.
fn fields(pairs: &[(&str, String)]) -> String {
    let width = pairs.iter().map(|(name, _)| name.len()).max().unwrap_or(0);
    let lines: Vec<String> = pairs
        .iter()
        .filter(|(_, value)| !value.is_empty())
        .map(|(name, value)| format!("{name:<width$}  {}", clean(value)))
        .collect();
    lines.join("\n")
}

/// A part of a longer answer, with a title.
fn section(title: &str, body: &str) -> String {
    format!("\n\n{title}\n{body}")
}

/// Text from elsewhere, so that it cannot move the cursor or break a line.
pub(crate) fn clean(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}

/// The same, but lines stay lines.
pub(crate) fn clean_lines(text: &str) -> String {
    text.chars().map(|c| if c.is_control() && c != '\n' { ' ' } else { c }).collect()
}

/// A time as RFC 3339; `None` for the wire's 0.
fn time(at_us: i64) -> Option<String> {
    if at_us == 0 {
        return None;
    }
    jiff::Timestamp::from_microsecond(at_us).ok().map(|time| time.to_string())
}

/// A time for people, to the second.
fn clock(at: Option<&str>) -> String {
    let parsed = at.and_then(|text| text.parse::<jiff::Timestamp>().ok());
    parsed.map(|time| time.strftime("%Y-%m-%d %H:%M:%SZ").to_string()).unwrap_or_else(|| "-".to_owned())
}

/// An amount for people.
fn amount(bytes: u64) -> String {
    indicatif::BinaryBytes(bytes).to_string()
}

fn or_dash(text: &str) -> String {
    if text.is_empty() { "-".to_owned() } else { text.to_owned() }
}

fn yes(holds: bool) -> String {
    if holds { "yes" } else { "no" }.to_owned()
}

/// An enum's name on the wire as a word: `PACKAGE_STATE_PENDING` is `pending`.
fn word(name: Result<&'static str, prost::UnknownEnumValue>, prefix: &str) -> String {
    match name.ok().and_then(|name| name.strip_prefix(prefix)) {
        None | Some("UNSPECIFIED") => "unknown".to_owned(),
        Some(rest) => rest.to_lowercase(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PIPE: Screen = Screen { terminal: false };

    #[test]
    fn a_piped_table_has_neither_borders_nor_wrapped_cells() {
        let long = "x".repeat(300);
        let rows = [["CEN".to_owned(), long.clone()], ["PAR".to_owned(), "short".to_owned()]];

        let text = table(PIPE, ["SITE", "NAME"], &rows, "no sites");

        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines.len(), 3);
        assert!(lines.iter().all(|line| !line.starts_with(' ')), "{text}");
        assert_eq!(lines[1].split_whitespace().collect::<Vec<_>>(), ["CEN", &long]);
        assert!(text.chars().all(|c| c.is_ascii_alphanumeric() || c.is_ascii_whitespace()), "{text}");
    }

    #[test]
    fn a_table_without_rows_says_so() {
        assert_eq!(table(PIPE, ["SITE"], &[], "no sites"), "no sites");
    }

    #[test]
    fn text_from_elsewhere_cannot_move_the_cursor() {
        let rows = [["a\u{1b}[2Jb\nc".to_owned()]];

        let text = table(PIPE, ["NAME"], &rows, "");

        assert!(!text.contains('\u{1b}') && text.lines().count() == 2, "{text:?}");
        assert!(!fields(&[("name", "a\u{7}\nb".to_owned())]).contains(['\u{7}', '\n']));
    }

    #[test]
    fn times_are_rfc_3339_and_zero_is_none() {
        assert_eq!(time(0), None);
        assert_eq!(time(1_500_000).as_deref(), Some("1970-01-01T00:00:01.5Z"));
        assert_eq!(time(i64::MAX), None);
        assert_eq!(clock(Some("1970-01-01T00:00:01.5Z")), "1970-01-01 00:00:01Z");
        assert_eq!(clock(None), "-");
    }

    #[test]
    fn wire_names_become_words() {
        assert_eq!(word(Ok("PACKAGE_STATE_PENDING"), "PACKAGE_STATE_"), "pending");
        assert_eq!(word(Ok("PACKAGE_STATE_UNSPECIFIED"), "PACKAGE_STATE_"), "unknown");
        assert_eq!(word(Err(prost::UnknownEnumValue(99)), "PACKAGE_STATE_"), "unknown");
    }
}
