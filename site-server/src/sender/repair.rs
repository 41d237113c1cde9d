//! Anti-entropy on one link: compares what both sides hold, and repairs what differs.
//!
//! What differs and what is done about it are rules of the domain. Here are the trees, read from the database, and the
//! repairs, written to it. Objects that go their ordinary way are not sent from here: it is enough to forget that the
//! peer acknowledged them.

use std::{collections::HashMap, sync::Arc, time::Duration};

use packhorse_domain::{
    id::SiteCode,
    link::Link,
    message,
    object::{Direction, ObjectKind},
    reconcile::{Compare, Differing, Held, Listing, Owner, Repair as Act, Say, Side, Tree, repair},
    site::subtree,
};
use tokio::time::Instant;

use crate::{
    error::Error,
    record,
    scheduler::{self, Job},
    sender::apply::parents,
    site::Site,
    status,
    store::{Tx, compared, neighbours::Relation, objects},
};

/// A tree is kept for the frames of one exchange, and not longer than this.
const EXCHANGE_LONGEST: Duration = Duration::from_secs(30);
/// After so long without a frame an exchange is over.
const EXCHANGE_QUIET: Duration = Duration::from_secs(4);
/// A peer that opens a comparison again before this gets the same tree.
const TREE_SHORTEST: Duration = Duration::from_secs(1);
/// Frames said in one exchange; what is left then is found by the next.
const FRAMES_MAX: usize = 4096;
/// How often the wait for a repair that does not help is doubled.
const DOUBLINGS_MAX: u32 = 6;

/// The comparisons with one neighbour.
pub(super) struct Repair {
    site: Arc<Site>,
    peer: SiteCode,
    side: Side,
    begin_at: Instant,
    exchanges: Vec<Exchange>,
    tried: HashMap<(ObjectKind, String), Tried>,
}

/// One comparison of one set.
struct Exchange {
    set: Direction,
    tree: Tree,
    began: Instant,
    last: Instant,
    frames_left: usize,
    /// Objects that this side did something about.
    repaired: usize,
    /// Objects of which the peer holds a newer copy than the side that should have given it.
    lost: usize,
}

/// What was done about an object before, so that what does not help is done less and less often.
struct Tried {
    version: u64,
    times: u32,
    not_before: Instant,
}

impl Repair {
    pub(super) fn new(site: Arc<Site>, peer: SiteCode, relation: Relation) -> Self {
        let side = match relation {
            Relation::Parent => Side::Child,
            Relation::Child => Side::Parent,
        };
        let begin_at = Instant::now() + site.settings.link.compare_every;
        Repair { site, peer, side, begin_at, exchanges: Vec::new(), tried: HashMap::new() }
    }

    /// Opens a comparison of the set that this side sends; the peer opens that of the other one.
    pub(super) async fn begin(&mut self, link: &mut Link) -> Result<(), Error> {
        let now = Instant::now();
        self.begin_at = now + self.site.settings.link.compare_every;
        self.tried.retain(|_, tried| now < tried.not_before + self.site.settings.link.compare_every);
        let at = self.open(self.side.sends()).await?;
        if !link.compare(self.exchanges[at].tree.root()) {
            self.exchanges.remove(at);
        }
        Ok(())
    }

    /// Begins when it is time, and ends what is over.
    pub(super) async fn tend(&mut self, link: &mut Link) -> Result<(), Error> {
        let now = Instant::now();
        while let Some(at) = self.exchanges.iter().position(|exchange| exchange.is_over(now)) {
            let exchange = self.exchanges.remove(at);
            self.report(&exchange).await?;
        }
        if self.begin_at <= now { self.begin(link).await } else { Ok(()) }
    }

    /// The peer shows nodes of its tree.
    pub(super) async fn compared(&mut self, compare: &Compare, link: &mut Link) -> Result<(), Error> {
        // What the peer shows first it has read before: a tree that is read now holds all that was acknowledged by then.
        let at = match self.exchange(compare.set) {
            Some(at) if !compare.is_root() || self.exchanges[at].began.elapsed() < TREE_SHORTEST => at,
            _ => self.open(compare.set).await?,
        };
        let exchange = &mut self.exchanges[at];
        exchange.last = Instant::now();
        for say in exchange.tree.answer(compare, exchange.frames_left) {
            exchange.say(say, link);
        }
        Ok(())
    }

    /// The peer shows all that it holds of a part: repairs what differs. Gives what goes back to the peer.
    pub(super) async fn listed(&mut self, listing: &Listing, link: &mut Link) -> Result<Vec<Job>, Error> {
        let at = match self.exchange(listing.set) {
            Some(at) => at,
            None => self.open(listing.set).await?,
        };
        let Repair { site, peer, side, exchanges, tried, .. } = self;
        let exchange = &mut exchanges[at];
        exchange.last = Instant::now();
        let mut acts = Vec::new();
        for differing in exchange.tree.differing(listing) {
            let act = repair(*side, listing.set, &differing);
            if act != Act::Leave && is_due(tried, &differing, site.settings.link.compare_every) {
                acts.push((act, differing));
            }
        }
        let known = acts.len();
        acts.retain(|(act, _)| *act != Act::Await);
        exchange.lost += known - acts.len();
        let mut jobs = Vec::new();
        if !acts.is_empty() {
            let mut tx = site.store.begin().await?;
            for (act, differing) in acts {
                exchange.repaired +=
                    usize::from(carry_out(site, &mut tx, peer, (act, &differing), &mut jobs).await?);
            }
            tx.commit().await?;
        }
        if let Some(say) = exchange.tree.answer_listing(listing) {
            exchange.say(say, link);
        }
        Ok(jobs)
    }

    fn exchange(&self, set: Direction) -> Option<usize> {
        self.exchanges.iter().position(|exchange| exchange.set == set)
    }

    /// Reads a set anew; an exchange about it that was under way goes on with what is held now.
    async fn open(&mut self, set: Direction) -> Result<usize, Error> {
        let held = self.read(set).await?;
        let tree = tokio::task::spawn_blocking(move || Tree::new(set, held)).await?;
        let now = Instant::now();
        match self.exchange(set) {
            Some(at) => {
                let exchange = &mut self.exchanges[at];
                (exchange.tree, exchange.began, exchange.frames_left) = (tree, now, FRAMES_MAX);
                Ok(at)
            }
            None => {
                self.exchanges.push(Exchange {
                    set,
                    tree,
                    began: now,
                    last: now,
                    frames_left: FRAMES_MAX,
                    repaired: 0,
                    lost: 0,
                });
                Ok(self.exchanges.len() - 1)
            }
        }
    }

    /// What both sides should hold of a set, as this side holds it.
    async fn read(&self, set: Direction) -> Result<Vec<Held>, Error> {
        let mut tx = self.site.store.read().await?;
        let rows = compared::list(&mut tx, &self.peer, set).await?;
        let below = match self.side {
            Side::Parent => subtree(&self.peer, &parents(&mut tx).await?),
            Side::Child => Vec::new(),
        };
        let own = self.site.code();
        let is_compared = |owner: &SiteCode| match (set, self.side) {
            (Direction::Down, Side::Child) => owner != own,
            (Direction::Up, Side::Parent) => below.contains(owner),
            (Direction::Down, Side::Parent) | (Direction::Up, Side::Child) => true,
        };
        let rows = rows.into_iter().filter(|row| is_compared(&row.owner));
        Ok(rows
            .map(|row| Held {
                owner: match &row.owner {
                    owner if owner == own => Owner::Here,
                    owner if *owner == self.peer => Owner::Peer,
                    _ => Owner::Elsewhere,
                },
                kind: row.kind,
                id: row.id,
                version: row.version,
                digest: row.digest,
                is_acknowledged: row.is_acknowledged,
            })
            .collect())
    }

    async fn report(&self, exchange: &Exchange) -> Result<(), Error> {
        if exchange.repaired + exchange.lost == 0 {
            return Ok(());
        }
        let peer = &self.peer;
        let (what, went) = match (exchange.set, self.side) {
            (Direction::Down, Side::Parent) => ("what goes down", "what went down"),
            (Direction::Down, Side::Child) => ("what comes down", "what came down"),
            (Direction::Up, Side::Parent) => ("what comes up", "what came up"),
            (Direction::Up, Side::Child) => ("what goes up", "what went up"),
        };
        let mut tx = self.site.store.begin().await?;
        if exchange.repaired > 0 {
            let message = message::copies_repaired(peer, &what, &exchange.repaired);
            status::report(&self.site, &mut tx, peer.as_str(), &message).await?;
        }
        if exchange.lost > 0 {
            let message = message::copies_taken_back(peer, &went, &exchange.lost);
            status::report(&self.site, &mut tx, peer.as_str(), &message).await?;
        }
        Ok(tx.commit().await?)
    }
}

impl Exchange {
    fn is_over(&self, now: Instant) -> bool {
        now - self.began >= EXCHANGE_LONGEST || now - self.last >= EXCHANGE_QUIET
    }

    fn say(&mut self, say: Say, link: &mut Link) {
        let Some(left) = self.frames_left.checked_sub(1) else {
            return;
        };
        self.frames_left = left;
        // A peer that compares knows how to.
        let _said = match say {
            Say::Compare(compare) => link.compare(compare),
            Say::List(listing) => link.list(listing),
        };
    }
}

/// Whether something is to be done now about an object; the same again only after a while.
fn is_due(
    tried: &mut HashMap<(ObjectKind, String), Tried>,
    differing: &Differing<'_>,
    every: Duration,
) -> bool {
    let version = differing.own.map_or(0, |own| own.version);
    let now = Instant::now();
    let name = (differing.kind, differing.id.to_owned());
    let times = match tried.get(&name) {
        Some(last) if last.version == version && now < last.not_before => return false,
        Some(last) if last.version == version => last.times.saturating_add(1),
        _ => 0,
    };
    // The first repetition is not held up: whoever deleted a row by hand may do it again.
    let wait = match times {
        0 => Duration::ZERO,
        times => every.saturating_mul(1 << times.min(DOUBLINGS_MAX)),
    };
    tried.insert(name, Tried { version, times, not_before: now + wait });
    true
}

/// Does what the rule says, in the caller's transaction. True: something was to be done indeed.
async fn carry_out(
    site: &Site,
    tx: &mut Tx,
    peer: &SiteCode,
    (act, differing): (Act, &Differing<'_>),
    jobs: &mut Vec<Job>,
) -> Result<bool, Error> {
    let (kind, id) = (differing.kind, differing.id);
    let Some(own) = differing.own else {
        return Ok(false);
    };
    match act {
        Act::Leave | Act::Await => Ok(false),
        Act::OfferAgain => Ok(compared::forget_acknowledged(tx, peer, kind, id, own.version).await?),
        Act::GiveBack => {
            let object = objects::get(tx, kind, id).await?;
            let found = object.is_some();
            jobs.extend(object.map(scheduler::object_job).transpose()?);
            Ok(found)
        }
        Act::Raise => record::raise(site, tx, kind, id, own.version).await,
    }
}
