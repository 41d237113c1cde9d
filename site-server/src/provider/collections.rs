//! Collections.

use std::{collections::HashMap, sync::Arc};

use packhorse_domain::{
    client::ClientFact,
    collection::Collection,
    id::{ClientId, CollectionId},
    message,
    object::ObjectKind,
};
use packhorse_proto::{
    object::v1 as wire,
    provider::v1::{
        CollectionSummary, CreateCollectionRequest, CreateCollectionResponse, DeleteCollectionRequest,
        DeleteCollectionResponse, GetCollectionRequest, GetCollectionResponse, ListCollectionsRequest,
        ListCollectionsResponse, UpdateCollectionRequest, UpdateCollectionResponse,
        collection_service_server::CollectionService,
    },
};
use packhorse_runtime::peer;
use packhorse_trust::Name;
use tonic::{Request, Response, Status};

use super::{advertisements, change::Change, check_owner, check_unused, missing, parsed};
use crate::{
    error::Error,
    record,
    site::Site,
    store::{
        Tx, clients,
        objects::{self, StoredObject},
    },
};

/// More members than this are counted and not shown.
const MEMBERS_SHOWN: usize = 10_000;

#[derive(Debug)]
pub(crate) struct Collections {
    site: Arc<Site>,
}

impl Collections {
    pub(crate) fn new(site: Arc<Site>) -> Self {
        Collections { site }
    }

    async fn list(&self) -> Result<Vec<CollectionSummary>, Error> {
        let mut tx = self.site.store.read().await?;
        let mut members: HashMap<CollectionId, u32> = HashMap::new();
        for (collection, _) in clients::memberships(&mut tx).await? {
            *members.entry(collection).or_default() += 1;
        }
        Ok(record::list::<wire::Collection, Collection>(&mut tx, ObjectKind::Collection)
            .await?
            .iter()
            .map(|(object, collection)| {
                summary(object, collection, members.get(&collection.id).copied().unwrap_or_default())
            })
            .collect())
    }

    async fn get(&self, id: &str) -> Result<GetCollectionResponse, Error> {
        let mut tx = self.site.store.read().await?;
        let (object, collection) = find(&mut tx, id).await?;
        let ids: Vec<ClientId> = clients::memberships(&mut tx)
            .await?
            .into_iter()
            .filter(|(of, _)| *of == collection.id)
            .map(|(_, client)| client)
            .collect();
        let mut members = Vec::new();
        for client in ids.iter().take(MEMBERS_SHOWN) {
            let fact =
                record::find::<wire::ClientFact, ClientFact>(&mut tx, ObjectKind::Client, client.as_str())
                    .await?;
            members.extend(fact.map(|(_, fact)| wire::ClientFact::from(&fact)));
        }
        let count = u32::try_from(ids.len()).unwrap_or(u32::MAX);
        Ok(GetCollectionResponse { collection: Some(summary(&object, &collection, count)), members })
    }

    async fn create(&self, who: &Name, mut asked: wire::Collection) -> Result<wire::Collection, Error> {
        let mut change = Change::begin(&self.site, who).await?;
        let id: CollectionId = change.new_id(ObjectKind::Collection, &asked.id).await?;
        asked.id = id.to_string();
        let collection = Collection::try_from(asked)?;
        check_clients(&mut change.tx, &collection.clients, &[]).await?;
        change.write::<wire::Collection, _>(ObjectKind::Collection, id.as_str(), &collection).await?;
        change.finish(id.as_str(), message::collection_created(&id, &collection.name)).await?;
        Ok((&collection).into())
    }

    async fn update(&self, who: &Name, asked: wire::Collection) -> Result<wire::Collection, Error> {
        let mut change = Change::begin(&self.site, who).await?;
        let (object, held) = find(&mut change.tx, &asked.id).await?;
        check_owner(&self.site, "collection", &object.id, &object.owner)?;
        let collection = Collection::try_from(asked)?;
        check_clients(&mut change.tx, &collection.clients, &held.clients).await?;
        let id = object.id.as_str();
        if change.write::<wire::Collection, _>(ObjectKind::Collection, id, &collection).await? {
            change.finish(id, message::collection_changed(&id, &collection.name)).await?;
        }
        Ok((&collection).into())
    }

    async fn delete(&self, who: &Name, id: &str) -> Result<(), Error> {
        let mut change = Change::begin(&self.site, who).await?;
        let (object, collection) = find(&mut change.tx, id).await?;
        check_owner(&self.site, "collection", &object.id, &object.owner)?;
        let naming = advertisements::naming(&mut change.tx, |one| one.collection == collection.id).await?;
        check_unused("collection", id, &naming)?;
        change.delete(ObjectKind::Collection, id).await?;
        change.finish(id, message::collection_deleted(&id, &collection.name)).await
    }
}

fn summary(object: &StoredObject, collection: &Collection, members: u32) -> CollectionSummary {
    CollectionSummary { collection: Some(collection.into()), owner: object.owner.to_string(), members }
}

/// The collection, or that there is none.
pub(super) async fn find(tx: &mut Tx, id: &str) -> Result<(StoredObject, Collection), Error> {
    let checked: CollectionId = parsed("collection", id)?;
    record::collection(tx, checked.as_str())
        .await?
        .ok_or_else(|| Error::NotFound { what: "collection", id: checked.to_string() })
}

/// A mistyped client would never be found to be missing: it just never becomes a member.
async fn check_clients(tx: &mut Tx, listed: &[ClientId], already: &[ClientId]) -> Result<(), Error> {
    for client in listed.iter().filter(|client| !already.contains(client)) {
        let known = objects::held(tx, ObjectKind::Client, client.as_str()).await?.is_some()
            || clients::is_known(tx, client).await?;
        if !known {
            return Err(Error::NotFound { what: "client", id: client.to_string() });
        }
    }
    Ok(())
}

#[tonic::async_trait]
impl CollectionService for Collections {
    async fn list_collections(
        &self,
        _: Request<ListCollectionsRequest>,
    ) -> Result<Response<ListCollectionsResponse>, Status> {
        Ok(Response::new(ListCollectionsResponse { collections: self.list().await? }))
    }

    async fn get_collection(
        &self,
        request: Request<GetCollectionRequest>,
    ) -> Result<Response<GetCollectionResponse>, Status> {
        Ok(Response::new(self.get(&request.get_ref().collection).await?))
    }

    async fn create_collection(
        &self,
        request: Request<CreateCollectionRequest>,
    ) -> Result<Response<CreateCollectionResponse>, Status> {
        let who = peer(&request)?.clone();
        let asked = request.into_inner().collection.ok_or_else(|| missing("collection"))?;
        Ok(Response::new(CreateCollectionResponse { collection: Some(self.create(&who, asked).await?) }))
    }

    async fn update_collection(
        &self,
        request: Request<UpdateCollectionRequest>,
    ) -> Result<Response<UpdateCollectionResponse>, Status> {
        let who = peer(&request)?.clone();
        let asked = request.into_inner().collection.ok_or_else(|| missing("collection"))?;
        Ok(Response::new(UpdateCollectionResponse { collection: Some(self.update(&who, asked).await?) }))
    }

    async fn delete_collection(
        &self,
        request: Request<DeleteCollectionRequest>,
    ) -> Result<Response<DeleteCollectionResponse>, Status> {
        self.delete(peer(&request)?, &request.get_ref().collection).await?;
        Ok(Response::new(DeleteCollectionResponse {}))
    }
}
