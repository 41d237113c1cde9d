//! One stream with one neighbour: frames from the wire into the protocol, and what the protocol says onto the wire
//! and onto the disk.

use std::{sync::Arc, time::Duration};

use packhorse_domain::{
    Timestamp,
    id::SiteCode,
    link::{Event, Frame, Link, LinkConfig, PeerSilent, Send, Violation},
};
use packhorse_runtime::ByteCounter;
use tokio::{
    sync::{mpsc, watch},
    time::Instant,
};
use tokio_util::sync::CancellationToken;

use crate::{
    error::Error,
    monitor::Wakers,
    sender::{LinkView, Moving, receive::Receiver, repair::Repair, send::Sender},
    site::Site,
    store::neighbours::{self, Relation},
};

/// Frames taken in together, so that their effects share one commit.
const BATCH_FRAMES_MAX: usize = 256;
/// Frames that wait for the wire: what lies there cannot be overtaken.
pub(super) const OUTBOUND_FRAMES_MAX: usize = 2;
/// At most so long after a change the queue is looked at again, whoever forgot to wake us.
const LOOK_AGAIN: Duration = Duration::from_secs(5);
/// People need not see every frame.
const SHOW_EVERY: Duration = Duration::from_millis(200);
/// Received bytes become durable at the latest after this time.
const SYNC_EVERY: Duration = Duration::from_millis(200);

/// Why a session ended.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SessionError {
    #[error("the peer broke the protocol")]
    Violation(#[source] Violation),
    #[error(transparent)]
    Silent(#[from] PeerSilent),
    #[error("a frame does not decode: {0}")]
    Frame(String),
    #[error("the stream was cut: {0}")]
    Cut(String),
    #[error("the link failed")]
    Own(#[from] Error),
}

/// What the wire hands in.
pub(super) type Inbound = mpsc::Receiver<Result<Frame, SessionError>>;

/// One end of a link.
pub(super) struct Session {
    site: Arc<Site>,
    peer: SiteCode,
    link: Link,
    sender: Sender,
    receiver: Receiver,
    repair: Repair,
    /// Changes of what the peer may lack.
    woken: watch::Receiver<u64>,
}

impl Session {
    pub(super) fn new(site: Arc<Site>, peer: SiteCode, relation: Relation, wakers: &Wakers) -> Self {
        let mut config = LinkConfig::new(site.code().clone(), peer.clone());
        config.epoch.clone_from(&site.epoch);
        Session {
            link: Link::new(config, site.now()),
            sender: Sender::new(site.clone(), peer.clone(), relation),
            receiver: Receiver::new(site.clone(), peer.clone(), relation),
            repair: Repair::new(site.clone(), peer.clone(), relation),
            site,
            peer,
            woken: wakers.link.subscribe(),
        }
    }

    /// Runs until the stream ends, the peer breaks the protocol, a newer session takes over, or `stop`.
    pub(super) async fn run(
        mut self,
        counter: Arc<ByteCounter>,
        inbound: Inbound,
        outbound: mpsc::Sender<Frame>,
        stop: CancellationToken,
    ) -> Result<(), SessionError> {
        let token = self.register(counter, &stop);
        tracing::info!(target: "sender", peer = %self.peer, "the link is up");
        let result = self.exchange(inbound, outbound, &token).await;
        self.receiver.close().await;
        let ours = !token.is_cancelled() || stop.is_cancelled();
        let error = result.as_ref().err().map(|error| packhorse_runtime::error_chain(error));
        if ours {
            self.deregister(error.as_deref().unwrap_or_default());
        }
        match &error {
            Some(error) => tracing::warn!(target: "sender", peer = %self.peer, error, "the link is down"),
            None => tracing::info!(target: "sender", peer = %self.peer, "the link is down"),
        }
        result
    }

    async fn exchange(
        &mut self,
        mut inbound: Inbound,
        outbound: mpsc::Sender<Frame>,
        token: &CancellationToken,
    ) -> Result<(), SessionError> {
        let mut look_at = Instant::now();
        let mut shown_at = look_at;
        let mut ending = false;
        loop {
            if !ending && look_at <= Instant::now() {
                self.sender.fill(&mut self.link).await?;
                self.receiver.answer_despooled(&mut self.link).await?;
                self.repair.tend(&mut self.link).await?;
                look_at = Instant::now() + LOOK_AGAIN;
                shown_at = Instant::now();
                self.show();
            }
            let full = self.pump(&outbound).await?;
            if ending && !full {
                return Ok(());
            }
            if shown_at.elapsed() >= SHOW_EVERY {
                self.show();
                shown_at = Instant::now();
            }
            let sync_at = self.receiver.unsynced_since().map(|since| since + SYNC_EVERY);
            // At the end nothing is looked for any more: what is overdue must not keep this from sleeping.
            let next_look = if ending { Instant::now() + LOOK_AGAIN } else { look_at };
            let wake_at = self.until(self.link.next_wake(self.site.now()), next_look, sync_at);
            tokio::select! {
                () = token.cancelled(), if !ending => {
                    self.link.goodbye("the site server stops or a newer connection took over");
                    ending = true;
                }
                first = inbound.recv() => match first {
                    None => return Ok(()),
                    Some(first) => self.take_in(first, &mut inbound).await?,
                },
                permit = outbound.reserve(), if full => {
                    if permit.is_err() {
                        return Ok(());
                    }
                }
                Ok(()) = self.woken.changed() => look_at = Instant::now(),
                () = tokio::time::sleep_until(wake_at) => {
                    self.link.wake(self.site.now())?;
                }
            }
            if sync_at.is_some_and(|at| at <= Instant::now()) {
                self.receiver.sync(&mut self.link).await?;
            }
        }
    }

    fn until(&self, wake: Option<Timestamp>, look_at: Instant, sync_at: Option<Instant>) -> Instant {
        let link = wake.map_or(look_at, |at| Instant::now() + at.since(self.site.now()));
        link.min(look_at).min(sync_at.unwrap_or(look_at))
    }

    /// Gives the wire as many frames as it takes at once. True: there may be more.
    async fn pump(&mut self, outbound: &mpsc::Sender<Frame>) -> Result<bool, SessionError> {
        loop {
            let permit = match outbound.try_reserve() {
                Ok(permit) => permit,
                Err(mpsc::error::TrySendError::Full(())) => return Ok(true),
                Err(mpsc::error::TrySendError::Closed(())) => return Ok(false),
            };
            let frame = match self.link.next_send(self.site.now()) {
                None => return Ok(false),
                Some(Send::Frame(frame)) => frame,
                Some(Send::Data { item, offset, length }) => {
                    match self.sender.read(item, offset, length).await {
                        Ok(bytes) => Frame::Data { item, offset, bytes: bytes.into() },
                        Err(error) => {
                            self.sender.unreadable(item, &error).await?;
                            self.link.cancel(item);
                            continue;
                        }
                    }
                }
            };
            permit.send(frame);
        }
    }

    async fn take_in(
        &mut self,
        first: Result<Frame, SessionError>,
        inbound: &mut Inbound,
    ) -> Result<(), SessionError> {
        let mut events = Vec::new();
        let mut next = Some(first);
        for _ in 0..BATCH_FRAMES_MAX {
            let Some(frame) = next.take().or_else(|| inbound.try_recv().ok()) else {
                break;
            };
            events.extend(self.link.receive(frame?, self.site.now()).map_err(SessionError::Violation)?);
        }
        self.handle(events).await
    }

    async fn handle(&mut self, events: Vec<Event>) -> Result<(), SessionError> {
        let (mut incoming, mut outgoing) = (Vec::new(), Vec::new());
        for event in events {
            match event {
                Event::PeerHello { epoch, .. } => {
                    self.met(&epoch).await?;
                    self.repair.begin(&mut self.link).await?;
                }
                Event::Pong { round_trip } => {
                    let us = u64::try_from(round_trip.as_micros()).unwrap_or(u64::MAX);
                    self.view(|view| view.round_trip_us = us);
                }
                Event::PeerGoodbye { reason } => {
                    tracing::info!(target: "sender", peer = %self.peer, reason, "the peer leaves");
                }
                Event::Compared(compare) => self.repair.compared(&compare, &mut self.link).await?,
                Event::Listed(listing) => {
                    let jobs = self.repair.listed(&listing, &mut self.link).await?;
                    self.sender.hand(jobs, &mut self.link);
                }
                event @ (Event::Offered(_) | Event::Write { .. } | Event::Cancelled { .. }) => {
                    incoming.push(event)
                }
                event @ (Event::Wanted { .. }
                | Event::Acked { .. }
                | Event::Delivered { .. }
                | Event::Refused { .. }) => outgoing.push(event),
            }
        }
        self.receiver.handle(incoming, &mut self.link).await?;
        if self.sender.handle(outgoing).await? {
            self.sender.fill(&mut self.link).await?;
        }
        Ok(())
    }

    /// A peer whose database is another one must be told everything again.
    async fn met(&mut self, epoch: &[u8]) -> Result<(), Error> {
        let mut tx = self.site.store.begin().await?;
        let known = neighbours::list(&mut tx).await?.into_iter().find(|one| one.code == self.peer);
        if known.is_some_and(|known| !known.epoch.is_empty() && known.epoch != epoch) {
            tracing::warn!(target: "sender", peer = %self.peer, "the peer's database is another one: it is told everything again");
            crate::store::objects::forget_acknowledged(&mut tx, &self.peer).await?;
        }
        neighbours::met(&mut tx, &self.peer, epoch, self.site.now()).await?;
        tx.commit().await?;
        self.sender.fill(&mut self.link).await
    }

    fn register(&self, counter: Arc<ByteCounter>, stop: &CancellationToken) -> CancellationToken {
        let token = stop.child_token();
        self.site.links(|links| {
            let view = links.entry(self.peer.clone()).or_default();
            view.session.cancel();
            view.sent_before += view.counter.sent();
            view.received_before += view.counter.received();
            view.counter = counter;
            view.up = true;
            view.since = self.site.now();
            view.session = token.clone();
        });
        token
    }

    fn deregister(&self, error: &str) {
        self.view(|view| {
            view.up = false;
            view.since = self.site.now();
            view.moving.clear();
            error.clone_into(&mut view.last_error);
        });
    }

    fn view(&self, change: impl FnOnce(&mut LinkView)) {
        self.site.links(|links| change(links.entry(self.peer.clone()).or_default()));
    }

    /// Shows what is moving to whoever asks for the site's status.
    fn show(&mut self) {
        let mut moving: Vec<Moving> = self.receiver.moving();
        moving.extend(self.sender.moving(&self.link));
        self.view(|view| view.moving = moving);
    }
}
