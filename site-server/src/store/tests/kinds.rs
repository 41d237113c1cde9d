//! Kinds of objects stand in SQL by name: none may be left out there.

use std::collections::BTreeSet;

use packhorse_domain::{
    object::{Direction, ObjectKind},
    reconcile::is_compared,
};

use super::{open, put, site};
use crate::store::{compared, objects};

#[tokio::test]
async fn every_kind_is_offered_and_compared_the_way_it_goes() {
    let directory = tempfile::tempdir().unwrap();
    let store = open(directory.path()).await;
    let mut tx = store.begin().await.unwrap();
    for (number, kind) in (1..).zip(ObjectKind::ALL) {
        put(&mut tx, kind, kind.as_str(), number).await;
    }
    for direction in [Direction::Down, Direction::Up] {
        let of = |wanted: fn(ObjectKind, Direction) -> bool| -> BTreeSet<&str> {
            ObjectKind::ALL
                .into_iter()
                .filter(|kind| wanted(*kind, direction))
                .map(ObjectKind::as_str)
                .collect()
        };
        let lacking = objects::lacking(&mut tx, &site("PAR"), direction, 100).await.unwrap();
        let newest = objects::lacking_newest(&mut tx, &site("PAR"), direction, 100).await.unwrap();
        let compared = compared::list(&mut tx, &site("PAR"), direction).await.unwrap();

        let goes = of(|kind, direction| kind.direction() == direction);
        assert_eq!(lacking.iter().map(|object| object.kind.as_str()).collect::<BTreeSet<_>>(), goes);
        assert_eq!(newest.iter().map(|object| object.kind.as_str()).collect::<BTreeSet<_>>(), goes);
        let rows = compared.iter().map(|row| row.kind.as_str()).collect::<BTreeSet<_>>();
        assert_eq!(rows, of(is_compared), "{direction:?}");
    }
}
