//! A row of the table.

use std::collections::BTreeMap;

use anyhow::{Context as _, Result, ensure};
use serde::Deserialize;

#[derive(Debug, Deserialize)]
struct Table {
    fault: Vec<Row>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Row {
    pub(crate) name: String,
    /// What is done; see `steps.rs` for the words.
    pub(crate) steps: Vec<String>,
    /// `SITE$ why ...`
    pub(crate) ask: String,
    /// `CHECK at SITE`, in the order in which they are named, each after the one before it was mended.
    pub(crate) causes: Vec<Cause>,
    /// What goes into the blanks of printed commands, as DIR.
    #[serde(default)]
    pub(crate) fill: BTreeMap<String, String>,
    /// What the text says is to be done before the printed command.
    #[serde(default)]
    pub(crate) first: Vec<String>,
    /// Done after the printed command, or instead where none is printed; the text says what to do.
    #[serde(default)]
    pub(crate) by_hand: Vec<String>,
    /// A site is not reached: an answer may take longer.
    #[serde(default)]
    pub(crate) unreachable: bool,
    /// It is enough that the cause is gone: something else is still to come.
    #[serde(default)]
    pub(crate) only_gone: bool,
    /// Checks that may fail for a moment before the fault shows.
    #[serde(default)]
    pub(crate) passing: Vec<String>,
    /// The next row begins in a new hierarchy: this one cannot be brought back.
    #[serde(default)]
    pub(crate) fresh: bool,
    /// What brings the hierarchy back to where the next row begins.
    #[serde(default)]
    pub(crate) after: Vec<String>,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(try_from = "String")]
pub(crate) struct Cause {
    pub(crate) check: String,
    pub(crate) site: String,
}

impl TryFrom<String> for Cause {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        let (check, site) =
            text.split_once(" at ").ok_or_else(|| format!("`{text}`: CHECK at SITE is expected"))?;
        Ok(Cause { check: check.to_owned(), site: site.to_owned() })
    }
}

pub(crate) fn rows(text: &str) -> Result<Vec<Row>> {
    let table: Table = toml::from_str(text).context("the table")?;
    for row in &table.fault {
        let known =
            |check: &str| packhorse_domain::diagnosis::Check::ALL.iter().any(|one| one.name() == check);
        for cause in &row.causes {
            ensure!(known(&cause.check), "{}: there is no check {}", row.name, cause.check);
        }
    }
    Ok(table.fault)
}
