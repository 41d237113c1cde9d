//! What is known of sites that cannot be asked: what was replicated from them, and how old that is.

use packhorse_domain::{
    Timestamp,
    care::round,
    diagnosis::{Check, Finding, Question, Report, Subject, place},
    health::{Level, SiteHealth, judge},
    id::SiteCode,
    object::ObjectKind,
};
use packhorse_proto::{convert, object::v1 as wire};

use super::{Asker, clients, offers, packages};
use crate::{
    error::Error,
    record,
    store::{Tx, objects},
};

/// A report for each of the sites, from what this one holds of it.
pub(super) async fn reports(
    asker: &Asker,
    question: &Question,
    seen_at: Option<Timestamp>,
) -> Result<Vec<Report>, Error> {
    let mut tx = asker.site.store.read().await?;
    let mut reports = Vec::new();
    for site in &question.sites {
        let mut at = seen_at.unwrap_or_default();
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
            Subject::Site => match health_of(&mut tx, site).await? {
                Some(health) => {
                    at = health.at;
                    said(&health, asker.site.now())
                }
                None => Vec::new(),
            },
            Subject::Parcel(_) => Vec::new(),
        };
        if !findings.is_empty() {
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

async fn health_of(tx: &mut Tx, site: &SiteCode) -> Result<Option<SiteHealth>, Error> {
    let held = objects::get(tx, ObjectKind::SiteHealth, site.as_str()).await?.filter(|held| !held.deleted);
    // What does not decode is of a later version of this program.
    Ok(held.and_then(|held| convert::decode::<wire::SiteHealth, SiteHealth>(&held.body).ok()))
}

/// What a site said last of itself; when its certificate ends is known whether it says anything or not.
fn said(health: &SiteHealth, now: Timestamp) -> Vec<Finding> {
    let at = &health.site;
    let mut found = Vec::new();
    let judged = |level: Level, check: Check, text: String| match level {
        Level::Ok => Finding::holds(at, check, text),
        Level::Warning => Finding::waits(at, check, text),
        Level::Critical => Finding::fails(at, check, text),
    };
    // It was so once: what is found now, anywhere on the way, goes before it.
    let was = |level: Level, check: Check, text: String| match level {
        Level::Critical => Finding::unknown(at, check, text),
        level => judged(level, check, text),
    };
    for one in health.components.iter().filter(|one| one.level != Level::Ok) {
        let text =
            format!("site {at} said that its {} is at {}: {}", one.name, one.level.as_str(), one.last_error);
        found.push(was(one.level, Check::ComponentsWell, text).since(one.since));
    }
    if found.is_empty() {
        let text = format!("site {at} said that its {} components get on", health.components.len());
        found.push(Finding::holds(at, Check::ComponentsWell, text));
    }
    if let Some(disk) = &health.disk {
        let (free, reserve) = (round(disk.disk.free_bytes), round(disk.reserve_bytes));
        let text = format!("site {at} said that {free} are free on its disk, and {reserve} are its reserve");
        found.push(was(disk.level, Check::DiskRoom, text));
    }
    if let Some(one) = &health.clock {
        let seconds = one.ahead_us.unsigned_abs() / 1_000_000;
        let how = if one.ahead_us < 0 { "behind" } else { "ahead of" };
        let text = format!("site {at} said that its clock is {seconds} s {how} its parent's");
        found.push(was(one.level, Check::ClockAgrees, text));
    }
    if let Some(one) = &health.certificate {
        let text = match one.ends <= now {
            true => format!("the certificate {} of site {at} has expired, by what it said", one.name),
            false => format!("the certificate {} of site {at} has not expired, by what it said", one.name),
        };
        let level = judge::certificate(one.ends, now);
        found.push(judged(level, Check::CertificateValid, text).since((one.ends <= now).then_some(one.ends)));
    }
    found
}
