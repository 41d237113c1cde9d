//! Collection Evaluator: keeps the members of each collection among this site's own clients.

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use packhorse_domain::{
    collection::Collection,
    id::{ClientId, CollectionId},
    object::ObjectKind,
};
use packhorse_proto::object::v1 as wire;
use packhorse_runtime::{Next, Worker};

use crate::{error::Error, record, site::Site, store::clients};

/// The worker.
pub(crate) struct CollectionEvaluator {
    site: Arc<Site>,
}

impl CollectionEvaluator {
    pub(crate) fn new(site: Arc<Site>) -> Self {
        CollectionEvaluator { site }
    }
}

impl Worker for CollectionEvaluator {
    const NAME: &'static str = "collection-evaluator";
    const PERIOD: Duration = Duration::from_secs(60);
    type Error = Error;

    async fn step(&mut self) -> Result<Next, Error> {
        let mut tx = self.site.store.read().await?;
        let facts = record::clients(&mut tx, &self.site).await?;
        let collections =
            record::list::<wire::Collection, Collection>(&mut tx, ObjectKind::Collection).await?;
        let held: BTreeSet<(CollectionId, ClientId)> =
            clients::memberships(&mut tx).await?.into_iter().collect();
        let wanted: BTreeSet<(CollectionId, ClientId)> = collections
            .iter()
            .flat_map(|(_, collection)| {
                facts
                    .iter()
                    .filter(|client| collection.contains(client))
                    .map(|client| (collection.id.clone(), client.id.clone()))
            })
            .collect();
        drop(tx);
        if wanted == held {
            return Ok(Next::Idle);
        }
        let mut tx = self.site.store.begin().await?;
        for (collection, client) in wanted.difference(&held) {
            clients::add_member(&mut tx, collection, client).await?;
        }
        for (collection, client) in held.difference(&wanted) {
            clients::remove_member(&mut tx, collection, client).await?;
        }
        tx.commit().await?;
        Ok(Next::Idle)
    }
}
