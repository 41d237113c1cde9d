//! What a site finds of something on its way to a neighbour.

use super::{
    Check, Custody, CustodyStage, Finding, LineFacts, Pace, Shut, amount,
    line::{line, named},
};
use crate::{Priority, Timestamp, id::SiteCode, link::Pulse};

/// A thing for a neighbour, as the site that sends it knows it.
#[derive(Debug, Clone)]
pub struct HopFacts {
    /// The site that sends.
    pub at: SiteCode,
    pub to: SiteCode,
    /// For people, as `package CEN00001 version 3`.
    pub what: String,
    pub job: Job,
    pub line: LineFacts,
    pub now: Timestamp,
}

/// How the mini-job stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Job {
    /// The neighbour has it.
    Delivered,
    /// It is an object that the neighbour is not offered now: it refused it.
    Refused {
        reason: String,
        retry_at: Option<Timestamp>,
        since: Timestamp,
    },
    /// Its bundle is not made yet; with what went wrong last.
    NotMade {
        error: String,
    },
    Cancelled {
        item: String,
        by: String,
        since: Timestamp,
    },
    Waiting(Waiting),
}

/// An item that is to be sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Waiting {
    /// The first digits of its name.
    pub item: String,
    pub class: Priority,
    /// Who holds it.
    pub held_by: Option<String>,
    pub courier: Option<Courier>,
    /// Why the peer did not take it, and when it is tried again.
    pub refused: Option<(String, Timestamp)>,
    /// The link has it at this moment.
    pub moves: bool,
    pub done: u64,
    pub total: u64,
    pub bytes_per_second: u64,
    /// Bytes that go before it.
    pub ahead_bytes: u64,
    pub since: Timestamp,
    pub eta: Option<Timestamp>,
}

impl Waiting {
    /// One of which nothing has gone, and that nobody ordered anything for.
    pub fn new(item: String, class: Priority, total: u64, since: Timestamp) -> Waiting {
        Waiting {
            item,
            class,
            held_by: None,
            courier: None,
            refused: None,
            moves: false,
            done: 0,
            total,
            bytes_per_second: 0,
            ahead_bytes: 0,
            since,
            eta: None,
        }
    }
}

/// It goes by courier.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Courier {
    /// Why.
    pub reason: String,
    /// The parcel that contains it, with what is found of it.
    pub parcel: Option<(String, Vec<Finding>, Option<Timestamp>)>,
}

/// One thing on its way to a neighbour, in the order in which it may be stopped.
pub fn hop(facts: &HopFacts) -> Vec<Finding> {
    let (at, to, what) = (&facts.at, &facts.to, &facts.what);
    match &facts.job {
        Job::Delivered => {
            vec![Finding::holds(at, Check::ItemTaken, format!("site {to} has {what}"))]
        }
        Job::Refused { reason, retry_at, since } => {
            let text = format!("site {to} does not take {what}: {reason}");
            vec![Finding::fails(at, Check::ItemTaken, text).since(*since).eta(*retry_at)]
        }
        Job::NotMade { error } if error.is_empty() => {
            vec![Finding::waits(
                at,
                Check::BundleMade,
                format!("the bundle of {what} for site {to} is being made"),
            )]
        }
        Job::NotMade { error } => {
            let text = format!("the bundle of {what} for site {to} cannot be made: {error}");
            vec![Finding::fails(at, Check::BundleMade, text).mended_at(at, "packhorse content verify")]
        }
        Job::Cancelled { item, by, since } => {
            let text = format!("the bundle of {what} for site {to} was taken out of the queue: {by}");
            let found = Finding::fails(at, Check::MiniJobQueued, text).since(*since);
            vec![found.mended_at(at, format!("packhorse queue release {item} --peer {to}"))]
        }
        Job::Waiting(item) => waiting(facts, item),
    }
}

fn waiting(facts: &HopFacts, item: &Waiting) -> Vec<Finding> {
    let (at, to, what) = (&facts.at, &facts.to, &facts.what);
    if let Some(by) = &item.held_by {
        let text = format!("{what} for site {to} is held in the queue by {by}");
        let found = Finding::fails(at, Check::ItemReleased, text).since(item.since);
        return vec![found.mended_at(at, format!("packhorse queue release {} --peer {to}", item.item))];
    }
    if let Some(courier) = &item.courier {
        return by_courier(facts, item, courier);
    }
    let link = line(at, to, &facts.line);
    let is_up = facts.line.up;
    let mut found = vec![link];
    if !is_up {
        return found;
    }
    if let Some((reason, retry_at)) = &item.refused {
        let text = format!("site {to} did not take {what}: {reason}");
        let command = format!("packhorse queue release {} --peer {to}", item.item);
        let refused = Finding::fails(at, Check::ItemTaken, text).since(item.since).eta(Some(*retry_at));
        found.push(refused.mended_at(at, command));
        return found;
    }
    if let Some(shut) = facts.line.shut {
        found.push(shut_line(facts, item, shut));
        return found;
    }
    found.push(moving(facts, item));
    found
}

fn shut_line(facts: &HopFacts, item: &Waiting, shut: Shut) -> Finding {
    let (at, to, what) = (&facts.at, &facts.to, &facts.what);
    let name = named(&facts.line);
    let (check, high_may, eta, text, open) = match shut {
        Shut::Calendar { opens_at, high_may } => (
            Check::LineOpen,
            high_may,
            opens_at,
            format!(
                "the calendar of the line to site {to} lets nothing of priority {} go at this hour",
                item.class
            ),
            "--open-always",
        ),
        Shut::Budget { resets_at, high_may } => (
            Check::BudgetLeft,
            high_may,
            resets_at,
            format!("the budget of the line to site {to} is spent"),
            "--per-day none --per-month none",
        ),
    };
    let command = if high_may && item.class != Priority::High {
        format!("packhorse queue priority {} high --peer {to}", item.item)
    } else {
        format!("packhorse address set {to}{name} {open}")
    };
    let text = format!("{text}; {what} goes when it opens");
    Finding::waits(at, check, text).since(item.since).eta(eta.or(item.eta)).mended_at(at, command)
}

fn moving(facts: &HopFacts, item: &Waiting) -> Finding {
    let (at, to, what) = (&facts.at, &facts.to, &facts.what);
    if item.moves {
        let percent = (item.done * 100).checked_div(item.total).unwrap_or(0);
        let text = format!(
            "{what} is on the line to site {to}: {percent} % of {}, {} a second{}",
            amount(item.total),
            amount(item.bytes_per_second),
            slowed(&facts.line.pace)
        );
        let found = Finding::waits(at, Check::ItemMoves, text).since(item.since).eta(item.eta);
        let options = match facts.line.pace {
            Pace { rate: None, pulse: None, .. } => return found,
            Pace { rate: Some(_), by_calendar: true, .. } => "--open-always --rate none --pulse none",
            Pace { .. } => "--rate none --pulse none",
        };
        let name = named(&facts.line);
        return found.mended_at(at, format!("packhorse address set {to}{name} {options}"));
    }
    let text = match item.ahead_bytes {
        0 => format!("{what} waits for the line to site {to}"),
        ahead => format!("{what} waits for the line to site {to}: {} go before it", amount(ahead)),
    };
    let command = format!("packhorse queue first {} --peer {to}", item.item);
    Finding::waits(at, Check::ItemsTurn, text).since(item.since).eta(item.eta).mended_at(at, command)
}

fn slowed(pace: &Pace) -> String {
    let rate = pace.rate.map(|rate| format!("its address allows {} a second", amount(rate)));
    let pulse = pace.pulse.map(|Pulse { block_bytes, pause }| {
        let block = amount(u64::from(block_bytes));
        format!("its address allows {block} and then a pause of {} s", pause.as_secs_f32())
    });
    rate.into_iter().chain(pulse).map(|text| format!("; {text}")).collect()
}

fn by_courier(facts: &HopFacts, item: &Waiting, courier: &Courier) -> Vec<Finding> {
    let (at, to, what) = (&facts.at, &facts.to, &facts.what);
    match &courier.parcel {
        Some((_, findings, _)) => findings.clone(),
        None => {
            let text = format!(
                "{what} for site {to} waits for a courier, and there is no parcel with it: {}",
                courier.reason
            );
            let found = Finding::fails(at, Check::CourierAsked, text).since(item.since);
            vec![found.mended_at(at, format!("packhorse courier create --to {to} --medium DIR"))]
        }
    }
}

/// Where the bytes are, for a picture of it.
pub fn custody(facts: &HopFacts) -> Custody {
    let blank = Custody {
        from: facts.at.clone(),
        to: facts.to.clone(),
        stage: CustodyStage::Preparing,
        bytes_done: 0,
        bytes_total: 0,
        bytes_per_second: 0,
        parcel: String::new(),
        eta: None,
        reason: String::new(),
    };
    let because = || {
        let found = hop(facts);
        found.into_iter().find(|finding| finding.verdict != super::Verdict::Holds)
    };
    match &facts.job {
        Job::Delivered => Custody { stage: CustodyStage::There, ..blank },
        Job::Waiting(item) => {
            let found = because();
            let fails = found.as_ref().is_some_and(|found| found.verdict == super::Verdict::Fails);
            let parcel = item.courier.as_ref().and_then(|courier| courier.parcel.as_ref());
            let stage = match (fails, item.moves && item.courier.is_none()) {
                (true, _) => CustodyStage::Stopped,
                (false, true) => CustodyStage::Moving,
                (false, false) => CustodyStage::Waiting,
            };
            Custody {
                stage,
                bytes_done: item.done,
                bytes_total: item.total,
                bytes_per_second: item.bytes_per_second,
                parcel: parcel.map(|(id, ..)| id.clone()).unwrap_or_default(),
                eta: parcel.map_or(item.eta, |(.., expected)| *expected),
                reason: found
                    .filter(|_| stage != CustodyStage::Moving)
                    .map(|found| found.text)
                    .unwrap_or_default(),
                ..blank
            }
        }
        Job::NotMade { error } if error.is_empty() => blank,
        Job::NotMade { .. } | Job::Refused { .. } | Job::Cancelled { .. } => Custody {
            stage: CustodyStage::Stopped,
            reason: because().map(|found| found.text).unwrap_or_default(),
            ..blank
        },
    }
}
