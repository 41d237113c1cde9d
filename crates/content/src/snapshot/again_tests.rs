//! Tests of taking a source again: what nobody touched is not read, and whatever somebody touched is.

use std::{
    cell::Cell,
    fs::{self, File},
    ops::ControlFlow,
    os::unix::fs::{FileExt, MetadataExt, PermissionsExt},
    path::{Path, PathBuf},
};

use packhorse_domain::settled::{Clocks, keeps_change_times};

use super::{Memory, Progress, Snapshot, take};
use crate::{
    CaseClashes, Library,
    stamps::clocks,
    testing::{library, noise},
};

/// A directory where programs are built: more often on a disk than the one for temporary files.
fn on_disk() -> tempfile::TempDir {
    let program = std::env::current_exe().unwrap();
    tempfile::tempdir_in(program.parent().unwrap()).unwrap()
}

struct World {
    dir: tempfile::TempDir,
    library_dir: tempfile::TempDir,
    library: Library,
    /// How far the clocks are ahead: what was just written is old then.
    ahead_us: i64,
}

impl World {
    fn new(files: usize) -> World {
        let (library_dir, library) = library();
        let world = World { dir: on_disk(), library_dir, library, ahead_us: 10_000_000 };
        fs::create_dir(world.source()).unwrap();
        for number in 0..files {
            fs::write(world.source().join(format!("{number:05}")), noise(number as u64, 20_000)).unwrap();
        }
        world
    }

    fn source(&self) -> PathBuf {
        self.dir.path().join("source")
    }

    fn file(&self, number: usize) -> PathBuf {
        self.source().join(format!("{number:05}"))
    }

    fn begun(&self) -> Clocks {
        let now = clocks().unwrap();
        Clocks { uptime_us: now.uptime_us + self.ahead_us, wall_us: now.wall_us + self.ahead_us, ..now }
    }

    /// The snapshot, and how many files and bytes were read for it.
    fn take(&self) -> (Snapshot, u64, u64) {
        let record = self.dir.path().join("record");
        let memory = Memory { record: &record, begun: self.begun() };
        let last = Cell::new(Progress::default());
        let before = bytes_read();
        let taken = take((&self.source(), CaseClashes::Refuse), &self.library, Some(memory), &|progress| {
            last.set(progress);
            ControlFlow::Continue(())
        })
        .unwrap();
        let last = last.get();
        assert_eq!((last.files_done, last.bytes_done), (last.files_total, last.bytes_total));
        (taken, last.files_read, bytes_read() - before)
    }

    /// How many files are expected to be read: all, where the file system's times say nothing.
    fn expected(&self, touched: u64, all: u64) -> u64 {
        let told = rustix::fs::statfs(self.dir.path()).unwrap().f_type as u32;
        if keeps_change_times(told.into()) { touched } else { all }
    }
}

/// By this thread, from files.
fn bytes_read() -> u64 {
    let told = fs::read_to_string("/proc/thread-self/io").unwrap();
    told.lines().find_map(|line| line.strip_prefix("rchar: ")).unwrap().parse().unwrap()
}

fn set_modified(path: &Path, to: &fs::Metadata) {
    File::options().write(true).open(path).unwrap().set_modified(to.modified().unwrap()).unwrap();
}

#[test]
fn what_nobody_touched_is_not_read_again() {
    let world = World::new(2000);
    let (first, read, _) = world.take();
    assert_eq!(read, 2000);

    let (second, read, bytes) = world.take();

    assert_eq!(second, first);
    assert_eq!(read, world.expected(0, 2000));
    // What is read is the record, the manifest and the library's index: less than a third of the 40 MB of the files.
    if read == 0 {
        assert!(bytes < 13_000_000, "{bytes}");
    }
    // Once more, with what the second wrote down.
    assert_eq!(world.take().1, world.expected(0, 2000));
}

#[test]
fn a_change_that_keeps_length_and_time_is_seen() {
    let world = World::new(3);
    let (first, ..) = world.take();
    let before = world.file(1).metadata().unwrap();
    File::options().write(true).open(world.file(1)).unwrap().write_all_at(b"evil", 100).unwrap();
    set_modified(&world.file(1), &before);
    let after = world.file(1).metadata().unwrap();
    assert_eq!((after.len(), after.modified().unwrap()), (before.len(), before.modified().unwrap()));

    let (second, read, _) = world.take();

    assert_ne!(second.digest, first.digest);
    assert_eq!(read, world.expected(1, 3));
    assert_eq!(second, crate::testing::take(&world.source(), &library().1));
}

#[test]
fn another_file_in_its_place_is_seen() {
    let world = World::new(3);
    let (first, ..) = world.take();
    let before = world.file(1).metadata().unwrap();
    let other = world.dir.path().join("other");
    fs::write(&other, noise(99, 20_000)).unwrap();
    set_modified(&other, &before);
    fs::rename(&other, world.file(1)).unwrap();

    let (second, ..) = world.take();

    assert_ne!(second.digest, first.digest);
}

#[test]
fn a_file_that_may_only_be_run_now_is_seen() {
    let world = World::new(2);
    let (first, ..) = world.take();
    fs::set_permissions(world.file(1), fs::Permissions::from_mode(0o755)).unwrap();

    let (second, ..) = world.take();

    assert_ne!(second.digest, first.digest);
    assert_eq!(second, crate::testing::take(&world.source(), &library().1));
}

#[test]
fn what_was_written_shortly_before_is_read_again() {
    let mut world = World::new(5);
    world.ahead_us = 0;
    world.take();

    let (_, read, _) = world.take();

    assert_eq!(read, 5, "it may have been changed within the same tick of the clock");
}

#[test]
fn without_a_record_that_holds_everything_is_read() {
    let mut world = World::new(5);
    world.take();
    let record = world.dir.path().join("record");
    let mut bytes = fs::read(&record).unwrap();
    bytes[90] ^= 1;
    fs::write(&record, bytes).unwrap();
    assert_eq!(world.take().1, 5, "a damaged record");

    world.ahead_us -= 5_000_000;
    assert_eq!(world.take().1, 5, "a clock that was set back");

    fs::remove_file(&record).unwrap();
    fs::create_dir(&record).unwrap();
    assert_eq!(world.take().1, 5, "a record that cannot be written");
}

#[test]
fn what_the_library_lost_is_read_again() {
    let world = World::new(5);
    let (first, ..) = world.take();
    let lost = first.manifest.chunks().nth(3).unwrap();
    for pack in fs::read_dir(world.library_dir.path().join("packs")).unwrap() {
        let path = pack.unwrap().path();
        if path.extension().is_some_and(|end| end == "pack") {
            let file = File::options().write(true).open(path).unwrap();
            file.write_all_at(&[0xff; 64], file.metadata().unwrap().len() / 2).unwrap();
        }
    }
    let damaged: Vec<_> =
        world.library.verify(&first.digest).unwrap().into_iter().map(|chunk| chunk.digest).collect();
    assert!(damaged.contains(&lost.digest));
    world.library.forget_damaged(&damaged).unwrap();

    let (second, read, _) = world.take();

    assert_eq!((second, read), (first.clone(), world.expected(damaged.len() as u64, 5)));
    assert!(world.library.verify(&first.digest).unwrap().is_empty());
}

#[test]
fn a_file_with_two_names_is_read_once() {
    let world = World::new(1);
    fs::write(world.file(7), noise(7, 300_000)).unwrap();
    fs::hard_link(world.file(7), world.file(8)).unwrap();
    assert_eq!(world.file(8).metadata().unwrap().nlink(), 2);

    let (taken, read, _) = world.take();

    assert_eq!(read, 2);
    assert_eq!(taken, crate::testing::take(&world.source(), &library().1));
    assert_eq!(taken.manifest.file_count(), 3);
    assert_eq!(world.take().1, world.expected(0, 2));
}

#[test]
fn holes_cost_no_reading() {
    const LENGTH: u64 = 400_000_000;
    let world = World::new(0);
    let file = File::create(world.source().join("disk.img")).unwrap();
    file.set_len(LENGTH).unwrap();
    file.write_all_at(&noise(1, 100_000), 1_000_000).unwrap();
    file.write_all_at(b"end", LENGTH - 3).unwrap();

    let (taken, _, bytes) = world.take();

    assert!(bytes < 4_000_000, "{bytes}");
    assert_eq!(taken.manifest.total_length(), LENGTH);
    assert!(world.library.disk_bytes() < 1_000_000);
}
