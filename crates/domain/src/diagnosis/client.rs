//! What a site finds of its client access points, and of what its clients make of an advertisement.

use std::{sync::Arc, time::Duration};

use super::{Check, Finding, remedy};
use crate::{
    Timestamp,
    advertisement::{Acceptance, Advertisement, Delivery},
    client::ClientFact,
    id::{ClientId, CollectionId, PointName, SiteCode},
    package::Program,
    status::AdvertisementStatus,
    time::length,
    window::{Closed, Windows},
};

/// A client polls at the latest after so long, whatever its settings.
const POLL_LONGEST: Duration = Duration::from_secs(24 * 3600);
/// One that polls often is missed sooner: after so many of its intervals.
const INTERVALS: u32 = 3;
/// No sooner than this.
const PATIENCE_MIN: Duration = Duration::from_secs(10);

/// Clocks that differ by more make a client refuse what is signed for it: certificates allow for as much.
const CLOCK_PATIENCE: Duration = Duration::from_secs(300);

/// A client access point of the site.
#[derive(Debug, Clone)]
pub struct CapFacts {
    pub name: PointName,
    pub connected: bool,
    pub seen_at: Timestamp,
    /// Files that it has not stored yet.
    pub behind: u64,
}

/// The access points of a site: one that works is enough for the clients that use it.
pub fn caps(at: &SiteCode, caps: &[CapFacts]) -> Vec<Finding> {
    if caps.is_empty() {
        let text = format!("site {at} has no client access point");
        let found = Finding::fails(at, Check::CapKnown, text);
        return vec![found.mended_at(at, "packhorse cap token NAME --out NAME.token")];
    }
    caps.iter().map(|cap| one_cap(at, cap)).collect()
}

fn one_cap(at: &SiteCode, cap: &CapFacts) -> Finding {
    let name = &cap.name;
    if !cap.connected {
        let text = format!("client access point {name} is not connected");
        return Finding::fails(at, Check::CapConnected, text)
            .since(cap.seen_at)
            .mended_at(at, format!("systemctl restart packhorse-cap-agent  # on the machine of {name}"));
    }
    match cap.behind {
        0 => Finding::holds(at, Check::CapFed, format!("client access point {name} has every file")),
        behind => {
            let text = format!("client access point {name} lacks {behind} file(s), which are on their way");
            Finding::waits(at, Check::CapFed, text)
        }
    }
}

/// What the clients should run, the same for all of them.
#[derive(Debug, Clone)]
pub struct Advertised {
    pub advertisement: Advertisement,
    /// Whose it is.
    pub owner: SiteCode,
    /// Whose the package is.
    pub package_owner: SiteCode,
    pub program: Option<Program>,
}

/// A client, and what it made of an advertisement.
#[derive(Debug, Clone)]
pub struct ClientFacts {
    pub at: SiteCode,
    pub client: ClientId,
    pub advertised: Arc<Advertised>,
    /// What it told of its machine.
    pub machine: Option<ClientFact>,
    /// It has enrolled here.
    pub known: bool,
    pub heard: Heard,
    /// The version that is advertised.
    pub source_version: u64,
    pub status: Option<AdvertisementStatus>,
    /// The collections with maintenance windows that it is in.
    pub windows: Vec<(CollectionId, Windows)>,
    /// When its present instruction was issued; `None`: it is not known.
    pub instructed_at: Option<Timestamp>,
    pub now: Timestamp,
}

/// When a client was last heard of.
#[derive(Debug, Clone, Default)]
pub struct Heard {
    /// Its last report, or its enrolment.
    pub reported_at: Option<Timestamp>,
    /// Its last poll, as its access point says just now; `None`: no access point could be asked, or none knows of it.
    pub polled_at: Option<Timestamp>,
    /// How often it polls, as it says itself.
    pub interval: Option<Duration>,
    /// At its last poll it held the present instruction.
    pub is_current: Option<bool>,
    /// How far its clock was ahead of the site's at that poll, in microseconds; below zero it was behind. 0: it agreed, or
    /// the client does not say.
    pub clock_ahead_us: i64,
    /// An access point was asked.
    pub asked: bool,
}

/// One client, from its enrolment to the exit code.
pub fn client(facts: &ClientFacts) -> Vec<Finding> {
    let (at, client) = (&facts.at, &facts.client);
    if !facts.known {
        return vec![not_enrolled(at, client)];
    }
    let current = facts.status.as_ref().filter(|status| status.source_version >= facts.source_version);
    let is_through = current.is_some_and(|status| {
        matches!(status.delivery, Delivery::Succeeded | Delivery::Failed | Delivery::Interrupted)
            || status.acceptance != Acceptance::Accepted
    });
    let mut found = Vec::new();
    if !is_through {
        let polls = polls(facts);
        let stops = polls.verdict == super::Verdict::Fails;
        found.push(polls);
        if stops {
            return found;
        }
    }
    // One that finds it expired, though it is offered, goes by another time.
    if !is_through || current.is_some_and(|status| status.acceptance == Acceptance::Expired) {
        found.extend(clock(facts));
    }
    match &facts.status {
        Some(status) => found.push(of_status(facts, status)),
        None => found.push(not_taken(facts)),
    }
    found
}

pub(super) fn not_enrolled(at: &SiteCode, client: &ClientId) -> Finding {
    let text =
        format!("client {client} has not enrolled at site {at}; with a token it can, under an id of its own");
    Finding::fails(at, Check::ClientKnown, text).mended_at(at, "packhorse client token --out client.token")
}

fn polls(facts: &ClientFacts) -> Finding {
    let (at, client, heard) = (&facts.at, &facts.client, &facts.heard);
    let last = heard.polled_at.into_iter().chain(heard.reported_at).max();
    let patience = match heard.interval {
        Some(interval) => (interval * INTERVALS).clamp(PATIENCE_MIN, POLL_LONGEST),
        None => POLL_LONGEST,
    };
    match last {
        _ if heard.asked && heard.polled_at.is_none() => {
            let text = format!("client {client} has not polled since its client access point started");
            Finding::fails(at, Check::ClientPolls, text).since(last).mended_at(at, restart(client))
        }
        Some(last) if facts.now.since(last) > patience => {
            let text = format!("client {client} does not poll any more");
            Finding::fails(at, Check::ClientPolls, text).since(last).mended_at(at, restart(client))
        }
        last => Finding::holds(at, Check::ClientPolls, format!("client {client} polls")).since(last),
    }
}

/// A client looks at its clock before it takes an instruction, and for the time of an advertisement.
fn clock(facts: &ClientFacts) -> Option<Finding> {
    let (at, client, ahead_us) = (&facts.at, &facts.client, facts.heard.clock_ahead_us);
    let apart = Duration::from_micros(ahead_us.unsigned_abs());
    let how = if ahead_us < 0 { "behind" } else { "ahead of" };
    let text = format!("the clock of client {client} is {} s {how} that of site {at}", apart.as_secs());
    let command = format!("{}  # on the machine of {client}", super::site::SET_CLOCK);
    (apart > CLOCK_PATIENCE).then(|| Finding::fails(at, Check::ClientClock, text).mended_at(at, command))
}

fn not_taken(facts: &ClientFacts) -> Finding {
    let (at, client) = (&facts.at, &facts.client);
    let text = match facts.heard.is_current {
        Some(true) => format!("client {client} has taken its instruction, and has not reported yet"),
        _ => format!("client {client} takes its new instruction at its next poll"),
    };
    Finding::waits(at, Check::ClientInstructed, text)
}

fn of_status(facts: &ClientFacts, status: &AdvertisementStatus) -> Finding {
    let (at, client) = (&facts.at, &facts.client);
    let Advertised { advertisement: offer, owner, .. } = &*facts.advertised;
    let because = match status.reason.as_str() {
        "" => String::new(),
        reason => format!(": {reason}"),
    };
    let since = status.changed_at;
    match status.acceptance {
        Acceptance::Rejected => {
            let text = format!("client {client} rejects the advertisement{because}");
            let found = Finding::fails(at, Check::ClientAccepts, text).since(since);
            return match unmet(facts) {
                Some(command) => found.mended_at(&facts.advertised.package_owner, command),
                None => found,
            };
        }
        Acceptance::Expired => {
            let text = format!("client {client} found the advertisement expired{because}");
            let found = Finding::fails(at, Check::NotExpired, text).since(since);
            return found.mended_at(owner, remedy::advertise_again(offer));
        }
        Acceptance::Accepted => {}
    }
    if status.source_version < facts.source_version {
        let text = format!("client {client} has still to come to version {}{because}", facts.source_version);
        return Finding::waits(at, Check::ClientInstructed, text).since(since);
    }
    match status.delivery {
        Delivery::Waiting if status.closed.is_some() => out_of_window(facts, status),
        Delivery::Waiting if !offer.required => {
            let text =
                format!("the program is only offered, and nobody at client {client} has chosen it{because}");
            let command = format!(
                "client-agent run-available --dir /var/lib/packhorse-client {}  # on the machine of {client}",
                offer.id
            );
            Finding::waits(at, Check::ProgramRan, text).since(since).mended_at(at, command)
        }
        Delivery::Waiting => {
            Finding::waits(at, Check::ProgramRan, format!("client {client} waits{because}")).since(since)
        }
        Delivery::Downloading => {
            let text = format!("client {client} fetches the content{because}");
            Finding::waits(at, Check::ClientHasContent, text).since(since)
        }
        Delivery::Retrying => {
            let text = format!("client {client} cannot fetch the content{because}");
            let found = Finding::fails(at, Check::ClientHasContent, text).since(since);
            found.mended_at(at, restart(client))
        }
        Delivery::Running => {
            Finding::waits(at, Check::ProgramRan, format!("the program runs on client {client}")).since(since)
        }
        Delivery::Succeeded => {
            let code = status.exit_code.map(|code| format!(", exit code {code}")).unwrap_or_default();
            let text = format!("the program ran on client {client}{code}");
            Finding::holds(at, Check::ProgramRan, text).since(since)
        }
        Delivery::Failed | Delivery::Interrupted => {
            let tail = status.output_tail.lines().rev().find(|line| !line.trim().is_empty());
            let tail = tail.map(|line| format!("; its last words: {}", line.trim())).unwrap_or_default();
            let text = format!(
                "the program failed on client {client}{because}{tail}; once that is mended, advertise it again"
            );
            let found = Finding::fails(at, Check::ProgramRan, text).since(since);
            found.mended_at(owner, remedy::advertise_again(offer))
        }
    }
}

/// A program that is ready and waits for a maintenance window.
fn out_of_window(facts: &ClientFacts, status: &AdvertisementStatus) -> Finding {
    let (at, client) = (&facts.at, &facts.client);
    let Advertised { advertisement: offer, owner, program, .. } = &*facts.advertised;
    let is_told = match (facts.heard.polled_at, facts.instructed_at) {
        (Some(polled_at), Some(instructed_at)) => polled_at >= instructed_at,
        _ => true,
    };
    // It has said so by windows that are others by now.
    if facts.windows.is_empty() || !is_told {
        let text = format!("client {client} takes its new instruction at its next poll");
        return Finding::waits(at, Check::ClientInstructed, text);
    }
    let of = |(collection, windows): &(CollectionId, Windows)| format!("{collection}: {windows}");
    let windows = facts.windows.iter().map(of).collect::<Vec<_>>().join(", ");
    let windows = format!("({windows}; by its own clock)");
    let at_once =
        format!("with --ignore-windows each client of collection {} begins it at once", offer.collection);
    let found = match status.closed {
        Some(Closed::Until(opens)) if offer.is_expired(opens) => {
            let text = format!(
                "the advertisement expires before a maintenance window of client {client} opens {windows}; {at_once}"
            );
            Finding::fails(at, Check::WindowOpen, text)
        }
        Some(Closed::Until(opens)) => {
            let text = format!(
                "client {client} waits for a maintenance window {windows}; {at_once}, and once more in its window \
                 unless {} is deleted",
                offer.id
            );
            Finding::waits(at, Check::WindowOpen, text).eta(Some(opens))
        }
        Some(Closed::NoRoom) | None => {
            let room = program.as_ref().map(|program| length(program.time_limit)).unwrap_or_default();
            let text = format!(
                "no maintenance window of client {client} is as long as the program may run, {room} {windows}: \
                 make one longer, or the program's --time-limit shorter; {at_once}"
            );
            Finding::fails(at, Check::WindowOpen, text)
        }
    };
    found.since(status.changed_at).mended_at(owner, remedy::advertise_at_once(offer))
}

/// What lets the program run on the client's machine, if it is its requirements that keep it away.
fn unmet(facts: &ClientFacts) -> Option<String> {
    let (program, machine) = (facts.advertised.program.as_ref()?, facts.machine.as_ref()?);
    let allows = |allowed: &[String], own: &str| allowed.is_empty() || allowed.iter().any(|one| one == own);
    let runs =
        allows(&program.operating_systems, &machine.os) && allows(&program.architectures, &machine.arch);
    (!runs).then(|| remedy::widen(&facts.advertised.advertisement, program, machine))
}

fn restart(client: &ClientId) -> String {
    format!("systemctl restart packhorse-client-agent  # on the machine of {client}")
}

/// Many clients: what they add up to.
pub fn clients(at: &SiteCode, all: &[ClientFacts]) -> Vec<Finding> {
    let done = |facts: &&ClientFacts| {
        facts.status.as_ref().is_some_and(|status| {
            status.delivery == Delivery::Succeeded && status.source_version >= facts.source_version
        })
    };
    let through = all.iter().filter(done).count();
    let mut found = Vec::new();
    if through > 0 {
        let text = format!("the program ran on {through} of {} client(s)", all.len());
        found.push(Finding::holds(at, Check::ProgramRan, text));
    }
    let mut others: Vec<Finding> = all
        .iter()
        .filter(|facts| !done(facts))
        .flat_map(client)
        .filter(|one| one.verdict != super::Verdict::Holds)
        .collect();
    others.sort_by_key(|finding| finding.verdict != super::Verdict::Fails);
    let more = others.len().saturating_sub(CLIENTS_SHOWN);
    others.truncate(CLIENTS_SHOWN);
    found.extend(others);
    if more > 0 {
        let text = format!("and {more} more client(s); `packhorse status advertisement ID` lists them");
        found.push(Finding::waits(at, Check::ProgramRan, text));
    }
    found
}

/// Clients that are told of one by one.
const CLIENTS_SHOWN: usize = 10;
