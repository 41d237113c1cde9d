//! The kill list as the site database has it: the words of this site and of all above it.

use packhorse_domain::{
    kill::{Kill, KillList, Word},
    object::ObjectKind,
};
use packhorse_proto::object::v1 as wire;

use crate::{
    error::Error,
    record,
    store::{
        Tx,
        objects::{self, StoredObject},
    },
};

/// Every word, with the object that says it.
pub(crate) async fn words(tx: &mut Tx) -> Result<Vec<(StoredObject, Word)>, Error> {
    let mut words = Vec::new();
    for object in objects::list_with_deleted(tx, ObjectKind::Kill).await? {
        let kill = match object.deleted {
            true => None,
            false => Some(record::read::<wire::Kill, Kill>(&object)?),
        };
        let word = Word { version: object.version, kill };
        words.push((object, word));
    }
    Ok(words)
}

/// What must not run here and below.
pub(crate) async fn list(tx: &mut Tx) -> Result<KillList, Error> {
    Ok(of(&words(tx).await?))
}

pub(crate) fn of(words: &[(StoredObject, Word)]) -> KillList {
    let mut list = KillList::default();
    for (object, word) in words {
        // What names no site and package is not taken in.
        if let Some((site, package)) = Kill::parse_id(&object.id) {
            list.take(site, package, word.clone());
        }
    }
    list
}
