//! Bundles that do not fit on the disk wait at the site that sends them, and people hear of it at both ends.

use std::{fs, os::unix::fs::MetadataExt as _};

use packhorse_domain::{
    id::PackageId,
    link::{ItemId, Link, Offer, RefuseReason},
    message,
    package::PackageState,
    status::PackageStatus,
};

use super::{Receiver, settled};
use crate::{
    care::room::{self, NoRoom},
    distribution,
    error::Error,
    record, status,
    store::Tx,
};

/// What the site's status says meanwhile. It has no numbers, so that it is news only once.
const WAITS: &str = "the disk has no room for the bundle; it is sent again by itself when there is";

impl Receiver {
    /// Whether a bundle fits: what is still to come of it into the spool, and about as much again into the library.
    pub(super) fn check_room(&self, offer: &Offer) -> Result<(), NoRoom> {
        let file = fs::metadata(self.site.directories.arrival(&offer.item));
        let here = file.map_or(0, |file| file.blocks().saturating_mul(512));
        self.room_for(offer.length.saturating_sub(here), offer.length)
    }

    pub(super) fn room_for(&self, spool_bytes: u64, library_bytes: u64) -> Result<(), NoRoom> {
        let reserve = self.site.settings.content.reserve;
        let (spool, library) = (self.site.directories.incoming(), self.site.directories.library());
        let device = |path| fs::metadata(path).map(|facts: fs::Metadata| facts.dev()).ok();
        if device(&spool) == device(&library) {
            return room::check(reserve, &spool, spool_bytes.saturating_add(library_bytes));
        }
        room::check(reserve, &spool, spool_bytes)?;
        room::check(reserve, &library, library_bytes)
    }

    /// Refuses the bundle for now. What is here of it stays; the sender tries again by itself.
    pub(super) async fn wait_for_room(
        &self,
        item: ItemId,
        package: &PackageId,
        no_room: &NoRoom,
        link: &mut Link,
    ) -> Result<(), Error> {
        settled(link.refuse(item, RefuseReason::NoSpace, no_room.to_string()));
        let mut tx = self.site.store.begin().await?;
        if !self.is_noted(&mut tx, package).await? {
            self.note(&mut tx, package, PackageState::Retrying, WAITS).await?;
            let message = message::bundle_waits_for_room(no_room);
            status::report(&self.site, &mut tx, package.as_str(), &message).await?;
        }
        Ok(tx.commit().await?)
    }

    /// There is room by now.
    pub(super) async fn has_room(&self, tx: &mut Tx, package: &PackageId) -> Result<(), Error> {
        match self.is_noted(tx, package).await? {
            true => self.note(tx, package, PackageState::Pending, "").await,
            false => Ok(()),
        }
    }

    async fn is_noted(&self, tx: &mut Tx, package: &PackageId) -> Result<bool, Error> {
        let noted = distribution::noted_failure(tx, &self.site, package).await?;
        Ok(noted.is_some_and(|noted| noted.reason == WAITS))
    }

    async fn note(
        &self,
        tx: &mut Tx,
        package: &PackageId,
        state: PackageState,
        reason: &str,
    ) -> Result<(), Error> {
        let version =
            record::package(tx, package.as_str()).await?.map(|package| package.version.source_version);
        let status = PackageStatus {
            package: package.clone(),
            site: self.site.code().clone(),
            point: None,
            state,
            source_version: version.unwrap_or_default(),
            held: distribution::held(&self.site, tx, package).await?,
            reason: reason.to_owned(),
            changed_at: self.site.now(),
        };
        record::put_package_status(&self.site, tx, status).await?;
        Ok(())
    }
}
