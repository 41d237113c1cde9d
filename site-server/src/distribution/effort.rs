//! For what the bundles that children need are made: few bytes on the line, or to be ready soon.

#[cfg(test)]
mod tests;

use std::collections::{HashMap, HashSet};

use packhorse_domain::{
    distribution::Distribution,
    effort::{Effort, Journey, KnownWay},
    id::SiteCode,
};

use crate::{
    error::Error,
    scheduler::addresses,
    site::Site,
    store::{Tx, couriers},
};

/// What is known of the lines at this moment.
pub(super) struct Efforts {
    /// By child. Nothing: this site makes all bundles alike.
    ways: HashMap<SiteCode, KnownWay>,
    by_courier: HashSet<SiteCode>,
}

impl Efforts {
    pub(super) async fn load(
        site: &Site,
        tx: &mut Tx,
        served: &[(SiteCode, Vec<SiteCode>)],
    ) -> Result<Efforts, Error> {
        let mut efforts = Efforts { ways: HashMap::new(), by_courier: HashSet::new() };
        if site.settings.bundle_level_on_fast_lines >= site.settings.bundle_level {
            return Ok(efforts);
        }
        efforts.by_courier.extend(couriers::routes(tx).await?.into_iter().map(|route| route.peer));
        let mut ways = site.links(|links| {
            let up =
                links.iter().filter(|(peer, view)| view.up && served.iter().any(|(one, _)| one == *peer));
            up.map(|(peer, view)| (peer.clone(), (view.known_way(), view.address.clone())))
                .collect::<Vec<_>>()
        });
        for (peer, (way, name)) in &mut ways {
            let address = addresses::by_name(tx, peer, name.as_ref()).await?;
            way.is_limited = address.is_some_and(|address| address.is_limited());
        }
        efforts.ways = ways.into_iter().map(|(peer, (way, _))| (peer, way)).collect();
        Ok(efforts)
    }

    /// For what a bundle for a child is made, of a package that goes so far, where the child has such sites below it.
    pub(super) fn of(&self, child: &SiteCode, below: &[SiteCode], distribution: &Distribution) -> Effort {
        let Some(way) = self.ways.get(child) else { return Effort::LeastBytes };
        let mut beyond = below.iter().filter(|site| *site != child);
        Effort::of(&Journey {
            way: *way,
            goes_on: beyond.any(|site| distribution.reaches(std::slice::from_ref(site))),
            by_courier: self.by_courier.contains(child),
        })
    }
}
