//! Packages and advertisements in numbers.

use packhorse_domain::{
    advertisement::{Acceptance, Delivery},
    object::ObjectKind,
    package::PackageState,
    site::SiteFact,
    status::{AdvertisementStatus, PackageStatus},
};
use packhorse_proto::{
    object::v1 as wire,
    provider::v1::{
        AdvertisementTally, GetPackageStatusRequest, PackageTally, SummarizeAdvertisementsRequest,
        SummarizePackagesRequest, status_service_server::StatusService as _,
    },
};
use tonic::Code;

use super::{World, asked, id_of, inner, refused};
use crate::record::{self, Body};

async fn place(world: &World, package: &str, point: &str, state: PackageState, source_version: u64) {
    let status = PackageStatus {
        package: package.parse().unwrap(),
        site: world.site.code().clone(),
        point: (!point.is_empty()).then(|| point.parse().unwrap()),
        state,
        source_version,
        held: Vec::new(),
        reason: String::new(),
        changed_at: world.site.now(),
    };
    let mut tx = world.site.store.begin().await.unwrap();
    record::put_package_status(&world.site, &mut tx, status).await.unwrap();
    tx.commit().await.unwrap();
}

async fn client(world: &World, number: u8, (acceptance, delivery): (Acceptance, Delivery), generation: u64) {
    let status = AdvertisementStatus {
        advertisement: "CEN20001".parse().unwrap(),
        client: format!("00000000-0000-0000-0000-0000000000{number:02}").parse().unwrap(),
        site: world.site.code().clone(),
        hostname: String::new(),
        acceptance,
        delivery,
        exit_code: None,
        output_tail: String::new(),
        reason: String::new(),
        source_version: 1,
        changed_at: world.site.now(),
        generation,
        closed: None,
    };
    let mut tx = world.site.store.begin().await.unwrap();
    record::put_advertisement_status(&world.site, &mut tx, &status).await.unwrap();
    tx.commit().await.unwrap();
}

async fn sites(world: &World, codes: &[&str]) {
    let mut tx = world.site.store.begin().await.unwrap();
    for code in codes {
        let fact = SiteFact {
            code: code.parse().unwrap(),
            parent: None,
            name: String::new(),
            software: String::new(),
            courier_key: String::new(),
        };
        let body = Body::of::<wire::SiteFact, _>(&fact);
        record::write(&world.site, &mut tx, ObjectKind::Site, code, body).await.unwrap();
    }
    tx.commit().await.unwrap();
}

async fn packages(world: &World, request: SummarizePackagesRequest) -> Vec<PackageTally> {
    inner(world.statuses.summarize_packages(asked(request)).await).packages
}

#[tokio::test]
async fn a_package_is_summed_up_as_its_places_stand() {
    let world = World::new().await;
    let id = id_of(&world.package().await).to_string();
    sites(&world, &["CEN", "PAR"]).await;
    let mut tx = world.site.store.begin().await.unwrap();
    let mut distribution = packhorse_domain::distribution::Distribution::empty(id.parse().unwrap());
    let targets = ["CEN/a", "CEN/b", "CEN/c", "PAR/a"];
    distribution.add(targets.map(|target| target.parse().unwrap()));
    let body = Body::of::<wire::Distribution, _>(&distribution);
    record::write(&world.site, &mut tx, ObjectKind::Distribution, &id, body).await.unwrap();
    tx.commit().await.unwrap();
    for (point, state, version) in [
        ("", PackageState::Installed, 1),
        ("a", PackageState::Pending, 1),
        ("a", PackageState::Installed, 1),
        ("b", PackageState::Retrying, 1),
        ("old", PackageState::Removing, 1),
    ] {
        place(&world, &id, point, state, version).await;
    }

    let [all] = &packages(&world, SummarizePackagesRequest::default()).await[..] else {
        panic!("one package")
    };
    let points = all.points.unwrap();
    assert_eq!((all.package.as_str(), all.name.as_str(), all.source_version), (id.as_str(), "Editor", 1));
    assert_eq!((points.targeted, points.installed, points.retrying, points.removing), (4, 1, 1, 1));
    assert_eq!((points.pending, points.failed, points.outdated, points.silent), (0, 0, 0, 2));
    assert_eq!(all.libraries.unwrap().installed, 1);

    let request = SummarizePackagesRequest { package: id.clone(), by_site: true, ..Default::default() };
    let by_site = packages(&world, request.clone()).await;
    let shown: Vec<_> = by_site
        .iter()
        .map(|one| (one.site.as_str(), one.points.unwrap().targeted, one.points.unwrap().silent))
        .collect();
    assert_eq!(shown, [("CEN", 3, 1), ("PAR", 1, 1)]);
    let first = SummarizePackagesRequest { limit: 1, ..request.clone() };
    let answer = inner(world.statuses.summarize_packages(asked(first)).await);
    assert!(answer.more && answer.packages.len() == 1);
    let rest = packages(&world, SummarizePackagesRequest { after: "CEN".to_owned(), ..request }).await;
    assert_eq!(rest.iter().map(|one| one.site.as_str()).collect::<Vec<_>>(), ["PAR"]);

    let request = GetPackageStatusRequest { package: id.clone() };
    let status = inner(world.statuses.get_package_status(asked(request)).await);
    assert_eq!(status.summary.as_ref(), Some(all), "the head of the places says the same");

    for (bad, field) in [
        (SummarizePackagesRequest { by_site: true, ..Default::default() }, "package"),
        (SummarizePackagesRequest { limit: 10_001, ..Default::default() }, "limit"),
        (SummarizePackagesRequest { site: "paris".to_owned(), ..Default::default() }, "site"),
    ] {
        refused(world.statuses.summarize_packages(asked(bad)).await, Code::InvalidArgument, &[field]);
    }
}

#[tokio::test]
async fn a_client_is_counted_once_however_often_it_reports() {
    use {Acceptance as A, Delivery as D};
    let world = World::new().await;
    sites(&world, &["CEN"]).await;
    client(&world, 1, (A::Accepted, D::Running), 1).await;
    client(&world, 1, (A::Accepted, D::Succeeded), 2).await;
    client(&world, 1, (A::Accepted, D::Running), 1).await;
    client(&world, 2, (A::Accepted, D::Failed), 1).await;
    client(&world, 3, (A::Rejected, D::Waiting), 1).await;

    let all = inner(world.statuses.summarize_advertisements(asked(Default::default())).await).advertisements;

    let expected = AdvertisementTally {
        advertisement: "CEN20001".to_owned(),
        succeeded: 1,
        failed: 1,
        rejected: 1,
        ..AdvertisementTally::default()
    };
    assert_eq!(all, std::slice::from_ref(&expected));
    let request = SummarizeAdvertisementsRequest {
        advertisement: "CEN20001".to_owned(),
        by_site: true,
        ..Default::default()
    };
    let by_site = inner(world.statuses.summarize_advertisements(asked(request)).await).advertisements;
    assert_eq!(by_site, [AdvertisementTally { site: "CEN".to_owned(), ..expected }]);
}
