//! Why something is not where it should be, and where it is: names what is meant, and has the way walked.

mod custody;

use std::{collections::BTreeSet, time::Duration};

use packhorse_domain::{
    client::ClientFact,
    diagnosis::{Check, Finding, Question, Report, Subject, cause},
    id::{AdvertisementId, ClientId, PackageId, SiteCode},
    object::ObjectKind,
    site::subtree,
};
use packhorse_proto::{
    object::v1 as wire,
    provider::v1::{
        ExplainRequest, ExplainResponse, GetCustodyRequest, GetCustodyResponse, SubjectKind,
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
/// For the answer as a whole: a site that is there and does not answer costs this much. One behind a slow line has to get
/// through meanwhile.
const WITHIN: Duration = Duration::from_secs(5);

#[derive(Debug)]
pub(crate) struct Diagnoses {
    asker: Asker,
}

/// What is asked about.
struct Asked {
    name: String,
    answer: Answer,
}

/// How it is answered.
enum Answer {
    /// Without asking anybody.
    Found(Box<Finding>),
    Walk {
        question: Question,
        /// Sites that are too many.
        left_out: usize,
    },
}

impl Diagnoses {
    pub(crate) fn new(asker: Asker) -> Self {
        Diagnoses { asker }
    }

    async fn explain(&self, asked: &ExplainRequest) -> Result<ExplainResponse, Error> {
        let deadline = Instant::now() + WITHIN;
        let Asked { name, answer } = self.asked(asked).await?;
        let (mut reports, left_out) = match answer {
            Answer::Walk { question, left_out } => (self.walk(&question, deadline).await?, left_out),
            Answer::Found(found) => (vec![self.asker.report(vec![*found])], 0),
        };
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
        if up {
            return self.asker.above(question, deadline).await;
        }
        if begins_here {
            return self.asker.answer(question, Part::First, deadline).await;
        }
        // Side by side: one that does not answer above leaves the sites below their time.
        let (above, below) = tokio::join!(
            self.asker.above(question, deadline),
            self.asker.answer(question, Part::Below, deadline)
        );
        let (mut reports, below) = (above?, below?);
        if reports.is_empty() {
            // Nobody above says anything of it: it is said here.
            return self.asker.answer(question, Part::First, deadline).await;
        }
        reports.extend(below);
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
        for site in
            in_subtree(&self.asker, tx, distribution.targets.iter().map(|target| &target.site)).await?
        {
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
        let found = record::advertisement(tx, id.as_str()).await?;
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
}

/// Those of these sites that are the asker's or below it, each once.
async fn in_subtree<'a>(
    asker: &Asker,
    tx: &mut Tx,
    sites: impl Iterator<Item = &'a SiteCode>,
) -> Result<Vec<SiteCode>, Error> {
    let parents = parents(tx).await?;
    let own: BTreeSet<SiteCode> = subtree(asker.site.code(), &parents).into_iter().collect();
    let sites: BTreeSet<&SiteCode> = sites.filter(|site| own.contains(site)).collect();
    Ok(sites.into_iter().cloned().collect())
}

impl Asked {
    fn of_itself(name: String, found: Finding) -> Asked {
        Asked { name, answer: Answer::Found(Box::new(found)) }
    }

    fn walked(name: String, question: Question, left_out: usize) -> Asked {
        Asked { name, answer: Answer::Walk { question, left_out } }
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

#[tonic::async_trait]
impl DiagnosisService for Diagnoses {
    async fn explain(&self, request: Request<ExplainRequest>) -> Result<Response<ExplainResponse>, Status> {
        Ok(Response::new(self.explain(request.get_ref()).await?))
    }

    async fn get_custody(
        &self,
        request: Request<GetCustodyRequest>,
    ) -> Result<Response<GetCustodyResponse>, Status> {
        Ok(Response::new(custody::custody(&self.asker, request.get_ref()).await?))
    }
}
