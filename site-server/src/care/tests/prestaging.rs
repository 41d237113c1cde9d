//! A library is filled from a disk before a line has carried anything.

use std::{
    fs,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use packhorse_domain::{care::Reserve, id::PackageId, object::ObjectKind, package::PackageState};
use packhorse_proto::provider::v1::{
    GetPrestageRequest, GetUsageRequest, Prestage, StartPrestageRequest, StopPrestageRequest,
    library_service_server::LibraryService as _,
};
use packhorse_runtime::{Clock, ManualClock, SystemClock, Worker as _};
use tonic::{Code, Status};

use super::{copy, is_installed, is_sound, manifest_of};
use crate::{
    distribution::DistributionManager,
    provider::Libraries,
    sender::tests::Line,
    store::bundles::{self, Sending, SendingState},
    testing::{Node, noise, until},
};

async fn begin(node: &Node, path: &Path) -> Result<(), Status> {
    let request = StartPrestageRequest { path: path.to_str().unwrap().to_owned(), keep_d: 0 };
    Libraries::new(node.site.clone()).start_prestage(node.asked(request)).await.map(drop)
}

async fn look(node: &Node) -> Option<Prestage> {
    let answer = Libraries::new(node.site.clone()).get_prestage(node.asked(GetPrestageRequest {})).await;
    answer.unwrap().into_inner().prestage
}

async fn ended(node: &Node) -> Prestage {
    until("it has ended", || async { look(node).await.is_some_and(|one| one.ended_at_us > 0) }).await;
    look(node).await.unwrap()
}

/// A central site with a package, and a child that has never been connected.
async fn apart(content: &[u8]) -> (Node, Node, PackageId) {
    apart_at(SystemClock::shared(), content).await
}

async fn apart_at(clock: Arc<dyn Clock>, content: &[u8]) -> (Node, Node, PackageId) {
    let central = Node::central(clock.clone()).await;
    let child = central.child("PAR", clock).await;
    child.hall().await;
    central.start();
    let package = central.package(content).await;
    (central, child, package)
}

/// As it is brought along: a copy of the parent's library.
fn carried(central: &Node) -> PathBuf {
    let disk = central.path("disk");
    copy(&central.site.directories.library(), &disk.join("library"));
    disk
}

/// Connects the child and makes its point a target.
async fn meet(central: &Node, child: &Node, package: &PackageId) -> Line {
    let line = Line::new(central, child);
    until("the point is known above", || async {
        central.object(ObjectKind::DistributionPoint, "PAR/hall").await.is_some()
    })
    .await;
    central.send(package, child.code()).await;
    line
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_brought_along_crosses_no_line() {
    let (central, child, package) = apart(&noise(900_000, 1)).await;
    child.start();
    begin(&child, &carried(&central)).await.unwrap();
    let prestage = ended(&child).await;
    assert_eq!((prestage.whole_versions, prestage.error.as_str()), (1, ""), "{prestage:?}");
    assert!(prestage.bytes_new >= 900_000 && prestage.bytes_done == prestage.bytes_total);

    let line = meet(&central, &child, &package).await;

    is_installed(&central, &package, &child).await;
    assert!(is_sound(&child, &manifest_of(&central, &package).await));
    assert_eq!(line.data_bytes(), 0, "no bundle went");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_files_that_are_nearly_the_same_only_the_rest_is_asked_for() {
    let (central, child, package) = apart(&noise(900_000, 1)).await;
    child.start();
    // A disk that keeps no modes, and a stray file on it.
    let disk = central.path("disk");
    fs::create_dir_all(&disk).unwrap();
    fs::write(disk.join("setup.sh"), noise(900_000, 1)).unwrap();
    fs::write(disk.join("stray"), noise(50_000, 7)).unwrap();
    begin(&child, &disk).await.unwrap();
    assert_eq!(ended(&child).await.whole_versions, 1);

    let line = meet(&central, &child, &package).await;

    // The first offer is turned away while it is looked for.
    is_installed(&central, &package, &child).await;
    assert!(is_sound(&child, &manifest_of(&central, &package).await));
    assert_eq!(line.data_bytes(), 0, "no bundle went");
}

/// Somebody looks for it as long as the test holds the lock.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_bundle_is_turned_away_while_it_is_looked_for() {
    let clock = ManualClock::new(SystemClock.now());
    let (central, child, package) = apart_at(Arc::new(clock.clone()), &noise(900_000, 1)).await;
    child.start();
    begin(&child, &carried(&central)).await.unwrap();
    central.update(&package, &noise(900_000, 2)).await;
    ended(&child).await;
    let looking = child.site.care.mending.lock().await;

    let line = meet(&central, &child, &package).await;

    let why = "it is looked for in what was prestaged here";
    let refused_at = async || {
        let mut tx = central.site.store.read().await.unwrap();
        let sendings = bundles::sendings(&mut tx).await.unwrap();
        let refused = |one: &&Sending| one.state == SendingState::Failed && one.reason.contains(why);
        sendings.iter().find(refused).map(|one| one.changed_at)
    };
    until("it is turned away", || async { refused_at().await.is_some() }).await;
    let told = central.events_about(package.as_str()).await;
    assert!(told.iter().any(|text| text.contains("site PAR refused") && text.contains(why)), "{told:?}");
    let first = refused_at().await;
    clock.advance(Duration::from_secs(61));
    central.wakers.link.wake();
    until("it is turned away again", || async { refused_at().await > first }).await;
    assert_eq!(line.data_bytes(), 0);
    assert_ne!(
        child.status(&package, child.code()).await.map(|one| one.state),
        Some(PackageState::Installed)
    );

    drop(looking);
    let target = manifest_of(&central, &package).await;
    until("it was looked for", || async { child.site.care.tried.lock().unwrap().contains(&target) }).await;
    clock.advance(Duration::from_secs(121));
    central.wakers.link.wake();

    is_installed(&central, &package, &child).await;
    assert!(is_sound(&child, &target));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_cannot_be_taken_in_says_why_and_leaves_nothing() {
    let central = Node::central(SystemClock::shared()).await;
    central.package(&noise(100_000, 1)).await;
    let full = central
        .child_with("PAR", SystemClock::shared(), |settings| {
            settings.content.reserve = Reserve::Bytes(u64::MAX / 2);
        })
        .await;
    let roomy = central.child("LYO", SystemClock::shared()).await;
    let files = central.path("files");
    fs::create_dir_all(&files).unwrap();
    fs::write(files.join("file"), b"x").unwrap();
    let odd = central.path("odd");
    fs::create_dir_all(&odd).unwrap();
    full.start();
    roomy.start();
    let pipe = odd.join("pipe");
    rustix::fs::mkfifoat(rustix::fs::CWD, &pipe, rustix::fs::Mode::from_raw_mode(0o600)).unwrap();

    for (child, disk, words) in [
        (&full, &carried(&central), "no room for package content"),
        (&full, &files, "no room for package content"),
        (&roomy, &odd, "is a named pipe"),
    ] {
        begin(child, disk).await.unwrap();

        let prestage = ended(child).await;

        assert!(prestage.error.contains(words), "{}", prestage.error);
        assert_eq!((prestage.whole_versions, prestage.partial_versions), (0, 0));
        let told = child.events_about(child.code().as_str()).await;
        assert!(told.iter().any(|text| text.contains("it ended early") && text.contains(words)), "{told:?}");
        assert!(child.site.library.manifests().unwrap().is_empty());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_older_version_makes_the_bundle_smaller() {
    let mut content = noise(900_000, 1);
    let (central, child, package) = apart(&content).await;
    child.start();
    begin(&child, &carried(&central)).await.unwrap();
    ended(&child).await;
    content[450_000] ^= 1;
    central.update(&package, &content).await;

    let line = meet(&central, &child, &package).await;

    is_installed(&central, &package, &child).await;
    assert!(is_sound(&child, &manifest_of(&central, &package).await));
    assert!(line.data_bytes() < 300_000, "{}", line.data_bytes());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_restart_begins_it_again_and_nothing_is_collected_before() {
    let (central, child, package) = apart(&noise(900_000, 1)).await;
    let disk = carried(&central);
    begin(&child, &disk).await.unwrap();
    // As far as a server came that was killed: a part is there, and no row says so.
    let mut blocks = 0;
    let cut = child.site.library.import(&disk.join("library"), &mut |_| {
        blocks += 1;
        if blocks < 3 { std::ops::ControlFlow::Continue(()) } else { std::ops::ControlFlow::Break(()) }
    });
    cut.unwrap_err();
    DistributionManager::new(child.site.clone()).step().await.unwrap();
    assert_eq!(child.site.library.staged_manifests().unwrap().len(), 1);

    child.start();

    let prestage = ended(&child).await;
    assert_eq!(prestage.whole_versions, 1);
    assert!(prestage.bytes_new < 900_000, "what was there is not taken twice: {prestage:?}");
    let manifest = manifest_of(&central, &package).await;
    DistributionManager::new(child.site.clone()).step().await.unwrap();
    assert!(is_sound(&child, &manifest), "it is kept although no package names it");
    let usage = Libraries::new(child.site.clone()).get_usage(child.asked(GetUsageRequest {})).await;
    let usage = usage.unwrap().into_inner();
    assert_eq!((usage.versions.len(), usage.versions[0].packages.len()), (1, 0));
    assert!(usage.unreferenced_bytes < 1000 && usage.versions[0].own_bytes > 800_000, "{usage:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bad_input_is_named() {
    let (central, child, _) = apart(&noise(100_000, 1)).await;
    let disk = central.path("disk");
    fs::create_dir_all(disk.join("empty")).unwrap();
    fs::write(disk.join("file"), b"x").unwrap();
    let site = child.site.directories.library();
    for (path, code, words) in [
        (Path::new("relative"), Code::InvalidArgument, "absolute path"),
        (Path::new("/nowhere/at/all"), Code::FailedPrecondition, "mount the disk"),
        (&disk.join("file"), Code::InvalidArgument, "is no directory"),
        (&disk.join("empty"), Code::InvalidArgument, "is empty"),
        (&site, Code::InvalidArgument, "site's own files"),
    ] {
        let refused = begin(&child, path).await.unwrap_err();
        assert_eq!(refused.code(), code, "{}", refused.message());
        assert!(refused.message().contains(words), "{}", refused.message());
    }
    let stop = || Libraries::new(child.site.clone());
    let nothing = stop().stop_prestage(child.asked(StopPrestageRequest {})).await.unwrap_err();
    assert!(nothing.message().contains("nothing is being taken in"), "{}", nothing.message());

    begin(&child, &disk).await.unwrap();
    let second = begin(&child, &disk).await.unwrap_err();
    assert!(second.message().contains("already"), "{}", second.message());
}
