//! What a site does with what its link says: the part that the sender and receiver of a real site play.

use packhorse_domain::link::{Event, ItemId, RefuseReason};

use crate::{
    Mutation,
    disk::Work,
    world::{Happening, World},
};

/// How long a refused item waits.
const AGAIN_AFTER_US: u64 = 400_000;

impl World<'_> {
    pub(crate) fn event(&mut self, (line, side): (usize, usize), event: Event) -> Result<(), String> {
        let site = line + side;
        match event {
            Event::Offered(offer) => self.consider((line, side), offer),
            Event::Write { item, offset, bytes } => self.write((line, side), (item, offset), &bytes),
            Event::Wanted { item, offset } => {
                self.expect_data((site, line), item, offset);
                self.seen.resumed += u64::from(offset > 0);
                // Whether a state that had its effect is taken again, its version decides.
                let state = self.plan.items[self.watch.spec_of(&item)?].item.state.as_ref();
                if state.is_some() && self.sites[line + 1 - side].disk.applied.contains_key(&item) {
                    return Ok(());
                }
                self.watch.wanted((site, line), item, offset)
            }
            Event::Acked { item, offset } => {
                self.watch.acked((site, line), item, offset);
                let length = self.plan.items[self.watch.spec_of(&item)?].item.length;
                if self.has(Mutation::ForgetAtAck) && offset == length {
                    self.sites[site].disk.outbox.remove(&(line, item));
                }
                Ok(())
            }
            Event::Written { .. } => {
                self.seen.written += 1;
                Ok(())
            }
            Event::Delivered { item } => self.delivered((line, side), item),
            Event::Refused { item, reason, .. } => self.refused((line, side), item, reason),
            Event::Cancelled { item } => {
                if let Some(session) = self.session((line, side)) {
                    session.deferred.remove(&item);
                }
                self.close_file((line, side), item);
                Ok(())
            }
            Event::PeerGoodbye { .. } => {
                if let Some(session) = self.session((line, side)) {
                    session.urgent = None;
                    session.ending = true;
                }
                Ok(())
            }
            Event::PeerHello { .. } => {
                self.plan_lane((line, side));
                self.compare((line, side))
            }
            Event::Compared(compare) => self.compared((line, side), &compare),
            Event::Listed(listing) => self.listed((line, side), &listing),
            Event::Pong { .. } | Event::UnknownKind { .. } | Event::Outlined(_) => Ok(()),
        }
    }

    fn delivered(&mut self, (line, side): (usize, usize), item: ItemId) -> Result<(), String> {
        self.expect_no_more((line, side), item);
        let peer = line + 1 - side;
        let spec = self.watch.spec_of(&item)?;
        let disk = &self.sites[peer].disk;
        let has_newer = self.object_of(spec).is_some_and(|(name, object)| {
            disk.objects.contains_key(&name) && !object.is_news(disk.objects.get(&name))
        });
        // The site that an item comes from has its effect from the beginning.
        if !(disk.applied.contains_key(&item) || has_newer || self.plan.items[spec].from == peer) {
            return Err(format!("a receipt of {item}, which had no effect at site {peer}"));
        }
        self.begin(line + side, Work::Forget { line, item });
        Ok(())
    }

    fn refused(
        &mut self,
        (line, side): (usize, usize),
        item: ItemId,
        reason: RefuseReason,
    ) -> Result<(), String> {
        let site = line + side;
        self.expect_no_more((line, side), item);
        match reason {
            RefuseReason::NoSpace | RefuseReason::Other => {}
            RefuseReason::Damaged if self.watch.is_damaged(&item) => self.watch.give_up(site, item),
            _ => return Err(format!("{item} was refused: {reason}")),
        }
        if self.has(Mutation::DropRefused) {
            self.sites[site].disk.outbox.remove(&(line, item));
        }
        self.after(AGAIN_AFTER_US, Happening::OfferAgain { site, line, item });
        Ok(())
    }
}
