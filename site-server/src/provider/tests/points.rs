//! Directories as distribution points.

use std::fs;

use packhorse_content::{Look, PublishTo, publish};
use packhorse_domain::{Digest, object::ObjectKind};
use packhorse_proto::{
    object::v1 as wire,
    provider::v1::{
        AddDirectoryRequest, AddTargetsRequest, GetPackageRequest, ListDistributionPointsRequest,
        RemoveDistributionPointRequest, distribution_point_service_server::DistributionPointService as _,
        package_service_server::PackageService as _,
    },
};
use tonic::{Code, Status};

use super::{World, asked, id_of, inner, refused, version_of};

pub(super) async fn add(world: &World, name: &str, path: &str) -> Result<(), Status> {
    let path = world.path(path).to_str().expect("UTF-8").to_owned();
    world.points.add_directory(asked(AddDirectoryRequest { name: name.to_owned(), path })).await.map(drop)
}

#[tokio::test]
async fn a_directory_must_be_free() {
    let world = World::new().await;
    world.source("full", "x");

    add(&world, "hall", "points/hall").await.unwrap();
    assert!(world.path("points/hall").is_dir());
    refused(add(&world, "hall", "points/other").await, Code::AlreadyExists, &["hall"]);
    refused(add(&world, "desk", "points/hall/inside").await, Code::InvalidArgument, &["in use"]);
    refused(add(&world, "desk", "points").await, Code::InvalidArgument, &["in use"]);
    refused(add(&world, "desk", "site/keys").await, Code::InvalidArgument, &["in use"]);
    refused(add(&world, "desk", "full").await, Code::FailedPrecondition, &["setup.sh"]);
    refused(add(&world, "no/name", "points/other").await, Code::InvalidArgument, &["field `name`"]);

    let listed = inner(world.points.list_distribution_points(asked(ListDistributionPointsRequest {})).await);
    let names: Vec<_> = listed.points.iter().map(|point| format!("{}/{}", point.site, point.name)).collect();
    assert_eq!(names, ["CEN/hall"]);
}

#[tokio::test]
async fn a_removed_point_is_emptied_and_no_target_any_more() {
    let world = World::new().await;
    let package = world.package().await;
    let id = id_of(&package).to_string();
    add(&world, "hall", "hall").await.unwrap();
    let target = wire::distribution::Target { site: "CEN".to_owned(), distribution_point: "hall".to_owned() };
    let send = AddTargetsRequest { package: id.clone(), targets: vec![target] };
    world.packages.add_targets(asked(send)).await.unwrap();
    let manifest = Digest::try_from(&version_of(&package).manifest[..]).unwrap();
    let content = world.site.library.manifest(&manifest).unwrap().unwrap();
    let (root, record) = (world.path("hall"), world.path("record"));
    let to = PublishTo { root: &root, name: &id, record: &record, staged: None };
    publish(&world.site.library, &manifest, &content, to, Look::AtEverything).unwrap();
    assert!(world.path("hall").join(&id).join("setup.sh").exists());
    // What Despooler once staged there leaves this behind.
    fs::create_dir(world.path("hall").join(".packhorse/.staging")).unwrap();

    let remove = || RemoveDistributionPointRequest { name: "hall".to_owned() };
    world.points.remove_distribution_point(asked(remove())).await.unwrap();

    assert_eq!(fs::read_dir(world.path("hall")).unwrap().count(), 0);
    assert!(world.is_tombstone(ObjectKind::DistributionPoint, "CEN/hall").await);
    let shown =
        inner(world.packages.get_package(asked(GetPackageRequest { package: id })).await).package.unwrap();
    assert!(shown.targets.is_empty());
    refused(world.points.remove_distribution_point(asked(remove())).await, Code::NotFound, &["hall"]);
    add(&world, "hall", "hall").await.unwrap();
}
