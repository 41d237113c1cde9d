//! Lanes between real sites over TLS: what goes over which connection, and what is left when one is cut.

mod udp;

use std::{
    fs,
    net::SocketAddr,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering},
    },
};

use packhorse_domain::{address::Address, id::SiteCode, link::limits};
use packhorse_runtime::SystemClock;
use tokio::{
    io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
};
use tokio_util::sync::CancellationToken;

use super::link::{is_installed, knows_hall};
use crate::{
    config::LaneMode,
    sender::dial_parent,
    store::addresses,
    testing::{Node, noise, until},
};

/// Of sites that are set to lanes over TCP.
const LANES: usize = limits::LANES_MAX as usize;
const MB: u64 = 1 << 20;

/// A wire between the child and its parent, whose connections are counted and cut one by one or all at once.
#[derive(Clone, Default)]
pub(in crate::sender) struct Wires {
    connections: Arc<Mutex<Vec<Connection>>>,
    /// All are cut when so many bytes went down.
    cut_at: Arc<AtomicU64>,
}

#[derive(Clone, Default)]
struct Connection {
    down: Arc<AtomicU64>,
    cut: CancellationToken,
}

impl Wires {
    async fn new(node: &Node, parent: SocketAddr) -> (Wires, SocketAddr) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let wires = Wires { cut_at: Arc::new(AtomicU64::new(u64::MAX)), ..Wires::default() };
        let (all, stop, lifecycle) = (wires.clone(), node.lifecycle.stopping(), node.lifecycle.clone());
        node.lifecycle.spawn_finite("wires", async move {
            while let Some(Ok((child, _))) = stop.run_until_cancelled(listener.accept()).await {
                let Ok(parent) = TcpStream::connect(parent).await else { continue };
                let connection = Connection { cut: stop.child_token(), ..Connection::default() };
                all.connections.lock().unwrap().push(connection.clone());
                let all = all.clone();
                lifecycle.spawn_finite("wire", async move {
                    let ((from_child, to_child), (from_parent, to_parent)) =
                        (child.into_split(), parent.into_split());
                    let both = futures::future::join(
                        copy(from_child, to_parent, |_| {}),
                        copy(from_parent, to_child, |bytes| all.went_down(&connection, bytes)),
                    );
                    connection.cut.run_until_cancelled(both).await;
                });
            }
        });
        (wires, address)
    }

    fn went_down(&self, connection: &Connection, bytes: u64) {
        connection.down.fetch_add(bytes, Ordering::SeqCst);
        if self.down().iter().sum::<u64>() > self.cut_at.load(Ordering::SeqCst) {
            self.cut_at.store(u64::MAX, Ordering::SeqCst);
            self.connections.lock().unwrap().iter().for_each(|one| one.cut.cancel());
        }
    }

    /// Bytes that went down, by connection, in the order in which they were made.
    fn down(&self) -> Vec<u64> {
        self.connections.lock().unwrap().iter().map(|one| one.down.load(Ordering::SeqCst)).collect()
    }

    fn cut(&self, nth: usize) {
        self.connections.lock().unwrap()[nth].cut.cancel();
    }
}

async fn copy(
    mut from: impl AsyncRead + Unpin,
    mut to: impl AsyncWrite + Unpin,
    count: impl Fn(u64),
) -> std::io::Result<()> {
    let mut buffer = vec![0; 64 * 1024];
    loop {
        let length = from.read(&mut buffer).await?;
        if length == 0 {
            return Ok(());
        }
        to.write_all(&buffer[..length]).await?;
        count(length as u64);
    }
}

fn lanes(node: &Node, peer: &SiteCode) -> usize {
    node.site.links(|links| links.get(peer).filter(|view| view.up).map_or(0, |view| view.lanes.len()))
}

async fn have_lanes(central: &Node, child: &Node) {
    let count = if central.site.settings.link.lanes == LaneMode::Udp { 1 } else { LANES };
    until("the lanes are open", || async {
        lanes(central, child.code()) == count && lanes(child, central.code()) == count
    })
    .await;
}

/// Two sites with lanes between them, which a first small package has brought about.
async fn with_lanes(mode: LaneMode) -> (Node, Node, Wires) {
    let (central, child, wires) = linked(mode, mode).await;
    have_lanes(&central, &child).await;
    (central, child, wires)
}

/// Two sites with a link between them, over which a first small package has come.
pub(in crate::sender) async fn linked(of_parent: LaneMode, of_child: LaneMode) -> (Node, Node, Wires) {
    let clock = SystemClock::shared();
    let central = Node::central_with(clock.clone(), |settings| settings.link.lanes = of_parent).await;
    let child = central.child_with("PAR", clock, |settings| settings.link.lanes = of_child).await;
    child.hall().await;
    central.start();
    child.start();
    let (parent, endpoints) = child.site.settings.parent.clone().unwrap();
    let (wires, endpoint) = Wires::new(&child, endpoints[0].parse().unwrap()).await;
    let mut address = Address::open(parent.clone(), "main".parse().unwrap());
    address.endpoint = Some(endpoint.to_string());
    let mut tx = child.site.store.begin().await.unwrap();
    addresses::put(&mut tx, &address).await.unwrap();
    tx.commit().await.unwrap();
    // The line is known to be worth lanes: nothing has to be measured first.
    child.site.links(|links| links.entry(parent.clone()).or_default().received_best = MB);
    let dial = dial_parent(child.site.clone(), child.lifecycle.clone(), child.wakers.clone(), parent);
    child.lifecycle.spawn("link-to-parent", dial);
    knows_hall(&central).await;
    let first = central.package(&noise(300_000, 1)).await;
    central.send(&first, child.code()).await;
    until("the first package is there", || is_installed(&central, &first, &child)).await;
    (central, child, wires)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_bundle_goes_over_the_lanes_and_nothing_of_it_over_the_main_line() {
    let (central, child, wires) = with_lanes(LaneMode::Tcp).await;
    let before = wires.down();
    assert_eq!(before.len(), 1 + LANES);
    let content = noise(16 << 20, 2);
    let package = central.package(&content).await;

    central.send(&package, child.code()).await;

    until("it is there", || is_installed(&central, &package, &child)).await;
    let carried: Vec<u64> = wires.down().iter().zip(&before).map(|(now, before)| now - before).collect();
    assert!(carried[0] < MB / 4, "the main line carries what is urgent: {carried:?}");
    let by_lanes = carried[1..].iter().sum::<u64>();
    assert!((16 * MB..17 * MB).contains(&by_lanes), "{carried:?}");
    assert!(carried[1..].iter().all(|lane| *lane > MB / 2), "each carries its part: {carried:?}");
    let view = child.site.links(|links| links.get(central.code()).cloned().unwrap());
    assert!(view.received() > 16 * MB, "all connections are counted");
    let published = child.path("hall").join(package.as_str()).join("setup.sh");
    until("the directory has it", || async { published.exists() }).await;
    assert_eq!(fs::read(published).unwrap(), content);
    until("nothing is left in the spool", || async {
        fs::read_dir(child.site.directories.incoming()).unwrap().count() == 0
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn after_a_cut_what_came_on_any_lane_does_not_come_again() {
    let (central, child, wires) = with_lanes(LaneMode::Tcp).await;
    let before = wires.down().iter().sum::<u64>();
    let package = central.package(&noise(16 << 20, 3)).await;
    wires.cut_at.store(before + 9 * MB, Ordering::SeqCst);

    central.send(&package, child.code()).await;

    until("it is there", || is_installed(&central, &package, &child)).await;
    let carried = wires.down().iter().sum::<u64>() - before;
    // What had crossed the wire and was in a buffer of a connection is lost: there is not much of it.
    assert!((16 * MB..20 * MB).contains(&carried), "{carried} bytes for 16 MiB");
    assert!(wires.down().len() > 1 + LANES, "it was cut");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_end_of_a_lane_is_the_end_of_the_link_and_a_new_one_has_lanes_again() {
    let (central, child, wires) = with_lanes(LaneMode::Tcp).await;

    wires.cut(LANES);

    until("a new link is made", || async { wires.down().len() > 1 + LANES }).await;
    let package = central.package(&noise(2 << 20, 4)).await;
    central.send(&package, child.code()).await;
    until("it is there", || is_installed(&central, &package, &child)).await;
    have_lanes(&central, &child).await;
    assert_eq!(wires.down().len(), 2 * (1 + LANES));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lane_of_a_session_that_is_over_is_turned_away() {
    use crate::sender::{LinkView, lanes::Lanes, lines::Line};
    use packhorse_domain::link::LaneOffer;
    use tokio::sync::mpsc;

    let line = || {
        let (outbound, _) = mpsc::channel(1);
        let (_, inbound) = mpsc::channel(1);
        Line { counter: Arc::default(), inbound, outbound }
    };
    let offer = LaneOffer { calls: 2, port: 0, session: [7; 16] };
    let mut session = Lanes::new();
    let view = LinkView { door: Some(session.door(offer)), ..LinkView::default() };
    let door = view.door.unwrap();

    assert_eq!(door.admit([8; 16]).unwrap_err().to_string(), "that session is over");
    for _ in 0..2 {
        door.admit([7; 16]).unwrap();
        door.enter(line()).unwrap();
    }
    assert_eq!(door.admit([7; 16]).unwrap_err().to_string(), "the session takes no more lanes");
    session.next().await;
    drop(session);
    let again = Lanes::new();
    let door = again.door(offer);
    drop(again);
    door.admit([7; 16]).unwrap();
    assert_eq!(door.enter(line()).unwrap_err().to_string(), "that session is over");
}
