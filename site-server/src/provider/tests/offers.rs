//! Collections and advertisements.

use packhorse_proto::{
    object::v1 as wire,
    provider::v1::{
        CreateAdvertisementRequest, CreateCollectionRequest, DeleteAdvertisementRequest,
        DeleteCollectionRequest, GetCollectionRequest, ListAdvertisementsRequest, UpdateCollectionRequest,
        advertisement_service_server::AdvertisementService as _,
        collection_service_server::CollectionService as _,
    },
};
use tonic::{Code, Status};

use super::{World, asked, id_of, inner, refused};

fn linux(name: &str) -> wire::Collection {
    wire::Collection {
        name: name.to_owned(),
        rule: vec![wire::collection::Condition {
            fact: "os".to_owned(),
            pattern: "linux".to_owned(),
            negated: false,
        }],
        ..wire::Collection::default()
    }
}

async fn collect(world: &World, collection: wire::Collection) -> Result<wire::Collection, Status> {
    let request = CreateCollectionRequest { collection: Some(collection) };
    Ok(world
        .collections
        .create_collection(asked(request))
        .await?
        .into_inner()
        .collection
        .expect("a collection"))
}

async fn offer(world: &World, advertisement: wire::Advertisement) -> Result<String, Status> {
    let request = CreateAdvertisementRequest { advertisement: Some(advertisement) };
    let answer = world.advertisements.create_advertisement(asked(request)).await?.into_inner();
    Ok(answer.advertisement.expect("an advertisement").id)
}

/// Advertises a program to a collection of its own.
pub(super) async fn advertise(world: &World, package: &str, program: &str) -> Result<String, Status> {
    let collection = collect(world, linux("Linux")).await?.id;
    offer(world, of(package, program, &collection)).await
}

pub(super) async fn withdraw(world: &World, advertisement: &str) -> Result<(), Status> {
    let request = DeleteAdvertisementRequest { advertisement: advertisement.to_owned() };
    world.advertisements.delete_advertisement(asked(request)).await.map(drop)
}

fn of(package: &str, program: &str, collection: &str) -> wire::Advertisement {
    wire::Advertisement {
        name: "Rollout".to_owned(),
        package: package.to_owned(),
        program: program.to_owned(),
        collection: collection.to_owned(),
        required: true,
        ..wire::Advertisement::default()
    }
}

#[tokio::test]
async fn an_advertisement_names_only_what_is_there() {
    let world = World::new().await;
    let package = id_of(&world.package().await).to_string();
    let collection = collect(&world, linux("Linux")).await.unwrap().id;
    let good = of(&package, "install", &collection);

    refused(
        offer(&world, of("CEN99999", "install", &collection)).await,
        Code::NotFound,
        &["package CEN99999"],
    );
    let unknown = offer(&world, of(&package, "remove", &collection)).await;
    refused(unknown, Code::FailedPrecondition, &["no program remove", "it has install"]);
    refused(
        offer(&world, of(&package, "install", "CEN99999")).await,
        Code::NotFound,
        &["collection CEN99999"],
    );
    let over = wire::Advertisement { expires_at_us: world.site.now().0, ..good.clone() };
    refused(offer(&world, over).await, Code::InvalidArgument, &["expires_at_us", "past"]);
    let inverted = wire::Advertisement { start_at_us: 5, expires_at_us: 4, ..good.clone() };
    refused(offer(&world, inverted).await, Code::InvalidArgument, &["before it starts"]);
    let foreign = wire::Advertisement { id: "PAR00001".to_owned(), ..good.clone() };
    refused(offer(&world, foreign).await, Code::InvalidArgument, &["field `id`"]);

    assert_eq!(offer(&world, good).await.unwrap(), "CEN20001");
    let listed = inner(world.advertisements.list_advertisements(asked(ListAdvertisementsRequest {})).await);
    assert_eq!(listed.advertisements.len(), 1);
    assert_eq!(listed.advertisements[0].owner, "CEN");
}

#[tokio::test]
async fn a_collection_is_kept_while_an_advertisement_names_it() {
    let world = World::new().await;
    let package = id_of(&world.package().await).to_string();
    let collection = collect(&world, linux("Linux")).await.unwrap().id;
    let advertisement = offer(&world, of(&package, "install", &collection)).await.unwrap();
    let delete = || DeleteCollectionRequest { collection: collection.clone() };

    refused(
        world.collections.delete_collection(asked(delete())).await,
        Code::FailedPrecondition,
        &[&advertisement],
    );
    withdraw(&world, &advertisement).await.unwrap();
    world.collections.delete_collection(asked(delete())).await.unwrap();

    let get = GetCollectionRequest { collection: collection.clone() };
    refused(world.collections.get_collection(asked(get)).await, Code::NotFound, &[&collection]);
    assert_eq!(collect(&world, linux("Other")).await.unwrap().id, "CEN00002", "ids are not used again");
}

#[tokio::test]
async fn a_collection_that_can_have_no_member_is_refused() {
    let world = World::new().await;
    let nobody = wire::Collection { rule: Vec::new(), ..linux("Nobody") };
    refused(collect(&world, nobody).await, Code::InvalidArgument, &["a rule or clients"]);
    let client = "00000000-0000-0000-0000-000000000001";
    let unknown = wire::Collection { clients: vec![client.to_owned()], ..linux("Unknown") };
    refused(collect(&world, unknown).await, Code::NotFound, &[client, "packhorse client list"]);
    let mut odd = linux("Odd");
    odd.rule[0].fact = "colour".to_owned();
    refused(collect(&world, odd).await, Code::InvalidArgument, &["colour", "hostname"]);
}

#[tokio::test]
async fn a_collection_changes_in_place() {
    let world = World::new().await;
    let mut collection = collect(&world, linux("Linux")).await.unwrap();
    collection.name = "All Linux".to_owned();
    collection.window_hours = vec![23, 22];
    let update = || UpdateCollectionRequest { collection: Some(collection.clone()) };

    world.collections.update_collection(asked(update())).await.unwrap();
    world.collections.update_collection(asked(update())).await.unwrap();

    let get = GetCollectionRequest { collection: collection.id.clone() };
    let shown = inner(world.collections.get_collection(asked(get)).await).collection.unwrap();
    let held = shown.collection.unwrap();
    assert_eq!((held.name.as_str(), shown.owner.as_str(), shown.members), ("All Linux", "CEN", 0));
    assert_eq!(held.window_hours, [22, 23]);
    assert_eq!(world.audit().await.len(), 2, "the same again is no change");
}

#[tokio::test]
async fn windows_lie_within_a_week() {
    let world = World::new().await;
    for hours in [vec![168], vec![0; 169]] {
        let odd = wire::Collection { window_hours: hours, ..linux("Odd") };
        refused(collect(&world, odd).await, Code::InvalidArgument, &["window_hours"]);
    }
}
