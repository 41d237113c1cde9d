//! A parent that breaks the rules, or says that the child did: the child tells people, and does not come back at once.

use std::{
    pin::Pin,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use packhorse_proto::link::v1::{
    self as wire, ExchangeRequest, ExchangeResponse,
    frame::Body,
    link_service_server::{LinkService, LinkServiceServer},
};
use packhorse_runtime::{ServerOptions, ServerTls, Services, SystemClock, serve};
use tokio::net::TcpListener;
use tokio_stream::{Stream, StreamExt as _};
use tonic::{Request, Response, Status, Streaming, service::Routes};

use crate::{
    app,
    sender::dial_parent,
    testing::{Node, until},
};

/// Says what it is told to say, and keeps what it hears.
#[derive(Clone)]
struct Parent {
    says: Vec<Body>,
    end: Option<Status>,
    calls: Arc<AtomicUsize>,
    heard: Arc<Mutex<Vec<Body>>>,
}

#[tonic::async_trait]
impl LinkService for Parent {
    type ExchangeStream = Pin<Box<dyn Stream<Item = Result<ExchangeResponse, Status>> + Send>>;

    async fn exchange(
        &self,
        request: Request<Streaming<ExchangeRequest>>,
    ) -> Result<Response<Self::ExchangeStream>, Status> {
        self.calls.fetch_add(1, Ordering::SeqCst);
        let said = self.says.clone().into_iter();
        let said = said.map(|body| Ok(ExchangeResponse { frame: Some(wire::Frame { body: Some(body) }) }));
        let end = self.end.clone().map(Err);
        let heard = self.heard.clone();
        // The call lives as long as the child talks, unless it ends by itself.
        let listening = request.into_inner().filter_map(move |message| {
            heard.lock().unwrap().extend(message.ok()?.frame?.body);
            None
        });
        let said = tokio_stream::iter(said.chain(end));
        Ok(Response::new(Box::pin(said.chain(listening))))
    }
}

/// A child whose parent is this one.
async fn child_of(says: Vec<Body>, end: Option<Status>) -> (Parent, Node, Node) {
    let central = Node::central(SystemClock::shared()).await;
    let parent = Parent { says, end, calls: Arc::default(), heard: Arc::default() };
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let endpoint = listener.local_addr().unwrap().to_string();
    let services = Services {
        site: central.code().clone(),
        routes: Routes::new(LinkServiceServer::new(parent.clone())),
        rules: app::RULES,
        descriptors: packhorse_proto::DESCRIPTORS,
    };
    let tls = ServerTls::new(&central.site.credentials).unwrap();
    let options = ServerOptions::default();
    central
        .lifecycle
        .spawn_finite("parent", serve(listener, tls, services, options, central.lifecycle.stopping()));
    let above = Some((central.code().clone(), vec![endpoint]));
    let child = central.child_with("PAR", SystemClock::shared(), |settings| settings.parent = above).await;
    let dial = dial_parent(
        child.site.clone(),
        child.lifecycle.clone(),
        child.wakers.clone(),
        central.code().clone(),
    );
    child.lifecycle.spawn("link-to-parent", dial);
    (parent, central, child)
}

fn hello() -> Body {
    Body::Hello(wire::Hello { site: "CEN".to_owned(), revision: 2, ..wire::Hello::default() })
}

async fn is_told(child: &Node, reason: &str) {
    until(reason, || async { child.events_about("CEN").await.iter().any(|text| text.contains(reason)) })
        .await;
}

/// Longer than a child waits after a call that just failed.
async fn comes_back_soon(parent: &Parent) -> bool {
    tokio::time::sleep(Duration::from_millis(1500)).await;
    parent.calls.load(Ordering::SeqCst) > 1
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_parent_that_breaks_the_rules_is_told_and_not_called_for_a_minute() {
    let data = wire::Data { item: vec![7; 16].into(), offset: 0, bytes: vec![0; 100].into(), want: 0 };
    let (parent, _central, child) = child_of(vec![hello(), Body::Data(data)], None).await;

    is_told(&child, "the peer broke the protocol: a data of item").await;

    let is_told_why = || async {
        parent.heard.lock().unwrap().iter().any(|body| {
            matches!(body, Body::Goodbye(goodbye) if goodbye.at_fault && goodbye.reason.contains("data of item"))
        })
    };
    until("the parent hears why", is_told_why).await;
    assert!(!comes_back_soon(&parent).await);
    assert_eq!(child.events_about("CEN").await.len(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_child_that_is_told_that_it_broke_the_rules_tells_people_and_waits() {
    let end = Status::invalid_argument("the peer broke the protocol: a second hello on one stream");
    let (parent, _central, child) = child_of(vec![hello()], Some(end)).await;

    is_told(&child, "because of what came from this site: the peer broke the protocol: a second hello").await;

    assert!(!comes_back_soon(&parent).await);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_parent_that_fails_is_called_again_soon_and_is_no_matter_for_people() {
    let end = Status::unavailable("the site server stops");
    let (parent, _central, child) = child_of(vec![hello()], Some(end)).await;

    until("it is called again", || async { parent.calls.load(Ordering::SeqCst) > 1 }).await;
    assert!(child.events_about("CEN").await.is_empty());
}
