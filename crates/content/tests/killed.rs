//! A collection that is killed anywhere. It has a process of its own to be killed in, and this file one of its own too:
//! a process that is being started holds for a moment what others here have open.

use std::{
    fs,
    ops::ControlFlow,
    path::Path,
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use packhorse_content::{Collected, Library, snapshot};
use packhorse_domain::Digest;

/// Where a process of this test collects, and what is live there.
const COLLECT_IN: &str = "PACKHORSE_TEST_COLLECT_IN";
const LIVE: &str = "PACKHORSE_TEST_LIVE";
/// The file that it makes when it begins.
const BEGUN: &str = "begun";
const KILLS: u32 = 40;

fn noise(seed: u64, length: usize) -> Vec<u8> {
    let mut bytes = vec![0; length];
    let mut hasher = blake3::Hasher::new();
    hasher.update(&seed.to_le_bytes());
    hasher.finalize_xof().fill(&mut bytes);
    bytes
}

fn take(library: &Library, seed: u64) -> Digest {
    let source = tempfile::tempdir().expect("the disk works");
    fs::write(source.path().join("large"), noise(seed, 700_000)).expect("the disk works");
    fs::write(source.path().join("small"), noise(seed + 1000, 700)).expect("the disk works");
    snapshot(source.path(), library, &|_| ControlFlow::Continue(())).expect("the disk works").digest
}

/// Nothing by itself: the next test runs it in a process of its own, and kills that.
#[test]
fn collects_where_it_is_told_to() {
    let (Ok(dir), Ok(live)) = (std::env::var(COLLECT_IN), std::env::var(LIVE)) else { return };
    let library = Library::open(Path::new(&dir)).unwrap();
    fs::write(Path::new(&dir).join(BEGUN), "").unwrap();
    library.collect(&[live.parse().expect("the disk works")]).expect("the disk works");
}

fn collect_elsewhere(dir: &Path, live: &Digest) -> Child {
    let mut child = Command::new(std::env::current_exe().expect("the disk works"))
        .args(["--exact", "collects_where_it_is_told_to", "--nocapture"])
        .env(COLLECT_IN, dir)
        .env(LIVE, live.to_string())
        .stdout(Stdio::null())
        .spawn()
        .expect("the disk works");
    while !dir.join(BEGUN).exists() {
        assert!(child.try_wait().expect("the disk works").is_none(), "it ended before it began");
        std::thread::sleep(Duration::from_micros(100));
    }
    child
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).expect("the disk works");
    for entry in fs::read_dir(from).expect("the disk works") {
        let entry = entry.expect("the disk works");
        let target = to.join(entry.file_name());
        match entry.file_type().expect("the disk works").is_dir() {
            true => copy(&entry.path(), &target),
            false => drop(fs::copy(entry.path(), target).expect("the disk works")),
        }
    }
}

#[test]
fn a_collection_that_is_killed_at_any_moment_loses_nothing_that_is_live_and_is_finished_by_the_next() {
    let work = tempfile::tempdir_in("/dev/shm").unwrap_or_else(|_| tempfile::tempdir().unwrap());
    let full = work.path().join("full");
    let library = Library::open(&full).unwrap();
    // What is live lies between what is not, so that packs are moved and not only dropped.
    let taken: Vec<Digest> = (20..29).map(|seed| take(&library, seed)).collect();
    let kept = taken[4];
    drop(library);
    let whole = work.path().join("whole");
    copy(&full, &whole);
    let began = Instant::now();
    assert!(collect_elsewhere(&whole, &kept).wait().unwrap().success());
    let takes = began.elapsed();

    let mut unfinished = 0;
    for kill in 0..KILLS {
        let dir = work.path().join(format!("killed-{kill}"));
        copy(&full, &dir);
        let mut child = collect_elsewhere(&dir, &kept);
        let until = Instant::now() + takes * kill / KILLS;
        while Instant::now() < until && child.try_wait().unwrap().is_none() {
            std::thread::sleep(Duration::from_micros(50));
        }
        child.kill().unwrap();
        child.wait().unwrap();

        let library = Library::open(&dir).unwrap();
        assert!(library.verify(&kept).unwrap().is_empty(), "kill {kill}");
        unfinished += u32::from(library.collect(&[kept]).unwrap() != Collected::default());
        assert_eq!(library.manifests().unwrap(), [kept]);
        assert!(library.verify(&kept).unwrap().is_empty(), "kill {kill}, collected again");
        assert!(library.disk_bytes() < 1_000_000, "kill {kill}: {}", library.disk_bytes());
        drop(library);
        fs::remove_dir_all(&dir).unwrap();
    }
    assert!(unfinished > 0, "no kill came before the end");
}
