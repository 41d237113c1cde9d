//! Packages and advertisements in numbers: out of the tallies, whatever the number of places and clients.

use std::collections::BTreeMap;

use packhorse_domain::{
    advertisement::Advertisement,
    id::{AdvertisementId, PackageId, SiteCode},
    object::ObjectKind,
    tally::{Clients, PlaceKind, Places},
};
use packhorse_proto::{
    object::v1 as wire,
    provider::v1::{
        AdvertisementTally, PackageTally, PlaceCounts, SummarizeAdvertisementsRequest,
        SummarizeAdvertisementsResponse, SummarizePackagesRequest, SummarizePackagesResponse,
    },
};

use super::{invalid, missing, parsed};
use crate::{
    error::Error,
    record,
    site::Site,
    store::{
        Tx,
        tallies::{self, ClientCount, PackageCount},
    },
};

const LIMIT_DEFAULT: usize = 1_000;
const LIMIT_MAX: usize = 10_000;
/// After every id.
const LAST: &str = "~";

/// A package's places at all sites.
pub(super) async fn package(tx: &mut Tx, id: &PackageId) -> Result<PackageTally, Error> {
    let (name, newest) = match record::package(tx, id.as_str()).await? {
        Some(record) => (record.definition.name, record.version.source_version),
        None => (String::new(), 0),
    };
    let counts = tallies::packages(tx, None, (id.as_str(), id.as_str())).await?;
    let counts = counts.get(id).map(Vec::as_slice).unwrap_or_default();
    Ok(package_summary(id.as_str(), (name, newest), None, counts))
}

/// An advertisement's clients at all sites.
pub(super) async fn advertisement(tx: &mut Tx, id: &AdvertisementId) -> Result<AdvertisementTally, Error> {
    let counts = tallies::advertisements(tx, None, (id.as_str(), id.as_str())).await?;
    let counts = counts.get(id).map(Vec::as_slice).unwrap_or_default();
    Ok(advertisement_summary(id.as_str(), advertisement_name(tx, id).await?, None, counts))
}

pub(super) async fn packages(
    site: &Site,
    asked: &SummarizePackagesRequest,
) -> Result<SummarizePackagesResponse, Error> {
    let limit = limit(asked.limit)?;
    let of_site = optional::<SiteCode>("site", &asked.site)?;
    let of_package = optional::<PackageId>("package", &asked.package)?;
    let mut tx = site.store.read().await?;
    if asked.by_site {
        let package = of_package.ok_or_else(|| missing("package"))?;
        let named = package_of(&mut tx, &package).await?;
        let mut sites = tallies::sites_of_package(&mut tx, &package).await?;
        sites.retain(|code, _| of_site.as_ref().is_none_or(|only| only == code));
        let (page, more) = page(sites, &asked.after, limit);
        let summary = |(code, counts): (SiteCode, Vec<PackageCount>)| {
            package_summary(package.as_str(), named.clone(), Some(&code), &counts)
        };
        return Ok(SummarizePackagesResponse { packages: page.into_iter().map(summary).collect(), more });
    }
    let range = of_package.as_ref().map_or((asked.after.as_str(), LAST), |id| (id.as_str(), id.as_str()));
    let mut counts = tallies::packages(&mut tx, of_site.as_ref(), range).await?;
    let mut named = match &of_package {
        Some(package) => BTreeMap::from([(package.clone(), package_of(&mut tx, package).await?)]),
        None => packages_of(&mut tx).await?,
    };
    if of_site.is_none() {
        // Of a package that is at no place yet too.
        for id in named.keys() {
            counts.entry(id.clone()).or_default();
        }
    }
    let (page, more) = page(counts, &asked.after, limit);
    let summary = |(id, counts): (PackageId, Vec<PackageCount>)| {
        let named = named.remove(&id).unwrap_or_default();
        package_summary(id.as_str(), named, of_site.as_ref(), &counts)
    };
    Ok(SummarizePackagesResponse { packages: page.into_iter().map(summary).collect(), more })
}

pub(super) async fn advertisements(
    site: &Site,
    asked: &SummarizeAdvertisementsRequest,
) -> Result<SummarizeAdvertisementsResponse, Error> {
    let limit = limit(asked.limit)?;
    let of_site = optional::<SiteCode>("site", &asked.site)?;
    let only = optional::<AdvertisementId>("advertisement", &asked.advertisement)?;
    let mut tx = site.store.read().await?;
    if asked.by_site {
        let id = only.ok_or_else(|| missing("advertisement"))?;
        let name = advertisement_name(&mut tx, &id).await?;
        let mut sites = tallies::sites_of_advertisement(&mut tx, &id).await?;
        sites.retain(|code, _| of_site.as_ref().is_none_or(|only| only == code));
        let (page, more) = page(sites, &asked.after, limit);
        let summary = |(code, counts): (SiteCode, Vec<ClientCount>)| {
            advertisement_summary(id.as_str(), name.clone(), Some(&code), &counts)
        };
        let advertisements = page.into_iter().map(summary).collect();
        return Ok(SummarizeAdvertisementsResponse { advertisements, more });
    }
    let range = only.as_ref().map_or((asked.after.as_str(), LAST), |id| (id.as_str(), id.as_str()));
    let mut counts = tallies::advertisements(&mut tx, of_site.as_ref(), range).await?;
    let mut names = match &only {
        Some(id) => BTreeMap::from([(id.clone(), advertisement_name(&mut tx, id).await?)]),
        None => advertisement_names(&mut tx).await?,
    };
    if of_site.is_none() {
        for id in names.keys() {
            counts.entry(id.clone()).or_default();
        }
    }
    let (page, more) = page(counts, &asked.after, limit);
    let summary = |(id, counts): (AdvertisementId, Vec<ClientCount>)| {
        let name = names.remove(&id).unwrap_or_default();
        advertisement_summary(id.as_str(), name, of_site.as_ref(), &counts)
    };
    Ok(SummarizeAdvertisementsResponse { advertisements: page.into_iter().map(summary).collect(), more })
}

/// Those after one, as many as may be given, and whether there are more.
fn page<K: ToString, V>(all: BTreeMap<K, V>, after: &str, limit: usize) -> (Vec<(K, V)>, bool) {
    let mut left = all.into_iter().filter(|(key, _)| key.to_string().as_str() > after);
    let page = left.by_ref().take(limit).collect();
    (page, left.next().is_some())
}

fn limit(asked: u32) -> Result<usize, Error> {
    match usize::try_from(asked).unwrap_or(usize::MAX) {
        0 => Ok(LIMIT_DEFAULT),
        limit if limit <= LIMIT_MAX => Ok(limit),
        _ => Err(invalid(
            "limit",
            "at most 10,000 summaries are given at once; ask for less, then for those `after`",
        )),
    }
}

fn optional<T>(field: &str, text: &str) -> Result<Option<T>, Error>
where
    T: std::str::FromStr,
    T::Err: std::fmt::Display,
{
    if text.is_empty() { Ok(None) } else { parsed(field, text).map(Some) }
}

/// A package's name and newest version; nothing of one that is not there any more.
type Named = (String, u64);

async fn package_of(tx: &mut Tx, id: &PackageId) -> Result<Named, Error> {
    let found = record::package(tx, id.as_str()).await?;
    Ok(found.map(|record| (record.definition.name, record.version.source_version)).unwrap_or_default())
}

async fn packages_of(tx: &mut Tx) -> Result<BTreeMap<PackageId, Named>, Error> {
    let named = |record: record::PackageRecord| {
        (record.definition.id, (record.definition.name, record.version.source_version))
    };
    Ok(record::packages(tx).await?.into_iter().map(named).collect())
}

async fn advertisement_name(tx: &mut Tx, id: &AdvertisementId) -> Result<String, Error> {
    let found = record::advertisement(tx, id.as_str()).await?;
    Ok(found.map(|(_, advertisement)| advertisement.name).unwrap_or_default())
}

async fn advertisement_names(tx: &mut Tx) -> Result<BTreeMap<AdvertisementId, String>, Error> {
    Ok(record::list::<wire::Advertisement, Advertisement>(tx, ObjectKind::Advertisement)
        .await?
        .into_iter()
        .map(|(_, advertisement)| (advertisement.id, advertisement.name))
        .collect())
}

fn package_summary(
    id: &str,
    (name, newest): Named,
    site: Option<&SiteCode>,
    counts: &[PackageCount],
) -> PackageTally {
    let (mut points, mut libraries) = (Places::default(), Places::default());
    for one in counts {
        let places = match one.place {
            PlaceKind::Point => &mut points,
            PlaceKind::Library => &mut libraries,
        };
        places.add(one.standing, one.source_version, newest, one.places);
    }
    PackageTally {
        package: id.to_owned(),
        name,
        site: site.map(ToString::to_string).unwrap_or_default(),
        source_version: newest,
        points: Some(shown(&points)),
        libraries: Some(shown(&libraries)),
    }
}

fn shown(places: &Places) -> PlaceCounts {
    PlaceCounts {
        targeted: places.targeted,
        installed: places.installed,
        outdated: places.outdated,
        pending: places.pending,
        retrying: places.retrying,
        failed: places.failed,
        removing: places.removing,
        silent: places.silent(),
    }
}

fn advertisement_summary(
    id: &str,
    name: String,
    site: Option<&SiteCode>,
    counts: &[ClientCount],
) -> AdvertisementTally {
    let mut clients = Clients::default();
    for one in counts {
        clients.add(one.acceptance, one.delivery, one.clients);
    }
    AdvertisementTally {
        advertisement: id.to_owned(),
        name,
        site: site.map(ToString::to_string).unwrap_or_default(),
        rejected: clients.rejected,
        expired: clients.expired,
        waiting: clients.waiting,
        downloading: clients.downloading,
        retrying: clients.retrying,
        running: clients.running,
        succeeded: clients.succeeded,
        failed: clients.failed,
        interrupted: clients.interrupted,
    }
}
