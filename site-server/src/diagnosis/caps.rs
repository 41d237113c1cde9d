//! The client access points of this site: whether they are there, and what they have seen of clients, asked live.

use std::{
    collections::BTreeMap,
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use futures::future::join_all;
use packhorse_domain::{
    Timestamp,
    diagnosis::{CapFacts, ClientFacts, Finding, Verdict, caps},
    id::{ClientId, PointName},
};
use packhorse_proto::cap::v1::{ClientPresence, PresenceInquiry, client_presence::Seen};
use tokio::sync::{mpsc, oneshot};

use super::Asker;
use crate::{error::Error, store::caps as rows};

/// Clients that one question names.
const CLIENTS_MAX: usize = 256;
/// A CAP answers from memory.
const WITHIN: Duration = Duration::from_millis(1_000);
/// One question looks at an access point more than once.
const SILENT_FOR: Duration = Duration::from_secs(2);

/// The feeds of the CAPs that are connected.
#[derive(Debug, Default)]
pub(crate) struct CapInquiries {
    feeds: Mutex<BTreeMap<PointName, Feed>>,
    open: Mutex<BTreeMap<u64, oneshot::Sender<ClientPresence>>>,
    /// Those that did not answer in time, and when: they are not waited for again at once.
    silent: Mutex<BTreeMap<PointName, Instant>>,
    number: AtomicU64,
}

#[derive(Debug, Clone)]
struct Feed {
    asks: mpsc::Sender<PresenceInquiry>,
    /// Older agents never do.
    answers: bool,
}

/// What a CAP has seen of a client.
#[derive(Debug, Clone, Copy)]
struct Presence {
    polled_at: Timestamp,
    interval: Option<Duration>,
    is_current: bool,
    clock_ahead_us: i64,
}

/// An answer with how far the clock of the CAP that gave it is ahead of this site's.
#[derive(Debug)]
struct Timed {
    answer: ClientPresence,
    ahead_us: i64,
}

impl Presence {
    /// By this site's clock, of which that of the CAP is so far ahead.
    fn of(seen: &Seen, cap_ahead_us: i64) -> Presence {
        let says_so = seen.clock_ahead_us != 0;
        Presence {
            polled_at: Timestamp(seen.polled_at_us.saturating_sub(cap_ahead_us)),
            interval: (seen.interval_s > 0).then(|| Duration::from_secs(seen.interval_s.into())),
            is_current: seen.is_current,
            clock_ahead_us: if says_so { seen.clock_ahead_us.saturating_add(cap_ahead_us) } else { 0 },
        }
    }
}

impl CapInquiries {
    /// A feed begins: what is to be asked on it. A newer one of the same CAP takes its place.
    pub(crate) fn opened(&self, cap: PointName, answers: bool) -> mpsc::Receiver<PresenceInquiry> {
        let (asks, asked) = mpsc::channel(4);
        self.silent.lock().unwrap_or_else(PoisonError::into_inner).remove(&cap);
        self.feeds.lock().unwrap_or_else(PoisonError::into_inner).insert(cap, Feed { asks, answers });
        asked
    }

    pub(crate) fn answered(&self, presence: ClientPresence) {
        let asked = self.open.lock().unwrap_or_else(PoisonError::into_inner).remove(&presence.number);
        if let Some(asked) = asked {
            // Whoever asked may have gone.
            drop(asked.send(presence));
        }
    }

    /// Whether it is there: its feed is open, and it answers on it, if it is one that does.
    pub(super) async fn is_alive(&self, cap: &PointName) -> bool {
        match self.feed(cap) {
            Some(feed) => !feed.answers || self.ask(cap, Vec::new()).await.is_some(),
            None => false,
        }
    }

    /// Its feed, if it is open.
    fn feed(&self, cap: &PointName) -> Option<Feed> {
        let feeds = self.feeds.lock().unwrap_or_else(PoisonError::into_inner);
        feeds.get(cap).filter(|feed| !feed.asks.is_closed()).cloned()
    }

    /// Those that can be asked.
    fn able(&self) -> Vec<PointName> {
        let feeds = self.feeds.lock().unwrap_or_else(PoisonError::into_inner);
        feeds.iter().filter(|(_, feed)| feed.answers).map(|(cap, _)| cap.clone()).collect()
    }

    async fn ask(&self, cap: &PointName, clients: Vec<String>) -> Option<ClientPresence> {
        {
            let mut silent = self.silent.lock().unwrap_or_else(PoisonError::into_inner);
            silent.retain(|_, at| at.elapsed() < SILENT_FOR);
            if silent.contains_key(cap) {
                return None;
            }
        }
        let feed = self.feed(cap)?;
        let number = self.number.fetch_add(1, Ordering::Relaxed) + 1;
        let (answered, answer) = oneshot::channel();
        self.open.lock().unwrap_or_else(PoisonError::into_inner).insert(number, answered);
        let presence = tokio::time::timeout(WITHIN, async {
            feed.asks.send(PresenceInquiry { number, clients }).await.ok()?;
            answer.await.ok()
        })
        .await;
        self.open.lock().unwrap_or_else(PoisonError::into_inner).remove(&number);
        if presence.is_err() {
            self.silent.lock().unwrap_or_else(PoisonError::into_inner).insert(cap.clone(), Instant::now());
        }
        presence.ok()?
    }
}

/// Whether the access points are there and have what they should. `only_bad`: say nothing of those that do.
pub(super) async fn findings(asker: &Asker, only_bad: bool) -> Result<Vec<Finding>, Error> {
    let mut tx = asker.site.store.read().await?;
    let mut all = Vec::new();
    for cap in rows::list(&mut tx).await? {
        let behind = rows::count_after(&mut tx, &cap.name, cap.cursor).await?;
        all.push(CapFacts { connected: false, name: cap.name, seen_at: cap.seen_at, behind });
    }
    drop(tx);
    let alive = join_all(all.iter().map(|cap| asker.site.cap_inquiries.is_alive(&cap.name))).await;
    for (cap, is_alive) in all.iter_mut().zip(alive) {
        cap.connected = is_alive;
    }
    let is_one_up = all.iter().any(|cap| cap.connected);
    let mut found = caps(asker.site.code(), &all);
    if only_bad && is_one_up {
        // Clients turn to another one.
        found.retain(|finding| finding.verdict == Verdict::Holds);
    }
    Ok(found)
}

async fn ask_timed(asker: &Asker, cap: &PointName, clients: Vec<String>) -> Option<Timed> {
    let began = asker.site.now();
    let answer = asker.site.cap_inquiries.ask(cap, clients).await?;
    let middle = began.0.midpoint(asker.site.now().0);
    let ahead_us = if answer.at_us > 0 { answer.at_us.saturating_sub(middle) } else { 0 };
    Some(Timed { answer, ahead_us })
}

/// Asks every access point that is connected when it last saw these clients.
pub(super) async fn hear(asker: &Asker, clients: &mut [ClientFacts]) {
    let inquiries = &asker.site.cap_inquiries;
    let able = inquiries.able();
    for part in clients.chunks_mut(CLIENTS_MAX) {
        let names: Vec<String> = part.iter().map(|facts| facts.client.to_string()).collect();
        let answers = join_all(able.iter().map(|cap| ask_timed(asker, cap, names.clone()))).await;
        let mut seen: BTreeMap<ClientId, Presence> = BTreeMap::new();
        for Timed { answer, ahead_us } in answers.iter().flatten() {
            for one in &answer.clients {
                let Ok(client) = one.client.parse::<ClientId>() else { continue };
                let presence = Presence::of(one, *ahead_us);
                let known = seen.entry(client).or_insert(presence);
                if presence.polled_at > known.polled_at {
                    *known = presence;
                }
            }
        }
        let asked = answers.iter().any(Option::is_some);
        for facts in part {
            facts.heard.asked = asked;
            if let Some(presence) = seen.get(&facts.client) {
                facts.heard.polled_at = Some(presence.polled_at);
                facts.heard.interval = presence.interval;
                facts.heard.is_current = Some(presence.is_current);
                facts.heard.clock_ahead_us = presence.clock_ahead_us;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_of_an_access_point_are_read_by_the_clock_of_the_site() {
        let seen = |clock_ahead_us| Seen { polled_at_us: 1_000, clock_ahead_us, ..Seen::default() };
        for (client, cap, polled_at, ahead) in [
            (0, 0, 1_000, 0),
            // The access point is ahead, and the client by 40 more.
            (40, 300, 700, 340),
            (-40, 300, 700, 260),
            (40, -300, 1_300, -260),
            // One that does not say anything agrees, whatever the access point's clock is.
            (0, 300, 700, 0),
            (i64::MAX, 1, 999, i64::MAX),
            (i64::MIN, i64::MIN, i64::MAX, i64::MIN),
        ] {
            let found = Presence::of(&seen(client), cap);
            assert_eq!((found.polled_at.0, found.clock_ahead_us), (polled_at, ahead), "{client} {cap}");
        }
    }
}
