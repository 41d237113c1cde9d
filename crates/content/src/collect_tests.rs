//! Tests of collecting: what is live stays whatever happens, the rest goes.

use std::{
    fs,
    ops::ControlFlow,
    path::Path,
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use packhorse_domain::Digest;

use super::Collected;
use crate::{
    Library, LibraryError, Manifest,
    testing::{library, noise, quick_dir, source, take},
};

fn chunks(manifest: &Manifest) -> Vec<Digest> {
    manifest.chunks().map(|chunk| chunk.digest).collect()
}

#[test]
fn what_is_live_stays_and_the_rest_goes() {
    let (dir, library) = library();
    let (one, two) = (source(1), source(2));
    let (kept, gone) = (take(one.path(), &library), take(two.path(), &library));
    let before = library.disk_bytes();

    let collected = library.collect(&[kept.digest]).unwrap();

    assert_eq!(collected.manifests, 1);
    let shared = chunks(&kept.manifest);
    let dead: Vec<Digest> =
        chunks(&gone.manifest).into_iter().filter(|chunk| !shared.contains(chunk)).collect();
    assert_eq!(collected.chunks, dead.len() as u64);
    assert!(collected.bytes > 600_000, "{collected:?}");
    assert_eq!(library.disk_bytes(), before - collected.bytes);
    assert!(dead.iter().all(|chunk| !library.has_chunk(chunk)));
    assert!(library.verify(&kept.digest).unwrap().is_empty());
    assert_eq!(library.collect(&[kept.digest]).unwrap(), Collected::default());
    drop(library);
    let library = Library::open(dir.path()).unwrap();
    assert!(library.verify(&kept.digest).unwrap().is_empty());
    assert!(!library.has_manifest(&gone.digest));
}

#[test]
fn nothing_live_empties_the_library() {
    let (dir, library) = library();
    take(source(1).path(), &library);
    library.collect(&[]).unwrap();
    assert_eq!(library.disk_bytes(), 0);
    assert_eq!(fs::read_dir(dir.path().join("packs")).unwrap().count(), 0);
    let again = take(source(1).path(), &library);
    assert!(library.verify(&again.digest).unwrap().is_empty());
}

#[test]
fn a_few_dead_chunks_leave_the_index_only() {
    let (_dir, library) = library();
    let kept = take(source(1).path(), &library);
    let orphan = noise(77, 1000);
    let digest = crate::wire::digest_of(&orphan);
    let mut writer = library.writer().unwrap();
    writer.add(digest, &orphan).unwrap();
    writer.seal().unwrap();

    assert_eq!(library.collect(&[kept.digest]).unwrap().chunks, 1);

    assert!(!library.has_chunk(&digest));
    assert!(library.verify(&kept.digest).unwrap().is_empty());
}

#[test]
fn chunks_of_a_staged_manifest_stay_while_it_is_live() {
    let (_there, other) = library();
    let coming = take(source(3).path(), &other);
    let (_dir, library) = library();
    library.stage_manifest(&coming.manifest.encode()).unwrap();
    let first = chunks(&coming.manifest)[0];
    let mut writer = library.writer().unwrap();
    other
        .read_blocks(&[first], &mut |block| {
            writer.add_block(block).unwrap();
            ControlFlow::Continue(())
        })
        .unwrap();
    writer.seal().unwrap();

    library.collect(&[coming.digest]).unwrap();
    assert!(library.has_chunk(&first));
    library.collect(&[]).unwrap();
    assert!(!library.has_chunk(&first));
    assert_eq!(library.staged_manifests().unwrap(), []);
}

#[test]
fn a_collection_waits_for_writers() {
    let (_dir, library) = library();
    let mut writer = library.writer().unwrap();
    let data = noise(1, 100);
    let digest = crate::wire::digest_of(&data);
    std::thread::scope(|scope| {
        let collecting = scope.spawn(|| library.collect(&[]));
        writer.add(digest, &data).unwrap();
        writer.flush_durable().unwrap();
        assert!(library.has_chunk(&digest), "no collection while a writer is inside");
        drop(writer);
        collecting.join().unwrap().unwrap();
    });
    assert!(!library.has_chunk(&digest));
}

#[test]
fn a_damaged_live_manifest_stops_the_collection() {
    let (dir, library) = library();
    let kept = take(source(1).path(), &library);
    fs::write(dir.path().join("manifests").join(kept.digest.to_string()), "rotten").unwrap();
    assert!(matches!(library.collect(&[kept.digest]), Err(LibraryError::DamagedManifest { .. })));
    assert!(chunks(&kept.manifest).iter().all(|chunk| library.has_chunk(chunk)));
}

#[test]
fn readers_go_on_while_packs_move() {
    let (_dir, library) = library();
    let kept = take(source(1).path(), &library);
    std::thread::scope(|scope| {
        let collecting = scope.spawn(|| {
            for seed in 10..20 {
                take(source(seed).path(), &library);
                library.collect(&[kept.digest]).unwrap();
            }
        });
        while !collecting.is_finished() {
            assert!(library.verify(&kept.digest).unwrap().is_empty());
        }
    });
}

#[test]
fn a_pack_with_damage_is_not_dropped() {
    let (dir, library) = library();
    let kept = take(source(1).path(), &library);
    take(source(2).path(), &library);
    let pack = dir.path().join("packs/0000000000000001.pack");
    let mut bytes = fs::read(&pack).unwrap();
    bytes[200_000] ^= 1;
    fs::write(&pack, bytes).unwrap();
    let damaged = library.verify(&kept.digest).unwrap();
    assert!(!damaged.is_empty());

    library.collect(&[kept.digest]).unwrap();

    assert_eq!(library.verify(&kept.digest).unwrap(), damaged);
}

/// Where a process of this test collects, and what is live there.
const COLLECT_IN: &str = "PACKHORSE_TEST_COLLECT_IN";
const LIVE: &str = "PACKHORSE_TEST_LIVE";
/// The file that it makes when it begins.
const BEGUN: &str = "begun";

/// Nothing by itself: the next test runs it in a process of its own, and kills that.
#[test]
fn collects_where_it_is_told_to() {
    let (Ok(dir), Ok(live)) = (std::env::var(COLLECT_IN), std::env::var(LIVE)) else { return };
    let library = Library::open(Path::new(&dir)).unwrap();
    fs::write(Path::new(&dir).join(BEGUN), "").unwrap();
    library.collect(&[live.parse().unwrap()]).unwrap();
}

fn collect_elsewhere(dir: &Path, live: &Digest) -> Child {
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "collect::tests::collects_where_it_is_told_to", "--nocapture"])
        .env(COLLECT_IN, dir)
        .env(LIVE, live.to_string())
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    while !dir.join(BEGUN).exists() {
        assert!(child.try_wait().unwrap().is_none(), "it ended before it began");
        std::thread::sleep(Duration::from_micros(100));
    }
    child
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        match entry.file_type().unwrap().is_dir() {
            true => copy(&entry.path(), &target),
            false => drop(fs::copy(entry.path(), target).unwrap()),
        }
    }
}

#[test]
fn a_collection_that_is_killed_at_any_moment_loses_nothing_that_is_live_and_is_finished_by_the_next() {
    const KILLS: u32 = 40;
    let work = quick_dir();
    let full = work.path().join("full");
    let library = Library::open(&full).unwrap();
    // What is live lies between what is not, so that packs are moved and not only dropped.
    for seed in 20..24 {
        take(source(seed).path(), &library);
    }
    let kept = take(source(1).path(), &library);
    for seed in 30..34 {
        take(source(seed).path(), &library);
    }
    drop(library);
    let whole = work.path().join("whole");
    copy(&full, &whole);
    let began = Instant::now();
    assert!(collect_elsewhere(&whole, &kept.digest).wait().unwrap().success());
    let takes = began.elapsed();

    let mut unfinished = 0;
    for kill in 0..KILLS {
        let dir = work.path().join(format!("killed-{kill}"));
        copy(&full, &dir);
        let mut child = collect_elsewhere(&dir, &kept.digest);
        let until = Instant::now() + takes * kill / KILLS;
        while Instant::now() < until && child.try_wait().unwrap().is_none() {
            std::thread::sleep(Duration::from_micros(50));
        }
        child.kill().unwrap();
        child.wait().unwrap();

        let library = Library::open(&dir).unwrap();
        assert!(library.verify(&kept.digest).unwrap().is_empty(), "kill {kill}");
        unfinished += u32::from(library.collect(&[kept.digest]).unwrap() != Collected::default());
        assert_eq!(library.manifests().unwrap(), [kept.digest]);
        assert!(library.verify(&kept.digest).unwrap().is_empty(), "kill {kill}, collected again");
        assert!(library.disk_bytes() < 1_000_000, "kill {kill}: {}", library.disk_bytes());
        drop(library);
        fs::remove_dir_all(&dir).unwrap();
    }
    assert!(unfinished > 0, "no kill came before the end");
}

#[test]
fn a_pack_whose_index_alone_was_removed_gives_nothing_up() {
    let (dir, library) = library();
    let kept = take(source(1).path(), &library);
    take(source(2).path(), &library);
    drop(library);
    // Where a collection was killed between the two removals.
    fs::remove_file(dir.path().join("packs/0000000000000001.index")).unwrap();

    let library = Library::open(dir.path()).unwrap();

    assert!(library.verify(&kept.digest).unwrap().is_empty());
    library.collect(&[kept.digest]).unwrap();
    assert!(library.verify(&kept.digest).unwrap().is_empty());
}

#[test]
fn a_rotten_copy_in_another_pack_does_not_take_the_place_of_a_good_one() {
    let (dir, library) = library();
    let kept = take(source(1).path(), &library);
    take(source(2).path(), &library);
    drop(library);
    // What a collection leaves that was killed after it had moved the chunks: two copies. Then the new one rots.
    let packs = dir.path().join("packs");
    for end in ["pack", "index"] {
        fs::copy(
            packs.join(format!("0000000000000001.{end}")),
            packs.join(format!("0000000000000002.{end}")),
        )
        .unwrap();
    }
    let copy = packs.join("0000000000000002.pack");
    let mut bytes = fs::read(&copy).unwrap();
    bytes[200_000] ^= 1;
    fs::write(&copy, bytes).unwrap();
    let library = Library::open(dir.path()).unwrap();
    assert!(library.verify(&kept.digest).unwrap().is_empty());

    library.collect(&[kept.digest]).unwrap();

    assert_eq!(library.verify(&kept.digest).unwrap(), []);
}

#[test]
fn a_transfer_that_runs_gets_all_its_blocks_though_its_packs_are_moved() {
    let (_dir, library) = library();
    take(source(2).path(), &library);
    let kept = take(source(1).path(), &library);
    take(source(3).path(), &library);
    let asked = chunks(&kept.manifest);
    let (mut given, mut collected) = (Vec::new(), false);

    let read = library.read_blocks(&asked, &mut |block| {
        if !std::mem::replace(&mut collected, true) {
            assert!(library.collect(&[kept.digest]).unwrap().bytes > 600_000);
        }
        let plain = block.verified_plain().unwrap();
        given.extend(block.parts(&plain).map(|(chunk, _)| chunk.digest));
        ControlFlow::Continue(())
    });

    read.unwrap();
    given.sort_unstable();
    let mut expected = asked;
    expected.sort_unstable();
    expected.dedup();
    assert_eq!(given, expected);
}
