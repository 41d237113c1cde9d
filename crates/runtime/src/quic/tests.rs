//! Real UDP and TLS: who is let in, what travels, and what a lost packet holds up.

use std::{
    net::SocketAddr,
    sync::{
        Arc, LazyLock, Mutex,
        atomic::{AtomicU64, Ordering},
    },
};

use packhorse_domain::Timestamp;
use packhorse_trust::{Authority, Credentials, Name, Role, credentials::new_key_and_request};
use tokio::{net::UdpSocket, sync::mpsc, time::timeout};

use super::*;
use crate::{
    clock::{Clock as _, SystemClock},
    lifecycle::Lifecycle,
    tls::{Caller, ServerTls},
};

const DAY: Duration = Duration::from_secs(86_400);
const MESSAGE_MAX: u32 = 300_000;
/// Longer than anything here takes.
const PATIENCE: Duration = Duration::from_secs(20);
const OPTIONS: QuicOptions =
    QuicOptions { limits: LIMITS, handshake_timeout: Duration::from_secs(2), handshakes_max: 16 };
const LIMITS: QuicLimits = QuicLimits { message_max: MESSAGE_MAX, unread_max: 1024 * 1024 };

static CEN: LazyLock<Authority> = LazyLock::new(|| authority("CEN"));
static PAR: LazyLock<Authority> = LazyLock::new(|| authority("PAR"));

fn authority(site: &str) -> Authority {
    let dir = tempfile::tempdir().unwrap();
    Authority::create(dir.path(), &site.parse().unwrap(), SystemClock.now()).unwrap()
}

fn credentials(site: &str, authority: &Authority, now: Timestamp) -> Credentials {
    let (key_pem, request) = new_key_and_request("test").unwrap();
    let name = Name::new(site.parse().unwrap(), Role::Site, "PAR").unwrap();
    let cert_pem = authority.issue(&request, &name, DAY, now).unwrap();
    Credentials { key_pem, cert_pem, authority_pem: authority.certificate_pem().to_owned() }
}

fn server_name() -> Name {
    Name::new("CEN".parse().unwrap(), Role::Site, "CEN").unwrap()
}

/// What was accepted: who, what for, the connection.
type Accepted = (Name, Vec<u8>, QuicConnection);

struct Running {
    address: SocketAddr,
    accepted: mpsc::UnboundedReceiver<Accepted>,
    lifecycle: Lifecycle,
}

/// A server that takes whoever says something other than "no".
fn start() -> Running {
    let tls = ServerTls::new(&CEN.own_credentials(DAY, SystemClock.now()).unwrap()).unwrap();
    let server = QuicServer::bind("127.0.0.1:0".parse().unwrap(), tls, OPTIONS).unwrap();
    let address = SocketAddr::new("127.0.0.1".parse().unwrap(), server.port().unwrap());
    let lifecycle = Lifecycle::new();
    let (taken, accepted) = mpsc::unbounded_channel();
    let take = move |name: Name, purpose: &[u8], quic: QuicConnection| {
        if purpose == b"no" {
            return Err("not for that".to_owned());
        }
        taken.send((name, purpose.to_vec(), quic)).map_err(|_| "over".to_owned())
    };
    lifecycle.spawn_finite("server", server.serve(lifecycle.clone(), take, lifecycle.stopping()));
    Running { address, accepted, lifecycle }
}

async fn call(address: SocketAddr, purpose: &[u8]) -> Result<QuicConnection, QuicConnectError> {
    let known = credentials("CEN", &CEN, SystemClock.now());
    let dial = QuicDial { address, trip: None };
    quic_connect(dial, &server_name(), Caller::Known(&known), purpose, LIMITS).await
}

async fn pair(running: &mut Running, address: SocketAddr) -> (QuicConnection, QuicConnection) {
    let child = call(address, b"lane").await.unwrap();
    let (name, purpose, parent) = running.accepted.recv().await.unwrap();
    assert_eq!((name.id.as_str(), &purpose[..]), ("PAR", &b"lane"[..]));
    (parent, child)
}

async fn hear(quic: &QuicConnection) -> Vec<u8> {
    let begun = timeout(PATIENCE, quic.next()).await.expect("in time").unwrap();
    timeout(PATIENCE, begun.whole(MESSAGE_MAX as usize)).await.expect("in time").unwrap()
}

/// Carries datagrams between a caller and a server, and loses the one that is as long as it is told.
#[derive(Clone, Default)]
struct Lossy {
    lose: Arc<Mutex<Option<usize>>>,
    lost: Arc<AtomicU64>,
}

impl Lossy {
    async fn before(&self, running: &Running) -> SocketAddr {
        let (outer, inner) =
            (UdpSocket::bind("127.0.0.1:0").await.unwrap(), UdpSocket::bind("127.0.0.1:0").await.unwrap());
        let address = outer.local_addr().unwrap();
        inner.connect(running.address).await.unwrap();
        let (lossy, stop) = (self.clone(), running.lifecycle.stopping());
        running.lifecycle.spawn_finite("lossy", async move {
            let (mut up, mut down, mut caller) = ([0; 2000], [0; 2000], None);
            loop {
                tokio::select! {
                    () = stop.cancelled() => return,
                    Ok((length, from)) = outer.recv_from(&mut up) => {
                        caller = Some(from);
                        let _ = inner.send(&up[..length]).await;
                    }
                    Ok(length) = inner.recv(&mut down) => {
                        if lossy.loses(length) {
                            continue;
                        }
                        if let Some(caller) = caller {
                            let _ = outer.send_to(&down[..length], caller).await;
                        }
                    }
                }
            }
        });
        address
    }

    fn loses(&self, length: usize) -> bool {
        let mut lose = self.lose.lock().unwrap();
        let loses = lose.is_some_and(|at_least| length >= at_least);
        if loses {
            *lose = None;
            self.lost.fetch_add(1, Ordering::SeqCst);
        }
        loses
    }
}

#[tokio::test]
async fn messages_go_both_ways_and_are_counted() {
    let mut running = start();
    let address = running.address;
    let (parent, child) = pair(&mut running, address).await;
    let long = vec![7; 250_000];

    parent.send(&long).await.unwrap();
    child.send(b"got it").await.unwrap();

    assert_eq!(hear(&child).await, long);
    assert_eq!(hear(&parent).await, b"got it");
    let (sent, received) = (parent.wire().sent(), child.wire().received());
    assert!((250_000..300_000).contains(&sent) && (250_000..=sent).contains(&received), "{sent} {received}");
    assert!(parent.wire().on_line() > sent, "headers are counted");
    running.lifecycle.stop();
}

#[tokio::test]
async fn a_lost_packet_holds_up_its_own_message_only() {
    let mut running = start();
    let lossy = Lossy::default();
    let address = lossy.before(&running).await;
    let (parent, child) = pair(&mut running, address).await;
    // What finds out how long packets may be would be lost in the place of a message.
    until("the longest packets are known", || parent.connection.stats().path.current_mtu > 1400).await;
    *lossy.lose.lock().unwrap() = Some(1100);

    parent.send(&[1; 1150]).await.unwrap();
    until("it is lost", || lossy.lost.load(Ordering::SeqCst) == 1).await;
    parent.send(&[2; 10]).await.unwrap();

    let (first, second) = (child.next().await.unwrap(), child.next().await.unwrap());
    let mut first = std::pin::pin!(first.whole(2000));
    tokio::select! {
        biased;
        _ = &mut first => panic!("it was lost"),
        second = second.whole(2000) => assert_eq!(second.unwrap(), [2; 10]),
    }
    assert_eq!(first.await.unwrap(), [1; 1150], "and then it comes again");
    running.lifecycle.stop();
}

#[tokio::test]
async fn who_is_not_known_is_turned_away() {
    let running = start();
    let server = server_name();
    let dial = QuicDial { address: running.address, trip: None };
    let stranger = credentials("PAR", &PAR, SystemClock.now());
    let forged = Credentials { authority_pem: CEN.certificate_pem().to_owned(), ..stranger.clone() };
    let anonymous = Caller::Anonymous { authority_pem: CEN.certificate_pem() };
    let other = Name::new("LYO".parse().unwrap(), Role::Site, "LYO").unwrap();
    let known = credentials("CEN", &CEN, SystemClock.now());

    for (server, caller) in [
        (&server, Caller::Known(&stranger)),
        (&server, Caller::Known(&forged)),
        (&server, anonymous),
        (&other, Caller::Known(&known)),
    ] {
        let error = quic_connect(dial, server, caller, b"lane", LIMITS).await.unwrap_err();
        assert!(matches!(error, QuicConnectError::Unreachable { .. }), "{error:?}");
    }
    let error = call(running.address, b"no").await.unwrap_err();
    assert!(crate::error_chain(&error).contains("not for that"), "{error:?}");
    running.lifecycle.stop();
}

#[tokio::test]
async fn nobody_has_to_be_waited_for() {
    let mut running = start();
    let deaf = UdpSocket::bind("127.0.0.1:0").await.unwrap();

    let error =
        timeout(PATIENCE, call(deaf.local_addr().unwrap(), b"lane")).await.expect("in time").unwrap_err();

    assert!(matches!(error, QuicConnectError::TimedOut { .. }), "{error:?}");
    let garbage = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    for length in [0, 1, 20, 1200, 1400] {
        garbage.send_to(&vec![0xc3; length], running.address).await.unwrap();
    }
    let address = running.address;
    pair(&mut running, address).await;
    running.lifecycle.stop();
}

#[tokio::test]
async fn a_message_without_end_is_cut_and_its_connection_goes_on() {
    let mut running = start();
    let address = running.address;
    let (parent, child) = pair(&mut running, address).await;
    // More than a stream's window: the other end must read to let it go on.
    let endless = vec![0; 10_000_000];
    let reading = async { parent.next().await.unwrap().whole(1000).await.unwrap_err() };

    let (sent, error) =
        timeout(PATIENCE, async { tokio::join!(child.send(&endless), reading) }).await.unwrap();

    assert!(matches!(error, QuicError::TooLong { max: 1000 }), "{error:?}");
    assert!(matches!(sent, Err(QuicError::BrokenOff)), "{sent:?}");
    child.send(b"short").await.unwrap();
    assert_eq!(hear(&parent).await, b"short");
    drop(child);
    running.lifecycle.stop();
}

#[tokio::test]
async fn the_other_end_hears_why_it_is_over() {
    let mut running = start();
    let address = running.address;
    let (parent, child) = pair(&mut running, address).await;

    child.close("the session is over");

    let error = parent.next().await.unwrap_err();
    assert!(matches!(&error, QuicError::Closed { reason } if reason == "the session is over"), "{error:?}");
    running.lifecycle.stop();
}

async fn until(what: &str, is_so: impl Fn() -> bool) {
    let waiting = async {
        while !is_so() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    timeout(PATIENCE, waiting).await.unwrap_or_else(|_| panic!("not so: {what}"));
}
