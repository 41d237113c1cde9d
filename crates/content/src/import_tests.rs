//! Tests of taking in a copied library: all that is sound comes, nothing else does, and it may be cut at any block.

use std::{fs, ops::ControlFlow, path::Path};

use super::{ImportError, Imported};
use crate::{
    Library,
    testing::{library, source, take},
};

fn import(library: &Library, from: &Path) -> Imported {
    library.import(from, &mut |_| ControlFlow::Continue(())).unwrap()
}

fn pack(library: &Path) -> std::path::PathBuf {
    library.join("packs/0000000000000001.pack")
}

#[test]
fn a_copy_gives_all_its_versions_and_again_it_gives_nothing_new() {
    let (there, other) = library();
    let (one, two) = (take(source(1).path(), &other), take(source(2).path(), &other));
    let (_dir, library) = library();

    let imported = import(&library, there.path());

    let mut whole = imported.whole.clone();
    whole.sort_unstable();
    let mut expected = vec![one.digest, two.digest];
    expected.sort_unstable();
    assert_eq!((whole, imported.partial, imported.faults), (expected, vec![], vec![]));
    assert_eq!(imported.bytes_done, imported.bytes_total);
    assert!(imported.chunks_new > 5 && imported.bytes_new > 1_300_000);
    for version in [one.digest, two.digest] {
        assert!(library.verify(&version).unwrap().is_empty());
    }
    let again = import(&library, there.path());
    assert_eq!((again.chunks_new, again.whole.len()), (0, 2));
}

#[test]
fn only_what_no_one_has_is_taken() {
    let (there, other) = library();
    let theirs = take(source(1).path(), &other);
    let (_dir, library) = library();
    take(source(1).path(), &library);

    let imported = import(&library, there.path());

    assert_eq!((imported.chunks_new, imported.whole), (0, vec![theirs.digest]));
}

#[test]
fn rot_in_the_copy_costs_the_blocks_that_it_is_in_and_is_named() {
    let (there, other) = library();
    let theirs = take(source(1).path(), &other);
    drop(other);
    for at in [20, 200_000] {
        let (_dir, library) = library();
        let mut bytes = fs::read(pack(there.path())).unwrap();
        bytes[at] ^= 1;
        fs::write(pack(there.path()), &bytes).unwrap();

        let imported = import(&library, there.path());

        let [(version, missing)] = imported.partial[..] else { panic!("{imported:?}") };
        assert_eq!(version, theirs.digest);
        assert!(imported.chunks_new > 0 && missing > 0, "{imported:?}");
        assert!(imported.faults[0].contains("0000000000000001.pack: it is damaged"), "{imported:?}");
        let held = library.staged_manifest(&version).unwrap().unwrap();
        assert_eq!(library.missing(&held).len() as u64, missing);
        assert!(!library.has_manifest(&version));
        bytes[at] ^= 1;
        fs::write(pack(there.path()), &bytes).unwrap();
    }
}

#[test]
fn an_import_that_was_cut_goes_on_where_it_was() {
    let (there, other) = library();
    let theirs = take(source(1).path(), &other);
    let (_dir, library) = library();
    let mut calls = 0;

    let cut = library.import(there.path(), &mut |_| {
        calls += 1;
        if calls < 3 { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
    });

    assert!(matches!(cut, Err(ImportError::Stopped)));
    assert_eq!(library.staged_manifests().unwrap(), [theirs.digest], "what was begun is known");
    library.collect(&[theirs.digest]).unwrap();
    let rest = import(&library, there.path());
    assert_eq!(rest.whole, [theirs.digest]);
    assert!(rest.bytes_new < theirs.manifest.total_length(), "{rest:?}");
    assert!(library.verify(&theirs.digest).unwrap().is_empty());
    assert_eq!(library.staged_manifests().unwrap(), []);
}

#[test]
fn what_is_no_library_and_manifests_under_false_names_are_refused() {
    let (there, other) = library();
    let theirs = take(source(1).path(), &other);
    let false_name = there.path().join("manifests").join("00".repeat(32));
    fs::copy(there.path().join("manifests").join(theirs.digest.to_string()), false_name).unwrap();
    let (_dir, library) = library();

    let imported = import(&library, there.path());
    let none = library.import(source(1).path(), &mut |_| ControlFlow::Continue(()));

    assert_eq!(imported.whole, [theirs.digest]);
    assert!(imported.faults[0].contains("not what its name says"), "{imported:?}");
    assert!(matches!(none, Err(ImportError::NotALibrary { .. })));
}
