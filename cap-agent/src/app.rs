//! The agent, part by part.

use std::{
    io,
    net::SocketAddr,
    path::{Path, PathBuf},
    sync::Arc,
};

use packhorse_content::{Library, LibraryError};
use packhorse_domain::Timestamp;
use packhorse_fetch::ContentServer;
use packhorse_proto::{
    DESCRIPTORS, client::v1::client_access_service_server::ClientAccessServiceServer,
    enroll::v1::enroll_service_server::EnrollServiceServer,
};
use packhorse_runtime::{
    Lifecycle, Rules, ServerOptions, ServerTls, Services, TlsError, Waker,
    metrics::{Metrics, MetricsError},
    serve,
};
use packhorse_trust::{Credentials, CredentialsError, Name, Role};
use tokio::net::TcpListener;
use tonic::service::Routes;

use crate::{
    access::{Access, Polls},
    blocking::off_thread,
    config::Settings,
    enroll::credentials_in,
    enroll_service::{self, ForwardEnrolment},
    feed::{Feed, Hello, News},
    figures::CapFigures,
    point::{
        self, Point,
        pull::{Damage, NoticeDamage},
    },
    presence::Presence,
    reports::SendReports,
    site::Site,
    store::{Store, StoreError},
};

/// Who may call what; nobody else may anything.
const RULES: Rules = &[
    ("/packhorse.client.v1.ClientAccessService/*", &[Role::Client]),
    ("/packhorse.content.v1.ContentService/*", &[Role::Client, Role::Admin, Role::Cap]),
    ("/packhorse.enroll.v1.EnrollService/Enroll", &[]),
];
const DATABASE: &str = "cap.redb";
const LIBRARY: &str = "library";
/// From here on a certificate that ends soon is worth a warning at each start.
const ENDS_SOON_US: i64 = 14 * 86_400 * 1_000_000;

#[derive(Debug, thiserror::Error)]
pub enum StartError {
    #[error("the credentials cannot be used")]
    Credentials(#[source] CredentialsError),
    #[error("the certificate is for {certified} and not for {expected}: enrol again, or correct cap.toml")]
    OtherIdentity { certified: String, expected: String },
    #[error("the certificate cannot be served with")]
    Tls(#[source] TlsError),
    #[error("cannot listen on {address}")]
    Listen { address: SocketAddr, source: io::Error },
    #[error("metrics cannot be shown")]
    Metrics(#[source] MetricsError),
    #[error("cannot open the database")]
    Store(#[source] StoreErrorText),
    #[error("cannot open the content library {}", path.display())]
    Library { path: PathBuf, source: LibraryError },
}

/// Why the database could not be opened.
#[derive(Debug, thiserror::Error)]
#[error(transparent)]
pub struct StoreErrorText(StoreError);

/// What the parts share.
struct Parts {
    settings: Settings,
    store: Arc<Store>,
    site: Arc<Site>,
    content: Arc<Site>,
    library: Option<Arc<Library>>,
    news: News,
    damage_found: Waker,
    /// Serves the library.
    server: Option<ContentServer>,
    polls: Arc<Polls>,
}

/// Starts the agent in its directory; the address it listens on. It ends with the lifecycle.
pub async fn start(
    directory: &Path,
    settings: Settings,
    lifecycle: &Lifecycle,
) -> Result<SocketAddr, StartError> {
    let credentials = credentials(directory, &settings, lifecycle.clock().now())?;
    let tls = ServerTls::new(&credentials).map_err(StartError::Tls)?;
    let listen = |source| StartError::Listen { address: settings.listen, source };
    let listener = TcpListener::bind(settings.listen).await.map_err(listen)?;
    let address = listener.local_addr().map_err(listen)?;
    let parts = open(directory, settings, credentials).await?;
    let presence = Arc::new(Presence::new(lifecycle.clock().now()));
    show(directory, &parts, lifecycle).await?;

    let feed = Feed {
        store: parts.store.clone(),
        site: parts.site.clone(),
        presence: presence.clone(),
        clock: lifecycle.clock(),
        hello: Hello {
            endpoints: parts.settings.endpoints.clone(),
            distribution_point: parts.settings.distribution_point,
        },
        news: parts.news.clone(),
    };
    lifecycle.spawn("feed", feed.follow(lifecycle.stopping()));
    let reports = SendReports::new(parts.store.clone(), parts.site.clone());
    lifecycle.spawn_worker_with(reports, parts.news.reports.clone());
    start_point(&parts, lifecycle)?;
    let services = Services {
        site: parts.settings.site.clone(),
        routes: routes(&parts, presence, lifecycle),
        rules: RULES,
        descriptors: DESCRIPTORS,
    };
    lifecycle.spawn("server", serve(listener, tls, services, ServerOptions::default(), lifecycle.stopping()));
    tracing::info!(%address, site = %parts.settings.site, name = %parts.settings.name, "serving");
    Ok(address)
}

/// Shows and sends the agent's figures, if the settings want that.
async fn show(directory: &Path, parts: &Parts, lifecycle: &Lifecycle) -> Result<(), StartError> {
    let figures = CapFigures {
        directory: directory.to_owned(),
        store: parts.store.clone(),
        library: parts.library.clone(),
        news: parts.news.clone(),
        polls: parts.polls.clone(),
        served: parts.server.as_ref().map(ContentServer::served_bytes),
        clock: lifecycle.clock(),
    };
    let (site, name) = (parts.settings.site.to_string(), parts.settings.name.to_string());
    let common = vec![("site", site), ("cap", name)];
    let metrics = Metrics::new(figures, lifecycle, common, env!("CARGO_PKG_VERSION"));
    metrics.start(&parts.settings.telemetry()).await.map(drop).map_err(StartError::Metrics)
}

fn start_point(parts: &Parts, lifecycle: &Lifecycle) -> Result<(), StartError> {
    let Some(library) = &parts.library else { return Ok(()) };
    let damage = Damage::default();
    let point = Point::new(point::Surroundings {
        site_code: parts.settings.site.clone(),
        name: parts.settings.name.clone(),
        store: parts.store.clone(),
        library: library.clone(),
        site: parts.site.clone(),
        content: parts.content.clone(),
        clock: lifecycle.clock(),
        news: parts.news.clone(),
        damage: damage.clone(),
        keep_unwanted: parts.settings.keep_unwanted,
    })
    .map_err(|error| StartError::Store(StoreErrorText(error)))?;
    let notice = NoticeDamage { damage, point: parts.news.point.clone() };
    lifecycle.spawn_worker_with(notice, parts.damage_found.clone());
    lifecycle.spawn_worker_with(point, parts.news.point.clone());
    Ok(())
}

fn routes(parts: &Parts, presence: Arc<Presence>, lifecycle: &Lifecycle) -> Routes {
    let access = Access {
        site: parts.settings.site.clone(),
        store: parts.store.clone(),
        presence,
        reports: parts.news.reports.clone(),
        clock: lifecycle.clock(),
        polls: parts.polls.clone(),
    };
    let enrolment = EnrollServiceServer::new(ForwardEnrolment::new(parts.site.clone()))
        .max_decoding_message_size(enroll_service::MESSAGE_BYTES_MAX);
    let routes = Routes::new(ClientAccessServiceServer::new(access)).add_service(enrolment);
    match &parts.server {
        Some(server) => routes.add_service(server.clone().into_service()),
        None => routes,
    }
}

/// The database and the library, and the ways to the site.
async fn open(directory: &Path, settings: Settings, credentials: Credentials) -> Result<Parts, StartError> {
    let path = directory.join(DATABASE);
    let store = off_thread(move || Store::open(&path))
        .await
        .map_err(|error| StartError::Store(StoreErrorText(error)))?;
    let library = if settings.distribution_point {
        let path = directory.join(LIBRARY);
        let opened = off_thread(move || (Library::open(&path), path)).await;
        let (library, path) = opened;
        Some(Arc::new(library.map_err(|source| StartError::Library { path, source })?))
    } else {
        None
    };
    let server = Name::of_site(settings.site.clone(), &settings.site);
    let endpoints = settings.site_endpoints.clone();
    let site = Site::new(endpoints.clone(), server.clone(), credentials.clone());
    let content = Site::new(endpoints, server, credentials);
    let damage_found = Waker::new();
    let server =
        library.clone().map(|library| ContentServer::new(library).with_damage_waker(damage_found.clone()));
    Ok(Parts {
        settings,
        store: Arc::new(store),
        site: Arc::new(site),
        content: Arc::new(content),
        library,
        news: News::default(),
        damage_found,
        server,
        polls: Arc::default(),
    })
}

fn credentials(directory: &Path, settings: &Settings, now: Timestamp) -> Result<Credentials, StartError> {
    let credentials = Credentials::load(&credentials_in(directory)).map_err(StartError::Credentials)?;
    let certified = credentials.name().map_err(StartError::Credentials)?;
    let expected = Name::of_cap(settings.site.clone(), &settings.name);
    if certified != expected {
        let (certified, expected) = (certified.to_string(), expected.to_string());
        return Err(StartError::OtherIdentity { certified, expected });
    }
    let (_, not_after) = credentials.validity().map_err(StartError::Credentials)?;
    if not_after.0.saturating_sub(now.0) < ENDS_SOON_US {
        let days = not_after.since(now).as_secs() / 86_400;
        tracing::warn!(days, "this agent's certificate ends soon: enrol again with a new token");
    }
    Ok(credentials)
}

/// Whether the agent could start with these settings: its credentials are there and fit.
pub fn check(directory: &Path, settings: &Settings, now: Timestamp) -> Result<(), StartError> {
    let credentials = credentials(directory, settings, now)?;
    ServerTls::new(&credentials).map(drop).map_err(StartError::Tls)
}
