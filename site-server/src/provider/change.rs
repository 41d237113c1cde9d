//! A change by an administrator: one transaction that ends with the note of who made it.

use packhorse_domain::{
    id, message,
    object::{BODY_LENGTH_MAX, ObjectKind},
};
use packhorse_proto::convert;
use packhorse_trust::Name;
use prost::Message;

use super::{invalid, parsed};
use crate::{
    error::Error,
    record::{self, Body},
    site::Site,
    status,
    store::{Tx, objects},
};

/// An object travels in one frame with its signature, and its body stays below this.
const BODY_LENGTH: usize = BODY_LENGTH_MAX - 4096;

/// A use case under way. What it did is gone unless [`Change::finish`] answers.
pub(super) struct Change<'a> {
    pub(super) site: &'a Site,
    pub(super) tx: Tx,
    who: &'a Name,
}

impl<'a> Change<'a> {
    pub(super) async fn begin(site: &'a Site, who: &'a Name) -> Result<Change<'a>, Error> {
        Ok(Change { site, tx: site.store.begin().await?, who })
    }

    /// Writes an object of this site; says whether it changed.
    pub(super) async fn write<'v, M, T>(
        &mut self,
        kind: ObjectKind,
        id: &str,
        value: &'v T,
    ) -> Result<bool, Error>
    where
        M: Message + From<&'v T>,
    {
        let body = convert::encode::<M, T>(value);
        if body.len() > BODY_LENGTH {
            return Err(Error::Invalid(format!(
                "the {} has {} bytes and may have {BODY_LENGTH}: make it smaller or split it",
                kind.as_str(),
                body.len()
            )));
        }
        record::write(self.site, &mut self.tx, kind, id, Body::Value(body)).await
    }

    /// Writes a tombstone, if there is something to bury.
    pub(super) async fn delete(&mut self, kind: ObjectKind, id: &str) -> Result<(), Error> {
        record::write(self.site, &mut self.tx, kind, id, Body::Deleted).await?;
        Ok(())
    }

    /// Notes who did what, and makes it last.
    pub(super) async fn finish(mut self, subject: &str, message: message::Message) -> Result<(), Error> {
        self.note(subject, message).await?;
        Ok(self.tx.commit().await?)
    }

    /// Notes who did what, where a use case does more than one thing.
    pub(super) async fn note(&mut self, subject: &str, message: message::Message) -> Result<(), Error> {
        let message = message.by(&self.by());
        status::report(self.site, &mut self.tx, subject, &message).await
    }

    /// Role and name of whoever makes it.
    pub(super) fn by(&self) -> String {
        format!("{} {}", self.who.role, self.who.id)
    }

    /// The id of a new object: the one that was given, or the site's next.
    pub(super) async fn new_id<T>(&mut self, kind: ObjectKind, given: &str) -> Result<T, Error>
    where
        T: std::str::FromStr<Err = id::IdError>,
    {
        if !given.is_empty() {
            check_given(self.site, &mut self.tx, kind, given).await?;
            return parsed("id", given);
        }
        loop {
            let number = self.tx.next_number(kind.as_str()).await?;
            let number = u32::try_from(number.saturating_add(numbers_before(kind))).unwrap_or(u32::MAX);
            let next = id::numbered(self.site.code(), number).ok_or_else(|| {
                Error::Precondition(format!(
                    "site {} has used up its {} numbers; give an id of your own with letters in it",
                    self.site.code(),
                    kind.as_str()
                ))
            })?;
            if objects::held(&mut self.tx, kind, &next).await?.is_none() {
                return parsed("id", &next);
            }
        }
    }
}

/// Advertisements are numbered from 20001 on, as they always were: an id that is read aloud should mean one thing.
fn numbers_before(kind: ObjectKind) -> u64 {
    if kind == ObjectKind::Advertisement { 20_000 } else { 0 }
}

/// A given id is one of this site's and was never used. A deleted one stays used: elsewhere the ledgers of clients
/// remember it.
pub(super) async fn check_given(
    site: &Site,
    tx: &mut Tx,
    kind: ObjectKind,
    given: &str,
) -> Result<(), Error> {
    let (what, code) = (kind.as_str(), site.code());
    // The three kinds of ids have one grammar.
    let id: id::PackageId = parsed("id", given)?;
    if id.site() != code.as_str() {
        return Err(invalid(
            "id",
            format!(
                "`{given}` does not begin with {code}, the code of the site where it is made; leave it out, and the site gives one"
            ),
        ));
    }
    match objects::get(tx, kind, given).await? {
        None => Ok(()),
        Some(held) if held.deleted => Err(Error::Exists(format!(
            "{what} {given} was deleted, and an id is never used again; choose another, or leave it out"
        ))),
        Some(_) => Err(Error::Exists(format!(
            "there is a {what} {given} already; choose another id, or leave it out"
        ))),
    }
}
