//! Single chunks from sources that have some of them, none, or wrong ones.

use packhorse_content::{ChunkRef, Manifest};

use super::{Shelf, Strange, Turn, start};
use crate::{MendError, fetch_chunks, fetch_manifest};

fn chunks(manifest: &Manifest) -> Vec<ChunkRef> {
    manifest.chunks().collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_source_has_comes_although_it_lacks_the_rest() {
    let (all, manifest) = Shelf::with(150, 2000);
    let some = Shelf::empty();
    let mut writer = some.library.writer().unwrap();
    for (at, chunk) in chunks(&manifest).iter().enumerate() {
        if at % 3 == 0 {
            writer.add(chunk.digest, &all.library.chunk(&chunk.digest).unwrap().unwrap()).unwrap();
        }
    }
    writer.seal().unwrap();
    let source = start("some", some.server().into_service()).await;
    let mine = Shelf::empty();

    fetch_chunks(&source.source, &mine.library, &manifest.digest(), &chunks(&manifest)).await.unwrap();

    assert_eq!(mine.library.missing(&manifest).len(), 100);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_source_that_has_nothing_is_not_asked_for_everything() {
    let (_all, manifest) = Shelf::with(600, 200);
    let nothing = Shelf::empty();
    let strange = Strange::new(&nothing, |_, block| Turn::Give(block));
    let asked = strange.asked.clone();
    let source = start(
        "nothing",
        packhorse_proto::content::v1::content_service_server::ContentServiceServer::new(strange),
    )
    .await;
    let mine = Shelf::empty();

    fetch_chunks(&source.source, &mine.library, &manifest.digest(), &chunks(&manifest)).await.unwrap();

    let asked = asked.lock().unwrap().len();
    assert!(asked < 600, "{asked}");
    assert_eq!(fetch_manifest(&source.source, &manifest.digest()).await.unwrap(), None);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn wrong_bytes_are_refused_and_nothing_of_them_is_kept() {
    let (there, manifest) = Shelf::with(10, 2000);
    let strange = Strange::new(&there, |_, mut block| {
        let other = block.chunks[0].digest.clone();
        block.chunks[1].digest = other;
        Turn::Give(block)
    });
    let source = start(
        "liar",
        packhorse_proto::content::v1::content_service_server::ContentServiceServer::new(strange),
    )
    .await;
    let mine = Shelf::empty();

    let fetched = fetch_chunks(&source.source, &mine.library, &manifest.digest(), &chunks(&manifest)).await;

    assert!(matches!(fetched, Ok(()) | Err(MendError::Wrong { .. })), "{fetched:?}");
    assert!(mine.library.missing(&manifest).len() >= 9);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_manifest_comes_checked() {
    let (there, manifest) = Shelf::with(10, 2000);
    let source = start("good", there.server().into_service()).await;

    let bytes = fetch_manifest(&source.source, &manifest.digest()).await.unwrap().unwrap();

    assert_eq!(bytes, manifest.encode());
}
