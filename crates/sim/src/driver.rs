//! What a site does with its link: the part that the sender and receiver of a real site play, with their defects.

use packhorse_domain::{
    Priority,
    link::{AnswerError, Event, Frame, ItemId, Offer, Offering, RefuseReason},
};

use crate::{
    Mutation,
    disk::Work,
    watch::Urgent,
    world::{Happening, World},
};

impl World<'_> {
    fn has(&self, mutation: Mutation) -> bool {
        self.mutation == Some(mutation)
    }

    /// A new item: its row is written, then the link hears of it.
    pub(crate) fn born(&mut self, spec: usize) -> Result<(), String> {
        let (site, plan) = (self.plan.items[spec].from, &self.plan.items[spec]);
        let Some(next) = plan.next_hop(site) else { return Ok(()) };
        let line = site.min(next);
        self.sites[site].disk.outbox.insert((line, plan.item.id), spec);
        let queued = self.offer((site, line), spec)?;
        if queued && plan.item.priority == Priority::High {
            self.expect_urgent((site, line), plan.item.id);
        }
        self.pump((line, site - line))
    }

    /// A new stream: everything without a receipt is offered again.
    pub(crate) fn connected(&mut self, (line, side): (usize, usize)) -> Result<(), String> {
        let site = line + side;
        if self.has(Mutation::NoOfferAgain) && self.now.0 > 1_000_000 {
            return self.pump((line, side));
        }
        let rows: Vec<_> = self.sites[site]
            .disk
            .outbox
            .iter()
            .filter(|((of, _), _)| *of == line)
            .map(|(_, spec)| *spec)
            .collect();
        for spec in rows {
            self.offer((site, line), spec)?;
        }
        self.pump((line, side))
    }

    pub(crate) fn offer_again(&mut self, (site, line): (usize, usize), item: ItemId) -> Result<(), String> {
        if let Some(&spec) = self.sites[site].disk.outbox.get(&(line, item)) {
            self.offer((site, line), spec)?;
        }
        self.pump((line, site - line))
    }

    /// True: it waits in the link now.
    fn offer(&mut self, (site, line): (usize, usize), spec: usize) -> Result<bool, String> {
        let mut item = self.plan.items[spec].item.clone();
        let id = item.id;
        if self.has(Mutation::IgnorePriority) {
            item.priority = Priority::Low;
        }
        let Some(session) = self.session((line, site - line)) else { return Ok(false) };
        let offering = session.link.offer(item).map_err(|error| error.to_string())?;
        let gone = match offering {
            Offering::Queued => return Ok(true),
            Offering::Known => return Ok(false),
            Offering::Replaced(older) => older,
            Offering::Outdated => id,
        };
        self.sites[site].disk.outbox.remove(&(line, gone));
        self.expect_no_more((line, site - line), gone);
        self.watch.superseded(gone);
        Ok(gone != id)
    }

    fn expect_urgent(&mut self, (site, line): (usize, usize), item: ItemId) {
        let Some(session) = self.sites[site].sessions.get_mut(&line) else { return };
        let urgent = session.link.progress().filter(|of| self.watch.priority_of(&of.item) == Priority::High);
        if urgent.count() == 1 && session.link.revision().is_some() && !session.ending {
            session.urgent = Some(Urgent::new(item));
        }
    }

    fn expect_data(&mut self, (site, line): (usize, usize), item: ItemId, offset: u64) {
        let Some(session) = self.sites[site].sessions.get_mut(&line) else { return };
        let urgent = self.watch.priority_of(&item) == Priority::High && offset < self.watch.length_of(&item);
        if urgent && session.urgent.is_none() && !session.ending {
            session.urgent = Some(Urgent::new(item));
        }
    }

    /// An item is closed: nothing more of it is expected.
    pub(crate) fn expect_no_more(&mut self, (line, side): (usize, usize), item: ItemId) {
        if let Some(session) = self.session((line, side)) {
            session.urgent.take_if(|urgent| urgent.item == item);
        }
    }

    pub(crate) fn read(&self, item: ItemId, offset: u64, length: usize) -> Result<Frame, String> {
        let spec = &self.plan.items[self.watch.spec_of(&item)?];
        let bytes = if self.has(Mutation::ReadWrongBytes) {
            spec.bytes_shifted(offset as usize, length)
        } else {
            spec.bytes()
                .get(offset as usize..offset as usize + length)
                .ok_or("a read beyond the end of an item")?
        };
        Ok(Frame::Data { item, offset, bytes: bytes.to_vec().into() })
    }

    pub(crate) fn event(&mut self, (line, side): (usize, usize), event: Event) -> Result<(), String> {
        let site = line + side;
        match event {
            Event::Offered(offer) => self.consider((line, side), offer),
            Event::Write { item, offset, bytes } => self.write((line, side), (item, offset), &bytes),
            Event::Wanted { item, offset } => {
                self.expect_data((site, line), item, offset);
                self.watch.wanted(site, item, offset)
            }
            Event::Acked { item, offset } => {
                self.watch.acked(site, item, offset);
                let length = self.plan.items[self.watch.spec_of(&item)?].item.length;
                if self.has(Mutation::ForgetAtAck) && offset == length {
                    self.sites[site].disk.outbox.remove(&(line, item));
                }
                Ok(())
            }
            Event::Delivered { item } => {
                self.expect_no_more((line, side), item);
                let peer = line + 1 - side;
                if !self.sites[peer].disk.applied.contains_key(&item) {
                    return Err(format!("a receipt of {item}, which had no effect at site {peer}"));
                }
                self.begin(site, Work::Forget { line, item });
                Ok(())
            }
            Event::Refused { item, reason: RefuseReason::NoSpace, .. } => {
                self.expect_no_more((line, side), item);
                if self.has(Mutation::DropRefused) {
                    self.sites[site].disk.outbox.remove(&(line, item));
                }
                self.after(400_000, Happening::OfferAgain { site, line, item });
                Ok(())
            }
            Event::Refused { item, reason, .. } => Err(format!("{item} was refused: {reason}")),
            Event::Cancelled { item } => {
                if let Some(session) = self.session((line, side)) {
                    session.deferred.remove(&item);
                }
                Ok(())
            }
            Event::PeerGoodbye { .. } => {
                if let Some(session) = self.session((line, side)) {
                    session.urgent = None;
                    session.ending = true;
                }
                Ok(())
            }
            Event::PeerHello { .. }
            | Event::Pong { .. }
            | Event::UnknownKind { .. }
            | Event::Outlined(_)
            | Event::Compared(_)
            | Event::Listed(_) => Ok(()),
        }
    }

    fn consider(&mut self, (line, side): (usize, usize), offer: Offer) -> Result<(), String> {
        let site = line + side;
        let item = offer.item;
        let again = self.has(Mutation::ApplyTwice);
        let forget = self.has(Mutation::ForgetOffset);
        let spec = self.watch.spec_of(&item)?;
        let at = &mut self.sites[site];
        let session = at.sessions.get_mut(&line).expect("the offer came over it");
        if at.disk.applied.contains_key(&item) && !again {
            return session.link.finished(item).map_err(|error| error.to_string());
        }
        if at.disk.is_busy_with(&item) {
            session.deferred.insert(item, offer);
            return Ok(());
        }
        if at.full {
            at.full = false;
            return session
                .link
                .refuse(item, RefuseReason::NoSpace, "the disk is full")
                .map_err(|error| error.to_string());
        }
        if let Some(bytes) = offer.inline {
            return self.apply(site, spec, &bytes);
        }
        let file = at.disk.files.entry(item).or_default();
        if forget {
            file.recorded = 0;
        }
        file.bytes.truncate(file.recorded);
        session.link.accept(item, file.recorded as u64).map_err(|error| error.to_string())?;
        if file.recorded as u64 == offer.length {
            let bytes = file.bytes.clone();
            self.apply(site, spec, &bytes)?;
        }
        Ok(())
    }

    fn write(
        &mut self,
        (line, side): (usize, usize),
        (item, offset): (ItemId, u64),
        bytes: &[u8],
    ) -> Result<(), String> {
        let site = line + side;
        self.watch.written(site, item, offset)?;
        let ack_now = self.has(Mutation::AckBeforeDurable);
        let whole_only = self.has(Mutation::SyncWhenWhole);
        let length = self.plan.items[self.watch.spec_of(&item)?].item.length;
        let at = &mut self.sites[site];
        let session = at.sessions.get_mut(&line).expect("the data came over it");
        let file = at.disk.files.entry(item).or_default();
        if file.bytes.len() as u64 != offset {
            return Err(format!("data of {item} at {offset}, where {} bytes are", file.bytes.len()));
        }
        if at.full {
            at.full = false;
            return session
                .link
                .refuse(item, RefuseReason::NoSpace, "the disk is full")
                .map_err(|error| error.to_string());
        }
        file.bytes.extend_from_slice(bytes);
        let upto = file.bytes.len();
        if ack_now {
            session.link.durable(item, upto as u64).map_err(|error| error.to_string())?;
        }
        let due = upto as u64 == length || !whole_only;
        if due && !at.disk.is_busy_with(&item) {
            self.begin(site, Work::Sync { item, upto });
        }
        Ok(())
    }

    /// Something is on the disk now: say so, and go on.
    pub(crate) fn durable(&mut self, site: usize, work: u64) -> Result<(), String> {
        match self.sites[site].disk.finish(work) {
            Some(Work::Sync { item, upto }) => self.synced(site, item, upto),
            Some(Work::Apply { item, spec, .. }) => self.applied(site, item, spec),
            Some(Work::Onward { line, item, .. }) => self.offer_again((site, line), item),
            Some(Work::Forget { .. }) | None => Ok(()),
        }
    }

    fn synced(&mut self, site: usize, item: ItemId, upto: usize) -> Result<(), String> {
        let spec = self.watch.spec_of(&item)?;
        let line = self.line_from(site, spec);
        self.watch.durable(site, item, upto as u64);
        let mutated = self.mutation.is_some();
        if let Some(session) = self.session((line, site - line)) {
            match session.link.durable(item, upto as u64) {
                Ok(()) | Err(AnswerError::NotOpen(_) | AnswerError::NotAccepted(_)) => {}
                Err(_) if mutated => {}
                Err(error) => return Err(error.to_string()),
            }
        }
        let length = self.plan.items[spec].item.length;
        if let Some(file) = self.sites[site].disk.files.get(&item) {
            let (written, recorded) = (file.bytes.len(), file.recorded);
            if recorded as u64 == length {
                let bytes = file.bytes.clone();
                self.apply(site, spec, &bytes)?;
            } else if written > recorded {
                self.begin(site, Work::Sync { item, upto: written });
            }
        }
        self.settle_deferred((line, site - line), item)?;
        self.pump((line, site - line))
    }

    fn apply(&mut self, site: usize, spec: usize, bytes: &[u8]) -> Result<(), String> {
        let plan = &self.plan.items[spec];
        let item = plan.item.id;
        if bytes != plan.bytes() {
            return Err(format!("the bytes of {item} at site {site} are not those that were sent"));
        }
        let onward = self.line_onward(site, spec).filter(|_| !self.has(Mutation::RelayAfterReceipt));
        let again = self.has(Mutation::ApplyTwice);
        self.begin(site, Work::Apply { item, spec, onward, again });
        if self.has(Mutation::ReceiptBeforeEffect) {
            self.receipt(site, item, spec)?;
        }
        Ok(())
    }

    fn applied(&mut self, site: usize, item: ItemId, spec: usize) -> Result<(), String> {
        let times = self.sites[site].disk.applied.get(&item).copied().unwrap_or(0);
        self.watch.applied(site, item, times)?;
        self.receipt(site, item, spec)?;
        if let Some(line) = self.line_onward(site, spec) {
            if self.has(Mutation::RelayAfterReceipt) {
                self.begin(site, Work::Onward { line, item, spec });
            }
            self.offer_again((site, line), item)?;
        }
        let line = self.line_from(site, spec);
        self.settle_deferred((line, site - line), item)?;
        self.pump((line, site - line))
    }

    fn receipt(&mut self, site: usize, item: ItemId, spec: usize) -> Result<(), String> {
        let line = self.line_from(site, spec);
        let Some(session) = self.session((line, site - line)) else { return Ok(()) };
        session.deferred.remove(&item);
        match session.link.finished(item) {
            Ok(()) | Err(AnswerError::NotOpen(_)) => Ok(()),
            Err(error) => Err(error.to_string()),
        }
    }

    fn settle_deferred(&mut self, (line, side): (usize, usize), item: ItemId) -> Result<(), String> {
        if self.sites[line + side].disk.is_busy_with(&item) {
            return Ok(());
        }
        match self.session((line, side)).and_then(|session| session.deferred.remove(&item)) {
            Some(offer) => self.consider((line, side), offer),
            None => Ok(()),
        }
    }

    /// The line over which an item comes to a site.
    fn line_from(&self, site: usize, spec: usize) -> usize {
        let spec = &self.plan.items[spec];
        if spec.from < spec.to { site - 1 } else { site }
    }

    /// The line over which an item leaves a site.
    pub(crate) fn line_onward(&self, site: usize, spec: usize) -> Option<usize> {
        self.plan.items[spec].next_hop(site).map(|next| site.min(next))
    }
}
