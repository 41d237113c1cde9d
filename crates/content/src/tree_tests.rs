//! Tests of trees: laid out as taken, checked to the byte, and never outside.

use std::{
    fs,
    os::unix::fs::{PermissionsExt, symlink},
};

use super::{TreeError, check, fill::fill, lay_out};
use crate::{
    CaseClashes, ChunkRef, Entry, EntryKind, Manifest, SnapshotOptions, snapshot_with,
    testing::{carry_on, library, source, take},
};

#[test]
fn a_tree_is_laid_out_as_it_was_taken() {
    let (_dir, library) = library();
    let source = source(1);
    let taken = take(source.path(), &library);
    let place = tempfile::tempdir().unwrap();
    let into = place.path().join("tree");

    lay_out(&library, &taken.manifest, &into).unwrap();

    assert_eq!(check(&taken.manifest, &into).unwrap(), Vec::<String>::new());
    assert_eq!(take(&into, &library), taken);
    let mode = |path: &str| into.join(path).metadata().unwrap().permissions().mode() & 0o7777;
    assert_eq!((mode("bin/run"), mode("large"), mode("bin")), (0o755, 0o644, 0o755));
    assert_eq!(fs::read_link(into.join("bin/data")).unwrap().to_str(), Some("../large"));
}

#[test]
fn many_files_are_laid_out_too() {
    let (_dir, library) = library();
    let source = tempfile::tempdir().unwrap();
    for number in 0..300 {
        let dir = source.path().join(format!("{}/{}", number % 7, number % 3));
        fs::create_dir_all(&dir).unwrap();
        fs::write(dir.join(number.to_string()), number.to_string()).unwrap();
    }
    let taken = take(source.path(), &library);
    let place = tempfile::tempdir().unwrap();
    lay_out(&library, &taken.manifest, &place.path().join("tree")).unwrap();
    assert_eq!(take(&place.path().join("tree"), &library), taken);
}

#[test]
fn what_is_there_already_is_not_touched() {
    let (_dir, library) = library();
    let taken = take(source(1).path(), &library);
    let place = tempfile::tempdir().unwrap();
    fs::write(place.path().join("mine"), b"x").unwrap();
    assert!(matches!(lay_out(&library, &taken.manifest, place.path()), Err(TreeError::Exists { .. })));
    let link = place.path().join("link");
    symlink("elsewhere", &link).unwrap();
    assert!(matches!(lay_out(&library, &taken.manifest, &link), Err(TreeError::Exists { .. })));
    assert_eq!(fs::read(place.path().join("mine")).unwrap(), b"x");
}

#[test]
fn hostile_manifests_make_nothing() {
    let (_dir, library) = library();
    let file = |path: &str| Entry { path: path.into(), kind: EntryKind::Directory };
    let link = |path: &str, target: &str| Entry {
        path: path.into(),
        kind: EntryKind::Symlink { target: target.into() },
    };
    let place = tempfile::tempdir().unwrap();
    for entries in [
        vec![file("../escaped")],
        vec![file("/tmp/escaped")],
        vec![file("a/../../escaped")],
        vec![link("l", "..")],
        vec![link("l", "/")],
        vec![link("l", "x"), file("l/escaped"), file("x")],
        vec![file("a"), file("a")],
        vec![file("a\0b")],
    ] {
        let refused =
            lay_out(&library, &Manifest { case_sensitive: false, entries }, &place.path().join("tree"));
        assert!(matches!(refused, Err(TreeError::Manifest(_))));
        assert_eq!(fs::read_dir(place.path()).unwrap().count(), 0);
    }
}

#[test]
fn names_that_differ_only_in_case_are_two_files() {
    let (_dir, library) = library();
    let dir = source(1);
    fs::write(dir.path().join("LARGE"), b"another").unwrap();
    let options = SnapshotOptions { case_clashes: CaseClashes::Keep, ..SnapshotOptions::default() };
    let taken = snapshot_with(dir.path(), &library, options, &carry_on).unwrap();
    let place = tempfile::tempdir().unwrap();
    let into = place.path().join("tree");

    lay_out(&library, &taken.manifest, &into).unwrap();

    assert_eq!(check(&taken.manifest, &into).unwrap(), Vec::<String>::new());
    assert_eq!(fs::read(into.join("LARGE")).unwrap(), b"another");
}

/// As a file system answers that takes two names for one.
#[test]
fn a_name_that_is_there_already_says_what_the_file_system_lacks() {
    let (_dir, library) = library();
    let taken = take(source(1).path(), &library);
    for (taken_name, is_directory) in [("large", false), ("bin", true), ("start", false)] {
        let into = tempfile::tempdir().unwrap();
        let name = into.path().join(taken_name);
        if is_directory {
            fs::create_dir(&name).unwrap()
        } else {
            fs::write(&name, b"").unwrap()
        }

        let refused = fill(&library, &taken.manifest, into.path(), super::From::default()).unwrap_err();

        let text = refused.to_string();
        assert!(matches!(refused, TreeError::NotToldApart { path } if path == name), "{text}");
        assert!(text.contains("tells case apart"), "{text}");
    }
}

#[test]
fn a_tree_that_cannot_be_finished_is_removed() {
    let (_dir, library) = library();
    let mut taken = take(source(1).path(), &library);
    let place = tempfile::tempdir().unwrap();
    let into = place.path().join("tree");
    // A file whose chunks are held, under a digest that is not theirs.
    for entry in &mut taken.manifest.entries {
        if let EntryKind::File { digest, chunks, .. } = &mut entry.kind
            && chunks.len() > 1
        {
            digest.0[0] ^= 1;
        }
    }
    let refused = lay_out(&library, &taken.manifest, &into);
    assert!(matches!(refused, Err(TreeError::Content { path }) if path == "large"));
    assert!(!into.exists());
    // A chunk that is not held.
    let chunk = ChunkRef { digest: crate::wire::digest_of(b"absent"), length: 6 };
    let kind = EntryKind::File { executable: false, length: 6, digest: chunk.digest, chunks: vec![chunk] };
    let absent = Manifest { case_sensitive: false, entries: vec![Entry { path: "a".into(), kind }] };
    assert!(matches!(lay_out(&library, &absent, &into), Err(TreeError::Library(_))));
    assert!(!into.exists());
}

#[test]
fn every_difference_is_found() {
    let (_dir, library) = library();
    let taken = take(source(1).path(), &library);
    let place = tempfile::tempdir().unwrap();
    let into = place.path().join("tree");
    lay_out(&library, &taken.manifest, &into).unwrap();

    let mut large = fs::read(into.join("large")).unwrap();
    large[5] ^= 1;
    fs::write(into.join("large"), large).unwrap();
    fs::set_permissions(into.join("bin/run"), fs::Permissions::from_mode(0o644)).unwrap();
    fs::remove_dir(into.join("bin/empty")).unwrap();
    fs::write(into.join("bin/surplus"), b"").unwrap();
    fs::remove_file(into.join("start")).unwrap();
    symlink("bin.txt", into.join("start")).unwrap();
    fs::remove_file(into.join("nothing")).unwrap();
    fs::create_dir(into.join("nothing")).unwrap();

    let different = check(&taken.manifest, &into).unwrap();

    assert_eq!(different, ["bin/empty", "bin/run", "bin/surplus", "large", "nothing", "start"]);
    assert_eq!(check(&taken.manifest, &place.path().join("no")).unwrap().len(), taken.manifest.entries.len());
}
