//! What a site receives: it takes an item or not, writes and syncs its bytes, and makes its effect once.

use packhorse_domain::link::{AnswerError, ItemId, Offer, Ranges, RefuseReason};

use crate::{
    Mutation,
    disk::{Effect, Work},
    file::File,
    world::World,
};

/// Of some items a site says what is in their files before it is on the disk.
fn says_written(item: &ItemId) -> bool {
    item.0[0].is_multiple_of(2)
}

impl World<'_> {
    pub(crate) fn consider(&mut self, (line, side): (usize, usize), offer: Offer) -> Result<(), String> {
        let site = line + side;
        let item = offer.item;
        let spec = self.watch.spec_of(&item)?;
        let is_news = self.is_news(site, spec);
        let at = &mut self.sites[site];
        let session = at.sessions.get_mut(&line).expect("the offer came over it");
        if !is_news {
            return session.link.finished(item).map_err(|error| error.to_string());
        }
        if at.disk.is_busy_with(&item) {
            session.deferred.insert(item, offer);
            return Ok(());
        }
        if at.disk.files.get(&item).is_some_and(|file| file.open && file.line != line) {
            let refused = session.link.refuse(item, RefuseReason::Other, "it comes over another line");
            return refused.map_err(|error| error.to_string());
        }
        if at.full {
            return self.refuse_as_full((line, side), item);
        }
        if let Some(bytes) = offer.inline {
            return self.apply((line, side), spec, &bytes);
        }
        self.accept((line, side), item)
    }

    /// Takes an item from where the disk has it.
    fn accept(&mut self, (line, side): (usize, usize), item: ItemId) -> Result<(), String> {
        let site = line + side;
        let (spec, since) = (self.watch.spec_of(&item)?, self.clock(site));
        let forget = self.has(Mutation::ForgetOffset);
        let at = &mut self.sites[site];
        let session = at.sessions.get_mut(&line).expect("the offer came over it");
        let file = at.disk.files.entry(item).or_insert_with(|| File::new(line, since));
        if forget {
            file.forget();
        }
        (file.line, file.open) = (line, true);
        let durable = file.durable().bytes();
        let (reach, held) = file.resume(self.mutation);
        if file.durable().bytes() < durable {
            // A want cannot name them all.
            self.watch.give_up(site, item);
        }
        session.link.accept_rest(item, reach, held).map_err(|error| error.to_string())?;
        if reach == self.plan.items[spec].item.length {
            let bytes = file.bytes().to_vec();
            self.apply((line, side), spec, &bytes)?;
        }
        Ok(())
    }

    fn is_news(&self, site: usize, spec: usize) -> bool {
        let disk = &self.sites[site].disk;
        let is_news = match self.object_of(spec) {
            Some((name, object)) => object.is_news(disk.objects.get(&name)),
            None => !disk.applied.contains_key(&self.plan.items[spec].item.id),
        };
        is_news || self.has(Mutation::ApplyTwice)
    }

    fn refuse_as_full(&mut self, (line, side): (usize, usize), item: ItemId) -> Result<(), String> {
        self.sites[line + side].full = false;
        self.close_file((line, side), item);
        let session = self.session((line, side)).expect("the item came over it");
        let refused = session.link.refuse(item, RefuseReason::NoSpace, "the disk is full");
        refused.map_err(|error| error.to_string())
    }

    /// Nothing more of an item comes over this line for now.
    pub(crate) fn close_file(&mut self, (line, side): (usize, usize), item: ItemId) {
        if let Some(file) = self.sites[line + side].disk.files.get_mut(&item)
            && file.line == line
        {
            file.open = false;
        }
    }

    pub(crate) fn write(
        &mut self,
        (line, side): (usize, usize),
        (item, offset): (ItemId, u64),
        bytes: &[u8],
    ) -> Result<(), String> {
        let site = line + side;
        self.watch.written(site, item, &(offset..offset + bytes.len() as u64))?;
        let ack_now = self.has(Mutation::AckBeforeDurable);
        let whole_only = self.has(Mutation::SyncWhenWhole);
        let length = self.plan.items[self.watch.spec_of(&item)?].item.length;
        let at = &mut self.sites[site];
        let session = at.sessions.get_mut(&line).expect("the data came over it");
        let file = at.disk.files.get_mut(&item).ok_or("data of an item that was not accepted")?;
        if at.full {
            return self.refuse_as_full((line, side), item);
        }
        file.write(offset, bytes).map_err(|error| format!("{item}: {error}"))?;
        let written = file.written().clone();
        if says_written(&item) {
            session.link.written(item, written.end_from(0)).map_err(|error| error.to_string())?;
        }
        if ack_now {
            session.link.durable(item, written.end_from(0)).map_err(|error| error.to_string())?;
        }
        let due = written.bytes() == length || !whole_only;
        if due && !at.disk.is_busy_with(&item) {
            self.begin(site, Work::Sync { item, written });
        }
        if self.has(Mutation::PassOnBeforeDurable) {
            self.pass_on(site, item)?;
        }
        Ok(())
    }

    /// Something is on the disk now: say so, and go on.
    pub(crate) fn durable(&mut self, site: usize, work: u64) -> Result<(), String> {
        match self.sites[site].disk.finish(work) {
            Some(Work::Sync { item, written }) => self.synced(site, item, &written),
            Some(Work::Apply(effect)) => self.applied(site, &effect),
            Some(Work::Onward { line, item, .. }) => self.offer_again((site, line), item),
            Some(Work::Forget { .. }) | None => Ok(()),
        }
    }

    fn synced(&mut self, site: usize, item: ItemId, written: &Ranges) -> Result<(), String> {
        let spec = self.watch.spec_of(&item)?;
        self.watch.durable(site, item, written);
        let Some(line) = self.sites[site].disk.files.get(&item).map(|file| file.line) else { return Ok(()) };
        let mutated = self.mutation.is_some();
        if let Some(session) = self.session((line, site - line)) {
            match session.link.durable(item, written.end_from(0)) {
                Ok(()) | Err(AnswerError::NotOpen(_) | AnswerError::NotAccepted(_)) => {}
                Err(_) if mutated => {}
                Err(error) => return Err(error.to_string()),
            }
        }
        self.pass_on(site, item)?;
        let length = self.plan.items[spec].item.length;
        if let Some(file) = self.sites[site].disk.files.get(&item) {
            if file.reach() == length {
                let bytes = file.bytes().to_vec();
                self.apply((line, site - line), spec, &bytes)?;
            } else if file.is_behind() {
                let written = file.written().clone();
                self.begin(site, Work::Sync { item, written });
            }
        }
        self.settle_deferred(site, item)?;
        self.pump((line, site - line))
    }

    /// More of an item that goes on is here.
    fn pass_on(&mut self, site: usize, item: ItemId) -> Result<(), String> {
        let spec = &self.plan.items[self.watch.spec_of(&item)?];
        match spec.line_onward(site).filter(|_| spec.cut_through) {
            Some(line) => self.offer_again((site, line), item),
            None => Ok(()),
        }
    }

    fn apply(&mut self, (line, side): (usize, usize), spec: usize, bytes: &[u8]) -> Result<(), String> {
        let site = line + side;
        let plan = &self.plan.items[spec];
        let item = plan.item.id;
        let is_sound = bytes == plan.bytes();
        if !is_sound && !self.watch.is_damaged(&item) {
            return Err(format!("the bytes of {item} at site {site} are not those that were sent"));
        }
        if !is_sound && !self.has(Mutation::AcceptDamaged) {
            return self.refuse_as_damaged((line, side), item);
        }
        if !is_sound {
            return Err(format!("{item} was damaged on its way and is accepted at site {site}"));
        }
        // What comes against its way is held further on.
        let is_on_its_way = site != plan.from && line == plan.line_from(site);
        let onward =
            plan.line_onward(site).filter(|_| is_on_its_way && !self.has(Mutation::RelayAfterReceipt));
        let effect = Effect {
            item,
            spec,
            line,
            onward: onward.map(|line| (line, self.clock(site))),
            object: self.object_of(spec),
            mutation: self.mutation,
        };
        self.begin(site, Work::Apply(effect));
        if self.has(Mutation::ReceiptBeforeEffect) {
            self.receipt(site, line, item)?;
        }
        Ok(())
    }

    fn refuse_as_damaged(&mut self, (line, side): (usize, usize), item: ItemId) -> Result<(), String> {
        self.seen.damaged += 1;
        self.sites[line + side].disk.files.remove(&item);
        self.watch.give_up(line + side, item);
        let Some(session) = self.session((line, side)) else { return Ok(()) };
        // An offer that waits for the disk is answered with this.
        session.deferred.remove(&item);
        match session.link.refuse(item, RefuseReason::Damaged, "its bytes have another digest") {
            Ok(()) | Err(AnswerError::NotOpen(_)) => Ok(()),
            Err(error) => Err(error.to_string()),
        }
    }

    fn applied(&mut self, site: usize, effect: &Effect) -> Result<(), String> {
        let Effect { item, spec, line, .. } = *effect;
        let times = self.sites[site].disk.applied.get(&item).copied().unwrap_or(0);
        self.watch.applied(site, item, times)?;
        if let Some((name, _)) = &effect.object {
            self.watch.give_up(site, item);
            if let Some(object) = self.sites[site].disk.objects.get(name) {
                self.watch.object(site, name, object.held.version)?;
            }
        }
        self.receipt(site, line, item)?;
        if let Some(onward) = self.plan.items[spec].line_onward(site) {
            if self.has(Mutation::RelayAfterReceipt) {
                self.begin(site, Work::Onward { line: onward, item, spec });
            }
            self.offer_again((site, onward), item)?;
        }
        self.settle_deferred(site, item)?;
        self.pump((line, site - line))
    }

    fn receipt(&mut self, site: usize, line: usize, item: ItemId) -> Result<(), String> {
        let Some(session) = self.session((line, site - line)) else { return Ok(()) };
        session.deferred.remove(&item);
        match session.link.finished(item) {
            Ok(()) | Err(AnswerError::NotOpen(_)) => Ok(()),
            Err(error) => Err(error.to_string()),
        }
    }

    fn settle_deferred(&mut self, site: usize, item: ItemId) -> Result<(), String> {
        let lines: Vec<usize> = self.sites[site].sessions.keys().copied().collect();
        for line in lines {
            if self.sites[site].disk.is_busy_with(&item) {
                return Ok(());
            }
            if let Some(offer) =
                self.session((line, site - line)).and_then(|open| open.deferred.remove(&item))
            {
                self.consider((line, site - line), offer)?;
                self.pump((line, site - line))?;
            }
        }
        Ok(())
    }
}
