//! What a site finds of itself, and its parent of it.

use std::time::Duration;

use super::{Check, Finding, amount};
use crate::{Timestamp, care::Disk, id::SiteCode};

/// Failures in a row that are worth a word: one may be a collision.
const ERRORS_MIN: u32 = 2;
/// Certificates are looked at so long before they end.
const CERTIFICATE_PATIENCE: Duration = Duration::from_secs(14 * 24 * 3600);
/// What sets the clock of a machine.
pub(super) const SET_CLOCK: &str = "systemctl restart systemd-timesyncd";
/// Clocks that differ by more confuse calendars and expiries.
const CLOCK_PATIENCE: Duration = Duration::from_secs(60);

/// A site server as it knows itself.
#[derive(Debug, Clone)]
pub struct SiteFacts {
    pub at: SiteCode,
    pub components: Vec<ComponentFacts>,
    /// Directories of it that it cannot use, and why.
    pub unusable: Vec<(String, String)>,
    /// Another program keeps it from writing.
    pub locked: Option<Locked>,
    /// Where its content is, and how much room there must be beyond the reserve.
    pub disk: Option<(String, Disk, u64)>,
    /// When the first of its certificates ends, and which.
    pub certificate: Option<(String, Timestamp)>,
    /// From when on the last of its certificates to begin holds, and which.
    pub begins: Option<(String, Timestamp)>,
    pub now: Timestamp,
}

/// The site database is held by another program.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Locked {
    pub path: String,
    /// Since when nothing could be written.
    pub since: Timestamp,
    /// The id and the name of the process, if the system tells it.
    pub by: Option<(u32, String)>,
}

/// A component of it.
#[derive(Debug, Clone)]
pub struct ComponentFacts {
    pub name: String,
    pub consecutive_errors: u32,
    pub last_error: String,
    pub last_step: Option<Timestamp>,
}

/// What the site says of itself.
pub fn site(facts: &SiteFacts) -> Vec<Finding> {
    let at = &facts.at;
    let mut found = Vec::new();
    for (path, why) in &facts.unusable {
        let text = format!(
            "site {at} cannot use its directory {path}: {why}; put it right, and then have the site server begin anew"
        );
        let check = Check::DirectoriesThere;
        found.push(Finding::fails(at, check, text).mended_at(at, super::line::RESTART));
    }
    found.extend(facts.locked.as_ref().map(|one| locked(at, one)));
    let failing: Vec<&ComponentFacts> =
        facts.components.iter().filter(|one| one.consecutive_errors >= ERRORS_MIN).collect();
    for one in &failing {
        let text = format!("{} of site {at} fails again and again: {}", one.name, one.last_error);
        found.push(Finding::fails(at, Check::ComponentsWell, text).since(one.last_step));
    }
    if failing.is_empty() {
        let text = format!("the {} components of site {at} get on", facts.components.len());
        found.push(Finding::holds(at, Check::ComponentsWell, text));
    }
    if let Some((path, disk, reserve)) = &facts.disk {
        found.push(room(at, path, *disk, *reserve));
    }
    if let Some((name, begins)) = facts.begins.as_ref().filter(|(_, begins)| *begins > facts.now) {
        found.push(too_early(facts, name, *begins));
    } else if let Some((name, ends)) = &facts.certificate {
        found.push(certificate(facts, name, *ends));
    }
    found
}

fn locked(at: &SiteCode, facts: &Locked) -> Finding {
    let path = &facts.path;
    let (who, command) = match &facts.by {
        Some((id, name)) => (format!("process {id} ({name})"), format!("kill {id}")),
        None => ("another program".to_owned(), format!("fuser -v {path}")),
    };
    let text = format!(
        "{who} holds the database of site {at} locked, {path}: until it lets go or is ended, nothing is written there"
    );
    Finding::fails(at, Check::DatabaseFree, text).since(facts.since).mended_at(at, command)
}

/// Nobody gives a certificate that begins later than that: it is the clock that is wrong.
fn too_early(facts: &SiteFacts, name: &str, begins: Timestamp) -> Finding {
    let at = &facts.at;
    let apart = begins.since(facts.now).as_secs();
    let text = format!(
        "the clock of site {at} is at least {apart} s behind: the certificate {name} was given to it already, and begins \
         later than now"
    );
    Finding::fails(at, Check::ClockAgrees, text).mended_at(at, SET_CLOCK)
}

fn room(at: &SiteCode, path: &str, disk: Disk, reserve: u64) -> Finding {
    if disk.free_bytes < reserve {
        let text = format!(
            "the disk that holds {path} has {} free, less than the reserve of {}: no package content is taken in",
            amount(disk.free_bytes),
            amount(reserve)
        );
        return Finding::fails(at, Check::DiskRoom, text).mended_at(at, "packhorse content usage");
    }
    Finding::holds(
        at,
        Check::DiskRoom,
        format!("{} are free on the disk of site {at}", amount(disk.free_bytes)),
    )
}

fn certificate(facts: &SiteFacts, name: &str, ends: Timestamp) -> Finding {
    let at = &facts.at;
    if ends <= facts.now {
        let text = format!(
            "the certificate {name} of site {at} has expired; put a newer one in its place from a backup, or join again with a \
             new token"
        );
        return Finding::fails(at, Check::CertificateValid, text).since(ends);
    }
    if ends.since(facts.now) < CERTIFICATE_PATIENCE {
        let text = format!("the certificate {name} of site {at} expires soon");
        return Finding::waits(at, Check::CertificateValid, text).eta(Some(ends));
    }
    Finding::holds(at, Check::CertificateValid, format!("the certificates of site {at} are valid"))
}

/// A site that has nothing to show its parent.
pub(super) fn no_certificate(at: &SiteCode, parent: &SiteCode, error: &str) -> Finding {
    let text = format!(
        "site {at} has no certificate to show site {parent}: {error}; put back the files in `credentials/parent` of the \
         site's directory from a backup of it"
    );
    Finding::fails(at, Check::CertificateValid, text)
}

/// What is known of the link to a site that gives no answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Silence {
    Down,
    /// It is up, and nothing came over it while the answer was waited for.
    Dead,
    /// Something came over it: the site is there, and slow, or too old to be asked.
    Slow,
}

/// A child as its parent knows it when it does not answer.
#[derive(Debug, Clone)]
pub struct Neighbour {
    pub at: SiteCode,
    pub to: SiteCode,
    pub link: Silence,
    /// When it last said anything.
    pub seen_at: Option<Timestamp>,
    pub waited: Duration,
}

/// A site that does not answer: what its parent says of it instead.
pub fn silent(facts: &Neighbour) -> Finding {
    let (at, to) = (&facts.at, &facts.to);
    match facts.link {
        Silence::Dead => {
            let text = format!(
                "site {to} did not answer within {} s although the link is up",
                facts.waited.as_secs()
            );
            Finding::fails(at, Check::SiteAnswers, text)
                .since(facts.seen_at)
                .mended_at(to, super::line::RESTART)
        }
        Silence::Slow => {
            let text =
                format!("site {to} gave no answer in time; what follows is what site {at} last heard of it");
            Finding::unknown(at, Check::SiteAnswers, text).since(facts.seen_at)
        }
        Silence::Down => {
            let text = format!(
                "site {to} cannot be asked: the link is down; what follows is what site {at} last heard of it"
            );
            Finding::unknown(at, Check::SiteAnswers, text).since(facts.seen_at)
        }
    }
}

/// Compares a child's clock, read while it answered, with that of the asking site.
pub fn clock(
    at: &SiteCode,
    of: &SiteCode,
    here: Timestamp,
    there: Timestamp,
    round_trip: Duration,
) -> Finding {
    let apart = here.since(there).max(there.since(here)).saturating_sub(round_trip);
    let text = |how: &str| {
        format!("the clock of site {of} is {} s {how} that of site {at}; set the wrong one", apart.as_secs())
    };
    if apart <= CLOCK_PATIENCE {
        return Finding::holds(of, Check::ClockAgrees, format!("the clocks of sites {at} and {of} agree"));
    }
    let how = if there < here { "behind" } else { "ahead of" };
    Finding::fails(of, Check::ClockAgrees, text(how)).mended_at(of, SET_CLOCK)
}
