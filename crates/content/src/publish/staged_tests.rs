//! Tests of versions that are laid out while they come in.

use std::{
    fs::{self, File},
    io::Write as _,
    os::unix::fs::{FileExt, MetadataExt, symlink},
    path::{Path, PathBuf},
};

use packhorse_domain::Digest;

use super::{Look, PublishTo, Published, forget_staged, publish, stage};
use crate::{
    BundleError, BundlePlan, Library, Limits, Making, Offered, Snapshot, Source, Staged, TreeError,
    apply_offered, stage_offered,
    testing::{library, noise, source, take},
    tree::check,
    write_bundle,
};

struct World {
    _directories: [tempfile::TempDir; 2],
    sender: Library,
    receiver: Library,
    root: tempfile::TempDir,
}

fn whole(file: &File) -> Source {
    Source::whole(file.try_clone().unwrap()).unwrap()
}

impl World {
    fn new() -> World {
        let ((one, sender), (other, receiver)) = (library(), library());
        World { _directories: [one, other], sender, receiver, root: tempfile::tempdir().unwrap() }
    }

    fn bundle(&self, target: Digest, bases: &[Digest]) -> (File, Offered) {
        let mut file = tempfile::tempfile().unwrap();
        let plan = BundlePlan { target, bases: bases.to_vec() };
        let digest = write_bundle(&self.sender, &plan, &mut file, Making::small(3)).unwrap().digest;
        (file, Offered { digest, target })
    }

    /// Takes a version in and stages it.
    fn arrive(&self, version: &Snapshot, bases: &[Digest]) -> Staged {
        let (file, offered) = self.bundle(version.digest, bases);
        let mut staging = [stage(self.root.path(), "P1").unwrap()];
        apply_offered(&self.receiver, &whole(&file), &offered, &Limits::default(), &mut staging).unwrap();
        let [staging] = staging;
        staging.finish(version.digest).unwrap()
    }

    fn publish(&self, version: &Snapshot, staged: Option<&Staged>) -> Published {
        let to =
            PublishTo { root: self.root.path(), name: "P1", record: Path::new("/nowhere/record"), staged };
        let published =
            publish(&self.receiver, &version.digest, &version.manifest, to, Look::AtWhatWasTouched).unwrap();
        assert_eq!(check(&version.manifest, &self.shown("")).unwrap(), Vec::<String>::new());
        published
    }

    fn shown(&self, path: &str) -> PathBuf {
        self.root.path().join("P1").join(path)
    }

    /// What is staged, in no order.
    fn all_staged(&self) -> Vec<PathBuf> {
        let staging = fs::read_dir(self.root.path().join(".packhorse/.staging"));
        staging.map_or(Vec::new(), |all| all.map(|one| one.unwrap().path()).collect())
    }

    /// Of the one version that is staged.
    fn staged(&self, path: &str) -> PathBuf {
        let all = self.all_staged();
        assert_eq!(all.len(), 1);
        all[0].join(path)
    }
}

/// Files of all lengths around those of what is handed over, in many directories.
fn many(seed: u64) -> tempfile::TempDir {
    let dir = source(seed);
    for nth in 0..300 {
        let directory = dir.path().join(format!("many/{}", nth % 17));
        fs::create_dir_all(&directory).unwrap();
        fs::write(directory.join(nth.to_string()), noise(seed + nth, (nth * nth * 9) as usize)).unwrap();
    }
    for (name, length) in [("even", 512 * 1024), ("long", 9_000_000), ("zeros", 0)] {
        let mut content = noise(seed + 400, length);
        content.resize(length + 300_000, 0);
        fs::write(dir.path().join(name), content).unwrap();
    }
    dir
}

#[test]
fn what_is_staged_becomes_the_tree() {
    let world = World::new();
    let version = take(many(1).path(), &world.sender);

    let staged = world.arrive(&version, &[]);

    let inodes =
        ["many/3/122", "bin/run", "long", "zeros"].map(|path| world.staged(path).metadata().unwrap().ino());
    world.publish(&version, Some(&staged));
    drop(staged);
    let shown =
        ["many/3/122", "bin/run", "long", "zeros"].map(|path| world.shown(path).metadata().unwrap().ino());
    assert_eq!(shown, inodes);
    assert_eq!(world.all_staged(), Vec::<PathBuf>::new());
}

#[test]
fn what_is_staged_ahead_shows_while_the_library_has_nothing_of_it() {
    let world = World::new();
    let dir = many(1);
    let one = take(dir.path(), &world.sender);
    world.publish(&one, Some(&world.arrive(&one, &[])));
    fs::write(dir.path().join("many/3/122"), b"news").unwrap();
    fs::rename(dir.path().join("even"), dir.path().join("uneven")).unwrap();
    let two = take(dir.path(), &world.sender);
    let (file, offered) = world.bundle(two.digest, &[one.digest]);
    let limits = Limits::default();
    let mut staging = [stage(world.root.path(), "P1").unwrap()];

    let manifest = stage_offered(&world.receiver, &whole(&file), &offered, &limits, &mut staging).unwrap();

    assert_eq!(manifest, two.manifest);
    let [staging] = staging;
    world.publish(&two, staging.finish(two.digest).as_ref());
    let news = two.manifest.chunks().find(|chunk| chunk.length == 4).unwrap();
    assert!(!world.receiver.has_chunk(&news.digest) && !world.receiver.has_manifest(&two.digest));
    let end = file.metadata().unwrap().len();
    file.write_all_at(b"its checksum", end - 12).unwrap();
    let proved = Source::proved(file).unwrap();
    apply_offered(&world.receiver, &proved, &offered, &limits, &mut []).unwrap();
    assert_eq!(world.receiver.verify(&two.digest).unwrap(), []);
}

#[test]
fn what_is_staged_ahead_is_what_was_wanted_whatever_brings_it() {
    let world = World::new();
    let version = take(many(1).path(), &world.sender);
    let (file, offered) = world.bundle(version.digest, &[]);
    let stage = |offered: Offered| {
        let mut staging = [stage(world.root.path(), "P1").unwrap()];
        stage_offered(&world.receiver, &whole(&file), &offered, &Limits::default(), &mut staging)
    };

    let refused = stage(Offered { target: offered.digest, ..offered });
    assert!(matches!(refused, Err(BundleError::Damaged(_))), "{refused:?}");

    // Of that only the library has to know.
    let other = Offered { digest: version.digest, ..offered };
    assert_eq!(stage(other).unwrap(), version.manifest);
    let refused = apply_offered(&world.receiver, &whole(&file), &other, &Limits::default(), &mut []);
    assert!(matches!(refused, Err(BundleError::Damaged(_))), "{refused:?}");

    let (middle, mut byte) = (file.metadata().unwrap().len() / 2, [0]);
    file.read_exact_at(&mut byte, middle).unwrap();
    file.write_all_at(&[byte[0] ^ 1], middle).unwrap();
    let refused = stage(offered);
    assert!(matches!(refused, Err(BundleError::Damaged(_))), "{refused:?}");
}

#[test]
fn what_a_difference_does_not_bring_comes_from_the_tree_before() {
    let world = World::new();
    let dir = many(1);
    let one = take(dir.path(), &world.sender);
    let staged = world.arrive(&one, &[]);
    world.publish(&one, Some(&staged));
    fs::write(dir.path().join("many/3/122"), b"news").unwrap();
    let two = take(dir.path(), &world.sender);

    let staged = world.arrive(&two, &[one.digest]);

    assert_eq!(fs::read_dir(world.staged("")).unwrap().count(), 1);
    let published = world.publish(&two, Some(&staged));
    assert_eq!(published.files_reused + 1, one.manifest.file_count());
}

#[test]
fn what_is_not_as_it_was_staged_is_made_anew() {
    let world = World::new();
    let version = take(source(1).path(), &world.sender);
    let staged = world.arrive(&version, &[]);
    File::options().write(true).open(world.staged("large")).unwrap().write_all_at(b"evil", 5).unwrap();
    fs::remove_file(world.staged("bin/run")).unwrap();
    symlink("/etc/passwd", world.staged("bin/run")).unwrap();

    world.publish(&version, Some(&staged));

    assert!(!world.shown("bin/run").is_symlink());
}

#[test]
fn without_what_was_staged_all_is_made() {
    let world = World::new();
    let (version, other) = (take(source(1).path(), &world.sender), take(source(2).path(), &world.sender));
    let staged = world.arrive(&version, &[]);
    let of_another = world.arrive(&other, &[]);
    world.publish(&version, Some(&staged));
    world.publish(&version, Some(&of_another));
    drop(of_another);

    let staged = world.arrive(&other, &[]);
    fs::remove_dir_all(world.staged("")).unwrap();
    world.publish(&other, Some(&staged));
}

/// A site takes in the next version while the one before is still being shown.
#[test]
fn versions_that_are_staged_at_once_leave_each_other_alone() {
    let world = World::new();
    let (one, two) = (take(many(1).path(), &world.sender), take(source(2).path(), &world.sender));
    let first = world.arrive(&one, &[]);
    let mut second = stage(world.root.path(), "P1").unwrap();
    second.begin("surplus", false, 4);
    second.put(b"news");

    world.publish(&one, Some(&first));
    drop(first);

    assert_eq!(world.all_staged().len(), 1);
    drop(second);
    let second = world.arrive(&two, &[]);
    let inode = world.staged("large").metadata().unwrap().ino();
    let again = world.arrive(&two, &[]);
    drop(again);
    world.publish(&two, Some(&second));
    assert_eq!(world.shown("large").metadata().unwrap().ino(), inode);
}

#[test]
fn what_nobody_wants_is_removed() {
    let world = World::new();
    let version = take(source(1).path(), &world.sender);
    drop(world.arrive(&version, &[]));
    assert_eq!(world.all_staged(), Vec::<PathBuf>::new());

    let staged = world.arrive(&version, &[]);
    forget_staged(world.root.path()).unwrap();
    assert_eq!(world.all_staged(), Vec::<PathBuf>::new());
    drop(staged);

    let (mut file, offered) = world.bundle(version.digest, &[]);
    file.write_all(b"more").unwrap();
    let mut staging = vec![stage(world.root.path(), "P1").unwrap()];
    let refused = apply_offered(&world.receiver, &whole(&file), &offered, &Limits::default(), &mut staging);
    assert!(matches!(refused, Err(BundleError::Trailing)), "{refused:?}");
    drop(staging);
    assert_eq!(world.all_staged(), Vec::<PathBuf>::new());
}

#[test]
fn a_staging_that_fails_is_no_failure_of_the_bundle() {
    let world = World::new();
    let version = take(many(1).path(), &world.sender);
    let (file, offered) = world.bundle(version.digest, &[]);
    let mut staging = [stage(world.root.path(), "P1").unwrap()];
    fs::remove_dir_all(world.staged("")).unwrap();

    apply_offered(&world.receiver, &whole(&file), &offered, &Limits::default(), &mut staging).unwrap();

    let [staging] = staging;
    assert!(staging.finish(version.digest).is_none());
    world.publish(&version, None);
}

#[test]
fn a_bundle_that_was_not_offered_is_not_begun() {
    let world = World::new();
    let version = take(source(1).path(), &world.sender);
    let (file, offered) = world.bundle(version.digest, &[]);
    for wrong in
        [Offered { digest: version.digest, ..offered }, Offered { target: offered.digest, ..offered }]
    {
        let refused = apply_offered(&world.receiver, &whole(&file), &wrong, &Limits::default(), &mut []);
        assert!(matches!(refused, Err(BundleError::Damaged(_))), "{refused:?}");
    }
    assert!(!world.receiver.has_manifest(&version.digest));
}

#[test]
fn nothing_is_staged_behind_a_link() {
    let world = World::new();
    let elsewhere = tempfile::tempdir().unwrap();
    fs::create_dir(world.root.path().join(".packhorse")).unwrap();
    symlink(elsewhere.path(), world.root.path().join(".packhorse/.staging")).unwrap();
    let refused = stage(world.root.path(), "P1").map(drop);
    assert!(matches!(refused, Err(TreeError::Occupied { .. })), "{refused:?}");
    assert_eq!(fs::read_dir(elsewhere.path()).unwrap().count(), 0);
}
