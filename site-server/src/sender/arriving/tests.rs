//! What comes in, and when the disk has it.

use packhorse_content::{BundlePlan, Making, Outliner, write_bundle};
use packhorse_domain::Priority;
use packhorse_runtime::{SystemClock, Worker as _};

use super::*;
use crate::{
    despooler::Despooler,
    store::{arrivals::ArrivalState, contents},
    testing::{Node, noise, until},
};

/// A bundle that begins to come, and its bytes.
async fn arriving(central: &Node, child: &Node) -> (Arriving, Vec<u8>) {
    let package = central.package(&noise(9_000_000, 1)).await;
    let target =
        contents::of(&mut central.site.store.read().await.unwrap(), &package).await.unwrap()[0].manifest;
    let mut bytes = Vec::new();
    let plan = BundlePlan { target, bases: Vec::new() };
    let info = write_bundle(&central.site.library, &plan, &mut bytes, Making::small(3)).unwrap();
    let item = ItemId::of(&info.digest);
    let spool = Spool::of(&child.site.directories, &item);
    let opened = spool.open(info.length, &info.digest).unwrap();
    let arrival = Arrival {
        item,
        peer: central.code().clone(),
        package,
        target,
        bases: Vec::new(),
        digest: info.digest,
        length: info.length,
        priority: Priority::Medium,
        outlined: false,
        state: ArrivalState::Receiving,
        reason: String::new(),
        changed_at: child.site.now(),
    };
    let claim = child.site.courier.claims.claim(item).unwrap();
    (Arriving::new(arrival, spool, opened, claim, Span::none()), bytes)
}

#[tokio::test]
async fn what_comes_fast_is_in_the_library_with_its_last_byte() {
    let central = Node::central(SystemClock::shared()).await;
    let child = central.child("PAR", SystemClock::shared()).await;
    Despooler::new(child.site.clone()).step().await.unwrap();
    let (mut arriving, bytes) = arriving(&central, &child).await;
    assert!(!arriving.is_soon_here(), "nothing has come, so who knows");
    let (first, rest) = bytes.split_at(2_000_000);
    arriving.write(0, first).unwrap();
    arriving.unpack(&child.site, true).await.unwrap();
    assert!(!arriving.is_soon_here(), "it has begun");

    // Lanes bring it in any order.
    let (second, third) = rest.split_at(3_000_000);
    arriving.write(5_000_000, third).unwrap();
    arriving.write(2_000_000, second).unwrap();
    let target = arriving.arrival.target;
    drop(arriving);

    until("it is in the library", || async { child.site.library.has_manifest(&target) }).await;
}

/// Begins to take in a bundle of which this has come, and lets one sync end.
async fn begun(
    site: &Arc<Site>,
    (arriving, bytes): &mut (Arriving, Vec<u8>),
    may_wait: bool,
) -> (mpsc::UnboundedSender<Synced>, mpsc::UnboundedReceiver<Synced>) {
    let (done, mut syncs) = mpsc::unbounded_channel();
    let mut outliner = Outliner::new();
    outliner.update(bytes);
    arriving.outlined(outliner.finish().1);
    arriving.unpack(site, may_wait).await.unwrap();
    arriving.write(0, &bytes[..3_000_000]).unwrap();
    arriving.sync(&done);
    arriving.synced(syncs.recv().await.unwrap()).unwrap();
    (done, syncs)
}

#[tokio::test]
async fn what_the_library_will_have_need_not_reach_the_disk_as_it_came() {
    let central = Node::central(SystemClock::shared()).await;
    let child = central.child("PAR", SystemClock::shared()).await;
    Despooler::new(child.site.clone()).step().await.unwrap();
    let mut coming = arriving(&central, &child).await;
    let (done, mut syncs) = begun(&child.site, &mut coming, true).await;
    let (mut arriving, bytes) = coming;
    assert_eq!((arriving.seen(), arriving.durable(), arriving.checked()), (3_000_000, 0, 0));
    assert!(arriving.is_at_risk() && !arriving.is_behind());

    arriving.write(3_000_000, &bytes[3_000_000..]).unwrap();
    arriving.sync(&done);
    arriving.synced(syncs.recv().await.unwrap()).unwrap();
    assert!(arriving.is_whole() && arriving.durable() == 0);

    arriving.stop_unpacking();
    assert!(arriving.is_behind(), "nobody else makes it durable");
    arriving.sync(&done);
    arriving.synced(syncs.recv().await.unwrap()).unwrap();
    assert_eq!(arriving.durable(), bytes.len() as u64);
    assert_eq!(arriving.checked(), bytes.len() as u64, "nor checks it");
    assert!(!arriving.is_at_risk() && !arriving.is_behind());
}

#[tokio::test]
async fn what_others_will_want_and_what_the_peer_waits_for_reaches_the_disk_at_once() {
    let central = Node::central(SystemClock::shared()).await;
    for (code, has_child, may_wait) in [("PAR", true, true), ("LYO", false, false)] {
        let child = central.child(code, SystemClock::shared()).await;
        if has_child {
            child.child("NIC", SystemClock::shared()).await;
        }
        Despooler::new(child.site.clone()).step().await.unwrap();
        let mut coming = arriving(&central, &child).await;
        begun(&child.site, &mut coming, may_wait).await;
        assert_eq!(coming.0.durable(), 3_000_000, "{code}");
    }
}
