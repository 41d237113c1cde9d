//! The child's end: dials the parent and keeps the link open.

use std::{sync::Arc, time::Duration};

use packhorse_domain::id::{AddressName, SiteCode};
use packhorse_proto::link::v1::{ExchangeRequest, link_service_client::LinkServiceClient};
use packhorse_runtime::{Caller, ChannelOptions, ConnectError, Lifecycle, Wire, connect, error_chain};
use packhorse_trust::{Credentials, CredentialsError, Name};
use tokio::{sync::mpsc, time::Instant};
use tokio_stream::{StreamExt as _, wrappers::ReceiverStream};
use tokio_util::sync::CancellationToken;
use tonic::{Status, transport::Channel};

use crate::{
    diagnosis::{Asker, attend},
    monitor::Wakers,
    scheduler::addresses::{self, Dial},
    sender::{
        fault::{MESSAGE_BYTES_MAX, SessionError},
        inbound::read_frames,
        lanes::Opener,
        lines::Line,
        session::{OUTBOUND_FRAMES_MAX, Session},
    },
    site::Site,
    store::neighbours::Relation,
    streams::StreamKind,
};

const RETRY_FIRST: Duration = Duration::from_millis(500);
const RETRY_MAX: Duration = Duration::from_secs(30);
/// After an end broke the protocol: coming back at once would bring the same again.
const DEFECT_WAIT: Duration = Duration::from_secs(60);
/// What HTTP/2 lets come before it is read, so that it never is what holds a fast and long line back.
const WINDOW: u32 = 4 * 1024 * 1024;
/// How long no address is looked for while all are closed.
const CLOSED_WAIT: Duration = Duration::from_secs(5);
/// A link that held this long, or carried this much, was a good one: the next attempt is made at once. A handshake costs
/// a fiftieth of that.
const GOOD_LINK: Duration = Duration::from_secs(30);
const GOOD_LINK_BYTES: u64 = 256 * 1024;

/// Why an attempt failed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum DialError {
    #[error("the link's certificate cannot be used")]
    Credentials(#[source] CredentialsError),
    #[error("the parent cannot be reached")]
    Connect(#[source] ConnectError),
    #[error("the parent refuses the link")]
    Refused(#[source] Box<Status>),
    #[error("the link ended")]
    Session(#[from] SessionError),
}

/// How a link ended in good order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Ended {
    Over,
    /// An address before its own can be reached again.
    ForBetter,
}

impl DialError {
    fn is_defect(&self) -> bool {
        matches!(self, DialError::Session(error) if error.is_defect())
    }
}

/// Keeps the link to the parent open until the process stops.
pub(crate) async fn dial_parent(site: Arc<Site>, lifecycle: Lifecycle, wakers: Wakers, parent: SiteCode) {
    let stop = lifecycle.stopping();
    let mut changed = wakers.link.subscribe();
    let mut wait = RETRY_FIRST;
    let mut failed = Vec::new();
    loop {
        let dials = addresses::dialling(&site, &parent, &failed).await.unwrap_or_else(|error| {
            tracing::warn!(target: "sender", peer = %parent, error = error_chain(&error), "addresses cannot be read");
            Vec::new()
        });
        if dials.is_empty() {
            show(&site, &parent, "every address is closed at this hour".to_owned());
            // An hour opens, or an address is set.
            tokio::select! {
                () = stop.cancelled() => return,
                _ = changed.changed() => {}
                () = tokio::time::sleep(CLOSED_WAIT) => {}
            }
        }
        for dial in dials {
            let (began, main) = (Instant::now(), Arc::<Wire>::default());
            let result = Box::pin(attempt(&site, &lifecycle, &wakers, (&parent, &dial), &main)).await;
            if stop.is_cancelled() {
                return;
            }
            let was_good = matches!(result, Ok(Ended::ForBetter))
                || began.elapsed() >= GOOD_LINK
                || carried(&site, &parent, &main) >= GOOD_LINK_BYTES;
            if was_good {
                wait = RETRY_FIRST;
                failed.clear();
            }
            let is_defect = result.as_ref().is_err_and(DialError::is_defect);
            if let Err(error) = result {
                failed.extend(dial.address.clone().filter(|name| !was_good && !failed.contains(name)));
                let (endpoint, text) = (&dial.endpoint, error_chain(&error));
                tracing::warn!(target: "sender", peer = %parent, endpoint, error = text, "no link to the parent; trying again");
                show(&site, &parent, text);
            }
            if pause(rest(wait, is_defect), &stop).await {
                return;
            }
            wait = (wait * 2).min(RETRY_MAX);
            if was_good {
                // What was first may be reached again.
                break;
            }
        }
    }
}

/// Bytes of the link whose first connection this is; 0: it never was one.
fn carried(site: &Site, parent: &SiteCode, main: &Arc<Wire>) -> u64 {
    site.links(|links| {
        let view = links.get(parent).filter(|view| Arc::ptr_eq(&view.counter, main));
        view.map_or(0, |view| view.sent() + view.received())
    })
}

fn show(site: &Site, parent: &SiteCode, text: String) {
    site.links(|links| links.entry(parent.clone()).or_default().last_error = text);
}

/// True: it is time to stop.
async fn pause(wait: Duration, stop: &CancellationToken) -> bool {
    tokio::select! {
        () = stop.cancelled() => true,
        () = tokio::time::sleep(wait) => false,
    }
}

/// How long nobody is dialled after an attempt.
fn rest(wait: Duration, is_defect: bool) -> Duration {
    if is_defect { DEFECT_WAIT + jittered(wait) } else { jittered(wait) }
}

/// Half to the whole of the wait, so that many children do not come back at once.
fn jittered(wait: Duration) -> Duration {
    let random = u128::from(uuid::Uuid::new_v4().as_u64_pair().0 % 1000);
    let half = wait.as_micros() / 2;
    Duration::from_micros(u64::try_from(half + half * random / 1000).unwrap_or(u64::MAX))
}

async fn attempt(
    site: &Arc<Site>,
    lifecycle: &Lifecycle,
    wakers: &Wakers,
    (parent, dial): (&SiteCode, &Dial),
    main: &Arc<Wire>,
) -> Result<Ended, DialError> {
    let counter = main.clone();
    let stop = lifecycle.stopping();
    let (outbound, frames) = mpsc::channel(OUTBOUND_FRAMES_MAX);
    let requests = ReceiverStream::new(frames)
        .map(|frame: packhorse_domain::link::Frame| ExchangeRequest { frame: Some(frame.into()) });
    let call = async {
        let channel = channel(site, parent, &dial.endpoint, counter.clone()).await?;
        let mut client = LinkServiceClient::new(channel.clone()).max_decoding_message_size(MESSAGE_BYTES_MAX);
        let answer = client.exchange(requests).await;
        answer.map(|answer| (channel, answer)).map_err(|status| DialError::Refused(Box::new(status)))
    };
    let (channel, answers) = tokio::select! {
        // Nothing was said yet that would need a goodbye.
        () = stop.cancelled() => return Ok(Ended::Over),
        answer = call => answer?,
    };
    let answers = answers.into_inner().map(|message| message.map(|message| message.frame));
    let inbound = read_frames(lifecycle, answers);
    let server = Name::of_site(parent.clone(), parent);
    let _open = site.streams.open(StreamKind::Link, &server, counter.clone(), site.now());
    let line = Line { counter, inbound, outbound };
    let session = Session::new(site.clone(), parent.clone(), Relation::Parent, wakers, &line);
    let opener = Opener {
        site: site.clone(),
        lifecycle: lifecycle.clone(),
        parent: parent.clone(),
        endpoint: dial.endpoint.clone(),
        main: line.counter.clone(),
    };
    let session = session.by(dial.address.clone()).with_lanes(opener);
    let stop = stop.child_token();
    let mut run = std::pin::pin!(session.run(line, stop.clone()));
    let asker = Asker { site: site.clone(), lifecycle: lifecycle.clone() };
    let mut attends = std::pin::pin!(attend(&asker, channel));
    Ok(tokio::select! {
        () = &mut attends => run.await.map(|()| Ended::Over)?,
        ended = &mut run => ended.map(|()| Ended::Over)?,
        () = better_way(site, parent, dial.address.as_ref()) => {
            tracing::info!(target: "sender", peer = %parent, "the link goes back to an address before this one");
            stop.cancel();
            run.await.map(|()| Ended::ForBetter)?
        }
    })
}

/// Resolves when another address is the one to dial, and can be reached.
async fn better_way(site: &Site, parent: &SiteCode, own: Option<&AddressName>) {
    loop {
        tokio::time::sleep(site.settings.link.patience.backup).await;
        let dials = addresses::dialling(site, parent, &[]).await.unwrap_or_default();
        for dial in dials.iter().filter(|dial| dial.address.as_ref() != own) {
            if channel(site, parent, &dial.endpoint, Arc::default()).await.is_ok() {
                return;
            }
        }
    }
}

pub(crate) async fn channel(
    site: &Site,
    parent: &SiteCode,
    endpoint: &str,
    counter: Arc<Wire>,
) -> Result<Channel, DialError> {
    let directory = site.directories.parent_credentials();
    let credentials = Credentials::load(&directory).map_err(DialError::Credentials)?;
    let server = Name::of_site(parent.clone(), parent);
    let options = ChannelOptions {
        counter,
        stream_window: WINDOW,
        connection_window: 2 * WINDOW,
        congestion_control: site.settings.link.congestion_control.clone(),
        ..ChannelOptions::default()
    };
    connect(endpoint, &server, Caller::Known(&credentials), options).await.map_err(DialError::Connect)
}
