//! Which clients have polled, and when: kept in memory for the site, which asks only when somebody wants to know.

use std::{
    collections::HashMap,
    sync::{Mutex, PoisonError},
};

use packhorse_domain::{Timestamp, id::ClientId};
use packhorse_proto::cap::v1::{ClientPresence, PresenceInquiry, client_presence::Seen};

/// Clients that are remembered. A site has fewer; a stranger cannot poll.
const CLIENTS_MAX: usize = 200_000;
/// Clients that one question names.
const NAMED_MAX: usize = 256;

/// What was seen of clients since the agent started.
#[derive(Debug)]
pub(crate) struct Presence {
    started_at: Timestamp,
    clients: Mutex<HashMap<ClientId, Last>>,
}

#[derive(Debug, Clone, Copy)]
struct Last {
    polled_at: Timestamp,
    interval_s: u32,
    is_current: bool,
    clock_ahead_us: i64,
}

/// What a poll says of the client.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Poll {
    /// It showed the instruction that is here for it.
    pub(crate) is_current: bool,
    pub(crate) interval_s: u32,
    /// Its clock; 0: it does not say.
    pub(crate) clock: Timestamp,
}

impl Presence {
    pub(crate) fn new(started_at: Timestamp) -> Self {
        Presence { started_at, clients: Mutex::default() }
    }

    pub(crate) fn polled(&self, client: &ClientId, poll: Poll, now: Timestamp) {
        let Poll { is_current, interval_s, clock } = poll;
        let clock_ahead_us = if clock.0 > 0 { clock.0.saturating_sub(now.0) } else { 0 };
        let mut clients = self.clients.lock().unwrap_or_else(PoisonError::into_inner);
        if clients.len() < CLIENTS_MAX || clients.contains_key(client) {
            let last = Last { polled_at: now, interval_s, is_current, clock_ahead_us };
            clients.insert(client.clone(), last);
        }
    }

    pub(crate) fn answer(&self, inquiry: PresenceInquiry, now: Timestamp) -> ClientPresence {
        let clients = self.clients.lock().unwrap_or_else(PoisonError::into_inner);
        let seen = |name: String| {
            let last = clients.get(&name.parse::<ClientId>().ok()?)?;
            Some(Seen {
                client: name,
                polled_at_us: last.polled_at.0,
                interval_s: last.interval_s,
                is_current: last.is_current,
                clock_ahead_us: last.clock_ahead_us,
            })
        };
        ClientPresence {
            number: inquiry.number,
            clients: inquiry.clients.into_iter().take(NAMED_MAX).filter_map(seen).collect(),
            started_at_us: self.started_at.0,
            at_us: now.0,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CLIENT: &str = "0b5c1f5e-6f0e-4c8e-9d57-0c1d2e3f4a5b";

    #[test]
    fn the_last_poll_counts_and_who_never_polled_is_not_there() {
        let presence = Presence::new(Timestamp(5));
        let client: ClientId = CLIENT.parse().expect("an id");
        let asks = || PresenceInquiry { number: 7, clients: vec![CLIENT.to_owned(), "nobody".to_owned()] };

        assert!(presence.answer(asks(), Timestamp(6)).clients.is_empty());
        presence.polled(&client, poll(false, 60, 0), Timestamp(1_000_000));
        presence.polled(&client, poll(true, 5, 3_000_000), Timestamp(3_500_000));

        let answer = presence.answer(asks(), Timestamp(4_000_000));
        assert_eq!((answer.number, answer.started_at_us, answer.at_us), (7, 5, 4_000_000));
        assert_eq!(answer.clients.len(), 1);
        let seen = &answer.clients[0];
        assert_eq!((seen.polled_at_us, seen.interval_s, seen.is_current), (3_500_000, 5, true));
        assert_eq!(seen.clock_ahead_us, -500_000, "it is half a second behind");
    }

    #[test]
    fn a_client_that_does_not_say_what_time_it_is_counts_as_one_that_agrees() {
        let presence = Presence::new(Timestamp(5));
        let client: ClientId = CLIENT.parse().expect("an id");
        let asks = PresenceInquiry { number: 7, clients: vec![CLIENT.to_owned()] };

        for clock in [0, -1, i64::MIN] {
            presence.polled(&client, poll(true, 5, clock), Timestamp(3_500_000));
            let answer = presence.answer(asks.clone(), Timestamp(4_000_000));
            assert_eq!(answer.clients[0].clock_ahead_us, 0, "{clock}");
        }
    }

    fn poll(is_current: bool, interval_s: u32, clock: i64) -> Poll {
        Poll { is_current, interval_s, clock: Timestamp(clock) }
    }
}
