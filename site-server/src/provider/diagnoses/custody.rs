//! Where the bytes of a package are: every site on its way, with what is known of it and of the hop to it.

use std::collections::{BTreeMap, BTreeSet};

use packhorse_domain::{
    diagnosis::{Custody, CustodyStage, Question, SITES_MAX, Subject},
    id::{PackageId, SiteCode},
};
use packhorse_proto::provider::v1::{CustodySite, GetCustodyRequest, GetCustodyResponse};
use tokio::time::Instant;

use super::{WITHIN, in_subtree};
use crate::{
    diagnosis::{self, Asker, Part},
    error::Error,
    provider::{invalid, parsed},
    record,
    sender::parents,
};

pub(super) async fn custody(asker: &Asker, asked: &GetCustodyRequest) -> Result<GetCustodyResponse, Error> {
    let id: PackageId = parsed("package", &asked.package)?;
    let mut tx = asker.site.store.read().await?;
    let Some(record) = record::package(&mut tx, id.as_str()).await? else {
        return Err(Error::NotFound { what: "package", id: id.to_string() });
    };
    let distribution = record::distribution(&mut tx, &id).await?;
    let targets = distribution.targets.iter().map(|target| &target.site);
    let mut targets = in_subtree(asker, &mut tx, targets).await?;
    if targets.len() > SITES_MAX {
        return Err(invalid(
            "package",
            format!("it goes to more than {SITES_MAX} sites; ask at a site below"),
        ));
    }
    let parents: BTreeMap<SiteCode, SiteCode> = parents(&mut tx).await?.into_iter().collect();
    drop(tx);
    let question = Question { subject: Subject::Package(id), sites: targets.clone(), client: None };
    let reports = asker.answer(&question, Part::Below, Instant::now() + WITHIN).await?;
    let own = asker.site.code().clone();
    targets.push(own.clone());
    let order = ways_to(&own, &targets, &parents);
    let mut tx = asker.site.store.read().await?;
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
            points_installed: count(place.points.iter().filter(|one| diagnosis::has(one, &place)).count()),
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
        at_us: asker.site.now().0,
    })
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
