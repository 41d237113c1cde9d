//! A site with one client access point, as far as a client sees it: real sockets, real certificates, a real library.

use std::{
    collections::BTreeMap,
    fs,
    net::SocketAddr,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::{Arc, Mutex},
    time::Duration,
};

use futures::stream;
use packhorse_client_agent::{
    agent,
    config::Config,
    enroll::{Wishes, enroll},
    home::Home,
    shared::Shared,
};
use packhorse_content::{Library, snapshot};
use packhorse_domain::{
    Digest,
    advertisement::Delivery,
    instruction::{Point, PointList},
    status::AdvertisementStatus,
};
use packhorse_fetch::ContentServer;
use packhorse_proto::{
    client::v1::{
        GetFilesRequest, GetFilesResponse, PollRequest, PollResponse, ReportRequest, ReportResponse,
        client_access_service_server::{ClientAccessService, ClientAccessServiceServer},
    },
    convert::encode,
    enroll::v1::{
        EnrollRequest, EnrollResponse,
        enroll_service_server::{EnrollService, EnrollServiceServer},
    },
    object::v1 as wire,
};
use packhorse_runtime::{
    Clock as _, ManualClock, Rules, ServerOptions, ServerTls, Services, SystemClock, serve,
};
use packhorse_trust::{Authority, Credentials, Name, Role, Secret, Token, credentials::new_key_and_request};
use tokio::{net::TcpListener, task::JoinSet};
use tokio_util::sync::CancellationToken;
use tonic::{Request, Response, Status, service::Routes};

use crate::testing::{CLIENT, Draft, Issued, NOW, Organisation, site};

pub(crate) const EXE: &str = env!("CARGO_BIN_EXE_client-agent");
const DAY: Duration = Duration::from_secs(24 * 3600);
const RULES: Rules = &[
    ("/packhorse.client.v1.ClientAccessService/*", &[Role::Client]),
    ("/packhorse.content.v1.ContentService/*", &[Role::Client]),
    ("/packhorse.enroll.v1.EnrollService/Enroll", &[]),
];

/// What the client access point holds and was told.
#[derive(Debug, Default)]
pub(crate) struct Desk {
    pub(crate) issued: Issued,
    pub(crate) statuses: Vec<AdvertisementStatus>,
    pub(crate) facts: Vec<wire::ClientFact>,
    pub(crate) enrolled_keys: Vec<String>,
}

pub(crate) struct World {
    pub(crate) dir: tempfile::TempDir,
    pub(crate) organisation: Organisation,
    pub(crate) desk: Arc<Mutex<Desk>>,
    pub(crate) library: Arc<Library>,
    pub(crate) address: SocketAddr,
    token: PathBuf,
    stop: CancellationToken,
    server: JoinSet<()>,
}

impl World {
    pub(crate) async fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let now = SystemClock.now();
        let authority = Authority::create(&dir.path().join("authority"), &site("PAR"), now).unwrap();
        let cap = Name::new(site("PAR"), Role::Cap, "cap1").unwrap();
        let (key_pem, request) = new_key_and_request("cap1").unwrap();
        let cert_pem = authority.issue(&request, &cap, DAY, now).unwrap();
        let authority_pem = authority.certificate_pem().to_owned();
        let credentials = Credentials { key_pem, cert_pem, authority_pem: authority_pem.clone() };

        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let organisation = Organisation::new();
        let token = dir.path().join("client.token");
        Token {
            site: site("PAR"),
            role: Role::Client,
            name: None,
            endpoints: vec![address.to_string()],
            server: cap.dns_name(),
            authority_pem,
            root: organisation.root.public(),
            secret: Secret::generate(),
            expires: now.plus(DAY),
            courier_key: None,
        }
        .create_file(&token)
        .unwrap();

        let desk = Arc::new(Mutex::new(Desk::default()));
        let library = Arc::new(Library::open(&dir.path().join("cap-library")).unwrap());
        let routes = Routes::new(ClientAccessServiceServer::new(Access(desk.clone())))
            .add_service(EnrollServiceServer::new(Enroller(desk.clone(), authority)))
            .add_service(ContentServer::new(library.clone()).into_service());
        let services =
            Services { site: site("PAR"), routes, rules: RULES, descriptors: packhorse_proto::DESCRIPTORS };
        let (stop, mut server) = (CancellationToken::new(), JoinSet::new());
        let (tls, stopped) = (ServerTls::new(&credentials).unwrap(), stop.clone());
        server.spawn(async move {
            serve(listener, tls, services, ServerOptions::default(), stopped).await.unwrap();
        });
        World { dir, organisation, desk, library, address, token, stop, server }
    }

    pub(crate) fn home(&self) -> Home {
        Home::at(&self.dir.path().join("client"))
    }

    pub(crate) async fn enroll(&self) -> Name {
        let labels = BTreeMap::from([("floor".to_owned(), "2".to_owned())]);
        let wishes = Wishes { labels, hostname: "till-7".into(), poll_interval_s: 1 };
        enroll(&self.home(), &self.token, &wishes, SystemClock.now()).await.unwrap()
    }

    pub(crate) fn open(&self) -> Arc<Shared> {
        self.open_with(&ManualClock::new(NOW))
    }

    pub(crate) fn open_with(&self, clock: &ManualClock) -> Arc<Shared> {
        let home = self.home();
        let config = Config::load(&home.config()).unwrap();
        let open = || agent::open(config.clone(), home.clone(), Arc::new(clock.clone()), EXE.into());
        // A process that another test is just starting has our locks open until it becomes what it is to be.
        let is_locked = |text: String| text.contains("Locked") || text.contains("DatabaseAlreadyOpen");
        for _ in 0..3000 {
            match open() {
                Err(error) if is_locked(format!("{error:?}")) => {
                    std::thread::sleep(Duration::from_millis(10))
                }
                opened => return opened.unwrap(),
            }
        }
        panic!("the client's directory stays locked");
    }

    /// One cycle of an agent that is started for it.
    pub(crate) async fn once(&self) {
        agent::once(&self.open()).await.unwrap();
    }

    /// The agent as a process.
    pub(crate) fn spawn(&self) -> Child {
        Command::new(EXE)
            .args(["serve", "--dir"])
            .arg(self.home().path())
            .stdin(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap()
    }

    pub(crate) fn offer(&self, draft: &Draft) {
        self.desk().issued = self.organisation.issue(draft);
    }

    /// Offers a package with one executable file.
    pub(crate) fn offer_script(&self, draft: &mut Draft, script: &str) {
        let source = self.dir.path().join(format!("source-{}", draft.version.source_version));
        fs::create_dir_all(&source).unwrap();
        let file = source.join("install.sh");
        fs::write(&file, format!("#!/bin/sh\n{script}\n")).unwrap();
        fs::set_permissions(&file, fs::Permissions::from_mode(0o755)).unwrap();
        let taken = snapshot(&source, &self.library, &|_| std::ops::ControlFlow::Continue(())).unwrap();
        draft.version.manifest = Some(taken.digest);
        let mut files = self.organisation.issue(draft).files;
        let points = PointList {
            package: draft.version.package.clone(),
            manifest: taken.digest,
            points: vec![Point { name: "cap1".parse().unwrap(), endpoints: vec![self.address.to_string()] }],
        };
        let name = format!("points/{}", draft.version.package);
        files.insert(name, encode::<wire::PointList, _>(&points));
        self.desk().issued = self.organisation.seal(draft, files);
    }

    pub(crate) fn desk(&self) -> std::sync::MutexGuard<'_, Desk> {
        self.desk.lock().unwrap()
    }

    pub(crate) fn last_status(&self) -> Option<AdvertisementStatus> {
        self.desk().statuses.iter().max_by_key(|status| status.generation).cloned()
    }

    /// Waits until the site was told this of the advertisement that most tests have.
    pub(crate) async fn told(&self, delivery: Delivery) -> AdvertisementStatus {
        self.told_of("CEN20001", delivery).await
    }

    pub(crate) async fn told_of(&self, advertisement: &str, delivery: Delivery) -> AdvertisementStatus {
        for _ in 0..3000 {
            let found = self
                .desk()
                .statuses
                .iter()
                .rev()
                .find(|status| status.advertisement.as_str() == advertisement && status.delivery == delivery)
                .cloned();
            if let Some(status) = found {
                return status;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        panic!("{delivery:?} of {advertisement} was never told, but {:?}", self.desk().statuses);
    }

    pub(crate) async fn appears(&self, path: &Path) {
        for _ in 0..3000 {
            if path.exists() {
                return;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        panic!("{} never appears", path.display());
    }

    /// The client access point goes away for good.
    pub(crate) async fn go_dark(&mut self) {
        self.stop.cancel();
        self.server.shutdown().await;
    }
}

struct Access(Arc<Mutex<Desk>>);

#[tonic::async_trait]
impl ClientAccessService for Access {
    type GetFilesStream = stream::Iter<std::vec::IntoIter<Result<GetFilesResponse, Status>>>;

    async fn poll(&self, request: Request<PollRequest>) -> Result<Response<PollResponse>, Status> {
        let bytes = self.0.lock().unwrap().issued.bytes.clone();
        let held = Digest(*blake3::hash(&bytes).as_bytes());
        let news = request.into_inner().instruction_digest != held.as_bytes().as_slice();
        let instruction = if news { bytes.clone().into() } else { Default::default() };
        Ok(Response::new(PollResponse { instruction, known: !bytes.is_empty(), next_poll_s: 0 }))
    }

    async fn get_files(
        &self,
        request: Request<GetFilesRequest>,
    ) -> Result<Response<Self::GetFilesStream>, Status> {
        let files = self.0.lock().unwrap().issued.files.clone();
        let answers: Vec<_> = request
            .into_inner()
            .names
            .into_iter()
            .map(|name| {
                let content = files.get(&name).ok_or_else(|| Status::not_found("no such file"))?;
                Ok(GetFilesResponse { content: content.clone().into(), name })
            })
            .collect();
        Ok(Response::new(stream::iter(answers)))
    }

    async fn report(&self, request: Request<ReportRequest>) -> Result<Response<ReportResponse>, Status> {
        let report = request.into_inner();
        let mut desk = self.0.lock().unwrap();
        desk.facts.extend(report.facts);
        for status in report.statuses {
            desk.statuses.push(status.try_into().unwrap());
        }
        Ok(Response::new(ReportResponse {}))
    }
}

struct Enroller(Arc<Mutex<Desk>>, Authority);

#[tonic::async_trait]
impl EnrollService for Enroller {
    async fn enroll(&self, request: Request<EnrollRequest>) -> Result<Response<EnrollResponse>, Status> {
        let request = request.into_inner();
        let name = Name::of_client(site("PAR"), &CLIENT.parse().unwrap());
        let certificate = self.1.issue(&request.certificate_request, &name, DAY, SystemClock.now()).unwrap();
        self.0.lock().unwrap().enrolled_keys.push(request.certificate_request);
        Ok(Response::new(EnrollResponse {
            certificate,
            authority: self.1.certificate_pem().to_owned(),
            id: CLIENT.to_owned(),
            site: "PAR".to_owned(),
            ..EnrollResponse::default()
        }))
    }
}
