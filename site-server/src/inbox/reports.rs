//! What CAP agents report: what clients did, and what the agents hold.

use packhorse_domain::{
    client::ClientFact,
    id::{ClientId, PointName},
    message,
    object::ObjectKind,
    package::PackageState,
    status::{AdvertisementStatus, PackageStatus},
};
use packhorse_proto::{
    cap::v1::{ClientReport, client_report::Body as ReportBody},
    object::v1 as wire,
};
use packhorse_runtime::telemetry::set_parent;
use tracing::Instrument as _;

use crate::{
    distribution,
    error::Error,
    record::{self, Body},
    site::Site,
    status,
    store::{Tx, clients, objects},
};

const REPORTS_MAX: usize = 1000;

/// Takes in reports of clients, all in one transaction. A client that is not of this site, or a report that does not
/// decode, is dropped with a warning: the CAP would send it for ever.
pub(super) async fn take_reports(
    site: &Site,
    cap: &PointName,
    reports: Vec<ClientReport>,
) -> Result<(), Error> {
    if reports.len() > REPORTS_MAX {
        return Err(Error::Invalid(format!("reports: at most {REPORTS_MAX} a call")));
    }
    let mut tx = site.store.begin().await?;
    for report in reports {
        let span = tracing::info_span!(target: "status-manager", "client-report", client = report.client);
        set_parent(&span, &report.traceparent);
        let result = take_report(site, &mut tx, cap, report).instrument(span).await;
        match result {
            Ok(()) => {}
            Err(Error::Invalid(text)) => {
                tracing::warn!(target: "status-manager", cap = %cap, text, "a report was dropped");
            }
            Err(error) => return Err(error),
        }
    }
    Ok(tx.commit().await?)
}

async fn take_report(site: &Site, tx: &mut Tx, cap: &PointName, report: ClientReport) -> Result<(), Error> {
    let client: ClientId = report.client.parse()?;
    if !clients::is_known(tx, &client).await? {
        return Err(Error::Invalid(format!("{client} is not a client of this site")));
    }
    clients::seen(tx, &client, cap.as_str(), site.now()).await?;
    match report.body {
        Some(ReportBody::Advertisement(mut status)) => {
            // Who reports is what the CAP authenticated, whatever the body says.
            status.client = client.to_string();
            status.site = site.code().to_string();
            let status = AdvertisementStatus::try_from(status)?;
            // One that was deleted is known too. A client does not fill the database with what never was.
            if objects::held(tx, ObjectKind::Advertisement, status.advertisement.as_str()).await?.is_none() {
                return Err(Error::Invalid(format!("there is no advertisement {}", status.advertisement)));
            }
            if record::put_advertisement_status(site, tx, &status).await? {
                tracing::info!(
                    target: "status-manager",
                    advertisement = %status.advertisement,
                    client = %status.client,
                    delivery = status.delivery.as_str(),
                    exit_code = status.exit_code,
                    "a client reported"
                );
            }
        }
        Some(ReportBody::Facts(mut facts)) => {
            facts.id = client.to_string();
            facts.site = site.code().to_string();
            let facts = ClientFact::try_from(facts)?;
            let body = Body::of::<wire::ClientFact, _>(&facts);
            record::write(site, tx, ObjectKind::Client, client.as_str(), body).await?;
        }
        None => {}
    }
    Ok(())
}

/// Takes in what an agent holds as a distribution point.
pub(super) async fn take_content_status(
    site: &Site,
    cap: &PointName,
    statuses: Vec<wire::PackageStatus>,
) -> Result<(), Error> {
    let mut damaged = Vec::new();
    let mut tx = site.store.begin().await?;
    for mut status in statuses {
        status.site = site.code().to_string();
        status.distribution_point = cap.to_string();
        let status = match PackageStatus::try_from(status) {
            Ok(status) => status,
            Err(error) => {
                // The agent would send it for ever, and the others behind it.
                let text = error.text();
                tracing::warn!(target: "status-manager", cap = %cap, text, "a status was dropped");
                continue;
            }
        };
        if !is_target(&mut tx, site, cap, &status).await? {
            continue;
        }
        let package = status.package.clone();
        let (state, version, reason) = (status.state, status.source_version, status.reason.clone());
        if !record::put_package_status(site, &mut tx, status).await? {
            continue;
        }
        let message = match state {
            PackageState::Installed => Some(message::agent_holds(cap, &version)),
            PackageState::Retrying | PackageState::Failed => {
                damaged.push(package.clone());
                Some(message::agent_failed(cap, &reason))
            }
            PackageState::Pending | PackageState::Removing => None,
        };
        if let Some(message) = message {
            status::report(site, &mut tx, package.as_str(), &message).await?;
        }
    }
    tx.commit().await?;
    for package in damaged {
        distribution::check_library(site, &package).await?;
    }
    Ok(())
}

/// A late word about a package that the point is no longer to hold would bring back what was removed.
async fn is_target(tx: &mut Tx, site: &Site, cap: &PointName, status: &PackageStatus) -> Result<bool, Error> {
    let known = record::package(tx, status.package.as_str()).await?.is_some();
    let distribution = record::distribution(tx, &status.package).await?;
    Ok(known && distribution.points_at(site.code()).any(|name| name == cap))
}
