//! How far things are: bars that move on a terminal, elsewhere a line for each tenth.

use std::{
    collections::BTreeMap,
    io::{self, IsTerminal as _},
};

use anyhow::Result;
use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle};

use crate::say;

const NAME_WIDTH: usize = 16;

/// One line of the display.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Unit {
    Bytes,
    Things,
}

#[derive(Debug)]
pub(crate) struct Meter {
    bars: Option<MultiProgress>,
    rows: BTreeMap<String, Row>,
}

#[derive(Debug)]
struct Row {
    bar: Option<ProgressBar>,
    /// What was said last, where there is no terminal.
    said: Option<(u64, String)>,
}

/// What a row shows.
#[derive(Debug, Clone)]
pub(crate) struct Reading {
    pub(crate) done: u64,
    pub(crate) total: u64,
    pub(crate) unit: Unit,
    pub(crate) text: String,
}

impl Meter {
    pub(crate) fn new() -> Self {
        let terminal = io::stderr().is_terminal();
        let bars = terminal.then(|| MultiProgress::with_draw_target(ProgressDrawTarget::stderr_with_hz(10)));
        Meter { bars, rows: BTreeMap::new() }
    }

    /// Rows stand in the order in which they first come.
    pub(crate) fn show(&mut self, name: &str, reading: &Reading) -> Result<()> {
        if !self.rows.contains_key(name) {
            let bar = match &self.bars {
                Some(bars) => Some(bars.add(styled(name, reading.unit)?)),
                None => None,
            };
            self.rows.insert(name.to_owned(), Row { bar, said: None });
        }
        let Some(row) = self.rows.get_mut(name) else { return Ok(()) };
        match &row.bar {
            Some(bar) => {
                bar.set_length(reading.total);
                bar.set_position(reading.done);
                bar.set_message(reading.text.clone());
            }
            None => {
                let tenth = (reading.done * 10).checked_div(reading.total).unwrap_or(0);
                let now = (tenth, reading.text.clone());
                if row.said.as_ref() != Some(&now) {
                    say(&line(name, reading));
                    row.said = Some(now);
                }
            }
        }
        Ok(())
    }

    /// Leaves the bars as they are.
    pub(crate) fn end(&self) {
        for row in self.rows.values() {
            if let Some(bar) = &row.bar {
                bar.abandon();
            }
        }
    }
}

fn styled(name: &str, unit: Unit) -> Result<ProgressBar> {
    let amounts = match unit {
        Unit::Bytes => "{binary_bytes:>10} / {binary_total_bytes:10}",
        Unit::Things => "{pos:>10} / {len:10}",
    };
    let template = format!("{{prefix:{NAME_WIDTH}}} {{bar:30}} {amounts} {{wide_msg}}");
    let bar = ProgressBar::new(0).with_style(ProgressStyle::with_template(&template)?.progress_chars("━╸ "));
    bar.set_prefix(name.to_owned());
    Ok(bar)
}

fn line(name: &str, reading: &Reading) -> String {
    let percent = (reading.done * 100).checked_div(reading.total).unwrap_or(0);
    let amounts = match reading.unit {
        Unit::Bytes => {
            format!("{} / {}", indicatif::BinaryBytes(reading.done), indicatif::BinaryBytes(reading.total))
        }
        Unit::Things => format!("{} / {}", reading.done, reading.total),
    };
    format!("{name:NAME_WIDTH$} {percent:>3} %  {amounts}  {}", reading.text).trim_end().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_template_is_one() {
        styled("CEN → PAR", Unit::Bytes).expect("a style for bytes");
        styled("clients", Unit::Things).expect("a style for things");
    }

    #[test]
    fn a_line_says_how_far_and_what() {
        let reading = Reading { done: 1, total: 3, unit: Unit::Things, text: "par-desk-1 running".into() };

        assert_eq!(line("clients", &reading), "clients           33 %  1 / 3  par-desk-1 running");
        let nothing = Reading { done: 0, total: 0, unit: Unit::Bytes, text: String::new() };
        assert!(line("PAR → LYO", &nothing).contains("0 %"));
    }
}
