//! Tests of a directory that shows a version already, or the one before: what is taken over, read and put right.

use std::{
    cell::Cell,
    fs::{self, File},
    os::unix::fs::{FileExt, MetadataExt, PermissionsExt},
    path::{Path, PathBuf},
};

use super::{Look, PublishTo, Published, last_compared, publish_at};
use crate::{
    Library, Snapshot,
    stamps::clocks,
    testing::{library, noise, take},
    tree::check,
};

struct World {
    _library_dir: tempfile::TempDir,
    library: Library,
    dir: tempfile::TempDir,
    /// How far the clocks are ahead: what was just written is old then.
    later_us: Cell<i64>,
}

impl World {
    /// Fifty files, and a directory that is a distribution point.
    fn new() -> World {
        let (library_dir, library) = library();
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir_all(dir.path().join("source/sub")).unwrap();
        fs::create_dir(dir.path().join("root")).unwrap();
        for number in 0..50 {
            let path = dir.path().join(format!("source/sub/{number:02}"));
            fs::write(path, noise(number, 3000)).unwrap();
        }
        World { _library_dir: library_dir, library, dir, later_us: Cell::new(0) }
    }

    fn version(&self, change: impl FnOnce(&Path)) -> Snapshot {
        let source = self.dir.path().join("source");
        change(&source);
        take(&source, &self.library)
    }

    fn shown(&self, path: &str) -> PathBuf {
        self.dir.path().join("root/P1").join(path)
    }

    fn record(&self) -> PathBuf {
        self.dir.path().join("record")
    }

    fn publish(&self, version: &Snapshot, look: Look) -> Published {
        let (root, record) = (self.dir.path().join("root"), self.record());
        let to = PublishTo { root: &root, name: "P1", record: &record, staged: None };
        let mut now = clocks().unwrap();
        now.uptime_us += self.later_us.get();
        now.wall_us += self.later_us.get();
        let version_of = (&version.digest, &version.manifest);
        let published = publish_at(Some(now), &self.library, version_of, to, look).unwrap();
        assert_eq!(check(&version.manifest, &self.shown("")).unwrap(), Vec::<String>::new());
        assert_eq!(fs::read_dir(root.join(".packhorse/P1")).unwrap().count(), 1);
        published
    }
}

/// Writes into the file that is there, and sets its time of modification back.
fn alter_unseen(path: &Path) {
    let before = path.metadata().unwrap();
    let file = File::options().write(true).open(path).unwrap();
    file.write_all_at(b"evil", 0).unwrap();
    file.set_modified(before.modified().unwrap()).unwrap();
}

#[test]
fn the_next_version_takes_over_what_did_not_change() {
    let world = World::new();
    let first = world.version(|_| {});
    assert_eq!(world.publish(&first, Look::AtWhatWasTouched), Published::default());
    let second = world.version(|source| {
        fs::write(source.join("sub/07"), b"new").unwrap();
        fs::rename(source.join("sub/08"), source.join("moved")).unwrap();
        fs::set_permissions(source.join("sub/09"), fs::Permissions::from_mode(0o755)).unwrap();
        fs::remove_file(source.join("sub/10")).unwrap();
    });

    let published = world.publish(&second, Look::AtWhatWasTouched);

    assert_eq!((published.files_reused, published.altered), (47, Vec::new()));
    for entry in fs::read_dir(world.shown("sub")).unwrap() {
        assert_eq!(entry.unwrap().metadata().unwrap().nlink(), 1, "the old names are gone");
    }
}

#[test]
fn a_file_that_was_altered_is_not_taken_over() {
    let world = World::new();
    let first = world.version(|_| {});
    world.publish(&first, Look::AtWhatWasTouched);
    alter_unseen(&world.shown("sub/03"));
    let second = world.version(|source| fs::write(source.join("sub/07"), b"new").unwrap());

    let published = world.publish(&second, Look::AtWhatWasTouched);

    assert_eq!(published.files_reused, 48);
}

#[test]
fn a_file_that_somebody_has_under_another_name_is_not_shared() {
    let world = World::new();
    let first = world.version(|_| {});
    world.publish(&first, Look::AtWhatWasTouched);
    let mine = world.dir.path().join("mine");
    fs::hard_link(world.shown("sub/03"), &mine).unwrap();
    let second = world.version(|source| fs::write(source.join("sub/07"), b"new").unwrap());
    world.publish(&second, Look::AtWhatWasTouched);

    fs::write(&mine, b"mine").unwrap();

    assert_eq!(check(&second.manifest, &world.shown("")).unwrap(), Vec::<String>::new());
}

#[test]
fn files_with_the_same_content_are_files_of_their_own() {
    let world = World::new();
    let first = world.version(|_| {});
    world.publish(&first, Look::AtWhatWasTouched);
    let second = world.version(|source| {
        fs::copy(source.join("sub/03"), source.join("copy")).unwrap();
    });
    world.publish(&second, Look::AtWhatWasTouched);

    fs::write(world.shown("copy"), b"x").unwrap();

    assert_eq!(check(&second.manifest, &world.shown("")).unwrap(), ["copy"]);
}

#[test]
fn what_nobody_touched_is_compared_without_reading_it() {
    let world = World::new();
    let version = world.version(|_| {});
    world.publish(&version, Look::AtWhatWasTouched);

    let fresh = world.publish(&version, Look::AtWhatWasTouched);
    assert_eq!(
        fresh.files_read, 50,
        "they may have been changed within the tick of the clock that wrote them"
    );
    world.later_us.set(10_000_000);
    let still = world.publish(&version, Look::AtWhatWasTouched);
    assert_eq!(still.files_read, 50, "they were not old when they were last read");
    let old = world.publish(&version, Look::AtWhatWasTouched);
    assert_eq!(old.files_read, 0);
    let everything = world.publish(&version, Look::AtEverything);
    assert_eq!(everything.files_read, 50);
}

#[test]
fn what_was_altered_by_hand_is_found_and_put_right() {
    let world = World::new();
    let version = world.version(|_| {});
    world.publish(&version, Look::AtWhatWasTouched);
    world.later_us.set(10_000_000);
    world.publish(&version, Look::AtWhatWasTouched);
    alter_unseen(&world.shown("sub/03"));
    fs::write(world.shown("surplus"), b"x").unwrap();
    fs::remove_file(world.shown("sub/04")).unwrap();

    let published = world.publish(&version, Look::AtWhatWasTouched);

    assert_eq!(published.altered, ["sub/03", "sub/04", "surplus"]);
    assert_eq!(published.files_read, 0, "what nobody touched is not read");
    assert_eq!(published.files_reused, 48);
    assert_eq!(world.publish(&version, Look::AtEverything).altered, Vec::<String>::new());
    fs::remove_file(world.dir.path().join("root/P1")).unwrap();
    assert_eq!(world.publish(&version, Look::AtWhatWasTouched).altered, ["P1"]);
}

#[test]
fn when_everything_was_compared_is_kept() {
    let world = World::new();
    let version = world.version(|_| {});
    assert_eq!(last_compared(&world.record()), None);
    world.publish(&version, Look::AtWhatWasTouched);
    let made = last_compared(&world.record()).unwrap();
    world.publish(&version, Look::AtWhatWasTouched);
    assert_eq!(last_compared(&world.record()), Some(made));
    world.publish(&version, Look::AtEverything);
    assert!(last_compared(&world.record()).unwrap() > made);
}

#[test]
fn holes_are_holes_again() {
    const LENGTH: u64 = 64 * 1024 * 1024;
    let world = World::new();
    let version = world.version(|source| {
        let file = File::create(source.join("disk.img")).unwrap();
        file.set_len(LENGTH).unwrap();
        file.write_all_at(&noise(1, 100_000), 5_000_001).unwrap();
        fs::write(source.join("zeros"), vec![0; 20_000]).unwrap();
    });

    world.publish(&version, Look::AtWhatWasTouched);

    for path in ["disk.img", "zeros"] {
        let made = world.shown(path).metadata().unwrap();
        assert!(made.blocks() * 512 < 200_000, "{path}: {} blocks", made.blocks());
    }
    assert_eq!(world.shown("disk.img").metadata().unwrap().len(), LENGTH);
}
