//! What a site finds of the line to a neighbour.

use std::time::Duration;

use super::{Check, Finding, site};
use crate::{
    Timestamp,
    id::{AddressName, SiteCode},
    link::Pulse,
};

/// What brings a site server back, on its own machine.
pub(super) const RESTART: &str = "systemctl restart packhorse-site-server";
/// A site that is there has called a server that began anew within this time, after the longest pause between two attempts.
const CALLS_WITHIN: Duration = Duration::from_secs(35);
/// How an error says that nobody is there, and not that somebody refuses.
const GONE: [&str; 3] = ["cannot reach", "did not answer", "was silent"];

/// How it says that what is dialled is no site, or another one.
const WRONG: [&str; 2] = ["lookup", "certificate"];
/// How it says that this site has nothing to show.
const OWN: &str = "the link's certificate";
/// How it says that the clocks of the two do not agree: the other one's certificate begins later than now.
const TOO_EARLY: &str = "its certificate is not valid yet";
/// The other side finds that of this one's.
const OUT_OF_DATE: &str = "by its clock our certificate is out of date";
/// The other one's certificate has ended.
const ENDED: &str = "its certificate has expired";
/// How it says that nobody is dialled.
const CLOSED: &str = "every address is closed";

/// The line to a neighbour.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LineFacts {
    pub up: bool,
    /// Since when it has been so; `None`: since this site's server began, and before nobody looked.
    pub since: Option<Timestamp>,
    pub last_error: String,
    /// How long this site's server has been running.
    pub running_for: Duration,
    /// This side calls the other.
    pub dials: bool,
    /// What the class of the item, or any, waits for.
    pub shut: Option<Shut>,
    /// The address that counts.
    pub address: Option<AddressName>,
    /// How fast the address lets it go now.
    pub pace: Pace,
}

/// What slows a line down although it could carry more.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Pace {
    /// Bytes a second.
    pub rate: Option<u64>,
    /// It is the calendar's for this hour, and not the address's own.
    pub by_calendar: bool,
    pub pulse: Option<Pulse>,
}

/// Why a class may not leave.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shut {
    /// Until then; `None`: not within 60 days.
    Calendar {
        opens_at: Option<Timestamp>,
        high_may: bool,
    },
    Budget {
        resets_at: Option<Timestamp>,
        high_may: bool,
    },
}

/// The line itself.
pub fn line(at: &SiteCode, to: &SiteCode, line: &LineFacts) -> Finding {
    if line.up {
        let text = format!("the link with site {to} is up");
        return Finding::holds(at, Check::LinkUp, text).since(line.since);
    }
    let error = match line.last_error.as_str() {
        "" => String::new(),
        error => format!(": {error}"),
    };
    if line.last_error.contains(OWN) {
        return site::no_certificate(at, to, &line.last_error).since(line.since);
    }
    if let Some(found) = out_of_time(at, to, &line.last_error) {
        return found.since(line.since);
    }
    if line.since.is_none() && line.last_error.is_empty() && line.running_for < CALLS_WITHIN {
        let text = format!("the site server of {at} has just begun, and has no link with site {to} yet");
        return Finding::waits(at, Check::LinkUp, text);
    }
    let text = format!("the link with site {to} is down{error}");
    let found = Finding::fails(at, Check::LinkUp, text).since(line.since);
    // Whoever is called can do no more than be there. Whoever calls knows why it does not get through.
    match line.dials {
        false => found.mended_at(to, RESTART),
        true if WRONG.iter().any(|wrong| line.last_error.contains(wrong)) => {
            let name = named(line);
            found.mended_at(at, format!("packhorse address set {to}{name} --dial HOST:PORT"))
        }
        true if line.last_error.contains(CLOSED) => {
            let name = named(line);
            found.mended_at(at, format!("packhorse address set {to}{name} --open-always"))
        }
        true if GONE.iter().any(|gone| line.last_error.contains(gone)) => found.mended_at(to, RESTART),
        true => found,
    }
}

/// A certificate is not valid at this hour. One that is not valid yet was not given ahead of its time: a clock is wrong.
fn out_of_time(at: &SiteCode, to: &SiteCode, error: &str) -> Option<Finding> {
    if error.contains(TOO_EARLY) {
        let text = format!(
            "the clock of site {at} is behind that of site {to}, and so they do not connect: {error}"
        );
        return Some(Finding::fails(at, Check::ClockAgrees, text).mended_at(at, site::SET_CLOCK));
    }
    if error.contains(OUT_OF_DATE) {
        let text = format!(
            "the clock of site {to} does not agree with that of site {at}, and so they do not connect, unless the \
             certificate of site {at} has expired: {error}"
        );
        return Some(Finding::fails(to, Check::ClockAgrees, text).mended_at(to, site::SET_CLOCK));
    }
    error.contains(ENDED).then(|| {
        let text = format!(
            "the certificate of site {to} has expired by the clock of site {at}; set that if it is ahead, or else put a newer \
             one in its place from a backup: {error}"
        );
        Finding::fails(to, Check::CertificateValid, text)
    })
}

/// How a command says which of several addresses it means.
pub(super) fn named(line: &LineFacts) -> String {
    match &line.address {
        Some(name) if name.as_str() != crate::address::MAIN => format!(" --name {name}"),
        _ => String::new(),
    }
}
