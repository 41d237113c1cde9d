//! The files that clients share: trust, delegations, kills, offers, packages, lists of distribution points.

use std::collections::BTreeMap;

use packhorse_domain::{
    Digest,
    advertisement::Advertisement,
    distribution::PointKind,
    instruction::{FileName, Point, PointList},
    kill::Kill,
};
use packhorse_proto::{convert, object::v1 as wire};

use crate::{
    error::Error,
    offer::{Package, View},
    record,
    site::Site,
    store::{Tx, caps, objects::StoredObject, points},
    trace,
};

/// Digests of the files, by name.
pub(super) type Files = BTreeMap<String, Digest>;

/// Writes what changed and deletes what no offer names; instructions are not touched.
pub(super) async fn write(
    site: &Site,
    tx: &mut Tx,
    view: &View,
    offered: &[&(StoredObject, Advertisement)],
) -> Result<Files, Error> {
    let held: BTreeMap<String, Vec<u8>> =
        caps::files(tx).await?.into_iter().filter(|(name, _)| is_shared(name)).collect();
    let mut wanted = trust(site)?;
    // Lifted ones too: a client that holds an older word has to hear of it.
    wanted.extend(view.kills.iter().filter_map(|(object, _)| {
        let (site, package) = Kill::parse_id(&object.id)?;
        let name = FileName::Kill { site: site.as_str(), package: package.as_str() };
        Some((name.to_string(), object.content.clone()))
    }));
    for (object, advertisement) in offered {
        let name = FileName::Offer(advertisement.id.as_str()).to_string();
        if held.get(&name) != Some(&object.content) {
            let span =
                tracing::info_span!(target: "offer-manager", "offer", advertisement = %advertisement.id);
            trace::of(object, span).in_scope(|| {
                tracing::info!(target: "offer-manager", advertisement = %advertisement.id, "its offer is written");
            });
        }
        wanted.insert(name, object.content.clone());
        if let Some(package) = view.package(advertisement) {
            let id = package.record.definition.id.as_str();
            wanted.insert(FileName::Package(id).to_string(), package.record.object.content.clone());
            if let Some(list) = point_list(tx, package).await? {
                wanted.insert(FileName::Points(id).to_string(), list);
            }
        }
    }
    for (name, content) in &wanted {
        if held.get(name) != Some(content) {
            caps::put_file(tx, name, Some(content), "").await?;
        }
    }
    for name in held.keys().filter(|name| !wanted.contains_key(*name)) {
        caps::put_file(tx, name, None, "").await?;
    }
    Ok(wanted.into_iter().map(|(name, content)| (name, record::digest(&content))).collect())
}

fn is_shared(name: &str) -> bool {
    match FileName::parse(name) {
        Some(
            FileName::Trust
            | FileName::Delegation(_)
            | FileName::Kill { .. }
            | FileName::Offer(_)
            | FileName::Package(_)
            | FileName::Points(_),
        ) => true,
        Some(FileName::Instruction(_) | FileName::Content { .. }) | None => false,
    }
}

/// What a client needs to check everything else.
fn trust(site: &Site) -> Result<BTreeMap<String, Vec<u8>>, Error> {
    site.trust(|trust| {
        let mut files = BTreeMap::from([(FileName::Trust.to_string(), trust.trust_file_bytes().to_vec())]);
        let chain = trust.delegations_to(site.code())?;
        for (step, delegation) in site.path().sites()[1..].iter().zip(chain) {
            files.insert(FileName::Delegation(step.as_str()).to_string(), delegation.to_vec());
        }
        Ok(files)
    })
}

/// The agents that hold the package's present version and where clients reach them.
async fn point_list(tx: &mut Tx, package: &Package) -> Result<Option<Vec<u8>>, Error> {
    let Some(manifest) = package.record.version.manifest else {
        return Ok(None);
    };
    let points = points::list(tx)
        .await?
        .into_iter()
        .filter(|point| point.kind == PointKind::Agent && package.installed.contains(&point.name))
        .map(|point| Point {
            endpoints: point.location.lines().map(str::to_owned).collect(),
            name: point.name,
        })
        .collect();
    let list = PointList { package: package.record.definition.id.clone(), manifest, points };
    Ok(Some(convert::encode::<wire::PointList, _>(&list)))
}
