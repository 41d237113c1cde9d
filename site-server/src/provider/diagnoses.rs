//! Why something is not where it should be, and where it is: names what is meant, and has the way walked.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use packhorse_domain::{
    advertisement::Advertisement,
    client::ClientFact,
    diagnosis::{Check, Custody, CustodyStage, Finding, Question, Report, SITES_MAX, Subject, cause},
    id::{AdvertisementId, ClientId, PackageId, SiteCode},
    object::ObjectKind,
};
use packhorse_proto::{
    object::v1 as wire,
    provider::v1::{
        CustodySite, ExplainRequest, ExplainResponse, GetCustodyRequest, GetCustodyResponse, SubjectKind,
        diagnosis_service_server::DiagnosisService,
    },
};
use tokio::time::Instant;
use tonic::{Request, Response, Status};

use super::{couriers, invalid, missing, parsed};
use crate::{
    diagnosis::{self, Asker, Part},
    error::Error,
    record,
    sender::parents,
    store::{Tx, clients, objects},
};

/// Sites that are walked to at once.
const SITES_SHOWN: usize = 50;
/// For the answer as a whole: a site that is there and does not answer costs this much.
const WITHIN: Duration = Duration::from_secs(8);

#[derive(Debug)]
pub(crate) struct Diagnoses {
    asker: Asker,
}

/// What is asked about, and what of it needs no walk.
struct Asked {
    name: String,
    question: Question,
    /// Found without asking anybody.
    first: Vec<Finding>,
    left_out: usize,
}

impl Diagnoses {
    pub(crate) fn new(asker: Asker) -> Self {
        Diagnoses { asker }
    }

    async fn explain(&self, asked: &ExplainRequest) -> Result<ExplainResponse, Error> {
        let deadline = Instant::now() + WITHIN;
        let Asked { name, question, first, left_out } = self.asked(asked).await?;
        let mut reports = Vec::new();
        if first.is_empty() {
            reports = self.walk(&question, deadline).await?;
        } else {
            let (site, at) = (self.asker.site.code().clone(), self.asker.site.now());
            reports.push(Report { site, at, live: true, findings: first, custody: Vec::new() });
        }
        reports.retain(|report| !report.findings.is_empty());
        Ok(ExplainResponse {
            cause: cause(&reports).map(Into::into),
            reports: reports.iter().map(Into::into).collect(),
            subject: name,
            left_out: u32::try_from(left_out).unwrap_or(u32::MAX),
        })
    }

    /// What the sites above say, and then what is said from here down.
    async fn walk(&self, question: &Question, deadline: Instant) -> Result<Vec<Report>, Error> {
        let path = self.asker.site.path();
        let up = question.subject == Subject::Site
            && question.sites.iter().any(|site| site != path.site() && path.is_under(site));
        let begins_here = diagnosis::begins_here(&self.asker, question).await?;
        let above = match up || !begins_here {
            true => self.asker.above(question, deadline).await?,
            false => Vec::new(),
        };
        if up {
            return Ok(above);
        }
        let part = if above.is_empty() { Part::First } else { Part::Below };
        let mut reports = above;
        reports.extend(self.asker.answer(question, part, deadline).await?);
        Ok(reports)
    }

    async fn asked(&self, asked: &ExplainRequest) -> Result<Asked, Error> {
        if asked.subject.is_empty() {
            return Err(missing("subject"));
        }
        let client: Option<ClientId> = match asked.client.as_str() {
            "" => None,
            text => Some(parsed("client", text)?),
        };
        let mut tx = self.asker.site.store.read().await?;
        let site = self.site_asked(&mut tx, &asked.site, client.as_ref()).await?;
        if let Some(site) = site.as_ref()
            && let Some(found) = self.unknown(&mut tx, site).await?
        {
            return Ok(Asked::of_itself(site.to_string(), found));
        }
        if let Ok(code) = asked.subject.parse::<SiteCode>() {
            return self.about_site(&mut tx, code).await;
        }
        let id = asked.subject.as_str();
        let package = (named::<PackageId>(&mut tx, ObjectKind::Package, id).await?)
            .filter(|_| asked.kind() != SubjectKind::Advertisement);
        let advertised = (named::<AdvertisementId>(&mut tx, ObjectKind::Advertisement, id).await?)
            .filter(|_| asked.kind() != SubjectKind::Package);
        match (package, advertised) {
            (Some(_), Some(_)) => {
                let reason = format!("{id} is a package and an advertisement here: say which, with --kind");
                return Err(invalid("subject", reason));
            }
            (Some(package), None) => return self.about_package(&mut tx, package, site).await,
            (None, Some(one)) => return self.about_advertisement(&mut tx, one, site, client).await,
            (None, None) => {}
        }
        drop(tx);
        self.about_parcel(id).await
    }

    /// The site that was named, or that of the client.
    async fn site_asked(
        &self,
        tx: &mut Tx,
        site: &str,
        client: Option<&ClientId>,
    ) -> Result<Option<SiteCode>, Error> {
        if !site.is_empty() {
            return parsed("site", site).map(Some);
        }
        let Some(client) = client else { return Ok(None) };
        if clients::is_known(tx, client).await? {
            return Ok(Some(self.asker.site.code().clone()));
        }
        let fact =
            record::find::<wire::ClientFact, ClientFact>(tx, ObjectKind::Client, client.as_str()).await?;
        let missing = || Error::NotFound { what: "client", id: client.to_string() };
        fact.map(|(_, fact)| Some(fact.site)).ok_or_else(missing)
    }

    /// That a site is none of this hierarchy, as far as this site knows.
    async fn unknown(&self, tx: &mut Tx, site: &SiteCode) -> Result<Option<Finding>, Error> {
        let own = self.asker.site.path();
        if own.is_under(site) || objects::held(tx, ObjectKind::Site, site.as_str()).await?.is_some() {
            return Ok(None);
        }
        let at = self.asker.site.code();
        let text = format!("no site {site} has joined site {at} or one below it");
        let found = Finding::fails(at, Check::SiteKnown, text);
        Ok(Some(found.mended_at(at, format!("packhorse site token {site} --out {site}.token"))))
    }

    async fn about_site(&self, tx: &mut Tx, code: SiteCode) -> Result<Asked, Error> {
        if let Some(found) = self.unknown(tx, &code).await? {
            return Ok(Asked::of_itself(format!("site {code}"), found));
        }
        let name = format!("site {code}");
        Ok(Asked::walked(name, Question { subject: Subject::Site, sites: vec![code], client: None }, 0))
    }

    async fn about_package(
        &self,
        tx: &mut Tx,
        id: PackageId,
        site: Option<SiteCode>,
    ) -> Result<Asked, Error> {
        let record = record::package(tx, id.as_str()).await?;
        let name = match &record {
            Some(record) => format!("package {id} ({})", record.definition.name),
            None => format!("package {id}"),
        };
        let distribution = record::distribution(tx, &id).await?;
        let (mut sites, mut through) = (Vec::new(), 0);
        for site in self.in_subtree(tx, distribution.targets.iter().map(|target| &target.site)).await? {
            match &record {
                Some(record) if diagnosis::has_all(tx, &site, record, &distribution).await? => through += 1,
                _ => sites.push(site),
            }
        }
        if let Some(site) = site {
            (sites, through) = (vec![site], 0);
        }
        if sites.is_empty() && through > 0 {
            let text = format!("it is on every distribution point that is to have it, at {through} site(s)");
            return Ok(Asked::of_itself(name, Finding::holds(self.asker.site.code(), Check::OnPoint, text)));
        }
        if sites.is_empty() {
            // That it is sent nowhere is found at its own site.
            sites.push(self.asker.site.code().clone());
        }
        let left_out = cut_off(&mut sites);
        Ok(Asked::walked(name, Question { subject: Subject::Package(id), sites, client: None }, left_out))
    }

    async fn about_advertisement(
        &self,
        tx: &mut Tx,
        id: AdvertisementId,
        site: Option<SiteCode>,
        client: Option<ClientId>,
    ) -> Result<Asked, Error> {
        let found =
            record::find::<wire::Advertisement, Advertisement>(tx, ObjectKind::Advertisement, id.as_str())
                .await?;
        let name = match &found {
            Some((_, advertisement)) => format!("advertisement {id} ({})", advertisement.name),
            None => format!("advertisement {id}"),
        };
        let (mut sites, mut through) = (BTreeSet::new(), 0);
        if let Some((_, advertisement)) = found.as_ref().filter(|_| site.is_none()) {
            let done = diagnosis::succeeded(tx, advertisement).await?;
            let (ran, others): (Vec<_>, Vec<_>) = (diagnosis::of_site(tx, advertisement, None).await?)
                .into_iter()
                .partition(|fact| done.contains(&fact.id));
            through = ran.len();
            sites.extend(others.into_iter().map(|fact| fact.site));
        }
        sites.extend(site);
        if sites.is_empty() && through > 0 {
            let text = format!("the program ran on all {through} client(s) of its collection");
            return Ok(Asked::of_itself(
                name,
                Finding::holds(self.asker.site.code(), Check::ProgramRan, text),
            ));
        }
        if sites.is_empty() {
            sites.insert(self.asker.site.code().clone());
        }
        let mut sites: Vec<SiteCode> = sites.into_iter().collect();
        let left_out = cut_off(&mut sites);
        Ok(Asked::walked(name, Question { subject: Subject::Advertisement(id), sites, client }, left_out))
    }

    async fn about_parcel(&self, text: &str) -> Result<Asked, Error> {
        let is_digits = text.len() >= 4 && text.len() <= 32 && text.bytes().all(|b| b.is_ascii_hexdigit());
        if !is_digits {
            return Err(Error::Missing(format!(
                "nothing here is named {text}: give the id of a package or an advertisement, the code of a site, or a \
                 parcel's digits, as `packhorse package list`, `advertisement list`, `site list` and `courier list` show \
                 them"
            )));
        }
        let id = couriers::find(&self.asker.site, text).await?;
        let mut tx = self.asker.site.store.read().await?;
        let sites = crate::store::parcels::sites(&mut tx, &id).await?.into_keys().collect();
        let name = format!("parcel {}", id.short());
        Ok(Asked::walked(name, Question { subject: Subject::Parcel(id.0), sites, client: None }, 0))
    }

    /// Those of these sites that are this one or below it, each once.
    async fn in_subtree<'a>(
        &self,
        tx: &mut Tx,
        sites: impl Iterator<Item = &'a SiteCode>,
    ) -> Result<Vec<SiteCode>, Error> {
        let parents = parents(tx).await?;
        let own: BTreeSet<SiteCode> =
            packhorse_domain::site::subtree(self.asker.site.code(), &parents).into_iter().collect();
        let sites: BTreeSet<&SiteCode> = sites.filter(|site| own.contains(site)).collect();
        Ok(sites.into_iter().cloned().collect())
    }

    async fn custody(&self, asked: &GetCustodyRequest) -> Result<GetCustodyResponse, Error> {
        let id: PackageId = parsed("package", &asked.package)?;
        let mut tx = self.asker.site.store.read().await?;
        let Some(record) = record::package(&mut tx, id.as_str()).await? else {
            return Err(Error::NotFound { what: "package", id: id.to_string() });
        };
        let distribution = record::distribution(&mut tx, &id).await?;
        let targets = distribution.targets.iter().map(|target| &target.site);
        let mut targets = self.in_subtree(&mut tx, targets).await?;
        if targets.len() > SITES_MAX {
            return Err(invalid(
                "package",
                format!("it goes to more than {SITES_MAX} sites; ask at a site below"),
            ));
        }
        let parents: BTreeMap<SiteCode, SiteCode> = parents(&mut tx).await?.into_iter().collect();
        drop(tx);
        let question = Question { subject: Subject::Package(id), sites: targets.clone(), client: None };
        let reports = self.asker.answer(&question, Part::Below, Instant::now() + WITHIN).await?;
        let own = self.asker.site.code().clone();
        targets.push(own.clone());
        let order = ways_to(&own, &targets, &parents);
        let mut tx = self.asker.site.store.read().await?;
        let mut sites = Vec::new();
        for site in order {
            let place = diagnosis::place_told(&mut tx, &site, &record, &distribution, true).await?;
            let hop = reports.iter().flat_map(|report| &report.custody).find(|hop| hop.to == site);
            let said = reports.iter().filter(|report| report.site == site).max_by_key(|report| report.live);
            let is_there = hop.is_some_and(|hop| hop.stage == CustodyStage::There);
            sites.push(CustodySite {
                parent: if site == own { String::new() } else { parent_of(&site, &parents) },
                held: place.held || is_there,
                points: count(place.points.len()),
                points_installed: count(
                    place.points.iter().filter(|one| diagnosis::has(one, &place)).count(),
                ),
                hop: hop.map(|hop: &Custody| hop.into()),
                live: said.is_some_and(|report| report.live),
                at_us: said.map_or(0, |report| report.at.0),
                site: site.to_string(),
            });
        }
        Ok(GetCustodyResponse {
            sites,
            source_version: record.version.source_version,
            name: record.definition.name,
            at_us: self.asker.site.now().0,
        })
    }
}

impl Asked {
    fn of_itself(name: String, found: Finding) -> Asked {
        let question = Question { subject: Subject::Site, sites: Vec::new(), client: None };
        Asked { name, question, first: vec![found], left_out: 0 }
    }

    fn walked(name: String, question: Question, left_out: usize) -> Asked {
        Asked { name, question, first: Vec::new(), left_out }
    }
}

/// The id, if it is one of that kind and something here has or had it.
async fn named<T: std::str::FromStr>(tx: &mut Tx, kind: ObjectKind, id: &str) -> Result<Option<T>, Error> {
    let Ok(parsed) = id.parse::<T>() else { return Ok(None) };
    Ok(objects::held(tx, kind, id).await?.map(|_| parsed))
}

/// Leaves as many as are walked to; says how many that leaves out.
fn cut_off(sites: &mut Vec<SiteCode>) -> usize {
    let left_out = sites.len().saturating_sub(SITES_SHOWN);
    sites.truncate(SITES_SHOWN);
    left_out
}

fn count(number: usize) -> u32 {
    u32::try_from(number).unwrap_or(u32::MAX)
}

fn parent_of(site: &SiteCode, parents: &BTreeMap<SiteCode, SiteCode>) -> String {
    parents.get(site).map(ToString::to_string).unwrap_or_default()
}

/// The sites on the ways from `own` to the targets, each before those below it.
fn ways_to(own: &SiteCode, targets: &[SiteCode], parents: &BTreeMap<SiteCode, SiteCode>) -> Vec<SiteCode> {
    let mut ways = BTreeSet::new();
    for target in targets {
        let mut way = vec![target.clone()];
        // What sites say of their parents may run in a circle.
        while way.last() != Some(own)
            && let Some(parent) = way.last().and_then(|site| parents.get(site))
            && !way.contains(parent)
        {
            way.push(parent.clone());
        }
        way.reverse();
        for end in 1..=way.len() {
            ways.insert(way[..end].to_vec());
        }
    }
    ways.into_iter().filter_map(|way| way.last().cloned()).collect()
}

#[tonic::async_trait]
impl DiagnosisService for Diagnoses {
    async fn explain(&self, request: Request<ExplainRequest>) -> Result<Response<ExplainResponse>, Status> {
        Ok(Response::new(self.explain(request.get_ref()).await?))
    }

    async fn get_custody(
        &self,
        request: Request<GetCustodyRequest>,
    ) -> Result<Response<GetCustodyResponse>, Status> {
        Ok(Response::new(self.custody(request.get_ref()).await?))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn site(code: &str) -> SiteCode {
        code.parse().unwrap()
    }

    #[test]
    fn ways_go_from_the_top_down_and_end_where_sites_say_nonsense() {
        let parents: BTreeMap<SiteCode, SiteCode> =
            [("PAR", "CEN"), ("LYO", "PAR"), ("NCE", "PAR"), ("AAA", "BBB"), ("BBB", "AAA")]
                .map(|(child, parent)| (site(child), site(parent)))
                .into();

        let way = |targets: &[&str]| {
            let targets: Vec<SiteCode> = targets.iter().map(|code| site(code)).collect();
            ways_to(&site("CEN"), &targets, &parents).iter().map(ToString::to_string).collect::<Vec<_>>()
        };

        assert_eq!(way(&["CEN"]), ["CEN"]);
        assert_eq!(way(&["NCE", "LYO"]), ["CEN", "PAR", "LYO", "NCE"]);
        assert_eq!(way(&["AAA"]), ["BBB", "AAA"]);
    }
}
