//! The site server as a whole: what it is made of, in the order in which it starts.

use std::{net::SocketAddr, path::Path, process::ExitCode, sync::Arc, time::Duration};

use packhorse_domain::{object::ObjectKind, site::SiteFact};
use packhorse_fetch::ContentServer;
use packhorse_proto::{
    cap::v1::cap_service_server::CapServiceServer,
    content::v1::{content_service_server::ContentServiceServer, mend_service_server::MendServiceServer},
    enroll::v1::enroll_service_server::EnrollServiceServer,
    inquiry::v1::inquiry_service_server::InquiryServiceServer,
    link::v1::link_service_server::LinkServiceServer,
    object::v1 as wire,
    provider::v1 as provider_api,
};
use packhorse_runtime::{
    Clock, Lifecycle, QuicServer, Rules, ServerOptions, ServerTls, Services, SystemClock, metrics::Metrics,
    serve, telemetry,
};
use packhorse_trust::Role;
use tokio::net::TcpListener;
use tonic::service::Routes;

use crate::{
    care::{
        give::{Giver, Taker},
        prestage::Prestager,
        serve::SiteContent,
        verify::ContentVerifier,
    },
    collection::CollectionEvaluator,
    config::{Config, LaneMode, Settings},
    courier::CourierSender,
    despooler::Despooler,
    diagnosis::{ANSWER_BYTES_MAX, Asker, InquiryServer},
    directories::Directories,
    distribution::{ContentCheck, DistributionManager},
    enroll,
    figures::SiteFigures,
    inbox::InboxManager,
    monitor::{Monitor, Wakers},
    offer::OfferManager,
    provider,
    record::{self, Body},
    replication::ReplicationManager,
    scheduler::ways::SenderChoice,
    sender::{LinkServer, MESSAGE_BYTES_MAX, QUIC_OPTIONS, dial_parent, serve_lanes},
    site::Site,
    status::{HealthReporter, StatusManager},
};

const GRACE: Duration = Duration::from_secs(8);

/// Who may call what. What is not here, nobody may.
pub(crate) const RULES: Rules = &[
    ("/packhorse.enroll.v1.EnrollService/*", &[]),
    ("/packhorse.link.v1.LinkService/*", &[Role::Site]),
    ("/packhorse.cap.v1.CapService/*", &[Role::Cap]),
    ("/packhorse.content.v1.ContentService/*", &[Role::Cap, Role::Admin, Role::Site]),
    ("/packhorse.content.v1.MendService/*", &[Role::Site]),
    ("/packhorse.inquiry.v1.InquiryService/*", &[Role::Site]),
    ("/packhorse.provider.v1.DiagnosisService/*", &[Role::Admin]),
    ("/packhorse.provider.v1.SiteService/*", &[Role::Admin]),
    ("/packhorse.provider.v1.PackageService/*", &[Role::Admin]),
    ("/packhorse.provider.v1.DistributionPointService/*", &[Role::Admin]),
    ("/packhorse.provider.v1.CollectionService/*", &[Role::Admin]),
    ("/packhorse.provider.v1.AdvertisementService/*", &[Role::Admin]),
    ("/packhorse.provider.v1.AddressService/*", &[Role::Admin]),
    ("/packhorse.provider.v1.StatusService/*", &[Role::Admin]),
    ("/packhorse.provider.v1.QueueService/*", &[Role::Admin]),
    ("/packhorse.provider.v1.InspectService/*", &[Role::Admin]),
    ("/packhorse.provider.v1.SupportService/*", &[Role::Admin]),
    ("/packhorse.provider.v1.EventRuleService/*", &[Role::Admin]),
    ("/packhorse.provider.v1.LibraryService/*", &[Role::Admin]),
    ("/packhorse.provider.v1.LogService/*", &[Role::Admin]),
    ("/packhorse.provider.v1.CourierService/*", &[Role::Admin]),
    ("/packhorse.provider.v1.CourierRouteService/*", &[Role::Admin]),
    ("/packhorse.provider.v1.CourierVolumeService/*", &[Role::Admin]),
];

/// Reads and checks the settings of the site in a directory.
pub fn settings(directory: &Path) -> anyhow::Result<Settings> {
    Ok(Config::load(&Directories::new(directory).config())?)
}

/// Runs the site server until it is told to stop.
pub async fn serve_site(directory: &Path) -> anyhow::Result<ExitCode> {
    let settings = settings(directory)?;
    let _telemetry = telemetry::init(&settings.telemetry)?;
    let listener = TcpListener::bind(settings.listen).await.map_err(|error| {
        anyhow::anyhow!("cannot listen on {}: {error}; correct `listen` in site.toml", settings.listen)
    })?;
    let clock = SystemClock::shared();
    let lifecycle = Lifecycle::with_clock(clock.clone());
    let site = Arc::new(Site::open(directory, settings, clock as Arc<dyn Clock>).await?);
    describe(&site).await?;

    telemetry::look_after_levels(&lifecycle);
    let common = vec![("site", site.code().to_string())];
    let metrics = Metrics::new(SiteFigures::new(site.clone()), &lifecycle, common, env!("CARGO_PKG_VERSION"));
    metrics.start(&site.settings.telemetry).await?;
    let wakers = Wakers::of(&site);
    start_components(&site, &lifecycle, &wakers);
    let tls = ServerTls::new(&site.credentials)?;
    take_lanes(&site, &lifecycle, listener.local_addr()?, tls.clone());
    let services = Services {
        site: site.code().clone(),
        routes: routes(&site, &lifecycle, &wakers),
        rules: RULES,
        descriptors: packhorse_proto::DESCRIPTORS,
    };
    tracing::info!(site = %site.code(), address = %listener.local_addr()?, "the site server is ready");
    let options = ServerOptions {
        congestion_control: site.settings.link.congestion_control.clone(),
        ..ServerOptions::default()
    };
    lifecycle.spawn("server", serve(listener, tls, services, options, lifecycle.stopping()));
    if let Some((parent, _)) = site.settings.parent.clone() {
        lifecycle
            .spawn("link-to-parent", dial_parent(site.clone(), lifecycle.clone(), wakers.clone(), parent));
    }
    let end = lifecycle.run(GRACE).await;
    site.store.close().await;
    Ok(end.exit_code())
}

pub(crate) fn start_components(site: &Arc<Site>, lifecycle: &Lifecycle, wakers: &Wakers) {
    lifecycle.spawn_worker(Monitor::new(site.clone(), wakers.clone()));
    lifecycle.spawn_worker_with(DistributionManager::new(site.clone()), wakers.distribution.clone());
    lifecycle.spawn_worker_with(ContentCheck::new(site.clone()), site.care.check.clone());
    lifecycle.spawn_worker_with(ContentVerifier::new(site.clone()), site.care.verify.clone());
    lifecycle.spawn_worker_with(Prestager::new(site.clone()), site.care.prestage.clone());
    lifecycle.spawn_worker(Giver::new(site.clone()));
    lifecycle.spawn_worker_with(CollectionEvaluator::new(site.clone()), wakers.collection.clone());
    lifecycle.spawn_worker_with(OfferManager::new(site.clone()), wakers.offer.clone());
    lifecycle.spawn_worker_with(ReplicationManager::new(site.clone()), wakers.replication.clone());
    lifecycle.spawn_worker_with(CourierSender::new(site.clone()), wakers.courier.clone());
    lifecycle.spawn_worker_with(SenderChoice::new(site.clone()), wakers.ways.clone());
    lifecycle.spawn_worker(StatusManager::new(site.clone()));
    lifecycle.spawn_worker(HealthReporter::new(site.clone(), lifecycle.clone()));
    lifecycle.spawn_worker_with(Despooler::new(site.clone()), wakers.despooler.clone());
}

pub(crate) fn routes(site: &Arc<Site>, lifecycle: &Lifecycle, wakers: &Wakers) -> Routes {
    let asker = Asker { site: site.clone(), lifecycle: lifecycle.clone() };
    let link = LinkServer { site: site.clone(), lifecycle: lifecycle.clone(), wakers: wakers.clone() };
    let inbox = InboxManager { site: site.clone(), lifecycle: lifecycle.clone(), wakers: wakers.clone() };
    let content = ContentServer::new(site.library.clone()).with_damage_waker(site.care.check.clone());
    let content = ContentServiceServer::new(SiteContent::new(site.clone(), content))
        .max_decoding_message_size(packhorse_fetch::REQUEST_LENGTH_MAX);
    let of_machines = Routes::new(EnrollServiceServer::new(enroll::Enrollment::new(site.clone())))
        .add_service(LinkServiceServer::new(link).max_decoding_message_size(MESSAGE_BYTES_MAX))
        .add_service(CapServiceServer::new(inbox))
        .add_service(
            InquiryServiceServer::new(InquiryServer { asker: asker.clone() })
                .max_decoding_message_size(ANSWER_BYTES_MAX),
        )
        .add_service(content)
        .add_service(
            MendServiceServer::new(Taker::new(site.clone())).max_decoding_message_size(MESSAGE_BYTES_MAX),
        );
    provider_routes(of_machines, &asker)
}

/// What administrators call.
fn provider_routes(routes: Routes, asker: &Asker) -> Routes {
    use provider_api as api;
    let (site, lifecycle) = (&asker.site, &asker.lifecycle);
    routes
        .add_service(api::diagnosis_service_server::DiagnosisServiceServer::new(provider::Diagnoses::new(
            asker.clone(),
        )))
        .add_service(api::site_service_server::SiteServiceServer::new(provider::Sites::new(site.clone())))
        .add_service(api::package_service_server::PackageServiceServer::new(provider::Packages::new(
            site.clone(),
        )))
        .add_service(api::distribution_point_service_server::DistributionPointServiceServer::new(
            provider::DistributionPoints::new(site.clone()),
        ))
        .add_service(api::collection_service_server::CollectionServiceServer::new(
            provider::Collections::new(site.clone()),
        ))
        .add_service(api::advertisement_service_server::AdvertisementServiceServer::new(
            provider::Advertisements::new(site.clone()),
        ))
        .add_service(api::address_service_server::AddressServiceServer::new(provider::Addresses::new(
            site.clone(),
        )))
        .add_service(api::event_rule_service_server::EventRuleServiceServer::new(provider::EventRules::new(
            site.clone(),
        )))
        .add_service(api::library_service_server::LibraryServiceServer::new(provider::Libraries::new(
            site.clone(),
        )))
        .add_service(api::log_service_server::LogServiceServer::new(provider::Logs::new(
            site.clone(),
            telemetry::LogLevels::of_process(),
        )))
        .add_service(api::courier_service_server::CourierServiceServer::new(provider::Couriers::new(
            site.clone(),
            lifecycle.clone(),
        )))
        .add_service(
            api::courier_volume_service_server::CourierVolumeServiceServer::new(
                provider::CourierVolumes::new(site.clone(), lifecycle.clone()),
            )
            .max_decoding_message_size(MESSAGE_BYTES_MAX),
        )
        .add_service(api::courier_route_service_server::CourierRouteServiceServer::new(
            provider::CourierRoutes::new(site.clone()),
        ))
        .add_service(api::queue_service_server::QueueServiceServer::new(provider::Queue::new(site.clone())))
        .add_service(api::inspect_service_server::InspectServiceServer::new(provider::Inspect::new(
            site.clone(),
            lifecycle.clone(),
        )))
        .add_service(api::support_service_server::SupportServiceServer::new(provider::Support::new(
            site.clone(),
            lifecycle.clone(),
        )))
        .add_service(api::status_service_server::StatusServiceServer::new(provider::Statuses::new(
            site.clone(),
            lifecycle.clone(),
        )))
}

/// Takes lanes at the UDP port of the same number. The links go on without them if it is not to be had.
pub(crate) fn take_lanes(site: &Arc<Site>, lifecycle: &Lifecycle, address: SocketAddr, tls: ServerTls) {
    if site.settings.link.lanes == LaneMode::Off {
        return;
    }
    let bound = QuicServer::bind(address, tls, QUIC_OPTIONS);
    match bound.and_then(|server| server.port().map(|port| (server, port))) {
        Ok((server, port)) => {
            site.set_lane_port(port);
            lifecycle.spawn("lane-server", serve_lanes(site.clone(), lifecycle.clone(), server));
        }
        Err(error) => {
            tracing::warn!(%address, %error, "no lanes over UDP are taken: the port is not to be had")
        }
    }
}

/// Makes this site known to those above it.
pub(crate) async fn describe(site: &Site) -> anyhow::Result<()> {
    let fact = SiteFact {
        code: site.code().clone(),
        parent: site.path().parent().cloned(),
        name: site.settings.name.clone(),
        software: env!("CARGO_PKG_VERSION").to_owned(),
        courier_key: site.courier.recipient().to_string(),
    };
    let mut tx = site.store.begin().await?;
    record::write(
        site,
        &mut tx,
        ObjectKind::Site,
        site.code().as_str(),
        Body::of::<wire::SiteFact, _>(&fact),
    )
    .await?;
    tx.commit().await?;
    Ok(())
}
