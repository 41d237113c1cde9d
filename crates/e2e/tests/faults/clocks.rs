//! Clocks that are wrong: one process at a time sees another time of day.

use std::collections::BTreeMap;

use anyhow::Result;
use packhorse_e2e::Clock;

use crate::world::World;

/// Of the processes whose clocks were set.
pub(crate) type Clocks = BTreeMap<String, Clock>;

impl World {
    /// Sets the clock of a process. It is restarted the first time, since only then the clock is one of its own.
    pub(crate) fn set_clock(&mut self, who: &str, seconds: i64) -> Result<()> {
        if let Some(clock) = self.clocks.get(who) {
            return clock.set(seconds);
        }
        let clock = Clock::make(self.hierarchy.root(), &who.replace('/', "-"))?;
        clock.set(seconds)?;
        let process = self.process(who)?;
        process.go_by(&clock);
        process.kill9()?;
        self.start(who)?;
        self.clocks.insert(who.to_owned(), clock);
        Ok(())
    }
}
