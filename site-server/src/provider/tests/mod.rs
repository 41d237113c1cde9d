//! The services against a real central site in a directory of its own.

mod addresses;
mod enrolment;
mod events;
mod inspect;
mod kills;
mod logs;
mod offers;
mod packages;
mod points;
mod queue;
mod statuses;
mod summaries;
mod support;
mod uploads;

use std::{fs, path::PathBuf, sync::Arc};

use packhorse_domain::{id::PackageId, object::ObjectKind};
use packhorse_proto::{
    object::v1 as wire,
    provider::v1::{
        CreatePackageRequest, ListEventsRequest, Package, Source,
        package_service_server::PackageService as _, source, status_service_server::StatusService as _,
    },
};
use packhorse_runtime::{Clock as _, Lifecycle, ManualClock, Peer, SystemClock};
use packhorse_trust::{Name, Role};
use tempfile::TempDir;
use tonic::{Code, Request, Response, Status};

use super::{Addresses, Advertisements, Collections, DistributionPoints, Packages, Sites, Statuses};
use crate::{
    config::{Config, Settings},
    init::{Plan, init},
    site::Site,
    store::objects,
};

struct World {
    clock: ManualClock,
    site: Arc<Site>,
    packages: Packages,
    points: DistributionPoints,
    collections: Collections,
    advertisements: Advertisements,
    addresses: Addresses,
    sites: Sites,
    statuses: Statuses,
    directory: TempDir,
}

impl World {
    async fn new() -> World {
        World::with(|_| {}).await
    }

    async fn with(change: impl FnOnce(&mut Settings)) -> World {
        let directory = tempfile::tempdir().expect("a directory");
        let clock = ManualClock::new(SystemClock.now());
        let plan = Plan {
            directory: directory.path().join("site"),
            code: "CEN".parse().expect("a code"),
            name: "Central".to_owned(),
            listen: "127.0.0.1:7443".parse().expect("an address"),
            endpoints: vec!["127.0.0.1:7443".to_owned()],
            join: None,
            medium: None,
        };
        init(&plan, &clock).await.expect("a site");
        let mut settings = Config::load(&plan.directory.join("site.toml")).expect("settings");
        change(&mut settings);
        let site = Site::open(&plan.directory, settings, Arc::new(clock.clone())).await.expect("opened");
        let site = Arc::new(site);
        World {
            packages: Packages::new(site.clone()),
            points: DistributionPoints::new(site.clone()),
            collections: Collections::new(site.clone()),
            advertisements: Advertisements::new(site.clone()),
            addresses: Addresses::new(site.clone()),
            sites: Sites::new(site.clone()),
            statuses: Statuses::new(site.clone(), Lifecycle::with_clock(Arc::new(clock.clone()))),
            clock,
            site,
            directory,
        }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// A source directory with one file.
    fn source(&self, name: &str, content: &str) -> String {
        let path = self.path(name);
        fs::create_dir_all(&path).expect("made");
        fs::write(path.join("setup.sh"), content).expect("written");
        path.to_str().expect("UTF-8").to_owned()
    }

    async fn create(&self, request: CreatePackageRequest) -> Result<Package, Status> {
        let answer = self.packages.create_package(asked(request)).await?.into_inner();
        Ok(answer.package.expect("a package"))
    }

    /// A package with the program `install`, from a source of its own.
    async fn package(&self) -> Package {
        let source = self.source("source", "echo hello\n");
        self.create(from_directory(&source)).await.expect("created")
    }

    /// What administrators did, oldest first.
    async fn audit(&self) -> Vec<String> {
        let request = ListEventsRequest { component: "provider".to_owned(), ..ListEventsRequest::default() };
        let mut events = self.statuses.list_events(asked(request)).await.expect("events").into_inner().events;
        events.reverse();
        events.into_iter().map(|event| event.text).collect()
    }

    async fn is_tombstone(&self, kind: ObjectKind, id: &str) -> bool {
        let mut tx = self.site.store.read().await.expect("read");
        objects::get(&mut tx, kind, id).await.expect("read").is_some_and(|object| object.deleted)
    }
}

/// A request by the administrator.
fn asked<T>(message: T) -> Request<T> {
    let mut request = Request::new(message);
    let name = Name::new("CEN".parse().expect("a code"), Role::Admin, "anna").expect("a name");
    request.extensions_mut().insert(Peer::Known(name));
    request
}

fn directory(path: &str) -> Option<Source> {
    Some(Source { from: Some(source::From::Directory(path.to_owned())) })
}

fn program(name: &str) -> wire::Program {
    wire::Program {
        name: name.to_owned(),
        command: vec!["./setup.sh".to_owned()],
        ..wire::Program::default()
    }
}

fn from_directory(path: &str) -> CreatePackageRequest {
    CreatePackageRequest {
        name: "Editor".to_owned(),
        source: directory(path),
        programs: vec![program("install")],
        ..CreatePackageRequest::default()
    }
}

fn id_of(package: &Package) -> PackageId {
    package.definition.as_ref().expect("a definition").id.parse().expect("an id")
}

fn version_of(package: &Package) -> &wire::PackageVersion {
    package.version.as_ref().expect("a version")
}

/// Asserts that a call was refused with this code and with these words.
#[track_caller]
fn refused<T: std::fmt::Debug>(answer: Result<T, Status>, code: Code, words: &[&str]) {
    let status = answer.expect_err("it must be refused");
    assert_eq!(status.code(), code, "{}", status.message());
    for word in words {
        assert!(status.message().contains(word), "`{word}` is not in: {}", status.message());
    }
}

fn inner<T>(answer: Result<Response<T>, Status>) -> T {
    answer.expect("answered").into_inner()
}
