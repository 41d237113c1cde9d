//! What is printed is done, as a person would who copies it.

use std::{collections::BTreeMap, process::Command};

use anyhow::{Context as _, Result, bail, ensure};
use serde_json::Value;

use crate::{row::Row, steps::words, world::World};

impl World {
    /// Does what was printed, with what the text says is to be done before and after.
    pub(crate) fn mend(&mut self, cause: &Value, row: &Row) -> Result<()> {
        let is_printed = cause["remedy"]["command"].is_string();
        ensure!(is_printed || !row.by_hand.is_empty(), "nothing is printed that mends it: {cause:#}");
        let own = |steps: &[String]| -> Vec<String> {
            steps.iter().filter_map(|step| of_cause(step, cause)).collect()
        };
        own(&row.first).iter().try_for_each(|step| self.step(step))?;
        if is_printed {
            self.command(&cause["remedy"], row)?;
        }
        own(&row.by_hand).iter().try_for_each(|step| self.step(step))
    }

    /// Does what was printed; where it leaves a blank, with what the row puts there.
    pub(crate) fn command(&mut self, remedy: &Value, row: &Row) -> Result<()> {
        let (site, command) = (remedy["site"].as_str(), remedy["command"].as_str());
        let (site, command) = site.zip(command).context("a command")?;
        let (command, machine) = match command.split_once("  # on the machine of ") {
            Some((command, machine)) => (command, machine),
            None => (command, ""),
        };
        let given = words(command)?;
        let mut blanks = BTreeMap::new();
        for (blank, value) in &row.fill {
            blanks.insert(blank.clone(), self.fill(value)?);
        }
        let given: Vec<String> =
            given.into_iter().map(|word| blanks.get(&word).cloned().unwrap_or(word)).collect();
        match given.first().map(String::as_str) {
            Some("packhorse") => self.printed(site, &given[1..])?,
            Some("kill") => self.end_holder(site, given.last().context("a process")?)?,
            Some("systemctl") if given.last().is_some_and(|last| last == "systemd-timesyncd") => {
                let who = if machine.is_empty() { site.to_owned() } else { self.host(machine)? };
                self.set_clock(&who, 0)?;
            }
            Some("systemctl") => {
                let who = match given.last().map(String::as_str) {
                    Some("packhorse-site-server") => site.to_owned(),
                    Some("packhorse-cap-agent") => format!("{site}/{machine}"),
                    Some("packhorse-client-agent") => self.host(machine)?,
                    other => bail!("nobody can restart {other:?}"),
                };
                self.step(&format!("restart {who}"))?;
            }
            Some("client-agent") => {
                let directory = self.hierarchy.client_directory(&self.host(machine)?).display().to_string();
                let given = given[1..].iter().map(|word| match word.starts_with("/var/lib") {
                    true => directory.clone(),
                    false => word.clone(),
                });
                let status = Command::new(&self.hierarchy.binaries().client_agent).args(given).status()?;
                ensure!(status.success(), "{status}");
            }
            _ => bail!("nobody can do `{command}`"),
        }
        Ok(())
    }

    /// What is asked about afterwards is what the command made.
    fn printed(&mut self, site: &str, given: &[String]) -> Result<()> {
        if given.first().is_some_and(|word| word == "advertise") {
            let id = self.hierarchy.console(site).create(given)?;
            self.named.insert("advertisement".to_owned(), id);
            return Ok(());
        }
        self.hierarchy.console(site).done(given).map(drop)
    }

    /// The host name of a client.
    fn host(&self, id: &str) -> Result<String> {
        let known = self.clients.iter().find(|(_, client)| *client == id);
        Ok(known.with_context(|| format!("there is no client {id}"))?.0.clone())
    }
}

/// A step of the row that is for this cause: `CHECK at SITE: STEP`, or a step that is for all.
fn of_cause(step: &str, cause: &Value) -> Option<String> {
    match step.split_once(": ").filter(|(before, _)| before.contains(" at ") && before.len() < 40) {
        Some((before, step)) => {
            let (check, site) = before.split_once(" at ")?;
            (cause["check"] == check && cause["site"] == site).then(|| step.to_owned())
        }
        None => Some(step.to_owned()),
    }
}
