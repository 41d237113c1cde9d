//! One stream with one neighbour: frames from the wire into the protocol, and what the protocol says onto the wire
//! and onto the disk. Nothing here waits for a disk or for the line while something else could go on.

mod pump;

use std::{sync::Arc, time::Duration};

use packhorse_domain::{
    Timestamp,
    health::judge,
    id::{AddressName, SiteCode},
    link::{Event, Gauges, KnownLine, LaneOffer, Link, LinkConfig},
};
use packhorse_runtime::Wire;
use tokio::{sync::watch, time::Instant};
use tokio_util::sync::CancellationToken;

use crate::{
    error::Error,
    monitor::Wakers,
    sender::{
        LinkView, Moving,
        fault::{self, SessionError},
        lanes::{Lanes, Opener},
        lines::{Came, Line, Lines},
        meter::Meters,
        receive::Receiver,
        repair::Repair,
        send::Sender,
        terms::LinkTerms,
    },
    site::Site,
    store::{
        neighbours::{self, Relation},
        refusals,
    },
};

/// Frames that wait for the wire: what lies there cannot be overtaken.
pub(super) const OUTBOUND_FRAMES_MAX: usize = 1;
/// At most so long after a change the queue is looked at again, whoever forgot to wake us.
pub(super) const LOOK_AGAIN: Duration = Duration::from_secs(5);
/// A look may take this part of a session's time, so that many links do not do little else while much changes.
const LOOK_PART: u32 = 10;
const LOOK_APART_MAX: Duration = Duration::from_millis(100);
/// People need not see every frame.
const SHOW_EVERY: Duration = Duration::from_millis(200);
/// Received bytes become durable at the latest after this time.
const SYNC_EVERY: Duration = Duration::from_millis(200);

/// How soon what is overdue is looked at again.
const OVERDUE_WAIT: Duration = Duration::from_millis(2);
/// If the main connection brought something in this time, the line is not gone.
const HEARD_LATELY: Duration = Duration::from_secs(20);

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
    /// What is coming in at this site came further.
    relayed: watch::Receiver<()>,
    terms: LinkTerms,
    ticks: Ticks,
    meters: Meters,
    lanes: Lanes,
    /// What this side takes.
    lane_offer: Option<LaneOffer>,
    /// Others are sent to; it is asked again soon.
    waits_for_turn: bool,
}

/// The time as the protocol wants it: it goes on evenly, whatever happens to the clock.
struct Ticks {
    began: Instant,
    at: Timestamp,
}

impl Ticks {
    fn now(&self) -> Timestamp {
        self.at.plus(self.began.elapsed())
    }
}

fn known_line(gauges: &Gauges) -> KnownLine {
    let Gauges { bytes_per_second, is_filled, shortest_trip, .. } = *gauges;
    KnownLine { bytes_per_second, is_filled, shortest_trip }
}

impl Session {
    pub(super) fn new(
        site: Arc<Site>,
        peer: SiteCode,
        relation: Relation,
        wakers: &Wakers,
        line: &Line,
    ) -> Self {
        let mut config = LinkConfig::new(site.code().clone(), peer.clone());
        config.epoch.clone_from(&site.epoch);
        config.lower_share_percent = site.settings.link.lower_share_percent;
        let patience = site.settings.link.patience;
        (config.hello_within, config.silence) = (patience.hello, patience.silence);
        config.known = site.links(|links| links.get(&peer).map(|view| known_line(&view.gauges)));
        if relation == Relation::Child {
            config.lanes = site.settings.link.lanes.offer(site.lane_port(), &line.counter);
        }
        let lane_offer = config.lanes;
        let ticks = Ticks { began: Instant::now(), at: site.now() };
        Session {
            link: Link::new(config, ticks.now()),
            sender: Sender::new(site.clone(), peer.clone(), relation),
            receiver: Receiver::new(site.clone(), peer.clone(), relation),
            repair: Repair::new(site.clone(), peer.clone(), relation),
            terms: LinkTerms::new(site.clone(), peer.clone(), None),
            relayed: site.relays.subscribe(),
            site,
            peer,
            woken: wakers.link.subscribe(),
            ticks,
            meters: Meters::default(),
            lanes: Lanes::new(),
            lane_offer,
            waits_for_turn: false,
        }
    }

    /// Says by which address the peer was dialled.
    pub(super) fn by(mut self, address: Option<AddressName>) -> Self {
        self.terms = LinkTerms::new(self.site.clone(), self.peer.clone(), address);
        self
    }

    /// Says how lanes to the peer are opened.
    pub(super) fn with_lanes(mut self, opener: Opener) -> Self {
        self.lanes.open_with(opener);
        self
    }

    /// Runs until the stream ends, the peer breaks the protocol, a newer session takes over, or `stop`.
    pub(super) async fn run(mut self, line: Line, stop: CancellationToken) -> Result<(), SessionError> {
        let token = self.register(line.counter.clone(), &stop);
        tracing::info!(target: "sender", peer = %self.peer, "the link is up");
        let mut lines = Lines::new(line);
        let mut result = self.exchange(&mut lines, &token).await;
        if matches!(result, Ok(()) | Err(SessionError::Cut(_))) && !token.is_cancelled() {
            result = self.take_rest(&mut lines).await.and(result);
        }
        if matches!(result, Err(SessionError::LaneSilent))
            && self.link.silence(self.ticks.now()) < HEARD_LATELY
        {
            let now = self.site.now();
            self.view(|view| view.udp_failed_at = Some(now));
        }
        self.receiver.close().await;
        let bytes = lines.outs.bytes();
        if let (Err(error), Some(main)) = (&result, lines.into_main()) {
            fault::settle(&self.site, &self.peer, error, main).await;
        }
        self.site.sendings.withdraw(&self.peer);
        if let Err(error) = self.terms.record(bytes).await {
            let error = packhorse_runtime::error_chain(&error);
            tracing::warn!(target: "sender", peer = %self.peer, error, "what went over the line was not counted");
        }
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

    async fn exchange(&mut self, lines: &mut Lines, token: &CancellationToken) -> Result<(), SessionError> {
        let mut look_at = Instant::now();
        let (mut shown_at, mut rests_until) = (look_at, look_at);
        let mut ending = false;
        loop {
            if !ending && look_at <= Instant::now() {
                let began = Instant::now();
                self.look(lines).await?;
                look_at = Instant::now() + LOOK_AGAIN;
                rests_until = Instant::now() + (began.elapsed() * LOOK_PART).min(LOOK_APART_MAX);
            }
            let terms_due = self.terms.due_at().filter(|_| !ending);
            if terms_due.is_some_and(|at| at <= Instant::now()) {
                self.terms.check(&mut self.link, lines.outs.bytes(), self.ticks.now()).await?;
            }
            self.pump(&mut lines.outs).await?;
            if ending && lines.outs.is_idle() {
                return Ok(());
            }
            if shown_at.elapsed() >= SHOW_EVERY {
                self.show();
                self.take_turn();
                shown_at = Instant::now();
            }
            self.open_lanes(lines, token);
            let sync_at = self.receiver.unsynced_since().map(|since| since + SYNC_EVERY);
            look_at = self.sender.retry_at().map_or(look_at, |at| at.min(look_at));
            // At the end nothing is looked for any more: what is overdue must not keep this from sleeping.
            let next_look = if ending { Instant::now() + LOOK_AGAIN } else { self.next_look(look_at) };
            let wake_at = self.until(next_look, sync_at);
            tokio::select! {
                () = token.cancelled(), if !ending => {
                    self.link.goodbye("the site server stops or a newer connection took over");
                    ending = true;
                }
                came = lines.ins.next() => match came {
                    Came::End { on_lane } if !on_lane || self.link.is_left() => return Ok(()),
                    came => self.take_in(came, &mut lines.ins).await?,
                },
                line = self.lanes.next(), if !ending => self.attach(line, lines),
                can = lines.outs.can_take() => if !can {
                    return Ok(());
                },
                synced = self.receiver.synced() => self.receiver.was_synced(synced, &mut self.link).await?,
                Ok(()) = self.woken.changed() => look_at = look_at.min(rests_until),
                Ok(()) = self.relayed.changed() => self.sender.relay(&mut self.link),
                () = tokio::time::sleep_until(wake_at) => {
                    self.link.wake(self.ticks.now())?;
                }
            }
            if sync_at.is_some_and(|at| at <= Instant::now()) {
                self.receiver.sync();
            }
        }
    }

    /// Looks at what changed outside: the terms, what there is to send, what Despooler is done with.
    async fn look(&mut self, lines: &Lines) -> Result<(), SessionError> {
        self.terms.check(&mut self.link, lines.outs.bytes(), self.ticks.now()).await?;
        self.sender.fill(&mut self.link).await?;
        self.receiver.answer_despooled(&mut self.link).await?;
        self.repair.tend(&mut self.link).await?;
        self.take_turn();
        Ok(())
    }

    /// Asks whether bundles may go to this peer now, or go to others first.
    fn take_turn(&mut self) {
        let Some((priority, ago)) = self.sender.claim(self.terms.open()) else {
            self.site.sendings.withdraw(&self.peer);
            self.waits_for_turn = false;
            return;
        };
        let settings = &self.site.settings.link;
        let now = self.ticks.now();
        let moved_at = Timestamp(now.0.saturating_sub(i64::try_from(ago.as_micros()).unwrap_or(i64::MAX)));
        let granted = self.site.sendings.claim(&self.peer, (priority, moved_at), settings.sendings_max, now);
        self.link.set_bundles_max(if granted { settings.sendings_per_site_max } else { 0 });
        self.waits_for_turn = !granted;
    }

    fn next_look(&self, look_at: Instant) -> Instant {
        let turn_at = self.waits_for_turn.then(|| Instant::now() + SHOW_EVERY);
        [turn_at, self.terms.due_at()].into_iter().flatten().fold(look_at, Instant::min)
    }

    fn until(&self, look_at: Instant, sync_at: Option<Instant>) -> Instant {
        let now = self.ticks.now();
        // What is overdue waits for a connection to take it, which wakes us by itself.
        let link =
            self.link.next_wake(now).map_or(look_at, |at| Instant::now() + at.since(now).max(OVERDUE_WAIT));
        link.min(look_at).min(sync_at.unwrap_or(look_at))
    }

    async fn handle(&mut self, events: Vec<Event>) -> Result<(), SessionError> {
        let (mut incoming, mut outgoing) = (Vec::new(), Vec::new());
        for event in events {
            match event {
                Event::PeerHello { revision, features, epoch, lanes } => {
                    self.view(|view| (view.revision, view.features) = (revision, features));
                    self.lanes.offered(lanes);
                    self.met(&epoch).await?;
                    self.repair.begin(&mut self.link).await?;
                }
                Event::Pong { round_trip, clock } => {
                    let now = self.site.now();
                    let ahead_us = clock.map(|there| judge::ahead_us(now, there, round_trip));
                    self.view(|view| view.came_back(round_trip, ahead_us));
                }
                Event::PeerGoodbye { reason, at_fault: true } => return Err(SessionError::Accused(reason)),
                Event::PeerGoodbye { reason, at_fault: false } => {
                    tracing::info!(target: "sender", peer = %self.peer, reason, "the peer leaves");
                }
                Event::Compared(compare) => self.repair.compared(&compare, &mut self.link).await?,
                Event::Listed(listing) => {
                    let jobs = self.repair.listed(&listing, &mut self.link).await?;
                    self.sender.hand(jobs, &mut self.link);
                }
                event @ (Event::Offered(_)
                | Event::Write { .. }
                | Event::Outlined(_)
                | Event::UnknownKind { .. }
                | Event::Cancelled { .. }) => incoming.push(event),
                event @ (Event::Wanted { .. }
                | Event::Acked { .. }
                | Event::Written { .. }
                | Event::Delivered { .. }
                | Event::Refused { .. }) => outgoing.push(event),
            }
        }
        self.receiver.handle(incoming, &mut self.link).await?;
        if self.sender.handle(outgoing, &mut self.link).await? {
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
        refusals::end_all_waits(&mut tx, &self.peer).await?;
        neighbours::met(&mut tx, &self.peer, epoch, self.site.now()).await?;
        tx.commit().await?;
        self.sender.fill(&mut self.link).await
    }

    fn register(&self, counter: Arc<Wire>, stop: &CancellationToken) -> CancellationToken {
        let token = stop.child_token();
        self.site.links(|links| {
            let view = links.entry(self.peer.clone()).or_default();
            view.session.cancel();
            view.sent_before += view.sent();
            view.received_before += view.received();
            view.counter = counter;
            view.lanes.clear();
            view.round_trips.clear();
            view.door = self.lane_offer.map(|offer| self.lanes.door(offer));
            view.address = self.terms.name();
            view.up = true;
            view.since = self.site.now();
            view.session = token.clone();
        });
        token
    }

    fn deregister(&self, error: &str) {
        self.view(|view| {
            view.up = false;
            view.door = None;
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
        let (gauges, now) = (self.link.gauges(), self.site.now());
        tracing::trace!(target: "sender", peer = %self.peer, ?gauges, "the line");
        self.site.links(|links| {
            let view = links.entry(self.peer.clone()).or_default();
            view.gauges = gauges;
            self.meters.show(view, moving, now);
        });
    }
}
