//! How far packages, advertisements and the site are, once or until all is done.

use packhorse_domain::{
    client::ClientFact,
    collection::Collection,
    id::{AdvertisementId, PackageId, SiteCode},
};
use packhorse_proto::provider::v1 as wire;
use tonic::Code;

use crate::{
    cli::status::StatusCommand,
    commands::{
        advertisement, package, summary,
        watch::{Line, Look, watch},
    },
    connect::Session,
    error::ConsoleError,
    view::{
        advertisement_progress::AdvertisementProgress,
        custody::Custody,
        health::{ComponentHealths, SiteHealths},
        package_progress::PackageProgress,
        show,
        site::SiteStatus,
        transfer::Transfer,
    },
};

pub(crate) async fn status(session: &Session, command: StatusCommand) -> Result<(), ConsoleError> {
    match command {
        StatusCommand::Package { package, tree: true, watch: how } if how.watch => {
            watch(session, async || look_at_custody(session, &package).await).await
        }
        StatusCommand::Package { package, tree: true, .. } => {
            show(&custody(session, &package).await?, session.format)
        }
        StatusCommand::Package { package, watch: how, .. } if how.watch => {
            watch(session, async || look_at_package(session, &package).await).await
        }
        StatusCommand::Package { package, .. } => {
            show(&package_progress(session, &package).await?, session.format)
        }
        StatusCommand::Advertisement { advertisement, watch: how } if how.watch => {
            watch(session, async || look_at_advertisement(session, &advertisement).await).await
        }
        StatusCommand::Advertisement { advertisement, .. } => {
            show(&advertisement_progress(session, &advertisement).await?, session.format)
        }
        StatusCommand::Site { watch: how } if how.watch => {
            watch(session, async || look_at_site(session).await).await
        }
        StatusCommand::Site { .. } => site(session).await,
        StatusCommand::Sites => show(&SiteHealths::from(health(session, None).await?), session.format),
        StatusCommand::Components { site } => {
            show(&ComponentHealths::from(health(session, site.as_ref()).await?), session.format)
        }
        StatusCommand::Packages(asked) => summary::packages(session, asked).await,
        StatusCommand::Advertisements(asked) => summary::advertisements(session, asked).await,
    }
}

async fn health(
    session: &Session,
    site: Option<&SiteCode>,
) -> Result<wire::ListSiteHealthResponse, ConsoleError> {
    let site = site.map(ToString::to_string).unwrap_or_default();
    Ok(session.status().list_site_health(wire::ListSiteHealthRequest { site }).await?.into_inner())
}

pub(crate) async fn site(session: &Session) -> Result<(), ConsoleError> {
    show(&site_status(session).await?, session.format)
}

async fn site_status(session: &Session) -> Result<SiteStatus, ConsoleError> {
    let answer = session.status().get_site_status(wire::GetSiteStatusRequest {}).await?;
    Ok(SiteStatus::from(answer.into_inner()))
}

async fn custody(session: &Session, id: &PackageId) -> Result<Custody, ConsoleError> {
    let request = wire::GetCustodyRequest { package: id.to_string() };
    Ok(Custody::new(id.as_str(), session.diagnosis().get_custody(request).await?.into_inner()))
}

async fn look_at_custody(session: &Session, id: &PackageId) -> Result<Look<Custody>, ConsoleError> {
    let custody = custody(session, id).await?;
    let lines = custody
        .sites()
        .map(|site| Line { key: site.key(), text: site.headline(), bytes: site.bytes() })
        .collect();
    Ok(Look { settled: custody.is_settled(), lines, view: custody })
}

async fn package_progress(session: &Session, id: &PackageId) -> Result<PackageProgress, ConsoleError> {
    let request = wire::GetPackageStatusRequest { package: id.to_string() };
    let answer = session.status().get_package_status(request).await?;
    Ok(PackageProgress::new(id.as_str(), answer.into_inner()))
}

async fn advertisement_progress(
    session: &Session,
    id: &AdvertisementId,
) -> Result<AdvertisementProgress, ConsoleError> {
    let request = wire::GetAdvertisementStatusRequest { advertisement: id.to_string() };
    let answer = session.status().get_advertisement_status(request).await?;
    Ok(AdvertisementProgress::new(id.as_str(), answer.into_inner()))
}

async fn look_at_package(session: &Session, id: &PackageId) -> Result<Look<PackageProgress>, ConsoleError> {
    // The package first: a target that is added in between is then waited for one look longer at most.
    let package = package::get(session, id).await?.ok_or(ConsoleError::Incomplete("package"))?;
    let progress = package_progress(session, id).await?;
    let wanted = package.version.as_ref().map_or(0, |version| version.source_version);
    let settled_places = progress.places().iter().filter(|place| place.is_settled(wanted)).count();
    let title = format!("{id} version {wanted}: {settled_places} of {} places done", progress.places().len());

    let mut lines = vec![Line::text("title", title)];
    lines.extend(transfers(progress.transfers()));
    let (done, open): (Vec<_>, Vec<_>) = progress.places().iter().partition(|place| place.is_settled(wanted));
    lines.extend(open.into_iter().chain(done).map(|place| Line::text(place.name(), place.headline())));
    Ok(Look { settled: progress.is_settled(&package), view: progress, lines })
}

async fn look_at_advertisement(
    session: &Session,
    id: &AdvertisementId,
) -> Result<Look<AdvertisementProgress>, ConsoleError> {
    let summary = advertisement::get(session, id).await?;
    let advertisement = summary.advertisement.ok_or(ConsoleError::Incomplete("advertisement"))?;
    let wanted = match advertisement.rerun_on_update {
        true => newest_version(session, &advertisement.package).await?,
        false => 0,
    };
    let progress = advertisement_progress(session, id).await?;
    let open: Vec<_> = progress.clients().iter().filter(|client| !client.is_settled(wanted)).collect();

    let ended = progress.clients().len() - open.len();
    let title = format!("{id}: {ended} of {} clients that have reported are done", progress.clients().len());
    let mut lines = vec![Line::text("title", title)];
    lines.extend(
        progress.held_back().map(|reason| Line::text("held back", format!("held back here: {reason}"))),
    );
    lines.extend(open.iter().map(|client| Line::text(client.id(), client.headline())));
    // Who belongs to it is a longer question, and only asked when the answer matters.
    let settled = open.is_empty()
        && !progress.clients().is_empty()
        && progress.is_settled(&members(session, &advertisement.collection).await?, wanted);
    Ok(Look { settled, view: progress, lines })
}

async fn look_at_site(session: &Session) -> Result<Look<SiteStatus>, ConsoleError> {
    let status = site_status(session).await?;
    let mut lines: Vec<Line> =
        status.headlines().into_iter().map(|(key, text)| Line::text(key, text)).collect();
    lines.extend(transfers(status.transfers()));
    Ok(Look { view: status, lines, settled: false })
}

fn transfers(transfers: &[Transfer]) -> impl Iterator<Item = Line> {
    transfers.iter().filter(|transfer| !transfer.is_settled()).map(|transfer| Line {
        key: transfer.key(),
        text: transfer.headline(),
        bytes: Some(transfer.bytes()),
    })
}

/// The source version that clients should come to; 0 where the package has not arrived here.
async fn newest_version(session: &Session, package: &str) -> Result<u64, ConsoleError> {
    let request = wire::GetPackageRequest { package: package.to_owned() };
    match session.packages().get_package(request).await {
        Ok(answer) => {
            let version = answer.into_inner().package.and_then(|package| package.version);
            Ok(version.map_or(0, |version| version.source_version))
        }
        Err(status) if status.code() == Code::NotFound => Ok(0),
        Err(status) => Err(status.into()),
    }
}

/// The ids of a collection's members among all clients that this site knows, those of sites below included.
async fn members(session: &Session, collection: &str) -> Result<Vec<String>, ConsoleError> {
    let request = wire::GetCollectionRequest { collection: collection.to_owned() };
    let answer = session.collections().get_collection(request).await?.into_inner();
    let collection = answer.collection.and_then(|summary| summary.collection);
    let collection = Collection::try_from(collection.ok_or(ConsoleError::Incomplete("collection"))?)
        .map_err(ConsoleError::Answer)?;
    let clients = session.status().list_clients(wire::ListClientsRequest {}).await?.into_inner().clients;
    let mut members = Vec::new();
    for fact in clients.into_iter().filter_map(|client| client.fact) {
        let fact = ClientFact::try_from(fact).map_err(ConsoleError::Answer)?;
        if collection.contains(&fact) {
            members.push(fact.id.to_string());
        }
    }
    Ok(members)
}
