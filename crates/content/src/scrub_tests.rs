//! Tests of scrubbing: what rotted is found, and nothing else; it goes on where it stopped.

use std::{collections::HashSet, fs, ops::ControlFlow, path::Path};

use packhorse_domain::Digest;

use super::{ScrubPlace, Scrubbed};
use crate::{
    Library,
    testing::{library, source, take},
};

fn scrub(library: &Library) -> Scrubbed {
    library.scrub(ScrubPlace::default(), &mut |_| ControlFlow::Continue(())).unwrap()
}

fn rot(library: &Path, offset: usize) {
    let pack = library.join("packs/0000000000000001.pack");
    let mut bytes = fs::read(&pack).unwrap();
    bytes[offset] ^= 1;
    fs::write(&pack, bytes).unwrap();
}

#[test]
fn a_sound_library_is_read_whole_and_nothing_is_found() {
    let (_dir, library) = library();
    let taken = take(source(1).path(), &library);

    let scrubbed = scrub(&library);

    let distinct: HashSet<Digest> = taken.manifest.chunks().map(|chunk| chunk.digest).collect();
    assert_eq!(scrubbed.chunks, distinct.len() as u64);
    assert_eq!(scrubbed.bytes + 16, library.scrub_bytes(ScrubPlace::default()), "all but the pack's header");
    assert_eq!((scrubbed.rotten, scrubbed.next), (vec![], None));
}

#[test]
fn what_rotted_is_found_and_forgotten_and_the_rest_stays() {
    let (dir, library) = library();
    let taken = take(source(1).path(), &library);
    rot(dir.path(), 200_000);

    let rotten: Vec<Digest> = scrub(&library).rotten.iter().map(|chunk| chunk.digest).collect();

    assert!(!rotten.is_empty() && rotten.len() < taken.manifest.chunks().count());
    assert_eq!(library.verify(&taken.digest).unwrap().len(), rotten.len());
    library.forget_damaged(&rotten).unwrap();
    assert!(rotten.iter().all(|chunk| !library.has_chunk(chunk)));
    assert_eq!(scrub(&library).rotten, [], "what was forgotten is found no second time");
    let missing: Vec<Digest> =
        library.missing(&taken.manifest).into_iter().map(|chunk| chunk.digest).collect();
    assert_eq!(missing.iter().collect::<HashSet<_>>(), rotten.iter().collect());
}

#[test]
fn a_scrub_goes_on_where_it_stopped() {
    let (dir, library) = library();
    take(source(1).path(), &library);
    take(source(2).path(), &library);
    rot(dir.path(), 200_000);
    let whole = scrub(&library);

    let (mut place, mut sum, mut stretches) = (Some(ScrubPlace::default()), Scrubbed::default(), 0);
    while let Some(from) = place {
        let one = library.scrub(from, &mut |_| ControlFlow::Break(())).unwrap();
        assert!(one.next.is_none_or(|next| next > from));
        sum.chunks += one.chunks;
        sum.bytes += one.bytes;
        sum.rotten.extend(one.rotten);
        (place, stretches) = (one.next, stretches + 1);
    }

    assert!(stretches > 4, "{stretches}");
    assert_eq!(sum, whole);
}

#[test]
fn a_scrub_survives_a_collection_that_takes_its_packs_away() {
    let (_dir, library) = library();
    let kept = take(source(1).path(), &library);
    take(source(2).path(), &library);
    let mut collected = false;

    let scrubbed = library.scrub(ScrubPlace::default(), &mut |_| {
        if !std::mem::replace(&mut collected, true) {
            library.collect(&[kept.digest]).unwrap();
        }
        ControlFlow::Continue(())
    });

    assert_eq!(scrubbed.unwrap().rotten, []);
    assert!(library.verify(&kept.digest).unwrap().is_empty());
}

#[test]
fn a_manifest_that_rotted_is_named() {
    let (dir, library) = library();
    let (sound, rotten) = (take(source(1).path(), &library), take(source(2).path(), &library));
    let path = dir.path().join("manifests").join(rotten.digest.to_string());
    let mut bytes = fs::read(&path).unwrap();
    bytes[20] ^= 1;
    fs::write(&path, bytes).unwrap();

    assert_eq!(library.rotten_manifests().unwrap(), [rotten.digest]);
    assert!(library.manifest(&sound.digest).unwrap().is_some());
}
