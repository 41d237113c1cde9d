//! Objects at the sites: how what each site holds becomes the same everywhere, whatever it was before.

use packhorse_domain::{
    link::ItemId,
    object::{Direction, Held},
    reconcile::{self, Compare, Listing, Owner, Repair, Say, Side, Tree, repair},
};

use crate::{
    Mutation,
    disk::{Object, Row},
    line::code,
    world::{Happening, World},
};

/// How often a side shows its tree.
const COMPARE_EVERY_US: u64 = 30_000_000;
/// Frames in answer to one.
const FRAMES_MAX: usize = 64;

impl World<'_> {
    /// The state of an object that an item carries, with the object's name.
    pub(crate) fn object_of(&self, spec: usize) -> Option<(String, Object)> {
        let plan = &self.plan.items[spec];
        let state = plan.item.state.as_ref()?;
        let held = Held { owner: code(plan.from), version: state.version, digest: plan.item.digest };
        Some((state.object.clone(), Object { held, deleted: plan.deleted, spec }))
    }

    /// Shows the root of the set that this side sends, and comes back to it.
    pub(crate) fn compare(&mut self, (line, side): (usize, usize)) -> Result<(), String> {
        if !self.watch.has_objects() {
            return Ok(());
        }
        let root = self.tree((line, side), side_of(side).sends()).root();
        let Some(session) = self.session((line, side)) else { return Ok(()) };
        session.link.compare(root);
        let connection = session.connection;
        self.after(COMPARE_EVERY_US, Happening::Compare { line, side, connection });
        self.pump((line, side))
    }

    pub(crate) fn compared(&mut self, (line, side): (usize, usize), compare: &Compare) -> Result<(), String> {
        let says = self.tree((line, side), compare.set).answer(compare, FRAMES_MAX);
        self.say((line, side), says);
        Ok(())
    }

    pub(crate) fn listed(&mut self, (line, side): (usize, usize), listing: &Listing) -> Result<(), String> {
        let tree = self.tree((line, side), listing.set);
        let differing = tree.differing(listing);
        let acts = differing.iter().map(|one| (repair(side_of(side), listing.set, one), one.id.to_owned()));
        for (act, name) in acts.collect::<Vec<_>>() {
            if !self.has(Mutation::NoRepair) {
                self.repair((line, side), act, &name)?;
            }
        }
        self.say((line, side), tree.answer_listing(listing).into_iter().collect());
        Ok(())
    }

    fn repair(&mut self, (line, side): (usize, usize), act: Repair, name: &str) -> Result<(), String> {
        let site = line + side;
        let Some(object) = self.sites[site].disk.objects.get(name) else { return Ok(()) };
        let row = Row { spec: object.spec, queued_at: self.clock(site) };
        self.seen.repaired += u64::from(matches!(act, Repair::OfferAgain | Repair::GiveBack));
        match act {
            Repair::Leave | Repair::Await => Ok(()),
            Repair::OfferAgain => {
                let item = self.plan.items[row.spec].item.id;
                self.sites[site].disk.outbox.insert((line, item), row);
                self.offer((site, line), row).map(drop)
            }
            // Should it get lost, the next comparison finds it again.
            Repair::GiveBack => self.offer((site, line), row).map(drop),
            Repair::Raise => Err(format!("one version of {name} has two contents")),
        }
    }

    fn say(&mut self, (line, side): (usize, usize), says: Vec<Say>) {
        let Some(session) = self.session((line, side)) else { return };
        for say in says {
            match say {
                Say::Compare(compare) => session.link.compare(compare),
                Say::List(listing) => session.link.list(listing),
            };
        }
    }

    fn tree(&self, (line, side): (usize, usize), set: Direction) -> Tree {
        let (site, peer) = (line + side, line + 1 - side);
        let disk = &self.sites[site].disk;
        let held = disk.objects.iter().map(|(name, object)| {
            let plan = &self.plan.items[object.spec];
            let owner = match plan.from {
                from if from == site => Owner::Here,
                from if from == peer => Owner::Peer,
                _ => Owner::Elsewhere,
            };
            reconcile::Held {
                kind: plan.object_kind(),
                id: name.clone(),
                owner,
                version: object.held.version,
                digest: object.held.digest,
                is_acknowledged: !disk.outbox.contains_key(&(line, plan.item.id)),
            }
        });
        Tree::new(set, held.collect())
    }

    /// A site's objects come back from its snapshot. What it alone had is lost with it.
    pub(crate) fn roll_back_objects(&mut self, site: usize) {
        let carries_object =
            |item: &ItemId| self.watch.spec_of(item).is_ok_and(|at| self.plan.items[at].item.state.is_some());
        let before = self.sites[site].disk.objects.clone();
        self.sites[site].disk.roll_back(carries_object);
        for (name, lost) in before {
            let held = self.sites.iter().filter_map(|site| site.disk.objects.get(&name));
            let left = held.map(|object| object.held.version).max();
            self.watch.lost(&name, left, lost.held.version);
        }
        self.watch.rolled_back(site, self.plan);
    }

    /// Every site shows the newest state that is not lost; a tombstone shows as nothing.
    pub(crate) fn check_objects(&self) -> Result<(), String> {
        for (name, newest) in self.watch.newest() {
            let held = || self.sites.iter().map(|site| site.disk.objects.get(name));
            let best = held().flatten().max_by_key(|object| object.held.version);
            let at_rest =
                match best.filter(|best| Some(best.held.version) >= newest.map(|(version, _)| version)) {
                    Some(best) => (!best.deleted).then_some(best.held.version),
                    None => newest.filter(|(_, deleted)| !deleted).map(|(version, _)| version),
                };
            for (site, object) in held().enumerate() {
                let shown = object.filter(|object| !object.deleted).map(|object| object.held.version);
                if shown != at_rest {
                    return Err(format!("site {site} shows {shown:?} of {name}, not {at_rest:?}"));
                }
            }
        }
        Ok(())
    }
}

fn side_of(side: usize) -> Side {
    if side == 0 { Side::Parent } else { Side::Child }
}
