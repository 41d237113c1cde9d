//! Why something is not where it should be: what this site finds, and what the sites on the way say when they are asked.
//!
//! A question walks the tree: every site on the way answers for itself ([`own`]) and for the hop to the next one
//! ([`hops`]), and asks that one in turn ([`inquiries`]). Of one that does not answer, what was replicated from it stands
//! in its place ([`heard`]). The rules are `domain::diagnosis`; nothing here changes anything.

mod attend;
mod caps;
mod clients;
mod health;
mod heard;
mod hops;
mod inquiries;
mod offers;
mod own;
mod packages;
mod parcels;
#[cfg(test)]
mod tests;
mod troubles;

use std::{sync::Arc, time::Duration};

use futures::future::join_all;
use packhorse_domain::{
    Timestamp,
    diagnosis::{
        Check, Custody, Finding, Neighbour, Question, Report, Silence, Subject, Verdict, clock, silent,
    },
    id::SiteCode,
    site::subtree,
};
use packhorse_runtime::Lifecycle;
use tokio::time::Instant;

pub(crate) use attend::attend;
pub(crate) use caps::CapInquiries;
pub(crate) use clients::{of_site, succeeded};
pub(crate) use inquiries::{ANSWER_BYTES_MAX, Inquiries, InquiryServer};
pub(crate) use own::begins_here;
pub(crate) use packages::{has, has_all, place_told};
pub(crate) use troubles::Troubles;

use crate::{
    error::Error,
    sender::parents,
    site::Site,
    store::neighbours::{self, Relation},
};

/// What is kept of the time for whoever asked, at each site on the way.
const ANSWER_WITHIN: Duration = Duration::from_millis(300);

/// Answers questions at a site.
#[derive(Debug, Clone)]
pub(crate) struct Asker {
    pub(crate) site: Arc<Site>,
    pub(crate) lifecycle: Lifecycle,
}

/// Which part of the way this site is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Part {
    /// The way begins here: what is wanted of the subject is said here.
    First,
    /// A site above has said that.
    Below,
}

impl Asker {
    /// This site's own findings, then for each child on the way the hop to it and what it says.
    pub(crate) async fn answer(
        &self,
        question: &Question,
        part: Part,
        deadline: Instant,
    ) -> Result<Vec<Report>, Error> {
        let mut reports = vec![self.report(own::findings(self, question, part).await?)];
        let ways = self.ways(&question.sites).await?;
        let asked = ways.iter().map(|way| self.ask_below(question, way, deadline));
        for (way, below) in ways.iter().zip(join_all(asked).await) {
            let (mut found, custody) = hops::to(self, question, &way.child).await?;
            if found.iter().any(|one| one.verdict == Verdict::Fails && one.check == Check::BundleMade.name())
            {
                found.splice(0..0, own::ill(self, question).await?);
            }
            reports.push(Report { custody, ..self.report(found) });
            reports.extend(below?);
        }
        let (found, custody) = hops::to_far(self, question).await?;
        if !found.is_empty() || !custody.is_empty() {
            reports.push(Report { custody, ..self.report(found) });
        }
        Ok(reports)
    }

    /// What the sites above say of the way to this one, the topmost first; nothing where the way begins here.
    pub(crate) async fn above(&self, question: &Question, deadline: Instant) -> Result<Vec<Report>, Error> {
        let Some(parent) = self.site.path().parent().cloned() else { return Ok(Vec::new()) };
        let within = deadline.saturating_duration_since(Instant::now()).saturating_sub(ANSWER_WITHIN);
        let carried = self.heard_bytes(&parent);
        match self.site.inquiries.ask_parent(question, within).await {
            Some(reports) => Ok(reports),
            None => {
                let state = self.silence(&parent, carried, deadline);
                let line = hops::line_of(self, &parent, None).await?;
                let link = packhorse_domain::diagnosis::line(self.site.code(), &parent, &line);
                let (at, to) = (self.site.code().clone(), parent);
                let facts = Neighbour { at, to, link: state, seen_at: None, waited: within };
                // What is wrong with this site may be why nobody is reached.
                let mut found = health::findings(self, &Subject::Site).await?;
                found.retain(|finding| finding.verdict == Verdict::Fails);
                found.extend([link, silent(&facts)]);
                Ok(vec![self.report(found)])
            }
        }
    }

    /// What a child asks of the sites above it: this one's findings and the hop to the child. It is told of the ways to
    /// itself and to those below it; of this site itself, only how it is.
    pub(crate) async fn answer_child(
        &self,
        question: &Question,
        child: &SiteCode,
        deadline: Instant,
    ) -> Result<Vec<Report>, Error> {
        if question.subject == Subject::Site && question.sites.contains(self.site.code()) {
            let line = hops::line_of(self, child, None).await?;
            let mut found = health::findings(self, &question.subject).await?;
            found.push(packhorse_domain::diagnosis::line(self.site.code(), child, &line));
            return Ok(vec![self.report(found)]);
        }
        let above = question.subject == Subject::Site;
        let sites = if above { question.sites.clone() } else { self.below(child, &question.sites).await? };
        let question = &Question { sites, ..question.clone() };
        let begins_here = own::begins_here(self, question).await?;
        let mut reports = if begins_here { Vec::new() } else { self.above(question, deadline).await? };
        if above || question.sites.is_empty() {
            return Ok(reports);
        }
        let part = if begins_here || reports.is_empty() { Part::First } else { Part::Below };
        reports.push(self.report(own::findings(self, question, part).await?));
        let (found, custody) = hops::to(self, question, child).await?;
        reports.push(Report { custody, ..self.report(found) });
        Ok(reports)
    }

    /// Those of these sites that are the child or below it.
    async fn below(&self, child: &SiteCode, sites: &[SiteCode]) -> Result<Vec<SiteCode>, Error> {
        let mut tx = self.site.store.read().await?;
        let below = subtree(child, &parents(&mut tx).await?);
        Ok(sites.iter().filter(|site| below.contains(site)).cloned().collect())
    }

    /// What this site says, now.
    pub(crate) fn report(&self, findings: Vec<Finding>) -> Report {
        Report {
            site: self.site.code().clone(),
            at: self.site.now(),
            live: true,
            findings,
            custody: Vec::<Custody>::new(),
        }
    }

    /// The children on the way to these sites, each with those of them that it leads to.
    async fn ways(&self, sites: &[SiteCode]) -> Result<Vec<Way>, Error> {
        let mut tx = self.site.store.read().await?;
        let parents = parents(&mut tx).await?;
        let mut ways = Vec::new();
        for neighbour in neighbours::list(&mut tx).await? {
            if neighbour.relation != Relation::Child {
                continue;
            }
            let below = subtree(&neighbour.code, &parents);
            let sites: Vec<SiteCode> = sites.iter().filter(|site| below.contains(site)).cloned().collect();
            if !sites.is_empty() {
                ways.push(Way { child: neighbour.code, seen_at: neighbour.seen_at, sites });
            }
        }
        Ok(ways)
    }

    async fn ask_below(
        &self,
        question: &Question,
        way: &Way,
        deadline: Instant,
    ) -> Result<Vec<Report>, Error> {
        let question = Question { sites: way.sites.clone(), ..question.clone() };
        let within = deadline.saturating_duration_since(Instant::now()).saturating_sub(ANSWER_WITHIN);
        let carried = self.heard_bytes(&way.child);
        let began = self.site.now();
        if let Some(mut reports) = self.site.inquiries.ask(&way.child, &question, within).await {
            let now = self.site.now();
            if let Some(first) = reports.first_mut().filter(|first| first.site == way.child) {
                let middle = Timestamp(began.0 + (now.0 - began.0) / 2);
                let found = clock(self.site.code(), &way.child, middle, first.at, now.since(began));
                if found.verdict != Verdict::Holds {
                    first.findings.insert(0, found);
                }
            }
            return Ok(reports);
        }
        let link = self.silence(&way.child, carried, deadline);
        let view = self.site.links(|links| links.get(&way.child).cloned()).unwrap_or_default();
        let facts = Neighbour {
            at: self.site.code().clone(),
            to: way.child.clone(),
            link,
            seen_at: (way.seen_at.0 > 0).then_some(way.seen_at.max(view.since)),
            waited: within,
        };
        let mut reports = vec![self.report(vec![silent(&facts)])];
        reports.extend(heard::reports(self, &question, facts.seen_at).await?);
        Ok(reports)
    }

    /// Of a neighbour that gave no answer, and from which so much had come when it was asked. One from which something came
    /// meanwhile is busy, or behind a slow line; one that was not waited for does not attend, or is too old to be asked.
    fn silence(&self, peer: &SiteCode, carried: u64, deadline: Instant) -> Silence {
        let is_up = self.site.links(|links| links.get(peer).is_some_and(|view| view.up));
        let waited = deadline <= Instant::now() + ANSWER_WITHIN * 2;
        match (is_up, waited && self.heard_bytes(peer) == carried) {
            (false, _) => Silence::Down,
            (true, true) => Silence::Dead,
            (true, false) => Silence::Slow,
        }
    }

    fn heard_bytes(&self, peer: &SiteCode) -> u64 {
        self.site.links(|links| links.get(peer).map_or(0, crate::sender::LinkView::received))
    }
}

/// A child and the sites that it leads to.
#[derive(Debug)]
struct Way {
    child: SiteCode,
    seen_at: Timestamp,
    sites: Vec<SiteCode>,
}
