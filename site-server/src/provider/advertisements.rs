//! Advertisements.

use std::{collections::HashMap, sync::Arc};

use packhorse_domain::{
    advertisement::Advertisement,
    id::{AdvertisementId, PackageId},
    message,
    object::ObjectKind,
};
use packhorse_proto::{
    object::v1 as wire,
    provider::v1::{
        AdvertisementSummary, CreateAdvertisementRequest, CreateAdvertisementResponse,
        DeleteAdvertisementRequest, DeleteAdvertisementResponse, GetAdvertisementRequest,
        GetAdvertisementResponse, ListAdvertisementsRequest, ListAdvertisementsResponse,
        advertisement_service_server::AdvertisementService,
    },
};
use packhorse_runtime::peer;
use packhorse_trust::Name;
use tonic::{Request, Response, Status};

use super::{change::Change, check_owner, collections, invalid, missing, packages, parsed};
use crate::{
    error::Error,
    record,
    site::Site,
    store::{Tx, objects::StoredObject, offers},
};

#[derive(Debug)]
pub(crate) struct Advertisements {
    site: Arc<Site>,
}

impl Advertisements {
    pub(crate) fn new(site: Arc<Site>) -> Self {
        Advertisements { site }
    }

    async fn list(&self) -> Result<Vec<AdvertisementSummary>, Error> {
        let mut tx = self.site.store.read().await?;
        let held_back: HashMap<_, _> = offers::held_back(&mut tx).await?.into_iter().collect();
        Ok(record::list::<wire::Advertisement, Advertisement>(&mut tx, ObjectKind::Advertisement)
            .await?
            .iter()
            .map(|(object, one)| summary(object, one, held_back.get(&one.id).cloned().unwrap_or_default()))
            .collect())
    }

    async fn get(&self, id: &str) -> Result<AdvertisementSummary, Error> {
        let mut tx = self.site.store.read().await?;
        let (object, advertisement) = find(&mut tx, id).await?;
        let reason = held_back(&mut tx, &advertisement.id).await?;
        Ok(summary(&object, &advertisement, reason))
    }

    async fn create(&self, who: &Name, mut asked: wire::Advertisement) -> Result<wire::Advertisement, Error> {
        let mut change = Change::begin(&self.site, who).await?;
        let id: AdvertisementId = change.new_id(ObjectKind::Advertisement, &asked.id).await?;
        asked.id = id.to_string();
        let advertisement = Advertisement::try_from(asked)?;
        self.check(&mut change.tx, &advertisement).await?;
        change
            .write::<wire::Advertisement, _>(ObjectKind::Advertisement, id.as_str(), &advertisement)
            .await?;
        let Advertisement { name, package, program, collection, .. } = &advertisement;
        let message = message::advertised(program, package, collection, &id, name);
        change.finish(id.as_str(), message).await?;
        Ok((&advertisement).into())
    }

    /// Whether what it names is there, and whether it can still come to anything.
    async fn check(&self, tx: &mut Tx, advertisement: &Advertisement) -> Result<(), Error> {
        let package = packages::find(tx, advertisement.package.as_str()).await?;
        if package.version.program(&advertisement.program).is_none() {
            return Err(no_program(
                &package.version.programs,
                &advertisement.package,
                advertisement.program.as_str(),
            ));
        }
        collections::find(tx, advertisement.collection.as_str()).await?;
        if advertisement.is_expired(self.site.now()) {
            return Err(invalid("expires_at_us", "it is in the past: give a later time, or none"));
        }
        Ok(())
    }

    async fn delete(&self, who: &Name, id: &str) -> Result<(), Error> {
        let mut change = Change::begin(&self.site, who).await?;
        let (object, advertisement) = find(&mut change.tx, id).await?;
        check_owner(&self.site, "advertisement", &object.id, &object.owner)?;
        change.delete(ObjectKind::Advertisement, id).await?;
        change.finish(id, message::advertisement_deleted(&id, &advertisement.name)).await
    }
}

/// That a package has no such program, and those that it has.
pub(super) fn no_program(
    programs: &[packhorse_domain::package::Program],
    package: &PackageId,
    program: &str,
) -> Error {
    let names = programs.iter().map(|one| one.name.as_str()).collect::<Vec<_>>().join(", ");
    let has = if names.is_empty() { "it has none".to_owned() } else { format!("it has {names}") };
    Error::Precondition(format!(
        "package {package} has no program {program} ({has}); name one of those, or add it with `packhorse program set`"
    ))
}

fn summary(object: &StoredObject, advertisement: &Advertisement, held_back: String) -> AdvertisementSummary {
    AdvertisementSummary {
        advertisement: Some(advertisement.into()),
        owner: object.owner.to_string(),
        held_back,
    }
}

/// The advertisement, or that there is none.
pub(super) async fn find(tx: &mut Tx, id: &str) -> Result<(StoredObject, Advertisement), Error> {
    let checked: AdvertisementId = parsed("advertisement", id)?;
    record::advertisement(tx, checked.as_str())
        .await?
        .ok_or_else(|| Error::NotFound { what: "advertisement", id: checked.to_string() })
}

/// What holds it back at this site; empty: nothing does.
pub(super) async fn held_back(tx: &mut Tx, id: &AdvertisementId) -> Result<String, Error> {
    let reasons = offers::held_back(tx).await?;
    Ok(reasons.into_iter().find(|(one, _)| one == id).map(|(_, reason)| reason).unwrap_or_default())
}

/// The ids of the advertisements that name something.
pub(super) async fn naming(
    tx: &mut Tx,
    names: impl Fn(&Advertisement) -> bool,
) -> Result<Vec<String>, Error> {
    Ok(record::list::<wire::Advertisement, Advertisement>(tx, ObjectKind::Advertisement)
        .await?
        .into_iter()
        .filter(|(_, one)| names(one))
        .map(|(object, _)| object.id)
        .collect())
}

#[tonic::async_trait]
impl AdvertisementService for Advertisements {
    async fn list_advertisements(
        &self,
        _: Request<ListAdvertisementsRequest>,
    ) -> Result<Response<ListAdvertisementsResponse>, Status> {
        Ok(Response::new(ListAdvertisementsResponse { advertisements: self.list().await? }))
    }

    async fn get_advertisement(
        &self,
        request: Request<GetAdvertisementRequest>,
    ) -> Result<Response<GetAdvertisementResponse>, Status> {
        let advertisement = self.get(&request.get_ref().advertisement).await?;
        Ok(Response::new(GetAdvertisementResponse { advertisement: Some(advertisement) }))
    }

    async fn create_advertisement(
        &self,
        request: Request<CreateAdvertisementRequest>,
    ) -> Result<Response<CreateAdvertisementResponse>, Status> {
        let who = peer(&request)?.clone();
        let asked = request.into_inner().advertisement.ok_or_else(|| missing("advertisement"))?;
        Ok(Response::new(CreateAdvertisementResponse {
            advertisement: Some(self.create(&who, asked).await?),
        }))
    }

    async fn delete_advertisement(
        &self,
        request: Request<DeleteAdvertisementRequest>,
    ) -> Result<Response<DeleteAdvertisementResponse>, Status> {
        self.delete(peer(&request)?, &request.get_ref().advertisement).await?;
        Ok(Response::new(DeleteAdvertisementResponse {}))
    }
}
