//! The agent as a distribution point: it gets what it should hold, says so, serves it, mends it and lets go of it.

use std::{
    fs::{self, File},
    ops::ControlFlow,
    os::unix::fs::FileExt as _,
    sync::Arc,
};

use packhorse_content::{Library, Manifest, snapshot};
use packhorse_domain::Digest;
use packhorse_fetch::{FetchError, Progress, Source, fetch};
use packhorse_proto::object::v1::{PackageState, PackageStatus, PointContent};
use packhorse_runtime::Caller;
use packhorse_trust::Role;
use prost::Message as _;
use tokio::sync::watch;

use crate::{
    setting::{CLIENT, Setting},
    site::Known,
};

const PACKAGE: &str = "CEN00001";

/// Bytes that do not compress and repeat for the same seed.
fn noise(seed: u8, length: usize) -> Vec<u8> {
    let mut bytes = vec![0; length];
    blake3::Hasher::new().update(&[seed]).finalize_xof().fill(&mut bytes);
    bytes
}

/// A new version of the package in the site's library.
fn make_version(setting: &Setting, seed: u8) -> Digest {
    let source = setting.directory.path().join(format!("source-{seed}"));
    fs::create_dir(&source).expect("made");
    fs::write(source.join("setup.bin"), noise(seed, 1_500_000)).expect("written");
    fs::write(source.join("readme.txt"), format!("version {seed}")).expect("written");
    let library = setting.site_library.as_ref().expect("the site has a library");
    snapshot(&source, library, &|_| ControlFlow::Continue(())).expect("a snapshot").digest
}

fn order(setting: &Setting, source_version: u64, manifest: Digest) {
    let manifest = manifest.as_bytes().to_vec().into();
    let content =
        PointContent { package: PACKAGE.to_owned(), source_version, manifest, traceparent: String::new() };
    setting.site.put(&format!("content/dp1/{PACKAGE}"), Some(&content.encode_to_vec()));
}

fn last(known: &Known) -> Option<&PackageStatus> {
    known.statuses.iter().rfind(|status| status.package == PACKAGE)
}

async fn reaches(setting: &Setting, state: PackageState, source_version: u64) -> PackageStatus {
    let what = format!("{PACKAGE} is {state:?} in version {source_version}");
    let is_it = |status: &&PackageStatus| status.state() == state && status.source_version == source_version;
    setting.site.wait_for(&what, |known| last(known).filter(is_it).cloned()).await
}

/// Fetches as a client does, into a library of its own.
async fn fetch_as_client(
    setting: &Setting,
    manifest: Digest,
) -> Result<(Manifest, Arc<Library>), FetchError> {
    let credentials = setting.credentials(Role::Client, CLIENT);
    let channel = setting.connect(Caller::Known(&credentials)).await;
    let directory = tempfile::tempdir_in(setting.directory.path()).expect("a directory");
    let library = Arc::new(Library::open(directory.path()).expect("a library"));
    let sources = [Source { name: "dp1".to_owned(), channel }];
    let (progress, _) = watch::channel(Progress::default());
    let manifest = fetch(&sources, &library, manifest, &progress).await?;
    let _kept = directory.keep();
    Ok((manifest, library))
}

#[tokio::test]
async fn what_the_site_orders_is_fetched_reported_and_served() {
    let mut setting = Setting::with_site_library(true).await;
    let manifest = make_version(&setting, 1);
    order(&setting, 1, manifest);
    setting.start_agent().await;

    let status = reaches(&setting, PackageState::Installed, 1).await;

    assert_eq!(status.held, [manifest.as_bytes().to_vec()]);
    assert_eq!((status.site.as_str(), status.distribution_point.as_str()), ("CEN", "dp1"));
    setting.stop_site().await;
    let (fetched, library) =
        fetch_as_client(&setting, manifest).await.expect("a client gets it without the site");
    let held = library.verify(&manifest).expect("verified");
    assert!(held.is_empty() && fetched.file_count() == 2);
}

#[tokio::test]
async fn content_that_the_site_does_not_hold_yet_is_retried_until_it_does() {
    let mut setting = Setting::with_site_library(true).await;
    let other = Setting::with_site_library(true).await;
    let manifest = make_version(&other, 1);
    order(&setting, 1, manifest);
    setting.start_agent().await;

    let waiting = reaches(&setting, PackageState::Retrying, 1).await;
    assert!(waiting.reason.contains("no source holds"), "{}", waiting.reason);
    assert_eq!(make_version(&setting, 1), manifest);

    reaches(&setting, PackageState::Installed, 1).await;
}

#[tokio::test]
async fn a_new_version_takes_the_place_of_the_old_one() {
    let mut setting = Setting::with_site_library(true).await;
    let old = make_version(&setting, 1);
    order(&setting, 1, old);
    setting.start_agent().await;
    reaches(&setting, PackageState::Installed, 1).await;

    let new = make_version(&setting, 2);
    order(&setting, 2, new);
    reaches(&setting, PackageState::Installed, 2).await;

    let alone = [new.as_bytes().to_vec()];
    let only_new = |known: &Known| last(known).filter(|status| status.held == alone).map(drop);
    setting.site.wait_for("the old version is gone", only_new).await;
    assert!(matches!(fetch_as_client(&setting, old).await, Err(FetchError::NotHeld { .. })));
    assert!(fetch_as_client(&setting, new).await.is_ok());
}

#[tokio::test]
async fn what_is_no_longer_ordered_is_removed_and_the_site_hears_of_it() {
    let mut setting = Setting::with_site_library(true).await;
    let manifest = make_version(&setting, 1);
    order(&setting, 1, manifest);
    setting.start_agent().await;
    reaches(&setting, PackageState::Installed, 1).await;

    setting.site.put(&format!("content/dp1/{PACKAGE}"), None);

    let is_gone = |known: &Known| {
        last(known)
            .filter(|status| status.state() == PackageState::Removing && status.held.is_empty())
            .map(drop)
    };
    setting.site.wait_for("it is gone", is_gone).await;
    assert!(matches!(fetch_as_client(&setting, manifest).await, Err(FetchError::NotHeld { .. })));
}

#[tokio::test]
async fn damage_found_while_serving_is_mended_from_the_site() {
    let mut setting = Setting::with_site_library(true).await;
    let manifest = make_version(&setting, 1);
    order(&setting, 1, manifest);
    setting.start_agent().await;
    reaches(&setting, PackageState::Installed, 1).await;
    for entry in fs::read_dir(setting.agent_directory().join("library/packs")).expect("packs") {
        let path = entry.expect("an entry").path();
        if path.extension().is_some_and(|extension| extension == "pack") {
            let pack = File::options().write(true).open(&path).expect("a pack");
            pack.write_all_at(&[0xA5; 64], pack.metadata().expect("its length").len() / 2).expect("damaged");
        }
    }

    let damaged = fetch_as_client(&setting, manifest).await;

    assert!(damaged.is_err(), "damaged bytes are never handed out");
    let mended = |known: &Known| {
        let told = known.statuses.iter().position(|status| status.reason.contains("damaged"))?;
        known.statuses[told..].iter().any(|status| status.state() == PackageState::Installed).then_some(())
    };
    setting.site.wait_for("it is mended", mended).await;
    assert!(fetch_as_client(&setting, manifest).await.is_ok());
}

#[tokio::test]
async fn a_reconnect_tells_every_state_again() {
    let mut setting = Setting::with_site_library(true).await;
    let manifest = make_version(&setting, 1);
    order(&setting, 1, manifest);
    setting.start_agent().await;
    let first = reaches(&setting, PackageState::Installed, 1).await;
    setting.stop_site().await;
    setting.site.change(|known| known.statuses.clear());

    setting.start_site().await;

    let again = reaches(&setting, PackageState::Installed, 1).await;
    assert_eq!(again.changed_at_us, first.changed_at_us, "it is the same state, told again");
}

#[tokio::test]
async fn an_order_that_makes_no_sense_is_reported_as_failed() {
    let mut setting = Setting::with_site_library(true).await;
    setting.site.put(&format!("content/dp1/{PACKAGE}"), Some(b"\xff\xff\xff"));
    setting.start_agent().await;

    let status = reaches(&setting, PackageState::Failed, 0).await;

    assert!(status.reason.contains("does not decode"), "{}", status.reason);
}
