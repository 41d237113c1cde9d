//! Tests of a distribution point's directory: always one whole version, and nobody else's files touched.

use std::{
    fs,
    os::unix::fs::symlink,
    path::{Path, PathBuf},
};

use super::{Look, PublishTo, Published, publish, withdraw};
use crate::{
    Library, Snapshot,
    testing::{library, source, take},
    tree::{TreeError, check},
};

/// Without a record that could be read or written.
fn put(library: &Library, snapshot: &Snapshot, root: &Path) -> Result<Published, TreeError> {
    let to = PublishTo { root, name: "P1", record: Path::new("/nowhere/record"), staged: None };
    publish(library, &snapshot.digest, &snapshot.manifest, to, Look::AtWhatWasTouched)
}

fn versions(root: &Path) -> Vec<PathBuf> {
    fs::read_dir(root.join(".packhorse/P1")).unwrap().map(|entry| entry.unwrap().path()).collect()
}

#[test]
fn a_version_is_published_replaced_and_withdrawn() {
    let (_dir, library) = library();
    let (one, two) = (take(source(1).path(), &library), take(source(2).path(), &library));
    let root = tempfile::tempdir().unwrap();

    for version in [&one, &two, &two, &one] {
        put(&library, version, root.path()).unwrap();
        assert_eq!(check(&version.manifest, &root.path().join("P1")).unwrap(), Vec::<String>::new());
        assert_eq!(
            versions(root.path()),
            [root.path().join(".packhorse/P1").join(version.digest.to_string())]
        );
    }

    for _ in 0..2 {
        withdraw(root.path(), "P1").unwrap();
        assert!(root.path().join("P1").symlink_metadata().is_err());
        assert_eq!(fs::read_dir(root.path().join(".packhorse")).unwrap().count(), 0);
    }
}

#[test]
fn a_tree_altered_by_hand_is_laid_out_anew() {
    let (_dir, library) = library();
    let version = take(source(1).path(), &library);
    let root = tempfile::tempdir().unwrap();
    put(&library, &version, root.path()).unwrap();
    for _ in 0..3 {
        fs::write(root.path().join("P1/bin/run"), b"evil").unwrap();
        let published = put(&library, &version, root.path()).unwrap();
        assert_eq!((published.altered, published.files_reused), (vec!["bin/run".to_owned()], 3));
        assert_eq!(check(&version.manifest, &root.path().join("P1")).unwrap(), Vec::<String>::new());
        assert_eq!(versions(root.path()).len(), 1);
    }
    fs::remove_dir_all(&versions(root.path())[0]).unwrap();
    put(&library, &version, root.path()).unwrap();
    assert_eq!(check(&version.manifest, &root.path().join("P1")).unwrap(), Vec::<String>::new());
}

#[test]
fn what_a_crash_left_is_cleared_away() {
    let (_dir, library) = library();
    let (old, version) = (take(source(1).path(), &library), take(source(2).path(), &library));
    let root = tempfile::tempdir().unwrap();
    put(&library, &old, root.path()).unwrap();
    let store = root.path().join(".packhorse/P1");
    fs::create_dir_all(store.join("part/half")).unwrap();
    fs::create_dir_all(store.join(version.digest.to_string())).unwrap();
    symlink("nowhere", store.join("link")).unwrap();

    put(&library, &version, root.path()).unwrap();

    assert_eq!(check(&version.manifest, &root.path().join("P1")).unwrap(), Vec::<String>::new());
    assert_eq!(versions(root.path()).len(), 1);
}

#[test]
fn what_others_put_there_is_left_alone() {
    let (_dir, library) = library();
    let version = take(source(1).path(), &library);
    let root = tempfile::tempdir().unwrap();
    let place = root.path().join("P1");
    fs::create_dir(&place).unwrap();
    fs::write(place.join("mine"), b"x").unwrap();
    assert!(matches!(put(&library, &version, root.path()), Err(TreeError::Occupied { .. })));
    withdraw(root.path(), "P1").unwrap();
    assert_eq!(fs::read(place.join("mine")).unwrap(), b"x");
    fs::remove_dir_all(&place).unwrap();
    for target in ["/etc", ".packhorse/P2/x", ".packhorse/P1/../P2"] {
        symlink(target, &place).unwrap();
        assert!(matches!(put(&library, &version, root.path()), Err(TreeError::Occupied { .. })), "{target}");
        fs::remove_file(&place).unwrap();
    }
}

#[test]
fn a_link_in_place_of_the_store_leads_nowhere() {
    let (_dir, library) = library();
    let version = take(source(1).path(), &library);
    let root = tempfile::tempdir().unwrap();
    let elsewhere = tempfile::tempdir().unwrap();
    fs::create_dir(elsewhere.path().join("P1")).unwrap();
    symlink(elsewhere.path(), root.path().join(".packhorse")).unwrap();
    assert!(matches!(put(&library, &version, root.path()), Err(TreeError::Occupied { .. })));
    assert!(matches!(withdraw(root.path(), "P1"), Err(TreeError::Occupied { .. })));
    assert!(elsewhere.path().join("P1").is_dir());
    assert_eq!(fs::read_dir(elsewhere.path().join("P1")).unwrap().count(), 0);
}

#[test]
fn names_that_lead_away_and_roots_that_are_gone_are_refused() {
    let (_dir, library) = library();
    let version = take(source(1).path(), &library);
    let root = tempfile::tempdir().unwrap();
    for name in ["", ".", "..", "../x", "a/b", ".packhorse"] {
        let to = PublishTo { root: root.path(), name, record: Path::new("/nowhere/record"), staged: None };
        let refused = publish(&library, &version.digest, &version.manifest, to, Look::AtEverything);
        assert!(matches!(refused, Err(TreeError::Name { .. })), "{name}");
    }
    let gone = root.path().join("gone");
    assert!(matches!(put(&library, &version, &gone), Err(TreeError::RootMissing { .. })));
    let other = take(source(2).path(), &library);
    let to = PublishTo { root: root.path(), name: "P1", record: Path::new("/nowhere/record"), staged: None };
    let mixed = publish(&library, &other.digest, &version.manifest, to, Look::AtEverything);
    assert!(matches!(mixed, Err(TreeError::WrongManifest { .. })));
    assert_eq!(fs::read_dir(root.path()).unwrap().count(), 0);
}
