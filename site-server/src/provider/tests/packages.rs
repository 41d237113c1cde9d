//! Packages from a directory: made, updated, refused, deleted.

use packhorse_content::CaseClashes;
use packhorse_domain::object::{Object, ObjectKind};
use packhorse_proto::object::v1 as wire;
use packhorse_proto::provider::v1::{
    AddTargetsRequest, DeletePackageRequest, ListPackagesRequest, RemoveProgramRequest, SetProgramRequest,
    UpdatePackageRequest, UpdatePackageResponse, package_service_server::PackageService as _,
};
use tonic::{Code, Status};

use super::{World, asked, directory, from_directory, id_of, inner, offers, program, refused, version_of};
use crate::{
    record,
    store::{contents, objects},
};

async fn update(world: &World, id: &str, source: Option<&str>) -> Result<UpdatePackageResponse, Status> {
    let request = UpdatePackageRequest { package: id.to_owned(), source: source.and_then(directory) };
    Ok(world.packages.update_package(asked(request)).await?.into_inner())
}

#[tokio::test]
async fn a_package_from_a_directory_is_held_signed_and_noted() {
    let world = World::new().await;

    let package = world.package().await;

    let id = id_of(&package);
    assert_eq!(id.as_str(), "CEN00001");
    assert_eq!(
        (package.owner.as_str(), package.source_directory.as_str()),
        ("CEN", world.path("source").to_str().unwrap())
    );
    let version = version_of(&package);
    assert_eq!(
        (version.source_version, version.release, version.file_count, version.length_bytes),
        (1, 1, 1, 11)
    );
    let signed = &package.definition.as_ref().unwrap().signed_version;
    assert!(world.site.trust(|trust| trust.open_by_author(signed, &id)).is_ok());
    let mut tx = world.site.store.read().await.unwrap();
    let held = contents::list(&mut tx).await.unwrap();
    assert_eq!(held.len(), 1);
    assert_eq!(held[0].manifest.as_bytes()[..], version.manifest[..]);
    assert!(world.site.library.has_manifest(&held[0].manifest));
    assert_eq!(
        world.audit().await,
        ["admin anna created package CEN00001 (Editor) with 1 files and 11 bytes"]
    );
}

#[tokio::test]
async fn an_unchanged_source_makes_no_version_and_a_changed_one_the_next() {
    let world = World::new().await;
    let id = id_of(&world.package().await);

    let same = update(&world, id.as_str(), None).await.unwrap();
    world.source("source", "echo changed\n");
    let changed = update(&world, id.as_str(), None).await.unwrap();

    assert!(!same.changed);
    assert_eq!(version_of(same.package.as_ref().unwrap()).release, 1);
    assert!(changed.changed);
    let version = version_of(changed.package.as_ref().unwrap()).clone();
    assert_eq!((version.source_version, version.release, version.length_bytes), (2, 2, 13));
    assert_eq!(world.audit().await.len(), 2, "nothing was written for the unchanged one");
}

#[tokio::test]
async fn an_update_from_elsewhere_remembers_the_new_place() {
    let world = World::new().await;
    let id = id_of(&world.package().await);
    let other = world.source("other", "echo hello\n");

    let moved = update(&world, id.as_str(), Some(&other)).await.unwrap();
    world.source("other", "echo other\n");
    let next = update(&world, id.as_str(), None).await.unwrap();

    assert!(!moved.changed, "the same files at another place are the same version");
    assert_eq!(moved.package.unwrap().source_directory, other);
    assert!(next.changed);
}

#[tokio::test]
async fn the_same_source_brings_back_content_that_was_lost() {
    let world = World::new().await;
    let package = world.package().await;
    let id = id_of(&package);
    let manifest = packhorse_domain::Digest::try_from(&version_of(&package).manifest[..]).unwrap();
    let mut tx = world.site.store.begin().await.unwrap();
    contents::remove(&mut tx, &id, &manifest).await.unwrap();
    tx.commit().await.unwrap();

    let again = update(&world, id.as_str(), None).await.unwrap();

    assert!(!again.changed);
    let mut tx = world.site.store.read().await.unwrap();
    assert_eq!(contents::list(&mut tx).await.unwrap().len(), 1);
}

#[tokio::test]
async fn sources_that_cannot_be_are_refused_and_leave_nothing() {
    let world = World::new().await;
    let empty = world.path("empty");
    std::fs::create_dir(&empty).unwrap();
    let own = world.path("site/keys");
    let above = world.path("");
    for (path, words) in [
        (world.path("missing").to_str().unwrap(), "does not exist"),
        (empty.to_str().unwrap(), "is empty"),
        (own.to_str().unwrap(), "own files"),
        (above.to_str().unwrap(), "own files"),
        ("relative/path", "absolute path"),
    ] {
        refused(world.create(from_directory(path)).await, Code::InvalidArgument, &[words]);
    }
    assert!(inner(world.packages.list_packages(asked(ListPackagesRequest {})).await).packages.is_empty());
    assert!(world.audit().await.is_empty());
}

#[tokio::test]
async fn names_that_differ_only_in_case_are_kept_where_the_site_says_so() {
    let refusing = World::new().await;
    let keeping = World::with(|settings| settings.content.case_clashes = CaseClashes::Keep).await;
    for world in [&refusing, &keeping] {
        let source = world.source("source", "echo hello\n");
        std::fs::write(world.path("source/xt_HL.ko"), "one").unwrap();
        std::fs::write(world.path("source/xt_hl.ko"), "other").unwrap();
        let made = world.create(from_directory(&source)).await;
        if std::ptr::eq(world, &refusing) {
            let words = ["xt_HL.ko", "xt_hl.ko", "content.case_clashes = \"keep\""];
            refused(made, Code::InvalidArgument, &words);
            assert!(world.site.library.manifests().unwrap().is_empty());
        } else {
            made.unwrap();
            let manifest = world.site.library.manifests().unwrap()[0];
            assert!(world.site.library.manifest(&manifest).unwrap().unwrap().case_sensitive);
        }
    }
}

#[tokio::test]
async fn names_ids_and_programs_are_checked_before_anything_is_made() {
    let world = World::new().await;
    let source = world.source("source", "x");
    let good = from_directory(&source);
    let with_id =
        |id: &str| packhorse_proto::provider::v1::CreatePackageRequest { id: id.to_owned(), ..good.clone() };

    refused(world.create(with_id("PAR00001")).await, Code::InvalidArgument, &["field `id`", "CEN"]);
    refused(world.create(with_id("cen1")).await, Code::InvalidArgument, &["field `id`", "8 characters"]);
    let unnamed =
        packhorse_proto::provider::v1::CreatePackageRequest { name: " ".to_owned(), ..good.clone() };
    refused(world.create(unnamed).await, Code::InvalidArgument, &["field `name`"]);
    let mut twice = good.clone();
    twice.programs.push(program("install"));
    refused(world.create(twice).await, Code::InvalidArgument, &["programs", "twice"]);
    assert_eq!(id_of(&world.create(with_id("CEN00001")).await.unwrap()).as_str(), "CEN00001");
    refused(world.create(with_id("CEN00001")).await, Code::AlreadyExists, &["CEN00001"]);
    assert_eq!(id_of(&world.create(good).await.unwrap()).as_str(), "CEN00002", "a taken number is skipped");
}

#[tokio::test]
async fn a_package_is_deleted_everywhere_but_not_while_it_is_advertised() {
    let world = World::new().await;
    let id = id_of(&world.package().await).to_string();
    let advertisement = offers::advertise(&world, &id, "install").await.unwrap();
    let delete = || DeletePackageRequest { package: id.clone() };

    let early = world.packages.delete_package(asked(delete())).await;
    refused(early, Code::FailedPrecondition, &[&advertisement, "packhorse advertisement delete"]);
    offers::withdraw(&world, &advertisement).await.unwrap();
    world.packages.delete_package(asked(delete())).await.unwrap();

    assert!(world.is_tombstone(ObjectKind::Package, &id).await);
    refused(update(&world, &id, None).await, Code::NotFound, &[&id]);
    refused(world.packages.delete_package(asked(delete())).await, Code::NotFound, &[&id]);
    let mut again = from_directory(&world.source("source", "x"));
    again.id = id;
    refused(world.create(again).await, Code::AlreadyExists, &["never used again"]);
}

#[tokio::test]
async fn a_program_that_did_not_change_is_not_signed_again() {
    let world = World::new().await;
    let id = id_of(&world.package().await).to_string();
    let set = async |program| {
        let request = SetProgramRequest { package: id.clone(), program: Some(program) };
        let answer = world.packages.set_program(asked(request)).await;
        version_of(&inner(answer).package.unwrap()).clone()
    };
    let mut other = program("install");
    other.command.push("--quiet".to_owned());

    assert_eq!(set(program("install")).await.release, 1);
    assert_eq!(set(other).await.release, 2);
    assert_eq!(set(program("remove")).await.programs.len(), 2);

    let advertisement = offers::advertise(&world, &id, "remove").await.unwrap();
    let remove = |program: &str| RemoveProgramRequest { package: id.clone(), program: program.to_owned() };
    refused(
        world.packages.remove_program(asked(remove("remove"))).await,
        Code::FailedPrecondition,
        &[&advertisement],
    );
    refused(
        world.packages.remove_program(asked(remove("other"))).await,
        Code::FailedPrecondition,
        &["install, remove"],
    );
    let left = inner(world.packages.remove_program(asked(remove("install"))).await);
    assert_eq!(version_of(&left.package.unwrap()).release, 4);
}

#[tokio::test]
async fn only_points_that_are_known_become_targets() {
    let world = World::new().await;
    let id = id_of(&world.package().await).to_string();
    let target = wire::distribution::Target { site: "CEN".to_owned(), distribution_point: "hall".to_owned() };
    let add = || AddTargetsRequest { package: id.clone(), targets: vec![target.clone()] };

    refused(
        world.packages.add_targets(asked(add())).await,
        Code::NotFound,
        &["CEN/hall", "packhorse dp list"],
    );
    super::points::add(&world, "hall", "points/hall").await.unwrap();
    let once = inner(world.packages.add_targets(asked(add())).await).package.unwrap();
    let twice = inner(world.packages.add_targets(asked(add())).await).package.unwrap();

    assert_eq!(once.targets, [target]);
    assert_eq!(twice.targets, once.targets);
}

#[tokio::test]
async fn what_another_site_owns_is_read_only() {
    let world = World::new().await;
    let id = id_of(&world.package().await).to_string();
    let mut tx = world.site.store.begin().await.unwrap();
    let held = objects::get(&mut tx, ObjectKind::Package, &id).await.unwrap().unwrap();
    let foreign = Object {
        kind: ObjectKind::Package,
        id: id.clone(),
        owner: "TOP".parse().unwrap(),
        version: held.version + 1,
        deleted: false,
        body: held.body,
        traceparent: String::new(),
    };
    let content = vec![1];
    objects::put(&mut tx, &foreign, &content, &record::digest(&content), world.site.now()).await.unwrap();
    tx.commit().await.unwrap();

    refused(update(&world, &id, None).await, Code::FailedPrecondition, &["site TOP"]);
    let delete = world.packages.delete_package(asked(DeletePackageRequest { package: id })).await;
    refused(delete, Code::FailedPrecondition, &["site TOP"]);
}

#[tokio::test]
async fn a_package_without_files_says_how_it_gets_some() {
    let world = World::new().await;
    let mut request = from_directory("");
    request.source = None;
    let package = world.create(request).await.unwrap();
    let id = id_of(&package).to_string();
    assert_eq!(version_of(&package).source_version, 0);

    refused(update(&world, &id, None).await, Code::FailedPrecondition, &["--source", "--upload"]);
    let source = world.source("source", "x");
    let updated = update(&world, &id, Some(&source)).await.unwrap();
    assert_eq!(version_of(updated.package.as_ref().unwrap()).source_version, 1);
}

#[tokio::test]
async fn a_call_that_is_dropped_leaves_nothing() {
    let world = World::new().await;
    let source = world.source("source", "x");
    {
        let gate = world.site.content_gate.write().await;
        let mut call = std::pin::pin!(world.create(from_directory(&source)));
        assert!(futures::poll!(&mut call).is_pending());
        drop(gate);
        // Into the snapshot, and away.
        while !call_is_in_snapshot(&world) {
            assert!(futures::poll!(&mut call).is_pending());
            tokio::task::yield_now().await;
        }
    }
    assert!(inner(world.packages.list_packages(asked(ListPackagesRequest {})).await).packages.is_empty());
    assert!(world.site.content_gate.try_write().is_ok(), "nobody is kept waiting");
    assert_eq!(id_of(&world.create(from_directory(&source)).await.unwrap()).as_str(), "CEN00001");
}

fn call_is_in_snapshot(world: &World) -> bool {
    world.site.content_gate.try_write().is_err()
}
