//! Why something is not where it should be: what each station of its way finds, and which of that is the cause.
//!
//! A station's facts go in, findings come out, in the order of the way; nothing here knows where the facts come from.
//! The checks are the troubleshooting tips of the original, each with a name that stays.

mod check;
mod client;
mod hop;
mod line;
mod offer;
mod package;
mod parcel;
mod remedy;
mod site;
#[cfg(test)]
mod tests;

pub use check::{Check, Station};
pub use client::{Advertised, CapFacts, ClientFacts, Heard, caps, client, clients};
pub use hop::{Courier, HopFacts, Job, Waiting, custody, hop};
pub use line::{LineFacts, Pace, Shut, line};
pub use offer::{AskedClient, InstructionFacts, OfferFacts, offer};
pub use package::{ArrivalFacts, OriginFacts, PlaceFacts, PointFacts, arrival, origin, place};
pub use parcel::{ParcelFacts, parcel, parcel_received};
pub use site::{ComponentFacts, Locked, Neighbour, Silence, SiteFacts, clock, silent, site};

use crate::{Timestamp, id::SiteCode};

/// What a station says of one of its checks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Verdict {
    /// It is as it should be.
    Holds,
    /// It gets on by itself, or its time comes: nobody need do anything.
    Waits,
    /// It does not get on unless somebody does something.
    Fails,
    /// Nobody could be asked.
    Unknown,
}

/// One check of one station.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// Where it was found.
    pub site: SiteCode,
    /// [`Check::name`]; a later version may know more of them.
    pub check: String,
    pub verdict: Verdict,
    /// For people.
    pub text: String,
    pub since: Option<Timestamp>,
    /// When it is expected to hold.
    pub eta: Option<Timestamp>,
    pub remedy: Option<Remedy>,
}

/// What mends it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Remedy {
    /// The site on whose machine, or with whose console, it is done.
    pub site: SiteCode,
    /// A command that can be copied. Empty: there is none, and the finding's text says what to do.
    pub command: String,
}

/// Everything that one site found, in the order of the way.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Report {
    pub site: SiteCode,
    /// When it was so: now, or when the site was last heard of.
    pub at: Timestamp,
    /// The site said it itself, just now. Otherwise a site above it tells what it knows of it.
    pub live: bool,
    pub findings: Vec<Finding>,
    pub custody: Vec<Custody>,
}

/// Where the bytes of a package version are on one hop.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Custody {
    pub from: SiteCode,
    pub to: SiteCode,
    pub stage: CustodyStage,
    pub bytes_done: u64,
    /// 0: not known yet.
    pub bytes_total: u64,
    pub bytes_per_second: u64,
    /// The first digits of the parcel that brings it; empty: the line does.
    pub parcel: String,
    pub eta: Option<Timestamp>,
    /// What it waits for, for people.
    pub reason: String,
}

/// How far a hop is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum CustodyStage {
    /// The bundle is still to be made.
    Preparing,
    Waiting,
    Moving,
    /// Somebody has to do something.
    Stopped,
    /// The other side has it.
    There,
}

/// What is asked about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Subject {
    Package(crate::id::PackageId),
    Advertisement(crate::id::AdvertisementId),
    Site,
    Parcel([u8; 16]),
}

/// A question that goes down the hierarchy: every site on the way to one of `sites` answers it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Question {
    pub subject: Subject,
    /// At most [`SITES_MAX`], each once.
    pub sites: Vec<SiteCode>,
    pub client: Option<crate::id::ClientId>,
}

/// Sites that one question may name.
pub const SITES_MAX: usize = 1024;
/// Findings of one site.
pub const FINDINGS_MAX: usize = 256;
/// Reports in one answer.
pub const REPORTS_MAX: usize = 2048;
/// Bytes of a text or command.
pub const TEXT_BYTES_MAX: usize = 2048;

impl Finding {
    fn new(site: &SiteCode, check: Check, verdict: Verdict, text: impl Into<String>) -> Finding {
        let (site, check, text) = (site.clone(), check.name().to_owned(), text.into());
        Finding { site, check, verdict, text, since: None, eta: None, remedy: None }
    }

    pub fn holds(site: &SiteCode, check: Check, text: impl Into<String>) -> Finding {
        Finding::new(site, check, Verdict::Holds, text)
    }

    pub fn waits(site: &SiteCode, check: Check, text: impl Into<String>) -> Finding {
        Finding::new(site, check, Verdict::Waits, text)
    }

    pub fn fails(site: &SiteCode, check: Check, text: impl Into<String>) -> Finding {
        Finding::new(site, check, Verdict::Fails, text)
    }

    pub fn unknown(site: &SiteCode, check: Check, text: impl Into<String>) -> Finding {
        Finding::new(site, check, Verdict::Unknown, text)
    }

    #[must_use]
    pub fn since(mut self, at: impl Into<Option<Timestamp>>) -> Finding {
        self.since = at.into().filter(|at| at.0 > 0);
        self
    }

    #[must_use]
    pub fn eta(mut self, at: Option<Timestamp>) -> Finding {
        self.eta = at;
        self
    }

    /// The command that mends it, to be given where `site` is administered or on its machine.
    #[must_use]
    pub fn mended_at(mut self, site: &SiteCode, command: impl Into<String>) -> Finding {
        self.remedy = Some(Remedy { site: site.clone(), command: command.into() });
        self
    }
}

impl Verdict {
    pub fn as_str(self) -> &'static str {
        match self {
            Verdict::Holds => "holds",
            Verdict::Waits => "waits",
            Verdict::Fails => "fails",
            Verdict::Unknown => "unknown",
        }
    }
}

/// An amount of bytes for people: three digits and a unit.
fn amount(bytes: u64) -> String {
    let (mut unit, mut whole, mut tenths) = ("bytes", bytes, None);
    for next in ["kB", "MB", "GB", "TB"] {
        if whole < 1000 {
            break;
        }
        tenths = Some(whole % 1000 / 100);
        (unit, whole) = (next, whole / 1000);
    }
    match tenths.filter(|_| whole < 100) {
        Some(tenths) => format!("{whole}.{tenths} {unit}"),
        None => format!("{whole} {unit}"),
    }
}

/// Which finding is the cause: the first on the way that somebody has to mend; without one the first that just waits, and
/// without that the first of which nothing is known. `None`: everything holds.
///
/// Reports stand in the order of the way, and findings within them too, so that what follows from a cause comes after it.
/// But why a site does not take what it is offered, that site knows best: what it says of itself goes first.
pub fn cause(reports: &[Report]) -> Option<&Finding> {
    let all = || reports.iter().flat_map(|report| &report.findings);
    let first = [Verdict::Fails, Verdict::Waits, Verdict::Unknown]
        .into_iter()
        .find_map(|verdict| all().find(|finding| finding.verdict == verdict))?;
    if first.verdict != Verdict::Fails || first.check != Check::ItemTaken.name() {
        return Some(first);
    }
    let health = [
        Check::DirectoriesThere,
        Check::DatabaseFree,
        Check::ComponentsWell,
        Check::DiskRoom,
        Check::ClockAgrees,
    ]
    .map(Check::name);
    let says_why = |one: &&Finding| one.verdict == Verdict::Fails && health.contains(&one.check.as_str());
    Some(all().find(says_why).unwrap_or(first))
}
