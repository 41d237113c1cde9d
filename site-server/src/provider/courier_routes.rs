//! Couriers as ways to the neighbours, and which bundles go by them.

use std::sync::Arc;

use packhorse_domain::{
    courier::{Route, Way},
    id::SiteCode,
    link::ItemId,
    message,
    queue::ItemPrefix,
};
use packhorse_proto::{
    convert::{self, courier::sender_on_wire},
    provider::v1::{
        ChooseWayRequest, ChooseWayResponse, CourierRouteSummary, ListRoutesRequest, ListRoutesResponse,
        RemoveRouteRequest, RemoveRouteResponse, SetRouteRequest, SetRouteResponse, WayChosen,
        courier_route_service_server::CourierRouteService,
    },
};
use packhorse_runtime::peer;
use packhorse_trust::Name;
use tonic::{Request, Response, Status};

use super::{addresses, change::Change, invalid, missing, parsed};
use crate::{
    courier::kin,
    error::Error,
    scheduler::ways,
    site::Site,
    store::{
        Tx,
        bundles::BundleRow,
        couriers::{self, Choice},
    },
};

/// Named in one call.
const BUNDLES_MAX: usize = 256;

#[derive(Debug)]
pub(crate) struct CourierRoutes {
    site: Arc<Site>,
}

impl CourierRoutes {
    pub(crate) fn new(site: Arc<Site>) -> Self {
        CourierRoutes { site }
    }

    async fn list(&self) -> Result<Vec<CourierRouteSummary>, Error> {
        let mut tx = self.site.store.read().await?;
        let mut routes = Vec::new();
        for route in couriers::routes(&mut tx).await? {
            let choices = couriers::choices_for(&mut tx, &route.peer).await?;
            let waiting = ways::waiting(&mut tx, &route.peer).await?;
            let by_courier = |bundle: &BundleRow| {
                choices.get(&ItemId::of(&bundle.digest)).is_some_and(|choice| choice.way == Way::Courier)
            };
            let waiting: Vec<u64> = waiting
                .iter()
                .filter(|(_, bundle)| by_courier(bundle))
                .map(|(_, bundle)| bundle.length)
                .collect();
            routes.push(CourierRouteSummary {
                arrival_at_us: ways::arrival(&route, self.site.now()).0,
                waiting_items: u32::try_from(waiting.len()).unwrap_or(u32::MAX),
                waiting_bytes: waiting.iter().sum(),
                route: Some((&route).into()),
            });
        }
        Ok(routes)
    }

    async fn set(&self, who: &Name, asked: SetRouteRequest) -> Result<Route, Error> {
        let mut change = Change::begin(&self.site, who).await?;
        let peer = relative(&self.site, &mut change.tx, &asked.peer).await?;
        let before = couriers::route(&mut change.tx, &peer).await?;
        let transit = asked.transit_s.map(|seconds| convert::courier::transit("transit_s", seconds));
        let mut route = match (before.clone(), transit.transpose()?) {
            (Some(route), None) => route,
            (Some(route), Some(transit)) => Route { transit, ..route },
            (None, Some(transit)) => Route::new(peer.clone(), transit),
            (None, None) => {
                return Err(invalid(
                    "transit_s",
                    format!(
                        "site {peer} has no courier yet: say how long one is under way, with --transit as 2d"
                    ),
                ));
            }
        };
        if let Some(policy) = convert::courier::policy("policy", asked.policy)? {
            route.policy = policy;
        }
        if let Some(departures) = asked.departures {
            route.departures = convert::courier::departures("departures", &departures.hours)?;
        }
        if let Some(zone) = asked.time_zone {
            route.time_zone = addresses::zone(&zone)?;
        }
        if before.as_ref() != Some(&route) {
            couriers::put_route(&mut change.tx, &route).await?;
            let message = message::courier_set(
                &peer,
                &route.departures,
                &route.time_zone,
                &route.transit.as_secs(),
                &route.policy.as_str(),
            );
            change.finish(peer.as_str(), message).await?;
        }
        Ok(route)
    }

    async fn remove(&self, who: &Name, peer: &str) -> Result<(), Error> {
        let mut change = Change::begin(&self.site, who).await?;
        let peer: SiteCode = parsed("peer", peer)?;
        if !couriers::remove_route(&mut change.tx, &peer).await? {
            return Err(Error::NotFound { what: "courier", id: peer.to_string() });
        }
        change.finish(peer.as_str(), message::courier_removed(&peer)).await
    }

    async fn choose(&self, who: &Name, asked: ChooseWayRequest) -> Result<Vec<WayChosen>, Error> {
        let names = names(&asked.bundles)?;
        let way = convert::courier::sender("way", asked.way)?;
        let mut change = Change::begin(&self.site, who).await?;
        let peers = match asked.peer.is_empty() {
            true => kin::below(&self.site, &mut change.tx).await?,
            false => vec![relative(&self.site, &mut change.tx, &asked.peer).await?],
        };
        let mut waiting = Vec::new();
        for peer in &peers {
            let bundles = ways::waiting(&mut change.tx, peer).await?;
            waiting.extend(bundles.into_iter().map(|(_, bundle)| (peer, bundle)));
        }
        let mut found = Vec::new();
        for name in &names {
            let before = found.len();
            found.extend(waiting.iter().filter(|(_, bundle)| name.means(bundle)));
            if found.len() == before {
                return Err(name.not_waiting(&asked.peer));
            }
        }
        let by = change.by();
        for (peer, bundle) in &found {
            let item = ItemId::of(&bundle.digest);
            ways::give(&self.site, &mut change.tx, (peer, &item), way, &by).await?;
            let to = way.map_or("nobody in particular", Way::as_str);
            change.note(bundle.package.as_str(), message::way_chosen(peer, &to)).await?;
        }
        for peer in &peers {
            ways::choose_ways(&self.site, &mut change.tx, peer).await?;
        }
        let choices = couriers::choices(&mut change.tx).await?;
        let choice =
            |peer: &SiteCode, bundle: &BundleRow| choices.get(&(peer.clone(), ItemId::of(&bundle.digest)));
        let chosen = found.iter().map(|(peer, bundle)| told(peer, bundle, choice(peer, bundle))).collect();
        change.tx.commit().await?;
        Ok(chosen)
    }
}

/// A neighbour, or a site further down: that is served from here then, beside its parent.
async fn relative(site: &Site, tx: &mut Tx, peer: &str) -> Result<SiteCode, Error> {
    let code: SiteCode = parsed("peer", peer)?;
    match kin::below(site, tx).await?.contains(&code) {
        true => Ok(code),
        false => addresses::neighbour(site, tx, peer).await,
    }
}

fn told(peer: &SiteCode, bundle: &BundleRow, choice: Option<&Choice>) -> WayChosen {
    WayChosen {
        peer: peer.to_string(),
        item: ItemId::of(&bundle.digest).to_string(),
        package: bundle.package.to_string(),
        bytes: bundle.length,
        way: sender_on_wire(Some(choice.map_or(Way::Line, |choice| choice.way))),
        reason: choice.map(|choice| choice.reason.clone()).unwrap_or_default(),
    }
}

/// What somebody calls bundles by.
enum Named {
    Package(String),
    Item(ItemPrefix),
}

fn names(given: &[String]) -> Result<Vec<Named>, Error> {
    // Whatever is no package's id begins an item's.
    let named = |text: &String| match text.parse::<packhorse_domain::id::PackageId>() {
        Ok(package) => Ok(Named::Package(package.to_string())),
        Err(_) => parsed::<ItemPrefix>("bundles", text).map(Named::Item),
    };
    match given.len() {
        0 => Err(missing("bundles")),
        1..=BUNDLES_MAX => given.iter().map(named).collect(),
        many => {
            Err(invalid("bundles", format!("{many} are named, at most {BUNDLES_MAX} go at once; name fewer")))
        }
    }
}

impl Named {
    fn means(&self, bundle: &BundleRow) -> bool {
        match self {
            Named::Package(package) => bundle.package.as_str() == package,
            Named::Item(prefix) => prefix.matches(&ItemId::of(&bundle.digest)),
        }
    }

    fn not_waiting(&self, peer: &str) -> Error {
        let what = match self {
            Named::Package(package) => format!("bundle of package {package}"),
            Named::Item(prefix) => format!("bundle {prefix}"),
        };
        let to = if peer.is_empty() { "any site".to_owned() } else { format!("site {peer}") };
        Error::Precondition(format!("no {what} waits for {to}; `packhorse queue` shows what does"))
    }
}

#[tonic::async_trait]
impl CourierRouteService for CourierRoutes {
    async fn list_routes(
        &self,
        _: Request<ListRoutesRequest>,
    ) -> Result<Response<ListRoutesResponse>, Status> {
        Ok(Response::new(ListRoutesResponse { routes: self.list().await? }))
    }

    async fn set_route(
        &self,
        request: Request<SetRouteRequest>,
    ) -> Result<Response<SetRouteResponse>, Status> {
        let who = peer(&request)?.clone();
        let route = self.set(&who, request.into_inner()).await?;
        Ok(Response::new(SetRouteResponse { route: Some((&route).into()) }))
    }

    async fn remove_route(
        &self,
        request: Request<RemoveRouteRequest>,
    ) -> Result<Response<RemoveRouteResponse>, Status> {
        let who = peer(&request)?.clone();
        self.remove(&who, &request.into_inner().peer).await?;
        Ok(Response::new(RemoveRouteResponse {}))
    }

    async fn choose_way(
        &self,
        request: Request<ChooseWayRequest>,
    ) -> Result<Response<ChooseWayResponse>, Status> {
        let who = peer(&request)?.clone();
        let chosen = self.choose(&who, request.into_inner()).await?;
        Ok(Response::new(ChooseWayResponse { chosen }))
    }
}
