//! What a site sends: its outbox, what it passes on while it comes in, and the bytes that its link asks for.

use packhorse_domain::{
    Priority,
    link::{ItemId, Offering},
};

use crate::{Mutation, disk::Row, file::File, watch::Urgent, world::World};

impl World<'_> {
    /// A new item: its row is written, then the link hears of it.
    pub(crate) fn born(&mut self, spec: usize) -> Result<(), String> {
        let (site, plan) = (self.plan.items[spec].from, &self.plan.items[spec]);
        let Some(line) = plan.line_onward(site) else { return Ok(()) };
        let (id, queued_at) = (plan.item.id, self.clock(site));
        if let Some((name, object)) = self.object_of(spec) {
            self.sites[site].disk.adopt(&name, &object, self.mutation);
        }
        self.sites[site].disk.outbox.insert((line, id), Row { spec, queued_at });
        let queued = self.offer((site, line), Row { spec, queued_at })?;
        if queued && plan.item.priority == Priority::High {
            self.expect_urgent((site, line), id);
        }
        self.pump((line, site - line))
    }

    /// A new stream: everything without a receipt is offered again, and what is coming in and goes on.
    pub(crate) fn connected(&mut self, (line, side): (usize, usize)) -> Result<(), String> {
        let site = line + side;
        if self.has(Mutation::NoOfferAgain) && self.now.0 > 1_000_000 {
            return self.pump((line, side));
        }
        let disk = &self.sites[site].disk;
        let rows = disk.outbox.iter().filter(|((of, _), _)| *of == line).map(|(_, row)| *row);
        let passing = disk.files.keys().filter_map(|item| self.passing((site, line), *item));
        for row in rows.chain(passing).collect::<Vec<_>>() {
            self.offer((site, line), row)?;
        }
        self.pump((line, side))
    }

    pub(crate) fn offer_again(&mut self, (site, line): (usize, usize), item: ItemId) -> Result<(), String> {
        let row = self.sites[site].disk.outbox.get(&(line, item)).copied();
        if let Some(row) = row.or_else(|| self.passing((site, line), item)) {
            self.offer((site, line), row)?;
        }
        self.pump((line, site - line))
    }

    /// An item that comes in, if some of it can go on over this line already.
    fn passing(&self, (site, line): (usize, usize), item: ItemId) -> Option<Row> {
        let spec = self.watch.spec_of(&item).ok()?;
        let plan = &self.plan.items[spec];
        let file = self.sites[site].disk.files.get(&item)?;
        let goes_on = plan.cut_through && plan.line_onward(site) == Some(line);
        (goes_on && self.readable(site, spec) > 0).then_some(Row { spec, queued_at: file.since })
    }

    /// How many bytes of an item a site can read: of one that comes in, those that are durable.
    pub(crate) fn readable(&self, site: usize, spec: usize) -> u64 {
        let plan = &self.plan.items[spec];
        let disk = &self.sites[site].disk;
        let is_whole = plan.from == site || !plan.cut_through || disk.applied.contains_key(&plan.item.id);
        if is_whole {
            return plan.item.length;
        }
        let reach = |file: &File| match self.mutation {
            Some(Mutation::PassOnBeforeDurable) => file.written().end_from(0),
            Some(Mutation::CountForReach) => file.durable().bytes(),
            _ => file.reach(),
        };
        disk.files.get(&plan.item.id).map_or(0, reach)
    }

    /// True: it waits in the link now.
    pub(crate) fn offer(&mut self, (site, line): (usize, usize), row: Row) -> Result<bool, String> {
        let mut item = self.plan.items[row.spec].item.clone();
        let id = item.id;
        if self.has(Mutation::IgnorePriority) {
            item.priority = Priority::Low;
        }
        item.queued_at = row.queued_at;
        let available = self.readable(site, row.spec);
        item.available = available;
        let Some(session) = self.session((line, site - line)) else { return Ok(false) };
        let offering = session.link.offer(item).map_err(|error| error.to_string())?;
        let gone = match offering {
            Offering::Queued => return Ok(true),
            Offering::Known => {
                session.link.available(id, available);
                return Ok(false);
            }
            Offering::Replaced(older) => older,
            Offering::Outdated => id,
        };
        session.taken_back.insert(gone);
        self.sites[site].disk.outbox.remove(&(line, gone));
        self.expect_no_more((line, site - line), gone);
        Ok(gone != id)
    }

    fn expect_urgent(&mut self, (site, line): (usize, usize), item: ItemId) {
        if !self.may_be_urgent((site, line), item) {
            return;
        }
        let Some(session) = self.sites[site].sessions.get_mut(&line) else { return };
        let urgent = session.link.progress().filter(|of| self.watch.priority_of(&of.item) == Priority::High);
        if urgent.count() == 1 && session.link.revision().is_some() && !session.ending {
            session.urgent = Some(Urgent::new(item));
        }
    }

    pub(crate) fn expect_data(&mut self, (site, line): (usize, usize), item: ItemId, offset: u64) {
        if !self.may_be_urgent((site, line), item) {
            return;
        }
        let Some(session) = self.sites[site].sessions.get_mut(&line) else { return };
        let urgent = self.watch.priority_of(&item) == Priority::High && offset < self.watch.length_of(&item);
        if urgent && session.urgent.is_none() && !session.ending {
            session.urgent = Some(Urgent::new(item));
        }
    }

    /// Whether nothing but its class decides when an item goes.
    fn may_be_urgent(&self, (site, line): (usize, usize), item: ItemId) -> bool {
        let Ok(spec) = self.watch.spec_of(&item) else { return false };
        let plan = &self.plan.items[spec];
        let bundles_max = self.sites[site].allowed.get(&line).map_or(usize::MAX, |of| of.bundles_max);
        let is_limited = plan.is_bundle() && bundles_max != usize::MAX;
        !is_limited && self.readable(site, spec) == plan.item.length
    }

    /// An item is closed: nothing more of it is expected.
    pub(crate) fn expect_no_more(&mut self, (line, side): (usize, usize), item: ItemId) {
        if let Some(session) = self.session((line, side)) {
            session.urgent.take_if(|urgent| urgent.item == item);
        }
    }

    pub(crate) fn read(
        &mut self,
        (line, side): (usize, usize),
        (item, offset): (ItemId, u64),
        length: usize,
    ) -> Result<Vec<u8>, String> {
        let site = line + side;
        let spec = self.watch.spec_of(&item)?;
        let plan = &self.plan.items[spec];
        let range = offset as usize..offset as usize + length;
        let disk = &self.sites[site].disk;
        let coming = disk.files.get(&item).filter(|_| plan.from != site && plan.cut_through);
        let bytes = match coming {
            _ if self.has(Mutation::ReadWrongBytes) => Some(plan.bytes_shifted(range.start, length)),
            Some(file) if range.end as u64 > file.reach() => {
                return Err(format!(
                    "site {site} passes {item} on to {}; {} bytes are durable",
                    range.end,
                    file.reach()
                ));
            }
            Some(file) => {
                self.seen.passed_on_early += 1;
                file.bytes().get(range)
            }
            None => plan.bytes().get(range),
        };
        let bytes = bytes.ok_or("a read beyond the end of an item")?;
        Ok(bytes.to_vec())
    }
}
