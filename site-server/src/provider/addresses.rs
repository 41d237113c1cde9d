//! Addresses of the neighbours: set, shown and removed.

use std::sync::Arc;

use packhorse_domain::{
    address::{ADDRESSES_MAX, Address, Amount, Budget, Calendar, MAIN, Rate, WhenSpent},
    id::{AddressName, SiteCode},
    message,
    status::cut,
};
use packhorse_proto::provider::v1::{
    self as wire, AddressSummary, ListAddressesRequest, ListAddressesResponse, RemoveAddressRequest,
    RemoveAddressResponse, SetAddressRequest, SetAddressResponse, address_service_server::AddressService,
};
use packhorse_runtime::peer;
use packhorse_trust::Name;
use tonic::{Request, Response, Status};

use super::{change::Change, invalid, parsed};
use crate::{
    error::Error,
    scheduler::addresses as scheduler,
    site::Site,
    store::{Tx, addresses, neighbours},
};

/// A calendar may have many rules; the note of a change tells its beginning.
const NOTE_LENGTH: usize = 1_000;

#[derive(Debug)]
pub(crate) struct Addresses {
    site: Arc<Site>,
}

impl Addresses {
    pub(crate) fn new(site: Arc<Site>) -> Self {
        Addresses { site }
    }

    async fn list(&self, peer: &str) -> Result<Vec<AddressSummary>, Error> {
        let mut tx = self.site.store.read().await?;
        let peer = match peer.is_empty() {
            true => None,
            false => Some(neighbour(&self.site, &mut tx, peer).await?),
        };
        let mut summaries = Vec::new();
        for address in addresses::list(&mut tx, peer.as_ref()).await? {
            let (local, spent) = scheduler::state(&mut tx, &address, self.site.now()).await?;
            summaries.push(AddressSummary {
                address: Some((&address).into()),
                weekday: local.hour.weekday().into(),
                hour: local.hour.hour().into(),
                day_bytes: spent.day_bytes,
                month_bytes: spent.month_bytes,
            });
        }
        Ok(summaries)
    }

    async fn set(&self, who: &Name, asked: SetAddressRequest) -> Result<Address, Error> {
        let mut change = Change::begin(&self.site, who).await?;
        let peer = neighbour(&self.site, &mut change.tx, &asked.peer).await?;
        let name = name(&asked.name)?;
        let held = addresses::list(&mut change.tx, Some(&peer)).await?;
        let before = held.iter().find(|address| address.name == name);
        if before.is_none() && held.len() >= ADDRESSES_MAX {
            return Err(Error::Precondition(format!(
                "site {peer} has {ADDRESSES_MAX} addresses, which is the most; remove one first"
            )));
        }
        let mut address = before.cloned().unwrap_or_else(|| {
            // A further line is a backup of those before it, whatever its name.
            let last = held.iter().map(|address| address.order).max().unwrap_or(0);
            Address { order: last.saturating_add(1), ..Address::open(peer, name) }
        });
        apply(&mut address, asked)?;
        if before == Some(&address) {
            return Ok(address);
        }
        addresses::put(&mut change.tx, &address).await?;
        let id = id(&address.peer, &address.name);
        let told = told(&address);
        change.finish(&id, message::address_set(&id, &cut(&told, NOTE_LENGTH))).await?;
        Ok(address)
    }

    async fn remove(&self, who: &Name, asked: &RemoveAddressRequest) -> Result<(), Error> {
        let mut change = Change::begin(&self.site, who).await?;
        let (peer, name): (SiteCode, _) = (parsed("peer", &asked.peer)?, name(&asked.name)?);
        let id = id(&peer, &name);
        if !addresses::remove(&mut change.tx, &peer, &name).await? {
            return Err(Error::NotFound { what: "address", id });
        }
        change.finish(&id, message::address_removed(&id)).await
    }
}

fn id(peer: &SiteCode, name: &AddressName) -> String {
    format!("{peer}/{name}")
}

fn name(given: &str) -> Result<AddressName, Error> {
    parsed("name", if given.is_empty() { MAIN } else { given })
}

/// Only a neighbour has addresses: others are reached by way of it.
pub(super) async fn neighbour(site: &Site, tx: &mut Tx, peer: &str) -> Result<SiteCode, Error> {
    let peer: SiteCode = parsed("peer", peer)?;
    let known: Vec<SiteCode> = neighbours::list(tx).await?.into_iter().map(|one| one.code).collect();
    if known.contains(&peer) {
        return Ok(peer);
    }
    let known = match known.is_empty() {
        true => "nobody yet".to_owned(),
        false => known.iter().map(SiteCode::as_str).collect::<Vec<_>>().join(", "),
    };
    Err(invalid(
        "peer",
        format!(
            "{peer} is neither the parent nor a child of site {}; its neighbours are: {known}. A new child is one once \
             it has joined",
            site.code()
        ),
    ))
}

/// The name of a time zone as it is written.
pub(super) fn zone(given: &str) -> Result<String, Error> {
    scheduler::zone_name(given).ok_or_else(|| no_such_zone(given))
}

/// Changes what was given, and checks what came of it.
fn apply(address: &mut Address, asked: SetAddressRequest) -> Result<(), Error> {
    if let Some(order) = asked.order {
        address.order = order;
    }
    if let Some(endpoint) = asked.endpoint {
        address.endpoint = (!endpoint.is_empty()).then_some(endpoint);
    }
    if let Some(zone) = asked.time_zone {
        address.time_zone = self::zone(&zone)?;
    }
    if let Some(calendar) = asked.calendar {
        address.calendar = Calendar::try_from(calendar)?;
    }
    if let Some(limit) = asked.bytes_per_second {
        let rate = (limit != 0).then(|| Rate::new(limit)).transpose();
        address.rate = rate.map_err(|error| invalid("bytes_per_second", error))?;
    }
    if let Some(pulse) = asked.pulse {
        address.pulse = (pulse.block_bytes != 0).then(|| pulse.into());
    }
    address.budget = budget(address.budget, asked.per_day_bytes, asked.per_month_bytes, asked.when_spent)?;
    address.check().map_err(|error| invalid("address", error))
}

fn budget(
    before: Option<Budget>,
    per_day_bytes: Option<u64>,
    per_month_bytes: Option<u64>,
    when_spent: i32,
) -> Result<Option<Budget>, Error> {
    let changed = |given: Option<u64>, before: Option<u64>| match given {
        Some(limit) => (limit != 0).then_some(limit),
        None => before,
    };
    let given = match wire::WhenSpent::try_from(when_spent) {
        Ok(wire::WhenSpent::Unspecified) => None,
        Ok(wire::WhenSpent::HighOnly) => Some(WhenSpent::HighOnly),
        Ok(wire::WhenSpent::Closed) => Some(WhenSpent::Closed),
        Err(_) => return Err(invalid("when_spent", "high only or closed is expected")),
    };
    let budget = Budget {
        per_day_bytes: changed(per_day_bytes, before.and_then(|budget| budget.per_day_bytes)),
        per_month_bytes: changed(per_month_bytes, before.and_then(|budget| budget.per_month_bytes)),
        when_spent: given.or(before.map(|budget| budget.when_spent)).unwrap_or_default(),
    };
    if budget.per_day_bytes.is_some() || budget.per_month_bytes.is_some() {
        return Ok(Some(budget));
    }
    match given {
        Some(_) => Err(invalid(
            "when_spent",
            "there is no budget that could be spent: give bytes per day or per month",
        )),
        None => Ok(None),
    }
}

fn no_such_zone(zone: &str) -> Error {
    let like = scheduler::zones_like(zone);
    let hint = match like.is_empty() {
        true => "give an IANA name, as Europe/Paris or UTC".to_owned(),
        false => format!("it may be {}", like.join(" or ")),
    };
    let shown: String = zone.chars().take(80).collect();
    invalid("time_zone", format!("the site server knows no zone `{shown}`; {hint}"))
}

/// An address in a line, as the note of its change has it.
fn told(address: &Address) -> String {
    let mut parts = vec![format!("order {}", address.order)];
    parts.extend(address.endpoint.as_ref().map(|endpoint| format!("endpoint {endpoint}")));
    parts.extend(address.rate.map(|rate| format!("at most {rate}")));
    parts.extend(address.pulse.map(|pulse| format!("pulse {pulse}")));
    if let Some(budget) = address.budget {
        parts.extend(budget.per_day_bytes.map(|bytes| format!("{} a day", Amount(bytes))));
        parts.extend(budget.per_month_bytes.map(|bytes| format!("{} a month", Amount(bytes))));
        parts.push(match budget.when_spent {
            WhenSpent::HighOnly => "then high only".to_owned(),
            WhenSpent::Closed => "then closed".to_owned(),
        });
    }
    parts.push(format!("by the clock of {}", address.time_zone));
    let rules = address.calendar.rules();
    parts.push(match rules.is_empty() {
        true => "always open".to_owned(),
        false => format!("calendar {}", rules.join("; ")),
    });
    parts.join(", ")
}

#[tonic::async_trait]
impl AddressService for Addresses {
    async fn list_addresses(
        &self,
        request: Request<ListAddressesRequest>,
    ) -> Result<Response<ListAddressesResponse>, Status> {
        Ok(Response::new(ListAddressesResponse { addresses: self.list(&request.get_ref().peer).await? }))
    }

    async fn set_address(
        &self,
        request: Request<SetAddressRequest>,
    ) -> Result<Response<SetAddressResponse>, Status> {
        let who = peer(&request)?.clone();
        let address = self.set(&who, request.into_inner()).await?;
        Ok(Response::new(SetAddressResponse { address: Some((&address).into()) }))
    }

    async fn remove_address(
        &self,
        request: Request<RemoveAddressRequest>,
    ) -> Result<Response<RemoveAddressResponse>, Status> {
        self.remove(peer(&request)?, request.get_ref()).await?;
        Ok(Response::new(RemoveAddressResponse {}))
    }
}
