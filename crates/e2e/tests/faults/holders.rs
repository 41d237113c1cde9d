//! A site database that another program holds locked (`holder.c`).

use std::{fs, process::Command, time::Duration};

use anyhow::{Context as _, Result, ensure};
use packhorse_e2e::compile;

use crate::world::World;

const HELD_WITHIN: Duration = Duration::from_secs(10);

impl World {
    /// Has another program hold the database of a site; ends when it does.
    pub(crate) fn hold(&mut self, site: &str) -> Result<()> {
        let program = self.hierarchy.scratch("holder");
        if !program.exists() {
            compile(&[], include_str!("holder.c"), &program)?;
        }
        let database = self.hierarchy.site_directory(site).join("site.db-shm");
        let holder = self.hierarchy.stranger(&format!("holder-{site}"), &program, &[&database]);
        // What an earlier one said is not what this one says.
        fs::write(holder.log(), "")?;
        holder.start()?;
        self.hierarchy.wait_for("the database to be held", HELD_WITHIN, || {
            holder.check_alive()?;
            Ok(fs::read_to_string(holder.log())?.contains("held").then_some(()))
        })?;
        self.holders.insert(site.to_owned(), holder);
        Ok(())
    }

    /// What `kill ID` on the machine of a site does; only what holds its database is to be ended.
    pub(crate) fn end_holder(&mut self, site: &str, id: &str) -> Result<()> {
        let holder = self.holders.remove(site).with_context(|| format!("nobody holds {site}"))?;
        let own = holder.id().context("a process")?.to_string();
        ensure!(own == id, "process {id} is to be ended, and {own} holds the database");
        let status = Command::new("kill").arg(id).status()?;
        ensure!(status.success(), "`kill {id}`: {status}");
        Ok(())
    }
}
