//! A site, an agent and clients on the loopback interface, each of which can be stopped and started again.

use std::{net::SocketAddr, path::PathBuf, sync::Arc, time::Duration};

use packhorse_cap_agent::{Settings, Telemetry, start};
use packhorse_content::Library;
use packhorse_domain::id::SiteCode;
use packhorse_proto::{DESCRIPTORS, client::v1::client_access_service_client::ClientAccessServiceClient};
use packhorse_runtime::{
    Caller, ChannelOptions, Clock as _, End, Lifecycle, Rules, ServerOptions, ServerTls, Services,
    SystemClock, connect, serve,
};
use packhorse_trust::{Authority, Credentials, Name, Role, credentials::new_key_and_request};
use tokio::net::TcpListener;
use tonic::transport::Channel;

use crate::site::Site;

pub(crate) const CLIENT: &str = "0b0c8f6e-6f0e-4c56-8f0a-3a1d6a0f7d11";
pub(crate) const OTHER_CLIENT: &str = "11111111-6f0e-4c56-8f0a-3a1d6a0f7d11";

const SITE_RULES: Rules = &[
    ("/packhorse.cap.v1.CapService/*", &[Role::Cap]),
    ("/packhorse.content.v1.ContentService/*", &[Role::Cap]),
    ("/packhorse.enroll.v1.EnrollService/Enroll", &[]),
];
const HOUR: Duration = Duration::from_secs(3600);

pub(crate) struct Setting {
    pub(crate) directory: tempfile::TempDir,
    pub(crate) site: Site,
    pub(crate) site_library: Option<Arc<Library>>,
    site_address: SocketAddr,
    site_run: Option<Lifecycle>,
    agent_run: Option<Lifecycle>,
    agent_address: Option<SocketAddr>,
}

pub(crate) fn site_code() -> SiteCode {
    "CEN".parse().expect("a site code")
}

pub(crate) fn name(role: Role, id: &str) -> Name {
    Name::new(site_code(), role, id).expect("a name")
}

impl Setting {
    /// A site that serves, and an agent that has its credentials and does not run yet.
    pub(crate) async fn new() -> Self {
        Self::with_site_library(false).await
    }

    pub(crate) async fn with_site_library(has_library: bool) -> Self {
        let directory = tempfile::tempdir().expect("a directory");
        let authority =
            Authority::create(&directory.path().join("authority"), &site_code(), SystemClock.now())
                .expect("an authority");
        let site_library = has_library
            .then(|| Arc::new(Library::open(&directory.path().join("site-library")).expect("a library")));
        let mut setting = Setting {
            directory,
            site: Site::new(Arc::new(authority)),
            site_library,
            site_address: "127.0.0.1:0".parse().expect("an address"),
            site_run: None,
            agent_run: None,
            agent_address: None,
        };
        setting.start_site().await;
        let credentials = setting.credentials(Role::Cap, "dp1");
        credentials.store(&setting.agent_directory().join("credentials")).expect("stored");
        setting
    }

    pub(crate) fn agent_directory(&self) -> PathBuf {
        self.directory.path().join("agent")
    }

    pub(crate) fn site_endpoint(&self) -> String {
        self.site_address.to_string()
    }

    pub(crate) fn credentials(&self, role: Role, id: &str) -> Credentials {
        let (key_pem, request) = new_key_and_request(id).expect("a key");
        let authority = &self.site.authority;
        let cert_pem =
            authority.issue(&request, &name(role, id), HOUR, SystemClock.now()).expect("a certificate");
        Credentials { key_pem, cert_pem, authority_pem: authority.certificate_pem().to_owned() }
    }

    pub(crate) async fn start_site(&mut self) {
        let run = Lifecycle::new();
        let listener = TcpListener::bind(self.site_address).await.expect("the site's port is free");
        self.site_address = listener.local_addr().expect("an address");
        let own = self.site.authority.own_credentials(HOUR, SystemClock.now()).expect("credentials");
        self.site = self.site.again(run.stopping());
        let services = Services {
            site: site_code(),
            routes: self.site.routes(self.site_library.as_ref()),
            rules: SITE_RULES,
            descriptors: DESCRIPTORS,
        };
        let tls = ServerTls::new(&own).expect("TLS");
        run.spawn("site", serve(listener, tls, services, ServerOptions::default(), run.stopping()));
        self.site_run = Some(run);
    }

    pub(crate) async fn stop_site(&mut self) {
        stop(self.site_run.take().expect("the site runs")).await;
    }

    pub(crate) fn settings(&self) -> Settings {
        Settings {
            site: site_code(),
            name: "dp1".parse().expect("a name"),
            site_endpoints: vec![self.site_endpoint()],
            listen: "127.0.0.1:0".parse().expect("an address"),
            endpoints: vec!["cap.example:7453".to_owned()],
            distribution_point: true,
            keep_unwanted: Duration::ZERO,
            telemetry: Telemetry::default(),
        }
    }

    pub(crate) async fn start_agent(&mut self) {
        let run = Lifecycle::new();
        let address = start(&self.agent_directory(), self.settings(), &run).await.expect("the agent starts");
        self.agent_address = Some(address);
        self.agent_run = Some(run);
    }

    pub(crate) async fn stop_agent(&mut self) {
        stop(self.agent_run.take().expect("the agent runs")).await;
    }

    /// A connection to the agent.
    pub(crate) async fn connect(&self, caller: Caller<'_>) -> Channel {
        let endpoint = self.agent_address.expect("the agent runs").to_string();
        connect(&endpoint, &name(Role::Cap, "dp1"), caller, ChannelOptions::default())
            .await
            .expect("connected")
    }

    pub(crate) async fn client(&self, role: Role, id: &str) -> ClientAccessServiceClient<Channel> {
        let credentials = self.credentials(role, id);
        ClientAccessServiceClient::new(self.connect(Caller::Known(&credentials)).await)
    }
}

async fn stop(run: Lifecycle) {
    run.stop();
    assert_eq!(run.run_without_signals(Duration::from_secs(10)).await, End::Stopped);
}
