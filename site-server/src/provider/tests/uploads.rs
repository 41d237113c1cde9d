//! Source files from the console's machine.

use std::{fs, time::Duration};

use packhorse_domain::care::Reserve;
use packhorse_proto::provider::v1::{
    CreatePackageRequest, EntryKind, Source, UploadEntry, UploadSourceRequest, source,
    upload_source_request::Body,
};
use tonic::{Code, Status};

use super::{World, from_directory, refused, version_of};
use crate::{distribution::intake, provider::uploads};

fn entry(path: &str, kind: EntryKind) -> UploadEntry {
    UploadEntry { path: path.to_owned(), kind: kind.into(), ..UploadEntry::default() }
}

fn directory(path: &str) -> Body {
    Body::Entry(entry(path, EntryKind::Directory))
}

fn link(path: &str, target: &str) -> Body {
    Body::Entry(UploadEntry { link_target: target.to_owned(), ..entry(path, EntryKind::Symlink) })
}

fn file(path: &str, length: u64) -> Body {
    Body::Entry(UploadEntry { length, executable: true, ..entry(path, EntryKind::File) })
}

fn data(bytes: &'static [u8]) -> Body {
    Body::Data(bytes.into())
}

fn good() -> Vec<Body> {
    vec![file("a", 5), data(b"he"), data(b"llo"), directory("d"), file("d/empty", 0), link("d/l", "../a")]
}

async fn send(world: &World, bodies: Vec<Body>, end: Option<Status>) -> Result<String, Status> {
    let messages =
        bodies.into_iter().map(|body| Ok(UploadSourceRequest { body: Some(body) })).chain(end.map(Err));
    uploads::receive(&world.site, tokio_stream::iter(messages)).await
}

fn left(world: &World) -> usize {
    fs::read_dir(world.site.directories.uploads()).expect("listed").count()
}

fn from_upload(id: &str) -> CreatePackageRequest {
    let source = Some(Source { from: Some(source::From::Upload(id.to_owned())) });
    CreatePackageRequest { source, ..from_directory("") }
}

#[tokio::test]
async fn an_upload_becomes_a_package_and_is_gone_then() {
    let world = World::new().await;

    let upload = send(&world, good(), None).await.unwrap();
    assert_eq!(left(&world), 1);
    let package = world.create(from_upload(&upload)).await.unwrap();

    assert_eq!((version_of(&package).file_count, version_of(&package).length_bytes), (2, 5));
    assert_eq!(package.source_directory, "");
    assert_eq!(left(&world), 0);
    refused(world.create(from_upload(&upload)).await, Code::FailedPrecondition, &["upload again"]);
    refused(world.create(from_upload("../keys")).await, Code::InvalidArgument, &["source.upload"]);
}

#[tokio::test]
async fn what_is_cut_or_refused_leaves_nothing() {
    let world = World::new().await;
    for (bodies, words) in [
        (vec![], "empty"),
        (vec![data(b"x")], "entry first"),
        (vec![file("a", 2), data(b"x")], "another length"),
        (vec![file("a", 1), data(b"xy")], "another length"),
        (vec![file("a", 2), file("b", 0)], "another length"),
        (vec![file("a", 0), file("a", 0)], "twice"),
        (vec![directory("a"), directory("a")], "twice"),
        (vec![file("../a", 0)], "relative"),
        (vec![file("/a", 0)], "relative"),
        (vec![file("d/a", 0)], "did not come before"),
        (vec![link("l", "../../keys")], "leads out"),
        (vec![directory("d"), link("l", "d"), file("l/a", 0)], "did not come before"),
        (vec![directory("d"), link("d/l", "x"), file("d/l", 0)], "twice"),
        (vec![Body::Entry(entry("a", EntryKind::Unspecified))], "neither"),
        (vec![file("a", 1 << 50), data(b"x")], "larger"),
    ] {
        refused(send(&world, bodies, None).await, Code::InvalidArgument, &[words]);
        assert_eq!(left(&world), 0, "after: {words}");
    }
    let cut = send(&world, good(), Some(Status::cancelled("the console went away"))).await;
    refused(cut, Code::Cancelled, &[]);
    assert_eq!(left(&world), 0);
}

#[tokio::test]
async fn an_upload_that_nobody_uses_goes_after_a_day() {
    let world = World::new().await;
    let upload = send(&world, good(), None).await.unwrap();
    let in_use = send(&world, good(), None).await.unwrap();
    let held = intake::Upload::claim(&world.site.directories.uploads(), &in_use).unwrap();

    world.clock.advance(Duration::from_secs(23 * 3600));
    intake::remove_stale_uploads(&world.site).unwrap();
    assert_eq!(left(&world), 2);
    world.clock.advance(Duration::from_secs(2 * 3600));
    intake::remove_stale_uploads(&world.site).unwrap();

    assert_eq!(left(&world), 1, "what is in use stays");
    drop(held);
    refused(world.create(from_upload(&upload)).await, Code::FailedPrecondition, &["upload again"]);
    world.create(from_upload(&in_use)).await.unwrap();
}

#[tokio::test]
async fn without_room_no_content_is_taken_and_everything_else_goes_on() {
    let world = World::with(|settings| settings.content.reserve = Reserve::Bytes(u64::MAX / 2)).await;
    let source = world.source("source", "echo hello\n");

    let words = ["no room for package content", "are free", "stay in reserve", "; `packhorse content usage`"];
    refused(world.create(from_directory(&source)).await, Code::FailedPrecondition, &words);
    refused(send(&world, good(), None).await, Code::FailedPrecondition, &words);

    assert_eq!(left(&world), 0);
    assert!(world.site.library.manifests().unwrap().is_empty());
    let without_source = CreatePackageRequest { source: None, ..from_directory(&source) };
    world.create(without_source).await.unwrap();
}
