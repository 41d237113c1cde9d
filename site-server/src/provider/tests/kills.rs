//! Killing and reviving packages.

use packhorse_domain::{
    kill::{KILLS_MAX, Kill},
    object::{Object, ObjectKind},
};
use packhorse_proto::{
    convert,
    object::v1 as wire,
    provider::v1::{
        GetPackageRequest, KillPackageRequest, ListKillsRequest, PackageKill, RevivePackageRequest,
        SetProgramRequest, package_service_server::PackageService as _,
    },
};
use tonic::{Code, Status};

use super::{World, asked, id_of, inner, program, refused};
use crate::{
    record::{self, Body},
    store::objects,
};

async fn kill(world: &World, package: &str, release: u64, reason: &str) -> Result<Vec<PackageKill>, Status> {
    let request = KillPackageRequest { package: package.to_owned(), release, reason: reason.to_owned() };
    Ok(world.packages.kill_package(asked(request)).await?.into_inner().kills)
}

async fn revive(world: &World, package: &str) -> Result<Vec<PackageKill>, Status> {
    let request = RevivePackageRequest { package: package.to_owned() };
    Ok(world.packages.revive_package(asked(request)).await?.into_inner().kills)
}

fn said(kills: &[PackageKill]) -> Vec<(&str, &str, u64, &str, bool)> {
    kills
        .iter()
        .map(|one| {
            let kill = one.kill.as_ref().unwrap();
            (one.site.as_str(), kill.package.as_str(), kill.release, kill.reason.as_str(), one.covers_present)
        })
        .collect()
}

/// A kill of the site above, as it came over the line.
async fn from_above(world: &World, package: &str) {
    let kill =
        Kill { package: package.parse().unwrap(), release: 9, reason: "stop".into(), at: world.site.now() };
    let object = Object {
        kind: ObjectKind::Kill,
        id: format!("TOP/{package}"),
        owner: "TOP".parse().unwrap(),
        version: 1,
        deleted: false,
        body: convert::encode::<wire::Kill, _>(&kill),
        traceparent: String::new(),
    };
    let mut tx = world.site.store.begin().await.unwrap();
    objects::put(&mut tx, &object, b"", &record::digest(b""), world.site.now()).await.unwrap();
    tx.commit().await.unwrap();
}

#[tokio::test]
async fn a_kill_is_signed_noted_and_shown_with_the_package() {
    let world = World::new().await;
    let id = id_of(&world.package().await);

    let kills = kill(&world, id.as_str(), 0, "it wipes disks").await.unwrap();

    assert_eq!(said(&kills), [("CEN", "CEN00001", 1, "it wipes disks", true)]);
    let shown = inner(world.packages.get_package(asked(GetPackageRequest { package: id.to_string() })).await);
    assert_eq!(shown.package.unwrap().kills, kills);
    let mut tx = world.site.store.read().await.unwrap();
    let object = objects::get(&mut tx, ObjectKind::Kill, "CEN/CEN00001").await.unwrap().unwrap();
    drop(tx);
    let director = world.site.director().public();
    assert!(packhorse_trust::open(packhorse_trust::SignedType::Object, &object.content, &[director]).is_ok());
    let audit = world.audit().await;
    assert_eq!(audit.last().unwrap(), "admin anna killed package CEN00001 up to release 1: it wipes disks");
    // Once more is nothing new.
    assert_eq!(kill(&world, id.as_str(), 1, "it wipes disks").await.unwrap(), kills);
    assert_eq!(world.audit().await, audit);

    assert_eq!(revive(&world, id.as_str()).await.unwrap(), []);
    assert!(world.is_tombstone(ObjectKind::Kill, "CEN/CEN00001").await);
    assert_eq!(world.audit().await.last().unwrap(), "admin anna revived package CEN00001");
    assert_eq!(inner(world.packages.list_kills(asked(ListKillsRequest {})).await).kills, []);
}

#[tokio::test]
async fn a_kill_rises_with_the_releases_and_goes_back_only_when_it_was_lifted() {
    let world = World::new().await;
    let id = id_of(&world.package().await);
    kill(&world, id.as_str(), 0, "bad").await.unwrap();
    let set = SetProgramRequest { package: id.to_string(), program: Some(program("other")) };
    inner(world.packages.set_program(asked(set)).await);
    let held = inner(world.packages.list_kills(asked(ListKillsRequest {})).await).kills;
    assert_eq!(said(&held), [("CEN", "CEN00001", 1, "bad", false)], "the new release may run");

    let kills = kill(&world, id.as_str(), 0, "still bad").await.unwrap();
    assert_eq!(said(&kills), [("CEN", "CEN00001", 2, "still bad", true)]);

    let words = &["killed up to release 2", "packhorse package revive CEN00001"];
    refused(kill(&world, id.as_str(), 1, "bad").await, Code::FailedPrecondition, words);
    revive(&world, id.as_str()).await.unwrap();
    let kills = kill(&world, id.as_str(), 1, "bad").await.unwrap();
    assert_eq!(said(&kills), [("CEN", "CEN00001", 1, "bad", false)]);
}

#[tokio::test]
async fn what_makes_no_kill_is_refused_with_the_remedy() {
    let world = World::new().await;
    let id = id_of(&world.package().await);

    for (package, reason, code, words) in [
        ("CEN1", "bad", Code::InvalidArgument, &["package id"][..]),
        ("CEN00001", "", Code::InvalidArgument, &["reason", "1 to 512 bytes"]),
        ("CEN00001", "a\nb", Code::InvalidArgument, &["control characters"]),
        ("PAR00001", "bad", Code::FailedPrecondition, &["not known at site CEN", "--release"]),
    ] {
        refused(kill(&world, package, 0, reason).await, code, words);
    }
    // One that a site below made, which this site does not know.
    let kills = kill(&world, "PAR00001", 4, "bad").await.unwrap();
    assert_eq!(said(&kills), [("CEN", "PAR00001", 4, "bad", false)]);
    refused(revive(&world, id.as_str()).await, Code::FailedPrecondition, &["not killed", "package kills"]);
    from_above(&world, id.as_str()).await;
    refused(revive(&world, id.as_str()).await, Code::FailedPrecondition, &["lifted at TOP"]);
    kill(&world, id.as_str(), 0, "bad").await.unwrap();
    let left = revive(&world, id.as_str()).await.unwrap();
    assert_eq!(said(&left), [("TOP", "CEN00001", 9, "stop", true)], "what another site says holds on");
}

#[tokio::test]
async fn a_site_kills_no_more_packages_than_clients_can_keep() {
    let world = World::new().await;
    let mut tx = world.site.store.begin().await.unwrap();
    for number in 0..KILLS_MAX {
        let package: packhorse_domain::id::PackageId = format!("CEN9{number:04}").parse().unwrap();
        let body = Kill { package: package.clone(), release: 1, reason: "bad".into(), at: world.site.now() };
        let id = Kill::id(world.site.code(), &package);
        let body = Body::of::<wire::Kill, _>(&body);
        record::write(&world.site, &mut tx, ObjectKind::Kill, &id, body).await.unwrap();
        if number % 2 == 0 {
            record::write(&world.site, &mut tx, ObjectKind::Kill, &id, Body::Deleted).await.unwrap();
        }
    }
    tx.commit().await.unwrap();

    let words = &["500", "packhorse advertisement delete"];
    refused(kill(&world, "CEN00001", 1, "bad").await, Code::FailedPrecondition, words);
    // Those that it has a word about already it may kill as it likes.
    kill(&world, "CEN90000", 1, "bad").await.unwrap();
    kill(&world, "CEN90001", 2, "bad").await.unwrap();
}
