//! The faults: cuts, power cuts, full disks, clocks that are set, and sites that take things back.

use packhorse_domain::link::ItemId;

use crate::{
    Mutation,
    disk::Row,
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
            Fault::Spoil { line, side, how } => {
                self.lines[line].wires[side].spoil = Some(how);
                Ok(())
            }
            Fault::Clock { site, by_us } => {
                self.sites[site].clock_us += by_us;
                Ok(())
            }
            Fault::Allow { line, side, allowance } => {
                self.sites[line + side].allowed.entry(line).or_default().allowance = allowance;
                self.allow((line, side))
            }
            Fault::Bundles { line, side, most } => {
                self.sites[line + side].allowed.entry(line).or_default().bundles_max = most;
                self.allow((line, side))
            }
            Fault::Snapshot { site } => {
                self.sites[site].disk.take_snapshot();
                Ok(())
            }
            Fault::Rollback { site } => {
                self.crash(site);
                self.roll_back_objects(site);
                Ok(())
            }
        }
    }

    /// The link hears at once of what its address allows now.
    fn allow(&mut self, (line, side): (usize, usize)) -> Result<(), String> {
        let now = self.now;
        let allowed = self.sites[line + side].allowed.get(&line).copied().unwrap_or_default();
        let ignore = self.has(Mutation::IgnoreHours);
        let is_bundle =
            |item: &ItemId| self.watch.spec_of(item).is_ok_and(|at| self.plan.items[at].is_bundle());
        let Some(session) = self.sites[line + side].sessions.get_mut(&line) else { return Ok(()) };
        if !ignore {
            session.link.allow(allowed.allowance, now);
        }
        session.link.set_bundles_max(allowed.bundles_max);
        session.urgent.take_if(|urgent| is_bundle(&urgent.item));
        self.pump((line, side))
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
        let sessions = self.sites[site].sessions.iter();
        let sent = sessions.flat_map(|(line, session)| session.link.progress().map(|of| (*line, of.item)));
        let sent: Vec<_> = sent.collect();
        let Some(&(line, item)) = sent.get((nth % sent.len().max(1) as u64) as usize) else {
            return Ok(());
        };
        self.expect_no_more((line, site - line), item);
        if let Some(session) = self.session((line, site - line)) {
            session.link.cancel(item);
            session.taken_back.insert(item);
        }
        let soon = nth % 3 * 100_000;
        self.after(soon, Happening::OfferAgain { site, line, item });
        self.pump((line, site - line))
    }

    /// The rows of items that were delivered are there again.
    fn restore(&mut self, site: usize) -> Result<(), String> {
        for spec in 0..self.plan.items.len() {
            let item = self.plan.items[spec].item.id;
            let Some(line) = self.plan.items[spec].line_onward(site) else { continue };
            let next = if line == site { site + 1 } else { site - 1 };
            let passed =
                self.plan.items[spec].from == site || self.sites[site].disk.applied.contains_key(&item);
            if passed && self.sites[next].disk.applied.contains_key(&item) {
                let row = Row { spec, queued_at: self.clock(site) };
                self.sites[site].disk.outbox.insert((line, item), row);
                self.offer_again((site, line), item)?;
            }
        }
        Ok(())
    }
}
