//! What is known of sites that cannot be asked: what was replicated from them, and how old that is.

use packhorse_domain::{
    Timestamp,
    diagnosis::{Finding, Question, Report, Subject, place},
    id::SiteCode,
};

use super::{Asker, clients, offers, packages};
use crate::{error::Error, record, store::Tx};

/// A report for each of the sites, from what this one holds of it.
pub(super) async fn reports(
    asker: &Asker,
    question: &Question,
    seen_at: Option<Timestamp>,
) -> Result<Vec<Report>, Error> {
    let mut tx = asker.site.store.read().await?;
    let mut reports = Vec::new();
    for site in &question.sites {
        let findings = match &question.subject {
            Subject::Package(id) => of_package(&mut tx, site, id.as_str()).await?,
            Subject::Advertisement(id) => {
                let package = offers::package_in(&mut tx, id).await?;
                let mut found = match package {
                    Some(package) => of_package(&mut tx, site, package.as_str()).await?,
                    None => Vec::new(),
                };
                found.extend(clients::told(asker, &mut tx, site, (id, question.client.as_ref())).await?);
                found
            }
            Subject::Site | Subject::Parcel(_) => Vec::new(),
        };
        if !findings.is_empty() {
            let at = seen_at.unwrap_or_default();
            reports.push(Report { site: site.clone(), at, live: false, findings, custody: Vec::new() });
        }
    }
    Ok(reports)
}

async fn of_package(tx: &mut Tx, site: &SiteCode, id: &str) -> Result<Vec<Finding>, Error> {
    let Some(record) = record::package(tx, id).await? else { return Ok(Vec::new()) };
    if record.version.manifest.is_none() {
        return Ok(Vec::new());
    }
    let distribution = record::distribution(tx, &record.definition.id).await?;
    Ok(place(&packages::place_told(tx, site, &record, &distribution, true).await?))
}
