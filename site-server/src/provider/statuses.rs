//! What is where, and how far.

use std::{collections::BTreeMap, sync::Arc};

use packhorse_domain::{
    Timestamp,
    client::ClientFact,
    id::PackageId,
    object::{Direction, ObjectKind},
    status::{AdvertisementStatus, Event, EventType, PackageStatus},
};
use packhorse_proto::{
    convert::{self, event_rule},
    object::v1 as wire,
    provider::v1::{
        Cap, Client, Component, GetAdvertisementStatusRequest, GetAdvertisementStatusResponse,
        GetPackageStatusRequest, GetPackageStatusResponse, GetSiteStatusRequest, GetSiteStatusResponse, Link,
        ListClientsRequest, ListClientsResponse, ListEventsRequest, ListEventsResponse,
        ListSiteHealthRequest, ListSiteHealthResponse, SummarizeAdvertisementsRequest,
        SummarizeAdvertisementsResponse, SummarizePackagesRequest, SummarizePackagesResponse,
        status_service_server::StatusService,
    },
};
use packhorse_runtime::{Lifecycle, WorkerStatus};
use tonic::{Request, Response, Status};

use super::{advertisements, health, invalid, parsed, points::CAP_PRESENT, summaries, transfers};
use crate::{
    error::Error,
    record,
    sender::LinkView,
    site::Site,
    store::{
        Tx, bundles, caps, clients,
        events::{self, Wanted},
        neighbours::{self, Neighbour, Relation},
        objects,
    },
};

const EVENTS_DEFAULT: usize = 100;
const EVENTS_MAX: usize = 1_000;
/// Waiting objects are counted up to here.
const QUEUED_COUNTED: usize = 1_000;

#[derive(Debug)]
pub(crate) struct Statuses {
    site: Arc<Site>,
    lifecycle: Lifecycle,
}

impl Statuses {
    pub(crate) fn new(site: Arc<Site>, lifecycle: Lifecycle) -> Self {
        Statuses { site, lifecycle }
    }

    async fn package(&self, id: &str) -> Result<GetPackageStatusResponse, Error> {
        let checked: PackageId = parsed("package", id)?;
        let mut tx = self.site.store.read().await?;
        // Of a deleted one too, as long as it is being removed somewhere.
        if objects::held(&mut tx, ObjectKind::Package, checked.as_str()).await?.is_none() {
            return Err(Error::NotFound { what: "package", id: checked.to_string() });
        }
        let mut places = Vec::new();
        for object in objects::list_under(&mut tx, ObjectKind::PackageStatus, &format!("{checked}/")).await? {
            let status = record::read::<wire::PackageStatus, PackageStatus>(&object)?;
            places.push((&status).into());
        }
        let mut transfers = transfers::list(&self.site, &mut tx).await?;
        transfers.retain(|transfer| transfers::is_about(transfer, checked.as_str()));
        let summary = summaries::package(&mut tx, &checked).await?;
        Ok(GetPackageStatusResponse { places, transfers, summary: Some(summary) })
    }

    async fn advertisement(&self, id: &str) -> Result<GetAdvertisementStatusResponse, Error> {
        let mut tx = self.site.store.read().await?;
        let (_, advertisement) = advertisements::find(&mut tx, id).await?;
        let held_back = advertisements::held_back(&mut tx, &advertisement.id).await?;
        let mut clients = Vec::new();
        let prefix = format!("{}/", advertisement.id);
        for object in objects::list_under(&mut tx, ObjectKind::AdvertisementStatus, &prefix).await? {
            let status = record::read::<wire::AdvertisementStatus, AdvertisementStatus>(&object)?;
            clients.push((&status).into());
        }
        let summary = summaries::advertisement(&mut tx, &advertisement.id).await?;
        Ok(GetAdvertisementStatusResponse { clients, held_back, summary: Some(summary) })
    }

    pub(crate) async fn site(&self) -> Result<GetSiteStatusResponse, Error> {
        let site = &*self.site;
        let library = site.library.clone();
        let library_bytes = tokio::task::spawn_blocking(move || library.disk_bytes()).await?;
        let mut tx = site.store.read().await?;
        let mut links = Vec::new();
        for neighbour in neighbours::list(&mut tx).await? {
            let queued = queued(&mut tx, &neighbour).await?;
            let view = site.links(|links| links.get(&neighbour.code).cloned()).unwrap_or_default();
            links.push(link(&neighbour, &view, queued));
        }
        let mut shown = Vec::new();
        for cap in caps::list(&mut tx).await? {
            let behind = caps::count_after(&mut tx, &cap.name, cap.cursor).await?;
            shown.push(Cap {
                name: cap.name.to_string(),
                connected: site.now().since(cap.seen_at) < CAP_PRESENT,
                behind: u32::try_from(behind).unwrap_or(u32::MAX),
                endpoints: cap.endpoints,
            });
        }
        Ok(GetSiteStatusResponse {
            code: site.code().to_string(),
            links,
            components: self.lifecycle.statuses().into_iter().map(component).collect(),
            transfers: transfers::list(site, &mut tx).await?,
            caps: shown,
            library_bytes,
        })
    }

    async fn clients(&self) -> Result<Vec<Client>, Error> {
        let mut tx = self.site.store.read().await?;
        let mut seen: BTreeMap<_, _> = clients::list_seen(&mut tx).await?.into_iter().collect();
        let mut shown: Vec<Client> =
            record::list::<wire::ClientFact, ClientFact>(&mut tx, ObjectKind::Client)
                .await?
                .iter()
                .map(|(object, fact)| Client {
                    seen_at_us: seen
                        .remove(&fact.id)
                        .map_or_else(|| record::changed_at_us(object), |at| at.0),
                    fact: Some(fact.into()),
                })
                .collect();
        // Those that have enrolled and not yet told what they are.
        shown.extend(seen.into_iter().map(|(id, at)| {
            let fact = wire::ClientFact {
                id: id.to_string(),
                site: self.site.code().to_string(),
                ..wire::ClientFact::default()
            };
            Client { fact: Some(fact), seen_at_us: at.0 }
        }));
        Ok(shown)
    }

    async fn events(&self, asked: &ListEventsRequest) -> Result<ListEventsResponse, Error> {
        let limit = match usize::try_from(asked.limit).unwrap_or(usize::MAX) {
            0 => EVENTS_DEFAULT,
            limit if limit <= EVENTS_MAX => limit,
            _ => return Err(invalid("limit", "at most 1,000 events are given at once; ask for less")),
        };
        let event_type = event_rule::optional_type(asked.r#type)?;
        let wanted = Wanted {
            since: Timestamp(asked.since_us),
            component: asked.component.clone(),
            site: asked.site.clone(),
            subject: asked.subject.clone(),
            severity: event_rule::optional_severity(asked.severity)?,
            event_type: event_type.map_or("", EventType::as_str).to_owned(),
            message: asked.message,
        };
        let mut tx = self.site.store.read().await?;
        let newest = events::newest(&mut tx).await?;
        let found = match asked.after {
            None => events::list(&mut tx, &wanted, limit).await?,
            Some(after) => events::list_after(&mut tx, &wanted, (after, limit)).await?,
        };
        let cursor = match (asked.after, found.last()) {
            (Some(_), Some((last, _))) if found.len() == limit => *last,
            _ => newest,
        };
        let shown = |body: &[u8]| {
            let event = convert::decode::<wire::Event, Event>(body);
            event.map(|event| wire::Event { text: event.shown(), ..wire::Event::from(&event) })
        };
        // One that does not decode came from a newer version of this program.
        let events = found.iter().filter_map(|(_, body)| shown(body).ok()).collect();
        Ok(ListEventsResponse { events, cursor })
    }
}

/// Objects and bundles that the neighbour lacks.
async fn queued(tx: &mut Tx, neighbour: &Neighbour) -> Result<u32, Error> {
    let direction = match neighbour.relation {
        Relation::Parent => Direction::Up,
        Relation::Child => Direction::Down,
    };
    let objects = objects::lacking(tx, &neighbour.code, direction, QUEUED_COUNTED).await?.len();
    let bundles = bundles::sendings(tx)
        .await?
        .into_iter()
        .filter(|sending| sending.peer == neighbour.code && sending.state.is_waiting())
        .count();
    Ok(u32::try_from(objects + bundles).unwrap_or(u32::MAX))
}

fn link(neighbour: &Neighbour, view: &LinkView, queued_items: u32) -> Link {
    Link {
        peer: neighbour.code.to_string(),
        up: view.up,
        bytes_sent: view.sent_before + view.sent(),
        bytes_received: view.received_before + view.received(),
        queued_items,
        round_trip_us: view.round_trip_us,
        since_us: view.since.0,
        last_error: view.last_error.clone(),
    }
}

fn component(status: WorkerStatus) -> Component {
    Component {
        name: status.name.to_owned(),
        last_step_us: status.last_step.map_or(0, |at| at.0),
        steps: status.steps,
        consecutive_errors: status.consecutive_errors,
        last_error: status.last_error.unwrap_or_default(),
    }
}

#[tonic::async_trait]
impl StatusService for Statuses {
    async fn get_package_status(
        &self,
        request: Request<GetPackageStatusRequest>,
    ) -> Result<Response<GetPackageStatusResponse>, Status> {
        Ok(Response::new(self.package(&request.get_ref().package).await?))
    }

    async fn get_advertisement_status(
        &self,
        request: Request<GetAdvertisementStatusRequest>,
    ) -> Result<Response<GetAdvertisementStatusResponse>, Status> {
        Ok(Response::new(self.advertisement(&request.get_ref().advertisement).await?))
    }

    async fn get_site_status(
        &self,
        _: Request<GetSiteStatusRequest>,
    ) -> Result<Response<GetSiteStatusResponse>, Status> {
        Ok(Response::new(self.site().await?))
    }

    async fn list_site_health(
        &self,
        request: Request<ListSiteHealthRequest>,
    ) -> Result<Response<ListSiteHealthResponse>, Status> {
        Ok(Response::new(health::list(&self.site, &request.get_ref().site).await?))
    }

    async fn list_clients(
        &self,
        _: Request<ListClientsRequest>,
    ) -> Result<Response<ListClientsResponse>, Status> {
        Ok(Response::new(ListClientsResponse { clients: self.clients().await? }))
    }

    async fn summarize_packages(
        &self,
        request: Request<SummarizePackagesRequest>,
    ) -> Result<Response<SummarizePackagesResponse>, Status> {
        Ok(Response::new(summaries::packages(&self.site, request.get_ref()).await?))
    }

    async fn summarize_advertisements(
        &self,
        request: Request<SummarizeAdvertisementsRequest>,
    ) -> Result<Response<SummarizeAdvertisementsResponse>, Status> {
        Ok(Response::new(summaries::advertisements(&self.site, request.get_ref()).await?))
    }

    async fn list_events(
        &self,
        request: Request<ListEventsRequest>,
    ) -> Result<Response<ListEventsResponse>, Status> {
        Ok(Response::new(self.events(request.get_ref()).await?))
    }
}
