//! The faults: cuts, power cuts, full disks, and sites that take things back.

use crate::{
    plan::Fault,
    world::{Happening, World},
};

impl World<'_> {
    pub(crate) fn fault(&mut self, fault: Fault) -> Result<(), String> {
        self.history.add(self.now.0 as u64);
        match fault {
            Fault::Cut { line, silent } => {
                self.cut(line, silent);
                Ok(())
            }
            Fault::Crash { site } => {
                self.crash(site);
                Ok(())
            }
            Fault::Cancel { site, nth } => self.cancel(site, nth),
            Fault::Full { site } => {
                self.sites[site].full = true;
                Ok(())
            }
            Fault::Restore { site } => self.restore(site),
            Fault::Goodbye { line, side } => {
                if let Some(session) = self.session((line, side)) {
                    session.link.goodbye("the site stops");
                    session.urgent = None;
                    session.ending = true;
                    self.after(700_000, Happening::Fault(Fault::Cut { line, silent: false }));
                }
                self.pump((line, side))
            }
        }
    }

    fn cut(&mut self, line: usize, silent: bool) {
        self.lines[line].carries = None;
        for side in [0, 1] {
            let told_in = self.rng.within(0, 300_000);
            if let Some(connection) = self.session((line, side)).map(|session| session.connection)
                && !silent
            {
                self.after(told_in, Happening::Lost { line, side, connection });
            }
        }
    }

    fn crash(&mut self, site: usize) {
        if !self.sites[site].up {
            return;
        }
        for line in site.saturating_sub(1)..(site + 1).min(self.lines.len()) {
            let silent = self.rng.percent(30);
            self.cut(line, silent);
            self.connect_in(line, 100_000);
        }
        let crashed = &mut self.sites[site];
        crashed.sessions.clear();
        crashed.full = false;
        crashed.up = false;
        crashed.boot += 1;
        crashed.disk.crash(&mut self.rng, self.mutation);
        let down = self.rng.within(50_000, 2_000_000);
        self.after(down, Happening::Restart { site });
    }

    fn cancel(&mut self, site: usize, nth: u64) -> Result<(), String> {
        let rows = self.sites[site].disk.outbox.len() as u64;
        if rows == 0 {
            return Ok(());
        }
        let Some(&(line, item)) = self.sites[site].disk.outbox.keys().nth((nth % rows) as usize) else {
            return Ok(());
        };
        self.expect_no_more((line, site - line), item);
        if let Some(session) = self.session((line, site - line)) {
            session.link.cancel(item);
        }
        let soon = nth % 3 * 100_000;
        self.after(soon, Happening::OfferAgain { site, line, item });
        self.pump((line, site - line))
    }

    /// The rows of items that were delivered are there again.
    fn restore(&mut self, site: usize) -> Result<(), String> {
        for spec in 0..self.plan.items.len() {
            let item = self.plan.items[spec].item.id;
            let Some(line) = self.line_onward(site, spec) else { continue };
            let next = if line == site { site + 1 } else { site - 1 };
            let passed =
                self.plan.items[spec].from == site || self.sites[site].disk.applied.contains_key(&item);
            if passed && self.sites[next].disk.applied.contains_key(&item) {
                self.sites[site].disk.outbox.insert((line, item), spec);
                self.offer_again((site, line), item)?;
            }
        }
        Ok(())
    }
}
