//! What is said of the database and from it. It takes names, states and times of things, and neither command lines nor
//! what programs wrote.

use packhorse_domain::{
    Timestamp,
    advertisement::Advertisement,
    id::SiteCode,
    object::ObjectKind,
    site::SiteFact,
    status::{AdvertisementStatus, Event, PackageStatus, PointFact},
};
use packhorse_proto::{convert::ConvertError, object::v1 as wire, provider::v1 as api};
use packhorse_support::Bundle;
use prost::Message;
use serde_json::{Value, json};

use super::{in_time, json as document};
use crate::{
    error::Error,
    record,
    store::{
        Store, Tx, addresses, arrivals, bundles, caps, clients, couriers, diagnosis, neighbours, objects,
        parcels, queue,
    },
};

const EVENTS_MAX: usize = 1_000;
const STATUSES_MAX: usize = 20_000;

/// Makes a part of what a transaction reads.
macro_rules! part {
    ($bundle:expr, $store:expr, $name:literal, $about:literal, |$tx:ident| $read:expr) => {{
        let read = async {
            let mut tx = $store.read().await?;
            let $tx = &mut tx;
            Ok::<_, Error>($read)
        };
        let read = in_time(read).await;
        $bundle.json_of($name, $about, read);
    }};
}

/// Its schema, sizes and rows, and whether it is sound.
pub(super) async fn add_facts(bundle: &mut Bundle, store: &Store) {
    part!(bundle, store, "database/facts.json", "Schema, sizes, rows of the database.", |tx| {
        diagnosis::facts(tx).await?
    });
    part!(
        bundle,
        store,
        "database/check.json",
        "Whether the database is sound: `ok`, or its faults.",
        |tx| diagnosis::quick_check(tx).await?
    );
}

/// What it says of the site's objects and of their ways.
pub(super) async fn add_objects(bundle: &mut Bundle, store: &Store, code: Option<&SiteCode>) {
    part!(bundle, store, "neighbours.json", "The parent and the children.", |tx| neighbours_of(tx).await?);
    part!(bundle, store, "sites.json", "Every site that this one knows.", |tx| {
        listed::<wire::SiteFact, SiteFact>(tx, ObjectKind::Site, "object.v1.SiteFact").await?
    });
    part!(bundle, store, "addresses.json", "Lines to neighbours: calendars, rates, budgets.", |tx| {
        let held = addresses::list(tx, None).await?;
        let held: Vec<api::Address> = held.iter().map(api::Address::from).collect();
        document::list("provider.v1.Address", &held).map_err(Error::Invalid)?
    });
    part!(bundle, store, "packages.json", "Packages, without command lines.", |tx| packages(tx).await?);
    part!(bundle, store, "package-status.json", "Where each package is.", |tx| {
        let kind = ObjectKind::PackageStatus;
        listed::<wire::PackageStatus, PackageStatus>(tx, kind, "object.v1.PackageStatus").await?
    });
    part!(bundle, store, "advertisements.json", "What is advertised to whom.", |tx| {
        let kind = ObjectKind::Advertisement;
        listed::<wire::Advertisement, Advertisement>(tx, kind, "object.v1.Advertisement").await?
    });
    part!(
        bundle,
        store,
        "advertisement-status.json",
        "What clients did, without what programs wrote.",
        |tx| advertisement_statuses(tx).await?
    );
    part!(bundle, store, "points.json", "Distribution points.", |tx| {
        let kind = ObjectKind::DistributionPoint;
        listed::<wire::DistributionPointFact, PointFact>(tx, kind, "object.v1.DistributionPointFact").await?
    });
    part!(bundle, store, "caps.json", "CAP agents: how far they are, when they were here.", |tx| {
        caps_of(tx).await?
    });
    part!(bundle, store, "clients.json", "Clients of this site: their ids, and when they were seen.", |tx| {
        let seen = clients::list_seen(tx).await?.into_iter();
        seen.map(|(id, at)| json!({ "id": id.to_string(), "seen_at": time(at) })).collect::<Vec<_>>()
    });
    part!(bundle, store, "transfers.json", "Bundles to send, bundles that come, changed orders.", |tx| {
        transfers(tx).await?
    });
    part!(bundle, store, "parcels.json", "Parcels on media.", |tx| parcels_of(tx, code).await?);
    part!(bundle, store, "events.json", "The last 1,000 status messages, newest first.", |tx| {
        events(tx).await?
    });
}

/// Values of one kind, as the wire has them.
async fn listed<M, T>(tx: &mut Tx, kind: ObjectKind, name: &str) -> Result<Vec<Value>, Error>
where
    M: Message + Default + for<'a> From<&'a T>,
    T: TryFrom<M, Error = ConvertError>,
{
    let mut found = Vec::new();
    for object in objects::list(tx, kind).await?.into_iter().filter(|one| !one.deleted).take(STATUSES_MAX) {
        // One that does not decode must not hide the others.
        found.push(match record::read::<M, T>(&object) {
            Ok(value) => document::json(name, &M::from(&value)).map_err(Error::Invalid)?,
            Err(error) => json!({ "id": object.id, "error": packhorse_runtime::error_chain(&error) }),
        });
    }
    Ok(found)
}

async fn neighbours_of(tx: &mut Tx) -> Result<Vec<Value>, Error> {
    let all = neighbours::list(tx).await?.into_iter();
    Ok(all
        .map(|one| {
            json!({
                "code": one.code.to_string(),
                "relation": match one.relation {
                    neighbours::Relation::Parent => "parent",
                    neighbours::Relation::Child => "child",
                },
                "met": !one.epoch.is_empty(),
                "seen_at": time(one.seen_at),
            })
        })
        .collect())
}

async fn packages(tx: &mut Tx) -> Result<Vec<Value>, Error> {
    let all = record::packages(tx).await?.into_iter();
    Ok(all
        .map(|one| {
            json!({
                "id": one.definition.id.to_string(),
                "name": one.definition.name,
                "priority": one.definition.priority.as_str(),
                "owner": one.object.owner.to_string(),
                "object_version": one.object.version,
                "source_version": one.version.source_version,
                "release": one.version.release,
                "manifest": one.version.manifest.map(|digest| digest.to_string()),
                "programs": one.version.programs.len(),
                "changed_at": time(one.object.changed_at),
            })
        })
        .collect())
}

async fn advertisement_statuses(tx: &mut Tx) -> Result<Vec<Value>, Error> {
    let kind = ObjectKind::AdvertisementStatus;
    let all = record::list::<wire::AdvertisementStatus, AdvertisementStatus>(tx, kind).await?;
    let without_output = all.into_iter().take(STATUSES_MAX).map(|(_, status)| {
        let status = AdvertisementStatus { output_tail: String::new(), ..status };
        wire::AdvertisementStatus::from(&status)
    });
    let statuses: Vec<_> = without_output.collect();
    document::list("object.v1.AdvertisementStatus", &statuses).map_err(Error::Invalid)
}

async fn caps_of(tx: &mut Tx) -> Result<Vec<Value>, Error> {
    let mut found = Vec::new();
    for cap in caps::list(tx).await? {
        let behind = caps::count_after(tx, &cap.name, cap.cursor).await?;
        found.push(json!({
            "name": cap.name.to_string(),
            "endpoints": cap.endpoints,
            "cursor": cap.cursor,
            "files_behind": behind,
            "seen_at": time(cap.seen_at),
        }));
    }
    Ok(found)
}

async fn transfers(tx: &mut Tx) -> Result<Value, Error> {
    let outgoing = bundles::sendings(tx).await?.into_iter().map(|one| {
        json!({
            "peer": one.peer.to_string(),
            "bundle": one.digest.to_string(),
            "state": one.state.as_str(),
            "reason": one.reason,
            "retry_at": time(one.retry_at),
            "changed_at": time(one.changed_at),
        })
    });
    let outgoing: Vec<Value> = outgoing.collect();
    let bundles = bundles::list(tx).await?.into_iter().map(|one| {
        json!({
            "bundle": one.digest.to_string(),
            "package": one.package.to_string(),
            "source_version": one.source_version,
            "bases": one.bases.len(),
            "length_bytes": one.length,
            "made_for": one.effort.as_str(),
        })
    });
    let bundles: Vec<Value> = bundles.collect();
    let incoming = arrivals::list(tx).await?.into_iter().map(|one| {
        json!({
            "item": one.item.to_string(),
            "peer": one.peer.to_string(),
            "package": one.package.to_string(),
            "length_bytes": one.length,
            "priority": one.priority.as_str(),
            "state": format!("{:?}", one.state),
            "reason": one.reason,
            "changed_at": time(one.changed_at),
        })
    });
    let incoming: Vec<Value> = incoming.collect();
    let orders = queue::list(tx).await?.into_iter().map(|((peer, item), given)| {
        json!({
            "peer": peer.to_string(),
            "item": item.to_string(),
            "held": given.order.held,
            "priority": given.order.priority.map(|priority| priority.as_str()),
            "rank": given.order.rank,
            "changed_by": given.changed_by,
            "changed_at": time(given.changed_at),
        })
    });
    let orders: Vec<Value> = orders.collect();
    let ways = couriers::choices(tx).await?.into_iter().map(|((peer, item), choice)| {
        json!({
            "peer": peer.to_string(),
            "item": item.to_string(),
            "way": choice.way.as_str(),
            "reason": choice.reason,
            "changed_at": time(choice.changed_at),
        })
    });
    let ways: Vec<Value> = ways.collect();
    Ok(json!({
        "outgoing": outgoing,
        "bundles": bundles,
        "incoming": incoming,
        "orders": orders,
        "ways": ways,
    }))
}

async fn parcels_of(tx: &mut Tx, code: Option<&SiteCode>) -> Result<Vec<Value>, Error> {
    let mut found = Vec::new();
    for one in parcels::list(tx).await? {
        let sites = parcels::sites(tx, &one.id).await?;
        let sites: Vec<Value> = sites
            .into_iter()
            .map(|(site, (state, at))| {
                json!({ "site": site.to_string(), "state": state.as_str(), "changed_at": time(at) })
            })
            .collect();
        found.push(json!({
            "id": one.id.to_string(),
            "incoming": code.map(|code| one.sender != *code),
            "sender": one.sender.to_string(),
            "created_at": time(one.created_at),
            "carrier": one.carrier,
            "sent_at": one.sent_at.map(time),
            "expected_at": one.expected_at.map(time),
            "volumes": one.volumes,
            "holds_line": one.holds_line,
            "to": sites,
        }));
    }
    Ok(found)
}

async fn events(tx: &mut Tx) -> Result<Vec<Value>, Error> {
    let mut events: Vec<Event> = record::list::<wire::Event, Event>(tx, ObjectKind::Event)
        .await?
        .into_iter()
        .map(|(_, event)| event)
        .collect();
    events.sort_by(|one, other| {
        (other.at, &other.site, other.sequence).cmp(&(one.at, &one.site, one.sequence))
    });
    events.truncate(EVENTS_MAX);
    let shown = events.iter().map(|event| {
        let sent = wire::Event::from(event);
        json!({
            "at": time(event.at),
            "site": event.site.to_string(),
            "sequence": event.sequence,
            "component": event.component,
            "severity": sent.severity().as_str_name(),
            "type": sent.r#type().as_str_name(),
            "subject": event.subject,
            "text": event.text,
        })
    });
    Ok(shown.collect())
}

/// As RFC 3339; `None`: never.
pub(super) fn time(at: Timestamp) -> Option<String> {
    let known = (at != Timestamp::default()).then(|| jiff::Timestamp::from_microsecond(at.0).ok());
    known.flatten().map(|at| at.to_string())
}
