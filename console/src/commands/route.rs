//! The couriers as ways, and what goes by them.

use packhorse_domain::courier::{Departures, Way};
use packhorse_proto::{convert::courier::sender_on_wire, provider::v1 as wire};

use crate::{
    cli::route::{RouteCommand, Set, Take, Takes},
    connect::Session,
    error::ConsoleError,
    view::{
        done::Done,
        route::{Chosen, Route, Routes},
        show,
    },
};

pub(crate) async fn route(session: &Session, command: RouteCommand) -> Result<(), ConsoleError> {
    let mut routes = session.courier_routes();
    match command {
        RouteCommand::Set(set) => {
            let answer = routes.set_route(request(set)).await?.into_inner();
            let route = answer.route.ok_or(ConsoleError::Incomplete("route"))?;
            show(&Route::try_from(route)?, session.format)
        }
        RouteCommand::List => {
            let answer = routes.list_routes(wire::ListRoutesRequest {}).await?.into_inner();
            show(&Routes::try_from(answer)?, session.format)
        }
        RouteCommand::Remove { peer } => {
            routes.remove_route(wire::RemoveRouteRequest { peer: peer.to_string() }).await?;
            show(&Done::new("courier", peer.as_str(), "removed"), session.format)
        }
    }
}

/// What was typed, and nothing else: the site leaves the rest as it is.
fn request(set: Set) -> wire::SetRouteRequest {
    let given = !set.departs.is_empty();
    let departures = set.departs.iter().fold(Departures::any(), |all, some| all.and(some));
    let policy = match set.takes {
        None => wire::CourierPolicy::Unspecified,
        Some(Takes::Sooner) => wire::CourierPolicy::Sooner,
        Some(Takes::Always) => wire::CourierPolicy::Always,
        Some(Takes::Asked) => wire::CourierPolicy::Asked,
    };
    wire::SetRouteRequest {
        peer: set.peer.to_string(),
        policy: policy.into(),
        departures: given.then(|| wire::set_route_request::Departures {
            hours: departures.hours().iter().map(|hour| u32::from(*hour)).collect(),
        }),
        time_zone: set.time_zone,
        transit_s: set.transit.map(|transit| u32::try_from(transit.as_secs()).unwrap_or(u32::MAX)),
    }
}

pub(crate) async fn take(session: &Session, asked: Take) -> Result<(), ConsoleError> {
    let request = wire::ChooseWayRequest {
        bundles: asked.bundles,
        peer: asked.site.map(|site| site.to_string()).unwrap_or_default(),
        way: sender_on_wire((!asked.undo).then_some(Way::Courier)),
    };
    let answer = session.courier_routes().choose_way(request).await?.into_inner();
    show(&Chosen::from(answer), session.format)
}
