//! One child site: the protocol's receiving end with nothing behind it.

use std::{collections::HashMap, time::Duration};

use anyhow::{Context as _, bail};
use packhorse_domain::{
    Digest, Priority, Timestamp,
    distribution::PointKind,
    id::PointName,
    link::{Event, Frame, ItemId, ItemKind, Link, LinkConfig, ObjectState, Offer, OutItem, Send},
    object::{Object, ObjectKind},
    site::SiteFact,
    status::PointFact,
};
use packhorse_proto::{
    convert,
    link::v1::{ExchangeRequest, ExchangeResponse, link_service_client::LinkServiceClient},
    object::v1 as wire,
};
use packhorse_runtime::{Caller, ChannelOptions, connect};
use packhorse_trust::Name;
use tokio::{sync::mpsc, time::Instant};
use tokio_stream::{StreamExt as _, wrappers::ReceiverStream};
use tonic::Streaming;

use crate::{enrol::Member, fleet::Tally};

/// What a site server lets come ahead on its link to the parent.
const WINDOW: u32 = 4 * 1024 * 1024;
/// A site server makes what came durable, and says so, after so many bytes.
const SYNC_BYTES: u64 = 1024 * 1024;

/// What is coming in.
struct Arriving {
    kind: ItemKind,
    length: u64,
    written: u64,
    durable: u64,
}

struct Child<'a> {
    link: Link,
    began: Instant,
    arriving: HashMap<ItemId, Arriving>,
    /// Facts that the parent has not taken yet.
    facts_left: usize,
    bundles_left: usize,
    tally: &'a Tally,
}

/// Plays a child for as long as its parent likes; what it got goes to `tally`.
pub(crate) async fn play(
    member: &Member,
    point: &PointName,
    bundles: usize,
    tally: &Tally,
) -> anyhow::Result<()> {
    let (outbound, frames) = mpsc::channel(1);
    let mut inbound = open(member, frames).await?;
    let mut config = LinkConfig::new(member.code.clone(), member.parent.clone());
    config.epoch = member.code.as_str().as_bytes().to_vec();
    let mut child = Child {
        link: Link::new(config, Timestamp(0)),
        began: Instant::now(),
        arriving: HashMap::new(),
        facts_left: 0,
        bundles_left: bundles,
        tally,
    };
    for fact in facts(member, point) {
        child.link.offer(fact)?;
        child.facts_left += 1;
    }
    loop {
        while let Some(send) = child.link.next_send(child.now()) {
            match send {
                Send::Frame(frame) => outbound.send(frame).await.context("the parent ended the stream")?,
                Send::Data { item, .. } => bail!("item {item} was not sent within its offer"),
            }
        }
        let now = child.now();
        let wake_in = child.link.next_wake(now).map_or(Duration::from_secs(1), |at| at.since(now));
        tokio::select! {
            message = inbound.next() => {
                let message = message.context("the parent ended the stream")??;
                child.take(Frame::try_from(message.frame.unwrap_or_default())?)?;
            }
            () = tokio::time::sleep(wake_in) => child.link.wake(child.now())?,
        }
    }
}

impl Child<'_> {
    fn now(&self) -> Timestamp {
        Timestamp(0).plus(self.began.elapsed())
    }

    fn take(&mut self, frame: Frame) -> anyhow::Result<()> {
        for event in self.link.receive(frame, self.now())? {
            match event {
                Event::Offered(offer) => self.offered(&offer)?,
                Event::Write { item, offset, bytes } => self.write(item, offset + bytes.len() as u64)?,
                Event::Cancelled { item } => drop(self.arriving.remove(&item)),
                Event::Delivered { .. } => {
                    self.facts_left -= 1;
                    if self.facts_left == 0 {
                        self.tally.is_known();
                    }
                }
                Event::Refused { item, reason, text } => bail!("item {item} was refused: {reason}: {text}"),
                Event::PeerGoodbye { reason, .. } => bail!("the parent says goodbye: {reason}"),
                Event::PeerHello { .. }
                | Event::Wanted { .. }
                | Event::Acked { .. }
                | Event::Written { .. }
                | Event::UnknownKind { .. }
                | Event::Pong { .. }
                | Event::Outlined(_)
                | Event::Compared(_)
                | Event::Listed(_) => {}
            }
        }
        Ok(())
    }

    fn offered(&mut self, offer: &Offer) -> anyhow::Result<()> {
        if offer.inline.is_some() || offer.length == 0 {
            return Ok(self.link.finished(offer.item)?);
        }
        self.link.accept(offer.item, 0)?;
        let arriving = Arriving { kind: offer.kind, length: offer.length, written: 0, durable: 0 };
        self.arriving.insert(offer.item, arriving);
        Ok(())
    }

    fn write(&mut self, item: ItemId, written: u64) -> anyhow::Result<()> {
        let arriving = self.arriving.get_mut(&item).context("data of an item that was not accepted")?;
        let (kind, came) = (arriving.kind, written - arriving.written);
        arriving.written = written;
        let is_whole = written == arriving.length;
        if kind == ItemKind::Bundle {
            self.tally.came(came);
        }
        if is_whole || written - arriving.durable >= SYNC_BYTES {
            arriving.durable = written;
            self.link.durable(item, written)?;
        }
        if is_whole {
            self.arriving.remove(&item);
            self.link.finished(item)?;
            self.bundles_left -= usize::from(kind == ItemKind::Bundle);
            if kind == ItemKind::Bundle && self.bundles_left == 0 {
                self.tally.is_done();
            }
        }
        Ok(())
    }
}

async fn open(member: &Member, frames: mpsc::Receiver<Frame>) -> anyhow::Result<Streaming<ExchangeResponse>> {
    let options =
        ChannelOptions { stream_window: WINDOW, connection_window: 2 * WINDOW, ..ChannelOptions::default() };
    let server = Name::of_site(member.parent.clone(), &member.parent);
    let channel = connect(&member.endpoint, &server, Caller::Known(&member.credentials), options).await?;
    let requests =
        ReceiverStream::new(frames).map(|frame: Frame| ExchangeRequest { frame: Some(frame.into()) });
    Ok(LinkServiceClient::new(channel).exchange(requests).await?.into_inner())
}

/// What a child says of itself: that it hangs under its parent, and that it has a place for packages.
fn facts(member: &Member, point: &PointName) -> [OutItem; 2] {
    let site = SiteFact {
        courier_key: String::new(),
        code: member.code.clone(),
        parent: Some(member.parent.clone()),
        name: format!("Load {}", member.code),
        software: env!("CARGO_PKG_VERSION").to_owned(),
    };
    let hall = PointFact {
        site: member.code.clone(),
        name: point.clone(),
        kind: PointKind::Directory,
        location: "nowhere".to_owned(),
    };
    let (code, place) = (member.code.to_string(), format!("{}/{point}", member.code));
    [
        fact(member, ObjectKind::Site, code, convert::encode::<wire::SiteFact, _>(&site)),
        fact(
            member,
            ObjectKind::DistributionPoint,
            place,
            convert::encode::<wire::DistributionPointFact, _>(&hall),
        ),
    ]
}

fn fact(member: &Member, kind: ObjectKind, id: String, body: Vec<u8>) -> OutItem {
    let subject = format!("{}/{id}", kind.as_str());
    let object = Object {
        kind,
        id,
        owner: member.code.clone(),
        version: 1,
        deleted: false,
        body,
        traceparent: String::new(),
    };
    let content = convert::encode::<wire::Object, _>(&object);
    let digest = Digest(*blake3::hash(&content).as_bytes());
    OutItem {
        id: ItemId::of(&digest),
        kind: ItemKind::Object,
        // A point of a site that is not known is nobody's.
        priority: if kind == ObjectKind::Site { Priority::High } else { Priority::Medium },
        length: content.len() as u64,
        digest,
        state: Some(ObjectState { object: subject.clone(), version: 1 }),
        subject,
        target: None,
        bases: Vec::new(),
        rank: 0,
        deadline: None,
        queued_at: Timestamp(0),
        available: content.len() as u64,
        inline: Some(content),
    }
}
