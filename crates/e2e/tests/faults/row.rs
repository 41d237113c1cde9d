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
    /// It is run in a hierarchy of its own: it hits what other rows made, or cannot be brought back.
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

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use packhorse_domain::diagnosis::Check;

    use super::*;

    const TROUBLESHOOTING: &str = include_str!("../../../../docs/troubleshooting.md");

    /// Its line in the table of all checks, and what is said of why it has no row.
    fn told(check: Check) -> (Option<&'static str>, Option<&'static str>) {
        let name = check.name();
        let find = |begin: String| TROUBLESHOOTING.lines().find_map(move |line| line.strip_prefix(&begin));
        (find(format!("| `{name}` | ")), find(format!("- `{name}`: ")))
    }

    #[test]
    fn there_are_as_many_faults_as_is_said_and_no_two_are_the_same() -> Result<()> {
        let (single, pairs) = (rows(include_str!("table.toml"))?, rows(include_str!("pairs.toml"))?);

        assert!(single.len() >= 60, "{}", single.len());
        assert!(pairs.len() >= 20, "{}", pairs.len());
        let all = || single.iter().chain(&pairs);
        assert_eq!(all().map(|row| &row.name).collect::<BTreeSet<_>>().len(), all().count());
        let done: BTreeSet<(&Vec<String>, &String)> = all().map(|row| (&row.steps, &row.ask)).collect();
        assert_eq!(done.len(), all().count());
        Ok(())
    }

    #[test]
    fn every_check_is_in_the_document_and_the_cause_of_a_row_or_it_says_why_not() -> Result<()> {
        let single = rows(include_str!("table.toml"))?;
        let causes: BTreeSet<&str> =
            single.iter().flat_map(|row| &row.causes).map(|cause| cause.check.as_str()).collect();

        for check in Check::ALL {
            let (line, reason) = told(*check);
            let line = line.with_context(|| format!("{} is not in the table of all checks", check.name()))?;
            ensure!(line.starts_with(check.station().as_str()), "{}: {line}", check.name());
            let has_row = causes.contains(check.name());
            ensure!(has_row != reason.is_some(), "{}: a row, or a reason why there is none", check.name());
        }
        Ok(())
    }

    #[test]
    fn the_document_names_rows_that_there_are() -> Result<()> {
        let single = rows(include_str!("table.toml"))?;
        let names: BTreeSet<&str> = single.iter().map(|row| row.name.as_str()).collect();

        let tips = TROUBLESHOOTING.lines().filter(|line| line.starts_with("| ") && line.ends_with("] |"));
        let named: Vec<&str> = tips
            .filter_map(|line| line.rsplit_once('[')?.1.strip_suffix("] |"))
            .flat_map(|names| names.split("; "))
            .collect();

        ensure!(named.len() > 30, "{named:?}");
        for name in named {
            ensure!(names.contains(name), "there is no row `{name}`");
        }
        Ok(())
    }
}
