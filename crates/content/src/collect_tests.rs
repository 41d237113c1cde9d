//! Tests of collecting: what is live stays whatever happens, the rest goes.

use std::{fs, ops::ControlFlow};

use packhorse_domain::Digest;

use super::Collected;
use crate::{
    Library, LibraryError, Manifest,
    testing::{library, noise, source, take},
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
