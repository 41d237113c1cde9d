//! A lane over UDP between real sites: each frame for itself, what is left after a cut, and who has no business there.

use std::fs;

use packhorse_proto::link::v1::{self as wire, frame::Body};
use packhorse_runtime::{Caller, QuicConnection, QuicDial, SystemClock, error_chain, quic_connect};
use packhorse_trust::{Credentials, Name};
use prost::Message as _;
use tonic::Code;

use super::{MB, with_lanes};
use crate::{
    config::LaneMode,
    sender::{
        QUIC_OPTIONS,
        tests::{link::is_installed, peer::Peer},
    },
    testing::{Node, noise, until},
};

/// Bytes that came over lanes and the first connections of all links so far.
fn received(child: &Node, central: &Node) -> u64 {
    child.site.links(|links| links[central.code()].received_before + links[central.code()].received())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_bundle_goes_over_udp_and_nothing_of_it_over_tcp() {
    let (central, child, wires) = with_lanes(LaneMode::Udp).await;
    let (tcp, all) = (wires.down(), received(&child, &central));
    assert_eq!(tcp.len(), 1, "no further connection over TCP was made");
    let content = noise(16 << 20, 5);
    let package = central.package(&content).await;

    central.send(&package, child.code()).await;

    until("it is there", || is_installed(&central, &package, &child)).await;
    assert!(wires.down()[0] - tcp[0] < MB / 4, "the main line carries what is urgent");
    assert!((16 * MB..18 * MB).contains(&(received(&child, &central) - all)), "the lane is counted");
    let published = child.path("hall").join(package.as_str()).join("setup.sh");
    until("the directory has it", || async { published.exists() }).await;
    assert_eq!(fs::read(published).unwrap(), content);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn after_a_cut_what_came_over_udp_does_not_come_again() {
    let (central, child, wires) = with_lanes(LaneMode::Udp).await;
    let before = received(&child, &central);
    let package = central.package(&noise(16 << 20, 6)).await;
    central.send(&package, child.code()).await;
    until("a part of it came", || async { received(&child, &central) - before > 3 * MB }).await;

    wires.cut(0);

    until("it is there", || is_installed(&central, &package, &child)).await;
    let carried = received(&child, &central) - before;
    assert!((16 * MB..19 * MB).contains(&carried), "{carried} bytes for 16 MiB");
    assert!(wires.down().len() > 1, "it was cut");
}

/// A lane of a child made by hand.
async fn lane(parent: &Node, child: &Node, session: &[u8]) -> Result<QuicConnection, String> {
    let credentials = Credentials::load(&child.site.directories.parent_credentials()).unwrap();
    let address = format!("127.0.0.1:{}", parent.site.lane_port()).parse().unwrap();
    let server = Name::of_site(parent.code().clone(), parent.code());
    let dial = QuicDial { address, trip: None };
    let caller = Caller::Known(&credentials);
    quic_connect(dial, &server, caller, session, QUIC_OPTIONS.limits)
        .await
        .map_err(|error| error_chain(&error))
}

/// A child that has a link, made by hand too, and the session that its parent named.
async fn met(parent: &Node, child: &Node) -> (Peer, Vec<u8>) {
    let mut peer = Peer::met(parent, child, 3).await;
    peer.any_object().await;
    let hello = peer.hello.clone().unwrap();
    assert_eq!(hello.lane_port, u32::from(parent.site.lane_port()));
    (peer, hello.session.to_vec())
}

async fn udp_parent() -> (Node, Node) {
    let clock = SystemClock::shared();
    let central = Node::central_with(clock.clone(), |settings| settings.link.lanes = LaneMode::Udp).await;
    let child = central.child("PAR", clock).await;
    central.start();
    (central, child)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lane_is_for_the_session_that_it_names_and_its_child() {
    let (central, child) = udp_parent().await;
    let other = central.child("LYO", SystemClock::shared()).await;
    let over = "that session is over";
    assert!(lane(&central, &child, &[0; 16]).await.unwrap_err().contains(over), "there is no link");
    let (_peer, session) = met(&central, &child).await;

    for (who, session, reason) in [
        (&child, &[0; 16][..], over),
        (&child, &session[..15], "16 bytes are expected"),
        (&other, &session[..], over),
    ] {
        let error = lane(&central, who, session).await.unwrap_err();
        assert!(error.contains(reason), "{error}");
    }
    let lane_of_it = lane(&central, &child, &session).await.unwrap();
    let error = lane(&central, &child, &session).await.unwrap_err();
    assert!(error.contains("takes no more lanes"), "{error}");
    drop(lane_of_it);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_does_not_belong_on_a_lane_ends_the_link_and_is_told_of() {
    let (central, child) = udp_parent().await;
    let frame = |body| wire::Frame { body: Some(body) }.encode_to_vec();
    let mut told = Vec::new();
    for (message, reason) in [
        (frame(Body::Ping(wire::Ping { value: 1 })), "ping"),
        (frame(Body::Got(wire::Got { bytes: 1 << 40 })), "are said to have come"),
        (vec![0xff; 40], "a frame does not decode"),
        (vec![0; QUIC_OPTIONS.limits.message_max as usize + 1], "a message is longer than 524288 bytes"),
    ] {
        let (mut peer, session) = met(&central, &child).await;
        let lane = lane(&central, &child, &session).await.unwrap();

        // What is too long is not read to its end.
        let _ = lane.send(&message).await;

        let (code, text) = peer.ended().await;
        assert_eq!(code, Code::InvalidArgument, "{reason}: {text}");
        assert!(text.contains(reason), "{text} should say: {reason}");
        told.push(text);
    }
    let events = central.events_about("PAR").await;
    assert!(events.iter().any(|event| event.contains("does not decode")), "{told:?} {events:#?}");
}
