//! What a pull does with good, bad, cut and empty-handed sources.

use std::fs;

use packhorse_proto::content::v1::content_service_server::ContentServiceServer;
use tokio::sync::watch;

use super::*;
use crate::{FetchError, Progress, fetch};

async fn pull(sources: &[&Running], into: &Shelf, manifest: &Manifest) -> Result<Progress, FetchError> {
    let sources: Vec<Source> = sources.iter().map(|running| running.source.clone()).collect();
    let (progress, seen) = watch::channel(Progress::default());
    let fetched = fetch(&sources, &into.library, manifest.digest(), &progress).await?;
    assert_eq!(&fetched, manifest);
    Ok(*seen.borrow())
}

async fn strange(name: &str, shelf: &Shelf, twist: Twist) -> (Running, Arc<Mutex<Vec<Digest>>>) {
    let strange = Strange::new(shelf, twist);
    let asked = strange.asked.clone();
    (start(name, ContentServiceServer::new(strange)).await, asked)
}

fn give(_: usize, block: ReadChunksResponse) -> Turn {
    Turn::Give(block)
}

#[tokio::test]
async fn content_arrives_whole_and_is_not_fetched_twice() {
    let (full, manifest) = Shelf::with(5000, 300);
    let mine = Shelf::empty();
    let (source, asked) = strange("a", &full, give).await;

    let progress = pull(&[&source], &mine, &manifest).await.unwrap();
    let again = pull(&[], &mine, &manifest).await.unwrap();

    assert!(mine.has(&manifest));
    assert_eq!(progress, Progress { done: 1_500_000, total: 1_500_000, fetched: 1_500_000 });
    assert_eq!(again, Progress { fetched: 0, ..progress });
    assert_eq!(asked.lock().unwrap().len(), 5000);
}

#[tokio::test]
async fn wrong_bytes_are_refused_and_the_next_source_is_asked() {
    let (full, manifest) = Shelf::with(40, 50_000);
    let twists: [Twist; 5] = [
        |_, mut block| {
            let mut data = block.data.to_vec();
            let middle = data.len() / 2;
            data[middle] ^= 1;
            block.data = data.into();
            Turn::Give(block)
        },
        |_, mut block| {
            block.chunks.reverse();
            Turn::Give(block)
        },
        |_, mut block| {
            block.chunks[0].digest = vec![7; 32].into();
            Turn::Give(block)
        },
        |_, mut block| {
            block.chunks[0].digest = vec![7; 5].into();
            Turn::Give(block)
        },
        |_, mut block| {
            block.chunks.clear();
            Turn::Give(block)
        },
    ];
    for (number, twist) in twists.into_iter().enumerate() {
        let (lying, _) = strange("lying", &full, twist).await;
        let honest = start("honest", full.server().into_service()).await;
        let (alone, both) = (Shelf::empty(), Shelf::empty());

        let refused = pull(&[&lying], &alone, &manifest).await;
        pull(&[&lying, &honest], &both, &manifest).await.unwrap();

        assert!(matches!(refused, Err(FetchError::Damaged { .. })), "{number}: {refused:?}");
        assert!(!alone.library.has_manifest(&manifest.digest()), "{number}");
        assert!(both.has(&manifest), "{number}");
    }
}

#[tokio::test]
async fn a_cut_pull_goes_on_where_it_was_cut() {
    let (full, manifest) = Shelf::with(64, 64 * 1024);
    let mine = Shelf::empty();
    let (cut, _) = strange("cut", &full, |at, block| match at {
        8 => Turn::Fail(Status::unavailable("gone")),
        _ => Turn::Give(block),
    })
    .await;
    let (whole, asked) = strange("whole", &full, give).await;

    let error = pull(&[&cut], &mine, &manifest).await.unwrap_err();
    let missing = mine.library.missing(&manifest);
    pull(&[&whole], &mine, &manifest).await.unwrap();

    assert!(
        matches!(error, FetchError::Unavailable { ref source_name, .. } if source_name == "cut"),
        "{error:?}"
    );
    assert_eq!(missing.len(), 64 - 8 * 4);
    assert_eq!(*asked.lock().unwrap(), missing.iter().map(|chunk| chunk.digest).collect::<Vec<_>>());
    assert!(mine.has(&manifest));
}

#[tokio::test]
async fn what_arrived_becomes_durable_while_the_rest_is_waited_for() {
    const CHUNK: usize = 256 * 1024;
    let (full, manifest) = Shelf::with(140, CHUNK);
    let mine = Shelf::empty();
    let (slow, _) = strange("slow", &full, |at, block| match at {
        135 => Turn::Hang,
        _ => Turn::Give(block),
    })
    .await;

    let durable = async {
        while mine.library.missing(&manifest).len() > 140 - 128 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    let sources = [&slow];
    tokio::select! {
        result = pull(&sources, &mine, &manifest) => panic!("the source hangs: {result:?}"),
        () = durable => {}
    }

    assert!(!mine.library.has_manifest(&manifest.digest()), "not before all of it is there");
    assert!(mine.library.staged_manifests().unwrap().contains(&manifest.digest()), "a collection spares it");
}

#[tokio::test]
async fn a_damaged_source_says_so_mends_itself_and_another_is_asked() {
    let (damaged, manifest) = Shelf::with(40, 50_000);
    let (full, _) = Shelf::with(40, 50_000);
    let (to_damaged, to_full) = (
        start("damaged", damaged.server().into_service()).await,
        start("full", full.server().into_service()).await,
    );
    for pack in fs::read_dir(damaged.dir().join("packs")).unwrap() {
        let path = pack.unwrap().path();
        let mut bytes = fs::read(&path).unwrap();
        if bytes.len() > 1_000_000 {
            bytes[1_000_000] ^= 1;
            fs::write(&path, bytes).unwrap();
        }
    }
    let mine = Shelf::empty();

    let alone = pull(&[&to_damaged], &mine, &manifest).await;
    let missing_there = damaged.library.missing(&manifest).len();
    pull(&[&to_damaged, &to_full], &mine, &manifest).await.unwrap();
    pull(&[&to_full], &damaged, &manifest).await.unwrap();

    assert!(matches!(alone, Err(FetchError::Damaged { .. })), "{alone:?}");
    assert!((1..40).contains(&missing_there), "{missing_there}");
    assert!(mine.has(&manifest));
    assert!(damaged.has(&manifest));
}

#[tokio::test]
async fn nobody_holding_it_and_nobody_there_are_told_apart() {
    let (full, manifest) = Shelf::with(4, 10);
    let (empty, mine) = (Shelf::empty(), Shelf::empty());
    let holds_nothing = start("empty", empty.server().into_service()).await;
    let (failing, _) = strange("failing", &full, |_, _| Turn::Fail(Status::internal(""))).await;

    let not_held = pull(&[&holds_nothing], &mine, &manifest).await;
    let no_source = pull(&[], &mine, &manifest).await;
    let failed = pull(&[&holds_nothing, &failing, &holds_nothing], &mine, &manifest).await;

    assert!(matches!(not_held, Err(FetchError::NotHeld { .. })), "{not_held:?}");
    assert!(matches!(no_source, Err(FetchError::NotHeld { .. })), "{no_source:?}");
    assert!(matches!(failed, Err(FetchError::Unavailable { .. })), "{failed:?}");
}

#[tokio::test]
async fn content_that_this_program_cannot_use_is_no_reason_to_ask_others() {
    let shelf = Shelf::empty();
    let bytes = b"a manifest of a later version";
    let digest = Digest(*blake3::hash(bytes).as_bytes());
    fs::write(shelf.dir().join("manifests").join(digest.to_string()), bytes).unwrap();
    let source = start("later", shelf.server().into_service()).await;
    let (progress, _seen) = watch::channel(Progress::default());

    let error = fetch(std::slice::from_ref(&source.source), &Shelf::empty().library, digest, &progress)
        .await
        .unwrap_err();

    assert!(matches!(error, FetchError::Unusable { .. }), "{error:?}");
}
