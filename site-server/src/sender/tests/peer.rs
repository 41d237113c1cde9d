//! A peer made by hand: a child's certificate, real TLS, a real call, and whatever bytes a test wants on it.

use std::{
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use bytes::{Bytes, BytesMut};
use http_body::{Body as _, Frame as Part};
use packhorse_domain::link::ItemId;
use packhorse_proto::link::v1::{self as wire, frame::Body};
use packhorse_runtime::{Caller, ChannelOptions, connect};
use packhorse_trust::{Credentials, Name};
use prost::Message as _;
use tokio::sync::mpsc;
use tonic::{Code, Status, codegen::Service as _, transport::Channel};

use crate::{record, testing::Node};

const PATH: &str = "http://site/packhorse.link.v1.LinkService/Exchange";
/// Longer than anything here takes.
const PATIENCE: Duration = Duration::from_secs(20);

/// What the peer says, as the body of its call.
struct Said(mpsc::Receiver<Bytes>);

impl http_body::Body for Said {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Part<Bytes>, Status>>> {
        self.0.poll_recv(cx).map(|bytes| bytes.map(|bytes| Ok(Part::data(bytes))))
    }
}

/// One call of a child.
pub(super) struct Peer {
    said: mpsc::Sender<Bytes>,
    heard: tonic::body::Body,
    buffer: BytesMut,
    end: Option<Status>,
    /// The reason of the last goodbye, and whether it says that this peer is at fault.
    pub(super) goodbye: Option<(String, bool)>,
    /// What the parent said first.
    pub(super) hello: Option<wire::Hello>,
    /// The names of all frames that came.
    pub(super) names: Vec<&'static str>,
}

/// A channel of the child to its parent.
pub(super) async fn channel(parent: &Node, child: &Node) -> Channel {
    let credentials = Credentials::load(&child.site.directories.parent_credentials()).unwrap();
    let server = Name::of_site(parent.code().clone(), parent.code());
    let endpoint = parent.site.settings.endpoints[0].clone();
    connect(&endpoint, &server, Caller::Known(&credentials), ChannelOptions::default()).await.unwrap()
}

impl Peer {
    pub(super) async fn call(parent: &Node, child: &Node) -> Peer {
        Peer::call_on(channel(parent, child).await).await
    }

    pub(super) async fn call_on(mut channel: Channel) -> Peer {
        let (said, body) = mpsc::channel(4);
        let request = http::Request::post(PATH)
            .header("content-type", "application/grpc")
            .header("te", "trailers")
            .body(tonic::body::Body::new(Said(body)))
            .unwrap();
        std::future::poll_fn(|cx| channel.poll_ready(cx)).await.unwrap();
        let response = channel.call(request).await.unwrap();
        let end = Status::from_header_map(response.headers());
        let heard = response.into_body();
        Peer { said, heard, buffer: BytesMut::new(), end, goodbye: None, hello: None, names: Vec::new() }
    }

    /// A call that has said Hello.
    pub(super) async fn met(parent: &Node, child: &Node, revision: u32) -> Peer {
        let peer = Peer::call(parent, child).await;
        peer.say(hello(child, revision)).await;
        peer
    }

    /// Puts bytes onto the stream as they are. A stream that has ended already takes none.
    pub(super) async fn say_bytes(&self, bytes: Vec<u8>) {
        drop(self.said.send(bytes.into()).await);
    }

    /// An encoded frame, as the message that carries it.
    pub(super) async fn say_frame(&self, frame: &[u8]) {
        self.say_bytes(message(&field(1, frame))).await;
    }

    pub(super) async fn say(&self, body: Body) {
        self.say_frame(&wire::Frame { body: Some(body) }.encode_to_vec()).await;
    }

    /// The next frame that is none of the small talk. `None`: the call has ended.
    pub(super) async fn hear(&mut self) -> Option<Body> {
        loop {
            let body = tokio::time::timeout(PATIENCE, self.next()).await.expect("a frame or the end")?;
            self.names.push(name(&body));
            match body {
                Body::Ping(ping) => self.say(Body::Pong(wire::Pong { value: ping.value, clock_us: 0 })).await,
                Body::Goodbye(goodbye) => self.goodbye = Some((goodbye.reason, goodbye.at_fault)),
                Body::Hello(hello) => self.hello = Some(hello),
                Body::Pong(_) | Body::Got(_) => {}
                body => return Some(body),
            }
        }
    }

    /// The answer to an offer: its frame. Other items are left unanswered.
    pub(super) async fn answer(&mut self, item: &ItemId) -> Option<Body> {
        while let Some(body) = self.hear().await {
            let about = match &body {
                Body::Want(want) => &want.item,
                Body::Refuse(refuse) => &refuse.item,
                Body::Receipt(receipt) => &receipt.item,
                _ => continue,
            };
            if about.as_ref() == item.as_bytes() {
                return Some(body);
            }
        }
        None
    }

    /// Reads on until the call has ended, and says how.
    pub(super) async fn ended(&mut self) -> (Code, String) {
        while self.hear().await.is_some() {}
        self.end.as_ref().map_or((Code::Ok, String::new()), |end| (end.code(), end.message().to_owned()))
    }

    /// Until `subject` is offered, everything else is acknowledged.
    pub(super) async fn offered(&mut self, subject: &str) -> wire::Offer {
        loop {
            match self.hear().await {
                Some(Body::Offer(offer)) if offer.subject == subject => return offer,
                Some(Body::Offer(offer)) if !offer.inline_data.is_empty() => self.receipt(&offer.item).await,
                Some(_) => {}
                None => panic!("the call ended: {:?}", self.end),
            }
        }
    }

    /// The next object that is offered whole.
    pub(super) async fn any_object(&mut self) -> wire::Offer {
        loop {
            match self.hear().await {
                Some(Body::Offer(offer)) if !offer.inline_data.is_empty() => return offer,
                Some(_) => {}
                None => panic!("the call ended: {:?}", self.end),
            }
        }
    }

    pub(super) async fn receipt(&self, item: &Bytes) {
        self.say(Body::Receipt(wire::Receipt { item: item.clone() })).await;
    }

    pub(super) async fn refuse(&self, item: &Bytes, reason: i32) {
        let text = "not here".to_owned();
        self.say(Body::Refuse(wire::Refuse { item: item.clone(), reason, text })).await;
    }

    async fn next(&mut self) -> Option<Body> {
        loop {
            if self.buffer.len() >= 5 {
                let length = u32::from_be_bytes(self.buffer[1..5].try_into().unwrap()) as usize;
                if self.buffer.len() >= 5 + length {
                    let message = self.buffer.split_to(5 + length).freeze().slice(5..);
                    let response = wire::ExchangeResponse::decode(message).unwrap();
                    return Some(response.frame.unwrap().body.unwrap());
                }
            }
            let part = std::future::poll_fn(|cx| Pin::new(&mut self.heard).poll_frame(cx)).await?;
            match part.map(Part::into_data) {
                Ok(Ok(data)) => self.buffer.extend_from_slice(&data),
                Ok(Err(part)) => {
                    self.end = part.into_trailers().ok().and_then(|t| Status::from_header_map(&t))
                }
                Err(status) => self.end = Some(status),
            }
        }
    }
}

pub(super) fn hello(child: &Node, revision: u32) -> Body {
    let epoch = child.site.epoch.clone().into();
    Body::Hello(wire::Hello { site: child.code().to_string(), revision, epoch, ..wire::Hello::default() })
}

/// A message with its length before it.
pub(super) fn message(bytes: &[u8]) -> Vec<u8> {
    [&[0][..], &u32::try_from(bytes.len()).unwrap().to_be_bytes(), bytes].concat()
}

/// A field of bytes by its number.
pub(super) fn field(number: u32, bytes: &[u8]) -> Vec<u8> {
    let mut encoded = Vec::new();
    prost::encoding::encode_key(number, prost::encoding::WireType::LengthDelimited, &mut encoded);
    prost::encoding::encode_varint(bytes.len() as u64, &mut encoded);
    [encoded.as_slice(), bytes].concat()
}

/// A field that no version knows yet.
pub(super) fn unknown() -> Vec<u8> {
    field(999, b"of a later version")
}

/// The offer of an object, whole within it.
pub(super) fn offer(content: &[u8]) -> (ItemId, wire::Offer) {
    let digest = record::digest(content);
    let item = ItemId::of(&digest);
    let offer = wire::Offer {
        item: Bytes::copy_from_slice(item.as_bytes()),
        kind: wire::ItemKind::Object.into(),
        length: content.len() as u64,
        digest: Bytes::copy_from_slice(digest.as_bytes()),
        subject: "an object".to_owned(),
        inline_data: content.to_vec().into(),
        ..wire::Offer::default()
    };
    (item, offer)
}

fn name(body: &Body) -> &'static str {
    let frame = wire::Frame { body: Some(body.clone()) };
    packhorse_domain::link::Frame::try_from(frame).unwrap().name()
}
