//! For tests: real sites in directories of their own, made, joined and served as the program does it.

use std::{
    env, fs,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use packhorse_domain::{
    id::{PackageId, SiteCode},
    object::{Object, ObjectKind},
    status::{Event, PackageStatus},
};
use packhorse_proto::{
    object::v1 as wire,
    provider::v1::{
        AddDirectoryRequest, AddTargetsRequest, CreatePackageRequest, CreateSiteTokenRequest,
        DeletePackageRequest, KillPackageRequest, RevivePackageRequest, Source, UpdatePackageRequest,
        distribution_point_service_server::DistributionPointService as _,
        package_service_server::PackageService as _, site_service_server::SiteService as _, source,
    },
};
use packhorse_runtime::{Clock, Lifecycle, Peer, ServerOptions, ServerTls, Services, serve};
use packhorse_trust::{Name, Role};
use tempfile::TempDir;
use tokio::net::TcpListener;
use tonic::{IntoRequest as _, Request};

use crate::{
    app,
    config::{Config, Settings},
    init::{Plan, init},
    monitor::Wakers,
    provider, record,
    site::Site,
    store::objects::{self, StoredObject},
};

/// A site whose server listens. Its components run only after [`Node::start`].
pub(crate) struct Node {
    pub(crate) site: Arc<Site>,
    pub(crate) wakers: Wakers,
    pub(crate) lifecycle: Lifecycle,
    pub(crate) directory: TempDir,
}

impl Node {
    pub(crate) async fn central(clock: Arc<dyn Clock>) -> Node {
        Node::central_with(clock, |_| {}).await
    }

    /// As [`Node::central`], with other settings.
    pub(crate) async fn central_with(clock: Arc<dyn Clock>, change: impl FnOnce(&mut Settings)) -> Node {
        Node::make(&env::temp_dir(), "CEN", None, clock, change).await
    }

    /// A child that joined over the parent's own enrolment service.
    pub(crate) async fn child(&self, code: &str, clock: Arc<dyn Clock>) -> Node {
        self.child_with(code, clock, |_| {}).await
    }

    /// As [`Node::child`], with other settings.
    pub(crate) async fn child_with(
        &self,
        code: &str,
        clock: Arc<dyn Clock>,
        change: impl FnOnce(&mut Settings),
    ) -> Node {
        self.child_on(&env::temp_dir(), code, clock, change).await
    }

    /// As [`Node::child_with`], with its directory in another one than most have.
    pub(crate) async fn child_on(
        &self,
        root: &Path,
        code: &str,
        clock: Arc<dyn Clock>,
        change: impl FnOnce(&mut Settings),
    ) -> Node {
        let request = CreateSiteTokenRequest { code: code.to_owned(), valid_s: 0 };
        let sites = provider::Sites::new(self.site.clone());
        let token = sites.create_site_token(self.asked(request)).await.expect("a token").into_inner().token;
        let path = self.path("token");
        fs::write(&path, token).expect("written");
        fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(0o600)).expect("set");
        Node::make(root, code, Some(path), clock, change).await
    }

    async fn make(
        root: &Path,
        code: &str,
        join: Option<PathBuf>,
        clock: Arc<dyn Clock>,
        change: impl FnOnce(&mut Settings),
    ) -> Node {
        let directory = tempfile::tempdir_in(root).expect("a directory");
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("an address");
        let plan = Plan {
            directory: directory.path().join("site"),
            code: code.parse().expect("a code"),
            name: format!("Site {code}"),
            listen: address,
            endpoints: vec![address.to_string()],
            join,
            medium: None,
        };
        init(&plan, &*clock).await.expect("a site");
        Node::serving(&plan, (directory, listener), clock, change).await
    }

    /// A site that was made already.
    pub(crate) async fn opened(plan: &Plan, directory: TempDir, clock: Arc<dyn Clock>) -> Node {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        Node::serving(plan, (directory, listener), clock, |_| {}).await
    }

    async fn serving(
        plan: &Plan,
        (directory, listener): (TempDir, TcpListener),
        clock: Arc<dyn Clock>,
        change: impl FnOnce(&mut Settings),
    ) -> Node {
        let address = listener.local_addr().expect("an address");
        let mut settings = Config::load(&plan.directory.join("site.toml")).expect("settings");
        change(&mut settings);
        let site = Arc::new(Site::open(&plan.directory, settings, clock.clone()).await.expect("opened"));
        app::describe(&site).await.expect("described");
        let (wakers, lifecycle) = (Wakers::of(&site), Lifecycle::with_clock(clock));
        let services = Services {
            site: site.code().clone(),
            routes: app::routes(&site, &lifecycle, &wakers),
            rules: app::RULES,
            descriptors: packhorse_proto::DESCRIPTORS,
        };
        let tls = ServerTls::new(&site.credentials).expect("TLS");
        app::take_lanes(&site, &lifecycle, address, tls.clone());
        let server = serve(listener, tls, services, ServerOptions::default(), lifecycle.stopping());
        lifecycle.spawn_finite("server", server);
        Node { site, wakers, lifecycle, directory }
    }

    pub(crate) fn start(&self) {
        app::start_components(&self.site, &self.lifecycle, &self.wakers);
    }

    pub(crate) fn code(&self) -> &SiteCode {
        self.site.code()
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    pub(crate) fn asked<T>(&self, message: T) -> Request<T> {
        let mut request = message.into_request();
        let name = Name::new(self.code().clone(), Role::Admin, "anna").expect("a name");
        request.extensions_mut().insert(Peer::Known(name));
        request
    }

    /// A source directory with one file.
    pub(crate) fn source(&self, content: &[u8]) -> Source {
        let path = self.path("source");
        fs::create_dir_all(&path).expect("made");
        fs::write(path.join("setup.sh"), content).expect("written");
        Source { from: Some(source::From::Directory(path.to_str().expect("UTF-8").to_owned())) }
    }

    pub(crate) async fn package(&self, content: &[u8]) -> PackageId {
        let program = wire::Program {
            name: "install".to_owned(),
            command: vec!["./setup.sh".to_owned()],
            ..wire::Program::default()
        };
        let request = CreatePackageRequest {
            name: "Editor".to_owned(),
            source: Some(self.source(content)),
            programs: vec![program],
            ..CreatePackageRequest::default()
        };
        let packages = provider::Packages::new(self.site.clone());
        let made = packages.create_package(self.asked(request)).await.expect("created").into_inner();
        made.package.and_then(|package| package.definition).expect("a package").id.parse().expect("an id")
    }

    pub(crate) async fn update(&self, package: &PackageId, content: &[u8]) {
        let request =
            UpdatePackageRequest { package: package.to_string(), source: Some(self.source(content)) };
        let packages = provider::Packages::new(self.site.clone());
        assert!(packages.update_package(self.asked(request)).await.expect("updated").into_inner().changed);
    }

    pub(crate) async fn delete(&self, package: &PackageId) {
        let request = DeletePackageRequest { package: package.to_string() };
        let packages = provider::Packages::new(self.site.clone());
        packages.delete_package(self.asked(request)).await.expect("deleted");
    }

    /// Kills the newest release that is known here.
    pub(crate) async fn kill(&self, package: &PackageId, reason: &str) {
        let request =
            KillPackageRequest { package: package.to_string(), release: 0, reason: reason.to_owned() };
        let packages = provider::Packages::new(self.site.clone());
        packages.kill_package(self.asked(request)).await.expect("killed");
    }

    pub(crate) async fn revive(&self, package: &PackageId) {
        let request = RevivePackageRequest { package: package.to_string() };
        let packages = provider::Packages::new(self.site.clone());
        packages.revive_package(self.asked(request)).await.expect("revived");
    }

    /// Makes the directory `hall` a distribution point.
    pub(crate) async fn hall(&self) {
        let path = self.path("hall").to_str().expect("UTF-8").to_owned();
        let request = AddDirectoryRequest { name: "hall".to_owned(), path };
        let points = provider::DistributionPoints::new(self.site.clone());
        points.add_directory(self.asked(request)).await.expect("added");
    }

    pub(crate) async fn send(&self, package: &PackageId, site: &SiteCode) {
        let target =
            wire::distribution::Target { site: site.to_string(), distribution_point: "hall".to_owned() };
        let request = AddTargetsRequest { package: package.to_string(), targets: vec![target] };
        let packages = provider::Packages::new(self.site.clone());
        packages.add_targets(self.asked(request)).await.expect("sent");
    }

    pub(crate) async fn object(&self, kind: ObjectKind, id: &str) -> Option<StoredObject> {
        let mut tx = self.site.store.read().await.expect("read");
        objects::get(&mut tx, kind, id).await.expect("read").filter(|object| !object.deleted)
    }

    /// Puts an object of this site where it is told to another.
    pub(crate) async fn tell(&self, other: &Node, kind: ObjectKind, id: &str) {
        let told = self.object(kind, id).await.expect("the object");
        let object = Object {
            kind,
            id: told.id,
            owner: told.owner,
            version: told.version,
            deleted: told.deleted,
            body: told.body,
            traceparent: String::new(),
        };
        let mut tx = other.site.store.begin().await.expect("the database");
        let now = other.site.now();
        objects::put(&mut tx, &object, &told.content, &told.digest, now).await.expect("put");
        tx.commit().await.expect("committed");
    }

    /// How far a package is in the library of a site, as this site knows it.
    pub(crate) async fn status(&self, package: &PackageId, site: &SiteCode) -> Option<PackageStatus> {
        let object = self.object(ObjectKind::PackageStatus, &format!("{package}/{site}/")).await?;
        Some(record::read::<wire::PackageStatus, _>(&object).expect("decoded"))
    }

    pub(crate) async fn events(&self) -> Vec<String> {
        self.events_where(|_| true).await
    }

    pub(crate) async fn events_about(&self, subject: &str) -> Vec<String> {
        self.events_where(|event| event.subject == subject).await
    }

    async fn events_where(&self, wanted: impl Fn(&Event) -> bool) -> Vec<String> {
        let mut tx = self.site.store.read().await.expect("read");
        let events = record::list::<wire::Event, Event>(&mut tx, ObjectKind::Event).await.expect("read");
        events.into_iter().map(|(_, event)| event).filter(wanted).map(|event| event.text).collect()
    }
}

/// Waits until a condition holds.
pub(crate) async fn until<F: Future<Output = bool>>(what: &str, condition: impl Fn() -> F) {
    // Only what never comes takes so long, also on a machine that is busy.
    let deadline = tokio::time::Instant::now() + Duration::from_secs(90);
    while !condition().await {
        assert!(tokio::time::Instant::now() < deadline, "in vain: {what}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// Bytes that do not compress.
pub(crate) fn noise(length: usize, seed: u64) -> Vec<u8> {
    let mut bytes = vec![0; length];
    blake3::Hasher::new().update(&seed.to_le_bytes()).finalize_xof().fill(&mut bytes);
    bytes
}
