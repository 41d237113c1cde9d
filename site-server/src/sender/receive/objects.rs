//! Objects that come in: those that came together are taken in in one transaction.

use packhorse_domain::{
    link::{ItemId, Link, Offer},
    message,
};
use packhorse_runtime::error_chain;

use super::{OBJECT_LENGTH_MAX, Partial, Receiver, settled};
use crate::{
    error::Error,
    sender::apply,
    status::{self, kind_of},
};

impl Receiver {
    pub(super) async fn object_offered(
        &mut self,
        offer: Offer,
        link: &mut Link,
    ) -> Result<Option<(ItemId, Vec<u8>)>, Error> {
        if let Some(bytes) = offer.inline {
            return Ok(Some((offer.item, bytes)));
        }
        if offer.length == 0 || offer.length > OBJECT_LENGTH_MAX {
            self.turn_away(offer.item, "an object has at most 1 MiB", link).await?;
            return Ok(None);
        }
        self.objects.insert(offer.item, Partial { length: offer.length, bytes: Vec::new() });
        settled(link.accept(offer.item, 0));
        Ok(None)
    }

    pub(super) fn object_bytes(&mut self, item: ItemId, bytes: &[u8]) -> Option<(ItemId, Vec<u8>)> {
        let held = self.objects.get_mut(&item)?;
        held.bytes.extend_from_slice(bytes);
        // The link has refused anything beyond the offered length.
        if (held.bytes.len() as u64) < held.length {
            return None;
        }
        self.objects.remove(&item).map(|whole| (item, whole.bytes))
    }

    pub(super) async fn apply(
        &mut self,
        whole: Vec<(ItemId, Vec<u8>)>,
        link: &mut Link,
    ) -> Result<(), Error> {
        let mut tx = self.site.store.begin().await?;
        let mut answers = Vec::new();
        for (item, bytes) in whole {
            let result = match ItemId::of(&crate::record::digest(&bytes)) == item {
                true => apply::apply(&self.site, &mut tx, &self.peer, self.relation, &bytes).await,
                false => Err(apply::Rejection::OtherName),
            };
            if let Err(rejection) = &result {
                let (kind, why) = (kind_of(rejection), error_chain(rejection));
                let message = message::object_refused(&self.peer, &kind, &why);
                status::report(&self.site, &mut tx, self.peer.as_str(), &message).await?;
            }
            answers.push((item, result));
        }
        tx.commit().await?;
        for (item, result) in answers {
            match result {
                Ok(()) => settled(link.finished(item)),
                Err(rejection) => settled(link.refuse(item, rejection.reason(), error_chain(&rejection))),
            }
        }
        Ok(())
    }
}
