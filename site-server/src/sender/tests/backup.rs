//! A child whose parent has two addresses: the link goes by the backup while the first cannot be reached, and back again.

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use packhorse_domain::address::Address;
use packhorse_runtime::SystemClock;
use tokio::net::{TcpListener, TcpStream};

use crate::{
    sender::dial_parent,
    store::addresses,
    testing::{Node, until},
};

/// A way to an endpoint that hangs up on everybody until it is opened.
async fn gate(node: &Node, to: String) -> (SocketAddr, Arc<AtomicBool>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (address, is_open) = (listener.local_addr().unwrap(), Arc::<AtomicBool>::default());
    let (open, stop, lifecycle) = (is_open.clone(), node.lifecycle.stopping(), node.lifecycle.clone());
    node.lifecycle.spawn_finite("gate", async move {
        while let Some(Ok((mut here, _))) = stop.run_until_cancelled(listener.accept()).await {
            if !open.load(Ordering::SeqCst) {
                continue;
            }
            let mut there = TcpStream::connect(&to).await.unwrap();
            let stop = stop.clone();
            lifecycle.spawn_finite("connection", async move {
                stop.run_until_cancelled(tokio::io::copy_bidirectional(&mut here, &mut there)).await;
            });
        }
    });
    (address, is_open)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_link_goes_back_to_the_first_address_when_it_can_be_reached_again() {
    let clock = SystemClock::shared();
    let central = Node::central(clock.clone()).await;
    let soon = |settings: &mut crate::config::Settings| {
        settings.link.patience.backup = Duration::from_millis(100);
    };
    let child = central.child_with("PAR", clock, soon).await;
    central.start();
    child.start();
    let (parent, endpoints) = child.site.settings.parent.clone().unwrap();
    let (first, is_open) = gate(&child, endpoints[0].clone()).await;
    let mut tx = child.site.store.begin().await.unwrap();
    for (name, order, endpoint) in [("main", 1, first.to_string()), ("radio", 2, endpoints[0].clone())] {
        let mut address = Address::open(parent.clone(), name.parse().unwrap());
        (address.order, address.endpoint) = (order, Some(endpoint));
        addresses::put(&mut tx, &address).await.unwrap();
    }
    tx.commit().await.unwrap();
    let dial = dial_parent(child.site.clone(), child.lifecycle.clone(), child.wakers.clone(), parent.clone());
    child.lifecycle.spawn("link-to-parent", dial);
    let goes_by = |name: &'static str| {
        let (site, parent) = (child.site.clone(), parent.clone());
        move || {
            let by = site.links(|links| {
                let view = links.get(&parent).filter(|view| view.up);
                view.and_then(|view| view.address.as_ref().map(ToString::to_string))
            });
            async move { by.as_deref() == Some(name) }
        }
    };
    until("it goes by the backup", goes_by("radio")).await;

    is_open.store(true, Ordering::SeqCst);

    until("it goes by the first again", goes_by("main")).await;
}
