//! Packages and advertisements in numbers.

use packhorse_proto::provider::v1 as wire;

use crate::{
    cli::status::{AdvertisementNumbers, PackageNumbers},
    connect::Session,
    error::ConsoleError,
    view::{
        show,
        summary::{AdvertisementSummaries, PackageSummaries},
    },
};

pub(crate) async fn packages(session: &Session, asked: PackageNumbers) -> Result<(), ConsoleError> {
    let mut request = wire::SummarizePackagesRequest {
        package: asked.package.map(|package| package.to_string()).unwrap_or_default(),
        site: asked.site.map(|site| site.to_string()).unwrap_or_default(),
        by_site: asked.by_site,
        ..wire::SummarizePackagesRequest::default()
    };
    let mut all = Vec::new();
    loop {
        let answer = session.status().summarize_packages(request.clone()).await?.into_inner();
        all.extend(answer.packages);
        let Some(last) = all.last().filter(|_| answer.more) else { break };
        request.after = if asked.by_site { last.site.clone() } else { last.package.clone() };
    }
    show(&PackageSummaries::new(all, asked.by_site), session.format)
}

pub(crate) async fn advertisements(
    session: &Session,
    asked: AdvertisementNumbers,
) -> Result<(), ConsoleError> {
    let mut request = wire::SummarizeAdvertisementsRequest {
        advertisement: asked.advertisement.map(|id| id.to_string()).unwrap_or_default(),
        site: asked.site.map(|site| site.to_string()).unwrap_or_default(),
        by_site: asked.by_site,
        ..wire::SummarizeAdvertisementsRequest::default()
    };
    let mut all = Vec::new();
    loop {
        let answer = session.status().summarize_advertisements(request.clone()).await?.into_inner();
        all.extend(answer.advertisements);
        let Some(last) = all.last().filter(|_| answer.more) else { break };
        request.after = if asked.by_site { last.site.clone() } else { last.advertisement.clone() };
    }
    show(&AdvertisementSummaries::new(all, asked.by_site), session.format)
}
