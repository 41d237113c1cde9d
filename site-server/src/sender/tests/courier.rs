//! What a medium has begun, the line completes.

use std::fs;

use packhorse_runtime::SystemClock;

use super::{
    Line,
    link::{is_installed, knows_hall},
};
use crate::{
    courier::{incoming, outgoing, unheard},
    store::bundles,
    testing::{Node, noise, until},
};

const MIB: u64 = 1024 * 1024;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_line_brings_only_what_the_medium_did_not() {
    let central = Node::central(SystemClock::shared()).await;
    let child = central.child("PAR", SystemClock::shared()).await;
    child.hall().await;
    central.start();
    child.start();
    let line = Line::new(&central, &child);
    knows_hall(&central).await;
    drop(line);
    let length = 6 * MIB;
    let package = central.package(&noise(length as usize, 3)).await;
    central.send(&package, child.code()).await;
    until("the bundle waits", || async {
        let mut tx = central.site.store.read().await.unwrap();
        !bundles::sendings(&mut tx).await.unwrap().is_empty()
    })
    .await;
    // Of six volumes one in the middle is not brought.
    let medium = tempfile::tempdir().unwrap();
    let to = [child.code().clone()];
    let (parcel, _) = outgoing::create(&central.site, &to, Some(MIB), false).await.unwrap();
    let root = medium.path().to_owned();
    outgoing::write(&central.site, parcel.id, root.clone(), Vec::new(), unheard()).await.unwrap();
    fs::remove_file(root.join(parcel.id.directory()).join("003.PHV")).unwrap();
    let received = incoming::receive(&child.site, root, unheard()).await.unwrap();
    assert_eq!(received[0].missing, [3], "{received:?}");

    let line = Line::new(&central, &child);

    until("it has arrived", || is_installed(&central, &package, &child)).await;
    let carried = line.data_bytes();
    assert!((MIB / 2..3 * MIB).contains(&carried), "{carried} of {length} bytes came over the line");
}
